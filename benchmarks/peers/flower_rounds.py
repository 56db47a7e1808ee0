"""One whole round of Flower's own `SecAggPlusWorkflow`, over a grid that loses what the case says."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.peers.flower_seam import CLIENT_ERRORS, STAGES, Node, flower
from protocols.adversary.targets import Case, Ended, Floats, Step


class Grid:
    """Hands copies of messages to the nodes and loses what the case says; errors become error messages."""

    def __init__(self, nodes: Mapping[int, Node], lost: Mapping[int, Step]) -> None:
        self.nodes, self.lost = nodes, lost
        self.step = 0
        self.errors: dict[int, str] = {}
        self.uploads = dict.fromkeys(nodes, b"")

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        replies = [self.answered(message) for message in messages if self.reached(message.metadata.dst_node_id)]
        self.step += 1
        return replies

    def reached(self, who: int) -> bool:
        return who not in self.lost or self.lost[who] > self.step

    def answered(self, message: Any) -> Any:
        fl, who = flower(), message.metadata.dst_node_id
        try:
            reply = self.nodes[who].receive(copy.deepcopy(message))
        except CLIENT_ERRORS as error:
            self.errors[who] = f"{type(error).__name__} at {STAGES[self.step]}"
            return fl.Message(fl.Error(code=0, reason=repr(error)), reply_to=message)
        self.uploads[who] += fl.recorddict_to_proto(reply.content).SerializeToString()
        return reply


class Strategy:
    """Selects every node and keeps the mean it is given."""

    def __init__(self, nodes: Mapping[int, Node]) -> None:
        self.nodes = nodes
        self.mean: Floats | None = None
        self.counted: frozenset[int] = frozenset()

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> list[Any]:
        ins = flower().FitIns(parameters, {})
        return [(SimpleNamespace(node_id=who), ins) for who in self.nodes]

    def aggregate_fit(self, server_round: int, results: Sequence[Any], failures: Any) -> tuple[None, dict[str, Any]]:
        fl = flower()
        self.counted = frozenset(proxy.node_id for proxy, _ in results)
        if results:
            [vector] = (fl.bytes_to_ndarray(data) for data in results[0][1].parameters.tensors)
            self.mean = np.asarray(vector, dtype=np.float64)
        return None, {}


def played(nodes: Mapping[int, Node], case: Case) -> Ended:
    """One round of Flower's own workflow; node w of Flower is client w - 1 of the case."""
    fl = flower()
    grid, strategy = Grid(nodes, {who + 1: step for who, step in case.lost.items()}), Strategy(nodes)
    parameters = fl.ndarrays_to_parameters([next(iter(nodes.values())).vector])
    state = fl.RecordDict({"config": fl.ConfigRecord({"current_round": 1})})
    state.array_records["parameters"] = fl.parameters_to_arrayrecord(parameters, True)
    context = fl.LegacyContext(
        fl.Context(1, 1, {}, state, {}),
        config=fl.ServerConfig(1),
        strategy=strategy,
        client_manager=SimpleNamespace(num_available=lambda: len(nodes)),
    )
    shares = 1.0 if case.shares is None else case.shares
    workflow = fl.SecAggPlusWorkflow(shares, 0.5, max_weight=float(case.max_weight))
    why = ""
    try:
        with np.errstate(all="ignore"):
            workflow(grid, context)
    except (*CLIENT_ERRORS, RuntimeError, AttributeError) as error:
        why = f"the workflow raises {type(error).__name__}: {error}"
    if strategy.mean is None and not why:
        reasons = sorted(set(grid.errors.values()))
        why = f"{', '.join(reasons)} in the clients" if reasons else "the workflow halts without a result"
    return Ended(
        mean=strategy.mean,
        counted=frozenset(who - 1 for who in strategy.counted),
        why=why,
        refusals={who - 1: error for who, error in grid.errors.items()},
        uploads={who - 1: data for who, data in grid.uploads.items()},
    )
