"""Plays one round under a schedule of faults, in virtual time, on endpoints that are bytes between any two steps.

    a frame takes a second; those of one client in one direction stay in order, unless a fault repeats one
    a party that dies is down for PAUSE seconds, then comes back from what it stored
    a client whose connection broke connects again and repeats what it said last
    a room's deadline comes `patience_seconds` after it opened, whatever happened meanwhile

The transport keeps a frame until its receiver has stored the step it caused. What the server wanted to say when
it died is lost with it: only its clients' repetitions bring it back.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from protocols.codec import HEADER, KINDS
from protocols.endpoint import Task
from protocols.errors import Misbehaved, Misused, RoundLost
from protocols.faults.parties import Event, Hear, Step, Train
from protocols.faults.schedule import (
    Arrow,
    Crash,
    Deed,
    Delay,
    Duplicate,
    Fault,
    Flip,
    Hostile,
    Letter,
    Moment,
    Schedule,
    ServerCrash,
    Truncate,
    Vanish,
    WrongDeadline,
)
from protocols.messages import (
    Advertise,
    Aggregate,
    Inbox,
    Masked,
    Open,
    Roster,
    Shares,
    Survivors,
    Unmask,
    Witness,
    Witnesses,
)
from protocols.party import SERVER, Deadline, PartyId
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost

LATENCY = 1
PAUSE = 2
MOST_EVENTS = 100_000

ROOMS = ("Gathering", "Relaying", "Summing", "Witnessing", "Unmasking")
ROOM_OF = dict(zip(Exchange, ROOMS, strict=True))
EXCHANGE_OF = {
    Open: Exchange.ADVERTISE,
    Advertise: Exchange.ADVERTISE,
    Roster: Exchange.SHARES,
    Shares: Exchange.SHARES,
    Inbox: Exchange.MASKED,
    Masked: Exchange.MASKED,
    Survivors: Exchange.WITNESS,
    Witness: Exchange.WITNESS,
    Witnesses: Exchange.UNMASK,
    Unmask: Exchange.UNMASK,
}
ARROW_OF = {
    Open: Arrow.OPEN,
    Roster: Arrow.ROSTER,
    Inbox: Arrow.INBOX,
    Survivors: Arrow.SURVIVORS,
    Witnesses: Arrow.WITNESSES,
}
LETTER_OF_DEED = {
    Deed.WRONG_LENGTH: Exchange.MASKED,
    Deed.FOREIGN_SIGNATURE: Exchange.WITNESS,
    Deed.BAD_SHARE: Exchange.UNMASK,
}

Stepper = Callable[[PartyId, bytes, Event], Step]
Forger = Callable[[PartyId, Deed, bytes], bytes]


def kind_of(data: bytes) -> type:
    """The message type a frame announces."""
    return KINDS[HEADER.unpack_from(data)[2]]


@dataclass(frozen=True, slots=True)
class Emitted:
    """A frame a party said, whether or not it arrived."""

    time: int
    sender: PartyId
    data: bytes


@dataclass(frozen=True, slots=True)
class Played:
    """How the round ended: a sum or a named loss, everything that was said, and what clients refused."""

    aggregate: Aggregate | None
    lost: RoundLost | None
    ended: int
    said: tuple[Emitted, ...]
    refused: tuple[tuple[PartyId, Misbehaved], ...]


def play(
    schedule: Schedule, ids: tuple[PartyId, ...], task: Task, patience: int, step: Stepper, forge: Forger
) -> Played:
    """The round of these clients under this schedule, until nobody has anything more to say.

    `step` is `Parties.step`, or the same function with a memory; `forge` makes a hostile letter of a good one.
    """
    driver = _Driver(schedule, ids, task, patience, step, forge)
    driver.run()
    return Played(driver.aggregate, driver.lost, driver.ended, tuple(driver.said), tuple(driver.refused))


@dataclass(slots=True)
class _Driver:
    schedule: Schedule
    ids: tuple[PartyId, ...]
    task: Task
    patience: int
    step: Stepper
    forge: Forger
    now: int = 0
    room: str = ""
    arrivals: int = 0
    ended: int = -1
    aggregate: Aggregate | None = None
    lost: RoundLost | None = None
    said: list[Emitted] = field(default_factory=list)
    refused: list[tuple[PartyId, Misbehaved]] = field(default_factory=list)
    disk: dict[PartyId, bytes] = field(default_factory=dict)
    heard: dict[PartyId, Hear] = field(default_factory=dict)
    invitations: dict[PartyId, bytes] = field(default_factory=dict)
    last_words: dict[PartyId, bytes] = field(default_factory=dict)
    gone: set[PartyId] = field(default_factory=set)
    back_at: dict[PartyId, int] = field(default_factory=dict)
    channel: dict[tuple[PartyId, PartyId], int] = field(default_factory=dict)
    queue: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    number: int = 0
    pending: list[Fault] = field(default_factory=list)

    def run(self) -> None:
        self.pending = list(self.schedule.faults)
        self.at_server(self.task)
        while self.queue:
            self.now, _, act = heapq.heappop(self.queue)
            act()
            if self.number > MOST_EVENTS:
                raise Misused("the parties of this round repeat themselves in a circle")

    def at(self, time: int, act: Callable[[], None]) -> None:
        """Equal times keep the order in which they were asked for."""
        heapq.heappush(self.queue, (time, self.number, act))
        self.number += 1

    # --- the network --------------------------------------------------------------------------------------

    def post(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        """One new frame on its way, with whatever the schedule holds for it."""
        client = recipient if sender == SERVER else sender
        for fault in self.faults_of(self.letter(sender, client, data)):
            if isinstance(fault, Hostile):
                data = self.last_words[client] = self.forge(client, fault.deed, data)
                continue
            self.pending.remove(fault)
            if isinstance(fault, Delay):
                self.transmit(sender, recipient, data, fault.seconds)
            elif isinstance(fault, Duplicate):
                self.transmit(sender, recipient, data)
                self.at(self.now + LATENCY + fault.seconds, partial(self.arrive, sender, recipient, data))
            elif isinstance(fault, Vanish):
                self.vanish(client, fault.back)
            else:
                self.damage(fault, sender, recipient, data)
                self.at(self.now + PAUSE, partial(self.connect, client))
            return
        self.transmit(sender, recipient, data)

    def transmit(self, sender: PartyId, recipient: PartyId, data: bytes, late: int = 0) -> None:
        """Frames of one client in one direction arrive in order."""
        arrives = max(self.now + LATENCY + late, self.channel.get((sender, recipient), 0))
        self.channel[sender, recipient] = arrives
        self.at(arrives, partial(self.arrive, sender, recipient, data))

    def damage(self, fault: Fault, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        """What arrives of a frame that is not whole, if anything does."""
        if isinstance(fault, Flip):
            place = fault.position % (8 * len(data))
            flipped = bytearray(data)
            flipped[place // 8] ^= 1 << place % 8
            self.at(self.now + LATENCY, partial(self.arrive, sender, recipient, bytes(flipped)))
        elif isinstance(fault, Truncate):
            cut = data[: fault.position % len(data)]
            self.at(self.now + LATENCY, partial(self.arrive, sender, recipient, cut))

    def letter(self, sender: PartyId, client: PartyId, data: bytes) -> Letter:
        exchange = EXCHANGE_OF[kind_of(data)]
        if self.schedule.promise is Promise.CURIOUS and exchange is Exchange.WITNESS:
            exchange = Exchange.UNMASK
        return Letter(self.ids.index(client), exchange, Lost.REQUEST if sender == SERVER else Lost.REPLY)

    def faults_of(self, letter: Letter) -> list[Fault]:
        """The faults that wait for this letter, hostility first."""
        hostile = [
            fault
            for fault in self.pending
            if isinstance(fault, Hostile) and letter == Letter(fault.client, LETTER_OF_DEED[fault.deed], Lost.REPLY)
        ]
        return hostile + [fault for fault in self.pending if getattr(fault, "at", None) == letter]

    def arrive(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        down_until = self.back_at.get(recipient, 0)
        if self.now < down_until:
            self.at(down_until, partial(self.arrive, sender, recipient, data))
        elif recipient == SERVER:
            self.at_server(Hear(data, sender))
        elif recipient not in self.gone:
            self.at_client(recipient, Hear(data, SERVER))

    def vanish(self, client: PartyId, back: int | None) -> None:
        self.gone.add(client)
        if back is not None:
            self.at(self.now + back, partial(self.come_back, client))

    def come_back(self, client: PartyId) -> None:
        self.gone.discard(client)
        self.connect(client)

    def connect(self, client: PartyId) -> None:
        """A client repeats what it said last; one that never spoke is invited again."""
        if client in self.gone:
            return
        if client in self.last_words:
            self.transmit(client, SERVER, self.last_words[client])
        else:
            self.transmit(SERVER, client, self.invitations[client])

    # --- the clients --------------------------------------------------------------------------------------

    def at_client(self, who: PartyId, event: Hear | Train) -> None:
        if isinstance(event, Hear):
            self.heard[who] = event
        before = self.disk.get(who, b"")
        step = self.step(who, before, event)
        crash = None if step.image == before else self.crash_of(who, event)
        if crash is not None:
            self.pending.remove(crash)
            self.back_at[who] = self.now + PAUSE
            self.at(self.now + PAUSE, partial(self.at_client, who, self.heard[who]))
        if crash is None or crash.moment is Moment.AFTER:
            self.disk[who] = step.image
        if crash is None:
            self.speak(who, step)

    def crash_of(self, who: PartyId, event: Hear | Train) -> Crash | None:
        arrow = Arrow.UPDATE if isinstance(event, Train) else ARROW_OF[kind_of(event.data)]
        planned = (fault for fault in self.pending if isinstance(fault, Crash))
        return next((fault for fault in planned if self.ids[fault.client] == who and fault.arrow is arrow), None)

    def speak(self, who: PartyId, step: Step) -> None:
        if isinstance(step.error, Misbehaved):
            self.refused.append((who, step.error))
        for frame in step.frames:
            data = bytes(frame)
            self.said.append(Emitted(self.now, who, data))
            self.last_words[who] = data
            self.post(who, SERVER, data)
        if step.needs_update:
            self.at_client(who, Train())

    # --- the server ---------------------------------------------------------------------------------------

    def at_server(self, event: Task | Hear | Deadline) -> None:
        before = self.disk.get(SERVER, b"")
        step = self.step(SERVER, before, event)
        closes = step.room != self.room
        crash = None if step.image == before else self.crash_of_server(closes)
        if crash is not None:
            self.pending.remove(crash)
            self.back_at[SERVER] = self.now + PAUSE
            self.at(self.now + PAUSE, partial(self.at_server, event))
            for who in self.ids:
                self.at(self.now + PAUSE, partial(self.connect, who))
        if crash is None or crash.moment is Moment.AFTER:
            self.store(step)
        if crash is None:
            self.send(step)
            self.wrong_deadline()

    def crash_of_server(self, closes: object) -> ServerCrash | None:
        for fault in self.pending:
            if isinstance(fault, ServerCrash) and ROOM_OF[fault.room] == self.room:
                if closes if fault.arrival is None else self.arrivals == fault.arrival and not closes:
                    return fault
        return None

    def store(self, step: Step) -> None:
        self.disk[SERVER] = step.image
        self.arrivals += 1
        if step.room != self.room:
            self.room, self.arrivals = step.room, 0
            self.at(self.now + self.patience, partial(self.expire, step.room))
        if not step.room and self.ended < 0:
            self.ended = self.now
            self.aggregate = step.aggregate
            self.lost = step.error if isinstance(step.error, RoundLost) else None

    def send(self, step: Step) -> None:
        for frame in step.frames:
            data = bytes(frame)
            self.said.append(Emitted(self.now, SERVER, data))
            for who in frame.to:
                self.invitations.setdefault(who, data)
                self.post(SERVER, who, data)

    def expire(self, room: str) -> None:
        if self.now < self.back_at.get(SERVER, 0):
            self.at(self.back_at[SERVER], partial(self.expire, room))
        elif self.room == room != "":
            self.at_server(Deadline(room))

    def wrong_deadline(self) -> None:
        """The deadline of another room, as soon as somebody has spoken in this one."""
        for fault in self.pending:
            if isinstance(fault, WrongDeadline) and ROOM_OF[fault.room] == self.room and self.arrivals:
                self.pending.remove(fault)
                self.at_server(Deadline(ROOM_OF[fault.other]))
                return
