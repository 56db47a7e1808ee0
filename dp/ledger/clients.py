"""What a ledger says of one client, and how it proves to that client that it was in a round.

    proof of a round  =  opening  ->  Merkle path  ->  root in the entry  ->  hashes of the entries after it  ->  head

The head is one the client has seen or signed, so the key holder cannot make up another round for each asker. That a
pseudonym is this client's the key holder alone knows; it is the same in every proof, so clients that compare theirs
find out whether two were told the same.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from dp.accountant import Interval
from dp.canonical import Body, Value, bytes_of, decode_body, integer_of, object_of, require_keys, text_of
from dp.errors import BadParameters, Corrupt, Erased
from dp.ledger.chain import LEDGER_ID_BYTES, Entry, Head, Kind, content_hash, hash_after
from dp.ledger.cohorts import PSEUDONYM_BYTES, Opening
from dp.ledger.merkle import SALT_BYTES, Side, Step, is_at, leaf_hash, path_of
from dp.ledger.records import Named

# From an entry to the head: 32 bytes each, 64 MB at most.
LONGEST_WAY = 2**21
# Of a cohort of 2^64.
MOST_STEPS = 64


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """One client under its pseudonym: the reservations it was invited to and not given back, those it survived, and
    for each budget charged with it what it has spent and what is left to it.

    `survived` is None where a round it was invited to was committed without naming its survivors. `spent` is towards
    the aggregator, who knows the cohorts, by the rounds the client was in; rounds whose openings were erased count too.
    `remaining` is its own under a limit for each client, and the budget's under one for everyone.
    """

    pseudonym: bytes
    invited: tuple[int, ...]
    survived: tuple[int, ...] | None
    spent: tuple[tuple[int, Interval], ...]
    remaining: tuple[tuple[int, Fraction], ...]


@dataclass(frozen=True, slots=True)
class MerkleProof:
    """That a pseudonym is at one place of the cohort which one entry names, and that the entry is under a head.

    `kind`, `prev` and `body` are those of the entry; `after` the content hashes of the entries that follow it.
    """

    ledger_id: bytes
    seq: int
    kind: str
    prev: bytes
    body: bytes
    position: int
    pseudonym: bytes
    salt: bytes = field(repr=False)
    path: tuple[Step, ...]
    after: tuple[bytes, ...]

    def to_body(self) -> Body:
        """To be handed to the client: integers, texts and hex."""
        return {
            "ledger_id": self.ledger_id.hex(),
            "seq": self.seq,
            "kind": self.kind,
            "prev": self.prev.hex(),
            "body": self.body.decode("utf-8"),
            "position": self.position,
            "pseudonym": self.pseudonym.hex(),
            "salt": self.salt.hex(),
            "path": [{"side": step.side.value, "hash": step.hash.hex()} for step in self.path],
            "after": [content.hex() for content in self.after],
        }

    @classmethod
    def from_body(cls, body: Body) -> MerkleProof:
        """The inverse of `to_body`, of bytes by a stranger: read is not yet believed.  Raises: BadParameters."""
        keys = ("ledger_id", "seq", "kind", "prev", "body", "position", "pseudonym", "salt", "path", "after")
        require_keys(body, *keys)
        return cls(
            bytes_of(body, "ledger_id", LEDGER_ID_BYTES),
            integer_of(body, "seq"),
            text_of(body, "kind"),
            bytes_of(body, "prev", 32),
            _utf8(text_of(body, "body")),
            integer_of(body, "position"),
            bytes_of(body, "pseudonym", PSEUDONYM_BYTES),
            bytes_of(body, "salt", SALT_BYTES),
            tuple(_step(step) for step in _list_of(body, "path", MOST_STEPS)),
            tuple(bytes_of({"hash": content}, "hash", 32) for content in _list_of(body, "after", LONGEST_WAY)),
        )


def check_proof(proof: MerkleProof, head: Head) -> None:
    """The pseudonym was in the cohort of the proof's entry, and a ledger with this head holds that entry.

    Raises: Corrupt where it does not follow; BadParameters for a head before the entry or after the proof's end.
    """
    if proof.kind not in (Kind.RESERVE, Kind.COMMIT) or not 0 <= proof.seq < 2**63:
        raise Corrupt(f"the proof is none: entry {proof.seq} of kind {proof.kind[:20]!r} names nobody in any ledger")
    if not 0 <= head.seq - proof.seq <= len(proof.after):
        raise BadParameters(
            f"the proof leads from entry {proof.seq} to {proof.seq + len(proof.after)}, not to a head at {head.seq}; "
            "ask for a newer one"
        )
    at = hash_after(proof.ledger_id, proof.seq, proof.prev, content_hash(proof.kind, proof.body))
    for number, content in enumerate(proof.after[: head.seq - proof.seq], start=proof.seq + 1):
        at = hash_after(proof.ledger_id, number, at, content)
    if not hmac.compare_digest(at, head.hash):
        raise Corrupt(f"entry {proof.seq} of the proof is not in the ledger with this head", seq=proof.seq)
    try:
        root, size = _named_by(proof.kind, decode_body(proof.body))
        leaf = leaf_hash(proof.salt, proof.pseudonym)
        inside = is_at(root, leaf, proof.position, size, proof.path)
    except BadParameters as wrong:
        raise Corrupt(f"the proof of entry {proof.seq} is none: {wrong}", seq=proof.seq) from wrong
    if not inside:
        raise Corrupt(f"the path does not lead to the cohort that entry {proof.seq} names", seq=proof.seq)


def make_proof(
    ledger_id: bytes, entries: Iterable[Entry], named: Named, openings: Sequence[Opening], pseudonym: bytes
) -> MerkleProof:
    """The proof for one pseudonym; `entries` are the one that names the cohort and all that follow it.

    Raises: Erased when its opening may be one that was erased; BadParameters when it is not in the cohort, or the way
        to the head is longer than LONGEST_WAY.
    """
    at = next((each for each in openings if not each.is_erased and each.pseudonym == pseudonym), None)
    if at is None and any(each.is_erased for each in openings):
        raise Erased(f"openings of entry {named.seq} were erased, and this client's may be one of them", seq=named.seq)
    if at is None:
        raise BadParameters(f"entry {named.seq} does not name this client")
    found = iter(entries)
    entry = next(found)
    after: list[bytes] = []
    for each in found:
        if len(after) == LONGEST_WAY:
            raise BadParameters(f"more than {LONGEST_WAY} entries follow entry {named.seq}; no proof is that long")
        after.append(content_hash(each.kind, each.body))
    path = path_of([each.leaf for each in openings], at.position)
    return MerkleProof(
        ledger_id, entry.seq, entry.kind, entry.prev, entry.body, at.position, pseudonym, at.salt, path, tuple(after)
    )


def _list_of(body: Body, key: str, most: int) -> Sequence[Value]:
    values = body[key]
    if not isinstance(values, list) or len(values) > most:
        raise BadParameters(f"the proof's {key!r} must be a list of at most {most}")
    return values


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as wrong:
        raise BadParameters("the proof's body is not valid Unicode") from wrong


def _step(value: Value) -> Step:
    if not isinstance(value, dict):
        raise BadParameters("a step of the proof's path must be an object")
    require_keys(value, "side", "hash")
    try:
        return Step(Side(text_of(value, "side")), bytes_of(value, "hash", 32))
    except ValueError as unknown:
        raise BadParameters(f"unknown side of a path: {unknown}") from unknown


def _named_by(kind: str, body: Body) -> tuple[bytes, int]:
    """Root and size of the cohort a RESERVE names, those invited, or a COMMIT, the survivors."""
    if kind == Kind.RESERVE:
        return bytes_of(body, "members", 32), integer_of(object_of(body, "charge"), "cohort")
    return bytes_of(body, "named", 32), integer_of(body, "survivors")
