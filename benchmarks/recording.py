"""A round of ours played once and remembered, so that one end of it can be played again alone.

Every secret of the round is a function of a root, so a fresh endpoint that hears the same frames says the
same bytes: replaying costs exactly what the endpoint cost in the round, keys and signatures included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from protocols import codec
from protocols.codec import Frame
from protocols.endpoint import Client, Server, Task
from protocols.messages import Submit, Unmask
from protocols.party import SELF, SERVER, PartyId
from protocols.plan import RoundPlan
from protocols.simulate import Cohort, Costs, Exchange, Fate, FaultPlan, Lost, Simulation, identity_from
from protocols.wire import Buffer
from secagg.keys import Seed
from secagg.workers import ALONE, Workers

ROOT = Seed(bytes(32))
FIRST = PartyId(0)

Floats = np.ndarray[Any, np.dtype[Any]]
Heard = tuple[PartyId, bytes]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the first client and the server heard, in order; the costs; the mean that was opened."""

    cohort: Cohort
    task: Task
    weight: int
    to_client: tuple[bytes, ...]
    to_server: tuple[Heard, ...]
    costs: Costs
    mean: Floats

    def client(self, workers: Workers = ALONE) -> Client:
        """The first client before it has heard anything."""
        made = self.cohort.clients[FIRST]
        return Client.from_root(ROOT, made.policy, identity_from(ROOT, FIRST), made.server_key, workers=workers)

    def play(self, client: Client, update: Floats) -> list[Frame]:
        """The client's whole round, from the invitation to its last answer; what it sends."""
        sent = []
        for data in self.to_client:
            sent += client.receive(data)
            if client.needs_update:
                sent += client.submit(update, weight=self.weight)
        return sent

    def server(self, workers: Workers = ALONE) -> Server:
        """The server that has opened the round and heard nothing yet."""
        made = self.cohort.server
        server = Server(made.plan, made.identities, identity_from(ROOT, SERVER), workers)
        server.open(self.task)
        return server

    def before_unmasking(self) -> bytes:
        """The image of a server that has heard everything but the shares that unmask the sum."""
        server = self.server()
        hear(server, [event for event in self.to_server if not says_unmask(event)])
        return server.freeze()

    @property
    def unmasking(self) -> list[Heard]:
        """The letters that unmask the sum."""
        return [event for event in self.to_server if says_unmask(event)]


def plan_of(clients: int, max_weight: int = 1) -> RoundPlan:
    """16 bits, everybody a neighbour of everybody, a tenth lost and a tenth corrupt where that is a client."""
    tenth = Fraction(1, 10) if clients >= 10 else Fraction(0)
    return RoundPlan.recommend(clients, dropout=tenth, corrupt=tenth, max_weight=max_weight)


def record(
    plan: RoundPlan,
    dimension: int,
    update_of: Callable[[int], Floats],
    weight: int = 1,
    lost: frozenset[int] = frozenset(),
) -> Recorded:
    """Play a round of `plan.max_clients` clients; those in `lost` share keys and send no vector.

    Raises: AssertionError when the opened sum is not exactly that of the vectors that arrived.
    """
    cohort = Cohort.from_root(plan, range(plan.max_clients), ROOT)
    task = Task(0, dimension, nonce=bytes(16))
    to_client = overheard(cohort.clients[FIRST])
    to_server = overheard(cohort.server)
    faults = FaultPlan({PartyId(who): Fate(Exchange.MASKED, Lost.REQUEST) for who in lost})

    def train(who: PartyId, client: Client) -> Submit:
        return client.prepare(update_of(who), weight=weight)

    simulation = Simulation(cohort, train, faults)
    costs = simulation.run(task)
    if not simulation.exact:
        raise AssertionError("the recorded round opened another sum than that of the vectors it received")
    frames = tuple(data for _, data in to_client)
    return Recorded(cohort, task, weight, frames, tuple(to_server), costs, cohort.server.mean())


def overheard(endpoint: Client | Server) -> list[Heard]:
    """What the endpoint will hear, as it comes; its own clock speaks as SELF. The endpoint is as it was."""
    heard: list[Heard] = []
    receive: Callable[..., list[Frame]] = endpoint.receive

    def listen(data: Buffer, speaker: PartyId = SERVER) -> list[Frame]:
        heard.append((speaker, bytes(data)))
        return receive(data) if isinstance(endpoint, Client) else receive(data, speaker)

    # Listening at the doors everything comes through.
    endpoint.receive = listen  # type: ignore[method-assign]  # on purpose, for this one object
    if isinstance(endpoint, Server):
        deadline = endpoint.deadline

        def ring(room: str) -> list[Frame]:
            heard.append((SELF, room.encode()))
            return deadline(room)

        endpoint.deadline = ring  # type: ignore[method-assign]  # on purpose, for this one object
    return heard


def hear(server: Server, events: list[Heard]) -> None:
    """Let the server live through these events."""
    for speaker, data in events:
        if speaker == SELF:
            server.deadline(data.decode())
        else:
            server.receive(data, speaker)


def says_unmask(event: Heard) -> bool:
    """Whether a client tells the shares that unmask the sum."""
    speaker, data = event
    return speaker != SELF and codec.kind_of(data) is Unmask
