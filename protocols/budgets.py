"""Questions about privacy budgets in the words of the command line: `secagg epsilon`, `secagg calibrate`.

    release    one release of a mechanism          noise multiplier -> Event     MECHANISMS
    sampling   who is in a cohort                  Poisson rate, or a fixed size out of a population
    Schedule   release, sampling, steps            epsilon_of(schedule, delta, relation)
    Budget     epsilon, delta, relation            noise_within, steps_within, rate_within: the one that was left out

Numbers may be typed: "1e-5" and "1/3" are exact. What is answered meets the budget when it is typed back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from dp.accountant import Budget, Interval, Relation, Unit, View, account
from dp.calibrate import Schedule as Repetition
from dp.calibrate import calibrate, largest_rate, most_steps
from dp.errors import AccountantDisagreement, BadParameters, Infeasible
from dp.events import (
    Event,
    Exact,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    Poisson,
    Sampled,
    Sampling,
    SkellamEvent,
    exact,
)
from dp.views import released_cost, seen_cost

# Integer noise lives on a lattice; here the sensitivity is this many of its steps, in any dimension.
STEPS_PER_UNIT = 1 << 10
LARGEST_DIMENSION = 1 << 32

MOST_STEPS = 1 << 48
SMALLEST_NOISE, LARGEST_NOISE = Fraction(1, 1 << 60), Fraction(1 << 60)
LARGEST_EPSILON = Fraction(1 << 60)
# Below, delta is not a double with all its digits any more.
SMALLEST_DELTA = Fraction(1, 10**300)
ANSWER_DIGITS = range(9, 2, -1)


def _discrete_gaussian(noise_multiplier: Exact) -> Event:
    """Discrete Gaussian noise on a lattice of 1/1024 of the sensitivity, in any dimension up to 2^32."""
    variance = (exact("noise multiplier", noise_multiplier) * STEPS_PER_UNIT) ** 2
    return GaussianEvent(sigma2=variance, l2_squared=STEPS_PER_UNIT**2, d=LARGEST_DIMENSION, components=1, draws=0)


def _skellam(noise_multiplier: Exact) -> Event:
    """Skellam noise on that lattice; an integer vector's L1 norm is at most its squared L2 norm, in any dimension."""
    variance = (exact("noise multiplier", noise_multiplier) * STEPS_PER_UNIT) ** 2
    return SkellamEvent(mu=variance, l2_squared=STEPS_PER_UNIT**2, l1=STEPS_PER_UNIT**2, d=LARGEST_DIMENSION, draws=0)


MECHANISMS: dict[str, Callable[[Exact], Event]] = {
    "gaussian": GaussianEvent.for_multiplier,
    "laplace": LaplaceEvent.for_multiplier,
    "discrete-gaussian": _discrete_gaussian,
    "skellam": _skellam,
}


def _law_of(mechanism: str) -> Callable[[Exact], Event]:
    if mechanism not in MECHANISMS:
        raise BadParameters(f"mechanism is {mechanism!r}, it must be one of {sorted(MECHANISMS)}")
    return MECHANISMS[mechanism]


def release_of(mechanism: str, noise_multiplier: Exact) -> Event:
    """One release with noise of standard deviation z per unit of L2 sensitivity (Laplace: of scale z per unit of L1).

    Raises: BadParameters for an unknown mechanism, or a multiplier outside 2^-60..2^60.
    """
    law, multiplier = _law_of(mechanism), exact("noise multiplier", noise_multiplier)
    if not SMALLEST_NOISE <= multiplier <= LARGEST_NOISE:
        raise BadParameters(f"noise multiplier must be above 0 and lie in 2^-60..2^60, got {noise_multiplier}")
    return law(multiplier)


def poisson(sampling_rate: Exact) -> Poisson:
    """Everybody is in a cohort with this probability.  Raises: BadParameters outside (0, 1]."""
    rate = exact("sampling rate", sampling_rate)
    if not 0 < rate <= 1:
        raise BadParameters(f"sampling rate is a probability above 0 and at most 1, got {sampling_rate}")
    return Poisson(rate)


def fixed_size(cohort: int, population: int) -> FixedSize:
    """A cohort of exactly so many, drawn from the population.  Raises: BadParameters for a larger cohort."""
    if population > MOST_STEPS:
        raise BadParameters(f"population must be at most 2^48, got {population}")
    if not 1 <= cohort <= population:
        raise BadParameters(f"cohort must lie in 1..{population} (population), got {cohort}")
    return FixedSize(cohort, population)


def steps_of(steps: int) -> int:
    """The number of releases, checked.  Raises: BadParameters outside 1..2^48."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise BadParameters(f"steps must be an integer of at least 1, got {steps!r}")
    if steps > MOST_STEPS:
        raise BadParameters(f"steps must be at most 2^48, got {steps}")
    return steps


def delta_of(delta: Exact) -> Fraction:
    """The failure probability, checked.  Raises: BadParameters outside 0, 1e-300..1."""
    number = exact("delta", delta)
    if number != 0 and not SMALLEST_DELTA <= number < 1:
        raise BadParameters(f"delta must be 0, or at least 1e-300 and below 1, got {delta}")
    return number


def budget_of(epsilon: Exact, delta: Exact, relation: str) -> Budget:
    """The limit, checked.  Raises: BadParameters."""
    limit = exact("epsilon", epsilon)
    if not 0 <= limit <= LARGEST_EPSILON:
        raise BadParameters(f"epsilon must not be negative and at most 2^60, got {epsilon}")
    return Budget(limit, delta_of(delta), relation)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`steps` releases, each over a cohort of its own; one client is in at most `participations` of them.

    Only who knows the cohorts can count participations; to a reader of the releases sampling speaks for them.
    """

    release: Event
    sampling: Sampling
    steps: int
    participations: int

    @classmethod
    def of(cls, release: Event, sampling: Sampling, steps: int, participations: int | None = None) -> Schedule:
        """Raises: BadParameters for nonsense, naming the parameter."""
        most = steps_of(steps)
        seen = most if participations is None else participations
        if not 1 <= seen <= most:
            raise BadParameters(f"participations must lie in 1..{most} (steps), got {seen}")
        return cls(release, sampling, most, seen)

    def released(self, unit: Unit, delta: Fraction) -> Interval:
        """What a reader of all releases learns of one unit."""
        return released_cost(Sampled(self.release, self.sampling), self.steps, unit, delta)

    def to_aggregator(self, unit: Unit, delta: Fraction) -> Interval:
        """What the aggregator learns: it picks the cohorts, so no sampling amplifies against it."""
        return seen_cost(self.release, self.participations, unit, delta)


@dataclass(frozen=True, slots=True)
class EpsilonReport:
    """An interval for a reader of the releases, and the upper end for an aggregator that knows each cohort."""

    epsilon_lower: float | None
    epsilon_upper: float
    accountant: str
    epsilon_aggregator_view: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def epsilon_of(schedule: Schedule, delta: Exact, relation: str) -> EpsilonReport:
    """What the schedule costs at this delta.

    Raises: BadParameters; UnsupportedEvent where no accountant has a proof; Infeasible where no epsilon is finite.
    """
    unit, at = Unit(Relation(relation)), delta_of(delta)
    released, aggregator = schedule.released(unit, at), schedule.to_aggregator(unit, at)
    for found in (released, aggregator):
        if math.isinf(found.upper):
            raise Infeasible(
                f"no epsilon is finite at delta {delta}: allow more delta, or add noise; at delta 0 only Laplace "
                "noise has an epsilon"
            )
    return EpsilonReport(released.lower, released.upper, released.method, aggregator.upper)


@dataclass(frozen=True, slots=True)
class CalibratedNoise:
    """The least noise multiplier found, and the epsilon it spends."""

    noise_multiplier: float
    epsilon: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CalibratedSteps:
    """The most releases that fit, and the epsilon they spend."""

    steps: int
    epsilon: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CalibratedRate:
    """The largest sampling rate that fits, and the epsilon it spends."""

    sampling_rate: float
    epsilon: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def noise_within(budget: Budget, mechanism: str, sampling: Sampling, steps: int) -> CalibratedNoise:
    """The least noise multiplier that keeps the schedule within the budget, rounded up to a short decimal.

    Raises: Infeasible when no noise does; UnsupportedEvent; BadParameters for nonsense.
    """
    law, schedule = _law_of(mechanism), Repetition(steps_of(steps), sampling)
    unit = Unit(budget.relation)
    least = calibrate(unit, schedule, View.RELEASED, budget, law).noise
    answer, interval = _confirmed(
        _decimals(least, ROUND_CEILING),
        lambda noise: account([schedule.run(law(noise))], unit, View.RELEASED, budget.delta),
        budget,
    )
    return CalibratedNoise(float(answer), interval.upper)


def steps_within(budget: Budget, release: Event, sampling: Sampling) -> CalibratedSteps:
    """The largest number of steps within the budget.

    Raises: Infeasible when even one is too many, or none is; UnsupportedEvent.
    """
    unit = Unit(budget.relation)
    steps = most_steps(unit, release, sampling, View.RELEASED, budget)
    spent = account([Repetition(steps, sampling).run(release)], unit, View.RELEASED, budget.delta)
    return CalibratedSteps(steps, spent.upper)


def rate_within(budget: Budget, release: Event, steps: int) -> CalibratedRate:
    """The largest Poisson sampling rate within the budget, rounded down to a short decimal.

    Raises: Infeasible when no rate is small enough; UnsupportedEvent.
    """
    unit, times = Unit(budget.relation), steps_of(steps)
    largest = largest_rate(unit, release, times, View.RELEASED, budget)
    answer, interval = _confirmed(
        _decimals(largest, ROUND_FLOOR),
        lambda rate: account([Repetition(times, Poisson(rate)).run(release)], unit, View.RELEASED, budget.delta),
        budget,
    )
    return CalibratedRate(float(answer), interval.upper)


def _decimals(number: Fraction, rounding: str) -> Iterator[Fraction]:
    """Decimals on the safe side of the number, shorter and farther each time; a double prints each as it is."""
    for digits in ANSWER_DIGITS:
        context = Context(prec=digits, rounding=rounding)
        yield Fraction(context.divide(Decimal(number.numerator), Decimal(number.denominator)))


def _confirmed(
    answers: Iterator[Fraction], price: Callable[[Fraction], Interval], budget: Budget
) -> tuple[Fraction, Interval]:
    """The first answer that is within the budget when asked for by itself.

    An accountant that picks its mesh by the figures need not fall as smoothly as the truth does.
    """
    for answer in answers:
        interval = price(answer)
        if math.isfinite(interval.upper) and Fraction(interval.upper) <= budget.epsilon:
            return answer, interval
    raise AccountantDisagreement(
        f"an answer was within epsilon {float(budget.epsilon)!r} and none is when rounded to the safe side; report it"
    )
