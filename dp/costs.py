"""What one release costs, in each currency in which adaptively chosen noise may be paid for.

    gdp_cost      mu^2 = Delta^2 / sigma^2        Gaussian noise on everyone; mu^2 of a run is the sum
    renyi_cost    R(alpha) at fixed orders        what dp.rdp has a curve for
    pure_cost     epsilon at delta 0              what dp.pure has an epsilon for

Noise on the integers costs two things more, which no currency holds: the slack K by which the law differs
pointwise from a Gaussian (dp.shift; in Renyi divergences it is part of R), and the total variation of what was
drawn from tables. All three only add up, so a cost is a vector of sums and a limit is a vector of bounds. Every
number is rational and rounded up once, per release: the order of releases cannot show in what was spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from dp.accountant import Relation, Tally, Unit
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import ApproxEvent, Event, Exact, GaussianEvent, Sampled, exact, leaves
from dp.pure import pure_epsilon
from dp.rdp import ORDERS, curve
from dp.shift import Shift, gaussian_shift

# Sums of arbitrary rationals would grow by the length of each denominator; on this grid they do not.
_GRID = 2**128
# An epsilon typed by hand keeps its denominator, so that three times 1/10 is exactly 3/10.
_SHORT = 2**32
# What a few roundings hide: of a slack; of an amplified epsilon, whose terms are near it or near the whole one.
_SLACK_ROUNDING = 1 + Fraction(1, 2**40)
_AMPLIFIED_ROUNDING = Fraction(1, 2**44)
_FAR = 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Sums that only grow: `amounts` in the currency, one per order watched; slack K; total variation."""

    amounts: tuple[Fraction, ...]
    slack: Fraction = Fraction(0)
    distance: Fraction = Fraction(0)

    def __add__(self, other: Cost) -> Cost:
        amounts = tuple(one + two for one, two in zip(self.amounts, other.amounts, strict=True))
        return Cost(amounts, self.slack + other.slack, self.distance + other.distance)

    def exceeds(self, limit: Cost) -> str | None:
        """What is above its bound, in words, or None; of several amounts one within its bound is enough."""
        if all(amount > bound for amount, bound in zip(self.amounts, limit.amounts, strict=True)):
            return _compared("the sum of all costs", self.amounts[-1], limit.amounts[-1])
        if self.slack > limit.slack:
            return _compared("the slack of integer noise", self.slack, limit.slack)
        if self.distance > limit.distance:
            return _compared("the total variation of table draws", self.distance, limit.distance)
        return None


def _compared(what: str, value: Fraction, bound: Fraction) -> str:
    return f"{what} would be {float(value):.6g}, above {float(bound):.6g}"


def gdp_cost(event: Event, unit: Unit) -> Cost:
    """(mu^2, K, t) of Gaussian noise on everyone: Delta^2/sigma2, or Delta^2/(sigma2 - 4) on the integers.

    Raises: UnsupportedEvent for another law or for sampling; NoiseTooCoarse; BadParameters for no event.
    """
    tally = _tallied(event, unit, lambda leaf: _shift(leaf, unit.relation))
    shifts = [(_shift(leaf, unit.relation), count) for leaf, count in tally.counts.items()]
    amount = sum((_settled(shift.upper) * count for shift, count in shifts), Fraction(0))
    slack = sum((_settled(shift.slack) * _SLACK_ROUNDING * count for shift, count in shifts), Fraction(0))
    return Cost((amount,), slack, tally.distance())


def _shift(leaf: Event, relation: Relation) -> Shift:
    if not isinstance(leaf, GaussianEvent):
        raise UnsupportedEvent(
            f"a {leaf.tag} event is not Gaussian noise on everyone: pay for it in Renyi divergences or pure epsilons"
        )
    return gaussian_shift(leaf, relation)


def renyi_cost(event: Event, unit: Unit, orders: tuple[Fraction, ...]) -> Cost:
    """(R(alpha) for each order, 0, t); the slack of integer noise is inside R.

    Raises: UnsupportedEvent where dp.rdp has no curve, or none that is finite, and for an (epsilon, delta)
        event; NoiseTooCoarse; BadParameters for no event or an order that dp.rdp does not keep.
    """
    tally = _tallied(event, unit, lambda leaf: _renyi(leaf, unit.relation, orders))
    amounts = [Fraction(0)] * len(orders)
    for leaf, count in tally.counts.items():
        for at, amount in enumerate(_renyi(leaf, unit.relation, orders)):
            amounts[at] += count * amount
    return Cost(tuple(amounts), distance=tally.distance())


@lru_cache(maxsize=4096)
def _renyi(leaf: Event, relation: Relation, orders: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    values = curve(leaf, relation)
    return tuple(_settled(float(values[order_index(order)])) for order in orders)


def renyi_order(order: Exact) -> Fraction:
    """The order as a rational.  Raises: BadParameters when it is none of dp.rdp.ORDERS."""
    known = exact("order", order)
    order_index(known)
    return known


def order_index(order: Fraction) -> int:
    """Where dp.rdp.ORDERS has it."""
    found = np.flatnonzero(float(order) == ORDERS)
    if found.size != 1 or exact("order", float(order)) != order:
        raise BadParameters(f"order must be one of 1.1, 1.2 .. 10.9, 11 .. 63 or a larger one of dp.rdp, got {order}")
    return int(found[0])


def pure_cost(event: Event, unit: Unit) -> Cost:
    """(epsilon, 0, t) of releases that are epsilon-DP at delta 0, as exact as they were stated.

    Raises: UnsupportedEvent for an event without such an epsilon, for sampling without a proof under the
        relation, and for an (epsilon, delta) event; BadParameters for no event.
    """
    tally = _tallied(event, unit, lambda leaf: _pure(leaf, unit.relation))
    amount = sum((_pure(leaf, unit.relation) * count for leaf, count in tally.counts.items()), Fraction(0))
    return Cost((amount,), distance=tally.distance())


def _pure(leaf: Event, relation: Relation) -> Fraction:
    epsilon = pure_epsilon(leaf, relation)
    if epsilon is None:
        raise UnsupportedEvent(f"a {leaf.tag} event has no finite epsilon at delta 0")
    if isinstance(leaf, Sampled):
        curve(leaf, relation)  # for its refusal: the support matrix is the Renyi accountant's too
        epsilon += _AMPLIFIED_ROUNDING * _rounding_scale(leaf, relation, epsilon)
    return epsilon if epsilon.denominator <= _SHORT else _on_grid(epsilon)


def _rounding_scale(leaf: Sampled, relation: Relation, epsilon: Fraction) -> Fraction:
    """Beyond _FAR `amplified` is the epsilon of everyone plus a logarithm, and rounds as that one does."""
    everyone = sum((_pure(part, relation) * count for part, count in leaves(leaf.event)), Fraction(0))
    return everyone if everyone > _FAR else epsilon


def _tallied(event: Event, unit: Unit, check: Callable[[Event], object]) -> Tally:
    def checked(leaf: Event) -> None:
        _refuse_fixed_delta(leaf)
        check(leaf)

    tally = Tally(unit, checked)
    tally.add(event)
    return tally


def _refuse_fixed_delta(leaf: Event) -> None:
    inside: Iterable[tuple[Event, int]] = leaves(leaf.event) if isinstance(leaf, Sampled) else [(leaf, 1)]
    if any(isinstance(part, ApproxEvent) for part, _ in inside):
        raise UnsupportedEvent(
            f"{ApproxEvent.__name__} spends its delta outright, and a budget for adaptive choices has set its own "
            "aside at opening: state the release as noise, or as a PureEvent beside a smaller delta"
        )


def _settled(value: float) -> Fraction:
    """The rational for a double that bounds from above, on the grid."""
    if not math.isfinite(value):
        raise UnsupportedEvent(f"the release costs {value!r}: no finite budget covers it")
    return _on_grid(Fraction(value))


def _on_grid(value: Fraction) -> Fraction:
    return Fraction(math.ceil(value * _GRID), _GRID)
