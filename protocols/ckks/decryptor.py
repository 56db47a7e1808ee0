"""The one decryptor: it makes a key alone, and answers with sums and nothing but sums.

    Uninvited -Invite-> Holding -WholeSum-> Holding'

It must not be who adds up: whoever has the key and an upload has the update. So it gets both halves of every upload
that is in the sum, from a server that has no key, holds each against what its client signed, adds up for itself, and
opens one sum for a context over enough clients. It stores that it did before it answers. It learns the sum.

Where an upload is rubbish the sum opens to rubbish, and the decryptor cannot tell which, nor whether the server's hand
is in it: it answers that there is no sum, the opening is spent, and the key goes on. Were it to give up, one client's
garbage would end the key. That answer is one bit on the noise, and silence would be the same bit.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from protocols.ckks import epoch as names
from protocols.ckks.epoch import Epoch
from protocols.ckks.messages import Certificate, Checked, Invite
from protocols.ckks.questions import Question, answered, check_cohort, check_key, next_of, signed_texts
from protocols.ckks.single_messages import Decrypted, WholeSum, sums_to_bytes
from protocols.errors import PolicyViolation, ShapeMismatch, ViewMismatch, blame
from protocols.party import SERVER, Blame, Envelope, PartyId, Role, Step
from protocols.plan import ContextBytes, require_clients, require_floor
from protocols.verifying import Verifier
from protocols.wire import Buffer, Supplied
from secagg.ckks.cipher import add_planes_into, check_opened, open_exact
from secagg.ckks.guard import SAMPLE, exposed
from secagg.ckks.plan import Mode
from secagg.ckks.whole import SecretKey, decrypt, public_key
from secagg.ckks.wire import check_planes
from secagg.errors import BadCiphertext as Rubbish
from secagg.keys import Seed
from secagg.negacyclic import N, Residues
from secagg.workers import ALONE, Workers

decryptor = Role("ckks decryptor", Blame.ABORT)

# The decryptor is the one holder of its key.
PLACE = 1
# Nothing was dealt that could add up to anything.
NOTHING_DEALT = 0


@dataclass(frozen=True, slots=True)
class DecryptorPolicy:
    """What this decryptor insists on, whatever the server proposes.

    `clients` pins the identity keys of those whose uploads may be in a sum. At least `min_cohort` clients in a sum,
    and never fewer than the key was made for; at most `max_openings` with one key.
    """

    clients: Mapping[PartyId, bytes]
    min_cohort: int = 3
    max_openings: int = 1000

    def __post_init__(self) -> None:
        require_clients(self.clients)
        require_floor(self.min_cohort)


@dataclass(frozen=True, slots=True)
class Own:
    """Who this decryptor is, and who adds up for it; given again after a restart, never written into a state."""

    identity: bytes
    server: bytes
    policy: DecryptorPolicy
    sign: Callable[[bytes], bytes] = field(repr=False)
    verify: Verifier
    workers: Workers = ALONE

    def check(self, epoch: Epoch) -> None:
        """Raises: PolicyViolation in the server's name, saying what was proposed and what is required."""
        keys = epoch.plan.keys
        for fine, what in (
            (keys.mode is Mode.SINGLE, f"mode {keys.mode.value} has no key that I make alone"),
            (epoch.holders == (self.identity,), "the key is another's"),
            (self.identity != self.server, "who adds up must not be who decrypts, and I am both"),
            (
                keys.openings <= self.policy.max_openings,
                f"{keys.openings} openings are above {self.policy.max_openings}",
            ),
        ):
            if not fine:
                raise PolicyViolation(SERVER, f"proposed a key this policy refuses: {what}")


Self = Annotated[Own, Supplied]


@dataclass(frozen=True, slots=True)
class Uninvited:
    """Before the key is made. `root` was drawn for this key alone."""

    own: Self
    root: Seed


@dataclass(frozen=True, slots=True)
class Holding:
    """The key is what its root gives, good for as many openings as its plan counts; `asked` is by round context."""

    own: Self
    root: Seed
    certificate: Certificate
    asked: dict[ContextBytes, Question]

    @property
    def answered(self) -> int:
        """How many openings are spent."""
        return answered(self.asked)


@decryptor.on(Uninvited, Invite)
def make(state: Uninvited, sender: PartyId, message: Invite) -> Step:
    own, epoch = state.own, message.epoch
    own.check(epoch)
    context = epoch.context
    secret = SecretKey.of(state.root, context)
    public = names.to_bytes(public_key(secret, state.root, context).b)
    secret.erase()
    text = names.checked_text(context, PLACE, public, NOTHING_DEALT)
    certificate = Certificate(epoch, public, (Checked(NOTHING_DEALT, own.sign(text)),))
    return Holding(own, state.root, certificate, {}), [Envelope((SERVER,), certificate)]


@decryptor.on(Holding, WholeSum)
def answer(state: Holding, sender: PartyId, message: WholeSum) -> Step:
    """The sums, once for a round; the driver stores the new state before they leave."""
    check_key(message.key, state.certificate.digest)
    question = checked_question(state, message)
    openings = state.certificate.epoch.plan.keys.openings
    asked = next_of(state.asked, openings, message.context, question, (PLACE,))
    letter = Decrypted(message.context, question, opened(state, message))
    return replace(state, asked=state.asked | {message.context: asked}), [Envelope((SERVER,), letter)]


def checked_question(state: Holding, message: WholeSum) -> bytes:
    """The name of the sum that is asked about, after both halves of every upload were held against a signature.

    Against: a server that asks to open the upload of one client under a list of many, or sums of clients it made up,
    or moves a sum by little to learn from what is refused.
    """
    own, key, cohort = state.own, state.certificate.digest, len(message.contributions)
    epoch = state.certificate.epoch
    check_cohort(cohort, max(own.policy.min_cohort, epoch.min_cohort), epoch.plan.clients)
    if (len(message.firsts), len(message.seconds)) != (cohort, cohort):
        raise ShapeMismatch(
            SERVER, f"sends {len(message.firsts)} and {len(message.seconds)} halves of {cohort} uploads"
        )
    texts = signed_texts(message.context, key, message.contributions, own.policy.clients, own.verify)
    for said, first, second in zip(message.contributions, message.firsts, message.seconds, strict=True):
        for half, signed in ((first, said.digest0), (second, said.digest1)):
            if not hmac.compare_digest(names.digest(half), signed):
                raise ViewMismatch(SERVER, f"sends another half than client {said.who} signed")
    return names.question_of(message.context, key, texts)


def opened(state: Holding, message: WholeSum) -> bytes | None:
    """The exact sums, where they look like some and do not give the key away."""
    plan = state.certificate.epoch.plan
    c0, c1 = added_up(state, message.firsts, plan.width0), added_up(state, message.seconds, plan.width1)
    secret = SecretKey.of(state.root, state.certificate.epoch.context)
    found = open_exact(plan, decrypt(secret, c0, c1, state.own.workers))
    secret.erase()
    try:
        check_opened(plan, found)
    except Rubbish:
        return None
    if exposed(plan, c0[:SAMPLE], c1[:SAMPLE], found.values):
        return None
    return sums_to_bytes(plan, found.values)


def added_up(state: Holding, halves: Sequence[Buffer], width: int) -> Residues:
    """The sum of halves, added by nobody but me.  Shapes: rows of N residues."""
    plan = state.certificate.epoch.plan
    total = np.zeros(plan.blocks * N, np.uint64)
    for half in halves:
        with blame(SERVER):
            check_planes(half, total.size, width)
        add_planes_into(total, half, total.size, width)
    return total.reshape(plan.blocks, N)


# A key is for many rounds: what is refused in one of them must not cost the others.
decryptor.lasts(Holding)
