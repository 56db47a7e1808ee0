"""The server of a one-shot round: it adds masked vectors, and has the committee open the one sum.

    Unopened -Begin-> Summing -Concealed*-> Opening -Summed*-> Closed

Memory: one sum, and the sealed shares of everybody in it. Opening takes one product of polynomials for each block of
the vector, however many clients there were or vanished. As soon as the answers rebuild a sum of mask keys that takes
the mask off, the round is over; while they do not, because a member lies or dealing was uneven, further answers are
waited for, and who is off is named.
"""

from __future__ import annotations

import hmac
import itertools
import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Annotated

from protocols.errors import (
    BadMaskKey,
    BadShare,
    Misused,
    ShapeMismatch,
    TooFewClients,
    TooFewMembers,
    ViewMismatch,
    blame,
)
from protocols.invitation import check_invited
from protocols.messages import Aggregate, Result, digest_of
from protocols.oneshot import epoch as names
from protocols.oneshot.epoch import Epoch
from protocols.oneshot.messages import Certificate, Concealed, Contribution, Included, OpenOneShot, Summed
from protocols.oneshot.shape import Shape
from protocols.party import APP, Blame, Envelope, PartyId, Role, Step, Wait, report
from protocols.plan import Agreement, ContextBytes, context_of
from protocols.submission import checked_sums
from protocols.verifying import Verifier
from protocols.wire import Bytes32, Bytes64, Payload, Supplied, Vector
from secagg.errors import BadCiphertext
from secagg.keys import check_point
from secagg.locating import off_the_others
from secagg.negacyclic import Integers, N
from secagg.quorum import Quorum
from secagg.rlwe import check_opens, reveal
from secagg.shamir import PackedShare, check_share, combine_packed, fitting
from secagg.workers import ALONE, Workers

server = Role("one-shot server", Blame.EXCLUDE)

# Choices of answers that are tried one by one: those of twenty members of whom two may be left out.
MOST_TRIED = 256


@dataclass(frozen=True, slots=True)
class Known:
    """Identities of the clients, and who the members are; given again after a restart."""

    identities: Mapping[PartyId, bytes]
    members: tuple[PartyId, ...]
    verify: Verifier
    workers: Workers = ALONE


Supply = Annotated[Known, Supplied]


@dataclass(frozen=True, slots=True)
class Begin:
    """APP -> server: open this round for these clients, under this committee."""

    agreement: Agreement
    certificate: Certificate
    invited: tuple[PartyId, ...]


@dataclass(frozen=True, slots=True)
class Unopened:
    """Before the round."""

    known: Supply


@dataclass(frozen=True, slots=True)
class Arrived:
    """One upload that is in the sum: what was signed, and the share for each member."""

    box_key: Bytes32
    signature: Bytes64
    boxes: tuple[Payload, ...]


@dataclass(frozen=True, slots=True)
class Summing:
    """Uploads arrive and are added."""

    known: Supply
    agreement: Agreement
    certificate: Certificate
    context: ContextBytes
    invited: frozenset[PartyId]
    total: Vector
    arrived: dict[PartyId, Arrived]


@dataclass(frozen=True, slots=True)
class Opening:
    """The committee answers."""

    known: Supply
    agreement: Agreement
    epoch: Epoch
    context: ContextBytes
    survivors: tuple[PartyId, ...]
    question: Bytes32
    total: Vector
    arrived: dict[PartyId, Summed]

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.known.members)

    def shares(self) -> dict[int, PackedShare]:
        """What answered with a sum, by its place."""
        said = ((place, self.arrived.get(who)) for place, who in enumerate(self.known.members, start=1))
        return {
            place: names.share_from_bytes(letter.shares)
            for place, letter in said
            if letter is not None and letter.shares is not None
        }


@dataclass(frozen=True, slots=True)
class Closed:
    """The sum was opened and handed to the application; nothing is kept but whose late letters are expected."""

    epoch: Epoch


@server.on(Unopened, Begin)
def start(state: Unopened, sender: PartyId, message: Begin) -> Step:
    check_begin(state.known, message)
    agreement, invited, shape = message.agreement, frozenset(message.invited), Shape.of(message.agreement)
    total = shape.mask.ring.zeros(shape.mask.coefficients)
    room = Summing(state.known, agreement, message.certificate, context_of(agreement), invited, total, {})
    letter = Envelope(tuple(sorted(invited)), OpenOneShot(agreement, message.certificate))
    return room, [letter, wait(Summing, agreement)]


def check_begin(known: Known, message: Begin) -> None:
    """Raises: Misused for a round that cannot be, before anybody is asked."""
    agreement, epoch, invited = message.agreement, message.certificate.epoch, frozenset(message.invited)
    check_invited(known.identities, agreement.plan, invited)
    if not hmac.compare_digest(agreement.key, message.certificate.digest):
        raise Misused("the agreement names another committee than the certificate given")
    if len(known.members) != len(epoch.members):
        raise Misused(f"{len(known.members)} parties are known as members of a committee of {len(epoch.members)}")
    if epoch.task != agreement.plan.task:
        raise Misused(f"this committee serves task {epoch.task!r}")
    if epoch.min_cohort < agreement.plan.min_cohort or epoch.clients < len(invited):
        raise Misused(
            f"this committee opens sums over {epoch.min_cohort}..{epoch.clients} clients, the round is for others: "
            "convene another"
        )


def wait(room: type, agreement: Agreement) -> Envelope:
    return Envelope((APP,), Wait(room.__name__, agreement.plan.patience_seconds))


def keep_upload(room: Summing, who: PartyId, letter: Concealed) -> Summing:
    mask, epoch = Shape.of(room.agreement).mask, room.certificate.epoch
    if len(letter.vector) != mask.packed_bytes:
        raise ShapeMismatch(who, f"sent {len(letter.vector)} bytes where {mask.packed_bytes} are legal")
    if len(letter.boxes) != len(epoch.members):
        raise ShapeMismatch(who, f"sent {len(letter.boxes)} shares for {len(epoch.members)} members")
    box_bytes = epoch.box_bytes
    if any(len(box) != box_bytes for box in letter.boxes):
        raise ShapeMismatch(who, f"sent a sealed share that is not {box_bytes} bytes")
    text = names.upload_text(room.context, epoch.context, who, letter.box_key)
    with blame(who):
        # Under a key of low order no member could read a share, and the round of all would be lost.
        check_point(letter.box_key)
        room.known.verify(room.known.identities[who], text, letter.signature)
        mask.ring.add_packed_into(room.total, letter.vector)
    boxes = tuple(bytes(box) for box in letter.boxes)
    room.arrived[who] = Arrived(bytes(letter.box_key), bytes(letter.signature), boxes)
    return room


def everybody(room: Summing) -> bool:
    return len(room.arrived) == len(room.invited)


def close_summing(room: Summing) -> Step:
    """Each member is asked about all that arrived, and shown the shares that are its own."""
    need, epoch = room.agreement.plan.min_cohort, room.certificate.epoch
    if len(room.arrived) < need:
        raise TooFewClients(len(room.arrived), need, "Summing")
    survivors, committee = tuple(sorted(room.arrived)), epoch.context
    texts = [
        names.upload_text(room.context, committee, who, said.box_key) for who, said in sorted(room.arrived.items())
    ]
    question = names.question_of(room.context, committee, texts)
    letters = [
        Envelope((party,), Included(committee, room.context, contributions_to(room, place)))
        for place, party in enumerate(room.known.members)
    ]
    opening = Opening(room.known, room.agreement, epoch, room.context, survivors, question, room.total, {})
    return opening, [*letters, wait(Opening, room.agreement)]


def contributions_to(room: Summing, place: int) -> tuple[Contribution, ...]:
    return tuple(
        Contribution(who, said.box_key, said.signature, said.boxes[place]) for who, said in sorted(room.arrived.items())
    )


def keep_summed(room: Opening, who: PartyId, letter: Summed) -> Opening:
    if letter.context != room.context or letter.question != room.question:
        raise ViewMismatch(who, "answers for another set of clients than it was asked about")
    if not set(letter.unreadable) <= set(room.survivors):
        raise ViewMismatch(who, "complains of clients that it was not asked about")
    if letter.shares is not None:
        if len(letter.shares) != room.epoch.share_bytes:
            raise ShapeMismatch(who, f"answers with {len(letter.shares)} bytes")
        with blame(who):
            check_share(names.share_from_bytes(letter.shares), room.epoch.rows, "of the sum")
    room.arrived[who] = letter
    return room


def settled(room: Opening) -> bool:
    """Whether nothing is gained by waiting: the answers rebuild a key, or everybody has spoken."""
    return len(room.arrived) == len(room.invited) or rebuilt(room) is not None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The sum of the mask keys, and whose answers gave it, by place."""

    secret: Integers
    base: tuple[int, ...]


def rebuilt(room: Opening) -> Rebuilt | None:
    """The first answers, leaving out as few as can be, that rebuild the key of the sum."""
    shares, quorum = room.shares(), room.epoch.quorum
    for base in choices(shares, quorum):
        secret = combine_packed({place: shares[place] for place in base}, quorum, N)
        if fits(room, secret):
            return Rebuilt(secret, base)
    return None


def fits(room: Opening, secret: Integers) -> bool:
    """Whether this may be the sum of so many mask keys, and takes the mask off the first of the sum's polynomials.

    Against: a member that makes the sum of keys wrong by little. Places are small numbers, so there are small lies:
    with two secrets in a polynomial one of ten members may shift them by 3 and 11, and they still look like a sum.
    """
    try:
        check_opens(Shape.of(room.agreement).mask, room.total, secret, room.context, len(room.survivors))
    except BadCiphertext:
        return False
    return True


def choices(shares: Mapping[int, PackedShare], quorum: Quorum) -> Iterator[tuple[int, ...]]:
    """Places whose answers may rebuild a key: first without those that are off the others, then, where they are few,
    every choice. Where all agree there is one, since any other rebuilds the same.

    Against: a client that deals unevenly to some members, and members that lie by little.
    """
    places, off = sorted(shares), off_the_others(shares, quorum)
    if off is not None:
        yield tuple(place for place in places if place not in off)[: quorum.needed]
    if off != frozenset() and math.comb(len(places), quorum.needed) <= MOST_TRIED:
        yield from itertools.combinations(places, quorum.needed)


def close_opening(room: Opening) -> Step:
    """Raises: TooFewMembers where too few answered with a sum; BadMaskKey where what they answered opens nothing."""
    found, answers = rebuilt(room), room.shares()
    if found is None and len(answers) < room.epoch.quorum.needed:
        silent = tuple(who for who in room.known.members if who not in room.arrived)
        culprits = tuple(sorted({who for said in room.arrived.values() for who in said.unreadable}))
        raise TooFewMembers(len(answers), room.epoch.quorum.needed, "Opening", silent, culprits)
    if found is None:
        raise BadMaskKey(
            f"no {room.epoch.quorum.needed} of {len(answers)} answers take the mask off: members lie, or a client "
            "dealt unevenly or did not mask as agreed; discard the sum and open a new round"
        )
    aggregate = opened_with(room, found.secret)
    notes = [*complaints(room), *accused(room, answers, found.base)]
    letter = Result(room.context, digest_of(room.context, aggregate))
    return Closed(room.epoch), [*notes, Envelope((APP,), aggregate), Envelope(aggregate.survivors, letter)]


def opened_with(room: Opening, secret: Integers) -> Aggregate:
    """The sum of exactly these uploads, after the error left by its mask was found to be one.

    Raises: BadMaskKey, ImplausibleSum.
    """
    shape = Shape.of(room.agreement)
    try:
        opened = reveal(shape.mask, room.total, secret, room.context, len(room.survivors), room.known.workers)
    except BadCiphertext as error:
        raise BadMaskKey(f"an upload is not masked as the others are: {error}; open a new round") from error
    total, words = shape.sums(opened)
    weight_sum, metrics = checked_sums(room.agreement, shape.coding, shape.extras, len(room.survivors), total, words)
    return Aggregate(total, weight_sum, room.survivors, {}, metrics)


def complaints(room: Opening) -> Iterator[Envelope]:
    """A note on each client whose share some member could not read: the client dealt wrongly, or the member lies."""
    for who in room.survivors:
        by = [party for party, said in sorted(room.arrived.items()) if who in said.unreadable]
        if by:
            yield report(BadShare(who, f"dealt what is no share, say members {by}"))


def accused(room: Opening, answers: Mapping[int, PackedShare], base: tuple[int, ...]) -> list[Envelope]:
    """A note on each member whose answer is off the polynomials of the others: it lies, or was dealt what is off."""
    off = sorted(answers.keys() - fitting(answers, room.epoch.quorum, base))
    return [
        report(BadShare(room.known.members[place - 1], "answers what does not belong to the others' answers"))
        for place in off
    ]


server.room(Summing, Concealed, keep=keep_upload, complete=everybody, close=close_summing)
server.room(Opening, Summed, keep=keep_summed, complete=settled, close=close_opening)

# Once enough have answered, the others' answers come late.
server.ignore(Closed, Summed)
