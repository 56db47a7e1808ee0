"""NVFlare's job against stand-ins of its collab API: made from JSON, one method in public, and no text of an error."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dp import Budget, Ledger
from protocols.errors import BadPlan, MissingExtra, Misused, TooFewClients
from protocols.home import make_homes
from tests.protocols.adapters.nvflare_kit import ADAPTERS, Collab, Recipe, rebuilt, stand_ins
from tests.protocols.adapters.step_kit import SECRET, assert_moved, model_of, plan_of, train

SITES = [f"site-{number}" for number in range(5)]


def failing(model: Any, site: str) -> Any:
    if site == "site-1":
        raise ValueError(SECRET)
    return train(model, site)


def told(number: int, model: Any, finished: Any) -> None:
    TOLD.append((number, finished.survivors))


TOLD: list[Any] = []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    collab, run = Collab(), tmp_path / "run"
    run.mkdir()
    collab.workspace = SimpleNamespace(get_run_dir=lambda job: str(run))
    collab.fl_ctx = SimpleNamespace(get_job_id=lambda: "job")
    make_homes(tmp_path / "homes", len(SITES))
    TOLD.clear()
    with stand_ins(monkeypatch, collab) as adapter:
        yield SimpleNamespace(adapter=adapter, collab=collab, homes=tmp_path / "homes", run=run, folder=tmp_path)
        for made in collab.objects.values():
            made.leave()


def recipe_of(world: SimpleNamespace, *functions: Any, **more: Any) -> Any:
    """The recipe, with its parties made again from JSON at their places."""
    plan = more.pop("plan", None) or plan_of()
    usual = {"server_home": str(world.homes / "server"), "home": str(world.homes / "{site}"), "rounds": 2}
    recipe = world.adapter.collab_recipe(plan, *(functions or (train, model_of)), **(usual | more))
    world.server = rebuilt(recipe.given["server"])
    world.collab.objects = {site: rebuilt(recipe.given["client"]) for site in SITES}
    world.collab.clients = [SimpleNamespace(name=site) for site in SITES]
    return recipe


def of_four(world: SimpleNamespace, **more: Any) -> Any:
    """A recipe whose fifth site has none who opens sums: a committee convenes without it."""
    world.homes = world.folder / "four"
    make_homes(world.homes, len(SITES), openers=4)
    return recipe_of(world, **more)


def rounds_of(world: SimpleNamespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((world.run / "rounds.json").read_text())
    return found


def model_at_end(world: SimpleNamespace) -> Mapping[str, Any]:
    with np.load(world.run / "model.npz") as model:
        return dict(model)


def test_a_job_made_from_json_gives_the_plain_mean_in_two_exchanges_a_round(world: SimpleNamespace) -> None:
    plan = plan_of()
    recipe_of(world, plan=plan, rounds=1)
    world.server.run()
    assert_moved(model_at_end(world), model_of(), SITES, plan)
    recipe_of(world, plan=plan, each=told)
    world.server.run()
    assert [each["exchanges"] for each in rounds_of(world)] == [3, 2]
    assert [(0, tuple(range(5))), (1, tuple(range(5)))] == TOLD


def test_a_failing_site_costs_itself_alone_and_no_word_of_its_error_is_told(world: SimpleNamespace) -> None:
    plan = plan_of()
    recipe_of(world, failing, model_of, plan=plan, rounds=1)
    world.server.run()
    [found] = rounds_of(world)
    assert (found["dropped"], found["refusals"]) == ([1], {"site-1": "TrainingFailed"})
    assert_moved(model_at_end(world), model_of(), [site for site in SITES if site != "site-1"], plan)
    assert not any(SECRET.encode() in said for said in world.collab.said)


def test_a_site_without_keys_refuses_by_name_and_the_job_goes_on(world: SimpleNamespace) -> None:
    of_four(world, rounds=1)
    (world.homes / "site-4").rename(world.folder / "elsewhere")
    world.server.run()
    [found] = rounds_of(world)
    assert (found["survivors"], found["refusals"]) == ([0, 1, 2, 3], {"site-4": "Misused"})


def test_a_silent_site_costs_itself_alone(world: SimpleNamespace) -> None:
    of_four(world)
    world.collab.lost = {"site-4"}
    world.server.run()
    assert [each["survivors"] for each in rounds_of(world)] == [[0, 1, 2, 3]] * 2


def test_rounds_that_are_lost_in_a_row_end_the_job_by_name(world: SimpleNamespace) -> None:
    recipe_of(world)
    world.collab.lost = set(SITES[:3])
    with pytest.raises(TooFewClients):
        world.server.run()
    assert not (world.run / "rounds.json").exists()


def test_a_ledger_is_charged(world: SimpleNamespace) -> None:
    plan, budget = plan_of(noise_multiplier=4.0, modulus_bits=32), Budget(epsilon=20, delta="1e-5", relation="zero-out")
    recipe_of(world, plan=plan, rounds=2, ledger=str(world.folder / "run.ledger"), budget=budget)
    world.server.run()
    with Ledger.read(world.folder / "run.ledger") as ledger:
        assert ledger.interval().upper == rounds_of(world)[-1]["epsilon"]
        assert sum(entry.kind == "COMMIT" for entry in ledger.entries()) == 2


def counted_model() -> dict[str, Any]:
    return {**model_of(), "batches": np.array([1, 2])}


def counting(model: Any, site: str) -> Any:
    trained = train({name: array for name, array in model.items() if name != "batches"}, site)
    return type(trained)({**trained.model, "batches": model["batches"] + 5})


def test_integers_stay_what_the_server_started_with(world: SimpleNamespace) -> None:
    plan = plan_of()
    recipe_of(world, counting, counted_model, plan=plan, rounds=1)
    world.server.run()
    found = dict(model_at_end(world))
    assert found.pop("batches").tolist() == [1, 2]
    assert_moved(found, model_of(), SITES, plan)


def test_step_is_all_that_a_site_publishes(world: SimpleNamespace) -> None:
    client = type(recipe_of(world).given["client"])
    published = [name for name in dir(client) if getattr(getattr(client, name), "published", False)]
    assert published == ["step"]


def test_shipped_classes_have_a_file_whose_name_shadows_nothing(world: SimpleNamespace) -> None:
    recipe = recipe_of(world)
    for party in ("server", "client"):
        name = Path(inspect.getfile(type(recipe.given[party]))).stem
        assert name == "nvflare_parties"
        assert importlib.util.find_spec(name) is None


def test_only_the_file_of_a_lone_module_travels(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(world)
    assert (recipe.server_files, recipe.client_files) == ([], [])
    (world.folder / "lone.py").write_text("def train(model, site): ...\ndef start(): ...\n")
    monkeypatch.syspath_prepend(str(world.folder))
    lone = importlib.import_module("lone")
    recipe = recipe_of(world, lone.train, lone.start)
    assert recipe.server_files == recipe.client_files == [str(world.folder / "lone.py")]
    assert recipe.given["client"].train == "lone:train"
    monkeypatch.setattr(lone.train, "__module__", "__main__")
    assert world.adapter.name_of(lone.train) == "lone:train"


def test_the_toolkit_itself_does_not_travel(world: SimpleNamespace) -> None:
    assert recipe_of(world).left_out == ["secagg", "dp", "protocols"]


@pytest.mark.parametrize(
    "function", [lambda model, site: None, SimpleNamespace(), Recipe.add_server_file, Recipe], ids=str
)
def test_what_a_site_could_not_find_by_name_is_refused(world: SimpleNamespace, function: Any) -> None:
    with pytest.raises(Misused, match="find it by its name"):
        recipe_of(world, function, model_of)


@pytest.mark.parametrize("name", ["nowhere:f", "json:nothing", "json", "json:__name__", ":f"])
def test_a_name_that_is_no_function_is_refused(world: SimpleNamespace, name: str) -> None:
    with pytest.raises((Misused, ValueError)):
        sys.modules[ADAPTERS[1]].named_function(name)


def test_noise_without_a_ledger_is_refused(world: SimpleNamespace) -> None:
    with pytest.raises(BadPlan, match="noise without a ledger is not accounted: give ledger="):
        recipe_of(world, plan=plan_of(noise_multiplier=4.0, modulus_bits=32))


@pytest.mark.parametrize("home", ["homes", "homes/site", "homes/{}"])
def test_one_home_for_all_sites_is_refused(world: SimpleNamespace, home: str) -> None:
    with pytest.raises(Misused, match=r"put \{site\} where its name belongs"):
        recipe_of(world, home=home)


@pytest.mark.parametrize("rounds", [0, -1, 2.0, "2", True, None])
def test_rounds_that_are_none_are_refused(world: SimpleNamespace, rounds: Any) -> None:
    with pytest.raises(Misused, match=r"rounds is .* an integer of at least 1"):
        recipe_of(world, rounds=rounds)


def test_a_ledger_without_budget_is_refused(world: SimpleNamespace) -> None:
    with pytest.raises(Misused, match="budget"):
        recipe_of(world, ledger="run.ledger")


def test_demands_that_no_site_could_read_are_refused_before_the_job_is_made(world: SimpleNamespace) -> None:
    with pytest.raises(Misused, match="no demands"):
        recipe_of(world, demands={"min_clients": 3})


@pytest.mark.parametrize("name", ADAPTERS)
def test_without_nvflare_the_line_that_installs_it_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ADAPTERS:
        monkeypatch.delitem(sys.modules, each, raising=False)
    for each in [each for each in sys.modules if each.partition(".")[0] == "nvflare"]:
        monkeypatch.delitem(sys.modules, each)
    monkeypatch.setitem(sys.modules, "nvflare", None)
    with pytest.raises(MissingExtra, match="nvflare"):
        importlib.import_module(name)
