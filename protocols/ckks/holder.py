"""The holder of a part of the key: first the ceremony, then one answer for each sum.

    Uninvited -Invite-> Committed -Commits-> Dealt -Deals-> Checking -Certificate-> Holding -EncryptedSum-> Holding'
                                                            Checking -Dispute-> Failed, and the dealer is named
                                                            Holding -Probe-> Holding'  before any client's sum

It commits before it sees another's part: whoever spoke last could else choose its own so that the sum is a key it
knows. It opens one sum for a context, over enough clients whose signatures it has seen, and stores that it did
before it answers.
"""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from protocols.ckks import epoch as names
from protocols.ckks.binding import Binding, binding_of, hash_bytes, knapsack_of
from protocols.ckks.epoch import POLYNOMIAL_BYTES, Dealing, Epoch, Polynomial
from protocols.ckks.messages import (
    Certificate,
    Checked,
    Commit,
    Commits,
    Contribution,
    Deals,
    Dispute,
    EncryptedSum,
    Invite,
    Partial,
    Probe,
    Reveal,
    Revealed,
    Summands,
    signed_values,
)
from protocols.ckks.questions import Question, answered, check_cohort, check_key, next_of, signed_texts
from protocols.errors import (
    BadShare,
    KeyMismatch,
    OutOfTurn,
    PolicyViolation,
    ShapeMismatch,
    ViewMismatch,
    blame,
)
from protocols.party import SERVER, Blame, Envelope, Failed, PartyId, Role, Step
from protocols.plan import ContextBytes, require_clients, require_floor, require_pinned
from protocols.verifying import Verifier
from protocols.wire import U32, U64, Buffer, Bytes32, Exactly, Supplied
from secagg.box import open_box, seal
from secagg.ckks.binding import hash_from_bytes
from secagg.ckks.ceremony import (
    challenge,
    check_commitment,
    commitment_of,
    summand,
    transcript_of,
)
from secagg.ckks.cipher import add_planes_into
from secagg.ckks.plan import CkksPlan, Mode
from secagg.ckks.share import Dealt as Piece
from secagg.ckks.share import combine_deals, fits_degree, lagrange, partial, smudging_seed
from secagg.ckks.wire import check_planes, pack_into, packed_bytes
from secagg.keys import AgreementKey, Context, Secret, Seed, derive
from secagg.negacyclic import PRIME, N, Residues

holder = Role("ckks holder", Blame.ABORT)

SecretPolynomial = Annotated[Secret, Exactly(POLYNOMIAL_BYTES)]


@dataclass(frozen=True, slots=True)
class HolderPolicy:
    """What this holder insists on, whatever the server proposes.

    `holders` pins the identity keys of those it shares keys with, itself included; `clients` those whose uploads may
    be in a sum. At least `min_cohort` clients in a sum, and never fewer than the key was made for; at least
    `min_threshold` holders to open one, and as many as a third of the pinned being corrupt calls for; at most
    `max_openings` with one key.
    """

    holders: frozenset[bytes]
    clients: Mapping[PartyId, bytes]
    min_cohort: int = 3
    min_threshold: int = 2
    max_openings: int = 1000

    def __post_init__(self) -> None:
        require_pinned("holders", self.holders)
        require_clients(self.clients)
        require_floor(self.min_cohort)

    def check(self, epoch: Epoch) -> None:
        """Raises: PolicyViolation in the server's name, saying what was proposed and what is required."""
        keys = epoch.plan.keys
        for fine, what in (
            (keys.mode is Mode.THRESHOLD, f"mode {keys.mode.value} has no holders who share a key"),
            (self.holders.issuperset(epoch.holders), "shares the key with a holder whom this policy does not pin"),
            (
                keys.tolerates_a_third_of(len(self.holders)),
                f"{keys.threshold} of {keys.holders} holders may open two sums if a third of those pinned is corrupt",
            ),
            (keys.threshold >= self.min_threshold, f"threshold {keys.threshold} is below {self.min_threshold}"),
            (keys.openings <= self.max_openings, f"{keys.openings} openings are above {self.max_openings}"),
        ):
            if not fine:
                raise PolicyViolation(SERVER, f"proposed a key this policy refuses: {what}")


@dataclass(frozen=True, slots=True)
class Own:
    """Who this holder is; given again after a restart, never written into a state."""

    identity: bytes
    policy: HolderPolicy
    sign: Callable[[bytes], bytes] = field(repr=False)
    verify: Verifier


Self = Annotated[Own, Supplied]


@dataclass(frozen=True, slots=True)
class Uninvited:
    """Before the ceremony. `root` was drawn for this key alone."""

    own: Self
    root: Seed


@dataclass(frozen=True, slots=True)
class Committed:
    """I have committed to my part of the key, before anybody has shown theirs."""

    own: Self
    root: Seed
    epoch: Epoch
    context: ContextBytes
    me: U32
    said: Commit


@dataclass(frozen=True, slots=True)
class Dealt:
    """Everything is revealed, and waits for the others' pieces."""

    own: Self
    root: Seed
    epoch: Epoch
    context: ContextBytes
    me: U32
    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True)
class Checking:
    """The pieces are added up and the root is gone. `summands` tell who dealt wrongly, should it come to that."""

    own: Self
    epoch: Epoch
    context: ContextBytes
    me: U32
    share: SecretPolynomial
    smudging: Seed
    public: Polynomial
    said: Checked
    summands: tuple[U64, ...]
    transcript: Bytes32


@dataclass(frozen=True, slots=True)
class Holding:
    """A share of the key, good for as many openings as its plan counts; `asked` is by the context of the round."""

    own: Self
    share: SecretPolynomial
    smudging: Seed
    certificate: Certificate
    me: U32
    transcript: Bytes32
    asked: dict[ContextBytes, Question]

    @property
    def answered(self) -> int:
        """How many openings are spent."""
        return answered(self.asked)


@holder.on(Uninvited, Invite)
def commit(state: Uninvited, sender: PartyId, message: Invite) -> Step:
    own, epoch = state.own, message.epoch
    if own.identity not in epoch.holders:
        raise PolicyViolation(SERVER, "invites me to hold a key that is not shared with me")
    own.policy.check(epoch)
    context, me = epoch.context, epoch.holders.index(own.identity) + 1
    dealing = Dealing.of(state.root, epoch, context)
    public = names.to_bytes(dealing.public)
    commitment = commitment_of(context, names.reveal_of(me, dealing.nonce, public, dealing.hashes(context, me)))
    box_key = box_pair(state.root, context).public
    said = Commit(commitment, box_key, own.sign(names.committed_text(context, me, commitment, box_key)))
    return Committed(own, state.root, epoch, context, me, said), [Envelope((SERVER,), said)]


@holder.on(Committed, Commits)
def reveal(state: Committed, sender: PartyId, message: Commits) -> Step:
    own, epoch, context, me = state.own, state.epoch, state.context, state.me
    if len(message.commits) != len(epoch.holders):
        raise ShapeMismatch(SERVER, f"{len(message.commits)} commitments of {len(epoch.holders)} holders")
    if message.commits[me - 1] != state.said:
        raise KeyMismatch(SERVER, "my own commitment is missing or altered")
    if len({said.box_key for said in message.commits}) != len(message.commits):
        raise KeyMismatch(SERVER, "two holders show one key")
    with blame(SERVER):
        for place, (identity, said) in enumerate(zip(epoch.holders, message.commits, strict=True), start=1):
            own.verify(identity, names.committed_text(context, place, said.commitment, said.box_key), said.signature)
    dealing = Dealing.of(state.root, epoch, context)
    pair = box_pair(state.root, context)
    boxes = []
    for place, (said, piece) in enumerate(zip(message.commits, dealing.pieces, strict=True), start=1):
        key = names.box_key(agreed_with(pair, said.box_key), context, me, place)
        boxes.append(seal(key, names.piece_to_bytes(piece), names.box_binding(context, me, place)))
    letter = Reveal(dealing.nonce, names.to_bytes(dealing.public), dealing.hashes(context, me), tuple(boxes))
    return Dealt(own, state.root, epoch, context, me, message.commits), [Envelope((SERVER,), letter)]


@holder.on(Dealt, Deals)
def check(state: Dealt, sender: PartyId, message: Deals) -> Step:
    epoch, context, me = state.epoch, state.context, state.me
    if message.to != me:
        raise OutOfTurn(SERVER, f"brings me what is for holder {message.to}")
    if len(message.reveals) != len(epoch.holders):
        raise ShapeMismatch(SERVER, f"{len(message.reveals)} reveals of {len(epoch.holders)} holders")
    pair = box_pair(state.root, context)
    with blame(SERVER):
        reveals = [
            names.reveal_of(dealer, each.nonce, each.public, each.hashes)
            for dealer, each in enumerate(message.reveals, start=1)
        ]
        for reveal, committed in zip(reveals, state.commits, strict=True):
            check_commitment(context, reveal, committed.commitment)
    pieces = tuple(
        opened(state, pair, dealer, committed, revealed)
        for dealer, (committed, revealed) in enumerate(zip(state.commits, message.reveals, strict=True), start=1)
    )
    public = names.to_bytes(names.collective([reveal.public_share for reveal in reveals]))
    transcript = transcript_of(context, reveals)
    gamma = challenge(context, transcript)
    summands = tuple(summand(gamma, piece) for piece in pieces)
    value = sum(summands) % PRIME
    said = Checked(value, state.own.sign(names.checked_text(context, me, public, value)))
    share = combine_deals(pieces)
    for piece in pieces:
        piece.erase()
    secret, smudging = Secret(names.to_bytes(share.residues)), derive(state.root, names.LABEL_SMUDGING, context)
    share.erase()
    checking = Checking(state.own, epoch, context, me, secret, smudging, public, said, summands, transcript)
    return checking, [Envelope((SERVER,), said)]


def opened(state: Dealt, pair: AgreementKey, dealer: int, said: Commit, revealed: Revealed) -> Piece:
    """The piece that holder `dealer` dealt me.

    Raises: BadShare, BadBox in the server's name, for a reveal that is not what was committed to: who garbled it,
        dealer or server, nobody else can tell, and the ceremony starts again.
    """
    context, me = state.context, state.me
    if len(revealed.hashes) != len(state.epoch.holders):
        raise ShapeMismatch(SERVER, f"holder {dealer} reveals {len(revealed.hashes)} hashes")
    key = names.box_key(agreed_with(pair, said.box_key), context, dealer, me)
    with blame(SERVER):
        plaintext = open_box(key, revealed.box, names.box_binding(context, dealer, me))
        piece = names.piece_from_bytes(plaintext)
    if not hmac.compare_digest(names.piece_hash(context, dealer, me, plaintext), revealed.hashes[me - 1]):
        raise BadShare(SERVER, f"holder {dealer} deals me another piece than it committed to")
    return piece


@holder.on(Checking, Certificate)
def hold(state: Checking, sender: PartyId, message: Certificate) -> Step:
    if message.epoch != state.epoch or message.public != state.public:
        raise ViewMismatch(SERVER, "certifies another key than the one my pieces belong to")
    require_my_word(state, message.checks)
    message.check(state.own.verify, SERVER)
    return Holding(state.own, state.share, state.smudging, message, state.me, state.transcript, {}), []


@holder.on(Checking, Dispute)
def tell(state: Checking, sender: PartyId, message: Dispute) -> Step:
    """What was dealt is told only where signed values show that the key is void; each number is still masked."""
    require_my_word(state, message.checks)
    values = signed_values(state.epoch, state.public, message.checks, state.own.verify, SERVER)
    if fits_degree(values, state.epoch.plan.keys.threshold):
        raise PolicyViolation(SERVER, "disputes a key whose pieces belong together")
    given_up = Failed("BadDealing", "the key's holders were dealt pieces of no one polynomial")
    return given_up, [Envelope((SERVER,), Summands(state.summands))]


def require_my_word(state: Checking, checks: tuple[Checked, ...]) -> None:
    """Raises: ViewMismatch in the server's name, unless every holder is quoted, and I as I spoke."""
    if len(checks) != len(state.epoch.holders) or checks[state.me - 1] != state.said:
        raise ViewMismatch(SERVER, "my own word is missing or altered")


def box_pair(root: Seed, context: bytes) -> AgreementKey:
    """The key pair of this ceremony's boxes."""
    return AgreementKey(derive(root, names.LABEL_BOX_KEY, context))


def agreed_with(pair: AgreementKey, public: bytes) -> Seed:
    with blame(SERVER):
        return pair.agree(public)


@holder.on(Holding, EncryptedSum)
def answer(state: Holding, sender: PartyId, message: EncryptedSum) -> Step:
    """My part of the opening, once for a sum and a set of holders; the driver stores the new state before it leaves."""
    check_key(message.key, state.certificate.digest)
    check_openers(state, message.openers)
    question = checked_question(state, message)
    return opened_in_part(state, message.context, question, message.openers, added_up(state, message))


@holder.on(Holding, Probe)
def prove(state: Holding, sender: PartyId, message: Probe) -> Step:
    """My part of opening the pattern of this key, which I encrypt for myself: the server says nothing but who opens."""
    check_openers(state, message.openers)
    epoch = state.certificate.epoch
    _, half = names.probe_halves(epoch, state.certificate.public, state.transcript)
    return opened_in_part(state, epoch.context, state.transcript, message.openers, half)


def check_openers(state: Holding, openers: tuple[int, ...]) -> None:
    """Raises: PolicyViolation for a set that is not t holders of this key, me included."""
    keys = state.certificate.epoch.plan.keys
    ascending = all(a < b for a, b in itertools.pairwise(openers))
    if len(openers) != keys.threshold or state.me not in openers or openers[-1] > keys.holders or openers[0] < 1:
        raise PolicyViolation(
            SERVER, f"asks holders {openers} to open; it takes {keys.threshold} of {keys.holders}, me included"
        )
    if not ascending:
        raise PolicyViolation(SERVER, f"asks holders {openers} to open, in no order: a set has one")


def opened_in_part(state: Holding, context: Context, question: bytes, openers: tuple[int, ...], half: Residues) -> Step:
    """My share of the opening of what has this second half, smudged; it counts against what the key may open."""
    asked = next_question(state, context, question, openers)
    plan = state.certificate.epoch.plan
    share = names.from_bytes(state.share.expose())
    noise = smudging_seed(state.smudging, context, question, openers)
    part = partial(share, half, lagrange(openers)[state.me], plan.noise.smudging, noise)
    share[:] = 0
    width = names.partial_width(plan)
    packed = bytearray(packed_bytes(part.size, width))
    pack_into(packed, part, width)
    letter = Partial(context, question, openers, packed)
    return replace(state, asked=state.asked | {context: asked}), [Envelope((SERVER,), letter)]


def checked_question(state: Holding, message: EncryptedSum) -> bytes:
    """The name of the sum that is asked about, after everybody's signature on what they uploaded was checked.

    Against: a server that asks to open the upload of one client under a list of many, or sums of clients it made up.
    """
    own, key = state.own, state.certificate.digest
    epoch = state.certificate.epoch
    check_cohort(len(message.contributions), max(own.policy.min_cohort, epoch.min_cohort), epoch.plan.clients)
    texts = signed_texts(message.context, key, message.contributions, own.policy.clients, own.verify)
    return names.question_of(message.context, key, texts)


def next_question(state: Holding, context: Context, question: bytes, openers: tuple[int, ...]) -> Question:
    """As `next_of`, by what this holder remembers."""
    return next_of(state.asked, state.certificate.epoch.plan.keys.openings, context, question, openers)


def added_up(state: Holding, message: EncryptedSum) -> Residues:
    """The sum of the second halves that contributors signed, by whatever binds it.  Shapes: rows of N residues."""
    plan = state.certificate.epoch.plan
    legal = hash_bytes(plan)
    for said in message.contributions:
        if len(said.hash) != legal:
            raise ShapeMismatch(SERVER, f"shows {len(said.hash)} bytes of client {said.who}'s hash, {legal} are legal")
    match binding_of(plan):
        case Binding.FULL:
            return sum_of_halves(plan, message)
        case Binding.HASHED:
            return sum_of_digits(plan, message)


def sum_of_halves(plan: CkksPlan, message: EncryptedSum) -> Residues:
    """Added by nobody but me."""
    if message.digits:
        raise ShapeMismatch(SERVER, f"sends {len(message.digits)} bytes of digit sums beside halves")
    if len(message.halves) != len(message.contributions):
        raise ShapeMismatch(SERVER, f"sends {len(message.halves)} halves of {len(message.contributions)} uploads")
    total = np.zeros(plan.blocks * N, np.uint64)
    for said, half in zip(message.contributions, message.halves, strict=True):
        require_signed(said, half)
        with blame(SERVER):
            check_planes(half, total.size, plan.width1)
        add_planes_into(total, half, total.size, plan.width1)
    return total.reshape(plan.blocks, N)


def require_signed(said: Contribution, half: Buffer) -> None:
    """Raises: ViewMismatch for a half that its contributor did not sign."""
    if not hmac.compare_digest(names.digest(half), said.digest1):
        raise ViewMismatch(SERVER, f"sends another half than client {said.who} signed")


def sum_of_digits(plan: CkksPlan, message: EncryptedSum) -> Residues:
    """Added by the server, and the only one that has the hash which the contributors' signed hashes add up to.

    Against: a server that shows the half of one, or leaves one out, under a list of many.
    """
    if message.halves:
        raise ShapeMismatch(SERVER, f"sends {len(message.halves)} halves where digit sums are shown")
    knapsack = knapsack_of(plan, message.context)
    with blame(SERVER):
        sums = knapsack.from_bytes(message.digits)
        bound = knapsack.binds(sums, [hash_from_bytes(said.hash) for said in message.contributions])
    if not bound:
        raise ViewMismatch(SERVER, "shows digit sums of other halves than its contributors hashed")
    return knapsack.residues(sums)


# A key is for many rounds: what is refused in one of them must not cost the others.
holder.lasts(Holding)
