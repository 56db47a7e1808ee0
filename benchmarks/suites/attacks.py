"""The attack matrix: every check against this library and against every peer, in an environment of its own.

    python -m benchmarks.suites.attacks [CHECK ...]        F1 D8 ...; exit 1 where this library falls

A peer that is not installed is named, with the reason. What a row says of a peer was seen in this very run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.matrix.checks import BY_ID, CHECKS
from benchmarks.matrix.finding import Finding, Outcome
from benchmarks.matrix.libraries import LIBRARIES, Library
from benchmarks.matrix.table import Matrix


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One check against us and against one peer."""

    ours: Finding
    peer: Finding

    @property
    def case(self) -> str:
        return str(BY_ID[self.ours.check])

    @property
    def passed(self) -> bool:
        """Whether this library withstood; what the peer does is reported, not judged."""
        return self.ours.outcome is Outcome.WITHSTOOD

    @property
    def skipped(self) -> str:
        """The peer and why it was not asked, where it is not installed."""
        return f"{self.peer.library}: {self.peer.evidence}" if self.peer.outcome is Outcome.NOT_INSTALLED else ""

    def to_dict(self) -> dict[str, object]:
        return {
            "suite": "attacks",
            "case": self.case,
            "check": self.ours.check,
            "library": self.peer.library,
            "ours": self.ours.to_dict(),
            "peer": self.peer.to_dict(),
            "skipped": self.skipped,
            "passed": self.passed,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> VerdictRow:
        """The inverse of `to_dict`."""
        return cls(Finding.from_dict(plain["ours"]), Finding.from_dict(plain["peer"]))


def rows(checks: tuple[str, ...] = (), libraries: Iterable[Library] = LIBRARIES) -> Iterator[VerdictRow]:
    """Every check, or those named, one row for each peer."""
    from benchmarks.matrix.ours import TARGET

    chosen = checks or tuple(check.id for check in CHECKS)
    own = TARGET.findings(chosen)
    for library in libraries:
        for ours, peer in zip(own, library.findings(chosen), strict=True):
            yield VerdictRow(ours, peer)


def matrix_of(found: Iterable[VerdictRow]) -> Matrix:
    """All findings, ours first."""
    found = list(found)
    return Matrix([*(row.ours for row in found), *(row.peer for row in found)])


def table_of(found: Iterable[VerdictRow]) -> Table:
    return matrix_of(found).rich()


def main() -> int:
    found = list(rows(tuple(sys.argv[1:])))
    console = Console(width=170)
    console.print(table_of(found))
    for row in found:
        if row.peer.fell:
            console.print(f"{row.peer.library} {row.case}: {row.peer.evidence}", markup=False)
    return 0 if all(row.passed for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
