"""The engine: a protocol is a table of typed arrows on frozen states.

    (state, sender, message)  ->  (new state, [Envelope])

A `Role` is such a table; a `Party` is a role plus its present state. There is no socket, clock,
thread or hidden randomness here: time is a message (`Deadline`), the application is an addressee
(`APP`), entropy sits in the state. So one driver runs every protocol, every transport is an adapter,
and the legal moves of a protocol can be listed, drawn and tested from its table.

Rules, kept here once for all protocols:
  1. `Party.receive` is the only change of state.
  2. A pair outside the table is refused and leaves the very state object in place.
  3. An arrow checks everything, then returns; one that raises has changed nothing.
  4. A misbehaving peer aborts a client and is excluded by a server; a lost round ends either. A state that `lasts`
     refuses and stays.
  5. A room gathers one message per invited party and closes when it is complete or at its deadline.
  6. A secret that the new state no longer holds is overwritten.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import traceback
import typing
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, NewType, Protocol, TypeVar

from protocols.errors import Duplicate, Misbehaved, Misused, OutOfTurn, RoundLost

PartyId = NewType("PartyId", int)

# Clients are numbered 0 .. 2^32 - 16; the top of the range names who is no client.
SERVER = PartyId(2**32 - 1)
APP = PartyId(2**32 - 2)
SELF = PartyId(2**32 - 3)
MAX_CLIENT_ID = 2**32 - 16


@dataclass(frozen=True, slots=True)
class Envelope:
    """One outgoing message and everybody it goes to; it is encoded once however many they are."""

    to: tuple[PartyId, ...]
    message: Any


@dataclass(frozen=True, slots=True)
class Wait:
    """To APP: a room has opened; send `Deadline(room)` back when this long has passed."""

    room: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Deadline:
    """From SELF: the time of this room is over. It closes no other room, not even a later one of its type."""

    room: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """To APP: the server ignored what this peer sent, and why. `error` is the name of the error."""

    peer: PartyId
    error: str
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a party that met a misbehaving peer or a lost round; nothing else is kept."""

    error: str
    why: str


class Blame(enum.Enum):
    """What a role does when a peer misbehaves."""

    ABORT = "abort"
    EXCLUDE = "exclude"


class Erasable(Protocol):
    """A secret that can be overwritten in place."""

    def erase(self) -> None: ...


class Room(Protocol):
    """A state that waits for one message from each invited party."""

    @property
    def invited(self) -> Set[PartyId]: ...
    @property
    def arrived(self) -> Mapping[PartyId, object]: ...


State = TypeVar("State")
Message = TypeVar("Message")
RoomState = TypeVar("RoomState", bound=Room)


def name_of_type(room: object) -> str:
    """The name of a room that is the only one of its type."""
    return type(room).__name__


def name_of_place(room: type, place: int) -> str:
    """The name of the first, second, ... of the rooms of one type: the first has that of the type."""
    return room.__name__ if place == 1 else f"{room.__name__} {place}"


Step = tuple[Any, list[Envelope]]
Arrow = Callable[[Any, PartyId, Any], Step]


class Role:
    """A named table of arrows.

    The decorator keeps the types: an arrow registered for another state or message than it
    accepts is an error of the type checker.
    """

    def __init__(self, name: str, blame: Blame) -> None:
        self.name = name
        self.blame = blame
        self.arrows: dict[tuple[type[Any], type[Any]], Arrow] = {}
        self.lasting: set[type[Any]] = set()

    def on(
        self, state: type[State], message: type[Message]
    ) -> Callable[[Callable[[State, PartyId, Message], Step]], Callable[[State, PartyId, Message], Step]]:
        """Register the arrow that leaves `state` on `message`."""

        def register(arrow: Callable[[State, PartyId, Message], Step]) -> Callable[[State, PartyId, Message], Step]:
            self._add(state, message, arrow)
            return arrow

        return register

    def room(
        self,
        state: type[RoomState],
        message: type[Message],
        *,
        keep: Callable[[RoomState, PartyId, Message], RoomState],
        complete: Callable[[RoomState], bool],
        close: Callable[[RoomState], Step],
        name: Callable[[RoomState], str] = name_of_type,
    ) -> None:
        """Register both ways into `close`: the last arrival that completes the room, and its deadline.

        `keep` checks one message and stores it; only after its last check may it change the room's
        own mutable sum. `name` is what the room's deadline says; rooms of one type that follow each other
        have different ones.
        """

        def arrive(room: RoomState, who: PartyId, letter: Message) -> Step:
            if who not in room.invited:
                raise OutOfTurn(who, f"is not invited to {state.__name__}")
            if who in room.arrived:
                raise Duplicate(who, f"has already spoken in {state.__name__}")
            room = keep(room, who, letter)
            return close(room) if complete(room) else (room, [])

        def expire(room: RoomState, _: PartyId, deadline: Deadline) -> Step:
            return close(room) if deadline.room == name(room) else (room, [])

        self._add(state, message, arrive)
        self._add(state, Deadline, expire)

    def lasts(self, state: type[Any]) -> None:
        """Say that this state outlives what it refuses: it is for many rounds, and no one may end it by one lie."""
        self.lasting.add(state)

    def ignore(self, state: type[Any], message: type[Any]) -> None:
        """Register a late message that is expected, harmless and unread."""
        self._add(state, message, lambda present, _sender, _message: (present, []))

    def _add(self, state: type[Any], message: type[Any], arrow: Arrow) -> None:
        if (state, message) in self.arrows:
            raise Misused(f"{self.name}: two arrows for {state.__name__} and {message.__name__}")
        self.arrows[state, message] = arrow


class Party:
    """One participant: a role and its present state."""

    def __init__(self, role: Role, state: Any) -> None:
        self.role = role
        self.state = state

    def receive(self, sender: PartyId, message: object) -> list[Envelope]:
        """Take one authenticated message, move, and return what to send.

        Raises: Misused when the application speaks out of turn; OutOfTurn when a peer does and this
            role aborts (the state is untouched); Misbehaved after the state has become `Failed`;
            RoundLost (TooFewClients, ImplausibleSum) after the state has become `Failed`.
        """
        arrow = self.role.arrows.get((type(self.state), type(message)))
        if arrow is None:
            return self._refuse(sender, message)
        try:
            state, out = arrow(self.state, sender, message)
        except OutOfTurn as error:
            # Not meant for this state or this party: whoever delivered it must not be able to end the round.
            if self.role.blame is Blame.EXCLUDE:
                return [report(error)]
            raise
        except Misbehaved as error:
            if self.role.blame is Blame.EXCLUDE:
                return [report(error)]
            if type(self.state) in self.role.lasting:
                forget_locals(error)
            else:
                self._fail(error)
            raise
        except RoundLost as error:
            self._fail(error)
            raise
        self._move(state)
        return out

    def abandon(self, why: str) -> None:
        """Give the round up and overwrite its secrets."""
        self._move(Failed("Abandoned", why))

    def _refuse(self, sender: PartyId, message: object) -> list[Envelope]:
        what = f"{type(message).__name__} does not fit {self.role.name} in {type(self.state).__name__}"
        if sender in (APP, SELF):
            if isinstance(message, Deadline):
                return []
            raise Misused(what)
        error = OutOfTurn(sender, what)
        if self.role.blame is Blame.EXCLUDE:
            return [report(error)]
        raise error

    def _fail(self, error: Exception) -> None:
        self._move(Failed(type(error).__name__, str(error)))
        if self.role.blame is Blame.ABORT:
            forget_locals(error)

    def _move(self, state: Any) -> None:
        if self.role.blame is Blame.ABORT and state is not self.state:
            kept = {id(secret) for secret in secrets_in(state)}
            for secret in secrets_in(self.state):
                if id(secret) not in kept:
                    secret.erase()
        self.state = state


def forget_locals(error: BaseException | None) -> None:
    """Whoever keeps an error must not keep alive the keys that the arrow held when it was raised."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__


def report(error: Misbehaved) -> Envelope:
    """The note to the application that a peer was ignored."""
    return Envelope((APP,), Excluded(PartyId(error.peer), type(error).__name__, error.why))


def secrets_in(value: object) -> list[Erasable]:
    """Every erasable secret reachable through dataclass fields, tuples and mappings."""
    found: list[Erasable] = []
    _collect(value, found)
    return found


def _collect(value: object, found: list[Erasable]) -> None:
    kind = type(value)
    if kind is tuple or kind is list or kind is dict:
        items: Any = value
        for item in items.values() if kind is dict else items:
            _collect(item, found)
    elif hasattr(kind, "erase"):
        found.append(typing.cast(Erasable, value))
    elif hasattr(kind, "__dataclass_fields__"):
        hashable: Any = kind
        for name in _secret_fields(hashable):
            _collect(getattr(value, name), found)


@functools.cache
def _secret_fields(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass whose declared type can hold a secret; most of a state cannot."""
    hints = typing.get_type_hints(kind)
    return tuple(field.name for field in dataclasses.fields(kind) if _can_hold_secret(hints[field.name]))


def _can_hold_secret(hint: Any) -> bool:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return bool(_secret_fields(hint))
    return hasattr(hint, "erase") or any(map(_can_hold_secret, typing.get_args(hint)))
