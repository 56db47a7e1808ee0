"""The runs whose privacy is accounted on every side: T Gaussian releases, each on a Poisson sample of rate q."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count

from benchmarks.rows import Taken, alternate, timed
from dp import Event, GaussianEvent, Poisson, Repeated, Sampled, Unit
from dp.pld import PldAccountant

UNIT = Unit("add-or-remove-one")
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Run:
    """`noise` is the standard deviation divided by the L2 sensitivity; epsilon is asked at `delta`."""

    rate: Fraction
    noise: Fraction
    steps: int
    delta: Fraction

    def __str__(self) -> str:
        return f"q = {self.rate}, z = {float(self.noise):g}, T = {self.steps:,}, delta = {float(self.delta):g}"

    @property
    def step(self) -> Event:
        """One round."""
        return Sampled(GaussianEvent.for_multiplier(self.noise), Poisson(self.rate))

    @property
    def event(self) -> Event:
        return Repeated(self.step, self.steps)

    @property
    def plain(self) -> tuple[float, float, int, float]:
        """(q, z, T, delta) as the peers take them."""
        return float(self.rate), float(self.noise), self.steps, float(self.delta)

    def anew(self) -> Run:
        """The same with a noise that nobody has asked about before, so that nobody remembers the answer."""
        return replace(self, noise=self.noise + Fraction(next(_numbers), 10**9))


def run_of(rate: str, noise: str, steps: int, delta: str) -> Run:
    """Exactly these decimals."""
    return Run(Fraction(rate), Fraction(noise), steps, Fraction(delta))


# The first are the quickest. Rates of central training and of rounds of a federation, few releases and many,
# little noise and much; deltas from 1e-3 to 1e-10.
RUNS = (
    run_of("1/100", "1", 100, "1e-5"),
    run_of("1/10", "1.5", 100, "1e-4"),
    run_of("1/100", "1", 1_000, "1e-5"),
    run_of("1/100", "1", 10_000, "1e-5"),
    run_of("1/100", "0.5", 500, "1e-5"),
    run_of("1/100", "0.8", 500, "1e-5"),
    run_of("1/100", "1.5", 2_000, "1e-10"),
    run_of("1/100", "8", 10_000, "1e-6"),
    run_of("1/250", "1.1", 15_000, "1e-5"),
    run_of("1/250", "0.7", 10_000, "1e-5"),
    run_of("1/1000", "1", 2_000, "1e-7"),
    run_of("1/1000", "0.8", 5_000, "1e-8"),
    run_of("1/1000", "0.6", 1_000, "1e-6"),
    run_of("1/10000", "1", 15_000, "1e-7"),
    run_of("1/10000", "0.7", 10_000, "1e-9"),
    run_of("1/50", "1.2", 400, "1e-3"),
    run_of("1/50", "2.5", 5_000, "1e-8"),
    run_of("1/30", "0.7", 1_500, "3e-4"),
    run_of("1/20", "1", 50, "1e-5"),
    run_of("1/20", "2", 1_000, "1e-6"),
    run_of("1/10", "2", 100, "1e-3"),
    run_of("1/5", "3", 300, "1e-5"),
    run_of("1/2", "1", 10, "1e-5"),
    run_of("1/2", "4", 200, "1e-6"),
    run_of("9/10", "5", 50, "1e-5"),
)
MILLION = run_of("1/1000", "1", 1_000_000, "1e-6")


def told_of(run: Run) -> PldAccountant:
    """Our accountant, once it has heard of the whole run."""
    accountant = PldAccountant(UNIT)
    accountant.compose(run.event)
    return accountant


@dataclass(frozen=True, slots=True)
class Asked:
    """What both sides took for one run, and what they answered to the run itself."""

    run: Run
    ours: Taken
    peer: Taken
    ours_answer: float
    peer_answer: float

    @property
    def above(self) -> float:
        """How far our answer is above the peer's, relative; 0 where it is below, infinite where it is no number."""
        return max(0.0, off) if math.isfinite(off := relative(self.ours_answer, self.peer_answer)) else math.inf


def relative(answer: float, truth: float) -> float:
    """How far an answer is from the truth, as a share of it; no number where the truth is none to share."""
    return answer / truth - 1 if truth else math.nan


def ask(run: Run, ours: Callable[[Run], float], peer: Callable[[Run], float], repeats: int) -> Asked:
    """Both asked in turns, about a new noise each time."""
    taken, taken_peer = alternate(timed(lambda: ours(run.anew())), timed(lambda: peer(run.anew())), repeats)
    return Asked(run, taken, taken_peer, ours(run), peer(run))


def together(taken: list[Taken]) -> Taken:
    """What all of them took, one after the other; as a spread the sum of theirs, which is the most it can be."""
    spreads = [t.spread for t in taken if t.spread is not None]
    spread = sum(spreads) if len(spreads) == len(taken) else None
    return Taken(sum(t.least for t in taken), sum(t.median for t in taken), taken[0].repeats, spread)
