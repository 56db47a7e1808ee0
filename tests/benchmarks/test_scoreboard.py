"""Goals are judged by rows that were measured, and by nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.goals import GOALS
from benchmarks.rows import Row, Taken
from benchmarks.runs import RUNS, Asked
from benchmarks.scoreboard import Cell, Goal, Wanted, ratio, scoreboard, times
from benchmarks.suites.accounting import above_its_law, below_the_losses
from tests.benchmarks.kit import ATTACK, row

GOAL = Goal("seconds", "Flower", ">= 6 times less", (Wanted("clients", "3 masks*", "Flower*"),), ratio, 1 / 6, times)


def measured(ours: float, peer: float, case: str = "3 masks, all", name: str = "Flower 1.41.0") -> Row:
    return row("clients", case, ours, peer, name)


@pytest.mark.parametrize(("ours", "passed"), [(1.0, True), (1.01, False), (float("nan"), False)])
def test_a_goal_is_passed_at_its_limit_and_missed_beyond_it(ours: float, passed: bool) -> None:
    cell = GOAL.cell([measured(ours, 6.0)])
    assert (cell.passed, cell.verdict) == (passed, "passed" if passed else "MISSED")


def test_why_a_goal_is_missed_is_said_where_it_is_missed_alone() -> None:
    goal = replace(GOAL, known="what does not grow is most of it")
    assert [goal.cell([measured(ours, 6.0)]).why for ours in (1.0, 1.01)] == ["", goal.known]


def test_the_worst_of_several_rows_is_judged() -> None:
    cell = GOAL.cell([measured(1.0, 60.0), measured(1.0, 2.0)])
    assert (cell.measured, cell.passed) == ("2 times less", False)


@pytest.mark.parametrize("place", [0, 1])
def test_a_figure_that_is_no_number_is_not_passed_over_among_others(place: int) -> None:
    rows = [measured(1.0, 60.0)]
    rows.insert(place, measured(1.0, 0.0))
    assert GOAL.cell(rows).passed is False


def test_a_goal_is_missed_by_a_wrong_answer_however_fast() -> None:
    cell = GOAL.cell([replace(measured(1.0, 60.0), ours_error=0.2, error_limit=0.1)])
    assert (cell.measured, cell.passed) == ("60 times less", False)
    assert cell.why == "our answer is wrong: 3 masks, all"


@pytest.mark.parametrize(
    ("errors", "passed"), [((2.0, 2.0), True), ((2.0, 3.0), False), ((2.0, float("nan")), False), ((0.0, 0.0), False)]
)
def test_errors_are_equal_only_where_both_are_numbers(errors: tuple[float, float], passed: bool) -> None:
    (goal,) = (goal for goal in GOALS if goal.against == "itself")
    rows = [row("rounding", wanted.case, error) for wanted, error in zip(goal.wanted, errors, strict=True)]
    assert goal.cell(rows).passed is passed


@pytest.mark.parametrize(
    ("ours", "above"), [(1.5, 0.5), (0.5, 0.0), (float("nan"), math.inf), (math.inf, math.inf), (-math.inf, math.inf)]
)
def test_an_epsilon_that_is_no_number_is_far_above_every_peer(ours: float, above: float) -> None:
    assert Asked(RUNS[0], Taken.once(1.0), Taken.once(1.0), ours, 1.0).above == above


@pytest.mark.parametrize(
    ("ours", "error"),
    [(1.0, 0.0), (1 - 5e-6, 0.0), (1.2, 0.2), (0.8, 0.2), (0.0, 1.0), (float("nan"), math.inf)],
)
def test_an_epsilon_far_below_the_peers_law_is_as_wrong_as_one_above(
    ours: float, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.peers.dp_accounting.pld_epsilon_of_its_law", lambda *told: 1.0)
    found = above_its_law(Asked(RUNS[0], Taken.once(1.0), Taken.once(1.0), ours, 1.0))
    assert found == pytest.approx(error)


@pytest.mark.parametrize(
    ("ours", "error"), [(1.1, 0.0), (1.0, 0.0), (0.9, 0.1), (0.0, 1.0), (float("nan"), math.inf), (math.inf, math.inf)]
)
def test_a_renyi_bound_below_what_it_bounds_is_wrong(
    ours: float, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.suites.accounting.epsilon_by_losses", lambda run: 1.0)
    found = below_the_losses(Asked(RUNS[0], Taken.once(1.0), Taken.once(1.0), ours, 1.2))
    assert found == pytest.approx(error)


@pytest.mark.parametrize(
    "other",
    [
        measured(1, 9, case="11 masks, all"),
        measured(1, 9, name="NVFlare"),
        row("servers", "3 masks, all", peer_name="Flower"),
    ],
)
def test_a_missing_row_is_not_measured_and_never_guessed(other: Row) -> None:
    cell = GOAL.cell([other])
    assert (cell.passed, cell.verdict, cell.measured) == (None, "not measured", "not measured")
    assert cell.why == "there is no row clients: 3 masks*, beside Flower*"


def test_without_rows_every_goal_is_not_measured_and_says_why() -> None:
    cells = scoreboard([], [])
    assert len(cells) == len(GOALS) + 1
    assert all(cell.passed is None and cell.why for cell in cells)


@pytest.mark.parametrize(("fell", "measured"), [(0, "0 of 2"), (1, "1 of 2")])
def test_attacks_that_succeed_are_counted_and_named(fell: int, measured: str) -> None:
    verdicts = [{**ATTACK, "case": f"a{number}", "passed": number >= fell} for number in range(2)]
    cell = scoreboard([], verdicts)[-1]
    assert (cell.measured, cell.passed, cell.why) == (measured, fell == 0, "a0" if fell else "")


def test_an_attack_counts_once_however_many_peers_it_is_played_against() -> None:
    verdicts = [{**ATTACK, "peer_name": peer, "passed": False} for peer in ("Flower", "NVFlare")]
    assert scoreboard([], verdicts)[-1].measured == "1 of 1"


def test_a_cell_is_what_is_stored() -> None:
    cell = Cell("row", "peer", "1x", "<= 2x", True)
    assert Cell(**cell.to_dict()) == cell


def test_the_whole_encrypted_round_is_every_client_every_addition_and_one_opening() -> None:
    (goal,) = (goal for goal in GOALS if "total time" in goal.row)
    cases = [wanted.case.replace("*", "") for wanted in goal.wanted]
    rows = [
        row("ckks", case, ours, peer, "TenSEAL, public")
        for case, ours, peer in zip(cases, (1.0, 2.0, 30.0), (10.0, 20.0, 300.0), strict=True)
    ]
    assert goal.cell(rows).measured == "10 times less"
    assert goal.figure([*rows[:2], rows[1], rows[2]]) == pytest.approx(0.1)
