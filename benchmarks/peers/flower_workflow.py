"""Whole rounds of Flower's `SecAggPlusWorkflow` in one process, with nodes that vanish at a given stage.

The workflow and the client mod are Flower's own and untouched. What stands around them is a grid that hands
each message to the node's mod at once, a strategy that asks every node and averages nothing, and nodes that
train by returning a given vector. Nothing of this project is imported here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.peers.flower import flower

Floats = np.ndarray[Any, np.dtype[Any]]

# Flower's stages in their order, as numbers to say where a node vanishes.
SETUP, SHARE_KEYS, COLLECT_MASKED_VECTORS, UNMASK = range(4)

# What its functions raise on a node whose neighbours vanished; the node's runtime answers with an error.
NODE_ERRORS = (KeyError, IndexError, ValueError)


def opened(clients: int, lost: Mapping[int, int], update_of: Callable[[int], Floats]) -> Floats | None:
    """The mean that one round opens; None when the round is lost. `lost` maps nodes to their last stage.

    A node in `lost` does not answer at that stage nor at any later one.
    """
    w = workflow()
    nodes = {nid: w.Context(1, nid, {}, w.RecordDict(), {}) for nid in range(1, clients + 1)}
    start = w.ndarrays_to_parameters([np.zeros_like(update_of(1))])
    state = w.RecordDict(
        {
            w.constant.MAIN_CONFIGS_RECORD: w.ConfigRecord({w.constant.Key.CURRENT_ROUND: 1}),
            w.constant.MAIN_PARAMS_RECORD: w.compat.parameters_to_arrayrecord(start, keep_input=True),
        }
    )
    strategy = w.Strategy(list(nodes))
    context = w.LegacyContext(w.Context(1, 0, {}, state, {}), w.ServerConfig(1), strategy, w.Manager())
    aggregate = w.SecAggPlusWorkflow(num_shares=clients, reconstruction_threshold=clients // 2 + 1)
    try:
        aggregate(Grid(nodes, lost, update_of), context)
    except NODE_ERRORS:
        return None
    mean: Floats | None = strategy.mean
    return mean


class Grid:
    """Delivers messages to the nodes' mods at once. Those that vanished do not answer."""

    def __init__(self, nodes: Mapping[int, Any], lost: Mapping[int, int], update_of: Callable[[int], Floats]) -> None:
        self.nodes, self.lost, self.update_of = nodes, lost, update_of
        self.stage = SETUP

    def send_and_receive(self, messages: list[Any], *, timeout: float | None = None) -> list[Any]:
        """The answers of the nodes that are still there, to the messages of one stage."""
        stage, self.stage = self.stage, self.stage + 1
        there = [m for m in messages if self.lost.get(m.metadata.dst_node_id, UNMASK + 1) > stage]
        return [self._answer(message) for message in there]

    def _answer(self, message: Any) -> Any:
        w = workflow()
        node = message.metadata.dst_node_id
        try:
            return w.mod.secaggplus_mod(copy.deepcopy(message), self.nodes[node], self._train)
        except NODE_ERRORS as error:
            return w.Message(w.Error(0, repr(error)), reply_to=message)

    def _train(self, message: Any, context: Any) -> Any:
        w = workflow()
        parameters = w.ndarrays_to_parameters([self.update_of(context.node_id)])
        fitted = w.FitRes(w.Status(w.Code.OK, ""), parameters, 1000, {})
        return w.Message(w.compat.fitres_to_recorddict(fitted, keep_input=True), reply_to=message)


@cache
def workflow() -> SimpleNamespace:
    """Flower's workflow and what it needs around it.

    Raises: ImportError naming a symbol that is gone.
    """
    from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
    from flwr.common import Code, FitIns, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.compat.common import recorddict_compat as compat
    from flwr.server import ServerConfig
    from flwr.server.compat.legacy_context import LegacyContext
    from flwr.server.workflow import SecAggPlusWorkflow, constant
    from flwr.supercore.task_identity import TaskIdentity

    # Otherwise every message refuses to be made.
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0

    class Strategy:
        """Asks all nodes, and keeps the one thing it is given: the unmasked mean."""

        def __init__(self, nodes: list[int]) -> None:
            self.nodes = nodes
            self.mean: Floats | None = None

        def configure_fit(self, server_round: int, parameters: Any, manager: Any) -> list[Any]:
            return [(SimpleNamespace(node_id=nid), FitIns(parameters, {})) for nid in self.nodes]

        def aggregate_fit(self, server_round: int, results: list[Any], failures: list[Any]) -> Any:
            (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
            return results[0][1].parameters, {}

    class Manager:
        """Counts nothing; the workflow only logs the number."""

        def num_available(self) -> int:
            return 0

    return SimpleNamespace(
        mod=flower().mod,
        ConfigRecord=ConfigRecord,
        Context=Context,
        Error=Error,
        Message=Message,
        RecordDict=RecordDict,
        Code=Code,
        FitRes=FitRes,
        Status=Status,
        ndarrays_to_parameters=ndarrays_to_parameters,
        compat=compat,
        ServerConfig=ServerConfig,
        LegacyContext=LegacyContext,
        SecAggPlusWorkflow=SecAggPlusWorkflow,
        constant=constant,
        Strategy=Strategy,
        Manager=Manager,
    )
