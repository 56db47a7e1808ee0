"""The clip that follows the norms: C_{t+1} = C_t exp(-eta (beta_t - target)), beta_t the noisy fraction below C_t.

    s_i = +1 if |x_i| <= C_t, -1 if it is longer, 0 for the zero vector        one step apart under zero-out
    beta_t = 1/2 + (sum s_i + noise of standard deviation 2 sigma_b) / (2 n)
    1/z^2 = 1/z_v^2 + 1/(2 sigma_b)^2                                          vector and bit are one Gaussian

The sign is minus because beta counts who is *below* C_t: too many below, and the clip shrinks. Counting who is
above with the same sign runs away. One C_t is used for all of round t (clipping, noise, event); C_{t+1} depends on
released numbers alone and takes effect in round t + 1. The multiplier z never changes, so that the choice of C_t by
earlier outputs needs no accountant of its own.
Follows Andrew, Thakkar, McMahan, Ramaswamy, "Differentially Private Learning with Adaptive Clipping", NeurIPS 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import numpy as np

from dp.clip import require_bound
from dp.distributed import (
    LN2_ABOVE,
    MAX_MODULUS_BITS,
    MIN_COMPONENT_VARIANCE,
    SHARE_DENOMINATOR,
    WRAP_PROBABILITY,
    require_honest,
    require_within,
)
from dp.errors import BadParameters, Infeasible, NoiseTooCoarse, NonFinite
from dp.events import GaussianEvent
from dp.noise import Entropy, RngSource, discrete_gaussian, table_draws
from dp.weights import WEIGHT_BITS, exp_negative

# Clips are multiples of it, so that a ledger and a plan hold them as short rationals.
CLIP_STEP = Fraction(1, 1 << 20)
LARGEST_CLIP = Fraction(1 << 40)
# A fraction this far off the target must still move the clip by half a step, or it could stick where it is.
RESOLVED_FRACTION = Fraction(1, 100)
ROOT_BITS = 40
# On a lattice this fine, the 4 units of variance that accounting for integer noise gives up are below 2^-18 of it.
FINE_VARIANCE = 1 << 20


@dataclass(frozen=True, slots=True)
class AdaptiveClip:
    """The rule by which the clip of one round becomes that of the next.

    bit_noise = sigma_b is the standard deviation of the noise on the *count* of clients below the clip; eta =
    learning_rate; target is the quantile of the norms that the clip is to reach. Clips are multiples of 2^-20 within
    min_clip..max_clip.
    Raises: BadParameters for a number out of range, or a min_clip so low that steps of 2^-20 would hold it fast.
    """

    min_clip: Fraction
    max_clip: Fraction
    bit_noise: Fraction
    learning_rate: Fraction = Fraction(1, 5)
    target: Fraction = Fraction(1, 2)

    def __post_init__(self) -> None:
        for name in ("min_clip", "max_clip", "bit_noise", "learning_rate", "target"):
            require_bound(name, getattr(self, name))
            object.__setattr__(self, name, Fraction(getattr(self, name)))
        if self.target >= 1:
            raise BadParameters(f"target is {self.target}, it must be a fraction below 1")
        if self.learning_rate > 1:
            raise BadParameters(f"learning_rate is {self.learning_rate}, it must be at most 1")
        if not Fraction(1, 1 << 32) <= self.bit_noise <= 1 << 32:
            raise BadParameters(f"bit_noise is {float(self.bit_noise):.6g}, it must lie in 2^-32..2^32")
        for name in ("min_clip", "max_clip"):
            _require_on_grid(name, getattr(self, name))
        if not self.min_clip <= self.max_clip <= LARGEST_CLIP:
            raise BadParameters(
                f"max_clip is {self.max_clip}, it must lie in {self.min_clip} (min_clip)..{LARGEST_CLIP}"
            )
        least = CLIP_STEP / 2 / (self.learning_rate * RESOLVED_FRACTION)
        if self.min_clip < least:
            raise BadParameters(
                f"min_clip is {float(self.min_clip):.6g}: clips are multiples of 2^-20, and below {float(least):.6g} "
                f"learning_rate {self.learning_rate} could not move one; scale the updates up"
            )

    @classmethod
    def for_cohort(
        cls,
        clients: int,
        *,
        min_clip: Fraction,
        max_clip: Fraction,
        learning_rate: Fraction = Fraction(1, 5),
        target: Fraction = Fraction(1, 2),
    ) -> Self:
        """The rule with sigma_b = n/20, the ends of the range rounded inwards to multiples of 2^-20.

        The bit then costs the vector little noise once there are a few dozen clients.
        """
        require_within("clients", clients, 1, 1 << 24)
        require_bound("min_clip", min_clip)
        require_bound("max_clip", max_clip)
        return cls(
            min_clip=math.ceil(min_clip / CLIP_STEP) * CLIP_STEP,
            max_clip=math.floor(max_clip / CLIP_STEP) * CLIP_STEP,
            bit_noise=Fraction(clients, 20),
            learning_rate=learning_rate,
            target=target,
        )

    def require_clip(self, clip: Fraction) -> None:
        """Raises: BadParameters unless the clip is a multiple of 2^-20 within min_clip..max_clip."""
        require_bound("clip", clip)
        _require_on_grid("clip", clip)
        if not self.min_clip <= clip <= self.max_clip:
            raise BadParameters(f"clip is {clip}, it must lie in {self.min_clip}..{self.max_clip}")

    def fraction(self, noisy_sum: Fraction | int, clients: int) -> Fraction:
        """beta = 1/2 + sum / (2 n), noise included: it may lie outside 0..1, and cutting it there would bias it.

        Raises: BadParameters unless n, the denominator of the mean, is at least 1.
        """
        require_within("clients", clients, 1, 1 << 24)
        if not isinstance(noisy_sum, int | Fraction) or isinstance(noisy_sum, bool):
            raise BadParameters(f"noisy_sum must be an int or a Fraction, not {type(noisy_sum).__name__}")
        return Fraction(1, 2) + Fraction(noisy_sum, 2 * clients)

    def next(self, clip: Fraction, fraction: Fraction) -> Fraction:
        """C exp(-eta (beta - target)), to the nearest 2^-20, within min_clip..max_clip; equal on every machine.

        Raises: BadParameters for a clip that is none of this rule's, or a fraction that is no exact rational.
        """
        self.require_clip(clip)
        if not isinstance(fraction, int | Fraction) or isinstance(fraction, bool):
            raise BadParameters(f"fraction must be an int or a Fraction, not {type(fraction).__name__}")
        exponent = self.learning_rate * (fraction - self.target)
        factor = Fraction(exp_negative(abs(exponent)), 1 << WEIGHT_BITS)
        if exponent < 0 and factor == 0:
            return self.max_clip
        moved = clip * factor if exponent >= 0 else clip / factor
        return self.nearest(moved)

    def nearest(self, clip: Fraction) -> Fraction:
        """The clip of this rule that is nearest to a number."""
        return min(max(round(clip / CLIP_STEP) * CLIP_STEP, self.min_clip), self.max_clip)

    def vector_multiplier(self, noise_multiplier: Fraction) -> Fraction:
        """z_v = (z^-2 - (2 sigma_b)^-2)^(-1/2), rounded up to 2^-40: vector and bit together cost what z claims.

        Raises: BadParameters for z <= 0; Infeasible unless 2 sigma_b > z: the bit alone would cost more.
        """
        require_bound("noise_multiplier", noise_multiplier)
        z_squared, bit_squared = Fraction(noise_multiplier) ** 2, 4 * self.bit_noise**2
        if bit_squared <= z_squared:
            raise Infeasible(
                f"noise multiplier {float(noise_multiplier):.6g} for the round needs bit_noise above "
                f"{float(noise_multiplier / 2):.6g}, not {float(self.bit_noise):.6g}: the clip bit alone costs more"
            )
        return _root_above(z_squared * bit_squared / (bit_squared - z_squared))


def bit(norm: float, clip: Fraction) -> int:
    """s: +1 for a norm within the clip, -1 for one beyond it, 0 for the norm of the zero vector.

    Guarantee: zeroing a client's vector zeroes its bit too, so that one client moves the sum by at most 1. A zero
        vector that counted as +1 would move it by 2.
    Raises: NonFinite for a norm that is no length; BadParameters for a clip that is no bound.
    """
    require_bound("clip", clip)
    if not (math.isfinite(norm) and norm >= 0):
        raise NonFinite("norm must be finite and at least 0; no bit was made")
    if norm == 0:
        return 0
    return 1 if Fraction(norm) <= clip else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class BitShare:
    """The bit on a lattice of its own: s * scale plus this client's share of discrete Gaussian noise, in Z_{2^b}.

    One client moves the sum by at most `scale` lattice steps. bit_noise is in units of the count, as in AdaptiveClip,
    so the sum's noise has standard deviation 2 bit_noise scale.
    Guarantee: constructing one proves that any min_survivors clients, without the noise of `colluders` of them, hold
        variance >= (2 bit_noise scale)^2; that each share has lattice variance >= 9; and that the sum leaves the ring
        with probability at most wrap_probability (a wrap costs accuracy, never privacy): the bits reach n scale, and
        a sum of n discrete Gaussians of variance v exceeds k sqrt(n v), k^2 = 2 ln(2/p), with probability below p.
    Raises: BadParameters; Infeasible when colluders leave no share, or sums do not fit; NoiseTooCoarse.
    Source: Canonne, Kamath, Steinke, NeurIPS 2020, Corollary 17 (a discrete Gaussian is sub-Gaussian).
    """

    bit_noise: Fraction
    scale: int
    modulus_bits: int
    max_clients: int
    min_survivors: int
    colluders: int
    wrap_probability: Fraction = WRAP_PROBABILITY

    def __post_init__(self) -> None:
        require_bound("bit_noise", self.bit_noise)
        require_bound("wrap_probability", self.wrap_probability)
        require_within("scale", self.scale, 1, 1 << 30)
        require_within("modulus_bits", self.modulus_bits, 1, MAX_MODULUS_BITS)
        require_within("max_clients", self.max_clients, 1, 1 << 24)
        require_within("min_survivors", self.min_survivors, 1, self.max_clients)
        require_within("colluders", self.colluders, 0, self.max_clients)
        if self.wrap_probability >= 1:
            raise BadParameters(f"wrap_probability must be below 1, not {self.wrap_probability}")
        require_honest(self.min_survivors, self.colluders)
        if self.share_variance < MIN_COMPONENT_VARIANCE:
            raise NoiseTooCoarse(
                f"one share of the bit's noise has lattice variance {float(self.share_variance):.6g}, below "
                f"{MIN_COMPONENT_VARIANCE}; take a larger bit_noise, or more modulus_bits"
            )
        if not self._fits():
            raise Infeasible(
                f"the bits of {self.max_clients} clients at scale {self.scale}, with their noise, reach beyond "
                f"2^{self.modulus_bits - 1}; take more modulus_bits, or a smaller bit_noise"
            )

    @classmethod
    def plan(
        cls, *, bit_noise: Fraction, modulus_bits: int, max_clients: int, min_survivors: int, colluders: int
    ) -> Self:
        """The coarsest lattice with shares of variance 9, made finer while it fits, until rounding costs nothing.

        Raises: as the constructor, for that coarsest lattice.
        """
        share = cls(
            bit_noise=bit_noise,
            scale=_coarsest_scale(bit_noise, min_survivors - colluders),
            modulus_bits=modulus_bits,
            max_clients=max_clients,
            min_survivors=min_survivors,
            colluders=colluders,
        )
        while share.sigma2 < FINE_VARIANCE:
            try:
                share = replace(share, scale=2 * share.scale)
            except Infeasible:
                break
        return share

    @property
    def l2_squared(self) -> int:
        """The squared sensitivity under zero-out neighbours: one scaled step, squared."""
        return self.scale**2

    @property
    def sigma2(self) -> Fraction:
        """The lattice variance that every allowed sum must reach."""
        return 4 * Fraction(self.bit_noise) ** 2 * self.l2_squared

    @property
    def share_variance(self) -> Fraction:
        """The lattice variance that each client adds: sigma2 / (min_survivors - colluders), up to the next 2^-16."""
        share = self.sigma2 / (self.min_survivors - self.colluders)
        return Fraction(math.ceil(share * SHARE_DENOMINATOR), SHARE_DENOMINATOR)

    def encode(self, sign: int, entropy: Entropy) -> int:
        """sign * scale plus one share of noise, unreduced; `entropy` is this client's alone and never reused.

        Raises: BadParameters for a sign other than -1, 0, 1; EntropyUnavailable.
        """
        require_within("sign", sign, -1, 1)
        return sign * self.scale + int(discrete_gaussian(self.share_variance, 1, entropy)[0])

    def decode(self, total: int) -> Fraction:
        """The noisy sum of the signs, from the centred lattice sum."""
        if isinstance(total, bool) or not isinstance(total, int | np.integer):
            raise BadParameters(f"total must be an integer, not {type(total).__name__}")
        return Fraction(int(total), self.scale)

    def event(self, survivors: int, rng: RngSource = "system") -> GaussianEvent:
        """What the aggregator learns when `colluders` of the survivors tell it their noise.

        Raises: Infeasible when fewer than min_survivors took part: the sum must not be opened.
        """
        require_within("survivors", survivors, 0, self.max_clients)
        if survivors < self.min_survivors:
            raise Infeasible(
                f"{survivors} survivors hold too little noise, the plan needs {self.min_survivors}; do not open the sum"
            )
        components = survivors - self.colluders
        return GaussianEvent(
            sigma2=components * self.share_variance,
            l2_squared=self.l2_squared,
            d=1,
            components=components,
            draws=components * table_draws(self.share_variance),
            rng=rng,
        )

    def _fits(self) -> bool:
        """(2^(b-1) - n scale)^2 >= k^2 n v, the logarithm in k^2 rounded up to whole bits so that no float decides."""
        room = (1 << (self.modulus_bits - 1)) - self.max_clients * self.scale
        bits = (math.ceil(2 / self.wrap_probability) - 1).bit_length()
        return room > 0 and 2 * LN2_ABOVE * bits * self.max_clients * self.share_variance <= room**2


def _coarsest_scale(bit_noise: Fraction, honest: int) -> int:
    """The least power of two at which a share of (2 bit_noise scale)^2 / honest is 9, as far as 2^24 goes."""
    require_bound("bit_noise", bit_noise)
    scale = 1
    while 4 * bit_noise**2 * scale**2 < MIN_COMPONENT_VARIANCE * honest and scale < 1 << 24:
        scale *= 2
    return scale


def _require_on_grid(name: str, clip: Fraction) -> None:
    if (clip / CLIP_STEP).denominator != 1:
        raise BadParameters(f"{name} is {clip}, it must be a multiple of 2^-20: round it")


def _root_above(square: Fraction) -> Fraction:
    """The least multiple of 2^-40 that is not below the square root."""
    scaled = math.ceil(square * (1 << 2 * ROOT_BITS))
    root = math.isqrt(scaled)
    return Fraction(root + (root * root < scaled), 1 << ROOT_BITS)
