"""One client behind the codec: frames of the server in, signed frames for it out."""

from __future__ import annotations

import hmac
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from protocols import codec, wire
from protocols.certificates import Credential
from protocols.ckks import client as ckks_client
from protocols.ckks import seeded
from protocols.ckks.messages import OpenEncrypted
from protocols.ckks.seeded_messages import OpenSeeded, SeededSum, largest_sum
from protocols.ckks.vector import Shape
from protocols.codec import Frame, Header
from protocols.coding import Extras, Floats, Randomness, coding_of
from protocols.countersigning import countersign
from protocols.endpoint.images import (
    CLIENT_ROLES,
    CLIENT_STATES,
    IMAGE_VERSION,
    INVITATIONS,
    SEEDED_CLIENT_STATES,
    TO_CLIENTS,
    ClientImage,
    Said,
    Topic,
    beacon_of,
    restored,
    stage_of,
)
from protocols.endpoint.reader import OpenedSum, Reader
from protocols.endpoint.turns import Turns
from protocols.errors import (
    Malformed,
    Misused,
    OutOfTurn,
    PolicyConflict,
    PolicyViolation,
    Replay,
    TooLarge,
    ViewMismatch,
    WrongUpdate,
)
from protocols.heads import NO_LEDGER, LedgerHead, forgets, require_onward
from protocols.messages import Aggregate, Open, Result, Submit
from protocols.oneshot import client as oneshot_client
from protocols.oneshot.messages import OpenOneShot
from protocols.pairwise import client as pairwise_client
from protocols.pairwise.session import roster_hash
from protocols.party import APP, SERVER, Envelope, Failed, Party
from protocols.plan import ENCRYPTED, NOTHING, ONE_SHOT, PAIRWISE, Agreement, Policy, context_of
from protocols.verifying import Verifier
from protocols.wire import Buffer
from secagg.ckks.cipher import Engine, Fft
from secagg.ckks.seal import SealEngine
from secagg.ckks.whole import SharedKey
from secagg.errors import BadSignature as WrongSignature
from secagg.keys import Context, Identity, Seed, derive, verify
from secagg.workers import ALONE, Workers

LABEL_ROOT = b"secagg/v1/endpoint/root"
READY = pairwise_client.Ready | ckks_client.Ready | seeded.Ready | oneshot_client.Ready
DONE = pairwise_client.Done | ckks_client.Done | seeded.Done | oneshot_client.Done
Invitation = Open | OpenEncrypted | OpenSeeded | OpenOneShot
# By which letter a round of each protocol is opened.
OPENED_BY: Mapping[str, tuple[type[Any], ...]] = MappingProxyType(
    {PAIRWISE: (Open,), ENCRYPTED: (OpenEncrypted, OpenSeeded), ONE_SHOT: (OpenOneShot,)}
)
NO_METRICS: Mapping[str, float] = MappingProxyType({})


class Client(Reader):
    """One client over many rounds, each by whichever protocol its invitation names and its policy allows.

    Of a round whose key it shares (`shared_key`) it has the sum in the end: `aggregate`, `mean`. Of any other it has
    none: the server does.

    Guarantee: whatever the server sends, at most one masked vector leaves per (task, round), and
    nothing that the policy forbids; at most one sum of a round is opened here. Misbehaviour raises and ends the
    round; the next `Open` starts anew. Of each ledger that rounds are charged to the head is remembered: a round whose
    ledger does not go on from there is refused.
    Raises: PolicyConflict where the policy pins the server itself as one who opens sums.
    """

    def __init__(
        self,
        policy: Policy,
        identity: Identity,
        server_key: bytes,
        verifier: Verifier = verify,
        workers: Workers = ALONE,
        credential: Credential | None = None,
        engine: Engine | None = None,
        shared_key: SharedKey | None = None,
    ) -> None:
        mine = policy.numbers.get(identity.public)
        if mine is None:
            raise Misused("this identity is not among those the policy pins, and a client pins at least its own key")
        if not isinstance(server_key, bytes) or len(server_key) != len(NOTHING):
            raise Misused("server_key is the server's public key, 32 bytes: server.public, or its identity's")
        self.me = mine
        self._identity_key = identity.public
        if server_key in policy.holders:
            raise PolicyConflict("the policy pins the server as a holder, and it adds up what holders open")
        if credential is not None and credential.identity != identity.public:
            raise Misused("this credential is for another identity than the one given")
        if credential is not None and policy.authority is not None:
            try:
                credential.check(policy.authority, self.me)
            except WrongSignature as error:
                raise Misused(
                    "this credential is not one that the policy's authority issued for this number"
                ) from error
        self.policy = policy
        self.server_key = server_key
        self.deterministic = False
        self.clipped = 0
        self._own = pairwise_client.Own(self.me, policy, identity.sign, verifier, workers, credential)
        self._encrypting = ckks_client.Own(
            self.me, policy, identity.sign, verifier, server_key, engine or SealEngine(), workers
        )
        self._concealing = oneshot_client.Own(self.me, policy, identity.sign, verifier, server_key, workers)
        self._sharing: seeded.Own | None = None
        if shared_key is not None:
            self._sharing = seeded.Own(self.me, policy, identity.sign, verifier, shared_key, workers)
        self._draw_root: Callable[[Agreement], Seed] = lambda agreement: Seed.fresh()
        self.result: bytes | None = None
        self.aggregate: Aggregate | None = None
        self._spent: dict[bytes, int] = {}
        self._taken: dict[bytes, int] = {}
        self._heads: dict[bytes, LedgerHead] = {}
        self._turns = Turns("client")
        self._answered = NOTHING
        self._heard: set[bytes] = set()
        self._replies: list[Frame] = []
        self._agreement: Agreement | None = None
        self._party = Party(pairwise_client.client, pairwise_client.Done(Context(NOTHING)))

    @classmethod
    def from_root(
        cls,
        root: Seed,
        policy: Policy,
        identity: Identity,
        server_key: bytes,
        verifier: Verifier = verify,
        workers: Workers = ALONE,
        credential: Credential | None = None,
        engine: Engine | None = None,
        shared_key: SharedKey | None = None,
    ) -> Client:
        """INSECURE outside tests: every secret is a function of `root`, so runs can be repeated.

        The engine is then the one that draws nothing by itself, unless another is given.
        """
        made = cls(policy, identity, server_key, verifier, workers, credential, engine or Fft(), shared_key)
        made.deterministic = True
        made._draw_root = lambda agreement: derive(
            root, LABEL_ROOT, context_of(agreement), made.me.to_bytes(4, "little")
        )
        return made

    def __copy__(self) -> Client:
        """Raises: Misused; two clients of one state would send two vectors under one secret."""
        raise Misused("a client is never copied: freeze it and thaw it in a new one, and go on with that alone")

    @property
    def needs_update(self) -> bool:
        """Whether the round waits for this client's `submit`."""
        return isinstance(self._party.state, READY)

    @property
    def needs_beacon(self) -> bytes | None:
        """The hash of the roster for which the round waits for this client's `beacon`; None when it does not."""
        state = self._party.state
        return roster_hash(state.entries) if isinstance(state, pairwise_client.Enrolled) else None

    @property
    def done(self) -> bool:
        """Whether this client has nothing more to say in the present round."""
        return isinstance(self._party.state, DONE | Failed)

    @property
    def offer(self) -> Agreement:
        """What the present round is about."""
        if self._agreement is None:
            raise Misused("no round is open: wait for the server's Open")
        return self._agreement

    def receive(self, data: Buffer) -> list[Frame]:
        """Take one frame from the server and return the answer; a repeated frame gets the same answer.

        Raises: Misbehaved of the kind that fits. A frame that is not the server's, does not parse, is OutOfTurn or
            invites to a spent round (Replay) or under a ledger that went back (LedgerRolledBack) changes nothing;
            after any other the round is over here. ImplausibleSum where clients open the sum, and it is none. Misused
            in a forked process, or while another thread is inside.
        """
        with self._turns.one(self._party):
            return self._receive(data)

    def _receive(self, data: Buffer) -> list[Frame]:
        header = codec.read_header(data, SERVER, self._limit())
        if header.sender != SERVER:
            raise Malformed(SERVER, f"relayed a frame that names party {header.sender} as its sender")
        kind = codec.KINDS[header.kind]
        if kind not in TO_CLIENTS:
            raise OutOfTurn(SERVER, f"sends a {kind.__name__}, which only clients say")
        if kind is not SeededSum and header.length > codec.MAX_CONTROL_BYTES:
            raise TooLarge(SERVER, f"announces {header.length} bytes of {kind.__name__}")
        fingerprint = codec.fingerprint(data)
        if hmac.compare_digest(fingerprint, self._answered):
            return list(self._replies)
        if fingerprint in self._heard:
            raise OutOfTurn(SERVER, "repeats a letter of this round that was answered before the latest one")
        message = codec.open_frame(data, header, self.server_key)
        if kind in INVITATIONS:
            self._begin(header, message)
        elif self._agreement is None or not Topic.of(self._agreement).covers(header):
            raise OutOfTurn(SERVER, f"speaks of round {header.round}, which is not open here")
        envelopes = self._party.receive(SERVER, message)
        if kind in INVITATIONS:
            self._accept(message.agreement)
        self.aggregate = next(
            (each.message for each in envelopes if isinstance(each.message, Aggregate)), self.aggregate
        )
        frames = self._send(envelopes)
        if isinstance(message, Result):
            self._keep_result(bytes(data), message)
        self._answered, self._replies = fingerprint, frames
        self._heard.add(fingerprint)
        return list(frames)

    def _limit(self) -> int:
        state = self._party.state
        if not isinstance(state, seeded.Sent):
            return codec.MAX_CONTROL_BYTES
        return max(codec.MAX_CONTROL_BYTES, largest_sum(Shape.of(state.agreement, seeded.KEYS).plan))

    def beacon(self, value: bytes) -> list[Frame]:
        """Go on with the public value that seeds the graph, one that nobody knew when the roster was fixed.

        Raises: Misused when no beacon is asked for, or for a value that is not 32 bytes.
        """
        with self._turns.one(self._party):
            self._replies = self._send(self._party.receive(APP, beacon_of(value)))
            return list(self._replies)

    def compare(self, result: Buffer) -> None:
        """Hold the server's published result against the one another client received: `result` of that client.

        Raises: ViewMismatch when the server signed two results of one round: keep both as evidence; Misused when
            they are of different rounds or there is none here; Malformed, BadSignature when it is no such frame.
        """
        if self.result is None:
            raise Misused("this client has received no result: there is nothing to compare")
        (mine, my_result), (other, its_result) = (self._published(data) for data in (self.result, result))
        if (mine.task, mine.round) != (other.task, other.round):
            raise Misused("the two results are of different rounds")
        if my_result != its_result:
            raise ViewMismatch(SERVER, f"published two different results of round {mine.round}")

    def _keep_result(self, data: bytes, message: Result) -> None:
        """Raises: ViewMismatch for a second result that differs; the first stays, as evidence."""
        if self.result is not None and self._published(self.result)[1] != message:
            raise ViewMismatch(SERVER, "published two different results of this round")
        self.result = data

    def _published(self, data: Buffer) -> tuple[Header, Result]:
        header = codec.read_header(data, SERVER, codec.MAX_CONTROL_BYTES)
        message = codec.open_frame(data, header, self.server_key)
        if header.sender != SERVER or not isinstance(message, Result):
            raise Malformed(SERVER, f"a {type(message).__name__} is no published result")
        return header, message

    def submit(
        self, update: Floats, *, weight: int = 1, model: bytes = NOTHING, metrics: Mapping[str, float] = NO_METRICS
    ) -> list[Frame]:
        """Encode, mask and send this round's update: `prepare`, then `send`."""
        return self.send(self.prepare(update, weight=weight, model=model, metrics=metrics))

    def prepare(
        self, update: Floats, *, weight: int = 1, model: bytes = NOTHING, metrics: Mapping[str, float] = NO_METRICS
    ) -> Submit:
        """The update as ring integers, noise included: a flat float vector of `offer.length` coordinates.

        `model` is the digest of the parameters the update was trained from (zero when the round names none);
        `metrics` has a value for each metric of the plan.
        Raises: Misused when no update is asked for; WrongUpdate, NonFinite, ClipExceeded, BadParameters
            for an update that does not fit, and then nothing has changed and another may be submitted.
        """
        with self._turns.one(self._party):
            return self._prepare(update, weight, model, metrics)

    def _prepare(self, update: Floats, weight: int, model: bytes, metrics: Mapping[str, float]) -> Submit:
        state = self._party.state
        if not isinstance(state, READY):
            raise Misused("no update is asked for now: one update per round, after needs_update turns true")
        if not isinstance(model, bytes) or len(model) != len(NOTHING):
            raise Misused("model is a digest of 32 bytes: see protocols.tensors.model_digest")
        if not isinstance(update, np.ndarray):
            raise WrongUpdate(
                f"an update is a flat float vector, not a {type(update).__name__}: Layout.of(update).flatten(update)"
            )
        if update.shape != (self.offer.length,):
            raise WrongUpdate(f"an update of shape {update.shape}; this round sums ({self.offer.length},)")
        if hasattr(weight, "__index__"):
            # An integer of numpy would wrap where Python's does not.
            weight = operator.index(weight)
        randomness = Randomness(state.update_seed, context_of(self.offer), self.deterministic)
        quantised = Extras.of(self.offer.plan).quantised(metrics)
        encoded = coding_of(self.offer).encode(update, weight, randomness, self._own.workers)
        self.clipped = encoded.clipped
        return Submit(encoded.vector, weight, model, quantised)

    def send(self, submission: Submit) -> list[Frame]:
        """Mask a prepared update and send it; from here on this round is spent.

        Before it in the list, where the round names a ledger, goes a signature over the head that this client was
        shown: the server may keep it as evidence.
        Raises: Misused, WrongUpdate as `prepare` does; ViewMismatch when the round is about another model.
        """
        with self._turns.one(self._party):
            envelopes = self._party.receive(APP, submission)
            # Spent before it is signed: a signer that fails has cost the round, not opened it a second time.
            task = codec.task_id(self.offer.plan.task)
            self._spent[task] = self.offer.round
            self._taken[task] = self._taken.get(task, 0) + 1
            self._replies = self._send([*self._countersigned(), *envelopes])
            return list(self._replies)

    def repeat(self) -> list[Frame]:
        """What this client said last: after a restart or a lost connection. The server hears it twice unmoved."""
        return list(self._replies)

    def delivered(self) -> None:
        """Let go of what this client said last, a whole vector among it: the server has it, it is not said again."""
        self._replies = []

    def freeze(self) -> bytes:
        """Everything this client must not forget, as bytes. Secret: store it readable by its owner only."""
        with self._turns.one(self._party):
            return self._freeze()

    def _freeze(self) -> bytes:
        state = self._party.state
        image = ClientImage(
            version=IMAGE_VERSION,
            owner=self._identity_key,
            spent=self._spent,
            taken=self._taken,
            heads=self._heads,
            answered=self._answered,
            heard=frozenset(self._heard),
            replies=tuple(Said(frame.to, bytes(frame)) for frame in self._replies),
            result=self.result,
            aggregate=self.aggregate,
            agreement=self._agreement,
            kind=CLIENT_STATES.index(type(state)),
            state=codec.freeze(state),
        )
        return wire.encode(image)

    def thaw(self, data: Buffer) -> None:
        """Become the client that `freeze` described; policy and identity are those given at construction.

        Raises: Misused when the bytes are no image of this version, of a round whose shared key is not given here, or
            older than this very client: going back to before a vector left would mask a second one, and going back
            within a round would deal, sign, answer or open a second time.
        """
        with self._turns.one(self._party):
            self._thaw(data)

    def _thaw(self, data: Buffer) -> None:
        image, state = restored(ClientImage, data, self._identity_key, CLIENT_STATES, self._supplied)
        if any(image.spent.get(task, -1) < spent for task, spent in self._spent.items()):
            raise Misused("this image is older than the client it is given to: a round it knows nothing of is spent")
        if forgets(image.heads, self._heads):
            raise Misused("this image is older than the client it is given to: it was shown more of a ledger")
        stages = [stage_of(CLIENT_STATES, each) for each in (state, self._party.state)]
        if image.agreement == self._agreement is not None and stages[0] < stages[1]:
            raise Misused("this image is older than the client it is given to, which has gone on in this very round")
        self._spent, self._taken, self._heads = dict(image.spent), dict(image.taken), dict(image.heads)
        self._answered, self._heard = image.answered, set(image.heard)
        self._replies = [Frame(said.to, (bytes(said.data),)) for said in image.replies]
        self.result = None if image.result is None else bytes(image.result)
        self.aggregate = image.aggregate
        self._agreement = image.agreement
        self._party.abandon("the client was restored")
        self._party = Party(CLIENT_ROLES[type(state)], state)

    def _supplied(self, image: ClientImage) -> Mapping[Any, object]:
        """Raises: Misused for a round under another shared key than the one given at construction."""
        own: dict[Any, object] = {
            pairwise_client.Own: self._own,
            ckks_client.Own: self._encrypting,
            oneshot_client.Own: self._concealing,
        }
        if CLIENT_STATES[image.kind] not in SEEDED_CLIENT_STATES:
            return own
        if self._sharing is None or image.agreement is None or self._sharing.shared.name != image.agreement.key:
            raise Misused("these bytes are of a round whose key the clients share, and it is not the one given here")
        return own | {seeded.Own: self._sharing}

    def _begin(self, header: Header, invitation: Invitation) -> None:
        agreement = invitation.agreement
        if not Topic.of(agreement).covers(header):
            raise Malformed(SERVER, "the frame and the agreement inside it name different rounds")
        # A protocol of no known letter is for the policy to refuse.
        if not isinstance(invitation, OPENED_BY.get(agreement.plan.protocol, (Open,))):
            # Against: the checks of one protocol on a plan that is safe under another alone.
            raise Malformed(SERVER, f"invites to {agreement.plan.protocol!r} by the letter of another protocol")
        if agreement == self._agreement:
            # A late copy of an invitation must not throw away the round it opened.
            raise OutOfTurn(SERVER, f"opens round {agreement.round} a second time")
        if agreement.round <= self._spent.get(header.task, -1):
            # Said before the present round is given up: an old invitation is anybody's to replay.
            raise Replay(SERVER, f"round {agreement.round} of this task is spent; open a later one")
        most = self.policy.max_rounds
        if most is not None and self._taken.get(header.task, 0) >= most:
            raise PolicyViolation(SERVER, f"asks for more than the {most} rounds of this task that my policy allows")
        require_onward(self._heads, header.task, agreement.ledger_head)
        # Drawn before anything is given up: where the system refuses, the same invitation may come again.
        idle = self._idle(invitation, self._draw_root(agreement), self._spent.get(header.task, -1))
        self._party.abandon("the server opened another round")
        self.result = self.aggregate = None
        self._heard = set()
        self._agreement = agreement
        self._party = Party(CLIENT_ROLES[type(idle)], idle)

    def _accept(self, agreement: Agreement) -> None:
        if agreement.ledger_head != NO_LEDGER:
            self._heads[codec.task_id(agreement.plan.task)] = agreement.ledger_head

    def _countersigned(self) -> list[Envelope]:
        head = self.offer.ledger_head
        return [] if head == NO_LEDGER else [Envelope((SERVER,), countersign(head, self._own.sign))]

    def _idle(self, invitation: Invitation, root: Seed, last: int) -> Any:
        """The state before the round, by what invites to it.

        Raises: PolicyViolation for a round of a key that clients share, where I was given none.
        """
        match invitation:
            case Open():
                return pairwise_client.Idle(self._own, root, last)
            case OpenEncrypted():
                return ckks_client.Idle(self._encrypting, root, last)
            case OpenOneShot():
                return oneshot_client.Idle(self._concealing, root, last)
            case OpenSeeded():
                if self._sharing is None:
                    raise PolicyViolation(SERVER, "invites to a round whose key the clients share, and I share none")
                return seeded.Idle(self._sharing, root, last)

    def _opened_sum(self) -> OpenedSum:
        if self.aggregate is None:
            raise Misused("there is no sum here: only clients who share the key of a round have one, once it is over")
        return OpenedSum(self.offer, self.aggregate)

    def _send(self, envelopes: list[Envelope]) -> list[Frame]:
        letters = [envelope for envelope in envelopes if envelope.to != (APP,)]
        return [Topic.of(self.offer).frame(envelope, self.me, self._own.sign) for envelope in letters]
