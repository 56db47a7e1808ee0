"""What one ledger entry is, as bytes: canonical body, hash chain, signature. Pure functions, no file.

    hash_i      = SHA256(ENTRY || ledger_id || LE64(i) || hash_(i-1) || SHA256(kind || 00 || body))
    signature_i = Ed25519(signer, SIGN || ledger_id || hash_i)              hash_(-1) = 32 zero bytes

The head hash commits to every byte before it, so one valid signature on the head vouches for the whole
prefix; checking all of them (`check_entry`) tells *which* entry was touched. What the bodies mean is
`dp.ledger.history`; where the bytes lie is `dp.ledger.store`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dp.canonical import Body, bytes_of, decode_body, encode_body
from dp.errors import BadParameters, Corrupt

LABEL_ENTRY = b"secagg/v1/ledger/entry"
LABEL_SIGN = b"secagg/v1/ledger/sign"
LABEL_WITNESS = b"secagg/v1/ledger/witness"

FIRST_PREVIOUS = bytes(32)
LEDGER_ID_BYTES = 16


class Kind(StrEnum):
    """What an entry says. A kind is never renamed or given another meaning; new ones are added."""

    GENESIS = "GENESIS"
    OPEN_BUDGET = "OPEN_BUDGET"
    RESERVE = "RESERVE"
    COMMIT = "COMMIT"
    ABORT = "ABORT"
    SETTLE = "SETTLE"
    CLOSE_BUDGET = "CLOSE_BUDGET"
    ROTATE_KEY = "ROTATE_KEY"
    CHECKPOINT = "CHECKPOINT"
    AUDIT = "AUDIT"
    NOTE = "NOTE"
    ERASE = "ERASE"


# --- signer --------------------------------------------------------------------------------------


class Signer:
    """An Ed25519 key that signs entries and never shows itself: no repr, no pickle, no comparison."""

    __slots__ = ("_key", "key_id", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise BadParameters(f"a signer needs a seed of 32 bytes, got {len(seed)}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public)

    def sign(self, ledger_id: bytes, digest: bytes) -> bytes:
        """Ed25519 over SIGN || ledger_id || digest: a signature from one ledger means nothing in another."""
        return self._key.sign(LABEL_SIGN + ledger_id + digest)

    def __repr__(self) -> str:
        return f"Signer(key_id={self.key_id.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Signer holds a secret key and is not pickled")


def key_id_of(public: bytes) -> bytes:
    """The first 16 bytes of SHA256(public key): which key signed an entry."""
    return hashlib.sha256(public).digest()[:16]


# --- entries -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger, exactly as stored; `kind` is a string because strangers may write any."""

    seq: int
    kind: str
    body: bytes
    prev: bytes
    hash: bytes
    signature: bytes
    key_id: bytes

    @property
    def fields(self) -> Body:
        """The body, read. Raises: BadParameters when it is not canonical."""
        return decode_body(self.body)

    @property
    def head(self) -> Head:
        """The head the ledger had when this entry was its last."""
        return Head(self.seq, self.hash, self.signature)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ledger ends: the hash commits to every entry up to and including `seq`."""

    seq: int
    hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """Under which name and key a ledger's entries are signed; both stand in its GENESIS body."""

    ledger_id: bytes
    public: bytes


def entry_hash(ledger_id: bytes, seq: int, prev: bytes, kind: str, body: bytes) -> bytes:
    """SHA256(ENTRY || ledger_id || LE64(seq) || prev || SHA256(kind || 00 || body))."""
    return hash_after(ledger_id, seq, prev, content_hash(kind, body))


def content_hash(kind: str, body: bytes) -> bytes:
    """SHA256(kind || 00 || body): what an entry says, without its place."""
    return hashlib.sha256(kind.encode("utf-8") + b"\x00" + body).digest()


def hash_after(ledger_id: bytes, seq: int, prev: bytes, content: bytes) -> bytes:
    """The hash of an entry of which only the content's hash is known."""
    return hashlib.sha256(LABEL_ENTRY + ledger_id + seq.to_bytes(8, "little") + prev + content).digest()


def link(ledger_id: bytes, signer: Signer, after: Head | None, kind: Kind, body: Body) -> Entry:
    """The signed entry that says (kind, body) directly after the given head; None starts the chain."""
    seq = 0 if after is None else after.seq + 1
    prev = FIRST_PREVIOUS if after is None else after.hash
    raw = encode_body(body)
    digest = entry_hash(ledger_id, seq, prev, kind, raw)
    return Entry(seq, str(kind), raw, prev, digest, signer.sign(ledger_id, digest), signer.key_id)


def check_hash(signed: Signed, before: Head | None, entry: Entry) -> None:
    """The entry continues `before` and its hash is that of its content.

    Raises: Corrupt naming the entry.
    """
    seq = 0 if before is None else before.seq + 1
    if entry.seq != seq:
        raise Corrupt(f"entry {seq} is missing: the next one stored is {entry.seq}", seq=seq)
    if not hmac.compare_digest(entry.prev, FIRST_PREVIOUS if before is None else before.hash):
        raise Corrupt(f"entry {seq} does not continue the entry before it", seq=seq)
    require_content(signed, entry)


def require_content(signed: Signed, entry: Entry) -> None:
    """The entry's hash is that of its content.  Raises: Corrupt naming the entry."""
    digest = entry_hash(signed.ledger_id, entry.seq, entry.prev, entry.kind, entry.body)
    if not hmac.compare_digest(entry.hash, digest):
        raise Corrupt(f"entry {entry.seq} was changed: its content does not have the stored hash", seq=entry.seq)


def check_signature(signed: Signed, entry: Entry) -> None:
    """The entry's hash was signed by the ledger's key, under its key id. Raises: Corrupt naming the entry."""
    if not hmac.compare_digest(entry.key_id, key_id_of(signed.public)):
        raise Corrupt(f"entry {entry.seq} names a signer this ledger does not know", seq=entry.seq)
    require_signed(signed, entry.hash, entry.signature, entry.seq)


def require_signed(signed: Signed, digest: bytes, signature: bytes, seq: int | None = None) -> None:
    """The ledger's key signed this digest in this ledger.  Raises: Corrupt, naming the entry where there is one."""
    try:
        _public_key(signed.public).verify(signature, LABEL_SIGN + signed.ledger_id + digest)
    except (InvalidSignature, ValueError) as wrong:
        raise Corrupt(f"entry {seq} is not signed by this ledger's key", seq=seq) from wrong


@lru_cache(maxsize=64)
def _public_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def witness_statement(ledger_id: bytes, head: Head) -> bytes:
    """What somebody else signs to have seen this head: WITNESS || ledger_id || LE64(seq) || hash."""
    return LABEL_WITNESS + ledger_id + head.seq.to_bytes(8, "little") + head.hash


def check_witness(ledger_id: bytes, head: Head, party: bytes, signature: bytes) -> None:
    """The party, an Ed25519 public key of 32 bytes, signed that it has seen this head.  Raises: BadParameters."""
    try:
        _public_key(party).verify(signature, witness_statement(ledger_id, head))
    except (InvalidSignature, ValueError) as wrong:
        raise BadParameters(f"party {party.hex()[:16]} did not sign the head at entry {head.seq}") from wrong


def signed_by(genesis: Entry) -> Signed:
    """Who signs this ledger, as its first entry says. Raises: Corrupt when entry 0 cannot say so."""
    try:
        body = decode_body(genesis.body)
        signed = Signed(bytes_of(body, "ledger_id", LEDGER_ID_BYTES), bytes_of(body, "signer", 32))
    except BadParameters as wrong:
        raise Corrupt(f"entry 0 is no GENESIS: {wrong}", seq=0) from wrong
    if genesis.seq != 0 or genesis.kind != Kind.GENESIS:
        raise Corrupt(f"the first entry stored is {genesis.seq} of kind {genesis.kind[:20]}", seq=0)
    return signed
