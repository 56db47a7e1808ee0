"""What goes wrong in one round, as a value: a schedule can be drawn, stored, replayed and shrunk.

A letter is named by its client, its exchange and its side: the server's request or the client's reply. A fault
hits the first copy of its letter, or the first passage of its arrow, once. Seconds are virtual.

Where others than the clients open a round, they are numbered after the clients. A client's letter is that of MASKED,
that of who opens is that of UNMASK, and what it does with the question is the arrow WITNESSES.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from protocols.errors import Misused
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter between the server and the client at this position among the invited."""

    client: int
    exchange: Exchange
    side: Lost


class Moment(enum.Enum):
    """When a process dies: before its durable write, or after it and before anything is sent."""

    BEFORE = "before"
    AFTER = "after"


class Arrow(enum.IntEnum):
    """The durable steps of a client, in order."""

    OPEN = 0
    ROSTER = 1
    INBOX = 2
    UPDATE = 3
    SURVIVORS = 4
    WITNESSES = 5


class Deed(enum.Enum):
    """What a hostile client does to its letter, under its own good signature."""

    WRONG_LENGTH = "wrong length"  # C2: its masked vector is a byte short
    BAD_SHARE = "bad share"  # C8: one of its shares differs in a bit


@dataclass(frozen=True, slots=True)
class Vanish:
    """This letter and all that follow are lost; after `back` seconds the client connects again, or never."""

    at: Letter
    back: int | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """This letter alone is lost; its client, left without an answer, repeats what it said last."""

    at: Letter


@dataclass(frozen=True, slots=True)
class Delay:
    """This letter is late, and what follows it the same way waits behind it."""

    at: Letter
    seconds: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """This letter arrives a second time, out of order, so much later."""

    at: Letter
    seconds: int


@dataclass(frozen=True, slots=True)
class Flip:
    """One bit of this letter arrives changed: bit `position` modulo its length. Then as `Drop`."""

    at: Letter
    position: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """This letter arrives cut to `position` modulo its length bytes. Then as `Drop`."""

    at: Letter
    position: int


@dataclass(frozen=True, slots=True)
class Crash:
    """A client dies in a step and comes back from its stored bytes; its last letter is delivered again."""

    client: int
    arrow: Arrow
    moment: Moment


@dataclass(frozen=True, slots=True)
class ServerCrash:
    """The server dies while it closes this room, or at the n-th arrival in it, and comes back.

    Its connections break, so whoever is connected repeats what it said last.
    """

    room: Exchange
    moment: Moment
    arrival: int | None = None


@dataclass(frozen=True, slots=True)
class WrongDeadline:
    """While one room is open, the deadline of another arrives."""

    room: Exchange
    other: Exchange


@dataclass(frozen=True, slots=True)
class Hostile:
    """A client's letter is replaced by a hostile one."""

    client: int
    deed: Deed


LetterFault = Vanish | Drop | Delay | Duplicate | Flip | Truncate
Fault = Vanish | Drop | Delay | Duplicate | Flip | Truncate | Crash | ServerCrash | WrongDeadline | Hostile
FAULTS: dict[str, type[Any]] = {kind.__name__: kind for kind in typing.get_args(Fault)}


@dataclass(frozen=True, slots=True)
class Schedule:
    """One round of `clients` clients and what goes wrong in it. `seed` is the number it was drawn from."""

    seed: int
    clients: int
    promise: Promise
    graph: GraphMode
    faults: tuple[Fault, ...]

    def to_json(self) -> str:
        """One object; each fault carries the name of its kind."""
        faults = [{"kind": type(fault).__name__, **dataclasses.asdict(fault)} for fault in self.faults]
        return json.dumps({**dataclasses.asdict(self), "faults": faults}, default=lambda member: member.value)

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """The schedule that `to_json` wrote.

        Raises: Misused for anything else.
        """
        try:
            fields = json.loads(text)
            faults = tuple(_restored(FAULTS[fault.pop("kind")], fault) for fault in fields.pop("faults"))
            return cls(faults=faults, **_fields(cls, fields))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Misused(f"this text is no schedule of faults: {error}") from error


def _restored(hint: Any, value: Any) -> Any:
    """A value of this type from what JSON made of it."""
    if dataclasses.is_dataclass(hint):
        kind: Any = hint
        return kind(**_fields(kind, value))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if type(value) not in (typing.get_args(hint) or (hint,)):
        raise ValueError(f"{value!r} is no {hint}")
    return value


def _fields(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {name: _restored(hints[name], value) for name, value in values.items()}


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """A schedule that still fails and fails no more when any one of its faults is removed.

    `fails` must be true of `schedule`. Large pieces are tried first (Zeller and Hildebrandt, TSE 2002).
    Raises: Misused when the schedule does not fail.
    """
    if not fails(schedule):
        raise Misused("the schedule does not fail, so there is nothing to shrink")
    size = max(1, len(schedule.faults) // 2)
    while True:
        smaller = _without_one_piece(schedule, size, fails)
        if smaller is not None:
            schedule = smaller
        elif size == 1:
            return schedule
        else:
            size //= 2


def _without_one_piece(schedule: Schedule, size: int, fails: Callable[[Schedule], bool]) -> Schedule | None:
    faults = schedule.faults
    for start in range(0, len(faults), size):
        smaller = replace(schedule, faults=faults[:start] + faults[start + size :])
        if fails(smaller):
            return smaller
    return None
