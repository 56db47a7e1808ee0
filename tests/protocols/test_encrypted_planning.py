"""Encrypted sums in `secagg plan`: bytes equal those of played rounds, and nothing infeasible is offered."""

from __future__ import annotations

import dataclasses
import math
import re
import tracemalloc
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import encrypted_costs
from protocols.choices import Choice, ProtocolReport, Request
from protocols.ckks import binding, single_server
from protocols.ckks.keys import keys_for_rounds
from protocols.ckks.messages import Certificate
from protocols.ckks.modes import check_mode, weakness
from protocols.ckks.vector import Shape
from protocols.codec import kind_of
from protocols.committee import HOLDERS, KeyCommittee, numbers
from protocols.costs import NO_STEPS
from protocols.encrypted_costs import (
    CipherSteps,
    EncryptedRound,
    EncryptedSteps,
    adding_server,
    encrypting_client,
    keeping_server,
    sample_of,
    timed_cipher_steps,
)
from protocols.encrypted_planning import KEYS, OTHER_KEYS, making_exchanges, plan_ckks
from protocols.endpoint import Client, Task
from protocols.errors import PolicyViolation
from protocols.heads import NO_LEDGER
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, NOTHING, Agreement, Metric, Policy, Promise, RoundPlan
from protocols.planning import PLANNERS, plan_round, refusals
from protocols.simulate import Cohort, Encrypted, Fate, FaultPlan, Lost, Simulation
from protocols.sizes import EncryptedSizes, RoundSizes, encrypted_sizes
from protocols.trial import Trial, plan_for, run_trial, vector_of
from secagg.ckks.binding import HASH_BYTES
from secagg.ckks.cipher import Fft
from secagg.ckks.plan import Keys, Mode
from secagg.ckks.plan import plan as ciphertexts
from secagg.encode import Encoding
from secagg.errors import BadParameters, NoParameters
from secagg.keys import Identity, Seed

ROOT = Seed(bytes(range(32)))
ACTIVE, CURIOUS = Promise.ACTIVE, Promise.CURIOUS
FIVE = keys_for_rounds(HOLDERS)
SINGLE, SHARED = OTHER_KEYS
each_other_key = pytest.mark.parametrize("keys", OTHER_KEYS, ids=lambda keys: keys.mode.value)

Letters = list[tuple[str, int]]


def plan_of(clients: int, **more: Any) -> RoundPlan:
    return RoundPlan.recommend(clients, **{"corrupt": 0, "protocol": ENCRYPTED, **more})


def agreement_of(plan: RoundPlan, length: int) -> Agreement:
    return Agreement(plan, 0, bytes(16), length, NOTHING, NOTHING, NO_LEDGER)


class Weighed(Simulation):
    """A round that remembers every frame by its sender and by its recipient."""

    def __init__(
        self, plan: RoundPlan, clients: int, length: int, faults: FaultPlan | None = None, keys: Keys = FIVE
    ) -> None:
        def train(who: PartyId, client: Client) -> Submit:
            return client.prepare(vector_of(ROOT, who, length), metrics={each.name: 1.0 for each in plan.metrics})

        super().__init__(Cohort.from_root(plan, range(clients), ROOT, mode=keys.mode), train, faults)
        self.keys = keys
        self.said: dict[PartyId, Letters] = {}
        self.heard: dict[PartyId, Letters] = {}
        self.bill = self.run(Task(0, length, nonce=bytes(16)))

    def _deliver(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        letter = kind_of(data).__name__, len(data)
        self.said.setdefault(sender, []).append(letter)
        self.heard.setdefault(recipient, []).append(letter)
        super()._deliver(sender, recipient, data)

    def sizes(self, arrived: int) -> EncryptedSizes:
        return encrypted_sizes(self.server.agreement, self.keys, arrived)


def letters(planned: RoundSizes) -> tuple[Letters, Letters]:
    sent, received = planned.sent, planned.received
    return [(one.kind.__name__, one.bytes) for one in sent], [(one.kind.__name__, one.bytes) for one in received]


# --- bytes: those of a real round, letter by letter

PLAYED: list[tuple[RoundPlan, int, int]] = [
    (plan_of(3, dropout=0, bits=2), 3, 1),
    (plan_of(5), 5, 5000),
    (plan_of(5, promise=CURIOUS, corrupt=0.2, dropout=0.2, task="another name"), 5, 13),
    (plan_of(7, bits=20, max_weight=5, metrics=(Metric("loss", Fraction(9)),)), 7, 77),
    (plan_of(5, noise_multiplier=0.5, modulus_bits=20), 5, 100),
]


@pytest.mark.parametrize(("plan", "clients", "length"), PLAYED)
def test_every_letter_of_a_played_round_has_the_planned_size(plan: RoundPlan, clients: int, length: int) -> None:
    played = Weighed(plan, clients, length)
    planned = encrypted_sizes(agreement_of(plan, length), FIVE, clients)
    for who in played.clients:
        assert (played.said[who], played.heard[who]) == letters(planned.client)
    openers = [who for who in played.holders if who in played.heard]
    assert len(openers) == FIVE.threshold
    for who in openers:
        assert (played.said[who], played.heard[who]) == letters(planned.holder)
    assert played.bill.upload_bytes_per_client == planned.client.upload_bytes
    assert played.bill.download_bytes_per_holder == planned.holder.download_bytes
    assert played.bill.exchanges == planned.client.exchanges == 1


@each_other_key
@pytest.mark.parametrize(("plan", "clients", "length"), PLAYED)
def test_every_letter_of_a_round_opened_by_others_has_the_planned_size(
    plan: RoundPlan, clients: int, length: int, keys: Keys
) -> None:
    played = Weighed(plan, clients, length, keys=keys)
    planned = encrypted_sizes(agreement_of(plan, length), keys, clients)
    for who in played.clients:
        assert (played.said[who], played.heard[who]) == letters(planned.client)
    assert len(played.holders) == (keys.mode is Mode.SINGLE)
    for who in played.holders:
        assert (played.said[who], played.heard[who]) == letters(planned.holder)
    if not played.holders:
        assert planned.holder == RoundSizes((), ())
    assert played.bill.upload_bytes_per_client == planned.client.upload_bytes
    assert played.bill.download_bytes_per_holder == planned.holder.download_bytes
    assert played.bill.exchanges == planned.client.exchanges == 1


@each_other_key
def test_a_lost_client_shortens_what_is_sent_to_whoever_opens(keys: Keys) -> None:
    fate = Fate(Encrypted.VECTOR, Lost.REPLY)
    played = Weighed(plan_of(6, dropout=0.4), 6, 3000, FaultPlan({PartyId(2): fate}), keys)
    everybody, survivors = played.sizes(6), played.sizes(5)
    assert (played.said[PartyId(0)], played.heard[PartyId(0)]) == letters(survivors.client)
    for who in played.holders:
        assert (played.said[who], played.heard[who]) == letters(survivors.holder)
    assert survivors.client.sent == everybody.client.sent
    opener = (everybody.holder, survivors.holder) if played.holders else (everybody.client, survivors.client)
    assert opener[0].download_bytes > opener[1].download_bytes


@pytest.mark.parametrize("side", Lost)
def test_a_lost_client_shortens_the_question_and_nothing_else(side: Lost) -> None:
    fate = Fate(Encrypted.VECTOR, side)
    played = Weighed(plan_of(6, dropout=0.4), 6, 3000, FaultPlan({PartyId(2): fate, PartyId(5): fate}))
    everybody, survivors = played.sizes(6), played.sizes(4)
    assert survivors.client == everybody.client
    assert (played.said[PartyId(0)], played.heard[PartyId(0)]) == letters(survivors.client)
    for who in played.holders:
        if who in played.heard:
            assert (played.said[who], played.heard[who]) == letters(survivors.holder)
    assert survivors.holder.sent == everybody.holder.sent
    assert survivors.holder.download_bytes < everybody.holder.download_bytes


@pytest.mark.parametrize("side", Lost)
def test_holders_that_are_asked_once_more_pay_for_each_opening(side: Lost) -> None:
    silent = min(Cohort.from_root(plan_of(5), range(5), ROOT).holders)
    played = Weighed(plan_of(5), 5, 100, FaultPlan({silent: Fate(Encrypted.VECTOR, side)}))
    sent, received = letters(played.sizes(5).holder)
    staying = sorted(set(played.holders) - {silent})
    counts = [len(played.heard[who]) for who in staying]
    assert sorted(counts) == [1, 2, 2, 2]
    for who, count in zip(staying, counts, strict=True):
        assert (played.said[who], played.heard[who]) == (sent * count, received * count)


def test_a_name_in_the_plan_travels_with_agreement_and_key_and_counts() -> None:
    short, long = (encrypted_sizes(agreement_of(plan_of(9, task=name), 9), FIVE, 9) for name in ("a", "a" * 61))
    assert long.client.download_bytes - short.client.download_bytes == 2 * 60
    assert (long.client.sent, long.holder) == (short.client.sent, short.holder)


@pytest.mark.parametrize("keys", [FIVE, SHARED], ids=lambda keys: keys.mode.value)
def test_a_long_vector_is_weighed_without_being_made(keys: Keys) -> None:
    plan = plan_of(3, dropout=0)
    encrypted_sizes(agreement_of(plan, 9), keys, 3)
    tracemalloc.start()
    planned = encrypted_sizes(agreement_of(plan, 1 << 31), keys, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert planned.client.upload_bytes > 1 << 32
    assert peak < 1 << 20


@pytest.mark.parametrize("arrived", [6, 4])
def test_sums_too_large_to_be_shown_are_weighed_with_their_hashes(
    arrived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(6, dropout=0.4)
    shown = encrypted_sizes(agreement_of(plan, 3000), FIVE, 6)
    monkeypatch.setattr(binding, "MOST_HALVES_BYTES", 0)
    faults = FaultPlan({PartyId(who): Fate(Encrypted.VECTOR, Lost.REPLY) for who in range(arrived, 6)})
    played = Weighed(plan, 6, 3000, faults)
    planned = played.sizes(arrived)
    assert (played.said[PartyId(0)], played.heard[PartyId(0)]) == letters(planned.client)
    for who in played.holders:
        if who in played.heard:
            assert (played.said[who], played.heard[who]) == letters(planned.holder)
    assert planned.client.upload_bytes == shown.client.upload_bytes + HASH_BYTES


# --- seconds: steps as a real client takes them, and an estimate that grows with the work


def shape_of(plan: RoundPlan, clients: int, length: int) -> EncryptedRound:
    agreement = agreement_of(plan, length)
    carried = Shape.of(agreement, FIVE)
    return EncryptedRound(clients, carried.coding.length, carried.plan, encrypted_sizes(agreement, FIVE, clients))


def test_a_client_signs_and_verifies_as_often_as_is_counted() -> None:
    plan, counted = plan_of(9), dict.fromkeys(("verify", "sign"), 0)

    def counting(name: str, work: Callable[..., object]) -> Callable[..., object]:
        def count(*arguments: object) -> object:
            counted[name] += 1
            return work(*arguments)

        return count

    cohort = Cohort.from_root(plan, range(9), ROOT)
    for client in cohort.clients.values():
        own = client._encrypting
        verified, signed = counting("verify", own.verify), counting("sign", own.sign)
        client._encrypting = dataclasses.replace(own, verify=verified, sign=signed)
        # Who seals the frames signs for both protocols.
        client._own = dataclasses.replace(client._own, sign=signed)
    Simulation(cohort, lambda who, client: client.prepare(vector_of(ROOT, who, 5))).run(Task(0, 5))
    shape = shape_of(plan, 9, 5)
    steps = encrypting_client(shape).common
    # The letters' own signatures are verified by the hub, which asks nobody.
    assert counted["verify"] == 9 * FIVE.holders == 9 * (steps.verification - len(shape.sizes.client.received))
    assert counted["sign"] == 9 * steps.signature


@pytest.mark.parametrize("party", [encrypting_client, adding_server])
def test_work_grows_with_coordinates_and_at_the_server_with_clients(
    party: Callable[[EncryptedRound], EncryptedSteps],
) -> None:
    one = EncryptedSteps(
        dataclasses.replace(NO_STEPS, **dict.fromkeys(("signature", "verification", "digest"), 1.0)),
        CipherSteps(*(1.0,) * len(dataclasses.fields(CipherSteps))),
    )
    base, longer, more = (
        party(shape_of(plan_of(clients), clients, length)).seconds(one)
        for clients, length in ((10, 3000), (10, 30_000), (11, 3000))
    )
    assert longer > base
    assert (more > base) == (party is adding_server)


def test_the_server_adds_every_upload_and_t_answers() -> None:
    shape = shape_of(plan_of(10), 10, 100_000)
    blocks = shape.plan.blocks
    assert adding_server(shape).ciphers == CipherSteps(0, 1, 0, 0, 10 * blocks, FIVE.threshold * blocks, blocks)
    assert encrypting_client(shape).ciphers == CipherSteps(1, 0, blocks, 0, 0, 0, 0)


def test_where_one_decryptor_opens_the_server_reads_every_upload_and_opens_nothing() -> None:
    agreement = agreement_of(plan_of(10), 100_000)
    carried = Shape.of(agreement, SINGLE)
    shape = EncryptedRound(10, carried.coding.length, carried.plan, encrypted_sizes(agreement, SINGLE, 10))
    assert keeping_server(shape).ciphers == CipherSteps(0, 0, 0, 0, 10 * carried.plan.blocks, 0, 0)
    # The decryptor's answer is one more letter to verify, and its question is as long as all uploads.
    assert keeping_server(shape).common.verification == 2 * 10 + 1
    assert keeping_server(shape).common.digest > 3 * 10 * 100_000


def test_hashes_are_made_once_and_checked_once_where_they_bind_the_sum() -> None:
    shape = shape_of(plan_of(100), 100, 1_000_000)
    assert encrypting_client(shape).ciphers.bind == shape.plan.blocks
    assert adding_server(shape).ciphers.bind == 100 * shape.plan.blocks


@pytest.mark.parametrize("length", [1, 5000, 10_000_000])
def test_steps_are_timed_on_a_part_of_the_vector(length: int) -> None:
    plan = Shape.of(agreement_of(plan_of(3, dropout=0), length), FIVE).plan
    sample = sample_of(plan)
    assert sample.blocks == min(plan.blocks, encrypted_costs.SAMPLE_BLOCKS)
    assert (sample.digits, sample.width0, sample.width1) == (plan.digits, plan.width0, plan.width1)
    for seconds in dataclasses.astuple(timed_cipher_steps(sample)):
        assert 0 < seconds < 1


@given(clients=st.integers(3, 1000), bits=st.integers(4, 32), length=st.integers(1, 10**8), blocks=st.integers(1, 300))
def test_a_part_of_any_plan_is_a_plan(clients: int, bits: int, length: int, blocks: int) -> None:
    try:
        whole = ciphertexts(clients, bits, length, FIVE)
    except NoParameters:
        return
    sample = sample_of(whole, blocks)
    assert sample.blocks == min(whole.blocks, blocks)
    assert sample.noise.guard <= whole.guard


# --- the choice


def shown(clients: int, dropout: float = 0.1, **more: Any) -> Choice:
    return plan_ckks(Request(clients, dropout, **{"corrupt": 0, "dimension": 1000, **more})).choice


def test_the_plan_shown_is_the_plan_simulated_and_a_trial_reports_what_was_planned() -> None:
    choice = plan_ckks(Request(9, 0.1, corrupt=0, dimension=31, bits=10)).choice
    played = plan_for(9, 0.1, 10, ENCRYPTED)
    assert played == Request(9, 0.1, corrupt=0, bits=10).plan(ACTIVE, protocol=ENCRYPTED)
    report = run_trial(Trial(played, 9, 31, 0.0, Fft()), 1)
    for name in ("degree", "threshold", "modulus_bits", "upload_bytes_per_client"):
        assert getattr(report, name) == getattr(choice, name)
    assert report.rounds_trips == choice.exchanges
    assert report.opened is not None
    assert report.opened.download_bytes_per_holder == choice.download_bytes_per_holder
    assert (report.opened.encryption.mode, report.opened.encryption.holders) == (choice.mode, choice.holders)


def test_a_choice_says_of_holders_what_it_cannot_say_of_a_graph() -> None:
    choice = shown(10)
    assert (choice.feasible, choice.promise, choice.mode, choice.holders, choice.threshold) == (
        True,
        "active",
        "threshold",
        5,
        4,
    )
    assert (choice.graph, choice.degree, choice.window, choice.quorum) == (None,) * 4
    assert (choice.exchanges, choice.modulus_bits, choice.min_cohort) == (1, 54, 8)
    # The planner's two bounds, on the noise of sums and on the hints that answers are.
    assert (choice.privacy_failure_log2, choice.completion_failure_log2) == (-40, -40)


def test_the_known_upload_of_ten_clients_and_a_million_values() -> None:
    # Ten bytes a value in 489 polynomials of 2048 residues; beside these three lengths, a signature, and the frame.
    assert shown(10, 0, dimension=1_000_000).upload_bytes_per_client == 10 * 489 * 2048 + 24 + 64 + 40 + 64


def test_figures_are_positive_and_grow_with_the_vector() -> None:
    small, large = (shown(10, dimension=dimension) for dimension in (1000, 1_000_000))
    for name in (
        "upload_bytes_per_client",
        "client_seconds",
        "server_seconds",
        "upload_bytes_per_holder",
        "download_bytes_per_holder",
    ):
        assert 0 < getattr(small, name) < getattr(large, name)
    assert small.download_bytes_per_client == large.download_bytes_per_client > 0


@pytest.mark.parametrize("promise", Promise)
def test_the_other_promise_stands_beside(promise: Promise) -> None:
    report = plan_ckks(Request(10, 0.1, corrupt=0, dimension=10, promise=promise))
    assert (report.choice.promise, report.choice.mode) == (promise.value, "threshold")
    [other] = [other for other in Promise if other is not promise]
    assert [(one.promise, one.mode) for one in report.variants] == [
        (promise.value, "single"),
        (promise.value, "seeded"),
        (other.value, "threshold"),
    ]
    assert all(one.feasible for one in report.variants)
    assert (KEYS, [keys.mode for keys in OTHER_KEYS]) == (FIVE, [Mode.SINGLE, Mode.SEEDED])


def other_choices(request: Request) -> dict[Mode, Choice]:
    """What is shown of the keys that are never taken."""
    variants = plan_ckks(request).variants
    return {Mode(one.mode): one for one in variants if one.promise == request.promise.value}


@each_other_key
def test_another_key_is_shown_as_it_is_simulated(keys: Keys) -> None:
    choice = other_choices(Request(9, 0.1, corrupt=0, dimension=31, bits=10))[keys.mode]
    report = run_trial(Trial(plan_for(9, 0.1, 10, ENCRYPTED), 9, 31, 0.0, Fft(), keys.mode), 1)
    for name in ("degree", "threshold", "modulus_bits", "upload_bytes_per_client"):
        assert getattr(report, name) == getattr(choice, name)
    assert report.rounds_trips == choice.exchanges
    assert report.opened is not None
    assert report.opened.download_bytes_per_holder == choice.download_bytes_per_holder
    assert (report.opened.encryption.mode, report.opened.encryption.holders) == (choice.mode, choice.holders)
    assert report.opened.encryption.weakness == choice.trusts[0]


@each_other_key
@pytest.mark.parametrize("promise", Promise)
def test_another_key_says_what_is_weak_about_it_and_what_a_policy_must_allow(keys: Keys, promise: Promise) -> None:
    mode = keys.mode
    choice = other_choices(Request(10, 0.1, corrupt=0, dimension=10, promise=promise))[mode]
    assert choice.trusts[0] == weakness(mode)
    holders = "holders=..., " if mode is Mode.SINGLE else ""
    allowed = f'protocols=frozenset({{"ckks"}}), {holders}modes=frozenset({{Mode.{mode.name}}})'
    told = ", promise=Promise.CURIOUS" if promise is CURIOUS else ""
    assert choice.advice[0] == f"clients allow this by Policy(..., {allowed}{told})"
    with pytest.raises(PolicyViolation, match=re.escape(weakness(mode))):
        check_mode(mode, Policy({}).modes)
    check_mode(mode, Policy({}, modes=frozenset({mode})).modes)


def test_whoever_opens_alone_leaves_nothing_of_a_share_to_chance() -> None:
    single, shared = other_choices(Request(10, 0.1, corrupt=0, dimension=10)).values()
    assert (single.privacy_failure_log2, single.completion_failure_log2) == (-math.inf, -40)
    assert (shared.privacy_failure_log2, shared.completion_failure_log2) == (-math.inf, -40)
    assert single.client_seconds is not None
    assert single.server_seconds is not None
    assert single.client_seconds > 0
    assert single.server_seconds > 0
    # What a client does to open is not estimated, and half of an estimate would mislead.
    assert (shared.client_seconds, shared.server_seconds) == (None, None)
    assert shared.download_bytes_per_client > single.download_bytes_per_client


def test_more_than_a_decryptor_adds_up_is_infeasible_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_server, "MOST_HALVES_BYTES", 1000)
    choice = other_choices(Request(10, 0.1, corrupt=0, dimension=10))[Mode.SINGLE]
    assert (choice.feasible, choice.mode) == (False, "single")
    assert choice.why.endswith("decryptor adds up for itself: invite fewer clients at a time")


def test_a_weaker_key_is_named_but_never_taken_instead() -> None:
    """Sums of 36 bits: too wide beside what t holders add to hide their shares."""
    request = Request(3000, Fraction(47, 100), 0, 100_000, 24)
    report = plan_ckks(request)
    assert (report.choice.mode, report.choice.feasible) == ("threshold", False)
    assert other_choices(request)[Mode.SEEDED].feasible
    said = "ckks under promise active with a seeded key would be feasible, but every client can decrypt every other"
    assert said in "; ".join(refusals("ckks", report))


def test_masks_come_first_and_encryption_where_they_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(9, Fraction(4, 9), corrupt=0, dimension=10)
    report = plan_round(request)
    assert not report.protocols["pairwise"].choice.feasible
    assert report.protocols["ckks"].choice.feasible
    assert report.recommended == "oneshot"
    unmet = ProtocolReport(Choice(False, "no node to name", "active", committee="named"), ())
    monkeypatch.setattr("protocols.planning.PLANNERS", {**PLANNERS, "oneshot": lambda request: unmet})
    assert plan_round(request).recommended == "ckks"


# --- what cannot be met is refused, and nothing weaker is taken instead


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request(20, 0.1, 0.1), "2 clients are assumed to help the server, and one that lies is enough"),
        (Request(1000, 0.1, 0.0, 100_000, 24), "no ciphertext carries sums of 34 bits .* at most 25 bits would fit"),
        (Request(20, 0.1, 0.0, bits=50), "bits is 2 to 24"),
        (Request(2_000_000, 0.1, 0.0, dimension=1), "clients is 2000000"),
        (Request(70_000, 0.1, 0.0, 1, 2), "digit sums of 70000 clients do not fit 32 bits: invite at most 65536"),
        (Request(9, 0.1, 0.0, dimension=0), "coordinates"),
        (Request(9, 0.1, 0.0, dimension=1 << 32), "dimension is 42949"),
        (Request(10, 0.6, 0.0), r"largest feasible drop-out is 2/5"),
        (Request(9, float("nan"), 0.0), "dropout is nan"),
        (Request(2, 0.1, 0.0), "fewer than 3"),
    ],
)
def test_what_no_ciphertext_carries_is_infeasible_with_its_reason(request_: Request, why: str) -> None:
    choice = plan_ckks(request_).choice
    assert re.search(why, choice.why)
    assert choice == Choice(False, choice.why, request_.promise.value, mode="threshold")


def test_a_weaker_promise_is_named_but_never_taken_instead() -> None:
    refused = "; ".join(refusals("ckks", plan_ckks(Request(20, 0.4, 0.3, dimension=10))))
    assert "ckks under promise active with a threshold key: 6 clients" in refused
    assert "ckks under promise curious with a threshold key would be feasible: ask for --promise curious" in refused


def test_without_the_library_that_encrypts_it_is_infeasible_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Missing:
        def zeros(self, *_: object) -> object:
            raise BadParameters("tenseal cannot be imported; install it")

    monkeypatch.setattr(encrypted_costs, "SealEngine", Missing)
    timed_cipher_steps.cache_clear()
    assert shown(10).why == "tenseal cannot be imported; install it"


# --- advice


@pytest.mark.parametrize(
    ("promise", "said", "allowed"),
    [
        (ACTIVE, 'Policy(..., protocols=frozenset({"ckks"}), holders=...)', {}),
        (CURIOUS, 'Policy(..., protocols=frozenset({"ckks"}), holders=..., promise=Promise.CURIOUS)', {"promise"}),
    ],
)
def test_what_the_policy_must_allow_is_what_it_refuses_by_default(
    promise: Promise, said: str, allowed: set[str]
) -> None:
    assert f"clients allow this by {said}" in shown(10, promise=promise).advice
    proposed = agreement_of(Request(10, 0.1, corrupt=0).plan(promise, protocol=ENCRYPTED), 10)
    changes: dict[str, Any] = {"protocols": frozenset({"ckks"}), **dict.fromkeys(allowed, CURIOUS)}
    Policy({}, **changes).check(proposed)
    for name in changes:
        with pytest.raises(PolicyViolation):
            Policy({}, **{other: value for other, value in changes.items() if other != name}).check(proposed)


def test_whoever_is_believed_is_named() -> None:
    report = plan_ckks(Request(10, 0.1, corrupt=0, dimension=10))
    active, single, shared, curious = (" ".join(choice.trusts) for choice in (report.choice, *report.variants))
    for said in (active, curious):
        assert "at most 2 of the 5 holders may be corrupt" in said
        assert "one that adds a multiple of the key to its upload gives it away" in said
    for said in (active, single):
        assert "no client may help whoever sees the opened sum" in said
    assert "no client may help the server: each of them has the key and can give it away" in shared
    assert "only while the server and every client follow the protocol" in curious


class Levelled(KeyCommittee):
    """A committee that counts exchanges of its ceremony: what is said upon an answer belongs to the next one."""

    levels = 0

    def certificate_for(self, agreement: Agreement) -> Certificate:
        maker, keys = self.ceremony.maker, self.ceremony.keys
        letters = deque((1, frame) for frame in maker.open(agreement, keys, 0))
        while letters:
            level, letter = letters.popleft()
            for who in letter.to:
                for answer in self.holders[who].receive(bytes(letter)):
                    self.levels = level
                    letters.extend((level + 1, frame) for frame in maker.receive(bytes(answer), who))
        return maker.certificate


@pytest.mark.parametrize("holders", [1, 2, 3, 5, 6])
def test_the_exchanges_that_make_a_key_are_those_of_a_held_ceremony(holders: int) -> None:
    plan = plan_of(3, dropout=0)
    clients = {PartyId(who): Identity.fresh().public for who in range(3)}
    identities = {who: Identity.fresh() for who in numbers(holders)}
    made = (Levelled.single if holders == 1 else Levelled.of)(plan, clients, Identity.fresh(), identities)
    assert isinstance(made, Levelled)
    made.certificate_for(agreement_of(plan, 10))
    assert made.ceremony.maker.done
    assert made.levels == making_exchanges(made.ceremony.keys)
    assert made.ceremony.keys == (SINGLE if holders == 1 else keys_for_rounds(holders))


def test_a_round_counts_its_clients_its_holders_and_the_key_that_it_makes() -> None:
    active, single, shared = shown(10), *other_choices(Request(10, 0.1, corrupt=0, dimension=10)).values()
    assert [one.round_exchanges for one in (active, single, shared)] == [2 + 5, 2 + 1, 1]
    assert active.advice[1] == "its key is made in 5 of its exchanges, which can be done ahead, while clients train"
    assert len(shared.advice) == 1


def test_the_drop_outs_that_are_survived_are_named() -> None:
    active, single, shared = shown(10), *other_choices(Request(10, 0.1, corrupt=0, dimension=10)).values()
    clients = "all but 8 of the 10 clients may vanish, whenever they do; "
    assert active.survives == clients + "4 of the 5 holders must answer"
    assert single.survives == clients + "the decryptor must answer"
    assert shared.survives == clients + "nobody else is needed"


def test_the_word_of_a_modulus_is_no_matter_of_ciphertexts() -> None:
    assert Encoding(1, 16, 1, 10).ring.bits == 20
    assert not any("halve the time for masks" in text for text in shown(10).advice)
