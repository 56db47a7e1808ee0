"""Releases that keep a finite epsilon at delta 0, and what sampling makes of it: exact sums, no curve."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from dp.accountant import Relation, upward
from dp.events import ApproxEvent, Event, LaplaceEvent, Poisson, PureEvent, Sampled, leaves


def pure_epsilon(leaf: Event, relation: Relation) -> Fraction | None:
    """The epsilon a leaf event keeps at delta 0 (its own delta apart), or None when there is none.

    Sums of these are exact, so that a budget can be spent to its last unit.
    """
    match leaf:
        case PureEvent() | ApproxEvent():
            return Fraction(leaf.epsilon)
        case LaplaceEvent():
            bound = Fraction(leaf.l1) if leaf.components == 0 else Fraction(math.floor(leaf.l1))
            return relation.factor * bound / leaf.scale
        case Sampled(sampling=Poisson(q)):
            inside = pure_sum(leaves(leaf.event), relation)
            return None if inside is None else _exactly(amplified(upward(inside), upward(Fraction(q))))
    return None


def _exactly(epsilon: float) -> Fraction | None:
    return None if math.isinf(epsilon) else Fraction(epsilon)


def pure_sum(parts: Iterable[tuple[Event, int]], relation: Relation) -> Fraction | None:
    """The sum over all (leaf, count), or None when one of them has no epsilon at delta 0."""
    total = Fraction(0)
    for leaf, count in parts:
        epsilon = pure_epsilon(leaf, relation)
        if epsilon is None:
            return None
        total += count * epsilon
    return total


def amplified(epsilon: float, q: float) -> float:
    """ln(1 + q (e^epsilon - 1)): an epsilon-DP release on a Poisson sample, both directions.

    Source: Balle, Barthe, Gaboardi, NeurIPS 2018, Theorem 8.
    """
    if epsilon > 30.0:
        return epsilon + math.log(q + (1.0 - q) * math.exp(-epsilon))
    return math.log1p(q * math.expm1(epsilon))
