"""A result as tables for people, and as the one object that is printed, stored and made a page of."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.machine import commit, machine, versions
from benchmarks.measuring import Measured
from benchmarks.rows import Row
from benchmarks.scoreboard import Cell, scoreboard
from benchmarks.suites import attacks
from protocols.report.tables import finite

WIDTH = 170


def result_of(done: Sequence[Measured], effort: str) -> dict[str, Any]:
    """Everything that was measured, and on what: one JSON object without NaN or infinity."""
    rows = [row.to_dict() for one in done for row in one.rows]
    verdicts = [row for row in rows if row["suite"] == "attacks"]
    cells = scoreboard(rows_of(done), verdicts)
    places = sorted({one.environment for one in done if one.environment and not one.skipped})
    plain = {
        "version": 1,
        "command": "bench",
        "suite": list(dict.fromkeys(one.suite for one in done)),
        "effort": effort,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(places),
        "seconds": round(sum(one.seconds for one in done), 1),
        "modules": [one.to_dict() for one in done],
        "scoreboard": [cell.to_dict() for cell in cells],
        "skipped": [why for one in done for why in one.skipped],
        "failed": [f"{one.module}: {one.failed}" for one in done if one.failed],
        "rows": rows,
    }
    return {key: finite(value) for key, value in plain.items()}


def rows_of(done: Iterable[Measured]) -> list[Row]:
    """All figures, without the attacks."""
    return [row for one in done for row in one.rows if isinstance(row, Row)]


def holds(result: dict[str, Any]) -> bool:
    """Whether nothing failed, every row passed, and no goal of the scoreboard was missed."""
    missed = any(cell["passed"] is False for cell in result["scoreboard"])
    return not missed and not result["failed"] and all(row["passed"] for row in result["rows"])


def show(done: Sequence[Measured], result: dict[str, Any]) -> None:
    """Rows, attacks, scoreboard, and what was skipped or failed."""
    out = Console(width=WIDTH)
    if rows := rows_of(done):
        out.print(table_of(rows))
    if verdicts := [row for one in done for row in one.rows if isinstance(row, attacks.VerdictRow)]:
        out.print(attacks.table_of(verdicts))
    cells = [Cell(**cell) for cell in result["scoreboard"]]
    if any(cell.passed is not None for cell in cells):
        out.print(scoreboard_table(cells))
    for line in (*result["skipped"], *(f"FAILED {line}" for line in result["failed"])):
        out.print(Text(line))


def table_of(rows: Iterable[Row]) -> Table:
    table = Table(title="benchmarks")
    for column in ("suite", "case", "ours", "spread", "peer", "spread", "ratio", "limit", "passed", "errors"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = (
            row.suite,
            f"{row.case} ({row.note})" if row.note else row.case,
            f"{row.ours.least:.3g} {row.unit}",
            spread(row.ours.spread, row.ours.median),
            f"{row.peer.least:.3g} ({row.peer_name})",
            spread(row.peer.spread, row.peer.median),
            f"{row.ratio:.3g}" + (f" = 1/{1 / row.ratio:.3g}" if 0 < row.ratio < 1 else ""),
            f"{row.judged} <= {row.limit:.3g}",
            "yes" if row.passed else "NO",
            " / ".join(f"{error:.1e}" for error in (row.ours_error, row.peer_error) if error is not None),
        )
        table.add_row(*map(Text, cells))
    return table


def spread(value: float | None, median: float) -> str:
    """The interquartile range as a share of the median."""
    return "" if value is None or not median else f"{value / median:.0%}"


def scoreboard_table(cells: Iterable[Cell]) -> Table:
    table = Table(title="scoreboard")
    for column in ("row", "against", "measured", "goal", "passed"):
        table.add_column(column, overflow="fold")
    for cell in cells:
        said = f"{cell.measured} ({cell.why})" if cell.why else cell.measured
        table.add_row(*map(Text, (cell.row, cell.against, said, cell.goal, cell.verdict)))
    return table
