"""The client of the pairwise protocol: six arrows, read downwards.

    Idle -Open-> Advertised -Roster-> Shared -Inbox-> Ready -Submit-> Sent -Survivors-> Witnessed -Witnesses-> Done

With a graph that a public beacon seeds, Advertised -Roster-> Enrolled -Beacon-> Shared.

The client owns its policy; the server only proposes. Every check below is against a server that
lies, and nothing is sent by an arrow whose check fails.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from protocols.certificates import Credential
from protocols.coding import EXTRAS_RING, coding_of
from protocols.errors import (
    BadBox,
    BadPlan,
    CohortTooSmall,
    KeyMismatch,
    Misused,
    OutOfTurn,
    PolicyViolation,
    Replay,
    ShapeMismatch,
    UnsafeUnmask,
    ViewMismatch,
    blame,
)
from protocols.messages import (
    SHARE_BYTES,
    Advertise,
    Beacon,
    Inbox,
    Masked,
    NeedBeacon,
    NeedUpdate,
    Open,
    Result,
    Roster,
    RosterEntry,
    SealedShares,
    Shares,
    Submit,
    Survivors,
    Unmask,
    Who,
    Witness,
    Witnesses,
    from_bitmap,
)
from protocols.pairwise import session as names
from protocols.pairwise.session import RoundKeys, Session
from protocols.party import APP, SERVER, Blame, Envelope, PartyId, Role, Step
from protocols.plan import NOTHING, Agreement, ContextBytes, Policy, Promise, context_of
from protocols.submission import words_of
from protocols.verifying import Verifier
from protocols.wire import I64, Bitmap, Exactly, Supplied
from secagg.box import open_box, seal
from secagg.errors import BadShare, BadSignature
from secagg.keys import AgreementKey, Secret, Seed, derive
from secagg.masks import mask_and_pack
from secagg.prg import Stream
from secagg.ring import Ring, RingVector
from secagg.shamir import Share, split
from secagg.workers import ALONE, Workers

client = Role("pairwise client", Blame.ABORT)


@dataclass(frozen=True, slots=True)
class Own:
    """Who this client is; given again after a restart, never written into a state."""

    me: PartyId
    policy: Policy
    sign: Callable[[bytes], bytes]
    verify: Verifier
    workers: Workers = ALONE
    credential: Credential | None = None


Self = Annotated[Own, Supplied]
SecretShare = Annotated[Secret, Exactly(SHARE_BYTES)]


@dataclass(frozen=True, slots=True)
class Idle:
    """Before the round. `root` was drawn for this round alone; `last_round` is the last one spent."""

    own: Self
    root: Seed
    last_round: I64


@dataclass(frozen=True, slots=True)
class Advertised:
    """My keys of this round are signed and said; the roster has to show them unaltered."""

    own: Self
    root: Seed
    agreement: Agreement
    context: ContextBytes
    said: RosterEntry


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The roster is checked; the application fetches the public value that will seed the graph."""

    own: Self
    root: Seed
    agreement: Agreement
    context: ContextBytes
    entries: tuple[RosterEntry, ...]


@dataclass(frozen=True, slots=True)
class Shared:
    """Shares are dealt. Seeds are in the order of `session.neighbours(me)`."""

    own: Self
    root: Seed
    session: Session
    pair_seeds: tuple[Seed, ...]
    box_seeds: tuple[Seed, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """The shares this client keeps for one dealer: of its mask key and its self seed at most one will ever be told.

    `links` are shares of the dealer's removable noise: one of them is told beside the self seed's.
    """

    dealer: Who
    mask_share: SecretShare
    self_share: SecretShare
    links: tuple[SecretShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Paired:
    """The mask seed shared with one neighbour that may end up in the sum."""

    peer: Who
    seed: Seed


@dataclass(frozen=True, slots=True)
class Ready:
    """Shares are held; the application trains. `update_seed` feeds rounding and noise."""

    own: Self
    update_seed: Seed
    self_seed: Seed
    session: Session
    members: Bitmap
    pairs: tuple[Paired, ...]
    held: tuple[Held, ...]
    complaints: tuple[Who, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """The one masked vector has left. No key or seed of this client's own is kept any more."""

    own: Self
    session: Session
    members: Bitmap
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Witnessed:
    """I signed the survivors I was shown, and answer only when a quorum has signed the same."""

    own: Self
    session: Session
    members: Bitmap
    survivors: Bitmap
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The round is over for this client; nothing is kept but its public name."""

    context: ContextBytes


@client.on(Idle, Open)
def advertise(state: Idle, sender: PartyId, message: Open) -> Step:
    agreement, own = message.agreement, state.own
    if agreement.round <= state.last_round:
        raise Replay(SERVER, f"round {agreement.round} of this task is spent; open a later one")
    own.policy.check(agreement)
    try:
        coding_of(agreement)
    except BadPlan as error:
        raise PolicyViolation(SERVER, f"proposes a round nobody can encode for: {error}") from error
    context = context_of(agreement)
    keys = RoundKeys.of(state.root, context)
    end = b"".join(link.expose() for link in names.links_of(state.root, agreement, context)[-1:])
    commitment = names.commitment_of(context, own.me, keys.self_seed, end)
    text = names.advertised_text(context, own.me, keys.box.public, keys.mask.public, commitment)
    said = RosterEntry(own.me, keys.box.public, keys.mask.public, commitment, own.sign(text), own.credential)
    letter = Advertise(context, said.box_key, said.mask_key, said.commitment, said.signature, said.credential)
    return Advertised(own, state.root, agreement, context, said), [Envelope((SERVER,), letter)]


@client.on(Advertised, Roster)
def enrol(state: Advertised, sender: PartyId, message: Roster) -> Step:
    check_roster(state, message)
    state.own.policy.check_parameters(state.agreement.plan, len(message.entries))
    enrolled = Enrolled(state.own, state.root, state.agreement, state.context, message.entries)
    if names.awaits_beacon(state.agreement, len(message.entries)):
        return enrolled, [Envelope((APP,), NeedBeacon(names.roster_hash(message.entries)))]
    return share(enrolled, NOTHING)


@client.on(Enrolled, Beacon)
def seeded(state: Enrolled, sender: PartyId, message: Beacon) -> Step:
    return share(state, message.value)


def share(state: Enrolled, beacon: bytes) -> Step:
    """Agree with every neighbour and deal all secrets among them."""
    session = Session.of(state.agreement, state.context, state.entries, beacon)
    me = state.own.me
    keys = RoundKeys.of(state.root, state.context)
    entries = {entry.who: entry for entry in state.entries}
    neighbours = session.neighbours(me)
    agreed = agree_with_all(keys.mask, {peer: entries[peer].mask_key for peer in neighbours})
    pair_seeds = tuple(names.pair_seed(seed, session.sid, me, peer) for peer, seed in agreed.items())
    box_seeds = tuple(agree_with_all(keys.box, {peer: entries[peer].box_key for peer in neighbours}).values())
    sealed = deal(state, session, keys, neighbours, box_seeds)
    return Shared(state.own, state.root, session, pair_seeds, box_seeds), [Envelope((SERVER,), Shares(sealed))]


def check_roster(state: Advertised, message: Roster) -> None:
    """The roster must be about this context, contain me unaltered, and nobody I do not know.

    Against: a server that gives clients different models or plans, substitutes a key (man in the
    middle), duplicates one (masks that cancel in pairs), or pads the cohort with strangers.
    """
    policy, plan = state.own.policy, state.agreement.plan
    if message.context != state.context:
        raise ViewMismatch(SERVER, "the roster belongs to another context: other model, plan or round")
    entries = {entry.who: entry for entry in message.entries}
    if entries.get(state.own.me) != state.said:
        raise KeyMismatch(SERVER, "my own entry is missing from the roster or altered")
    if len(entries) < plan.min_cohort:
        raise CohortTooSmall(SERVER, f"a roster of {len(entries)} clients; {plan.min_cohort} are required")
    if len(entries) > plan.max_clients:
        raise PolicyViolation(SERVER, f"a roster of {len(entries)} clients; the plan allows {plan.max_clients}")
    identities = {who: policy.identity_of(who, entry.credential) for who, entry in entries.items()}
    if len(set(identities.values())) != len(identities):
        raise KeyMismatch(SERVER, "two clients of the roster have one identity")
    points = [point for entry in message.entries for point in (entry.box_key, entry.mask_key)]
    if len(set(points)) != len(points):
        raise KeyMismatch(SERVER, "two keys of the roster are equal")
    for who, entry in entries.items():
        text = names.advertised_text(state.context, who, entry.box_key, entry.mask_key, entry.commitment)
        with blame(who):
            state.own.verify(identities[who], text, entry.signature)


def agree_with_all(key: AgreementKey, publics: Mapping[PartyId, bytes]) -> dict[PartyId, Seed]:
    """Diffie-Hellman with roster keys; one that forces a known secret is its owner's fault."""
    agreed = {}
    for peer, public in publics.items():
        with blame(peer):
            agreed[peer] = key.agree(public)
    return agreed


def deal(
    state: Enrolled,
    session: Session,
    keys: RoundKeys,
    neighbours: tuple[PartyId, ...],
    box_seeds: tuple[Seed, ...],
) -> tuple[SealedShares, ...]:
    """Split mask key, self seed and chain among the neighbours and seal each one's shares."""
    me, sid, threshold = state.own.me, session.sid, session.parameters.threshold
    points = range(1, len(neighbours) + 1)
    links = names.links_of(state.root, session.agreement, session.context)
    secrets = {names.MASK_SECRET: keys.mask_seed, names.SELF_SECRET: keys.self_seed}
    secrets |= {names.link_secret(place): link for place, link in enumerate(links)}

    def shares_of(which: bytes, secret: Seed) -> list[bytes]:
        coefficients = Stream(derive(state.root, names.LABEL_COEFFICIENTS, sid, which))
        return [point.to_bytes() for point in split(secret, threshold, points, coefficients)]

    dealt = [shares_of(which, secret) for which, secret in secrets.items()]
    sealed = []
    for peer, agreed, *shares in zip(neighbours, box_seeds, *dealt, strict=True):
        tags = [names.tag_of(sid, me, peer, which, share) for which, share in zip(secrets, shares, strict=True)]
        box = seal(names.box_key(agreed, sid, me, peer), b"".join(shares), names.box_binding(sid, me, peer, *tags))
        mask_tag, self_tag, *link_tags = tags
        sealed.append(SealedShares(box, mask_tag, self_tag, tuple(link_tags)))
    return tuple(sealed)


@client.on(Shared, Inbox)
def hold(state: Shared, sender: PartyId, message: Inbox) -> Step:
    own, session = state.own, state.session
    if message.who != own.me:
        raise OutOfTurn(SERVER, f"was overheard: this inbox is for party {message.who}")
    members = from_bitmap(message.members, session.ids, SERVER)
    neighbours = session.neighbours(own.me)
    dealers = tuple(peer for peer in neighbours if peer in members)
    threshold = session.parameters.threshold
    if own.me not in members:
        raise UnsafeUnmask(SERVER, "my shares were relayed to nobody, yet I am asked to go on")
    if len(members) < session.smallest_sum:
        raise CohortTooSmall(SERVER, f"{len(members)} clients shared; {session.smallest_sum} are required")
    if len(message.sealed) != len(dealers):
        raise ShapeMismatch(SERVER, f"{len(message.sealed)} sealed shares for {len(dealers)} dealers")
    held, complaints = open_inbox(state, dealers, message.sealed)
    if len(held) < threshold:
        raise CohortTooSmall(SERVER, f"{len(held)} of the dealt shares are good; {threshold} are required")
    pairs = tuple(
        Paired(peer, seed) for peer, seed in zip(neighbours, state.pair_seeds, strict=True) if peer in members
    )
    ready = Ready(
        own=own,
        update_seed=derive(state.root, names.LABEL_UPDATE, session.context),
        self_seed=names.self_mask_seed(derive(state.root, names.LABEL_SELF_SEED, session.context), session.sid, own.me),
        session=session,
        members=message.members,
        pairs=pairs,
        held=held,
        complaints=complaints,
    )
    return ready, [Envelope((APP,), NeedUpdate(session.agreement))]


def open_inbox(
    state: Shared, dealers: tuple[PartyId, ...], sealed: tuple[SealedShares, ...]
) -> tuple[tuple[Held, ...], tuple[Who, ...]]:
    """The shares that open and match their tags, and the dealers whose did not.

    A bad box is not fatal: the server may have garbled it to make me leave. I hold nothing for
    that dealer and say so.
    """
    seeds = dict(zip(state.session.neighbours(state.own.me), state.box_seeds, strict=True))
    held: list[Held] = []
    complaints: list[PartyId] = []
    for dealer, letter in zip(dealers, sealed, strict=True):
        try:
            held.append(open_shares(state.session, dealer, state.own.me, seeds[dealer], letter))
        except BadBox:
            complaints.append(dealer)
    return tuple(held), tuple(complaints)


def open_shares(session: Session, dealer: PartyId, me: PartyId, agreed: Seed, letter: SealedShares) -> Held:
    """Open one box and compare all shares with their tags.

    Raises: BadBox(dealer) when the box was made for another pair, session, direction or plan, when its
        shares are no field elements, or when they contradict the tags the server will check against.
    """
    sid, links = session.sid, session.links
    if not letter.fits(links):
        raise BadBox(dealer, f"sealed {len(letter.box)} bytes; {2 + links} shares are dealt in this round")
    tags = (letter.mask_tag, letter.self_tag, *letter.link_tags)
    with blame(dealer):
        plaintext = open_box(
            names.box_key(agreed, sid, dealer, me), letter.box, names.box_binding(sid, dealer, me, *tags)
        )
    pieces = [plaintext[start : start + SHARE_BYTES] for start in range(0, len(plaintext), SHARE_BYTES)]
    secrets = (names.MASK_SECRET, names.SELF_SECRET, *map(names.link_secret, range(links)))
    for which, piece, tag in zip(secrets, pieces, tags, strict=True):
        try:
            Share.from_bytes(session.point(dealer, me), piece)
        except BadShare as error:
            raise BadBox(dealer, f"sealed something that is no share: {error}") from error
        if not hmac.compare_digest(names.tag_of(sid, dealer, me, which, piece), tag):
            raise BadBox(dealer, "sealed a share that contradicts its tag")
    mask_share, self_share, *link_shares = map(Secret, pieces)
    return Held(dealer, mask_share, self_share, tuple(link_shares))


@client.on(Ready, Submit)
def upload(state: Ready, sender: PartyId, message: Submit) -> Step:
    session, coding = state.session, state.session.coding
    vector = message.vector
    extras = words_of(session.agreement, coding, session.extras, message)
    pairs: dict[int, Seed] = {pair.peer: pair.seed for pair in state.pairs}

    def masked(words: RingVector, ring: Ring, section: int, workers: Workers = ALONE) -> bytearray:
        return mask_and_pack(
            words, ring, state.self_seed, pairs, state.own.me, session.sid, section, words.size, workers
        )

    letter = Masked(
        masked(vector, coding.ring, names.MODEL_SECTION, state.own.workers),
        masked(extras, EXTRAS_RING, names.EXTRAS_SECTION),
        state.complaints,
    )
    return Sent(state.own, session, state.members, state.held), [Envelope((SERVER,), letter)]


@client.on(Sent, Submit)
def submit_again(state: Sent, sender: PartyId, message: Submit) -> Step:
    raise Misused("one vector per round: a second one under the same masks would reveal their difference")


@client.on(Sent, Survivors)
def witness(state: Sent, sender: PartyId, message: Survivors) -> Step:
    session, own = state.session, state.own
    check_survivors(state, message.bitmap)
    if session.agreement.plan.promise is Promise.CURIOUS:
        letter = answer(session, own.me, state.members, message.bitmap, state.held)
        return Done(session.context), [Envelope((SERVER,), letter)]
    signature = own.sign(names.witness_text(session.sid, message.bitmap))
    witnessed = Witnessed(own, session, state.members, message.bitmap, state.held)
    return witnessed, [Envelope((SERVER,), Witness(signature))]


def check_survivors(state: Sent, bitmap: bytes) -> None:
    """The list must name me, only clients that shared as I was told, and enough of them.

    Against: a server that invents drop-outs until few remain, or names clients whose masks I never
    added and so leaves others' alone in the sum.
    """
    session = state.session
    members = from_bitmap(state.members, session.ids, SERVER)
    survivors = from_bitmap(bitmap, session.ids, SERVER)
    if state.own.me not in survivors:
        raise UnsafeUnmask(SERVER, "my vector was sent, yet I am not among the survivors I shall open")
    if not survivors <= members:
        raise UnsafeUnmask(SERVER, "names survivors that never shared, as I was told")
    if len(survivors) < session.smallest_sum:
        raise CohortTooSmall(SERVER, f"a sum over {len(survivors)} clients; {session.smallest_sum} are required")
    if session.graph.windows(survivors) <= session.parameters.window:
        raise UnsafeUnmask(SERVER, "the survivors fall apart into groups whose sums would be opened")


@client.on(Witnessed, Survivors)
def second_list(state: Witnessed, sender: PartyId, message: Survivors) -> Step:
    raise Replay(SERVER, "asks for a second signature; one list of survivors per round")


@client.on(Witnessed, Witnesses)
def reveal(state: Witnessed, sender: PartyId, message: Witnesses) -> Step:
    session = state.session
    check_witnesses(state, message)
    letter = answer(session, state.own.me, state.members, state.survivors, state.held)
    return Done(session.context), [Envelope((SERVER,), letter)]


def check_witnesses(state: Witnessed, message: Witnesses) -> None:
    """Enough survivors of this very session signed the very list I was shown: a quorum, and a whole cohort.

    Two lists with a quorum each share more signers than may be corrupt, hence an honest one, and
    honest clients sign once; so all who answer were shown the same list. A cohort of signers, because a listed
    client may have been shown another roster, in which its masks are rebuilt: it would hide nobody in this sum.
    """
    session = state.session
    survivors = from_bitmap(state.survivors, session.ids, SERVER)
    if len(message.signed) < session.smallest_sum:
        raise ViewMismatch(SERVER, f"{len(message.signed)} witnesses; {session.smallest_sum} are required")
    signers = frozenset(session.ids[entry.index] for entry in message.signed if entry.index < len(session.ids))
    if not session.witnessed_by(signers):
        raise ViewMismatch(SERVER, "some stretch of the ring has too few witnesses that share my session")
    text = names.witness_text(session.sid, state.survivors)
    identities = {**session.certified, **state.own.policy.identities}
    for entry in message.signed:
        if entry.index >= len(session.ids) or session.ids[entry.index] not in survivors:
            raise ViewMismatch(SERVER, f"witness {entry.index} is no survivor")
        try:
            state.own.verify(identities[session.ids[entry.index]], text, entry.signature)
        except BadSignature as error:
            raise ViewMismatch(SERVER, "a witness signed another list of survivors than mine") from error


def answer(session: Session, me: PartyId, members: bytes, bitmap: bytes, held: tuple[Held, ...]) -> Unmask:
    """One share per sharing neighbour: of the self seed if it survived, of the mask key if not.

    Of a survivor's removable noise, that link of its chain which the number of survivors opens, and no other.
    """
    sharing = from_bitmap(members, session.ids, SERVER)
    survivors = from_bitmap(bitmap, session.ids, SERVER)
    kept = {holding.dealer: holding for holding in held}
    asked = tuple(peer for peer in session.neighbours(me) if peer in sharing)

    def told(dealer: PartyId) -> bytes | None:
        if dealer not in kept:
            return None
        holding = kept[dealer]
        return (holding.self_share if dealer in survivors else holding.mask_share).expose()

    def link(dealer: PartyId) -> bytes | None:
        if dealer not in kept or dealer not in survivors:
            return None
        return kept[dealer].links[session.opened_link(len(survivors))].expose()

    return Unmask(tuple(map(told, asked)), tuple(map(link, asked)) if session.links else ())


@client.on(Done, Result)
def publish(state: Done, sender: PartyId, message: Result) -> Step:
    if message.context != state.context:
        raise ViewMismatch(SERVER, "the published result belongs to another context: other model, plan or round")
    return state, [Envelope((APP,), message)]


for _message in (Survivors, Witnesses):

    @client.on(Done, _message)
    def answered(state: Done, sender: PartyId, message: Any) -> Step:
        raise Replay(SERVER, "asks again after this client has answered and erased its shares")
