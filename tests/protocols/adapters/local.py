"""A federation of Flower's types without its processes: each pushed message is answered at once, or never.

Works on the real package and on the stand-ins of `stand_ins`, whichever the caller has made importable.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Answer = Callable[[Any, Callable[[Any], Any]], list[Any]]


def promptly(message: Any, app: Callable[[Any], Any]) -> list[Any]:
    """An undisturbed node: one message, one reply."""
    return [app(message)]


def never(message: Any, app: Callable[[Any], Any]) -> list[Any]:
    """A node that is dead."""
    return []


@dataclass
class Node:
    """One SuperNode: its app, what it keeps, and how messages fare on the way."""

    app: Callable[[Any, Any], Any]
    context: Any
    answer: Answer = promptly


@dataclass
class LocalGrid:
    """A grid whose nodes answer within `push_messages`; `carried` are all replies, `sent` all messages."""

    nodes: Mapping[int, Node]
    sent: list[Any] = field(default_factory=list)
    carried: list[Any] = field(default_factory=list)
    waiting: list[Any] = field(default_factory=list)
    present: set[int] | None = None

    def get_node_ids(self) -> list[int]:
        return sorted(self.nodes if self.present is None else self.present)

    def push_messages(self, messages: Iterable[Any]) -> list[str]:
        ids = []
        for message in messages:
            ids.append(f"message-{len(self.sent)}")
            message.metadata.__dict__["_message_id"] = ids[-1]
            self.sent.append(message)
            node = self.nodes[message.metadata.dst_node_id]

            def app(delivered: Any, node: Node = node) -> Any:
                return node.app(delivered, node.context)

            replies = node.answer(copy.deepcopy(message), app)
            self.carried += replies
            self.waiting += replies
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        wanted = set(message_ids)
        arrived = [reply for reply in self.waiting if reply.metadata.reply_to_message_id in wanted]
        self.waiting = [reply for reply in self.waiting if reply not in arrived]
        return arrived

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        return self.pull_messages(self.push_messages(list(messages)))


def wire(messages: Iterable[Any]) -> bytes:
    """Everything in these messages, as far as it would leave a machine."""
    return b"|".join(part for message in messages for part in _parts(message))


def _parts(message: Any) -> Iterable[bytes]:
    if message.has_error():
        yield repr(message.error).encode()
        return
    for name, record in message.content.items():
        for key, value in record.items():
            yield f"{name}/{key}".encode()
            yield value.data if hasattr(value, "stype") else repr(value).encode()


def trainer(deltas: Mapping[int, Mapping[str, np.ndarray]], metrics: Mapping[int, Mapping[str, float]]) -> Any:
    """A train function that adds its node's delta to what it received; integers it counts up by one."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

    def train(message: Any, context: Any) -> Any:
        who = context.node_config["partition-id"]
        received = message.content["arrays"]
        trained = {}
        for name, array in received.items():
            values = array.numpy()
            added = deltas[who].get(name, np.ones((), values.dtype))
            trained[name] = Array(np.asarray(values + added, values.dtype))
        content = RecordDict({"arrays": ArrayRecord(trained), "metrics": MetricRecord(dict(metrics[who]))})
        return Message(content, reply_to=message)

    return train
