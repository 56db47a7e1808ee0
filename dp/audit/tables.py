"""The tables noise is drawn from, each by itself: what their sum hides.

Of wide noise k A + B the fine table B holds a thousandth of the variance, or less, and yet it alone fills the gaps
between the multiples of k. So the tables are also looked at as they stand in memory, exactly:

    E cos(theta X) = product over the terms of E cos(theta factor T)      against that of the law itself

at theta = 1 / sigma, where the variance shows, and at theta = 2 pi / factor, where gaps do: X on multiples of k gives 1
there, noise as claimed 0. Then each table is sampled, and its variance held against what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dp.alias import AliasTable
from dp.audit.finding import Check
from dp.audit.routes import Source
from dp.errors import BadParameters
from dp.noise import GaussianLaw, Integers, LaplaceLaw, Law, SkellamLaw

LABEL_TABLES = b"secagg/v1/dp/audit/tables"

# Sums of doubles below 2^18 of which are off by 2^-53 of their angle; a law that differs in earnest differs by more.
EXACTNESS = 1e-9
SAMPLES = 1 << 14
SIX_SIGMAS = 6.0
RESIDUES = 8
# A class that is expected so often is missed by sound noise with probability exp(-64).
SEEN_OFTEN = 64


def law_of_tables(laws: tuple[Law, ...]) -> Check:
    """Whether the tables of these laws, as they stand in memory, add up to the laws; no chance takes part.

    Raises: BadParameters for a law whose characteristic function is not known here.
    """
    off = max(
        abs(math.prod(_cosine(term.table(), term.factor * theta) for term in law.terms()) - _claimed(law, theta))
        for law in laws
        for theta in _angles(law)
    )
    return Check("tables and the law they add up to, apart by", off < EXACTNESS, off)


def samples_of_tables(laws: tuple[Law, ...], source: Source) -> Check:
    """The variance of samples of each table against the table's own, the worst of them in standard errors."""
    worst = 0.0
    with source(LABEL_TABLES, b"") as entropy:
        for table in (term.table() for law in laws for term in law.terms()):
            samples = np.zeros(SAMPLES, dtype=np.int64)
            table.add_into(samples, 1, entropy)
            second, fourth = _moment(table, 2), _moment(table, 4)
            spread = math.sqrt((fourth - second**2) / SAMPLES)
            error = (float(np.mean(np.square(samples.astype(np.float64)))) - second) / spread
            worst = max(worst, error, key=abs)
    return Check("variance of each table, in standard errors", abs(worst) < SIX_SIGMAS, worst)


def lattice(laws: tuple[Law, ...], absent: Integers, present: Integers) -> Check:
    """Whether every residue class of 8, and of each factor of a term, occurs at both neighbours."""
    factors = {abs(term.factor) for law in laws for term in law.terms()}
    moduli = {RESIDUES, *(factor for factor in factors if 1 < factor <= absent.size // SEEN_OFTEN)}
    missing = sum(
        modulus - int(np.count_nonzero(np.bincount(output % modulus, minlength=modulus)))
        for modulus in moduli
        for output in (absent, present)
    )
    return Check("outputs that one neighbour cannot give", missing == 0, float(missing))


def _angles(law: Law) -> Iterator[float]:
    yield 1.0 / math.sqrt(law.variance)
    yield from (2.0 * math.pi / factor for factor in {abs(term.factor) for term in law.terms()} if factor > 1)


def _claimed(law: Law, theta: float) -> float:
    """E cos(theta X), theta at most pi and the law no narrower than any drawn here (standard deviation 3)."""
    half = 2.0 * math.sin(theta / 2.0) ** 2
    match law:
        case GaussianLaw(sigma2):
            return math.exp(-float(sigma2) * theta**2 / 2.0)
        case SkellamLaw(mu):
            return math.exp(-float(mu) * half)
        case LaplaceLaw(scale):
            lost = -math.expm1(-1.0 / float(scale))
            return lost**2 / (lost**2 + 2.0 * (1.0 - lost) * half)
        case _:
            raise BadParameters(f"the characteristic function of {type(law).__name__} is not known to the self-test")


def _cosine(table: AliasTable, theta: float) -> float:
    return _mean(table, np.cos(theta * table.outcomes))


def _moment(table: AliasTable, order: int) -> float:
    return _mean(table, table.outcomes.astype(np.float64) ** order)


def _mean(table: AliasTable, values: NDArray[np.float64]) -> float:
    """The expectation of what stands at each outcome, alias and own interleaved as in the table."""
    own = table.heads.astype(np.float64) / float(1 << (table.word_bits - table.column_bits))
    return float(np.mean(values[1::2] * own + values[0::2] * (1.0 - own)))
