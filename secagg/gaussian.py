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
from secagg.prg import CHUNK_BYTES, Keystream, Stream, scratch_of

LABEL_CELLS = b"secagg/v1/gaussian/cells"
LABEL_CUTS = b"secagg/v1/gaussian/cuts"

Samples = NDArray[np.int8]

CELL_BITS = 16
CUT_BITS = 64 - CELL_BITS
# Samples read at once: 64 bits for each are one chunk of keystream, and what is made of them stays in cache. Each run
# has a place of its own in the second stream, so that workers may begin with any.
RUN = CHUNK_BYTES // 8
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

    Sample i has the i-th 16 bits, little-endian, of one stream; the j-th undecided sample of the run that begins with
    sample i has the lowest 48 bits of word i + j of another.
    Guarantee: independent and distributed by the law to whoever does not know the seed; a seed and context serve one
        purpose. Which samples were undecided, a few in ten thousand, may be seen by whoever can time the calls.
    Raises: BadParameters for a context that is not 32 bytes, or a start within a run.
    """

    __slots__ = ("_cells", "_cuts", "_law", "_left", "_scratch")

    def __init__(self, law: Law, seed: Seed, context: bytes, wanted: range) -> None:
        if wanted.start % RUN or wanted.step != 1:
            raise BadParameters(f"runs of samples begin at multiples of {RUN}, not as {wanted} does")
        start, count = wanted.start, len(wanted)
        self._law = law
        self._cells = Keystream(derive(seed, LABEL_CELLS, context).expose(), 2 * start, 2 * count)
        self._cuts = derive(seed, LABEL_CUTS, context)
        self._left = wanted
        self._scratch = scratch_of(2 * min(count, RUN))

    def read(self) -> Samples:
        """The next run, or as much of the last one as is wanted; a fresh array."""
        start, count = self._left.start, min(RUN, len(self._left))
        self._left = self._left[count:]
        self._cells.read_into(self._scratch, 2 * count)
        cells = np.frombuffer(self._scratch, "<u2", count)
        # Every cell is in the table: to wrap is what numpy does fastest.
        samples: Samples = self._law.cells.take(cells, mode="wrap")
        undecided = self._law.cut(samples)
        if undecided.size:
            high = cells[undecided].astype(np.uint64) << np.uint64(CUT_BITS)
            low = Stream(self._cuts).words(start, undecided.size) & np.uint64((1 << CUT_BITS) - 1)
            samples[undecided] = self._law.inverted(high | low)
        return samples


# sqrt(2) * 3.2 rounded up, see `secagg.rlwe`. Beyond 14 deviations lies less than 2^-140.
MASK_SIGMA = 4.53
MASK_REACH = 65


@cache
def mask_law() -> Law:
    """The law of secrets and errors of `secagg.rlwe`."""
    return Law.of(MASK_SIGMA, MASK_REACH)


def _inverted(exact: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.searchsorted(exact, words, side="right").astype(np.int64, copy=False)
