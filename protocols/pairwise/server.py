"""The server of the pairwise protocol: five rooms; only `Summing` sees large messages.

    Gathering -Advertise*-> Relaying -Shares*-> Summing -Masked*-> Witnessing -Witness*-> Unmasking -Unmask*-> Closed

With a graph that a public beacon seeds, Gathering -Advertise*-> Seeding -Beacon-> Relaying.

A room closes when everybody invited has spoken, as soon as enough have where more would not help, or
at its deadline. A message that fails a check is ignored by name; its sender keeps nobody waiting longer
than the deadline. Rooms are filled in place, after the last check of a message.
Memory: one vector, and per client its keys, tags and shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from protocols.certificates import Credential
from protocols.coding import EXTRAS_RING
from protocols.errors import (
    BadPlan,
    BadShare,
    Duplicate,
    KeyMismatch,
    Malformed,
    Misbehaved,
    OutOfTurn,
    ShapeMismatch,
    TooFewClients,
    ViewMismatch,
    blame,
)
from protocols.invitation import check_known, check_number
from protocols.messages import (
    Advertise,
    Aggregate,
    Beacon,
    Inbox,
    Masked,
    NeedBeacon,
    Open,
    Result,
    Roster,
    RosterEntry,
    SealedShares,
    Shares,
    Signed,
    Start,
    Survivors,
    Unmask,
    Who,
    Witness,
    Witnesses,
    digest_of,
    to_bitmap,
)
from protocols.pairwise import session as names
from protocols.pairwise.recovery import Recovery, Told, corrections_for
from protocols.pairwise.session import Session
from protocols.party import APP, Blame, Envelope, PartyId, Role, Step, Wait, report
from protocols.plan import Agreement, ContextBytes, Promise, context_of
from protocols.submission import checked_sums
from protocols.wire import Bytes32, Supplied, Vector
from secagg.keys import check_point, verify
from secagg.masks import unmask_into
from secagg.ring import Ring, RingVector
from secagg.workers import ALONE, Workers

server = Role("pairwise server", Blame.EXCLUDE)


@dataclass(frozen=True, slots=True)
class Registry:
    """The identities the server knows and how it unmasks; given again after a restart."""

    identities: Mapping[PartyId, bytes]
    workers: Workers = ALONE
    authority: bytes | None = None


Known = Annotated[Registry, Supplied]


@dataclass(frozen=True, slots=True)
class Unopened:
    """Before the round."""

    known: Known


@dataclass(frozen=True, slots=True)
class Gathering:
    """U0 -> U1: keys arrive. `taken` maps every advertised point to its owner."""

    known: Known
    agreement: Agreement
    context: ContextBytes
    invited: frozenset[PartyId]
    arrived: dict[PartyId, RosterEntry]
    taken: dict[Bytes32, PartyId]


@dataclass(frozen=True, slots=True)
class Seeding:
    """U1 is fixed; the application fetches the public value of the graph. A quicker client may have dealt already."""

    known: Known
    agreement: Agreement
    context: ContextBytes
    entries: tuple[RosterEntry, ...]
    early: dict[PartyId, Shares]


@dataclass(frozen=True, slots=True)
class Relaying:
    """U1 -> U2: sealed shares arrive. `arrived` grows in place."""

    known: Known
    session: Session
    entries: tuple[RosterEntry, ...]
    arrived: dict[PartyId, Shares]

    @property
    def invited(self) -> Set[PartyId]:
        return self.session.members


@dataclass(frozen=True, slots=True)
class Summing:
    """U2 -> U3: masked vectors arrive, are added into `total` and forgotten."""

    known: Known
    session: Session
    entries: tuple[RosterEntry, ...]
    dealt: Mapping[PartyId, Shares]
    total: Vector
    extras: Vector
    arrived: dict[PartyId, tuple[Who, ...]]

    @property
    def invited(self) -> Set[PartyId]:
        return self.dealt.keys()


@dataclass(frozen=True, slots=True)
class Witnessing:
    """Survivors sign the list they were shown."""

    known: Known
    summed: Summing
    arrived: dict[PartyId, bytes]

    @property
    def invited(self) -> Set[PartyId]:
        return self.summed.arrived.keys()


@dataclass(frozen=True, slots=True)
class Unmasking:
    """Survivors answer with one share per neighbour; `recovery` counts the good ones."""

    known: Known
    summed: Summing
    recovery: Recovery
    arrived: dict[PartyId, Unmask]

    @property
    def invited(self) -> Set[PartyId]:
        return self.summed.arrived.keys()


@dataclass(frozen=True, slots=True)
class Closed:
    """The sum was opened and handed to the application; nothing is kept."""


def wait(room: type, agreement: Agreement) -> Envelope:
    return Envelope((APP,), Wait(room.__name__, agreement.plan.patience_seconds))


def enough(have: int, need: int, room: str, culprits: tuple[PartyId, ...] = ()) -> None:
    """Raises: TooFewClients, before the room has revealed anything."""
    if have < need:
        raise TooFewClients(have, need, room, culprits)


# --- Gathering ------------------------------------------------------------------------------------


@server.on(Unopened, Start)
def start(state: Unopened, sender: PartyId, message: Start) -> Step:
    agreement, invited = message.agreement, frozenset(message.invited)
    if state.known.authority is None:
        check_known(state.known.identities, invited)
    check_number(agreement.plan, invited)
    room = Gathering(state.known, agreement, context_of(agreement), invited, {}, {})
    return room, [Envelope(tuple(sorted(invited)), Open(agreement)), wait(Gathering, agreement)]


def keep_keys(room: Gathering, who: PartyId, letter: Advertise) -> Gathering:
    if letter.context != room.context:
        raise ViewMismatch(who, "advertises for another context: other model, plan or round")
    check_credential(room.known, who, letter.credential)
    text = names.advertised_text(room.context, who, letter.box_key, letter.mask_key, letter.commitment)
    with blame(who):
        check_point(letter.box_key)
        check_point(letter.mask_key)
        verify(room.known.identities[who], text, letter.signature)
    if letter.box_key in room.taken or letter.mask_key in room.taken or letter.box_key == letter.mask_key:
        raise KeyMismatch(who, "advertises a key that is already in use")
    room.taken.update({letter.box_key: who, letter.mask_key: who})
    entry = RosterEntry(who, letter.box_key, letter.mask_key, letter.commitment, letter.signature, letter.credential)
    room.arrived[who] = entry
    return room


def check_credential(known: Registry, who: PartyId, credential: Credential | None) -> None:
    """What is relayed must pass at every client, or one client with a bad credential ends the round of all.

    Raises: KeyMismatch(who), BadSignature(who).
    """
    if credential is None:
        return
    if known.authority is None:
        raise KeyMismatch(who, "shows a credential, and no authority is known here to check it against")
    if credential.identity != known.identities[who]:
        raise KeyMismatch(who, "shows a credential for another identity than it speaks with")
    with blame(who):
        credential.check(known.authority, who)


def close_gathering(room: Gathering) -> Step:
    plan = room.agreement.plan
    enough(len(room.arrived), plan.min_cohort, "Gathering")
    entries = tuple(room.arrived[who] for who in sorted(room.arrived))
    try:
        waits = names.awaits_beacon(room.agreement, len(entries))
    except BadPlan as error:
        raise TooFewClients(len(entries), plan.max_clients, "Gathering") from error
    letter = Envelope(tuple(sorted(room.arrived)), Roster(room.context, entries))
    if waits:
        seeding = Seeding(room.known, room.agreement, room.context, entries, {})
        return seeding, [letter, Envelope((APP,), NeedBeacon(names.roster_hash(entries)))]
    relaying = Relaying(room.known, Session.of(room.agreement, room.context, entries), entries, {})
    return relaying, [letter, wait(Relaying, room.agreement)]


# --- Seeding --------------------------------------------------------------------------------------


@server.on(Seeding, Shares)
def keep_early(room: Seeding, who: PartyId, letter: Shares) -> Step:
    if who not in {entry.who for entry in room.entries}:
        raise OutOfTurn(who, "deals shares without having advertised")
    if who in room.early:
        raise Duplicate(who, "has already dealt its shares")
    room.early[who] = letter
    return room, []


@server.on(Seeding, Beacon)
def seed(room: Seeding, sender: PartyId, message: Beacon) -> Step:
    session = Session.of(room.agreement, room.context, room.entries, message.value)
    relaying, notes = Relaying(room.known, session, room.entries, {}), []
    for who, letter in room.early.items():
        try:
            relaying = keep_shares(relaying, who, letter)
        except Misbehaved as error:
            notes.append(report(error))
    if everybody(relaying):
        closed, out = close_relaying(relaying)
        return closed, [*notes, *out]
    return relaying, [*notes, wait(Relaying, room.agreement)]


# --- Relaying -------------------------------------------------------------------------------------


def keep_shares(room: Relaying, who: PartyId, letter: Shares) -> Relaying:
    expected = len(room.session.neighbours(who))
    if len(letter.sealed) != expected:
        raise ShapeMismatch(who, f"deals {len(letter.sealed)} shares to {expected} neighbours")
    if not all(sealed.fits(room.session.links) for sealed in letter.sealed):
        raise ShapeMismatch(who, f"seals boxes of another size than {2 + room.session.links} shares take")
    room.arrived[who] = letter
    return room


def close_relaying(room: Relaying) -> Step:
    session = room.session
    sharing = well_held(session, frozenset(room.arrived))
    enough(len(sharing), session.smallest_sum, "Relaying")
    bitmap = to_bitmap(sharing, session.ids)

    def inbox(who: PartyId) -> Inbox:
        return Inbox(who, bitmap, tuple(sealed_for(room, who, dealer) for dealer in dealers(session, who, sharing)))

    out = [Envelope((who,), inbox(who)) for who in sorted(sharing)]
    coding = session.coding
    summing = Summing(
        room.known,
        session,
        room.entries,
        {who: room.arrived[who] for who in sharing},
        coding.ring.zeros(coding.length),
        EXTRAS_RING.zeros(session.extras.length),
        {},
    )
    return summing, [*out, wait(Summing, session.agreement)]


def well_held(session: Session, sharing: frozenset[PartyId]) -> frozenset[PartyId]:
    """The largest set in which everybody has a threshold of neighbours to hold its shares.

    A client with fewer could never be unmasked: it is left out before it masks anything.
    """
    threshold = session.parameters.threshold
    while True:
        kept = frozenset(who for who in sharing if sum(p in sharing for p in session.neighbours(who)) >= threshold)
        if kept == sharing:
            return sharing
        sharing = kept


def dealers(session: Session, holder: PartyId, sharing: frozenset[PartyId]) -> Iterator[PartyId]:
    """The sharing neighbours of a holder, ascending: the order of its inbox and of its answer."""
    return (peer for peer in session.neighbours(holder) if peer in sharing)


def sealed_for(room: Relaying, holder: PartyId, dealer: PartyId) -> SealedShares:
    return room.arrived[dealer].sealed[room.session.point(dealer, holder) - 1]


# --- Summing --------------------------------------------------------------------------------------


def keep_vector(room: Summing, who: PartyId, letter: Masked) -> Summing:
    coding = room.session.coding
    if len(letter.vector) != coding.ring.packed_bytes(coding.length):
        raise ShapeMismatch(who, f"sent a vector of {len(letter.vector)} bytes")
    if len(letter.extras) != EXTRAS_RING.packed_bytes(room.session.extras.length):
        raise ShapeMismatch(who, f"sent extras of {len(letter.extras)} bytes")
    if not set(letter.complaints) <= set(room.session.neighbours(who)):
        raise Malformed(who, "complains about clients that are no neighbours")
    with blame(who):
        coding.ring.add_packed_into(room.total, letter.vector)
        EXTRAS_RING.add_packed_into(room.extras, letter.extras)
    room.arrived[who] = letter.complaints
    return room


def close_summing(room: Summing) -> Step:
    session = room.session
    survivors = frozenset(room.arrived)
    enough(len(survivors), session.smallest_sum, "Summing")
    fewest = min(sum(peer in survivors for peer in session.neighbours(dealer)) for dealer in room.dealt)
    enough(fewest, session.parameters.threshold, "Summing")
    enough(session.graph.windows(survivors), session.parameters.window + 1, "Summing")
    counts = accusers(room)
    for dealer, holders in sorted(holders_of_accused(room, survivors).items()):
        enough(holders, session.parameters.threshold, "Summing", (dealer,) if believed(room, counts[dealer]) else ())
    letter = Envelope(tuple(sorted(survivors)), Survivors(to_bitmap(survivors, session.ids)))
    if session.agreement.plan.promise is Promise.CURIOUS:
        return enter_unmasking(room), [letter, wait(Unmasking, session.agreement)]
    return Witnessing(room.known, room, {}), [letter, wait(Witnessing, session.agreement)]


def holders_of_accused(room: Summing, survivors: frozenset[PartyId]) -> dict[PartyId, int]:
    """How many surviving neighbours hold good shares of each dealer somebody complained about.

    Below the threshold its secret can never be rebuilt: better lost now, with nothing revealed. Its accusers may
    lie, but so many liars could as well withhold their shares.
    """
    neighbours = room.session.neighbours
    return {who: len(survivors.intersection(neighbours(who))) - count for who, count in accusers(room).items()}


def accusers(room: Summing) -> dict[PartyId, int]:
    """How many say of each dealer that they hold no good share of it."""
    return Counter(who for complaints in room.arrived.values() for who in set(complaints))


def believed(room: Summing, count: int) -> bool:
    """Whether so many accusers cannot all be corrupt."""
    return count > room.session.agreement.plan.corrupted


# --- Witnessing -----------------------------------------------------------------------------------


def keep_witness(room: Witnessing, who: PartyId, letter: Witness) -> Witnessing:
    session = room.summed.session
    bitmap = to_bitmap(frozenset(room.invited), session.ids)
    with blame(who):
        verify(room.known.identities[who], names.witness_text(session.sid, bitmap), letter.signature)
    room.arrived[who] = letter.signature
    return room


def enough_signed(room: Witnessing) -> bool:
    return room.summed.session.witnessed_by(frozenset(room.arrived))


def close_witnessing(room: Witnessing) -> Step:
    session = room.summed.session
    enough(len(room.arrived), session.smallest_sum, "Witnessing")
    enough(session.graph.windows(room.arrived), session.parameters.window + 1, "Witnessing")
    position = {who: index for index, who in enumerate(session.ids)}
    signers = sorted(room.arrived)
    letter = Witnesses(tuple(Signed(position[who], room.arrived[who]) for who in signers))
    out = [Envelope(tuple(sorted(room.invited)), letter), wait(Unmasking, session.agreement)]
    return enter_unmasking(room.summed), out


# --- Unmasking ------------------------------------------------------------------------------------


def enter_unmasking(summed: Summing) -> Unmasking:
    survivors = frozenset(summed.arrived)
    return Unmasking(summed.known, summed, Recovery.of(frozenset(summed.dealt), survivors), {})


def keep_unmask(room: Unmasking, who: PartyId, letter: Unmask) -> Unmasking:
    summed = room.summed
    sharing = tuple(dealers(summed.session, who, frozenset(summed.dealt)))
    if len(letter.shares) != len(sharing):
        raise ShapeMismatch(who, f"answers with {len(letter.shares)} shares for {len(sharing)} dealers")
    good = told_of(room, who, sharing, letter)
    for dealer, told in good.items():
        if not room.recovery.tags_match(summed.session, dealer, who, summed.dealt[dealer], told):
            raise BadShare(who, f"returned a share of client {dealer} that contradicts the dealer's tag")
    for dealer, told in good.items():
        room.recovery.add(dealer, who, told)
    room.arrived[who] = letter
    return room


def told_of(room: Unmasking, who: PartyId, sharing: tuple[PartyId, ...], letter: Unmask) -> dict[PartyId, Told]:
    """What is told of each dealer; with removable noise, of a survivor the shares of both secrets or of none.

    Raises: ShapeMismatch(who).
    """
    removable = room.summed.session.links > 0
    if len(letter.links) != (len(sharing) if removable else 0):
        raise ShapeMismatch(who, f"answers with {len(letter.links)} shares of removable noise")
    links = letter.links or (None,) * len(sharing)
    told = {}
    for dealer, share, link in zip(sharing, letter.shares, links, strict=True):
        both = removable and share is not None and dealer in room.recovery.survivors
        if (link is not None) != both:
            raise ShapeMismatch(who, f"tells one share of client {dealer} without the other")
        if share is not None:
            told[dealer] = Told(share, link)
    return told


def all_recoverable(room: Unmasking) -> bool:
    return room.recovery.complete(room.summed.session.parameters.threshold)


def close_unmasking(room: Unmasking) -> Step:
    # On copies: should a worker fail, the room is as it was and the next share tries again.
    summed = replace(room.summed, total=room.summed.total.copy(), extras=room.summed.extras.copy())
    session = summed.session
    survivors = tuple(sorted(summed.arrived))
    corrections, surplus = corrections_for(room.recovery, session, summed.entries, frozenset(survivors))
    coding = session.coding

    def unmask(words: RingVector, ring: Ring, section: int, lo: int, hi: int) -> None:
        unmask_into(words, ring, corrections, session.sid, section, words.size, lo, hi)

    room.known.workers.each(coding.length, partial(unmask, summed.total, coding.ring, names.MODEL_SECTION))
    unmask(summed.extras, EXTRAS_RING, names.EXTRAS_SECTION, 0, summed.extras.size)
    weight_sum, metrics = checked_sums(
        session.agreement, coding, session.extras, len(survivors), summed.total, summed.extras
    )
    blamed = {who: "BadBox" for who, count in accusers(summed).items() if believed(summed, count)}
    coding.ring.reduce_in_place(summed.total)
    aggregate = Aggregate(summed.total, weight_sum, survivors, blamed, metrics, surplus)
    letter = Result(session.context, digest_of(session.context, aggregate))
    return Closed(), [Envelope((APP,), aggregate), Envelope(survivors, letter)]


def everybody(room: Gathering | Relaying | Summing) -> bool:
    return len(room.arrived) == len(room.invited)


server.room(Gathering, Advertise, keep=keep_keys, complete=everybody, close=close_gathering)
server.room(Relaying, Shares, keep=keep_shares, complete=everybody, close=close_relaying)
server.room(Summing, Masked, keep=keep_vector, complete=everybody, close=close_summing)
server.room(Witnessing, Witness, keep=keep_witness, complete=enough_signed, close=close_witnessing)
server.room(Unmasking, Unmask, keep=keep_unmask, complete=all_recoverable, close=close_unmasking)

# Enough had spoken; the rest of the same answers arrive late and change nothing.
server.ignore(Unmasking, Witness)
server.ignore(Closed, Unmask)
