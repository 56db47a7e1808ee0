"""Endpoints that live in processes of their own and are killed there with SIGKILL at a chosen write.

    Life      what runs in the child: one durable endpoint, asked over a pipe
    Mortal    what the test holds: asks, and when the child is dead starts the next one from the same folder
    Table     a server and its clients, some of them mortal; passes frames until the round is over
    At, Nth   where a life ends: around the rename that makes a named store count, or before the n-th system call

A life names its arrow before it acts ("Submit", "Summing close", "Summing arrival"). Nothing of ours is replaced:
the child's `os`, as `protocols.storage` sees it, kills on the way to the real call.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from protocols import codec, storage
from protocols.codec import Frame, kind_of
from protocols.durable import (
    DurableClient,
    DurableHolder,
    DurableMember,
    DurableOpener,
    DurableServer,
    exit_on_sigterm,
)
from protocols.endpoint import Client, Holder, Member, Opener, Server
from protocols.errors import ProtocolError
from protocols.messages import Aggregate, Roster, Submit
from protocols.party import SERVER, PartyId
from protocols.plan import RoundPlan
from tests.contracts.company import Company

LENGTH = 4
CLIENTS = 4


@functools.cache
def company() -> Company:
    """Four clients of which one may drop out; the same in every process."""
    plan = RoundPlan.recommend(
        CLIENTS, dropout=Fraction(1, 4), corrupt=Fraction(0), max_weight=8, min_cohort=3, bits=16
    )
    return Company(plan, CLIENTS)


Cast = Callable[[], Company]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- where a life ends ----------------------------------------------------------------------------------


class Fate(Protocol):
    def ends(self, arrow: str, moment: str) -> bool: ...


@dataclass(slots=True)
class At:
    """The first time this arrow reaches this moment: "before" or "after" the store counts, or "sent"."""

    arrow: str
    moment: str

    def ends(self, arrow: str, moment: str) -> bool:
        return (arrow, moment) == (self.arrow, self.moment)


@dataclass(slots=True)
class Nth:
    """Before the n-th moment of any kind: an open, a write, a sync, a rename, an answer that was sent."""

    left: int

    def ends(self, arrow: str, moment: str) -> bool:
        self.left -= 1
        return self.left <= 0


@dataclass(slots=True)
class Never:
    def ends(self, arrow: str, moment: str) -> bool:
        return False


@dataclass(slots=True)
class Forgets:
    """For the twins: what this arrow stores is lost, and the life ends after it has spoken."""

    arrow: str

    def ends(self, arrow: str, moment: str) -> bool:
        return (arrow, moment) == (self.arrow, "sent")


@dataclass(slots=True)
class AskedToGo:
    """A polite end: SIGTERM while this arrow is being stored."""

    arrow: str

    def ends(self, arrow: str, moment: str) -> bool:
        if (arrow, moment) == (self.arrow, "write"):
            os.kill(os.getpid(), signal.SIGTERM)
        return False


@dataclass(slots=True)
class DeadlySystem:
    """`os` for `protocols.storage`, on the way to the real one."""

    life: Life

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("open", "write", "fsync", "rename"):
            return real

        def deadly(*arguments: Any, **named: Any) -> Any:
            self.life.reach("before" if name == "rename" else name)
            if name == "fsync":
                # A killed process loses no page that it wrote, so the disk need not be waited for.
                return None
            if name == "rename" and isinstance(self.life.fate, Forgets) and self.life.arrow == self.life.fate.arrow:
                return None
            result = real(*arguments, **named)
            if name == "rename":
                self.life.reach("after")
            return result

        return deadly


# --- in the child ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said, and how it stands now."""

    frames: tuple[tuple[tuple[PartyId, ...], bytes], ...] = ()
    needs_update: bool = False
    done: bool = False
    room: str | None = None
    aggregate: Aggregate | None = None
    error: str = ""


def vector_of(who: PartyId, life: int) -> np.ndarray[Any, Any]:
    """What a client trains in its n-th life: never the same twice, and one power of five per client."""
    update = np.zeros(LENGTH)
    update[0] = 5.0 ** (CLIENTS - who // 3) / 5.0**CLIENTS
    update[1:] = 0.01 * life + 0.001 * who
    return update


DURABLE: dict[type[Any], Callable[[Any, Path], Any]] = {
    Client: DurableClient,
    Holder: DurableHolder,
    Member: DurableMember,
    Server: DurableServer,
}


class Hears(enum.Enum):
    """What a server's driver does when a frame was heard and nothing is to be said."""

    AND_STORES = "stores"
    AND_WAITS = "waits"


class Life:
    """One life of one endpoint, plain or durable."""

    def __init__(
        self,
        who: PartyId,
        folder: Path | None,
        number: int,
        fate: Fate,
        hears: Hears = Hears.AND_STORES,
        cast: Cast = company,
    ) -> None:
        self.hears, self.cast = hears, cast
        self.who, self.number, self.fate, self.arrow = who, number, fate, "start"
        self.trained: Submit | None = None
        self.notes = None if folder is None else folder.with_suffix(".trained")
        if folder is not None:
            storage.os = DeadlySystem(self)  # type: ignore[assignment]
        self.endpoint: Any = cast().endpoint(who, number)
        if folder is not None:
            self.endpoint = DURABLE[type(self.endpoint)](self.endpoint, folder)

    def reach(self, moment: str) -> None:
        if self.fate.ends(self.arrow, moment):
            die()

    def answer(self, verb: str, *arguments: Any) -> Answer:
        try:
            frames, error = getattr(self, verb)(*arguments), ""
        except ProtocolError as wrong:
            frames, error = [], type(wrong).__name__
        said = tuple((frame.to, bytes(frame)) for frame in frames)
        one = self.endpoint
        if self.who == SERVER:
            return Answer(said, False, one.done, one.wait and one.wait.room, one.aggregate, error)
        if isinstance(one, Opener | DurableOpener):
            return Answer(said, error=error)
        return Answer(said, one.needs_update, one.done, error=error)

    def resend(self) -> list[Frame]:
        self.arrow = "resend"
        again = self.endpoint.repeat if self.notes is None else self.endpoint.resend
        return again()  # type: ignore[no-any-return]

    def open(self, nonce: bytes, certificate: Any = None) -> list[Frame]:
        self.arrow = "open"
        task = replace(self.cast().task(LENGTH), nonce=nonce, certificate=certificate)
        return self.endpoint.open(task)  # type: ignore[no-any-return]

    def receive(self, data: bytes) -> list[Frame]:
        room = self.endpoint.wait.room if self.who == SERVER and self.endpoint.wait else ""
        self.arrow = f"{room} close" if room else kind_of(data).__name__
        frames: list[Frame] = self.endpoint.receive(data)
        if room and not frames and isinstance(self.endpoint, DurableServer) and self.hears is Hears.AND_STORES:
            self.arrow = f"{room} arrival"
            self.endpoint.store()
        return frames

    def deadline(self, room: str) -> list[Frame]:
        self.arrow = f"{room} close"
        return self.endpoint.deadline(room)  # type: ignore[no-any-return]

    def submit(self) -> list[Frame]:
        self.arrow = "Submit"
        submission = self.endpoint.prepare(vector_of(self.who, self.number), weight=2)
        self.trained = submission
        if self.notes is not None:
            self.notes.write_bytes(submission.vector.tobytes())
        return self.endpoint.send(submission)  # type: ignore[no-any-return]


def live(connection: Connection, who: PartyId, folder: Path, number: int, fate: Fate, hears: Hears, cast: Cast) -> None:
    """The child: answers until the pipe is closed, it is killed, or it is told to go."""
    with exit_on_sigterm():
        life = Life(who, folder, number, fate, hears, cast)
        with contextlib.suppress(EOFError):
            while True:
                verb, arguments = connection.recv()
                connection.send(life.answer(verb, *arguments))
                life.reach("sent")


# --- in the test ----------------------------------------------------------------------------------------


class Immortal:
    """An endpoint in this process."""

    def __init__(self, who: PartyId, cast: Cast = company) -> None:
        self.who, self.deaths, self.exit_code = who, 0, 0
        self.life = Life(who, None, 1, Never(), cast=cast)

    def ask(self, verb: str, *arguments: Any) -> Answer:
        return self.life.answer(verb, *arguments)

    def trained(self) -> np.ndarray[Any, Any]:
        assert self.life.trained is not None
        return self.life.trained.vector

    def end(self) -> None:
        """It ends with the test."""


class Mortal:
    """An endpoint in a child process; whoever asks a dead one is told what its successor says first."""

    def __init__(
        self,
        who: PartyId,
        folder: Path,
        fates: tuple[Fate, ...],
        method: str = "fork",
        hears: Hears = Hears.AND_STORES,
        cast: Cast = company,
    ) -> None:
        self.who, self.folder, self.fates, self.hears, self.cast = who, folder, list(fates), hears, cast
        self.processes = multiprocessing.get_context(method)
        self.deaths, self.exit_code = 0, -signal.SIGKILL
        self._start()

    def _start(self) -> None:
        self.connection, theirs = self.processes.Pipe()
        fate = self.fates.pop(0) if self.fates else Never()
        arguments = (theirs, self.who, self.folder, self.deaths + 1, fate, self.hears, self.cast)
        self.process: Any = self.processes.Process(target=live, args=arguments, daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()

    def ask(self, verb: str, *arguments: Any) -> Answer:
        try:
            self.connection.send((verb, arguments))
            answer: Answer = self.connection.recv()
        except (EOFError, ConnectionError):
            self.bury()
            return self.ask("resend")
        return answer

    def bury(self) -> None:
        """The child was killed, or what else was expected, not ended by an error; its successor is started."""
        self.process.join()
        assert self.process.exitcode == self.exit_code
        self.connection.close()
        self.deaths += 1
        self._start()

    def trained(self) -> np.ndarray[Any, Any]:
        """The vector it encoded last, in whichever life: what was encoded before that never left."""
        found = self.folder.with_suffix(".trained").read_bytes()
        return np.frombuffer(found, self.cast().plan.encoding.ring.dtype)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


Party = Mortal | Immortal


@dataclass
class Table:
    """One round between a server and its clients; every frame that is said is remembered."""

    server: Party
    clients: dict[PartyId, Party]
    said: set[tuple[PartyId, tuple[PartyId, ...], bytes]] = field(default_factory=set)
    queue: deque[tuple[PartyId, bytes]] = field(default_factory=deque)
    training: deque[PartyId] = field(default_factory=deque)
    last: Answer = field(default_factory=Answer)
    openings: int = 0

    @classmethod
    @contextlib.contextmanager
    def set(
        cls,
        base: Path,
        fates: dict[PartyId, tuple[Fate, ...]],
        method: str = "fork",
        hears: Hears = Hears.AND_STORES,
    ) -> Iterator[Table]:
        """A table at which those with fates are mortal."""

        def seat(who: PartyId) -> Party:
            return Mortal(who, base / str(who), fates[who], method, hears) if who in fates else Immortal(who)

        base.mkdir(exist_ok=True)
        table = cls(seat(SERVER), {who: seat(who) for who in company().ids})
        try:
            yield table
        finally:
            for party in table.everybody():
                party.end()

    def everybody(self) -> list[Party]:
        return [self.server, *self.clients.values()]

    def play(self, deaths: int | None = None) -> None:
        """Go on until the round is over and everybody was told, or so many have died."""
        while self.queue or not self.last.done:
            if deaths is not None and sum(one.deaths for one in self.everybody()) >= deaths:
                return
            self.step()

    def step(self) -> None:
        """One update, one frame, or in silence what the server's clock would do."""
        if self.last.room is None and not self.last.done:
            self.openings += 1
            self.hear(SERVER, self.server.ask("open", bytes([self.openings]) * 16))
        elif self.training:
            who = self.training.popleft()
            self.hear(who, self.clients[who].ask("submit"))
        elif self.queue:
            to, data = self.queue.popleft()
            self.hear(to, (self.server if to == SERVER else self.clients[to]).ask("receive", data))
        else:
            self.hear(SERVER, self.server.ask("deadline", self.last.room))

    def hear(self, who: PartyId, answer: Answer) -> None:
        if who == SERVER:
            self.last = answer
        for to, data in answer.frames:
            self.said.update((who, (one,), data) for one in to)
            self.queue.extend((one, data) for one in to)
        if answer.needs_update:
            self.training.append(who)

    # --- the oracle -------------------------------------------------------------------------------------

    def judge(self, gone: tuple[PartyId, ...] = ()) -> None:
        """Nobody said two different things at one place, and the sum is that of all vectors, once each.

        Everybody comes back at once, so nobody on the roster may be missing but who is `gone`. A client that died
        holding its invitation is not on it: it has nothing to repeat, and the server does not know that it was lost.
        """
        places = [(who, to, kind_of(data)) for who, to, data in self.said]
        twice = {place for place in places if places.count(place) > 1}
        assert not twice, f"two different frames: {twice}"
        roster = self.roster()
        assert all(self.clients[who].deaths for who in self.clients if who not in roster)
        if len(roster) < company().plan.min_cohort:
            assert (self.last.error, self.last.aggregate) == ("TooFewClients", None)
            return
        survivors = tuple(who for who in roster if who not in gone)
        aggregate = self.last.aggregate
        assert aggregate is not None
        assert aggregate.survivors == survivors
        assert aggregate.weight_sum == 2 * len(survivors)
        ring = company().plan.encoding.ring
        total = ring.zeros(LENGTH)
        for who in survivors:
            ring.add_into(total, self.clients[who].trained())
        assert aggregate.total.tolist() == ring.reduce(total).tolist()

    def roster(self) -> tuple[PartyId, ...]:
        """Whom the server named in the roster it sent; whoever has advertised, when it sent none."""
        bodies = [
            data[codec.HEADER.size : -codec.SIGNATURE_BYTES] for _, _, data in self.said if kind_of(data) is Roster
        ]
        if not bodies:
            return tuple(who for who in self.clients if any(who == speaker for speaker, _, _ in self.said))
        return tuple(entry.who for entry in codec.decode_body(Roster, bodies[0], SERVER).entries)


def body_of(data: bytes, who: PartyId) -> Any:
    """The letter in a frame of this party."""
    return codec.decode_body(kind_of(data), data[codec.HEADER.size : -codec.SIGNATURE_BYTES], who)


def opening(nonce: bytes) -> bytes:
    """The invitation to the round of these tests, under another nonce."""
    [first, *_] = company().server().open(replace(company().task(LENGTH), nonce=nonce))
    return bytes(first)
