"""Nothing a page loads lies elsewhere, and links outwards have a form: `python -m tools.site_pages.checking FOLDER`.

Read are pages and style sheets; what a script fetches is not seen. Links inside are mkdocs' own check (`validation` in
mkdocs.yml). Nobody is asked over the network here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

# What a browser fetches by itself when it shows a page.
LOADED = {
    *((tag, "src") for tag in ("script", "img", "iframe", "source", "video", "audio", "track", "embed", "input")),
    *((tag, name) for tag in ("image", "use") for name in ("href", "xlink:href")),
    ("object", "data"),
    ("video", "poster"),
}
LOADED_RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload"}
# In style sheets: url(...) with or without quotes, and the form of @import that has none.
FETCHED = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", re.IGNORECASE)


class Reader(HTMLParser):
    """Collects what is wrong with one page."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        named = {name: value or "" for name, value in attributes}
        for name, value in named.items():
            self.problems += (
                f"loads {address}" for address in loaded(tag, name, value, named) if is_elsewhere(address)
            )
            if (tag, name) == ("a", "href") and not well_formed(value):
                self.problems.append(f"links to {value!r}")

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.problems += problems_of_style(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def loaded(tag: str, name: str, value: str, named: dict[str, str]) -> Iterator[str]:
    """The addresses of an attribute that a browser fetches by itself."""
    relations = set(named.get("rel", "").lower().split())
    if (tag, name) in LOADED or ((tag, name) == ("link", "href") and relations & LOADED_RELATIONS):
        yield value
    elif name in ("srcset", "imagesrcset"):
        # Addresses, each with what it is for, between commas.
        yield from (candidate.split()[0] for candidate in value.split(",") if candidate.strip())
    elif name == "style":
        yield from fetched(value)


def fetched(style: str) -> Iterator[str]:
    """The addresses in a style sheet."""
    return (by_url or by_import for by_url, by_import in FETCHED.findall(style))


def is_elsewhere(address: str) -> bool:
    """Whether an address names a host, with or without a scheme."""
    return bool(urlsplit(address.strip()).netloc)


def problems_of_style(style: str) -> Iterator[str]:
    return (f"loads {address}" for address in fetched(style) if is_elsewhere(address))


def well_formed(link: str) -> bool:
    """A link inside the site, or https with a host and without spaces."""
    parts = urlsplit(link)
    if parts.scheme in ("", "mailto"):
        return " " not in link and not parts.netloc
    return parts.scheme == "https" and "." in parts.netloc and " " not in link


def problems_of(folder: Path) -> Iterator[str]:
    """One line for each, of the pages and style sheets of a site.  Raises: FileNotFoundError where there is none."""
    pages = sorted(folder.rglob("*.html"))
    if not pages:
        raise FileNotFoundError(f"no page in {folder}")
    for page in pages:
        reader = Reader()
        reader.feed(page.read_text(encoding="utf-8"))
        yield from (f"{page.relative_to(folder)} {problem}" for problem in reader.problems)
    for sheet in sorted(folder.rglob("*.css")):
        for problem in problems_of_style(sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(folder)} {problem}"


def main(folder: Path) -> int:
    """0 where nothing is wrong; else 1, and one line for each problem."""
    found = list(problems_of(folder))
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
