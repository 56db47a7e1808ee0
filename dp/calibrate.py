"""The least noise, the most rounds, the largest sampling rate or the largest clip that a budget allows.

    law: noise -> Event      one release with that much noise; epsilon must fall as noise grows
         or clip -> Event    one release of updates clipped to that bound; epsilon must grow with the clip
    schedule                 how often it is made, on whom
    answer                   on the grid of 21-bit dyadic rationals (relative step 2^-20), always the safe
                             neighbour of the boundary, so no answer spends more than the budget

Everything goes through dp.accountant.account: a tighter accountant there means less noise here. The classic
sqrt(2 ln(1.25/delta))/epsilon appears nowhere: it is wrong above epsilon 1 and wasteful below.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from dp.accountant import Budget, Interval, Unit, View, account
from dp.errors import AccountantDisagreement, BadParameters, Infeasible, NoiseTooCoarse
from dp.events import Event, Exact, FixedSize, GaussianEvent, Poisson, Repeated, Sampled, Sampling, exact

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

    def reached(self) -> float:
        """The probability that a given unit is in some cohort: 1 - (1 - q)^steps."""
        match self.sampling:
            case None:
                return 1.0
            case Poisson(q=rate):
                taken = float(rate)
            case FixedSize(m=cohort, population=population):
                taken = cohort / population
        return 1.0 if taken >= 1.0 else -math.expm1(self.steps * math.log1p(-taken))

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
        never below the exact answer, and within 2^-20 above what the accountants can prove.
    Raises: Infeasible when no noise is enough, or none is needed; UnsupportedEvent; BadParameters for another
        relation.
    """
    _same_relation(unit, budget)
    if view is View.RELEASED and schedule.reached() <= budget.delta:
        raise Infeasible(
            f"with probability {schedule.reached():.3g} anybody is in a cohort at all, which delta "
            f"{float(budget.delta)!r} allows to be given away: this budget is met without any noise. Lower delta"
        )

    def priced(noise: Fraction) -> Interval | None:
        try:
            return account([schedule.run(law(noise))], unit, view, budget.delta)
        except NoiseTooCoarse:
            return None  # too little noise to be accounted for at all: not enough

    _, noise = _boundary(lambda noise: _overspent(priced(noise), budget), "noise", budget)
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
    """The largest number of steps within the budget.

    Raises: Infeasible when even one is too many, or 2^48 are not.
    """
    _same_relation(unit, budget)

    def left(steps: int) -> float:
        missing = _overspent(account([Schedule(steps, sampling).run(release)], unit, view, budget.delta), budget)
        # 0 is spent to the last bit, and still within.
        return max(-missing, sys.float_info.min) if missing <= 0.0 else -missing

    if left(1) < 0.0:
        raise Infeasible(f"one release already costs more than epsilon {float(budget.epsilon)!r}; add noise")
    if left(_MOST_STEPS) > 0.0:
        raise Infeasible(f"{_MOST_STEPS} steps fit: the budget does not bound them")
    exponent = _last_above_zero(lambda power: left(1 << power), 0, _MOST_STEPS.bit_length() - 1)
    return _last_above_zero(left, 1 << exponent, 2 << exponent)


def largest_rate(unit: Unit, release: Event, steps: int, view: View, budget: Budget) -> Fraction:
    """The largest Poisson sampling rate within the budget, at most 1.

    Raises: Infeasible when no rate is small enough, as for a viewer who knows the cohorts.
    """
    _same_relation(unit, budget)

    def underspent(rate: Fraction) -> float:
        if rate > 1:
            return -math.inf
        run = Schedule(steps, Poisson(rate)).run(release)
        return -_overspent(account([run], unit, view, budget.delta), budget)

    return _boundary(underspent, "sampling rate", budget)[0]


def largest_clip(unit: Unit, schedule: Schedule, view: View, budget: Budget, law: Law) -> Fraction:
    """The largest clip whose schedule stays within the budget, noise being what the law makes of it.

    Raises: Infeasible when no clip is small enough, or when none is too large; NoiseTooCoarse; UnsupportedEvent.
    """
    _same_relation(unit, budget)

    def underspent(clip: Fraction) -> float:
        return -_overspent(account([schedule.run(law(clip))], unit, view, budget.delta), budget)

    return _boundary(underspent, "clip", budget)[0]


def _within(interval: Interval | None, budget: Budget) -> bool:
    """Strictly: the double `upper`, as the rational it is, must not exceed epsilon."""
    if interval is None or math.isinf(interval.upper):
        return False
    return Fraction(interval.upper) <= budget.epsilon


def _overspent(interval: Interval | None, budget: Budget) -> float:
    """ln(upper / epsilon), which is above 0 exactly when the interval is not within the budget."""
    if interval is None or math.isinf(interval.upper):
        return math.inf
    if interval.upper == 0.0:
        return -math.inf
    ratio = math.log(interval.upper) - _log(budget.epsilon) if budget.epsilon else math.inf
    return min(ratio, 0.0) if _within(interval, budget) else max(ratio, sys.float_info.min)


def _log(number: Fraction) -> float:
    """ln of a rational that may be too small for a double."""
    return math.log(number.numerator) - math.log(number.denominator)


def _same_relation(unit: Unit, budget: Budget) -> None:
    if unit.relation is not budget.relation:
        raise BadParameters(f"the unit is {unit.relation}, the budget {budget.relation}: they must agree")


def _boundary(missing: Callable[[Fraction], float], what: str, budget: Budget) -> tuple[Fraction, Fraction]:
    """Neighbours (low, high) on the dyadic grid, a falling `missing` above 0 at low and not at high."""
    exponent = _exponent(lambda argument: missing(argument) <= 0.0, what, budget)
    scale = Fraction(2) ** (exponent - _GRID_BITS)
    low = _last_above_zero(lambda index: missing(index * scale), 2**_GRID_BITS, 2 ** (_GRID_BITS + 1))
    return low * scale, (low + 1) * scale


def _last_above_zero(value: Callable[[int], float], low: int, high: int) -> int:
    """The last index of [low, high) at which a falling function is above 0, as it is at low and not at high.

    Interpolates, truncates towards the middle and stays within reach of bisection: the ITP method, at most one
    probe more than bisection, about half as many where the function is smooth.
    Source: Oliveira and Takahashi, ACM TOMS 47(1), 2020.
    """
    whole, reach = high - low, float(high - low)
    at_low, at_high = value(low), value(high)
    while high - low > 1:
        middle, width = (low + high) / 2.0, high - low
        guess = low + width * at_low / (at_low - at_high) if math.isfinite(at_low - at_high) else middle
        side = math.copysign(1.0, middle - guess)
        guess = middle if abs(middle - guess) < (truncated := 0.2 * width * width / whole) else guess + side * truncated
        guess = middle - side * min(abs(middle - guess), reach - width / 2.0)
        probe = min(max(math.ceil(guess) if side > 0 else math.floor(guess), low + 1), high - 1)
        found = value(probe)
        low, high, at_low, at_high = (probe, high, found, at_high) if found > 0.0 else (low, probe, at_low, found)
        reach /= 2.0
    return low


def _exponent(holds: Callable[[Fraction], bool], what: str, budget: Budget) -> int:
    """e with `holds` false at 2^e and true at 2^(e+1)."""
    step = -1 if holds(Fraction(1)) else 1
    exponent = 0
    while holds(Fraction(2) ** (exponent + step)) == (step < 0):
        exponent += step
        if abs(exponent) >= _FARTHEST:
            raise Infeasible(
                f"no {what} between 2^-{_FARTHEST} and 2^{_FARTHEST} meets epsilon {float(budget.epsilon)!r} "
                f"at delta {float(budget.delta)!r}; allow more epsilon or delta, fewer steps or other parts"
            )
    return exponent if step > 0 else exponent - 1
