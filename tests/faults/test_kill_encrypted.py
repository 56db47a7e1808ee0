"""kill -9 of one endpoint of an encrypted round around every store, the making of the key included.

The victim lives in a process of its own and is killed there with SIGKILL; the others live on. Whoever comes back, or
is spoken to by who came back, is told again what it was told since it last spoke. Judged is what left: never two
different frames of one party at one place (two parts of one opening, two uploads), and a sum in which everybody is
counted once. A holder draws other secrets in every life, so what it said without having stored it shows.
"""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from protocols import codec
from protocols.ckks.messages import Certificate, Ciphertext, EncryptedSum, Partial, Probe
from protocols.codec import kind_of
from protocols.endpoint import KeyMaker
from protocols.party import SERVER, PartyId
from protocols.plan import ENCRYPTED, RoundPlan
from tests.contracts.company import Encrypting
from tests.faults.mortal import CLIENTS, LENGTH, Answer, At, Fate, Forgets, Hears, Immortal, Mortal, Nth, body_of
from tests.rows import rows

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@functools.cache
def company() -> Encrypting:
    """Four clients and three holders, of whom two open; the same in every process."""
    plan = RoundPlan.recommend(
        CLIENTS, dropout=Fraction(1, 4), corrupt=Fraction(0), max_weight=8, min_cohort=3, bits=12, protocol=ENCRYPTED
    )
    return Encrypting(plan, CLIENTS, holders=3)


CLIENT, HOLDER = company().ids[1], company().holder_ids[1]
SERVER_POINTS = [
    pytest.param(At(f"{room} {what}", moment), hears, id=f"{room}-{moment}-{what}-{hears.value}")
    for room in ("Summing", "Opening")
    for what in ("arrival", "close")
    for moment in ("before", "after")
    for hears in Hears
    # What is not stored has no moment before or after its store.
    if (what, hears) != ("arrival", Hears.AND_WAITS)
]
CLIENT_POINTS = [
    pytest.param(At(arrow, moment), id=f"{arrow}-{moment}")
    for arrow in ("OpenEncrypted", "Submit", "Result")
    for moment in ("before", "after", "sent")
]
HOLDER_POINTS = [
    pytest.param(At(arrow, moment), id=f"{arrow}-{moment}")
    for arrow in ("Invite", "Commits", "Deals", "Certificate", "Probe", "EncryptedSum")
    for moment in ("before", "after", "sent")
]


class EncryptedTable:
    """A key and one round under it; every frame that is said is remembered."""

    def __init__(self, base: Path, fates: dict[PartyId, tuple[Fate, ...]], hears: Hears = Hears.AND_STORES) -> None:
        def seat(who: PartyId) -> Mortal | Immortal:
            if who not in fates:
                return Immortal(who, company)
            return Mortal(who, base / str(who), fates[who], hears=hears, cast=company)

        base.mkdir(exist_ok=True)
        self.parties = {who: seat(who) for who in (SERVER, *company().parties)}
        self.maker = KeyMaker(company().publics, company().identity)
        self.certificate: Certificate | None = None
        self.said: set[tuple[PartyId, PartyId, bytes]] = set()
        self.queue: deque[tuple[PartyId, PartyId, bytes]] = deque()
        self.training: deque[PartyId] = deque()
        self.last = Answer()
        self.openings = 0

    @classmethod
    @contextmanager
    def set(
        cls, base: Path, fates: dict[PartyId, tuple[Fate, ...]], hears: Hears = Hears.AND_STORES
    ) -> Iterator[EncryptedTable]:
        table = cls(base, fates, hears)
        try:
            yield table
        finally:
            for party in table.parties.values():
                party.end()

    @property
    def deaths(self) -> int:
        return sum(party.deaths for party in self.parties.values())

    # --- the making of the key, by who needs not survive, and the round

    def make_key(self) -> None:
        agreement = company().server().agree(company().task(LENGTH))
        self.tell(self.maker.open(agreement, company().keys, 0))
        while self.queue:
            to, speaker, data = self.queue.popleft()
            if to == SERVER:
                self.tell(self.maker.receive(data, speaker))
            else:
                self.ask(to, "receive", data)
        self.certificate = self.maker.certificate

    def tell(self, frames: Any, only: PartyId | None = None) -> None:
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
            for other in company().parties:
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
        places = [(who, to, *place_of(data)) for who, to, data in self.said]
        twice = {place for place in places if places.count(place) > 1}
        assert not twice, f"two different frames: {twice}"
        aggregate, ring = self.last.aggregate, company().plan.encoding.ring
        assert aggregate is not None
        assert aggregate.survivors == company().ids
        assert aggregate.weight_sum == 2 * CLIENTS
        total = ring.zeros(LENGTH)
        for who in company().ids:
            ring.add_into(total, self.parties[who].trained())
        assert aggregate.total.tolist() == ring.reduce(total).tolist()


def place_of(data: bytes) -> tuple[object, ...]:
    """What a frame is about: its key or attempt, its kind, and of openings those who open together."""
    header, kind = codec.read_header(data, SERVER, codec.MAX_CONTROL_BYTES), kind_of(data)
    openers = body_of(data, SERVER).openers if kind in (EncryptedSum, Partial, Probe) else ()
    return header.task, header.round, kind, openers


def killed_once(point: At, who: PartyId, base: Path, hears: Hears = Hears.AND_STORES) -> EncryptedTable:
    """A whole round in which one endpoint is killed at this point, judged."""
    with EncryptedTable.set(base, {who: (point,)}, hears) as table:
        table.make_key()
        table.play()
        # Whoever has said its last word dies unnoticed: the death shows when it is spoken to again.
        table.parties[who].ask("resend")
        table.judge()
        assert table.deaths == 1
    return table


@pytest.mark.parametrize("point", HOLDER_POINTS)
def test_a_holder_killed_here_goes_on_and_opens_once(point: At, tmp_path: Path) -> None:
    killed_once(point, HOLDER, tmp_path)


@pytest.mark.parametrize("point", CLIENT_POINTS)
def test_a_client_killed_here_goes_on_and_is_counted_once(point: At, tmp_path: Path) -> None:
    killed_once(point, CLIENT, tmp_path)


@rows("S5", "S6", "S9", "S10")
@pytest.mark.parametrize(("point", "hears"), SERVER_POINTS)
def test_a_server_killed_here_goes_on_and_nobody_is_lost_or_counted_twice(
    point: At, hears: Hears, row: str, tmp_path: Path
) -> None:
    assert killed_once(point, SERVER, tmp_path, hears).openings == 1


@pytest.mark.parametrize(("moment", "openings"), [("before", 2), ("after", 1)])
def test_a_server_killed_while_it_opens_opens_anew_or_says_the_same(moment: str, openings: int, tmp_path: Path) -> None:
    assert killed_once(At("open", moment), SERVER, tmp_path).openings == openings


def another_question(table: EncryptedTable) -> bytes:
    """The sum of all but one client of the same round, asked by the server under its own good signature."""
    [data, *_] = [data for who, to, data in table.said if to == HOLDER and kind_of(data) is EncryptedSum]
    honest, header = body_of(data, SERVER), codec.read_header(data, SERVER, len(data))
    other = replace(honest, contributions=honest.contributions[1:], halves=honest.halves[1:])
    return b"".join(codec.encode(other, SERVER, header.task, header.round, company().identity.sign))


@pytest.mark.parametrize("moment", ["after", "sent"])
def test_a_holder_killed_after_its_store_opens_no_second_sum(moment: str, tmp_path: Path) -> None:
    with EncryptedTable.set(tmp_path, {HOLDER: (At("EncryptedSum", moment),)}) as table:
        table.make_key()
        table.play()
        holder = table.parties[HOLDER]
        holder.ask("resend")
        assert holder.deaths == 1
        answer = holder.ask("receive", another_question(table))
        assert (answer.error, answer.frames) == ("AlreadyAnswered", ())
        table.judge()


def test_an_answer_that_leaves_before_it_is_stored_could_be_followed_by_another(tmp_path: Path) -> None:
    """The test of the test: store after sending, and a second sum of the round is opened."""
    with EncryptedTable.set(tmp_path, {HOLDER: (Forgets("EncryptedSum"),)}) as table:
        table.make_key()
        table.play()
        holder = table.parties[HOLDER]
        holder.ask("resend")
        assert holder.deaths == 1
        [(_, data)] = holder.ask("receive", another_question(table)).frames
        [first] = [d for who, _, d in table.said if who == HOLDER and place_of(d) == place_of(data)]
        assert body_of(first, HOLDER).question != body_of(data, HOLDER).question


def test_an_upload_that_leaves_before_it_is_stored_would_be_sent_twice(tmp_path: Path) -> None:
    """The test of the test, for clients."""
    with EncryptedTable.set(tmp_path, {CLIENT: (Forgets("Submit"),)}) as table:
        table.make_key()
        table.play()
        assert table.deaths == 1
        assert len({data for who, _, data in table.said if who == CLIENT and kind_of(data) is Ciphertext}) == 2
        with pytest.raises(AssertionError, match="two different frames"):
            table.judge()


def two_fates(seed: int) -> dict[PartyId, tuple[Fate, ...]]:
    """Twice somebody, killed before some system call or after some answer."""
    draw = random.Random(seed)
    fates: dict[PartyId, tuple[Fate, ...]] = {}
    for _ in range(2):
        who = draw.choice((SERVER, *company().parties))
        most = 60 if who == SERVER else 20 if who in company().ids else 40
        fates[who] = (*fates.get(who, ()), Nth(draw.randint(1, most)))
    return fates


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_two_kills_at_random_lose_nobody_and_repeat_nothing_differently(count: int, tmp_path: Path) -> None:
    deaths = 0
    for seed in range(count):
        with EncryptedTable.set(tmp_path / str(seed), two_fates(seed), list(Hears)[seed % 2]) as table:
            table.make_key()
            table.play()
            table.judge()
            deaths += table.deaths
    assert deaths > count
