"""One result, two faces: a rich table for people, one JSON object for programs.

Both are made from the same mapping, so they can never disagree. Results go to stdout, progress and
notes to stderr; NaN and infinity become null, because JSON has neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any, Protocol

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

VERSION = 1
NOTES = Console(stderr=True)

Value = object

PROTOCOLS = "protocols"
# Of one way to run a protocol, what no column has room for: why it was chosen or refused, whom it trusts, what to mind.
BELOW_THE_TABLE = ("why", "trusts", "survives", "advice", "variants", "way")
# Whole sentences, which stand below the table of a command.
REASONS = "reasons"
TYPED_BACK = ("noise_multiplier", "sampling_rate", "confidence")


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
    """A two-column table on stdout; below it a plan's reasons, a table for each list of records and for each protocol.

    Failures go to stderr.
    """

    def result(self, command: str, values: Mapping[str, Value]) -> None:
        table = Table(title=f"secagg {command}", show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        lists = {key: value for key, value in values.items() if are_records(value)}
        for key, value in values.items():
            if key not in (PROTOCOLS, REASONS, *lists):
                # As Text, because a path may hold what rich takes for markup.
                table.add_row(label_of(key), Text(shown(key, value)))
        out = Console()
        out.print(table)
        reasons: Any = values.get(REASONS, ())
        for sentence in reasons:
            out.print(Text(sentence))
        for key, records in lists.items():
            show_records(out, key, records)
        protocols: Any = values.get(PROTOCOLS, {})
        for name, record in protocols.items():
            show_variants(out, name, record)

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


def shown(key: str, value: Value) -> str:
    """The value of a key as a person reads it: bounds rounded outwards, and in full what may be typed back."""
    if isinstance(value, float) and math.isfinite(value):
        if key in TYPED_BACK:
            return repr(value)
        if key.startswith("epsilon"):
            outwards = ROUND_FLOOR if key == "epsilon_lower" else ROUND_CEILING
            value = float(Context(prec=6, rounding=outwards).create_decimal_from_float(value))
    return text_of(finite(value))


def label_of(key: str) -> str:
    return key.replace("_", " ")


def are_records(value: Value) -> bool:
    """Whether this is a list of objects, which has a table of its own."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def show_records(out: Console, key: str, records: Any) -> None:
    """One line for each record, one column for each name that any of them has."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    table = Table(title=label_of(key))
    least = [longest_word(name, records) for name in columns]
    # Where not even the longest words fit, each column gives way as it can.
    fits = sum(least) + 3 * len(least) + 1 <= out.width
    for name, width in zip(columns, least, strict=True):
        numbers = all(isinstance(record.get(name), int | float | None) for record in records)
        justify: JustifyMethod = "right" if numbers else "left"
        table.add_column(label_of(name), justify=justify, overflow="fold", min_width=width if fits else None)
    for record in records:
        table.add_row(*(Text(shown(name, record.get(name))) for name in columns))
    out.print(table)


def longest_word(name: str, records: Any) -> int:
    """How wide a column must be for no word in it to be broken."""
    cells = (label_of(name), *(shown(name, record.get(name)) for record in records))
    return max((cell_len(word) for cell in cells for word in cell.split()), default=1)


def show_variants(out: Console, name: str, record: Mapping[str, Any]) -> None:
    """One column per way to run a protocol, the one to take first; under the table why, and what to mind."""
    variants = [record, *record["variants"]]
    table = Table(title=name, show_header=False)
    table.add_column(style="bold")
    for variant in variants:
        table.add_column(justify="right", style="" if variant["feasible"] else "dim")
    for key in record:
        # What has no meaning in this protocol, such as the degree of a graph, is no row.
        if key not in BELOW_THE_TABLE and any(variant[key] is not None for variant in variants):
            table.add_row(label_of(key), *(text_of(finite(variant[key])) for variant in variants))
    out.print(table)
    for variant in variants:
        survives = () if variant["survives"] is None else (variant["survives"],)
        for sentence in (variant["why"], *variant["trusts"], *survives, *variant["advice"]):
            out.print(Text(f"{variant['promise']}, {variant['way']}: {sentence}"))
