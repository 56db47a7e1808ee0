"""Slow, independent readings of the laws of noise, and the statistics that samples are held against."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from dp.alias import LABEL_TIES, LABEL_WORDS, AliasTable
from dp.noise import Entropy, GaussianLaw, LaplaceLaw, Law, SkellamLaw

FALSE_ALARM = 1e-6
SIX_SIGMAS = 2e-9
DIGITS = 120


def seeded(seed: int, label: bytes = b"test", context: bytes = b"") -> Entropy:
    """A stream that every run of the tests sees alike."""
    return Entropy.insecure(seed, label, context)


# --- exact laws, to 120 digits --------------------------------------------------------------------


def gaussian_pmf(sigma2: Fraction, support: int) -> list[Fraction]:
    """exp(-k^2 / 2 sigma2) / sum for k = 0..support, by the decimal module."""
    with localcontext() as arithmetic:
        arithmetic.prec = DIGITS
        rate = Decimal(sigma2.denominator) / Decimal(2 * sigma2.numerator)
        weights = [(-rate * k * k).exp() for k in range(support + 60 * (isqrt(int(sigma2)) + 1))]
        total = weights[0] + 2 * sum(weights[1:])
        return [Fraction(weight / total) for weight in weights[: support + 1]]


def laplace_pmf(scale: Fraction, support: int) -> list[Fraction]:
    """(1 - r) / (1 + r) r^k, r = exp(-1 / scale), by the decimal module."""
    with localcontext() as arithmetic:
        arithmetic.prec = DIGITS
        ratio = (-Decimal(scale.denominator) / Decimal(scale.numerator)).exp()
        return [Fraction((1 - ratio) / (1 + ratio) * ratio**k) for k in range(support + 1)]


def skellam_pmf(mu: Fraction, support: int) -> list[Fraction]:
    """exp(-mu) I_k(mu) by its power series, sum over j of (mu/2)^(2j+k) / (j! (j+k)!)."""
    with localcontext() as arithmetic:
        arithmetic.prec = DIGITS
        half = Decimal(mu.numerator) / Decimal(2 * mu.denominator)
        first = (-2 * half).exp()
        found = []
        for k in range(support + 1):
            first = first if k == 0 else first * half / k
            term, total, j = first, Decimal(0), 0
            while term > total.scaleb(-DIGITS):
                total += term
                j += 1
                term = term * half * half / (j * (j + k))
            found.append(Fraction(total))
        return found


def table_law(table: AliasTable) -> dict[int, Fraction]:
    """The exact law of a table, read back from its thresholds."""
    columns = len(table.heads)
    capacity = 1 << (table.word_bits - table.column_bits + 192)
    law: dict[int, Fraction] = {}
    for column in range(columns):
        low = int.from_bytes(table.tails[24 * column : 24 * column + 24], "big")
        own = Fraction((int(table.heads[column]) << 192) + low, capacity)
        for value, share in zip(table.outcomes[2 * column : 2 * column + 2], (1 - own, own), strict=True):
            law[int(value)] = law.get(int(value), Fraction(0)) + share / columns
    return law


def total_variation(law: dict[int, Fraction], half: list[Fraction]) -> Fraction:
    """Between a law and the symmetric one with P(k) = half[|k|] and whatever lies beyond."""
    reach = len(half) - 1
    error = sum(abs(law.get(k, Fraction(0)) - half[abs(k)]) for k in range(-reach, reach + 1))
    outside = 1 - half[0] - 2 * sum(half[1:])
    unexpected = sum(share for value, share in law.items() if abs(value) > reach)
    return (error + abs(outside) + unexpected) / 2


# --- laws in float, and samples against them ------------------------------------------------------


@dataclass(frozen=True)
class Pmf:
    """Values and probabilities wherever a million samples can fall, by plain float arithmetic."""

    values: NDArray[np.int64]
    law: NDArray[np.float64]


def float_pmf(law: Law) -> Pmf:
    """The law from its textbook formula, cut where less than 1e-12 is left."""
    width = 30 if isinstance(law, LaplaceLaw) else 12
    reach = int(width * float(law.variance) ** 0.5) + 30
    values = np.arange(-reach, reach + 1)
    match law:
        case GaussianLaw(sigma2):
            weights = np.exp(-(values.astype(np.float64) ** 2) / (2 * float(sigma2)))
        case LaplaceLaw(scale):
            weights = np.exp(-np.abs(values) / float(scale))
        case SkellamLaw(mu):
            weights = special.ive(np.abs(values), float(mu))
        case _:
            raise AssertionError(law)
    return Pmf(values, weights / weights.sum())


def p_value(samples: NDArray[np.int64], pmf: Pmf) -> float:
    """Chi-square of the samples against a law, neighbours merged into cells of enough mass."""
    least = max(25 / len(samples), 1 / 300)
    cells = np.minimum((np.cumsum(pmf.law) / least).astype(np.int64), int(1 / least) - 1)
    expected = np.bincount(cells, pmf.law)
    kept = np.flatnonzero(expected > 0)
    inside = np.clip(samples, pmf.values[0], pmf.values[-1]) - pmf.values[0]
    observed = np.bincount(cells[inside], minlength=len(expected))[kept]
    expected = expected[kept] * len(samples)
    # A cell that came out light joins its neighbour, so that every expectation carries the approximation.
    while len(expected) > 2 and expected.min() < 10:
        light = int(expected.argmin())
        beside = light - 1 if light else 1
        expected[beside] += expected[light]
        observed[beside] += observed[light]
        expected, observed = np.delete(expected, light), np.delete(observed, light)
    return float(stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(expected) - 1))


def ks_bound(samples: NDArray[np.int64], pmf: Pmf) -> float:
    """An upper bound of the p-value of sup |F_n - F|, any law: 2 exp(-2 n D^2) (Massart 1990)."""
    inside = np.clip(samples, pmf.values[0], pmf.values[-1]) - pmf.values[0]
    empirical = np.cumsum(np.bincount(inside, minlength=len(pmf.values))) / len(samples)
    distance = np.abs(empirical - np.cumsum(pmf.law)).max()
    return float(2 * np.exp(-2 * len(samples) * distance**2))


class Scripted:
    """An entropy whose words are given: reaches branches that chance visits once in 2^50 draws."""

    def __init__(self, words: list[int], ties: list[int]) -> None:
        self.script = {LABEL_WORDS: words, LABEL_TIES: ties}

    def borrow(self, count: int, stream: bytes) -> NDArray[np.uint64]:
        """The next words of the script."""
        taken, self.script[stream] = self.script[stream][:count], self.script[stream][count:]
        return np.array(taken, dtype="<u8")
