"""One result, two faces: a rich table for people, one JSON object for programs.

Both are made from the same mapping, so they can never disagree. Results go to stdout, progress and
notes to stderr; NaN and infinity become null, because JSON has neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

VERSION = 1
NOTES = Console(stderr=True)

Value = object


class Output(Protocol):
    """Where a command's result, or its failure, is shown; `command` is None before one was understood."""

    def result(self, command: str, values: Mapping[str, Value]) -> None: ...
    def failure(self, command: str | None, name: str, message: str) -> None: ...


def finite(value: Value) -> Value:
    """The same value with every float that JSON cannot say replaced by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


class JsonOutput:
    """Exactly one JSON object on stdout."""

    def result(self, command: str, values: Mapping[str, Value]) -> None:
        print(json.dumps({"version": VERSION, "command": command, **{k: finite(v) for k, v in values.items()}}))

    def failure(self, command: str | None, name: str, message: str) -> None:
        print(json.dumps({"version": VERSION, "command": command, "error": name, "message": message}))


class TextOutput:
    """A two-column table on stdout; failures on stderr."""

    def result(self, command: str, values: Mapping[str, Value]) -> None:
        table = Table(title=f"secagg {command}", show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for key, value in values.items():
            # As Text, because a path may hold what rich takes for markup.
            table.add_row(key.replace("_", " "), Text(text_of(finite(value))))
        Console().print(table)

    def failure(self, command: str | None, name: str, message: str) -> None:
        NOTES.print(f"{name}: {message}", style="bold red", markup=False, highlight=False)


def text_of(value: Value) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " ".join(map(text_of, value))
    # A path may hold bytes that are no text: shown as "?", where printing them would fail.
    return str(value).encode("utf-8", "replace").decode("utf-8")
