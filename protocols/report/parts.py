"""The building blocks of a page: sections, lists of facts, tables that become cards on a telephone, figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocols.report.markup import NOTHING, Markup, Piece, element, join
from protocols.report.style import STYLE

# A page for people; the JSON record has all of everything.
SHOWN = 24
LISTED = 100

Row = Sequence[Piece]


# No script and no address at all: a stranger's text that got past the escaping could still load and run nothing.
SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, body: Markup) -> str:
    """The whole file around a body: one style, nothing loaded from anywhere."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=SECURITY_POLICY),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en').source}\n"


def section(number: int, key: str, title: str, *pieces: Piece) -> Markup:
    """One numbered part of the page."""
    heading = element("h2", element("span", str(number), cls="number"), title, id=f"{key}-heading")
    return element("section", heading, *pieces, id=key, aria_labelledby=f"{key}-heading")


def paragraph(*pieces: Piece) -> Markup:
    return element("p", *pieces)


def quiet(*pieces: Piece) -> Markup:
    """A remark in smaller type."""
    return element("p", *pieces, cls="quiet")


def remark(sentence: str) -> Markup:
    """The same of one sentence; nothing of an empty one."""
    return quiet(sentence) if sentence else NOTHING


def code(value: str) -> Markup:
    """A name or a number as it was written."""
    return element("code", value)


def stranger(value: str) -> Markup:
    """A stranger's words within a sentence of ours: a name written from right to left draws no number of ours along."""
    return element("bdi", value)


def figures(value: str) -> Markup:
    """Numbers that stay on one line."""
    return element("span", value, cls="figures")


def hexadecimal(value: bytes) -> Markup:
    """Bytes as they can be compared by eye."""
    return element("code", value.hex(), cls="hex")


def facts(pairs: Iterable[tuple[str, Piece]]) -> Markup:
    """What is named at the left and said at the right."""
    rows = (element("div", element("dt", name), element("dd", value)) for name, value in pairs)
    return element("dl", *rows, cls="facts")


def listing(items: Iterable[Piece]) -> Markup:
    return element("ul", *(element("li", item) for item in items))


def table(caption: str, columns: Sequence[str], rows: Sequence[Row]) -> Markup:
    """A table with a heading row; on a narrow page each row is a card that repeats the headings."""
    heads = (element("th", column, scope="col", role="columnheader") for column in columns)
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads, role="row"), role="rowgroup"),
        element("tbody", *(_row(columns, row) for row in rows), role="rowgroup"),
        role="table",
    )


def _row(columns: Sequence[str], row: Row) -> Markup:
    cells = (
        element("td", element("span", cell), data_label=column, role="cell")
        for column, cell in zip(columns, row, strict=True)
    )
    return element("tr", *cells, role="row")


def figure(title: str, drawing: Piece, keys: Iterable[tuple[str, str]] = ()) -> Markup:
    """A plot under its title; `keys` are (class of the line, what it is)."""
    legend = [element("span", element("i", cls=f"swatch {style}"), words, cls="key") for style, words in keys]
    return element("figure", element("figcaption", element("strong", title), *legend), drawing)


def left_out(total: int, shown: int, what: str) -> Markup:
    """That there are more; nothing when there are not."""
    if total <= shown:
        return NOTHING
    return quiet(f"{total - shown:,} more {what} are in the JSON record, not on this page.")


def commas(pieces: Sequence[Piece]) -> Markup:
    """One, two, three."""
    return join(pieces, ", ")
