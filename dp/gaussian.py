"""The exact privacy curve of Gaussian noise, and what integer noise loses against it.

Full participation only: T releases with shifts Delta_i / sigma_i are one Gaussian with mu^2 = sum of
(Delta_i / sigma_i)^2, whose curve is known in closed form. For noise drawn on the integers

    N_Z(0, s2)            is within e^(+-d kappa(t)) pointwise of  round_t(N(0, s2 - t))        (upper end)
    N_Z(0, s2) + N(0, t)  is within e^(+-d kappa(v)) pointwise of  N(0, s2 + t), v = s2 t/(s2+t) (lower end)
    sum of N_Z(0, v_k)    is within e^(+-d sum kappa(v_k V_(k-1) / V_k)) pointwise of N_Z(0, sum v_k)

where round_t draws a discrete Gaussian of variance t centred at its argument. In each case completing the
square leaves one data-dependent factor, a theta sum over Z, which Poisson summation puts within 1 +- theta.
The first two statements with post-processing bound the integer mechanism from both sides by Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
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
from dp.errors import BadParameters, NoiseTooCoarse, UnsupportedEvent
from dp.events import LEAST_COMPONENT_VARIANCE, Canonical, Event, Exact, GaussianEvent, SkellamEvent, exact, leaves

# The variance given up so that an integer Gaussian is Gaussian enough: kappa(4) = 2.1e-34 per coordinate.
# Without it the claim is false: at s2 = 1 the integer law leaks 4 % more delta than the continuous one.
ROUNDING_VARIANCE = 4

_UNIT_ROUNDOFF = 2.0**-53
_LARGEST_SHIFT = 1e150  # its square is still a double


def gaussian_delta(epsilon: float, sigma: float) -> float:
    """Phi(1/(2 sigma) - epsilon sigma) - e^epsilon Phi(-1/(2 sigma) - epsilon sigma), sensitivity 1.

    Source: Balle and Wang, ICML 2018, Theorem 8.
    """
    return _delta_at(epsilon, 1.0 / sigma)[0]


def gaussian_epsilon(delta: float, sigma: float) -> float:
    """The least epsilon with gaussian_delta(epsilon, sigma) <= delta, rounded up; 0 when delta allows it."""
    return _epsilon_above(delta, 1.0 / sigma)


def gaussian_sigma(epsilon: float, delta: float) -> float:
    """The least noise multiplier with gaussian_delta(epsilon, sigma) <= delta, rounded up.

    Raises: BadParameters unless epsilon >= 0 and 0 < delta < 1.
    """
    if not (0 <= epsilon < math.inf and 0 < delta < 1):
        raise BadParameters(f"need epsilon >= 0 and 0 < delta < 1, got {epsilon!r} and {delta!r}")

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
        return 0.0, 2.0**-1022
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
    if delta <= 0.0 or mu > _LARGEST_SHIFT:
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


@cache
def kappa(variance: Fraction) -> float:
    """2 artanh(theta), theta = 2 sum over m >= 1 of exp(-2 pi^2 variance m^2): log-ratio of theta sums.

    Raises: NoiseTooCoarse where theta reaches 1 and bounds nothing.
    """
    exponent = 2.0 * math.pi**2 * float(variance)
    theta = 2.0 * math.fsum(math.exp(-exponent * m * m) for m in range(1, 40))
    if theta >= 1.0:
        raise NoiseTooCoarse(f"lattice variance {float(variance):.6g} is too small to resemble a Gaussian")
    return math.log1p(2.0 * theta / (1.0 - theta))


def sum_slack(event: GaussianEvent) -> float:
    """Pointwise log-ratio between a sum of components and one discrete Gaussian of the same variance.

    Every component has variance at least 9, and v V / (v + V) is at least half the smaller one.
    """
    extra = max(0, event.components - 1)
    return event.d * extra * kappa(Fraction(LEAST_COMPONENT_VARIANCE, 2)) if extra else 0.0


@dataclass(frozen=True, slots=True)
class Shift:
    """Squared shifts mu^2 of two continuous Gaussians around one release, up to e^(+-slack) pointwise."""

    upper: float
    lower: float
    slack: float


@lru_cache(maxsize=4096)
def gaussian_shift(event: GaussianEvent, relation: Relation) -> Shift:
    """The Gaussians between which the release lies; equal when the noise is continuous.

    Raises: UnsupportedEvent for noise that leaves with its client; NoiseTooCoarse up to variance 4.
    """
    refuse_departing_noise(event, relation)
    sigma2, bound = Fraction(event.sigma2), Fraction(event.l2_squared)
    factor = relation.factor**2
    if event.components == 0:
        shift = factor * bound / sigma2
        return Shift(upward(shift), upward(shift) * (1.0 - 2.0**-50), 0.0)
    if sigma2 <= ROUNDING_VARIANCE:
        raise NoiseTooCoarse(
            f"lattice variance {float(sigma2):.6g} is not above {ROUNDING_VARIANCE}: the Gaussian curve does "
            "not bound so coarse an integer law; take a finer lattice"
        )
    attained = _attained(bound, event.d)
    # t with s2 t / (s2 + t) = 4: the blur that makes the integer law Gaussian to the same slack.
    blur = ROUNDING_VARIANCE * sigma2 / (sigma2 - ROUNDING_VARIANCE)
    return Shift(
        upper=upward(factor * bound / (sigma2 - ROUNDING_VARIANCE)),
        lower=float(factor * attained / (sigma2 + blur)),
        slack=event.d * kappa(Fraction(ROUNDING_VARIANCE)) + sum_slack(event),
    )


def sampled_shift(event: Event, relation: Relation) -> Shift:
    """The Gaussians between which all releases made on one cohort lie together.

    Both steps commute with sampling: a mixture keeps pointwise ratios, and a blur of the output is post-processing.
    Raises: UnsupportedEvent, NoiseTooCoarse.
    """
    parts = []
    for leaf, count in leaves(event):
        if not isinstance(leaf, GaussianEvent):
            raise UnsupportedEvent(f"a {leaf.tag} event has no proof inside sampling; Gaussian noise has")
        if leaf.components > 1 and leaf.total != "exact":
            raise UnsupportedEvent(
                "sampled clients that make the noise themselves make more or less of it by chance: only "
                "noise with an exact total (surplus layers removed) is accounted for under sampling"
            )
        if leaf.components and leaf.sigma2 < LEAST_COMPONENT_VARIANCE:
            raise NoiseTooCoarse(
                f"lattice variance {float(leaf.sigma2):.6g} is below {LEAST_COMPONENT_VARIANCE}, too coarse "
                "to be accounted for as sampled Gaussian noise; take a finer lattice"
            )
        parts.append((gaussian_shift(leaf, relation), count))
    return together(parts)


def together(parts: Iterable[tuple[Shift, int]]) -> Shift:
    """The sum of shifts, each so often; a few roundings in the last place are pushed outwards."""
    listed = list(parts)
    return Shift(
        upper=math.fsum(shift.upper * count for shift, count in listed) * (1.0 + 2.0**-50),
        lower=math.fsum(shift.lower * count for shift, count in listed) * (1.0 - 2.0**-50),
        slack=math.fsum(shift.slack * count for shift, count in listed) * (1.0 + 2.0**-50),
    )


def refuse_departing_noise(event: GaussianEvent | SkellamEvent, relation: Relation) -> None:
    """Raises: UnsupportedEvent when removing a client would remove its share of the noise as well."""
    if event.components > 1 and relation is Relation.ADD_REMOVE:
        raise UnsupportedEvent(
            f"noise made by {event.components} contributors shrinks when one is removed: account for it "
            f"under {Relation.ZERO_OUT}, not {Relation.ADD_REMOVE}"
        )


def _attained(bound: Fraction, d: int) -> Fraction:
    """A squared norm <= bound that some integer vector has: every integer is a sum of four squares."""
    whole = math.floor(bound)
    return Fraction(whole if d >= 4 else math.isqrt(whole) ** 2)


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
        at = exact("epsilon", epsilon)
        if at < 0:
            raise BadParameters(f"epsilon must not be negative, got {at}")
        shift = self._total()
        value, error = _delta_at(max(0.0, float(at) - 2.0 * shift.slack), math.sqrt(shift.upper))
        lost = distance_cost(self._tally.distance(), float(at))
        return min(1.0, (value + error) * math.exp(shift.slack) + float(lost))

    def epsilon(self, delta: Exact) -> float:
        """The upper end of `interval`."""
        return self._upper(probability("delta", delta))

    def interval(self, delta: Exact) -> Interval:
        """Both ends; they differ by rounding only when the noise is continuous."""
        at = probability("delta", delta)
        upper = self._upper(at)
        shift = self._total()
        spent = at + distance_cost(self._tally.distance(), upper)
        inflated = float(spent) * math.exp(shift.slack)
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
        return together((self._shift_of(leaf), count) for leaf, count in self._tally.counts.items())
