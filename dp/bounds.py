"""What one unit can contribute, in integers: a clip, a lattice, and the norms that follow from them.

    x --Clip--> |x|_2 <= C, |x|_1 <= C_1 --Lattice--> integers next to x / gamma, norms bounded below

| rounding    | squared L2 norm at most                        | L1 norm at most  | used for          |
|---|---|---|---|
| nearest     | floor (C/gamma + sqrt(d)/2)^2                  | C_1/gamma + d/2  | L1, and L2 to 10^4 |
| conditional | `dp.lattice.rounded_norm_squared`, far smaller | C_1/gamma + d    | L2 beyond          |

Sensitivities are derived here and typed nowhere. They are bounds before the relation is applied: an
accountant doubles them under replace-one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dp.clip import Clipped, clip_l1, clip_l2, clip_layers, require_bound, require_kind
from dp.errors import BadParameters, ClipExceeded
from dp.lattice import round_conditionally, rounded_norm_squared
from dp.noise import Entropy, Integers

Update = NDArray[Any] | Sequence[NDArray[Any]]

# Up to here the nearest integer serves: its bound is loose only where sqrt(d) counts.
NEAREST_DIMENSION = 10_000
MAX_DIMENSION = 1 << 32
# Squares of norms, and sums over 2^22 units, stay within int64.
MAX_L2_RADIUS = 1 << 30
MAX_L1_RADIUS = 1 << 40
LEAST_MAGNITUDE, MOST_MAGNITUDE = Fraction(1, 1 << 256), 1 << 256
# Norm of the rounding error at most 2^-10 of the clip, so that it costs 0.1 % of noise.
FINENESS = 1 << 10
# Two roundings of the float64 division stay below 2^-51; this much shorter, they cannot lift the norm.
SHRINK = 1.0 - 2.0**-40
ROUNDING_SLACK = Fraction(1)


@dataclass(frozen=True, slots=True)
class Clip:
    """Bounds of one unit's vector: |x|_2 <= l2, and |x|_1 <= l1 or one L2 bound per layer where given.

    Raises: BadParameters for a bound that is no rational within 2^-256..2^256, for layers whose squares
        sum to more than l2^2, or for both extras at once.
    """

    l2: Fraction
    l1: Fraction | None = None
    per_layer: tuple[Fraction, ...] | None = None

    def __post_init__(self) -> None:
        if self.per_layer is not None:
            require_kind("per_layer", self.per_layer, list, tuple)
        for name, bound in (("l2", self.l2), ("l1", self.l1), *(("per_layer", part) for part in self.per_layer or ())):
            if bound is not None:
                _require_magnitude(name, bound)
        if self.per_layer is not None:
            if self.l1 is not None or not self.per_layer:
                raise BadParameters("per_layer needs at least one bound, and takes the place of l1")
            spent = sum(Fraction(part) ** 2 for part in self.per_layer)
            if spent > Fraction(self.l2) ** 2:
                raise BadParameters(f"per_layer has sum of squares {spent}, above l2^2 = {Fraction(self.l2) ** 2}")
            object.__setattr__(self, "per_layer", tuple(Fraction(part) for part in self.per_layer))

    def shorten(self, update: Update) -> Clipped:
        """The update within its bounds, as one vector; the norm is the L2 norm it had.

        Shapes: (d,) floats; a list of float arrays, one per bound, when there are bounds per layer.
        Raises: BadParameters for another shape; NonFinite.
        """
        if self.per_layer is not None:
            if not isinstance(update, list | tuple):
                raise BadParameters(f"bounds per layer need a list of {len(self.per_layer)} arrays")
            return clip_layers(update, self.per_layer, self.l2)
        if not isinstance(update, np.ndarray) or update.ndim != 1:
            raise BadParameters(f"expected one vector, not shape {getattr(update, 'shape', type(update).__name__)}")
        clipped = clip_l2(update, self.l2)
        if self.l1 is None:
            return clipped
        shorter = clip_l1(clipped.vector, self.l1)
        return Clipped(shorter.vector, clipped.bound, clipped.norm, clipped.hit or shorter.hit)


@dataclass(frozen=True, slots=True)
class Lattice:
    """The multiples of gamma: everything noisy is int64, in units of this step."""

    gamma: Fraction

    def __post_init__(self) -> None:
        _require_magnitude("gamma", self.gamma)
        object.__setattr__(self, "gamma", Fraction(self.gamma))

    @classmethod
    def for_l2(cls, clip: Clip, dimension: int) -> Self:
        """The largest power of two gamma with gamma sqrt(d) <= C 2^-10."""
        require_dimension(dimension)
        return cls(_power_below(Fraction(clip.l2) ** 2 / (FINENESS**2 * dimension)))

    @classmethod
    def for_l1(cls, clip: Clip, dimension: int) -> Self:
        """The largest power of two gamma with gamma d <= C_1 2^-10: nearest rounding adds d/2 in L1."""
        require_dimension(dimension)
        return cls(_power_below((require_l1(clip) / (FINENESS * dimension)) ** 2))

    def to_real(self, integers: Integers) -> NDArray[np.float64]:
        """gamma times the integers; post-processing, and exact to a double's 53 bits."""
        return np.multiply(integers, float(self.gamma), dtype=np.float64)

    def scale(self, clipped: Clipped) -> NDArray[np.float64]:
        """x / gamma as float64, a trace shorter than x so that rounding errors cannot lift the norm."""
        return clipped.vector * (SHRINK / float(self.gamma))


def l2_squared_bound(clip: Clip, lattice: Lattice, dimension: int) -> int:
    """The squared integer L2 norm that no vector rounded by `round_for_l2` exceeds.

    Raises: BadParameters unless gamma <= C <= 2^30 gamma.
    """
    require_dimension(dimension)
    radius = _radius("l2", clip.l2, lattice, MAX_L2_RADIUS)
    if dimension > NEAREST_DIMENSION:
        return rounded_norm_squared(radius, dimension, ROUNDING_SLACK)
    p, q = radius.numerator, radius.denominator
    return (4 * p * p + q * q * dimension + isqrt(16 * p * p * q * q * dimension)) // (4 * q * q)


def l1_bound(clip: Clip, lattice: Lattice, dimension: int) -> int:
    """The integer L1 norm that no vector rounded to nearest exceeds: floor(C_1 / gamma + d/2).

    Raises: BadParameters without an L1 clip, or unless gamma <= C_1 <= 2^40 gamma.
    """
    require_dimension(dimension)
    radius = _radius("l1", require_l1(clip), lattice, MAX_L1_RADIUS)
    return int(radius + Fraction(dimension, 2))


def l1_bound_from_l2(clip: Clip, lattice: Lattice, dimension: int) -> int:
    """The integer L1 norm that no vector rounded by `round_for_l2` exceeds.

    |v|_1 <= sqrt(d) |v|_2 for all vectors and |v|_1 <= |v|_2^2 for integers; a clip in L1 can say more.
    """
    l2_squared = l2_squared_bound(clip, lattice, dimension)
    known = min(isqrt(dimension * l2_squared), l2_squared)
    if clip.l1 is None:
        return known
    step = 1 if dimension > NEAREST_DIMENSION else Fraction(1, 2)
    return min(known, int(_radius("l1", clip.l1, lattice, MAX_L1_RADIUS) + step * dimension))


def round_to_nearest(scaled: NDArray[np.float64]) -> Integers:
    """The nearest integers, halves to even.  Shapes: float64 below 2^53 in, int64 out."""
    return np.rint(scaled).astype(np.int64)


def round_for_l2(scaled: NDArray[np.float64], limit: int, entropy: Entropy) -> Integers:
    """Nearest up to 10^4 coordinates, conditional beyond; |result|_2^2 <= limit, or ClipExceeded."""
    if scaled.size > NEAREST_DIMENSION:
        return round_conditionally(scaled, limit, entropy)
    integers = round_to_nearest(scaled)
    require_norm("squared L2", int(np.dot(integers, integers)), limit)
    return integers


def require_norm(name: str, norm: int, limit: int) -> None:
    """Raise ClipExceeded when an integer norm, computed exactly, is above the bound of the claim."""
    if norm > limit:
        raise ClipExceeded(f"the {name} norm of the rounded vector is {norm}, above its bound {limit}")


def require_dimension(dimension: int) -> None:
    """Raise BadParameters unless 1 <= dimension <= 2^32."""
    if not isinstance(dimension, int) or isinstance(dimension, bool) or not 1 <= dimension <= MAX_DIMENSION:
        raise BadParameters(f"dimension must be an integer within 1..2^32, not {dimension!r}")


def require_l1(clip: Clip) -> Fraction:
    """The L1 bound of a clip that must have one."""
    if clip.l1 is None:
        raise BadParameters("this law needs a bound of the L1 norm: give Clip(l2, l1)")
    return Fraction(clip.l1)


def _radius(name: str, bound: Fraction, lattice: Lattice, most: int) -> Fraction:
    radius = bound / lattice.gamma
    if not 1 <= radius <= most:
        raise BadParameters(
            f"{name} / gamma is {float(radius):.6g}, it must be within 1..2^{most.bit_length() - 1}: "
            f"take a {'finer' if radius < 1 else 'coarser'} lattice"
        )
    return radius


def _power_below(square: Fraction) -> Fraction:
    """The largest 2^e with 4^e <= square."""
    exponent = (square.numerator.bit_length() - square.denominator.bit_length() + 2) // 2
    while Fraction(4) ** exponent > square:
        exponent -= 1
    return Fraction(2) ** exponent


def _require_magnitude(name: str, value: Fraction) -> None:
    require_bound(name, value)
    if not LEAST_MAGNITUDE <= value <= MOST_MAGNITUDE:
        raise BadParameters(f"{name} must be within 2^-256..2^256")
