"""planning, sizes, costs: bytes equal those of played rounds, seconds grow, and nothing infeasible is offered."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from fractions import Fraction

import pytest

from protocols import codec, costs
from protocols.choices import Choice, ProtocolReport, Request
from protocols.codec import kind_of
from protocols.coding import coding_of
from protocols.costs import Shape, Steps, client_steps, server_steps, timed_steps
from protocols.endpoint import Client, Task
from protocols.errors import BadPlan, TooFewClients
from protocols.heads import NO_LEDGER
from protocols.messages import Submit
from protocols.pairwise import client as pairwise_client
from protocols.pairwise_planning import FEW_BITS, graphs_for, plan_pairwise, reductions, word_advice
from protocols.party import PartyId
from protocols.plan import NOTHING, Agreement, Promise, RoundPlan
from protocols.planning import PLANNERS, PlanReport, plan_round, refusals
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost, Simulation
from protocols.sizes import RoundSizes, check_roster_fits, round_sizes
from protocols.trial import Trial, plan_for, run_trial, vector_of
from secagg.encode import Encoding
from secagg.graph import GraphMode
from secagg.keys import Seed

ROOT = Seed(bytes(range(32)))
COMPLETE, ROSTER = GraphMode.COMPLETE, GraphMode.ROSTER
ACTIVE, CURIOUS = Promise.ACTIVE, Promise.CURIOUS


def agreement_of(plan: RoundPlan, length: int) -> Agreement:
    return Agreement(plan, 0, bytes(16), length, NOTHING, NOTHING, NO_LEDGER)


def kind_and_size(data: bytes) -> tuple[str, int]:
    return kind_of(data).__name__, len(data)


class Weighed(Simulation):
    """A round that remembers the frames the first client heard and said."""

    def __init__(self, plan: RoundPlan, clients: int, length: int, faults: FaultPlan | None = None) -> None:
        def train(who: PartyId, client: Client) -> Submit:
            return client.prepare(vector_of(ROOT, who, length))

        super().__init__(Cohort.from_root(plan, range(clients), ROOT), train, faults)
        self.heard: list[tuple[str, int]] = []
        self.said: list[tuple[str, int]] = []
        self.bill = self.run(Task(0, length, nonce=bytes(16)))

    def _deliver(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        if recipient == 0:
            self.heard.append(kind_and_size(data))
        if sender == 0:
            self.said.append(kind_and_size(data))
        super()._deliver(sender, recipient, data)


def letters(sizes: RoundSizes) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    sent, received = sizes.sent, sizes.received
    return [(one.kind.__name__, one.bytes) for one in sent], [(one.kind.__name__, one.bytes) for one in received]


# --- bytes: those of a real round, letter by letter

NOISY = RoundPlan.recommend(5, corrupt=0, noise_multiplier=0.5, modulus_bits=20)
PLAYED: list[tuple[RoundPlan, int, int]] = [
    (RoundPlan.recommend(3, dropout=0, bits=2), 3, 1),
    (RoundPlan.recommend(5), 5, 1000),
    (RoundPlan.recommend(5, promise=CURIOUS, dropout=0.25, task="another name"), 5, 13),
    (RoundPlan.recommend(12, bits=24, max_weight=1 << 20), 12, 77),
    (RoundPlan.recommend(12, promise=CURIOUS), 12, 500),
    (NOISY, 5, 100),
    (RoundPlan.recommend(65, graph=ROSTER), 65, 21),
    (RoundPlan.recommend(80, graph=ROSTER, corrupt=0.05), 80, 100),
    (RoundPlan.recommend(100, graph=ROSTER, promise=CURIOUS), 100, 64),
]


@pytest.mark.parametrize(("plan", "clients", "length"), PLAYED)
def test_every_letter_of_a_played_round_has_the_planned_size(plan: RoundPlan, clients: int, length: int) -> None:
    sizes = round_sizes(agreement_of(plan, length), clients)
    played = Weighed(plan, clients, length)
    assert (played.said, played.heard) == letters(sizes)
    assert played.bill.upload_bytes_per_client == sizes.upload_bytes
    assert sum(size for _, size in played.heard) == sizes.download_bytes
    assert played.bill.exchanges == sizes.exchanges == (len(Exchange) if plan.promise is ACTIVE else len(Exchange) - 1)


def test_the_bytes_are_those_of_everybody_arriving_and_a_loss_only_saves_some() -> None:
    plan = RoundPlan.recommend(12, dropout=0.2)
    sizes = round_sizes(agreement_of(plan, 50), 12)
    for exchange in Exchange:
        played = Weighed(plan, 12, 50, FaultPlan({PartyId(5): Fate(exchange, Lost.REPLY)}))
        said, heard = letters(sizes)
        for planned, found in ((said, played.said), (heard, played.heard)):
            assert [kind for kind, _ in found] == [kind for kind, _ in planned]
            assert all(size <= limit for (_, size), (_, limit) in zip(found, planned, strict=True))


def test_a_name_in_the_plan_travels_in_the_invitation_and_counts() -> None:
    short, long = (round_sizes(agreement_of(RoundPlan.recommend(9, task=name), 9), 9) for name in ("a", "a" * 61))
    assert long.download_bytes - short.download_bytes == 60
    assert long.upload_bytes == short.upload_bytes


def test_a_vector_of_the_largest_length_is_weighed_without_being_made() -> None:
    plan = RoundPlan.recommend(9)
    one, largest = (round_sizes(agreement_of(plan, length), 9) for length in (8, 1 << 32))
    assert largest.upload_bytes - one.upload_bytes == ((1 << 32) - 8) * coding_of(agreement_of(plan, 8)).ring.bits // 8


def test_a_roster_too_large_for_a_frame_is_refused_by_the_plan_as_by_the_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = {clients: RoundPlan.recommend(clients) for clients in (7, 8)}
    # Just enough for the roster of seven: 165 bytes each, a context and a count.
    monkeypatch.setattr(codec, "MAX_CONTROL_BYTES", 7 * 165 + 32 + 8)
    round_sizes(agreement_of(plans[7], 9), 7)
    assert Weighed(plans[7], 7, 9).exact
    with pytest.raises(BadPlan, match="at most 7 to one round"):
        round_sizes(agreement_of(plans[8], 9), 8)
    with pytest.raises(TooFewClients, match="announces 1360 bytes, 1195 are allowed here"):
        Weighed(plans[8], 8, 9)


def test_the_largest_cohort_is_the_one_whose_roster_fits() -> None:
    with pytest.raises(BadPlan, match="at most") as refused:
        check_roster_fits(1_000_000)
    (most,) = re.findall(r"at most (\d+) to one round", str(refused.value))
    check_roster_fits(int(most))
    with pytest.raises(BadPlan):
        check_roster_fits(int(most) + 1)


# --- seconds: steps as a real client takes them, and an estimate that grows with the work


def shape_of(plan: RoundPlan, clients: int, length: int) -> Shape:
    agreement = agreement_of(plan, length)
    return Shape(plan, clients, plan.parameters(clients), coding_of(agreement).length, round_sizes(agreement, clients))


@pytest.mark.parametrize("promise", Promise)
def test_a_client_verifies_agrees_and_boxes_as_often_as_is_counted(
    promise: Promise, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = RoundPlan.recommend(9, promise=promise)
    counted: dict[str, int] = {}

    def counting(name: str, work: Callable[..., object]) -> Callable[..., object]:
        def count(*arguments: object) -> object:
            counted[name] = counted.get(name, 0) + 1
            return work(*arguments)

        return count

    for name in ("seal", "open_box"):
        monkeypatch.setattr(pairwise_client, name, counting(name, getattr(pairwise_client, name)))
    cohort = Cohort.from_root(plan, range(9), ROOT)
    for client in cohort.clients.values():
        own = client._own
        verified, signed = counting("verify", own.verify), counting("sign", own.sign)
        client._own = dataclasses.replace(own, verify=verified, sign=signed)
    simulation = Simulation(cohort, lambda who, client: client.prepare(vector_of(ROOT, who, 5)))
    simulation.run(Task(0, 5))
    steps, sizes = client_steps(shape_of(plan, 9, 5)), round_sizes(agreement_of(plan, 5), 9)
    assert counted["seal"] + counted["open_box"] == 9 * steps.box
    # The round is over once enough have answered; the last clients never see the witnesses.
    signers = plan.smallest_sum(9) if promise is ACTIVE else 0
    answered = sum(traffic.exchanges == sizes.exchanges for traffic in simulation.traffic.values())
    assert 0 < answered <= 9
    assert counted["verify"] == 9 * 9 + signers * answered
    assert steps.verification == len(sizes.received) + 9 + signers
    assert counted["sign"] == 9 * steps.signature - (9 - answered)


def test_against_an_active_server_the_witnesses_are_verified_too() -> None:
    active, curious = (client_steps(shape_of(RoundPlan.recommend(60, promise=p), 60, 10)) for p in (ACTIVE, CURIOUS))
    signers = RoundPlan.recommend(60).smallest_sum(60)
    assert active.verification - curious.verification == signers + 1
    assert active.signature - curious.signature == 2


def ones() -> Steps:
    return Steps(**{field.name: 1.0 for field in dataclasses.fields(Steps)})


@pytest.mark.parametrize("party", [client_steps, server_steps])
def test_work_grows_with_neighbours_coordinates_and_clients(party: Callable[[Shape], Steps]) -> None:
    ring, complete = (RoundPlan.recommend(100, graph=graph) for graph in (ROSTER, COMPLETE))
    base = party(shape_of(ring, 100, 1000)).seconds(ones())
    assert party(shape_of(complete, 100, 1000)).seconds(ones()) > base
    assert party(shape_of(ring, 100, 1001)).seconds(ones()) > base
    assert party(shape_of(RoundPlan.recommend(110, graph=ROSTER), 110, 1000)).seconds(ones()) > base


def test_the_server_rebuilds_the_masks_of_the_assumed_drop_outs() -> None:
    none, some = (server_steps(shape_of(RoundPlan.recommend(50, dropout=rate), 50, 1000)) for rate in (0, 0.2))
    assert none.mask == 50 * 1000
    # Forty self masks go; each of ten lost clients left a mask at each of its forty neighbours that stayed.
    assert some.mask == pytest.approx((40 + 10 * 49 * 40 / 50) * 1000)
    assert some.agreement > none.agreement == 0


def test_steps_are_priced_one_by_one() -> None:
    names = [field.name for field in dataclasses.fields(Steps)]
    counts = Steps(**{name: float(index) for index, name in enumerate(names)})
    for index, name in enumerate(names):
        only = Steps(**{other: float(other == name) for other in names})
        assert counts.seconds(only) == index


@pytest.mark.parametrize("bits", [2, 16, 24])
def test_steps_are_measured_in_every_word(bits: int) -> None:
    for weight in (1, 1 << 30):
        for seconds in dataclasses.astuple(timed_steps(Encoding(1, bits, weight, 5))):
            assert 0 < seconds < 1


def test_a_step_is_timed_at_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 29.0, 30.0, 33.0, 40.0, 47.0])
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(clock))
    assert costs.best_of(lambda: None) == 2


# --- the choice


def choice(clients: int, dropout: float = 0.1, **more: object) -> Choice:
    return plan_round(Request(clients, dropout, **more)).protocols["pairwise"].choice


@pytest.mark.parametrize(("clients", "dropout"), [(3, 0), (20, 0.2), (64, 0.1), (128, 0.3), (129, 0.1), (200, 0.42)])
def test_the_plan_shown_is_the_plan_simulated(clients: int, dropout: float) -> None:
    shown = choice(clients, dropout)
    played = plan_for(clients, dropout, 16)
    assert played == Request(clients, dropout).plan(Promise(shown.promise), GraphMode(shown.graph))
    parameters, bits = played.parameters(clients), played.encoding.ring.bits
    assert (shown.degree, shown.threshold, shown.modulus_bits) == (parameters.degree, parameters.threshold, bits)
    assert (shown.quorum, shown.min_cohort) == (parameters.quorum, played.min_cohort)
    assert shown.privacy_failure_log2 == parameters.privacy_failure_log2
    assert shown.completion_failure_log2 == parameters.completion_failure_log2


def test_a_trial_reports_what_was_planned() -> None:
    shown = plan_round(Request(9, 0.0, dimension=31, bits=10)).protocols["pairwise"].choice
    report = run_trial(Trial(plan_for(9, 0.0, 10), 9, 31, 0.0), 1)
    for name in ("degree", "threshold", "modulus_bits", "upload_bytes_per_client"):
        assert getattr(report, name) == getattr(shown, name)
    assert report.rounds_trips == shown.exchanges


@pytest.mark.parametrize(
    ("clients", "graphs"),
    [
        (64, [COMPLETE]),
        (65, [COMPLETE, ROSTER]),
        (128, [COMPLETE, ROSTER]),
        (129, [ROSTER, COMPLETE]),
        (1024, [ROSTER, COMPLETE]),
        (1025, [ROSTER]),
    ],
)
def test_each_promise_is_shown_on_each_graph_there_is(clients: int, graphs: list[GraphMode]) -> None:
    assert list(graphs_for(clients)) == graphs
    report = plan_pairwise(Request(clients, 0.1, dimension=10))
    shown = [(one.promise, one.graph) for one in (report.choice, *report.variants)]
    assert shown == [(promise.value, graph.value) for promise in (ACTIVE, CURIOUS) for graph in graphs]
    assert all(one.feasible for one in (report.choice, *report.variants))


def test_the_active_promise_costs_one_exchange_and_more_neighbours() -> None:
    report = plan_pairwise(Request(1000, 0.1, dimension=10))
    active, curious = (
        report.choice,
        next(one for one in report.variants if (one.promise, one.graph) == ("curious", "roster")),
    )
    assert (active.degree, active.threshold, active.window, active.quorum, active.exchanges) == (114, 78, 28, 551, 5)
    assert (curious.degree, curious.threshold, curious.window, curious.quorum, curious.exchanges) == (
        52,
        28,
        None,
        None,
        4,
    )
    for one in (active, curious):
        assert one.privacy_failure_log2 < -40
        assert one.completion_failure_log2 < -29


def test_figures_are_positive_and_grow_with_the_vector() -> None:
    small, large = (choice(20, dimension=dimension) for dimension in (1000, 1_000_000))
    for name in ("upload_bytes_per_client", "client_seconds", "server_seconds"):
        assert 0 < getattr(small, name) < getattr(large, name)
    assert small.download_bytes_per_client == large.download_bytes_per_client > 0


def test_a_hundred_thousand_clients_are_planned_on_the_ring() -> None:
    shown = choice(100_000)
    assert (shown.graph, shown.degree, shown.threshold, shown.window) == ("roster", 156, 106, 37)


def test_another_protocol_is_recommended_where_the_first_is_infeasible(monkeypatch: pytest.MonkeyPatch) -> None:
    never = dataclasses.replace(plan_pairwise(Request(9, 0.9)), variants=())
    monkeypatch.setattr("protocols.planning.PLANNERS", {"never": lambda request: never, **PLANNERS})
    report = plan_round(Request(9, 0.1))
    assert report.recommended == "pairwise"
    assert list(report.protocols) == ["never", "pairwise", "oneshot", "ckks"]
    assert not report.protocols["never"].choice.feasible
    assert f"not never: {never.choice.why}" in report.reasons


# --- the protocol to take, and why


def of_seconds(name: str, exchanges: int, client: float = 0.0, server: float = 0.0) -> ProtocolReport:
    """What a protocol would offer that trusts somebody of this name."""
    figures = {"round_exchanges": exchanges, "client_seconds": client, "server_seconds": server}
    return ProtocolReport(Choice(True, "", "active", graph="complete", trusts=(f"trust in {name}",), **figures), ())


def planned(monkeypatch: pytest.MonkeyPatch, seconds: float, reports: dict[str, ProtocolReport]) -> PlanReport:
    planners = {name: lambda request, report=report: report for name, report in reports.items()}
    monkeypatch.setattr("protocols.planning.PLANNERS", planners)
    return plan_round(Request(9, 0.1, exchange_seconds=seconds))


def test_protocols_stand_in_the_order_of_the_trust_they_ask_for() -> None:
    assert list(PLANNERS) == ["pairwise", "oneshot", "ckks"]


def test_without_a_word_on_exchanges_the_least_trust_is_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = {"a": of_seconds("a", 9, 99, 99), "b": of_seconds("b", 1), "c": of_seconds("c", 2)}
    report = planned(monkeypatch, 0, reports)
    assert (report.recommended, report.reasons) == (
        "a",
        (
            "a: of the protocols that meet the request it asks for the least trust (trust in a)",
            "not b: it asks for more trust (trust in b), for a round of 1 exchanges where a takes 9",
            "not c: it asks for more trust (trust in c), for a round of 2 exchanges where a takes 9",
            "how long an exchange takes was not counted: with --exchange-seconds the shortest round is recommended",
        ),
    )
    assert [report.protocols[name].choice.round_seconds(0) for name in "abc"] == [None] * 3


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        (0.9, "a"),
        # Both rounds take 7 seconds: the one that asks for less trust.
        (1.0, "a"),
        (1.1, "b"),
    ],
)
def test_where_exchanges_count_the_shortest_round_is_recommended(
    seconds: float, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = {"a": of_seconds("a", 5, 1.5, 0.5), "b": of_seconds("b", 2, 1, 4)}
    report = planned(monkeypatch, seconds, reports)
    assert report.recommended == taken
    for name, exchanges, computing in (("a", 5, 2), ("b", 2, 5)):
        assert report.protocols[name].choice.round_seconds(seconds) == exchanges * seconds + computing


def test_the_reasons_give_the_figures_and_the_trust_that_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    unmet = ProtocolReport(Choice(False, "no key", "active", mode="threshold"), ())
    report = planned(monkeypatch, 5, {"a": of_seconds("a", 5, 0.25, 0.5), "b": of_seconds("b", 2, 0.5, 1), "c": unmet})
    assert report.reasons == (
        "b: its round is the shortest, 11.5 s: 2 exchanges of 5 s, 0.5 s at a client, 1 s at the server",
        "not a: its round takes 25.8 s: 5 exchanges of 5 s, 0.25 s at a client, 0.5 s at the server",
        "for that b asks for more trust: trust in b",
        "not c: no key",
    )


def test_where_one_alone_meets_the_request_no_shorter_round_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    unmet = ProtocolReport(Choice(False, "too many", "active", graph="complete"), ())
    report = planned(monkeypatch, 0, {"a": unmet, "b": of_seconds("b", 2)})
    assert report.reasons == (
        "b: of the protocols that meet the request it asks for the least trust (trust in b)",
        "not a: too many",
    )


def test_the_shortest_that_also_trusts_least_pays_no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    unmet = ProtocolReport(Choice(False, "too many", "active", graph="complete"), ())
    report = planned(monkeypatch, 5, {"a": unmet, "b": of_seconds("b", 2), "c": of_seconds("c", 3)})
    assert report.recommended == "b"
    assert not any("asks for more trust" in reason for reason in report.reasons)
    assert report.reasons[-1] == "not a: too many"


def test_what_nobody_has_estimated_is_never_the_shortest(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = dataclasses.replace(of_seconds("a", 1).choice, client_seconds=None)
    reports = {"a": ProtocolReport(unknown, ()), "b": of_seconds("b", 9, 99, 99)}
    report = planned(monkeypatch, 5, reports)
    assert report.recommended == "b"
    assert "not a: its round takes 1 exchanges, and a time for computing that is not estimated" in report.reasons
    assert planned(monkeypatch, 0, reports).recommended == "a"


def test_exchanges_that_take_seconds_recommend_one_shot_rounds() -> None:
    request = Request(20, 0.2, dimension=1000)
    assert plan_round(request).recommended == "pairwise"
    report = plan_round(dataclasses.replace(request, exchange_seconds=5))
    assert report.recommended == "oneshot"
    exchanges = {name: each.choice.round_exchanges for name, each in report.protocols.items()}
    assert exchanges == {"pairwise": 5, "oneshot": 2, "ckks": None}
    assert report.to_dict()["protocols"]["oneshot"]["round_seconds"] == pytest.approx(10, abs=1)


@pytest.mark.parametrize("seconds", [-1, -1e-9, float("nan"), float("inf")])
def test_an_exchange_takes_a_finite_time(seconds: float) -> None:
    with pytest.raises(BadPlan, match="an exchange takes"):
        Request(9, 0.1, exchange_seconds=seconds)


# --- what cannot be met is refused, and nothing weaker is taken instead


@pytest.mark.parametrize(
    ("clients", "dropout", "corrupt", "promise"),
    [
        (10, 0.9, 0.1, ACTIVE),
        (100, 0.4, 0.33, ACTIVE),
        (1000, 0.6, 0.1, ACTIVE),
        (20_000, 0.45, 0.1, ACTIVE),
        (10, 0.9, 0.1, CURIOUS),
        # The parameters of a ring bear it, but a sum over a minority is never opened.
        (2000, 0.6, 0.1, CURIOUS),
    ],
)
def test_the_refusal_names_the_largest_feasible_drop_out(
    clients: int, dropout: float, corrupt: float, promise: Promise
) -> None:
    request = Request(clients, dropout, corrupt, 10, promise=promise)
    refused = "; ".join(refusals("pairwise", plan_pairwise(request)))
    named = max(Fraction(text) for text in re.findall(r"largest feasible drop-out is ([\d/]+) ", refused))
    bearable, more = (
        plan_pairwise(dataclasses.replace(request, dropout=rate)).choice
        for rate in (named, named + Fraction(1, clients))
    )
    assert (bearable.feasible, bearable.promise, more.feasible) == (True, promise.value, False)


def test_a_weaker_promise_is_named_but_never_taken_instead() -> None:
    refused = "; ".join(refusals("pairwise", plan_pairwise(Request(100, 0.4, 0.33))))
    assert "curious with a complete graph would be feasible: ask for --promise curious" in refused
    asked = plan_round(Request(100, 0.4, 0.33, promise=CURIOUS)).protocols["pairwise"]
    assert (asked.choice.promise, asked.choice.feasible) == ("curious", True)
    assert [(one.promise, one.feasible) for one in asked.variants] == [
        ("curious", True),
        ("active", False),
        ("active", False),
    ]


def test_where_the_ring_fails_everybody_masks_with_everybody_and_it_is_said_why() -> None:
    report = plan_pairwise(Request(200, 0.42, dimension=10))
    assert (report.choice.graph, report.choice.degree) == ("complete", 199)
    assert "a roster graph would be preferred, but no sparse graph of 200" in report.choice.why
    assert not report.variants[0].feasible
    assert report.variants[0].degree is None


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request(2, 0.1), "fewer than 3"),
        (Request(9, float("nan")), "dropout is nan"),
        (Request(9, 1.0), "dropout"),
        (Request(9, 0.1, 1.0), "corrupt"),
        (Request(9, 0.1, -0.1), "corrupt"),
        (Request(9, 0.1, dimension=0), "coordinates"),
        (Request(9, 0.1, bits=60), "bits"),
        (Request(2_000_000, 0.1), "roster of 2000000"),
    ],
)
def test_nonsense_is_refused_by_name(request_: Request, why: str) -> None:
    with pytest.raises(BadPlan, match=why):
        plan_round(request_)


# --- advice

REDUCED = {"clients": "max_clients", "weights": "max_weight", "precision": "bits"}


def test_whoever_is_believed_is_named_with_what_the_policy_must_allow() -> None:
    report = plan_pairwise(Request(129, 0.1, dimension=10))
    shown = {(one.promise, one.graph): one for one in (report.choice, *report.variants)}
    believed = {way: " ".join(one.trusts) for way, one in shown.items()}
    allowed = {way: " ".join(one.advice) for way, one in shown.items()}
    assert all("at most 12 of the 129 clients may help the server" in text for text in believed.values())
    assert (len(shown["active", "complete"].trusts), allowed["active", "complete"]) == (1, "")
    assert "trusted not to search for a roster" in believed["active", "roster"]
    assert "graphs=frozenset({GraphMode.ROSTER})" in allowed["active", "roster"]
    assert "only while the server follows the protocol" in believed["curious", "complete"]
    assert "promise=Promise.CURIOUS, graphs=frozenset({GraphMode.ROSTER})" in allowed["curious", "roster"]


def test_the_drop_outs_that_are_survived_are_those_assumed() -> None:
    assert choice(20, 0.2).survives == (
        "the 4 of 20 clients that are assumed to drop out may do so at any of 5 exchanges"
    )
    assert "at any of 4 exchanges" in str(choice(20, 0.2, promise=CURIOUS).survives)
    assert plan_pairwise(Request(20, 0.9)).choice.survives is None


@pytest.mark.parametrize(
    ("bits", "weight", "clients", "word"),
    [(10, 1, 100, 16), (14, 1, 9, 16), (16, 1, 10, 16), (24, 3, 100, 32), (16, 1000, 100, 32), (16, 1, 100_000, 32)],
)
def test_each_reduction_alone_saves_a_word_and_one_step_less_does_not(
    bits: int, weight: int, clients: int, word: int
) -> None:
    encoding = Encoding(1, bits, weight, clients)
    assert word < encoding.ring.bits <= word + FEW_BITS
    (advice,) = word_advice(encoding)
    smaller = list(reductions(encoding, (1 << (word - 1)) - 1))
    assert smaller
    for text in smaller:
        assert text in advice
        (number,) = map(int, re.findall(r"\d+", text))
        (name,) = (name for what, name in REDUCED.items() if what in text)
        values = {"clip": 1, "bits": bits, "max_weight": weight, "max_clients": clients}
        assert Encoding(**{**values, name: number}).ring.bits <= word
        assert Encoding(**{**values, name: number + 1}).ring.bits > word


@pytest.mark.parametrize(("bits", "clients"), [(8, 100), (8, 127), (16, 100), (16, 1000)])
def test_a_modulus_that_fills_its_word_gets_no_advice(bits: int, clients: int) -> None:
    encoding = Encoding(1, bits, 1, clients)
    assert encoding.ring.bits <= 16 or encoding.ring.bits > 16 + FEW_BITS
    assert list(word_advice(encoding)) == []


def test_the_plan_shown_carries_the_advice() -> None:
    assert any("12 bits of precision would fit 16 bits" in text for text in choice(10).advice)
    assert choice(10, bits=12).advice == ()
