"""Where schedules are played in tests: one cohort per kind of round, its steps remembered, its end judged.

A step of an endpoint is a function of bytes (`protocols.faults.parties`), all secrets follow from fixed roots; so
`lru_cache` returns exactly what the endpoint would return again, and schedules with equal beginnings share them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any
from unittest import mock

import numpy as np

from protocols import codec
from protocols.codec import kind_of
from protocols.endpoint import Client
from protocols.errors import TooFewClients
from protocols.faults.drawing import LATE
from protocols.faults.driver import Played, play
from protocols.faults.parties import Alive, Parties
from protocols.faults.schedule import Deed, Delay, Hostile, Schedule, Vanish
from protocols.messages import Masked, Roster, Submit, Unmask
from protocols.pairwise import server as pairwise_server
from protocols.pairwise.session import Session
from protocols.party import PartyId
from protocols.plan import Promise, RoundPlan, proposal
from secagg.errors import NoParameters
from secagg.graph import Assumption, GraphMode, HararyGraph, Parameters
from secagg.keys import verify
from tests.contracts.company import Company
from tests.faults.oracle import Rules, verdict

LENGTH = 4
STAYS = 5
MIN_COHORT = 3
MAX_WEIGHT = 1 << 12
REMEMBERED = 1 << 15

dense_parameters = proposal._parameters


def degree_of(n: int) -> int:
    """The neighbours of a client on a ring that is thinner than any a real plan would have."""
    return min(n - 1, 4 if n <= 8 else 6)


def small_rings(n: int, assumption: Assumption, graph: GraphMode) -> Parameters:
    """Up to 64 clients the graph is complete; this stands in so that rings of twelve can be played."""
    k = degree_of(n)
    if graph is GraphMode.COMPLETE or k == n - 1:
        return dense_parameters(n, assumption, GraphMode.COMPLETE)
    quorum = assumption.quorum(n)
    if assumption.lost(n) > n:
        raise NoParameters("nobody is left")
    return Parameters(k, k // 2 + 1 if quorum else k // 2, 0 if quorum else -1, quorum, 0.0, 0.0)


@contextmanager
def stage() -> Iterator[None]:
    """Inside, rings are thin, and what every step computes anew from public bytes is remembered."""
    remembered_verify = functools.lru_cache(REMEMBERED)(verify)
    with (
        mock.patch.object(proposal, "_parameters", small_rings),
        mock.patch.object(proposal, "Encoding", functools.lru_cache(proposal.Encoding)),
        mock.patch.object(codec, "verify", remembered_verify),
        mock.patch.object(pairwise_server, "verify", remembered_verify),
    ):
        yield


class World:
    """A cohort of one kind of round: how many clients, which promise, which graph."""

    def __init__(self, clients: int, promise: Promise, graph: GraphMode) -> None:
        terms = RoundPlan.recommend(
            clients,
            dropout=Fraction(1, 4),
            corrupt=Fraction(0),
            max_weight=MAX_WEIGHT,
            min_cohort=MIN_COHORT,
            promise=promise,
        )
        self.company = Company(replace(terms, graph=graph), clients)
        self.company.policy = replace(self.company.policy, graphs=frozenset({graph}))
        self.ids = self.company.ids
        self.ring = terms.encoding.ring
        builders = {who: functools.partial(self.company.client, who) for who in self.ids}
        self.parties = Parties(self.company.server, builders, self.train)
        self.step = functools.lru_cache(REMEMBERED)(self.parties.step)
        self.rules = Rules(
            invited=clients,
            spare=clients // 4,
            min_cohort=MIN_COHORT,
            active=promise is Promise.ACTIVE,
            degree=degree_of if graph is GraphMode.ROSTER else lambda n: n - 1,
        )

    # --- what is summed: a client counted twice, missing or mixed up shows in one coordinate and in the weight

    def weight(self, who: PartyId) -> int:
        return 1 << self.ids.index(who) % 12

    @functools.cache  # noqa: B019
    def vector(self, who: PartyId) -> tuple[int, ...]:
        index = self.ids.index(who)
        noise = np.random.default_rng([17, who]).integers(-(1 << 20), 1 << 20, LENGTH - 1)
        return (5**index, *noise.tolist())

    def train(self, who: PartyId, client: Client) -> Submit:
        vector = np.array([value % (1 << self.ring.bits) for value in self.vector(who)], self.ring.dtype)
        return Submit(vector, self.weight(who))

    # --- playing and judging

    def play(self, schedule: Schedule) -> Played:
        task, patience = self.company.task(LENGTH), self.company.plan.patience_seconds
        return play(schedule, self.ids, task, patience, self.step, self.forge)

    def complaint(self, schedule: Schedule) -> str | None:
        """What is wrong with the end of this schedule's round; None when it is as it must be."""
        return self.judge(schedule, self.play(schedule))

    def judge(self, schedule: Schedule, played: Played) -> str | None:
        expected = verdict(self.rules, lost_at(schedule), functools.partial(self.order, played))
        return self.wrong_end(expected, played) or self.leak(played)

    def wrong_end(self, expected: frozenset[int] | str, played: Played) -> str | None:
        if isinstance(expected, str):
            if isinstance(played.lost, TooFewClients) and played.lost.room == expected:
                return None
            return f"expected a loss in {expected}, got {played.lost or played.aggregate}"
        if played.aggregate is None:
            return f"expected the sum over {sorted(expected)}, got {played.lost}"
        members = [self.ids[index] for index in sorted(expected)]
        total = [sum(column) % (1 << self.ring.bits) for column in zip(*map(self.vector, members), strict=True)]
        got = played.aggregate
        weight = sum(map(self.weight, members))
        if (list(got.survivors), got.total.tolist(), got.weight_sum) != (members, total, weight):
            return f"a wrong sum: {got} instead of {total} over {members}"
        return None

    def leak(self, played: Played) -> str | None:
        """One vector and one answer per client, and no answer at all when the round ended before it was time."""
        words: dict[tuple[PartyId, type], bytes] = {}
        for emitted in played.said:
            kind = kind_of(emitted.data)
            if words.setdefault((emitted.sender, kind), emitted.data) != emitted.data and kind in (Masked, Unmask):
                return f"client {emitted.sender} says two different {kind.__name__}"
        early = isinstance(played.lost, TooFewClients) and played.lost.room != "Unmasking"
        if early and any(kind is Unmask for _, kind in words):
            return "a share left a client although the round was lost before"
        return None

    def order(self, played: Played) -> tuple[int, ...]:
        """U1 in the order of the ring that its roster decides."""
        [roster] = {emitted.data for emitted in played.said if kind_of(emitted.data) is Roster}
        message: Any = codec.decode_body(Roster, roster[codec.HEADER.size : -codec.SIGNATURE_BYTES], PartyId(0))
        session = Session.of(self.company.server().agree(self.company.task(LENGTH)), message.context, message.entries)
        assert isinstance(session.graph, HararyGraph)
        return tuple(self.ids.index(PartyId(who)) for who in session.graph.order)

    # --- hostile clients

    def forge(self, who: PartyId, deed: Deed, data: bytes) -> bytes:
        """The hostile letter in place of a good one, under the client's own signature."""
        message: Any = codec.decode_body(kind_of(data), data[codec.HEADER.size : -codec.SIGNATURE_BYTES], who)
        if deed is Deed.WRONG_LENGTH:
            message = replace(message, vector=bytes(message.vector)[:-1])
        else:
            first, *rest = message.shares
            message = replace(message, shares=(bytes([first[0] ^ 1]) + first[1:], *rest))
        task = codec.attempt_id(self.company.plan.task, self.company.task(LENGTH).nonce)
        return b"".join(codec.encode(message, who, task, 0, self.company.identities[who].sign))


LOST_BY = {Deed.WRONG_LENGTH: 2, Deed.BAD_SHARE: 4}


def lost_at(schedule: Schedule) -> dict[int, int]:
    """The first exchange at which each client is lost for good; everything else must heal."""
    lost = dict.fromkeys(range(schedule.clients), STAYS)

    def lose(client: int, exchange: int) -> None:
        lost[client] = min(lost[client], exchange)

    for fault in schedule.faults:
        if (isinstance(fault, Vanish) and (fault.back is None or fault.back >= LATE)) or (
            isinstance(fault, Delay) and fault.seconds >= LATE
        ):
            lose(fault.at.client, fault.at.exchange)
        elif isinstance(fault, Hostile):
            lose(fault.client, LOST_BY[fault.deed])
    return lost


@functools.lru_cache(maxsize=4)
def world(clients: int, promise: Promise, graph: GraphMode = GraphMode.COMPLETE) -> World:
    return World(clients, promise, graph)


@functools.lru_cache(maxsize=4)
def lively_world(clients: int, promise: Promise, graph: GraphMode) -> World:
    """The same with endpoints that are thawed after a crash only: half the time."""
    made = World(clients, promise, graph)
    made.step = functools.lru_cache(REMEMBERED)(Alive(made.parties).step)
    return made
