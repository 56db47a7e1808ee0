"""A ring whose order a public value decides, one that nobody knew when the roster was fixed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from protocols import codec
from protocols.codec import kind_of
from protocols.endpoint import Client, Server
from protocols.errors import Misused
from protocols.messages import Roster, Shares
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.party import PartyId
from protocols.plan import Promise, RoundPlan
from protocols.simulate import Exchange, Fate, FaultPlan, Lost, Simulation, beacon_for
from protocols.trial import vector_of
from secagg.graph import GraphMode
from secagg.keys import Seed
from tests.contracts.company import Company
from tests.rows import rows

CLIENTS = 66
LENGTH = 20
PLAN = RoundPlan.recommend(CLIENTS, dropout=0.05, corrupt=0.02, graph=GraphMode.BEACON)
VALUE = b"\x5a" * 32


class Ring(Company):
    """Clients whose policy allows the ring of a beacon."""

    def __init__(self) -> None:
        super().__init__(PLAN, CLIENTS)
        self.policy = replace(self.policy, graphs=frozenset({GraphMode.BEACON}))


RING = Ring()


@dataclass
class Halted:
    """A round in which everybody waits for the beacon."""

    server: Server
    clients: dict[PartyId, Client]

    @classmethod
    def fresh(cls) -> Halted:
        server, clients = RING.server(), {who: RING.client(who) for who in RING.ids}
        [invitation] = server.open(RING.task(LENGTH))
        rosters: list[Any] = []
        for who, client in clients.items():
            [advertise] = client.receive(bytes(invitation))
            rosters += server.receive(bytes(advertise), who)
        [roster] = rosters
        assert kind_of(roster) is Roster
        for client in clients.values():
            assert client.receive(bytes(roster)) == []
        return cls(server, clients)


def test_a_sparse_ring_waits_for_its_beacon_and_a_complete_graph_does_not() -> None:
    assert PLAN.parameters(CLIENTS).degree < CLIENTS - 1
    halted = Halted.fresh()
    asked = {client.needs_beacon for client in halted.clients.values()}
    assert asked == {halted.server.needs_beacon}
    assert len(asked.pop() or b"") == 32
    small = Company(RoundPlan.recommend(5, graph=GraphMode.BEACON), 5)
    small.policy = replace(small.policy, graphs=frozenset({GraphMode.BEACON}))
    simulation = Simulation(small.cohort(), prepared)
    simulation.run(small.task(LENGTH))
    assert simulation.exact
    assert pairwise_client.Enrolled not in simulation.clients[small.ids[0]].states


def prepared(who: PartyId, client: Client) -> Any:
    return client.prepare(vector_of(Seed(bytes(32)), who, LENGTH))


def test_the_sum_is_exact_when_clients_vanish() -> None:
    faults = {RING.ids[index]: Fate(exchange, Lost.REPLY) for index, exchange in enumerate(list(Exchange)[1:4])}
    simulation = Simulation(RING.cohort(), prepared, FaultPlan(faults))
    simulation.run(RING.task(LENGTH))
    assert simulation.exact
    assert not simulation.aborted
    assert PLAN.promise_of(CLIENTS) == "active"


@pytest.mark.parametrize(
    ("graph", "promise", "name"),
    [
        (GraphMode.ROSTER, Promise.ACTIVE, "active-graph-trusted"),
        (GraphMode.BEACON, Promise.ACTIVE, "active"),
        (GraphMode.COMPLETE, Promise.ACTIVE, "active"),
        (GraphMode.ROSTER, Promise.CURIOUS, "curious"),
    ],
)
def test_only_a_graph_nobody_chose_is_called_active(graph: GraphMode, promise: Promise, name: str) -> None:
    plan = RoundPlan.recommend(CLIENTS, dropout=0.05, corrupt=0.02, graph=graph, promise=promise)
    assert plan.promise_of(CLIENTS) == name


def test_another_value_gives_another_ring_and_another_session() -> None:
    orders = set()
    for value in (VALUE, VALUE[::-1][:31] + b"\x01"):
        halted = Halted.fresh()
        client = halted.clients[RING.ids[0]]
        client.beacon(value)
        session = client._party.state.session
        orders.add((session.graph.order, session.sid))
    assert len({order for order, _ in orders}) == 2
    assert len({sid for _, sid in orders}) == 2


def test_everybody_comes_back_from_bytes_while_it_waits() -> None:
    halted = Halted.fresh()
    who = RING.ids[3]
    again = RING.client(who)
    again.thaw(halted.clients[who].freeze())
    assert again.needs_beacon == halted.clients[who].needs_beacon
    assert [bytes(f) for f in again.beacon(VALUE)] == [bytes(f) for f in halted.clients[who].beacon(VALUE)]
    server = RING.server()
    server.thaw(halted.server.freeze())
    assert server.needs_beacon == halted.server.needs_beacon
    [share] = again.beacon(VALUE) if again.needs_beacon else halted.clients[RING.ids[4]].beacon(VALUE)
    server.receive(bytes(share), RING.ids[4])
    restored = RING.server()
    restored.thaw(server.freeze())
    assert restored._party.state.early.keys() == {RING.ids[4]}


def test_shares_that_arrive_before_the_servers_beacon_are_kept() -> None:
    halted = Halted.fresh()
    early = RING.ids[:10]
    for who in early:
        [frame] = halted.clients[who].beacon(VALUE)
        assert kind_of(frame) is Shares
        assert halted.server.receive(bytes(frame), who) == []
    assert not halted.server.excluded
    halted.server.beacon(VALUE)
    assert set(halted.server._party.state.arrived) == set(early)
    out: list[Any] = []
    for who in RING.ids[10:]:
        [frame] = halted.clients[who].beacon(VALUE)
        out += halted.server.receive(bytes(frame), who)
    assert len(out) == CLIENTS


def test_everybodys_shares_may_come_before_the_servers_beacon() -> None:
    halted = Halted.fresh()
    for who in RING.ids:
        [frame] = halted.clients[who].beacon(VALUE)
        halted.server.receive(bytes(frame), who)
    assert len(halted.server.beacon(VALUE)) == CLIENTS
    assert isinstance(halted.server._party.state, pairwise_server.Summing)


def framed(who: PartyId, message: object) -> bytes:
    task = codec.attempt_id(PLAN.task, bytes(16))
    return b"".join(codec.encode(message, who, task, 0, RING.identities[who].sign))


@rows("C2", "C11")
def test_early_shares_of_another_shape_a_stranger_and_a_second_letter_are_excluded_by_name(row: str) -> None:
    halted = Halted.fresh()
    who = RING.ids[0]
    [frame] = halted.clients[who].beacon(VALUE)
    halted.server.receive(bytes(frame), who)
    halted.server.receive(framed(who, Shares(())), who)
    halted.server.receive(framed(RING.ids[1], Shares(())), RING.ids[1])
    halted.server.beacon(VALUE)
    assert [(note.peer, note.error) for note in halted.server.excluded] == [
        (who, "Duplicate"),
        (RING.ids[1], "ShapeMismatch"),
    ]
    assert set(halted.server._party.state.arrived) == {who}


@rows("C15")
def test_a_client_that_did_not_advertise_deals_no_early_shares(row: str) -> None:
    server, clients = RING.server(), {who: RING.client(who) for who in RING.ids[:-1]}
    [invitation] = server.open(RING.task(LENGTH))
    for who, client in clients.items():
        [advertise] = client.receive(bytes(invitation))
        server.receive(bytes(advertise), who)
    server.deadline("Gathering")
    assert server.needs_beacon is not None
    server.receive(framed(RING.ids[-1], Shares(())), RING.ids[-1])
    assert [(note.peer, note.error) for note in server.excluded] == [(RING.ids[-1], "OutOfTurn")]


@pytest.mark.parametrize("value", [b"", bytes(32), b"\x01" * 31, b"\x01" * 33, "x" * 32])
def test_a_beacon_is_32_bytes_and_not_nothing(value: Any) -> None:
    halted = Halted.fresh()
    with pytest.raises(Misused, match="32 bytes"):
        halted.server.beacon(value)
    with pytest.raises(Misused, match="32 bytes"):
        halted.clients[RING.ids[0]].beacon(value)
    assert halted.server.needs_beacon == halted.clients[RING.ids[0]].needs_beacon


def test_nobody_takes_a_beacon_that_was_not_asked_for() -> None:
    halted = Halted.fresh()
    halted.server.beacon(VALUE)
    who = RING.ids[0]
    halted.clients[who].beacon(VALUE)
    for again in (halted.server.beacon, halted.clients[who].beacon):
        with pytest.raises(Misused, match="Beacon does not fit"):
            again(VALUE)


@rows("M8")
def test_a_client_with_another_beacon_opens_no_box_and_sends_no_vector(row: str) -> None:
    """A server that feeds one client another value splits it from the rest: its session has another name."""
    halted = Halted.fresh()
    victim = RING.ids[0]
    out: list[Any] = []
    halted.server.beacon(VALUE)
    for who in RING.ids:
        [frame] = halted.clients[who].beacon(VALUE if who != victim else b"\x07" * 32)
        out += halted.server.receive(bytes(frame), who)
    [inbox] = [frame for frame in out if frame.to == (victim,)]
    with pytest.raises(Exception, match=r"good|sealed shares") as refused:
        halted.clients[victim].receive(bytes(inbox))
    assert type(refused.value).__name__ in {"CohortTooSmall", "ShapeMismatch"}
    assert halted.clients[victim].done
    assert not halted.clients[victim].needs_update


def test_the_stand_in_of_a_simulation_depends_on_the_roster() -> None:
    assert beacon_for(bytes(32)) != beacon_for(b"\x01" + bytes(31))
