"""Rounds as a run calls them: secure equals ideal equals plain, and what is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp import AdaptiveClip, Budget, Ledger
from dp.events import GaussianEvent
from protocols.errors import BadPlan, Misused, TooFewClients, WrongUpdate
from protocols.learning import (
    Aggregated,
    CohortsTooClose,
    Dealt,
    FedAdam,
    FedAvg,
    Federation,
    FedSGD,
    FixedGroups,
    IdealRounds,
    Local,
    Parameters,
    RoundInterrupted,
    Rounds,
    RunFolder,
    SecureRounds,
    TooManyClients,
    UniformCohort,
    plain_mean,
    softmax_regression,
    split_sizes,
)
from protocols.party import PartyId
from protocols.plan import Excess, Promise, RoundPlan
from protocols.private import CohortIncomplete
from protocols.simulate import Exchange, Fate, FaultPlan, Lost
from protocols.tensors import Layout
from tests.protocols.learning.test_loop import toy

PLAN = RoundPlan.recommend(6, dropout=0.2, corrupt=0, min_cohort=4, clip=4, task="plain")
NOISY = RoundPlan.recommend(6, dropout=0.2, corrupt=0, min_cohort=4, noise_multiplier=4, clip=1, task="noisy")
WEIGHTED = RoundPlan.recommend(6, dropout=0.2, corrupt=0, min_cohort=4, max_weight=9, task="weighted")
BUDGET = Budget(100, Fraction(1, 10**5), "zero-out")


def federation(**changes: Any) -> Federation:
    fields: dict[str, Any] = {
        "model": softmax_regression(2, 3),
        "strategy": FedAdam(Local(0.3, 2)),
        "data": toy(),
        "stops": (Rounds(3),),
        "seed": 1,
    }
    return Federation(**{**fields, **changes})


def updates(clients: Any = range(6)) -> dict[int, Parameters]:
    rng = np.random.default_rng(3)
    return {who: [rng.uniform(-1, 1, (2, 3)), rng.uniform(-1, 1, 3)] for who in clients}


def snapped(aggregate: Any) -> Any:
    """Updates on the lattice: what is exactly representable is rounded by nobody."""

    def act(found: Mapping[int, Parameters], number: int) -> Aggregated:
        step = PLAN.encoding.step
        return aggregate({who: [np.round(a / step) * step for a in update] for who, update in found.items()}, number)

    return act


def equal(one: Parameters, two: Parameters) -> bool:
    return all(np.array_equal(*pair) for pair in zip(one, two, strict=True))


def ideal_weighted(plan: RoundPlan, weights: Mapping[int, int]) -> IdealRounds:
    return IdealRounds(plan, seed=0, weights=weights)


def secure_weighted(plan: RoundPlan, weights: Mapping[int, int]) -> SecureRounds:
    return SecureRounds(plan, range(6), weights=weights)


# The same sum


@pytest.mark.parametrize("protocol", ["pairwise", "oneshot"])
def test_a_secure_training_equals_the_ideal_and_the_plain_one_bit_for_bit(protocol: str) -> None:
    corrupt = 0 if protocol == "pairwise" else 0.1
    plan = RoundPlan.recommend(6, dropout=0.2, corrupt=corrupt, min_cohort=4, clip=4, protocol=protocol)
    assert plan.encoding == PLAN.encoding
    secure = SecureRounds(plan, range(6))
    ends = [
        list(federation().run(snapped(rounds)))[-1].parameters for rounds in (secure, IdealRounds(plan), plain_mean)
    ]
    assert secure.report is not None
    assert secure.report.exact
    assert equal(ends[0], ends[1])
    for one, two in zip(ends[0], ends[2], strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-12)


def test_a_secure_mean_is_within_a_step_of_the_plain_one() -> None:
    found, expected = SecureRounds(PLAN, range(6))(updates(), 0), plain_mean(updates(), 0)
    for one, two in zip(found.mean, expected.mean, strict=True):
        assert np.max(np.abs(one - two)) < PLAN.encoding.step


def test_an_ideal_round_of_a_seed_is_repeated_and_others_are_not() -> None:
    one, two = (IdealRounds(NOISY, seed=5)(updates(), 0).mean for _ in range(2))
    assert equal(one, two)
    assert not equal(one, IdealRounds(NOISY, seed=5)(updates(), 1).mean)
    assert not equal(IdealRounds(NOISY)(updates(), 0).mean, IdealRounds(NOISY)(updates(), 0).mean)


def test_ideal_noise_has_the_planned_deviation() -> None:
    still = {who: [np.zeros(4000)] for who in range(6)}
    (mean,) = IdealRounds(NOISY, seed=0)(still, 0).mean
    # Shares for the smallest cohort of four make 6/4 of the variance of six; deviation of the estimate below 1/89.
    assert np.std(mean) == pytest.approx(4 * 1.5**0.5 / 6, rel=0.07)


def test_weights_are_the_clients_integers() -> None:
    plan = RoundPlan.recommend(6, dropout=0.2, corrupt=0, min_cohort=4, clip=4, max_weight=60_000)
    weights = {who: 60_000 if who == 0 else 1 for who in range(6)}
    found = SecureRounds(plan, range(6), weights=weights)(updates(), 0)
    total = sum(weights.values())
    for layer in (0, 1):
        expected = sum(weights[who] * update[layer] for who, update in updates().items()) / total
        assert np.max(np.abs(found.mean[layer] - expected)) < plan.encoding.step


@pytest.mark.parametrize("make", [secure_weighted, ideal_weighted])
def test_weighted_by_examples_one_step_is_the_step_over_all_of_them(make: Any) -> None:
    """Clients of very unequal size: a mean that forgot the weights would be that of a few examples."""
    whole = toy(1, each=60).clients[0]
    shares = split_sizes(whole, [50, 1, 2, 3, 1, 3], np.random.default_rng(0))
    dealt = Dealt(dict(enumerate(shares)), whole)
    plan = RoundPlan.recommend(6, dropout=0.2, corrupt=0, min_cohort=4, clip=4, max_weight=50)
    record = next(federation(strategy=FedSGD(1.0), data=dealt).run(make(plan, dealt.weights)))
    step = softmax_regression(2, 3).gradient([np.zeros((2, 3)), np.zeros(3)], whole)
    for moved, slope in zip(record.parameters, step, strict=True):
        assert np.max(np.abs(moved + slope)) < plan.encoding.step


def test_planned_drop_outs_are_not_in_the_mean() -> None:
    def first_goes(clients: tuple[PartyId, ...], number: int) -> FaultPlan:
        return FaultPlan({clients[0]: Fate(Exchange.MASKED, Lost.REQUEST)})

    found = SecureRounds(PLAN, range(6), faults=first_goes)(updates(), 0)
    assert found.survivors == (1, 2, 3, 4, 5)


def test_a_ledger_is_charged_round_by_round_and_what_a_round_charges_is_known_before(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", BUDGET) as ledger:
        secure = SecureRounds(NOISY, range(6), ledger=ledger)
        event = secure.event(9)
        assert isinstance(event, GaussianEvent)
        run, spent = federation(strategy=FedAvg(Local(0.3)), stops=(Rounds(2),)).run(secure), []
        for _ in run:
            spent.append(secure.report.epsilon.upper)
        charged = [entry.fields["charge"] for entry in ledger.entries() if entry.kind == "RESERVE"]
        assert [charge["event"] for charge in charged] == [list(event.to_canonical())] * 2
        assert spent[0] < spent[1]


# What is refused


def test_too_few_clients_are_no_round_and_charge_nothing(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", BUDGET) as ledger:
        head = ledger.head()
        for few in ({}, updates(range(3))):
            with pytest.raises(CohortIncomplete, match="nothing was sent and nothing charged"):
                SecureRounds(NOISY, range(6), ledger=ledger)(few, 0)
        assert ledger.head() == head


def test_more_clients_than_planned_are_refused() -> None:
    with pytest.raises(TooManyClients, match="7 clients are more than the plan's 6; nothing was sent"):
        SecureRounds(PLAN, range(7))(updates(range(7)), 0)


def test_a_plan_without_noise_charges_no_event() -> None:
    with pytest.raises(BadPlan, match="no noise"):
        SecureRounds(PLAN, range(6)).event(9)


def test_two_cohorts_that_differ_in_one_client_are_refused_without_noise() -> None:
    secure = SecureRounds(PLAN, range(6))
    secure(updates(range(6)), 0)
    with pytest.raises(CohortsTooClose, match="differ in 1 clients, and without noise fewer than 4"):
        secure(updates(range(5)), 1)
    assert len(secure.report.survivors) == 6
    secure(updates(range(6)), 2)


def test_a_folder_remembers_cohorts_of_dead_processes(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        SecureRounds(PLAN, range(6), folder=folder)(updates(range(6)), 0)
    with RunFolder(tmp_path) as folder, pytest.raises(CohortsTooClose):
        SecureRounds(PLAN, range(6), folder=folder)(updates(range(5)), 1)


def test_with_noise_cohorts_may_be_as_close_as_they_like() -> None:
    secure = SecureRounds(NOISY, range(6))
    secure(updates(range(6)), 0)
    assert len(secure(updates(range(5)), 1).survivors) == 5


def test_random_cohorts_without_noise_end_the_run_and_fixed_groups_do_not() -> None:
    plan = RoundPlan.recommend(12, dropout=0.2, corrupt=0, min_cohort=4, clip=4)
    run = federation(data=toy(12), selection=UniformCohort(6), stops=(Rounds(40),)).run(SecureRounds(plan, range(12)))
    with pytest.raises(CohortsTooClose):
        list(run)
    grouped = federation(data=toy(12), selection=FixedGroups(4), stops=(Rounds(4),)).run(SecureRounds(plan, range(12)))
    assert len(list(grouped)) == 4


def test_a_round_that_was_charged_and_whose_mean_is_nowhere_is_interrupted(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", BUDGET) as ledger:
        SecureRounds(NOISY, range(6), ledger=ledger)(updates(), 0)
        again = SecureRounds(NOISY, range(6), ledger=ledger)
        head = ledger.head()
        with pytest.raises(RoundInterrupted, match=r"round 0 was charged, .* it stays charged"):
            again(updates(), 0)
        assert ledger.head() == head
        assert again(updates(), 1).survivors == tuple(range(6))


def test_a_mean_on_file_is_handed_out_without_a_round(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", BUDGET) as ledger, RunFolder(tmp_path / "run") as folder:
        found = SecureRounds(NOISY, range(6), ledger=ledger, folder=folder)(updates(), 0)
        head = ledger.head()
        again = SecureRounds(NOISY, range(6), ledger=ledger, folder=folder)
        assert equal(again(updates(), 0).mean, found.mean)
        assert again.recovered(1, Layout.of_update(updates()[0])) is None
        assert again.report is None
        assert ledger.head() == head


def test_a_mean_on_file_that_the_ledger_does_not_know_is_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        with Ledger.open(tmp_path / "one.ledger", BUDGET) as ledger:
            SecureRounds(NOISY, range(6), ledger=ledger, folder=folder)(updates(), 0)
        with Ledger.open(tmp_path / "other.ledger", BUDGET) as other, pytest.raises(Misused, match="holds no charge"):
            SecureRounds(NOISY, range(6), ledger=other, folder=folder)(updates(), 0)


def test_too_few_for_an_ideal_sum_are_refused_like_real_ones() -> None:
    with pytest.raises(TooFewClients):
        IdealRounds(PLAN)(updates(range(3)), 0)


@pytest.mark.parametrize("seed", [-1, 1 << 256])
def test_a_seed_outside_its_range_is_named(seed: int) -> None:
    with pytest.raises(Misused, match="it must lie in 0"):
        IdealRounds(PLAN, seed)


def test_removable_noise_has_no_ideal_round() -> None:
    assert NOISY.noise is not None
    plan = replace(NOISY, noise=replace(NOISY.noise, excess=Excess.REMOVED))
    with pytest.raises(BadPlan, match="neighbours hold"):
        IdealRounds(plan)


def test_a_cohort_that_could_not_be_written_down_is_not_taken_for_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = RoundPlan.recommend(6, dropout=0.2, corrupt=0, min_cohort=4, clip=4, task="full disk")
    with RunFolder(tmp_path) as folder:
        secure, save = SecureRounds(plan, range(6), folder=folder), folder.save

        def full(*_: object) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(RunFolder, "save", full)
        with pytest.raises(OSError, match="no space"):
            secure(updates(range(5)), 0)
        monkeypatch.setattr(RunFolder, "save", lambda _, *what: save(*what))
        secure(updates(range(5)), 0)
    with RunFolder(tmp_path) as folder, pytest.raises(CohortsTooClose):
        SecureRounds(plan, range(6), folder=folder)(updates(range(6)), 1)


def test_clients_without_a_weight_are_named_before_anything_is_sent() -> None:
    secure = SecureRounds(WEIGHTED, range(6), weights={0: 2, 1: 2})
    with pytest.raises(WrongUpdate, match=r"weights are given for \[0, 1\]"):
        secure(updates(), 0)


def test_a_clip_that_adapts_goes_on_where_the_run_did(tmp_path: Path) -> None:
    rule = AdaptiveClip(Fraction(1, 256), Fraction(256), bit_noise=Fraction(1))
    plan = RoundPlan.recommend(
        6, corrupt=0, noise_multiplier=1, min_cohort=4, modulus_bits=32, promise=Promise.CURIOUS, adaptive=rule
    )
    clips = []
    for number in range(3):
        with RunFolder(tmp_path / "run") as folder, Ledger.open(tmp_path / "run.ledger", BUDGET) as ledger:
            secure = SecureRounds(plan, range(6), ledger=ledger, folder=folder)
            secure(updates(), number)
        report = secure.report
        clips += [report.clip, report.next_clip]
    assert len(set(clips)) > 2
    assert clips[1:-1:2] == clips[2::2]


def test_a_cohort_that_is_too_large_by_chance_does_not_end_the_run(tmp_path: Path) -> None:
    rounds = SecureRounds(PLAN, range(7))
    with pytest.raises(TooManyClients):
        rounds(updates(range(7)), 0)
    assert rounds(updates(range(6)), 1).survivors == tuple(range(6))


def test_an_ideal_round_names_who_has_no_weight() -> None:
    with pytest.raises(WrongUpdate, match="client 5 has none"):
        IdealRounds(PLAN, seed=0, weights=dict.fromkeys(range(5), 1))(updates(), 0)
