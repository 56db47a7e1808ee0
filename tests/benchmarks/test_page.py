"""The page of a result: whole, alone, and harmless whatever a case is called."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.page import render
from tests.benchmarks import kit
from tests.protocols.report.browser import chromium, opened

EMPTY = {"meta", "img", "br", "link"}


class Strict(HTMLParser):
    """Every element is closed in its turn."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def source() -> str:
    return render(kit.result())


def test_the_page_is_well_formed_and_every_name_in_it_is_its_own(source: str) -> None:
    found = Strict(source)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))


def test_the_page_loads_and_runs_nothing(source: str) -> None:
    found = Strict(source)
    assert not {"script", "link", "img", "iframe", "object"} & set(found.seen)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert all((value or "").startswith("#") for name, value in found.attributes if name == "href")
    assert not re.search(r"https?://|url\(|@import", source)


def test_a_hostile_name_is_shown_and_is_no_markup(source: str) -> None:
    assert "<script" not in source
    assert "\u202e" not in source
    assert "&lt;script&gt;" in source
    assert "\\u202e" in source


def test_every_plot_says_in_words_what_it_shows(source: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL)
    # A plot of ratios for each of two suites, one for each of two quantities, one of accuracy.
    assert len(pictures) == 5
    assert all(re.search(r"<desc[^>]*>.+?</desc>", picture) for picture in pictures)
    assert "all coordinates: 0.800 at epsilon 1, 0.800 at epsilon 8" in source
    assert "pairwise: 10 at 10, 20 at 20" in source


def test_a_result_without_anything_is_a_page_that_says_so() -> None:
    source = render(kit.result((), ()))
    assert Strict(source).open == []
    for sentence in ("Nothing was measured beside a peer.", "No curve was measured.", "No training was run."):
        assert sentence in source
    assert "No attack was tried in this run." in source


def test_an_attack_is_shown_with_its_evidence_for_whoever_it_was_tried_on(source: str) -> None:
    assert "fell, the seed has 32 bits, flower#7522" in source
    skipped = {**kit.ATTACK, "peer": None, "skipped": "there is no environment"}
    assert "there is no environment" in render(kit.result((), (skipped,)))


@pytest.mark.skipif(chromium() is None, reason="THE PAGE WAS SHOWN IN NO BROWSER: chromium is not installed")
def test_a_browser_has_nothing_to_complain_of_and_a_telephone_shows_all(source: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(source, encoding="utf-8")
    with opened(tmp_path / "page.html", tmp_path / "profile") as shown:
        for width in (320, 1280):
            shown.resize(width)
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.complaints == []
