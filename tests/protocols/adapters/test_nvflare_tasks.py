"""A FedAvg recipe made secure, against stand-ins of NVFlare's tasks: an unchanged script, nothing leaves unmasked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocols import Metric
from protocols.errors import BadPlan, Misused, TooFewClients
from protocols.home import make_homes
from tests.protocols.adapters.nvflare_kit import (
    Collab,
    ContentBlockedException,
    DataKind,
    Engine,
    FedAvg,
    Recipe,
    Shareable,
    rebuilt,
    stand_ins,
)
from tests.protocols.adapters.step_kit import SECRET, assert_moved, change_of, model_of, plan_of

SITES = [f"site-{number}" for number in range(5)]
STEPS = {site: 100 * number + 7 for number, site in enumerate(SITES)}


def script(site: str, model: Any, kind: DataKind = DataKind.WEIGHTS, **meta: Any) -> Shareable:
    change = change_of(site)
    made = {name: array + change[name] if name in change else array for name, array in model.items()}
    if kind is DataKind.WEIGHT_DIFF:
        made = {name: made[name] - array for name, array in model.items()}
    return Shareable(kind=kind, data=made, meta={"NUM_STEPS_CURRENT_ROUND": STEPS[site], "private": SECRET} | meta)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    run = tmp_path / "run"
    run.mkdir()
    make_homes(tmp_path / "homes", len(SITES), openers=4)
    with stand_ins(monkeypatch, Collab()) as adapter:
        yield SimpleNamespace(adapter=adapter, homes=tmp_path / "homes", run=run, engines=[])


def plain_recipe(**more: Any) -> Recipe:
    usual = {
        "num_clients": 5,
        "num_rounds": 2,
        "start_round": 0,
        "persistor_id": "persistor",
        "model": None,
        "save_filename": "model.pt",
        "stop_cond": None,
        "patience": None,
        "task_name": "train",
    }
    recipe = Recipe()
    recipe.flows.append(SimpleNamespace(controller=FedAvg(**(usual | more))))
    return recipe


def secured(world: SimpleNamespace, plan: Any, recipe: Recipe | None = None, **more: Any) -> Recipe:
    homes = {"server_home": str(world.homes / "server"), "home": str(world.homes / "{site}")}
    made: Recipe = world.adapter.secure(recipe or plain_recipe(), plan, **(homes | more))
    return made


def played(world: SimpleNamespace, plan: Any, trained: Any = script, start: Any = None, **more: Any) -> Any:
    """The job with its parts made again from JSON at their places; its controller, after it has run."""
    recipe = secured(world, plan, **more)
    controller = rebuilt(recipe.flows[0].controller)
    controller.engine = Engine(SITES, recipe.client_parts, trained, start or model_of(), world.run)
    world.lost(controller.engine) if hasattr(world, "lost") else None
    try:
        controller.run()
    finally:
        controller.engine.close()
    return controller


def rounds_of(world: SimpleNamespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((world.run / "rounds.json").read_text())
    return found


@pytest.mark.parametrize("kind", [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF])
def test_the_mean_is_the_plain_one_whatever_kind_the_script_sends(world: SimpleNamespace, kind: DataKind) -> None:
    plan = plan_of()
    controller = played(world, plan, lambda site, model: script(site, model, kind))
    assert_moved(controller.models[0].params, model_of(), SITES, plan)
    assert_moved(controller.models[1].params, controller.models[0].params, SITES, plan)
    assert [each["exchanges"] for each in rounds_of(world)] == [3, 2]


def test_steps_and_metrics_move_under_the_mask_and_nothing_else_leaves(world: SimpleNamespace) -> None:
    plan = plan_of(max_weight=1000, metrics=(Metric("loss", Fraction(8)),))
    controller = played(world, plan, lambda site, model: script(site, model, initial_metrics={"loss": 1.5, "auc": 0.7}))
    assert_moved(controller.models[0].params, model_of(), SITES, plan, weights=STEPS)
    assert rounds_of(world)[0]["weight"] == sum(STEPS.values())
    assert abs(controller.models[0].metrics["loss"] - 1.5) < 1e-5
    assert controller.models[0].metrics.keys() == {"loss"}
    for result in controller.engine.said:
        assert result.keys() == {"secagg"}
        assert isinstance(result["secagg"], bytes)
        assert SECRET.encode() not in result["secagg"]


@pytest.mark.parametrize("steps", [None, 7.5, "7", True])
def test_who_does_not_say_what_it_weighs_drops_out_of_a_plan_that_weighs(world: SimpleNamespace, steps: Any) -> None:
    plan = plan_of(max_weight=1000)

    def trains(site: str, model: Any) -> Shareable:
        return script(site, model, NUM_STEPS_CURRENT_ROUND=steps if site == SITES[1] else STEPS[site])

    controller = played(world, plan, trains)
    others = [site for site in SITES if site != SITES[1]]
    assert_moved(controller.models[0].params, model_of(), others, plan, weights=STEPS)
    assert rounds_of(world)[0]["refusals"] == {SITES[1]: "Misused"}


def test_integers_stay_what_the_server_sends(world: SimpleNamespace) -> None:
    start = {**model_of(), "batches": np.array(7)}

    def counting(site: str, model: Any) -> Shareable:
        assert model["batches"] == 7
        return script(site, {**model, "batches": model["batches"] + 3})

    controller = played(world, plan_of(), counting, start)
    assert controller.models[-1].params["batches"] == 7
    assert controller.models[-1].params["batches"].dtype == np.int64
    assert_moved({k: v for k, v in controller.models[0].params.items() if k != "batches"}, model_of(), SITES, plan_of())


def test_a_failing_script_costs_its_site_alone_and_is_no_error_to_the_server(world: SimpleNamespace) -> None:
    def failing(site: str, model: Any) -> Shareable:
        if site == "site-1":
            raise ValueError(SECRET)
        return script(site, model)

    controller = played(world, plan_of(), failing)
    for each in rounds_of(world):
        assert (each["dropped"], each["refusals"]) == ([1], {"site-1": "TrainingFailed"})
    assert all("rc" not in result for result in controller.engine.said)


@pytest.mark.parametrize(
    ("result", "refusal"),
    [
        (lambda model: Shareable(kind=DataKind.METRICS, data={"loss": 1.0}), "Misused"),
        (lambda model: Shareable(kind=DataKind.WEIGHTS, data={"bias": model["bias"]}), "WrongUpdate"),
        (lambda model: Shareable(kind=DataKind.WEIGHTS, data={**model, "bias": model["bias"] * np.nan}), "NonFinite"),
        (lambda model: Shareable(), "TrainingFailed"),
    ],
    ids=["metrics alone", "an array missing", "nan", "nothing"],
)
def test_a_result_that_cannot_be_masked_leaves_as_a_name(world: SimpleNamespace, result: Any, refusal: str) -> None:
    played(world, plan_of(), lambda site, model: result(model) if site == "site-2" else script(site, model))
    assert [each["refusals"] for each in rounds_of(world)] == [{"site-2": refusal}] * 2


def test_a_metric_that_the_script_does_not_send_is_missed_by_name(world: SimpleNamespace) -> None:
    with pytest.raises(TooFewClients):
        played(world, plan_of(metrics=(Metric("loss", Fraction(8)),)))
    assert all("Misused" in (world.homes / site / "refusal.txt").read_text() for site in SITES)


def test_a_silent_site_costs_itself_alone(world: SimpleNamespace) -> None:
    world.lost = lambda engine: engine.lost.add("site-4")
    played(world, plan_of())
    assert [each["survivors"] for each in rounds_of(world)] == [[0, 1, 2, 3]] * 2


def test_rounds_that_are_lost_in_a_row_end_the_job_by_name(world: SimpleNamespace) -> None:
    world.lost = lambda engine: engine.lost.update(SITES[:3])
    with pytest.raises(TooFewClients):
        played(world, plan_of())


def test_a_site_that_asks_for_more_than_the_plan_refuses_before_it_trains(world: SimpleNamespace) -> None:
    asked: list[str] = []

    def watched(site: str, model: Any) -> Shareable:
        asked.append(site)
        return script(site, model)

    (world.homes / "site-3" / "policy.json").write_text(json.dumps({"min_cohort": 50, "protocols": ["oneshot"]}))
    # It opens sums as well and would not do so for so few: the committee is made without it.
    played(world, plan_of(), watched)
    assert "site-3" not in asked
    for each in rounds_of(world):
        assert each["dropped"] == [3]
        assert each["refusals"]["site-3"] == "TaskFailed"


def test_a_task_without_letters_is_not_trained_for(world: SimpleNamespace) -> None:
    recipe = secured(world, plan_of())
    engine = Engine(SITES, recipe.client_parts, script, model_of(), world.run)
    take = engine.apps["site-0"]["input"][0]
    for unmarked in (Shareable(kind=DataKind.WEIGHTS, data=model_of()), Shareable(secagg="letters")):
        with pytest.raises(ContentBlockedException, match=r"^Misused$"):
            take.process(unmarked, engine.context("site-0"))
    engine.close()


def test_a_result_that_nobody_asked_for_does_not_leave(world: SimpleNamespace) -> None:
    recipe = secured(world, plan_of())
    engine = Engine(SITES, recipe.client_parts, script, model_of(), world.run)
    result = engine.apps["site-0"]["output"][0].process(script("site-0", model_of()), engine.context("site-0"))
    assert result == {"secagg": b"\x01Misused"}
    engine.close()


def test_parts_that_were_taken_apart_are_missed(world: SimpleNamespace) -> None:
    recipe = secured(world, plan_of())
    engine = Engine(SITES, recipe.client_parts, script, model_of(), world.run)
    context = SimpleNamespace(get_engine=lambda: SimpleNamespace(get_component=lambda name: None))
    for part in ("input", "output"):
        with pytest.raises(Misused, match="secagg_site"):
            engine.apps["site-0"][part][0].process(Shareable(), context)


def test_a_late_result_is_forgotten(world: SimpleNamespace) -> None:
    controller = rebuilt(secured(world, plan_of()).flows[0].controller)
    late = Shareable(secagg=b"\x00")
    controller.process_result_of_unknown_task(SimpleNamespace(name="site-0"), "train", "1", late, None)
    assert late == {"secagg": b"\x00"}


@pytest.mark.parametrize(
    "more", [{"aggregator": object()}, {"aggregation_weights": {"site-1": 2}}, {"exclude_vars": "b"}]
)
def test_what_needs_single_updates_is_refused(world: SimpleNamespace, more: dict[str, Any]) -> None:
    with pytest.raises(BadPlan, match=next(iter(more))):
        secured(world, plan_of(), plain_recipe(**more))


def test_another_workflow_is_refused(world: SimpleNamespace) -> None:
    class Scaffold(FedAvg):
        pass

    recipe = Recipe()
    with pytest.raises(BadPlan, match="another workflow"):
        secured(world, plan_of(), recipe)
    recipe.flows.append(SimpleNamespace(controller=Scaffold()))
    with pytest.raises(BadPlan, match="Scaffold"):
        secured(world, plan_of(), recipe)


def test_the_toolkit_itself_does_not_travel(world: SimpleNamespace) -> None:
    assert secured(world, plan_of()).left_out == ["secagg", "dp", "protocols"]


def test_noise_without_a_ledger_is_refused(world: SimpleNamespace) -> None:
    with pytest.raises(BadPlan, match="noise without a ledger is not accounted: give ledger="):
        secured(world, plan_of(noise_multiplier=4.0, modulus_bits=32))


@pytest.mark.parametrize("home", ["homes", "homes/site", "homes/{}"])
def test_one_home_for_all_sites_is_refused(world: SimpleNamespace, home: str) -> None:
    with pytest.raises(Misused, match=r"put \{site\} where its name belongs"):
        secured(world, plan_of(), home=home)


@pytest.mark.parametrize("rounds", [0, -1, 2.0, "2", True, None])
def test_rounds_that_are_none_are_refused(world: SimpleNamespace, rounds: Any) -> None:
    with pytest.raises(Misused, match=r"rounds is .* an integer of at least 1"):
        secured(world, plan_of(), plain_recipe(num_rounds=rounds))


def test_a_ledger_without_budget_is_refused(world: SimpleNamespace) -> None:
    with pytest.raises(Misused, match="budget"):
        secured(world, plan_of(), ledger="run.ledger")
