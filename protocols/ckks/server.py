"""The server of an encrypted round: it adds residues, and asks t holders to open what it added.

    Unopened -Begin-> Summing -Ciphertext*-> Opening -Partial*-> Closed
                                             Opening, at its deadline or when rubbish was opened -> Opening by others

It never has a key, loads no ciphertext library, and allocates nothing for a length that is not the one legal length.
Memory: one sum, and what holders are shown of second halves: each of them where they are few enough, else one sum of
their digits, of uploads whose hash is their own. A set of holders that opened rubbish is followed by others, and what
those open tells whom to suspect.
"""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from protocols.ckks import epoch as names
from protocols.ckks.binding import Binding, binding_of, hash_bytes, knapsack_of
from protocols.ckks.keys import Openers
from protocols.ckks.messages import Certificate, Ciphertext, Contribution, EncryptedSum, OpenEncrypted, Partial
from protocols.ckks.questions import MOST_RETRIES
from protocols.ckks.vector import Shape, aggregate_of
from protocols.errors import (
    BadCiphertext,
    BadShare,
    ImplausibleSum,
    Misused,
    ShapeMismatch,
    TooFewClients,
    TooFewMembers,
    ViewMismatch,
    blame,
)
from protocols.invitation import check_invited
from protocols.messages import Aggregate, Result, digest_of
from protocols.party import APP, Blame, Envelope, PartyId, Role, Step, Wait, name_of_place, name_of_type, report
from protocols.plan import Agreement, ContextBytes, context_of
from protocols.verifying import Verifier
from protocols.wire import U32, Payload, Supplied, Vector
from secagg.ckks.binding import hash_from_bytes
from secagg.ckks.cipher import Opened, add_planes_into, check_opened, open_exact
from secagg.ckks.guard import SAMPLE, exposed
from secagg.ckks.plan import CkksPlan, Keys, Mode
from secagg.ckks.share import combine
from secagg.ckks.wire import check_planes, packed_bytes, unpack
from secagg.errors import BadCiphertext as Rubbish
from secagg.negacyclic import N, Residues

server = Role("ckks server", Blame.EXCLUDE)


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
    """One upload that is in the sum: its digests and signature, and the half where holders will want it."""

    contribution: Contribution
    half: Payload


@dataclass(frozen=True, slots=True)
class Summing:
    """Uploads arrive and are added into the sum of first halves, and of second halves' digits where those are shown.

    `guarded` are the first blocks of the sum of second halves: the attack is tried on them before a sum is published.
    """

    known: Supply
    agreement: Agreement
    certificate: Certificate
    context: ContextBytes
    invited: frozenset[PartyId]
    sum0: Vector
    guarded: Vector
    digits: Vector
    arrived: dict[PartyId, Arrived]


@dataclass(frozen=True, slots=True)
class Tried:
    """Sets of holders that were asked; those of them that opened rubbish; and who was asked and stayed silent."""

    sets: tuple[Openers, ...]
    spoilt: tuple[Openers, ...]
    silent: frozenset[U32]

    @property
    def suspects(self) -> frozenset[int]:
        """Holders in every set that opened rubbish: if one alone lies, and always, it is one of them."""
        if not self.spoilt:
            return frozenset()
        return frozenset.intersection(*(frozenset(openers.members) for openers in self.spoilt))

    def able(self, keys: Keys) -> list[int]:
        """Who may be asked again: a holder refuses one set too many."""
        asked = [place for openers in self.sets for place in openers.members]
        places = range(1, keys.holders + 1)
        return [place for place in places if place not in self.silent and asked.count(place) <= MOST_RETRIES]

    def following(self, keys: Keys) -> Openers | None:
        """The next set, with as few suspects as can be, the first of them left out first."""
        able = self.able(keys)
        trusted = [place for place in able if place not in self.suspects]
        others = [place for place in reversed(able) if place in self.suspects]
        drawn = itertools.combinations([*trusted, *others], keys.threshold)
        sets = (Openers(tuple(sorted(places))) for places in drawn)
        return next((openers for openers in sets if openers not in self.sets), None)


@dataclass(frozen=True, slots=True)
class Opening:
    """The last of the sets that were tried answers."""

    known: Supply
    summed: Summing
    question: bytes
    tried: Tried
    arrived: dict[PartyId, bytes]

    @property
    def name(self) -> str:
        """Every set has a room of its own: the time of an earlier one, running out late, closes nothing."""
        return name_of_place(Opening, len(self.tried.sets))

    @property
    def openers(self) -> tuple[int, ...]:
        return self.tried.sets[-1].members

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.known.holders[place - 1] for place in self.openers)


@dataclass(frozen=True, slots=True)
class Closed:
    """The sum was opened and handed to the application; nothing is kept."""


def wait(room: str, agreement: Agreement) -> Envelope:
    return Envelope((APP,), Wait(room, agreement.plan.patience_seconds))


def plan_of(room: Summing) -> CkksPlan:
    return room.certificate.epoch.plan


def check_begin(known: Known, message: Begin, mode: Mode) -> None:
    """Raises: Misused for a round that cannot be, before anybody is asked."""
    agreement, certificate = message.agreement, message.certificate
    if certificate.epoch.plan.keys.mode is not mode:
        raise Misused(f"a key of mode {certificate.epoch.plan.keys.mode.value} is for the server of that mode")
    check_invited(known.identities, agreement.plan, frozenset(message.invited))
    if not hmac.compare_digest(agreement.key, certificate.digest):
        raise Misused("the agreement names another key than the certificate given")
    if len(known.holders) != len(certificate.epoch.holders):
        raise Misused(f"{len(known.holders)} parties are known as holders of a key of {len(certificate.epoch.holders)}")
    plan = certificate.epoch.plan
    if Shape.of(agreement, plan.keys).plan != plan:
        raise Misused("this key was made for another plan: make one for this round's clients, length and bits")
    if certificate.epoch.min_cohort != agreement.plan.min_cohort:
        raise Misused(
            f"this key is for sums over at least {certificate.epoch.min_cohort} clients, the round for others"
        )


@server.on(Unopened, Begin)
def start(state: Unopened, sender: PartyId, message: Begin) -> Step:
    check_begin(state.known, message, Mode.THRESHOLD)
    agreement, certificate, invited = message.agreement, message.certificate, frozenset(message.invited)
    plan = certificate.epoch.plan
    context = context_of(agreement)
    sum0, guarded = np.zeros(plan.blocks * N, np.uint64), np.zeros(min(plan.blocks, SAMPLE) * N, np.uint64)
    room = Summing(state.known, agreement, certificate, context, invited, sum0, guarded, no_digits(plan, context), {})
    letter = Envelope(tuple(sorted(invited)), OpenEncrypted(agreement, certificate))
    return room, [letter, wait(name_of_type(room), agreement)]


def no_digits(plan: CkksPlan, context: ContextBytes) -> Vector:
    """The digit sums of nobody, or no numbers at all where halves are shown."""
    match binding_of(plan):
        case Binding.FULL:
            return np.zeros(0, np.uint32)
        case Binding.HASHED:
            return knapsack_of(plan, context).zeros()


def keep_upload(room: Summing, who: PartyId, letter: Ciphertext) -> Summing:
    plan = plan_of(room)
    count = plan.blocks * N
    for half, width in ((letter.c0, plan.width0), (letter.c1, plan.width1)):
        if len(half) != packed_bytes(count, width):
            raise ShapeMismatch(who, f"sent {len(half)} bytes where {packed_bytes(count, width)} are legal")
    if len(letter.hash) != hash_bytes(plan):
        raise ShapeMismatch(who, f"sent {len(letter.hash)} bytes of hash where {hash_bytes(plan)} are legal")
    digests = names.digest(letter.c0), names.digest(letter.c1)
    contribution = Contribution(who, *digests, letter.signature, letter.hash)
    with blame(who):
        room.known.verify(room.known.identities[who], text_of(room, contribution), letter.signature)
        check_planes(letter.c0, count, plan.width0)
        check_planes(letter.c1, count, plan.width1)
    half = kept_half(room, who, letter)
    add_planes_into(room.sum0, letter.c0, count, plan.width0)
    add_planes_into(room.guarded, letter.c1, count, plan.width1)
    room.arrived[who] = Arrived(contribution, half)
    return room


def kept_half(room: Summing, who: PartyId, letter: Ciphertext) -> bytes:
    """The half that holders will be shown; or none, and it is added to the digit sums, if its hash is its own.

    Against: a client whose wrong hash would make holders refuse everybody's sum.
    """
    match binding_of(plan_of(room)):
        case Binding.FULL:
            return bytes(letter.c1)
        case Binding.HASHED:
            knapsack = knapsack_of(plan_of(room), room.context)
            with blame(who):
                said = hash_from_bytes(letter.hash)
            if not np.array_equal(knapsack.hash(letter.c1), said):
                raise BadCiphertext(who, "sent a hash that is not of its upload")
            knapsack.add_digits(room.digits, letter.c1)
            return b""


def text_of(room: Summing, said: Contribution) -> bytes:
    return names.upload_text(room.context, room.agreement.key, said.who, said.digest0, said.digest1, said.hash)


def everybody(room: Summing | Opening) -> bool:
    return len(room.arrived) == len(room.invited)


def close_summing(room: Summing) -> Step:
    need = room.agreement.plan.min_cohort
    if len(room.arrived) < need:
        raise TooFewClients(len(room.arrived), need, "Summing")
    contributions = contributions_of(room)
    question = names.question_of(room.context, room.agreement.key, [text_of(room, said) for said in contributions])
    return ask(room, question, Tried((), (), frozenset()))


def contributions_of(room: Summing) -> tuple[Contribution, ...]:
    return tuple(room.arrived[who].contribution for who in sorted(room.arrived))


def ask(room: Summing, question: bytes, tried: Tried) -> Step:
    """Another set of t holders is to open the sum.

    Raises, when there is none: ImplausibleSum where some set opened rubbish, TooFewMembers where none did.
    """
    keys = plan_of(room).keys
    openers = tried.following(keys)
    if openers is None and tried.spoilt:
        raise ImplausibleSum(
            f"{len(tried.spoilt)} sets of holders opened what is no sum: an upload or an answer of theirs is rubbish, "
            "discard it"
        )
    if openers is None:
        silent = tuple(room.known.holders[place - 1] for place in sorted(tried.silent))
        raise TooFewMembers(len(tried.able(keys)), keys.threshold, "Opening", silent)
    letter = EncryptedSum(room.agreement.key, room.context, openers.members, contributions_of(room), *shown(room))
    opening = Opening(room.known, room, question, replace(tried, sets=(*tried.sets, openers)), {})
    return opening, [Envelope(tuple(sorted(opening.invited)), letter), wait(opening.name, room.agreement)]


def shown(room: Summing) -> tuple[tuple[Payload, ...], bytes]:
    """What holders know the sum of second halves by: the halves themselves, or the sums of their digits."""
    match binding_of(plan_of(room)):
        case Binding.FULL:
            return tuple(room.arrived[who].half for who in sorted(room.arrived)), b""
        case Binding.HASHED:
            return (), knapsack_of(plan_of(room), room.context).to_bytes(room.digits)


def keep_partial(room: Opening, who: PartyId, letter: Partial) -> Opening:
    plan = plan_of(room.summed)
    width = names.partial_width(plan)
    if letter.context != room.summed.context or letter.question != room.question:
        raise ViewMismatch(who, "answers another question than it was asked")
    if letter.openers != room.openers:
        raise ViewMismatch(who, f"answers for holders {letter.openers}, asked are {room.openers}")
    if len(letter.part) != packed_bytes(plan.blocks * N, width):
        raise ShapeMismatch(who, f"answers with {len(letter.part)} bytes")
    with blame(who):
        check_planes(letter.part, plan.blocks * N, width)
    room.arrived[who] = bytes(letter.part)
    return room


def close_opening(room: Opening) -> Step:
    silent, tried = room.invited - room.arrived.keys(), room.tried
    if silent:
        return ask(room.summed, room.question, replace(tried, silent=tried.silent | places_of(room, silent)))
    opened = opened_by(room)
    try:
        aggregate = plausible_sum(room.summed, opened)
    except (Rubbish, ImplausibleSum):
        # Noise of another width, or a checksum that disagrees: an answer was no part of the sum, or an upload is none.
        return ask(room.summed, room.question, replace(tried, spoilt=(*tried.spoilt, tried.sets[-1])))
    closed, out = finish(room.summed, opened, aggregate)
    return closed, [*accused(room), *out]


def accused(room: Opening) -> list[Envelope]:
    """A note on each holder that was in every set which opened rubbish, and not in the one which did not.

    That it is one of them follows only if a single holder lied, and did so in every set; a holder that lies once can
    bring the one that is then left out under suspicion.
    """
    places = sorted(room.tried.suspects - set(room.openers))
    parties = [room.known.holders[place - 1] for place in places]
    who = "it" if len(parties) == 1 else f"one of {parties}"
    why = f"every set of holders with {who} opened rubbish, and the first without did not"
    return [report(BadShare(party, why)) for party in parties]


def places_of(room: Opening, parties: Set[PartyId]) -> frozenset[int]:
    return frozenset(place for place in room.openers if room.known.holders[place - 1] in parties)


def opened_by(room: Opening) -> Opened:
    plan = plan_of(room.summed)
    width, count = names.partial_width(plan), plan.blocks * N
    parts: list[Residues] = [unpack(part, count, width) for part in room.arrived.values()]
    return open_exact(plan, combine(room.summed.sum0, parts).reshape(plan.blocks, N))


def plausible_sum(summed: Summing, opened: Opened) -> Aggregate:
    """What was opened, if what was rounded away, and what must be zero or agree, looks like a sum of this plan.

    Raises: secagg.errors.BadCiphertext, ImplausibleSum.
    """
    plan = plan_of(summed)
    check_opened(plan, opened)
    return aggregate_of(summed.agreement, plan.keys, tuple(sorted(summed.arrived)), opened.values)


def finish(summed: Summing, opened: Opened, aggregate: Aggregate) -> Step:
    """Raises: ImplausibleSum, and nothing is published, where what would be published gives the key away."""
    guarded = summed.guarded.reshape(-1, N)
    if exposed(plan_of(summed), summed.sum0.reshape(-1, N)[: len(guarded)], guarded, opened.values):
        raise ImplausibleSum("the key follows from what would be published: nothing is; update this package")
    letter = Result(summed.context, digest_of(summed.context, aggregate))
    return Closed(), [Envelope((APP,), aggregate), Envelope(aggregate.survivors, letter)]


server.room(Summing, Ciphertext, keep=keep_upload, complete=everybody, close=close_summing)
server.room(Opening, Partial, keep=keep_partial, complete=everybody, close=close_opening, name=lambda room: room.name)

# A holder that was given up on answers late.
server.ignore(Closed, Partial)
