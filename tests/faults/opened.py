"""Where schedules of rounds are played that others than the clients open: some clients, five others, of whom four do.

A model of sets says how each must end: the sum over those whose upload was not lost for good, if a cohort of them and
as many honest ones who open are left as it takes.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from protocols.codec import kind_of
from protocols.endpoint import Client
from protocols.errors import BadMaskKey, RoundLost, TooFewClients, TooFewMembers
from protocols.faults.drawing import ANYWHERE, LATE, SOON
from protocols.faults.driver import Played, play
from protocols.faults.parties import Alive, Parties
from protocols.faults.schedule import (
    Arrow,
    Crash,
    Deed,
    Delay,
    Drop,
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
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import Promise, RoundPlan
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode
from tests.contracts.company import Keyed, Opened
from tests.faults.mortal import body_of
from tests.faults.world import LENGTH, MIN_COHORT

HOLDERS, OPENERS = 5, 4
SIZES = (4, 5, 6)
ROOMS = (Exchange.MASKED, Exchange.UNMASK)


def plan_for(clients: int, protocol: str) -> RoundPlan:
    return RoundPlan.recommend(
        clients, dropout=0, corrupt=0, bits=16, max_weight=8, min_cohort=MIN_COHORT, protocol=protocol
    )


class OpenedWorld(ABC):
    """A company, and what it needs to open rounds; every step of an endpoint is a function of bytes.

    `upload` is the letter of a client, `part` that of who opens.
    """

    upload: ClassVar[type[Any]]
    part: ClassVar[type[Any]]

    def __init__(self, company: Opened, remembered: int) -> None:
        self.company = company
        self.ids, self.ring = company.ids, company.plan.encoding.ring
        committee = company.committee(Keyed)
        self.certificate = committee.certificate_for(company.server().agree(company.task(LENGTH)))
        self.images: Mapping[PartyId, bytes] = {who: holder.freeze() for who, holder in committee.holders.items()}
        self.parties = Parties(
            company.server,
            {who: functools.partial(company.client, who) for who in self.ids},
            self.train,
            {who: functools.partial(self.holder, who) for who in company.holder_ids},
        )
        self.step = functools.lru_cache(remembered)(Alive(self.parties).step)

    @abstractmethod
    def together(self, letter: Any) -> tuple[int, ...]:
        """Those who open together with whoever said this, where that is in what it says."""

    def holder(self, who: PartyId) -> Any:
        """As it was when the key was made."""
        holder = self.company.holder(who)
        holder.thaw(self.images[who])
        return holder

    # --- what is summed: a client counted twice, missing or mixed up shows in one coordinate and in the weight

    def weight(self, who: PartyId) -> int:
        return 1 << self.ids.index(who) % 4

    @functools.cache  # noqa: B019
    def vector(self, who: PartyId) -> tuple[int, ...]:
        noise = np.random.default_rng([17, who]).integers(-(1 << 14), 1 << 14, LENGTH - 1)
        return (5 ** self.ids.index(who), *noise.tolist())

    def train(self, who: PartyId, client: Client) -> Submit:
        vector = np.array([value % (1 << self.ring.bits) for value in self.vector(who)], self.ring.dtype)
        return Submit(vector, self.weight(who))

    # --- playing and judging

    def play(self, schedule: Schedule) -> Played:
        task = replace(self.company.task(LENGTH), certificate=self.certificate)
        patience = self.company.plan.patience_seconds
        return play(schedule, self.company.parties, task, patience, self.step, self.forge)

    def forge(self, who: PartyId, deed: Deed, data: bytes) -> bytes:
        """The hostile letter in place of a good one, where this world has any."""
        raise NotImplementedError

    def complaint(self, schedule: Schedule) -> str | None:
        return self.judge(schedule, self.play(schedule))

    def judge(self, schedule: Schedule, played: Played) -> str | None:
        """What is wrong with the end of this schedule's round; None when it is as it must be."""
        lost, lying = lost_in(schedule), lying_in(schedule)
        there = [number for number in range(schedule.clients + HOLDERS) if number not in lost]
        members = [self.ids[number] for number in there if number < schedule.clients and number not in lying]
        openers = [number for number in there if number >= schedule.clients]
        honest = [number for number in openers if number not in lying]
        return self.wrong_end(members, len(openers), len(honest), played) or self.second_word(played)

    def wrong_end(self, members: list[PartyId], openers: int, honest: int, played: Played) -> str | None:
        if len(members) < MIN_COHORT:
            return ended(played, TooFewClients)
        if openers < OPENERS:
            return ended(played, TooFewMembers)
        if honest < OPENERS:
            return ended(played, BadMaskKey)
        if played.aggregate is None:
            return f"expected the sum over {members}, got {played.lost}"
        got = played.aggregate
        total = [sum(column) % (1 << self.ring.bits) for column in zip(*map(self.vector, members), strict=True)]
        if (list(got.survivors), got.total.tolist(), got.weight_sum) != (
            members,
            total,
            sum(map(self.weight, members)),
        ):
            return f"a wrong sum: {got} instead of {total} over {members}"
        return None

    def second_word(self, played: Played) -> str | None:
        """One upload per client; one sum per who opens, and the same part of it for the same set of them."""
        words: dict[tuple[Any, ...], bytes] = {}
        sums: dict[PartyId, bytes] = {}
        for emitted in played.said:
            kind = kind_of(emitted.data)
            if kind not in (self.upload, self.part):
                continue
            letter = body_of(emitted.data, emitted.sender)
            place = (emitted.sender, kind, self.together(letter) if kind is self.part else ())
            if words.setdefault(place, emitted.data) != emitted.data:
                return f"party {emitted.sender} says two different {kind.__name__}"
            if kind is self.part and sums.setdefault(emitted.sender, letter.question) != letter.question:
                return f"party {emitted.sender} opens two sums"
        if isinstance(played.lost, TooFewClients) and sums:
            return "somebody opened although the cohort was too small"
        return None


def lost_in(schedule: Schedule) -> set[int]:
    """Who is lost for good, by number; everything else must heal."""
    return {
        fault.at.client
        for fault in schedule.faults
        if (isinstance(fault, Vanish) and (fault.back is None or fault.back >= LATE))
        or (isinstance(fault, Delay) and fault.seconds >= LATE)
    }


def lying_in(schedule: Schedule) -> set[int]:
    """Who says what is not so, by number."""
    return {fault.client for fault in schedule.faults if isinstance(fault, Hostile)}


def ended(played: Played, error: type[RoundLost]) -> str | None:
    """What is wrong with a round that must be lost by this name."""
    return None if type(played.lost) is error else f"expected {error.__name__}, got {played}"


def letters_of(clients: int) -> tuple[list[Letter], list[Letter]]:
    """Those of the uploads, and those of the parts that open their sum."""
    uploads = [Letter(client, Exchange.MASKED, side) for client in range(clients) for side in Lost]
    parts = [Letter(clients + holder, Exchange.UNMASK, side) for holder in range(HOLDERS) for side in Lost]
    return uploads, parts


# --- schedules at random, each a function of one integer


def drawn(seed: int) -> Schedule:
    """Some that are lost for good, holders among them, then troubles that must heal."""
    draw = _Draw(seed)
    faults = [draw.loss() for _ in range(draw.below(3))] + [draw.trouble() for _ in range(draw.below(6))]
    everywhere = draw.below(16)
    if everywhere == 0:
        faults += [Duplicate(letter, draw.below(3 * LATE)) for letter in draw.letters]
    elif everywhere == 1:
        faults += [Delay(letter, draw.below(SOON)) for letter in draw.letters]
    return Schedule(seed, draw.clients, Promise.ACTIVE, GraphMode.COMPLETE, tuple(faults))


class _Draw:
    """`letters` are those that have met no fault yet, in random order."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng([seed, HOLDERS])
        self.clients = self.one_of(SIZES)
        uploads, parts = letters_of(self.clients)
        letters = uploads + parts
        self.letters = [letters[index] for index in self.generator.permutation(len(letters)).tolist()]

    def below(self, bound: int) -> int:
        return int(self.generator.integers(bound))

    def one_of(self, choices: Any) -> Any:
        return choices[self.below(len(choices))]

    def loss(self) -> Fault:
        letter = self.letters.pop()
        return self.one_of([Vanish(letter), Vanish(letter, LATE), Delay(letter, LATE)])  # type: ignore[no-any-return]

    def trouble(self) -> Fault:
        kind, moment = self.below(10), self.one_of(list(Moment))
        if kind == 0:
            return Crash(self.below(self.clients), self.one_of([Arrow.OPEN, Arrow.UPDATE]), moment)
        if kind == 1:
            return Crash(self.clients + self.below(HOLDERS), Arrow.WITNESSES, moment)
        if kind == 2:
            return ServerCrash(self.one_of(ROOMS), moment, self.one_of([None, self.below(self.clients)]))
        if kind == 3:
            room = self.one_of(ROOMS)
            return WrongDeadline(room, self.one_of([exchange for exchange in Exchange if exchange is not room]))
        letter = self.letters.pop()
        kinds = [
            Drop(letter),
            Delay(letter, self.below(SOON)),
            Duplicate(letter, self.below(3 * LATE)),
            Flip(letter, self.below(ANYWHERE)),
            Truncate(letter, self.below(ANYWHERE)),
            Vanish(letter, self.below(SOON)),
        ]
        return self.one_of(kinds)  # type: ignore[no-any-return]
