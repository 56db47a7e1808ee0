"""Randomness as an argument: keystreams under the operating system's entropy, one owner each.

    32 bytes of the OS --HKDF(label, context)--> root --HKDF(stream)--> AES-256-CTR --> 64-bit words

A stream is a function of (secret, label, context, stream name), so noise can be regenerated from a seed
its owner kept, and no two purposes, parties or rounds share a word.
"""

from __future__ import annotations

import os
import weakref
from hashlib import sha256
from typing import Literal, NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from numpy.typing import NDArray

from dp.errors import BadParameters, EntropyUnavailable

LABEL_ROOT = b"secagg/v1/dp/noise/root"
LABEL_INSECURE = b"secagg/v1/dp/noise/insecure"

SECRET_BYTES = 32
CHUNK_WORDS = 1 << 14

RngSource = Literal["system", "insecure"]
Words = NDArray[np.uint64]

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

    __slots__ = ("__weakref__", "_buffer", "_pid", "_rng", "_root", "_streams")

    def __init__(self, secret: bytes, label: bytes, context: bytes, rng: RngSource) -> None:
        if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES:
            raise BadParameters(f"secret must be {SECRET_BYTES} bytes from the operating system")
        if not isinstance(label, bytes) or not isinstance(context, bytes) or not label:
            raise BadParameters("label and context must be bytes, and the label not empty")
        # Lengths first: (label, context) pairs that concatenate alike must not share a stream.
        info = LABEL_ROOT + len(label).to_bytes(4, "little") + label + context
        self._root = bytearray(HKDF(SHA256(), SECRET_BYTES, salt=None, info=info).derive(secret))
        self._streams: dict[bytes, CipherContext] = {}
        # Two words of slack: older releases of `cryptography` demand a spare AES block.
        self._buffer = np.zeros(CHUNK_WORDS + 2, dtype=_LITTLE_ENDIAN)
        self._pid = os.getpid()
        self._rng: RngSource = rng
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
        return cls(secret, label, context, "system")

    @classmethod
    def insecure(cls, seed: int, label: bytes, context: bytes) -> Entropy:
        """A stream anybody can repeat, for tests and vectors; every event drawn from it must say so."""
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise BadParameters("seed must be an integer of at least 0")
        return cls(sha256(LABEL_INSECURE + str(seed).encode()).digest(), label, context, "insecure")

    @property
    def rng(self) -> RngSource:
        """Whether nobody else can repeat this stream; every event drawn from it says the same."""
        return self._rng

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
        # Left to the garbage collector, it would go in a callback, where an interrupt by the user is lost.
        _alive.discard(self)

    def __enter__(self) -> Entropy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Entropy rng={self.rng}>"

    def __getstate__(self) -> NoReturn:
        raise BadParameters("an Entropy shows its state to nobody")

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
