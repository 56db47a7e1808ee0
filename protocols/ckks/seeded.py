"""The client of a round whose key all clients share: it encrypts, and opens the sum for itself.

    Idle -OpenSeeded-> Ready -Submit-> Sent -SeededSum-> Done, and the sum to APP

Every round has a key of its own, from the secret that the clients' owner gave each of them. The server learns neither
key nor sum. Every client can decrypt every other's upload that it gets to see: that is this mode.

A client opens one sum in a round, over enough clients whose signatures it has seen, its own upload among them, and its
state says that it did before the sum leaves. It expands the second halves of exactly these uploads for itself, so that
no honest client opens one upload, or a part of them, under a list of many: what it subtracts would not fit. The sum of
the first halves is the server's word. A server that lies about it shifts the sum by what it knows, as whoever hands out
sums always can, or makes rubbish of it: neither tells the server anything but whether clients give up.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from protocols.ckks import epoch as names
from protocols.ckks.messages import Contribution
from protocols.ckks.modes import check_mode
from protocols.ckks.questions import check_cohort, signed_texts
from protocols.ckks.seeded_messages import OpenSeeded, SeededCiphertext, SeededSum
from protocols.ckks.vector import Shape, aggregate_of
from protocols.errors import (
    BadPlan,
    Duplicate,
    ImplausibleSum,
    PolicyViolation,
    Replay,
    ShapeMismatch,
    ViewMismatch,
    blame,
)
from protocols.messages import NeedUpdate, Submit
from protocols.party import APP, SERVER, Blame, Envelope, PartyId, Role, Step
from protocols.plan import Agreement, ContextBytes, Policy, context_of
from protocols.submission import words_of
from protocols.verifying import Verifier
from protocols.wire import I64, Supplied
from secagg.ckks.cipher import Part, add_into, check_opened, each_part, encrypt_seeded, open_exact, public_rows
from secagg.ckks.plan import CkksPlan, Keys, Mode
from secagg.ckks.whole import SharedKey, decrypt
from secagg.ckks.wire import unpack
from secagg.errors import BadCiphertext as Rubbish
from secagg.keys import Seed, derive
from secagg.negacyclic import N, Residues
from secagg.workers import ALONE, Workers

seeded_client = Role("ckks seeded client", Blame.ABORT)

# A round's key opens one sum.
KEYS = Keys(Mode.SEEDED)


@dataclass(frozen=True, slots=True)
class Own:
    """Who this client is; given again after a restart, never written into a state."""

    me: PartyId
    policy: Policy
    sign: Callable[[bytes], bytes] = field(repr=False)
    verify: Verifier
    shared: SharedKey
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
    """The application trains. `update_seed` feeds rounding and noise."""

    own: Self
    root: Seed
    update_seed: Seed
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Sent:
    """The upload has left, and its root is gone; one sum of this round will be opened."""

    own: Self
    agreement: Agreement
    said: Contribution


@dataclass(frozen=True, slots=True)
class Done:
    """The sum was opened and handed to the application; no other of this round will be."""

    context: ContextBytes


@seeded_client.on(Idle, OpenSeeded)
def prepare(state: Idle, sender: PartyId, message: OpenSeeded) -> Step:
    own, agreement = state.own, message.agreement
    if agreement.round <= state.last_round:
        raise Replay(SERVER, f"round {agreement.round} of this task is spent; open a later one")
    check_mode(Mode.SEEDED, own.policy.modes)
    own.policy.check(agreement)
    if not hmac.compare_digest(own.shared.name, agreement.key):
        raise ViewMismatch(SERVER, "names another key than the one I share")
    try:
        Shape.of(agreement, KEYS)
    except BadPlan as error:
        raise PolicyViolation(SERVER, f"proposes a round nobody can encrypt for: {error}") from error
    update_seed = derive(state.root, names.LABEL_UPDATE, context_of(agreement))
    return Ready(own, state.root, update_seed, agreement), [Envelope((APP,), NeedUpdate(agreement))]


@seeded_client.on(Ready, Submit)
def upload(state: Ready, sender: PartyId, message: Submit) -> Step:
    own, agreement, context = state.own, state.agreement, context_of(state.agreement)
    shape = Shape.of(agreement, KEYS)
    words = words_of(agreement, shape.coding, shape.extras, message)
    integers = shape.integers(agreement, message.vector, words)
    public = derive(state.root, names.LABEL_PUBLIC_BYTES, context, names.number(own.me)).expose()
    secret = own.shared.of(context)
    transformed = secret.transformed
    c0 = encrypt_seeded(shape.plan, transformed, integers, state.root, context, public, own.workers)
    secret.erase()
    transformed[:] = 0
    digest0, digest1 = names.digest(c0), names.digest(public)
    signature = own.sign(names.upload_text(context, agreement.key, own.me, digest0, digest1))
    letter = SeededCiphertext(c0, public, signature)
    return Sent(own, agreement, Contribution(own.me, digest0, digest1, signature)), [Envelope((SERVER,), letter)]


@seeded_client.on(Sent, SeededSum)
def open_sum(state: Sent, sender: PartyId, message: SeededSum) -> Step:
    """The sum, once; the driver stores the new state before the application has it.

    Raises: what `check_sum` does; ImplausibleSum where what was opened is no sum: whose upload is rubbish, or whether
        the server's sum is, no client can tell.
    """
    agreement, plan = state.agreement, Shape.of(state.agreement, KEYS).plan
    check_sum(state, plan, message)
    context, count = context_of(agreement), plan.blocks * N
    with blame(SERVER):
        c0 = unpack(message.sum0, count, names.WIDTH).reshape(plan.blocks, N)
    secret = state.own.shared.of(context)
    c1 = expanded(plan, message.publics, state.own.workers)
    opened = open_exact(plan, decrypt(secret, c0, c1, state.own.workers))
    secret.erase()
    try:
        check_opened(plan, opened)
    except Rubbish as error:
        raise ImplausibleSum(f"what was opened is no sum, open a new round: {error}") from error
    survivors = tuple(said.who for said in message.contributions)
    return Done(context), [Envelope((APP,), aggregate_of(agreement, KEYS, survivors, opened.values))]


def check_sum(state: Sent, plan: CkksPlan, message: SeededSum) -> None:
    """What is to be opened is of this round, over enough clients that I know, and I am one of them.

    Raises: ViewMismatch, CohortTooSmall, PolicyViolation, ShapeMismatch, KeyMismatch, BadSignature, Duplicate in the
        server's name.
    """
    own, agreement, said = state.own, state.agreement, message.contributions
    context = context_of(agreement)
    if message.context != context:
        raise ViewMismatch(SERVER, "sends the sum of another round")
    check_cohort(len(said), agreement.plan.min_cohort, plan.clients)
    if len(message.publics) != len(said):
        raise ShapeMismatch(SERVER, f"sends public bytes of {len(message.publics)} among {len(said)} uploads")
    if state.said not in said:
        raise ViewMismatch(SERVER, "my own upload is missing from the sum, or altered")
    signed_texts(context, agreement.key, said, own.policy.identities, own.verify)
    for each, public in zip(said, message.publics, strict=True):
        if not hmac.compare_digest(names.digest(public), each.digest1):
            raise ViewMismatch(SERVER, f"sends other public bytes than client {each.who} signed")
    if len(set(message.publics)) != len(said):
        raise Duplicate(SERVER, "sums two uploads under the same public bytes: their difference is open to everybody")


def expanded(plan: CkksPlan, publics: Sequence[bytes], workers: Workers) -> Residues:
    """The sum of the second halves, expanded and added by nobody but me.  Shapes: rows of N residues."""
    total = np.zeros((plan.blocks, N), np.uint64)

    def work(part: Part) -> None:
        for public in publics:
            add_into(total[part.first : part.first + part.size], public_rows(public, part))

    each_part(plan.blocks, work, workers)
    return total
