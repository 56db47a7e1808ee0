"""A server, its clients and their identities, all functions of one number; and stand-ins that watch them.

Company     builds endpoints: twice the same number gives twice the same bytes
Encrypting  one whose rounds are encrypted, with holders of the key
Speaking    one whose clients speak once, with a committee
StandIn     an endpoint that remembers what it said and which states it went through
Keyed       one for many rounds: the key they need is made once in this process
Restarted   dies before every message and comes back from its frozen bytes in a newly built endpoint
Repeated    hears every message twice
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from protocols.ckks.holder import HolderPolicy
from protocols.ckks.keys import keys_for_rounds
from protocols.ckks.messages import Certificate
from protocols.ckks.vector import key_for
from protocols.codec import Frame, kind_of
from protocols.committee import HOLDERS, MEMBERS, KeyCommittee, OneShotCommittee, numbers
from protocols.endpoint import Client, Holder, Member, Server, Task
from protocols.errors import RoundLost
from protocols.heads import NO_LEDGER, LedgerHead
from protocols.messages import Aggregate, Submit
from protocols.oneshot.member import MemberPolicy
from protocols.party import SERVER, PartyId
from protocols.plan import Agreement, Policy, RoundPlan
from protocols.simulate import Cohort, FaultPlan, Simulation
from protocols.verifying import remembering
from secagg.keys import Identity, Seed
from secagg.quorum import Quorum

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


class Keyed(StandIn):
    """Where a round needs a key, its holders may come back with one that they made before."""


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
    # Of the ledger that its rounds are charged to.
    head: LedgerHead = NO_LEDGER

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

    def endpoint(self, who: PartyId, life: int) -> Any:
        """Whoever has this number, in its n-th life."""
        return self.server() if who == SERVER else self.client(who)

    @property
    def parties(self) -> tuple[PartyId, ...]:
        """Whoever may vanish from a round."""
        return self.ids

    def speakers(self, room: str) -> tuple[PartyId, ...]:
        """For whose letters the server waits in this room."""
        return self.ids

    def conditions(self) -> AbstractContextManager[None]:
        """Inside, what this company's rounds take for granted holds."""
        return nullcontext()

    def cohort(self, kind: type[StandIn] = StandIn) -> Cohort:
        """Stand-ins of one kind for the server and every client."""
        return Cohort(kind(self.server), self.stand_ins(kind))

    def stand_ins(self, kind: type[StandIn]) -> dict[PartyId, Any]:
        return {who: kind(lambda who=who: self.client(who)) for who in self.ids}

    def task(self, length: int, round: int = 0) -> Task:
        return Task(round, length, ledger_head=self.head, nonce=bytes(16))


# Certificates and what their holders must remember, by the context of the key: a function of its company's number.
_MADE: dict[bytes, tuple[Certificate, dict[PartyId, bytes]]] = {}


class Remembering(KeyCommittee):
    """A committee that makes no key twice in one process."""

    def certificate_for(self, agreement: Agreement) -> Certificate:
        publics = tuple(self.identities[who] for who in sorted(self.identities))
        context = key_for(agreement, self.ceremony.keys, 0, publics).context
        if context not in _MADE:
            certificate = super().certificate_for(agreement)
            _MADE[context] = certificate, {who: holder.freeze() for who, holder in self.holders.items()}
        certificate, images = _MADE[context]
        for who, image in images.items():
            self.holders[who].thaw(image)
        return certificate


class Opened(Company):
    """Endpoints of rounds that others than the clients open, numbered from the end."""

    def __init__(self, plan: RoundPlan, clients: int, number: int, holders: int) -> None:
        super().__init__(plan, clients, number)
        self.holder_ids = numbers(holders)
        self.holder_identities = {who: Identity.from_seed(seed_of("holder", number, who)) for who in self.holder_ids}
        self.publics = {who: identity.public for who, identity in self.holder_identities.items()}
        self.holders = self.publics
        self.policy = replace(
            self.policy, protocols=frozenset({plan.protocol}), holders=frozenset(self.publics.values())
        )

    def holder(self, who: int, life: int = 1) -> Any:
        raise NotImplementedError

    def committee(self, kind: type[StandIn] = StandIn) -> Any:
        raise NotImplementedError

    def endpoint(self, who: PartyId, life: int) -> Any:
        """Who opens draws other secrets in every life: what it has not stored is gone."""
        return self.holder(who, life) if who in self.holder_ids else super().endpoint(who, life)

    @property
    def parties(self) -> tuple[PartyId, ...]:
        return self.ids + self.holder_ids

    def speakers(self, room: str) -> tuple[PartyId, ...]:
        return self.holder_ids if room == "Opening" else self.ids

    def server(self) -> Server:
        return Server(self.plan, self.known, self.identity, holders=self.publics)

    def cohort(self, kind: type[StandIn] = StandIn) -> Cohort:
        return Cohort(kind(self.server), self.stand_ins(kind), committee=self.committee(kind))


class Encrypting(Opened):
    """Endpoints of encrypted rounds, with five holders of the key unless it is said."""

    def __init__(self, plan: RoundPlan, clients: int, number: int = 0, holders: int = HOLDERS) -> None:
        super().__init__(plan, clients, number, holders)
        self.keys = keys_for_rounds(holders)

    def holder(self, who: int, life: int = 1) -> Holder:
        policy = HolderPolicy(frozenset(self.publics.values()), self.known, min_cohort=self.plan.min_cohort)
        root, mine = seed_of("holder root", self.number, who, life), self.holder_identities[PartyId(who)]
        return Holder.from_root(root, who, policy, mine, self.identity.public, VERIFIER)

    def committee(self, kind: type[StandIn] = StandIn) -> KeyCommittee:
        """Stand-ins of one kind for the holders; who has them make a key is heard, and lives on."""

        def build(who: int, *_: object) -> Any:
            return kind(lambda: self.holder(who))

        committee = Remembering if kind is Keyed else KeyCommittee
        made = committee.of(self.plan, self.known, self.identity, self.holder_identities, build)
        maker: Any = made.ceremony.maker
        made.ceremony.maker = StandIn(lambda: maker)  # type: ignore[assignment]
        return made


class Speaking(Opened):
    """Endpoints of one-shot rounds, with ten members of the committee unless it is said."""

    def __init__(self, plan: RoundPlan, clients: int, number: int = 0, members: int = MEMBERS) -> None:
        super().__init__(plan, clients, number, members)
        self.quorum = Quorum.usual(members)

    def holder(self, who: int, life: int = 1) -> Member:
        policy = MemberPolicy(frozenset(self.publics.values()), self.known, min_cohort=self.plan.min_cohort)
        root, mine = seed_of("member root", self.number, who, life), self.holder_identities[PartyId(who)]
        return Member.from_root(root, who, policy, mine, self.identity.public, VERIFIER)

    def committee(self, kind: type[StandIn] = StandIn) -> OneShotCommittee:
        """Stand-ins of one kind for the members; who convenes them is heard, and lives on."""

        def build(who: int, *_: object) -> Any:
            return kind(lambda: self.holder(who))

        made = OneShotCommittee.of(self.plan, self.known, self.identity, self.holder_identities, build)
        maker: Any = made.ceremony.maker
        made.ceremony.maker = StandIn(lambda: maker)  # type: ignore[assignment]
        return made


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
        simulation = self.simulation
        stand_in: Any = {SERVER: simulation.server, **simulation.clients, **simulation.holders}[who]
        return [bytes(frame) for frame in stand_in.emitted]

    def said_by_all(self) -> list[bytes]:
        """What holders and the maker of their key said is there too."""
        clients, committee = self.simulation.clients.values(), self.simulation.cohort.committee
        key = () if committee is None else (committee.ceremony.maker, *committee.holders.values())
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
