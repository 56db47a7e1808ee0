"""Secrets, and what is made from them: derived seeds, agreed seeds, signatures.

    os.urandom -> Seed --derive(label, context, parts)--> Seed --AgreementKey--> public point
                                                               --agree(point)--> Seed shared by two
    Identity: a long-lived Ed25519 key that says who is speaking

A secret is a `Seed`: 32 bytes that do not print, pickle or copy, compare in constant time, and can be
overwritten. Python and OpenSSL may keep copies of what passed through them; what is promised is that no
reference stays behind. Every derivation carries a label and a context, so one root serves many purposes
and rounds without any two outputs being related. Boxes are `box.py`, streams `prg.py`.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import NewType, NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.errors import BadParameters, BadPoint, BadSignature, EntropyUnavailable

SEED_BYTES = 32
CONTEXT_BYTES = 32
POINT_BYTES = 32
HASH_BYTES = 32
MAX_INFO_BYTES = 1 << 16

# 32 public bytes that name one round among all rounds: the salt of every derivation.
Context = NewType("Context", bytes)

FIELD_25519 = 2**255 - 19

_SHA256 = SHA256()

# The coordinates below 2^255 - 19 whose points have order 1, 2, 4 or 8 on the curve or its twist: a
# peer that announces one fixes the agreed secret to zero whatever the other key is (RFC 7748, section 6.1).
LOW_ORDER = frozenset(
    {
        0,
        1,
        FIELD_25519 - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


class _Hidden:
    """What never leaves its process: no repr, pickle or copy shows or duplicates it."""

    __slots__ = ("__weakref__",)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: secret>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise BadParameters(f"a {type(self).__name__} is secret: it is never pickled or copied")


class Secret(_Hidden):
    """Secret bytes of any length. Equality is `hmac.compare_digest`; `expose` is the only way out.

    Raises: BadParameters from every use after `erase`.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes | bytearray | memoryview) -> None:
        self._secret: bytearray | None = bytearray(secret)

    def expose(self) -> bytes:
        """The bytes themselves, for a computation and never to be kept.  Raises: BadParameters once erased."""
        if self._secret is None:
            raise BadParameters("this secret was erased; its round is over")
        return bytes(self._secret)

    def erase(self) -> None:
        """Overwrite the bytes and let go of them; erasing twice is harmless."""
        if self._secret is not None:
            self._secret[:] = bytes(len(self._secret))
            self._secret = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.expose(), other.expose())

    # A hash would be a public fingerprint of the secret.
    __hash__ = None  # type: ignore[assignment]


class Seed(Secret):
    """32 secret bytes, the root or the fruit of a derivation.

    Raises: BadParameters for any other length.
    """

    __slots__ = ()

    def __init__(self, secret: bytes | bytearray | memoryview) -> None:
        if len(secret) != SEED_BYTES:
            raise BadParameters(f"a seed is {SEED_BYTES} bytes, not {len(secret)}")
        super().__init__(secret)

    @classmethod
    def fresh(cls) -> Self:
        """32 bytes of the operating system; there is no other source and no fallback.

        Raises: EntropyUnavailable.
        """
        try:
            secret = os.urandom(SEED_BYTES)
        except (OSError, NotImplementedError) as refused:
            raise EntropyUnavailable("os.urandom failed; no secret can be made on this machine") from refused
        if len(secret) != SEED_BYTES:
            raise EntropyUnavailable(f"os.urandom gave {len(secret)} bytes where {SEED_BYTES} were asked")
        return cls(secret)


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256(secret, salt, info), `length` bytes.

    Raises: BadParameters unless 1 <= length <= 255 * 32.
    Source: RFC 5869.
    """
    if not 1 <= length <= 255 * HASH_BYTES:
        raise BadParameters(f"HKDF-SHA256 gives 1 to {255 * HASH_BYTES} bytes, not {length}")
    return HKDF(_SHA256, length, salt, info).derive(secret)


def derive(root: Seed, label: bytes, context: bytes, *parts: bytes) -> Seed:
    """HKDF-SHA256(root, salt = context, info = label || length-prefixed parts), 32 bytes.

    Guarantee: outputs for different (label, context, parts) are independent to everybody who does not know
        root. The encoding is injective: a label has no zero byte, and the first byte after it, the top of
        a four-byte length, is always zero.
    Raises: BadParameters for an empty label or one with a zero byte, a context that is not 32 bytes, or
        parts of 2^16 bytes and more together.
    """
    return derivation(label, context, *parts)(root)


def derivation(label: bytes, context: bytes, *parts: bytes) -> Callable[[Seed], Seed]:
    """`derive` for many roots: its checks and its encoding are done once."""
    if not label or 0 in label:
        raise BadParameters(f"a label is at least one byte and none is zero, not {label!r}")
    if len(context) != CONTEXT_BYTES:
        raise BadParameters(f"a context is {CONTEXT_BYTES} bytes, not {len(context)}")
    info = label + b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    if len(info) >= MAX_INFO_BYTES:
        raise BadParameters(f"label and parts take {len(info)} bytes of {MAX_INFO_BYTES}; hash the parts first")
    return lambda root: Seed(hkdf(root.expose(), context, info, SEED_BYTES))


def check_point(public: bytes) -> None:
    """A public key has one spelling and a useful order.

    Raises: BadPoint unless public is 32 bytes, below 2^255 - 19, and not of low order. RFC 7748 would
        ignore the top bit and reduce: then two different strings name one point, and "all keys of this
        roster are distinct" would mean nothing.
    """
    if len(public) != POINT_BYTES:
        raise BadPoint(f"an X25519 public key is {POINT_BYTES} bytes, not {len(public)}")
    coordinate = int.from_bytes(public, "little")
    if coordinate >= FIELD_25519:
        raise BadPoint("the public key is not canonical: its coordinate is 2^255 - 19 or more")
    if coordinate in LOW_ORDER:
        raise BadPoint("the public key has low order: every secret agreed with it is zero")


class AgreementKey(_Hidden):
    """An X25519 private key, clamped from a seed, which may be erased afterwards."""

    __slots__ = ("_private", "public")

    public: bytes

    def __init__(self, seed: Seed) -> None:
        self._private = X25519PrivateKey.from_private_bytes(seed.expose())
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> Seed:
        """X25519(own, public): the same seed at both ends. Not uniform; derive from it.

        Raises: BadPoint for a key `check_point` refuses.
        Source: RFC 7748, sections 5 and 6.1.
        """
        check_point(public)
        try:
            return Seed(self._private.exchange(X25519PublicKey.from_public_bytes(public)))
        except ValueError as refused:
            raise BadPoint("the agreed secret is zero") from refused


def public_of(seed: Seed) -> bytes:
    """The X25519 public key of a seed."""
    return AgreementKey(seed).public


class Identity(_Hidden):
    """An Ed25519 key pair: who is speaking, over many rounds."""

    __slots__ = ("_private", "public")

    public: bytes

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def fresh(cls) -> Self:
        """A new identity, its key drawn from the operating system.  Raises: EntropyUnavailable."""
        return cls.from_seed(Seed.fresh())

    @classmethod
    def from_seed(cls, seed: Seed) -> Self:
        """The identity whose Ed25519 key is this seed: the same for the same 32 bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed.expose()))

    def sign(self, message: bytes) -> bytes:
        """64 bytes, a function of key and message. The message begins with a label of its purpose."""
        return self._private.sign(message)


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Returns when signature is one of message under public.

    Raises: BadSignature.
    Source: RFC 8032, section 5.1.7.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as refused:
        raise BadSignature("the signature does not belong to this message and key") from refused
