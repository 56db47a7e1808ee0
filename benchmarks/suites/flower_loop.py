"""What secure sums add to a round of Flower's simulation engine: one-shot rounds beside plain FedAvg.

    ours     SecAgg(FedAvg) and the mod: instruction, masks, a second exchange with the committee
    Flower   FedAvg, the same clients and the same updates in the clear

Both run by the wall clock on all cores, each in a simulation of its own, whose first round, in which ray starts and a
committee is convened, is left out. Flower asks for replies every tenth of a second, so that a round takes one such
turn more or less by luck: medians are compared, not the least. It wants a quiet machine.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Effort, Row, Taken
from protocols.home import make_homes
from protocols.plan import RoundPlan

CLIENTS = 10
LIMIT_SECONDS = 0.5
ROUNDS_PER_REPETITION = 4
BITS = 16
ENVIRONMENT = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_DISABLE_DASHBOARD": "1", "PYTHONWARNINGS": "ignore"}


def rows(effort: Effort) -> Iterator[Row]:
    os.environ.update(ENVIRONMENT)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    dimension, rounds = effort.dimension // 10, ROUNDS_PER_REPETITION * effort.repeats
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLWR_HOME"] = folder
        plain, plain_error = simulated(dimension, rounds, None)
        make_homes(Path(folder) / "homes", CLIENTS)
        secure, error = simulated(dimension, rounds, Path(folder) / "homes")
    yield Row(
        suite="flower_loop",
        case=f"added to a simulated round, {CLIENTS} clients, d = {dimension:,}",
        unit="s",
        ours=usual(secure).plus(-plain.median),
        peer_name="plain FedAvg, the whole round",
        peer=usual(plain),
        limit=LIMIT_SECONDS,
        judged="ours",
        ours_error=error,
        peer_error=plain_error,
        error_limit=rounds * 2 / 2**BITS,
        note=f"wall clock, {os.cpu_count()} cores, medians",
    )


def usual(taken: Taken) -> Taken:
    """The same, to be compared by its median."""
    return replace(taken, least=taken.median)


def update_of(who: int, dimension: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What this client adds to whatever model it receives."""
    return np.random.default_rng(who).uniform(-0.1, 0.1, dimension).astype(np.float32)


def simulated(dimension: int, rounds: int, homes: Path | None) -> tuple[Taken, float]:
    """Seconds per round after the first, and the root mean square error of the model in the end."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    from protocols.adapters.flower import SecAgg, client_mod

    client = ClientApp(mods=[] if homes is None else [client_mod(home=homes)])
    server, ended, results = ServerApp(), [], []

    def train(message: Any, context: Any) -> Any:
        added = update_of(context.node_config["partition-id"], dimension)
        arrays = ArrayRecord({"w": Array(message.content["arrays"]["w"].numpy() + added)})
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=message)

    def timed(number: int, arrays: Any) -> None:
        ended.append(time.perf_counter())

    def main(grid: Any, context: Any) -> None:
        inner = FedAvg(fraction_evaluate=0.0, min_available_nodes=CLIENTS, min_train_nodes=CLIENTS)
        plan = RoundPlan.recommend(CLIENTS, dropout=0.2, corrupt=0, bits=BITS, protocol="oneshot")
        strategy = inner if homes is None else SecAgg(inner, plan, home=homes / "server", evaluate="off")
        start = ArrayRecord({"w": Array(np.zeros(dimension, np.float32))})
        results.append(strategy.start(grid, start, rounds + 1, evaluate_fn=timed))

    client.train()(train)
    server.main()(main)
    run_simulation(server, client, num_supernodes=CLIENTS, backend_config={"client_resources": {"num_cpus": 1}})
    expected = (rounds + 1) * sum(update_of(who, dimension).astype(np.float64) for who in range(CLIENTS)) / CLIENTS
    error = float(np.sqrt(np.mean((results[0].arrays["w"].numpy() - expected) ** 2)))
    return Taken.of([float(seconds) for seconds in np.diff(ended)[1:]]), error
