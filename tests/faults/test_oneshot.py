"""One-shot rounds: every way four clients and five members can vanish, every two faults, and troubles at random.

Every message passes the codec and every endpoint is frozen and thawed before it (`protocols.faults`). A round must end
in the exact sum whenever a cohort of clients and as many honest members are left as it takes, and by name otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from protocols.codec import kind_of
from protocols.endpoint.outbox import Outbox
from protocols.errors import BadMaskKey, TooFewMembers
from protocols.faults.drawing import LATE
from protocols.faults.driver import Played
from protocols.faults.schedule import (
    FAULTS,
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
    shrink,
)
from protocols.oneshot import server as servers
from protocols.oneshot.messages import Concealed
from protocols.party import Deadline
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode
from tests.faults.oneshot import OneShotWorld, drawn, oneshot_world, stage_of
from tests.faults.opened import HOLDERS, OPENERS, ROOMS, letters_of
from tests.faults.sweeps import Tally, report, tally
from tests.rows import rows

CLIENTS = 4
UPLOADS, PARTS = letters_of(CLIENTS)
MEMBERS = range(CLIENTS, CLIENTS + HOLDERS)
ARROWS = [(client, arrow) for client in range(CLIENTS) for arrow in (Arrow.OPEN, Arrow.UPDATE)]
ARROWS += [(member, Arrow.WITNESSES) for member in MEMBERS]
CRASHES: list[Fault] = [Crash(who, arrow, moment) for (who, arrow), moment in itertools.product(ARROWS, Moment)]
SERVER_CRASHES: list[Fault] = [
    ServerCrash(room, moment, arrival) for room, moment, arrival in itertools.product(ROOMS, Moment, (None, 0, 1, 2, 3))
]
LIARS: list[Fault] = [Hostile(client, Deed.WRONG_LENGTH) for client in range(CLIENTS)]
LIARS += [Hostile(member, Deed.BAD_SHARE) for member in MEMBERS]

pytestmark = pytest.mark.usefixtures("staged")


def schedule_of(*faults: Fault) -> Schedule:
    return Schedule(0, CLIENTS, Promise.ACTIVE, GraphMode.COMPLETE, faults)


def swept(schedules: Iterator[Schedule], record_property: object) -> Tally:
    """All of them played and judged; what ends wrongly is shown with the fewest faults that show it."""
    result = tally(schedules, stage_of)
    report(record_property, result)
    if result.wrong:
        pytest.fail(shrunk(result.wrong[0]), pytrace=False)
    return result


def shrunk(wrong: str) -> str:
    """What to read when a schedule ends wrongly."""
    schedule = Schedule.from_json(wrong.rpartition("\n")[2])
    world = oneshot_world(schedule.clients)
    smallest = shrink(schedule, lambda smaller: world.complaint(smaller) is not None)
    return f"seed {schedule.seed}: {world.complaint(smallest)}\n{smallest.to_json()}"


# --- every vector of fates


def vectors_of_fates(*others: Fault) -> Iterator[Schedule]:
    """Each client and each member stays, never hears its only letter, or is never heard."""
    letters = [(UPLOADS + PARTS)[place : place + 2] for place in range(0, 2 * (CLIENTS + HOLDERS), 2)]
    for fates in itertools.product(*((None, *pair) for pair in letters)):
        yield schedule_of(*(Vanish(letter) for letter in fates if letter is not None), *others)


def few_lost(*others: Fault) -> Iterator[Schedule]:
    """Those of them in which a client or two are lost at most, and so many members."""
    for schedule in vectors_of_fates(*others):
        lost = [fault.at.client for fault in schedule.faults if isinstance(fault, Vanish)]
        if max(sum(who < CLIENTS for who in lost), sum(who >= CLIENTS for who in lost)) <= 1:
            yield schedule


@rows("D1", "D2", "D9", "D10", "C16")
def test_every_vector_of_fates(row: str, record_property: object) -> None:
    result = swept(vectors_of_fates(), record_property)
    assert result.played == 3 ** (CLIENTS + HOLDERS) == 19_683
    # A cohort of three clients, and four members: nobody else is needed, and nobody less is enough.
    assert result.sums == (1 + 2 * CLIENTS) * (1 + 2 * HOLDERS) == 99


@rows("S5", "S6", "S9", "S10", "C16")
def test_every_loss_with_every_death_of_the_server(row: str, record_property: object) -> None:
    found = (schedule for crash in SERVER_CRASHES for schedule in few_lost(crash))
    result = swept(found, record_property)
    assert result.sums == result.played == 99 * len(SERVER_CRASHES)


def test_every_loss_with_every_death_of_a_client_or_member(record_property: object) -> None:
    found = (schedule for crash in CRASHES for schedule in few_lost(crash))
    result = swept(found, record_property)
    assert result.sums == result.played == 99 * len(CRASHES)


@rows("C8")
def test_every_loss_with_every_liar(row: str, record_property: object) -> None:
    """Whoever lies costs itself: one member of five, or one client of four; with another loss the round is lost."""
    result = swept((schedule for liar in LIARS for schedule in few_lost(liar)), record_property)
    assert result.played == 99 * len(LIARS)
    # The liar and the loss are one client or one member: its two fates, and no loss of its sort at all.
    assert result.sums == CLIENTS * (1 + 2) * (1 + 2 * HOLDERS) + HOLDERS * (1 + 2) * (1 + 2 * CLIENTS)


def single_faults() -> list[Fault]:
    """One of each kind at every letter, and every death."""
    found: list[Fault] = []
    for letter in UPLOADS + PARTS:
        found += [Vanish(letter), Vanish(letter, LATE), Vanish(letter, 5), Drop(letter), Delay(letter, LATE)]
        found += [Delay(letter, 5), Duplicate(letter, 0), Duplicate(letter, LATE), Flip(letter, 400)]
        found += [Truncate(letter, 100)]
    found += [WrongDeadline(room, other) for room in ROOMS for other in Exchange if other is not room]
    return found + CRASHES + SERVER_CRASHES + LIARS


@pytest.mark.slow
def test_every_two_faults(record_property: object) -> None:
    """At two letters, or not at letters: one letter meets one fault."""
    pairs = [
        (a, b)
        for a, b in itertools.combinations(single_faults(), 2)
        if not letter_of(a) or letter_of(a) != letter_of(b)
    ]
    result = swept((schedule_of(*pair) for pair in pairs), record_property)
    assert result.played == len(pairs) == 28_593


def letter_of(fault: Fault) -> Letter | None:
    return getattr(fault, "at", None)


def test_every_fault_alone(record_property: object) -> None:
    result = swept(map(schedule_of, single_faults()), record_property)
    assert result.sums == result.played == len(single_faults())


@pytest.mark.slow
@rows("S5", "S6", "S9", "S10", "C16")
def test_every_vector_of_fates_with_every_close_of_the_server(row: str, record_property: object) -> None:
    crashes = [ServerCrash(room, moment) for room in ROOMS for moment in Moment]
    result = swept((schedule for crash in crashes for schedule in vectors_of_fates(crash)), record_property)
    assert result.played == 19_683 * len(crashes)
    assert result.sums == 99 * len(crashes)


# --- at random


@rows("D11", "D12", "D13", "D14", "C16")
@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_random_schedules_of_one_shot_rounds(row: str, count: int, record_property: object) -> None:
    result = swept(map(drawn, range(count)), record_property)
    assert result.played == count
    # Neither end is rare.
    assert count // 4 < result.sums < count - count // 20


def test_what_is_drawn_survives_json_and_holds_every_kind_of_fault() -> None:
    schedules = [drawn(seed) for seed in range(400)]
    assert [Schedule.from_json(schedule.to_json()) for schedule in schedules] == schedules
    assert {type(fault) for schedule in schedules for fault in schedule.faults} == set(FAULTS.values())


def test_neither_a_memory_of_steps_nor_endpoints_that_stay_alive_change_anything() -> None:
    remembering, forgetful = oneshot_world(4), OneShotWorld(4)
    forgetful.step = forgetful.parties.step  # type: ignore[assignment]
    for schedule in [schedule for schedule in map(drawn, range(30)) if schedule.clients == 4]:
        assert transcript(remembering.play(schedule)) == transcript(forgetful.play(schedule))


# --- one kind of trouble at a time


def played_with(*faults: Fault) -> Played:
    """The round under these faults, after it was judged."""
    schedule, world = schedule_of(*faults), oneshot_world(CLIENTS)
    played = world.play(schedule)
    assert world.judge(schedule, played) is None
    return played


def transcript(played: Played) -> list[tuple[int, bytes]]:
    return [(emitted.sender, emitted.data) for emitted in played.said]


def party(number: int) -> int:
    """Whoever has this number in a schedule."""
    return oneshot_world(CLIENTS).company.parties[number]


@rows("D1", "D2")
@pytest.mark.parametrize("letter", UPLOADS + PARTS, ids=str)
def test_whoever_is_lost_at_its_only_letter_is_missed_or_not_needed(row: str, letter: Letter) -> None:
    played = played_with(Vanish(letter))
    assert played.aggregate is not None
    assert len(played.aggregate.survivors) == CLIENTS - (letter in UPLOADS)


def test_two_members_that_are_silent_are_named() -> None:
    lost = played_with(Vanish(PARTS[0]), Vanish(PARTS[-1])).lost
    assert isinstance(lost, TooFewMembers)
    assert (lost.have, lost.need, lost.missing) == (3, OPENERS, (party(CLIENTS), party(CLIENTS + HOLDERS - 1)))


@rows("D12")
@pytest.mark.parametrize("seconds", [0, 10, 3 * LATE])
def test_every_message_twice_gives_the_same_result_and_the_same_bytes(row: str, seconds: int) -> None:
    twice = played_with(*(Duplicate(letter, seconds) for letter in UPLOADS + PARTS))
    assert set(transcript(twice)) == set(transcript(played_with()))


@rows("D14")
@pytest.mark.parametrize("letter", UPLOADS[1:2] + PARTS[1:2], ids=str)
def test_what_arrives_after_the_deadline_of_its_room_is_ignored(row: str, letter: Letter) -> None:
    """A late upload is out of turn; a late answer is expected, once the others' have opened the sum."""
    played = played_with(Delay(letter, LATE))
    notes = [(note.peer, note.error) for note in played.excluded]
    assert notes == ([(party(letter.client), "OutOfTurn")] if letter in UPLOADS else [])


@rows("D14")
def test_the_deadline_of_another_room_closes_nothing(row: str) -> None:
    plain = transcript(played_with())
    for room in ROOMS:
        for other in [exchange for exchange in Exchange if exchange is not room]:
            assert transcript(played_with(WrongDeadline(room, other))) == plain


@rows("D16")
@pytest.mark.parametrize("position", range(0, 320, 13))
@pytest.mark.parametrize("letter", [UPLOADS[0], UPLOADS[1], PARTS[0], PARTS[1]], ids=str)
def test_a_bit_that_flips_in_a_header_costs_a_repetition(row: str, letter: Letter, position: int) -> None:
    played = played_with(Flip(letter, position))
    assert played.aggregate is not None
    assert len({e.data for e in played.said if kind_of(e.data) is Concealed}) == CLIENTS


@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.value)
@pytest.mark.parametrize(("who", "arrow"), ARROWS)
def test_a_client_or_member_that_dies_says_the_same_again(who: int, arrow: Arrow, moment: Moment) -> None:
    assert set(transcript(played_with(Crash(who, arrow, moment)))) == set(transcript(played_with()))


@pytest.mark.parametrize("liar", MEMBERS)
def test_a_member_that_lies_is_left_out_by_name(liar: int) -> None:
    """All the others are heard before anybody else is believed; whoever answers first has no advantage."""
    slow = [Delay(letter, 5) for letter in PARTS if letter.client != liar and letter.side is Lost.REPLY]
    played = played_with(Hostile(liar, Deed.BAD_SHARE), *slow)
    assert played.aggregate is not None
    assert {(note.peer, note.error) for note in played.excluded} == {(party(liar), "BadShare")}


def test_two_members_that_lie_cost_the_round_and_open_no_wrong_sum() -> None:
    for pair in itertools.combinations(MEMBERS, 2):
        assert isinstance(played_with(*(Hostile(liar, Deed.BAD_SHARE) for liar in pair)).lost, BadMaskKey)


@pytest.mark.parametrize("client", range(CLIENTS))
def test_a_client_whose_vector_is_short_is_left_out_by_name(client: int) -> None:
    played = played_with(Hostile(client, Deed.WRONG_LENGTH))
    assert played.aggregate is not None
    assert party(client) not in played.aggregate.survivors
    assert (party(client), "ShapeMismatch") in {(note.peer, note.error) for note in played.excluded}


# --- the tests of the tests: with a bug planted, few schedules find it, and shrink to what shows it


def closes_at_any_deadline(patch: pytest.MonkeyPatch) -> None:
    """A server that does not look at whose time is over."""
    arrows: Any = servers.server.arrows
    patch.setitem(arrows, (servers.Summing, Deadline), lambda room, *_: servers.close_summing(room))


def forgets_what_it_said(patch: pytest.MonkeyPatch) -> None:
    """A server that comes back and has nothing to repeat."""
    patch.setattr(Outbox, "of", lambda stored: Outbox())


def believes_any_key(patch: pytest.MonkeyPatch) -> None:
    """A server that takes the first answers for true."""
    patch.setattr(servers, "fits", lambda room, secret: True)


@pytest.mark.parametrize(
    ("plant", "shows"),
    [
        (closes_at_any_deadline, WrongDeadline),
        (forgets_what_it_said, ServerCrash),
        (believes_any_key, Hostile),
    ],
)
def test_a_planted_bug_is_found_and_shrinks_to_what_shows_it(
    plant: Callable[[pytest.MonkeyPatch], None], shows: type[Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    world = OneShotWorld(CLIENTS)
    schedules = (schedule for schedule in map(drawn, range(300)) if schedule.clients == CLIENTS)
    wrong = next(schedule for schedule in schedules if world.complaint(schedule) is not None)
    smallest = shrink(wrong, lambda schedule: world.complaint(schedule) is not None)
    assert shows in map(type, smallest.faults)
    assert len(smallest.faults) <= 2
