"""Every check against this library, through its own endpoints; and twins that show that ours could fall."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.matrix import ours_privacy
from benchmarks.matrix.checks import BY_ID
from benchmarks.matrix.finding import Outcome
from benchmarks.matrix.ours import TARGET
from benchmarks.matrix.ours_stage import Stage
from dp.entropy import Entropy
from dp.ledger import Ledger
from tests.matrix import weak

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("check", BY_ID)
def test_this_library_withstands(check: str) -> None:
    finding = TARGET.finding(check, TARGET.version())
    assert finding.outcome is Outcome.WITHSTOOD, finding.evidence
    assert finding.library == "secagg"


def test_nothing_of_ours_is_left_out() -> None:
    assert set(TARGET.probes) == set(BY_ID)
    assert TARGET.without == {}


def test_a_float_on_top_of_the_steps_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours_privacy, "noisy", weak.float_noise)
    assert TARGET.finding("D8", "0").fell


def test_a_stream_that_a_fork_repeats_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Entropy, "system", lambda label, context: Entropy.insecure(1, label, context))
    assert TARGET.finding("D9", "0").fell


def test_a_ledger_without_its_pin_that_was_written_anew_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that SECURITY.md states: who has the key can rewrite a history whose head nobody kept."""

    def rewritten(path: Path, first: int, last: int) -> None:
        for file in path.parent.iterdir():
            file.unlink()
        with Ledger.open(path, ours_privacy.BUDGET) as ledger:
            ours_privacy.spend(ledger, 1)

    monkeypatch.setattr(ours_privacy, "take_out", rewritten)
    answer = ours_privacy.less(5, 8, pinned=False)
    assert answer.fell
    assert "after the record was edited, 1.99" in answer.evidence


def test_rows_that_are_not_there_cannot_be_taken_out(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", ours_privacy.BUDGET):
        pass
    with pytest.raises(RuntimeError, match="no entry was taken out"):
        ours_privacy.take_out(tmp_path / "run.ledger", 5, 8)


def test_a_log_that_tells_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = Stage.upload

    def chatty(stage: Stage, who: int) -> bytes:
        logging.getLogger("chatty").info("values up to %s", float(stage.vectors[who].max()))
        return upload(stage, who)

    monkeypatch.setattr(Stage, "upload", chatty)
    assert TARGET.finding("N5", "0").fell


def test_a_server_that_takes_what_nobody_signed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "refusal_of", lambda stage, frame: "")
    for check in ("T2", "T3"):
        assert TARGET.finding(check, "0").fell


def test_a_sum_beside_the_sum_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Stage.finish

    def beside(stage: Stage) -> Any:
        mean = finish(stage)
        stage.submitted[0] = replace(stage.submitted[0], vector=stage.submitted[0].vector + 1)
        return mean

    monkeypatch.setattr(Stage, "finish", beside)
    assert TARGET.finding("T4", "0").fell
