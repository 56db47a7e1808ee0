"""Exact products in Z_q[X]/(X^N + 1), computed by floating-point FFT and rounded to the integers they are.

    real polynomial x  --fold-->  x_k + i x_{k+N/2}  --twist e^{i pi k/N}, FFT of N/2-->  its values at the
    roots of X^{N/2} = i, which fix it: products are taken there, one by one

    small x key      coefficients of a few units times residues, these as two centred halves of 27 bits
    big x big        residues times residues, both as four centred limbs of 14 bits
    small mod 2^Q    coefficients of a few units times words modulo 2^Q, these whole or as two centred halves

A product is exact when every coefficient is computed to within less than 1/2. With u = 2^-53 the transforms leave

    |error| <= 9 log2(N) u ||x||_2 ||y||_2                for each product of halves or limbs that is added.

In a unit of its 2-norm each of the three transforms of N/2 = 2^10 points is off by at most 27u: ten levels of
additions, 1u each, and four passes at most of radix 4 or 8, as pocketfft does them, with one twiddle product of
(sqrt(5) + 1/sqrt(2))u each and in radix 8 one more by sqrt(1/2), 2.7u. Three twists and the product of the values are
four such products more; in all 93u, and 9 log2(N) = 99. Cauchy-Schwarz over the values brings the two norms.

At N = 2048 that is at most 1.6e-3 for ternary times halves and 6.1e-3 for limbs, whatever the coefficients are; what is
seen stays below a twelfth of it.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, Theorem 24.2 (error of the FFT); Brent, Percival,
Zimmermann, Mathematics of Computation 76, 2007 (sqrt(5) u for a complex product); Percival, Mathematics of Computation
72, 2003 (their sum over a convolution); X^N + 1 = (X^{N/2} - i)(X^{N/2} + i) for the folding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

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

# Most bits of a modulus 2^Q.
MOST_BITS = 54
_WORD_BITS = 64
# In the bound on the error of a product, in units of log2(N) u.
_ERROR = 9

_HALF_BITS = 27
_LIMB_BITS, _LIMBS = 14, 4
# Rows that big_product works on at a time: their limbs fit a core's cache.
_ROWS = 8


def _twist() -> Complexes:
    twist: Complexes = np.exp(1j * np.pi / N * np.arange(N // 2))
    return twist


_TWIST = _twist()
_UNTWIST = np.conj(_TWIST)

# Added to a double below 2^51 in magnitude it leaves the nearest integer in the low 51 bits of the sum.
_ROUNDER = 1.5 * 2.0**52
_ROUNDED_BITS = 51
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


def in_pairs(polynomials: NDArray[Any]) -> NDArray[Any]:
    """Rows of coefficients 0, 1, 2, ... put as 0, N/2, 1, N/2 + 1, 2, ...: the order of `Multiplier`."""
    halves = polynomials.reshape(*polynomials.shape[:-1], 2, N // 2)
    return np.ascontiguousarray(halves.swapaxes(-1, -2)).reshape(polynomials.shape)


def rounding_error(bits: int, digits: int, norm: float) -> float:
    """How far from its integer a coefficient may be before rounding, by the bound in the module's docstring.

    For words of `bits` bits cut in `digits` centred digits of ceil(bits / digits), against a 2-norm.
    """
    widest = 2.0 ** (-(-bits // digits) - 1)
    return _ERROR * math.log2(N) * 2.0**-53 * widest * math.sqrt(N) * norm


def digits_needed(bits: int, norm: float) -> int | None:
    """1 or 2 digits, by which products of words of so many bits by one of such a 2-norm are exact; None if by neither.

    A digit's product comes modulo 2^51. Two digits cost twice the transforms.
    """
    if bits <= _ROUNDED_BITS and rounding_error(bits, 1, norm) < 0.5:
        return 1
    return 2 if rounding_error(bits, 2, norm) < 0.5 else None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Multiplier:
    """x -> x s in Z[X]/(X^N + 1, 2^Q), exactly, for one small s.

    All coefficients stand in pairs, as `in_pairs` puts them, which spares the folding.
    `values` are those of s over 2^64 N/2: digits come in the highest bits of a word, and the inverse transform does not
    divide. By a power of two nothing is rounded.
    """

    bits: int
    digits: int
    values: Complexes

    @classmethod
    def of(cls, small: Integers, bits: int) -> Self:
        """Shapes: N signed coefficients.

        Raises: BadParameters for another shape, for bits outside 1..54, and where s is too large for the product to be
            exact: at 54 bits beyond a 2-norm of 14 978, with every two bits less beyond twice that.
        """
        if small.dtype != np.int64 or small.shape != (N,):
            raise BadParameters(f"expected {N} coefficients in int64, got {small.dtype} {small.shape}")
        if type(bits) is not int or not 1 <= bits <= MOST_BITS:
            raise BadParameters(f"a modulus 2^Q has 1 to {MOST_BITS} bits, not {bits!r}")
        pairs = small.astype(np.float64)
        digits = digits_needed(bits, float(np.linalg.norm(pairs)))
        if digits is None:
            raise BadParameters(f"a factor this large has no exact product modulo 2^{bits}")
        pairs /= N / 2 * 2.0**_WORD_BITS
        return cls(bits, digits, transform_pairs(pairs))

    def times(self, words: Residues) -> Residues:
        """x s, block by block: words whose bits above Q mean nothing, like those of x.  A fresh array.

        Shapes: one row of a multiple of N words.
        Raises: BadParameters for any other.
        """
        if words.dtype != np.uint64 or words.ndim != 1 or words.size % N:
            raise BadParameters(f"expected blocks of {N} words in uint64, got {words.dtype} {words.shape}")
        raised = words << np.uint64(_WORD_BITS - self.bits)
        if self.digits == 1:
            return self._exact(raised, self.bits)
        low_bits = -(-self.bits // 2)
        low = words << np.uint64(_WORD_BITS - low_bits)
        raised -= (low.view(np.int64) >> (self.bits - low_bits)).view(np.uint64)
        product = self._exact(raised, self.bits - low_bits)
        product <<= np.uint64(low_bits)
        product += self._exact(low, low_bits)
        product -= np.uint64(_ROUNDER_BITS)
        return product

    def _exact(self, raised: Residues, bits: int) -> Residues:
        """The product of the signed digits in the highest bits of these words, plus a multiple of 2^51."""
        from scipy.fft import ifft

        values = transform_pairs(raised.view(np.int64).astype(np.float64).reshape(-1, N))
        values *= self.values
        pairs = ifft(values, axis=-1, norm="forward", overwrite_x=True)
        pairs *= _UNTWIST * 2.0**bits
        rounded: NDArray[np.float64] = pairs.view(np.float64).reshape(-1)
        rounded += _ROUNDER
        return rounded.view(np.uint64)


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
