"""A clip that follows the norms, through real rounds: one more noisy coordinate, one clip per round, one charge."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dp import AdaptiveClip, Budget, Composed, GaussianEvent, Ledger, Unit, View, account
from protocols import codec, wire
from protocols.coding import Counted, Layered, Noisy, Randomness, coding_of
from protocols.endpoint import Task
from protocols.errors import BadPlan, Malformed, Misused, PolicyViolation, TooFewClients
from protocols.heads import NO_LEDGER
from protocols.learning.demo import Demo, SecureAggregation
from protocols.messages import Open
from protocols.party import SERVER, PartyId
from protocols.plan import Agreement, Excess, NoisePlan, Policy, Promise, RoundPlan, context_of
from protocols.round import RoundReport, secure_mean
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost
from secagg.errors import NonFinite
from secagg.keys import Seed
from tests.contracts.company import seed_of
from tests.rows import rows

CLIENTS = 8
LENGTH = 16
RULE = AdaptiveClip(Fraction(1, 256), Fraction(256), bit_noise=Fraction(1))
PLAN = RoundPlan.recommend(
    CLIENTS,
    dropout=Fraction(1, 4),
    corrupt=Fraction(0),
    noise_multiplier=Fraction(1),
    modulus_bits=32,
    min_cohort=4,
    promise=Promise.CURIOUS,
    adaptive=RULE,
)
LAYERED = replace(PLAN, noise=replace(PLAN.noise, excess=Excess.REMOVED))
FIXED = replace(PLAN, noise=replace(PLAN.noise, adaptive=None))
BOTH = pytest.mark.parametrize("plan", [PLAN, LAYERED], ids=["kept", "removed"])
LOST = FaultPlan({PartyId(0): Fate(Exchange.MASKED, Lost.REQUEST), PartyId(1): Fate(Exchange.SHARES, Lost.REPLY)})


def agreed(plan: RoundPlan = PLAN, length: int = LENGTH, number: int = 0) -> Agreement:
    return Agreement(plan, number, bytes(16), length, bytes(32), bytes(32), NO_LEDGER)


def counted(plan: RoundPlan = PLAN, length: int = LENGTH) -> Counted:
    coding = coding_of(agreed(plan, length))
    assert isinstance(coding, Counted)
    return coding


def share_of(coding: Counted) -> Any:
    return coding.vector.layers.share if isinstance(coding.vector, Layered) else coding.vector.share


def randomness(who: int = 0, plan: RoundPlan = PLAN) -> Randomness:
    return Randomness(Seed(bytes([who]) * 32), context_of(agreed(plan)), True)


def update_of(norm: float, length: int = LENGTH) -> list[np.ndarray]:
    return [np.full(length, norm / math.sqrt(length))]


def run(norms: list[float], plan: RoundPlan = PLAN, length: int = LENGTH, **asked: Any) -> RoundReport:
    cohort = asked.pop("cohort", None) or Cohort.from_root(plan, range(CLIENTS), seed_of(*norms))
    updates = {who: update_of(norm, length) for who, norm in enumerate(norms)}
    return secure_mean(updates, plan, round=asked.pop("number", 0), cohort=cohort, **asked)


# --- the coding: what travels, and how far one client can move it


@BOTH
def test_one_coordinate_more_travels_and_the_rest_is_the_same_vector(plan: RoundPlan) -> None:
    coding, update = counted(plan), update_of(3.0)[0]
    encoded = coding.encode(update, 1, randomness(plan=plan))
    assert len(encoded.vector) == coding.length == coding.vector.length + 1
    assert np.array_equal(encoded.vector[:-1], coding.vector.encode(update, 1, randomness(plan=plan)).vector)
    assert encoded.clipped == 1


@BOTH
@pytest.mark.parametrize(("norm", "steps"), [(0.5, 1), (3.0, -1)], ids=["within", "beyond"])
def test_zeroing_a_client_moves_its_bit_by_one_scaled_step(plan: RoundPlan, norm: float, steps: int) -> None:
    """With equal noise: all that is left of the client is its noise, in the vector and in the bit."""
    coding = counted(plan)
    present, zeroed = (coding.encode(update_of(size)[0], 1, randomness()).vector for size in (norm, 0.0))
    moved = coding.ring.centre(coding.ring.reduce(present.astype(np.int64) - zeroed.astype(np.int64)))
    assert moved[-1] == steps * coding.bit.scale
    assert int(np.dot(moved[:-1], moved[:-1])) <= share_of(coding).l2_squared


@rows("N7")
def test_the_bits_noise_is_no_other_noise(row: str) -> None:
    asked = randomness()
    streams = [asked.bit(), asked.noise()]
    words = [bytes(stream.borrow(4, b"test")) for stream in streams]
    assert words[0] != words[1]


@BOTH
def test_the_fraction_is_the_share_of_clients_within_the_clip_and_the_mean_does_not_know_it(plan: RoundPlan) -> None:
    coding = counted(plan)
    updates = [update_of(norm)[0] for norm in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 3.0, 4.0)]
    total = coding.ring.zeros(coding.length)
    for who, update in enumerate(updates):
        coding.ring.add_into(total, coding.encode(update, 1, randomness(who)).vector)
    bare = coding.ring.zeros(coding.vector.length)
    for who, update in enumerate(updates):
        coding.ring.add_into(bare, coding.vector.encode(update, 1, randomness(who)).vector)
    assert np.array_equal(coding.ring.reduce(total)[:-1], coding.ring.reduce(bare))
    noise = math.sqrt(CLIENTS * coding.bit.share_variance) / coding.bit.scale / (2 * CLIENTS)
    assert abs(coding.fraction(total, CLIENTS) - Fraction(6, 8)) < 5 * noise
    assert coding.next_clip(total, CLIENTS) == RULE.next(Fraction(1), coding.fraction(total, CLIENTS))


# --- the charge: a pair that costs what the plan claims, the same in every round


@BOTH
def test_the_charge_is_the_pair_and_costs_what_one_gaussian_of_the_plans_multiplier_does(plan: RoundPlan) -> None:
    coding = counted(plan)
    event = coding.worst_event("system")
    assert isinstance(event, Composed)
    vector, bit = event.events
    assert (vector.d, bit.d, bit.l2_squared) == (coding.vector.length, 1, coding.bit.scale**2)
    shift = sum(Fraction(part.l2_squared) / Fraction(part.sigma2) for part in event.events)
    assert shift <= 1 / plan.noise.noise_multiplier**2
    pair = account([event], Unit("zero-out"), View.AGGREGATOR, "1e-5").upper
    one = account([GaussianEvent.for_multiplier(1)], Unit("zero-out"), View.AGGREGATOR, "1e-5").upper
    assert pair <= one * 1.0001
    assert pair == pytest.approx(one, rel=1e-3)


@BOTH
@pytest.mark.parametrize("clip", [Fraction(1, 256), Fraction(1), Fraction(314159, 1 << 17), Fraction(256)], ids=str)
def test_lattice_noise_and_event_are_the_same_for_every_clip(plan: RoundPlan, clip: Fraction) -> None:
    here, first = counted(plan.at_clip(clip)), counted(plan)
    assert here.worst_event("system") == first.worst_event("system")
    assert (share_of(here).clip, here.clip) == (clip, clip)
    assert share_of(here).gamma == share_of(first).gamma * clip
    assert share_of(here).share_variance == share_of(first).share_variance


def test_the_vector_has_more_noise_than_without_the_count() -> None:
    coding, alone = counted(), coding_of(agreed(FIXED))
    assert isinstance(alone, Noisy)
    assert share_of(coding).noise_multiplier ** 2 == pytest.approx(Fraction(4, 3), rel=1e-9)
    assert alone.share.noise_multiplier == 1


def test_a_ledger_is_charged_the_pair_before_and_after(tmp_path) -> None:
    ledger = Ledger.open_insecure(tmp_path / "ledger", Budget(20, 1e-5, "zero-out"))
    cohort, clip = Cohort.from_root(PLAN, range(CLIENTS), seed_of("ledger")), None
    for number in range(3):
        report = run([1.0] * CLIENTS, number=number, cohort=cohort, clip=clip, ledger=ledger)
        clip = report.next_clip
    claim = account([GaussianEvent.for_multiplier(1)] * 3, Unit("zero-out"), View.AGGREGATOR, "1e-5").upper
    assert ledger.interval().upper == pytest.approx(claim, rel=1e-3)
    assert ledger.interval_released().upper < ledger.interval().upper
    charged = [json.loads(entry.body)["charge"]["event"] for entry in ledger.entries() if entry.kind == "RESERVE"]
    assert [(event[0], [part[0] for part in event[1]]) for event in charged] == [("composed", ["gaussian"] * 2)] * 3
    assert charged[0] == charged[1] == charged[2]


# --- one clip per round


def test_the_clip_of_the_next_round_is_not_used_in_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, clipping and event are those of C_t: with C_{t+1} none of the three figures would be right."""
    # The nonce alone is drawn by the system here, and the noise of the count depends on it.
    monkeypatch.setattr(os, "urandom", bytes)
    length = 4096
    # All are within the clip and hardly there: the next clip is as far away as it gets, and the mean is all noise.
    report = run([1e-6] * CLIENTS, length=length, clip=Fraction(4))
    assert report.clip == 4
    assert report.next_clip < Fraction("3.85")
    coding = counted(PLAN.at_clip(Fraction(4)), length)
    share = share_of(coding)
    assert share.clip == 4
    planned = float(share.gamma) * math.sqrt(CLIENTS * share.share_variance) / CLIENTS
    assert np.std(report.mean[0]) == pytest.approx(planned, rel=0.03)
    # Far beyond the clip, the mean is a vector of norm C_t and its noise.
    long = run([50.0] * CLIENTS, length=length, clip=Fraction(4))
    assert float(np.sum(long.mean[0])) / math.sqrt(length) == pytest.approx(4, abs=6 * planned)
    assert long.next_clip > Fraction(4)


def test_every_party_works_with_the_clip_of_the_agreement_and_the_plan_stays_as_it_was() -> None:
    cohort = Cohort.from_root(PLAN, range(CLIENTS), seed_of("agreement"))
    clips = [Fraction(1), Fraction(2), Fraction(1, 2)]
    for number, clip in enumerate(clips):
        report = run([1.0] * CLIENTS, number=number, cohort=cohort, clip=clip)
        assert report.clip == clip
        assert {client.offer.plan.clip for client in cohort.clients.values()} == {clip}
        assert cohort.server.agreement.plan.clip == clip
        assert cohort.server.plan == PLAN
        assert report.next_clip == RULE.next(clip, cohort.server.fraction_within_clip()) == cohort.server.next_clip()
        assert cohort.server.agreement.plan.clip == clip
    assert run([1.0] * CLIENTS, number=9, cohort=cohort).clip == PLAN.clip


def test_the_clip_is_bound_into_the_context() -> None:
    contexts = {context_of(agreed(PLAN.at_clip(Fraction(clip)))) for clip in (1, 2, 3)}
    assert len(contexts) == 3


def test_a_server_restored_after_the_round_says_the_same_next_clip() -> None:
    cohort = Cohort.from_root(PLAN, range(CLIENTS), seed_of("thaw"))
    report = run([2.0] * CLIENTS, cohort=cohort, clip=Fraction(3))
    cohort.server.thaw(cohort.server.freeze())
    assert cohort.server.next_clip() == report.next_clip


@BOTH
def test_drop_outs_change_neither_sum_nor_fraction_beyond_their_noise(plan: RoundPlan) -> None:
    cohort = Cohort.from_root(plan, range(CLIENTS), seed_of("lost"))
    report = run([0.5] * CLIENTS, plan, cohort=cohort, faults=LOST, clip=Fraction(1))
    assert report.exact
    assert len(report.survivors) == 6
    share = counted(plan).bit
    noise = math.sqrt(6 * share.share_variance) / share.scale / 12
    assert abs(cohort.server.fraction_within_clip() - 1) < 5 * noise


def test_where_the_clip_is_fixed_the_next_one_is_the_same_and_nobody_is_counted() -> None:
    cohort = Cohort.from_root(FIXED, range(CLIENTS), seed_of("fixed"))
    report = run([2.0] * CLIENTS, FIXED, cohort=cohort, clip=FIXED.clip)
    assert report.clip == report.next_clip == FIXED.clip
    with pytest.raises(Misused, match="fixed"):
        cohort.server.fraction_within_clip()


def test_the_learning_loop_carries_the_clip_and_a_lost_round_keeps_it(tmp_path) -> None:
    demo = Demo("pairwise", 3, CLIENTS, 0.0, private=True, iid=True, seed=1, folder=tmp_path, ledger=None)
    secure = SecureAggregation(demo, PLAN, None)
    updates = {who: update_of(30.0) for who in range(CLIENTS)}
    secure(updates, 0)
    secure.demo = replace(demo, dropout=0.9)
    with pytest.raises(TooFewClients):
        secure(updates, 1)
    secure.demo = demo
    secure(updates, 2)
    first, second = secure.reports
    assert first.clip == PLAN.clip != first.next_clip
    assert second.clip == first.next_clip
    assert secure.clip == second.next_clip


# --- convergence through the protocol, with the noise of real shares


def clips_of(start: Fraction, rounds: int, seed: int) -> list[float]:
    """Lognormal norms of median 1."""
    norms = np.random.default_rng(seed)
    cohort, clip, clips = Cohort.from_root(PLAN, range(CLIENTS), seed_of("run", seed)), start, []
    for number in range(rounds):
        drawn = norms.lognormal(0.0, 0.2, CLIENTS).tolist()
        clip = run(drawn, number=number, cohort=cohort, clip=clip).next_clip
        clips.append(float(clip))
    return clips


def test_a_clip_far_too_small_grows_and_one_far_too_large_shrinks() -> None:
    """All are beyond, or within: each round moves the clip by exp(0.1), noise aside."""
    small, large = clips_of(Fraction(1, 16), 6, seed=1), clips_of(Fraction(16), 6, seed=2)
    assert small[-1] == pytest.approx(math.exp(0.6) / 16, rel=0.3)
    assert large[-1] == pytest.approx(math.exp(-0.6) * 16, rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("start", [Fraction(105, 1024), Fraction(10)], ids=["a-tenth", "tenfold"])
def test_adaptive_converges_through_the_protocol(start: Fraction) -> None:
    clips = clips_of(start, 100, seed=5)
    assert math.exp(float(np.mean(np.log(clips[-50:])))) == pytest.approx(1.0, rel=0.05)


# --- updates that broke others: named, and nothing was sent


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=["nan", "infinite", "minus-infinite"])
def test_an_update_that_is_not_finite_is_refused_and_nothing_is_sent_or_charged(bad: float, tmp_path) -> None:
    ledger = Ledger.open_insecure(tmp_path / "ledger", Budget(20, 1e-5, "zero-out"))
    updates = {who: update_of(1.0) for who in range(CLIENTS)}
    updates[3][0][[0, 1]] = [3.0, bad]
    cohort = Cohort.from_root(PLAN, range(CLIENTS), seed_of("bad", bad))
    head = ledger.head()
    with pytest.raises(NonFinite, match="client 3: nothing was sent"):
        secure_mean(updates, PLAN, round=0, cohort=cohort, ledger=ledger)
    assert not any(client.needs_update for client in cohort.clients.values())
    assert cohort.server.aggregate is None
    assert ledger.head() == head


def test_zero_updates_leave_the_clip_where_it_is_noise_aside() -> None:
    cohort = Cohort.from_root(PLAN, range(CLIENTS), seed_of("zero"))
    report = run([0.0] * CLIENTS, cohort=cohort)
    assert np.all(np.isfinite(report.mean[0]))
    share = counted().bit
    noise = math.sqrt(CLIENTS * share.share_variance) / share.scale / (2 * CLIENTS)
    assert abs(cohort.server.fraction_within_clip() - Fraction(1, 2)) < 5 * noise


def test_the_largest_float32_is_clipped_and_counted_as_beyond() -> None:
    coding = counted()
    huge, ordinary = (
        coding.encode(np.full(LENGTH, value, np.float32), 1, randomness()).vector[-1] for value in (3e38, 7.0)
    )
    assert huge == ordinary


# --- policies and plans


@rows("M6")
@pytest.mark.parametrize("clip", [Fraction(1, 4), Fraction(5)], ids=["below", "above"])
def test_a_clip_outside_the_clients_own_range_is_refused_in_the_servers_name(row: str, clip: Fraction) -> None:
    cohort = Cohort.from_root(PLAN, range(CLIENTS), seed_of("policy"))
    client = cohort.clients[PartyId(0)]
    client._own = replace(client._own, policy=replace(client.policy, min_clip=Fraction(1, 2), max_clip=Fraction(4)))
    [fine] = cohort.server.open(Task(0, LENGTH, clip=Fraction(2)))
    assert client.receive(bytes(fine))
    [frame] = cohort.server.open(Task(1, LENGTH, clip=clip))
    with pytest.raises(PolicyViolation, match=f"clip {clip} is") as refused:
        client.receive(bytes(frame))
    assert refused.value.peer == SERVER
    assert client.done


def test_a_round_that_all_policies_refuse_is_lost_and_costs_nothing(tmp_path) -> None:
    ledger = Ledger.open_insecure(tmp_path / "ledger", Budget(20, 1e-5, "zero-out"))
    cohort = Cohort.from_root(PLAN, range(CLIENTS), seed_of("all"))
    for client in cohort.clients.values():
        client._own = replace(client._own, policy=replace(client.policy, max_clip=Fraction(4)))
    with pytest.raises(TooFewClients) as lost:
        run([1.0] * CLIENTS, cohort=cohort, clip=Fraction(8), ledger=ledger)
    assert "clip 8 is above 4" in str(lost.value.refusal)
    assert ledger.interval().upper == 0


def test_a_policy_checks_the_clip_of_the_round_not_of_the_plan() -> None:
    policy = Policy({PartyId(0): bytes(32)}, promise=Promise.CURIOUS, min_clip=Fraction(1, 2), max_clip=Fraction(2))
    for clip in (Fraction(1, 2), Fraction(2)):
        policy.check(agreed(PLAN.at_clip(clip)))
    for clip in (Fraction(511, 1024), Fraction(2) + Fraction(1, 1 << 20)):
        with pytest.raises(PolicyViolation, match="clip"):
            policy.check(agreed(PLAN.at_clip(clip)))


@pytest.mark.parametrize("clip", [Fraction(1, 512), Fraction(257), Fraction(1, 3)], ids=["below", "above", "off-grid"])
def test_a_clip_the_rule_does_not_have_is_no_plan(clip: Fraction) -> None:
    with pytest.raises(BadPlan, match="rule by which it adapts"):
        PLAN.at_clip(clip)
    with pytest.raises(BadPlan, match="rule by which it adapts"):
        run([1.0] * CLIENTS, clip=clip)
    with pytest.raises(BadPlan, match="rule by which it adapts"):
        replace(PLAN, clip=clip)


def test_a_fixed_clip_does_not_move() -> None:
    assert FIXED.at_clip(FIXED.clip) == FIXED
    with pytest.raises(BadPlan, match="fixed"):
        FIXED.at_clip(Fraction(2))
    with pytest.raises(BadPlan, match="fixed"):
        run([1.0] * CLIENTS, FIXED, clip=Fraction(2))


def test_plans_that_cannot_adapt_say_why() -> None:
    with pytest.raises(BadPlan, match="without noise_multiplier"):
        RoundPlan.recommend(CLIENTS, adaptive=RULE)
    with pytest.raises(BadPlan, match="clip bit alone"):
        NoisePlan(Fraction(2), 0, 32, adaptive=RULE)
    with pytest.raises(BadPlan, match="AdaptiveClip"):
        NoisePlan(Fraction(1), 0, 32, adaptive=0.5)  # type: ignore[arg-type]
    with pytest.raises(BadPlan, match="characters"):
        NoisePlan(Fraction(1), 0, 32, adaptive=replace(RULE, target=Fraction(1, 10**250)))
    loud = replace(RULE, bit_noise=Fraction(16))
    narrow = replace(PLAN, noise=replace(PLAN.noise, modulus_bits=8, adaptive=loud))
    with pytest.raises(BadPlan, match="the bits of 8 clients"):
        coding_of(agreed(narrow))


def test_a_recommended_start_is_rounded_to_a_clip_the_rule_has() -> None:
    plan = RoundPlan.recommend(CLIENTS, noise_multiplier=1, corrupt=0, clip=0.1, adaptive=RULE)
    assert plan.clip == Fraction(round(2**20 / 10), 2**20)


def test_the_rule_travels_and_a_rule_that_is_none_is_malformed() -> None:
    agreement = agreed(PLAN.at_clip(Fraction(2)))
    body = wire.encode(Open(agreement))
    assert codec.decode_body(Open, body, SERVER).agreement == agreement
    target = b"".join(wire.pieces(RULE))
    assert body.count(target) == 1
    forged = body.replace(target, target.replace(b"1/5", b"9/5"))
    with pytest.raises(Malformed, match="learning_rate"):
        codec.decode_body(Open, forged, SERVER)
