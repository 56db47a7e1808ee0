"""What the holder of the key writes against the rules of spending: well linked, well signed, and found."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dp.errors import BadParameters
from dp.events import Event, FixedSize, GaussianEvent, NonPrivate, Sampled
from dp.ledger import Ledger, Setting
from dp.ledger.chain import Kind
from dp.ledger.verdict import examine
from tests.dp.ledger_kit import EVENT, WIDE, budget_for, charge, outcome, write_rounds
from tests.dp.test_ledger_damage import Forger

COARSER = GaussianEvent(sigma2=100, l2_squared=100, d=10, components=1, draws=10)
FINER = replace(EVENT, sigma2=50_000)


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    path = tmp_path / "run.ledger"
    write_rounds(path, 1, budget_for(2))
    return Forger(path)


def commits(forger: Forger, released: Event, survivors: int = 38) -> Forger:
    """The forger ends the open reservation at entry 4 with this outcome."""
    return forger.says(Kind.COMMIT, {"reserve": 4, "clock": 0, **outcome(released, survivors).to_body()})


def found(forger: Forger) -> list[tuple[int | None, str]]:
    return [(each.line, each.error) for each in examine(forger.entries).problems]


# --- outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("released", [NonPrivate(), COARSER], ids=["exact", "less noise"])
def test_an_outcome_that_costs_more_than_was_charged_is_found_at_its_line(forger: Forger, released: Event) -> None:
    commits(forger.reserves(1), released).says(Kind.NOTE, {"text": "read to the end", "clock": 0})
    verdict = examine(forger.entries)
    assert [(each.line, each.error) for each in verdict.problems] == [(5, "Corrupt")]
    assert "the outcome alone costs epsilon" in verdict.problems[0].message
    assert verdict.entries == 7


def test_an_outcome_that_costs_less_is_what_a_worst_case_is_for(forger: Forger) -> None:
    assert found(commits(forger.reserves(1), FINER)) == []


def test_an_outcome_nobody_can_judge_is_unverifiable(tmp_path: Path) -> None:
    write_rounds(tmp_path / "run.ledger", 0, budget_for(1))
    forger = Forger(tmp_path / "run.ledger")
    seen_by_readers = {**forger.entries.pop().fields, "view": "released"}
    released = Sampled(EVENT, FixedSize(1, 2))
    forger.says(Kind.OPEN_BUDGET, seen_by_readers).reserves(0)
    forger.says(Kind.COMMIT, {"reserve": 2, "clock": 0, **outcome(released).to_body()})
    assert found(forger) == [(3, "Unverifiable")]


PLANNED = Setting(Fraction(1), Fraction(10), modulus_bits=32, min_survivors=30, colluders=0, layers=1)


def test_fewer_survivors_than_the_noise_was_planned_for_are_refused_by_the_writer(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        held = ledger.reserve(charge(0, setting=PLANNED))
        for survivors in (0, 29, 41):
            with pytest.raises(BadParameters, match=f"{survivors} survivors of a cohort of 40, of whom at least 30"):
                ledger.commit(held, outcome(survivors=survivors))
        ledger.commit(held, outcome(survivors=30))
        assert ledger.verify().ok


@pytest.mark.parametrize(("survivors", "error"), [(30, []), (29, [(5, "Corrupt")])])
def test_fewer_survivors_than_the_noise_was_planned_for_are_corrupt(
    forger: Forger, survivors: int, error: list[tuple[int, str]]
) -> None:
    forger.reserves(1, charge=charge(1, setting=PLANNED).to_body())
    assert found(commits(forger, EVENT, survivors)) == error
