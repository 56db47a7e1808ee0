"""The privacy report in a real browser: on a telephone and on a desk, in light and in dark, on paper, without a word of
complaint."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protocols.report.privacy import render
from tests.protocols.report import statement_kit as kit
from tests.protocols.report.browser import Page, Scheme, chromium, opened

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="THE PAGE WAS SHOWN IN NO BROWSER: chromium is not installed"
)

# The heads of a table are there for whoever listens to the page, clipped where rows are cards.
BEYOND = """Array.from(document.querySelectorAll('body *'))
    .filter(e => !e.closest('thead') && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(e => e.tagName + '.' + e.className)"""
# How far apart the two are in light, as WCAG 2.2 (1.4.3) has it.
CONTRAST = """(() => {
    const light = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const luminance = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(part => light(part / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = e => {
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const texts = Array.from(document.querySelectorAll('p, a, dt, dd, td, h1, h2, h3, strong, code, small, text'));
    return Math.min(...texts.map(e => {
        const style = getComputedStyle(e);
        const two = [luminance(e.namespaceURI.endsWith('svg') ? style.fill : style.color), luminance(ground(e))];
        return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
    }));
})()"""


# Letters that stand before the one they follow in the source, on the same line of the same sentence; a name that is
# written from right to left may do so within itself.
TURNED = """(name => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), places = [];
    for (let node; node = walker.nextNode();) for (let i = 0; i < node.data.length; i++) {
        const range = document.createRange();
        range.setStart(node, i);
        range.setEnd(node, i + 1);
        const box = range.getBoundingClientRect(), sentence = node.parentElement.closest('td,p,li,dd,h3,h4,text');
        if (node.data[i].trim() && box.width) places.push([node.data[i], box, sentence]);
    }
    return places.slice(1).map((place, i) => [places[i], place])
        .filter(([[a, one, p], [b, two, q]]) => p && p === q && two.left < one.left
            && Math.abs(one.top + one.height / 2 - two.top - two.height / 2) < 4
            && !(name.includes(a) && name.includes(b)))
        .map(([[a, , p], [b]]) => a + ' ' + b + ' in ' + p.textContent.slice(0, 80));
})"""


@pytest.fixture(scope="module", params=["good", "troubled"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("report")
    statement = kit.statement() if request.param == "good" else kit.troubled("x" * 200)
    source, _ = render(statement, kit.inversion(), datetime(2026, 1, 2, tzinfo=UTC))
    (folder / "report.html").write_text(source, encoding="utf-8")
    with opened(folder / "report.html", folder / "profile") as shown:
        yield shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_page(page: Page, width: int, scheme: Scheme) -> None:
    page.resize(width)
    page.prefer(scheme)
    assert page.evaluate("document.documentElement.clientWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(BEYOND) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Page, scheme: Scheme) -> None:
    page.prefer(scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    assert page.evaluate(CONTRAST) >= 4.5


@pytest.mark.parametrize("width", [360, 1280])
def test_every_plot_is_there_and_as_large_as_its_letters_need(page: Page, width: int) -> None:
    page.resize(width)
    plots = page.evaluate(
        "Array.from(document.querySelectorAll('svg')).map(e => [e.getBoundingClientRect().width, "
        "e.getBoundingClientRect().height, e.querySelectorAll('path, rect, circle').length])"
    )
    assert len(plots) >= 7
    for wide, high, shapes in plots:
        assert wide >= 300
        assert high >= 60
        assert shapes >= 3


def test_pictures_are_decoded(page: Page) -> None:
    sizes = page.evaluate("Array.from(document.images).map(e => [e.complete, e.naturalWidth, e.naturalHeight])")
    assert sizes == [[True, 28, 28]] * 15


def test_links_lead_to_parts_of_the_page(page: Page) -> None:
    assert page.evaluate("Array.from(document.links).every(e => document.querySelector(e.hash) !== null)")


def test_on_paper_it_is_dark_on_white_and_as_wide_as_the_sheet(page: Page) -> None:
    page.resize(794)
    page.prefer("dark", on="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    widths = page.evaluate(
        "Object.fromEntries(['.claim', '.card', 'svg', 'table'].map(e => [e, document.querySelector(e).clientWidth]))"
    )
    page.prefer("light")
    assert widths[".claim"] > 600
    assert widths[".card"] > 300
    assert widths["svg"] > 300
    assert widths["table"] > 600
    assert page.print_out().startswith(b"%PDF-")


def test_a_picture_of_the_page_is_as_wide_as_the_telephone(page: Page) -> None:
    page.resize(360)
    width, height = struct.unpack(">II", page.screenshot()[16:24])
    assert width == 360
    assert height == page.evaluate("document.documentElement.scrollHeight")


@pytest.mark.parametrize("name", ["\u05d0\u05d1\u05d2\u05d3", "\u0633\u0644\u0627\u0645"])
def test_a_name_written_from_right_to_left_turns_no_number_beside_it(name: str, tmp_path: Path) -> None:
    """Against a ledger whose names make the page show 5.21 where 12.5 was written."""
    statement = kit.troubled(name)
    digests = tuple(replace(each, software=name, code=b"\x12" * 32) for each in statement.releases)
    source, _ = render(replace(statement, releases=digests))
    (tmp_path / "report.html").write_text(source, encoding="utf-8")
    with opened(tmp_path / "report.html", tmp_path / "profile") as shown:
        shown.resize(1280)
        assert shown.evaluate(f"document.body.textContent.includes('{name}')")
        assert shown.evaluate(f"{TURNED}('{name}')") == []


def test_the_browser_has_nothing_to_complain_about(page: Page) -> None:
    assert page.complaints == []


def test_a_script_in_the_page_would_be_refused_and_seen(tmp_path: Path) -> None:
    """The list of complaints above is empty because nothing was wrong, not because nobody looked."""
    source, _ = render(kit.statement(1, 1))
    planted = source.replace("</body>", "<script>document.title='run'</script><img src='x.png'></body>")
    (tmp_path / "report.html").write_text(planted, encoding="utf-8")
    with opened(tmp_path / "report.html", tmp_path / "profile") as shown:
        assert shown.evaluate("document.title").startswith("Privacy report")
        assert len(shown.complaints) >= 2
