"""One call at a time, and only in the process that made an endpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from protocols.errors import Misused
from protocols.party import Party


class Turns:
    """Against: two threads, or a parent and its forked child, that say two things where one may be said."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._process = os.getpid()
        self._free = ["turn"]

    @contextlib.contextmanager
    def one(self, party: Party) -> Iterator[None]:
        """Inside, nobody else is.

        Raises: Misused while another thread is inside, and in a forked process, where the party is given up.
        """
        if os.getpid() != self._process:
            party.abandon("forked")
            raise Misused(f"this {self._who} belongs to another process: freeze it there and thaw it in a new one here")
        try:
            # Taking from a list is atomic: of two threads one finds it empty.
            turn = self._free.pop()
        except IndexError:
            raise Misused(f"two threads use one {self._who} at once: give each thread its own") from None
        try:
            yield
        finally:
            self._free.append(turn)
