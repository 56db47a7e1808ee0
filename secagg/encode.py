"""Floats -> ring -> floats: clip, scale, rounding, weight, and the proof that no sum wraps.

    x --clip--> [-C, C] --/ step--> [-Z, Z] --floor(y + U)--> integer z --* w--> ring
    sum over clients --centre--> integer --* step, / sum of weights--> mean

The step is a power of two, so scaling is exact, decoding is exact below 2^53, and every output lies on one
lattice. Rounding is stochastic: E[z] = y, so errors of many clients average out instead of adding up. The
weight multiplies the rounded integer, so a light client keeps all its precision.
L2 clipping and noise are `dp`; how b-bit elements travel is `ring.py`.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters, ClipExceeded, NonFinite, Overflow
from secagg.keys import Seed
from secagg.prg import Keystream, scratch_of
from secagg.ring import Ring, RingVector

Floats = NDArray[np.float32] | NDArray[np.float64]

# Elements rounded at once: buffers that fit a core's own cache, yet long enough that numpy's calls do not count.
CHUNK = 1 << 16
ROUNDING_BITS = 24
MAX_BITS = 24  # what a float32 carries
MAX_SCALE = 1000  # |log2 step|: clip, step and their quotient stay normal float64 numbers
MAX_SCALE_FLOAT32 = 100  # the same in float32


class OnExcess(Enum):
    """What to do with a coordinate beyond the clip."""

    COUNT = "count"  # clip it and say how many
    REFUSE = "refuse"  # raise ClipExceeded


class Rounding(Enum):
    """How y becomes an integer."""

    STOCHASTIC = "stochastic"  # floor(y + U), unbiased; U from a private stream
    NEAREST = "nearest"  # half to even, no randomness; the errors of many clients can add up


@dataclass(frozen=True, slots=True)
class Hit:
    """How many coordinates the clip changed."""

    count: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """x in [-clip, clip] -> w * round(x / step) in the smallest ring where max_clients of them cannot wrap.

    f = largest integer with ceil(clip * 2^f) <= 2^(bits-1),  Z = levels = ceil(clip * 2^f),  step = 2^-f,
    b = 1 + bit_length(max_clients * (max_weight * Z + noise_bound)).

    Shapes: bits in 2..24; a float clip stands for exactly its binary value; noise_bound is what a client's
        integer noise may add to one coordinate.
    Guarantee: constructing it is the proof, in integers, that |sum| <= 2^(b-1) - 1 for max_clients clients.
    Raises: Overflow when b would exceed 64; BadParameters for a field out of range.
    """

    clip: Fraction | float
    bits: int
    max_weight: int
    max_clients: int
    noise_bound: int = 0
    rounding: Rounding = Rounding.STOCHASTIC
    fraction_bits: int = field(init=False, compare=False)
    levels: int = field(init=False, compare=False)
    ring: Ring = field(init=False, compare=False)

    def __post_init__(self) -> None:
        clip = _exact(self.clip)
        bits = _integer("bits", self.bits, 2, MAX_BITS)
        weight = _integer("max_weight", self.max_weight, 1)
        clients = _integer("max_clients", self.max_clients, 1)
        noise = _integer("noise_bound", self.noise_bound, 0)
        fraction_bits = _floor_log2((1 << (bits - 1)) / clip)
        if abs(fraction_bits) > MAX_SCALE:
            raise BadParameters(
                f"this clip needs a step of 2^{-fraction_bits}; float64 is exact from 2^-{MAX_SCALE} to 2^{MAX_SCALE}"
            )
        levels = math.ceil(clip * Fraction(2) ** fraction_bits)
        ring_bits = 1 + (clients * (weight * levels + noise)).bit_length()
        if ring_bits > 64:
            raise Overflow(
                f"{clients} clients * ({weight} weight * {levels} levels + {noise} noise) needs {ring_bits} "
                "bits of at most 64; lower max_weight, bits or max_clients"
            )
        exact = {
            "clip": clip,
            "bits": bits,
            "max_weight": weight,
            "max_clients": clients,
            "noise_bound": noise,
        }
        derived = {"fraction_bits": fraction_bits, "levels": levels, "ring": Ring(ring_bits)}
        for name, value in (exact | derived).items():
            object.__setattr__(self, name, value)

    @property
    def step(self) -> float:
        """2^-fraction_bits: the distance of neighbouring outputs, exactly."""
        return math.ldexp(1.0, -self.fraction_bits)

    def rms_error(self, clients: int) -> float:
        """step / sqrt(6 n): the root mean square error that stochastic rounding leaves in a mean of n, all of weight 1.

        Of one client it has variance step^2 f (1 - f), f the fraction of y; this is its mean over uniform f.
        Raises: BadParameters for n outside 1..max_clients.
        """
        return self.step / math.sqrt(6 * _integer("clients", clients, 1, self.max_clients))

    def worst_rms_error(self, clients: int) -> float:
        """step / (2 sqrt n): the same where every coordinate of every client lies half-way between two levels."""
        return self.step / (2 * math.sqrt(_integer("clients", clients, 1, self.max_clients)))

    def encode(
        self, x: Floats, weight: int, rounding_seed: Seed, on_excess: OnExcess = OnExcess.COUNT
    ) -> tuple[RingVector, Hit]:
        """`encode_into` a new vector."""
        out = np.empty(x.size, dtype=self.ring.dtype)
        return out, self.encode_into(out, x, weight, rounding_seed, on_excess=on_excess)

    def encode_into(
        self,
        out: RingVector,
        x: Floats,
        weight: int,
        rounding_seed: Seed,
        lo: int = 0,
        hi: int | None = None,
        on_excess: OnExcess = OnExcess.COUNT,
    ) -> Hit:
        """out[lo:hi] <- weight * floor(min(max(x / step, -Z), Z) + U), U uniform in 2^-24 * {0 .. 2^24 - 1}.

        Shapes: x float32 or float64 and out words of the ring, both whole rows of one length; element j takes
            32-bit word j of the stream of rounding_seed, so ranges tile exactly. Scratch is 1.5 MiB at most.
        Guarantee: |z| <= Z; E[z] = y to 2^-24. The seed is as private as x: with it, z tells more of y.
        Raises: NonFinite; ClipExceeded under REFUSE; BadParameters for a weight outside 1..max_weight, or
            another dtype or length. out[lo:hi] is then to be thrown away; nothing else has changed.
        """
        end = self._check(out, x, lo, hi)
        factor = out.dtype.type(_integer("weight", weight, 1, self.max_weight))
        stochastic = self.rounding is Rounding.STOCHASTIC
        keystream = Keystream(rounding_seed.expose(), 4 * lo, 4 * (end - lo)) if stochastic else None
        scratch = _Scratch(min(CHUNK, end - lo), self._float_of(x))
        hits = 0
        for start in range(lo, end, CHUNK):
            part = x[start : min(start + CHUNK, end)]
            y = scratch.scaled[: part.size]
            hits += self._scale_into(y, part, start, on_excess)
            words = out[start : start + part.size]
            signed = words.view(f"<i{out.itemsize}")
            if keystream is None:
                np.copyto(signed, np.rint(y, out=y), casting="unsafe")
            else:
                scratch.round_into(signed, y, keystream)
            if factor != 1:
                words *= factor
        return Hit(hits)

    def _check(self, out: RingVector, x: Floats, lo: int, hi: int | None) -> int:
        self.ring.check(out)
        if x.dtype not in (np.float32, np.float64) or x.ndim != 1:
            raise BadParameters(f"expected one row of float32 or float64, got shape {x.shape} of {x.dtype}")
        if x.size != out.size:
            raise BadParameters(f"lengths {x.size} of x and {out.size} of out differ")
        end = x.size if hi is None else hi
        if not 0 <= lo <= end <= x.size:
            raise BadParameters(f"[{lo}, {end}) is not a range of a vector of {x.size}")
        return end

    def _float_of(self, x: Floats) -> type[np.float32] | type[np.float64]:
        """The format to scale in: that of x, where its scaled values and the step are normal numbers of it."""
        small = x.dtype == np.float32 and abs(self.fraction_bits) <= MAX_SCALE_FLOAT32
        return np.float32 if small else np.float64

    def _scale_into(self, y: NDArray[Any], x: Floats, start: int, on_excess: OnExcess) -> int:
        """y <- min(max(x, -Z * step), Z * step) / step, exactly; returns how many x were clipped."""
        limit = y.dtype.type(self.levels * self.step)
        scale = y.dtype.type(math.ldexp(1.0, self.fraction_bits))
        # NaN fails every comparison, so it cannot hide from this one.
        if -limit <= x.min() and x.max() <= limit:
            np.multiply(x, scale, out=y)
            return 0
        bad = np.flatnonzero(~np.isfinite(x))
        if bad.size:
            raise NonFinite(f"coordinate {start + bad[0]} is not finite ({bad.size} in its chunk)")
        np.copyto(y, x)
        hits = int(np.count_nonzero(np.abs(y) > limit))
        if on_excess is OnExcess.REFUSE:
            raise ClipExceeded(f"{hits} coordinates from {start} on exceed the clip; clip them first")
        np.clip(y, -limit, limit, out=y)
        np.multiply(y, scale, out=y)
        return hits

    def decode_sum(self, total: RingVector) -> NDArray[np.float64]:
        """centre(total) * step: exact while |centre| < 2^53."""
        return self._decode(total, 1)

    def decode(self, total: RingVector, weight_sum: int) -> NDArray[np.float64]:
        """The weighted mean: centre(total) * step / weight_sum, one rounding while |centre| < 2^53.

        Raises: BadParameters for a weight sum that max_clients clients cannot have: the mean of nobody is
            not a number, and is never returned as one.
        """
        return self._decode(total, _integer("weight_sum", weight_sum, 1, self.max_clients * self.max_weight))

    def _decode(self, total: RingVector, divisor: int) -> NDArray[np.float64]:
        self.ring.check(total)
        decoded = np.empty(total.size, dtype=np.float64)
        for start in range(0, total.size, CHUNK):
            part = decoded[start : start + CHUNK]
            np.copyto(part, self.ring.centre(total[start : start + CHUNK]))
            part *= self.step
            if divisor != 1:
                part /= divisor
        return decoded


class _Scratch:
    """Buffers for one chunk."""

    def __init__(self, size: int, float_type: type[np.float32] | type[np.float64]) -> None:
        self.scaled: NDArray[Any] = np.empty(size, dtype=float_type)
        self._whole: NDArray[Any] = np.empty(size, dtype=float_type)
        self._carry = np.empty(size, dtype=np.int32)
        self._bytes = scratch_of(4 * size)
        self._words: NDArray[Any] = np.frombuffer(self._bytes[: 4 * size], dtype="<u4")

    def round_into(self, integers: NDArray[Any], y: NDArray[Any], keystream: Keystream) -> None:
        """integers <- floor(y + word / 2^24), with the next 24-bit words of the keystream; y is used up.

        As floor(y) + carry, carry = [floor(2^24 (y - floor(y))) + word >= 2^24]: the same in any float format,
        and half the memory traffic of float64 where y is float32.
        """
        keystream.read_into(self._bytes, 4 * y.size)
        words, whole, carry = self._words[: y.size], self._whole[: y.size], self._carry[: y.size]
        np.right_shift(words, 32 - ROUNDING_BITS, out=words)
        np.floor(y, out=whole)
        np.subtract(y, whole, out=y)
        np.multiply(y, y.dtype.type(1 << ROUNDING_BITS), out=y)
        np.copyto(carry, y, casting="unsafe")
        np.add(carry, words.view("<i4"), out=carry)
        np.right_shift(carry, ROUNDING_BITS, out=carry)
        np.copyto(integers, whole, casting="unsafe")
        np.add(integers, carry, out=integers)


def _exact(clip: Fraction | float) -> Fraction:
    if isinstance(clip, bool) or not isinstance(clip, Fraction | int | float):
        raise BadParameters(f"clip is a number, not {type(clip).__name__}")
    if isinstance(clip, float) and not math.isfinite(clip):
        raise BadParameters(f"clip is finite, not {clip}")
    if clip <= 0:
        raise BadParameters(f"clip is above 0, not {clip}")
    return Fraction(clip)


def _floor_log2(quotient: Fraction) -> int:
    """The largest f with 2^f <= quotient. With quotient = most / clip: ceil(clip * 2^f) <= most."""
    guess = quotient.numerator.bit_length() - quotient.denominator.bit_length()
    return guess if Fraction(2) ** guess <= quotient else guess - 1


def _integer(name: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    # A weight of 2.5 or NaN would silently become another number in the ring; True is a slip of the pen.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise BadParameters(f"{name} is an integer, not {value!r}")
    number = operator.index(value)
    if number < least or (most is not None and number > most):
        bound = f"at least {least}" if most is None else f"{least} to {most}"
        raise BadParameters(f"{name} is {bound}, not {number}")
    return number
