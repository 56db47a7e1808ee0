"""The table of rules in the docs is what was measured last, and what was measured can be measured again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.learning import (
    CLIENTS,
    COMMAND,
    DOCS,
    GROUP,
    RESULT,
    ROUNDS,
    RULES,
    SEEDS,
    SPLITS,
    Row,
    measured,
    rows_of,
    secure_equals_ideal,
    table_of,
    verdict,
)
from benchmarks.pages import with_table


def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return found


def test_the_docs_show_the_stored_result() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert with_table(text, COMMAND, table_of(stored())) == text


def test_the_stored_result_is_of_the_present_setting() -> None:
    setting = stored()["setting"]
    assert (setting["clients"], setting["group"], setting["rounds"]) == (CLIENTS, GROUP, ROUNDS)
    assert setting["seeds"] == list(SEEDS)
    assert [(row.rule, row.split) for row in rows_of(stored())] == [(rule, split) for split in SPLITS for rule in RULES]


def test_the_run_with_masks_was_the_ideal_one() -> None:
    assert stored()["secure"]["equal"] is True


def test_where_clients_differ_no_rule_with_local_epochs_is_below_fedavg() -> None:
    rows = rows_of(stored())
    said = {row.rule: verdict(row, rows) for row in rows if row.split == "Dirichlet(0.1)"}
    assert said.pop("FedSGD(1.0)") == "below"
    assert said.pop("FedAvg") == ""
    assert said["FedProx(mu=0.01)"] == "matches"
    assert {said[rule] for rule in said if "Prox" not in rule} == {"beats"}


@pytest.mark.parametrize(
    ("accuracy", "said"), [(0.95, "beats"), (0.904, "matches"), (0.896, "matches"), (0.8, "below")]
)
def test_a_verdict_is_about_the_mean(accuracy: float, said: str) -> None:
    fedavg, other = Row("FedAvg", "IID", [1], [0.9]), Row("FedX", "IID", [1], [accuracy])
    assert verdict(other, [fedavg, other]) == said


def test_a_rule_that_never_reached_the_goal_has_no_number_of_rounds() -> None:
    rows = [Row("FedAvg", "IID", [3, None], [0.9, 0.8])]
    table = table_of(
        {"rows": [{"rule": r.rule, "split": r.split, "reached": r.reached, "accuracy": r.accuracy} for r in rows]}
    )
    assert "| not in all |" in table
    assert "| 0.850 | 0.800, 0.900 |" in table


def test_a_row_measured_again_is_the_stored_one() -> None:
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")
    (kept,) = (row for row in rows_of(stored()) if (row.rule, row.split) == ("FedSGD(1.0)", "IID"))
    # Sums of doubles are ordered as the machine likes: an image at the border may fall on the other side.
    assert measured("FedSGD(1.0)", "IID").accuracy == pytest.approx(kept.accuracy, abs=0.02)


def test_masks_change_no_bit_of_the_first_rounds() -> None:
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")
    assert secure_equals_ideal(rounds=2)
