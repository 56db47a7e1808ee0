"""One-shot sums in `secagg plan`: bytes equal those of played rounds, and nothing infeasible is offered."""

from __future__ import annotations

import dataclasses
import math
import re
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import oneshot_costs
from protocols.choices import Choice, Request
from protocols.codec import kind_of
from protocols.committee import MEMBERS
from protocols.costs import NO_STEPS
from protocols.endpoint import Client, Task
from protocols.errors import PolicyViolation
from protocols.heads import NO_LEDGER
from protocols.messages import Submit
from protocols.oneshot import client as oneshot_client
from protocols.oneshot.shape import Shape
from protocols.oneshot_costs import (
    MaskSteps,
    OneShotRound,
    OneShotSteps,
    masking_client,
    opening_server,
    sample_of,
    timed_mask_steps,
)
from protocols.oneshot_planning import DRAWN, NAMED, OTHER_SIZES, log2_of_either, plan_oneshot
from protocols.oneshot_sizes import oneshot_sizes
from protocols.party import PartyId
from protocols.plan import NOTHING, ONE_SHOT, Agreement, Metric, Policy, Promise, RoundPlan
from protocols.simulate import Cohort, Encrypted, Fate, FaultPlan, Lost, Simulation
from protocols.sizes import RoundSizes
from protocols.trial import Trial, plan_for, run_trial, vector_of
from secagg.keys import Seed
from secagg.quorum import Quorum
from secagg.rlwe import KahePlan
from tests.contracts.company import Speaking

ROOT = Seed(bytes(range(32)))
ACTIVE, CURIOUS = Promise.ACTIVE, Promise.CURIOUS
TEN = Quorum.usual(MEMBERS)

Letters = list[tuple[str, int]]


def plan_of(clients: int, **more: Any) -> RoundPlan:
    return RoundPlan.recommend(clients, **{"protocol": ONE_SHOT, **more})


def agreement_of(plan: RoundPlan, length: int) -> Agreement:
    return Agreement(plan, 0, bytes(16), length, NOTHING, NOTHING, NO_LEDGER)


class Weighed(Simulation):
    """A round that remembers every frame by its sender and by its recipient."""

    def __init__(
        self, plan: RoundPlan, clients: int, length: int, faults: FaultPlan | None = None, quorum: Quorum = TEN
    ) -> None:
        def train(who: PartyId, client: Client) -> Submit:
            return client.prepare(vector_of(ROOT, who, length), metrics={each.name: 1.0 for each in plan.metrics})

        cohort = Speaking(plan, clients, members=quorum.members).cohort()
        maker: Any = cohort.committee.ceremony.maker  # type: ignore[union-attr]
        maker.live.open = partial(maker.live.open, quorum=quorum)
        super().__init__(cohort, train, faults)
        self.said: dict[PartyId, Letters] = {}
        self.heard: dict[PartyId, Letters] = {}
        self.bill = self.run(Task(0, length, nonce=bytes(16)))

    def _deliver(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        letter = kind_of(data).__name__, len(data)
        self.said.setdefault(sender, []).append(letter)
        self.heard.setdefault(recipient, []).append(letter)
        super()._deliver(sender, recipient, data)


def letters(planned: RoundSizes) -> tuple[Letters, Letters]:
    sent, received = planned.sent, planned.received
    return [(one.kind.__name__, one.bytes) for one in sent], [(one.kind.__name__, one.bytes) for one in received]


# --- bytes: those of a real round, letter by letter

PLAYED: list[tuple[RoundPlan, int, int, Quorum]] = [
    (plan_of(3, dropout=0, bits=2), 3, 1, TEN),
    (plan_of(5), 5, 5000, TEN),
    (plan_of(5, promise=CURIOUS, dropout=0.2, task="another name"), 5, 13, Quorum.usual(2)),
    (plan_of(7, bits=20, max_weight=5, metrics=(Metric("loss", Fraction(9)),)), 7, 77, Quorum.usual(5)),
    (plan_of(5, noise_multiplier=0.5, modulus_bits=20), 5, 100, Quorum.usual(20)),
    (plan_of(4, dropout=0), 4, 9, Quorum(17, 4, 1)),
]


@pytest.mark.parametrize(("plan", "clients", "length", "quorum"), PLAYED)
def test_every_letter_of_a_played_round_has_the_planned_size(
    plan: RoundPlan, clients: int, length: int, quorum: Quorum
) -> None:
    played = Weighed(plan, clients, length, quorum=quorum)
    planned = oneshot_sizes(agreement_of(plan, length), quorum, clients)
    for who in played.clients:
        assert (played.said[who], played.heard[who]) == letters(planned.client)
    assert len(played.holders) == quorum.members
    for who in played.holders:
        assert (played.said[who], played.heard[who]) == letters(planned.member)
    assert played.bill.upload_bytes_per_client == planned.client.upload_bytes
    assert played.bill.download_bytes_per_holder == planned.member.download_bytes
    assert played.bill.exchanges == planned.client.exchanges == planned.member.exchanges == 1


@pytest.mark.parametrize("side", Lost)
def test_a_lost_client_shortens_the_question_and_nothing_else(side: Lost) -> None:
    plan = plan_of(6, dropout=0.4)
    fate = Fate(Encrypted.VECTOR, side)
    played = Weighed(plan, 6, 3000, FaultPlan(dict.fromkeys(Speaking(plan, 6).ids[2:4], fate)))
    everybody, survivors = (oneshot_sizes(agreement_of(plan, 3000), TEN, arrived) for arrived in (6, 4))
    assert survivors.client == everybody.client
    first = min(played.clients)
    assert (played.said[first], played.heard[first]) == letters(survivors.client)
    for who in played.holders:
        assert (played.said[who], played.heard[who]) == letters(survivors.member)
    assert survivors.member.sent == everybody.member.sent
    assert survivors.member.download_bytes < everybody.member.download_bytes


def test_a_name_in_the_plan_travels_with_agreement_and_committee_and_counts() -> None:
    short, long = (oneshot_sizes(agreement_of(plan_of(9, task=name), 9), TEN, 9) for name in ("a", "a" * 61))
    assert long.client.download_bytes - short.client.download_bytes == 2 * 60
    assert (long.client.sent, long.member) == (short.client.sent, short.member)


def test_a_long_vector_of_many_clients_is_weighed_without_being_made() -> None:
    plan = plan_of(1000)
    oneshot_sizes(agreement_of(plan, 9), TEN, 1000)
    tracemalloc.start()
    planned = oneshot_sizes(agreement_of(plan, (1 << 28) - 1000), TEN, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert planned.client.upload_bytes > 1 << 30
    assert peak < 1 << 20


# --- seconds: steps as a real client takes them, and an estimate that grows with the work


def shape_of(plan: RoundPlan, clients: int, length: int, quorum: Quorum = TEN) -> OneShotRound:
    agreement = agreement_of(plan, length)
    carried, sizes = Shape.of(agreement), oneshot_sizes(agreement, quorum, clients)
    return OneShotRound(clients, carried.coding.length, carried.mask, quorum, sizes)


def test_a_client_signs_verifies_and_boxes_as_often_as_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, counted = plan_of(9), dict.fromkeys(("verify", "sign", "box", "deal"), 0)

    def counting(name: str, work: Callable[..., object]) -> Callable[..., object]:
        def count(*arguments: object) -> object:
            counted[name] += 1
            return work(*arguments)

        return count

    # One more seal is the hash of the vector.
    monkeypatch.setattr(oneshot_client.names, "box_key", counting("box", oneshot_client.names.box_key))
    monkeypatch.setattr(oneshot_client, "deal_packed", counting("deal", oneshot_client.deal_packed))
    cohort = Cohort.from_root(plan, range(9), ROOT)
    for client in cohort.clients.values():
        own = client._concealing
        verified, signed = counting("verify", own.verify), counting("sign", own.sign)
        client._concealing = dataclasses.replace(own, verify=verified, sign=signed)
        # Who seals the frames signs for every protocol.
        client._own = dataclasses.replace(client._own, sign=signed)
    dealt = 9 * MEMBERS
    Simulation(cohort, lambda who, client: client.prepare(vector_of(ROOT, who, 5))).run(Task(0, 5))
    shape = shape_of(plan, 9, 5)
    steps = masking_client(shape)
    # The letters' own signatures are verified by the hub, which asks nobody.
    assert counted["verify"] == dealt == 9 * (steps.common.verification - len(shape.sizes.client.received))
    assert counted["sign"] == 9 * steps.common.signature
    # Every box is opened under the same key by its member.
    assert counted["box"] == 2 * dealt == 2 * 9 * steps.common.box
    assert counted["deal"] == 9 * steps.masks.deal
    assert steps.common.agreement == MEMBERS + 1


@pytest.mark.parametrize("party", [masking_client, opening_server])
def test_work_grows_with_coordinates_and_members_and_at_the_server_with_clients(
    party: Callable[[OneShotRound], OneShotSteps],
) -> None:
    one = OneShotSteps(
        dataclasses.replace(NO_STEPS, **dict.fromkeys(("signature", "verification", "item"), 1.0)),
        MaskSteps(*(1.0,) * len(dataclasses.fields(MaskSteps))),
    )
    base, longer, larger, more = (
        party(shape_of(plan_of(clients), clients, length, Quorum.usual(members))).seconds(one)
        for clients, length, members in ((10, 3000, 10), (10, 30_000, 10), (10, 3000, 20), (11, 3000, 10))
    )
    assert longer > base
    assert larger > base
    assert (more > base) == (party is opening_server)


def test_the_server_adds_every_upload_and_opens_once_whatever_was_lost() -> None:
    shape = shape_of(plan_of(10), 10, 100_000)
    blocks = shape.mask.blocks
    assert opening_server(shape).masks == MaskSteps(0, 2, 0, 0, 0, 10 * blocks, blocks)
    assert masking_client(shape).masks == MaskSteps(1, 0, blocks, blocks, blocks, 0, 0)


@pytest.mark.parametrize("length", [1, 5000, 10_000_000])
def test_steps_are_timed_on_a_part_of_the_vector(length: int) -> None:
    mask = Shape.of(agreement_of(plan_of(3, dropout=0), length)).mask
    sample = sample_of(mask)
    assert sample.blocks == min(mask.blocks, oneshot_costs.SAMPLE_BLOCKS)
    assert (sample.bits, sample.clients, sample.per_coefficient) == (mask.bits, mask.clients, mask.per_coefficient)
    for seconds in dataclasses.astuple(timed_mask_steps(sample, TEN)):
        assert 0 < seconds < 1


@given(
    clients=st.integers(3, 1 << 20), bits=st.integers(4, 24), length=st.integers(1, 10**8), blocks=st.integers(1, 300)
)
def test_a_part_of_any_mask_is_a_mask(clients: int, bits: int, length: int, blocks: int) -> None:
    whole = KahePlan(bits, clients, length)
    sample = sample_of(whole, blocks)
    assert sample.blocks <= whole.blocks
    assert sample.length <= whole.length
    assert sample.guard_bits <= whole.guard_bits


# --- the choice


def shown(clients: int, dropout: float = 0.1, **more: Any) -> Choice:
    return plan_oneshot(Request(clients, dropout, **{"dimension": 1000, **more})).choice


def variant(request: Request, committee: str, holders: int | None = None) -> Choice:
    (found,) = [
        one for one in plan_oneshot(request).variants if one.committee == committee and holders in (None, one.holders)
    ]
    return found


def test_the_plan_shown_is_the_plan_simulated_and_a_trial_reports_what_was_planned() -> None:
    choice = plan_oneshot(Request(9, 0.1, dimension=31, bits=10)).choice
    played = plan_for(9, 0.1, 10, ONE_SHOT)
    assert played == Request(9, 0.1, bits=10).plan(ACTIVE, protocol=ONE_SHOT)
    report = run_trial(Trial(played, 9, 31, 0.0), 1)
    for name in ("degree", "threshold", "modulus_bits", "upload_bytes_per_client"):
        assert getattr(report, name) == getattr(choice, name)
    assert report.rounds_trips == choice.exchanges
    assert report.committee is not None
    assert report.committee.download_bytes_per_member == choice.download_bytes_per_holder
    assert report.committee.members == choice.holders


def test_a_choice_says_of_members_what_it_cannot_say_of_a_graph_or_a_key() -> None:
    choice = shown(10)
    assert (choice.feasible, choice.promise, choice.committee, choice.holders, choice.threshold) == (
        True,
        "active",
        "named",
        10,
        9,
    )
    assert (choice.graph, choice.mode, choice.degree, choice.window, choice.quorum) == (None,) * 5
    assert (choice.exchanges, choice.round_exchanges, choice.min_cohort) == (1, 2, 8)
    assert choice.way == "named committee of 10"
    # Nothing is drawn; what checks of noise refuse by mistake are two bounds of 2^-37.
    assert (choice.privacy_failure_log2, choice.completion_failure_log2) == (-math.inf, -36)


def test_the_known_upload_of_ten_clients_and_a_million_values() -> None:
    """24 bits a value, as the page on one-shot sums says; for each of ten members 1,024 words, a tag and a length."""
    choice = shown(10, 0, dimension=1_000_000)
    assert choice.modulus_bits == 48
    blocks = -(-(1_000_000 + 3 * 64) // (2 * 2048))
    assert blocks == 245
    vector = blocks * 2048 * 48 // 8
    assert choice.upload_bytes_per_client == vector + 10 * (4 * 1024 + 16 + 8) + 8 + 8 + 32 + 64 + 40 + 64


def test_figures_are_positive_and_grow_with_the_vector() -> None:
    small, large = (shown(10, dimension=dimension) for dimension in (1000, 1_000_000))
    for name in ("upload_bytes_per_client", "client_seconds", "server_seconds"):
        assert 0 < getattr(small, name) < getattr(large, name)
    # What members do has nothing to do with the vector.
    for name in ("download_bytes_per_client", "upload_bytes_per_holder", "download_bytes_per_holder"):
        assert 0 < getattr(small, name) == getattr(large, name)


@pytest.mark.parametrize("promise", Promise)
def test_other_committees_stand_beside_and_are_never_taken(promise: Promise) -> None:
    report = plan_oneshot(Request(10, 0.1, dimension=10, promise=promise))
    assert (report.choice.committee, report.choice.holders) == (NAMED, MEMBERS)
    assert [(one.committee, one.holders) for one in report.variants][:-1] == [(NAMED, size) for size in OTHER_SIZES]
    assert report.variants[-1].committee == DRAWN
    assert {one.promise for one in (report.choice, *report.variants)} == {promise.value}


@pytest.mark.parametrize(("members", "corrupted", "needed"), [(5, 1, 4), (10, 2, 9), (20, 4, 18)])
def test_who_is_trusted_and_who_may_vanish_is_named(members: int, corrupted: int, needed: int) -> None:
    report = plan_oneshot(Request(20, 0.2, dimension=10))
    (choice,) = [one for one in (report.choice, *report.variants) if (one.committee, one.holders) == (NAMED, members)]
    assert choice.trusts == (
        f"at most {corrupted} of the {members} members may help the server; {needed} must answer",
        "at most 2 of the 20 clients may help the server",
    )
    spare = members - needed
    assert choice.survives == (
        f"all but 12 of the 20 clients may vanish, whenever they do, and {spare} of the {members} members"
    )


# --- committees drawn from the clients


def test_a_drawn_committee_fails_as_often_as_its_draw() -> None:
    """By hand: 100 of 1,000 clients are corrupt, 97 are drawn, more than 33 of them with less than 2^-40."""
    choice = variant(Request(1000, 0, dimension=10), DRAWN)
    assert (choice.feasible, choice.holders, choice.threshold) == (True, 97, 88)
    total = math.comb(1000, 97)
    above = sum(math.comb(100, k) * math.comb(900, 97 - k) for k in range(34, 98))
    assert choice.privacy_failure_log2 == pytest.approx(math.log2(above) - math.log2(total), abs=1e-6)
    assert choice.privacy_failure_log2 < -40
    assert choice.completion_failure_log2 == -36
    assert choice.trusts[0] == "at most 33 of the 97 members may help the server; 88 must answer"
    assert "the draw must not be the server's" in choice.trusts[2]


def test_drawn_members_that_drop_out_as_clients_do_are_counted() -> None:
    """Five of 1,000 clients drop out and one of the 17 drawn may: two or more are there with some probability."""
    request = Request(1000, Fraction(5, 1000), 0, 10)
    choice = variant(request, DRAWN)
    total = math.comb(1000, 17)
    away = sum(math.comb(5, k) * math.comb(995, 17 - k) for k in range(2, 6)) / total
    assert not choice.feasible
    assert choice.holders == 17
    assert f"with probability {away:.2g}, over 2^-30" in choice.why
    assert "17 of 1000 clients would be safe, with up to 1 of them corrupt" in choice.why


def test_a_small_chance_that_members_are_away_is_added_to_the_failures() -> None:
    """By hand: 60 of 10,000 clients drop out, 99 are drawn, and more than 9 of them away are too many."""
    choice = variant(Request(10_000, Fraction(6, 1000), Fraction(1, 20), 10), DRAWN)
    assert (choice.feasible, choice.holders, choice.threshold) == (True, 99, 90)
    away = sum(math.comb(60, k) * math.comb(9940, 99 - k) for k in range(10, 61)) / math.comb(10_000, 99)
    assert 2**-36 < away < 2**-30
    assert choice.completion_failure_log2 == pytest.approx(math.log2(2**-36 + away), abs=1e-6)
    assert log2_of_either(-36, -math.inf) == log2_of_either(-math.inf, -36) == -36


@pytest.mark.parametrize(("clients", "corrupt"), [(10_000, 0.4), (4, 0)])
def test_where_no_committee_can_be_drawn_it_is_said_why(clients: int, corrupt: float) -> None:
    choice = variant(Request(clients, 0, corrupt, 10), DRAWN)
    assert (choice.feasible, choice.holders, choice.way) == (False, None, "drawn committee")
    assert f"drawn from {clients} clients" in choice.why


# --- what cannot be met is refused, and nothing weaker is taken instead


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request(20, 0.1, bits=50), "bits is 2 to 24"),
        (Request(2_000_000, 0.1, 0.0, dimension=1), "clients is 2000000"),
        (Request(9, 0.1, dimension=0), "coordinates"),
        (Request(9, 0.1, dimension=1 << 32), "length is 42949"),
        (Request(10, 0.6), r"largest feasible drop-out is 2/5"),
        (Request(9, float("nan")), "dropout is nan"),
        (Request(20, 0.1, 0.9), "fewer than 2 honest"),
        (Request(2, 0.1), "fewer than 3"),
    ],
)
def test_what_no_mask_carries_is_infeasible_with_its_reason(request_: Request, why: str) -> None:
    report = plan_oneshot(request_)
    assert re.search(why, report.choice.why)
    assert report.choice == Choice(False, report.choice.why, "active", committee=NAMED, holders=MEMBERS)
    assert not any(one.feasible for one in report.variants)


# --- advice


@pytest.mark.parametrize(
    ("promise", "said"),
    [
        (ACTIVE, 'Policy(..., protocols=frozenset({"oneshot"}), holders=...)'),
        (CURIOUS, 'Policy(..., protocols=frozenset({"oneshot"}), holders=..., promise=Promise.CURIOUS)'),
    ],
)
def test_what_the_policy_must_allow_is_what_it_refuses_by_default(promise: Promise, said: str) -> None:
    assert shown(10, promise=promise).advice[0] == f"clients allow this by {said}"
    proposed = agreement_of(Request(10, 0.1).plan(promise, protocol=ONE_SHOT), 10)
    changes: dict[str, Any] = {"protocols": frozenset({"oneshot"})}
    if promise is CURIOUS:
        changes["promise"] = CURIOUS
    Policy({}, **changes).check(proposed)
    for name in changes:
        with pytest.raises(PolicyViolation):
            Policy({}, **{other: value for other, value in changes.items() if other != name}).check(proposed)


def test_shares_that_fill_the_servers_memory_are_named() -> None:
    # Ten sealed shares of 4 KiB each for every client.
    assert not any("GB" in text for text in shown(10_000).advice)
    (said,) = [text for text in shown(100_000).advice if "GB" in text]
    assert "the server keeps 4.2 GB of sealed shares" in said
    assert "sends 0.42 GB to each" in said


def test_the_committee_is_convened_once_for_many_rounds() -> None:
    assert shown(10).advice[1] == "the committee is convened in one exchange more, once for 1,000 rounds"
