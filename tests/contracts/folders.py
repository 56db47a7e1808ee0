"""A stage on which one client and the server live in folders, and the system they are stored through.

Scene     the next process is `reborn()` or `reborn_server()`: a newly built endpoint on the same folder
System    `os` as `protocols.storage` sees it: remembers its calls and fails the one it is told to
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import storage
from protocols.durable import DurableClient, DurableServer
from protocols.endpoint import Client
from protocols.messages import Inbox
from protocols.party import PartyId
from protocols.storage import IMAGE
from tests.attacks.villain import LENGTH, Stage

UPDATE = np.full(LENGTH, 0.25)


class Scene:
    """A stage on which one client, and the server, live in folders."""

    def __init__(self, base: Path, clients: int = 4) -> None:
        self.stage = Stage(clients)
        self.who: PartyId = self.stage.ids[0]
        self.plain: Client = self.stage.clients[self.who]
        self.home, self.server_home = base / "client", base / "server"
        self.client = DurableClient(self.plain, self.home)
        self.server = DurableServer(self.stage.server, self.server_home)
        self.stage.clients[self.who] = self.client  # type: ignore[assignment]
        self.stage.server = self.server  # type: ignore[assignment]

    @property
    def file(self) -> Path:
        return self.home / IMAGE

    def asked(self) -> bytes:
        """Play until the client waits for its update; the frame that asked it."""
        self.stage.until(Inbox)
        [frame] = [data for who, data in self.stage.pending if who == self.who]
        self.client.receive(frame)
        assert self.client.needs_update
        return frame

    def reborn(self) -> DurableClient:
        """The client of the next process."""
        self.client.close()
        return DurableClient(self.stage.company.client(self.who), self.home)

    def reborn_server(self) -> DurableServer:
        self.server.close()
        return DurableServer(self.stage.company.server(), self.server_home)

    def close(self) -> None:
        self.client.close()
        self.server.close()


class System:
    """`os` as `protocols.storage` sees it: remembers its calls, and fails the n-th of one kind."""

    def __init__(self, fails: str = "", number: int = 1, error: int = errno.EIO) -> None:
        self.calls: list[str] = []
        self.fails, self.number, self.error = fails, number, error

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("open", "write", "fsync", "rename", "unlink"):
            return real

        def watched(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if name == self.fails and self.calls.count(name) == self.number:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise OSError(self.error, os.strerror(self.error))
            return real(*arguments, **named)

        return watched


@contextmanager
def under(system: System) -> Iterator[System]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "os", system)
        yield system
