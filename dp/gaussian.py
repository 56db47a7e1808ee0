"""The exact privacy curve of Gaussian noise, in closed form.

Full participation only: T releases with shifts Delta_i / sigma_i are one Gaussian with mu^2 = sum of
(Delta_i / sigma_i)^2. Noise drawn on the integers lies between two such Gaussians (dp.shift).
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
    where_asked,
)
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import Canonical, Event, Exact, GaussianEvent
from dp.shift import Shift, gaussian_shift, stretched

_UNIT_ROUNDOFF = 2.0**-53
_LARGEST_SHIFT = 1e150  # its square is still a double
# Below it doubles lose their digits: a smaller delta is answered as if it were 0.
_LEAST_DELTA = 2.0**-1022


def gaussian_delta(epsilon: float, sigma: float) -> float:
    """Phi(1/(2 sigma) - epsilon sigma) - e^epsilon Phi(-1/(2 sigma) - epsilon sigma), sensitivity 1.

    Raises: BadParameters unless epsilon >= 0 and sigma > 0.
    Source: Balle and Wang, ICML 2018, Theorem 8.
    """
    if not epsilon >= 0.0:
        raise BadParameters(f"epsilon must not be negative, got {epsilon!r}")
    return _delta_at(float(epsilon), _shift_at(sigma))[0]


def gaussian_epsilon(delta: float, sigma: float) -> float:
    """The least epsilon with gaussian_delta(epsilon, sigma) <= delta, rounded up; infinite below delta 2^-1022.

    Raises: BadParameters unless sigma > 0 and delta is a number.
    """
    if math.isnan(delta):
        raise BadParameters("delta must be a number, got nan")
    return _epsilon_above(float(delta), _shift_at(sigma))


def _shift_at(sigma: float) -> float:
    if not sigma > 0.0:
        raise BadParameters(f"sigma must be above 0, got {sigma!r}")
    return 1.0 / float(sigma)


def gaussian_sigma(epsilon: float, delta: float) -> float:
    """The least noise multiplier with gaussian_delta(epsilon, sigma) <= delta, rounded up.

    Raises: BadParameters unless epsilon >= 0 and 2^-1022 <= delta < 1.
    """
    if not (0 <= epsilon < math.inf and _LEAST_DELTA <= delta < 1):
        raise BadParameters(f"need epsilon >= 0 and 2^-1022 <= delta < 1, got {epsilon!r} and {delta!r}")

    def enough(sigma: float) -> bool:
        value, error = _delta_at(epsilon, 1.0 / sigma)
        return value + error <= delta

    high = 1.0
    while not enough(high):
        high *= 2.0
    low = high / 2.0
    while enough(low):
        low /= 2.0
    return _boundary(low, high, enough)


def _delta_at(epsilon: float, mu: float) -> tuple[float, float]:
    """(delta, bound of its rounding error) for a shift of mu standard deviations.

    With a = epsilon/mu - mu/2 and b = a + mu, e^epsilon phi(b) = phi(a): the exponentials are factored
    out, so that a delta of 1e-90 keeps its digits.
    """
    from scipy.special import erfcx

    if mu == 0.0:
        return 0.0, 0.0
    a, b = epsilon / mu - mu / 2.0, epsilon / mu + mu / 2.0
    if a > 38.0:
        return 0.0, _LEAST_DELTA
    scale = 0.5 * math.exp(-a * a / 2.0)
    second = scale * float(erfcx(b / math.sqrt(2.0)))
    first = scale * float(erfcx(a / math.sqrt(2.0))) if a > 0 else 0.5 * math.erfc(a / math.sqrt(2.0))
    value = max(0.0, first - second)
    error = _UNIT_ROUNDOFF * ((8.0 + 5.0 * b * b) * value + 16.0 * (1.0 + b) * (first + second))
    return value, error


def _epsilon_above(delta: float, mu: float) -> float:
    """An epsilon >= the exact one, by about 1e-13."""

    def enough(epsilon: float) -> bool:
        value, error = _delta_at(epsilon, mu)
        return value + error <= delta

    if mu == 0.0:
        return 0.0
    if delta < _LEAST_DELTA or mu > _LARGEST_SHIFT:
        return math.inf
    if enough(0.0):
        return 0.0
    return _boundary(0.0, _bracket(enough), enough)


def _epsilon_below(delta: float, mu: float) -> float:
    """An epsilon <= the exact one, by about 1e-13."""

    def too_little(epsilon: float) -> bool:
        value, error = _delta_at(epsilon, mu)
        return value - error < delta

    if delta <= 0.0 < mu:
        return math.inf
    # Nothing was released: no epsilon is too little, and a search for one would not end.
    if mu == 0.0 or mu > _LARGEST_SHIFT or too_little(0.0):
        return 0.0
    return _boundary(0.0, _bracket(too_little), too_little, take_low=True)


def _bracket(holds: Callable[[float], bool]) -> float:
    high = 1.0
    while not holds(high):
        high *= 2.0
    return high


def _boundary(low: float, high: float, holds: Callable[[float], bool], *, take_low: bool = False) -> float:
    """Bisects a monotone predicate, false at low and true at high, to neighbouring doubles."""
    while True:
        middle = low + (high - low) / 2.0
        if middle in (low, high) or high - low < 1e-15 * high:
            return low if take_low else high
        low, high = (low, middle) if holds(middle) else (middle, high)


class GaussianAccountant:
    """Full participation with Gaussian noise: exact for the continuous law, a hair wider on the lattice.

    Guarantee: the interval contains the true epsilon of the releases as drawn. Sampled events and other
        laws are refused. Adaptive inputs are covered, adaptive parameters are not.
    Source: Balle and Wang, ICML 2018; Dong, Roth and Su, JRSS-B 2022, Corollary 3.3 (composition).
    """

    method = "exact-gaussian"

    def __init__(self, unit: Unit) -> None:
        self._tally = Tally(unit, self._shift_of)

    @property
    def unit(self) -> Unit:
        """The unit all figures are about."""
        return self._tally.unit

    def compose(self, event: Event) -> None:
        """Adds the event.  Raises: UnsupportedEvent, NoiseTooCoarse (and then nothing was added)."""
        self._tally.add(event)

    def delta(self, epsilon: Exact) -> float:
        """An upper bound of delta at epsilon."""
        at = where_asked(epsilon)
        shift = self._total()
        value, error = _delta_at(max(0.0, float(at) - 2.0 * shift.slack), math.sqrt(shift.upper))
        lost = distance_cost(self._tally.distance(), float(at))
        return min(1.0, stretched(value + error, shift.slack) + float(lost))

    def epsilon(self, delta: Exact) -> float:
        """The upper end of `interval`."""
        return self._upper(probability("delta", delta))

    def interval(self, delta: Exact) -> Interval:
        """Both ends; they differ by rounding only when the noise is continuous."""
        at = probability("delta", delta)
        upper = self._upper(at)
        shift = self._total()
        spent = at + distance_cost(self._tally.distance(), upper)
        # A delta too small for a double is not 0: only at 0 itself is no epsilon enough.
        inflated = stretched(max(float(spent), _LEAST_DELTA if spent else 0.0), shift.slack)
        lower = 0.0 if inflated >= 1.0 else _epsilon_below(inflated, math.sqrt(shift.lower))
        return Interval(max(0.0, lower - 2.0 * shift.slack), upper, at, self.method)

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

    def _upper(self, delta: Fraction) -> float:
        shift = self._total()

        def ideal(at: float) -> float:
            return _epsilon_above(at * math.exp(-shift.slack), math.sqrt(shift.upper)) + 2.0 * shift.slack

        return booked(ideal, delta, self._tally.failure(), self._tally.distance())

    def _shift_of(self, leaf: Event) -> Shift:
        if not isinstance(leaf, GaussianEvent):
            raise UnsupportedEvent(f"the exact Gaussian curve covers no {leaf.tag} event")
        return gaussian_shift(leaf, self.unit.relation)

    def _total(self) -> Shift:
        """The sum of all shifts."""
        return Shift.total((self._shift_of(leaf), count) for leaf, count in self._tally.counts.items())
