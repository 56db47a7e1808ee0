"""The server of an encrypted round: it adds residues, and asks t holders to open what it added.

    Unopened -Begin-> Summing -Ciphertext*-> Opening -Partial*-> Closed
                                             Opening, at its deadline or when rubbish was opened -> Opening by others

It never has a key, loads no ciphertext library, and allocates nothing for a length that is not the one legal length.
Memory: two sums, and the second half of every upload until the holders have it: they add for themselves.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from protocols.ckks import epoch as names
from protocols.ckks.messages import Certificate, Ciphertext, Contribution, EncryptedSum, OpenEncrypted, Partial
from protocols.ckks.vector import Shape, aggregate_of
from protocols.errors import (
    ImplausibleSum,
    Misused,
    ShapeMismatch,
    TooFewClients,
    TooFewMembers,
    ViewMismatch,
    blame,
)
from protocols.messages import Result, digest_of
from protocols.party import APP, Blame, Envelope, PartyId, Role, Step, Wait
from protocols.plan import Agreement, ContextBytes, context_of
from protocols.verifying import Verifier
from protocols.wire import U32, Payload, Supplied, Vector
from secagg.ckks.cipher import Opened, add_into, check_opened, open_exact
from secagg.ckks.plan import CkksPlan, Mode
from secagg.ckks.share import combine
from secagg.ckks.wire import packed_bytes, unpack
from secagg.errors import BadCiphertext as Rubbish
from secagg.negacyclic import N, Residues

server = Role("ckks server", Blame.EXCLUDE)

# The halves that holders add up for themselves, all together.
MOST_HALVES_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """Identities of the clients, and who the holders are; given again after a restart."""

    identities: Mapping[PartyId, bytes]
    holders: tuple[PartyId, ...]
    verify: Verifier


Supply = Annotated[Known, Supplied]


@dataclass(frozen=True, slots=True)
class Begin:
    """APP -> server: open this round for these clients, under this key."""

    agreement: Agreement
    certificate: Certificate
    invited: tuple[PartyId, ...]


@dataclass(frozen=True, slots=True)
class Unopened:
    """Before the round."""

    known: Supply


@dataclass(frozen=True, slots=True)
class Arrived:
    """One upload that is in the sum: its digests and signature, and the half that holders will want."""

    contribution: Contribution
    half: Payload


@dataclass(frozen=True, slots=True)
class Summing:
    """Uploads arrive and are added into the two sums."""

    known: Supply
    agreement: Agreement
    certificate: Certificate
    context: ContextBytes
    invited: frozenset[PartyId]
    sum0: Vector
    sum1: Vector
    arrived: dict[PartyId, Arrived]


@dataclass(frozen=True, slots=True)
class Opening:
    """t holders answer. `left_out` are those who did not, and one of each of the `spoilt` sets that opened rubbish."""

    known: Supply
    summed: Summing
    openers: tuple[U32, ...]
    question: bytes
    spoilt: U32
    left_out: frozenset[U32]
    arrived: dict[PartyId, bytes]

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.known.holders[place - 1] for place in self.openers)


@dataclass(frozen=True, slots=True)
class Closed:
    """The sum was opened and handed to the application; nothing is kept."""


def wait(room: type, agreement: Agreement) -> Envelope:
    return Envelope((APP,), Wait(room.__name__, agreement.plan.patience_seconds))


def plan_of(room: Summing) -> CkksPlan:
    return room.certificate.epoch.plan


def check_invited(identities: Mapping[PartyId, bytes], agreement: Agreement, invited: Set[PartyId]) -> None:
    """Raises: Misused for clients that are not known, or too few or too many of them."""
    strangers = sorted(invited - set(identities))
    if strangers:
        raise Misused(f"clients {strangers} are invited but their identities are not known: register them first")
    if not agreement.plan.min_cohort <= len(invited) <= agreement.plan.max_clients:
        raise Misused(
            f"{len(invited)} clients are invited; the plan allows "
            f"{agreement.plan.min_cohort}..{agreement.plan.max_clients}"
        )


def check_begin(known: Known, message: Begin, mode: Mode) -> None:
    """Raises: Misused for a round that cannot be, before anybody is asked."""
    agreement, certificate = message.agreement, message.certificate
    if certificate.epoch.plan.keys.mode is not mode:
        raise Misused(f"a key of mode {certificate.epoch.plan.keys.mode.value} is for the server of that mode")
    check_invited(known.identities, agreement, frozenset(message.invited))
    if not hmac.compare_digest(agreement.key, certificate.digest):
        raise Misused("the agreement names another key than the certificate given")
    if len(known.holders) != len(certificate.epoch.holders):
        raise Misused(f"{len(known.holders)} parties are known as holders of a key of {len(certificate.epoch.holders)}")
    plan = certificate.epoch.plan
    if Shape.of(agreement, plan.keys).plan != plan:
        raise Misused("this key was made for another plan: make one for this round's clients, length and bits")


@server.on(Unopened, Begin)
def start(state: Unopened, sender: PartyId, message: Begin) -> Step:
    check_begin(state.known, message, Mode.THRESHOLD)
    agreement, certificate, invited = message.agreement, message.certificate, frozenset(message.invited)
    plan = certificate.epoch.plan
    halves = packed_bytes(plan.blocks * N, plan.width1) * len(invited)
    if halves > MOST_HALVES_BYTES:
        raise Misused(
            f"{len(invited)} uploads have second halves of {halves >> 20} MiB, more than the {MOST_HALVES_BYTES >> 20} "
            "MiB that holders add up for themselves: invite fewer clients at a time"
        )
    count = plan.blocks * N
    sums = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    room = Summing(state.known, agreement, certificate, context_of(agreement), invited, *sums, {})
    return room, [Envelope(tuple(sorted(invited)), OpenEncrypted(agreement, certificate)), wait(Summing, agreement)]


def keep_upload(room: Summing, who: PartyId, letter: Ciphertext) -> Summing:
    plan = plan_of(room)
    count = plan.blocks * N
    for half, width in ((letter.c0, plan.width0), (letter.c1, plan.width1)):
        if len(half) != packed_bytes(count, width):
            raise ShapeMismatch(who, f"sent {len(half)} bytes where {packed_bytes(count, width)} are legal")
    contribution = Contribution(who, names.digest(letter.c0), names.digest(letter.c1), letter.signature)
    with blame(who):
        room.known.verify(room.known.identities[who], text_of(room, contribution), letter.signature)
        c0, c1 = unpack(letter.c0, count, plan.width0), unpack(letter.c1, count, plan.width1)
    add_into(room.sum0, c0)
    add_into(room.sum1, c1)
    room.arrived[who] = Arrived(contribution, bytes(letter.c1))
    return room


def text_of(room: Summing, said: Contribution) -> bytes:
    return names.upload_text(room.context, room.agreement.key, said.who, said.digest0, said.digest1)


def everybody(room: Summing | Opening) -> bool:
    return len(room.arrived) == len(room.invited)


def close_summing(room: Summing) -> Step:
    need = room.agreement.plan.min_cohort
    if len(room.arrived) < need:
        raise TooFewClients(len(room.arrived), need, "Summing")
    contributions = contributions_of(room)
    question = names.question_of(room.context, room.agreement.key, [text_of(room, said) for said in contributions])
    return ask(room, question, 0, frozenset())


def contributions_of(room: Summing) -> tuple[Contribution, ...]:
    return tuple(room.arrived[who].contribution for who in sorted(room.arrived))


def ask(room: Summing, question: bytes, spoilt: int, left_out: frozenset[int]) -> Step:
    """The first t holders that are not left out are to open the sum.

    Raises, when there are not so many: ImplausibleSum where some set opened rubbish, TooFewMembers where none did.
    """
    keys = plan_of(room).keys
    able = [place for place in range(1, keys.holders + 1) if place not in left_out]
    if len(able) < keys.threshold and spoilt:
        raise ImplausibleSum(
            f"{spoilt} sets of holders opened what is no sum: an upload or an answer of theirs is rubbish, discard it"
        )
    if len(able) < keys.threshold:
        silent = tuple(room.known.holders[place - 1] for place in sorted(left_out))
        raise TooFewMembers(len(able), keys.threshold, "Opening", silent)
    openers = tuple(able[: keys.threshold])
    halves = tuple(room.arrived[who].half for who in sorted(room.arrived))
    letter = EncryptedSum(room.context, openers, contributions_of(room), halves)
    opening = Opening(room.known, room, openers, question, spoilt, left_out, {})
    return opening, [Envelope(tuple(sorted(opening.invited)), letter), wait(Opening, room.agreement)]


def keep_partial(room: Opening, who: PartyId, letter: Partial) -> Opening:
    plan = plan_of(room.summed)
    width = names.partial_width(plan)
    if letter.context != room.summed.context or letter.question != room.question:
        raise ViewMismatch(who, "answers another question than it was asked")
    if len(letter.part) != packed_bytes(plan.blocks * N, width):
        raise ShapeMismatch(who, f"answers with {len(letter.part)} bytes")
    with blame(who):
        unpack(letter.part, plan.blocks * N, width)
    room.arrived[who] = bytes(letter.part)
    return room


def close_opening(room: Opening) -> Step:
    silent = room.invited - room.arrived.keys()
    if silent:
        return ask(room.summed, room.question, room.spoilt, room.left_out | places_of(room, silent))
    opened = opened_by(room)
    if not plausible(plan_of(room.summed), opened):
        # Any one of them, or all, may have lied: the sets that follow leave out the first of this one.
        return ask(room.summed, room.question, room.spoilt + 1, room.left_out | {room.openers[0]})
    return finish(room.summed, opened)


def places_of(room: Opening, parties: Set[PartyId]) -> frozenset[int]:
    return frozenset(place for place in room.openers if room.known.holders[place - 1] in parties)


def opened_by(room: Opening) -> Opened:
    plan = plan_of(room.summed)
    width, count = names.partial_width(plan), plan.blocks * N
    parts: list[Residues] = [unpack(part, count, width) for part in room.arrived.values()]
    return open_exact(plan, combine(room.summed.sum0, parts).reshape(plan.blocks, N))


def plausible(plan: CkksPlan, opened: Opened) -> bool:
    """Whether what was rounded away, and what must be zero, looks like a sum of this plan."""
    try:
        check_opened(plan, opened)
    except Rubbish:
        return False
    return True


def finish(summed: Summing, opened: Opened) -> Step:
    survivors = tuple(sorted(summed.arrived))
    aggregate = aggregate_of(summed.agreement, plan_of(summed).keys, survivors, opened.values)
    letter = Result(summed.context, digest_of(summed.context, aggregate))
    return Closed(), [Envelope((APP,), aggregate), Envelope(survivors, letter)]


server.room(Summing, Ciphertext, keep=keep_upload, complete=everybody, close=close_summing)
server.room(Opening, Partial, keep=keep_partial, complete=everybody, close=close_opening)

# A holder that was given up on answers late.
server.ignore(Closed, Partial)
