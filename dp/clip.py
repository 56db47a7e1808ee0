"""x -> x * min(1, C / |x|): the largest change one unit can cause, fixed before any noise is drawn.

A `Clipped` is a vector together with the bound it obeys, so nobody downstream types a sensitivity by
hand. The bound holds here in float64 arithmetic; the bound that the privacy claim rests on is the
integer one, checked again after the vector is on its lattice (`dp.distributed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp.errors import BadParameters, ClipExceeded, NonFinite

Vector = NDArray[np.float64]

CHUNK = 1 << 13
LEAST_BOUND = Fraction(1, 1 << 900)


@dataclass(frozen=True, slots=True)
class Clipped:
    """A vector v with |v| <= bound, and the norm it had before: hit says whether it was longer.

    Shapes: vector is a float64 array that nobody else writes to; bound is an exact rational.
    Guarantee: when made by a function of this module, |vector| <= bound in float64; hit and norm are
        private to the client, they must not leave it without noise of their own.
    Raises: BadParameters for a wrong type or a bound that is not positive; NonFinite for a norm that is
        not a number.
    """

    vector: Vector = field(repr=False)
    bound: Fraction
    norm: float = field(repr=False)
    hit: bool = field(repr=False)

    def __post_init__(self) -> None:
        require_bound("bound", self.bound)
        if not isinstance(self.vector, np.ndarray) or self.vector.dtype != np.float64:
            raise BadParameters("vector must be a float64 array")
        if not (math.isfinite(self.norm) and self.norm >= 0):
            raise NonFinite("norm must be finite and at least 0")


def clip_l2(vector: NDArray[Any], bound: Fraction) -> Clipped:
    """v * min(1, C / |v|_2), computed on v / max|v| so that neither 3e38 nor a subnormal spoils it.

    Shapes: any float array; the result is a float64 copy of the same shape. A float32 caller must not
        round it back: the rounding alone can lift the norm over the bound.
    Guarantee: |result|_2 <= C, recomputed after scaling. The scale is shortened by (d + 8) * 2^-53: d/2 roundings
        in the norm, and no more than 8 in everything else.
    Raises: NonFinite for NaN, infinity or a norm beyond float64; BadParameters for a bound <= 0;
        ClipExceeded if the recomputed norm disobeys (our bug).
    """
    return _clip(vector, bound, _euclidean)


def clip_l1(vector: NDArray[Any], bound: Fraction) -> Clipped:
    """v * min(1, C / |v|_1), the bound that Laplace noise needs; otherwise as `clip_l2`."""
    return _clip(vector, bound, _absolute)


def clip_layers(layers: Sequence[NDArray[Any]], bounds: Sequence[Fraction], total: Fraction) -> Clipped:
    """Each layer clipped to its own C_l with sum C_l^2 <= C^2, laid end to end as one vector of bound C.

    Shapes: layers of any shape, flattened in order; norm is that of the whole before clipping; hit says
        that at least one layer was too long.
    Raises: BadParameters when the counts differ or the bounds together exceed the total (compared as
        exact rationals); otherwise as `clip_l2`.
    """
    require_kind("layers", layers, list, tuple)
    require_kind("bounds", bounds, list, tuple)
    if not layers or len(layers) != len(bounds):
        raise BadParameters(f"{len(layers)} layers need as many bounds, at least one, not {len(bounds)}")
    require_bound("total", total)
    for place, bound in enumerate(bounds):
        require_bound(f"bounds[{place}]", bound)
    spent = sum(Fraction(bound) ** 2 for bound in bounds)
    if spent > Fraction(total) ** 2:
        raise BadParameters(f"layer bounds have sum of squares {spent}, above total^2 = {total**2}")
    parts = [clip_l2(layer, bound) for layer, bound in zip(layers, bounds, strict=True)]
    return Clipped(
        np.concatenate([part.vector.ravel() for part in parts]),
        Fraction(total),
        math.hypot(*(part.norm for part in parts)),
        any(part.hit for part in parts),
    )


def require_kind(name: str, value: object, *kinds: type) -> None:
    """Raise BadParameters for a value of another kind than this argument takes."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise BadParameters(f"{name} must be a {names}, not a {type(value).__name__}")


def require_bound(name: str, bound: Fraction) -> None:
    """Raise BadParameters unless the bound is an exact positive rational (an int or a Fraction)."""
    if not isinstance(bound, int | Fraction) or isinstance(bound, bool):
        raise BadParameters(f"{name} must be an int or a Fraction, not {type(bound).__name__}")
    if bound <= 0:
        raise BadParameters(f"{name} must be above 0, not {bound}")


def _clip(vector: NDArray[Any], bound: Fraction, length_of: Callable[[Vector, float], float]) -> Clipped:
    require_bound("bound", bound)
    limit = _float_below(Fraction(bound))
    copy, largest = _finite_copy(vector)
    if largest == 0.0:
        return Clipped(copy, Fraction(bound), 0.0, False)
    norm = largest * length_of(copy, largest)
    if not math.isfinite(norm):
        raise NonFinite("the norm of the vector is beyond float64; nothing was clipped")
    if norm <= limit:
        return Clipped(copy, Fraction(bound), norm, False)
    # In two steps: of a vector near 1e308 the quotient limit / norm is subnormal and has lost its bits.
    copy /= norm
    copy *= limit * (1.0 - (copy.size + 8) * 2.0**-53)
    if length_of(copy, limit) > 1.0:
        raise ClipExceeded(f"the clipped vector is still longer than the bound {limit}")
    return Clipped(copy, Fraction(bound), norm, True)


def _finite_copy(vector: NDArray[Any]) -> tuple[Vector, float]:
    """A float64 copy that the caller cannot change afterwards, and its largest magnitude."""
    if not isinstance(vector, np.ndarray) or vector.dtype.kind != "f":
        raise BadParameters(f"expected a float array, not {getattr(vector, 'dtype', type(vector).__name__)}")
    with np.errstate(over="ignore"):
        copy = np.array(vector, dtype=np.float64, order="C")
    # Extremes carry NaN and infinity along, so they are all that has to be looked at.
    top, bottom = float(np.max(copy, initial=0.0)), float(np.min(copy, initial=0.0))
    if not (math.isfinite(top) and math.isfinite(bottom)):
        raise NonFinite("the vector holds NaN or infinity; nothing was clipped")
    return copy, max(top, -bottom)


def _float_below(bound: Fraction) -> float:
    """The largest float64 not above the bound, so that rounding never loosens it."""
    if bound < LEAST_BOUND:
        raise BadParameters("bound must be at least 2^-900: below it float64 coordinates lose their bits")
    nearest = float(min(bound, Fraction(2) ** 1000))
    return nearest if Fraction(nearest) <= bound else math.nextafter(nearest, 0.0)


def _euclidean(vector: Vector, unit: float) -> float:
    """|v / unit|_2, in chunks that stay in cache."""
    return math.sqrt(math.fsum(float(np.dot(part, part)) for part in _chunks(vector, unit)))


def _absolute(vector: Vector, unit: float) -> float:
    """|v / unit|_1."""
    return math.fsum(float(np.sum(np.abs(part))) for part in _chunks(vector, unit))


def _chunks(vector: Vector, unit: float) -> Iterator[Vector]:
    flat = vector.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield _quotients(flat[start : start + CHUNK], unit)


def _quotients(part: Vector, unit: float) -> Vector:
    # None overflows; numpy 1.26 says so of what it fills its registers up with, where the unit is subnormal.
    with np.errstate(over="ignore"):
        return part / unit
