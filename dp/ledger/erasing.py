"""Which openings were taken out, in words the ledger's key signs: without them an erased opening is damage.

    ERASE   {"openings": [[entry, first, last], ...]}       runs of positions, none twice

Whoever has the file but not the key can put a leaf where an opening was: the roots hold, and a client's rounds are
gone. What is erased must therefore be said, in the same transaction, by whoever may.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dp.canonical import Body, Value, require_keys
from dp.errors import BadParameters, Corrupt
from dp.ledger.cohorts import Opening

# Runs in one entry: their numbers have at most 19 digits each, and all of it must fit into a body.
MOST_RUNS = 1000


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """The openings first..last of one entry.  Raises: BadParameters."""

    seq: int
    first: int
    last: int

    def __post_init__(self) -> None:
        if not (0 <= self.seq < 2**63 and 0 <= self.first <= self.last < 2**63):
            raise BadParameters(f"openings {self.first} to {self.last} of entry {self.seq} are none")

    @property
    def size(self) -> int:
        """How many openings."""
        return self.last - self.first + 1


class Erasures:
    """Openings that were taken out, by entry, each once; neighbouring runs are one."""

    def __init__(self) -> None:
        self._by_entry: dict[int, list[Run]] = {}

    @property
    def size(self) -> int:
        """How many openings."""
        return sum(run.size for runs in self._by_entry.values() for run in runs)

    def add(self, run: Run) -> None:
        """One more run.  Raises: BadParameters where one of its openings was taken out already."""
        runs = self._by_entry.setdefault(run.seq, [])
        at = bisect_left(runs, run)
        before, after = runs[at - 1 : at] if at else [], runs[at : at + 1]
        if any(run.first <= near.last and near.first <= run.last for near in before + after):
            raise BadParameters(f"openings {run.first} to {run.last} of entry {run.seq} were erased before")
        near = [each for each in before if each.last + 1 == run.first]
        near += [each for each in after if run.last + 1 == each.first]
        joined = Run(run.seq, min([run.first, *(n.first for n in near)]), max([run.last, *(n.last for n in near)]))
        start = at - 1 if before and before[0] in near else at
        runs[start : start + len(near)] = [joined]

    def in_entry(self, seq: int) -> int:
        """How many openings of one entry."""
        return sum(run.size for run in self._by_entry.get(seq, ()))

    def require_same(self, found: Erasures) -> None:
        """What is erased beside the entries is what was said to be.  Raises: Corrupt at the least entry it is not."""
        entries = self._by_entry.keys() | found._by_entry.keys()
        different = [seq for seq in entries if self._by_entry.get(seq) != found._by_entry.get(seq)]
        if different:
            seq = min(different)
            raise Corrupt(
                f"{found.in_entry(seq)} openings of entry {seq} are erased, the ledger's key says "
                f"{self.in_entry(seq)}, or others: restore a copy",
                seq=seq,
            )


def runs_of(openings: Iterable[Opening]) -> list[Run]:
    """The places of openings, which come in their order."""
    runs: list[Run] = []
    for each in openings:
        if runs and (runs[-1].seq, runs[-1].last + 1) == (each.seq, each.position):
            runs[-1] = Run(each.seq, runs[-1].first, each.position)
        else:
            runs.append(Run(each.seq, each.position, each.position))
    return runs


def bodies_of(runs: Sequence[Run]) -> list[Body]:
    """As they stand in ERASE entries, in as many as it takes."""
    pieces = (runs[at : at + MOST_RUNS] for at in range(0, len(runs), MOST_RUNS))
    return [{"openings": [[run.seq, run.first, run.last] for run in piece]} for piece in pieces]


def runs_in(body: Body) -> list[Run]:
    """What an ERASE entry says.  Raises: BadParameters."""
    require_keys(body, "openings", "clock")
    listed = body["openings"]
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise BadParameters("openings is no list of runs")
    return [_run_of(each) for each in listed]


def _run_of(each: Value) -> Run:
    match each:
        case [int(seq), int(first), int(last)]:
            return Run(seq, first, last)
    raise BadParameters("a run of openings is three integers: entry, first, last")
