"""A loop of one's own through secure rounds: the mean moves the model, buffers stay, the budget holds."""

from __future__ import annotations

import stat
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp import Budget, BudgetExceeded, Ledger
from dp.errors import Locked
from protocols.errors import Misused, TooFewClients, WrongUpdate
from protocols.learning import FedAvg, FedAvgM, Local, Session
from protocols.plan import RoundPlan
from protocols.private import CohortIncomplete
from secagg.errors import BadParameters, NonFinite

PLAN = RoundPlan.recommend(4, dropout=0.2, corrupt=0, clip=4, max_weight=100, task="session")
NOISY = RoundPlan.recommend(4, dropout=0.2, corrupt=0, clip=1, noise_multiplier=4, task="noisy")
BUDGET = Budget(3, Fraction(1, 10**5), "zero-out")
CLIENTS = range(4)
STEP = PLAN.encoding.step


def model() -> dict[str, Any]:
    return {"w": np.ones((2, 2), np.float32), "b": np.zeros(2), "seen": np.array(5)}


def updates(scale: float = 0.1) -> dict[int, dict[str, Any]]:
    return {who: {"w": np.full((2, 2), scale * who, np.float32), "b": np.full(2, -scale)} for who in CLIENTS}


def exhaust(session: Session) -> None:
    while True:
        session.round({who: [np.zeros(3)] for who in CLIENTS})


def test_the_mean_moves_the_model_and_integers_stay(tmp_path: Path) -> None:
    with Session(model(), PLAN, CLIENTS, tmp_path) as session:
        report = session.round(updates())
        assert report.kept == ("seen",)
        assert report.survivors == tuple(CLIENTS)
        assert session.rounds == 1
    assert np.allclose(session.model["w"], 1.15, rtol=0, atol=STEP)
    assert np.allclose(session.model["b"], -0.1, rtol=0, atol=STEP)
    assert session.model["seen"] == 5
    assert [session.model[name].dtype for name in session.model] == [np.float32, np.float64, np.int64]


def test_a_list_of_arrays_is_a_model_too(tmp_path: Path) -> None:
    with Session([np.zeros(3)], PLAN, CLIENTS, tmp_path) as session:
        session.round({who: [np.full(3, 0.5)] for who in CLIENTS})
    assert np.allclose(session.model[0], 0.5, rtol=0, atol=STEP)


def test_the_servers_rule_is_the_callers_and_its_state_is_kept(tmp_path: Path) -> None:
    def session() -> Session:
        return Session([np.zeros(3)], PLAN, CLIENTS, tmp_path, strategy=FedAvgM(Local(1.0), momentum=0.5))

    for _ in range(3):
        with session() as here:
            here.round({who: [np.full(3, 0.5)] for who in CLIENTS})
    # v = 0.5, 0.75, 0.875
    assert np.allclose(here.model[0], 2.125, rtol=0, atol=6 * STEP)


def test_weights_are_the_clients_integers(tmp_path: Path) -> None:
    with Session([np.zeros(1)], PLAN, CLIENTS, tmp_path, weights={0: 97, 1: 1, 2: 1, 3: 1}) as session:
        session.round({who: [np.full(1, float(who == 0))] for who in CLIENTS})
    assert np.allclose(session.model[0], 0.97, rtol=0, atol=STEP)


def test_running_statistics_may_stay_with_the_server(tmp_path: Path) -> None:
    state = {"bn.weight": np.ones(2), "bn.running_mean": np.full(2, 3.0)}
    with Session(state, PLAN, CLIENTS, tmp_path, keep="*.running_*") as session:
        report = session.round({who: {"bn.weight": np.ones(2)} for who in CLIENTS})
    assert report.kept == ("bn.running_mean",)
    assert session.model["bn.running_mean"].tolist() == [3.0, 3.0]


def test_the_strict_refuse_integers(tmp_path: Path) -> None:
    with pytest.raises(WrongUpdate, match="array 'seen' is int64"):
        Session(model(), PLAN, CLIENTS, tmp_path, integers="refuse")


def test_the_budget_ends_the_session_and_the_model_stays(tmp_path: Path) -> None:
    with Session([np.zeros(3)], NOISY, CLIENTS, tmp_path, budget=BUDGET) as session:
        report = session.round({who: [np.zeros(3)] for who in CLIENTS})
        assert report.epsilon is not None
        assert 0 < report.epsilon.upper <= 3
        with pytest.raises(BudgetExceeded):
            exhaust(session)
        rounds, last = session.rounds, session.model[0]
        assert rounds >= 1
    with Session([np.zeros(3)], NOISY, CLIENTS, tmp_path, budget=BUDGET) as again:
        assert again.rounds == rounds
        assert np.array_equal(again.model[0], last)
        with pytest.raises(BudgetExceeded):
            again.round({who: [np.zeros(3)] for who in CLIENTS})


def test_a_lost_round_leaves_the_model_and_the_next_one_has_another_number(tmp_path: Path) -> None:
    with Session([np.zeros(3)], NOISY, CLIENTS, tmp_path, budget=BUDGET) as session:
        with pytest.raises(CohortIncomplete):
            session.round({0: [np.zeros(3)]})
        assert session.rounds == 0
        assert not session.model[0].any()
        session.round({who: [np.zeros(3)] for who in CLIENTS})
        assert session.rounds == 1


def test_a_wrong_update_names_its_client_and_costs_nothing(tmp_path: Path) -> None:
    with Session([np.zeros(3)], NOISY, CLIENTS, tmp_path, budget=BUDGET) as session:
        wrong = {who: [np.zeros(3 if who else 1)] for who in CLIENTS}
        with pytest.raises(WrongUpdate, match=r"client 0: array '0': expected float64 of shape \(3,\)"):
            session.round(wrong)
        assert session.ledger is not None
        assert session.ledger.interval().upper == 0


@pytest.mark.parametrize(("plan", "budget"), [(PLAN, BUDGET), (NOISY, None)], ids=["no noise", "no budget"])
def test_noise_and_budget_belong_together(plan: RoundPlan, budget: Budget | None, tmp_path: Path) -> None:
    with pytest.raises(Misused, match="give both noise_multiplier and budget, or neither"):
        Session([np.zeros(3)], plan, CLIENTS, tmp_path, budget=budget)


def test_a_folder_of_another_model_or_rule_is_refused_and_left_unlocked(tmp_path: Path) -> None:
    with Session([np.zeros(3)], PLAN, CLIENTS, tmp_path) as session:
        session.round({who: [np.zeros(3)] for who in CLIENTS})
        with pytest.raises(Locked):
            Session([np.zeros(3)], PLAN, CLIENTS, tmp_path)
    for other in ({"model": [np.zeros(4)]}, {"strategy": FedAvg(Local(1.0), rate=0.5)}):
        arguments: dict[str, Any] = {"model": [np.zeros(3)], **other}
        with pytest.raises(Misused, match="belongs to a run with other settings"):
            Session(plan=PLAN, clients=CLIENTS, folder=tmp_path, **arguments)
    with Session([np.zeros(3)], PLAN, CLIENTS, tmp_path) as session:
        assert session.rounds == 1


def test_only_what_differs_is_named(tmp_path: Path) -> None:
    with Session([np.zeros(3)], PLAN, CLIENTS, tmp_path) as session:
        session.round({who: [np.zeros(3)] for who in CLIENTS})
    with pytest.raises(Misused) as refused:
        Session([np.zeros(3)], replace(PLAN, task="another"), CLIENTS, tmp_path)
    assert "than RoundPlan(task='another'), it has RoundPlan(task='session'): name another folder" in str(refused.value)


def test_folders_above_that_are_missing_are_made(tmp_path: Path) -> None:
    with Session([np.zeros(3)], PLAN, CLIENTS, tmp_path / "runs" / "one") as session:
        session.round({who: [np.zeros(3)] for who in CLIENTS})
    assert stat.S_IMODE((tmp_path / "runs" / "one").stat().st_mode) == 0o700


@pytest.mark.parametrize(("strategy", "shown"), [(FedAvgM, "FedAvgM"), ("FedAvgM", "'FedAvgM'")])
def test_a_strategy_that_is_no_object_of_a_rule_is_refused(strategy: Any, shown: str, tmp_path: Path) -> None:
    with pytest.raises(Misused, match=rf"strategy is {shown}, expected an object with start, step: FedAdam"):
        Session([np.zeros(3)], PLAN, CLIENTS, tmp_path, strategy=strategy)


def test_a_session_is_lost_with_too_many_drop_outs_by_name(tmp_path: Path) -> None:
    from protocols.simulate import Exchange, Fate, FaultPlan, Lost

    def all_go(clients: Any, number: int) -> FaultPlan:
        return FaultPlan(dict.fromkeys(clients, Fate(Exchange.SHARES, Lost.REQUEST)))

    with Session([np.zeros(3)], NOISY, CLIENTS, tmp_path, budget=BUDGET, faults=all_go) as session:
        with pytest.raises(TooFewClients):
            session.round({who: [np.zeros(3)] for who in CLIENTS})
        assert session.ledger is not None
        # Nobody was asked to open a sum: the charge was given back.
        assert session.ledger.interval().upper == 0


def test_every_dtype_of_a_torch_model_comes_back_as_it_was(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="extra 'torch' is not installed")
    table = torch.ones(3, 2)
    state = {
        "in.weight": table,
        "out.weight": table,
        "half": torch.ones(2, dtype=torch.float16),
        "brain": torch.ones(2, dtype=torch.bfloat16),
        "double": torch.ones((), dtype=torch.float64),
        "mask": torch.tensor([True, False]),
        "steps": torch.tensor(7),
    }
    change = {name: torch.full_like(tensor, 0.5) for name, tensor in state.items() if tensor.is_floating_point()}
    with Session(state, PLAN, CLIENTS, tmp_path) as session:
        report = session.round(dict.fromkeys(CLIENTS, change))
        moved = session.model
    assert report.kept == ("mask", "steps")
    assert session.layout.length == 6 + 2 + 2 + 1
    assert {name: tensor.dtype for name, tensor in moved.items()} == {n: t.dtype for n, t in state.items()}
    for name in change:
        assert torch.allclose(moved[name].double(), torch.tensor(1.5).double(), rtol=0, atol=2 * STEP), name
    assert moved["in.weight"] is moved["out.weight"]
    assert torch.equal(moved["mask"], state["mask"])
    with Session(state, PLAN, CLIENTS, tmp_path) as again:
        assert all(torch.equal(again.model[name], moved[name]) for name in state)


@pytest.mark.parametrize("plan", [PLAN, NOISY], ids=["plain", "noisy"])
def test_an_update_that_no_client_can_send_costs_no_round(tmp_path: Path, plan: RoundPlan) -> None:
    good = {who: [np.full(3, 0.1)] for who in CLIENTS}
    with Session([np.zeros(3)], plan, CLIENTS, tmp_path, budget=BUDGET if plan is NOISY else None) as session:
        with pytest.raises(NonFinite, match=r"client 2: nothing was sent"):
            session.round({**good, 2: [np.array([0, np.nan, 0])]})
        session.round(good)
        assert session.ledger is None or len(session.ledger.charges()) == 1
    assert session.rounds == 1


@pytest.mark.parametrize("weight", [0, 101, 1.5, 10**30])
def test_a_weight_that_no_client_can_have_costs_no_round(tmp_path: Path, weight: Any) -> None:
    weights = {0: 1, 1: 1, 2: weight, 3: 1}
    with Session([np.zeros(3)], PLAN, CLIENTS, tmp_path, weights=weights) as session:
        with pytest.raises(BadParameters, match="client 2: weight is 1 to 100"):
            session.round({who: [np.full(3, 0.1)] for who in CLIENTS})
        weights[2] = 1
        session.round({who: [np.full(3, 0.1)] for who in CLIENTS})
    assert session.rounds == 1


class Nameless(FedAvg):
    """A rule of one's own that says nothing of its settings."""

    __repr__ = object.__repr__


def test_a_rule_that_no_second_process_could_name_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Misused, match=r"Nameless object .* does not say what its settings are"):
        Session([np.zeros(3)], PLAN, CLIENTS, tmp_path, strategy=Nameless(Local(1.0)))


def test_a_mean_that_would_leave_the_models_dtype_does_not_end_the_run(tmp_path: Path) -> None:
    plan = RoundPlan.recommend(4, dropout=0.2, corrupt=0, clip=2000)
    full = [np.full(2, 65_000, np.float16)]
    with Session(full, plan, CLIENTS, tmp_path) as session:
        with pytest.raises(WrongUpdate, match="does not fit its dtype float16"):
            session.round({who: [np.full(2, 1000, np.float16)] for who in CLIENTS})
        session.round({who: [np.full(2, -1000, np.float16)] for who in CLIENTS})
    assert session.rounds == 1
    assert session.model[0].tolist() == [64_000, 64_000]
    with Session(full, plan, CLIENTS, tmp_path) as session:
        assert session.rounds == 1


def test_a_charge_that_could_not_be_written_to_its_end_is_settled_by_opening_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    good = {who: [np.full(3, 0.1)] for who in CLIENTS}
    with Session([np.zeros(3)], NOISY, CLIENTS, tmp_path, budget=BUDGET) as session:
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "commit", full)
            with pytest.raises(OSError, match="no space"):
                session.round(good)
        with pytest.raises(Misused, match="open them again"):
            session.round(good)
    with Session([np.zeros(3)], NOISY, CLIENTS, tmp_path, budget=BUDGET) as session:
        assert session.rounds == 1
        assert session.ledger is not None
        assert len(session.ledger.charges()) == 1
