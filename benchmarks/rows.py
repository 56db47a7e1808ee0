"""One measured figure beside its peer, and how figures are taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

WARM_UPS = 1
REPEATS = 7


@dataclass(frozen=True, slots=True)
class Row:
    """`ours` and `peer` in `unit`, measured alternately in one run; `limit` bounds what `judged` names."""

    suite: str
    case: str
    unit: str
    ours: float
    peer_name: str
    peer: float
    limit: float
    judged: str

    @property
    def ratio(self) -> float:
        """ours / peer."""
        return self.ours / self.peer

    @property
    def passed(self) -> bool:
        return (self.ours if self.judged == "ours" else self.ratio) <= self.limit

    def to_dict(self) -> dict[str, object]:
        return {
            "suite": self.suite,
            "case": self.case,
            "unit": self.unit,
            "ours": self.ours,
            "peer_name": self.peer_name,
            "peer": self.peer,
            "ratio": self.ratio,
            "limit": self.limit,
            "judged": self.judged,
            "passed": self.passed,
        }


def alternate(ours: Callable[[], object], peer: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Least seconds of each, taken in turns so that a busy machine slows both."""
    best_ours = best_peer = float("inf")
    for repeat in range(WARM_UPS + repeats):
        seconds_ours, seconds_peer = seconds_of(ours), seconds_of(peer)
        if repeat >= WARM_UPS:
            best_ours, best_peer = min(best_ours, seconds_ours), min(best_peer, seconds_peer)
    return best_ours, best_peer


def seconds_of(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
