"""The client of an encrypted round: it speaks once.

    Idle -OpenEncrypted-> Ready -Submit-> Done -Result-> Done

Before it encrypts it checks who can open: a certificate signed by holders it pinned, none of them the server, and a
plan that it derives for itself from the agreement.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from protocols.ckks import epoch as names
from protocols.ckks.binding import hash_of
from protocols.ckks.messages import Certificate, Ciphertext, OpenEncrypted
from protocols.ckks.modes import check_mode
from protocols.ckks.vector import Shape
from protocols.errors import BadPlan, KeyMismatch, PolicyViolation, Replay, ViewMismatch
from protocols.messages import NeedUpdate, Result, Submit
from protocols.party import APP, SERVER, Blame, Envelope, PartyId, Role, Step
from protocols.plan import Agreement, ContextBytes, Policy, context_of
from protocols.submission import words_of
from protocols.verifying import Verifier
from protocols.wire import I64, Supplied
from secagg.ckks.cipher import Engine, PublicKey, encrypt
from secagg.ckks.plan import Mode
from secagg.ckks.share import common_polynomial
from secagg.keys import Seed, derive
from secagg.workers import ALONE, Workers

client = Role("ckks client", Blame.ABORT)


@dataclass(frozen=True, slots=True)
class Own:
    """Who this client is; given again after a restart, never written into a state."""

    me: PartyId
    policy: Policy
    sign: Callable[[bytes], bytes] = field(repr=False)
    verify: Verifier
    server: bytes
    engine: Engine
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
    """The key is checked; the application trains. `update_seed` feeds rounding and noise."""

    own: Self
    root: Seed
    update_seed: Seed
    agreement: Agreement
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Done:
    """The one message has left, and nothing is kept but the round's public name."""

    context: ContextBytes


@client.on(Idle, OpenEncrypted)
def prepare(state: Idle, sender: PartyId, message: OpenEncrypted) -> Step:
    own, agreement, certificate = state.own, message.agreement, message.certificate
    if agreement.round <= state.last_round:
        raise Replay(SERVER, f"round {agreement.round} of this task is spent; open a later one")
    own.policy.check(agreement)
    check_key(own, agreement, certificate)
    context = context_of(agreement)
    update_seed = derive(state.root, names.LABEL_UPDATE, context)
    ready = Ready(own, state.root, update_seed, agreement, certificate)
    return ready, [Envelope((APP,), NeedUpdate(agreement))]


def check_key(own: Own, agreement: Agreement, certificate: Certificate) -> None:
    """The key must be the one the agreement names, made by holders I know, for this very plan.

    Against: a server that shows a key of its own, a key of fewer or other holders, or one whose plan opens more sums,
    or larger ones, than this round is safe under.
    """
    policy, epoch = own.policy, certificate.epoch
    keys = epoch.plan.keys
    if not hmac.compare_digest(certificate.digest, agreement.key):
        raise ViewMismatch(SERVER, "shows another key than the round names")
    if epoch.task != agreement.plan.task:
        raise ViewMismatch(SERVER, f"shows a key made for task {epoch.task!r}")
    check_mode(keys.mode, policy.modes)
    if own.server in epoch.holders:
        raise PolicyViolation(SERVER, "holds a part of the key itself, and with it adds up what it also opens")
    if not policy.holders.issuperset(epoch.holders):
        raise KeyMismatch(SERVER, "shows a key with a holder whom my policy does not pin")
    # Whoever agreed to one decryptor has no two sets of holders to fear.
    if keys.mode is Mode.THRESHOLD and not keys.tolerates_a_third_of(len(policy.holders)):
        raise PolicyViolation(
            SERVER,
            f"shows a key of which {keys.threshold} of {keys.holders} holders may open two sums of one round if a "
            f"third of the {len(policy.holders)} whom my policy pins is corrupt",
        )
    if epoch.min_cohort < agreement.plan.min_cohort:
        raise PolicyViolation(
            SERVER,
            f"shows a key whose holders open sums over {epoch.min_cohort} clients; this round is for at least "
            f"{agreement.plan.min_cohort}",
        )
    # Whoever agreed to one decryptor asks for no second one.
    if keys.mode is Mode.THRESHOLD and keys.threshold < policy.min_opening_threshold:
        raise PolicyViolation(
            SERVER,
            f"shows a key that {keys.threshold} holders open; I ask for {policy.min_opening_threshold}",
        )
    try:
        shape = Shape.of(agreement, epoch.plan.keys)
    except BadPlan as error:
        raise PolicyViolation(SERVER, f"proposes a round nobody can encrypt for: {error}") from error
    if shape.plan != epoch.plan:
        raise ViewMismatch(SERVER, "shows a key made for another plan than this round needs")
    certificate.check(own.verify, SERVER)


@client.on(Ready, Submit)
def upload(state: Ready, sender: PartyId, message: Submit) -> Step:
    own, agreement, context = state.own, state.agreement, context_of(state.agreement)
    shape = Shape.of(agreement, state.certificate.epoch.plan.keys)
    words = words_of(agreement, shape.coding, shape.extras, message)
    key = PublicKey(common_polynomial(state.certificate.epoch.context), names.from_bytes(state.certificate.public))
    integers = shape.integers(agreement, message.vector, words)
    sent = encrypt(shape.plan, key, integers, state.root, context, own.engine, own.workers)
    linear = hash_of(shape.plan, context, sent.c1, own.workers)
    digests = names.digest(sent.c0), names.digest(sent.c1)
    signature = own.sign(names.upload_text(context, agreement.key, own.me, *digests, linear))
    return Done(context), [Envelope((SERVER,), Ciphertext(sent.c0, sent.c1, signature, linear))]


@client.on(Done, Result)
def publish(state: Done, sender: PartyId, message: Result) -> Step:
    if message.context != state.context:
        raise ViewMismatch(SERVER, "the published result belongs to another context: other model, plan or round")
    return state, [Envelope((APP,), message)]
