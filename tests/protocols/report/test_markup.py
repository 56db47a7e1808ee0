"""What is not Markup is text: escaped in elements and attributes, and nothing in it invisible."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.report.markup import Markup, element, join, text


class Parsed(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, object]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.found.append(("text", data))


def test_elements_nest_and_attributes_have_their_names() -> None:
    made = element("p", "a < b", element("br"), cls="quiet", aria_label="x", data_label=None, r=2.5)
    assert made.source == '<p class="quiet" aria-label="x" r="2.5">a &lt; b<br></p>'


def test_an_attribute_may_be_called_name() -> None:
    assert element("meta", name="viewport").source == '<meta name="viewport">'


def test_pieces_are_joined_and_what_is_between_is_escaped_too() -> None:
    assert join(["a", Markup("<b>"), "&"], " & ").source == "a &amp; <b> &amp; &amp;"


PRINTABLE = st.text().filter(lambda value: all(letter.isprintable() for letter in value))


@given(PRINTABLE, PRINTABLE)
def test_a_reader_gets_back_what_was_put_in(inside: str, label: str) -> None:
    found = Parsed(element("p", inside, title=label).source).found
    assert found[0] == ("p", {"title": label})
    assert "".join(str(data) for tag, data in found[1:] if tag == "text") == inside


@given(st.text())
def test_what_is_written_is_valid_and_shows_everything(value: str) -> None:
    source = text(value).source
    source.encode("utf-8")
    assert all(letter.isprintable() or letter == "\n" for letter in source)
    assert not set(source) & {"<", ">", '"', "'"}


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\u202e", "\\u202e"),
        ("\u2066", "\\u2066"),
        ("\x00", "\\u0000"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\ue0041"),
    ],
)
def test_letters_that_show_nothing_are_spelled(hidden: str, shown: str) -> None:
    assert text(f"a{hidden}b").source == f"a{shown}b"
