"""An endpoint as a function: (stored bytes, event) -> (stored bytes, frames).

Nothing lives between two steps but bytes, so a crash is a result that is thrown away, and equal steps of
different schedules may be computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.codec import Frame
from protocols.endpoint import Client, Opener, Server, Task
from protocols.errors import Misbehaved, RoundLost
from protocols.messages import Aggregate
from protocols.party import SERVER, Deadline, Excluded, PartyId
from protocols.simulate import Application


@dataclass(frozen=True, slots=True)
class Hear:
    """A frame arrives, from the party the transport believes is speaking."""

    data: bytes
    speaker: PartyId


@dataclass(frozen=True, slots=True)
class Train:
    """The application submits the update it is asked for."""


@dataclass(frozen=True, slots=True)
class Boot:
    """The process starts for the first time and stores what it is."""


@dataclass(frozen=True, slots=True)
class Again:
    """The server says again what it has not been answered."""


Event = Boot | Task | Hear | Train | Again | Deadline
Endpoint = Client | Opener[Any] | Server


@dataclass(frozen=True, slots=True)
class Step:
    """What an event made of an endpoint. `room` is the server's open room, empty when none is; `excluded`
    are the notes of this step alone."""

    image: bytes
    frames: tuple[Frame, ...] = ()
    error: Misbehaved | RoundLost | None = None
    needs_update: bool = False
    room: str = ""
    aggregate: Aggregate | None = None
    excluded: tuple[Excluded, ...] = ()


@dataclass(frozen=True, slots=True)
class Parties:
    """How to build each endpoint anew, and the application of the clients. Every build must be the same.

    Whoever opens is built with its key, or its part of one, where there is one.
    """

    server: Callable[[], Server]
    clients: Mapping[PartyId, Callable[[], Client]]
    train: Application
    holders: Mapping[PartyId, Callable[[], Opener[Any]]] = field(default_factory=dict)

    def step(self, who: PartyId, image: bytes, event: Event) -> Step:
        """Build the endpoint, thaw its image unless it boots, let it act, and freeze it again.

        The errors of the protocol become part of the step; any other is a bug and escapes.
        """
        return self.act(self.thawed(who, image), event)

    def thawed(self, who: PartyId, image: bytes) -> Endpoint:
        endpoint = self._built(who)
        if image:
            endpoint.thaw(image)
        return endpoint

    def _built(self, who: PartyId) -> Endpoint:
        if who == SERVER:
            return self.server()
        return self.holders[who]() if who in self.holders else self.clients[who]()

    def act(self, endpoint: Endpoint, event: Event) -> Step:
        if isinstance(endpoint, Server):
            return self._server_step(endpoint, event)
        if isinstance(endpoint, Opener):
            return self._opener_step(endpoint, event)
        return self._client_step(endpoint, event)

    def _server_step(self, server: Server, event: Event) -> Step:
        frames: list[Frame] = []
        error = None
        noted = len(server.excluded)
        try:
            if isinstance(event, Hear):
                frames = server.receive(event.data, event.speaker)
            elif isinstance(event, Deadline):
                frames = server.deadline(event.room)
            elif isinstance(event, Again):
                frames = server.repeat()
            elif isinstance(event, Task):
                frames = server.open(event, tuple(sorted(self.clients)))
        except RoundLost as lost:
            error = lost.with_traceback(None)
        room = "" if server.done or server.wait is None else server.wait.room
        notes = tuple(server.excluded[noted:])
        return Step(server.freeze(), tuple(frames), error, room=room, aggregate=server.aggregate, excluded=notes)

    def _opener_step(self, opener: Opener[Any], event: Event) -> Step:
        frames: list[Frame] = []
        error = None
        try:
            if isinstance(event, Hear):
                frames = opener.receive(event.data)
        except Misbehaved as refusal:
            error = refusal.with_traceback(None)
        return Step(opener.freeze(), tuple(frames), error)

    def _client_step(self, client: Client, event: Event) -> Step:
        frames: list[Frame] = []
        error = None
        try:
            if isinstance(event, Hear):
                frames = client.receive(event.data)
            elif isinstance(event, Train):
                frames = client.send(self.train(client.me, client))
        except Misbehaved as refusal:
            error = refusal.with_traceback(None)
        return Step(client.freeze(), tuple(frames), error, client.needs_update)


class Alive:
    """The same function by endpoints that stay alive; one that wakes from other bytes than its last is thawed.

    Half of a step is reading the image. What a crash leaves is read back as another object, so it is thawed.
    """

    def __init__(self, parties: Parties) -> None:
        self._parties = parties
        self._last: dict[PartyId, tuple[bytes, Endpoint]] = {}

    def step(self, who: PartyId, image: bytes, event: Event) -> Step:
        last, endpoint = self._last.pop(who, (b"", None))
        if endpoint is None or last is not image:
            endpoint = self._parties.thawed(who, image)
        step = self._parties.act(endpoint, event)
        self._last[who] = step.image, endpoint
        return step
