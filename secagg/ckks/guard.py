"""Solving for the key from what would be published: the attack itself, to be run before a release.

    c0 + c1 s = M  mod q    in R_q: one equation, and s = (M - c0) / c1 once M is known exactly

Who sees the sum (c0, c1), as the server and everybody it colludes with does, and a decryption that is M but for a known
scaling, owns the key. Approximate CKKS publishes just that: its slots in doubles determine M = m + e, noise included.
Here the released integers determine m alone; M = 2^g m + e with e unknown, and the quotient is garbage.

    whole     c1 s             = M - c0                  slots with their imaginary parts
    real      c1 s + c1* s*    = M + M* - c0 - c0*       real parts of slots; x*(X) = x(1/X), two sums give s and s*

A candidate is judged by itself: a key is short, and a wrong quotient is uniform modulo q. This is for sums in our one
ring; whoever runs it before a release keeps the verdict alone. It divides, and searches for nothing.

Source: Li, Micciancio, EUROCRYPT 2021 (the key from approximate results); Li, Micciancio, Schultz, Sorrell,
CRYPTO 2022 (what it takes to publish them).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secagg.ckks import ntt
from secagg.ckks.cipher import Part, add_into, messages, subtract_into
from secagg.ckks.plan import CkksPlan
from secagg.errors import BadParameters
from secagg.negacyclic import PRIME, Integers, N, Residues, centred, reduced

# Keys of 64 holders have coefficients of width 37; a uniform residue is this short with probability 2^-43.
SHORT = 1 << 10


def key_recovered(plan: CkksPlan, c0: Residues, c1: Residues, released: Integers) -> float:
    """The largest share of the key's coefficients that publishing these sums gives away: 0 or 1.

    Shapes: `blocks` rows of N residues, the sums as the server has them; int64 of the plan's dimension.
    Guarantee: what is tried is division block by block, and of neighbouring blocks by real parts; no bound on other
        attacks follows.
    Raises: BadParameters.
    """
    plaintexts = reduced(messages(plan, released, Part(0, plan.blocks)))
    whole = short_share(keys_from(c0, c1, plaintexts), c1)
    if plan.blocks < 2:
        return whole
    return max(whole, short_share(keys_from_real(c0, c1, with_conjugate(plaintexts)), c1[1:]))


# Blocks that a release is tried on: one by one, and as neighbours.
SAMPLE = 2


def exposed(plan: CkksPlan, c0: Residues, c1: Residues, released: Integers) -> bool:
    """Whether publishing these sums would give the key away: the attack on the first blocks of them, some 20 ms.

    Shapes: min(blocks, SAMPLE) rows of N residues, the first of the sums as the server has them; int64 of the plan's
        dimension.
    Raises: BadParameters.
    """
    blocks = min(plan.blocks, SAMPLE)
    first = replace(plan, dimension=min(plan.dimension, blocks * plan.digits * N))
    return key_recovered(first, c0, c1, released[: first.dimension]) > 0


def keys_from(c0: Residues, c1: Residues, plaintexts: Residues) -> Residues:
    """(M - c0) / c1 of each row: the key, where M is what c0 + c1 s is.

    Shapes: rows of N residues. Values where c1 is 0 are taken as 0.
    Raises: BadParameters for rows that do not match.
    """
    _check_rows(c0, c1, plaintexts)
    rest = plaintexts.copy()
    subtract_into(rest, c0)
    return ntt.polynomials(ntt.times(ntt.values(rest), ntt.inverses(ntt.values(c1))))


def keys_from_real(c0: Residues, c1: Residues, traces: Residues) -> Residues:
    """s of each two neighbouring rows, from M + M* alone.

    Shapes: rows of N residues; one row fewer.
    Raises: BadParameters for rows that do not match, or fewer than two.
    """
    _check_rows(c0, c1, traces)
    if len(c0) < 2:
        raise BadParameters("real parts of slots are half of what determines a key: two sums are needed")
    rest = traces.copy()
    subtract_into(rest, with_conjugate(c0))
    right, direct, turned = ntt.values(rest), ntt.values(c1), ntt.values(conjugate(c1))
    determinant = _cross(direct[:-1], turned[1:], direct[1:], turned[:-1])
    numerator = _cross(right[:-1], turned[1:], right[1:], turned[:-1])
    return ntt.polynomials(ntt.times(numerator, ntt.inverses(determinant)))


def short_share(candidates: Residues, c1: Residues) -> float:
    """The largest share of short coefficients in any candidate; a c1 of nothing but zeros determines none."""
    shares = np.mean(np.abs(centred(candidates)) < SHORT, axis=-1)
    return float(np.max(shares, where=c1.any(axis=-1), initial=0.0))


def conjugate(rows: Residues) -> Residues:
    """x(1/X) = x_0 - x_{N-1} X - ... - x_1 X^{N-1}, whose slots are those of x conjugated."""
    turned = np.zeros_like(rows)
    turned[..., 1:] = rows[..., :0:-1]
    negated = np.zeros_like(rows)
    subtract_into(negated, turned)
    negated[..., 0] = rows[..., 0]
    return negated


def with_conjugate(rows: Residues) -> Residues:
    """x + x*: twice the polynomial whose slots are the real parts of those of x."""
    total = conjugate(rows)
    add_into(total, rows)
    return total


def _cross(a: Residues, b: Residues, c: Residues, d: Residues) -> Residues:
    """a b - c d."""
    product = ntt.times(a, b)
    subtract_into(product, ntt.times(c, d))
    return product


def _check_rows(*several: Residues) -> None:
    shapes = {rows.shape for rows in several}
    if len(shapes) != 1 or any(rows.ndim != 2 or rows.shape[1] != N or rows.dtype != np.uint64 for rows in several):
        raise BadParameters(f"expected as many rows of {N} residues each, got {[rows.shape for rows in several]}")
    if any(rows.size and int(rows.max()) >= PRIME for rows in several):
        raise BadParameters("a residue is not below the modulus")
