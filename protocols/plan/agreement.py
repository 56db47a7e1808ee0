"""A plan made concrete for one round, and the public hash that every derivation of the round takes.

A client whose context differs in one bit derives other masks, so its vector cancels with nobody's
and the sum is noise: disagreement is inert before it is detected.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

from protocols import wire
from protocols.errors import BadPlan
from protocols.heads import LedgerHead
from protocols.plan.kinds import MAX_LENGTH, NOTHING
from protocols.plan.proposal import RoundPlan
from protocols.wire import U64, Bytes16, Bytes32, Exactly
from secagg.keys import Context

LABEL_CONTEXT = b"secagg/v1/context"
ContextBytes = Annotated[Context, Exactly(32)]


@dataclass(frozen=True, slots=True)
class Agreement:
    """One round of a plan: which round, of which model, for vectors of which shape.

    `length` counts the model's parameters, `layout` and `model` are digests (zero when there is
    none to agree on), `ledger_head` binds the budget's history (NO_LEDGER where none is kept), `nonce` makes attempts
    differ, `key` is the digest of the certificate of the key, or the committee, that opens the sum.
    """

    plan: RoundPlan
    round: U64
    nonce: Bytes16
    length: U64
    layout: Bytes32
    model: Bytes32
    ledger_head: LedgerHead
    key: Bytes32 = NOTHING

    def __post_init__(self) -> None:
        if not 1 <= self.length <= MAX_LENGTH:
            raise BadPlan(f"a vector of {self.length} coordinates; 1..{MAX_LENGTH} are possible")
        if not isinstance(self.ledger_head, LedgerHead):
            raise BadPlan(f"ledger_head is {self.ledger_head!r}, it must be a LedgerHead")


def context_of(agreement: Agreement) -> Context:
    """SHA-256 of the whole agreement: 32 public bytes, the salt of every derivation of the round."""
    return Context(hashlib.sha256(LABEL_CONTEXT + wire.encode(agreement)).digest())
