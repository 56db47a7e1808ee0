"""The test of the tests: with a bug planted, random schedules find it and shrink to the faults that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols.endpoint import Client, Server
from protocols.endpoint.outbox import Outbox
from protocols.faults.drawing import drawn_in
from protocols.faults.schedule import shrink
from protocols.messages import Masked
from protocols.pairwise import recovery
from protocols.pairwise import server as pairwise_server
from protocols.pairwise.recovery import Recovery
from protocols.pairwise.server import Summing, Unmasking, keep_vector
from protocols.plan import Promise
from secagg.graph import GraphMode
from tests.faults.world import World

CLIENTS = 6
MOST_TRIED = 300

Plant = Callable[[pytest.MonkeyPatch], None]


pytestmark = pytest.mark.usefixtures("staged")


def fresh() -> World:
    """A world that remembers no step of another."""
    return World(CLIENTS, Promise.ACTIVE, GraphMode.COMPLETE)


def a_vector_may_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the endpoint nor the room notices a repetition."""
    original = Server.receive

    def receive(self: Server, *words: Any) -> Any:
        self._answered = {}
        return original(self, *words)

    def arrive(room: Summing, who: Any, letter: Masked) -> Any:
        room = keep_vector(room, who, letter)
        return pairwise_server.close_summing(room) if pairwise_server.everybody(room) else (room, [])

    monkeypatch.setattr(Server, "receive", receive)
    monkeypatch.setitem(pairwise_server.server.arrows, (Summing, Masked), arrive)


def a_restored_client_forgets_its_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Client.thaw

    def thaw(self: Client, data: Any) -> None:
        original(self, data)
        self._replies = []

    monkeypatch.setattr(Client, "thaw", thaw)


def a_restored_server_forgets_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Server.thaw

    def thaw(self: Server, data: Any) -> None:
        original(self, data)
        self._outbox = Outbox()

    monkeypatch.setattr(Server, "thaw", thaw)


def any_deadline_closes_the_open_room(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Server.deadline
    monkeypatch.setattr(
        Server, "deadline", lambda self, room: original(self, room if self.wait is None else self.wait.room)
    )


def secrets_of_clients_that_never_dealt_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bookkeeping from U1 instead of U2: what loses rounds of Flower 1.42."""

    def enter(summed: Summing) -> Unmasking:
        everybody = frozenset(summed.session.members)
        return Unmasking(summed.known, summed, Recovery.of(everybody, frozenset(summed.arrived)), {})

    monkeypatch.setattr(pairwise_server, "enter_unmasking", enter)


def masks_between_two_lost_clients_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends of an edge are lost, so that neither added its mask."""
    original = recovery.pair_corrections

    def pair_corrections(session: Any, key: Any, lost: Any, entries: Any, survivors: Any) -> Any:
        return original(session, key, lost, entries, frozenset(entries) - {lost})

    monkeypatch.setattr(recovery, "pair_corrections", pair_corrections)


@pytest.mark.parametrize(
    ("plant", "faults"),
    [
        pytest.param(a_vector_may_come_twice, 1, id="vector-twice"),
        pytest.param(a_restored_client_forgets_its_replies, 1, id="replies-forgotten"),
        pytest.param(a_restored_server_forgets_what_it_said, 1, id="words-forgotten"),
        pytest.param(any_deadline_closes_the_open_room, 1, id="any-deadline"),
        pytest.param(secrets_of_clients_that_never_dealt_are_waited_for, 1, id="never-dealt"),
        pytest.param(masks_between_two_lost_clients_are_removed, 2, id="masks-of-the-lost"),
    ],
)
def test_a_planted_bug_is_found_and_shrunk(plant: Plant, faults: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    kind = fresh()
    candidates = (drawn_in(seed, CLIENTS, Promise.ACTIVE, GraphMode.COMPLETE) for seed in range(MOST_TRIED))
    found = next(schedule for schedule in candidates if kind.complaint(schedule) is not None)
    smallest = shrink(found, lambda schedule: kind.complaint(schedule) is not None)
    assert len(smallest.faults) == faults
    assert kind.complaint(smallest) is not None
    monkeypatch.undo()
    assert fresh().complaint(smallest) is None
    assert fresh().complaint(found) is None
