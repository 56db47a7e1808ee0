"""Plays one round under a schedule of faults, on endpoints that are bytes between any two steps.

A crash before the durable write is a step thrown away; its event, which the transport still has, comes again. After
a crash between write and sending, the client's answer comes back when its event is repeated; what the server
wanted to say is lost, and only its clients' repetitions bring it back.
A room's deadline comes `patience` seconds after it opened, whatever happened meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from protocols.ckks.messages import EncryptedSum, OpenEncrypted
from protocols.codec import kind_of
from protocols.endpoint import Task
from protocols.errors import Misbehaved, RoundLost
from protocols.faults.network import Forger, Network
from protocols.faults.parties import Again, Boot, Event, Hear, Step, Train
from protocols.faults.schedule import Arrow, Crash, Moment, Schedule, ServerCrash, WrongDeadline
from protocols.messages import Aggregate, Inbox, Open, Roster, Survivors, Witnesses
from protocols.oneshot.messages import Included, OpenOneShot
from protocols.party import SERVER, Deadline, Excluded, PartyId
from protocols.simulate import Exchange

ROOMS = ("Gathering", "Relaying", "Summing", "Witnessing", "Unmasking")
# The rooms of rounds that others than the clients open are those of the letters that they have.
EXCHANGE_IN = dict(zip(ROOMS, Exchange, strict=True)) | {"Opening": Exchange.UNMASK}
ARROW_OF: dict[type, Arrow] = {
    Open: Arrow.OPEN,
    Roster: Arrow.ROSTER,
    Inbox: Arrow.INBOX,
    Survivors: Arrow.SURVIVORS,
    Witnesses: Arrow.WITNESSES,
    OpenEncrypted: Arrow.OPEN,
    EncryptedSum: Arrow.WITNESSES,
    OpenOneShot: Arrow.OPEN,
    Included: Arrow.WITNESSES,
}


def exchange_in(room: str) -> Exchange | None:
    """Whose letters this room waits for. Further sets of holders are asked for the same letter as the first."""
    return EXCHANGE_IN.get(room.partition(" ")[0])


def rooms_of(exchange: Exchange) -> tuple[str, ...]:
    """The names of the rooms that wait for these letters, whatever the protocol."""
    return tuple(room for room, letters in EXCHANGE_IN.items() if letters is exchange)


Stepper = Callable[[PartyId, bytes, Event], Step]


@dataclass(frozen=True, slots=True)
class Emitted:
    """A frame a party said, whether or not it arrived."""

    time: int
    sender: PartyId
    data: bytes


@dataclass(frozen=True, slots=True)
class Played:
    """How the round ended: a sum or a named loss; everything that was said; what clients and server refused."""

    aggregate: Aggregate | None
    lost: RoundLost | None
    said: tuple[Emitted, ...]
    refused: tuple[tuple[PartyId, Misbehaved], ...]
    excluded: tuple[Excluded, ...]


def play(
    schedule: Schedule, ids: tuple[PartyId, ...], task: Task, patience: int, step: Stepper, forge: Forger
) -> Played:
    """The round of these clients, and of those who open, under this schedule, until nobody has anything more to say.

    `step` is `Parties.step`, or the same function with a memory; `forge` makes a hostile letter of a good one.
    """
    driver = _Driver(schedule, ids, patience, step, forge)
    driver.at_server(task)
    driver.network.run()
    return Played(driver.aggregate, driver.lost, tuple(driver.said), tuple(driver.refused), tuple(driver.excluded))


class _Driver:
    def __init__(
        self, schedule: Schedule, ids: tuple[PartyId, ...], patience: int, step: Stepper, forge: Forger
    ) -> None:
        self.network = Network(schedule, ids, self.deliver, forge, self.greet)
        self.patience = patience
        self.step = step
        self.room = ""
        self.arrivals = 0
        self.ended = False
        self.aggregate: Aggregate | None = None
        self.lost: RoundLost | None = None
        self.said: list[Emitted] = []
        self.refused: list[tuple[PartyId, Misbehaved]] = []
        self.excluded: list[Excluded] = []
        self.disk = {who: step(who, b"", Boot()).image for who in (SERVER, *ids)}
        self.heard: dict[PartyId, Hear] = {}
        self.crashes: dict[tuple[PartyId, Arrow | None], Moment] = {
            (ids[fault.client], fault.arrow): fault.moment for fault in schedule.faults if isinstance(fault, Crash)
        }
        self.server_crashes: dict[tuple[Exchange | None, int | None], Moment] = {
            (fault.room, fault.arrival): fault.moment for fault in schedule.faults if isinstance(fault, ServerCrash)
        }
        self.wrong_deadlines: dict[Exchange | None, Exchange] = {
            fault.room: fault.other for fault in schedule.faults if isinstance(fault, WrongDeadline)
        }

    def deliver(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        if recipient == SERVER:
            self.at_server(Hear(data, sender))
        else:
            self.heard[recipient] = Hear(data, sender)
            self.at_client(recipient, self.heard[recipient])

    # --- the clients --------------------------------------------------------------------------------------

    def at_client(self, who: PartyId, event: Hear | Train) -> None:
        step = self.step(who, self.disk[who], event)
        crash = self.crash_of(who, event) if self.crashes and step.image != self.disk[who] else None
        if crash is not Moment.BEFORE:
            self.disk[who] = step.image
        if crash is not None:
            # The stored state asks for the update again; the transport still has the frame.
            self.restart(who, partial(self.at_client, who, self.heard[who]))
            return
        if isinstance(step.error, Misbehaved):
            self.refused.append((who, step.error))
        for frame in step.frames:
            self.say(who, (SERVER,), bytes(frame))
        if step.needs_update:
            self.at_client(who, Train())

    def crash_of(self, who: PartyId, event: Hear | Train) -> Moment | None:
        arrow = Arrow.UPDATE if isinstance(event, Train) else ARROW_OF.get(kind_of(event.data))
        return self.crashes.pop((who, arrow), None)

    def say(self, sender: PartyId, to: tuple[PartyId, ...], data: bytes) -> None:
        self.said.append(Emitted(self.network.now, sender, data))
        for who in to:
            self.network.post(sender, who, data)

    def restart(self, who: PartyId, resume: Callable[[], None]) -> None:
        # What is read back is no object that any live endpoint still knows.
        self.disk[who] = bytes(bytearray(self.disk[who]))
        self.network.restart(who, resume)

    # --- the server ---------------------------------------------------------------------------------------

    def at_server(self, event: Task | Hear | Deadline) -> None:
        before = self.disk[SERVER]
        step = self.step(SERVER, before, event)
        place = None if step.room != self.room else self.arrivals
        crash = self.server_crashes.pop((exchange_in(self.room), place), None) if step.image != before else None
        if crash is not Moment.BEFORE:
            self.store(step)
        if crash is not None:
            self.restart(SERVER, partial(self.resume, event, crash))
            return
        self.excluded += step.excluded
        for frame in step.frames:
            self.say(SERVER, frame.to, bytes(frame))
        if self.arrivals and exchange_in(self.room) in self.wrong_deadlines:
            for name in rooms_of(self.wrong_deadlines.pop(exchange_in(self.room))):
                self.at_server(Deadline(name))

    def resume(self, event: Task | Hear | Deadline, died: Moment) -> None:
        """A deadline that was stored is over: the clock of whoever comes back starts anew."""
        if not (isinstance(event, Deadline) and died is Moment.AFTER):
            self.at_server(event)

    def greet(self, who: PartyId) -> None:
        for frame in self.step(SERVER, self.disk[SERVER], Again()).frames:
            if who in frame.to:
                self.say(SERVER, (who,), bytes(frame))

    def store(self, step: Step) -> None:
        self.disk[SERVER] = step.image
        self.arrivals += 1
        if step.room != self.room:
            self.room, self.arrivals = step.room, 0
            if self.room:
                self.network.after(self.patience, partial(self.expire, self.room))
        if not self.room and not self.ended:
            self.ended, self.aggregate = True, step.aggregate
            self.lost = step.error if isinstance(step.error, RoundLost) else None

    def expire(self, room: str) -> None:
        down = self.network.down(SERVER)
        if down:
            self.network.after(down, partial(self.expire, room))
        elif self.room == room:
            self.at_server(Deadline(room))
