"""Which pairs stand for a release: one that no neighbours exceed, and one that some neighbours attain.

    event                          above                            below
    Gaussian, everyone             one Gaussian for all of them     the same, from the lower shifts
    Laplace, one coordinate        Laplace or DiscreteLaplace       the same
    Laplace, several               Response of the same epsilon     the whole shift in one coordinate
    Pure, Approx                   Response                         nothing: the event states a bound only
    Sampled(Poisson)               Removed of the above             Removed of the below

Removed stands for both directions: `swapped` is the other one. An epsilon below is proved for the parts that
have a pair below: whoever sees all releases sees those.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import cast

from dp.accountant import Relation, upward
from dp.errors import UnsupportedEvent
from dp.events import ApproxEvent, Event, GaussianEvent, LaplaceEvent, NonPrivate, Poisson, PureEvent, Sampled, leaves
from dp.profiles import DiscreteLaplace, Gaussian, Laplace, Pair, Removed, Response, Symmetric
from dp.pure import pure_sum
from dp.shift import Shift, gaussian_shift, sampled_shift

Counted = tuple[tuple[Pair, int], ...]

# Beyond this pointwise slack per release an integer law is left to the Renyi accountant.
LARGEST_SLACK = 1e-6
# Losses and rates outside are moved to the private side: nobody calls 10^12 private or needs 10^-30 told apart.
_SMALLEST, _LARGEST = 1e-30, 1e12
_LARGEST_DISTANCE = 2**50


@dataclass(frozen=True, slots=True)
class Between:
    """The pairs above and below one release, which lies between them up to e^(+-slack) pointwise.

    Above None: nothing finite covers it. Below None: nothing is proved against it.
    """

    above: Pair | None
    below: Pair | None
    slack: float = 0.0


@dataclass(frozen=True, slots=True)
class Releases:
    """Everything composed, as pairs with counts; above None when nothing finite covers a part."""

    above: Counted | None
    below: Counted
    slack: float


def releases(counts: Iterable[tuple[Event, int]], relation: Relation) -> Releases:
    """All leaves with their counts, in any order: Gaussians of everyone are one Gaussian.

    Raises: UnsupportedEvent, NoiseTooCoarse.
    """
    ordered = sorted(counts, key=lambda item: repr(item[0].to_canonical()))
    full = [(full_shift(leaf, relation), count) for leaf, count in ordered if isinstance(leaf, GaussianEvent)]
    parts = [(between(leaf, relation), count) for leaf, count in ordered if not isinstance(leaf, GaussianEvent)]
    if full:
        parts.append((_gaussians(Shift.total(full)), 1))
    above = [(part.above, count) for part, count in parts if part.above is not None]
    below = [(part.below, count) for part, count in parts if part.below is not None]
    slack = math.fsum(part.slack * count for part, count in parts) * (1.0 + 2.0**-50)
    return Releases(_merged(above) if len(above) == len(parts) else None, _merged(below), slack)


def _merged(parts: list[tuple[Pair, int]]) -> Counted:
    total = Counter[Pair]()
    for pair, count in parts:
        total[pair] += count
    return tuple(total.items())


def full_shift(leaf: GaussianEvent, relation: Relation) -> Shift:
    """The Gaussians around one release on everyone.

    Raises: UnsupportedEvent when they are too far apart for this accountant; NoiseTooCoarse.
    """
    return _close_enough(gaussian_shift(leaf, relation))


def _close_enough(shift: Shift) -> Shift:
    if shift.slack > LARGEST_SLACK:
        raise UnsupportedEvent(
            f"integer noise differs from Gaussian noise by e^{shift.slack:.3g}, more than e^{LARGEST_SLACK}: "
            "too much for privacy loss distributions; take a finer lattice"
        )
    return shift


@lru_cache(maxsize=4096)
def between(leaf: Event, relation: Relation) -> Between:
    """The pairs of a leaf event that is not a Gaussian on everyone.

    Raises: UnsupportedEvent outside the support matrix, and where no dominating pair is known; NoiseTooCoarse.
    """
    match leaf:
        case LaplaceEvent():
            return _laplace(leaf, relation)
        case PureEvent() | ApproxEvent():
            return Between(_response(upward(Fraction(leaf.epsilon))), None)
        case NonPrivate():
            return Between(None, None)
        case Sampled(sampling=Poisson(q)):
            return _poisson(leaf.event, Fraction(q), relation)
        case Sampled():
            raise UnsupportedEvent(
                f"a cohort of fixed size has no dominating pair here under {relation}; the Renyi accountant "
                f"covers it under {Relation.REPLACE_ONE}"
            )
    raise UnsupportedEvent(f"no dominating pair is known for a {leaf.tag} event")


def _gaussians(shift: Shift) -> Between:
    """Two Gaussians around all releases on the same cohort."""
    above = None if shift.upper > _LARGEST else Gaussian(math.sqrt(max(shift.upper, _SMALLEST)) * (1.0 + 2.0**-52))
    below = Gaussian(math.sqrt(shift.lower) * (1.0 - 2.0**-52)) if _SMALLEST < shift.lower < _LARGEST else None
    return Between(above, below, shift.slack)


def _laplace(event: LaplaceEvent, relation: Relation) -> Between:
    scale, distance = Fraction(event.scale), relation.factor * Fraction(event.l1)
    if event.components:
        distance = Fraction(relation.factor * math.floor(event.l1))
    epsilon = upward(distance / scale)
    if not _SMALLEST < epsilon < _LARGEST or distance > _LARGEST_DISTANCE:
        return Between(_response(epsilon), None)
    line = DiscreteLaplace(float(scale), int(distance)) if event.components else Laplace(epsilon)
    return Between(line if event.d == 1 else _response(epsilon), line)


def _response(epsilon: float) -> Response | None:
    return Response(max(epsilon, _SMALLEST)) if epsilon < _LARGEST else None


def _poisson(event: Event, q: Fraction, relation: Relation) -> Between:
    if relation is Relation.REPLACE_ONE:
        raise UnsupportedEvent(
            f"Poisson sampling has no proof under {relation}: the unit may be in one cohort and its "
            f"replacement in the other; use {Relation.ZERO_OUT} or fixed-size sampling"
        )
    inside = list(leaves(event))
    pure = None if any(isinstance(leaf, ApproxEvent) for leaf, _ in inside) else pure_sum(inside, relation)
    match inside:
        case [(LaplaceEvent() as single, 1)]:
            around = _laplace(single, relation)
        case _ if pure is not None:
            around = Between(_response(upward(pure)), None)
        case _:
            around = _gaussians(_close_enough(sampled_shift(event, relation)))
    return Between(_sampled(around.above, q, math.inf), _sampled(around.below, q, 0.0), around.slack)


def _sampled(pair: Pair | None, q: Fraction, towards: float) -> Pair | None:
    """The pair on a Poisson sample, its rate rounded up (towards infinity) or down (towards 0)."""
    rate = math.nextafter(float(q), towards)
    if pair is None or rate >= 1.0:
        return pair
    if rate > _SMALLEST:
        return Removed(cast(Symmetric, pair), rate)
    return Removed(cast(Symmetric, pair), _SMALLEST) if towards else None
