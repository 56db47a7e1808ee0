"""A party behind the codec: bytes in, bytes out.

`Client` and `Server` are what a transport or an adapter drives. They check and sign frames, answer a
repeated frame with the stored bytes, remember which rounds are spent, and turn into bytes (`freeze`)
whenever the process may die. The order that keeps a crash harmless: store `freeze()`, then send.

    server = Server(plan, identities, identity)        client = Client(policy, identity, server_key)
    send(server.open(Task(...)))                       out = client.receive(data)
    send(server.receive(data)) / deadline(room)        if client.needs_update: out = client.submit(...)
"""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from protocols import codec, wire
from protocols.codec import Frame, Header
from protocols.coding import Extras, Floats, Randomness, coding_of
from protocols.errors import (
    BadSignature,
    Malformed,
    Misbehaved,
    Misused,
    OutOfTurn,
    PolicyViolation,
    Replay,
    Undecodable,
    ViewMismatch,
    WrongUpdate,
)
from protocols.messages import Aggregate, Beacon, Open, Result, Start, Submit
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.pairwise.session import roster_hash
from protocols.party import (
    APP,
    SELF,
    SERVER,
    Deadline,
    Envelope,
    Excluded,
    Failed,
    Party,
    PartyId,
    Wait,
    report,
)
from protocols.plan import NOTHING, Agreement, Policy, RoundPlan, context_of
from protocols.verifying import Verifier
from protocols.wire import U8, U64, Buffer, Bytes16, Bytes32, Payload
from secagg.keys import Context, Identity, Seed, derive, verify
from secagg.workers import ALONE, Workers

LABEL_ROOT = b"secagg/v1/endpoint/root"
NOBODY = PartyId(2**32 - 4)
IMAGE_VERSION = 1
MOST_NOTES = 10_000
NO_METRICS: Mapping[str, float] = MappingProxyType({})

CLIENT_STATES: tuple[type[Any], ...] = (
    pairwise_client.Idle,
    pairwise_client.Advertised,
    pairwise_client.Enrolled,
    pairwise_client.Shared,
    pairwise_client.Ready,
    pairwise_client.Sent,
    pairwise_client.Witnessed,
    pairwise_client.Done,
    Failed,
)
SERVER_STATES: tuple[type[Any], ...] = (
    pairwise_server.Unopened,
    pairwise_server.Gathering,
    pairwise_server.Seeding,
    pairwise_server.Relaying,
    pairwise_server.Summing,
    pairwise_server.Witnessing,
    pairwise_server.Unmasking,
    pairwise_server.Closed,
    Failed,
)


@dataclass(frozen=True, slots=True)
class Said:
    """A stored frame: to whom, and its bytes."""

    to: tuple[PartyId, ...]
    data: Payload


@dataclass(frozen=True, slots=True)
class ClientImage:
    """A client endpoint as it is stored. It holds the round's secrets."""

    version: U8
    spent: dict[Bytes16, U64]
    taken: dict[Bytes16, U64]
    answered: Bytes32
    replies: tuple[Said, ...]
    agreement: Agreement | None
    kind: U8
    state: Payload


@dataclass(frozen=True, slots=True)
class ServerImage:
    """A server endpoint as it is stored. It holds masked sums and relayed shares, no client's secret."""

    version: U8
    agreement: Agreement | None
    wait: wire.Text
    answered: dict[PartyId, Bytes32]
    said: dict[PartyId, Payload]
    aggregate: Aggregate | None
    kind: U8
    state: Payload


class Client:
    """One client over many rounds.

    Guarantee: whatever the server sends, at most one masked vector leaves per (task, round), and
    nothing that the policy forbids. Misbehaviour raises and ends the round; the next `Open` starts anew.
    """

    def __init__(
        self,
        policy: Policy,
        identity: Identity,
        server_key: bytes,
        verifier: Verifier = verify,
        workers: Workers = ALONE,
    ) -> None:
        mine = [who for who, public in policy.identities.items() if public == identity.public]
        if len(mine) != 1:
            raise Misused("this identity is not among those the policy pins: register it first")
        self.me = mine[0]
        self.policy = policy
        self.server_key = server_key
        self.deterministic = False
        self.clipped = 0
        self._own = pairwise_client.Own(self.me, policy, identity.sign, verifier, workers)
        self._draw_root: Callable[[Agreement], Seed] = lambda agreement: Seed.fresh()
        self.result: bytes | None = None
        self._spent: dict[bytes, int] = {}
        self._taken: dict[bytes, int] = {}
        self._process = os.getpid()
        self._turns = ["turn"]
        self._answered = NOTHING
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
    ) -> Client:
        """INSECURE outside tests: every secret is a function of `root`, so runs can be repeated."""
        made = cls(policy, identity, server_key, verifier, workers)
        made.deterministic = True
        made._draw_root = lambda agreement: derive(
            root, LABEL_ROOT, context_of(agreement), made.me.to_bytes(4, "little")
        )
        return made

    @property
    def needs_update(self) -> bool:
        """Whether the round waits for this client's `submit`."""
        return isinstance(self._party.state, pairwise_client.Ready)

    @property
    def needs_beacon(self) -> bytes | None:
        """The hash of the roster for which the round waits for this client's `beacon`; None when it does not."""
        state = self._party.state
        return roster_hash(state.entries) if isinstance(state, pairwise_client.Enrolled) else None

    @property
    def done(self) -> bool:
        """Whether this client has nothing more to say in the present round."""
        return isinstance(self._party.state, pairwise_client.Done | Failed)

    @property
    def offer(self) -> Agreement:
        """What the present round is about."""
        if self._agreement is None:
            raise Misused("no round is open: wait for the server's Open")
        return self._agreement

    def receive(self, data: Buffer) -> list[Frame]:
        """Take one frame from the server and return the answer; a repeated frame gets the same answer.

        Raises: Misbehaved of the kind that fits. A frame that is not the server's, does not parse, is
            OutOfTurn or invites to a spent round (Replay) changes nothing; after any other the round is over
            here. Misused in a forked process, or while another thread is inside.
        """
        with self._turn():
            return self._receive(data)

    def _receive(self, data: Buffer) -> list[Frame]:
        header = codec.read_header(data, SERVER, codec.MAX_CONTROL_BYTES)
        if header.sender != SERVER:
            raise Malformed(SERVER, f"relayed a frame that names party {header.sender} as its sender")
        fingerprint = codec.fingerprint(data)
        if hmac.compare_digest(fingerprint, self._answered):
            return list(self._replies)
        message = codec.open_frame(data, header, self.server_key)
        if isinstance(message, Open):
            self._begin(header, message.agreement)
        elif self._agreement is None or not _same_round(header, self._agreement):
            raise OutOfTurn(SERVER, f"speaks of round {header.round}, which is not open here")
        frames = self._send(self._party.receive(SERVER, message))
        if isinstance(message, Result):
            self.result = bytes(data)
        self._answered, self._replies = fingerprint, frames
        return list(frames)

    def beacon(self, value: bytes) -> list[Frame]:
        """Go on with the public value that seeds the graph, one that nobody knew when the roster was fixed.

        Raises: Misused when no beacon is asked for, or for a value that is not 32 bytes.
        """
        with self._turn():
            self._replies = self._send(self._party.receive(APP, _beacon(value)))
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
        with self._turn():
            return self._prepare(update, weight, model, metrics)

    def _prepare(self, update: Floats, weight: int, model: bytes, metrics: Mapping[str, float]) -> Submit:
        state = self._party.state
        if not isinstance(state, pairwise_client.Ready):
            raise Misused("no update is asked for now: one update per round, after needs_update turns true")
        if not isinstance(model, bytes) or len(model) != len(NOTHING):
            raise Misused("model is a digest of 32 bytes: see protocols.tensors.model_digest")
        if update.shape != (self.offer.length,):
            raise WrongUpdate(f"an update of shape {update.shape}; this round sums ({self.offer.length},)")
        randomness = Randomness(state.update_seed, context_of(self.offer), self.deterministic)
        quantised = Extras.of(self.offer.plan).quantised(metrics)
        encoded = coding_of(self.offer).encode(update, weight, randomness, self._own.workers)
        self.clipped = encoded.clipped
        return Submit(encoded.vector, weight, model, quantised)

    def send(self, submission: Submit) -> list[Frame]:
        """Mask a prepared update and send it; from here on this round is spent.

        Raises: Misused, WrongUpdate as `prepare` does; ViewMismatch when the round is about another model.
        """
        with self._turn():
            frames = self._send(self._party.receive(APP, submission))
            task = codec.task_id(self.offer.plan.task)
            self._spent[task] = self.offer.round
            self._taken[task] = self._taken.get(task, 0) + 1
            self._replies = frames
            return list(frames)

    def freeze(self) -> bytes:
        """Everything this client must not forget, as bytes. Secret: store it readable by its owner only."""
        state = self._party.state
        image = ClientImage(
            version=IMAGE_VERSION,
            spent=self._spent,
            taken=self._taken,
            answered=self._answered,
            replies=tuple(Said(frame.to, bytes(frame)) for frame in self._replies),
            agreement=self._agreement,
            kind=CLIENT_STATES.index(type(state)),
            state=codec.freeze(state),
        )
        return wire.encode(image)

    def thaw(self, data: Buffer) -> None:
        """Become the client that `freeze` described; policy and identity are those given at construction.

        Raises: Misused when the bytes are no image of this version, or older than this very client: going
            back to before a vector left would mask a second one.
        """
        image, state = _restored(ClientImage, data, CLIENT_STATES, {pairwise_client.Own: self._own})
        if any(image.spent.get(task, -1) < spent for task, spent in self._spent.items()):
            raise Misused("this image is older than the client it is given to: a round it knows nothing of is spent")
        self._spent, self._taken = dict(image.spent), dict(image.taken)
        self._answered = image.answered
        self._replies = [Frame(said.to, (bytes(said.data),)) for said in image.replies]
        self._agreement = image.agreement
        self._party.abandon("the client was restored")
        self._party = Party(pairwise_client.client, state)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One call at a time, and only in the process that made this client.

        Against: two threads, or a parent and its forked child, that mask two updates with one mask.
        """
        if os.getpid() != self._process:
            self._party.abandon("forked")
            raise Misused("this client belongs to another process: freeze it there and thaw it in a new one here")
        try:
            # Taking from a list is atomic: of two threads one finds it empty.
            turn = self._turns.pop()
        except IndexError:
            raise Misused("two threads use one client at once: give each thread its own") from None
        try:
            yield
        finally:
            self._turns.append(turn)

    def _begin(self, header: Header, agreement: Agreement) -> None:
        if not _same_round(header, agreement):
            raise Malformed(SERVER, "the frame and the agreement inside it name different rounds")
        if agreement == self._agreement:
            # A late copy of an invitation must not throw away the round it opened.
            raise OutOfTurn(SERVER, f"opens round {agreement.round} a second time")
        if agreement.round <= self._spent.get(header.task, -1):
            # Said before the present round is given up: an old invitation is anybody's to replay.
            raise Replay(SERVER, f"round {agreement.round} of this task is spent; open a later one")
        most = self.policy.max_rounds
        if most is not None and self._taken.get(header.task, 0) >= most:
            raise PolicyViolation(SERVER, f"asks for more than the {most} rounds of this task that my policy allows")
        self._party.abandon("the server opened another round")
        self.result = None
        self._agreement = agreement
        idle = pairwise_client.Idle(self._own, self._draw_root(agreement), self._spent.get(header.task, -1))
        self._party = Party(pairwise_client.client, idle)

    def _send(self, envelopes: list[Envelope]) -> list[Frame]:
        letters = [envelope for envelope in envelopes if envelope.to != (APP,)]
        return [_frame(envelope, self.me, self.offer, self._own.sign) for envelope in letters]


def _beacon(value: bytes) -> Beacon:
    if not isinstance(value, bytes) or len(value) != len(NOTHING) or value == NOTHING:
        raise Misused("a beacon is 32 bytes of public randomness: hash a longer value first")
    return Beacon(value)


def _same_round(header: Header, agreement: Agreement) -> bool:
    return header.round == agreement.round and header.task == codec.task_id(agreement.plan.task)


def _frame(envelope: Envelope, sender: PartyId, agreement: Agreement, sign: Callable[[bytes], bytes]) -> Frame:
    task = codec.task_id(agreement.plan.task)
    return Frame(envelope.to, codec.encode(envelope.message, sender, task, agreement.round, sign))


Image = TypeVar("Image", bound=ClientImage | ServerImage)


def _restored(
    kind: type[Image], data: Buffer, states: tuple[type[Any], ...], supplied: Mapping[Any, object]
) -> tuple[Image, Any]:
    """An endpoint's image and the state inside it.

    Raises: Misused when the bytes are no image of this kind and version.
    """
    try:
        image = codec.thaw(kind, data, {})
        if image.version != IMAGE_VERSION or image.kind >= len(states):
            raise Undecodable(f"image version {image.version}, state kind {image.kind}")
        return image, codec.thaw(states[image.kind], image.state, supplied)
    except Undecodable as error:
        name = kind.__name__.removesuffix("Image").lower()
        raise Misused(f"these bytes are no frozen {name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Task:
    """One round's particulars, in the application's terms.

    `length` is the number of parameters; `layout` and `model` are digests all clients must agree on;
    `nonce` tells two attempts at one round apart.
    Raises: Misused for a round that is no counter of 64 bits.
    """

    round: int
    length: int
    layout: bytes = NOTHING
    model: bytes = NOTHING
    ledger_head: bytes = NOTHING
    nonce: bytes = field(default_factory=lambda: os.urandom(16))

    def __post_init__(self) -> None:
        if type(self.round) is not int or not 0 <= self.round < 1 << 64:
            raise Misused(f"round is {self.round!r}, it must be an integer in 0..2^64 - 1")


class Server:
    """One server over many rounds, one round at a time.

    Guarantee: no frame of a client ends the process or another client's round; the sum is exact over
    `aggregate.survivors` or the round ends in TooFewClients or ImplausibleSum.
    """

    def __init__(
        self,
        plan: RoundPlan,
        identities: Mapping[PartyId, bytes],
        identity: Identity,
        workers: Workers = ALONE,
    ) -> None:
        if len(set(identities.values())) != len(identities):
            raise Misused("two clients are registered under one identity key: each needs its own")
        self.plan = plan
        self.identities = dict(identities)
        self.wait: Wait | None = None
        self.aggregate: Aggregate | None = None
        self.excluded: list[Excluded] = []
        self._identity = identity
        self._agreement: Agreement | None = None
        self._known = pairwise_server.Registry(self.identities, workers)
        self._party = Party(pairwise_server.server, pairwise_server.Unopened(self._known))
        self._answered: dict[PartyId, bytes] = {}
        self._said: dict[PartyId, tuple[Buffer, ...]] = {}
        self._limit = codec.MAX_CONTROL_BYTES

    @property
    def done(self) -> bool:
        """Whether the round is over; `aggregate` holds the sum unless it failed."""
        return isinstance(self._party.state, pairwise_server.Closed | Failed)

    @property
    def opening(self) -> bool:
        """Whether the frames just returned ask for the shares that open the sum, or did so before."""
        return isinstance(self._party.state, pairwise_server.Unmasking | pairwise_server.Closed)

    @property
    def agreement(self) -> Agreement:
        if self._agreement is None:
            raise Misused("no round is open: call open first")
        return self._agreement

    def agree(self, task: Task) -> Agreement:
        """The agreement that `open` would propose for this task."""
        return Agreement(
            plan=self.plan,
            round=task.round,
            nonce=task.nonce,
            length=task.length,
            layout=task.layout,
            model=task.model,
            ledger_head=task.ledger_head,
        )

    def open(self, task: Task, invited: tuple[PartyId, ...] | None = None) -> list[Frame]:
        """Begin a round and return its invitations, to all known clients unless `invited` says otherwise.

        Raises: Misused when the invitation does not fit the plan.
        """
        agreement = self.agree(task)
        party = Party(pairwise_server.server, pairwise_server.Unopened(self._known))
        everyone = tuple(sorted(self.identities)) if invited is None else invited
        envelopes = party.receive(APP, Start(agreement, everyone))
        self._limit = _largest_frame(agreement, len(everyone))
        self._agreement, self._party = agreement, party
        self.aggregate, self.excluded, self._answered, self._said = None, [], {}, {}
        return self._deliver(envelopes)

    def receive(self, data: Buffer, speaker: PartyId = NOBODY) -> list[Frame]:
        """Take one frame from a client and return what to send. A faulty frame is noted in `excluded`.

        `speaker` is whom the transport believes is speaking, if it knows.
        Raises: TooFewClients, ImplausibleSum when this frame closed a room that cannot go on.
        """
        try:
            header = codec.read_header(data, speaker, self._limit)
            if header.sender not in self.identities or speaker not in (NOBODY, header.sender):
                raise BadSignature(speaker, f"speaks as party {header.sender}, which it is not")
            fingerprint = codec.fingerprint(data)
            if hmac.compare_digest(self._answered.get(header.sender, b""), fingerprint):
                return self._said_to(header.sender)
            message = self._opened(data, header, speaker)
            if self._agreement is None or not _same_round(header, self._agreement):
                raise OutOfTurn(header.sender, f"speaks of round {header.round}, which is not open")
        except Misbehaved as error:
            return self._deliver([report(error)])
        self._answered[header.sender] = fingerprint
        # Its answer shows that it has what it was sent: two endpoints never repeat themselves in a circle.
        self._said.pop(header.sender, None)
        return self._deliver(self._party.receive(header.sender, message))

    def deadline(self, room: str) -> list[Frame]:
        """The time of this room is over; an older room's deadline, arriving late, closes nothing.

        Raises: TooFewClients, ImplausibleSum when the room cannot go on.
        """
        return self._deliver(self._party.receive(SELF, Deadline(room)))

    @property
    def needs_beacon(self) -> bytes | None:
        """The hash of the roster for which the round waits for `beacon`; None when it does not."""
        state = self._party.state
        return roster_hash(state.entries) if isinstance(state, pairwise_server.Seeding) else None

    def beacon(self, value: bytes) -> list[Frame]:
        """Go on with the public value that seeds the graph: the one that all clients are going to use.

        Raises: Misused when no beacon is asked for, or for a value that is not 32 bytes.
        """
        return self._deliver(self._party.receive(APP, _beacon(value)))

    def mean(self) -> Floats:
        """The weighted mean of the survivors' updates, float64, after the round is done."""
        opened = self._opened_sum()
        return coding_of(self.agreement).decode(opened.total, opened.weight_sum, context_of(self.agreement))

    def metrics(self) -> dict[str, float]:
        """The weighted means of the survivors' metrics, after the round is done."""
        opened = self._opened_sum()
        return Extras.of(self.plan).means(opened.metrics, opened.weight_sum)

    def _opened_sum(self) -> Aggregate:
        if self.aggregate is None:
            raise Misused("the round has not ended in a sum")
        return self.aggregate

    def freeze(self) -> bytes:
        """The round so far, as bytes."""
        state = self._party.state
        image = ServerImage(
            version=IMAGE_VERSION,
            agreement=self._agreement,
            wait="" if self.wait is None else self.wait.room,
            answered=self._answered,
            said={who: b"".join(parts) for who, parts in self._said.items()},
            aggregate=self.aggregate,
            kind=SERVER_STATES.index(type(state)),
            state=codec.freeze(state),
        )
        return wire.encode(image)

    def thaw(self, data: Buffer) -> None:
        """Become the server that `freeze` described.

        Raises: Misused when the bytes are no image of this version.
        """
        image, state = _restored(ServerImage, data, SERVER_STATES, {pairwise_server.Registry: self._known})
        self._agreement = image.agreement
        self._answered = dict(image.answered)
        self._said = {who: (bytes(data),) for who, data in image.said.items()}
        self.aggregate = image.aggregate
        self._party = Party(pairwise_server.server, state)
        self.wait = Wait(image.wait, self.plan.patience_seconds) if image.wait else None
        if image.agreement is not None:
            self._limit = _largest_frame(image.agreement, len(self.identities))

    def _opened(self, data: Buffer, header: Header, speaker: PartyId) -> Any:
        try:
            return codec.open_frame(data, header, self.identities[header.sender])
        except BadSignature as error:
            # Whoever is named in a forged frame did not send it: blame who carried it, if anybody is known.
            raise BadSignature(speaker, error.why) from error

    def _note(self, note: Excluded) -> None:
        # A stranger can send faulty frames for ever; the first ones tell the story.
        if len(self.excluded) < MOST_NOTES:
            self.excluded.append(note)

    def _said_to(self, who: PartyId) -> list[Frame]:
        """What this client was sent since it last spoke: it repeats itself when that got lost."""
        said = self._said.get(who)
        return [] if said is None else [Frame((who,), said)]

    def _deliver(self, envelopes: list[Envelope]) -> list[Frame]:
        frames = []
        for envelope in envelopes:
            if envelope.to != (APP,):
                frame = _frame(envelope, SERVER, self.agreement, self._identity.sign)
                self._said.update(dict.fromkeys(frame.to, frame.parts))
                frames.append(frame)
            elif isinstance(envelope.message, Wait):
                self.wait = envelope.message
            elif isinstance(envelope.message, Excluded):
                self._note(envelope.message)
            elif isinstance(envelope.message, Aggregate):
                self.aggregate, self.wait = envelope.message, None
        return frames


def _largest_frame(agreement: Agreement, clients: int) -> int:
    """No letter of this round is longer: a packed vector, or shares and ids for every other client."""
    coding = coding_of(agreement)
    return coding.ring.packed_bytes(coding.length) + 256 * clients + 1024
