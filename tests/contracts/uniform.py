"""Whether residues modulo 2^b look drawn uniformly and independently: p-values at a stated rate of false alarms.

The tests that use them fix their seeds and plant a fault the same p-values must catch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# One false alarm in a million per p-value, and the seeds are fixed: a failure is a fault or a changed seed.
FALSE_ALARM = 1e-6

Residues = NDArray[Any]


def p_values(residues: Residues, bits: int) -> dict[str, float]:
    """Chi-square of the lowest and highest byte and of neighbouring nibbles; normal test of serial correlation.

    Shapes: at least 5 * 256 residues of b >= 8 bits, so that every cell expects five and more.
    """
    wide = residues.astype(np.uint64)
    low, high = (wide & np.uint64(255)).astype(np.int64), (wide >> np.uint64(bits - 8)).astype(np.int64)
    nibbles = (low[0::2][: low.size // 2] & 15) * 16 + (low[1::2][: low.size // 2] & 15)
    return {
        "lowest byte": chi_square(low, 256),
        "highest byte": chi_square(high, 256),
        "neighbours": chi_square(nibbles, 256),
        "serial": uncorrelated(wide[:-1], wide[1:]),
    }


def byte_planes(residues: Residues, bits: int) -> dict[str, float]:
    """Chi-square of every byte of b bits, from the lowest; the highest one overlaps the one below it."""
    wide = residues.astype(np.uint64)
    shifts = sorted({*range(0, bits - 7, 8), bits - 8})
    return {
        f"bits {shift} to {shift + 7}": chi_square(((wide >> np.uint64(shift)) & np.uint64(255)).astype(np.int64), 256)
        for shift in shifts
    }


def chi_square(cells: NDArray[np.int64], count: int) -> float:
    """How likely cells drawn uniformly from 0..count-1 are to be at least this uneven."""
    return float(stats.chisquare(np.bincount(cells, minlength=count)).pvalue)


def uncorrelated(one: Residues, other: Residues) -> float:
    """How likely independent rows are to be at least this correlated (normal approximation, thousands of rows)."""
    correlation = float(np.corrcoef(one.astype(np.float64), other.astype(np.float64))[0, 1])
    return float(2 * stats.norm.sf(abs(correlation) * np.sqrt(one.size)))
