"""Goals are judged by rows that were measured, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.goals import GOALS
from benchmarks.rows import Row
from benchmarks.scoreboard import Cell, Goal, Wanted, ratio, scoreboard, times
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
