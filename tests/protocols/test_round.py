"""One round end to end: the mean, what is told about it, and the order of budget and secrets."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp.accountant import Budget, Relation
from dp.errors import BudgetExceeded, LedgerError
from dp.ledger import Ledger
from protocols import round as module
from protocols.coding import coding_of
from protocols.errors import BadPlan, TooFewClients, WrongUpdate
from protocols.party import PartyId
from protocols.plan import Promise, RoundPlan
from protocols.round import secure_mean
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost
from protocols.tensors import Layout
from secagg.errors import BadParameters, NonFinite
from secagg.keys import Seed

PLAN = RoundPlan.recommend(5, dropout=0.2, corrupt=0, max_weight=8)
NOISY = RoundPlan.recommend(5, dropout=0.2, corrupt=0, noise_multiplier=2.0, min_cohort=4)
ROOT = Seed(b"\x0b" * 32)
STEP = PLAN.encoding.step


def updates_of(clients: int = 5) -> dict[int, list[np.ndarray]]:
    """Two layers per client, inside the clip."""
    generator = np.random.default_rng(1)
    return {
        who: [generator.uniform(-1, 1, (2, 3)).astype(np.float32), generator.uniform(-1, 1, 4)]
        for who in range(clients)
    }


def lost(*fates: tuple[int, Exchange]) -> FaultPlan:
    return FaultPlan({PartyId(who): Fate(exchange, Lost.REQUEST) for who, exchange in fates})


def expected_mean(updates: dict[int, list[np.ndarray]], weights: dict[int, int], who: tuple[int, ...]) -> list:
    total = sum(weights[one] for one in who)
    return [sum(weights[one] * updates[one][layer].astype(float) for one in who) / total for layer in (0, 1)]


# --- the mean


@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
def test_the_mean_has_the_structure_of_the_updates_and_errs_by_less_than_a_step(promise: Promise) -> None:
    updates = updates_of()
    report = secure_mean(updates, RoundPlan.recommend(5, promise=promise), round=0)
    expected = expected_mean(updates, dict.fromkeys(updates, 1), tuple(updates))
    for mean, truth, layer in zip(report.mean, expected, updates[0], strict=True):
        assert (mean.shape, mean.dtype) == (layer.shape, layer.dtype)
        assert np.max(np.abs(mean - truth)) < 1.01 * STEP
    assert report.exact
    assert report.survivors == (0, 1, 2, 3, 4)
    assert (dict(report.excluded), report.clipped) == ({}, 0)
    assert (report.epsilon, report.epsilon_released, report.deterministic) == (None, None, False)
    assert report.costs.exchanges == (5 if promise is Promise.ACTIVE else 4)


def test_weights_count_in_numerator_and_denominator() -> None:
    updates, weights = updates_of(), {0: 1, 1: 8, 2: 3, 3: 2, 4: 5}
    report = secure_mean(updates, PLAN, round=0, weights=weights)
    for mean, truth in zip(report.mean, expected_mean(updates, weights, tuple(updates)), strict=True):
        assert np.max(np.abs(mean - truth)) < 1.01 * STEP


def test_whoever_vanishes_before_its_vector_is_not_in_the_mean_and_whoever_after_is() -> None:
    updates = updates_of()
    report = secure_mean(updates, PLAN, round=0, faults=lost((3, Exchange.MASKED)))
    assert report.survivors == (0, 1, 2, 4)
    for mean, truth in zip(report.mean, expected_mean(updates, dict.fromkeys(updates, 1), (0, 1, 2, 4)), strict=True):
        assert np.max(np.abs(mean - truth)) < 1.01 * STEP
    assert secure_mean(updates, PLAN, round=0, faults=lost((3, Exchange.UNMASK))).survivors == (0, 1, 2, 3, 4)


def test_clipped_coordinates_of_survivors_are_counted() -> None:
    updates = updates_of()
    updates[1][1][:3] = 9.0
    updates[2][1][:] = -9.0
    assert secure_mean(updates, PLAN, round=0).clipped == 7
    assert secure_mean(updates, PLAN, round=0, faults=lost((2, Exchange.MASKED))).clipped == 3


def test_a_cohort_serves_many_rounds() -> None:
    cohort = Cohort.from_root(PLAN, range(5), ROOT)
    means = [secure_mean(updates_of(), PLAN, round=number, cohort=cohort) for number in range(3)]
    assert all(report.exact and report.deterministic for report in means)
    with pytest.raises(TooFewClients) as caught:
        secure_mean(updates_of(), PLAN, round=1, cohort=cohort)
    assert caught.value.room == "Gathering"


def test_the_report_shows_a_masked_vector_that_looks_uniform() -> None:
    updates = {who: [np.zeros(40_000, np.float32)] for who in range(5)}
    report = secure_mean(updates, PLAN, round=0)
    assert report.seen_bytes == PLAN.encoding.ring.packed_bytes(40_000)
    assert 1e-6 < report.seen_chi_square_p < 1 - 1e-6


def test_the_test_of_uniformity_refutes_a_vector_that_is_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PLAN.encoding.ring.pack(PLAN.encoding.ring.zeros(40_000))
    original = module._uniformity
    seen = []

    def on_the_plain_one(agreement, plan, masked):
        seen.append(original(agreement, plan, type(masked)(masked.who, plain)))
        return original(agreement, plan, masked)

    monkeypatch.setattr(module, "_uniformity", on_the_plain_one)
    report = secure_mean({who: [np.zeros(40_000, np.float32)] for who in range(5)}, PLAN, round=0)
    assert seen[0] < 1e-12 < report.seen_chi_square_p


# --- wrong calls


@pytest.mark.parametrize(
    ("updates", "weights", "error"),
    [
        ({}, None, WrongUpdate),
        ({who: [] for who in range(5)}, None, WrongUpdate),
        (updates_of() | {4: [np.zeros((2, 3), np.float32)]}, None, WrongUpdate),
        (updates_of() | {4: [np.zeros((2, 3), np.float32), np.zeros(1)]}, None, WrongUpdate),
        (updates_of() | {4: [np.zeros((3, 2), np.float32), np.zeros(4)]}, None, WrongUpdate),
        (updates_of(), {0: 1}, WrongUpdate),
        (updates_of(), dict.fromkeys(range(6), 1), WrongUpdate),
        (updates_of(), dict.fromkeys(range(5), 0), BadParameters),
        (updates_of(), dict.fromkeys(range(5), 9), BadParameters),
        (updates_of() | {4: [np.zeros((2, 3), np.float32), np.full(4, np.nan)]}, None, NonFinite),
    ],
)
def test_updates_and_weights_that_do_not_fit_are_refused_by_name(updates, weights, error) -> None:
    with pytest.raises(error):
        secure_mean(updates, PLAN, round=0, weights=weights)


def test_too_few_updates_for_the_plan_are_refused_by_name() -> None:
    with pytest.raises(Exception, match="2 clients are invited") as caught:
        secure_mean(updates_of(2), PLAN, round=0)
    assert type(caught.value).__name__ == "Misused"


# --- the ledger


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger.open(tmp_path / "run.ledger", Budget(Fraction(8), Fraction(1, 10**5), Relation.ZERO_OUT)) as opened:
        yield opened


def kinds(ledger: Ledger) -> list[str]:
    return [entry.kind for entry in ledger.entries()][2:]


def charges(ledger: Ledger) -> float:
    return ledger.interval().upper


def test_noise_is_in_the_mean_and_in_the_ledger(ledger: Ledger) -> None:
    updates = updates_of()
    report = secure_mean(updates, NOISY, round=0, ledger=ledger)
    assert report.exact
    assert kinds(ledger) == ["RESERVE", "COMMIT"]
    assert 0 < report.epsilon.lower <= report.epsilon.upper <= 8
    assert report.epsilon == ledger.interval()
    # All five clients' noise is unknown to a reader; the smallest cohort of four is what was reserved.
    assert report.epsilon_released.upper < report.epsilon.upper


def test_the_noisy_mean_is_near_the_clipped_one() -> None:
    clip = float(NOISY.clip)
    updates = {who: [np.full(50, 0.1)] for who in range(5)}
    cohort = Cohort.from_root(NOISY, range(5), ROOT)
    report = secure_mean(updates, NOISY, round=0, cohort=cohort)
    truth = 0.1 * min(1, clip / (0.1 * math.sqrt(50)))
    share = coding_of(cohort.server.agreement).share
    deviation = float(share.gamma) * math.sqrt(5 * share.share_variance) / 5
    errors = report.mean[0] - truth
    assert np.max(np.abs(errors)) < 8 * deviation
    assert np.sqrt(np.mean(errors**2)) > deviation / 2


def test_a_ledger_without_noise_is_refused_before_anything_is_sent(ledger: Ledger) -> None:
    with pytest.raises(BadPlan, match="set noise_multiplier, or drop the ledger"):
        secure_mean(updates_of(), PLAN, round=0, ledger=ledger)
    assert kinds(ledger) == []


def test_a_budget_that_is_spent_refuses_before_anything_is_sent(ledger: Ledger) -> None:
    cohort = Cohort.fresh(NOISY, range(5))
    rounds = 0
    while ledger.remaining() > 0 and charges(ledger) < 7:
        secure_mean(updates_of(), NOISY, round=rounds, ledger=ledger, cohort=cohort)
        rounds += 1
    with pytest.raises(BudgetExceeded):
        secure_mean(
            updates_of(),
            NOISY.__class__.recommend(5, dropout=0.2, corrupt=0, noise_multiplier=0.3, min_cohort=4),
            round=rounds,
            ledger=ledger,
        )
    assert rounds >= 2
    assert charges(ledger) <= 8
    assert kinds(ledger).count("COMMIT") == kinds(ledger).count("RESERVE") == rounds
    # The refused round was never opened: every client could still take part in it.
    assert all(set(client._spent.values()) == {rounds - 1} for client in cohort.clients.values())


@pytest.mark.parametrize("exchange", [Exchange.ADVERTISE, Exchange.SHARES, Exchange.MASKED])
def test_a_round_lost_before_the_sum_was_asked_for_costs_nothing(ledger: Ledger, exchange: Exchange) -> None:
    with pytest.raises(TooFewClients):
        secure_mean(updates_of(), NOISY, round=0, ledger=ledger, faults=lost((0, exchange), (1, exchange)))
    assert kinds(ledger) == ["RESERVE", "ABORT"]
    assert charges(ledger) == 0


def test_a_round_lost_after_the_sum_was_asked_for_costs_all_of_it(ledger: Ledger) -> None:
    faults = lost(*((who, Exchange.UNMASK) for who in range(4)))
    with pytest.raises(TooFewClients) as caught:
        secure_mean(updates_of(), NOISY, round=0, ledger=ledger, faults=faults)
    assert caught.value.room == "Unmasking"
    assert "COMMIT" not in kinds(ledger)
    assert "ABORT" not in kinds(ledger)
    assert charges(ledger) > 0


def test_an_update_nobody_can_encode_costs_nothing(ledger: Ledger) -> None:
    broken = updates_of() | {3: [np.zeros((2, 3), np.float32), np.full(4, np.inf)]}
    cohort = Cohort.fresh(NOISY, range(5))
    with pytest.raises(NonFinite, match="client 3"):
        secure_mean(broken, NOISY, round=0, ledger=ledger, cohort=cohort)
    assert kinds(ledger) == []
    assert charges(ledger) == 0
    assert secure_mean(updates_of(), NOISY, round=0, ledger=ledger, cohort=cohort).exact


def test_the_charge_is_durable_before_any_share_leaves(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(reservation: object) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Ledger, "mark", lambda self, reservation: refuses(reservation))
    cohort = Cohort.fresh(NOISY, range(5))
    with pytest.raises(LedgerError, match="the disk is full"):
        secure_mean(updates_of(), NOISY, round=0, ledger=ledger, cohort=cohort)
    assert not any(client.done for client in cohort.clients.values())
    assert cohort.server.aggregate is None


# --- what is done with the mean before the ledger calls it released


def test_the_mean_can_be_stored_after_it_was_opened_and_before_the_ledger_says_so(ledger: Ledger) -> None:
    seen: list[tuple[Any, tuple[PartyId, ...], list[str]]] = []
    report = secure_mean(
        updates_of(),
        NOISY,
        round=0,
        ledger=ledger,
        before_commit=lambda mean, who, clip: seen.append((mean, who, kinds(ledger))),
    )
    [(mean, who, before)] = seen
    assert mean is report.mean
    assert who == report.survivors
    assert before == ["RESERVE"]
    assert kinds(ledger) == ["RESERVE", "COMMIT"]


def test_a_mean_that_cannot_be_stored_stays_charged_and_its_number_is_closed(ledger: Ledger) -> None:
    def full(mean: Any, who: tuple[PartyId, ...], clip: Fraction) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        secure_mean(updates_of(), NOISY, round=0, ledger=ledger, before_commit=full)
    assert kinds(ledger) == ["RESERVE", "SETTLE"]
    assert charges(ledger) > 0


def test_a_mean_that_does_not_fit_its_dtype_stays_charged_and_its_number_is_closed(ledger: Ledger) -> None:
    # Noise of deviation 4.7e5 in 200 coordinates: all of them below 65504 is met once in 10^180 runs.
    plan = RoundPlan.recommend(5, dropout=0.2, corrupt=0, noise_multiplier=2.0, min_cohort=4, clip=2**20)
    updates = {who: [np.full(200, 6e4, np.float16)] for who in range(5)}
    with pytest.raises(WrongUpdate, match="does not fit its dtype float16"):
        secure_mean(updates, plan, round=0, ledger=ledger)
    assert kinds(ledger) == ["RESERVE", "SETTLE"]


# --- the layout of the model


def test_the_layout_of_the_model_says_what_is_kept_and_what_is_tied() -> None:
    table = np.arange(6.0).reshape(3, 2)
    model = {"in": table, "out": table, "norm.running_mean": np.ones(2), "steps": np.array(4)}
    layout = Layout.of(model, keep="*.running_*")
    updates = {who: {"in": np.full((3, 2), 0.1), "out": np.full((3, 2), 0.1)} for who in range(5)}
    report = secure_mean(updates, PLAN, round=0, layout=layout)
    assert report.kept == ("norm.running_mean", "steps")
    assert list(report.mean) == ["in", "out"]
    assert report.mean["out"] is report.mean["in"]
    assert np.max(np.abs(report.mean["in"] - 0.1)) < STEP


def test_a_client_whose_tied_arrays_differ_is_named() -> None:
    table = np.zeros(2)
    layout = Layout.of({"in": table, "out": table})
    updates = {who: {"in": np.zeros(2), "out": np.full(2, float(who == 3))} for who in range(5)}
    with pytest.raises(WrongUpdate, match="client 3: arrays 'out' and 'in' are one array"):
        secure_mean(updates, PLAN, round=0, layout=layout)


def test_updates_alone_keep_their_integers_at_home() -> None:
    updates = {who: {"w": np.full(2, 0.5), "seen": np.array(who)} for who in range(5)}
    report = secure_mean(updates, PLAN, round=0)
    assert report.kept == ("seen",)
    assert list(report.mean) == ["w"]


@pytest.mark.parametrize("plan", [PLAN, NOISY], ids=["exact", "noisy"])
def test_an_array_that_is_not_finite_is_named_with_its_client(plan: RoundPlan) -> None:
    updates = {who: {"w": np.ones(2), "b": np.full(2, np.nan if who == 3 else 0.0)} for who in range(5)}
    with pytest.raises(NonFinite, match=r"client 3: .* not finite: 2 in 'b'"):
        secure_mean(updates, plan, round=0)
