"""Noise made by the clients: each adds a share, any allowed cohort's sum has enough, inside Z_{2^b}.

    x --clip--> |x| <= C --rotate--> flat --/gamma, round--> integers, norm <= Delta --+ share--> y
    sum of y over the cohort (the caller's secure sum) --* gamma, rotate back--> sum of x + noise

`NoiseShare` is the whole plan, frozen: every number that defines privacy is an int or a Fraction, and
sensitivity, share and lattice are derived, not typed. A client that vanishes takes its noise along:
therefore shares are sized for the smallest cohort without its colluders, and the claim is made for
zero-out neighbours (a unit becomes the zero vector, its noise stays).
Follows Kairouz, Liu, Steinke (ICML 2021) and Agarwal, Kairouz, Liu (NeurIPS 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from dp.clip import Clipped, clip_l2, require_bound
from dp.errors import BadParameters, DpError, Infeasible, NoiseTooCoarse
from dp.events import GaussianEvent
from dp.lattice import (
    block_length,
    padded_length,
    rotate,
    round_conditionally,
    rounded_norm_squared,
    unrotate,
)
from dp.noise import Entropy, Integers, RngSource, add_discrete_gaussian_into, table_draws

MIN_COMPONENT_VARIANCE = 9
MIN_MODULUS_BITS, MAX_MODULUS_BITS = 8, 62
MAX_RADIUS_BITS = 30
MANTISSA_BITS = 16
SHARE_DENOMINATOR = 1 << 16
# Rounding errors of the float64 rotation stay below 2^-46; this much shorter, they cannot lift the norm.
SHRINK = 1.0 - 2.0**-40
LN2_ABOVE = Fraction(6931471806, 10**10)
ROUNDING_SLACK = Fraction(1)
WRAP_PROBABILITY = Fraction(1, 10**6)


@dataclass(frozen=True, slots=True)
class Quantised:
    """A clipped, rotated vector on its lattice, without noise: for exactness tests, never for sending."""

    vector: Integers = field(repr=False)
    clipped: Clipped


@dataclass(frozen=True, slots=True)
class EncodedShare:
    """A quantised vector plus one share of noise; and where that noise came from.

    Shapes: vector is int64 of the padded length, unreduced; the caller takes it modulo 2^b.
    Guarantee: private only within a sum over an allowed cohort; alone it holds a single share of noise.
    """

    vector: Integers = field(repr=False)
    clipped: Clipped
    rng: RngSource


def require_honest(min_survivors: int, colluders: int) -> None:
    """Raises: Infeasible unless two survivors' noise is unknown: that of one alone goes when the client goes."""
    if min_survivors < colluders + 2:
        raise Infeasible(
            f"{colluders} colluders leave fewer than 2 honest clients among {min_survivors} survivors, whose sum would "
            f"be one client's own vector and noise; min_survivors must be at least {colluders + 2}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is asked of a noise plan; everything but the lattice, whose step gamma is still free.

    n = max_clients, d = dimension padded to d', C = clip, b = modulus_bits; noise_multiplier is the
    standard deviation of the noise divided by the integer L2 sensitivity Delta.
    Raises: BadParameters for a value out of range; Infeasible when colluders leave fewer than two honest shares.
    """

    noise_multiplier: Fraction
    clip: Fraction
    dimension: int
    modulus_bits: int
    max_clients: int
    min_survivors: int
    colluders: int
    wrap_probability: Fraction = WRAP_PROBABILITY

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "clip", "wrap_probability"):
            require_bound(name, getattr(self, name))
            # An int divided by an int would be a float.
            object.__setattr__(self, name, Fraction(getattr(self, name)))
        require_within("modulus_bits", self.modulus_bits, MIN_MODULUS_BITS, MAX_MODULUS_BITS)
        require_within("dimension", self.dimension, 1, 1 << 32)
        require_within("max_clients", self.max_clients, 1, 1 << 24)
        require_within("min_survivors", self.min_survivors, 1, self.max_clients)
        require_within("colluders", self.colluders, 0, self.max_clients)
        if self.wrap_probability >= 1:
            raise BadParameters(f"wrap_probability must be below 1, not {self.wrap_probability}")
        if not Fraction(1, 1 << 256) <= self.clip <= 1 << 256:
            raise BadParameters("clip must be within 2^-256..2^256")
        require_honest(self.min_survivors, self.colluders)

    @property
    def padded(self) -> int:
        """d': how many coordinates travel."""
        return padded_length(self.dimension)

    def l2_squared_at(self, gamma: Fraction) -> int:
        """Delta^2, the squared integer norm that no rounded vector exceeds."""
        return rounded_norm_squared(self.clip / gamma, self.padded, ROUNDING_SLACK)

    def share_at(self, gamma: Fraction) -> Fraction:
        """One client's lattice variance: target / (min_survivors - colluders), up to the next 2^-16."""
        target = self.noise_multiplier**2 * self.l2_squared_at(gamma)
        share = target / (self.min_survivors - self.colluders)
        return Fraction(math.ceil(share * SHARE_DENOMINATOR), SHARE_DENOMINATOR)

    def peak_squared_at(self, gamma: Fraction) -> Fraction:
        """k^2 (n^2 (C/gamma)^2 / d' + n/4 + n share): no coordinate of the sum is larger, but for chance p.

        k^2 = 2 ln(2 d'/p), the logarithm rounded up to whole bits so that no float decides.
        """
        clients, radius = self.max_clients, self.clip / gamma
        spread = clients**2 * radius**2 / block_length(self.dimension) + Fraction(clients, 4)
        bits = (math.ceil(2 * self.padded / self.wrap_probability) - 1).bit_length()
        return 2 * LN2_ABOVE * bits * (spread + clients * self.share_at(gamma))

    def fits(self, gamma: Fraction) -> bool:
        """Whether sums on this lattice stay inside the ring."""
        return self.peak_squared_at(gamma) <= 1 << 2 * (self.modulus_bits - 1)

    def finest_step(self) -> Fraction:
        """The least gamma = m 2^e, m of 16 bits, that fits; bisection over the ordered pairs (e, m).

        A finer lattice only raises every term of the peak, so the order decides.
        """
        middle = self.clip.numerator.bit_length() - self.clip.denominator.bit_length()
        fine = (middle + 1 - MAX_RADIUS_BITS) << (MANTISSA_BITS - 1)
        coarse = (middle + 1) << (MANTISSA_BITS - 1)
        if not self.fits(_step(coarse)):
            self._refuse(_step(coarse))
        while fine < coarse:
            between = (fine + coarse) // 2
            fine, coarse = (fine, between) if self.fits(_step(between)) else (between + 1, coarse)
        return _step(fine)

    def _refuse(self, gamma: Fraction) -> NoReturn:
        peak = math.sqrt(self.peak_squared_at(gamma))
        raise Infeasible(
            f"at lattice step {float(gamma):.6g} the sum of {self.max_clients} clients reaches "
            f"{peak:.6g} steps, beyond 2^{self.modulus_bits - 1}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseShare(Demand):
    """A demand met on a lattice of step gamma: Delta, target and share follow from it and are exact.

    Guarantee: constructing one proves that any min_survivors clients, without the noise of `colluders` of
        them, hold variance >= (z Delta)^2; that each share has lattice variance >= 9, so that integer
        noise accounts as Gaussian; that rounding at most doubles the sensitivity; and that the sum leaves
        the ring with probability about wrap_probability (a wrap costs accuracy, never privacy).
    Raises: as Demand; Infeasible when sums do not fit or rounding dominates; NoiseTooCoarse.
    """

    gamma: Fraction

    def __post_init__(self) -> None:
        Demand.__post_init__(self)
        require_bound("gamma", self.gamma)
        object.__setattr__(self, "gamma", Fraction(self.gamma))
        radius = self.clip / self.gamma
        if radius > 1 << MAX_RADIUS_BITS:
            raise BadParameters(f"clip / gamma is {float(radius):.6g}, above 2^{MAX_RADIUS_BITS}")
        if not self.fits(self.gamma):
            self._refuse(self.gamma)
        if self.l2_squared > 4 * radius**2:
            raise Infeasible(
                f"rounding lifts the norm from {float(radius):.6g} to {math.sqrt(self.l2_squared):.6g} "
                "lattice steps, more than double: the noise would serve the rounding, not the data"
            )
        if self.share_variance < MIN_COMPONENT_VARIANCE:
            raise NoiseTooCoarse(
                f"one share has lattice variance {float(self.share_variance):.6g}, below {MIN_COMPONENT_VARIANCE}"
            )

    @classmethod
    def plan(
        cls,
        *,
        noise_multiplier: Fraction,
        clip: Fraction,
        dimension: int,
        modulus_bits: int,
        max_clients: int,
        min_survivors: int,
        colluders: int,
        wrap_probability: Fraction = WRAP_PROBABILITY,
    ) -> Self:
        """The plan with the finest lattice that the ring can hold; equal on every machine.

        Raises: BadParameters; Infeasible or NoiseTooCoarse naming the smallest modulus_bits that would do.
        """
        demand = Demand(
            noise_multiplier=noise_multiplier,
            clip=clip,
            dimension=dimension,
            modulus_bits=modulus_bits,
            max_clients=max_clients,
            min_survivors=min_survivors,
            colluders=colluders,
            wrap_probability=wrap_probability,
        )
        try:
            return cls._meet(demand)
        except (Infeasible, NoiseTooCoarse) as refused:
            raise type(refused)(f"{refused}; {cls._advice(demand)}") from None

    @classmethod
    def _meet(cls, demand: Demand) -> Self:
        asked = {part.name: getattr(demand, part.name) for part in fields(Demand)}
        return cls(**asked, gamma=demand.finest_step())

    @classmethod
    def _advice(cls, demand: Demand) -> str:
        for bits in range(demand.modulus_bits + 1, MAX_MODULUS_BITS + 1):
            try:
                cls._meet(replace(demand, modulus_bits=bits))
            except DpError:
                continue
            return f"the smallest modulus_bits that would do is {bits}"
        return f"no modulus_bits up to {MAX_MODULUS_BITS} would do"

    def at_clip(self, clip: Fraction) -> Self:
        """The same lattice integers for another clip: gamma follows it; sensitivity, noise and event stay equal.

        Raises: BadParameters for a clip outside 2^-256..2^256.
        """
        require_bound("clip", clip)
        return replace(self, clip=Fraction(clip), gamma=self.gamma * clip / self.clip)

    @property
    def l2_squared(self) -> int:
        """Delta^2: the squared integer L2 sensitivity under zero-out neighbours."""
        return self.l2_squared_at(self.gamma)

    @property
    def sigma2(self) -> Fraction:
        """The lattice variance that every allowed sum must reach: (z Delta)^2."""
        return self.noise_multiplier**2 * self.l2_squared

    @property
    def share_variance(self) -> Fraction:
        """The lattice variance that each client adds."""
        return self.share_at(self.gamma)

    def quantise(self, vector: NDArray[Any], rotation_seed: bytes, entropy: Entropy) -> Quantised:
        """clip, rotate, divide by gamma, round: integers of squared norm <= l2_squared, without noise.

        Shapes: (d,) floats in; the vector of the result is int64 of length `padded`.
        Raises: BadParameters for another length; NonFinite; ClipExceeded (our bug).
        """
        if getattr(vector, "shape", None) != (self.dimension,):
            raise BadParameters(f"expected shape ({self.dimension},), not {getattr(vector, 'shape', None)}")
        clipped = clip_l2(vector, self.clip)
        scaled = rotate(clipped.vector, rotation_seed, SHRINK / float(self.gamma))
        return Quantised(round_conditionally(scaled, self.l2_squared, entropy), clipped)

    def encode(self, vector: NDArray[Any], rotation_seed: bytes, entropy: Entropy) -> EncodedShare:
        """`quantise`, plus one share of discrete Gaussian noise per padded coordinate.

        rotation_seed is public and common to the cohort; entropy is this client's alone and never reused.
        """
        quantised = self.quantise(vector, rotation_seed, entropy)
        add_discrete_gaussian_into(quantised.vector, self.share_variance, entropy)
        return EncodedShare(quantised.vector, quantised.clipped, entropy.rng)

    def decode(self, total: Integers, rotation_seed: bytes) -> NDArray[np.float64]:
        """The sum of the clipped vectors plus noise of std gamma * sqrt(n share); the caller divides by n.

        Shapes: total is the int64 sum of length `padded`, centred in [-2^(b-1), 2^(b-1)); (d,) out.
        """
        if not isinstance(total, np.ndarray) or total.dtype != np.int64 or total.shape != (self.padded,):
            raise BadParameters(f"expected int64 of shape ({self.padded},), centred")
        scale = float(self.gamma) / SHRINK
        return unrotate(total.astype(np.float64), rotation_seed, scale, self.dimension)

    def event(self, survivors: int, rng: RngSource = "system") -> GaussianEvent:
        """What the aggregator learns when `colluders` of the survivors tell it their noise.

        Before a round opens, `survivors = min_survivors` is what is guaranteed.
        Raises: Infeasible when fewer than min_survivors took part: the sum must not be opened.
        """
        return self._release(survivors, survivors - self.colluders, rng)

    def event_released(self, survivors: int, rng: RngSource = "system") -> GaussianEvent:
        """What a reader of the opened sum learns, to whom every survivor's noise is unknown."""
        return self._release(survivors, survivors, rng)

    def _release(self, survivors: int, components: int, rng: RngSource) -> GaussianEvent:
        require_within("survivors", survivors, 0, self.max_clients)
        if survivors < self.min_survivors:
            raise Infeasible(
                f"{survivors} survivors hold too little noise, the plan needs {self.min_survivors}; do not open the sum"
            )
        return GaussianEvent(
            sigma2=components * self.share_variance,
            l2_squared=self.l2_squared,
            d=self.padded,
            components=components,
            draws=components * self.padded * table_draws(self.share_variance),
            rng=rng,
        )


def _step(rank: int) -> Fraction:
    """The rank-th lattice step m 2^e, ordered by size; m has 16 bits, so it is exact as a float64 too."""
    half = 1 << (MANTISSA_BITS - 1)
    exponent, mantissa = divmod(rank, half)
    return (half + mantissa) * Fraction(2) ** (exponent - MANTISSA_BITS + 1)


def require_within(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadParameters(f"{name} must be an integer within {low}..{high}, not {value!r}")
