"""A page as a strict reader meets it."""

from __future__ import annotations

from html.parser import HTMLParser

from dp.ledger.statement import Statement
from protocols.report.privacy import render

EMPTY = {"meta", "img", "br"}


class Reader(HTMLParser):
    """A strict reader: every element is closed in its order; what is met is kept."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def shown(statement: Statement) -> str:
    return read(render(statement)[0]).text
