"""The member of a committee: it adds up what clients dealt it, for one set of clients a round.

    Uninvited -Convene-> Serving -Included-> Serving'

Which set that is, it stores before it answers. Were it to answer for two sets of one round, their difference would be
some client's key. The same set again gets the same answer, which follows from what is asked and from the epoch's key.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from protocols.errors import (
    AlreadyAnswered,
    BadPlan,
    BadShare,
    CohortTooSmall,
    Duplicate,
    KeyMismatch,
    OutOfTurn,
    PolicyViolation,
    blame,
)
from protocols.oneshot import epoch as names
from protocols.oneshot.epoch import Epoch
from protocols.oneshot.messages import Contribution, Convene, Enlisted, Included, Summed
from protocols.party import SERVER, Blame, Envelope, PartyId, Role, Step
from protocols.plan import ContextBytes, require_clients, require_floor, require_pinned
from protocols.verifying import Verifier
from protocols.wire import U32, Bytes32, Supplied
from secagg.box import open_box
from secagg.errors import BadBox, BadPoint
from secagg.errors import BadShare as WrongShare
from secagg.keys import AgreementKey, Context, Seed
from secagg.shamir import PackedShare, add_share_into, check_share, reduced

member = Role("one-shot member", Blame.ABORT)


@dataclass(frozen=True, slots=True)
class MemberPolicy:
    """What this member insists on, whatever the server proposes.

    `members` pins the identity keys of those it serves with, itself included; `clients` those whose vectors may be in
    a sum. At least `min_cohort` clients in a sum, and never fewer than the committee was made for; a committee that is
    safe with at least `min_corrupted` corrupt members, and with a fifth of all pinned; at most `max_rounds` rounds.
    Where more than a fifth may be corrupt, `min_corrupted` says how many: a server may convene just those it corrupted.
    """

    members: frozenset[bytes]
    clients: Mapping[PartyId, bytes]
    min_cohort: int = 3
    min_corrupted: int = 1
    max_rounds: int = 1000

    def __post_init__(self) -> None:
        require_pinned("members", self.members)
        require_clients(self.clients)
        require_floor(self.min_cohort)
        for name, least in (("min_corrupted", 1), ("max_rounds", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise BadPlan(f"{name} is {value!r}, it must be an integer of at least {least}")

    def check(self, epoch: Epoch) -> None:
        """Raises: PolicyViolation in the server's name, saying what was proposed and what is required."""
        tolerated = epoch.quorum.corrupted
        needed = max(self.min_corrupted, len(self.members) // 5)
        for fine, what in (
            (self.members.issuperset(epoch.members), "has a member whom this policy does not pin"),
            (tolerated >= needed, f"is safe with {tolerated} corrupt members, {needed} are asked for"),
            (
                epoch.min_cohort >= self.min_cohort,
                f"opens sums over {epoch.min_cohort} clients, I open none over fewer than {self.min_cohort}",
            ),
            (epoch.rounds <= self.max_rounds, f"serves {epoch.rounds} rounds, at most {self.max_rounds} are allowed"),
        ):
            if not fine:
                raise PolicyViolation(SERVER, f"proposes a committee that {what}")


@dataclass(frozen=True, slots=True)
class Own:
    """Who this member is; given again after a restart, never written into a state."""

    identity: bytes
    policy: MemberPolicy
    sign: Callable[[bytes], bytes] = field(repr=False)
    verify: Verifier


Self = Annotated[Own, Supplied]


@dataclass(frozen=True, slots=True)
class Uninvited:
    """Before the committee. `root` was drawn for this one alone."""

    own: Self
    root: Seed


@dataclass(frozen=True, slots=True)
class Serving:
    """The committee's key, and of each round the one set of clients that was asked about."""

    own: Self
    key: Seed
    epoch: Epoch
    context: ContextBytes
    me: U32
    asked: dict[ContextBytes, Bytes32]

    @property
    def answered(self) -> int:
        """How many rounds are spent."""
        return len(self.asked)

    @property
    def largest_question(self) -> int:
        """Bytes that no question exceeds; whom the policy does not pin is in none, whatever the epoch says."""
        return self.epoch.largest_question(min(self.epoch.clients, len(self.own.policy.clients)))


@member.on(Uninvited, Convene)
def enlist(state: Uninvited, sender: PartyId, message: Convene) -> Step:
    own, epoch = state.own, message.epoch
    if own.identity not in epoch.members:
        raise PolicyViolation(SERVER, "convenes a committee that I am not a member of")
    own.policy.check(epoch)
    context, me = epoch.context, epoch.members.index(own.identity) + 1
    key = names.member_key(state.root, context)
    public = AgreementKey(key).public
    said = Enlisted(public, own.sign(names.enlisted_text(context, me, public)))
    return Serving(own, key, epoch, context, me, {}), [Envelope((SERVER,), said)]


@member.on(Serving, Included)
def answer(state: Serving, sender: PartyId, message: Included) -> Step:
    """My part of the sum of keys, once for a round; the driver stores the new state before it leaves."""
    if not hmac.compare_digest(message.committee, state.context):
        raise OutOfTurn(SERVER, "asks a committee that I do not serve in now")
    check_cohort(state, len(message.contributions))
    question = names.question_of(message.context, state.context, signed_texts(state, message))
    asked = next_question(state, message.context, question)
    return replace(state, asked=asked), [Envelope((SERVER,), summed(state, message, question))]


def check_cohort(state: Serving, cohort: int) -> None:
    """Raises: CohortTooSmall, PolicyViolation in the server's name for a sum over too few clients, or too many."""
    least = max(state.own.policy.min_cohort, state.epoch.min_cohort)
    if cohort < least:
        raise CohortTooSmall(SERVER, f"asks to open a sum over {cohort} clients; {least} are required")
    if cohort > state.epoch.clients:
        raise PolicyViolation(SERVER, f"asks to open a sum over {cohort} clients; the committee is for fewer")


def signed_texts(state: Serving, message: Included) -> list[bytes]:
    """What each contributor signed about its one vector, in order.

    Against: a server that has sums opened of clients it made up, or of one client by many names.
    Raises: KeyMismatch, BadSignature, Duplicate in the server's name.
    """
    clients, texts = state.own.policy.clients, []
    for said in message.contributions:
        identity = clients.get(said.who)
        if identity is None:
            raise KeyMismatch(SERVER, f"counts client {said.who}, whom my policy does not pin")
        text = names.upload_text(message.context, state.context, said.who, said.box_key)
        with blame(SERVER):
            state.own.verify(identity, text, said.signature)
        texts.append(text)
    if len({clients[said.who] for said in message.contributions}) != len(texts):
        raise Duplicate(SERVER, "counts one client under two numbers")
    return texts


def next_question(state: Serving, context: Context, question: bytes) -> dict[ContextBytes, Bytes32]:
    """What will have been asked.

    Raises: AlreadyAnswered for another set of the same round; PolicyViolation when the committee's rounds are spent.
    """
    before = state.asked.get(context)
    if before is not None and not hmac.compare_digest(before, question):
        raise AlreadyAnswered(SERVER, "asks for a second set of one round: the difference would tell on its clients")
    if before is None and state.answered >= state.epoch.rounds:
        raise PolicyViolation(SERVER, f"asks for more than the committee's {state.epoch.rounds} rounds: convene anew")
    return state.asked | {context: question}


def summed(state: Serving, message: Included, question: bytes) -> Summed:
    """The sum of the shares, or the names of those whose share is none."""
    pair = AgreementKey(state.key)
    total, unreadable = np.zeros(state.epoch.rows, np.uint64), []
    for said in message.contributions:
        try:
            add_share_into(total, opened(state.me, total.size, pair, message.context, said))
        except BadShare:
            unreadable.append(said.who)
    if unreadable:
        return Summed(message.context, question, None, tuple(unreadable))
    return Summed(message.context, question, names.share_to_bytes(reduced(total)))


def opened(me: int, rows: int, pair: AgreementKey, context: Context, said: Contribution) -> PackedShare:
    """The share of so many words that this client dealt the member in my place.

    Raises: BadShare in its name: nobody else can seal under the key it signed.
    """
    try:
        key = names.box_key(pair.agree(said.box_key), context, said.who, me)
        share = names.share_from_bytes(open_box(key, bytes(said.box), names.box_binding(context, said.who, me)))
        check_share(share, rows, "that was dealt")
    except (BadBox, BadPoint, WrongShare) as error:
        raise BadShare(said.who, f"dealt me what is no share: {error}") from error
    return share


# A committee is for many rounds: what is refused in one of them must not cost the others.
member.lasts(Serving)
