"""Privacy budgets as curves: what a plot shows, computed by the same accountants as the figures beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from dp.accountant import Budget, Interval, Relation, Unit, View, account
from dp.calibrate import Schedule as Repetition
from dp.errors import NoiseTooCoarse
from dp.events import Exact, Sampling, exact
from protocols.budgets import MECHANISMS, MOST_STEPS, Schedule, delta_of, noise_within

POINTS = 16
# Beside the schedule that was asked about: a quarter of its releases, and four times as many.
LENGTHS = (Fraction(1, 4), Fraction(1), Fraction(4))
# Noise is drawn from a quarter of the calibrated one to four times as much.
REACH = 4.0


@dataclass(frozen=True, slots=True)
class EpsilonCurve:
    """After each number of steps: the interval for a reader of the releases, and the aggregator's."""

    steps: tuple[int, ...]
    released: tuple[Interval, ...]
    aggregator: tuple[Interval, ...]
    relation: str
    delta: Fraction


@dataclass(frozen=True, slots=True)
class NoiseCurve:
    """For one number of steps: what each noise multiplier costs a unit, in the eyes of a reader of the releases."""

    steps: int
    noise: tuple[float, ...]
    released: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class NoiseCurves:
    """Noise against epsilon for some lengths of a schedule, and the budget that was asked about."""

    curves: tuple[NoiseCurve, ...]
    budget: Budget
    mechanism: str


def epsilon_over_steps(schedule: Schedule, delta: Exact, relation: str) -> EpsilonCurve:
    """The schedule as it goes on, at evenly spaced steps of which the last is its own.

    A client may use up its participations in the first releases: the aggregator's curve rises until then.
    Raises: UnsupportedEvent where no accountant has a proof.
    """
    unit, at = Unit(Relation(relation)), delta_of(delta)
    steps = _spread(schedule)
    so_far = [replace(schedule, steps=count, participations=min(count, schedule.participations)) for count in steps]
    return EpsilonCurve(
        steps,
        tuple(part.released(unit, at) for part in so_far),
        tuple(part.to_aggregator(unit, at) for part in so_far),
        relation,
        at,
    )


def _spread(schedule: Schedule) -> tuple[int, ...]:
    even = (math.ceil(Fraction(schedule.steps * k, POINTS)) for k in range(1, POINTS + 1))
    return tuple(sorted({1, schedule.participations, *even}))


def noise_against_epsilon(budget: Budget, mechanism: str, sampling: Sampling, steps: int) -> NoiseCurves:
    """What noise around the calibrated one costs, for a quarter of the steps, all of them, and four times as many.

    Raises: Infeasible when no noise meets the budget; UnsupportedEvent.
    """
    middle = noise_within(budget, mechanism, sampling, steps).noise_multiplier
    noise = tuple(middle * REACH ** (2.0 * k / (POINTS - 1) - 1.0) for k in range(POINTS))
    lengths = sorted({min(MOST_STEPS, math.ceil(steps * length)) for length in LENGTHS})
    curves = tuple(_priced(budget, mechanism, Repetition(length, sampling), noise) for length in lengths)
    return NoiseCurves(curves, budget, mechanism)


def _priced(budget: Budget, mechanism: str, schedule: Repetition, noise: Iterable[float]) -> NoiseCurve:
    unit, known = Unit(budget.relation), []
    for multiplier in noise:
        try:
            run = schedule.run(MECHANISMS[mechanism](exact("noise multiplier", multiplier)))
            known.append((multiplier, account([run], unit, View.RELEASED, budget.delta)))
        except NoiseTooCoarse:
            continue  # too little to be accounted for at all: no point of the curve
    return NoiseCurve(schedule.steps, tuple(z for z, _ in known), tuple(found for _, found in known))
