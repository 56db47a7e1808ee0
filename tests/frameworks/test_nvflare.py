"""Secure jobs in NVFlare's own simulator: the plain weighted mean of whoever answers, and no word of who failed.

Runs in the environment of NVFlare (`make test-nvflare`) and is skipped by name elsewhere.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

pytest.importorskip("nvflare", reason="nvflare is not installed here: run `make test-nvflare`")

from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

from protocols import Metric, RoundPlan
from protocols.adapters.nvflare import collab_recipe, secure
from protocols.errors import BadPlan
from protocols.home import make_homes

ROUNDS = 3
ATTEMPTS = 3
T = TypeVar("T")


# Where the job runs, its file lies alone: here too.
sys.path.insert(0, str(Path(__file__).parent))
sites = importlib.import_module("nvflare_sites")


def plan_of() -> RoundPlan:
    return RoundPlan.recommend(
        len(sites.SITES),
        protocol="oneshot",
        dropout=0.4,
        corrupt=0,
        min_cohort=3,
        clip=1.0,
        bits=20,
        max_weight=1000,
        metrics=(Metric("loss", 1),),
        patience_seconds=int(sites.SECONDS),
    )


def homes(folder: Path) -> dict[str, str]:
    make_homes(folder / "homes", len(sites.SITES))
    return {"server_home": str(folder / "homes" / "server"), "home": str(folder / "homes" / "{site}")}


def calls(folder: Path) -> Any:
    """The job on the collab API."""
    return collab_recipe(plan_of(), sites.train, sites.start, rounds=ROUNDS, sync_seconds=30, **homes(folder))


def tasks(folder: Path) -> Any:
    """The job of a plain recipe, whose script knows of nothing."""
    start = sites.start()["weights"].tolist()
    script = str(Path(__file__).with_name("nvflare_script.py"))
    plain = NumpyFedAvgRecipe(
        name="secagg", model=start, min_clients=len(sites.SITES), num_rounds=ROUNDS, train_script=script
    )
    return secure(plain, plan_of(), **homes(folder))


@dataclass(frozen=True)
class Job:
    """A job that was run: what its server was left with, and the first model."""

    server: Path
    start: dict[str, Any]
    model: dict[str, Any]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.server / "simulate_job" / "rounds.json").read_text())
        return found


def begun(play: Callable[[Path], T], folder: Path) -> T:
    """What `play` gives in a folder of its own, once NVFlare's simulator has begun at all.

    The simulator asks for a free port, and on a busy machine may reach, at that port, the socket it asked with, which a
    child just being forked still holds: that site then never begins, and has not even a log. Such a run says nothing.
    """
    for number in range(ATTEMPTS):
        place = folder / str(number)
        place.mkdir()
        try:
            made = play(place)
        except RuntimeError:
            if all_begun(place) or number == ATTEMPTS - 1:
                raise
        else:
            if all_begun(place):
                return made
    raise AssertionError(f"the simulator lost a site in each of {ATTEMPTS} attempts")


def all_begun(place: Path) -> bool:
    return all((place / "work" / "secagg" / site / "log.txt").exists() for site in sites.SITES)


@pytest.fixture(scope="module", params=[calls, tasks], ids=["calls", "tasks"])
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """In each of them one site raises in every round; on the collab API another is too slow in the second."""

    def played(folder: Path) -> Path:
        environment = SimEnv(clients=sites.SITES, workspace_root=str(folder / "work"))
        return Path(request.param(folder).run(environment).get_result(clean_up=False)) / "server"

    server = begun(played, tmp_path_factory.mktemp("job"))
    if request.param is calls:
        with np.load(server / "simulate_job" / "model.npz") as model:
            return Job(server, sites.start(), dict(model))
    model = np.load(server / "simulate_job" / "models" / "server.npy")
    return Job(server, {"numpy_key": sites.start()["weights"]}, {"numpy_key": model})


def test_the_model_is_the_plain_weighted_mean_of_whoever_answered(job: Job) -> None:
    model = job.start
    assert len(job.rounds) == ROUNDS
    for each in job.rounds:
        names = [sites.SITES[who] for who in each["survivors"]]
        weights = [sites.WEIGHTS[name] for name in names]
        changes = [sites.change_of(name, model) for name in names]
        assert each["weight"] == sum(weights)
        expected = np.average([who / 8 for who in each["survivors"]], weights=weights)
        assert abs(each["metrics"]["loss"] - expected) < 1e-5
        model = {
            name: (array + np.average([change[name] for change in changes], axis=0, weights=weights)).astype(
                array.dtype
            )
            for name, array in model.items()
        }
    for name, array in model.items():
        assert np.abs(job.model[name] - array).max() <= ROUNDS * (plan_of().encoding.step + 2.0**-23)


def test_a_raising_site_costs_itself_alone_in_every_round(job: Job) -> None:
    for each in job.rounds:
        assert 0 in each["dropped"]
        assert each["refusals"]["site-0"] == "TrainingFailed"
        assert {2, 3, 4} <= set(each["survivors"])
    assert 1 in job.rounds[0]["survivors"]


def test_a_site_that_is_too_slow_costs_itself_that_round(job: Job) -> None:
    if "numpy_key" in job.start:
        pytest.skip("the script of the tasks is never slow: a late one lives in the other job")
    assert 1 in job.rounds[1]["dropped"]


def test_a_round_is_two_exchanges_after_the_first_one_convened_the_committee(job: Job) -> None:
    assert [each["exchanges"] for each in job.rounds] == [3] + [2] * (ROUNDS - 1)


def test_no_word_of_what_a_site_raised_and_no_number_of_a_site_reaches_the_server(job: Job) -> None:
    files = [path for path in job.server.rglob("*") if path.is_file()]
    assert any(path.name == "log.txt" for path in files)
    for path in files:
        # The files of the job itself say what its training would raise and measure.
        if path.suffix not in (".py", ".pyc"):
            found = path.read_bytes()
            assert sites.SECRET.encode() not in found, path
            assert b"123456789" not in found, path


@pytest.mark.parametrize(
    ("recipe", "carried"),
    [
        (calls, {"nvflare_parties.py", "nvflare_sites.py"}),
        (tasks, {"nvflare_script.py", "nvflare_sites.py"}),
    ],
    ids=["calls", "tasks"],
)
def test_a_job_carries_nothing_of_the_toolkit_that_shadows_it(recipe: Any, carried: set[str], tmp_path: Path) -> None:
    recipe(tmp_path).export(str(tmp_path / "job"))
    custom = {path.name for path in tmp_path.glob("job/**/custom/**/*") if path.is_file()}
    assert custom == carried
    text = "".join(path.read_text() for path in tmp_path.glob("job/**/*.json"))
    for key in (tmp_path / "homes").rglob("*.key"):
        assert key.read_bytes().hex() not in text


def test_a_recipe_that_is_no_plain_fedavg_is_refused(tmp_path: Path) -> None:
    recipe = NumpyFedAvgRecipe(
        name="weighing",
        model=[0.0],
        min_clients=3,
        num_rounds=1,
        train_script=__file__,
        aggregation_weights={"site-1": 2},
    )
    with pytest.raises(BadPlan, match="aggregation_weights"):
        secure(recipe, plan_of(), **homes(tmp_path))


def test_the_example_learns_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = Path(__file__).resolve().parents[2] / "examples"
    monkeypatch.syspath_prepend(str(examples))
    assert begun(importlib.import_module("nvflare_job").main, tmp_path) > 0.9
