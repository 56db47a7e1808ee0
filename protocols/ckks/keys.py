"""The server's side of the ceremony: three rooms, and a certificate that every holder signed.

    Idle -Make-> Committing -Commit*-> Revealing -Reveal*-> Certifying -Checked*-> Probing -Partial*-> Certified
                                                            Certifying -Checked*-> Disputing -Summands*-> BadDealing

Everybody must speak: a key that one holder took no part in is not the key that was planned. The server learns nothing
that a bystander does not; pieces pass it sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Annotated

from protocols.ckks import epoch as names
from protocols.ckks.epoch import Epoch
from protocols.ckks.messages import (
    Certificate,
    Checked,
    Commit,
    Commits,
    Deals,
    Dispute,
    Invite,
    Partial,
    Probe,
    Reveal,
    Revealed,
    Summands,
)
from protocols.ckks.questions import MOST_RETRIES
from protocols.errors import (
    BadDealing,
    BadShare,
    KeyMismatch,
    Misused,
    ShapeMismatch,
    TooFewMembers,
    ViewMismatch,
    blame,
)
from protocols.party import APP, Blame, Envelope, PartyId, Role, Step, Wait, name_of_place
from protocols.plan import ContextBytes
from protocols.verifying import Verifier
from protocols.wire import U32, Bytes32, Supplied
from secagg.ckks.ceremony import (
    check_commitment,
    check_probe,
    covering_sets,
    false_dealers,
    probe_plan,
    transcript_of,
)
from secagg.ckks.plan import Keys, Mode
from secagg.ckks.share import combine, fits_degree
from secagg.ckks.wire import check_planes, unpack
from secagg.errors import BadShare as WrongShare
from secagg.keys import check_point
from secagg.negacyclic import PRIME, N

keymaker = Role("ckks key maker", Blame.EXCLUDE)


@dataclass(frozen=True, slots=True)
class Known:
    """What is given again after a restart: how signatures are checked."""

    verify: Verifier


Supply = Annotated[Known, Supplied]


@dataclass(frozen=True, slots=True)
class Make:
    """APP -> server: make this key with these holders, in the order of the epoch's identities."""

    epoch: Epoch
    holders: tuple[PartyId, ...]
    patience_seconds: int


@dataclass(frozen=True, slots=True)
class Made:
    """Server -> APP: the key is certified; clients may be invited under it."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Idle:
    """Before the ceremony."""

    known: Supply


@dataclass(frozen=True, slots=True)
class Company:
    """Who makes the key. Holder i of the epoch is party `holders[i - 1]`."""

    known: Supply
    epoch: Epoch
    context: ContextBytes
    holders: tuple[PartyId, ...]
    patience_seconds: U32

    def place(self, who: PartyId) -> int:
        return self.holders.index(who) + 1


@dataclass(frozen=True, slots=True)
class OfEverybody:
    """A room in which every holder speaks."""

    company: Company

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.company.holders)


@dataclass(frozen=True, slots=True)
class Committing(OfEverybody):
    """Holders commit to their part of the key. `arrived` grows in place."""

    arrived: dict[PartyId, Commit]


@dataclass(frozen=True, slots=True)
class Revealing(OfEverybody):
    """All are committed; now each part of the key is shown. `arrived` grows in place."""

    commits: Mapping[PartyId, Commit]
    arrived: dict[PartyId, Reveal]


@dataclass(frozen=True, slots=True)
class Certifying(OfEverybody):
    """The key is the sum of the parts; holders check what they were dealt and sign. `arrived` grows in place."""

    public: names.Polynomial
    transcript: Bytes32
    arrived: dict[PartyId, Checked]


@dataclass(frozen=True, slots=True)
class Openers:
    """Holders that open together, by place."""

    members: tuple[U32, ...]


@dataclass(frozen=True, slots=True)
class Probing:
    """The key is signed; sets of holders that leave nobody out show, one after the other, that they open it."""

    company: Company
    certificate: Certificate
    transcript: Bytes32
    sets: tuple[Openers, ...]
    arrived: dict[PartyId, bytes]

    @property
    def name(self) -> str:
        """Every set has a room of its own: the time of an earlier one, running out late, closes nothing."""
        keys = self.company.epoch.plan.keys
        return name_of_place(Probing, len(covering_sets(keys.holders, keys.threshold)) - len(self.sets) + 1)

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.company.holders[place - 1] for place in self.sets[0].members)


@dataclass(frozen=True, slots=True)
class Disputing(OfEverybody):
    """Somebody dealt wrongly; the numbers tell who."""

    checks: tuple[Checked, ...]
    arrived: dict[PartyId, Summands]


@dataclass(frozen=True, slots=True)
class Certified:
    """The key is made."""

    certificate: Certificate


def keys_for_rounds(holders: int, rounds: int = 1) -> Keys:
    """The recommended threshold, and as many openings as the ceremony tries out and the rounds may take.

    A round takes one opening, and one more for each further set of holders that is asked; every opening leaves a
    little less precision, so that a key for one round has the most.
    Raises: secagg.errors.BadParameters for numbers no key has.
    """
    tried = len(covering_sets(holders, Keys.recommended(holders, 1).threshold))
    return Keys.recommended(holders, tried + rounds * (1 + MOST_RETRIES))


def everybody(room: Committing | Revealing | Certifying | Disputing | Probing) -> bool:
    return len(room.arrived) == len(room.invited)


def wait(room: str, company: Company) -> Envelope:
    return Envelope((APP,), Wait(room, company.patience_seconds))


def all_of(room: Committing | Revealing | Certifying) -> None:
    """Raises: TooFewMembers naming who is missing."""
    missing = tuple(who for who in room.company.holders if who not in room.arrived)
    if missing:
        raise TooFewMembers(len(room.arrived), len(room.company.holders), type(room).__name__, missing)


@keymaker.on(Idle, Make)
def start(state: Idle, sender: PartyId, message: Make) -> Step:
    epoch = message.epoch
    if epoch.plan.keys.mode is not Mode.THRESHOLD:
        raise Misused(f"mode {epoch.plan.keys.mode.value} has no holders who share a key: no ceremony makes it")
    if len(message.holders) != len(epoch.holders) or len(set(message.holders)) != len(message.holders):
        raise Misused(f"{len(message.holders)} parties for {len(epoch.holders)} holders: each is one party")
    company = Company(state.known, epoch, epoch.context, message.holders, message.patience_seconds)
    return Committing(company, {}), [Envelope(message.holders, Invite(epoch)), wait(Committing.__name__, company)]


def keep_commit(room: Committing, who: PartyId, letter: Commit) -> Committing:
    company = room.company
    place = company.place(who)
    text = names.committed_text(company.context, place, letter.commitment, letter.box_key)
    with blame(who):
        company.known.verify(company.epoch.holders[place - 1], text, letter.signature)
        check_point(letter.box_key)
    if any(letter.box_key == other.box_key for other in room.arrived.values()):
        raise KeyMismatch(who, "shows the box key of another holder")
    room.arrived[who] = letter
    return room


def close_committing(room: Committing) -> Step:
    all_of(room)
    company = room.company
    letter = Commits(tuple(room.arrived[who] for who in company.holders))
    revealing = Revealing(company, dict(room.arrived), {})
    return revealing, [Envelope(company.holders, letter), wait(Revealing.__name__, company)]


def keep_reveal(room: Revealing, who: PartyId, letter: Reveal) -> Revealing:
    company, size = room.company, len(room.company.holders)
    if len(letter.hashes) != size or len(letter.boxes) != size:
        raise ShapeMismatch(who, f"reveals {len(letter.hashes)} hashes and {len(letter.boxes)} boxes to {size} holders")
    with blame(who):
        reveal = names.reveal_of(company.place(who), letter.nonce, letter.public, letter.hashes)
        check_commitment(company.context, reveal, room.commits[who].commitment)
    room.arrived[who] = letter
    return room


def close_revealing(room: Revealing) -> Step:
    all_of(room)
    company = room.company
    reveals = [room.arrived[who] for who in company.holders]
    committed = [
        names.reveal_of(place, each.nonce, each.public, each.hashes) for place, each in enumerate(reveals, start=1)
    ]
    public = names.to_bytes(names.collective([each.public_share for each in committed]))
    transcript = transcript_of(company.context, committed)

    def deals(place: int) -> Deals:
        return Deals(place + 1, tuple(Revealed(r.nonce, r.public, r.hashes, r.boxes[place]) for r in reveals))

    out = [Envelope((who,), deals(place)) for place, who in enumerate(company.holders)]
    return Certifying(company, public, transcript, {}), [*out, wait(Certifying.__name__, company)]


def keep_checked(room: Certifying, who: PartyId, letter: Checked) -> Certifying:
    company = room.company
    place = company.place(who)
    text = names.checked_text(company.context, place, room.public, letter.value)
    with blame(who):
        company.known.verify(company.epoch.holders[place - 1], text, letter.signature)
    room.arrived[who] = letter
    return room


def close_certifying(room: Certifying) -> Step:
    all_of(room)
    company = room.company
    checks = tuple(room.arrived[who] for who in company.holders)
    values = {holder: said.value for holder, said in enumerate(checks, start=1)}
    if not fits_degree(values, company.epoch.plan.keys.threshold):
        letter = Envelope(company.holders, Dispute(checks))
        return Disputing(company, checks, {}), [letter, wait(Disputing.__name__, company)]
    certificate = Certificate(company.epoch, room.public, checks)
    keys = company.epoch.plan.keys
    sets = tuple(Openers(members) for members in covering_sets(keys.holders, keys.threshold))
    probing, out = ask(Probing(company, certificate, room.transcript, sets, {}))
    return probing, [Envelope(company.holders, certificate), *out]


def ask(room: Probing) -> tuple[Probing, list[Envelope]]:
    """The first of the sets that are left is to open the pattern."""
    letter = Envelope(tuple(sorted(room.invited)), Probe(room.sets[0].members))
    return room, [letter, wait(room.name, room.company)]


def keep_probe(room: Probing, who: PartyId, letter: Partial) -> Probing:
    company = room.company
    shape, width = probe_plan(company.epoch.plan), names.partial_width(company.epoch.plan)
    if letter.context != company.context or letter.question != room.transcript:
        raise ViewMismatch(who, "answers another question than it was asked")
    if letter.openers != room.sets[0].members:
        raise ViewMismatch(who, f"answers for holders {letter.openers}, asked are {room.sets[0].members}")
    with blame(who):
        check_planes(letter.part, shape.blocks * N, width)
    room.arrived[who] = bytes(letter.part)
    return room


def close_probing(room: Probing) -> Step:
    """Raises: TooFewMembers naming the silent; BadDealing naming the set that does not open the pattern."""
    company, plan = room.company, room.company.epoch.plan
    silent = tuple(sorted(room.invited - room.arrived.keys()))
    if silent:
        raise TooFewMembers(len(room.arrived), len(room.invited), "Probing", silent)
    shape, width = probe_plan(plan), names.partial_width(plan)
    c0, _ = names.probe_halves(company.epoch, room.certificate.public, room.transcript)
    parts = [unpack(part, shape.blocks * N, width).reshape(c0.shape) for part in room.arrived.values()]
    try:
        check_probe(plan, company.context, room.transcript, combine(c0, parts))
    except WrongShare as error:
        raise BadDealing(tuple(sorted(room.invited))) from error
    if len(room.sets) > 1:
        return ask(replace(room, sets=room.sets[1:], arrived={}))
    return Certified(room.certificate), [Envelope((APP,), Made(room.certificate))]


def keep_summands(room: Disputing, who: PartyId, letter: Summands) -> Disputing:
    company = room.company
    if len(letter.values) != len(company.holders):
        raise ShapeMismatch(who, f"tells {len(letter.values)} numbers of {len(company.holders)} dealers")
    if max(letter.values) >= PRIME or sum(letter.values) % PRIME != room.checks[company.place(who) - 1].value:
        raise BadShare(who, "tells numbers that do not add up to the value it signed")
    room.arrived[who] = letter
    return room


def close_disputing(room: Disputing) -> Step:
    """Raises: BadDealing naming each dealer whose numbers lie on no polynomial, or else whoever stays silent."""
    company = room.company
    silent = tuple(who for who in company.holders if who not in room.arrived)
    if silent:
        raise BadDealing(silent)
    told = {company.place(who): letter.values for who, letter in room.arrived.items()}
    summands = {holder: dict(enumerate(values, start=1)) for holder, values in told.items()}
    guilty = false_dealers(summands, company.epoch.plan.keys.threshold)
    raise BadDealing(tuple(company.holders[dealer - 1] for dealer in guilty))


keymaker.room(Probing, Partial, keep=keep_probe, complete=everybody, close=close_probing, name=lambda room: room.name)
keymaker.room(Disputing, Summands, keep=keep_summands, complete=everybody, close=close_disputing)
keymaker.room(Committing, Commit, keep=keep_commit, complete=everybody, close=close_committing)
keymaker.room(Revealing, Reveal, keep=keep_reveal, complete=everybody, close=close_revealing)
keymaker.room(Certifying, Checked, keep=keep_checked, complete=everybody, close=close_certifying)
