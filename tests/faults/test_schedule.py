"""Schedules as values: drawn, stored, read back, shrunk."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from protocols.errors import Misused
from protocols.faults.drawing import drawn
from protocols.faults.network import MOST_EVENTS, Network, damaged
from protocols.faults.schedule import (
    FAULTS,
    Drop,
    Fault,
    Flip,
    Letter,
    Schedule,
    Truncate,
    Vanish,
    shrink,
)
from protocols.party import PartyId
from protocols.simulate import Exchange, Lost

LETTER = Letter(0, Exchange.ADVERTISE, Lost.REPLY)
SOME = drawn(3)


def with_faults(*faults: Fault) -> Schedule:
    return replace(SOME, faults=faults)


def test_what_is_drawn_is_a_function_of_the_seed_and_holds_every_kind_of_fault() -> None:
    schedules = [drawn(seed) for seed in range(500)]
    assert schedules == [drawn(seed) for seed in range(500)]
    assert {type(fault) for schedule in schedules for fault in schedule.faults} == set(FAULTS.values())


def test_schedules_survive_json() -> None:
    for seed in range(500):
        schedule = drawn(seed)
        assert Schedule.from_json(schedule.to_json()) == schedule


@pytest.mark.parametrize(
    "change",
    [
        {"faults": [{"kind": "Earthquake"}]},
        {"faults": [{"kind": "Drop"}]},
        {"faults": [{}]},
        {"faults": 3},
        {"seed": "3"},
        {"seed": True},
        {"clients": 1.5},
        {"promise": "loose"},
        {"graph": None},
        {"more": 1},
        {"faults": [{"kind": "Drop", "at": {"client": 0, "exchange": 9, "side": "reply"}}]},
        {"faults": [{"kind": "Vanish", "at": {"client": 0, "exchange": 1, "side": "reply"}, "back": "soon"}]},
    ],
    ids=repr,
)
def test_text_that_is_no_schedule_is_refused_by_name(change: dict[str, object]) -> None:
    text = json.dumps({**json.loads(SOME.to_json()), **change})
    with pytest.raises(Misused, match="no schedule of faults"):
        Schedule.from_json(text)
    for broken in ("", "[]", "3", SOME.to_json()[:-1]):
        with pytest.raises(Misused, match="no schedule of faults"):
            Schedule.from_json(broken)


@pytest.mark.parametrize("needed", [(), (0,), (6,), (2, 3), (0, 6), (1, 3, 5), tuple(range(7))])
def test_shrinking_leaves_exactly_what_is_needed(needed: tuple[int, ...]) -> None:
    faults = tuple(Vanish(replace(LETTER, client=client)) for client in range(7))
    wanted = {faults[index] for index in needed}
    smallest = shrink(with_faults(*faults), lambda schedule: wanted <= set(schedule.faults))
    assert set(smallest.faults) == wanted


def test_a_schedule_that_does_not_fail_cannot_be_shrunk() -> None:
    with pytest.raises(Misused, match="does not fail"):
        shrink(SOME, lambda schedule: False)


def test_damage_is_one_bit_or_a_missing_end() -> None:
    frame = bytes(range(100))
    for position in (0, 7, 8, 799, 800, 12_345):
        broken = damaged(Flip(LETTER, position), frame)
        assert broken is not None
        changed = int.from_bytes(broken) ^ int.from_bytes(frame)
        assert changed.bit_count() == 1
        assert len(broken) == 100
        cut = damaged(Truncate(LETTER, position), frame)
        assert cut is not None
        assert len(cut) < 100
        assert frame.startswith(cut)
    assert damaged(Drop(LETTER), frame) is None


def test_a_round_without_end_is_stopped() -> None:
    network = Network(SOME, (PartyId(1),), lambda *frame: None, lambda who, deed, data: data)

    def again() -> None:
        network.after(1, again)

    again()
    with pytest.raises(Misused, match="in a circle"):
        network.run()
    assert network.now > MOST_EVENTS // 2
