"""From noise on the integers to continuous Gaussians: what a release is worth as a shift, up to a slack.

    N_Z(0, s2)            is within e^(+-d kappa(t)) pointwise of  round_t(N(0, s2 - t))        (upper end)
    N_Z(0, s2) + N(0, t)  is within e^(+-d kappa(v)) pointwise of  N(0, s2 + t), v = s2 t/(s2+t) (lower end)
    sum of N_Z(0, v_k)    is within e^(+-d sum kappa(v_k V_(k-1) / V_k)) pointwise of N_Z(0, sum v_k)

where round_t draws a discrete Gaussian of variance t centred at its argument. In each case completing the
square leaves one data-dependent factor, a theta sum over Z, which Poisson summation puts within 1 +- theta.
The first two statements with post-processing bound the integer mechanism from both sides by Gaussians; a
Poisson sample mixes neighbouring laws, and mixing keeps pointwise ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache

from dp.accountant import Relation, downward, upward
from dp.errors import NoiseTooCoarse, UnsupportedEvent
from dp.events import LEAST_COMPONENT_VARIANCE, Event, GaussianEvent, SkellamEvent, leaves

# The variance given up so that an integer Gaussian is Gaussian enough: kappa(4) = 2.1e-34 per coordinate.
# Without it the claim is false: at s2 = 1 the integer law leaks 4 % more delta than the continuous one.
ROUNDING_VARIANCE = 4


# Squared shifts and slacks beyond are infinite on the upper side and cut on the lower: sums of the rest are doubles.
_LARGEST = 2.0**900
# e to a slack beyond is no double.
_LARGEST_EXPONENT = 700.0


def stretched(delta: float, slack: float) -> float:
    """delta e^slack, at most 1: what a delta becomes where densities are off by e^(+-slack)."""
    return 1.0 if slack > _LARGEST_EXPONENT else min(1.0, delta * math.exp(slack))


def _bounded(number: Fraction) -> float:
    value = upward(number)
    return math.inf if value > _LARGEST else value


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
    return _bounded(event.d * extra * Fraction(kappa(Fraction(LEAST_COMPONENT_VARIANCE, 2)))) if extra else 0.0


@dataclass(frozen=True, slots=True)
class Shift:
    """Squared shifts mu^2 of two continuous Gaussians around one release, up to e^(+-slack) pointwise."""

    upper: float
    lower: float
    slack: float

    @classmethod
    def total(cls, parts: Iterable[tuple[Shift, int]]) -> Shift:
        """The shift of all releases together; a few roundings in the last place are pushed outwards."""
        known = list(parts)
        return cls(
            upper=math.fsum(shift.upper * count for shift, count in known) * (1.0 + 2.0**-50),
            lower=math.fsum(shift.lower * count for shift, count in known) * (1.0 - 2.0**-50),
            slack=math.fsum(shift.slack * count for shift, count in known) * (1.0 + 2.0**-50),
        )


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
        return Shift(_bounded(shift), min(upward(shift), _LARGEST) * (1.0 - 2.0**-50), 0.0)
    if sigma2 <= ROUNDING_VARIANCE:
        raise NoiseTooCoarse(
            f"lattice variance {float(sigma2):.6g} is not above {ROUNDING_VARIANCE}: the Gaussian curve does "
            "not bound so coarse an integer law; take a finer lattice"
        )
    attained = _attained(bound, event.d)
    # t with s2 t / (s2 + t) = 4: the blur that makes the integer law Gaussian to the same slack.
    blur = ROUNDING_VARIANCE * sigma2 / (sigma2 - ROUNDING_VARIANCE)
    return Shift(
        upper=_bounded(factor * bound / (sigma2 - ROUNDING_VARIANCE)),
        lower=min(downward(factor * attained / (sigma2 + blur)), _LARGEST),
        slack=_bounded(event.d * Fraction(kappa(Fraction(ROUNDING_VARIANCE)))) + sum_slack(event),
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


def sampled_shift(event: Event, relation: Relation) -> Shift:
    """The Gaussians around all releases made on one sampled cohort.

    Raises: UnsupportedEvent for other laws, and for noise that depends on who is in the cohort;
        NoiseTooCoarse below lattice variance 9.
    """
    return Shift.total((_sampled_leaf(leaf, relation), count) for leaf, count in leaves(event))


def _sampled_leaf(leaf: Event, relation: Relation) -> Shift:
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
    return gaussian_shift(leaf, relation)
