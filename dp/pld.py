"""The accountant of privacy loss distributions: the tight one, with a certified interval.

    events -> pairs (dp.neighbours) -> laws on a mesh (dp.grid) -> composed (dp.spectrum) -> ends (dp.search)

Sampled releases cost here what they cost; the Renyi accountant asks for more noise. Releases on
everyone with Gaussian noise need no mesh: dp.gaussian has the closed form, and gives the answer here too.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Self

from dp.accountant import (
    Interval,
    Tally,
    Unit,
    booked,
    distance_cost,
    probability,
    unpack_state,
    upward,
    where_asked,
)
from dp.errors import BadParameters
from dp.events import Canonical, Composed, Event, Exact, GaussianEvent, Repeated, exact
from dp.gaussian import GaussianAccountant
from dp.neighbours import Releases, between, full_shift, releases
from dp.pure import pure_sum
from dp.search import LEAST_DELTA, Ends, delta_above, ends, ordered, upper_at
from dp.shift import stretched

# Covers the rounding of the last few operations on an epsilon.
_ROUNDING = 1e-12


class PldAccountant:
    """Both ends of epsilon for mixtures of Gaussian, Laplace and pure releases, on everyone or Poisson samples.

    Guarantee: the true epsilon of the releases as drawn lies in the interval, for adaptive inputs and
        parameters fixed in advance. Events that state a bound only count in the upper end.
    Source: Doroshenko et al., PoPETs 2022; Zhu, Dong and Wang, AISTATS 2022.
    """

    method = "pld"

    def __init__(self, unit: Unit) -> None:
        relation = unit.relation
        self._tally = Tally(
            unit,
            lambda leaf: full_shift(leaf, relation) if isinstance(leaf, GaussianEvent) else between(leaf, relation),
        )
        self._known: dict[float, Ends] = {}

    @property
    def unit(self) -> Unit:
        """The unit all figures are about."""
        return self._tally.unit

    def compose(self, event: Event) -> None:
        """Adds the event.  Raises: UnsupportedEvent, NoiseTooCoarse (and then nothing was added)."""
        self._tally.add(event)
        self._known.clear()

    def delta(self, epsilon: Exact) -> float:
        """An upper bound of delta at epsilon."""
        at = where_asked(epsilon)
        if (closed := self._closed_form()) is not None:
            return closed.delta(at)
        lost = self._tally.failure() + distance_cost(self._tally.distance(), float(at))
        return min(1.0, self._ideal_delta(at) + float(lost))

    def epsilon(self, delta: Exact) -> float:
        """The upper end of `interval`."""
        return self.interval(delta).upper

    def interval(self, delta: Exact) -> Interval:
        """Both ends; lower is None when every part is known by a bound only."""
        at = probability("delta", delta)
        if (closed := self._closed_form()) is not None:
            exactly = closed.interval(at)
            return Interval(exactly.lower, exactly.upper, at, self.method)
        upper = booked(lambda room: self._ends(room).upper, at, self._tally.failure(), self._tally.distance())
        spent = stretched(float(at + distance_cost(self._tally.distance(), upper)), self._releases().slack)
        if not self._releases().below:
            return Interval(None, upper, at, self.method)
        lower = 0.0 if spent >= 1.0 else self._ends(spent).lower
        return Interval(min(lower, upper), upper, at, self.method)

    def upper_at(self, mesh: Exact, delta: Exact) -> float:
        """The upper end on one evenly spaced mesh, for comparison with accountants that take theirs as given.

        Raises: BadParameters unless the mesh is positive, and wide enough for 2^24 steps to reach all losses.
        """
        step = upward(exact("mesh", mesh))
        if not 0.0 < step < math.inf:
            raise BadParameters(f"mesh must be positive and finite, got {mesh!r}")
        above = self._releases().above
        if above is None:
            return math.inf
        at = float(probability("delta", delta) - self._tally.failure())
        if not above or at < LEAST_DELTA:
            return self._ends(at).upper
        return upper_at(above, at, step) * (1.0 + _ROUNDING)

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

    def _closed_form(self) -> GaussianAccountant | None:
        """The exact accountant, when all releases are Gaussian noise on everyone."""
        counts = self._tally.counts
        if not all(isinstance(leaf, GaussianEvent) for leaf in counts):
            return None
        exactly = GaussianAccountant(self.unit)
        exactly.compose(Composed(tuple(Repeated(leaf, count) for leaf, count in counts.items())))
        return exactly

    def _releases(self) -> Releases:
        return releases(self._tally.counts.items(), self.unit.relation)

    def _ends(self, delta: float) -> Ends:
        """Both ends for the exact laws, what was spent outright and drawn imperfectly left to the caller."""
        if delta not in self._known:
            self._known[delta] = self._ideal_ends(delta)
        return self._known[delta]

    def _ideal_ends(self, delta: float) -> Ends:
        parts = self._releases()
        pure = pure_sum(self._tally.counts.items(), self.unit.relation)
        most = math.inf if pure is None else upward(pure)
        if parts.above is None or not parts.above:
            return Ends(0.0, most)
        found = ends(parts.above, parts.below, max(LEAST_DELTA, delta * math.exp(-parts.slack)))
        upper = math.inf if delta < LEAST_DELTA else found.upper * (1.0 + _ROUNDING) + 2.0 * parts.slack
        lower = found.lower * (1.0 - _ROUNDING) - 2.0 * parts.slack
        return ordered(max(0.0, lower), min(upper, most))

    def _ideal_delta(self, epsilon: Fraction) -> float:
        parts = self._releases()
        pure = pure_sum(self._tally.counts.items(), self.unit.relation)
        if pure is not None and epsilon >= pure:
            return 0.0
        if parts.above is None:
            return 1.0
        return stretched(delta_above(parts.above, max(0.0, float(epsilon) - 2.0 * parts.slack)), parts.slack)
