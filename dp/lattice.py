"""From a clipped real vector to bounded integers: rotate, scale, round without bias.

    rotate   H diag(signs) x / sqrt(d'): every coordinate of any x becomes as small as the average one
    round    up or down at random, and again until the integer norm obeys a bound fixed beforehand

The signs are public: the bound holds for every rotation, they only keep a sum inside its ring. The
rounding words are private. How large the noise on such a vector is, is decided in `dp.distributed`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import isqrt

import numpy as np
from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from numpy.typing import NDArray

from dp.errors import BadParameters, ClipExceeded
from dp.noise import CHUNK_WORDS, Entropy, Integers, keystream

LABEL_SIGNS = b"secagg/v1/dp/lattice/signs"
LABEL_ROUNDING = b"secagg/v1/dp/lattice/rounding"

SEED_BYTES = 32
MAX_BLOCK = 1 << 24
MAX_ATTEMPTS = 64
# 16 * 16 * 1024 multiplications per product: OpenBLAS keeps these on one thread. It wakes others for 32 rows or four
# times the columns, whose hand-over costs more than the product and stalls for milliseconds on busy cores.
RADIX_BITS = 4
TILE_BITS = 14
PANEL = 1 << 10

Vector = NDArray[np.float64]


def block_length(dimension: int) -> int:
    """The power of two in which d coordinates are rotated together, at most MAX_BLOCK."""
    return min(1 << (dimension - 1).bit_length(), MAX_BLOCK)


def padded_length(dimension: int) -> int:
    """d' >= d: whole blocks."""
    block = block_length(dimension)
    return -(-dimension // block) * block


def rotate(vector: Vector, seed: bytes, scale: float) -> Vector:
    """scale * H diag(signs) x, orthonormal up to the scale, per block of d'.

    Shapes: (d,) in, (d',) out; the input is not changed, and nothing else of its size is allocated.
    Guarantee: coordinates of the result are sub-Gaussian with variance |x|^2 scale^2 / d' over the seed.
    Raises: BadParameters for a seed that is not 32 bytes.
    """
    signs, block = _signs(seed), block_length(vector.size)
    turned = np.empty(padded_length(vector.size))
    np.multiply(vector, scale / block**0.5, out=turned[: vector.size])
    turned[vector.size :] = 0.0
    _flip_into(turned, signs)
    _hadamard_into(turned, block)
    return turned


def unrotate(rotated: Vector, seed: bytes, scale: float, dimension: int) -> Vector:
    """scale * diag(signs) H y, cut back to d coordinates: the inverse of `rotate` at scale 1 / scale."""
    signs, block = _signs(seed), block_length(dimension)
    turned: Vector = rotated * (scale / block**0.5)
    _hadamard_into(turned, block)
    _flip_into(turned, signs)
    return turned[:dimension]


def _signs(seed: bytes) -> CipherContext:
    if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
        raise BadParameters(f"rotation_seed must be {SEED_BYTES} public bytes")
    return keystream(HKDFExpand(SHA256(), 32, info=LABEL_SIGNS).derive(seed))


def _flip_into(vector: Vector, signs: CipherContext) -> None:
    """vector <- vector * (-1)^bit, one keystream bit per coordinate, lowest bit of each byte first."""
    for start in range(0, vector.size, CHUNK_WORDS):
        part = vector[start : start + CHUNK_WORDS].view(np.uint64)
        packed = np.frombuffer(signs.update(bytes(-(-part.size // 8))), dtype=np.uint8)
        bits = np.unpackbits(packed, count=part.size, bitorder="little").astype(np.uint64)
        bits <<= np.uint64(63)
        part ^= bits


def _hadamard_into(vector: Vector, block: int) -> None:
    """vector <- H vector, entries +-1, for each block of 2^p coordinates.

    H is a Kronecker product of small matrices, one for each group of index bits; those of the low bits are
    applied to one tile after another while it stays in cache.
    """
    bits = block.bit_length() - 1
    low = min(bits, TILE_BITS)
    scratch = np.empty(1 << low)
    for tile in vector.reshape(-1, 1 << low):
        _transform_tile(tile, scratch, low)
    for group in _groups(bits - low):
        _transform_rows(vector, group, 1 << low)
        low += group


def _groups(bits: int) -> list[int]:
    """The bits cut into the fewest groups of at most RADIX_BITS, as even as can be."""
    count = -(-bits // RADIX_BITS)
    return [(bits + place) // count for place in range(count)]


def _transform_tile(tile: Vector, scratch: Vector, bits: int) -> None:
    """tile <- H tile. Each product takes the highest bits and leaves them lowest: all of them make a full turn."""
    source, target = tile, scratch
    for group in _groups(bits):
        np.matmul(source.reshape(1 << group, -1).T, _sylvester(group), out=target.reshape(-1, 1 << group))
        source, target = target, source
    if source is scratch:
        tile[:] = scratch


def _transform_rows(vector: Vector, bits: int, stride: int) -> None:
    """The same along coordinates `stride` apart, a panel of columns at a time."""
    matrix = _sylvester(bits)
    mixed = np.empty((1 << bits, PANEL))
    for rows in vector.reshape(-1, 1 << bits, stride):
        for start in range(0, stride, PANEL):
            columns = rows[:, start : start + PANEL]
            np.matmul(matrix, columns, out=mixed)
            columns[:] = mixed


@cache
def _sylvester(bits: int) -> Vector:
    matrix = np.ones((1, 1))
    for _ in range(bits):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def rounded_norm_squared(radius: Fraction, padded: int, slack: Fraction) -> int:
    """floor min{ (c + sqrt d')^2, c^2 + d'/4 + slack (c + sqrt(d')/2) }: the bound rounding must obey.

    slack = sqrt(2 ln(1/beta)): unbiased rounding of any y with |y| <= c obeys with chance above 1 - beta.
    Exact: floor(a + b sqrt(n)) needs only an integer square root.
    Source: Kairouz, Liu, Steinke 2021, Proposition 22 (conditional rounding).
    """
    worst = _floor_with_root(radius**2 + padded, 2 * radius, padded)
    likely = _floor_with_root(radius**2 + Fraction(padded, 4) + slack * radius, slack / 2, padded)
    return min(worst, likely)


def _floor_with_root(constant: Fraction, factor: Fraction, radicand: int) -> int:
    """floor(constant + factor * sqrt(radicand)) for a factor of at least 0."""
    common = constant.denominator * factor.denominator
    scaled = factor.numerator * constant.denominator
    return (constant.numerator * factor.denominator + isqrt(scaled * scaled * radicand)) // common


def round_conditionally(scaled: Vector, limit: int, entropy: Entropy) -> Integers:
    """Integers v next to y with E[v] = y before conditioning, drawn again until |v|^2 <= limit.

    After MAX_ATTEMPTS refusals (chance below 2^-45 at beta = exp(-1/2)) it truncates toward zero, which
    obeys any limit of at least |y|^2: no unbounded loop, and never a vector beyond the limit.

    Shapes: float64 in, int64 out, entries below 2^31 in size.
    Raises: ClipExceeded when even truncation is too long: y was longer than promised.
    """
    out = np.empty(scaled.size, dtype=np.int64)
    for _ in range(MAX_ATTEMPTS):
        if _round_into(out, scaled, entropy) <= limit:
            return out
    np.trunc(scaled, out=out, casting="unsafe")
    if int(np.dot(out, out)) > limit:
        raise ClipExceeded(f"the squared integer norm exceeds {limit}: the input was not clipped to its bound")
    return out


def _round_into(out: Integers, scaled: Vector, entropy: Entropy) -> int:
    """out <- floor|y| + [word < 2^63 frac|y|], signed as y, word the top 63 bits; returns |out|^2, exactly."""
    norm_squared = 0
    for start in range(0, scaled.size, CHUNK_WORDS):
        part = scaled[start : start + CHUNK_WORDS]
        # On |y| the fraction is exact and below 1; for a tiny negative y itself it would round to 1.
        magnitude = np.abs(part)
        whole = np.floor(magnitude)
        magnitude -= whole
        # 63 bits, because turning a float into 64 unsigned ones branches on the half it lies in: twice the time.
        magnitude *= 2.0**63
        words = entropy.borrow(part.size, LABEL_ROUNDING)
        words >>= np.uint64(1)
        whole += words < magnitude.astype(np.int64).view(np.uint64)
        np.copysign(whole, part, out=whole)
        integers = out[start : start + CHUNK_WORDS]
        integers[:] = whole
        norm_squared += int(np.dot(integers, integers))
    return norm_squared
