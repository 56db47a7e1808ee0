"""The navigation, from the folders: a page is in it because it is there."""

from __future__ import annotations

import re
from collections.abc import Iterable

SECTIONS = {"tutorial": "Tutorial", "how-to": "How to", "explanation": "Explanation", "reference": "Reference"}
LAST = 1000


def order_of(text: str) -> int:
    """The `order` that the front matter gives, or a place behind all that have one."""
    found = re.match(r"---\n(?:.*\n)*?order: *(\d+)\n(?:.*\n)*?---\n", text)
    return int(found[1]) if found else LAST


def navigation(pages: Iterable[tuple[str, str]]) -> list[object]:
    """mkdocs' `nav` of pages given as (path, text).

    Raises: ValueError for a page outside the sections.
    """
    chosen = sorted(pages, key=lambda page: (order_of(page[1]), page[0]))
    sections: dict[str, list[str]] = {name: [] for name in SECTIONS}
    for path, _ in chosen:
        section, inside, _ = path.partition("/")
        if inside and section in sections:
            sections[section].append(path)
        elif path != "index.md":
            raise ValueError(f"{path} is in none of {', '.join(SECTIONS)}")
    return ["index.md", *({SECTIONS[name]: paths} for name, paths in sections.items() if paths)]
