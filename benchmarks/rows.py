"""One measured figure beside its peer, and how figures are taken.

Seconds of one thread are CPU seconds: what the process spent, whoever else uses the machine. Where several
threads share the work only the wall clock can tell, so those rows want a quiet machine.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

WARM_UPS = 1

Clock = Callable[[], float]
cpu_seconds: Clock = time.process_time
wall_seconds: Clock = time.perf_counter


@dataclass(frozen=True, slots=True)
class Threads:
    """How many share the work, and by which clock their seconds are taken."""

    count: int

    def __str__(self) -> str:
        return f"{self.count} thread{'s' * (self.count > 1)}"

    @property
    def clock(self) -> Clock:
        return cpu_seconds if self.count == 1 else wall_seconds

    @property
    def note(self) -> str:
        return "CPU seconds" if self.count == 1 else "wall clock"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a run measures: vector lengths, repetitions after the warm-up, schedules, clients, accounted runs."""

    dimension: int
    large: int
    repeats: int
    schedules: int
    most_clients: int
    most_runs: int


FULL = Effort(dimension=1_000_000, large=10_000_000, repeats=7, schedules=200, most_clients=100, most_runs=1000)
# Everything runs, and nothing is said: small inputs tell nothing about large ones.
SMOKE = Effort(dimension=10_000, large=20_000, repeats=1, schedules=8, most_clients=11, most_runs=1)

EFFORTS = {"full": FULL, "smoke": SMOKE}


@dataclass(frozen=True, slots=True)
class Taken:
    """What one side took: the least, which is compared; the median and the spread, which tell how quiet it was.

    `spread` is the interquartile range; None where there is one figure only, or where it was not kept.
    """

    least: float
    median: float
    repeats: int = 1
    spread: float | None = None

    @classmethod
    def of(cls, figures: list[float]) -> Taken:
        return cls(min(figures), statistics.median(figures), len(figures), spread_of(figures))

    @classmethod
    def once(cls, figure: float) -> Taken:
        """A count or a size: the same however often it is taken."""
        return cls(figure, figure)

    def plus(self, seconds: float) -> Taken:
        """The same with a constant more (or less) on every repetition."""
        return Taken(self.least + seconds, self.median + seconds, self.repeats, self.spread)

    def per(self, count: float) -> Taken:
        """The same for one of `count` equal parts."""
        spread = None if self.spread is None else self.spread / count
        return Taken(self.least / count, self.median / count, self.repeats, spread)


def spread_of(figures: list[float]) -> float | None:
    """The interquartile range, None of less than two figures."""
    if len(figures) < 2:
        return None
    first, _, third = statistics.quantiles(figures, n=4, method="inclusive")
    return third - first


@dataclass(frozen=True, slots=True)
class Row:
    """`ours` and `peer` in `unit`, measured alternately in one run; `limit` bounds what `judged` names.

    A fast wrong answer is a failed row: `ours_error` and `peer_error` are root mean square errors against
    float64, where the row computes something and `note` does not say that they are another distance from the
    truth; ours must be within `error_limit`. `note` also says what is counted on which side.
    """

    suite: str
    case: str
    unit: str
    ours: Taken
    peer_name: str
    peer: Taken
    limit: float
    judged: str
    ours_error: float | None = None
    peer_error: float | None = None
    error_limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """ours / peer; not a number where the peer's figure is zero."""
        return self.ours.least / self.peer.least if self.peer.least else math.nan

    @property
    def right(self) -> bool:
        """Whether our error is a number, and within its limit where it has one."""
        if self.error_limit is None:
            return self.ours_error is None or math.isfinite(self.ours_error)
        # A float of numpy's compares to a truth of numpy's, which JSON does not have.
        return self.ours_error is not None and bool(self.ours_error <= self.error_limit)

    @property
    def passed(self) -> bool:
        return self.right and bool((self.ours.least if self.judged == "ours" else self.ratio) <= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """The row as it is printed and kept; an undefined ratio is null."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        for side in ("ours", "peer"):
            taken: Taken = plain[side]
            plain |= {side: taken.least, f"{side}_median": taken.median, f"{side}_repeats": taken.repeats}
            plain |= {f"{side}_spread": taken.spread}
        # Told beside the error, which is null both where there is none and where it is no number.
        judged = {"right": self.right, "passed": self.passed}
        return plain | {"ratio": self.ratio if math.isfinite(self.ratio) else None} | judged

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Row:
        """The inverse of `to_dict`; older results have no spread."""
        values = {field.name: plain[field.name] for field in fields(cls)}
        for side in ("ours", "peer"):
            spread = plain.get(f"{side}_spread")
            values[side] = Taken(plain[side], plain[f"{side}_median"], plain[f"{side}_repeats"], spread)
        return cls(**values)


def faster(times: float) -> float:
    """The limit on ours / peer that says: at least so many times faster."""
    return 1 / times


def alternate(ours: Callable[[], float], peer: Callable[[], float], repeats: int) -> tuple[Taken, Taken]:
    """What each reports it took, in turns so that a busy machine slows both."""
    taken_ours, taken_peer = [], []
    for _ in range(WARM_UPS + repeats):
        taken_ours.append(ours())
        taken_peer.append(peer())
    return Taken.of(taken_ours[WARM_UPS:]), Taken.of(taken_peer[WARM_UPS:])


def timed(act: Callable[[], object], clock: Clock = cpu_seconds) -> Callable[[], float]:
    """`act` as something that reports the seconds it took."""

    def seconds() -> float:
        started = clock()
        act()
        return clock() - started

    return seconds


@contextlib.contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Run on `count` of this process's cores only, so that a row's thread count is what it says.

    Where the system cannot bind a process to cores, nothing is bound.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
