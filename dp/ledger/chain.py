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
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NoReturn, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dp.errors import BadParameters, Corrupt

LABEL_ENTRY = b"secagg/v1/ledger/entry"
LABEL_SIGN = b"secagg/v1/ledger/sign"

FIRST_PREVIOUS = bytes(32)
MAX_BODY_BYTES = 64 * 1024
LEDGER_ID_BYTES = 16
# Far above any lattice variance, far below the length at which Python's own conversion to text is refused.
MAX_INTEGER_BITS = 4096
MAX_DEPTH = 200

Value: TypeAlias = "str | int | Sequence[Value] | Mapping[str, Value]"
Body: TypeAlias = "Mapping[str, Value]"


class Kind(StrEnum):
    """What an entry says. A kind is never renamed or given another meaning; new ones are added."""

    GENESIS = "GENESIS"
    OPEN_BUDGET = "OPEN_BUDGET"
    RESERVE = "RESERVE"
    COMMIT = "COMMIT"
    ABORT = "ABORT"
    SETTLE = "SETTLE"
    CLOSE_BUDGET = "CLOSE_BUDGET"
    NOTE = "NOTE"


# --- canonical bodies ----------------------------------------------------------------------------


def encode_body(body: Body) -> bytes:
    """Body as its one JSON text: UTF-8, keys sorted, no spaces; only strings, integers, lists, objects.

    Raises: BadParameters for a float (0.1 has no exact value to sign), a truth value, None, bytes, an
        integer above MAX_INTEGER_BITS, a lone surrogate, more than MAX_DEPTH levels, or a text above
        MAX_BODY_BYTES.
    """
    _require_canonical(body, MAX_DEPTH)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as wrong:
        raise BadParameters("a string in a ledger body is not valid Unicode; repair the name") from wrong
    if len(raw) > MAX_BODY_BYTES:
        raise BadParameters(f"ledger body has {len(raw)} bytes, at most {MAX_BODY_BYTES} are allowed")
    return raw


def decode_body(raw: bytes) -> dict[str, Value]:
    """The inverse of `encode_body`; any other spelling of the same content is refused.

    Raises: BadParameters when raw is not the canonical text of an object.
    """
    if len(raw) > MAX_BODY_BYTES:
        raise BadParameters(f"ledger body has {len(raw)} bytes, at most {MAX_BODY_BYTES} are allowed")
    try:
        body = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_distinct_keys,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as wrong:
        raise BadParameters(f"ledger body is not JSON ({type(wrong).__name__})") from wrong
    if not isinstance(body, dict):
        raise BadParameters("ledger body is not a JSON object")
    if not hmac.compare_digest(encode_body(body), raw):
        raise BadParameters("ledger body is not in canonical form (key order, spaces or escapes)")
    return body


def _require_canonical(value: object, depth: int) -> None:
    if depth == 0:
        raise BadParameters(f"a ledger body nests more than {MAX_DEPTH} deep")
    # Exact types: a bool is an int to isinstance, and a subclass may print itself in its own way.
    kind = type(value)
    if kind is str:
        return
    if isinstance(value, int) and kind is int:
        if value.bit_length() > MAX_INTEGER_BITS:
            raise BadParameters(f"a ledger body holds an integer of more than {MAX_INTEGER_BITS} bits")
    elif isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise BadParameters(f"a ledger body has the key {key!r}; keys are strings")
            _require_canonical(item, depth - 1)
    elif isinstance(value, list | tuple) and kind in (list, tuple):
        for item in value:
            _require_canonical(item, depth - 1)
    else:
        raise BadParameters(f"a ledger body holds a {kind.__name__}; write integers, strings, or rationals as 'p/q'")


def _distinct_keys(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise BadParameters("a ledger body names a key twice")
    return body


def _refuse_number(text: str) -> NoReturn:
    raise BadParameters(f"a ledger body holds the number {text[:40]}; floats are not exact, write 'p/q'")


def encode_rational(value: Fraction) -> str:
    """ "p/q" in lowest terms with q > 0; integers keep their "/1" so that every rational looks alike."""
    return f"{value.numerator}/{value.denominator}"


_RATIONAL = re.compile(r"(0|-?[1-9][0-9]{0,1300})/([1-9][0-9]{0,1300})", re.ASCII)


def decode_rational(text: Value) -> Fraction:
    """The inverse of `encode_rational`. Raises: BadParameters for "2/4", "1/0", "-0/1", "1" and the like."""
    found = _RATIONAL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise BadParameters(f"{str(text)[:60]!r} is not a rational 'p/q'")
    numerator, denominator = int(found[1]), int(found[2])
    if math.gcd(numerator, denominator) != 1:
        raise BadParameters(f"rational {str(text)[:60]!r} is not in lowest terms")
    return Fraction(numerator, denominator)


# --- fields of a decoded body --------------------------------------------------------------------


def text_of(body: Body, key: str) -> str:
    """body[key] as a string. Raises: BadParameters."""
    value = body.get(key)
    if not isinstance(value, str):
        raise BadParameters(f"ledger body lacks the string {key!r}")
    return value


def integer_of(body: Body, key: str) -> int:
    """body[key] as an integer. Raises: BadParameters."""
    value = body.get(key)
    if not isinstance(value, int):
        raise BadParameters(f"ledger body lacks the integer {key!r}")
    return value


def bytes_of(body: Body, key: str, length: int) -> bytes:
    """body[key], lowercase hex of exactly `length` bytes. Raises: BadParameters."""
    text = text_of(body, key)
    if re.fullmatch(rf"[0-9a-f]{{{2 * length}}}", text, re.ASCII) is None:
        raise BadParameters(f"ledger body field {key!r} is not {length} bytes of lowercase hex")
    return bytes.fromhex(text)


def object_of(body: Body, key: str) -> Body:
    """body[key] as an object. Raises: BadParameters."""
    value = body.get(key)
    if not isinstance(value, dict):
        raise BadParameters(f"ledger body lacks the object {key!r}")
    return value


def require_keys(body: Body, *keys: str) -> None:
    """Refuses a body with a key too many or too few. Raises: BadParameters."""
    if set(body) != set(keys):
        raise BadParameters(f"ledger body has the keys {sorted(body)}, expected {sorted(keys)}")


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
    content = hashlib.sha256(kind.encode("utf-8") + b"\x00" + body).digest()
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
    digest = entry_hash(signed.ledger_id, seq, entry.prev, entry.kind, entry.body)
    if not hmac.compare_digest(entry.hash, digest):
        raise Corrupt(f"entry {seq} was changed: its content does not have the stored hash", seq=seq)


def check_signature(signed: Signed, entry: Entry) -> None:
    """The entry's hash was signed by the ledger's key, under its key id. Raises: Corrupt naming the entry."""
    if not hmac.compare_digest(entry.key_id, key_id_of(signed.public)):
        raise Corrupt(f"entry {entry.seq} names a signer this ledger does not know", seq=entry.seq)
    try:
        key = Ed25519PublicKey.from_public_bytes(signed.public)
        key.verify(entry.signature, LABEL_SIGN + signed.ledger_id + entry.hash)
    except (InvalidSignature, ValueError) as wrong:
        raise Corrupt(f"entry {entry.seq} is not signed by this ledger's key", seq=entry.seq) from wrong


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
