"""The Renyi accountant: one vector R(alpha) per kind of release, added up, turned into epsilon at the end.

    event -> leaves -> curve(leaf, relation) = upper bounds of D_alpha at ORDERS (last: infinite order)
    composition adds curves;   epsilon(delta) = min over alpha of the conversion below

It takes every event of dp.events, in any mixture; where dp.gaussian is exact, this is a second opinion.
The formulas for one release are in dp.renyi; what lattices and table samplers cost is added here:

    integer Gaussian, everyone   alpha mu^2/2 + K (2 alpha - 1)/(alpha - 1), K = dp.shift.sum_slack
    integer Gaussian, sampled    the continuous curve at sigma2 - 4, plus the same with kappa(4) in K
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Self

import numpy as np

from dp import renyi
from dp.accountant import (
    Interval,
    Relation,
    Tally,
    Unit,
    booked,
    distance_cost,
    downward,
    probability,
    unpack_state,
    upward,
    where_asked,
)
from dp.errors import UnsupportedEvent
from dp.events import (
    ApproxEvent,
    Canonical,
    Event,
    Exact,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    NonPrivate,
    Poisson,
    PureEvent,
    Sampled,
    SkellamEvent,
    ZcdpEvent,
    leaves,
)
from dp.pure import pure_epsilon, pure_sum
from dp.renyi import Floats
from dp.shift import refuse_departing_noise, sampled_shift, sum_slack

ORDERS: Floats = np.concatenate(
    [
        np.arange(11.0, 110.0) / 10.0,
        np.arange(11.0, 64.0),
        [72.0, 80.0, 96.0, 128.0, 160.0, 192.0, 256.0, 384.0, 512.0, 1024.0],
    ]
)

# Beyond, a Laplace law on the integers is only known by its epsilon, and a Skellam law not at all.
_LARGEST_LATTICE, _LARGEST_SKELLAM = Fraction(2**100), Fraction(2**400)
_LARGEST_DIVERGENCE = 2.0**900
# Covers the rounding of adding up curves and of the conversion, whose terms stay below 1e3.
_ROUNDING = 1e-12


def epsilon_from_curve(orders: Floats, curve: Floats, delta: float) -> float:
    """max(0, min over alpha of R + ln((alpha-1)/alpha) - (ln delta + ln alpha)/(alpha-1)).

    0 when total variation, bounded through R >= KL, is within delta; infinite at delta 0 otherwise.
    Source: Canonne, Kamath, Steinke, NeurIPS 2020, Proposition 12; Pinsker; Bretagnolle and Huber 1979.
    """
    if _total_variation(curve) <= delta:
        return 0.0
    if delta <= 0.0:
        return math.inf
    spread = (math.log(delta) + np.log(orders)) / (orders - 1.0)
    return max(0.0, float(np.min(curve + np.log1p(-1.0 / orders) - spread)))


def delta_from_curve(orders: Floats, curve: Floats, epsilon: float) -> float:
    """The same proposition solved for delta, or total variation where that is less."""
    exponents = (orders - 1.0) * (curve - epsilon + np.log1p(-1.0 / orders)) - np.log(orders)
    return min(_total_variation(curve), math.exp(min(0.0, float(np.min(exponents)))))


def _total_variation(curve: Floats) -> float:
    """An upper bound of total variation from any Renyi divergence, all of which are at least KL."""
    divergence = float(np.min(curve))
    return math.sqrt(min(divergence / 2.0, -math.expm1(-divergence)))


@lru_cache(maxsize=4096)
def curve(leaf: Event, relation: Relation) -> Floats:
    """Upper bounds of D_alpha at ORDERS for one leaf event under one relation; read-only.

    Raises: UnsupportedEvent outside the support matrix of dp.accountant; NoiseTooCoarse.
    """
    # A bound near the end of doubles is infinite, so that sums and multiples of the others are doubles.
    with np.errstate(over="ignore"):
        values = _curve(leaf, relation)
    values = np.where(values > _LARGEST_DIVERGENCE, np.inf, values)
    values.setflags(write=False)
    return values


def _curve(leaf: Event, relation: Relation) -> Floats:
    match leaf:
        case GaussianEvent():
            return _full_gaussian(leaf, relation)
        case LaplaceEvent():
            return _laplace(leaf, relation)
        case SkellamEvent():
            return _skellam(leaf, relation)
        case PureEvent() | ApproxEvent():
            return renyi.pure(ORDERS, upward(Fraction(leaf.epsilon)))
        case ZcdpEvent():
            return ORDERS * upward(Fraction(leaf.rho))
        case NonPrivate():
            return np.full_like(ORDERS, np.inf)
        case Sampled():
            return _sampled(leaf, relation)
    raise UnsupportedEvent(f"the Renyi accountant has no curve for a {leaf.tag} event")


def _full_gaussian(event: GaussianEvent, relation: Relation) -> Floats:
    """The discrete Gaussian is rho-zCDP with the rho of the continuous one, in any dimension.

    Source: Canonne, Kamath, Steinke, NeurIPS 2020, Theorem 4; Kairouz, Liu, Steinke, ICML 2021 (sums).
    """
    refuse_departing_noise(event, relation)
    shift = relation.factor**2 * Fraction(event.l2_squared) / Fraction(event.sigma2)
    return renyi.gaussian(ORDERS, upward(shift)) + _slack(sum_slack(event))


def _laplace(event: LaplaceEvent, relation: Relation) -> Floats:
    scale = Fraction(event.scale)
    if event.components == 0:
        return renyi.laplace(ORDERS, upward(relation.factor * Fraction(event.l1) / scale))
    distance = relation.factor * math.floor(event.l1)
    if not 1 / _LARGEST_LATTICE < scale < _LARGEST_LATTICE or distance > _LARGEST_LATTICE:
        return renyi.pure(ORDERS, upward(distance / scale))
    return renyi.discrete_laplace(ORDERS, float(scale), distance)


def _skellam(event: SkellamEvent, relation: Relation) -> Floats:
    refuse_departing_noise(event, relation)
    l2_squared, l1 = relation.factor**2 * event.l2_squared, relation.factor * event.l1
    if not all(1 / _LARGEST_SKELLAM < number < _LARGEST_SKELLAM for number in (event.mu, l2_squared, l1)):
        raise UnsupportedEvent("the numbers of a Skellam release are beyond what its curve is computed for")
    return renyi.skellam(ORDERS, float(event.mu), float(l2_squared), float(l1))


def _sampled(event: Sampled, relation: Relation) -> Floats:
    if isinstance(event.sampling, Poisson):
        return _poisson(event, event.sampling, relation)
    return _fixed_size(event, event.sampling, relation)


def _poisson(event: Sampled, sampling: Poisson, relation: Relation) -> Floats:
    if relation is Relation.REPLACE_ONE:
        raise UnsupportedEvent(
            f"Poisson sampling has no proof under {relation}: the unit may be in one cohort and its "
            f"replacement in the other; use {Relation.ZERO_OUT} or fixed-size sampling"
        )
    epsilon = pure_epsilon(event, relation)
    if epsilon is not None and not any(isinstance(leaf, ApproxEvent) for leaf, _ in leaves(event.event)):
        return renyi.pure(ORDERS, float(epsilon))
    around = sampled_shift(event.event, relation)
    return renyi.poisson_gaussian(ORDERS, upward(Fraction(sampling.q)), around.upper) + _slack(around.slack)


def _fixed_size(event: Sampled, sampling: FixedSize, relation: Relation) -> Floats:
    if relation is not Relation.REPLACE_ONE:
        raise UnsupportedEvent(
            f"a cohort of fixed size has no proof under {relation}: adding or removing a unit changes who "
            f"else is drawn; use {Relation.REPLACE_ONE} or Poisson sampling"
        )
    around = sampled_shift(event.event, relation)
    return renyi.fixed_size_gaussian(ORDERS, sampling.m / sampling.population, around.upper) + _slack(around.slack)


def _slack(pointwise: float) -> Floats:
    """K (2 alpha - 1)/(alpha - 1): both densities within e^(+-K) of those the curve was made for."""
    return pointwise * (2.0 * ORDERS - 1.0) / (ORDERS - 1.0)


class RdpAccountant:
    """Upper bounds of epsilon from Renyi divergences, for every mixture of events with a proof.

    Guarantee: the true epsilon of the releases as drawn is at most `epsilon(delta)`, for adaptive inputs
        and parameters fixed in advance. No lower end.
    """

    method = "rdp"

    def __init__(self, unit: Unit) -> None:
        self._tally = Tally(unit, lambda leaf: curve(leaf, unit.relation))
        self._curve: Floats | None = None
        self._pure: Fraction | None = None

    @property
    def unit(self) -> Unit:
        """The unit all figures are about."""
        return self._tally.unit

    def compose(self, event: Event) -> None:
        """Adds the event.  Raises: UnsupportedEvent, NoiseTooCoarse (and then nothing was added)."""
        self._tally.add(event)
        self._curve = None

    def curve(self) -> Floats:
        """Upper bounds of D_alpha at ORDERS for everything composed; the order of events cannot show."""
        if self._curve is None:
            counts, relation = self._tally.counts, self.unit.relation
            rows = [np.zeros_like(ORDERS), *(count * curve(leaf, relation) for leaf, count in counts.items())]
            self._curve = np.sort(np.stack(rows), axis=0).sum(axis=0)
            self._pure = pure_sum(counts.items(), relation)
        return self._curve

    def delta(self, epsilon: Exact) -> float:
        """An upper bound of delta at epsilon."""
        at = where_asked(epsilon)
        ideal = delta_from_curve(ORDERS, self.curve(), float(at)) * (1.0 + _ROUNDING)
        if self._pure is not None:
            ideal = min(ideal, -math.expm1(min(0.0, downward(at - self._pure))))
        lost = self._tally.failure() + distance_cost(self._tally.distance(), float(at))
        return min(1.0, ideal + float(lost))

    def epsilon(self, delta: Exact) -> float:
        """An upper bound of epsilon at delta; infinite when delta cannot pay for what it must."""
        at = probability("delta", delta)
        return booked(self._ideal_epsilon, at, self._tally.failure(), self._tally.distance())

    def interval(self, delta: Exact) -> Interval:
        """(None, epsilon(delta)): Renyi divergences say nothing about how much leaks at least."""
        return Interval(None, self.epsilon(delta), probability("delta", delta), self.method)

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

    def _ideal_epsilon(self, delta: float) -> float:
        epsilon = epsilon_from_curve(ORDERS, self.curve(), delta)
        if epsilon > 0.0:
            epsilon += _ROUNDING * (1.0 + epsilon)
        return epsilon if self._pure is None else min(epsilon, upward(self._pure))
