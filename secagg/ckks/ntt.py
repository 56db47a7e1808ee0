"""Polynomials of R_q as their values modulo q, where X^N + 1 has all its roots: exact quotients, for attacks.

    x    --twist psi^k-->   x_k psi^k   --N-point transform-->   x at the roots of X^N + 1        x / y, value by value

Encryption and opening multiply by FFT (`secagg.negacyclic`) and never divide; whoever wants a key from published
results divides (`secagg.ckks.guard`).

Source: Gentleman and Sande, 1966 (forward, decimation in frequency); Cooley and Tukey, 1965 (back, in time): the
values stay in bit-reversed order between the two.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from secagg.negacyclic import PRIME, Integers, N, Residues


def values(rows: Residues) -> Residues:
    """The values of polynomials at the roots of X^N + 1.  Shapes: rows of N residues."""
    twisted = times(rows, _powers(_root(), N))
    half = N // 2
    while half:
        pairs = twisted.reshape(*rows.shape[:-1], N // (2 * half), 2, half)
        low, high = pairs[..., 0, :], pairs[..., 1, :]
        spread = times(_less(low, high), _powers(pow(_root(), N // half, PRIME), half))
        pairs[..., 0, :] = _plus(low, high)
        pairs[..., 1, :] = spread
        half //= 2
    return twisted


def polynomials(rows: Residues) -> Residues:
    """What has these values.  Shapes: rows of N residues."""
    joined, half = rows.copy(), 1
    while half < N:
        pairs = joined.reshape(*rows.shape[:-1], N // (2 * half), 2, half)
        low = pairs[..., 0, :].copy()
        high = times(pairs[..., 1, :], _powers(pow(_root(), -(N // half), PRIME), half))
        pairs[..., 0, :] = _plus(low, high)
        pairs[..., 1, :] = _less(low, high)
        half *= 2
    back = times(joined, _powers(pow(_root(), -1, PRIME), N))
    return times(back, np.uint64(pow(N, -1, PRIME)))


def inverses(rows: Residues) -> Residues:
    """1 / x for each residue, and 0 for 0: x^(q - 2)."""
    power = np.ones_like(rows)
    for bit in bin(PRIME - 2)[2:]:
        power = times(power, power)
        if bit == "1":
            power = times(power, rows)
    return power


def times(left: Residues, right: Residues | np.uint64) -> Residues:
    """x y mod q.

    The quotient x y / q is below 2^54 and taken in doubles, three roundings and so less than 2^3 off: what is left of
    x y, known modulo 2^64, lies within 2^58 of 0.
    """
    quotient: NDArray[np.uint64] = (left.astype(np.float64) * (right.astype(np.float64) / PRIME)).astype(np.uint64)
    rest: Integers = (left * right - quotient * np.uint64(PRIME)).view(np.int64)
    return np.mod(rest, PRIME).view(np.uint64)


def _plus(left: Residues, right: Residues) -> Residues:
    total = left + right
    least: Residues = np.minimum(total, total - np.uint64(PRIME))
    return least


def _less(left: Residues, right: Residues) -> Residues:
    total = left - right
    least: Residues = np.minimum(total, total + np.uint64(PRIME))
    return least


@cache
def _root() -> int:
    """psi with psi^N = -1, so of order 2N."""
    exponent = (PRIME - 1) // (2 * N)
    roots = (pow(base, exponent, PRIME) for base in range(2, PRIME))
    return next(root for root in roots if pow(root, N, PRIME) == PRIME - 1)


@cache
def _powers(base: int, count: int) -> Residues:
    powers = [1]
    for _ in range(count - 1):
        powers.append(powers[-1] * base % PRIME)
    return np.array(powers, np.uint64)
