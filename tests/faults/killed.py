"""A table at which others than the clients open the sum, some of those who sit at it mortal.

OpenedTable     what opens is made, then one round; every frame that is said is remembered, and judged
killed_once     a whole round in which one endpoint is killed at one point

The victim lives in a process of its own and is killed there with SIGKILL; the others live on. Whoever comes back, or
is spoken to by who came back, is told again what it was told since it last spoke. Judged is what left: never two
different frames of one party at one place, and a sum in which everybody is counted once.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from protocols import codec
from protocols.codec import Frame, kind_of
from protocols.endpoint.certifier import Certifier
from protocols.party import SERVER, PartyId
from tests.contracts.company import Opened
from tests.faults.mortal import CLIENTS, LENGTH, Answer, At, Fate, Hears, Immortal, Mortal, Nth, body_of

SERVER_POINTS = [
    (At(f"{room} {what}", moment), hears)
    for room in ("Summing", "Opening")
    for what in ("arrival", "close")
    for moment in ("before", "after")
    for hears in Hears
    # What is not stored has no moment before or after its store.
    if (what, hears) != ("arrival", Hears.AND_WAITS)
]


def points(*arrows: str) -> list[At]:
    """Around the store of each of these steps, and after its answer has left."""
    return [At(arrow, moment) for arrow in arrows for moment in ("before", "after", "sent")]


def name_of(point: object) -> str | None:
    """A parameter's id in a test."""
    return f"{point.arrow}-{point.moment}" if isinstance(point, At) else None


class OpenedTable(ABC):
    """What opens the sum, and one round; every frame that is said is remembered.

    `openings_of` are the kinds of which one party may say several: one for each set of those who open together.
    """

    openings_of: ClassVar[tuple[type[Any], ...]] = ()

    def __init__(self, base: Path, fates: dict[PartyId, tuple[Fate, ...]], hears: Hears = Hears.AND_STORES) -> None:
        def seat(who: PartyId) -> Mortal | Immortal:
            if who not in fates:
                return Immortal(who, self.cast)
            return Mortal(who, base / str(who), fates[who], hears=hears, cast=self.cast)

        base.mkdir(exist_ok=True)
        self.company = self.cast()
        self.parties = {who: seat(who) for who in (SERVER, *self.company.parties)}
        self.certificate: Any = None
        self.said: set[tuple[PartyId, PartyId, bytes]] = set()
        self.queue: deque[tuple[PartyId, PartyId, bytes]] = deque()
        self.training: deque[PartyId] = deque()
        self.last = Answer()
        self.openings = 0

    @staticmethod
    @abstractmethod
    def cast() -> Opened:
        """The same in every process."""

    @abstractmethod
    def begun(self) -> tuple[Certifier[Any], list[Frame]]:
        """Who has it made what opens the sum, by whom it needs not survive, and its invitations."""

    @classmethod
    @contextmanager
    def set(cls, base: Path, fates: dict[PartyId, tuple[Fate, ...]], hears: Hears = Hears.AND_STORES) -> Iterator[Self]:
        table = cls(base, fates, hears)
        try:
            yield table
        finally:
            for party in table.parties.values():
                party.end()

    @property
    def deaths(self) -> int:
        return sum(party.deaths for party in self.parties.values())

    # --- the ceremony and the round

    def certify(self) -> None:
        """What opens is made."""
        self.maker, invitations = self.begun()
        self.tell(invitations)
        while self.queue:
            to, speaker, data = self.queue.popleft()
            if to == SERVER:
                self.tell(self.maker.receive(data, speaker))
            else:
                self.ask(to, "receive", data)
        self.certificate = self.maker.certificate

    def tell(self, frames: list[Frame], only: PartyId | None = None) -> None:
        for frame in frames:
            self.post(SERVER, tuple(who for who in frame.to if only in (None, who)), bytes(frame))

    def play(self, deaths: int | None = None) -> None:
        """Go on until the round is over and everybody was told, or so many have died."""
        while self.queue or not self.last.done:
            if deaths is not None and self.deaths >= deaths:
                return
            self.step()

    def step(self) -> None:
        if self.last.room is None and not self.last.done:
            self.openings += 1
            self.ask(SERVER, "open", bytes([self.openings]) * 16, self.certificate)
        elif self.training:
            self.ask(self.training.popleft(), "submit")
        elif self.queue:
            to, _, data = self.queue.popleft()
            self.ask(to, "receive", data)
        else:
            self.ask(SERVER, "deadline", self.last.room)

    def ask(self, who: PartyId, verb: str, *arguments: Any) -> Answer:
        party = self.parties[who]
        before = party.deaths
        answer = party.ask(verb, *arguments)
        self.hear(who, answer)
        if party.deaths > before:
            self.reconnect(who)
        return answer

    def reconnect(self, who: PartyId) -> None:
        if who == SERVER:
            for other in self.company.parties:
                self.hear(other, self.parties[other].ask("resend"))
        elif self.certificate is None:
            self.tell(self.maker.repeat(), who)
        else:
            self.hear(SERVER, self.parties[SERVER].ask("resend"), who)

    def hear(self, who: PartyId, answer: Answer, only: PartyId | None = None) -> None:
        if who == SERVER:
            self.last = answer
        for to, data in answer.frames:
            self.post(who, tuple(one for one in to if only in (None, one)), data)
        if answer.needs_update and who not in self.training:
            self.training.append(who)

    def post(self, who: PartyId, to: tuple[PartyId, ...], data: bytes) -> None:
        self.said.update((who, one, data) for one in to)
        self.queue.extend((one, who, data) for one in to)

    # --- the oracle

    def judge(self) -> None:
        """Nobody said two different things at one place, and the sum is that of all vectors, once each."""
        places = [(who, to, *self.place_of(data)) for who, to, data in self.said]
        twice = {place for place in places if places.count(place) > 1}
        assert not twice, f"two different frames: {twice}"
        aggregate, ring = self.last.aggregate, self.company.plan.encoding.ring
        assert aggregate is not None
        assert aggregate.survivors == self.company.ids
        assert aggregate.weight_sum == 2 * CLIENTS
        total = ring.zeros(LENGTH)
        for who in self.company.ids:
            ring.add_into(total, self.parties[who].trained())
        assert aggregate.total.tolist() == ring.reduce(total).tolist()

    def place_of(self, data: bytes) -> tuple[object, ...]:
        """What a frame is about: its key or attempt, its kind, and of openings those who open together."""
        header, kind = codec.read_header(data, SERVER, codec.MAX_CONTROL_BYTES), kind_of(data)
        openers = body_of(data, SERVER).openers if kind in self.openings_of else ()
        return header.task, header.round, kind, openers

    def say_again(self, who: PartyId, message: Any, like: bytes) -> Answer:
        """What a party says to this message, in a frame like another of the server's, under its own good signature."""
        header = codec.read_header(like, SERVER, len(like))
        sign = self.company.identity.sign
        return self.parties[who].ask(
            "receive", b"".join(codec.encode(message, SERVER, header.task, header.round, sign))
        )


def killed_once(
    table_of: type[OpenedTable], point: At, who: PartyId, base: Path, hears: Hears = Hears.AND_STORES
) -> OpenedTable:
    """A whole round in which one endpoint is killed at this point, judged."""
    with table_of.set(base, {who: (point,)}, hears) as table:
        table.certify()
        table.play()
        # Whoever has said its last word dies unnoticed: the death shows when it is spoken to again.
        table.parties[who].ask("resend")
        table.judge()
        assert table.deaths == 1
    return table


def two_fates(seed: int, company: Opened) -> dict[PartyId, tuple[Fate, ...]]:
    """Twice somebody, killed before some system call or after some answer."""
    draw = random.Random(seed)
    fates: dict[PartyId, tuple[Fate, ...]] = {}
    for _ in range(2):
        who = draw.choice((SERVER, *company.parties))
        most = 60 if who == SERVER else 20 if who in company.ids else 40
        fates[who] = (*fates.get(who, ()), Nth(draw.randint(1, most)))
    return fates


def killed_twice(table_of: type[OpenedTable], count: int, base: Path) -> int:
    """So many rounds in each of which two are killed at random, judged; how many died."""
    deaths = 0
    for seed in range(count):
        with table_of.set(base / str(seed), two_fates(seed, table_of.cast()), list(Hears)[seed % 2]) as table:
            table.certify()
            table.play()
            table.judge()
            deaths += table.deaths
    return deaths
