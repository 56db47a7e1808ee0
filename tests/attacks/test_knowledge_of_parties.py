"""The lies of `test_knowledge.py` told to real clients: what their answers add up to is what the model says, no more.

Shares are counted at the outbox. From them the villain rebuilds every secret it can, compares each with what its
dealer committed to, and opens every sum the model calls open.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from protocols.errors import UnsafeUnmask
from protocols.messages import Survivors, Unmask, Witness
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from protocols.party import PartyId
from protocols.plan import RoundPlan, proposal
from secagg.graph import HararyGraph, Parameters
from tests.attacks.closure import Knowledge, World, complete, every
from tests.attacks.liar import Liar
from tests.attacks.villain import Stage, rows


def without_witnesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise_client, "check_witnesses", lambda state, message: None)


# --- four clients: every assignment of lists they accept

FOUR = [
    column.tolist()
    for column in every([[one for one in range(16) if one >> u & 1 and one.bit_count() >= 3] for u in range(4)])
]
ASSIGNMENTS = list(zip(*FOUR, strict=True))


@rows("M2", "M18")
def test_four_clients_told_anything_open_the_sum_of_the_one_list_or_nothing(row: str) -> None:
    villain = Liar(Stage(4))
    parameters = villain.session.parameters
    assert (parameters.threshold, parameters.quorum, len(ASSIGNMENTS)) == (2, 3, 256)
    opened = 0
    for views in ASSIGNMENTS:
        villain.lie(views)
        known = villain.knowledge()
        assert known == villain.modelled(parameters.quorum)
        for places in known.sums():
            opened += 1
            assert places in views
            assert places.bit_count() >= 3
            assert villain.opens(places)
    print(f"four real clients, {len(ASSIGNMENTS)} assignments: {opened} opened, each over the list a quorum signed")
    assert opened


@rows("M2", "M18")
def test_without_the_witness_check_four_clients_open_two_of_them_exactly_where_the_model_says(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_witnesses(monkeypatch)
    villain = Liar(Stage(4))
    pairs = 0
    for views in ASSIGNMENTS:
        villain.lie(views)
        known = villain.knowledge()
        assert known == villain.modelled(quorum=0)
        assert all(villain.opens(places) for places in known.sums())
        pairs += any(places.bit_count() == 2 for places in known.sums())
    print(f"four real clients without witnesses: {pairs} assignments open the sum of two")
    assert pairs == 12


@rows("M2", "M4")
def test_without_any_check_of_the_list_one_of_four_clients_is_opened_alone(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_witnesses(monkeypatch)
    monkeypatch.setattr(pairwise_client, "check_survivors", lambda state, bitmap: None)
    world, columns = World(complete(4), 2), every([[one for one in range(16) if one.bit_count() >= 2]] * 4)
    told = zip(*world.told(columns), strict=True)
    alone = [
        at
        for at, (selves, keys) in enumerate(told)
        if any(one.bit_count() == 1 for one in Knowledge(world.neighbours, int(selves), int(keys)).sums())
    ]
    assert (len(alone), columns[0].size) == (668, 14_641)
    villain = Liar(Stage(4))
    for at in (alone[0], alone[len(alone) // 2], alone[-1]):
        villain.lie([int(column[at]) for column in columns])
        known = villain.knowledge()
        assert known == villain.modelled(quorum=0)
        assert min(map(int.bit_count, known.sums())) == 1
        assert all(villain.opens(places) for places in known.sums())


# --- seven clients, two of them the villain's

CORRUPTED = 0b1100000
SEVEN = World(complete(7), 5, CORRUPTED)
SEVEN_VIEWS = every(
    [
        [one for one in range(128) if one & CORRUPTED == CORRUPTED and one >> u & 1 and one.bit_count() >= 5]
        for u in range(5)
    ]
)


def leaking_two() -> list[int]:
    """Which of the 161,051 assignments open a sum of two honest clients."""
    selves, keys = SEVEN.told([*SEVEN_VIEWS, 0, 0])
    states, place = np.unique(selves << 7 | keys, return_inverse=True)
    leaks = [
        any(one.bit_count() == 2 for one in Knowledge(SEVEN.neighbours, state >> 7, state & 127).sums())
        for state in states.tolist()
    ]
    return np.flatnonzero(np.array(leaks)[place]).tolist()


def seven() -> Liar:
    stage = Stage(7)
    stage.company.plan = RoundPlan.recommend(
        7, dropout=Fraction(1, 7), corrupt=Fraction(2, 7), min_cohort=5, max_weight=8
    )
    stage.server = stage.company.server()
    villain = Liar(stage, stage.ids[5:])
    assert villain.world == SEVEN
    return villain


def chosen(leaking: list[int]) -> list[list[int]]:
    """One leaking assignment in sixty, and two extremes: nobody is declared dead, and everybody declares two."""
    some = [[int(column[at]) for column in SEVEN_VIEWS] + [127, 127] for at in leaking[::60]]
    return [*some, [127] * 7, [0b1100111] * 3 + [0b1111001] * 2 + [127, 127]]


@rows("M2", "M18")
def test_seven_clients_two_corrupted_open_nothing_on_the_assignments_that_leak_two(row: str) -> None:
    leaking, villain = leaking_two(), seven()
    assert len(leaking) == 540
    for views in chosen(leaking):
        villain.lie(views)
        known = villain.knowledge()
        assert known == villain.modelled(villain.session.parameters.quorum)
        assert known.sums() == ((0b0011111,) if set(views) == {127} else ())


@rows("M2", "M18")
def test_without_the_witness_check_the_same_assignments_open_two_honest_clients(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_witnesses(monkeypatch)
    leaking, villain = leaking_two(), seven()
    *leaks, nobody_dead, mixed = chosen(leaking)
    for views in leaks:
        villain.lie(views)
        known = villain.knowledge()
        assert known == villain.modelled(quorum=0)
        [pair] = known.sums()
        assert pair.bit_count() == 2
        assert villain.opens(pair)
    for views in (nobody_dead, mixed):
        villain.lie(views)
        assert villain.knowledge() == villain.modelled(quorum=0)


# --- a client declared dead whose vector is there


@rows("M18")
def test_a_late_vector_joins_no_sum_though_everything_said_is_known(row: str) -> None:
    villain = Liar(Stage(5))
    villain.lie([0b01111] * 4 + [0])
    known = villain.knowledge()
    assert known == villain.modelled(villain.session.parameters.quorum)
    assert known.sums() == (0b01111,)
    assert villain.opens(0b01111)
    late = villain.ids[4]
    assert (late, names.SELF_SECRET) not in villain.shares()
    assert late in villain.rebuilt()[1]


# --- a ring cut in two

RING = Parameters(6, 4, 1, 9, -40.0, -30.0)
# Places on the ring: one of the villain's own stands in each gap of three, and everybody else there is declared
# dead. Each half neighbourhood holds at most one corrupted client, as the window of 1 assumes, and each
# neighbourhood at most one, as the threshold does.
GAPS, OWN = (0, 1, 2, 7, 8, 9), (1, 8)


def on_a_ring(monkeypatch: pytest.MonkeyPatch) -> tuple[Liar, int]:
    """Fourteen clients with six neighbours each, and the list that cuts them in two."""
    monkeypatch.setattr(proposal, "_parameters", lambda clients, assumption, graph: RING)
    stage = Stage(14)
    stage.company.plan = RoundPlan.recommend(
        14, dropout=Fraction(1, 7), corrupt=Fraction(1, 7), min_cohort=9, max_weight=8
    )
    stage.server = stage.company.server()
    villain = Liar(stage)
    order = [PartyId(who) for who in villain.session.graph.order]
    villain.corrupted = tuple(sorted(order[place] for place in OWN))
    dead = [order[place] for place in GAPS if place not in OWN]
    return villain, villain.places([who for who in order if who not in dead])


@rows("M17")
def test_a_list_that_cuts_the_ring_is_signed_by_nobody(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    villain, cut = on_a_ring(monkeypatch)
    assert cut.bit_count() == 10
    for who in villain.clients(cut & ~villain.world.corrupted):
        with villain.stage.refuses(who, UnsafeUnmask, match="fall apart"):
            villain.stage.say(who, Survivors(villain.bitmap(cut)))
    assert not any(kind in (Witness, Unmask) for _, kind in villain.stage.heard)


@rows("M17")
def test_without_the_window_rule_the_same_list_opens_both_halves_of_the_ring(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    villain, cut = on_a_ring(monkeypatch)
    monkeypatch.setattr(HararyGraph, "windows", lambda graph, survivors: len(survivors))
    villain.lie([cut * (cut >> u & 1) for u in range(14)])
    known = villain.knowledge()
    assert known == villain.modelled(RING.quorum)
    assert len(known.sums()) == 2
    for places in known.sums():
        # Ten were promised, of which two belong to the villain; it opens four.
        assert places.bit_count() == 4
        assert villain.opens(places)


@rows("M17", "M18")
def test_lists_that_keep_the_window_rule_open_one_sum(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    villain, _ = on_a_ring(monkeypatch)
    order = [PartyId(who) for who in villain.session.graph.order]
    whole = (1 << 14) - 1
    # Every half neighbourhood still holds two of the list, one of them honest.
    thinned = whole & ~villain.places([order[4], order[11]])
    for agreed in (whole, thinned):
        villain.lie([agreed * (agreed >> u & 1) for u in range(14)])
        known = villain.knowledge()
        assert known == villain.modelled(RING.quorum)
        assert known.sums() == (agreed & ~villain.world.corrupted,)
        assert villain.opens(agreed & ~villain.world.corrupted)
