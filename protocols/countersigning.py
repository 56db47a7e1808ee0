"""Clients vouch for the ledger of the server that invites them: each signs the head it was shown.

    server    head_of(ledger) -> Task -> Agreement
    client    countersign -> Countersignature, beside the upload          server    check -> keep -> Ledger.witness

A countersignature says that this head was shown to this client, and nothing of what is in the ledger. It is evidence
and no condition: a round goes on without it. Whoever later cuts or rewrites the ledger behind that head is contradicted
by somebody whose key the server does not have.
"""

from __future__ import annotations

from collections.abc import Callable

from dp.ledger import Head, Ledger
from dp.ledger.chain import signed_by, witness_statement
from protocols.errors import ViewMismatch, blame
from protocols.heads import NO_LEDGER, LedgerHead
from protocols.messages import Countersignature
from protocols.party import PartyId
from secagg.keys import verify


def head_of(ledger: Ledger | None) -> LedgerHead:
    """Where this ledger ends now, for `Task(ledger_head=...)`; NO_LEDGER where there is none.

    Raises: dp.errors.LedgerError when the ledger cannot be read or believed.
    """
    if ledger is None:
        return NO_LEDGER
    head = ledger.head()
    return LedgerHead(signed_by(next(ledger.entries())).ledger_id, head.seq, head.hash)


def countersign(head: LedgerHead, sign: Callable[[bytes], bytes]) -> Countersignature:
    """What a client says beside its upload."""
    return Countersignature(head.seq, head.hash, sign(_statement_of(head)))


def check(letter: Countersignature, head: LedgerHead, who: PartyId, identity: bytes) -> None:
    """The letter is this client's signature over the head that the round names.

    Raises: ViewMismatch for another head; BadSignature; both in the client's name.
    """
    if (letter.seq, letter.hash) != (head.seq, head.hash):
        raise ViewMismatch(who, f"countersigns entry {letter.seq} of a ledger, and this round names {head.seq}")
    with blame(who):
        verify(identity, _statement_of(head), letter.signature)


def _statement_of(head: LedgerHead) -> bytes:
    return witness_statement(head.ledger_id, Head(head.seq, head.hash, b""))
