"""One deterministic driver for every protocol: frames in a queue, time is virtual, drop-outs are planned.

    until the server is done:
        a frame in the queue  -> deliver it to server, client or holder, unless the fault plan loses it
        a client that needs an update  -> ask the application, submit
        an endpoint that needs a beacon  -> the stand-in for a public one
        a quiet network  -> the open room's deadline

Everything travels as real signed frames between real endpoints, so byte counts are those of the wire.
"""

from __future__ import annotations

import enum
import hashlib
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from protocols import codec
from protocols.ckks.messages import Ciphertext
from protocols.ckks.seeded_messages import SeededCiphertext
from protocols.codec import Frame
from protocols.cohort import Cohort as Cohort
from protocols.cohort import identity_from as identity_from
from protocols.endpoint import Client, Reader, Server, Task
from protocols.errors import Misbehaved, Misused, RoundLost
from protocols.ideal import Ideal
from protocols.messages import Aggregate, Submit
from protocols.party import SERVER, PartyId
from protocols.plan import PAIRWISE, RoundPlan


class Exchange(enum.IntEnum):
    """The letters of a pairwise client in order; what a drop-out is measured by."""

    ADVERTISE = 0
    SHARES = 1
    MASKED = 2
    WITNESS = 3
    UNMASK = 4


class Encrypted(enum.IntEnum):
    """The one letter of a client, or of who opens the sum, in a round that others than the clients open."""

    VECTOR = 0


def letters_of(plan: RoundPlan) -> type[Exchange] | type[Encrypted]:
    """What a client says in a round of this plan."""
    return Exchange if plan.protocol == PAIRWISE else Encrypted


class Lost(enum.Enum):
    """What got lost when a client vanished: the server's request, or only the client's reply to it."""

    REQUEST = "request"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a client, or a holder, vanishes for the rest of the round."""

    exchange: Exchange | Encrypted
    lost: Lost


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The fate of each party that drops out; those that are not listed stay."""

    fates: Mapping[PartyId, Fate] = field(default_factory=dict)

    @classmethod
    def seeded(cls, clients: tuple[PartyId, ...], dropout: float, seed: int) -> FaultPlan:
        """floor(dropout * n) clients, each lost at a random exchange and side. `seed` decides; no secret does.

        Raises: Misused when dropout is no fraction, or `clients` no tuple of ids.
        """
        if not isinstance(clients, tuple) or not all(isinstance(who, int) for who in clients):
            raise Misused(f"clients are a tuple of ids, such as tuple(range(20)), got {clients!r}")
        if not 0 <= dropout <= 1:
            raise Misused(f"dropout is {dropout}, it must lie in 0..1")
        generator = np.random.default_rng(seed)
        # As the plan counts them: a plan for one tenth of seven clients expects to lose none.
        count = math.floor(Fraction(repr(float(dropout))) * len(clients))
        chosen = generator.choice(len(clients), size=count, replace=False)
        exchanges, sides = list(Exchange), list(Lost)
        return cls(
            {
                clients[index]: Fate(
                    exchanges[generator.integers(len(exchanges))], sides[generator.integers(len(sides))]
                )
                for index in sorted(chosen.tolist())
            }
        )


@dataclass(slots=True)
class Traffic:
    """What one party did in the round: bytes sent and received, CPU seconds spent, exchanges answered."""

    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    exchanges: int = 0


@dataclass(frozen=True, slots=True)
class Costs:
    """What a round cost. Seconds are CPU time; bytes are whole frames; medians are over survivors.

    Those of holders are over the holders that answered, 0 where there are none.
    """

    client_seconds_median: float
    server_seconds: float
    upload_bytes_per_client: int
    exchanges: int
    holder_seconds_median: float = 0.0
    download_bytes_per_holder: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the server saw of one client's update: its hidden vector, packed as it travelled."""

    who: PartyId
    packed: bytes

    @classmethod
    def of(cls, who: PartyId, frame: Frame) -> Seen:
        body = bytes(frame)[codec.HEADER.size : -codec.SIGNATURE_BYTES]
        letter = codec.decode_body(codec.kind_of(frame), body, who)
        return cls(who, bytes(letter.c0 if isinstance(letter, Ciphertext | SeededCiphertext) else letter.vector))


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a round is: the clients whose update has left, and the answers that holders gave about its sum."""

    updates: int = 0
    answers: int = 0


Application = Callable[[PartyId, Client], Submit]
Told = Callable[[Standing], None]
LABEL_BEACON = b"secagg/v1/simulate/beacon"


def beacon_for(roster: bytes) -> bytes:
    """Stands in for a public value in a process that plays every party, and so could choose any graph anyway."""
    return hashlib.sha256(LABEL_BEACON + roster).digest()


class Simulation:
    """One round between a server and its clients, in one process.

    `train` is the application: called when a client needs its update, it returns `client.prepare(...)`.
    `opening` is called once, before anybody is asked for the shares that open the sum: what must be durable
    by then is written there. `timed` names the clients whose seconds count, everybody's where it is left out.
    `seen` is one client's hidden vector as the server received it. `ideal` adds, in the clear, exactly the
    vectors that reach the server: what the sum must equal. `told` hears how far the round is, outside of what is timed.
    """

    def __init__(
        self,
        cohort: Cohort,
        train: Application,
        faults: FaultPlan | None = None,
        opening: Callable[[], None] = lambda: None,
        timed: Collection[PartyId] | None = None,
        told: Told = lambda standing: None,
    ) -> None:
        self.told = told
        self.standing = Standing()
        self.server = cohort.server
        self.clients = cohort.clients
        self.holders = cohort.holders
        self.cohort = cohort
        self.train = train
        self.opening = opening
        self.timed = self.clients.keys() if timed is None else timed
        self.faults = faults or FaultPlan()
        self.traffic = {who: Traffic() for who in (*self.clients, *self.holders)}
        self.aborted: dict[PartyId, Misbehaved] = {}
        self.server_seconds = 0.0
        self.is_opening = False
        self.seen: Seen | None = None
        self._queue: deque[tuple[PartyId, PartyId, bytes]] = deque()
        self._gone: set[PartyId] = set()
        self._last = max(letters_of(cohort.server.plan))

    def run(self, task: Task) -> Costs:
        """Play the round to its end, making its key first where it needs one.

        Raises: TooFewClients, TooFewMembers, ImplausibleSum when the round is lost; Misused for a wrong plan or update.
        """
        keyed = self.cohort.keyed(task)
        self._from_server(lambda: self.server.open(keyed, tuple(sorted(self.clients))))
        self.ideal = Ideal(self.server.agreement)
        try:
            while self._queue or not self.server.done:
                self._step()
        except RoundLost as lost:
            lost.refusal = next((str(error) for error in self.aborted.values()), None)
            raise
        return self.costs()

    def _step(self) -> None:
        if self._queue:
            sender, recipient, data = self._queue.popleft()
            self._deliver(sender, recipient, data)
        else:
            self._from_server(self._quiet)

    def _quiet(self) -> list[Frame]:
        """Nobody has anything to say: the graph wants its seed, or the open room's time is over."""
        roster = self.server.needs_beacon
        if roster is not None:
            return self.server.beacon(beacon_for(roster))
        return [] if self.server.wait is None else self.server.deadline(self.server.wait.room)

    @property
    def opened_by(self) -> Mapping[PartyId, Aggregate]:
        """The sum of each who has it: of the server, or of every client where they share the key.

        Raises: Misused before the round has ended in one.
        """
        ends: dict[PartyId, Client | Server] = {who: self.clients[who] for who in self.server.handed_out}
        found = {
            who: end.aggregate for who, end in (ends or {SERVER: self.server}).items() if end.aggregate is not None
        }
        if not found:
            raise Misused("the round has not ended in a sum")
        return found

    @property
    def reader(self) -> Reader:
        """Who has the sum, the first of them where several have: `mean`, `metrics`, `next_clip`."""
        first = next(iter(self.opened_by))
        return self.server if first == SERVER else self.clients[first]

    @property
    def opened(self) -> Aggregate:
        """The sum, once `run` has returned."""
        return next(iter(self.opened_by.values()))

    @property
    def exact(self) -> bool:
        """Whether every opened sum equals, bit for bit, the sum of the vectors that reached the server."""
        found = self.opened_by.values()
        expected = self.ideal.aggregate()
        return all(
            opened.survivors == expected.survivors
            and opened.weight_sum == expected.weight_sum
            and np.array_equal(opened.total, expected.total)
            for opened in found
        )

    def costs(self) -> Costs:
        """The bill so far."""
        staying = {w: t for w, t in self.traffic.items() if w not in self._gone and w not in self.aborted}
        finished = {w: t for w, t in staying.items() if w in self.clients}
        seconds = [account.seconds for who, account in finished.items() if who in self.timed]
        answering = [account for who, account in staying.items() if who in self.holders and account.exchanges]
        return Costs(
            client_seconds_median=statistics.median(seconds) if seconds else 0.0,
            server_seconds=self.server_seconds,
            upload_bytes_per_client=max((account.sent_bytes for account in finished.values()), default=0),
            exchanges=max((account.exchanges for account in finished.values()), default=0),
            holder_seconds_median=statistics.median(each.seconds for each in answering) if answering else 0.0,
            download_bytes_per_holder=max((account.received_bytes for account in answering), default=0),
        )

    def _deliver(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        if recipient == SERVER:
            self._from_server(lambda: self.server.receive(data, sender))
            if sender in self.clients:
                # Of thousands of clients, each would keep its vector until the round is over.
                self.clients[sender].delivered()
        elif not self._loses(recipient, Lost.REQUEST):
            self.traffic[recipient].received_bytes += len(data)
            act = self._at_holder if recipient in self.holders else self._at_client
            act(recipient, data)

    def _loses(self, who: PartyId, side: Lost) -> bool:
        """Whether this client is gone, or vanishes now."""
        fate = self.faults.fates.get(who)
        # Whoever says one letter only vanishes at that one, whichever a fate names.
        at = None if fate is None else min(fate.exchange, self._last)
        if fate is not None and fate.lost is side and self.traffic[who].exchanges == at:
            self._gone.add(who)
        return who in self._gone

    def _at_client(self, who: PartyId, data: bytes) -> None:
        client, account = self.clients[who], self.traffic[who]
        started = time.process_time()
        try:
            frames = client.receive(data)
            if client.needs_beacon is not None:
                frames = client.beacon(beacon_for(client.needs_beacon))
            submission = self.train(who, client) if client.needs_update else None
            if submission is not None:
                frames = client.send(submission)
        except Misbehaved as error:
            self.aborted[who] = error
            return
        finally:
            account.seconds += time.process_time() - started
        if self._loses(who, Lost.REPLY):
            return
        account.exchanges += bool(frames)
        if submission is not None:
            self.ideal.add(who, submission)
            self.seen = self.seen or Seen.of(who, frames[-1])
            self._tell(replace(self.standing, updates=self.standing.updates + 1))
        self._post(who, frames)

    def _at_holder(self, who: PartyId, data: bytes) -> None:
        account = self.traffic[who]
        started = time.process_time()
        try:
            frames = self.holders[who].receive(data)
        except Misbehaved as error:
            self.aborted[who] = error
            return
        finally:
            account.seconds += time.process_time() - started
        if not self._loses(who, Lost.REPLY):
            account.exchanges += bool(frames)
            self._tell(replace(self.standing, answers=self.standing.answers + len(frames)))
            self._post(who, frames)

    def _tell(self, standing: Standing) -> None:
        self.standing = standing
        self.told(standing)

    def _post(self, who: PartyId, frames: list[Frame]) -> None:
        for frame in reversed(frames):
            self.traffic[who].sent_bytes += len(frame)
            # The server reads at once, so that no more than one large vector is ever under way.
            self._queue.appendleft((who, SERVER, bytes(frame)))

    def _from_server(self, act: Callable[[], list[Frame]]) -> None:
        started = time.process_time()
        frames = act()
        self.server_seconds += time.process_time() - started
        if not self.is_opening and self.server.opening:
            self.is_opening = True
            self.opening()
        for frame in frames:
            data = bytes(frame)
            self._queue.extend((SERVER, who, data) for who in frame.to)
