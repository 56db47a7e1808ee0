"""The server of a round whose key the clients share: it adds first halves, and opens nothing.

    Unopened -Begin-> Summing -SeededCiphertext*-> Closed, and the sum to those who are in it

It has no key and learns no sum: clients open for themselves. Two uploads with the same public bytes would be open to
it by their difference, so the second is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from protocols.ckks import epoch as names
from protocols.ckks.messages import Contribution
from protocols.ckks.seeded import KEYS
from protocols.ckks.seeded_messages import OpenSeeded, SeededCiphertext, SeededSum
from protocols.ckks.vector import Shape
from protocols.errors import Duplicate, ShapeMismatch, TooFewClients, blame
from protocols.invitation import check_invited
from protocols.messages import Who
from protocols.party import APP, Blame, Envelope, PartyId, Role, Step, Wait
from protocols.plan import Agreement, ContextBytes, context_of
from protocols.verifying import Verifier
from protocols.wire import Bytes32, Supplied, Vector
from secagg.ckks.cipher import add_planes_into
from secagg.ckks.plan import CkksPlan
from secagg.ckks.wire import check_planes, pack_into, packed_bytes
from secagg.negacyclic import N

seeded_server = Role("ckks seeded server", Blame.EXCLUDE)


@dataclass(frozen=True, slots=True)
class Known:
    """Identities of the clients; given again after a restart."""

    identities: Mapping[PartyId, bytes]
    verify: Verifier


Supply = Annotated[Known, Supplied]


@dataclass(frozen=True, slots=True)
class Begin:
    """APP -> server: open this round for these clients. The agreement names the key that they share."""

    agreement: Agreement
    invited: tuple[PartyId, ...]


@dataclass(frozen=True, slots=True)
class HandedOut:
    """Server -> APP: these clients have what opens to the sum over all of them."""

    survivors: tuple[Who, ...]


@dataclass(frozen=True, slots=True)
class Unopened:
    """Before the round."""

    known: Supply


@dataclass(frozen=True, slots=True)
class Arrived:
    """One upload that is in the sum: what was signed, and what its second half is expanded from."""

    contribution: Contribution
    public: Bytes32


@dataclass(frozen=True, slots=True)
class Summing:
    """Uploads arrive, and their first halves are added."""

    known: Supply
    agreement: Agreement
    plan: CkksPlan
    context: ContextBytes
    invited: frozenset[PartyId]
    sum0: Vector
    arrived: dict[PartyId, Arrived]


@dataclass(frozen=True, slots=True)
class Closed:
    """The sum was handed out; nothing is kept."""


@seeded_server.on(Unopened, Begin)
def start(state: Unopened, sender: PartyId, message: Begin) -> Step:
    agreement, invited = message.agreement, frozenset(message.invited)
    check_invited(state.known.identities, agreement.plan, invited)
    plan = Shape.of(agreement, KEYS).plan
    total = np.zeros(plan.blocks * N, np.uint64)
    room = Summing(state.known, agreement, plan, context_of(agreement), invited, total, {})
    wait = Wait(Summing.__name__, agreement.plan.patience_seconds)
    return room, [Envelope(tuple(sorted(invited)), OpenSeeded(agreement)), Envelope((APP,), wait)]


def keep_upload(room: Summing, who: PartyId, letter: SeededCiphertext) -> Summing:
    count, width = room.plan.blocks * N, room.plan.width0
    if len(letter.c0) != packed_bytes(count, width):
        raise ShapeMismatch(who, f"sent {len(letter.c0)} bytes where {packed_bytes(count, width)} are legal")
    if letter.public in {other.public for other in room.arrived.values()}:
        raise Duplicate(who, "encrypts under public bytes that another upload of this round was encrypted under")
    said = Contribution(who, names.digest(letter.c0), names.digest(letter.public), letter.signature)
    text = names.upload_text(room.context, room.agreement.key, who, said.digest0, said.digest1)
    with blame(who):
        room.known.verify(room.known.identities[who], text, letter.signature)
        check_planes(letter.c0, count, width)
    add_planes_into(room.sum0, letter.c0, count, width)
    room.arrived[who] = Arrived(said, letter.public)
    return room


def everybody(room: Summing) -> bool:
    return len(room.arrived) == len(room.invited)


def close_summing(room: Summing) -> Step:
    need = room.agreement.plan.min_cohort
    if len(room.arrived) < need:
        raise TooFewClients(len(room.arrived), need, "Summing")
    survivors = tuple(sorted(room.arrived))
    kept = [room.arrived[who] for who in survivors]
    packed = bytearray(packed_bytes(room.sum0.size, names.WIDTH))
    pack_into(packed, room.sum0, names.WIDTH)
    contributions, publics = tuple(each.contribution for each in kept), tuple(each.public for each in kept)
    letter = SeededSum(room.context, contributions, publics, packed)
    return Closed(), [Envelope(survivors, letter), Envelope((APP,), HandedOut(survivors))]


seeded_server.room(Summing, SeededCiphertext, keep=keep_upload, complete=everybody, close=close_summing)
