"""The demo in small: what it leaves on disk, what it charges, and what happens when a round or the budget is lost."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import norm

from dp.accountant import Budget
from dp.errors import BadParameters, BudgetExceeded, Corrupt, RolledBack, StorageRefused
from dp.ledger import Ledger
from protocols.errors import BadPlan, MissingExtra, Misused
from protocols.learning import demo as module
from protocols.learning.demo import (
    BUDGET,
    Demo,
    DemoResult,
    DemoRound,
    DemoStart,
    SecureAggregation,
    federation_of,
    in_step,
    plan_of,
    run_demo,
    selected_of,
)
from protocols.learning.folders import load_model
from protocols.party import PartyId
from protocols.selftesting import require_sound_noise
from protocols.simulate import Encrypted, Exchange, Fate, FaultPlan, Lost
from secagg.ckks.cipher import Engine, Fft
from secagg.ckks.seal import SealEngine

CLIENTS, SELECTED, DROPOUT = 8, 7, 0.15


def small(folder: Path, **changes: object) -> Demo:
    base = Demo(
        protocol="pairwise",
        rounds=3,
        clients=CLIENTS,
        dropout=DROPOUT,
        private=True,
        iid=False,
        seed=0,
        folder=folder,
        ledger=None,
    )
    return dataclasses.replace(base, **changes)


def played(demo: Demo) -> tuple[list[DemoRound], DemoResult]:
    start, *rounds, result = run_demo(demo)
    assert isinstance(start, DemoStart)
    assert isinstance(result, DemoResult)
    assert all(isinstance(step, DemoRound) for step in rounds)
    return rounds, result  # type: ignore[return-value]


def said(path: Path) -> list[tuple[str, dict[str, object]]]:
    """Kinds and bodies of a ledger's entries that is sound."""
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        return [(str(entry.kind), json.loads(entry.body)) for entry in ledger.entries()]


def kinds(path: Path) -> list[str]:
    """Of what was charged and how it ended."""
    return [kind for kind, _ in said(path)[2:] if kind != "AUDIT"]


def lose(patch: pytest.MonkeyPatch, rounds: dict[int, Exchange | Encrypted]) -> None:
    """In these rounds, five of the seven invited clients do not answer at this exchange."""

    class Planned(FaultPlan):
        @classmethod
        def seeded(cls, clients: tuple[PartyId, ...], dropout: float, seed: int) -> FaultPlan:
            exchange = rounds.get(seed % 1_000_003)
            return FaultPlan({} if exchange is None else dict.fromkeys(clients[:5], Fate(exchange, Lost.REPLY)))

    patch.setattr(module, "FaultPlan", Planned)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demo, list[DemoRound], DemoResult]:
    demo = small(tmp_path_factory.mktemp("runs"))
    return demo, *played(demo)


# --- what it leaves on disk


def test_model_rounds_report_and_ledger_are_in_the_folder_of_the_run(
    run: tuple[Demo, list[DemoRound], DemoResult],
) -> None:
    demo, rounds, result = run
    folder = Path(result.folder)
    assert folder.parent == demo.folder
    assert {path.name for path in folder.iterdir()} == {
        "model.npz",
        "report.json",
        "rounds.jsonl",
        "run.ledger",
        "run.ledger.key",
        "run.pin",
    }
    lines = (folder / "rounds.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [dataclasses.asdict(step) for step in rounds]
    assert json.loads((folder / "report.json").read_text("utf-8")) == result.to_dict()


def test_the_stored_model_has_the_accuracy_that_is_reported(run: tuple[Demo, list[DemoRound], DemoResult]) -> None:
    demo, rounds, result = run
    federation = federation_of(demo)
    model = load_model(Path(result.folder) / "model.npz")
    assert federation.model.score(model, federation.data.public).accuracy == rounds[-1].accuracy == result.accuracy


def test_every_round_is_exact_and_loses_the_clients_of_its_plan(run: tuple[Demo, list[DemoRound], DemoResult]) -> None:
    demo, rounds, result = run
    assert selected_of(demo) == SELECTED
    assert result.exact
    for step in rounds:
        plan = FaultPlan.seeded(tuple(map(PartyId, range(SELECTED))), DROPOUT, step.round)
        lost = sum(fate.exchange <= Exchange.MASKED for fate in plan.fates.values())
        assert (step.exact, step.lost, step.survivors) == (True, None, SELECTED - lost)
    assert result.survivors == [step.survivors for step in rounds]
    assert result.bytes_up_per_client == sum(step.bytes_up_per_client for step in rounds)
    assert 0 < result.chi_square_p < 1


# --- what it charges


def test_the_ledger_holds_one_charge_and_one_outcome_per_round(run: tuple[Demo, list[DemoRound], DemoResult]) -> None:
    _, rounds, result = run
    entries = said(Path(result.folder) / "run.ledger")
    spent, tested = ["RESERVE", "COMMIT"] * len(rounds), ["AUDIT"] * len(require_sound_noise())
    assert [kind for kind, _ in entries] == ["GENESIS", "OPEN_BUDGET", *spent, *tested]
    charges = [body["charge"] for kind, body in entries if kind == "RESERVE"]
    assert [charge["round"] for charge in charges] == [step.round for step in rounds]
    assert {charge["cohort"] for charge in charges} == {SELECTED}
    outcomes = [body for kind, body in entries if kind == "COMMIT"]
    assert [body["survivors"] for body in outcomes] == result.survivors
    assert result.ledger_tail is not None
    assert result.ledger_tail.startswith(f"{len(entries) - 1} AUDIT ")


def test_epsilon_grows_round_by_round_and_ends_just_within_the_budget(
    run: tuple[Demo, list[DemoRound], DemoResult],
) -> None:
    _, rounds, result = run
    spent = [step.epsilon for step in rounds]
    assert spent == sorted(set(spent))
    assert spent[-1] == result.epsilon
    assert 5.85 < result.epsilon <= BUDGET.epsilon
    # The reader of the model sees the noise of all survivors, the aggregator's colluders know theirs.
    assert 0 < result.epsilon_released <= result.epsilon
    assert result.delta == float(BUDGET.delta)


@pytest.mark.parametrize(("clients", "rounds"), [(8, 3), (100, 30), (100, 1), (40, 100)])
def test_the_noise_of_the_plan_keeps_all_rounds_within_the_budget(tmp_path: Path, clients: int, rounds: int) -> None:
    demo = small(tmp_path, clients=clients, rounds=rounds, dropout=0.1)
    plan = plan_of(demo, "task")
    assert plan.noise is not None
    assert plan.noise.colluders == selected_of(demo) // 10
    # delta of T Gaussian releases in closed form: Balle and Wang 2018, Theorem 8, with mu = sqrt(T) / z.
    mu, epsilon = math.sqrt(rounds) / float(plan.noise.noise_multiplier), float(BUDGET.epsilon)
    delta = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    assert 0.7 * float(BUDGET.delta) < delta < float(BUDGET.delta)


def test_two_runs_of_one_seed_share_data_and_losses_but_no_noise(
    run: tuple[Demo, list[DemoRound], DemoResult], tmp_path: Path
) -> None:
    _, rounds, result = run
    again_rounds, again = played(small(tmp_path))
    assert again.survivors == result.survivors
    assert again_rounds[0].accuracy_plain == rounds[0].accuracy_plain
    one, two = (load_model(Path(each.folder) / "model.npz") for each in (result, again))
    assert not np.array_equal(one[0], two[0])
    assert again.chi_square_p != result.chi_square_p


# --- beside the same without privacy


@pytest.mark.parametrize(
    ("protocol", "engine"),
    [("pairwise", None), ("ckks", Fft()), ("ckks", SealEngine())],
    ids=["pairwise", "ckks-fft", "ckks-seal"],
)
def test_without_noise_the_secure_model_is_the_plain_one_up_to_the_lattice(
    tmp_path: Path, protocol: str, engine: Engine | None
) -> None:
    demo = small(tmp_path, private=False, seed=4, protocol=protocol, engine=engine)
    plan = plan_of(demo, "task")
    assert plan.noise is None
    secure = SecureAggregation(demo, plan, None)
    pairs = list(in_step(federation_of(demo), secure))
    assert len(pairs) == demo.rounds
    for record, plain in pairs:
        assert record.survivors == plain.survivors
        assert len(record.survivors) >= SELECTED - 1
        for mine, theirs in zip(record.parameters, plain.parameters, strict=True):
            assert np.abs(mine - theirs).max() < 4 * float(plan.clip) / 2**15 * demo.rounds
        assert np.abs(record.parameters[0]).max() > 0.1


def test_an_encrypted_run_is_charged_as_a_masked_one(tmp_path: Path) -> None:
    plans = [plan_of(small(tmp_path, protocol=protocol), "task") for protocol in ("pairwise", "ckks")]
    assert plans[0].noise == plans[1].noise
    results = [played(small(tmp_path, protocol=protocol))[1] for protocol in ("pairwise", "ckks")]
    assert results[0].epsilon == results[1].epsilon
    assert results[1].exact


def test_an_encrypted_round_that_loses_too_many_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch, {1: Encrypted.VECTOR})
    rounds, result = played(small(tmp_path, protocol="ckks"))
    assert [step.lost is None for step in rounds] == [True, False, True]
    assert "TooFewClients" in str(rounds[1].lost)
    assert kinds(Path(result.folder) / "run.ledger").count("ABORT") == 1


def test_a_run_without_noise_has_no_ledger_and_no_epsilon(tmp_path: Path) -> None:
    rounds, result = played(small(tmp_path, private=False, rounds=1))
    assert (result.epsilon, result.epsilon_released, result.delta, result.ledger_tail) == (None,) * 4
    assert [step.epsilon for step in rounds] == [None]
    assert {path.name for path in Path(result.folder).iterdir()} == {
        "model.npz",
        "report.json",
        "rounds.jsonl",
    }


def test_clients_have_few_digits_unless_iid_is_asked_for(tmp_path: Path) -> None:
    def most_common(demo: Demo) -> float:
        shares = federation_of(demo).data.clients.values()
        return float(np.mean([np.bincount(share.labels, minlength=10).max() / len(share) for share in shares]))

    assert most_common(small(tmp_path, clients=20)) > 1.5 * most_common(small(tmp_path, clients=20, iid=True))


def test_another_seed_deals_other_data(tmp_path: Path) -> None:
    one, two = (federation_of(small(tmp_path, seed=seed)).data.public.labels for seed in (0, 1))
    assert not np.array_equal(one, two)


# --- lost rounds


def test_a_round_lost_before_the_opening_costs_nothing_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, {1: Exchange.MASKED})
    rounds, result = played(small(tmp_path))
    lost = rounds[1]
    assert lost.lost is not None
    assert lost.lost.startswith("TooFewClients: Summing: 2 clients remain")
    assert (lost.survivors, lost.bytes_up_per_client) == (0, 0)
    assert (lost.epsilon, lost.accuracy) == (rounds[0].epsilon, rounds[0].accuracy)
    assert lost.accuracy_plain == rounds[0].accuracy_plain
    assert kinds(Path(result.folder) / "run.ledger") == ["RESERVE", "COMMIT", "RESERVE", "ABORT", "RESERVE", "COMMIT"]
    assert result.exact
    assert result.survivors == [7, 0, 7]


def test_a_round_lost_after_the_opening_was_asked_for_stays_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, {1: Exchange.UNMASK})
    rounds, result = played(small(tmp_path))
    assert rounds[1].lost is not None
    assert rounds[1].lost.startswith("TooFewClients: Unmasking")
    assert rounds[1].epsilon > rounds[0].epsilon
    assert kinds(Path(result.folder) / "run.ledger")[2:4] == ["RESERVE", "SETTLE"]


def test_a_run_that_loses_every_round_is_not_called_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch, dict.fromkeys(range(3), Exchange.SHARES))
    rounds, result = played(small(tmp_path))
    assert all(step.lost for step in rounds)
    assert (result.exact, result.seen_bytes, result.chi_square_p, result.epsilon) == (False, 0, None, 0)
    assert result.survivors == [0, 0, 0]


# --- a ledger of the caller


def opened(path: Path) -> Path:
    Ledger.open(path, BUDGET).close()
    return path


def test_a_stopped_run_is_continued_until_the_budget_is_spent_and_its_rounds_stay_on_disk(tmp_path: Path) -> None:
    path = opened(tmp_path / "shared.ledger")
    stopped = run_demo(small(tmp_path / "first", rounds=4, ledger=path))
    assert isinstance(next(stopped), DemoStart)
    assert isinstance(next(stopped), DemoRound)
    stopped.close()  # type: ignore[attr-defined]
    steps: list[DemoStart | DemoRound | DemoResult] = []
    with pytest.raises(BudgetExceeded, match=r"the limit is epsilon 6 .*nothing was written"):
        steps.extend(run_demo(small(tmp_path / "second", rounds=4, ledger=path)))
    (folder,) = (tmp_path / "second").iterdir()
    lines = (folder / "rounds.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["round"] for line in lines] == [0, 1, 2]
    assert {found.name for found in folder.iterdir()} == {"rounds.jsonl", "model.npz", "run.pin"}
    assert load_model(folder / "model.npz")
    assert kinds(path) == ["RESERVE", "COMMIT"] * 4
    start, *_ = steps
    assert isinstance(start, DemoStart)
    assert start.epsilon is not None
    assert 0 < start.epsilon < 6
    with Ledger.open(path, BUDGET) as ledger:
        assert 5.8 < ledger.interval().upper <= 6


def test_a_spent_ledger_refuses_the_first_round_of_any_further_run(tmp_path: Path) -> None:
    path = opened(tmp_path / "shared.ledger")
    played(small(tmp_path, rounds=1, ledger=path))
    before = said(path)
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            played(small(tmp_path, rounds=1, ledger=path))
    assert said(path) == before


def test_a_ledger_that_is_not_there_is_refused_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("typo")
    for name in ("typo", "link", "nowhere/typo"):
        with pytest.raises(Misused, match=f"there is no ledger {tmp_path / name} to continue"):
            played(small(tmp_path / "runs", ledger=tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_ledger_of_which_only_the_key_is_left_is_not_begun_afresh(tmp_path: Path) -> None:
    path = opened(tmp_path / "shared.ledger")
    path.unlink()
    with pytest.raises(RolledBack):
        played(small(tmp_path, ledger=path))
    assert not path.exists()


def test_a_ledger_with_another_limit_or_of_a_rehearsal_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "other", Budget(1, BUDGET.delta, BUDGET.relation)).close()
    Ledger.open_insecure(tmp_path / "rehearsal", BUDGET).close()
    for name, why in (("other", "limit is epsilon 1"), ("rehearsal", "insecure")):
        with pytest.raises(BadParameters, match=why):
            played(small(tmp_path, ledger=tmp_path / name))


def test_a_ledger_that_cannot_be_believed_or_reached_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(Corrupt):
        played(small(tmp_path, ledger=tmp_path / "noise"))
    assert (tmp_path / "noise").read_bytes() == bytes(range(256)) * 20
    with pytest.raises(StorageRefused, match="not a regular file"):
        played(small(tmp_path, ledger=tmp_path))


# --- wrong use


def test_a_ledger_for_a_run_without_noise_is_refused() -> None:
    with pytest.raises(Misused, match=r"ledger x\.ledger cannot account for a run without noise"):
        small(Path("runs"), private=False, ledger=Path("x.ledger"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misused, match=r"cannot make the folder .*file.*choose another place"):
        played(small(tmp_path / "file"))


@pytest.mark.parametrize("private", [True, False])
def test_drop_outs_no_plan_survives_are_refused_before_a_folder_is_made(tmp_path: Path, private: bool) -> None:
    with pytest.raises(BadPlan, match="largest feasible drop-out"):
        played(small(tmp_path, dropout=0.6, private=private))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("field", "value"), [("seed", -1), ("rounds", 0), ("clients", 0), ("clients", 1400)])
def test_numbers_no_run_can_have_are_refused(tmp_path: Path, field: str, value: int) -> None:
    with pytest.raises(Misused, match=str(value)):
        played(small(tmp_path, **{field: value}))
    assert list(tmp_path.iterdir()) == []


def test_without_scikit_learn_the_extra_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blocked:
        def find_spec(
            self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            if name.partition(".")[0] == "sklearn":
                raise ImportError(f"{name} is blocked")
            return None

    monkeypatch.delitem(sys.modules, "sklearn.datasets", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    with pytest.raises(MissingExtra, match=r"pip install .*\[report\]'") as missing:
        played(small(tmp_path))
    assert missing.value.extra == "report"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_given_up_settles_what_it_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller interrupts while the sum is being opened: the charge stands, the ledger is closed."""

    def interrupted(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        played(small(tmp_path))
    (path,) = tmp_path.glob("*/run.ledger")
    assert kinds(path) == ["RESERVE", "SETTLE"]
