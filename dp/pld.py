"""The accountant by privacy loss distributions: tight, with both ends of its interval certified.

    event -> leaves -> Step     a pair of laws that dominates the release, on its Poisson sample    dp.pairs
    Step  -> Losses             the same on a grid that errs upwards only                            dp.losses
    parts -> Composed           all of them together, in both directions; the answer is the worse   dp.aim, .convolution

    upper   smallest epsilon of the grid law at delta, everything cut off or rounded counted as lost
    lower   one step's move D on the grid has range h and E[e^-D | loss] = 1, so for lambda >= 0, theta > 0
            P-mass of {sum of D > S, grid loss > e} <= exp(K(lambda) - lambda e - theta S + T s(1 + s) h^2/8),
            s = lambda + theta; what is not in it lost at most S: epsilon(delta) >= grid epsilon(delta + mass) - S

The mesh h is chosen so that the two ends meet within 1 % or 0.005. An epsilon from the normal limit is never offered.
Source: Koskela, Jalko, Honkela 2020 (Fourier accountant); Doroshenko et al. 2022 (the grid); the lower end is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Self

from dp.accountant import (
    Interval,
    Relation,
    Tally,
    Unit,
    booked,
    distance_cost,
    probability,
    unpack_state,
    upward,
)
from dp.composition import Composition
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import (
    ApproxEvent,
    Canonical,
    Event,
    Exact,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    NonPrivate,
    PureEvent,
    Sampled,
    exact,
    leaves,
)
from dp.gaussian import Shift, gaussian_shift, sampled_shift, together
from dp.pairs import MOST_ATOMS, DiscreteLaplacePair, GaussianPair, LaplacePair, Pair, ResponsePair, Step
from dp.rdp import pure_epsilon, refuse_visible_replacement

_DOWN = 1.0 - 2.0**-50
# Relative error of shifts and rates in floats, with room to spare; the lower end is lowered by as much.
_ROUNDING = 1e-12
_LEAST_EPSILON = 1e-300


@dataclass(frozen=True, slots=True)
class Sides:
    """A release between two laws: `above` dominates it, `below` is attained, None where nothing is proved."""

    above: Step | None
    below: Step | None
    slack: float = 0.0


@lru_cache(maxsize=4096)
def sides_of(leaf: Event, relation: Relation) -> Sides:
    """The laws around one leaf event that is no Gaussian release to everyone.

    Raises: UnsupportedEvent outside the support matrix of dp.accountant, and for laws without a dominating pair here.
    """
    match leaf:
        case LaplaceEvent():
            above, below = _laplace(leaf, relation)
            return Sides(_step(above, 1.0), _step(below, 1.0))
        case PureEvent() | ApproxEvent():
            return Sides(_step(ResponsePair(upward(Fraction(leaf.epsilon))), 1.0), None)
        case NonPrivate():
            return Sides(None, None)
        case Sampled():
            return _sampled(leaf, relation)
    raise UnsupportedEvent(f"no pair of laws is known to dominate a {leaf.tag} event; the Renyi accountant takes it")


def _sampled(leaf: Sampled, relation: Relation) -> Sides:
    if isinstance(leaf.sampling, FixedSize):
        raise UnsupportedEvent(
            "no pair of laws is known to dominate a cohort of fixed size; the Renyi accountant takes it"
        )
    refuse_visible_replacement(relation)
    q = min(1.0, upward(Fraction(leaf.sampling.q)))
    inside = list(leaves(leaf.event))
    match inside:
        case [(LaplaceEvent() as release, 1)]:
            dominating, attained = _laplace(release, relation)
            return Sides(_step(dominating, q), _step(attained, q))
    if (epsilon := pure_epsilon(leaf.event, relation)) is not None and not _approximate(inside):
        return Sides(_step(ResponsePair(upward(epsilon)), q), None)
    shift = sampled_shift(leaf.event, relation)
    above, below = _gaussians(shift)
    return Sides(_step(above, q), _step(below, q), shift.slack)


def _approximate(inside: Iterable[tuple[Event, int]]) -> bool:
    return any(isinstance(event, ApproxEvent) for event, _ in inside)


def _laplace(event: LaplaceEvent, relation: Relation) -> tuple[Pair, Pair | None]:
    """(dominating, attained): one coordinate is exact; several are dominated by what any epsilon-DP release is."""
    scale = Fraction(event.scale)
    if event.components == 0:
        epsilon = relation.factor * Fraction(event.l1) / scale
        attained: Pair | None = LaplacePair(max(float(epsilon) * _DOWN, _LEAST_EPSILON))
        dominating: Pair = LaplacePair(upward(epsilon))
    else:
        distance = relation.factor * math.floor(event.l1)
        epsilon = distance / scale
        listed = distance <= MOST_ATOMS
        attained = DiscreteLaplacePair(upward(scale), distance) if listed else None
        dominating = DiscreteLaplacePair(float(scale) * _DOWN, distance) if listed else ResponsePair(upward(epsilon))
    return dominating if event.d == 1 else ResponsePair(upward(epsilon)), attained


def _gaussians(shift: Shift) -> tuple[Pair | None, Pair | None]:
    """(dominating, attained): one and the same where they differ by rounding, which the lower end allows for."""
    above, below = (GaussianPair(math.sqrt(end)) if end > 0.0 else None for end in (shift.upper, shift.lower))
    return above, above if shift.lower > shift.upper * (1.0 - _ROUNDING) else below


def _step(pair: Pair | None, q: float) -> Step | None:
    return None if pair is None or pair.reach(0.0)[1] == 0.0 else Step(pair, q)


class PldAccountant:
    """Both ends of epsilon for Gaussian, Laplace and pure releases, to everyone or on a Poisson sample, in any mixture.

    Guarantee: the interval contains the true epsilon of the releases as drawn, for adaptive inputs and parameters
        fixed in advance. The lower end is that of the releases whose law is known to be attained.
    Raises: what `compose` raises: UnsupportedEvent, NoiseTooCoarse.
    """

    method = "pld"

    def __init__(self, unit: Unit) -> None:
        self._tally = Tally(unit, self._check)

    @property
    def unit(self) -> Unit:
        """The unit all figures are about."""
        return self._tally.unit

    def compose(self, event: Event) -> None:
        """Adds the event.  Raises: UnsupportedEvent, NoiseTooCoarse (and then nothing was added)."""
        self._tally.add(event)

    def delta(self, epsilon: Exact) -> float:
        """An upper bound of delta at epsilon."""
        at = exact("epsilon", epsilon)
        if at < 0:
            raise BadParameters(f"epsilon must not be negative, got {at}")
        composition = self._composition()
        lost = self._tally.failure() + distance_cost(self._tally.distance(), float(at))
        return min(1.0, composition.delta(float(at)) + float(lost))

    def epsilon(self, delta: Exact) -> float:
        """An upper bound of epsilon at delta, from the dominating laws alone; no `interval` ends above it."""
        at = probability("delta", delta)
        room = float(at - self._tally.failure())
        if room <= 0.0:
            return self._composition().most() if room == 0.0 else math.inf
        return booked(self._composition().ceiling(room).upper, at, self._tally.failure(), self._tally.distance())

    def interval(self, delta: Exact) -> Interval:
        """Both ends, within 1 % or 0.005 of each other wherever 2^21 cells suffice for that."""
        at = probability("delta", delta)
        composition = self._composition()
        room = float(at - self._tally.failure())
        if room <= 0.0:
            return Interval(None, self.epsilon(at), at, self.method)
        curve = composition.curve(room)
        upper = booked(curve.upper, at, self._tally.failure(), self._tally.distance())
        # What was calibrated by `epsilon` must be confirmed here, however coarse a mesh the interval can do with.
        upper = min(upper, self.epsilon(at))
        spent = at + distance_cost(self._tally.distance(), upper)
        return Interval(min(curve.lower(float(spent)), upper), upper, at, self.method)

    def upper_at(self, mesh: float, delta: Exact) -> float:
        """The upper end on a grid of this mesh, for comparison with other accountants."""
        at = probability("delta", delta)
        return booked(
            self._composition().curve(float(at), mesh).upper, at, self._tally.failure(), self._tally.distance()
        )

    def state(self) -> Canonical:
        """(relation, of, composed events)."""
        return self._tally.to_canonical()

    @classmethod
    def from_state(cls, state: object) -> Self:
        """Composes the state's events anew.  Raises: BadParameters, UnsupportedEvent."""
        unit, composed = unpack_state(state)
        accountant = cls(unit)
        accountant.compose(composed)
        return accountant

    def _check(self, leaf: Event) -> None:
        if isinstance(leaf, GaussianEvent):
            gaussian_shift(leaf, self.unit.relation)
        else:
            sides_of(leaf, self.unit.relation)

    def _composition(self) -> Composition:
        """All Gaussian releases to everyone are one; every other leaf is a step of its own, as often as it was made."""
        counts, relation = self._tally.counts, self.unit.relation
        full = together(
            (gaussian_shift(leaf, relation), n) for leaf, n in counts.items() if isinstance(leaf, GaussianEvent)
        )
        rest = [(sides_of(leaf, relation), n) for leaf, n in counts.items() if not isinstance(leaf, GaussianEvent)]
        above, below = _gaussians(full)
        sides = [(Sides(_step(above, 1.0), _step(below, 1.0)), 1), *rest]
        return Composition(
            above=tuple((one.above, n) for one, n in sides if one.above is not None),
            below=tuple((one.below, n) for one, n in sides if one.below is not None),
            slack=math.fsum([full.slack, *(one.slack * n for one, n in rest)]) * (1.0 + _ROUNDING),
            infinite=any(isinstance(leaf, NonPrivate) for leaf in counts),
        )
