"""When a run ends: each rule on its own, over what is public."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp import Ledger
from protocols.errors import Misused
from protocols.learning import (
    Attempts,
    BudgetSpent,
    Converged,
    Federation,
    FedSGD,
    FixedGroups,
    Progress,
    Quantity,
    Rounds,
    UniformCohort,
    softmax_regression,
)
from tests.dp.ledger_kit import EVENT, budget_for, charge, outcome
from tests.protocols.learning.test_loop import toy


def progress(attempts: int, rounds: int) -> Progress:
    return Progress(attempts, (1.0,) * (rounds + 1), (0.5,) * rounds)


def test_rounds_count_what_gave_a_mean_and_attempts_count_everything() -> None:
    assert not Rounds(3).reached(progress(5, 2))
    assert Rounds(3).reached(progress(5, 3))
    assert not Attempts(5).reached(progress(4, 4))
    assert Attempts(5).reached(progress(5, 0))


def test_every_rule_says_in_words_why_it_ended_the_run(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", budget_for(1)) as ledger:
        rules = [Rounds(3), Attempts(4), Converged(2, 0.1), Converged(2, 0.1, Quantity.UPDATE_NORM)]
        assert [str(rule) for rule in [*rules, BudgetSpent(ledger, EVENT)]] == [
            "all 3 rounds are done",
            "all 4 attempts are used up",
            "the loss has settled for 2 rounds",
            "the norm of the mean update has settled for 2 rounds",
            "the privacy budget is spent",
        ]


@pytest.mark.parametrize("rule", [Rounds, Attempts])
def test_a_run_of_no_rounds_is_refused(rule: type[Rounds] | type[Attempts]) -> None:
    with pytest.raises(Misused, match="is 0, it must be an integer of at least 1"):
        rule(0)


# Settled


@pytest.mark.parametrize(
    ("losses", "settled"),
    [
        ([], False),
        ([1.0], False),
        ([1.0, 1.0], False),
        ([1.0, 1.0, 1.0], True),
        ([1.0, 0.95, 0.91], True),
        ([1.0, 0.8, 0.6], False),
        ([1.0, 2.0, 0.8, 0.8], False),
        ([1.0, 2.0, 0.8, 0.8, 3.0], True),
    ],
)
def test_settled_means_no_fall_below_the_best_for_two_rounds(losses: list[float], settled: bool) -> None:
    assert Converged(patience=2, tolerance=0.1).settled(losses) is settled
    assert Converged(patience=2, tolerance=0.1).reached(Progress(len(losses), tuple(losses))) is settled


def test_the_norm_of_the_update_may_be_what_settles() -> None:
    rule = Converged(2, 0.1, Quantity.UPDATE_NORM)
    assert rule.reached(Progress(3, (3.0, 2.0, 1.0, 0.5), (0.7, 0.7, 0.7)))
    assert not rule.reached(Progress(3, (1.0, 1.0, 1.0, 1.0), (0.7, 0.5, 0.3)))


def test_a_slow_steady_fall_below_the_tolerance_is_settled() -> None:
    assert Converged(3, 0.1).settled([1.0 - 0.01 * step for step in range(6)])


@given(st.lists(st.floats(0, 5), max_size=12), st.integers(1, 5))
def test_a_longer_patience_never_stops_earlier(losses: list[float], patience: int) -> None:
    if Converged(patience + 1, 0.1).settled(losses):
        assert Converged(patience, 0.1).settled(losses)


@pytest.mark.parametrize(
    ("patience", "tolerance", "words"),
    [(0, 0.1, "patience is 0"), (1, -0.1, r"tolerance is -0\.1"), (1, float("nan"), "tolerance is nan")],
)
def test_a_convergence_rule_outside_its_range_is_refused(patience: int, tolerance: float, words: str) -> None:
    with pytest.raises(Misused, match=words):
        Converged(patience, tolerance)


# The budget


def test_the_budget_is_spent_exactly_when_the_ledger_would_refuse(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", budget_for(3)) as ledger:
        rule = BudgetSpent(ledger, EVENT)
        for number in range(3):
            assert not rule.reached(Progress())
            ledger.commit(ledger.reserve(charge(number)), outcome())
        head = ledger.head()
        assert rule.reached(Progress())
        assert ledger.head() == head


def test_a_closed_budget_is_spent(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", budget_for(3)) as ledger:
        ledger.close_budget("enough")
        assert BudgetSpent(ledger, EVENT).reached(Progress())


@pytest.mark.parametrize("count", [float("nan"), 2.5, True, "3"])
@pytest.mark.parametrize(
    "make",
    [
        Rounds,
        Attempts,
        lambda count: Converged(count, 0.1),
        UniformCohort,
        FixedGroups,
        lambda count: Federation(softmax_regression(2, 3), FedSGD(0.1), toy(), (Rounds(1),), max_lost_rounds=count),
    ],
    ids=["rounds", "attempts", "patience", "cohort", "groups", "lost"],
)
def test_a_count_that_is_no_integer_is_refused_before_a_run_never_ends(make: Any, count: Any) -> None:
    with pytest.raises(Misused):
        make(count)
