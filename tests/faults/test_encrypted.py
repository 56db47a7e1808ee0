"""Encrypted rounds under random troubles of clients, holders, server and network, each round from one integer."""

from __future__ import annotations

import itertools

import pytest

from protocols.ckks.messages import Ciphertext, EncryptedSum
from protocols.codec import kind_of
from protocols.errors import TooFewMembers
from protocols.faults.drawing import LATE
from protocols.faults.driver import Played
from protocols.faults.schedule import (
    FAULTS,
    Arrow,
    Crash,
    Delay,
    Duplicate,
    Fault,
    Flip,
    Hostile,
    Letter,
    Moment,
    Schedule,
    ServerCrash,
    Vanish,
    shrink,
)
from protocols.plan import Promise
from protocols.simulate import Exchange
from secagg.graph import GraphMode
from tests.faults.encrypted import encrypted_world
from tests.faults.opened import ROOMS, drawn, letters_of
from tests.rows import rows

CLIENTS = 4
UPLOADS, PARTS = letters_of(CLIENTS)

pytestmark = pytest.mark.usefixtures("staged")


@rows("D11", "D12", "D13", "D14", "C16")
@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_random_schedules_of_encrypted_rounds(row: str, count: int) -> None:
    sums = 0
    for schedule in map(drawn, range(count)):
        world = encrypted_world(schedule.clients)
        played = world.play(schedule)
        sums += played.aggregate is not None
        if world.judge(schedule, played) is not None:
            pytest.fail(shrunk(schedule), pytrace=False)
    # Neither end is rare.
    assert count // 4 < sums < count - count // 20


def shrunk(wrong: Schedule) -> str:
    """What to read when a schedule ends wrongly."""
    world = encrypted_world(wrong.clients)
    smallest = shrink(wrong, lambda smaller: world.complaint(smaller) is not None)
    return f"seed {wrong.seed}: {world.complaint(smallest)}\n{smallest.to_json()}"


def test_what_is_drawn_survives_json_and_holds_every_kind_of_fault() -> None:
    schedules = [drawn(seed) for seed in range(400)]
    assert [Schedule.from_json(schedule.to_json()) for schedule in schedules] == schedules
    kinds = {type(fault) for schedule in schedules for fault in schedule.faults}
    assert kinds == set(FAULTS.values()) - {Hostile}


# --- one kind of trouble at a time


def played_with(*faults: Fault) -> Played:
    """The round under these faults, after it was judged."""
    schedule = Schedule(0, CLIENTS, Promise.ACTIVE, GraphMode.COMPLETE, faults)
    world = encrypted_world(CLIENTS)
    played = world.play(schedule)
    assert world.judge(schedule, played) is None
    return played


def said(played: Played) -> set[tuple[int, bytes]]:
    return {(emitted.sender, emitted.data) for emitted in played.said}


@rows("D1", "D2")
@pytest.mark.parametrize("letter", UPLOADS + PARTS, ids=str)
def test_whoever_is_lost_at_its_only_letter_is_missed_or_replaced(row: str, letter: Letter) -> None:
    played = played_with(Vanish(letter))
    assert played.aggregate is not None
    assert len(played.aggregate.survivors) == CLIENTS - (letter in UPLOADS)


@rows("D9")
def test_every_pair_of_losses_ends_as_the_model_says(row: str) -> None:
    ends = [played_with(Vanish(a), Vanish(b)).lost for a, b in itertools.combinations(UPLOADS + PARTS, 2)]
    assert {type(end).__name__ for end in ends} == {"NoneType", "TooFewClients", "TooFewMembers"}


def test_two_holders_that_are_silent_one_after_the_other_are_named() -> None:
    lost = played_with(Vanish(PARTS[0]), Vanish(PARTS[-1])).lost
    assert isinstance(lost, TooFewMembers)
    assert lost.missing == (
        encrypted_world(CLIENTS).company.holder_ids[0],
        encrypted_world(CLIENTS).company.holder_ids[-1],
    )


@rows("D12")
@pytest.mark.parametrize("seconds", [0, 10, 3 * LATE])
def test_every_message_twice_gives_the_same_result_and_the_same_bytes(row: str, seconds: int) -> None:
    assert said(played_with(*(Duplicate(letter, seconds) for letter in UPLOADS + PARTS))) == said(played_with())


@pytest.mark.parametrize("letter", PARTS[:2], ids=str)
def test_a_part_that_comes_too_late_counts_for_nothing_and_others_open(letter: Letter) -> None:
    played = played_with(Delay(letter, LATE))
    asked = {emitted.data for emitted in played.said if kind_of(emitted.data) is EncryptedSum}
    assert len(asked) == 2
    assert played.aggregate is not None


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.value)
@pytest.mark.parametrize("arrival", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("loss", [(), (Vanish(PARTS[0]),), (Vanish(UPLOADS[3]),)], ids=["none", "holder", "client"])
def test_a_server_that_dies_anywhere_goes_on(
    room: Exchange, moment: Moment, arrival: int | None, loss: tuple[Fault, ...]
) -> None:
    played = played_with(ServerCrash(room, moment, arrival), *loss)
    assert played.aggregate is not None


@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.value)
@pytest.mark.parametrize(
    ("who", "arrow"), [(1, Arrow.OPEN), (1, Arrow.UPDATE), (CLIENTS, Arrow.WITNESSES)], ids=["open", "update", "part"]
)
def test_a_client_or_holder_that_dies_says_the_same_again(who: int, arrow: Arrow, moment: Moment) -> None:
    assert said(played_with(Crash(who, arrow, moment))) == said(played_with())


@rows("D16")
@pytest.mark.parametrize("position", range(0, 320, 13))
@pytest.mark.parametrize("letter", [UPLOADS[0], UPLOADS[1], PARTS[0], PARTS[1]], ids=str)
def test_a_bit_that_flips_in_a_header_costs_a_repetition(row: str, letter: Letter, position: int) -> None:
    played = played_with(Flip(letter, position))
    assert played.aggregate is not None
    assert len({e.data for e in played.said if kind_of(e.data) is Ciphertext}) == CLIENTS
