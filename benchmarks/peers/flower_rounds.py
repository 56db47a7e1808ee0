"""Whole rounds of Flower's own `SecAggPlusWorkflow` in one process, with nodes that vanish at a given stage.

The workflow and the client mod are Flower's own and untouched. What stands around them is a grid that hands
each message to the node's mod at once, and a strategy that asks every node and averages nothing.
Nothing of this project is imported here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.peers.flower_seam import MAX_WEIGHT, STAGES, Floats, Node, flower

Errors = tuple[type[Exception], ...]
# What the mod and the workflow raise when neighbours vanished; a node's runtime answers with an error message.
LOSES = (KeyError, IndexError, ValueError)


class Round:
    """One round, and what is left of it: also when the workflow raises.

    `lost` maps a node to the number in STAGES of the first request that it no longer hears. `fails` are the
    errors of a node that its runtime would turn into an error message; any other is not Flower's and escapes.
    """

    def __init__(self, nodes: Mapping[int, Node], lost: Mapping[int, int], fails: Errors = LOSES) -> None:
        self.nodes, self.lost, self.fails = nodes, lost, fails
        self.stage = 0
        self.errors: dict[int, str] = {}
        self.uploads = dict.fromkeys(nodes, b"")
        self.mean: Floats | None = None
        self.counted: frozenset[int] = frozenset()

    def play(self, shares: float, threshold: float, max_weight: float = MAX_WEIGHT) -> None:
        """Afterwards the mean is here, or None where the round was lost in silence.

        Arguments as Flower takes them: integers count, floats are parts. Raises: what the workflow raises.
        """
        fl = flower()
        start = fl.ndarrays_to_parameters([next(iter(self.nodes.values())).vector])
        state = fl.RecordDict(
            {
                fl.MAIN_CONFIGS_RECORD: fl.ConfigRecord({"current_round": 1}),
                fl.MAIN_PARAMS_RECORD: fl.parameters_to_arrayrecord(start, True),
            }
        )
        context = fl.LegacyContext(
            fl.Context(1, 1, {}, state, {}),
            config=fl.ServerConfig(1),
            strategy=self,
            client_manager=SimpleNamespace(num_available=lambda: len(self.nodes)),
        )
        fl.SecAggPlusWorkflow(shares, threshold, max_weight=max_weight)(self, context)

    # As Flower's grid: copies of messages to the nodes, errors as error messages.

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        """The answers of the nodes that are still there, to the messages of one stage."""
        replies = [self._answered(message) for message in messages if self._reached(message.metadata.dst_node_id)]
        self.stage += 1
        return replies

    def _reached(self, who: int) -> bool:
        return who not in self.lost or self.lost[who] > self.stage

    def _answered(self, message: Any) -> Any:
        fl, who = flower(), message.metadata.dst_node_id
        try:
            reply = self.nodes[who].receive(copy.deepcopy(message))
        except self.fails as error:
            self.errors[who] = f"{type(error).__name__} at {STAGES[self.stage]}"
            return fl.Message(fl.Error(code=0, reason=repr(error)), reply_to=message)
        self.uploads[who] += fl.recorddict_to_proto(reply.content).SerializeToString()
        return reply

    # As its strategy: every node is asked, and the mean is kept.

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
