"""What is not Markup is text: escaped in elements and attributes, and nothing in it invisible."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.report.markup import UNSEEN, Markup, element, join, text


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


PRINTABLE = st.text().filter(lambda value: all(letter.isprintable() and letter not in UNSEEN for letter in value))
# Unicode 14, DerivedCoreProperties.txt, as perl's \p{Default_Ignorable_Code_Point} lists it.
IGNORABLE = (
    "ad 34f 61c 115f-1160 17b4-17b5 180b-180f 200b-200f 202a-202e 2060-206f 3164 fe00-fe0f feff ffa0 fff0-fff8 "
    "1bca0-1bca3 1d173-1d17a e0000-e0fff"
)


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
    assert not UNSEEN & set(source)
    assert not set(source) & {"<", ">", '"', "'"}


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\u202e", "\\u202e"),
        ("\u2066", "\\u2066"),
        ("\x00", "\\u0000"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\ue0041"),
        ("\u3164", "\\u3164"),
        ("\u2800", "\\u2800"),
        ("\u115f", "\\u115f"),
        ("\u034f", "\\u034f"),
        ("\ufe0f", "\\ufe0f"),
        ("\U000e0100", "\\ue0100"),
        ("\u00a0", "\\u00a0"),
    ],
)
def test_letters_that_show_nothing_are_spelled(hidden: str, shown: str) -> None:
    assert text(f"a{hidden}b").source == f"a{shown}b"


def test_no_letter_that_every_font_may_leave_out_passes() -> None:
    """Against two names that look alike and are not: a filler has the category of a letter."""
    for span in IGNORABLE.split():
        first, _, last = span.partition("-")
        for number in range(int(first, 16), int(last or first, 16) + 1):
            assert text(chr(number)).source == f"\\u{number:04x}"


def test_letters_with_marks_and_other_scripts_pass_as_they_are() -> None:
    for name in ("e\u0301", "\u05d0\u05d1", "\u0639\u064e", "\ud55c", "\u65e5\u672c", "\u2764", "\U0001f512"):
        assert text(name).source == name
