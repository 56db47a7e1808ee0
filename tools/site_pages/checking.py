"""Nothing a page loads lies elsewhere, and links outwards have a form: `python -m tools.site_pages.checking FOLDER`.

Links inside are mkdocs' own check (`validation` in mkdocs.yml). Nobody is asked over the network here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

# What a browser fetches by itself when it shows a page.
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}
LOADED_RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}


class Reader(HTMLParser):
    """Collects what is wrong with one page."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        for name, value in named.items():
            loaded = (tag, name) in LOADED or (
                (tag, name) == ("link", "href") and not LOADED_RELATIONS.isdisjoint(named.get("rel", "").split())
            )
            if loaded and urlsplit(value).netloc:
                self.problems.append(f"loads {value}")
            if (tag, name) == ("a", "href") and not well_formed(value):
                self.problems.append(f"links to {value!r}")


def well_formed(link: str) -> bool:
    """A link inside the site, or https with a host and without spaces."""
    parts = urlsplit(link)
    if parts.scheme in ("", "mailto"):
        return " " not in link and not parts.netloc
    return parts.scheme == "https" and "." in parts.netloc and " " not in link


def problems_of(folder: Path) -> Iterator[str]:
    """One line for each, over all pages of a built site.  Raises: FileNotFoundError where there is no site."""
    pages = sorted(folder.rglob("*.html"))
    if not pages:
        raise FileNotFoundError(f"no page in {folder}")
    for page in pages:
        reader = Reader()
        reader.feed(page.read_text(encoding="utf-8"))
        yield from (f"{page.relative_to(folder)} {problem}" for problem in reader.problems)


def main(folder: Path) -> int:
    """0 where nothing is wrong; else 1, and one line for each problem."""
    found = list(problems_of(folder))
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
