"""Exact integer noise: a 256-bit probability table read by an AES keystream.

    32 bytes of the OS --HKDF(label, context)--> root --HKDF(stream)--> AES-256-CTR --> 64-bit words
    word = | column (m bits) | fraction (64 - m bits) |
        fraction < threshold[column]   own value
        fraction > threshold[column]   alias
        equal                          192 more bits decide (about once in 2^(64-m) draws)

The order in which words are consumed is normative: a noise vector is a function of (secret, label,
context, sigma2, n), so it can be regenerated from its seed. No float takes part anywhere: a float
sampler betrays its input through the values it cannot produce (Mironov, CCS 2012).
Table gathers remain a cache channel for an attacker on the same machine; batch time does not depend on
the values drawn. Clipping, the lattice and the event that accounts for a draw live elsewhere.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from math import isqrt
from typing import Literal, NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from numpy.typing import NDArray

from dp.errors import BadParameters, EntropyUnavailable

LABEL_ROOT = b"secagg/v1/dp/noise/root"
LABEL_INSECURE = b"secagg/v1/dp/noise/insecure"
LABEL_WORDS = b"secagg/v1/dp/noise/words"
LABEL_TIES = b"secagg/v1/dp/noise/ties"

SECRET_BYTES = 32
CHUNK_WORDS = 1 << 14
TIE_WORDS = 3
TIE_BITS = 64 * TIE_WORDS
WEIGHT_BITS = 320
TAIL_BITS = 129
MAX_COLUMNS = 1 << 22
TABLE_STD = 4096
MAX_SIGMA2 = 1 << 100

RngSource = Literal["system", "insecure"]
Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

_LITTLE_ENDIAN = np.dtype("<u8")
_ZEROS = memoryview(bytes(8 * CHUNK_WORDS))
_alive: weakref.WeakSet[Entropy] = weakref.WeakSet()


class Entropy:
    """AES-256-CTR keystreams under HKDF-SHA256(secret, label, context): randomness as an argument.

    Guarantee: streams of different (secret, label, context, stream name) are independent uniform words
        as long as AES-256 is a PRF and the secret is unknown. One (label, context) serves one purpose of
        one party in one round; opening the same pair twice repeats the same words. The stream belongs to
        the process that opened it: a forked child finds it wiped. It cannot be pickled or copied, and
        prints nothing.
    Raises: EntropyUnavailable when the OS gives no randomness, after `close`, and after a fork;
        BadParameters for an empty label or a secret of the wrong size.
    """

    __slots__ = ("__weakref__", "_buffer", "_pid", "_root", "_streams", "rng")

    rng: RngSource

    def __init__(self, secret: bytes, label: bytes, context: bytes, rng: RngSource) -> None:
        if not isinstance(label, bytes) or not isinstance(context, bytes) or not label:
            raise BadParameters("label and context must be bytes, and the label not empty")
        # Lengths first: (label, context) pairs that concatenate alike must not share a stream.
        info = LABEL_ROOT + len(label).to_bytes(4, "little") + label + context
        self._root = bytearray(HKDF(SHA256(), SECRET_BYTES, salt=None, info=info).derive(secret))
        self._streams: dict[bytes, CipherContext] = {}
        # Two words of slack: older releases of `cryptography` demand a spare AES block.
        self._buffer = np.zeros(CHUNK_WORDS + 2, dtype=_LITTLE_ENDIAN)
        self._pid = os.getpid()
        self.rng = rng
        _alive.add(self)

    @classmethod
    def system(cls, label: bytes, context: bytes) -> Entropy:
        """A stream nobody can repeat: its secret is 32 fresh bytes of `os.urandom`."""
        try:
            secret = os.urandom(SECRET_BYTES)
        except (OSError, NotImplementedError) as refused:
            raise EntropyUnavailable("the operating system refused randomness; nothing drawn") from refused
        if len(secret) != SECRET_BYTES:
            raise EntropyUnavailable(f"the operating system gave {len(secret)} bytes of {SECRET_BYTES}")
        return cls(secret, label, context, "system")

    @classmethod
    def derived(cls, secret: bytes, label: bytes, context: bytes) -> Entropy:
        """A stream its owner can repeat: the secret is 32 bytes that came from the OS earlier."""
        if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES:
            raise BadParameters(f"secret must be {SECRET_BYTES} bytes from the operating system")
        return cls(secret, label, context, "system")

    @classmethod
    def insecure(cls, seed: int, label: bytes, context: bytes) -> Entropy:
        """A stream anybody can repeat, for tests and vectors; every event drawn from it must say so."""
        if not isinstance(seed, int) or seed < 0:
            raise BadParameters("seed must be an integer of at least 0")
        return cls(sha256(LABEL_INSECURE + str(seed).encode()).digest(), label, context, "insecure")

    def borrow(self, count: int, stream: bytes) -> Words:
        """The next words of one named stream, at most CHUNK_WORDS.

        Shapes: little-endian uint64; a view of the owned buffer that the next call overwrites.
        """
        if self._pid != os.getpid():
            self.close()
        if not self._root:
            raise EntropyUnavailable("this stream was closed or crossed a fork; open a new one")
        if not 0 <= count <= CHUNK_WORDS:
            raise BadParameters(f"count must be within 0..{CHUNK_WORDS}, not {count}")
        if stream not in self._streams:
            key = HKDFExpand(SHA256(), SECRET_BYTES, info=stream).derive(bytes(self._root))
            self._streams[stream] = keystream(key)
        self._streams[stream].update_into(_ZEROS[: 8 * count], self._buffer.data.cast("B"))
        return self._buffer[:count]

    def close(self) -> None:
        """Zero the root and the buffer, drop the ciphers; every later draw raises."""
        self._root[:] = bytes(len(self._root))
        self._root = bytearray()
        self._streams.clear()
        self._buffer[:] = 0

    def __enter__(self) -> Entropy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Entropy rng={self.rng}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise BadParameters("an Entropy is neither pickled nor copied: two owners would draw equal noise")


def keystream(key: bytes) -> CipherContext:
    """AES-256-CTR from counter 0; feed it zeros and it yields the stream."""
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()


def _wipe_after_fork() -> None:
    # Generators inherited over fork gave every worker of several products the same "random" noise.
    for entropy in list(_alive):
        entropy.close()


os.register_at_fork(after_in_child=_wipe_after_fork)


@dataclass(frozen=True, slots=True)
class AliasTable:
    """P(value_i) = weight_i / sum, to within 2^-256 per column: Vose's alias method in integers.

    Shapes: heads, uint64 of N = 2^m columns, the top fraction bits of each threshold (a full column holds
        2^(word_bits - m) and never ties); tails, the next 192 bits of each, big-endian; outcomes, 2 N
        values, alias and own interleaved so that a draw is two gathers.
    Guarantee: a draw compares up to word_bits - m + 192 fraction bits, so its law is the table's exactly.
    """

    column_bits: int
    word_bits: int
    heads: Words
    tails: bytes
    outcomes: NDArray[np.int32]

    @classmethod
    def build(cls, values: Sequence[int], weights: Sequence[int], word_bits: int = 64) -> AliasTable:
        """The table of any law with integer weights; what the scaling loses is added to the first value.

        Raises: BadParameters beyond MAX_COLUMNS values, or for values outside int32.
        Source: Vose, IEEE Trans. Software Eng. 1991; work lists are stacks filled in ascending order.
        """
        column_bits = max(1, (len(values) - 1).bit_length())
        if len(values) > MAX_COLUMNS:
            raise BadParameters(f"{len(values)} values do not fit a table of {MAX_COLUMNS} columns")
        scale, total = 1 << (word_bits + TIE_BITS), sum(weights)
        masses = [weight * scale // total for weight in weights]
        masses[0] += scale - sum(masses)
        masses += [0] * ((1 << column_bits) - len(values))
        aliases = _vose(masses, scale >> column_bits)
        values = [*values, *([0] * (len(masses) - len(values)))]
        outcomes = np.empty(2 * len(masses), dtype=np.int32)
        outcomes[0::2] = [values[alias] for alias in aliases]
        outcomes[1::2] = values
        low = (1 << TIE_BITS) - 1
        return cls(
            column_bits,
            word_bits,
            np.array([mass >> TIE_BITS for mass in masses], dtype=np.uint64),
            b"".join((mass & low).to_bytes(8 * TIE_WORDS, "big") for mass in masses),
            outcomes,
        )

    def add_into(self, total: Integers, factor: int, entropy: Entropy) -> None:
        """total <- total + factor * samples, one per word of LABEL_WORDS in index order.

        A tie takes TIE_WORDS of LABEL_TIES, ascending by index.
        """
        for start in range(0, total.size, CHUNK_WORDS):
            part = total[start : start + CHUNK_WORDS]
            samples = self._choose(entropy.borrow(part.size, LABEL_WORDS), entropy).astype(np.int64)
            samples *= factor
            part += samples

    def _choose(self, words: Words, entropy: Entropy) -> NDArray[np.int32]:
        words >>= np.uint64(64 - self.word_bits)
        fraction_bits = self.word_bits - self.column_bits
        columns = (words >> np.uint64(fraction_bits)).view(np.int64)
        words &= np.uint64((1 << fraction_bits) - 1)
        thresholds = self.heads[columns]
        own = words < thresholds
        tied = np.flatnonzero(words == thresholds)
        for index in tied:
            own[index] = self._break_tie(int(columns[index]), entropy)
        columns <<= 1
        columns += own
        return self.outcomes[columns]

    def _break_tie(self, column: int, entropy: Entropy) -> bool:
        """Whether 192 further bits, first word most significant, fall below the rest of the threshold."""
        bits = int.from_bytes(entropy.borrow(TIE_WORDS, LABEL_TIES).astype(">u8").tobytes(), "big")
        at = 8 * TIE_WORDS * column
        return bits < int.from_bytes(self.tails[at : at + 8 * TIE_WORDS], "big")


def _vose(masses: list[int], capacity: int) -> list[int]:
    """Turn masses (sum = columns * capacity) into thresholds in place; return the alias of each column."""
    aliases = list(range(len(masses)))
    small = [column for column, mass in enumerate(masses) if mass < capacity]
    large = [column for column, mass in enumerate(masses) if mass > capacity]
    while small:
        under, over = small.pop(), large.pop()
        aliases[under] = over
        # `under` keeps its mass as threshold; what it lacks is taken from `over`.
        masses[over] -= capacity - masses[under]
        if masses[over] < capacity:
            small.append(over)
        elif masses[over] > capacity:
            large.append(over)
    return aliases


def discrete_gaussian(sigma2: Fraction, count: int, entropy: Entropy) -> Integers:
    """count independent draws of N_Z(0, sigma2): P(k) proportional to exp(-k^2 / (2 sigma2)).

    A standard deviation s above TABLE_STD is drawn as k*A + B with A ~ N_Z(0, sigma2/k^2 - 9),
    B ~ N_Z(0, 9 k^2), k = round(sqrt(s)), each in the same manner; A is drawn first, all count of it.
    Completing the square, the sum differs from N_Z(0, sigma2) only by a theta sum of variance above 6.25.

    Shapes: int64.
    Guarantee: per draw of a table (`table_draws` of them per sample) total variation at most 2^-127, and
        per split a pointwise log-ratio below 2^-170; both are booked by the event through its draws.
    Raises: BadParameters for sigma2 outside (0, 2^100] or not rational; EntropyUnavailable.
    Source: Canonne, Kamath, Steinke, NeurIPS 2020 (the law); Micciancio, Walter, CRYPTO 2017 (convolution).
    """
    if count < 0:
        raise BadParameters(f"count must be at least 0, not {count}")
    noise = np.zeros(count, dtype=np.int64)
    add_discrete_gaussian_into(noise, sigma2, entropy)
    return noise


def add_discrete_gaussian_into(total: Integers, sigma2: Fraction, entropy: Entropy) -> None:
    """total <- total + `discrete_gaussian`, without a vector in between."""
    require_variance(sigma2)
    _add_into(total, 1, Fraction(sigma2), entropy)


def _add_into(total: Integers, factor: int, sigma2: Fraction, entropy: Entropy) -> None:
    if sigma2 <= TABLE_STD**2:
        gaussian_table(sigma2).add_into(total, factor, entropy)
        return
    spread, coarse, fine = split(sigma2)
    _add_into(total, factor * spread, coarse, entropy)
    _add_into(total, factor, fine, entropy)


def table_draws(sigma2: Fraction) -> int:
    """How many table draws one sample of `discrete_gaussian` costs: 1 up to TABLE_STD."""
    require_variance(sigma2)
    if sigma2 <= TABLE_STD**2:
        return 1
    _, coarse, fine = split(Fraction(sigma2))
    return table_draws(coarse) + table_draws(fine)


def split(sigma2: Fraction) -> tuple[int, Fraction, Fraction]:
    """(k, a2, b2) with k^2 a2 + b2 = sigma2, k the integer nearest to the fourth root of sigma2."""
    factor = (isqrt(isqrt(16 * sigma2.numerator // sigma2.denominator)) + 1) // 2
    return factor, sigma2 / factor**2 - 9, Fraction(9 * factor**2)


def require_variance(sigma2: Fraction) -> None:
    """Raise BadParameters unless sigma2 is an exact rational within (0, 2^100]."""
    if not isinstance(sigma2, int | Fraction) or isinstance(sigma2, bool):
        raise BadParameters(f"sigma2 must be an int or a Fraction, not {type(sigma2).__name__}")
    if not 0 < sigma2 <= MAX_SIGMA2:
        raise BadParameters(f"sigma2 must be within (0, 2^100], not {float(sigma2):.6g}")


@lru_cache(maxsize=32)
def gaussian_table(sigma2: Fraction, word_bits: int = 64) -> AliasTable:
    """The table of N_Z(0, sigma2), its values listed 0, +1, -1, +2, ...; cached by parameter."""
    half = gaussian_weights(sigma2)
    values, weights = [0], [half[0]]
    for magnitude, weight in enumerate(half[1:], start=1):
        values += [magnitude, -magnitude]
        weights += [weight, weight]
    return AliasTable.build(values, weights, word_bits)


def gaussian_weights(sigma2: Fraction) -> list[int]:
    """floor-like 2^320 exp(-k^2 / (2 sigma2)) for k = 0, 1, ... until both tails hold below 2^-129.

    w_(k+1) = w_k r_k and r_(k+1) = r_k exp(-1/sigma2): two products per value, error below k^2 2^-319.
    """
    one = 1 << WEIGHT_BITS
    step = exp_negative(1 / sigma2)
    weight = exp_negative(1 / (2 * sigma2))
    weights, total = [one], one
    ratio = weight * step >> WEIGHT_BITS
    # From here on ratios only fall, so the rest is below the geometric series weight / (1 - ratio).
    while weight << (TAIL_BITS + 1 + WEIGHT_BITS) > total * (one - ratio):
        weights.append(weight)
        total += 2 * weight
        weight = weight * ratio >> WEIGHT_BITS
        ratio = ratio * step >> WEIGHT_BITS
    return weights


def exp_negative(exponent: Fraction) -> int:
    """2^320 exp(-x) for rational x >= 0, within 1: halve x below 2^-7, Taylor, square back."""
    if exponent > WEIGHT_BITS:
        return 0
    guard = WEIGHT_BITS + 64
    halvings = max(0, exponent.numerator.bit_length() - exponent.denominator.bit_length() + 8)
    reduced = (exponent.numerator << guard) // (exponent.denominator << halvings)
    term = total = 1 << guard
    order = 0
    while term:
        order += 1
        term = (term * reduced >> guard) // order
        total += term if order % 2 == 0 else -term
    for _ in range(halvings):
        total = total * total >> guard
    return total >> 64
