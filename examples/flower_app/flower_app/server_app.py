"""The server: a strategy as ever, wrapped; it never sees an update, a weight or a metric of one node."""

from __future__ import annotations

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flower_app.task import CLIENTS, DEALT, HOMES, MODEL
from protocols import Metric, RoundPlan
from protocols.adapters.flower import SecAgg
from protocols.home import make_homes

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
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


def measured(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """On the server's own examples."""
    score = MODEL.score(arrays.to_numpy_ndarrays(), DEALT.public)
    return MetricRecord({"accuracy": score.accuracy, "loss": score.loss})
