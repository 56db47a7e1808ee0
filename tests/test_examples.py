"""The examples run as they are, and do what they say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dp import Budget, BudgetExceeded, Ledger
from protocols import DurableClient, RoundPlan, Server, secure_mean
from protocols.errors import MissingExtra, TooFewClients, TooFewMembers

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


def test_the_nvflare_job_misses_its_data_before_any_keys_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match="report"):
        load("nvflare_job").main(tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.fixture
def processes() -> ModuleType:
    return load("processes")


def charges(path: Path) -> list[tuple[str, dict[str, Any]]]:
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        return [(str(entry.kind), json.loads(entry.body)) for entry in ledger.entries()][2:]


def test_the_processes_give_the_mean_of_all_clients_though_one_of_them_keeps_dying(
    processes: ModuleType, tmp_path: Path
) -> None:
    mean = processes.main(tmp_path)
    # Shares for four make noise of 1 * sqrt(6 / 4) in the sum of six; seven deviations are met once in 10^11 runs.
    assert np.abs(mean - np.mean([0.1 * who for who in range(6)])).max() < 7 * 1.5**0.5 / 6


def test_the_processes_charge_what_secure_mean_charges_for_the_same_plan(
    processes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    class Watched(Server):
        def __init__(self, plan: RoundPlan, *rest: Any) -> None:
            plans.append(plan)
            super().__init__(plan, *rest)

    monkeypatch.setattr(processes, "Server", Watched)
    processes.main(tmp_path)
    with Ledger.open(tmp_path / "again", Budget(epsilon=8, delta=1e-5, relation="zero-out")) as ledger:
        secure_mean({who: [np.full(3, 0.1 * who)] for who in range(6)}, plans[0], round=0, ledger=ledger)
    (_, reserved), (_, committed) = charges(tmp_path / "run.ledger")
    (reserve, theirs), (commit, released) = charges(tmp_path / "again")
    assert [kind for kind, _ in charges(tmp_path / "run.ledger")] == [reserve, commit] == ["RESERVE", "COMMIT"]
    # Nonce, clock, digest and the root over salted names are of one round; everything that decides the cost is equal.
    for one, other in ((reserved["charge"], theirs["charge"]), (committed, released)):
        assert set(one) == set(other)
        differ = {name for name in one if one[name] != other[name]}
        assert differ <= {"context", "digest", "named", "clock"}
    assert reserved["budgets"] == theirs["budgets"]


@pytest.mark.parametrize(("letters", "end"), [(1, "ABORT"), (2, "ABORT"), (3, "ABORT"), (4, "SETTLE")])
def test_a_lost_round_of_processes_is_given_back_only_before_anybody_was_asked_to_open_it(
    letters: int, end: str, processes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quiet(DurableClient):
        """Vanishes after so many letters."""

        said = 0

        def receive(self, data: Any) -> list[Any]:
            return self._heard(super().receive(data))

        def submit(self, *args: Any, **named: Any) -> list[Any]:
            return self._heard(super().submit(*args, **named))

        def _heard(self, frames: list[Any]) -> list[Any]:
            self.said += bool(frames)
            return frames if self.said <= letters else []

    monkeypatch.setattr(processes, "DurableClient", Quiet)
    with pytest.raises(TooFewClients):
        processes.main(tmp_path)
    assert [kind for kind, _ in charges(tmp_path / "run.ledger")] == ["RESERVE", end]


def test_a_spent_budget_stops_the_processes_before_an_invitation_leaves(
    processes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    monkeypatch.setattr(DurableClient, "receive", lambda *_: heard.append(1))
    monkeypatch.setattr(processes, "Budget", lambda **named: Budget(**{**named, "epsilon": 1}))
    with pytest.raises(BudgetExceeded):
        processes.main(tmp_path)
    assert (heard, charges(tmp_path / "run.ledger")) == ([], [])


def test_the_encrypted_example_opens_the_mean_though_a_holder_dies_and_another_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = load("encrypted").main(tmp_path)
    # Rounding alone: one step of the lattice, 2^-15 of the clip.
    assert np.abs(mean - np.mean([0.1 * who for who in range(6)])).max() < 2.0**-15
    assert capsys.readouterr().out == "the sum of 6 clients was opened by 4 of 5 holders\n"


def test_three_hospitals_learn_though_one_is_away_and_keep_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")
    accuracy = load("hospitals").main(tmp_path)
    # Three of five measurements are benign: that much is right without learning anything.
    assert accuracy > 0.85
    said = capsys.readouterr().out
    assert "any 2 of 3 hospitals open a sum" in said
    assert (said.count("9 departments, nobody away"), said.count("6 departments, west away")) == (3, 2)
    assert "6 departments, north away" in said
    assert "0 parts of the key are left" in said


def test_with_two_of_three_hospitals_away_no_sum_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")
    hospitals = load("hospitals")
    heard = hospitals.Hospital.hear
    # They upload, and then their holders are silent: one part of the key opens nothing.
    silent = {hospitals.HOLDERS["south"], hospitals.HOLDERS["west"]}
    asked: list[int] = []

    def hear(self: Any, who: int, data: bytes, weights: np.ndarray) -> list[bytes]:
        asked.append(who)
        ceremony_is_over = set(hospitals.CLIENTS) & set(asked)
        return [] if who in silent and ceremony_is_over else heard(self, who, data, weights)

    monkeypatch.setattr(hospitals.Hospital, "hear", hear)
    with pytest.raises(TooFewMembers):
        hospitals.main(tmp_path)


def test_the_one_shot_example_opens_the_mean_though_clients_and_members_vanish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = load("one_shot").main(tmp_path)
    assert np.abs(mean - np.mean([0.1 * who for who in (0, 2, 3, 5)])).max() < 2.0**-15
    assert capsys.readouterr().out == "the sum of 4 of 6 clients was opened by 7 of 8 members\n"


def cells_of(name: str) -> list[str]:
    """The code of a notebook, cell by cell; what it showed last is not kept."""
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    return ["".join(cell["source"]) for cell in cells]


def test_the_notebook_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, source in enumerate(cells_of("session")):
        exec(compile(source, f"session.ipynb, cell {number}", "exec"), names)
    assert names["accuracy"] > 0.7
    assert names["rounds"] > 4
    said = capsys.readouterr().out
    assert "round 4: epsilon" in said
    assert "nothing was written" in said


def test_a_torch_module_learns_through_secure_rounds_and_goes_on_where_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="extra 'torch' is not installed")
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")
    example = load("torch_loop")
    accuracy = example.main(tmp_path)
    assert accuracy > 0.7
    assert capsys.readouterr().out.count("kept ('1.num_batches_tracked',)") == example.ROUNDS
    assert example.main(tmp_path) == accuracy
    assert "round" not in capsys.readouterr().out
