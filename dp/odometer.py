"""Epsilon at any stopping time, where no budget was set: noise, sampling and the end chosen on the way.

    k = 1, 2, ...    B_k = first 2^(k-1)    delta_k = 6 delta / (pi^2 k^2)    epsilon_k = conversion(B_k, delta_k)
    reading          epsilon_k of the least k with everything spent <= B_k

On the histories that end at level k the run is the one that a filter with the budget B_k would have admitted, so
sum of (P - e^epsilon_k Q)+ over them is at most delta_k; the levels are disjoint and the delta_k add up to delta.
The price against a filter is a budget of up to twice what was spent and the smaller delta_k. What integer noise
lacks is set aside on every level as in dp.filters; once it is used up, the reading is infinite.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np

from dp.accountant import Unit, downward, probability, upward
from dp.costs import Cost, gdp_cost, order_index, renyi_cost, renyi_order
from dp.errors import BadParameters
from dp.events import Canonical, Event, Exact, exact
from dp.filters import DISTANCE_SHARE, LEAST_DELTA, SLACK_SHARE, distance_within, from_ratio, ratio
from dp.gaussian import gaussian_epsilon
from dp.rdp import ORDERS, epsilon_from_curve

# 6/pi^2 rounded down, so that the delta_k add up to less than delta.
_SPLIT = Fraction(6079271018, 10**10)
# Of a level: what integer noise may differ from Gaussian noise by, as a share of epsilon 1.
_SLACK = SLACK_SHARE
# As in dp.rdp.
_ROUNDING = 1e-12


class Odometer(ABC):
    """Reads epsilon at delta after every release; subclasses say in which currency releases are added.

    Guarantee: with epsilon(h) read at the end of the history h, sum over h of (P(h) - e^epsilon(h) Q(h))+ <= delta
        for neighbours P, Q in either order and any rule by which releases and the end follow earlier outputs. So
        the histories in any set S with a reading of at most e have P(S) <= e^e Q(S) + delta.
    Source: Rogers, Roth, Ullman and Vadhan, NeurIPS 2016 (odometers); Feldman and Zrnic, arXiv 2008.11193
        (from filters on a grid of budgets).
    """

    tag: ClassVar[str]

    def __init__(self, unit: Unit, delta: Exact, first: Exact) -> None:
        self._unit, self._delta, self._first = unit, probability("delta", delta), exact("first", first)
        if self._delta == 0 or self._first <= 0:
            raise BadParameters(f"delta and first must be above 0, got {self._delta} and {self._first}")
        self._spent = Cost((Fraction(0),))

    @property
    def unit(self) -> Unit:
        """The unit the reading is about."""
        return self._unit

    @property
    def delta(self) -> Fraction:
        """The delta of every reading."""
        return self._delta

    @property
    def first(self) -> Fraction:
        """B_1, the least budget of the grid: near what is expected to be spent, readings are sharpest."""
        return self._first

    @property
    def spent(self) -> Fraction:
        """The sum of what was released, in the odometer's currency."""
        return self._spent.amounts[0]

    def spend(self, event: Event) -> None:
        """Adds the event, before its release.

        Raises: UnsupportedEvent or NoiseTooCoarse when the currency has no price for it; nothing was added then.
        """
        self._spent += self._cost(event)

    def epsilon(self) -> float:
        """An upper bound of epsilon at delta for everything spent, valid where the run ends now; 0 for nothing."""
        return self._reading(self._spent)

    def epsilon_after(self, event: Event) -> float:
        """The reading if the event were spent; leaves no trace.  Raises: as `spend`."""
        return self._reading(self._spent + self._cost(event))

    def state(self) -> Canonical:
        """(tag, relation, of, delta, first, orders, amount, slack, distance): integers and rationals."""
        spent = self._spent
        return (
            self.tag,
            self._unit.relation.value,
            self._unit.of,
            ratio(self._delta),
            ratio(self._first),
            tuple(ratio(order) for order in self._orders()),
            ratio(spent.amounts[0]),
            ratio(spent.slack),
            ratio(spent.distance),
        )

    @classmethod
    def from_state(cls, state: object) -> Self:
        """An odometer that has the same reading.  Raises: BadParameters."""
        match state:
            case (cls.tag, str(relation), str(of), delta, first, (*orders,), amount, slack, distance):
                known = tuple(from_ratio(order) for order in orders)
                opened = cls._open(Unit(relation, of), from_ratio(delta), from_ratio(first), known)
                opened._spent = Cost((from_ratio(amount),), from_ratio(slack), from_ratio(distance))
                return opened
        raise BadParameters(f"not the state of a {cls.__name__}: {str(state)[:80]}")

    def _reading(self, spent: Cost) -> float:
        if spent == Cost((Fraction(0),)):
            return 0.0
        doublings = max(0, (math.ceil(spent.amounts[0] / self._first) - 1).bit_length())
        budget, delta = self._first * 2**doublings, _SPLIT * self._delta / (doublings + 1) ** 2
        # Releases within e^(+-K) of the ones in the currency: epsilon + 2 K at delta e^K.
        paying = downward((1 - _SLACK) * (1 - DISTANCE_SHARE) * delta)
        if math.isinf(upward(budget)) or paying < LEAST_DELTA:
            return math.inf
        ideal = self._convert(upward(budget), paying)
        reading = ideal + 2.0 * float(_SLACK)
        limit = Cost((budget,), _SLACK, distance_within(DISTANCE_SHARE * delta, reading))
        return reading if spent.exceeds(limit) is None else math.inf

    def _orders(self) -> tuple[Fraction, ...]:
        return ()

    @classmethod
    @abstractmethod
    def _open(cls, unit: Unit, delta: Fraction, first: Fraction, orders: tuple[Fraction, ...]) -> Self:
        """Opens one from the fields of a state."""

    @abstractmethod
    def _cost(self, event: Event) -> Cost:
        """What the event adds."""

    @abstractmethod
    def _convert(self, budget: float, delta: float) -> float:
        """An upper bound of epsilon at delta for whatever stays within the budget."""


class GdpOdometer(Odometer):
    """For Gaussian noise on everyone. Units of `first` and `spent`: mu^2 = sum Delta_i^2 / sigma_i^2.

    Raises: BadParameters for delta or first not above 0.
    Source: as Odometer; Smith and Thakurta, arXiv 2210.17520 (the filters of the grid).
    """

    tag: ClassVar[str] = "gdp-odometer"

    @classmethod
    def _open(cls, unit: Unit, delta: Fraction, first: Fraction, orders: tuple[Fraction, ...]) -> Self:
        if orders:
            raise BadParameters(f"this kind of odometer has no orders, got {len(orders)}")
        return cls(unit, delta, first)

    def _cost(self, event: Event) -> Cost:
        return gdp_cost(event, self._unit)

    def _convert(self, budget: float, delta: float) -> float:
        # A few last places more of mu, since it is a root and gaussian_epsilon takes its inverse.
        return gaussian_epsilon(delta, (1.0 - 2.0**-50) / math.sqrt(budget))


class RenyiOdometer(Odometer):
    """For any release with a Renyi divergence at the order. Units of `first` and `spent`: nats at that order.

    Raises: BadParameters for delta or first not above 0, or an order that dp.rdp does not keep.
    Source: as Odometer; Canonne, Kamath, Steinke, NeurIPS 2020, Proposition 12 (conversion).
    """

    tag: ClassVar[str] = "renyi-odometer"

    def __init__(self, unit: Unit, delta: Exact, first: Exact, order: Exact) -> None:
        super().__init__(unit, delta, first)
        self._order = renyi_order(order)

    @property
    def order(self) -> Fraction:
        """alpha."""
        return self._order

    @classmethod
    def _open(cls, unit: Unit, delta: Fraction, first: Fraction, orders: tuple[Fraction, ...]) -> Self:
        if len(orders) != 1:
            raise BadParameters(f"a Renyi odometer has one order, got {len(orders)}")
        return cls(unit, delta, first, orders[0])

    def _orders(self) -> tuple[Fraction, ...]:
        return (self._order,)

    def _cost(self, event: Event) -> Cost:
        return renyi_cost(event, self._unit, (self._order,))

    def _convert(self, budget: float, delta: float) -> float:
        at = order_index(self._order)
        epsilon = epsilon_from_curve(ORDERS[at : at + 1], np.array([budget]), delta)
        return epsilon + _ROUNDING * (1.0 + epsilon)
