"""Ten thousand rounds with random troubles, each from one integer; and the troubles one kind at a time."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocols.faults.drawing import LATE, SOON, drawn, drawn_in, scene_of
from protocols.faults.driver import Played
from protocols.faults.schedule import (
    Delay,
    Duplicate,
    Fault,
    Letter,
    Schedule,
    Vanish,
    WrongDeadline,
    shrink,
)
from protocols.party import SERVER
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode
from tests.attacks.villain import rows
from tests.faults.sweeps import random_tally, report, tally
from tests.faults.world import World, degree_of, lively_world, world

KEPT = Path(__file__).parent / "kept"
CLIENTS = 6
BOTH = pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)


pytestmark = pytest.mark.usefixtures("staged")


@rows("D11", "D12", "D13", "D14", "C2", "C8", "C16")
@pytest.mark.parametrize("count", [1_500, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_random_schedules(row: str, count: int, record_property: object) -> None:
    result = random_tally(range(count))
    report(record_property, result)
    assert result.played == count
    if result.wrong:
        pytest.fail(shrunk(result.wrong[0]), pytrace=False)


def shrunk(wrong: str) -> str:
    """What to read, and what to keep, when a schedule ends wrongly."""
    complaint, _, text = wrong.rpartition("\n")
    schedule = Schedule.from_json(text)
    kind = world(schedule.clients, schedule.promise, schedule.graph)
    smallest = shrink(schedule, lambda smaller: kind.complaint(smaller) is not None)
    return f"seed {schedule.seed}: {complaint}\nkeep this in tests/faults/kept:\n{smallest.to_json()}"


def test_among_the_random_rounds_are_all_sizes_and_real_rings() -> None:
    scenes = {scene_of(seed) for seed in range(10_000)}
    assert scenes == set(itertools.product(range(5, 13), Promise, (GraphMode.COMPLETE, GraphMode.ROSTER)))
    assert [degree_of(clients) < clients - 1 for clients in range(5, 13)] == [False] + 7 * [True]


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_what_once_failed_is_replayed_for_ever(path: Path) -> None:
    schedule = Schedule.from_json(path.read_text(encoding="utf-8"))
    assert tally([schedule]).wrong == ()


def test_neither_a_memory_of_steps_nor_endpoints_that_stay_alive_change_anything() -> None:
    scene = 5, Promise.ACTIVE, GraphMode.COMPLETE
    remembering, lively, forgetful = world(*scene), lively_world(*scene), World(*scene)
    forgetful.step = forgetful.parties.step  # type: ignore[assignment]
    for seed in range(10):
        schedule = drawn_in(seed, *scene)
        expected = transcript(forgetful.play(schedule))
        assert transcript(remembering.play(schedule)) == expected
        assert transcript(lively.play(schedule)) == expected


# --- one kind of trouble at a time


def transcript(played: Played) -> list[tuple[int, bytes]]:
    return [(emitted.sender, emitted.data) for emitted in played.said]


def letters(promise: Promise) -> list[Letter]:
    exchanges = [exchange for exchange in Exchange if promise is Promise.ACTIVE or exchange is not Exchange.WITNESS]
    return [Letter(*place) for place in itertools.product(range(CLIENTS), exchanges, Lost)]


def played_with(promise: Promise, *faults: Fault) -> Played:
    """The round under these faults, after it was judged."""
    schedule = Schedule(0, CLIENTS, promise, GraphMode.COMPLETE, faults)
    kind = world(CLIENTS, promise)
    played = kind.play(schedule)
    assert kind.judge(schedule, played) is None
    return played


def survivors(played: Played) -> tuple[int, ...]:
    assert played.aggregate is not None, played.lost
    return played.aggregate.survivors


@rows("D11")
@BOTH
@pytest.mark.parametrize("exchange", [Exchange.ADVERTISE, Exchange.SHARES, Exchange.MASKED], ids=lambda e: e.name)
@pytest.mark.parametrize("side", Lost, ids=lambda side: side.value)
def test_who_returns_too_late_is_excluded_by_name_and_not_counted(
    row: str, promise: Promise, exchange: Exchange, side: Lost
) -> None:
    who = world(CLIENTS, promise).ids[2]
    played = played_with(promise, Vanish(Letter(2, exchange, side), LATE))
    assert who not in survivors(played)
    assert {(note.peer, note.error) for note in played.excluded} == {(who, "OutOfTurn")}


@rows("D12")
@BOTH
@pytest.mark.parametrize("seconds", [0, SOON, 3 * LATE], ids=lambda seconds: f"{seconds}s")
def test_every_message_twice_gives_the_same_result_and_the_same_bytes(row: str, promise: Promise, seconds: int) -> None:
    plain = played_with(promise)
    twice = played_with(promise, *(Duplicate(letter, seconds) for letter in letters(promise)))
    assert set(transcript(twice)) == set(transcript(plain))
    assert twice.aggregate is not None
    assert survivors(twice) == survivors(plain)


@rows("D13")
@BOTH
@pytest.mark.parametrize("seed", range(10))
def test_order_does_not_matter_and_stale_messages_are_out_of_turn(row: str, promise: Promise, seed: int) -> None:
    generator = np.random.default_rng(seed)
    everywhere = letters(promise)
    stale = set(generator.choice(len(everywhere), len(everywhere) // 2, replace=False).tolist())
    faults = [
        Duplicate(letter, int(generator.integers(SOON, LATE)))
        if index in stale
        else Delay(letter, int(generator.integers(SOON)))
        for index, letter in enumerate(everywhere)
    ]
    played = played_with(promise, *faults)
    assert survivors(played) == world(CLIENTS, promise).ids
    assert {type(error).__name__ for _, error in played.refused} <= {"OutOfTurn", "Replay"}
    assert {note.error for note in played.excluded} == {"OutOfTurn"}


@rows("D14")
@BOTH
@pytest.mark.parametrize("exchange", [Exchange.ADVERTISE, Exchange.SHARES, Exchange.MASKED], ids=lambda e: e.name)
def test_what_arrives_after_the_deadline_of_its_room_is_ignored_by_name(
    row: str, promise: Promise, exchange: Exchange
) -> None:
    who = world(CLIENTS, promise).ids[1]
    played = played_with(promise, Delay(Letter(1, exchange, Lost.REPLY), LATE))
    assert who not in survivors(played)
    assert [(note.peer, note.error) for note in played.excluded] == [(who, "OutOfTurn")]


@rows("D14")
@BOTH
def test_the_deadline_of_another_room_closes_nothing(row: str, promise: Promise) -> None:
    plain = transcript(played_with(promise))
    for room, other in itertools.permutations(Exchange, 2):
        assert transcript(played_with(promise, WrongDeadline(room, other))) == plain


@rows("D22")
@BOTH
def test_a_clock_that_jumps_changes_nothing(row: str, promise: Promise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reading of any clock is up to a day off in either direction."""
    schedule = replace(drawn(0), clients=CLIENTS, promise=promise, graph=GraphMode.COMPLETE, faults=())
    steady = World(CLIENTS, promise, GraphMode.COMPLETE).play(schedule)
    generator, readings = np.random.default_rng(22), 0

    def jumping() -> float:
        nonlocal readings
        readings += 1
        return float(generator.uniform(-86_400, 86_400))

    for clock in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, jumping)
    time.time()
    moved = World(CLIENTS, promise, GraphMode.COMPLETE).play(schedule)
    assert readings == 1, "an endpoint has looked at a clock"
    assert transcript(moved) == transcript(steady)
    assert {emitted.sender for emitted in moved.said} > {SERVER}
