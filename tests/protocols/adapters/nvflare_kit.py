"""Stand-ins of NVFlare, as far as the adapters use it: both of its programming interfaces, in one process."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ADAPTERS = tuple(f"protocols.adapters.{name}" for name in ("nvflare", "nvflare_parties", "nvflare_tasks"))


def rebuilt(given: Any) -> Any:
    """As NVFlare makes a component: from JSON of the attributes that are named like the parameters of `__init__`."""
    names = [name for name in inspect.signature(type(given).__init__).parameters if name != "self"]
    return type(given)(**json.loads(json.dumps({name: getattr(given, name) for name in names})))


class Collab:
    """The facade: who is called, from where, and what comes back of it; a site in `lost` never answers."""

    def __init__(self) -> None:
        self.site_name, self.clients = "server", list[SimpleNamespace]()
        self.objects: dict[str, Any] = {}
        self.lost: set[str] = set()
        self.said: list[bytes] = []
        self.workspace: Any = None
        self.fl_ctx: Any = None

    @staticmethod
    def publish(method: Any) -> Any:
        method.published = True
        return method

    main = final = staticmethod(lambda method: method)

    def get_clients(self, names: list[str]) -> Any:
        [name] = names

        def called(**options: Any) -> Any:
            assert options["blocking"] is False
            assert options["timeout"] > 0
            return SimpleNamespace(step=lambda letters, model: self._call(name, letters, model))

        return called

    def _call(self, name: str, letters: bytes, model: Any) -> list[tuple[str, bytes]]:
        if name in self.lost:
            return []
        self.site_name = name
        try:
            reply = self.objects[name].step(letters, model)
        finally:
            self.site_name = "server"
        self.said.append(reply)
        return [(name, reply)]


class Recipe:
    """A recipe of either kind: what was given to it, and what was added."""

    def __init__(self, **given: Any) -> None:
        self.given, self.server_files, self.client_files = given, list[str](), list[str]()
        self.left_out: list[str] = []
        self.flows: list[SimpleNamespace] = []
        self.client_parts: list[tuple[str, Any, Any]] = []
        server = SimpleNamespace(app_config=SimpleNamespace(workflows=self.flows))
        self._job = SimpleNamespace(set_app_packages=self.left_out.extend, _deploy_map={"server": server})

    def add_server_file(self, path: str) -> None:
        self.server_files.append(path)

    def add_client_file(self, path: str) -> None:
        self.client_files.append(path)

    def add_client_input_filter(self, part: Any, tasks: list[str]) -> None:
        self.client_parts.append(("input", part, tasks))

    def add_client_output_filter(self, part: Any, tasks: list[str]) -> None:
        self.client_parts.append(("output", part, tasks))

    def _add_to_client_apps(self, part: Any, id: str | None = None, tasks: list[str] | None = None) -> None:
        self.client_parts.append(("component", part, id) if id else ("executor", part, tasks))


class DataKind(StrEnum):
    WEIGHTS = "WEIGHTS"
    WEIGHT_DIFF = "WEIGHT_DIFF"
    METRICS = "METRICS"


class ParamsType(StrEnum):
    FULL = "FULL"


class MetaKey:
    INITIAL_METRICS = "initial_metrics"
    NUM_STEPS_CURRENT_ROUND = "NUM_STEPS_CURRENT_ROUND"


class ReturnCode:
    OK = "OK"
    EXECUTION_EXCEPTION = "EXECUTION_EXCEPTION"
    TASK_DATA_FILTER_ERROR = "TASK_DATA_FILTER_ERROR"


class EventType:
    START_RUN = "start"
    END_RUN = "end"


class ContentBlockedException(Exception):
    pass


class Shareable(dict[str, Any]):
    """A dict with a return code."""

    def get_return_code(self, default: Any = None) -> Any:
        return self.get("rc", default)


class Component:
    """What filters, executors and widgets begin with."""


class FLModel:
    def __init__(self, params: Any = None, params_type: Any = None, metrics: Any = None, **rest: Any) -> None:
        self.params, self.params_type, self.metrics, self.rest = params, params_type, metrics, rest


class Task:
    def __init__(
        self,
        name: str,
        data: Any,
        props: Any = None,
        timeout: int = 0,
        before_task_sent_cb: Any = None,
        after_task_sent_cb: Any = None,
        result_received_cb: Any = None,
    ) -> None:
        assert type(timeout) is int
        assert timeout > 0
        self.name, self.data, self.result_received_cb = name, data, result_received_cb
        self.completion_status: str | None = None


def from_shareable(shareable: Shareable) -> Any:
    return SimpleNamespace(data_kind=shareable["kind"], data=shareable["data"], meta=shareable.get("meta", {}))


class FedAvg(Component):
    """NVFlare's controller: the loop is its own, what a subclass replaces is called from where it is called there."""

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)
        self._persistor_id = given.get("persistor_id", "")
        self.aggregator = given.get("aggregator")
        self.aggregation_weights = given.get("aggregation_weights", {})
        self.exclude_vars, self.enable_tensor_disk_offload = given.get("exclude_vars"), False
        self.communicator: Any = None
        self.engine: Any = None
        self.fl_ctx = SimpleNamespace(get_job_id=lambda: "job")
        self.abort_signal = SimpleNamespace(triggered=False)
        self.models: list[Any] = []
        self.warnings: list[str] = []

    def set_communicator(self, communicator: Any) -> None:
        self.communicator = communicator

    def run(self) -> None:
        model = FLModel(self.engine.start)
        for number in range(self.start_round, self.start_round + self.num_rounds):
            self.current_round = number
            self.send_model(task_name=self.task_name, targets=self.sample_clients(3), data=model, callback=None)
            result = self._get_aggregated_result()
            assert result.params_type is ParamsType.FULL
            model = FLModel(result.params, metrics=result.metrics)
            self.models.append(model)

    def broadcast(self, task: Task, fl_ctx: Any, targets: list[str], min_responses: int) -> None:
        [site] = targets
        result = self.engine.perform(site, task)
        if result is not None:
            client_task = SimpleNamespace(client=SimpleNamespace(name=site), result=result)
            task.result_received_cb(client_task, fl_ctx)
            assert client_task.result is None
        task.completion_status = "done"

    def _build_shareable(self, model: FLModel) -> Shareable:
        return Shareable(kind=DataKind.WEIGHTS, data=model.params)

    def _prepare_task_data(self, client_task: Any, fl_ctx: Any) -> None: ...

    def info(self, text: str) -> None: ...

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    # What a subclass replaces.
    def sample_clients(self, num_clients: int) -> list[str]:
        raise AssertionError

    send_model = _get_aggregated_result = sample_clients


class Engine:
    """Sites that perform tasks as NVFlare's client runner does: input filter, executor or script, output filter."""

    def __init__(self, sites: list[str], parts: list[tuple[str, Any, Any]], script: Any, start: Any, run: Path) -> None:
        self.sites, self.script, self.start, self.run = sites, script, start, run
        self.apps = {site: {kind: (rebuilt(part), where) for kind, part, where in parts} for site in sites}
        self.lost: set[str] = set()
        self.said: list[Any] = []

    def get_clients(self) -> list[Any]:
        return [SimpleNamespace(name=site) for site in self.sites]

    def get_workspace(self) -> Any:
        return SimpleNamespace(get_run_dir=lambda job: str(self.run))

    def context(self, site: str) -> Any:
        component, where = self.apps[site]["component"]
        found = {where: component}
        return SimpleNamespace(
            get_engine=lambda: SimpleNamespace(get_component=found.get), get_identity_name=lambda: site
        )

    def perform(self, site: str, task: Task) -> Any:
        if site in self.lost:
            return None
        result = self._performed(site, task)
        self.said.append(result)
        return result

    def _performed(self, site: str, task: Task) -> Any:
        app, context = self.apps[site], self.context(site)
        executor, tasks = app["executor"]
        if task.name in tasks:
            return executor.execute(task.name, Shareable(task.data), context, None)
        assert task.name in app["input"][1]
        assert task.name in app["output"][1]
        try:
            data = app["input"][0].process(Shareable(task.data), context)
        except ContentBlockedException:
            return Shareable(rc=ReturnCode.TASK_DATA_FILTER_ERROR)
        assert data.keys() == {"kind", "data"}
        try:
            result = self.script(site, data["data"])
        except ValueError:
            result = Shareable(rc=ReturnCode.EXECUTION_EXCEPTION)
        return app["output"][0].process(result, context)

    def close(self) -> None:
        for site, app in self.apps.items():
            app["component"][0].handle_event(EventType.START_RUN, self.context(site))
            app["component"][0].handle_event(EventType.END_RUN, self.context(site))


@contextmanager
def stand_ins(monkeypatch: pytest.MonkeyPatch, collab: Collab) -> Iterator[Any]:
    """The adapter, imported over these stand-ins and over nothing of NVFlare."""
    names: dict[str, dict[str, Any]] = {
        "collab": {"collab": collab, "CollabRecipe": Recipe},
        "apis": {},
        "apis.dxo": {"DataKind": DataKind, "MetaKey": MetaKey, "from_shareable": from_shareable},
        "apis.event_type": {"EventType": EventType},
        "apis.executor": {"Executor": Component},
        "apis.filter": {"Filter": Component, "ContentBlockedException": ContentBlockedException},
        "apis.fl_component": {"FLComponent": Component},
        "apis.fl_constant": {"ReturnCode": ReturnCode},
        "apis.controller_spec": {"Task": Task},
        "apis.shareable": {"Shareable": Shareable},
        "app_common": {},
        "app_common.abstract": {},
        "app_common.abstract.fl_model": {"FLModel": FLModel, "ParamsType": ParamsType},
        "app_common.workflows": {},
        "app_common.workflows.fedavg": {"FedAvg": FedAvg},
    }
    monkeypatch.setitem(sys.modules, "nvflare", ModuleType("nvflare"))
    for name, members in names.items():
        made = ModuleType(f"nvflare.{name}")
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, made.__name__, made)
    for name in ADAPTERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        yield importlib.import_module(ADAPTERS[0])
    finally:
        for name in ADAPTERS:
            sys.modules.pop(name, None)
