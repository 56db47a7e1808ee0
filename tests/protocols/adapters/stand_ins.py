"""The part of Flower's surface that the adapter touches, in plain Python: its tests run where flwr is not installed.

Made after flwr 1.41.0 and 1.42.0, and held against the real package by the same tests in its own environment.
"""

from __future__ import annotations

import enum
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Array:
    def __init__(self, ndarray: Any = None, **direct: Any) -> None:
        if ndarray is not None:
            if not isinstance(ndarray, np.ndarray):
                raise TypeError("Invalid arguments for Array")
            buffer = BytesIO()
            np.save(buffer, ndarray, allow_pickle=False)
            shape = tuple(ndarray.shape)
            direct = {"dtype": str(ndarray.dtype), "shape": shape, "stype": "numpy.ndarray", "data": buffer.getvalue()}
        self.__dict__.update(direct)

    def numpy(self) -> Any:
        if self.stype != "numpy.ndarray":
            raise TypeError(f"Unsupported serialization type for numpy conversion: '{self.stype}'")
        return np.load(BytesIO(self.data), allow_pickle=False)


class ArrayRecord(dict):
    pass


class ConfigRecord(dict):
    pass


class MetricRecord(dict):
    pass


class RecordDict(dict):
    @property
    def array_records(self) -> dict:
        return {name: record for name, record in self.items() if isinstance(record, ArrayRecord)}

    @property
    def metric_records(self) -> dict:
        return {name: record for name, record in self.items() if isinstance(record, MetricRecord)}


class Error(SimpleNamespace):
    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(code=code, reason=reason)


@dataclass
class Metadata:
    src_node_id: int
    dst_node_id: int | None
    message_type: str | None
    ttl: float
    reply_to_message_id: str = ""
    _message_id: str = ""

    @property
    def message_id(self) -> str:
        return self._message_id


class Message:
    def __init__(
        self,
        content: Any,
        dst_node_id: int | None = None,
        message_type: str | None = None,
        *,
        ttl: float | None = None,
        reply_to: Any = None,
    ) -> None:
        failed = isinstance(content, Error)
        self._content, self._error = (None, content) if failed else (content, None)
        self.metadata = Metadata(1, dst_node_id, message_type, ttl or 43200.0)
        if reply_to is not None:
            asked = reply_to.metadata
            self.metadata = Metadata(asked.dst_node_id, asked.src_node_id, asked.message_type, asked.ttl)
            self.metadata.reply_to_message_id = asked.message_id

    def has_error(self) -> bool:
        return self._error is not None

    def has_content(self) -> bool:
        return self._content is not None

    @property
    def error(self) -> Any:
        return self._error

    @property
    def content(self) -> Any:
        if self._content is None:
            raise ValueError("Message content is None")
        return self._content

    @content.setter
    def content(self, value: Any) -> None:
        self._content = value


class Context(SimpleNamespace):
    def __init__(self, run_id: int, node_id: int, node_config: dict, state: Any, run_config: dict) -> None:
        super().__init__(run_id=run_id, node_id=node_id, node_config=node_config, state=state, run_config=run_config)


class ClientApp:
    def __init__(self, mods: Iterable[Any] = ()) -> None:
        self._mods, self._functions = list(mods), {}

    def _registering(self, kind: str) -> Callable[[Any], Any]:
        def register(function: Any) -> Any:
            for mod in reversed(self._mods):
                function = partial(_through, mod, function)
            self._functions[kind] = function
            return function

        return register

    def train(self, action: str = "") -> Callable[[Any], Any]:
        return self._registering(f"train.{action}" if action else "train")

    def evaluate(self) -> Callable[[Any], Any]:
        return self._registering("evaluate")

    def __call__(self, message: Any, context: Any) -> Any:
        return self._functions[message.metadata.message_type](message, context)


def _through(mod: Any, inner: Any, message: Any, context: Any) -> Any:
    return mod(message, context, inner)


class Grid:
    pass


class NeighboringRelation(enum.StrEnum):
    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    REPLACE_ONE = "replace-one"


class SamplingMethod(enum.StrEnum):
    POISSON = "poisson"
    WITHOUT_REPLACEMENT = "without-replacement"
    NO_AMPLIFICATION = "no-amplification"


@dataclass(frozen=True)
class PrivacyConfig:
    target_delta: float
    population_size: int
    neighboring_relation: NeighboringRelation
    sampling_method: SamplingMethod
    max_epsilon: float | None = None


@dataclass(frozen=True)
class GaussianPrivacyEvent:
    noise_multiplier: float
    sample_size: int
    population_size: int


@dataclass(frozen=True)
class PrivacySpent:
    epsilon: float
    delta: float
    num_releases: int
    accounting_method: str
    optimal_order: float | None = None


class Strategy:
    def start(
        self,
        grid: Any,
        initial_arrays: Any,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: Any = None,
        evaluate_config: Any = None,
        evaluate_fn: Any = None,
    ) -> Any:
        result = SimpleNamespace(arrays=ArrayRecord(), train_metrics_clientapp={}, evaluate_metrics_clientapp={})
        arrays = initial_arrays
        train_config, evaluate_config = train_config or ConfigRecord(), evaluate_config or ConfigRecord()
        for number in range(1, num_rounds + 1):
            messages = self.configure_train(number, arrays, train_config, grid)
            trained, metrics = self.aggregate_train(number, grid.send_and_receive(messages, timeout=timeout))
            if trained is not None:
                result.arrays = arrays = trained
            if metrics is not None:
                result.train_metrics_clientapp[number] = metrics
            messages = self.configure_evaluate(number, arrays, evaluate_config, grid)
            measured = self.aggregate_evaluate(number, grid.send_and_receive(messages, timeout=timeout))
            if measured is not None:
                result.evaluate_metrics_clientapp[number] = measured
        return result


def aggregate_metricrecords(contents: list, weight_key: str) -> MetricRecord:
    records = [next(iter(content.metric_records.values())) for content in contents]
    total = sum(record[weight_key] for record in records)
    names = [name for name in records[0] if name != weight_key]
    return MetricRecord({n: sum(r[n] * r[weight_key] / total for r in records) for n in names})


class FedAvg(Strategy):
    def __init__(
        self,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        weighted_by_key: str = "num-examples",
        train_metrics_aggr_fn: Any = None,
        evaluate_metrics_aggr_fn: Any = None,
    ) -> None:
        self.fraction_train, self.fraction_evaluate = fraction_train, fraction_evaluate
        self.weighted_by_key, self.arrayrecord_key, self.configrecord_key = weighted_by_key, "arrays", "config"
        self.train_metrics_aggr_fn = train_metrics_aggr_fn or aggregate_metricrecords
        self.evaluate_metrics_aggr_fn = evaluate_metrics_aggr_fn or aggregate_metricrecords

    def summary(self) -> None:
        pass

    def _configured(self, kind: str, number: int, arrays: Any, config: Any, grid: Any) -> list:
        config["server-round"] = number
        # One object for all nodes, as the real one does it.
        record = RecordDict({"arrays": arrays, "config": config})
        return [Message(record, node, kind) for node in grid.get_node_ids()]

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> list:
        return self._configured("train", server_round, arrays, config, grid)

    def configure_evaluate(self, server_round: int, arrays: Any, config: Any, grid: Any) -> list:
        return self._configured("evaluate", server_round, arrays, config, grid) if self.fraction_evaluate else []

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
        contents = [reply.content for reply in replies if reply.has_content()]
        if not contents:
            return None, None
        weights = [next(iter(each.metric_records.values()))[self.weighted_by_key] for each in contents]
        mean: dict[str, Any] = {}
        for content, weight in zip(contents, weights, strict=True):
            for name, array in next(iter(content.array_records.values())).items():
                mean[name] = mean.get(name, 0) + array.numpy() * (weight / sum(weights))
        arrays = ArrayRecord({name: Array(np.asarray(value)) for name, value in mean.items()})
        return arrays, self.train_metrics_aggr_fn(contents, self.weighted_by_key)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Any]) -> Any:
        contents = [reply.content for reply in replies if reply.has_content()]
        return self.evaluate_metrics_aggr_fn(contents, self.weighted_by_key) if contents else None


def _strategies() -> dict[str, type]:
    """Names as Flower exports them; those that need single updates aggregate in a way of their own."""
    of_a_mean = {n: type(n, (FedAvg,), {}) for n in ("FedProx", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad")}
    alone = {
        name: type(name, (FedAvg,), {"aggregate_train": lambda self, server_round, replies: (None, None)})
        for name in ("FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan", "QFedAvg", "FedXgbBagging")
    }
    wrapping = {"DifferentialPrivacyServerSideFixedClipping": type("X", (Strategy,), {})}
    for name, each in wrapping.items():
        each.__name__ = name
    return {"Strategy": Strategy, "FedAvg": FedAvg, **of_a_mean, **alone, **wrapping}


@contextmanager
def importable() -> Iterator[None]:
    """Inside, the adapter is imported afresh over these classes, unless flwr itself is installed."""
    if importlib.util.find_spec("flwr") is not None:
        _identify()
        yield
        return
    own = {name: module for name, module in sys.modules.items() if name.startswith("protocols.adapters.flower")}
    planted = _planted()
    for name in own:
        del sys.modules[name]
    sys.modules.update(planted)
    try:
        yield
    finally:
        for name in [*planted, *(n for n in sys.modules if n.startswith("protocols.adapters.flower"))]:
            sys.modules.pop(name, None)
        sys.modules.update(own)


def _planted() -> dict[str, ModuleType]:
    app = [Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict]
    server = [Grid, GaussianPrivacyEvent, NeighboringRelation, PrivacyConfig, PrivacySpent, SamplingMethod]
    return {
        "flwr": _module("flwr", {}),
        "flwr.app": _module("flwr.app", {each.__name__: each for each in app}),
        "flwr.clientapp": _module("flwr.clientapp", {"ClientApp": ClientApp}),
        "flwr.serverapp": _module("flwr.serverapp", {each.__name__: each for each in server}),
        "flwr.serverapp.strategy": (strategy := _module("flwr.serverapp.strategy", _strategies())),
        "flwr.serverapp.strategy.strategy_utils": _attached(
            strategy, "strategy_utils", {"aggregate_metricrecords": aggregate_metricrecords}
        ),
    }


def _module(name: str, names: dict[str, Any]) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(names)
    module.__path__ = []
    return module


def _attached(parent: ModuleType, name: str, names: dict[str, Any]) -> ModuleType:
    module = _module(f"{parent.__name__}.{name}", names)
    setattr(parent, name, module)
    return module


def _identify() -> None:
    """Outside a run the real messages cannot be made: they ask who speaks. What Flower imports may warn of its age."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("flwr.clientapp", "flwr.serverapp.strategy"):
            importlib.import_module(name)
        identity = importlib.import_module("flwr.supercore.task_identity").TaskIdentity
    identity.task_id = identity.run_id = identity.node_id = 1
