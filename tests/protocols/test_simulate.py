"""The driver: planned losses, true byte counts, virtual time, and an honest comparison with the ideal sum."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from protocols.codec import kind_of
from protocols.endpoint import Client, Task
from protocols.errors import Misused, TooFewClients
from protocols.messages import Masked, Submit, Unmask
from protocols.party import PartyId
from protocols.plan import Promise, RoundPlan
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost, Simulation
from secagg.keys import Seed

PLAN = RoundPlan.recommend(6, dropout=0.25, corrupt=0, min_cohort=3)
IDS = tuple(map(PartyId, range(6)))
ROOT = Seed(b"\3" * 32)
TASK = Task(0, 4, nonce=bytes(16))


def train(who: PartyId, client: Client) -> Submit:
    return client.prepare(np.full(4, who / 10))


def simulated(faults: FaultPlan | None = None, plan: RoundPlan = PLAN, ids: tuple[PartyId, ...] = IDS) -> Simulation:
    simulation = Simulation(Cohort.from_root(plan, ids, ROOT), train, faults)
    simulation.run(TASK)
    return simulation


# --- fault plans


@pytest.mark.parametrize(("dropout", "count"), [(0.0, 0), (0.1, 2), (0.25, 5), (0.5, 10), (1.0, 20)])
def test_a_seeded_plan_loses_the_stated_part_of_the_clients(dropout: float, count: int) -> None:
    clients = tuple(map(PartyId, range(20)))
    for seed in range(5):
        plan = FaultPlan.seeded(clients, dropout, seed)
        assert len(plan.fates) == count
        assert set(plan.fates) <= set(clients)
        assert plan == FaultPlan.seeded(clients, dropout, seed)


def test_seeds_reach_every_client_exchange_and_side() -> None:
    clients = tuple(map(PartyId, range(20)))
    fates = [FaultPlan.seeded(clients, 0.2, seed).fates for seed in range(100)]
    assert {who for fate in fates for who in fate} == set(clients)
    met = Counter(fate for one in fates for fate in one.values())
    assert set(met) == {Fate(exchange, side) for exchange in Exchange for side in Lost}


@pytest.mark.parametrize("dropout", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_drop_out_is_a_fraction(dropout: float) -> None:
    with pytest.raises(Misused, match=r"must lie in 0\.\.1"):
        FaultPlan.seeded(IDS, dropout, 0)


@pytest.mark.parametrize("clients", [20, [0, 1, 2], range(3), None, ("0", "1")])
def test_clients_that_are_no_tuple_are_refused_by_name(clients: Any) -> None:
    with pytest.raises(Misused, match=r"clients are a tuple of ids, such as tuple\(range\(20\)\)"):
        FaultPlan.seeded(clients, 0.1, 0)


@pytest.mark.parametrize("exchange", Exchange, ids=lambda exchange: exchange.name)
def test_a_lost_request_is_never_seen_and_a_lost_reply_never_counted(exchange: Exchange) -> None:
    for side in Lost:
        simulation = simulated(FaultPlan({IDS[2]: Fate(exchange, side)}))
        assert simulation.traffic[IDS[2]].exchanges == exchange
        trained = exchange > Exchange.MASKED or (exchange == Exchange.MASKED and side is Lost.REPLY)
        assert bool(simulation.clients[IDS[2]]._spent) == trained
        assert simulation.opened.survivors == (IDS if exchange > Exchange.MASKED else IDS[:2] + IDS[3:])
        assert simulation.exact


# --- what a round costs


class Counting(Simulation):
    """Writes down every frame that reaches the server."""

    def _deliver(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        if recipient not in self.clients:
            self.received = [*getattr(self, "received", []), (sender, data)]
        super()._deliver(sender, recipient, data)


def test_uploads_are_the_bytes_of_whole_frames() -> None:
    simulation = Counting(Cohort.from_root(PLAN, IDS, ROOT), train)
    costs = simulation.run(TASK)
    sent = Counter()
    for who, data in simulation.received:
        sent[who] += len(data)
    assert {who: traffic.sent_bytes for who, traffic in simulation.traffic.items()} == dict(sent)
    assert costs.upload_bytes_per_client == max(sent.values())
    assert costs.exchanges == 5
    assert costs.client_seconds_median > 0
    assert costs.server_seconds > 0


def test_a_curious_round_takes_one_exchange_less() -> None:
    plan = RoundPlan.recommend(6, promise=Promise.CURIOUS)
    simulation = Simulation(Cohort.from_root(plan, IDS, ROOT), train)
    assert simulation.run(TASK).exchanges == 4
    assert simulation.exact


def test_an_upload_is_the_packed_vector_and_a_little_more() -> None:
    length, bits = 100_000, PLAN.encoding.ring.bits
    simulation = Simulation(
        Cohort.from_root(PLAN, IDS, ROOT), lambda who, client: client.prepare(np.zeros(length)), None
    )
    costs = simulation.run(Task(0, length, nonce=bytes(16)))
    packed = length * bits / 8
    assert packed <= costs.upload_bytes_per_client <= packed * 1.001 + 5 * (104 + 64) + 5 * 179 + 200


def test_bills_of_clients_that_vanished_are_not_counted_among_the_survivors() -> None:
    simulation = simulated(FaultPlan({IDS[0]: Fate(Exchange.UNMASK, Lost.REQUEST)}))
    assert simulation.costs().exchanges == 5
    assert simulation.traffic[IDS[0]].exchanges == 4
    nobody = Simulation(Cohort.from_root(PLAN, IDS, ROOT), train, FaultPlan({}))
    assert nobody.costs().client_seconds_median == 0.0


# --- the ideal sum beside it


def test_exact_is_a_comparison_that_can_fail() -> None:
    for damage in ("total", "weight", "missing", "extra"):
        simulation = simulated()
        assert simulation.exact
        ideal = simulation.ideal
        if damage == "total":
            ideal.total[0] += 1
        elif damage == "weight":
            ideal.weights[IDS[0]] += 1
        elif damage == "missing":
            del ideal.weights[IDS[0]]
        else:
            ideal.weights[PartyId(99)] = 1
        assert not simulation.exact, damage


def test_there_is_no_sum_before_the_round_has_ended_in_one() -> None:
    simulation = Simulation(Cohort.from_root(PLAN, IDS, ROOT), train)
    with pytest.raises(Misused, match="not ended in a sum"):
        assert simulation.opened
    everybody = FaultPlan({who: Fate(Exchange.ADVERTISE, Lost.REQUEST) for who in IDS})
    lost = Simulation(Cohort.from_root(PLAN, IDS, ROOT), train, everybody)
    with pytest.raises(TooFewClients):
        lost.run(TASK)
    with pytest.raises(Misused):
        assert lost.exact


def test_what_was_seen_is_a_masked_vector_and_not_the_update() -> None:
    simulation = Counting(Cohort.from_root(PLAN, IDS, ROOT), train)
    simulation.run(TASK)
    seen = simulation.seen
    assert seen is not None
    ring = PLAN.encoding.ring
    own = Counting(Cohort.from_root(PLAN, IDS, ROOT), train)
    vectors: dict[PartyId, bytes] = {}

    def keeping(who: PartyId, client: Client) -> Submit:
        submission = train(who, client)
        vectors[who] = ring.pack(submission.vector)
        return submission

    own.train = keeping
    own.run(TASK)
    assert own.seen == seen
    assert seen.packed not in vectors.values()
    [masked] = [data for who, data in own.received if who == seen.who and kind_of(data) is Masked]
    assert seen.packed in masked


# --- when the sum is asked for


@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
def test_opening_is_announced_once_and_before_any_share_is_on_the_wire(promise: Promise) -> None:
    said: list[bool] = []

    def opening() -> None:
        said.append(any(kind_of(data) is Unmask for _, data in simulation.received))

    simulation = Counting(Cohort.from_root(RoundPlan.recommend(6, promise=promise), IDS, ROOT), train, opening=opening)
    simulation.run(TASK)
    assert said == [False]


def test_what_opening_raises_stops_the_round_before_the_shares_leave() -> None:
    def opening() -> None:
        raise Misused("the budget could not be marked")

    simulation = Counting(Cohort.from_root(PLAN, IDS, ROOT), train, opening=opening)
    with pytest.raises(Misused, match="could not be marked"):
        simulation.run(TASK)
    assert not any(kind_of(data) is Unmask for _, data in simulation.received)


def test_no_client_keeps_what_the_server_has() -> None:
    kept: list[int] = []

    def watched(who: PartyId, client: Client) -> Submit:
        kept.extend(len(other.repeat()) for other in cohort.clients.values())
        return train(who, client)

    cohort = Cohort.from_root(PLAN, IDS, ROOT)
    Simulation(cohort, watched).run(TASK)
    assert kept == [0] * len(IDS) ** 2


# --- cohorts


def test_a_cohort_from_a_root_repeats_itself_and_says_that_it_is_insecure() -> None:
    one, two = Cohort.from_root(PLAN, IDS, ROOT), Cohort.from_root(PLAN, IDS, ROOT)
    assert one.deterministic
    assert one.server.identities == two.server.identities
    other = Cohort.from_root(PLAN, IDS, Seed(b"\4" * 32))
    assert not set(one.server.identities.values()) & set(other.server.identities.values())


def test_a_fresh_cohort_never_repeats_itself() -> None:
    one, two = Cohort.fresh(PLAN, IDS), Cohort.fresh(PLAN, IDS)
    assert not one.deterministic
    assert not set(one.server.identities.values()) & set(two.server.identities.values())
    simulation = Simulation(one, train)
    simulation.run(TASK)
    assert simulation.exact


def test_clients_of_a_cohort_insist_on_the_plans_own_terms() -> None:
    cohort = Cohort.fresh(PLAN, IDS)
    for client in cohort.clients.values():
        assert client.policy.min_cohort == PLAN.min_cohort
        assert client.policy.promise is PLAN.promise
        assert client.policy.assumption == PLAN.assumption
        assert dict(client.policy.identities) == cohort.server.identities


def test_a_client_that_refuses_is_remembered_with_its_reason() -> None:
    cohort = Cohort.from_root(PLAN, IDS, ROOT)
    first = Simulation(cohort, train)
    first.run(TASK)
    again = Simulation(cohort, train)
    with pytest.raises(TooFewClients) as caught:
        again.run(Task(0, 4, nonce=b"\1" * 16))
    assert caught.value.room == "Gathering"
    assert {type(error).__name__ for error in again.aborted.values()} == {"Replay"}
    assert set(again.aborted) == set(IDS)
