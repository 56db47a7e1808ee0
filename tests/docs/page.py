"""Pages as a reader sees them: fenced blocks, and what the page's front matter says about running them.

One page is one namespace and one folder; its blocks run from top to bottom. The convention is in CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the page's environment must be able to import.
ENVIRONMENTS = {"flower": "flwr", "nvflare": "nvflare", "pfl": "pfl"}
FENCE = re.compile(
    r"^(?:<!-- environment: (?P<environment>\w+) -->\n)?"
    r"(?P<indent> *)```(?P<head>[^\n`]*)\n(?P<body>.*?)^(?P=indent)`{3,}[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
# What Markdown takes for a fence: of three or more, of tildes too, in quotes, behind tabs or a list's mark.
ANY_FENCE = re.compile(r"^[ \t>]*(?:(?:[-*+]|\d+\.)[ \t]+)?(?:`{3,}|~{3,})", re.MULTILINE)
ANY_ENVIRONMENT = re.compile(r"<!--\s*environment", re.IGNORECASE)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the file to save it as, where it begins, and the environment it asks for."""

    language: str
    title: str
    text: str
    line: int
    environment: str = ""


@dataclass(frozen=True)
class Page:
    """A page with its blocks, as it is read in one environment; `path` is relative to the checkout.

    `checkout`: whether the reader's folder has the examples.
    """

    path: str
    environment: str
    slow: bool
    checkout: bool
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        return f"{self.path}-{self.environment}" if self.environment else self.path

    def readings(self) -> Iterator[Page]:
        """As its reader sees it, and once more in each environment that some of its blocks ask for."""
        for environment in (self.environment, *sorted({block.environment for block in self.blocks} - {""})):
            blocks = tuple(block for block in self.blocks if block.environment in ("", environment))
            yield replace(self, environment=environment, blocks=blocks)


def front_matter(text: str) -> dict[str, str]:
    """The `key: value` lines between the leading rules."""
    found = re.match(r"---\n(.*?)^---\n", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^(\w+): *(.+)$", found[1], re.MULTILINE)) if found else {}


def blocks_of(text: str) -> tuple[Block, ...]:
    found = []
    for match in FENCE.finditer(text):
        head, indent = match["head"].strip(), match["indent"]
        language, _, rest = head.partition(" ")
        title = TITLE.search(rest)
        body = re.sub(f"^{indent}", "", match["body"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start("body")) + 1
        found.append(Block(language, title[1] if title else "", body, line, match["environment"] or ""))
    return tuple(found)


def unread(text: str) -> list[int]:
    """Lines with a fence that opens or closes no block of the kind that is read, or an environment of no block."""
    # Line breaks stay, so that lines are counted as they are in the page.
    left = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    strays = [*ANY_FENCE.finditer(left), *ANY_ENVIRONMENT.finditer(left)]
    return sorted(left.count("\n", 0, stray.start()) + 1 for stray in strays)


def page_of(path: str, text: str) -> Page:
    settings = front_matter(text)
    slow, checkout = (settings.get(name) == "true" for name in ("slow", "checkout"))
    return Page(path, settings.get("environment", ""), slow, checkout, blocks_of(text))


def pages() -> list[Page]:
    """The front page, and every written page of the site."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page_of(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths]
