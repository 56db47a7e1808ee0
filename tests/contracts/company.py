"""A server, its clients and their identities, all functions of one number; and stand-ins that watch them.

Company     builds endpoints: twice the same number gives twice the same bytes
StandIn     an endpoint that remembers what it said and which states it went through
Restarted   dies before every message and comes back from its frozen bytes in a newly built endpoint
Repeated    hears every message twice
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols.codec import Frame, kind_of
from protocols.endpoint import Client, Server, Task
from protocols.errors import RoundLost
from protocols.messages import Aggregate, Submit
from protocols.party import SERVER, PartyId
from protocols.plan import Policy, RoundPlan
from protocols.simulate import Cohort, FaultPlan, Simulation
from protocols.verifying import remembering
from secagg.keys import Identity, Seed

VERIFIER = remembering()


def seed_of(*words: object) -> Seed:
    """A test's seed, named by words."""
    return Seed(hashlib.sha256(repr(words).encode()).digest())


class StandIn:
    """An endpoint that remembers what it emitted and its states, by type."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self.build = build
        self.live = build()
        self.emitted: list[Frame] = []
        self.states: dict[type[Any], Any] = {}
        self.aggregate: Aggregate | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.live, name)

    def receive(self, data: bytes, *speaker: PartyId) -> list[Frame]:
        return self.act(lambda: self.live.receive(data, *speaker))

    def send(self, submission: Submit) -> list[Frame]:
        return self.act(lambda: self.live.send(submission))

    def open(self, *particulars: Any) -> list[Frame]:
        return self.act(lambda: self.live.open(*particulars))

    def deadline(self, room: str) -> list[Frame]:
        return self.act(lambda: self.live.deadline(room))

    def act(self, deed: Callable[[], list[Frame]]) -> list[Frame]:
        try:
            frames = deed()
        finally:
            state = self.live._party.state
            self.states[type(state)] = state
            self.aggregate = getattr(self.live, "aggregate", None) or self.aggregate
        self.emitted += frames
        return frames


class Restarted(StandIn):
    def act(self, deed: Callable[[], list[Frame]]) -> list[Frame]:
        image = self.live.freeze()
        self.live = self.build()
        self.live.thaw(image)
        assert self.live.freeze() == image
        return super().act(deed)


class Repeated(StandIn):
    def receive(self, data: bytes, *speaker: PartyId) -> list[Frame]:
        first = super().receive(data, *speaker)
        before = self.live.freeze()
        again = self.live.receive(data, *speaker)
        assert self.live.freeze() == before
        # Both answer with the same bytes; a server with those alone that it had for the one who asks again, and
        # with what that one was told while its letter was under way.
        expected = [bytes(frame) for frame in first if not speaker or speaker[0] in frame.to]
        told = {bytes(frame) for frame in self.emitted if not speaker or speaker[0] in frame.to}
        repeated = [bytes(frame) for frame in again]
        assert repeated == expected or (speaker and not expected and set(repeated) <= told)
        assert all(frame.to == speaker for frame in again) or not speaker
        return first


class Company:
    """Endpoints over one plan, with identities pinned to each other."""

    # Whoever holds a part of a key, where sums are encrypted.
    holders: Mapping[PartyId, bytes] = {}

    def __init__(self, plan: RoundPlan, clients: int, number: int = 0) -> None:
        self.plan = plan
        self.number = number
        self.ids = tuple(PartyId(3 * index + 1) for index in range(clients))
        self.identities = {who: Identity.from_seed(seed_of("identity", number, who)) for who in self.ids}
        self.identity = Identity.from_seed(seed_of("server", number))
        self.known = {who: identity.public for who, identity in self.identities.items()}
        self.policy = Policy(self.known, min_cohort=plan.min_cohort, promise=plan.promise, assumption=plan.assumption)

    def client(self, who: PartyId, policy: Policy | None = None) -> Client:
        root = seed_of("root", self.number, who)
        return Client.from_root(root, policy or self.policy, self.identities[who], self.identity.public, VERIFIER)

    def server(self) -> Server:
        return Server(self.plan, self.known, self.identity)

    def conditions(self) -> AbstractContextManager[None]:
        """Inside, what this company's rounds take for granted holds."""
        return nullcontext()

    def cohort(self, kind: type[StandIn] = StandIn) -> Cohort:
        """Stand-ins of one kind for the server and every client."""
        clients = {who: kind(lambda who=who: self.client(who)) for who in self.ids}
        return Cohort(kind(self.server), clients)

    def task(self, length: int, round: int = 0) -> Task:
        return Task(round, length, nonce=bytes(16))


@dataclass
class Played:
    """One simulated round: what was submitted, what was said, what came out or was raised."""

    company: Company
    simulation: Simulation
    submitted: dict[PartyId, Submit] = field(default_factory=dict)
    lost: RoundLost | None = None

    @property
    def opened(self) -> Aggregate:
        assert self.lost is None, self.lost
        return self.simulation.opened

    def said(self, who: PartyId) -> list[bytes]:
        stand_in = self.simulation.server if who == SERVER else self.simulation.clients[who]
        return [bytes(frame) for frame in stand_in.emitted]

    def said_by_all(self) -> list[bytes]:
        """What holders and the maker of their key said is there too."""
        clients, committee = self.simulation.clients.values(), self.simulation.cohort.committee
        key = () if committee is None else (committee.maker, *committee.holders.values())
        everybody: list[Any] = [self.simulation.server, *clients, *key]
        return [bytes(frame) for stand_in in everybody for frame in stand_in.emitted]

    def kinds_said_by_clients(self) -> set[type[Any]]:
        return {kind_of(frame) for who in self.company.ids for frame in self.said(who)}


def update_of(company: Company, who: PartyId, length: int) -> np.ndarray[Any, Any]:
    """Coordinates on both sides of the clip, different for every client."""
    generator = np.random.default_rng([company.number, who])
    return generator.uniform(-1.25, 1.25, length) * float(company.plan.clip)


def play(
    company: Company,
    length: int = 7,
    faults: FaultPlan | None = None,
    kind: type[StandIn] = StandIn,
    round: int = 0,
) -> Played:
    """One whole round; weights are distinct where the plan allows more than one."""

    def train(who: PartyId, client: Client) -> Submit:
        weight = 1 + (who * 2**30) % company.plan.max_weight
        metrics = {metric.name: 0.5 for metric in company.plan.metrics}
        submission = client.prepare(update_of(company, who, length), weight=weight, metrics=metrics)
        played.submitted[who] = submission
        return submission

    simulation = Simulation(company.cohort(kind), train, faults)
    played = Played(company, simulation)
    try:
        simulation.run(company.task(length, round))
    except RoundLost as lost:
        played.lost = lost
    return played
