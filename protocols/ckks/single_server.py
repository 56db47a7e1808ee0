"""The server of rounds with one decryptor: it keeps uploads until the decryptor has them, and adds nothing itself.

    key     Idle -Make-> Asking -Certificate-> Certified                  one party makes it, and signs it
    round   Unopened -Begin-> Gathering -Ciphertext*-> Decrypting -Decrypted-> Closed

The decryptor adds up for itself what clients signed, so no sum of this server's would be of use to it. Memory: both
halves of every upload. That the decryptor says what it opened is its word alone; the sum's checksum is tested.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated

from protocols.ckks import epoch as names
from protocols.ckks.binding import MOST_HALVES_BYTES
from protocols.ckks.keys import Certified, Company, Idle, Made, Make
from protocols.ckks.messages import Certificate, Ciphertext, Contribution, Invite, OpenEncrypted
from protocols.ckks.server import Begin, Known, Unopened, check_begin
from protocols.ckks.single_messages import Decrypted, WholeSum, sums_bytes, sums_from_bytes
from protocols.ckks.vector import aggregate_of
from protocols.errors import (
    BadPlan,
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
from protocols.wire import Bytes32, Payload, Supplied
from secagg.ckks.plan import CkksPlan, Mode
from secagg.ckks.wire import check_planes, packed_bytes
from secagg.negacyclic import N

single_keymaker = Role("ckks single key maker", Blame.EXCLUDE)
single_server = Role("ckks single server", Blame.EXCLUDE)

Supply = Annotated[Known, Supplied]


@dataclass(frozen=True, slots=True)
class Asking:
    """The decryptor makes its key."""

    company: Company
    arrived: dict[PartyId, Certificate]

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.company.holders)


@dataclass(frozen=True, slots=True)
class Arrived:
    """One upload that the decryptor will add, both halves of it."""

    contribution: Contribution
    first: Payload
    second: Payload


@dataclass(frozen=True, slots=True)
class Gathering:
    """Uploads arrive and are kept."""

    known: Supply
    agreement: Agreement
    certificate: Certificate
    context: ContextBytes
    invited: frozenset[PartyId]
    arrived: dict[PartyId, Arrived]

    @property
    def plan(self) -> CkksPlan:
        return self.certificate.epoch.plan


@dataclass(frozen=True, slots=True)
class Decrypting:
    """The decryptor opens the sum over these clients."""

    known: Supply
    agreement: Agreement
    plan: CkksPlan
    context: ContextBytes
    question: Bytes32
    survivors: tuple[PartyId, ...]
    arrived: dict[PartyId, Decrypted]

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.known.holders)


@dataclass(frozen=True, slots=True)
class Closed:
    """The sum was opened and handed to the application; nothing is kept."""


def everybody(room: Asking | Gathering | Decrypting) -> bool:
    return len(room.arrived) == len(room.invited)


def wait(room: type, patience_seconds: int) -> Envelope:
    return Envelope((APP,), Wait(room.__name__, patience_seconds))


@single_keymaker.on(Idle, Make)
def ask_for_key(state: Idle, sender: PartyId, message: Make) -> Step:
    epoch = message.epoch
    if epoch.plan.keys.mode is not Mode.SINGLE:
        raise Misused(f"mode {epoch.plan.keys.mode.value} has no decryptor who makes the key alone")
    if len(message.holders) != len(epoch.holders):
        raise Misused(f"{len(message.holders)} parties for one decryptor")
    company = Company(state.known, epoch, epoch.context, message.holders, message.patience_seconds)
    return Asking(company, {}), [Envelope(message.holders, Invite(epoch)), wait(Asking, company.patience_seconds)]


def keep_certificate(room: Asking, who: PartyId, letter: Certificate) -> Asking:
    if letter.epoch != room.company.epoch:
        raise ViewMismatch(who, "certifies another key than it was asked for")
    letter.check(room.company.known.verify, who)
    room.arrived[who] = letter
    return room


def close_asking(room: Asking) -> Step:
    [decryptor] = room.company.holders
    if decryptor not in room.arrived:
        raise TooFewMembers(0, 1, "Asking", (decryptor,))
    certificate = room.arrived[decryptor]
    return Certified(certificate), [Envelope((APP,), Made(certificate))]


def check_halves(plan: CkksPlan, clients: int) -> None:
    """Raises: BadPlan for more than a decryptor adds up for itself."""
    halves = (plan.width0 + plan.width1) * plan.blocks * N * clients
    if halves > MOST_HALVES_BYTES:
        raise BadPlan(
            f"{clients} uploads take {halves >> 20} MiB, more than the {MOST_HALVES_BYTES >> 20} MiB that a "
            "decryptor adds up for itself: invite fewer clients at a time"
        )


@single_server.on(Unopened, Begin)
def start(state: Unopened, sender: PartyId, message: Begin) -> Step:
    check_begin(state.known, message, Mode.SINGLE)
    agreement, certificate, invited = message.agreement, message.certificate, frozenset(message.invited)
    plan = certificate.epoch.plan
    check_halves(plan, len(invited))
    room = Gathering(state.known, agreement, certificate, context_of(agreement), invited, {})
    letter = Envelope(tuple(sorted(invited)), OpenEncrypted(agreement, certificate))
    return room, [letter, wait(Gathering, agreement.plan.patience_seconds)]


def keep_upload(room: Gathering, who: PartyId, letter: Ciphertext) -> Gathering:
    """Every residue is looked at here, so that one client's bytes never spoil what the decryptor is sent."""
    plan, count = room.plan, room.plan.blocks * N
    halves = ((letter.c0, plan.width0), (letter.c1, plan.width1))
    for half, width in halves:
        if len(half) != packed_bytes(count, width):
            raise ShapeMismatch(who, f"sent {len(half)} bytes where {packed_bytes(count, width)} are legal")
    said = Contribution(who, names.digest(letter.c0), names.digest(letter.c1), letter.signature)
    with blame(who):
        room.known.verify(room.known.identities[who], text_of(room, said), letter.signature)
        for half, width in halves:
            check_planes(half, count, width)
    room.arrived[who] = Arrived(said, bytes(letter.c0), bytes(letter.c1))
    return room


def text_of(room: Gathering, said: Contribution) -> bytes:
    return names.upload_text(room.context, room.agreement.key, said.who, said.digest0, said.digest1)


def close_gathering(room: Gathering) -> Step:
    need = room.agreement.plan.min_cohort
    if len(room.arrived) < need:
        raise TooFewClients(len(room.arrived), need, "Gathering")
    survivors = tuple(sorted(room.arrived))
    kept = [room.arrived[who] for who in survivors]
    contributions = tuple(each.contribution for each in kept)
    question = names.question_of(room.context, room.agreement.key, [text_of(room, said) for said in contributions])
    letter = WholeSum(
        room.agreement.key,
        room.context,
        contributions,
        tuple(each.first for each in kept),
        tuple(each.second for each in kept),
    )
    decrypting = Decrypting(room.known, room.agreement, room.plan, room.context, question, survivors, {})
    out = Envelope(room.known.holders, letter)
    return decrypting, [out, wait(Decrypting, room.agreement.plan.patience_seconds)]


def keep_decrypted(room: Decrypting, who: PartyId, letter: Decrypted) -> Decrypting:
    if letter.context != room.context or letter.question != room.question:
        raise ViewMismatch(who, "answers another question than it was asked")
    if letter.sums is not None:
        if len(letter.sums) != sums_bytes(room.plan):
            raise ShapeMismatch(who, f"answers with {len(letter.sums)} bytes")
        with blame(who):
            sums_from_bytes(room.plan, letter.sums)
    room.arrived[who] = letter
    return room


def close_decrypting(room: Decrypting) -> Step:
    """Raises: TooFewMembers when the decryptor is silent; ImplausibleSum when it opened what is no sum."""
    [decryptor] = room.known.holders
    if decryptor not in room.arrived:
        raise TooFewMembers(0, 1, "Decrypting", (decryptor,))
    sums = room.arrived[decryptor].sums
    if sums is None:
        raise ImplausibleSum("the decryptor opened what is no sum: an upload is rubbish, open a new round")
    aggregate = aggregate_of(room.agreement, room.plan.keys, room.survivors, sums_from_bytes(room.plan, sums))
    letter = Result(room.context, digest_of(room.context, aggregate))
    return Closed(), [Envelope((APP,), aggregate), Envelope(room.survivors, letter)]


single_keymaker.room(Asking, Certificate, keep=keep_certificate, complete=everybody, close=close_asking)
single_server.room(Gathering, Ciphertext, keep=keep_upload, complete=everybody, close=close_gathering)
single_server.room(Decrypting, Decrypted, keep=keep_decrypted, complete=everybody, close=close_decrypting)

# A decryptor that was given up on answers late.
single_server.ignore(Closed, Decrypted)
