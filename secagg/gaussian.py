"""The discrete Gaussian over the integers, P(k) ~ exp(-k^2 / (2 sigma^2)), by inversion of 64 uniform bits.

    16 bits  --table of 65536 cells-->  k, but in the few cells that a threshold cuts
    48 bits more, there only            k with 2^64 P(<= k - 1) <= w < 2^64 P(<= k) of the 64 together

Both give what plain inversion of 64 bits gives, at two bytes of keystream a sample. The thresholds are computed in
decimals and rounded down once, so that the law is exact to 2^-58.

Source: Chen and Asau, 1974 (guide tables); Micciancio and Walter, CRYPTO 2017 (how exact a sampler has to be).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters
from secagg.keys import Seed, derive
from secagg.prg import CHUNK_BYTES, Keystream, scratch_of

LABEL_CELLS = b"secagg/v1/gaussian/cells"
LABEL_CUTS = b"secagg/v1/gaussian/cuts"

Samples = NDArray[np.int8]

CELL_BITS = 16
CUT_BITS = 64 - CELL_BITS
# Samples read at once: one chunk of keystream.
MOST_AT_ONCE = CHUNK_BYTES // 2
# No sample: the cell is cut.
_CUT = -128
_WIDEST_REACH = 127


def thresholds(sigma: float, reach: int) -> NDArray[np.uint64]:
    """2^64 P(X <= k) for k = -reach .. reach - 1, rounded down, of the Gaussian cut off beyond the reach."""
    with localcontext() as context:
        context.prec = 60
        scale = 2 * Decimal(str(sigma)) ** 2
        weights = [(-Decimal(k * k) / scale).exp() for k in range(-reach, reach + 1)]
        total, below, found = sum(weights), Decimal(0), []
        for weight in weights[:-1]:
            below += weight
            found.append(int(below / total * (1 << 64)))
    return np.array(found, dtype=np.uint64)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Law:
    """A discrete Gaussian ready for inversion.

    `thresholds` are those of the function above; `cells` holds the sample of each value of the highest 16 bits, or
    -128 where a threshold lies within.
    """

    reach: int
    thresholds: NDArray[np.uint64]
    cells: Samples

    @classmethod
    def of(cls, sigma: float, reach: int) -> Self:
        """Raises: BadParameters for a width that is not positive, or a reach that an int8 does not hold."""
        if not sigma > 0 or not 0 < reach <= _WIDEST_REACH:
            raise BadParameters(f"no table holds a Gaussian of width {sigma!r} within {reach!r} of zero")
        exact = thresholds(sigma, reach)
        first = np.arange(1 << CELL_BITS, dtype=np.uint64) << np.uint64(CUT_BITS)
        lowest = _inverted(exact, first)
        highest = _inverted(exact, first | np.uint64((1 << CUT_BITS) - 1))
        return cls(reach, exact, np.where(lowest == highest, lowest - reach, _CUT).astype(np.int8))

    def cut(self, samples: Samples) -> NDArray[np.intp]:
        """Places among samples taken from `cells` that 16 bits do not decide."""
        return np.flatnonzero(samples == _CUT)

    def inverted(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The samples of whole words."""
        return _inverted(self.thresholds, words) - self.reach


class Sampler:
    """Independent samples of one law, in order, a function of a seed and a public context.

    Sample i has the i-th 16 bits, little-endian, of one stream; the j-th sample among the undecided has the lowest 48
    bits of the j-th word of another. `count` samples or about as many are read in all.
    Guarantee: independent and distributed by the law to whoever does not know the seed; a seed and context serve one
        purpose. Which samples were undecided, a few in ten thousand, may be seen by whoever can time the calls.
    Raises: BadParameters for a context that is not 32 bytes.
    """

    __slots__ = ("_cells", "_cuts", "_law", "_scratch")

    def __init__(self, law: Law, seed: Seed, context: bytes, count: int) -> None:
        self._law = law
        self._cells = Keystream(derive(seed, LABEL_CELLS, context).expose(), 0, 2 * count)
        self._cuts = Keystream(derive(seed, LABEL_CUTS, context).expose(), 0, 0)
        self._scratch = scratch_of(2 * min(count, MOST_AT_ONCE))

    def read(self, count: int) -> Samples:
        """The next samples, at most `MOST_AT_ONCE` and the `count` of construction; a fresh array."""
        self._cells.read_into(self._scratch, 2 * count)
        cells = np.frombuffer(self._scratch, "<u2", count)
        # Every cell is in the table: to wrap is what numpy does fastest.
        samples: Samples = self._law.cells.take(cells, mode="wrap")
        undecided = self._law.cut(samples)
        if undecided.size:
            high = cells[undecided].astype(np.uint64) << np.uint64(CUT_BITS)
            samples[undecided] = self._law.inverted(high | self._read_cuts(undecided.size))
        return samples

    def _read_cuts(self, count: int) -> NDArray[np.uint64]:
        scratch = scratch_of(8 * count)
        self._cuts.read_into(scratch, 8 * count)
        return np.frombuffer(scratch, "<u8", count) & np.uint64((1 << CUT_BITS) - 1)


# sqrt(2) * 3.2 rounded up, see `secagg.rlwe`. Beyond 14 deviations lies less than 2^-140.
MASK_SIGMA = 4.53
MASK_REACH = 65


@cache
def mask_law() -> Law:
    """The law of secrets and errors of `secagg.rlwe`."""
    return Law.of(MASK_SIGMA, MASK_REACH)


def _inverted(exact: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.searchsorted(exact, words, side="right").astype(np.int64, copy=False)
