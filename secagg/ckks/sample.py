"""Small noise and uniform residues from one keystream each: the same seed gives the same polynomial everywhere.

    ternary            uniform in {-1, 0, 1}                         a client's u, and nothing else
    cbd21              popcount of 21 bits less that of 21 others    errors of encryptions, sigma 3.24 as in SEAL
    key_gaussian       discrete Gaussian, sigma 4.6                  a holder's share of the key and its error
    rounded_gaussian   N(0, std^2) rounded to integers               smudging of partial decryptions
    uniform_mod_q      residues by rejection                         the public polynomial, seeded ciphertexts, shares

Bytes are read in order and each sampler says which; changing that order changes every stored vector. None of these
is a mechanism of differential privacy: that noise is drawn in `dp`, and arrives inside the plaintext.
Source: Homomorphic Encryption Standard, 2018 (ternary keys, sigma 3.2); Microsoft SEAL 4.1 (centred binomial).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters
from secagg.gaussian import thresholds
from secagg.negacyclic import PRIME, PRIME_BITS, Integers, Residues
from secagg.prg import CHUNK_BYTES, Stream

CBD_BITS = 21
CBD_SIGMA = math.sqrt(CBD_BITS / 2)
KEY_SIGMA = 4.6
# Words worked on at a time: one chunk of keystream.
_STEP = CHUNK_BYTES // 8
_WIDEST = 2.0**48
# Beyond 14 deviations lies less than 2^-140.
_KEY_REACH = 65
_CBD_MASK = np.uint64((1 << 2 * CBD_BITS) - 1)
_CBD_FLIPPED = np.uint64(((1 << CBD_BITS) - 1) << CBD_BITS)
_TERNARY = np.array([byte % 3 - 1 for byte in range(255)] + [0], dtype=np.float64)
_REFUSED = 255


def ternary(stream: Stream, count: int) -> NDArray[np.float64]:
    """Byte b of the stream gives b mod 3 - 1, 255 none: exactly uniform.  Shapes: float64, ready for an FFT."""
    accepted = _accepted(lambda offset, size: np.frombuffer(stream.bytes(offset, size), np.uint8), _REFUSED, count)
    signs: NDArray[np.float64] = _TERNARY.take(accepted)
    return signs


def cbd21(stream: Stream, count: int) -> Integers:
    """Word w gives popcount(bits 0..20) - popcount(bits 21..41): variance 21/2, within 21 of 0."""
    samples = np.empty(count, np.int64)
    for first in range(0, count, _STEP):
        words = stream.words(first, min(_STEP, count - first))
        # The others' zeros are 21 less their ones: one count serves for both.
        words ^= _CBD_FLIPPED
        words &= _CBD_MASK
        np.subtract(_popcount(words), CBD_BITS, out=samples[first : first + _STEP], dtype=np.int64)
    return samples


def key_gaussian(stream: Stream, count: int) -> Integers:
    """Word w gives the k with P(<= k - 1) <= w / 2^64 < P(<= k): within 2^-58 of the discrete Gaussian."""
    return np.searchsorted(_key_thresholds(), stream.words(0, count), side="right").astype(np.int64) - _KEY_REACH


def rounded_gaussian(stream: Stream, std: float, count: int) -> Integers:
    """Box-Muller: words 2i and 2i + 1, 53 bits of each, give samples 2i and 2i + 1, rounded to the nearest integers.

    The tail ends at 8.6 deviations. Smudging hides by its width; nothing hangs on the texture of its doubles, of which
    the last bit may differ between machines.
    Raises: BadParameters for a deviation that is not positive, or beyond 2^48 so that a sample could reach q/2.
    """
    if not 0.0 < std <= _WIDEST:
        raise BadParameters(f"std is {std!r}, it must be positive and at most 2^48")
    samples = np.empty(count + count % 2, np.int64)
    for first in range(0, samples.size, _STEP):
        part = samples[first : first + _STEP]
        words = stream.words(first, part.size)
        words >>= np.uint64(11)
        uniform = words.astype(np.float64)
        # std sqrt(-2 ln u) for u in (0, 1], and the tangent of half an angle in [-pi, pi): tan is the one vectorized.
        radius = uniform[0::2] + 1.0
        radius *= 2.0**-53
        np.log(radius, out=radius)
        radius *= -2.0 * std * std
        np.sqrt(radius, out=radius)
        tangent = uniform[1::2] - 2.0**52
        tangent *= math.pi * 2.0**-53
        np.tan(tangent, out=tangent)
        # cos = 2 / (1 + tan^2) - 1, sin = 2 tan / (1 + tan^2)
        scaled = tangent * tangent
        scaled += 1.0
        np.divide(2.0 * radius, scaled, out=scaled)
        part[0::2] = np.rint(scaled - radius)
        tangent *= scaled
        part[1::2] = np.rint(tangent)
    return samples[:count]


def uniform_mod_q(stream: Stream, count: int) -> Residues:
    """The low 54 bits of each word, those not below q passed over: exactly uniform."""
    low = np.uint64((1 << PRIME_BITS) - 1)
    return _accepted(lambda offset, size: stream.words(offset, size) & low, PRIME, count)


def _accepted(read: Callable[[int, int], NDArray[Any]], bound: int, count: int) -> NDArray[Any]:
    """The first `count` values below the bound, in the order of the stream."""
    found = read(0, count)
    found = found[found < bound]
    offset = count
    while found.size < count:
        more = read(offset, size := count - found.size + 64)
        offset += size
        found = np.concatenate([found, more[more < bound]])
    return found[:count]


@cache
def _key_thresholds() -> NDArray[np.uint64]:
    return thresholds(KEY_SIGMA, _KEY_REACH)


def _popcount(words: NDArray[np.uint64]) -> NDArray[Any]:
    """Ones of words below 2^44."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    ones = np.zeros(words.shape, np.int64)
    for shift in range(0, 44, 11):
        ones += _ONES[(words >> np.uint64(shift)) & np.uint64(2047)]
    return ones


_ONES = np.array([bin(value).count("1") for value in range(2048)], dtype=np.int64)
