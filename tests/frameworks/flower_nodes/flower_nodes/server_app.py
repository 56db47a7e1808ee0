"""Runs a round and writes down the model and the figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flower_nodes.known import CLIENTS, start
from protocols import RoundPlan
from protocols.adapters.flower import SecAgg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    plan = RoundPlan.recommend(
        CLIENTS,
        dropout=0.25,
        corrupt=0,
        protocol="oneshot",
        max_weight=20_000,
        min_cohort=3,
        patience_seconds=120,
    )
    inner = FedAvg(fraction_evaluate=0.0, min_available_nodes=CLIENTS, min_train_nodes=CLIENTS)
    strategy = SecAgg(inner, plan, home=str(context.run_config["home"]))
    # The SuperLink misses a node after a minute without a heartbeat and says so: nobody waits for longer.
    result = strategy.start(grid, ArrayRecord({"w": Array(start())}), num_rounds=1, timeout=240)
    out = Path(str(context.run_config["out"]))
    np.save(out / "model.npy", result.arrays["w"].numpy())
    figures = {number: dict(record) for number, record in result.train_metrics_clientapp.items()}
    (out / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
