"""Where schedules of encrypted rounds are played: some clients, five holders of whom four open, and the key they made.

A model of sets says how each must end: the sum over those whose upload was not lost for good, if a cohort of them and
as many holders are left as it takes.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from protocols.ckks.messages import Ciphertext, Partial
from protocols.codec import kind_of
from protocols.endpoint import Client, Holder
from protocols.errors import TooFewClients, TooFewMembers
from protocols.faults.drawing import ANYWHERE, LATE, SOON
from protocols.faults.driver import Played, play
from protocols.faults.parties import Alive, Parties
from protocols.faults.schedule import (
    Arrow,
    Crash,
    Delay,
    Drop,
    Duplicate,
    Fault,
    Flip,
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
from protocols.plan import ENCRYPTED, Promise, RoundPlan
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode
from tests.contracts.company import Encrypting, Keyed
from tests.faults.mortal import body_of
from tests.faults.world import LENGTH, MIN_COHORT, REMEMBERED

HOLDERS, OPENERS = 5, 4
SIZES = (4, 5, 6)
ROOMS = (Exchange.MASKED, Exchange.UNMASK)


class EncryptedWorld:
    """A company of so many clients, and its key; every step of an endpoint is a function of bytes."""

    def __init__(self, clients: int) -> None:
        plan = RoundPlan.recommend(
            clients, dropout=0, corrupt=0, bits=16, max_weight=8, min_cohort=MIN_COHORT, protocol=ENCRYPTED
        )
        self.company = Encrypting(plan, clients, holders=HOLDERS)
        self.ids, self.ring = self.company.ids, plan.encoding.ring
        committee = self.company.committee(Keyed)
        self.certificate = committee.certificate_for(self.company.server().agree(self.company.task(LENGTH)))
        self.images = {who: holder.freeze() for who, holder in committee.holders.items()}
        self.parties = Parties(
            self.company.server,
            {who: functools.partial(self.company.client, who) for who in self.ids},
            self.train,
            {who: functools.partial(self.holder, who) for who in self.company.holder_ids},
        )
        self.step = functools.lru_cache(REMEMBERED)(Alive(self.parties).step)

    def holder(self, who: PartyId) -> Holder:
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
        return play(schedule, self.company.parties, task, patience, self.step, lambda who, deed, data: data)

    def complaint(self, schedule: Schedule) -> str | None:
        return self.judge(schedule, self.play(schedule))

    def judge(self, schedule: Schedule, played: Played) -> str | None:
        """What is wrong with the end of this schedule's round; None when it is as it must be."""
        lost = lost_in(schedule)
        members = [who for index, who in enumerate(self.ids) if index not in lost]
        openers = [n for n in range(HOLDERS) if len(self.ids) + n not in lost]
        return self.wrong_end(members, len(openers), played) or self.second_word(played)

    def wrong_end(self, members: list[PartyId], openers: int, played: Played) -> str | None:
        if len(members) < MIN_COHORT:
            return None if isinstance(played.lost, TooFewClients) else f"{len(members)} clients: {played}"
        if openers < OPENERS:
            return None if isinstance(played.lost, TooFewMembers) else f"{openers} holders: {played}"
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
        """One upload per client; one sum per holder, and the same part of it for the same set of holders."""
        words: dict[tuple[Any, ...], bytes] = {}
        sums: dict[PartyId, bytes] = {}
        for emitted in played.said:
            kind = kind_of(emitted.data)
            if kind not in (Ciphertext, Partial):
                continue
            letter = body_of(emitted.data, emitted.sender)
            place = (emitted.sender, kind, letter.openers if kind is Partial else ())
            if words.setdefault(place, emitted.data) != emitted.data:
                return f"party {emitted.sender} says two different {kind.__name__}"
            if kind is Partial and sums.setdefault(emitted.sender, letter.question) != letter.question:
                return f"holder {emitted.sender} opens two sums"
        if isinstance(played.lost, TooFewClients) and sums:
            return "a holder opened although the cohort was too small"
        return None


def lost_in(schedule: Schedule) -> set[int]:
    """Who is lost for good, by number; everything else must heal."""
    return {
        fault.at.client
        for fault in schedule.faults
        if (isinstance(fault, Vanish) and (fault.back is None or fault.back >= LATE))
        or (isinstance(fault, Delay) and fault.seconds >= LATE)
    }


@functools.cache
def encrypted_world(clients: int) -> EncryptedWorld:
    return EncryptedWorld(clients)


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
        uploads = [(client, Exchange.MASKED) for client in range(self.clients)]
        parts = [(self.clients + holder, Exchange.UNMASK) for holder in range(HOLDERS)]
        letters = [Letter(*place, side) for place in uploads + parts for side in Lost]
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
            return WrongDeadline(
                self.one_of(ROOMS), self.one_of([Exchange.ADVERTISE, Exchange.SHARES, Exchange.WITNESS])
            )
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
