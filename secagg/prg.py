"""32 secret bytes -> as many uniform words as wanted, readable from any place.

    block i of the stream = AES-256(seed, i as 16 bytes big-endian)          (CTR mode, counter from zero)
    element j             = word j of the stream, little-endian, mod 2^b     (word: 2, 4 or 8 bytes)

A vector is never expanded whole: keystream is made a chunk at a time in one scratch buffer and added from
there, and all streams pass over one chunk of the total before the next, while it is in cache.

AES-GCM under the nonce zero encrypts with the very blocks 2, 3, 4, ... of this stream. With 512-bit vector
AES, OpenSSL makes them twice as fast as in CTR mode; without, in two and a half times the time. Where a
first look at this machine says so, a long stream read from its start is therefore taken from GCM, whose tag
is never asked for; from any other place, and on any other machine, from CTR. The bytes are the same.
Which stream belongs to whom is `masks.py`.
Source: NIST SP 800-38A (CTR), SP 800-38D section 6.5 (GCTR).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from numpy.typing import NDArray

from secagg.errors import BadParameters
from secagg.keys import Seed
from secagg.ring import Ring, RingVector

BLOCK_BYTES = 16
CHUNK_BYTES = 1 << 18

# Blocks 0 and 1 of the stream are what GCM keeps for its hash and its tag.
GCM_HEAD_BYTES = 2 * BLOCK_BYTES
# Below this length the second cipher costs more than GCM saves.
GCM_FROM_BYTES = 1 << 17

_ZEROS = memoryview(bytes(CHUNK_BYTES))
_CTR_FROM_ZERO = CTR(bytes(BLOCK_BYTES))
_GCM_NONCE_ZERO = GCM(bytes(12))


@cache
def gcm_is_faster() -> bool:
    """Whether AES-GCM outruns AES-CTR here; looked at once in a process, and nothing but time hangs on it."""
    scratch = scratch_of(CHUNK_BYTES)

    def least_seconds(mode: CTR | GCM) -> float:
        encryptor, taken = Cipher(AES(bytes(32)), mode).encryptor(), []
        for _ in range(4):
            started = time.perf_counter()
            encryptor.update_into(_ZEROS, scratch)
            taken.append(time.perf_counter() - started)
        return min(taken)

    return least_seconds(_GCM_NONCE_ZERO) < least_seconds(_CTR_FROM_ZERO)


class Keystream:
    """The bytes of AES-256-CTR(key) from byte `start` on, in order; about `length` of them will be read.

    `counter` is the first block's; a stream of this project starts at zero, a published vector elsewhere.
    """

    __slots__ = ("_cipher", "_head")

    def __init__(self, key: bytes, start: int, length: int, counter: int = 0) -> None:
        algorithm = AES(key)
        block, skipped = divmod(start, BLOCK_BYTES)
        block += counter
        mode = CTR(block.to_bytes(BLOCK_BYTES, "big")) if block else _CTR_FROM_ZERO
        self._cipher = Cipher(algorithm, mode).encryptor()
        self._head = b""
        if skipped:
            self._cipher.update(_ZEROS[:skipped])
        elif block == 0 and length >= GCM_FROM_BYTES and gcm_is_faster():
            self._head = self._cipher.update(_ZEROS[:GCM_HEAD_BYTES])
            self._cipher = Cipher(algorithm, _GCM_NONCE_ZERO).encryptor()

    def read_into(self, scratch: memoryview, count: int) -> None:
        """The next `count` bytes, at the front of a buffer made by `scratch_of` for as many."""
        head = self._head
        if head:
            self._head = head[count:]
            head = head[:count]
            scratch[: len(head)] = head
        for done in range(len(head), count, CHUNK_BYTES):
            self._cipher.update_into(_ZEROS[: count - done], scratch[done:])


def scratch_of(size: int, most: int = CHUNK_BYTES) -> memoryview:
    """A buffer for `size` bytes or `most` of them; older releases of `cryptography` want a spare block."""
    return memoryview(bytearray(min(size, most) + BLOCK_BYTES))


class Stream:
    """The stream of a seed, at random access: the same place always holds the same bytes.

    Guarantee: uniform to whoever does not know the seed, as long as AES-256 is a pseudorandom permutation and
        far less than 2^64 blocks are read. One seed serves one purpose.
    """

    __slots__ = ("_seed",)

    def __init__(self, seed: Seed) -> None:
        self._seed = seed

    def bytes(self, offset: int, count: int) -> bytes:
        """Bytes offset .. offset + count.

        Raises: BadParameters for a negative place or count.
        """
        if offset < 0 or count < 0:
            raise BadParameters(f"a stream has no bytes {offset} .. {offset} + {count}")
        keystream = Keystream(self._seed.expose(), offset, count)
        scratch = scratch_of(count)
        parts = []
        for done in range(0, count, CHUNK_BYTES):
            size = min(CHUNK_BYTES, count - done)
            keystream.read_into(scratch, size)
            parts.append(scratch[:size].tobytes())
        return b"".join(parts)

    def words(self, offset: int, count: int) -> NDArray[np.uint64]:
        """64-bit little-endian words offset .. offset + count; a fresh array."""
        return np.frombuffer(bytearray(self.bytes(8 * offset, 8 * count)), dtype="<u8")


def check_range(total: RingVector, ring: Ring, lo: int, hi: int | None) -> int:
    """hi, or the length of total where it is None.

    Raises: BadParameters unless total is a row of this ring and 0 <= lo <= hi <= its length.
    """
    ring.check(total)
    end = total.size if hi is None else hi
    if not 0 <= lo <= end <= total.size:
        raise BadParameters(f"[{lo}, {end}) is not a range of a vector of {total.size}")
    return end


class Streams:
    """Several streams from one place on, to be added side by side, part after part.

    Shapes: scratch is one chunk; every term keeps one AES context alive, so very many come in batches.
    Raises: BadParameters for a sign other than +1 and -1.
    """

    __slots__ = ("_scratch", "_terms", "_words")

    def __init__(self, ring: Ring, terms: Iterable[tuple[int, Seed]], start: int, length: int) -> None:
        word = ring.dtype.itemsize
        self._terms: list[tuple[Any, Keystream]] = []
        for sign, seed in terms:
            if sign not in (1, -1):
                raise BadParameters(f"a sign is +1 or -1, not {sign!r}")
            keystream = Keystream(seed.expose(), start * word, length * word)
            self._terms.append((np.add if sign == 1 else np.subtract, keystream))
        self._scratch = scratch_of(length * word)
        self._words: RingVector = np.frombuffer(self._scratch[: len(self._scratch) - BLOCK_BYTES], dtype=ring.dtype)

    def add_into(self, part: RingVector) -> None:
        """part <- part + the next part.size elements of every stream, signed; at most one chunk of them."""
        fresh = self._words[: part.size]
        for apply, keystream in self._terms:
            keystream.read_into(self._scratch, part.size * part.itemsize)
            apply(part, fresh, out=part)


def accumulate_into(
    total: RingVector, ring: Ring, terms: Iterable[tuple[int, Seed]], lo: int = 0, hi: int | None = None
) -> None:
    """total[lo:hi] <- total[lo:hi] + sum over (sign, seed) of sign * PRG(seed)[lo:hi]   (mod 2^b)

    Raises: BadParameters for a sign other than +1 and -1, before total changes.
    """
    end = check_range(total, ring, lo, hi)
    streams = Streams(ring, terms, lo, end - lo)
    step = CHUNK_BYTES // ring.dtype.itemsize
    for start in range(lo, end, step):
        streams.add_into(total[start : min(start + step, end)])


def expand_into(total: RingVector, sign: int, seed: Seed, ring: Ring, lo: int = 0, hi: int | None = None) -> None:
    """total[lo:hi] <- total[lo:hi] + sign * PRG(seed)[lo:hi]   (mod 2^b)"""
    accumulate_into(total, ring, [(sign, seed)], lo, hi)


def expand(seed: Seed, d: int, ring: Ring) -> RingVector:
    """PRG(seed): d elements uniform in 0..2^b - 1."""
    vector = ring.zeros(d)
    expand_into(vector, 1, seed, ring)
    vector &= ring.dtype.type(ring.modulus - 1)
    return vector
