"""The server of a framework that carries questions and answers: whole rounds, by a function that asks.

    begin    reserve -> committee or key, where it does not serve still -> invitations -> early rooms
             -> the letters that ride with the training message
    finish   the training answers -> the room closes -> late rooms -> commit -> mean

An exchange is one question to some parties and what they answer in time; who does not answer has dropped out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction

from dp.accountant import Interval
from dp.ledger import Ledger
from protocols.bundle import pack, unpack
from protocols.charging import Charging, Uncharged, charging
from protocols.ckks.keys import keys_for_rounds
from protocols.codec import Frame
from protocols.coding import Floats
from protocols.committee import Convening, KeyMaking
from protocols.countersigning import head_of
from protocols.endpoint import Convener, KeyMaker, Server, Task
from protocols.endpoint.hub import Hub
from protocols.errors import BadPlan, Malformed, Misused, TooFewMembers
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, ONE_SHOT, RoundPlan
from protocols.roster import Roster
from protocols.selftesting import require_sound_noise
from protocols.wire import Buffer
from secagg.graph import GraphMode
from secagg.keys import Identity
from secagg.workers import ALONE, Workers

# Letters by whom they are for, and the seconds to wait; answers by who gave them. Both are bundles.
Ask = Callable[[Mapping[PartyId, bytes], float], Mapping[PartyId, bytes]]

# Each further round that a key may open costs a little precision, and each key five exchanges.
ROUNDS_OF_A_KEY = 16


@dataclass(frozen=True, slots=True)
class Finished:
    """What a round gave.

    `mean` is the weighted mean of the survivors' updates, float64; `metrics` their weighted means; `weight` the sum of
    weights. `epsilon` bounds what the aggregator learned since the ledger was opened, `epsilon_released` what a reader
    of the means learned; None without a ledger. `excluded` names peers whose frames were ignored, and the error.
    `exchanges` counts questions, the training message among them.
    """

    mean: Floats
    metrics: Mapping[str, float]
    weight: int
    survivors: tuple[PartyId, ...]
    dropped: tuple[PartyId, ...]
    excluded: Mapping[PartyId, str]
    epsilon: Interval | None
    epsilon_released: Interval | None
    exchanges: int


class Exchanges:
    """The server of one federation over many rounds, one at a time.

    Rounds, keys and committees are numbered by the clock, in milliseconds: a server that starts anew goes on above what
    sites have seen. The published result of a round is not carried: nobody on a site compares it.
    Guarantee: with a ledger, a charge is durable before a round opens, and stands once its sum may be known.
    Raises: Misused for an identity that is not the roster's server; BadPlan; dp.errors.UnsoundNoise where the self-test
        of a noisy plan's noise fails on this machine.
    """

    def __init__(
        self,
        plan: RoundPlan,
        roster: Roster,
        identity: Identity,
        ledger: Ledger | None = None,
        workers: Workers = ALONE,
    ) -> None:
        if identity.public != roster.server:
            raise Misused("this identity is not the server's in the roster: clients would hear a stranger")
        if plan.graph is GraphMode.BEACON:
            raise BadPlan("no framework brings a public beacon to its nodes: choose GraphMode.COMPLETE or ROSTER")
        if plan.noise is not None:
            require_sound_noise()
        self.plan, self.roster, self.ledger = plan, roster, ledger
        self.exchanges = 0
        self._server = Server(plan, roster.clients, identity, workers, holders=roster.openers)
        self._identity = identity
        self._ceremony: Convening | KeyMaking | None = None
        if plan.protocol in (ONE_SHOT, ENCRYPTED):
            self._ceremony = _ceremony_for(plan, roster.openers, identity, _milliseconds())
        self._charging: Charging = Uncharged()
        self._invited: tuple[PartyId, ...] = ()
        self._clip: Fraction | None = None
        self._last = 0
        self._begun = False

    def begin(
        self, length: int, layout: bytes, model: bytes, invited: tuple[PartyId, ...], ask: Ask
    ) -> Mapping[PartyId, bytes]:
        """Open a round for these clients; the letters that ride with what each of them trains from.

        `layout` and `model` are digests: `Layout.digest`, `model_digest`. A round that was begun and never finished is
        given up.
        Raises: Misused for clients that are not known, too few or too many; dp.errors.BudgetExceeded before anything is
            sent of the round; RoundLost kinds when it cannot go on; then the ledger is settled.
        """
        self.lose()
        self.exchanges, self._invited = 0, invited
        task = self._keyed(Task(self._number(), length, layout, model, head_of(self.ledger), clip=self._clip), ask)
        agreement = self._server.agree(task)
        self._charging = charging(self.ledger, agreement, self._keys_of(invited), "system")
        with self._settled():
            frames = self._server.open(task, invited)
            while not self._server.summing:
                frames = self._exchange(self._server, frames, ask)
            self._begun = True
            return _bundles(frames)

    def finish(self, answers: Mapping[PartyId, bytes], ask: Ask) -> Finished:
        """Take what came with the training answers, have the sum opened, and charge it; who is absent dropped out.

        Raises: RoundLost kinds when there is no sum; then the ledger is settled. Misused when no round is open.
        """
        if not self._begun:
            raise Misused("no round waits for updates: begin one")
        self._begun = False
        self.exchanges += 1
        with self._settled():
            frames = self._taken(self._server, answers)
            while not self._server.done:
                frames = self._exchange(self._server, frames, ask)
            mean, metrics, opened = self._server.mean(), self._server.metrics(), self._server.aggregate
            assert opened is not None
            self._charging.commit(opened, self._server.countersignatures)
        self._charging = Uncharged()
        self._clip = self._server.next_clip()
        return Finished(
            mean=mean,
            metrics=metrics,
            weight=opened.weight_sum,
            survivors=opened.survivors,
            dropped=tuple(who for who in self._invited if who not in opened.survivors),
            excluded={note.peer: note.error for note in self._server.excluded} | dict(opened.blamed),
            epsilon=None if self.ledger is None else self.ledger.interval(),
            epsilon_released=None if self.ledger is None else self.ledger.interval_released(),
            exchanges=self.exchanges,
        )

    def lose(self) -> None:
        """Give up a round that was begun, as when the training message could not be sent; the ledger is settled.

        Answers that come later make no mean, for nothing would be charged for it. Without such a round nothing
        happens.
        """
        self._begun = False
        self._charging.lose()
        self._charging = Uncharged()

    def _keys_of(self, invited: tuple[PartyId, ...]) -> dict[PartyId, bytes]:
        """By what the ledger knows them: keys that no framework can give to another node."""
        strangers = [who for who in invited if who not in self.roster.clients]
        if strangers:
            raise Misused(f"clients {strangers[:5]} are not in the roster: nobody was asked anything")
        return {who: self.roster.clients[who] for who in invited}

    @contextmanager
    def _settled(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.lose()
            raise

    def _keyed(self, task: Task, ask: Ask) -> Task:
        """The task with what opens its sum: the committee or key that serves, or one that is made now.

        Who is silent or refuses is left out, until the next committee or key is made.
        """
        if self._ceremony is None:
            return task
        if not self._ceremony.left:
            self._ceremony = _ceremony_for(self.plan, self.roster.openers, self._identity, self._number())
        try:
            return self._certified(task, self._ceremony, ask)
        except TooFewMembers as lost:
            present = {who: key for who, key in self.roster.openers.items() if who not in lost.missing}
            if not present or len(present) == len(self.roster.openers):
                raise
            self._ceremony = _ceremony_for(self.plan, present, self._identity, self._number())
            return self._certified(task, self._ceremony, ask)

    def _certified(self, task: Task, ceremony: Convening | KeyMaking, ask: Ask) -> Task:
        maker = ceremony.maker

        def deliver(frames: list[Frame]) -> None:
            while not maker.done:
                frames = self._exchange(maker, frames, ask)

        return replace(task, certificate=ceremony.certificate_for(self._server.agree(task), deliver))

    def _exchange(self, hub: Hub, frames: list[Frame], ask: Ask) -> list[Frame]:
        """What is to be said after these letters were answered, by all or by those who do it in time."""
        assert hub.wait is not None
        if self._server.opening:
            self._charging.mark()
        self.exchanges += 1
        return self._taken(hub, ask(_bundles(frames), hub.wait.seconds))

    def _taken(self, hub: Hub, answers: Mapping[PartyId, bytes]) -> list[Frame]:
        """What a hub says to these answers. Nobody else is waited for: its room is closed if they did not close it.

        A party that repeats itself is told again what it was told, which must not keep a room open.
        """
        assert hub.wait is not None
        room, said = hub.wait.room, []
        for who, bundle in answers.items():
            for frame in _frames(bundle, who):
                said += hub.receive(frame, who)
        if hub.wait is not None and hub.wait.room == room:
            return hub.deadline(room)
        return said

    def _number(self) -> int:
        self._last = max(self._last + 1, _milliseconds())
        return self._last


def _ceremony_for(
    plan: RoundPlan, openers: Mapping[PartyId, bytes], identity: Identity, number: int
) -> Convening | KeyMaking:
    """What makes the committee or the keys of rounds that others than the clients open."""
    if plan.protocol == ONE_SHOT:
        return Convening(Convener(openers, identity, plan.patience_seconds), number)
    keys = keys_for_rounds(len(openers), ROUNDS_OF_A_KEY)
    return KeyMaking(KeyMaker(openers, identity, plan.patience_seconds), keys, ROUNDS_OF_A_KEY, number)


def _bundles(frames: list[Frame]) -> dict[PartyId, bytes]:
    """One bundle for each party that is told something."""
    told: dict[PartyId, list[Frame]] = {}
    for frame in frames:
        for who in frame.to:
            told.setdefault(who, []).append(frame)
    return {who: pack(letters) for who, letters in told.items()}


def _frames(bundle: Buffer, who: PartyId) -> Sequence[Buffer]:
    """What is no bundle is no frame either: handed on as one, it is noted in this party's name."""
    try:
        return unpack(bundle, who)
    except Malformed:
        return [bundle]


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
