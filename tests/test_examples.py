"""The examples run as they are, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dp import Ledger

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_loop_learns_and_charges_every_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = load("loop").main(tmp_path)
    assert model.shape == (5,)
    assert capsys.readouterr().out.count("survivors") == 3
    with Ledger.read(tmp_path / "run.ledger") as ledger:
        assert sum(entry.kind == "COMMIT" for entry in ledger.entries()) == 3


def test_the_private_loop_learns_within_its_budget_and_goes_on_where_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load("private")
    accuracy = example.main(tmp_path)
    # Three of five measurements are benign: that much is right without learning anything. Noise is never the same.
    assert accuracy > 0.7
    with Ledger.read(tmp_path / "run.ledger") as ledger:
        assert 3.99 < ledger.interval().upper <= 4
        assert sum(entry.kind == "COMMIT" for entry in ledger.entries()) == example.ROUNDS
        head = ledger.head()
    assert capsys.readouterr().out.count("survivors, epsilon") == example.ROUNDS
    assert example.main(tmp_path) == accuracy
    assert "nothing was sent" in capsys.readouterr().out
    with Ledger.read(tmp_path / "run.ledger") as ledger:
        assert ledger.head() == head


def test_the_processes_give_the_mean_of_all_clients_though_one_of_them_keeps_dying(tmp_path: Path) -> None:
    mean = load("processes").main(tmp_path)
    assert np.allclose(mean, np.mean([0.1 * who for who in range(6)]), rtol=0, atol=2**-15)
