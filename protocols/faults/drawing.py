"""Schedules at random, each a function of one integer.

What is lost for good is drawn first, a few clients at most; then troubles that must heal. One letter meets one
fault, and what heals takes so few seconds that a room's patience outlasts all of it together: so whether a client
is lost can be told from the schedule alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

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
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode

LATE = 90  # seconds; past the deadline of the room, which comes a minute after it opened
SOON = 10  # seconds
ANYWHERE = 1 << 20  # positions in a frame are taken modulo its length
SIZES = np.arange(5, 13)

T = TypeVar("T")


Scene = tuple[int, Promise, GraphMode]


def scene_of(seed: int) -> Scene:
    """The kind of round of this number: five to twelve clients, more of the small ones because they cost less."""
    generator = np.random.default_rng([seed, len(SIZES)])
    odds = 1 / SIZES**3
    clients = int(generator.choice(SIZES, p=odds / odds.sum()))
    promise = list(Promise)[generator.integers(len(Promise))]
    return clients, promise, (GraphMode.COMPLETE, GraphMode.ROSTER)[generator.integers(2)]


def drawn(seed: int) -> Schedule:
    """The schedule of this number, in the kind of round of this number."""
    return drawn_in(seed, *scene_of(seed))


def drawn_in(seed: int, clients: int, promise: Promise, graph: GraphMode) -> Schedule:
    """The schedule of this number for this kind of round."""
    draw = _Draw(seed, clients, promise)
    faults = draw.several(draw.loss, clients // 4 + 1) + draw.several(draw.trouble, 6)
    everywhere = draw.below(32)
    if everywhere == 0:
        faults += [Duplicate(letter, draw.below(3 * LATE)) for letter in draw.letters]
    elif everywhere == 1:
        faults += [Delay(letter, draw.below(SOON)) for letter in draw.letters]
    return Schedule(seed, clients, promise, graph, tuple(faults))


class _Draw:
    """`letters` are those that have met no fault yet, in random order."""

    def __init__(self, seed: int, clients: int, promise: Promise) -> None:
        self.generator = np.random.default_rng(seed)
        self.clients = clients
        self.exchanges = [
            exchange for exchange in Exchange if promise is Promise.ACTIVE or exchange is not Exchange.WITNESS
        ]
        letters = [
            Letter(client, exchange, side) for client in range(clients) for exchange in self.exchanges for side in Lost
        ]
        self.letters = [letters[index] for index in self.generator.permutation(len(letters)).tolist()]

    def below(self, bound: int) -> int:
        return int(self.generator.integers(bound))

    def one_of(self, choices: list[T]) -> T:
        return choices[self.below(len(choices))]

    def several(self, fault: Callable[[], Fault], most: int) -> list[Fault]:
        return [fault() for _ in range(self.below(most + 1))]

    def loss(self) -> Fault:
        """A client that is lost for good, whatever it tries later."""
        kind = self.below(8)
        if kind == 0:
            return Hostile(self.below(self.clients), self.one_of(list(Deed)))
        letter = self.letters.pop()
        if kind < 4 and letter.exchange is not Exchange.WITNESS:
            # Late for Witnessing is not lost: the room closes without it, and the next one is still open.
            return Delay(letter, LATE) if kind == 1 else Vanish(letter, LATE)
        return Vanish(letter)

    def trouble(self) -> Fault:
        """Something that must heal."""
        kind = self.below(9)
        if kind == 0:
            return Crash(self.below(self.clients), self.one_of(list(Arrow)), self.one_of(list(Moment)))
        if kind == 1:
            arrival = self.one_of([None, self.below(self.clients)])
            return ServerCrash(self.one_of(self.exchanges), self.one_of(list(Moment)), arrival)
        if kind == 2:
            return WrongDeadline(*(list(Exchange)[index] for index in self.generator.permutation(5)[:2].tolist()))
        letter = self.letters.pop()
        kinds: list[Callable[[], Fault]] = [
            lambda: Drop(letter),
            lambda: Delay(letter, self.below(SOON)),
            lambda: Duplicate(letter, self.below(3 * LATE)),
            lambda: Flip(letter, self.below(ANYWHERE)),
            lambda: Truncate(letter, self.below(ANYWHERE)),
            lambda: Vanish(letter, self.below(SOON)),
        ]
        return self.one_of(kinds)()
