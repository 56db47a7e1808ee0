"""The head of a privacy ledger as a round names it, and what a client remembers of the heads it accepted.

    server    Ledger.head -> LedgerHead -> Agreement -> the context, in every mask and signature of the round
    client    does it go on from what I accepted before? -> accept -> countersign, beside the upload

Against: a server that puts an old copy of its ledger back, keeps two that tell different stories, or starts another one
for the same task, and so spends the same budget again.
Limit: a client sees the rounds it is invited to, and no entry between two heads. Of two copies that are both longer
than what it saw it cannot tell which is the right one: an auditor can, who holds countersignatures of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.errors import SERVER_ID, BadPlan, LedgerRolledBack
from protocols.wire import U64, Bytes16, Bytes32

NO_ID, NO_HASH = bytes(16), bytes(32)


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """Where a ledger ended before a round was charged to it: the hash commits to entries 0 to `seq`, both included.

    `NO_LEDGER` stands for a round that no ledger counts; nothing else has its id or its hash.
    Raises: BadPlan for what is no head.
    """

    ledger_id: Bytes16
    seq: U64
    hash: Bytes32

    def __post_init__(self) -> None:
        for name, value, size in (("ledger_id", self.ledger_id, len(NO_ID)), ("hash", self.hash, len(NO_HASH))):
            if not isinstance(value, bytes) or len(value) != size:
                raise BadPlan(f"the {name} of a ledger's head is {size} bytes, got {value!r}")
        if type(self.seq) is not int or not 0 <= self.seq < 1 << 64:
            raise BadPlan(f"seq is {self.seq!r}, it must be an integer in 0..2^64 - 1")
        nameless = self.ledger_id == NO_ID
        if nameless != (self.hash == NO_HASH) or (nameless and self.seq):
            raise BadPlan("a head names a ledger, an entry and its hash, or none of them: NO_LEDGER")


NO_LEDGER = LedgerHead(NO_ID, 0, NO_HASH)


def require_onward(accepted: Mapping[bytes, LedgerHead], task: bytes, head: LedgerHead) -> None:
    """The head is later than every one accepted before of its ledger, in any task, and of the ledger this task had.

    The charge of a round is in the ledger before anybody is invited, so the next round names a later entry. Against: a
    copy from just before a charge that is put back after each round, under the same name or ever new ones.
    Of two rounds whose servers read one ledger at the same moment, a client of both refuses the second: as with any
    lost round, the next one names a later entry.
    Raises: LedgerRolledBack in the server's name.
    """
    before = accepted.get(task, NO_LEDGER)
    if before != NO_LEDGER and before.ledger_id != head.ledger_id:
        now = "to none" if head == NO_LEDGER else f"to {head.ledger_id.hex()}"
        raise LedgerRolledBack(
            SERVER_ID,
            f"charged this task to ledger {before.ledger_id.hex()} and now charges it {now}: go on with the first, or "
            "take another name for the task",
        )
    for known in accepted.values():
        if known.ledger_id == head.ledger_id != NO_ID:
            _require_later(known, head)


def _require_later(known: LedgerHead, head: LedgerHead) -> None:
    if head.seq < known.seq:
        raise LedgerRolledBack(
            SERVER_ID, f"shows a ledger that ends at entry {head.seq} and went on to {known.seq} before: it was cut"
        )
    if head.seq == known.seq and head.hash != known.hash:
        raise LedgerRolledBack(
            SERVER_ID, f"shows another entry {head.seq} of its ledger than before: there are two that differ"
        )
    if head == known:
        raise LedgerRolledBack(
            SERVER_ID, f"shows a ledger that still ends at entry {head.seq}: the round before is not charged in it"
        )


def forgets(later: Mapping[bytes, LedgerHead], earlier: Mapping[bytes, LedgerHead]) -> bool:
    """Whether `later` knows less than `earlier` of some task's ledger, or knows another one."""
    return any(
        task not in later or later[task].ledger_id != head.ledger_id or later[task].seq < head.seq
        for task, head in earlier.items()
    )
