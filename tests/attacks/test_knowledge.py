"""Every way to lie about drop-outs, counted: which sums a server could open, with each check and without it.

The worlds are small enough to try all assignments of lists to clients. Each check is switched off in one of them,
and there the server must win: otherwise the count would prove nothing. The same lies told to real clients are in
`test_knowledge_of_parties.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.plan import RoundPlan
from secagg.graph import Assumption, HararyGraph, find_parameters
from tests.attacks.closure import FIELD, Knowledge, Sets, World, complete, every, members, reduced, ring, to_set
from tests.attacks.villain import rows


def smallest_sums(world: World, told: tuple[Sets, Sets]) -> Counter[int]:
    """How many assignments there are by the size of the smallest sum they open; 0 where they open none."""
    counts: Counter[int] = Counter()
    for knowledge, times in world.census(*told):
        counts[min(map(int.bit_count, knowledge.sums()), default=0)] += times
    return counts


def double_reveals(world: World, told: tuple[Sets, Sets]) -> int:
    return sum(times for knowledge, times in world.census(*told) if knowledge.doubly_revealed & ~world.corrupted)


# --- the model against its slow twin


@st.composite
def knowledge(draw: st.DrawFn) -> Knowledge:
    n = draw(st.integers(1, 7))
    edges = [pair for pair in combinations(range(n), 2) if draw(st.booleans())]
    near = tuple(to_set({v for pair in edges for v in pair if u in pair} - {u}) for u in range(n))
    return Knowledge(near, draw(st.integers(0, 2**n - 1)), draw(st.integers(0, 2**n - 1)))


def indicators(sums: tuple[int, ...], n: int) -> list[list[int]]:
    return reduced([[one >> u & 1 for u in range(n)] for one in sums])


@given(knowledge())
def test_the_sums_without_masks_span_the_row_space(known: Knowledge) -> None:
    assert known.row_space() == indicators(known.sums(), len(known.neighbours))


def test_a_model_that_forgets_the_own_masks_is_told_apart() -> None:
    blind = Knowledge(complete(3), 0b011, 0)
    assert blind.sums() == ()
    assert blind.row_space() == []
    assert indicators(Knowledge(complete(3), 0b111, 0).sums(), 3) != blind.row_space()


@pytest.mark.parametrize("n", [12, 14])
def test_the_ring_of_the_model_is_the_ring_of_the_protocol(n: int) -> None:
    graph = HararyGraph(tuple(range(n)), tuple(range(n)), 6)
    assert [members(near) for near in ring(n, 6)] == [graph.neighbours(u) for u in range(n)]


# --- four clients, nobody corrupted, every client shown any list

# The published protocol: everybody holds a share of its own secrets too, and answers any list of at least two
# clients, whether it is on it or not.
PUBLISHED = [range(16)] * 4


def published(threshold: int) -> tuple[World, tuple[Sets, Sets]]:
    views = every(PUBLISHED)
    assert len(views[0]) == 65_536
    world = World(complete(4), threshold, holds_its_own=True)
    return world, world.told(views, [np.bitwise_count(view) >= 2 for view in views])


@rows("M2", "M18")
def test_of_four_no_lists_open_one_client_when_three_shares_are_needed(row: str) -> None:
    world, told = published(3)
    counts = smallest_sums(world, told)
    print("n=4 t=3", dict(counts))
    assert double_reveals(world, told) == 0
    assert counts == {0: 62_357, 2: 870, 3: 1_732, 4: 577}


@rows("M2", "M18")
def test_of_four_12162_assignments_of_lists_open_one_client_when_two_shares_are_enough(row: str) -> None:
    world, told = published(2)
    counts = smallest_sums(world, told)
    print("n=4 t=2", dict(counts), "double reveals", double_reveals(world, told))
    assert counts[1] == 12_162
    assert double_reveals(world, told) == 11_682


def as_our_clients_answer(n: int, corrupted: int, fewest: int) -> list[Sets]:
    """Every assignment of lists our clients accept before any witness: me on it, and enough others."""
    honest = members((1 << n) - 1 - corrupted)
    accepted = [[one for one in range(1 << n) if one >> u & 1 and one.bit_count() >= fewest] for u in honest]
    return every(accepted)


@rows("M2", "M4")
@pytest.mark.parametrize(("threshold", "opened"), [(2, {2: 12, 3: 136, 4: 108}), (3, {0: 251, 3: 4, 4: 1})])
def test_of_our_four_a_client_that_keeps_no_own_share_and_checks_its_list_is_never_opened_alone(
    row: str, threshold: int, opened: dict[int, int]
) -> None:
    parameters = find_parameters(4, Assumption(0, 0.25))
    assert (parameters.threshold, parameters.quorum) == (2, 3)
    world = World(complete(4), threshold)
    counts = smallest_sums(world, world.told(as_our_clients_answer(4, 0, parameters.quorum)))
    print(f"n=4 t={threshold}, lists our clients accept", dict(counts))
    assert counts == opened


# --- seven clients, two of them corrupted

HONEST, CORRUPTED = 0b0011111, 0b1100000
SEVEN = World(complete(7), 5, CORRUPTED)
QUORUM = 5


def listed(n: int, fewest: int) -> list[int]:
    return [one for one in range(1 << n) if one.bit_count() >= fewest]


def all_views() -> list[Sets]:
    """Every honest client is shown itself, both corrupted and at least two others: 11 lists each."""
    return every(
        [[one for one in listed(7, QUORUM) if one & CORRUPTED == CORRUPTED and one >> u & 1] for u in range(5)]
    )


def pairs_of_lists() -> list[Sets]:
    """Two lists; every honest client is shown the first, the second, or none: all ways."""
    lists = np.array(listed(7, QUORUM), np.int64)
    first, second, split = np.meshgrid(lists, lists, np.arange(3**5), indexing="ij")
    return [np.ravel(np.choose(split // 3**u % 3, [first, second, np.zeros_like(first)])) for u in range(5)]


def answers(views: list[Sets], quorum: int) -> list[Any]:
    """Who answers: a client on its list, once the list has its quorum; corrupted clients sign whatever is asked."""
    speaks = []
    for u, mine in enumerate(views):
        signed = np.bitwise_count(mine & CORRUPTED).astype(np.int64)
        for v, theirs in enumerate(views):
            signed = signed + ((theirs == mine) & (mine >> v & 1 == 1))
        speaks.append((mine >> u & 1 == 1) & (signed >= quorum))
    return speaks


def seven(views: list[Sets], quorum: int, world: World = SEVEN) -> tuple[Sets, Sets]:
    return world.told([*views, 0, 0], [*answers(views, quorum), 0, 0])


def unasked(views: list[Sets], told: tuple[Sets, Sets]) -> int:
    """How many assignments open anything but one sum: over the honest clients of a list that somebody was shown."""
    states, place = np.unique(told[0] << 7 | told[1], return_inverse=True)
    opened = [Knowledge(SEVEN.neighbours, state >> 7, state & 127).sums() for state in states.tolist()]
    # A set no list can equal stands for several sums at once.
    sums = np.array([0 if not one else one[0] if len(one) == 1 else -1 for one in opened], np.int64)[place]
    return int(np.logical_and.reduce([sums != 0, *[sums != view & HONEST for view in views]]).sum())


def test_the_world_of_seven_has_the_parameters_of_a_plan() -> None:
    plan = RoundPlan.recommend(7, dropout=Fraction(1, 7), corrupt=Fraction(2, 7), min_cohort=5)
    assert plan.parameters(7).threshold == SEVEN.threshold
    assert plan.parameters(7).quorum == plan.min_cohort == QUORUM


@rows("M2", "M18")
def test_of_seven_the_threshold_alone_bars_both_secrets_yet_540_assignments_open_two_honest_clients(row: str) -> None:
    told = seven(all_views(), quorum=0)
    counts = smallest_sums(SEVEN, told)
    print("n=7 t=5, two corrupted, no witnesses", dict(counts))
    assert double_reveals(SEVEN, told) == 0
    assert counts == {0: 139_351, 2: 540, 3: 8_380, 4: 10_080, 5: 2_700}


@rows("M2", "M18")
@pytest.mark.parametrize(
    ("views", "opened"),
    [(all_views, {0: 160_945, 4: 55, 5: 51}), (pairs_of_lists, {0: 198_851, 4: 3_240, 5: 2_272})],
    ids=["every list", "pairs of lists"],
)
def test_of_seven_no_lists_with_a_quorum_open_fewer_than_the_cohort_without_the_corrupted(
    row: str, views: Callable[[], list[Sets]], opened: dict[int, int]
) -> None:
    shown = views()
    told = seven(shown, QUORUM)
    counts = smallest_sums(SEVEN, told)
    assert shown[0].size == sum(opened.values())
    print(f"n=7 t=5 with witnesses, {views.__name__}: {shown[0].size}", dict(counts))
    assert double_reveals(SEVEN, told) == 0
    assert min(size for size in counts if size) >= QUORUM - CORRUPTED.bit_count()
    assert counts == opened
    assert unasked(shown, told) == 0


@rows("M2", "M18")
@pytest.mark.parametrize(
    ("threshold", "quorum", "of_every_list", "of_pairs"),
    [(5, 0, 1_249, 0), (4, 0, 140_600, 11_070), (4, 4, 5_655, 3_270), (4, 5, 0, 0), (3, 5, 0, 0)],
)
def test_of_seven_with_a_quorum_of_five_only_listed_sums_open_whatever_the_threshold_and_with_four_others_do(
    row: str, threshold: int, quorum: int, of_every_list: int, of_pairs: int
) -> None:
    world = replace(SEVEN, threshold=threshold)
    found = [unasked(shown, seven(shown, quorum, world)) for shown in (all_views(), pairs_of_lists())]
    print(f"n=7 t={threshold} q={quorum}: {found} assignments open a sum that is on no list")
    # At t = 5 two lists are too few to hurt even without a quorum; the 540 need three.
    assert found == [of_every_list, of_pairs]


# --- a ring that is cut by inventing drop-outs


def cut_ring(n: int, corrupted: list[int]) -> Iterator[tuple[World, Sets, Sets, Sets]]:
    """By set of corrupted clients: the world, all lists of half the clients and more, which of them pass the window
    rule, and which leave the honest survivors in pieces.

    What the search asks of parameters holds by count here: at most w corrupted in any half neighbourhood, and
    2 t > k + the most corrupted neighbours.
    """
    near, everyone = ring(n, 6), (1 << n) - 1
    graph = HararyGraph(tuple(range(n)), tuple(range(n)), 6)
    lists = listed(n, n // 2)
    windows = np.array([graph.windows(members(one)) for one in lists])
    pieces = {
        one: len(Knowledge(near, one, everyone & ~one).sums()) for one in {a & ~b for a in lists for b in corrupted}
    }
    for bad in corrupted:
        window = max((to_set((u + step) % n for step in range(3)) & bad).bit_count() for u in range(n))
        most = max((one & bad).bit_count() for one in near)
        apart = np.array([pieces[one & ~bad] > 1 for one in lists])
        yield World(near, (6 + most) // 2 + 1, bad), np.array(lists), windows > window, apart


def opened_in_pieces(world: World, lists: Sets) -> int:
    """On how many of these lists, agreed by everybody, the shares suffice to open a part of the honest survivors."""
    n = len(world.neighbours)
    told = world.told([lists] * n, [lists >> u & 1 for u in range(n)])
    return sum(
        any(one != honest for one in Knowledge(world.neighbours, selves, keys).sums())
        for honest, selves, keys in zip((lists & ~world.corrupted).tolist(), *map(np.ndarray.tolist, told), strict=True)
    )


@rows("M17")
@pytest.mark.parametrize(
    ("n", "corrupted", "lists", "passing", "in_pieces", "opened"),
    [
        (12, [0b1], 2_510, 98, 100, 0),
        (14, [1 | 1 << other for other in range(1, 14)], 128_804, 1_903, 17_520, 210),
    ],
    ids=["12 clients", "14 clients"],
)
def test_a_ring_that_passes_the_window_rule_is_in_one_piece(
    row: str, n: int, corrupted: list[int], lists: int, passing: int, in_pieces: int, opened: int
) -> None:
    tried = passed = apart = passed_apart = won = 0
    for world, shown, passes, pieces in cut_ring(n, corrupted):
        tried, passed, apart = tried + shown.size, passed + int(passes.sum()), apart + int(pieces.sum())
        passed_apart += int((passes & pieces).sum())
        won += opened_in_pieces(world, shown[pieces])
    print(f"ring n={n} k=6: {tried} lists, {passed} pass, {passed_apart} of them apart; {apart} apart, {won} opened")
    assert passed_apart == 0
    # The published threshold, above half the neighbours, already keeps most of the pieces shut: nobody at the
    # edge of one has enough holders left, unless corrupted ones stand in the gap.
    assert (tried, passed, apart, won) == (lists, passing, in_pieces, opened)


# --- two rounds over the same vectors


@rows("M18", "M21")
def test_two_rounds_give_two_sums_and_their_combinations(row: str) -> None:
    lists = listed(5, 3)
    single = 0
    for first, second in product(lists, lists):
        # Masks of different rounds are unrelated, so the rounds lie side by side: x_u is in y_u and in y_(5+u).
        near = (*complete(5), *(one << 5 for one in complete(5)))
        both = Knowledge(near, first | second << 5, 0b1111111111 & ~(first | second << 5))
        assert both.sums() == tuple(sorted((first, second << 5)))
        known = reduced([[row[u] + row[5 + u] for u in range(5)] for row in both.row_space()])
        assert known == indicators((first, second), 5)
        single += any(sum(value in (1, FIELD - 1) for value in row) == 1 == sum(map(bool, row)) for row in known)
    print(f"two rounds of five: {len(lists) ** 2} pairs of lists, {single} differ by one client")
    # The documented limit: whoever sees both sums subtracts them, and no masks can help.
    assert (len(lists) ** 2, single) == (256, sum((a ^ b).bit_count() == 1 for a, b in product(lists, lists)))
