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
from secagg.prg import Keystream, scratch_of

LABEL = b"secagg/v1/gaussian"

Samples = NDArray[np.int8]

CELL_BITS = 16
CUT_BITS = 64 - CELL_BITS
# Samples read at once, and coefficients that `secagg.rlwe` works on: half as many take it a fifth longer.
RUN = 1 << 16
# Words kept in each run for what 16 bits do not decide. A law cuts 254 cells of 65536 at most: on average 254 samples
# of a run are in them, and more than 1024 with probability below 2^-900.
CUTS = 1024
_RUN_BYTES = 8 * CUTS + 2 * RUN
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

    Each run of 2^16 samples has 1024 words of 64 bits in the stream, and behind them 16 bits for each sample, all
    little-endian; the j-th undecided sample of a run has the lowest 48 bits of the run's j-th word.
    Guarantee: independent and distributed by the law to whoever does not know the seed; a seed and context serve one
        purpose. Which samples were undecided, a few in ten thousand, may be seen by whoever can time the calls.
    Raises: BadParameters for a context that is not 32 bytes, or a start within a run.
    """

    __slots__ = ("_keystream", "_law", "_left", "_scratch")

    def __init__(self, law: Law, seed: Seed, context: bytes, wanted: range) -> None:
        if wanted.start % RUN or wanted.step != 1:
            raise BadParameters(f"runs of samples begin at multiples of {RUN}, not as {wanted} does")
        runs = -(-len(wanted) // RUN)
        key = derive(seed, LABEL, context).expose()
        self._law = law
        self._keystream = Keystream(key, wanted.start // RUN * _RUN_BYTES, runs * _RUN_BYTES)
        self._left = wanted
        self._scratch = scratch_of(_RUN_BYTES)

    def read(self) -> Samples:
        """The next run, or as much of the last one as is wanted; a fresh array."""
        count = min(RUN, len(self._left))
        self._left = self._left[count:]
        self._keystream.read_into(self._scratch, 8 * CUTS + 2 * count)
        cuts = np.frombuffer(self._scratch, "<u8", CUTS)
        cells = np.frombuffer(self._scratch, "<u2", count, 8 * CUTS)
        # Every cell is in the table: to wrap is what numpy does fastest.
        samples: Samples = self._law.cells.take(cells, mode="wrap")
        undecided = self._law.cut(samples)
        if undecided.size:
            high = cells[undecided].astype(np.uint64) << np.uint64(CUT_BITS)
            low = cuts[: undecided.size] & np.uint64((1 << CUT_BITS) - 1)
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
