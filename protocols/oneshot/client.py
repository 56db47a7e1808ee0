"""The client of a one-shot round: it speaks once.

    Idle -OpenOneShot-> Ready -Submit-> Done -Result-> Done

Before it masks it checks who can open: a committee of members it pinned, none of them the server. All its secrets of
the round are functions of its root, the round and the very vector it masks: a client that was put back to before it
spoke, and is asked to mask another vector, does so under another key, so two vectors never share a mask.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from protocols.coding import RingVector
from protocols.errors import BadCommittee, BadPlan, PolicyViolation, Replay, ViewMismatch
from protocols.messages import NeedUpdate, Result, Submit
from protocols.oneshot import epoch as names
from protocols.oneshot.messages import Certificate, Concealed, OpenOneShot
from protocols.oneshot.shape import Shape
from protocols.party import APP, SERVER, Blame, Envelope, PartyId, Role, Step
from protocols.plan import Agreement, ContextBytes, Policy, context_of
from protocols.submission import words_of
from protocols.verifying import Verifier
from protocols.wire import I64, Supplied
from secagg.box import seal
from secagg.keys import AgreementKey, Context, Seed, derive
from secagg.negacyclic import Integers
from secagg.prg import Stream
from secagg.rlwe import conceal_packed, draw_secret
from secagg.shamir import deal_packed
from secagg.workers import ALONE, Workers

client = Role("one-shot client", Blame.ABORT)


@dataclass(frozen=True, slots=True)
class Own:
    """Who this client is; given again after a restart, never written into a state."""

    me: PartyId
    policy: Policy
    sign: Callable[[bytes], bytes] = field(repr=False)
    verify: Verifier
    server: bytes
    workers: Workers = ALONE


Self = Annotated[Own, Supplied]


@dataclass(frozen=True, slots=True)
class Idle:
    """Before the round. `root` was drawn for this round alone; `last_round` is the last one spent."""

    own: Self
    root: Seed
    last_round: I64


@dataclass(frozen=True, slots=True)
class Ready:
    """The committee is checked; the application trains. `update_seed` feeds rounding and noise."""

    own: Self
    root: Seed
    update_seed: Seed
    agreement: Agreement
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Done:
    """The one message has left, and nothing is kept but the round's public name."""

    context: ContextBytes


@client.on(Idle, OpenOneShot)
def prepare(state: Idle, sender: PartyId, message: OpenOneShot) -> Step:
    own, agreement, certificate = state.own, message.agreement, message.certificate
    if agreement.round <= state.last_round:
        raise Replay(SERVER, f"round {agreement.round} of this task is spent; open a later one")
    own.policy.check(agreement)
    check_committee(own, agreement, certificate)
    try:
        Shape.of(agreement)
    except BadPlan as error:
        raise PolicyViolation(SERVER, f"proposes a round nobody can mask for: {error}") from error
    update_seed = derive(state.root, names.LABEL_UPDATE, context_of(agreement))
    ready = Ready(own, state.root, update_seed, agreement, certificate)
    return ready, [Envelope((APP,), NeedUpdate(agreement))]


def check_committee(own: Own, agreement: Agreement, certificate: Certificate) -> None:
    """The committee must be the one the agreement names, of members I know, and serve rounds such as this.

    Against: a server that opens alone, or with members of its own making, or with the few of those I pinned whom it
    has corrupted.
    Raises: BadCommittee, ViewMismatch in the server's name.
    """
    policy, epoch = own.policy, certificate.epoch
    if not hmac.compare_digest(certificate.digest, agreement.key):
        raise ViewMismatch(SERVER, "shows another committee than the round names")
    tolerated, pinned = epoch.quorum.corrupted, len(policy.holders)
    for fine, what in (
        (epoch.task == agreement.plan.task, f"serves task {epoch.task!r}"),
        (own.server not in epoch.members, "has the server itself as a member"),
        (policy.holders.issuperset(epoch.members), "has a member whom my policy does not pin in Policy.holders"),
        (
            tolerated + 1 >= policy.min_opening_threshold,
            f"may be opened by {tolerated + 1} corrupt members; I ask for {policy.min_opening_threshold}",
        ),
        (
            tolerated >= pinned // 5,
            f"is safe with {tolerated} corrupt members, fewer than a fifth of the {pinned} whom my policy pins",
        ),
        (
            epoch.min_cohort >= agreement.plan.min_cohort,
            f"opens sums over {epoch.min_cohort} clients, this round is for {agreement.plan.min_cohort} and more",
        ),
    ):
        if not fine:
            raise BadCommittee(SERVER, f"shows a committee that {what}")
    certificate.check(own.verify, SERVER)


@client.on(Ready, Submit)
def upload(state: Ready, sender: PartyId, message: Submit) -> Step:
    own, agreement, context = state.own, state.agreement, context_of(state.agreement)
    shape = Shape.of(agreement)
    elements = shape.elements(message.vector, words_of(agreement, shape.coding, shape.extras, message))
    root = bound_to(state.root, context, elements)
    secret = draw_secret(derive(root, names.LABEL_SECRET, context))
    errors = derive(root, names.LABEL_ERRORS, context)
    vector = conceal_packed(shape.mask, elements, secret, errors, context, own.workers)
    pair = AgreementKey(derive(root, names.LABEL_BOX_KEY, context))
    boxes = sealed_shares(own.me, state.certificate, secret, root, context, pair)
    secret[:] = 0
    root.erase()
    text = names.upload_text(context, state.certificate.epoch.context, own.me, pair.public)
    return Done(context), [Envelope((SERVER,), Concealed(vector, pair.public, own.sign(text), boxes))]


def bound_to(root: Seed, context: Context, elements: RingVector) -> Seed:
    """The root of all secrets of one message; of two different vectors the same only with probability 2^-100 at most.

    Against: two vectors under one mask key, whose difference would be plain to everybody.
    A tag of AES-GCM serves as the universal hash of up to 2^31 bytes, of which nobody sees a value: GHASH of B blocks
    collides with probability (B + 1) / 2^128 (McGrew and Viega, INDOCRYPT 2004). Measured on 4 MB it takes
    0.3 ms where SHA-256 takes 3.
    """
    key = derive(root, names.LABEL_BINDING, context)
    tag = seal(key, b"", np.ascontiguousarray(elements).data.cast("B"))
    return derive(root, names.LABEL_MESSAGE, context, tag)


def sealed_shares(
    me: PartyId,
    certificate: Certificate,
    secret: Integers,
    root: Seed,
    context: Context,
    pair: AgreementKey,
) -> tuple[bytes, ...]:
    """The share of each member, sealed to it; any `corrupted` of them together say nothing about the secret."""
    shares = deal_packed(secret, certificate.epoch.quorum, Stream(derive(root, names.LABEL_DEAL, context)))
    boxes = []
    for place, (member, share) in enumerate(zip(certificate.members, shares, strict=True), start=1):
        key = names.box_key(pair.agree(member.box_key), context, me, place)
        boxes.append(seal(key, names.share_to_bytes(share), names.box_binding(context, me, place)))
    shares[:] = 0
    return tuple(boxes)


@client.on(Done, Result)
def publish(state: Done, sender: PartyId, message: Result) -> Step:
    if message.context != state.context:
        raise ViewMismatch(SERVER, "the published result belongs to another context: other model, plan or round")
    return state, [Envelope((APP,), message)]
