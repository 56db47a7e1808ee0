"""The scoreboard: what was promised beside each peer, and what this run measured.

A goal finds its rows by suite and case, and judges a figure made of them. A row that is
missing is "not measured", with the reason; nothing is guessed. Cases name their sizes, so small runs
measure none of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from benchmarks.rows import Row

Figure = Callable[[list[Row]], float]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows by their suite, their case and whom they are beside; in the last two a * stands for anything."""

    suite: str
    case: str
    peer: str = "*"

    def __str__(self) -> str:
        return f"{self.suite}: {self.case}" + (f", beside {self.peer}" if self.peer != "*" else "")

    def find(self, rows: Sequence[Row]) -> list[Row]:
        """All rows that are meant, exactly those."""
        return [
            row
            for row in rows
            if row.suite == self.suite and fnmatchcase(row.case, self.case) and fnmatchcase(row.peer_name, self.peer)
        ]


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the scoreboard. `passed` is None where a row was not measured; `why` is of those and of misses."""

    row: str
    against: str
    measured: str
    goal: str
    passed: bool | None
    why: str = ""

    @property
    def verdict(self) -> str:
        return "not measured" if self.passed is None else "passed" if self.passed else "MISSED"

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of the wanted rows, one list for all of them in order, must be at most `limit`.

    `said` turns the figure into words; `known` is why it is missed, where that is known.
    """

    row: str
    against: str
    goal: str
    wanted: tuple[Wanted, ...]
    figure: Figure
    limit: float
    said: Callable[[float], str]
    known: str = ""

    def cell(self, rows: Sequence[Row]) -> Cell:
        found: list[Row] = []
        for wanted in self.wanted:
            matching = wanted.find(rows)
            if not matching:
                return Cell(self.row, self.against, "not measured", self.goal, None, f"there is no row {wanted}")
            found += matching
        value = self.figure(found)
        if wrong := [row.case for row in found if not row.right]:
            # However fast.
            why = f"our answer is wrong: {', '.join(wrong)}"
            return Cell(self.row, self.against, self.said(value), self.goal, False, why)
        # A figure that is no number has been measured, and is within no limit.
        passed = value <= self.limit
        return Cell(self.row, self.against, self.said(value), self.goal, passed, "" if passed else self.known)


def scoreboard(rows: Sequence[Row], verdicts: Sequence[dict[str, Any]]) -> list[Cell]:
    """Every line; `verdicts` are the attacks' rows as they are stored."""
    from benchmarks.goals import GOALS

    cells = [goal.cell(rows) for goal in GOALS]
    return [*cells, attacks_cell(verdicts)]


def attacks_cell(verdicts: Sequence[dict[str, Any]]) -> Cell:
    """Attacks against this library that succeed; what became of the peers is in the matrix."""
    row, goal = "attacks that succeed", "0"
    if not verdicts:
        return Cell(row, "every peer", "not measured", goal, None, "the suite attacks was not run")
    # A check has a row for each peer, and ours is the same in all of them.
    checks = {str(verdict["case"]) for verdict in verdicts}
    fell = sorted({str(verdict["case"]) for verdict in verdicts if not verdict["passed"]})
    return Cell(row, "every peer", f"{len(fell)} of {len(checks)}", goal, not fell, ", ".join(fell))


# --- figures ----------------------------------------------------------------------------------------------------


def worst(figures: Iterable[float]) -> float:
    """The largest; no number as soon as one of them is none, which `max` would pass over."""
    found = list(figures)
    return math.nan if any(map(math.isnan, found)) else max(found)


def ratio(rows: list[Row]) -> float:
    """ours / peer, the worst where there are several."""
    return worst(row.ratio for row in rows)


def ours(rows: list[Row]) -> float:
    return worst(row.ours.least for row in rows)


def times(value: float) -> str:
    """A ratio of ours to the peer's as a person compares."""
    if not math.isfinite(value) or value <= 0:
        return "no number"
    return f"{1 / value:.3g} times less" if value < 1 else f"{value:.3g} times as much"


def share(value: float) -> str:
    return f"{value:.3g}x"
