"""The pairwise protocol on a k-regular ring: the same sums with a fraction of the masks."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from protocols.endpoint import Client, Server, Task
from protocols.errors import PolicyViolation, TooFewClients
from protocols.messages import Submit
from protocols.pairwise.server import well_held
from protocols.pairwise.session import Session
from protocols.party import PartyId
from protocols.plan import RoundPlan
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost, Simulation
from protocols.trial import vector_of
from protocols.verifying import shared_memory
from secagg.graph import GraphMode
from secagg.keys import Identity, Seed
from secagg.workers import Workers
from tests.rows import rows

CLIENTS = 70
DIMENSION = 50
PLAN = RoundPlan.recommend(CLIENTS, dropout=0.1, corrupt=0.05, graph=GraphMode.ROSTER)
IDS = tuple(map(PartyId, range(CLIENTS)))


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return Cohort.fresh(PLAN, IDS, shared_memory())


def train(who: PartyId, client: Client) -> Submit:
    return client.prepare(vector_of(Seed(bytes(32)), who, DIMENSION))


def simulated(cohort: Cohort, number: int, faults: FaultPlan) -> Simulation:
    simulation = Simulation(cohort, train, faults)
    simulation.run(Task(number, DIMENSION))
    return simulation


def lost(who: Iterable[int], exchange: Exchange) -> FaultPlan:
    return FaultPlan({PartyId(i): Fate(exchange, Lost.REPLY) for i in who})


def session_of(cohort: Cohort) -> Session:
    simulation = Simulation(cohort, train)
    states: list[Session] = []
    opening = simulation.opening

    def remember() -> None:
        states.append(cohort.server._party.state.summed.session)
        opening()

    simulation.opening = remember
    simulation.run(Task(1_000_000, DIMENSION))
    return states[0]


def test_the_plan_asks_for_fewer_neighbours_than_clients() -> None:
    parameters = PLAN.parameters(CLIENTS)
    assert parameters.degree < CLIENTS - 1
    assert 2 * parameters.threshold > parameters.degree


@pytest.mark.parametrize("seed", range(10))
def test_the_sum_is_exact_when_clients_vanish_anywhere(cohort: Cohort, seed: int) -> None:
    assert simulated(cohort, seed, FaultPlan.seeded(IDS, 0.1, seed)).exact


@pytest.mark.parametrize("exchange", Exchange)
def test_the_sum_is_exact_when_clients_vanish_at_one_exchange(cohort: Cohort, exchange: Exchange) -> None:
    assert simulated(cohort, 100 + exchange, lost(range(7), exchange)).exact


def test_a_client_whose_neighbours_vanish_is_left_out_before_it_masks_anything(cohort: Cohort) -> None:
    session = session_of(cohort)
    assert session.graph.degree == PLAN.parameters(CLIENTS).degree
    victim = IDS[0]
    spare = len(session.neighbours(victim)) - session.parameters.threshold
    sharing = frozenset(IDS) - set(session.neighbours(victim)[: spare + 1])
    kept = well_held(session, sharing)
    assert victim not in kept
    for who in kept:
        assert sum(peer in kept for peer in session.neighbours(who)) >= session.parameters.threshold


def test_a_neighbourhood_cut_out_ends_the_round_before_anything_is_opened() -> None:
    cohort = Cohort.fresh(PLAN, IDS, shared_memory())
    ring = session_of(cohort).graph.ids
    assert set(ring) == set(IDS)
    half = lost(range(CLIENTS // 2), Exchange.MASKED)
    simulation = Simulation(cohort, train, half)
    with pytest.raises(TooFewClients, match="Summing"):
        simulation.run(Task(2_000_000, DIMENSION))
    assert not simulation.is_opening


@rows("M6")
def test_a_client_that_allows_only_complete_graphs_refuses_the_ring(row: str, cohort: Cohort) -> None:
    known = next(iter(cohort.clients.values()))
    strict = replace(known.policy, graphs=frozenset({GraphMode.COMPLETE}))
    with pytest.raises(PolicyViolation, match="graph"):
        strict.check(cohort.server.agree(Task(0, DIMENSION)))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_that_share_the_unmasking_give_the_same_sum(workers: int) -> None:
    plan = RoundPlan.recommend(5, dropout=0.2)
    ids = tuple(map(PartyId, range(5)))
    with ThreadPoolExecutor(workers) as executor:
        fresh = Cohort.fresh(plan, ids)
        server = Server(plan, fresh.server.identities, Identity.from_seed(Seed(bytes(32))), Workers(executor, workers))
        clients = {
            who: Client(client.policy, client_identity, server._identity.public)
            for (who, client), client_identity in zip(fresh.clients.items(), identities_of(fresh), strict=True)
        }
        simulation = Simulation(Cohort(server, clients), train, lost([0], Exchange.MASKED))
        simulation.run(Task(0, DIMENSION))
    assert simulation.exact


def identities_of(cohort: Cohort) -> list[Identity]:
    """The identities behind a cohort's clients, through the only function that still knows them."""
    return [client._own.sign.__self__ for client in cohort.clients.values()]  # type: ignore[attr-defined]
