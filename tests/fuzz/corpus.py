"""Seeds of the fuzzers: every letter on the wire and every endpoint at every stage of a few small rounds.

Three rounds, each a function of its number, so that the corpus is the same bytes on every machine:

    active     a client vanishes after it dealt its shares: its mask key is rebuilt
    curious    a client deals a box that does not open: somebody complains; a metric is opened with the sum
    noisy      as curious, under an active server, with a noise plan in the agreement
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

from protocols import codec, wire
from protocols.codec import HEADER, SIGNATURE_BYTES, Frame, kind_of
from protocols.committee import FIRST_HOLDER
from protocols.endpoint import (
    CLIENT_STATES,
    HOLDER_STATES,
    MEMBER_STATES,
    SERVER_STATES,
    Client,
    ClientImage,
    HolderImage,
    ServerImage,
)
from protocols.heads import LedgerHead
from protocols.messages import Roster, SealedShares, Shares, Submit
from protocols.pairwise.client import Advertised, Enrolled, Idle, Own
from protocols.pairwise.server import Registry, Relaying, Seeding
from protocols.party import SERVER, PartyId
from protocols.plan import Metric, Promise, RoundPlan
from protocols.simulate import Exchange, Fate, FaultPlan, Lost, Simulation
from tests.attacks.villain import plan_of
from tests.contracts.company import Company, StandIn, update_of
from tests.fuzz.mutate import Count, Seed, counts_in

LENGTH = 3
ROUND = 2
HEAD = LedgerHead(bytes(range(16)), 2, bytes(range(32)))
# In a ceremony the server's number is also that of who leads it; here they are told apart.
MAKER = PartyId(2**32 - 5)


def believe(public: bytes, text: bytes, signature: bytes) -> None:
    """A verifier that accepts everything."""


def no_signature(text: bytes) -> bytes:
    return bytes(SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Pose:
    """One endpoint at one moment: the stored image, and the party's state in it. Who leads a ceremony has no image."""

    who: PartyId
    kind: type[Any]
    image: bytes
    state: bytes

    @classmethod
    def of(cls, who: PartyId, endpoint: Any) -> Pose:
        state = endpoint._party.state
        return cls(who, type(state), b"" if who == MAKER else endpoint.freeze(), codec.freeze(state))


@dataclass(frozen=True, slots=True)
class Recording:
    """One round: who took part, the frames that were said, and the poses that were taken."""

    name: str
    company: Company
    frames: tuple[bytes, ...]
    poses: tuple[Pose, ...]

    @property
    def bodies(self) -> Iterator[tuple[type[Any], bytes]]:
        return ((kind_of(frame), frame[HEADER.size : -SIGNATURE_BYTES]) for frame in self.frames)

    def supplied(self, who: PartyId) -> dict[Any, object]:
        """What a stored party is given again; it believes every signature, and makes none."""
        return {
            Own: Own(who, self.company.policy, no_signature, believe),
            Registry: Registry(self.company.known),
        }


class Watched(StandIn):
    """Remembers a pose before and after everything it does."""

    def __init__(self, build: Callable[[], Any], who: PartyId | None = None) -> None:
        super().__init__(build)
        self.who = getattr(self.live, "me", SERVER) if who is None else who
        self.poses = [Pose.of(self.who, self.live)]

    def act(self, deed: Callable[[], list[Frame]]) -> list[Frame]:
        self.poses.append(Pose.of(self.who, self.live))
        try:
            return super().act(deed)
        finally:
            self.poses.append(Pose.of(self.who, self.live))


class Spoiling(Watched):
    """Deals one box that does not open."""

    def act(self, deed: Callable[[], list[Frame]]) -> list[Frame]:
        frames = super().act(deed)
        if [kind_of(frame) for frame in frames] != [Shares]:
            return frames
        self.emitted.pop()
        self.emitted.append(self.spoiled(frames[0]))
        return self.emitted[-1:]

    def spoiled(self, frame: Frame) -> Frame:
        data = bytes(frame)
        header = codec.read_header(data, self.who, codec.MAX_CONTROL_BYTES)
        first, *others = codec.decode_body(Shares, data[HEADER.size : -SIGNATURE_BYTES], self.who).sealed
        letter = Shares((SealedShares(bytes(len(first.box)), first.mask_tag, first.self_tag), *others))
        parts = codec.encode(letter, header.sender, header.task, header.round, self.live._own.sign)
        return Frame(frame.to, parts)


def record(name: str, plan: RoundPlan, clients: int, *, vanishes: bool, spoils: bool) -> Recording:
    """Play one round; of every kind of state the first and the last pose are kept, one client's and the server's."""
    company = Company(plan, clients)
    company.head = HEAD
    last = company.ids[-1]
    faults = FaultPlan({last: Fate(Exchange.MASKED, Lost.REPLY)} if vanishes else {})

    def watched(build: Callable[[], Any]) -> Watched:
        spoiler = spoils and getattr(build(), "me", SERVER) == last
        return Spoiling(build) if spoiler else Watched(build)

    simulation = Simulation(company.cohort(watched), partial(train, company), faults)
    simulation.run(company.task(LENGTH, ROUND))
    opened = simulation.opened
    assert opened.survivors == (company.ids[:-1] if vanishes else company.ids)
    assert bool(opened.blamed) == spoils
    everybody: list[Any] = [simulation.server, *simulation.clients.values()]
    frames = tuple(dict.fromkeys(bytes(frame) for endpoint in everybody for frame in endpoint.emitted))
    # The first client is the one whom the spoilt box was for.
    poses = [pose for endpoint in everybody[:2] for pose in first_and_last(endpoint.poses)]
    failures = (failed(SERVER, company.server()), failed(company.ids[0], company.client(company.ids[0])))
    return Recording(name, company, frames, (*poses, *by_hand(poses, frames), *failures))


def train(company: Company, who: PartyId, client: Client) -> Submit:
    metrics = {metric.name: 0.5 for metric in company.plan.metrics}
    return client.prepare(update_of(company, who, LENGTH), weight=who % company.plan.max_weight + 1, metrics=metrics)


def first_and_last(poses: list[Pose]) -> Iterator[Pose]:
    for kind in dict.fromkeys(pose.kind for pose in poses):
        met = [pose for pose in poses if pose.kind is kind]
        yield met[0]
        if met[-1] != met[0]:
            yield met[-1]


def by_hand(poses: list[Pose], frames: tuple[bytes, ...]) -> Iterator[Pose]:
    """States that a small round passes within one step: before the keys, and while a graph waits for its beacon."""
    advertised = next(pose for pose in poses if pose.kind is Advertised)
    supplied = {Own: None, Registry: None}
    was = codec.thaw(Advertised, advertised.state, supplied)
    [roster] = {frame[HEADER.size : -SIGNATURE_BYTES] for frame in frames if kind_of(frame) is Roster}
    entries = codec.decode_body(Roster, roster, SERVER).entries
    yield restaged(advertised, Idle(was.own, was.root, -1))
    yield restaged(advertised, Enrolled(was.own, was.root, was.agreement, was.context, entries))
    for pose in poses:
        if pose.kind is Relaying:
            room = codec.thaw(Relaying, pose.state, supplied)
            agreement, context = room.session.agreement, room.session.context
            yield restaged(pose, Seeding(room.known, agreement, context, room.entries, room.arrived))


def restaged(pose: Pose, state: Any) -> Pose:
    """The same endpoint in another state."""
    kind = image_kind(pose)
    frozen = codec.freeze(state)
    [states, *_] = [states for states in STATES[kind] if type(state) in states]
    image = replace(wire.decode(kind, pose.image), kind=states.index(type(state)), state=frozen)
    return Pose(pose.who, type(state), wire.encode(image), frozen)


STATES: Mapping[type[Any], tuple[tuple[type[Any], ...], ...]] = {
    ServerImage: (SERVER_STATES,),
    ClientImage: (CLIENT_STATES,),
    HolderImage: (HOLDER_STATES, MEMBER_STATES),
}


def image_kind(pose: Pose) -> type[Any]:
    """As what such an endpoint is stored."""
    if pose.who == SERVER:
        return ServerImage
    return HolderImage if pose.who >= FIRST_HOLDER else ClientImage


def failed(who: PartyId, endpoint: Any) -> Pose:
    endpoint._party.abandon("the round was given up")
    return Pose.of(who, endpoint)


def noisy_plan(clients: int) -> RoundPlan:
    return RoundPlan.recommend(
        clients, dropout=Fraction(1, 4), corrupt=Fraction(0), min_cohort=3, noise_multiplier=Fraction(1)
    )


@functools.cache
def recordings() -> tuple[Recording, ...]:
    curious = plan_of(5, promise=Promise.CURIOUS, metrics=(Metric("loss", Fraction(4)),))
    return (
        record("active", plan_of(4), 4, vanishes=True, spoils=False),
        record("curious", curious, 5, vanishes=False, spoils=True),
        record("noisy", noisy_plan(5), 5, vanishes=False, spoils=True),
    )


@functools.cache
def frames() -> tuple[bytes, ...]:
    """Every frame of every recording."""
    return tuple(frame for recording in recordings() for frame in recording.frames)


def frame_seeds(found: Iterable[bytes]) -> list[Seed]:
    """Frames to damage; the first count of each is the length in its header."""
    announced = Count(HEADER.size - 8, 1)
    return [
        Seed(frame, (announced, *counts_in(kind_of(frame), frame[:-SIGNATURE_BYTES], HEADER.size))) for frame in found
    ]


def image_seeds(poses: Iterable[Pose]) -> list[Seed]:
    """Stored endpoints to damage."""
    return [Seed(pose.image, counts_in(image_kind(pose), pose.image)) for pose in poses if pose.who != MAKER]
