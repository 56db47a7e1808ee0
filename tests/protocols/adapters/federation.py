"""Sites in folders, an app on each, and a server: the federation that the adapter's tests disturb."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from protocols.home import make_homes
from protocols.plan import Metric, RoundPlan
from tests.protocols.adapters import stand_ins
from tests.protocols.adapters.local import LocalGrid, Node, trainer

ADAPTER = "protocols.adapters.flower"
CLIENTS = 5
# One step of 16 bits over [-1, 1], which no mean is off by more than.
STEP = 2.0 / (2**16 - 1)
MODEL = {
    "layer.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "layer.count": np.array(7, np.int64),
    "layer.bias": np.full(3, 0.5, np.float64),
}
WEIGHTS = {who: 3 * who + 1 for who in range(CLIENTS)}
METRICS = {who: {"num-examples": WEIGHTS[who], "loss": 0.8125 + who / 7} for who in range(CLIENTS)}


@contextmanager
def flower_names() -> Iterator[Any]:
    """The adapter's names and Flower's, of stand-ins or of the real package."""
    with stand_ins.importable():
        modules = ("flwr.app", "flwr.clientapp", "flwr.serverapp", ADAPTER)
        names = {key: value for name in modules for key, value in vars(importlib.import_module(name)).items()}
        yield SimpleNamespace(**names, strategies=importlib.import_module("flwr.serverapp.strategy"))


@contextmanager
def place_in_memory() -> Iterator[Path]:
    """A folder in memory where there is one: each answer is synced to disk before it leaves, some thousand in all."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def deltas_of(clients: int, model: Mapping[str, np.ndarray] = MODEL, seed: int = 3) -> dict[int, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    floats = {name: array for name, array in model.items() if array.dtype.kind == "f"}
    return {
        who: {name: rng.uniform(-0.5, 0.5, array.shape).astype(array.dtype) for name, array in floats.items()}
        for who in range(clients)
    }


def weighted(deltas: Mapping[int, Mapping[str, np.ndarray]], name: str, clients: Any = range(CLIENTS)) -> np.ndarray:
    total = sum(WEIGHTS[who] for who in clients)
    return sum(WEIGHTS[who] * deltas[who][name].astype(np.float64) for who in clients) / total


@dataclass
class Federation:
    """Sites in folders, one app on each, and a server that has not begun."""

    flower: Any
    folder: Path
    plan: RoundPlan
    clients: int = CLIENTS
    openers: int | None = None
    model: Mapping[str, np.ndarray] = field(default_factory=lambda: MODEL)
    deltas: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    demands: Mapping[str, Any] | None = None
    clear: frozenset[str] = frozenset()
    grid: Any = None
    trained: int = 0

    def __post_init__(self) -> None:
        self.roster = make_homes(self.folder, self.clients, self.plan.protocol, self.openers)
        self.deltas = self.deltas or deltas_of(self.clients, self.model)
        demands = {"protocols": frozenset({self.plan.protocol})} | dict(self.demands or {})
        policy = self.roster.policy(**demands)
        self.app = self.flower.ClientApp(mods=[self.flower.client_mod(policy, home=self.folder, clear=self.clear)])
        train = trainer(self.deltas, {who: METRICS.get(who, METRICS[0]) for who in range(self.clients)})

        @self.app.train()
        def counted(message: Any, context: Any) -> Any:
            self.trained += 1
            return train(message, context)

        @self.app.evaluate()
        def measured(message: Any, context: Any) -> Any:
            record = self.flower.MetricRecord(dict(METRICS[context.node_config["partition-id"]]))
            return self.flower.Message(self.flower.RecordDict({"metrics": record}), reply_to=message)

        self.grid = LocalGrid({100 + who: Node(self.app, self.context(who)) for who in range(self.clients)})

    def context(self, who: int) -> Any:
        return self.flower.Context(1, 100 + who, {"partition-id": who}, self.flower.RecordDict(), {})

    def arrays(self) -> Any:
        return self.flower.ArrayRecord({name: self.flower.Array(array) for name, array in self.model.items()})

    def strategy(self, inner: Any = None, ledger: Any = None, **settings: Any) -> Any:
        inner = inner or self.flower.strategies.FedAvg()
        settings = {"poll_seconds": 0.001, "evaluate": "off"} | settings
        return self.flower.SecAgg(inner, self.plan, ledger, home=self.folder / "server", **settings)

    def run(self, rounds: int = 1, **settings: Any) -> Any:
        return self.strategy(**settings).start(self.grid, self.arrays(), num_rounds=rounds, timeout=0.01)

    def disturb(self, who: int, answer: Callable[..., list[Any]], only: str = "train") -> None:
        """This node's messages of one kind fare as `answer` has it, the others well."""
        node = self.grid.nodes[100 + who]

        def by_kind(message: Any, app: Any) -> list[Any]:
            kind = message.content["secagg"]["kind"] if "secagg" in message.content else "plain"
            return answer(message, app) if kind == only else [app(message)]

        node.answer = by_kind


def plan_for(clients: int = CLIENTS, **wishes: Any) -> RoundPlan:
    usual = {
        "dropout": Fraction(1, 5),
        "corrupt": 0,
        "protocol": "oneshot",
        "max_weight": 100,
        "min_cohort": 3,
        "patience_seconds": 1,
        "metrics": (Metric("loss", 8),),
    }
    return RoundPlan.recommend(clients, **(usual | wishes))


def off_by(result: Any, name: str, expected: np.ndarray) -> float:
    return float(np.abs(result.arrays[name].numpy() - expected).max())
