"""Messages to nodes and their replies: who answers for whom, whatever Flower makes of lost and failed ones.

    reply in time                                    the node's
    error reply; source is the SuperLink for 3, 4, 5 the node's to whose message it replies
    none until the time is over                      the node is silent
    a second reply to one message                    ignored, the first counts

Looks for replies ten times a second and, at first, more often, where the deployed grid sleeps three seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

SHORTEST_PAUSE_SECONDS = 0.005
LOG = logging.getLogger("flwr.secagg")


class Post(Grid):  # type: ignore[misc]  # flwr is not installed where the types are checked
    """A grid that waits with short pauses and, like the one it wraps, carries whatever it is given."""

    def __init__(self, grid: Grid, poll_seconds: float) -> None:
        self._grid, self._poll = grid, poll_seconds

    @classmethod
    def over(cls, grid: Grid, poll_seconds: float) -> Post:
        """This grid, wrapped once."""
        return grid if isinstance(grid, cls) else cls(grid, poll_seconds)

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> list[int]:
        return list(self._grid.get_node_ids())

    def get_nodes(self) -> list[Any]:
        return list(self._grid.get_nodes())

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return list(self._grid.push_messages(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return list(self._grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """As `Grid.send_and_receive`."""
        # A message that could not be pushed has no id; its node stays silent.
        waiting = {each for each in self.push_messages(list(messages)) if each}
        started = time.monotonic()
        replies: list[Message] = []
        while waiting:
            arrived = self.pull_messages(waiting)
            replies += arrived
            waiting -= {reply.metadata.reply_to_message_id for reply in arrived}
            waited = time.monotonic() - started
            if not waiting or (timeout is not None and waited >= timeout):
                break
            # A simulated exchange takes a tenth of a second, a deployed one ten: looking costs little beside either.
            time.sleep(min(self._poll, SHORTEST_PAUSE_SECONDS + waited / 4))
        return replies

    def pause(self) -> None:
        """As long as between two looks for nodes."""
        time.sleep(self._poll)

    def exchange(self, contents: Mapping[int, RecordDict], seconds: float) -> dict[int, Message]:
        """One question to each of these nodes that is there, and the replies by node."""
        present = set(self.get_node_ids())
        sent = [letter(content, node, seconds) for node, content in contents.items() if node in present]
        return by_node(sent, self.send_and_receive(sent, timeout=seconds))


def letter(content: RecordDict, node: int, seconds: float, message_type: str = "train") -> Message:
    """A message that is void once nobody waits for its answer any more."""
    return Message(content, dst_node_id=node, message_type=message_type, ttl=seconds)


def by_node(sent: Iterable[Message], replies: Iterable[Message]) -> dict[int, Message]:
    """The first reply to each message, by the node that was asked; others are named in the log."""
    asked = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
    found: dict[int, Message] = {}
    for reply in replies:
        node = asked.get(reply.metadata.reply_to_message_id)
        if node is None:
            LOG.warning("secagg: ignored a reply to no message of this exchange")
        elif node in found:
            LOG.warning("secagg: ignored a second reply of node %d", node)
        else:
            found[node] = reply
    return found
