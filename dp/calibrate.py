"""The least noise, the most rounds or the largest sampling rate that a budget allows.

    law: noise -> Event      one release with that much noise; epsilon must fall as noise grows
    schedule                 how often it is made, on whom
    answer                   on the grid of 21-bit dyadic rationals (relative step 2^-20), always the safe
                             neighbour of the boundary, so no answer spends more than the budget

Everything goes through dp.accountant.account: a tighter accountant there means less noise here. The classic
sqrt(2 ln(1.25/delta))/epsilon appears nowhere: it is wrong above epsilon 1 and wasteful below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from dp.accountant import Budget, Interval, Unit, View, account, spent
from dp.errors import AccountantDisagreement, BadParameters, Infeasible, NoiseTooCoarse
from dp.events import Event, Exact, GaussianEvent, Poisson, Repeated, Sampled, Sampling, exact

Law = Callable[[Fraction], Event]

_GRID_BITS = 20
_FARTHEST = 60  # answers are looked for between 2^-60 and 2^60
_MOST_STEPS = 2**48


@dataclass(frozen=True, slots=True)
class Schedule:
    """The same kind of release `steps` times, each on a cohort of its own; sampling None takes everyone."""

    steps: int
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise BadParameters(f"steps must be an integer of at least 1, got {self.steps!r}")

    def run(self, release: Event) -> Event:
        """All releases of the schedule as one event."""
        return Repeated(release if self.sampling is None else Sampled(release, self.sampling), self.steps)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The argument given to the law, the whole run it makes, and what that costs.

    `tight` says that a certified lower end proves less noise would not do: with 0.2 % less the true
    epsilon is above 99 % of the budget. False also when no lower end is known.
    """

    noise: Fraction
    event: Event
    interval: Interval
    tight: bool


def calibrate(unit: Unit, schedule: Schedule, view: View, budget: Budget, law: Law) -> Calibrated:
    """The least noise whose schedule stays within the budget.

    Guarantee: interval.upper <= budget.epsilon, compared as rationals, recomputed from the returned noise;
        never below the exact answer, and within 2^-20 above what `dp.accountant.spent` proves, which is exact
        where everyone takes part and within a few 1e-5 of epsilon elsewhere.
    Raises: Infeasible when no noise is enough; UnsupportedEvent; BadParameters for another relation.
    """
    _same_relation(unit, budget)

    def priced(noise: Fraction) -> Interval | None:
        try:
            return account([schedule.run(law(noise))], unit, view, budget.delta)
        except NoiseTooCoarse:
            return None  # too little noise to be accounted for at all: not enough

    def excess(noise: Fraction) -> float:
        try:
            epsilon = spent([schedule.run(law(noise))], unit, view, budget.delta)
        except NoiseTooCoarse:
            return math.inf
        return _excess(epsilon, budget)

    _, noise = _boundary(excess, "noise", budget)
    interval = priced(noise)
    if interval is None or not _within(interval, budget):
        raise AccountantDisagreement(f"noise {noise} was within the budget and is not when asked again")
    less = priced(noise * (1 - Fraction(1, 2**9)))
    tight = less is not None and less.lower is not None and less.lower > 0.99 * float(budget.epsilon)
    return Calibrated(noise, schedule.run(law(noise)), interval, tight)


def calibrate_gaussian(budget: Budget, sampling_rate: Exact, steps: int, view: View) -> Calibrated:
    """The least noise multiplier of `steps` Gaussian releases, each on a Poisson sample of that rate."""
    schedule = Schedule(steps, Poisson(exact("sampling_rate", sampling_rate)))
    return calibrate(Unit(budget.relation), schedule, view, budget, GaussianEvent.for_multiplier)


def most_steps(unit: Unit, release: Event, sampling: Sampling | None, view: View, budget: Budget) -> int:
    """The largest number of steps within the budget.  Raises: Infeasible when even one is too many."""
    _same_relation(unit, budget)

    def fits(steps: int) -> bool:
        return _excess(spent([Schedule(steps, sampling).run(release)], unit, view, budget.delta), budget) <= 0.0

    if not fits(1):
        raise Infeasible(f"one release already costs more than epsilon {float(budget.epsilon)!r}; add noise")
    high = 2
    while fits(high):
        high *= 2
        if high > _MOST_STEPS:
            raise Infeasible(f"more than {_MOST_STEPS} steps fit: the budget does not bound them")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest_rate(unit: Unit, release: Event, steps: int, view: View, budget: Budget) -> Fraction:
    """The largest Poisson sampling rate within the budget, at most 1.

    Raises: Infeasible when no rate is small enough, as for a viewer who knows the cohorts.
    """
    _same_relation(unit, budget)

    def room(rate: Fraction) -> float:
        if rate > 1:
            return -math.inf
        run = Schedule(steps, Poisson(rate)).run(release)
        return -_excess(spent([run], unit, view, budget.delta), budget)

    return _boundary(room, "sampling rate", budget)[0]


def _within(interval: Interval | None, budget: Budget) -> bool:
    """Strictly: the double `upper`, as the rational it is, must not exceed epsilon."""
    if interval is None or math.isinf(interval.upper):
        return False
    return Fraction(interval.upper) <= budget.epsilon


def _same_relation(unit: Unit, budget: Budget) -> None:
    if unit.relation is not budget.relation:
        raise BadParameters(f"the unit is {unit.relation}, the budget {budget.relation}: they must agree")


def _excess(epsilon: float, budget: Budget) -> float:
    """How far epsilon is above the budget, on a scale that is nearly straight; at most 0 when it is within."""
    if math.isinf(epsilon):
        return math.inf
    if Fraction(epsilon) <= budget.epsilon:
        return min(0.0, math.log(max(epsilon, 1e-300)) - math.log(max(float(budget.epsilon), 1e-300)))
    return max(5e-324, math.log(epsilon) - math.log(max(float(budget.epsilon), 1e-300)))


def _boundary(excess: Callable[[Fraction], float], what: str, budget: Budget) -> tuple[Fraction, Fraction]:
    """Neighbours (low, high) on the dyadic grid: a falling `excess` is above 0 at low and not at high.

    Illinois' rule on the ranks of the grid: a secant, its stale end halved, so that no side can stay for ever.
    """
    exponent, above, below = _octave(excess, what, budget)
    scale = Fraction(2) ** (exponent - _GRID_BITS)
    low, high = 2**_GRID_BITS, 2 ** (_GRID_BITS + 1)
    while high - low > 1:
        middle = _between(low, high, above, below)
        found = excess(middle * scale)
        if found > 0.0:
            low, above, below = middle, found, below / 2.0
        else:
            high, below, above = middle, found, above / 2.0
    return low * scale, high * scale


def _between(low: int, high: int, above: float, below: float) -> int:
    """Where a straight line crosses 0, kept inside; the middle where an end has no finite value."""
    if math.isinf(above) or math.isinf(below) or above <= below:
        return (low + high) // 2
    guess = low + round((high - low) * above / (above - below))
    return min(max(guess, low + 1), high - 1)


def _octave(excess: Callable[[Fraction], float], what: str, budget: Budget) -> tuple[int, float, float]:
    """(e, excess at 2^e, excess at 2^(e+1)), the first above 0 and the second not."""
    at = excess(Fraction(1))
    step = 1 if at > 0.0 else -1
    exponent = 0
    while ((beyond := excess(Fraction(2) ** (exponent + step))) > 0.0) == (step > 0):
        exponent, at = exponent + step, beyond
        if abs(exponent) >= _FARTHEST:
            raise Infeasible(
                f"no {what} between 2^-{_FARTHEST} and 2^{_FARTHEST} meets epsilon {float(budget.epsilon)!r} "
                f"at delta {float(budget.delta)!r}; allow more epsilon or delta, fewer steps or other parts"
            )
    return (exponent, at, beyond) if step > 0 else (exponent - 1, beyond, at)
