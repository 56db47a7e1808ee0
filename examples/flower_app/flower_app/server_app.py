"""The server: a strategy as ever, wrapped; it never sees an update, a weight or a metric of one node."""

from __future__ import annotations

import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flower_app.task import CLIENTS, HOMES, MODEL, dealt
from protocols import Metric, RoundPlan
from protocols.adapters.flower import SecAgg
from protocols.errors import Misused
from protocols.home import make_homes

WAIT_SECONDS = 30.0

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    # Data and nodes first: what is missing is said before any keys are made.
    dealt()
    wait_for_nodes(grid)
    if not HOMES.exists():
        # In a rehearsal one machine may know all keys. Deployed, each site has its own folder, made beforehand.
        make_homes(HOMES, CLIENTS)
    plan = RoundPlan.recommend(
        CLIENTS,
        dropout=0.2,
        corrupt=0,
        protocol="oneshot",
        clip=1.0,
        max_weight=1000,
        metrics=(Metric("loss", clip=8),),
    )
    inner = FedAvg(min_available_nodes=CLIENTS, min_train_nodes=CLIENTS, min_evaluate_nodes=CLIENTS)
    strategy = SecAgg(inner, plan, home=HOMES / "server", evaluate_metrics=(Metric("accuracy", clip=1),))
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(MODEL.start(np.random.default_rng(0))),
        train_config=ConfigRecord({"lr": context.run_config["learning-rate"]}),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=measured,
    )
    print(f"accuracy {result.evaluate_metrics_serverapp[context.run_config['num-server-rounds']]['accuracy']:.3f}")


def wait_for_nodes(grid: Grid) -> None:
    """Raises: Misused where fewer nodes than clients connect: the strategy would wait for them for ever."""
    end = time.monotonic() + WAIT_SECONDS
    while (connected := len(list(grid.get_node_ids()))) < CLIENTS:
        if time.monotonic() >= end:
            raise Misused(
                f"{connected} nodes are connected and this app deals its data to {CLIENTS}: "
                f'flwr run . --federation-config "num-supernodes={CLIENTS}" --stream'
            )
        time.sleep(0.1)


def measured(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """On the server's own examples."""
    score = MODEL.score(arrays.to_numpy_ndarrays(), dealt().public)
    return MetricRecord({"accuracy": score.accuracy, "loss": score.loss})
