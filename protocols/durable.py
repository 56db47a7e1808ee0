"""An endpoint that survives kill -9: its image is on disk before anything it says can leave.

    client = DurableClient(Client(policy, identity, server_key), "state")
    send(client.resend())                              what may never have left before the last end
    while True:
        if client.needs_update:
            send(client.submit(train(client.offer)))
        send(client.receive(next_frame()))

Whoever dies before the store has said nothing and is where it was; whoever dies after it says the same bytes again.
Arrivals and their sum, a vector and the round it spends, are one image and cannot come apart.

Limit: a folder put back from a copy is believed. Under a new nonce its client draws fresh keys. In the attempt of the
copy it could send a second vector, which the server names as `Duplicate` and does not count, or deal, sign or answer a
second time, which could help a lying server to both secrets of a neighbour.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from dp.errors import DpError, StorageRefused
from protocols.codec import Frame
from protocols.coding import Floats
from protocols.endpoint import NO_METRICS, NOBODY, Client, Decryptor, Holder, Member, Opener, Server, Task
from protocols.errors import ProtocolError
from protocols.messages import Aggregate, Submit
from protocols.party import Excluded, PartyId, Wait
from protocols.plan import NOTHING, Agreement
from protocols.storage import AnyPath, Folder, Kind
from protocols.wire import Buffer
from secagg.errors import SecaggError


class Endpoint(Protocol):
    """What is stored: a Client, a Holder, a Decryptor, a Member or a Server."""

    def freeze(self) -> bytes: ...
    def thaw(self, data: Buffer) -> None: ...


class Durable:
    """Whatever frames come out of here, the endpoint that said them was stored before.

    Raises: what the endpoint raises, and then too the state is stored first: a refusal may have erased secrets.
        StorageRefused when it cannot be stored: nothing was returned, and `resend` tries again.
        Misused once closed. An error that is none of ours, or an interrupt, closes the folder: the endpoint may be
        half changed, and what is on disk is not.
    """

    def __init__(self, endpoint: Endpoint, folder: Folder) -> None:
        self._endpoint, self._folder = endpoint, folder
        self._turn = threading.Lock()
        try:
            image = folder.load()
            if image is not None:
                endpoint.thaw(image)
        except BaseException:
            folder.close()
            raise

    def store(self) -> None:
        """Stores the endpoint as it is now; what it said was stored already."""
        with self._step():
            self._keep()

    def close(self) -> None:
        """Gives the folder up for another process."""
        self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _act(self, deed: Callable[[], list[Frame]]) -> list[Frame]:
        with self._step():
            frames = deed()
            self._keep()
            return frames

    def _keep(self) -> None:
        self._folder.store(self._endpoint.freeze())

    @contextmanager
    def _step(self) -> Iterator[None]:
        """One arrow and its store, between which no other thread and no polite signal comes."""
        # Before the turn: in a forked child the parent's other thread would never give it back.
        self._folder.require_open()
        with self._turn, _undisturbed():
            try:
                yield
            except StorageRefused:
                raise
            except (ProtocolError, SecaggError, DpError):
                self._keep()
                raise
            except BaseException:
                self._folder.close()
                raise


class DurableClient(Durable):
    """A client in a folder: `Client`, with the order "store, then send" kept for it."""

    def __init__(self, client: Client, path: AnyPath) -> None:
        super().__init__(client, Folder(path, Kind.CLIENT, client.policy.identities[client.me]))
        self._client = client

    def resend(self) -> list[Frame]:
        """What this client said last. After a restart or a lost connection: hearing it twice changes nothing."""
        return self._act(self._client.repeat)

    def receive(self, data: Buffer) -> list[Frame]:
        """As `Client.receive`; stored before anything leaves."""
        return self._act(lambda: self._client.receive(data))

    def beacon(self, value: bytes) -> list[Frame]:
        """As `Client.beacon`; stored before anything leaves."""
        return self._act(lambda: self._client.beacon(value))

    def submit(
        self, update: Floats, *, weight: int = 1, model: bytes = NOTHING, metrics: Mapping[str, float] = NO_METRICS
    ) -> list[Frame]:
        """As `Client.submit`; stored before anything leaves."""
        return self._act(lambda: self._client.submit(update, weight=weight, model=model, metrics=metrics))

    def prepare(
        self, update: Floats, *, weight: int = 1, model: bytes = NOTHING, metrics: Mapping[str, float] = NO_METRICS
    ) -> Submit:
        """As `Client.prepare`; nothing is stored, since nothing is said."""
        return self._client.prepare(update, weight=weight, model=model, metrics=metrics)

    def send(self, submission: Submit) -> list[Frame]:
        """As `Client.send`; stored before anything leaves."""
        return self._act(lambda: self._client.send(submission))

    @property
    def me(self) -> PartyId:
        """This client's number."""
        return self._client.me

    @property
    def needs_update(self) -> bool:
        """Whether the round waits for `submit`."""
        return self._client.needs_update

    @property
    def needs_beacon(self) -> bytes | None:
        """What a public beacon is asked about, None unless the round waits for `beacon`."""
        return self._client.needs_beacon

    @property
    def done(self) -> bool:
        """Whether nothing is expected of this client any more."""
        return self._client.done

    @property
    def offer(self) -> Agreement:
        """As `Client.offer`: what the round is about."""
        return self._client.offer

    @property
    def result(self) -> bytes | None:
        """As `Client.result`: the fingerprint of the sum that the server published."""
        return self._client.result

    def compare(self, result: Buffer) -> None:
        """As `Client.compare`, with what another client was shown."""
        self._client.compare(result)

    def mean(self) -> Floats:
        """As `Client.mean`, where clients open the sum."""
        return self._client.mean()

    def metrics(self) -> dict[str, float]:
        """As `Client.metrics`, where clients open the sum."""
        return self._client.metrics()

    @property
    def aggregate(self) -> Aggregate | None:
        """The sum of a round whose key the clients share; it was stored before it is seen here."""
        return self._client.aggregate

    @property
    def clipped(self) -> int:
        """As `Client.clipped`: how many coordinates of the last update exceeded the clip."""
        return self._client.clipped


class DurableOpener(Durable):
    """Who opens sums, in a folder: stored before any part of an opening leaves.

    Limit: a folder put back from a copy is believed, and could then open a second sum of a round: never restore one.
    """

    def __init__(self, opener: Opener[Any], path: AnyPath, kind: Kind) -> None:
        super().__init__(opener, Folder(path, kind, opener.public))
        self._opener = opener

    def resend(self) -> list[Frame]:
        """What was said last while the key was made; a question about a sum is answered when it is asked again."""
        return self._act(self._opener.repeat)

    def retire(self) -> None:
        """Erase the key, here and on disk: its rounds are over."""
        with self._step():
            self._opener.retire()
            self._keep()

    def receive(self, data: Buffer) -> list[Frame]:
        return self._act(lambda: self._opener.receive(data))

    @property
    def me(self) -> PartyId:
        return self._opener.me

    @property
    def holding(self) -> bool:
        return self._opener.holding


class DurableHolder(DurableOpener):
    """A holder of a part of a key in a folder: `Holder`."""

    def __init__(self, holder: Holder, path: AnyPath) -> None:
        super().__init__(holder, path, Kind.HOLDER)


class DurableDecryptor(DurableOpener):
    """The one decryptor in a folder: `Decryptor`."""

    def __init__(self, decryptor: Decryptor, path: AnyPath) -> None:
        super().__init__(decryptor, path, Kind.DECRYPTOR)


class DurableMember(DurableOpener):
    """A member of a committee in a folder: `Member`.

    One store a round; the committee's key and the set that was asked about in each round are one image.
    """

    def __init__(self, member: Member, path: AnyPath) -> None:
        super().__init__(member, path, Kind.MEMBER)


class DurableServer(Durable):
    """A server in a folder: `Server`, stored before it says anything and when its round is over.

    What a room has heard since is not on disk: after a crash `resend` asks for it again, and every client repeats
    its bytes. A driver that lets clients go once they were heard calls `store` before it does.
    Cost: six stores a round. Measured for 100 clients and 10^6 coordinates: up to 6 MB, 30 ms of CPU and two syncs of
    the disk each. Storing every arrival as well would be over 300 stores and 8 s of CPU a round.
    """

    def __init__(self, server: Server, path: AnyPath) -> None:
        super().__init__(server, Folder(path, Kind.SERVER, server.public))
        self._server = server

    def resend(self) -> list[Frame]:
        """To each client what it was sent since it last spoke; when the round is over, its result alone."""
        return self._act(self._server.repeat)

    def agree(self, task: Task) -> Agreement:
        """As `Server.agree`; nothing is said yet."""
        return self._server.agree(task)

    def open(self, task: Task, invited: tuple[PartyId, ...] | None = None) -> list[Frame]:
        """As `Server.open`; stored before anything leaves."""
        return self._act(lambda: self._server.open(task, invited))

    def receive(self, data: Buffer, speaker: PartyId = NOBODY) -> list[Frame]:
        """As `Server.receive`; stored before anything leaves."""
        with self._step():
            was_done = self.done
            frames = self._server.receive(data, speaker)
            if frames or self.done is not was_done:
                self._keep()
            return frames

    def deadline(self, room: str) -> list[Frame]:
        """As `Server.deadline`; stored before anything leaves."""
        return self._act(lambda: self._server.deadline(room))

    def beacon(self, value: bytes) -> list[Frame]:
        """As `Server.beacon`; stored before anything leaves."""
        return self._act(lambda: self._server.beacon(value))

    def mean(self) -> Floats:
        """As `Server.mean`: of the survivors, after the end."""
        return self._server.mean()

    def metrics(self) -> dict[str, float]:
        """As `Server.metrics`: of the survivors, after the end."""
        return self._server.metrics()

    @property
    def needs_beacon(self) -> bytes | None:
        """What a public beacon is asked about, None unless the round waits for `beacon`."""
        return self._server.needs_beacon

    @property
    def done(self) -> bool:
        """Whether nobody is waited for any more."""
        return self._server.done

    @property
    def opening(self) -> bool:
        """As `Server.opening`: whether shares are being asked for, after which a sum may be known."""
        return self._server.opening

    @property
    def agreement(self) -> Agreement:
        """What the round that is open is about.  Raises: Misused before one is."""
        return self._server.agreement

    @property
    def wait(self) -> Wait | None:
        """The room that is open, and for how long."""
        return self._server.wait

    @property
    def aggregate(self) -> Aggregate | None:
        """The sum over the survivors, None before the end."""
        return self._server.aggregate

    @property
    def handed_out(self) -> tuple[PartyId, ...]:
        """As `Server.handed_out`: to whom a sum that clients open was sent."""
        return self._server.handed_out

    @property
    def countersignatures(self) -> Mapping[bytes, bytes]:
        """As `Server.countersignatures`: who signed the ledger's head that the round names."""
        return self._server.countersignatures

    @property
    def excluded(self) -> list[Excluded]:
        """Who misbehaved, and how."""
        return self._server.excluded


# --- SIGTERM --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Departure:
    """Whether the main thread, where signals are handled, is inside an arrow; whether it was asked to go."""

    busy: bool = False
    asked: bool = False


_departure = _Departure()


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends the process with exit code 0: at once, or when the arrow under way is stored.

    What that arrow would have sent is said by `resend` at the next start.
    """

    def leave(_signal: int, _frame: FrameType | None) -> None:
        if not _departure.busy:
            raise SystemExit(0)
        _departure.asked = True

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _departure.busy = True
    try:
        yield
    finally:
        _departure.busy = False
        if _departure.asked:
            _departure.asked = False
            raise SystemExit(0)
