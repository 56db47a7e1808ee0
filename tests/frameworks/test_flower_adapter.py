"""The Flower adapter inside Flower: beside its plain strategies and mods, and in its simulation engine.

Runs in the environment of Flower (`make test-flower`) and is skipped by name elsewhere.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here: run `make test-flower`")

from protocols.errors import MissingExtra, Misused
from protocols.home import make_homes
from tests.protocols.adapters.federation import (
    CLIENTS,
    METRICS,
    MODEL,
    STEP,
    Federation,
    flower_names,
    off_by,
    place_in_memory,
    plan_for,
)
from tests.protocols.adapters.local import LocalGrid, Node, trainer

# By how much each strategy may multiply an error of the mean; the adaptive ones divide it by a root of squares.
STRATEGIES = {
    "FedAvg": ({}, 1),
    "FedProx": ({"proximal_mu": 0.1}, 1),
    "FedAvgM": ({"server_momentum": 0.9, "server_learning_rate": 0.5}, 2),
    "FedAdam": ({"eta": 0.1}, 1),
    "FedYogi": ({"eta": 0.01}, 1),
    "FedAdagrad": ({"eta": 0.1}, 4),
}
ROUNDS = 2
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "flower_app"


@pytest.fixture(scope="module")
def flower() -> Iterator[Any]:
    with flower_names() as names:
        yield names


@pytest.fixture
def made(flower: Any) -> Iterator[Federation]:
    with place_in_memory() as folder:
        yield Federation(flower, folder / "homes", plan_for())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_reaches_what_it_reaches_without_masks(flower: Any, made: Federation, name: str) -> None:
    settings, factor = STRATEGIES[name]

    def strategy() -> Any:
        return getattr(flower.strategies, name)(fraction_evaluate=0.0, min_train_nodes=CLIENTS, **settings)

    secure = made.run(ROUNDS, inner=strategy())
    plain = flower.ClientApp()
    plain.train()(trainer(made.deltas, METRICS))
    made.grid.nodes = {100 + who: Node(plain, made.context(who)) for who in range(CLIENTS)}
    expected = strategy().start(made.grid, made.arrays(), num_rounds=ROUNDS)
    for layer in ("layer.weight", "layer.bias"):
        assert off_by(secure, layer, expected.arrays[layer].numpy()) <= factor * ROUNDS * STEP
        assert secure.arrays[layer].numpy().dtype == MODEL[layer].dtype
    assert secure.arrays["layer.count"].numpy() == MODEL["layer.count"]


def test_clipping_by_flowers_mod_happens_before_the_mask(flower: Any, made: Federation) -> None:
    """Its mod wants one ArrayRecord and one ConfigRecord: ours are gone by then."""
    from flwr.clientapp.mod import fixedclipping_mod

    bound, made.model = 0.25, {"w": np.zeros(12, np.float32)}
    deltas = {who: {"w": np.full(12, 1.0, np.float32)} for who in range(CLIENTS)}
    app = flower.ClientApp(mods=[flower.client_mod(home=made.folder), fixedclipping_mod])
    app.train()(trainer(deltas, METRICS))
    made.grid.nodes = {100 + who: Node(app, made.context(who)) for who in range(CLIENTS)}
    config = flower.ConfigRecord({"clipping_norm": bound})
    result = made.strategy().start(made.grid, made.arrays(), num_rounds=1, timeout=0.01, train_config=config)
    assert np.linalg.norm(result.arrays["w"].numpy()) == pytest.approx(bound, abs=12 * STEP)


def test_a_context_that_is_lost_between_two_messages_costs_nothing(made: Federation) -> None:
    for who in range(CLIENTS):
        node = made.grid.nodes[100 + who]
        node.answer = lambda message, app, node=node, who=who: [made.app(message, made.context(who))]
    result = made.run(2)
    assert result.train_metrics_clientapp[2]["secagg-survivors"] == CLIENTS


# --- the simulation engine --------------------------------------------------------------------------------

NODES = 6
ROGUE, ROGUES_ROUND = 5, 2


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three rounds of six nodes, of which one raises in the second."""
    folder = tmp_path_factory.mktemp("simulation")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # What ray and Flower say about their own future.
        warnings.simplefilter("ignore")
        patch.setenv("FLWR_HOME", str(folder / "flwr"))
        patch.setenv("FLWR_TELEMETRY_ENABLED", "0")
        patch.setenv("RAY_DISABLE_DASHBOARD", "1")
        patch.setenv("PYTHONWARNINGS", "ignore")
        return simulate(folder)


def simulate(folder: Path) -> Any:
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    from protocols.adapters.flower import SecAgg, client_mod

    plan = plan_for(NODES, max_weight=1, metrics=(), patience_seconds=60)
    roster = make_homes(folder / "homes", NODES)
    policy = roster.policy(min_cohort=3, protocols=frozenset({"oneshot"}))
    client, server, results = ClientApp(mods=[client_mod(policy, home=folder / "homes")]), ServerApp(), []

    @client.train()
    def train(message: Any, context: Any) -> Any:
        who = context.node_config["partition-id"]
        if (who, message.content["config"]["server-round"]) == (ROGUE, ROGUES_ROUND):
            raise RuntimeError("a private text")
        arrays = {name: Array(array.numpy() + 0.01 * (who + 1)) for name, array in message.content["arrays"].items()}
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=message)

    @server.main()
    def main(grid: Any, context: Any) -> None:
        inner = FedAvg(fraction_evaluate=0.0, min_available_nodes=NODES, min_train_nodes=NODES)
        strategy = SecAgg(inner, plan, home=folder / "homes" / "server")
        results.append(strategy.start(grid, ArrayRecord({"w": Array(np.zeros(40))}), num_rounds=3, timeout=60))

    run_simulation(server, client, num_supernodes=NODES, backend_config={"client_resources": {"num_cpus": 1}})
    return results[0]


def test_a_simulation_ends_in_the_mean_of_those_who_trained(simulated: Any) -> None:
    everybody = 0.01 * np.mean(range(1, NODES + 1))
    without_one = 0.01 * np.mean(range(1, NODES))
    assert np.abs(simulated.arrays["w"].numpy() - (2 * everybody + without_one)).max() <= 3 * STEP


def test_a_simulation_names_who_was_lost_and_takes_two_exchanges(simulated: Any) -> None:
    figures = simulated.train_metrics_clientapp
    assert [figures[number]["secagg-survivors"] for number in (1, 2, 3)] == [NODES, NODES - 1, NODES]
    assert [figures[number]["secagg-exchanges"] for number in (1, 2, 3)] == [3, 2, 2]


# --- the example ------------------------------------------------------------------------------------------


@pytest.fixture
def example(flower: Any) -> Iterator[Any]:
    """The modules of its two apps, read anew, and the folder where it will make its keys."""
    with place_in_memory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        patch.setenv("SECAGG_HOMES", str(folder / "homes"))
        client, server = (importlib.import_module(f"flower_app.{side}_app") for side in ("client", "server"))
        yield SimpleNamespace(client=client, server=server, homes=folder / "homes")
        for name in [name for name in sys.modules if name.partition(".")[0] == "flower_app"]:
            del sys.modules[name]


def run_example(flower: Any, example: Any, nodes: int) -> None:
    contexts = [flower.Context(1, who, {"partition-id": who}, flower.RecordDict(), {}) for who in range(nodes)]
    grid = LocalGrid({100 + who: Node(example.client.app, context) for who, context in enumerate(contexts)})
    settings = {"num-server-rounds": 3, "learning-rate": 0.5}
    example.server.app(grid, flower.Context(1, 0, {}, flower.RecordDict(), settings))


def test_the_example_learns_digits(flower: Any, example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Its two apps as they are, without the processes around them; the keys are made on the way."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed here: run `make test-flower`")
    run_example(flower, example, nodes=10)
    accuracy = float(capsys.readouterr().out.split("accuracy")[-1])
    # Constant models get a tenth right.
    assert accuracy > 0.8


def test_the_example_says_how_to_start_enough_nodes(flower: Any, example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed here: run `make test-flower`")
    monkeypatch.setattr(example.server, "WAIT_SECONDS", 0.0)
    with pytest.raises(Misused, match=r'2 nodes are connected .* --federation-config "num-supernodes=10" --stream'):
        run_example(flower, example, nodes=2)
    assert not example.homes.exists()


def test_the_example_misses_its_data_before_it_waits_for_nodes(
    flower: Any, example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match="report"):
        run_example(flower, example, nodes=0)
    assert not example.homes.exists()
