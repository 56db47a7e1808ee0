"""What an accountant is, in which words it is asked, and how several of them make one interval.

    Unit(relation, of)      what one neighbouring step changes; the relation has no default anywhere
    View                    who looks; a cohort the viewer knows gives no amplification by sampling
    Budget, Interval        the limit, and (lower, upper) epsilon at one delta
    Accountant              compose / delta / epsilon / interval / state: dp.gaussian, dp.pld, dp.rdp
    account(...)            every accountant that has a proof for the events; the best of their ends

| sampling \\ relation               | add-or-remove-one | zero-out                          | replace-one |
|---|---|---|---|
| everyone                          | yes, noise central | yes                              | yes (2C)    |
| Poisson(q), cohort hidden          | yes, noise central | yes, noise central or exact total | refused     |
| FixedSize(m, N)                    | refused            | refused                           | yes         |

An epsilon from a central limit approximation is never offered: it lies below the truth in most settings.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from fractions import Fraction
from typing import Protocol, Self

from dp.errors import AccountantDisagreement, BadParameters, NoiseTooCoarse, UnsupportedEvent
from dp.events import (
    ApproxEvent,
    Canonical,
    Composed,
    Event,
    Exact,
    Repeated,
    Sampled,
    exact,
    leaves,
    without_sampling,
)

# Total variation between one table draw and its law (dp.noise).
DRAW_DISTANCE = Fraction(1, 2**127)

_MOST_RELEASES = 2**62
_LARGEST_EPSILON = Fraction(2**900)


class Relation(StrEnum):
    """Which pairs of data sets are neighbours."""

    ADD_REMOVE = "add-or-remove-one"
    ZERO_OUT = "zero-out"  # the unit is present but contributes the zero vector
    REPLACE_ONE = "replace-one"

    @property
    def factor(self) -> int:
        """Sensitivity divided by the bound of one unit's contribution: 2 under replace-one, else 1."""
        return 2 if self is Relation.REPLACE_ONE else 1


class View(Enum):
    """Who looks at the releases."""

    RELEASED = "released"  # reads the model, knows no cohort
    AGGREGATOR = "aggregator"  # the server, which knows every cohort
    # The server and some clients. Their own noise is known to them: the event must leave it out of sigma2.
    COLLUDING = "colluding"


def _relation(value: Relation | str) -> Relation:
    try:
        return Relation(value)
    except ValueError as unknown:
        names = ", ".join(relation.value for relation in Relation)
        raise BadParameters(f"relation must be one of {names}; got {value!r}") from unknown


@dataclass(frozen=True, slots=True, init=False)
class Unit:
    """What one neighbouring step changes: a whole client, or one record of a client."""

    relation: Relation
    of: str

    def __init__(self, relation: Relation | str, of: str = "client") -> None:
        if of not in ("client", "record"):
            raise BadParameters(f"a unit is of a client or a record, got {of!r}")
        object.__setattr__(self, "relation", _relation(relation))
        object.__setattr__(self, "of", of)


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """The limit (epsilon, delta) under one relation, in exact rationals; 1e-5 means 1/100000.

    Raises: BadParameters for a negative or infinite epsilon, delta outside [0, 1), an unknown relation.
    """

    epsilon: Fraction
    delta: Fraction
    relation: Relation

    def __init__(self, epsilon: Exact, delta: Exact, relation: Relation | str) -> None:
        object.__setattr__(self, "epsilon", exact("epsilon", epsilon))
        object.__setattr__(self, "delta", probability("delta", delta))
        object.__setattr__(self, "relation", _relation(relation))
        if self.epsilon < 0:
            raise BadParameters(f"epsilon must not be negative, got {self.epsilon}")

    def holds(self, interval: Interval) -> bool:
        """Whether the upper end, at this delta or a smaller one, is within epsilon.

        Compared as doubles rounded up, so that a sum of exactly 3/10 fits a budget of 3/10.
        """
        return interval.delta <= self.delta and interval.upper <= upward(self.epsilon)


@dataclass(frozen=True, slots=True)
class Interval:
    """The true epsilon at delta lies in [lower, upper]; lower is None when only an upper bound is known."""

    lower: float | None
    upper: float
    delta: Fraction
    method: str

    def __post_init__(self) -> None:
        low = 0.0 if self.lower is None else self.lower
        if not 0.0 <= low <= self.upper:
            raise BadParameters(f"an interval needs 0 <= lower <= upper, got {self.lower}, {self.upper}")


class Accountant(Protocol):
    """Bounds the privacy loss of everything composed so far, for one unit, as the public would see it."""

    @property
    def unit(self) -> Unit:
        """Whose presence is hidden, and by which relation of neighbouring data sets."""

    def compose(self, event: Event) -> None:
        """Adds the event; a refused one (UnsupportedEvent, NoiseTooCoarse) leaves no trace."""

    def delta(self, epsilon: Exact) -> float:
        """An upper bound of the true delta at epsilon."""

    def epsilon(self, delta: Exact) -> float:
        """An upper bound of the true epsilon at delta; infinite when there is none."""

    def interval(self, delta: Exact) -> Interval:
        """Both ends, as far as this accountant can prove them."""

    def state(self) -> Canonical:
        """What was composed, in integers and rationals: the figures follow from it, never the reverse."""

    @classmethod
    def from_state(cls, state: object) -> Self:
        """An accountant equal to the one whose `state` this is."""


def probability(name: str, value: Exact) -> Fraction:
    """The exact rational, which must lie in [0, 1)."""
    number = exact(name, value)
    if not 0 <= number < 1:
        raise BadParameters(f"{name} must be at least 0 and below 1, got {value!r}")
    return number


def where_asked(epsilon: Exact) -> Fraction:
    """The epsilon at which a delta is asked for; beyond all doubles, one below it: delta falls, so its bound holds.

    Raises: BadParameters when it is negative or no number.
    """
    at = exact("epsilon", epsilon)
    if at < 0:
        raise BadParameters(f"epsilon must not be negative, got {at}")
    return min(at, _LARGEST_EPSILON)


def downward(number: Fraction) -> float:
    """The largest double that is not above the number."""
    return -upward(-number)


def upward(number: Fraction) -> float:
    """The least double that is not below the number."""
    try:
        nearest = float(number)
    except OverflowError:
        return math.inf if number > 0 else -sys.float_info.max
    return nearest if Fraction(nearest) >= number else math.nextafter(nearest, math.inf)


class Tally:
    """How often each leaf event was composed: the whole memory of an accountant, in integers.

    `check` raises for a leaf the accountant has no proof for; composing checks all leaves of an event
    before it counts the first.
    """

    def __init__(self, unit: Unit, check: Callable[[Event], object]) -> None:
        self.unit = unit
        self.counts: Counter[Event] = Counter()
        self._check = check

    def add(self, event: Event) -> None:
        """Counts every leaf of the event, or raises what `check` raises and counts none."""
        if not isinstance(event, Event):
            raise BadParameters(f"only events can be composed, got {type(event).__name__}")
        new = list(leaves(event))
        for leaf, count in new:
            if self.counts[leaf] + count > _MOST_RELEASES:
                raise BadParameters(f"{count} more releases of one kind are beyond {_MOST_RELEASES}")
            self._check(leaf)
        for leaf, count in new:
            self.counts[leaf] += count

    def failure(self) -> Fraction:
        """The delta that composed (epsilon, delta) events spend outright."""
        spent = (Fraction(e.delta) * n for e, n in self.counts.items() if isinstance(e, ApproxEvent))
        return sum(spent, Fraction(0))

    def distance(self) -> Fraction:
        """Total variation between all that was drawn and its exact laws, at most 1."""
        return min(Fraction(1), DRAW_DISTANCE * sum(_draws(leaf) * count for leaf, count in self.counts.items()))

    def to_canonical(self) -> Canonical:
        """(relation, of, composed leaves), the leaves in an order that forgets when they came."""
        parts = (Repeated(leaf, count) for leaf, count in self.counts.items())
        ordered = sorted((part.to_canonical() for part in parts), key=repr)
        return (self.unit.relation.value, self.unit.of, ("composed", tuple(ordered)))


def unpack_state(state: object) -> tuple[Unit, Event]:
    """(unit, event) from a `Tally.to_canonical`.  Raises: BadParameters."""
    match state:
        case (str(relation), str(of), composed) | [str(relation), str(of), composed]:
            return Unit(relation, of), Event.from_canonical(composed)
    raise BadParameters("an accountant's state is (relation, of, composed events)")


def _draws(leaf: Event) -> int:
    inner = leaf.event if isinstance(leaf, Sampled) else leaf
    return sum(int(getattr(part, "draws", 0)) * count for part, count in leaves(inner))


def booked(epsilon_at: Callable[[float], float], delta: Fraction, failure: Fraction, distance: Fraction) -> float:
    """An epsilon at delta for the mechanism as drawn, from a curve epsilon_at for its exact laws.

    `failure` is spent outright. Being within total variation t of the exact laws on both sides costs
    t (1 + e^epsilon) of delta, which epsilon itself decides: the cost is taken at a slightly larger
    epsilon and the answer must come out below that.

    Guarantee: infinite rather than too small when delta cannot pay for both.
    """
    room = delta - failure
    if room < 0:
        return math.inf
    ideal = epsilon_at(float(room))
    if distance == 0 or math.isinf(ideal):
        return ideal
    for margin in (1e-9, 1e-3, 1.0):
        left = room - distance_cost(distance, ideal + margin)
        if left > 0 and (paid := epsilon_at(float(left))) <= ideal + margin:
            return paid
    return math.inf


def distance_cost(distance: Fraction, epsilon: float) -> Fraction:
    """t (1 + e^epsilon): delta lost when both neighbours' outputs are drawn within total variation t."""
    if distance == 0:
        return Fraction(0)
    return distance * (1 + Fraction(math.exp(epsilon))) if epsilon < 700 else Fraction(1)


def account(events: Iterable[Event], unit: Unit, view: View, delta: Exact) -> Interval:
    """The interval of all events together, for one unit and one viewer.

    The aggregator knows every cohort, so to it each Sampled(e, ...) is e: pass the events of the rounds
    a client took part in for that client's figure, all of them for a client that may have been in all.

    Guarantee: the largest lower and the smallest upper end of all accountants with a proof for these
        events; accountants are independent, so ends that cross reveal a bug and block the release.
    Raises: UnsupportedEvent or NoiseTooCoarse when none has a proof; AccountantDisagreement.
    """
    # Imported here because accountants speak the words defined above.
    from dp.gaussian import GaussianAccountant
    from dp.pld import PldAccountant
    from dp.rdp import RdpAccountant

    def opinions_on(event: Event) -> list[Interval]:
        found: list[Interval] = []
        refusal: UnsupportedEvent | NoiseTooCoarse | None = None
        # The sharpest first: among equals it is named. The last one covers most, so its refusal is the reason.
        accountants: tuple[Accountant, ...] = (GaussianAccountant(unit), PldAccountant(unit), RdpAccountant(unit))
        for accountant in accountants:
            try:
                accountant.compose(event)
            except (UnsupportedEvent, NoiseTooCoarse) as refused:
                refusal = refused
            else:
                found.append(accountant.interval(delta))
        if refusal is not None and not found:
            raise refusal
        return found

    whole: Event = Composed(tuple(events))
    everyone = without_sampling(whole)
    if view is not View.RELEASED or everyone == whole:
        return agree(opinions_on(everyone))
    sampled = opinions_on(whole)
    # A sample never costs more than everyone: the mixture it makes is no farther from its neighbour. At rates
    # near 1 the bound for everyone can be the sharper one, since it is exact.
    ceiling = min(opinions_on(everyone), key=lambda interval: interval.upper)
    return agree([*sampled, replace(ceiling, lower=None)])


def agree(opinions: list[Interval]) -> Interval:
    """The intersection of intervals at one delta.  Raises: AccountantDisagreement when it is empty."""
    best = min(opinions, key=lambda interval: interval.upper)
    known = [interval for interval in opinions if interval.lower is not None]
    if not known:
        return best
    tightest = max(known, key=lambda interval: interval.lower or 0.0)
    lower = tightest.lower or 0.0
    if lower > best.upper:
        raise AccountantDisagreement(
            f"{tightest.method} proves epsilon >= {lower!r}, {best.method} proves epsilon <= {best.upper!r} "
            f"at delta {float(best.delta)!r}; nothing may be released, report both"
        )
    method = best.method if best.method == tightest.method else f"{tightest.method}, {best.method}"
    return Interval(lower, best.upper, best.delta, method)
