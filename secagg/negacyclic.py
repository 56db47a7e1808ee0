"""Exact products in Z_q[X]/(X^N + 1), computed by floating-point FFT and rounded to the integers they are.

    real polynomial x  --fold-->  x_k + i x_{k+N/2}  --twist e^{i pi k/N}, FFT of N/2-->  its values at the
    roots of X^{N/2} = i, which fix it: products are taken there, one by one

    small x key      coefficients of a few units times residues, these as two centred halves of 27 bits
    big x big        residues times residues, both as four centred limbs of 14 bits

A product is exact when every coefficient is computed to within less than 1/2. With u = 2^-53 the transforms leave

    |error| <= 3 log2(N) u ||x||_2 ||y||_2                for each product of halves or limbs that is added,

at N = 2048 at most 5e-4 for ternary times halves and 2e-3 for limbs, whatever the coefficients are.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, Theorem 24.2 (error of the FFT); Cauchy-Schwarz
for the pointwise product; X^N + 1 = (X^{N/2} - i)(X^{N/2} + i) for the folding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters

Residues = NDArray[np.uint64]
Integers = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# The prime that SEAL's CoeffModulus.Create(2048, [54]) gives: 1 mod 2N, so that SEAL can work modulo it.
PRIME_BITS = 54
EXCESS = 77823
PRIME = (1 << PRIME_BITS) - EXCESS
N = 2048

_HALF_BITS = 27
_LIMB_BITS, _LIMBS = 14, 4
# Rows that big_product works on at a time: their limbs fit a core's cache.
_ROWS = 8


def _twist() -> Complexes:
    twist: Complexes = np.exp(1j * np.pi / N * np.arange(N // 2))
    return twist


_TWIST = _twist()
_UNTWIST = np.conj(_TWIST)

# Added to a double below 2^51 in magnitude it leaves the nearest integer in the low bits of the sum.
_ROUNDER = 1.5 * 2.0**52
_ROUNDER_BITS = int(np.float64(_ROUNDER).view(np.int64))


def centred(residues: Residues) -> Integers:
    """Each residue's representative of least magnitude, in -(q-1)/2 .. (q-1)/2."""
    signed: Integers = residues.astype(np.int64)
    # All ones where the residue is in the upper half, all zeros elsewhere.
    upper = PRIME // 2 - signed
    upper >>= 63
    upper &= PRIME
    signed -= upper
    return signed


def reduced(integers: Integers) -> Residues:
    """Any int64 modulo q, in 0 .. q - 1."""
    total: Integers = integers & ((1 << PRIME_BITS) - 1)
    total += (integers >> PRIME_BITS) * EXCESS
    return settled(total)


def shifted(integers: Integers, bits: int) -> Integers:
    """2^bits x modulo q, between -2^48 and 2^54 + 2^48, for x within 2^55 of 0 and up to 30 bits."""
    low_bits = PRIME_BITS - bits
    low = integers & ((1 << low_bits) - 1)
    low <<= bits
    low += (integers >> low_bits) * EXCESS
    return low


def settled(integers: Integers) -> Residues:
    """The residues of integers from -q to 2q - 1, in their place.

    Unsigned, what is below 0 lies far above q, and what is below q wraps there: the lesser is the residue.
    """
    residues = integers.view(np.uint64)
    np.minimum(residues, residues + np.uint64(PRIME), out=residues)
    np.minimum(residues, residues - np.uint64(PRIME), out=residues)
    return residues


def transform(rows: NDArray[np.float64] | Integers) -> Complexes:
    """Values of real polynomials, rows of N coefficients, at the roots of X^{N/2} = i; rows of N/2."""
    folded = np.empty((*rows.shape[:-1], N // 2), np.complex128)
    folded.real, folded.imag = rows[..., : N // 2], rows[..., N // 2 :]
    return _values(folded)


def transform_pairs(pairs: NDArray[np.float64]) -> Complexes:
    """`transform` of polynomials whose coefficients k and k + N/2 stand side by side; what they stand in is spent."""
    return _values(pairs.view(np.complex128))


def interpolate(values: Complexes) -> Integers:
    """The integer polynomials with these values, up to the error in the module's docstring."""
    rows = _coefficients(values)
    rows += _ROUNDER
    exact: Integers = rows.view(np.int64)
    exact -= _ROUNDER_BITS
    return exact


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Spectrum:
    """Polynomials over Z_q as the values of their two centred halves, low + 2^27 high; for products with small ones."""

    low: Complexes
    high: Complexes

    @classmethod
    def of(cls, residues: Residues) -> Spectrum:
        """Shapes: N residues below q, or rows of them.  Raises: BadParameters."""
        _check(residues, residues.ndim)
        low, high = _halves(centred(residues))
        return cls(transform(low), transform(high))


def small_product(small: Complexes, key: Spectrum) -> Residues:
    """x * key in R_q for polynomials x, given by their `transform`, of coefficients with ||x||_2 <= 2^9.

    Shapes: rows of N/2 values, one polynomial or many on either side; rows of N residues.
    """
    return _joined(interpolate(small * key.low), interpolate(small * key.high))


def big_product(rows: Residues, other: Residues) -> Residues:
    """x * y in R_q for every row x.

    Shapes: rows of N residues below q; one polynomial of N.
    Raises: BadParameters.
    """
    _check(rows, rows.ndim)
    _check(other, 1)
    right = _limb_values(other)
    flat = rows.reshape(-1, N)
    products = np.empty_like(flat)
    for first in range(0, len(flat), _ROWS):
        products[first : first + _ROWS] = _limb_product(_limb_values(flat[first : first + _ROWS]), right)
    return products.reshape(rows.shape)


def _limb_product(left: list[Complexes], right: list[Complexes]) -> Residues:
    """Horner's rule in 2^14 over the sums of limbs' products of equal place."""
    total = np.zeros((*left[0].shape[:-1], N), np.int64)
    values, product = np.empty_like(left[0]), np.empty_like(left[0])
    for place in reversed(range(2 * _LIMBS - 1)):
        values[:] = 0.0
        for i in range(max(0, place - _LIMBS + 1), min(place, _LIMBS - 1) + 1):
            values += np.multiply(left[i], right[place - i], out=product)
        total = shifted(total, _LIMB_BITS)
        total += interpolate(values)
    return settled(total)


def _values(folded: Complexes) -> Complexes:
    from scipy.fft import fft

    folded *= _TWIST
    values: Complexes = fft(folded, axis=-1, overwrite_x=True)
    return values


def _coefficients(values: Complexes) -> NDArray[np.float64]:
    """What `interpolate` rounds."""
    from scipy.fft import ifft

    folded = ifft(values, axis=-1)
    folded *= _UNTWIST
    return np.concatenate([folded.real, folded.imag], axis=-1)


def _halves(integers: Integers) -> tuple[Integers, Integers]:
    """(low, high) with low + 2^27 high, both within 2^26 of 0."""
    low = _low_digit(integers, _HALF_BITS)
    return low, (integers - low) >> _HALF_BITS


def _limb_values(residues: Residues) -> list[Complexes]:
    """The values of four limbs, the lowest first."""
    integers, values = centred(residues), []
    for _ in range(_LIMBS):
        digit = _low_digit(integers, _LIMB_BITS)
        values.append(transform(digit))
        integers -= digit
        integers >>= _LIMB_BITS
    return values


def _low_digit(integers: Integers, bits: int) -> Integers:
    half = 1 << (bits - 1)
    digit = integers + half
    digit &= (1 << bits) - 1
    digit -= half
    return digit


def _joined(low: Integers, high: Integers) -> Residues:
    """low + 2^27 high modulo q, both within 2^42 of 0: 2^54 is EXCESS."""
    over = high >> _HALF_BITS
    over *= EXCESS
    high &= (1 << _HALF_BITS) - 1
    high <<= _HALF_BITS
    high += over
    high += low
    return settled(high)


def _check(residues: NDArray[Any], dimensions: int) -> None:
    if residues.dtype != np.uint64 or residues.ndim != dimensions or residues.shape[-1:] != (N,):
        raise BadParameters(f"expected rows of {N} residues in uint64, got {residues.dtype} {residues.shape}")
    if residues.size and int(residues.max()) >= PRIME:
        raise BadParameters("a residue is not below the modulus")
