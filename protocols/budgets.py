"""Questions about privacy budgets in the words of the command line: `secagg epsilon`, `secagg calibrate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction

from dp.accountant import Budget, Relation, Unit, View, account
from dp.calibrate import Schedule as Repetition
from dp.calibrate import calibrate_gaussian
from dp.errors import BadParameters
from dp.events import Event, Exact, GaussianEvent, LaplaceEvent, Poisson, SkellamEvent, exact

# Integer noise lives on a lattice; here one unit changes one coordinate by this many lattice steps.
STEPS_PER_UNIT = 1 << 10


def _lattice_variance(noise_multiplier: Exact) -> Fraction:
    multiplier = exact("noise multiplier", noise_multiplier)
    if multiplier <= 0:
        raise BadParameters(f"noise multiplier must be above 0, got {multiplier}")
    return (multiplier * STEPS_PER_UNIT) ** 2


def _discrete_gaussian(noise_multiplier: Exact) -> Event:
    """Discrete Gaussian noise on a lattice of 1/1024 of the sensitivity."""
    variance = _lattice_variance(noise_multiplier)
    return GaussianEvent(sigma2=variance, l2_squared=STEPS_PER_UNIT**2, d=1, components=1, draws=0)


def _skellam(noise_multiplier: Exact) -> Event:
    """Skellam noise on a lattice of 1/1024 of the sensitivity."""
    variance = _lattice_variance(noise_multiplier)
    return SkellamEvent(mu=variance, l2_squared=STEPS_PER_UNIT**2, l1=STEPS_PER_UNIT, d=1, draws=0)


MECHANISMS: dict[str, Callable[[Exact], Event]] = {
    "gaussian": GaussianEvent.for_multiplier,
    "laplace": LaplaceEvent.for_multiplier,
    "discrete-gaussian": _discrete_gaussian,
    "skellam": _skellam,
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """`steps` releases of one mechanism, each over a Poisson sample of the units."""

    event: Event
    cohort_known: Event

    @classmethod
    def of(cls, mechanism: str, noise_multiplier: Exact, sampling_rate: Exact, steps: int) -> Schedule:
        """Raises: BadParameters for nonsense, naming the parameter."""
        if mechanism not in MECHANISMS:
            raise BadParameters(f"mechanism is {mechanism!r}, it must be one of {sorted(MECHANISMS)}")
        release = MECHANISMS[mechanism](noise_multiplier)
        sampled = Repetition(steps, Poisson(exact("sampling rate", sampling_rate)))
        return cls(sampled.run(release), Repetition(steps).run(release))


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

    The aggregator is taken to see a unit that is in every cohort: it picks the cohorts, so sampling
    amplifies nothing against it.
    Raises: BadParameters, UnsupportedEvent where no accountant has a proof.
    """
    unit = Unit(Relation(relation))
    released = account([schedule.event], unit, View.RELEASED, delta)
    aggregator = account([schedule.cohort_known], unit, View.AGGREGATOR, delta)
    return EpsilonReport(released.lower, released.upper, released.method, aggregator.upper)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The least noise multiplier found, and the epsilon it spends."""

    noise_multiplier: float
    epsilon: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def calibrated_to(epsilon: Exact, delta: Exact, relation: str, sampling_rate: Exact, steps: int) -> Calibration:
    """The least Gaussian noise multiplier that keeps the schedule within the budget.

    Raises: Infeasible when no noise does; BadParameters for nonsense.
    """
    budget = Budget(epsilon, delta, Relation(relation))
    found = calibrate_gaussian(budget, sampling_rate, steps, View.RELEASED)
    return Calibration(float(found.noise), found.interval.upper)
