"""Secure jobs in NVFlare's own simulator: the plain weighted mean of whoever answers, and no word of who failed.

Runs in the environment of NVFlare (`make test-nvflare`) and is skipped by name elsewhere.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nvflare", reason="nvflare is not installed here: run `make test-nvflare`")

from nvflare.recipe import SimEnv

from protocols import Metric, RoundPlan
from protocols.adapters.nvflare import collab_recipe
from protocols.home import make_homes

ROUNDS = 4


# Where the job runs, its file lies alone: here too.
sys.path.insert(0, str(Path(__file__).parent))
sites = importlib.import_module("nvflare_sites")


def plan_of() -> RoundPlan:
    return RoundPlan.recommend(
        len(sites.SITES),
        protocol="oneshot",
        dropout=0.34,
        corrupt=0,
        min_cohort=3,
        clip=1.0,
        bits=20,
        max_weight=1000,
        metrics=(Metric("loss", 1),),
        patience_seconds=int(sites.SECONDS),
    )


def recipe_of(folder: Path) -> Any:
    make_homes(folder / "homes", len(sites.SITES))
    homes = {"server_home": str(folder / "homes" / "server"), "home": str(folder / "homes" / "{site}")}
    return collab_recipe(plan_of(), sites.train, sites.start, rounds=ROUNDS, **homes)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder after a job in which one site raises in every round and another is too slow in one."""
    folder = tmp_path_factory.mktemp("job")
    environment = SimEnv(clients=sites.SITES, workspace_root=str(folder / "work"))
    run = recipe_of(folder).run(environment)
    return Path(run.get_result(clean_up=False)) / "server"


@pytest.fixture(scope="module")
def rounds(server: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((server / "simulate_job" / "rounds.json").read_text())
    return found


def test_the_model_is_the_plain_weighted_mean_of_whoever_answered(server: Path, rounds: list[dict[str, Any]]) -> None:
    model = sites.start()
    for each in rounds:
        names = [sites.SITES[who] for who in each["survivors"]]
        weights = [sites.WEIGHTS[name] for name in names]
        changes = [sites.change_of(name, model) for name in names]
        assert each["weight"] == sum(weights)
        expected = np.average([who / 8 for who in each["survivors"]], weights=weights)
        assert abs(each["metrics"]["loss"] - expected) < 1e-5
        model = {
            name: (array + np.average([change[name] for change in changes], axis=0, weights=weights)).astype(np.float32)
            for name, array in model.items()
        }
    with np.load(server / "simulate_job" / "model.npz") as found:
        for name, array in model.items():
            assert np.abs(found[name] - array).max() <= ROUNDS * (plan_of().encoding.step + 2.0**-23)


def test_a_raising_site_costs_itself_in_every_round_and_a_slow_one_in_that_round(rounds: list[dict[str, Any]]) -> None:
    assert len(rounds) == ROUNDS
    for each in rounds:
        assert 0 in each["dropped"]
        assert each["refusals"]["site-0"] == "TrainingFailed"
    assert 1 in rounds[0]["survivors"]
    assert 1 in rounds[1]["dropped"]
    assert all({2, 3, 4, 5} <= set(each["survivors"]) for each in rounds)


def test_a_round_is_two_exchanges_after_the_first_one_convened_the_committee(rounds: list[dict[str, Any]]) -> None:
    assert [each["exchanges"] for each in rounds] == [3] + [2] * (ROUNDS - 1)


def test_no_word_of_what_a_site_raised_reaches_the_server(server: Path) -> None:
    files = [path for path in server.rglob("*") if path.is_file()]
    assert any(path.name == "log.txt" for path in files)
    for path in files:
        # The file of the job itself says what its training would raise.
        if path.suffix not in (".py", ".pyc"):
            assert sites.SECRET.encode() not in path.read_bytes(), path


def test_the_job_carries_two_files_that_shadow_nothing(tmp_path: Path) -> None:
    recipe_of(tmp_path).export(str(tmp_path / "job"))
    custom = {path.name for path in tmp_path.glob("job/**/custom/**/*") if path.is_file()}
    assert custom == {"nvflare_parties.py", "nvflare_sites.py"}
    text = "".join(path.read_text() for path in tmp_path.glob("job/**/*.json"))
    for key in (tmp_path / "homes").rglob("*.key"):
        assert key.read_bytes().hex() not in text
