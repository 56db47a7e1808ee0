"""Who was in a round, under names only this ledger uses: what its key holder writes beside an entry.

    pseudonym   = HMAC-SHA256(secret, PSEUDONYM || identity key)         no two ledgers can be joined by it
    opening     = (pseudonym, 16 random bytes), sorted by pseudonym;     their Merkle root stands in the entry
    result      = SHA256(RESULT || salt || digest),  salt = HMAC-SHA256(secret, SALT || LE64(reservation))

Openings lie beside the chain and can be taken out again: an erased one leaves its leaf, which without its salt
says nothing, so that the root and everybody else's proof still hold. A result is hidden from whoever could guess
it; the key holder can open a single one by its salt.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from dp.errors import BadParameters
from dp.ledger.merkle import HASH_BYTES, SALT_BYTES, leaf_hash, root_of

LABEL_PSEUDONYM = b"secagg/v1/ledger/pseudonym"
LABEL_NAMES = b"secagg/v1/ledger/names"
LABEL_SALT = b"secagg/v1/ledger/salt"
LABEL_RESULT = b"secagg/v1/ledger/result"

SECRET_BYTES = 32
LONGEST_IDENTITY = 256
PSEUDONYM_BYTES = HASH_BYTES


@dataclass(frozen=True, slots=True)
class Opening:
    """One member of a cohort as stored; an erased one has no salt, and its leaf where the pseudonym was.

    Raises: BadParameters.
    """

    seq: int
    position: int
    pseudonym: bytes
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.position < 0 or len(self.pseudonym) != PSEUDONYM_BYTES or len(self.salt) not in (0, SALT_BYTES):
            raise BadParameters(f"opening {self.position} of entry {self.seq} has parts of the wrong length")

    @property
    def is_erased(self) -> bool:
        """Whether nobody can say any more who this was."""
        return self.salt == b""

    @property
    def leaf(self) -> bytes:
        """The leaf hash, which stays the same when it is erased."""
        return self.pseudonym if self.is_erased else leaf_hash(self.salt, self.pseudonym)

    def erased(self) -> Opening:
        """The same leaf, without what it stands for."""
        return Opening(self.seq, self.position, self.leaf, b"")


class Pseudonyms:
    """The ledger's own secret: turns identity keys into pseudonyms; never shows itself."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise BadParameters(f"a ledger's secret has {SECRET_BYTES} bytes, got {len(secret)}")
        self._secret = secret

    @property
    def fingerprint(self) -> bytes:
        """SHA256(NAMES || secret): stands in GENESIS, so that a ledger is never continued with another secret."""
        return hashlib.sha256(LABEL_NAMES + self._secret).digest()

    def of(self, identity: bytes) -> bytes:
        """The pseudonym of one identity key.  Raises: BadParameters."""
        require_identity(identity)
        return hmac.digest(self._secret, LABEL_PSEUDONYM + identity, "sha256")

    def result_salt(self, seq: int) -> bytes:
        """The salt of the result of one reservation: who is given it can check the digest in its COMMIT."""
        return hmac.digest(self._secret, LABEL_SALT + seq.to_bytes(8, "little"), "sha256")

    def hide(self, seq: int, digest: bytes) -> bytes:
        """The digest as a COMMIT states it."""
        return hidden_result(self.result_salt(seq), digest)

    def __repr__(self) -> str:
        return "Pseudonyms()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Pseudonyms hold a ledger's secret and are not pickled")


@dataclass(frozen=True, slots=True)
class Drawn:
    """An opening whose entry has no number yet."""

    pseudonym: bytes
    salt: bytes = field(repr=False)

    @property
    def leaf(self) -> bytes:
        """The leaf hash."""
        return leaf_hash(self.salt, self.pseudonym)

    def at(self, seq: int, position: int) -> Opening:
        """In its place."""
        return Opening(seq, position, self.pseudonym, self.salt)


def cohort_of(pseudonyms: Iterable[bytes], salts: bytes) -> tuple[Drawn, ...]:
    """Openings not yet placed, sorted by pseudonym, from 16 bytes of `salts` for each.  Raises: BadParameters."""
    names = sorted(pseudonyms)
    if len(salts) != SALT_BYTES * len(names):
        raise BadParameters(f"{len(names)} members need {SALT_BYTES * len(names)} bytes of salt, got {len(salts)}")
    pieces = (salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES))
    return tuple(Drawn(name, salt) for name, salt in zip(names, pieces, strict=True))


def hidden_result(salt: bytes, digest: bytes) -> bytes:
    """SHA256(RESULT || salt || digest)."""
    return hashlib.sha256(LABEL_RESULT + salt + digest).digest()


def cohort_root(openings: Iterable[Opening | Drawn]) -> bytes:
    """The Merkle root over openings in their order."""
    return root_of([each.leaf for each in openings])


def require_identity(identity: object) -> None:
    """An identity key: 1 to 256 bytes.  Raises: BadParameters."""
    if not isinstance(identity, bytes) or not 1 <= len(identity) <= LONGEST_IDENTITY:
        raise BadParameters(f"a member is named by its identity key, 1 to {LONGEST_IDENTITY} bytes")


def require_members(name: str, members: object, size: int) -> None:
    """Distinct identity keys, one for each of `size`, or none at all.  Raises: BadParameters."""
    if not isinstance(members, tuple):
        raise BadParameters(f"{name} must be a tuple of identity keys, got {type(members).__name__}")
    for member in members:
        require_identity(member)
    if members and len(members) != size:
        raise BadParameters(f"{name} names {len(members)} of {size}; name all of them, or nobody")
    if len(set(members)) != len(members):
        raise BadParameters(f"{name} names somebody twice")
