"""How our docstrings become Markdown: `Raises:`, `Source:` and the like begin paragraphs of their own, in bold."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import griffe

SECTION = re.compile(
    r"(?:^|(?<=[.;:)]  ))(Shapes|Guarantee|Raises|Source|Sources|Against|Units|Assumes|Cost): ", re.MULTILINE
)


def as_markdown(text: str) -> str:
    """The same words; sections apart, and brackets and stars that Markdown would take for its own left as they are."""
    return SECTION.sub(r"\n\n**\1** ", inspect.cleandoc(text))


class Sections(griffe.Extension):
    """Rewrites each docstring when it has been read."""

    def on_instance(self, *, node: ast.AST | griffe.ObjectNode, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
