"""graph: complete and ring neighbourhoods, windows by exhaustion, and where the order comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import combinations
from math import comb

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import BadParameters, NoParameters
from secagg.graph import (
    Against,
    Assumption,
    CompleteGraph,
    Graph,
    GraphMode,
    HararyGraph,
    beacon_seed,
    choose_parameters,
    find_parameters,
    find_sparse_parameters,
    largest_feasible_dropout,
    largest_feasible_sparse_dropout,
    roster_seed,
)
from secagg.keys import Context

CONTEXT = Context(bytes(range(32)))
SEED = bytes(range(100, 132))

# --- the complete graph

IDS = (2, 3, 5, 8, 13)


def test_everybody_is_everybodys_neighbour_in_ascending_order() -> None:
    graph = Graph.complete([13, 2, 8, 5, 3])
    assert graph.ids == IDS
    assert graph.degree == 4
    for u in IDS:
        assert graph.neighbours(u) == tuple(v for v in IDS if v != u)


def test_points_are_ranks_from_one_and_never_zero() -> None:
    graph = Graph.complete(IDS)
    for owner in IDS:
        assert [graph.point(owner, holder) for holder in graph.neighbours(owner)] == [1, 2, 3, 4]


def test_nobody_holds_a_share_of_its_own_secret() -> None:
    with pytest.raises(BadParameters, match="own secret"):
        Graph.complete(IDS).point(5, 5)


def test_on_the_complete_graph_all_survivors_are_in_the_window() -> None:
    graph = Graph.complete(IDS)
    assert graph.windows([]) == 0
    assert graph.windows([13, 2]) == 2
    assert graph.windows([2, 2, 2]) == 1
    assert graph.windows(IDS) == 5
    with pytest.raises(BadParameters, match="1 survivors are not in the roster"):
        graph.windows([2, 4])


@pytest.mark.parametrize("stranger", [-1, 0, 4, 14])
def test_strangers_have_no_neighbours(stranger: int) -> None:
    graph = Graph.complete(IDS)
    for ask in (graph.neighbours, lambda who: graph.point(2, who), lambda who: graph.point(who, 2)):
        with pytest.raises(BadParameters, match="not in the roster"):
            ask(stranger)


@pytest.mark.parametrize("ids", [(), (1,), (1, 1), (1, 2, 2)])
def test_a_graph_joins_at_least_two_distinct_parties(ids: tuple[int, ...]) -> None:
    with pytest.raises(BadParameters, match="each once"):
        Graph.complete(ids)


def test_a_roster_out_of_order_is_refused() -> None:
    with pytest.raises(BadParameters, match="ascending"):
        CompleteGraph((2, 1))


# --- the ring: known answers


def slow_order(ids: list[int], seed: bytes, context: bytes) -> list[int]:
    key = HKDF(SHA256(), 32, context, b"secagg/v1/pairwise/graph").derive(seed)
    words = Cipher(AES(key), ECB()).encryptor().update(b"".join(i.to_bytes(16, "big") for i in range(len(ids))))
    keyed = [(int.from_bytes(words[16 * i : 16 * i + 16], "little"), u) for i, u in enumerate(sorted(ids))]
    return [u for _, u in sorted(keyed)]


@pytest.mark.parametrize("n", [3, 4, 65, 1000])
def test_positions_ascend_with_the_words_of_the_graph_stream(n: int) -> None:
    ids = [7 * u + 1 for u in range(n)]
    order = slow_order(ids, SEED, CONTEXT)
    graph = Graph.ring(reversed(ids), 2, SEED, CONTEXT)
    assert graph.ids == tuple(ids)
    assert list(graph.order) == order
    for position, u in enumerate(order):
        assert set(graph.neighbours(u)) == {order[position - 1], order[(position + 1) % n]}


def test_a_ring_by_hand() -> None:
    graph = HararyGraph((1, 2, 3, 4, 5, 6, 7), (4, 1, 7, 2, 6, 3, 5), 4)
    assert graph.degree == 4
    assert graph.neighbours(4) == (1, 3, 5, 7)
    assert graph.neighbours(2) == (1, 3, 6, 7)
    assert graph.neighbours(3) == (2, 4, 5, 6)
    assert [graph.point(3, holder) for holder in (2, 4, 5, 6)] == [1, 2, 3, 4]
    assert graph.windows(graph.ids) == 2
    assert graph.windows([4, 7, 6, 5]) == 1
    assert graph.windows([1, 2, 3]) == 0  # positions 6 and 0, around the end, are empty
    assert graph.windows([]) == 0
    assert graph.windows([4, 4, 7, 6, 5]) == 1


def test_the_largest_even_degree_of_an_odd_roster_joins_everybody() -> None:
    ring, complete = Graph.ring(range(7), 6, SEED, CONTEXT), Graph.complete(range(7))
    for u in range(7):
        assert ring.neighbours(u) == complete.neighbours(u)
        assert [ring.point(u, v) for v in ring.neighbours(u)] == [complete.point(u, v) for v in ring.neighbours(u)]


# --- the ring: properties


@st.composite
def rings(draw: st.DrawFn) -> HararyGraph:
    ids = draw(st.sets(st.integers(0, 2**32 - 1), min_size=3, max_size=40))
    degree = 2 * draw(st.integers(1, (len(ids) - 1) // 2))
    return Graph.ring(ids, degree, draw(st.binary(min_size=32, max_size=32)), CONTEXT)


@given(rings())
def test_neighbours_are_mutual_ascending_and_as_many_as_the_degree(graph: HararyGraph) -> None:
    for u in graph.ids:
        around = graph.neighbours(u)
        assert len(set(around)) == graph.degree
        assert list(around) == sorted(around)
        assert u not in around
        assert all(u in graph.neighbours(v) for v in around)


@given(rings())
def test_points_of_an_owner_are_the_ranks_of_its_neighbours(graph: HararyGraph) -> None:
    for owner in graph.ids:
        points = [graph.point(owner, holder) for holder in graph.neighbours(owner)]
        assert points == list(range(1, graph.degree + 1))


@given(rings(), st.data())
def test_windows_count_every_run_of_half_a_neighbourhood(graph: HararyGraph, data: st.DataObject) -> None:
    survivors = data.draw(st.sets(st.sampled_from(graph.ids)))
    n, half = len(graph.ids), graph.degree // 2
    runs = [[graph.order[(start + step) % n] for step in range(half)] for start in range(n)]
    assert graph.windows(survivors) == min(sum(u in survivors for u in run) for run in runs)
    # A client, its half after it: every run is one side of somebody's neighbourhood.
    for place, run in enumerate(runs):
        assert set(run) <= set(graph.neighbours(graph.order[place - 1]))


def test_the_order_is_a_function_of_seed_context_and_roster() -> None:
    def order(ids: Collection[int] = range(100), seed: bytes = SEED, context: bytes = CONTEXT) -> tuple[int, ...]:
        return Graph.ring(ids, 4, seed, Context(context)).order

    assert order() == order()
    assert Graph.ring(range(100), 4, SEED, CONTEXT) == Graph.ring(range(100), 4, SEED, CONTEXT)
    assert len({order(), order(seed=bytes(32)), order(context=bytes(32)), order(range(1, 101))}) == 4


def test_every_order_of_four_comes_up_about_as_often() -> None:
    # 24 cells of 200 expected: chi-square with 23 degrees of freedom exceeds 73.0 with probability 4e-7.
    counts: dict[tuple[int, ...], int] = {}
    for i in range(4800):
        order = Graph.ring(range(4), 2, hashlib.sha256(i.to_bytes(4, "big")).digest(), CONTEXT).order
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((seen - 200) ** 2 for seen in counts.values()) / 200 < 73.0


# --- windows keep honest survivors together: every set of survivors of a small ring


def subsets(ids: tuple[int, ...], least: int) -> Iterator[frozenset[int]]:
    return (frozenset(chosen) for size in range(least, len(ids) + 1) for chosen in combinations(ids, size))


def is_connected(graph: Graph, members: frozenset[int]) -> bool:
    waiting, seen = list(members)[:1], set(list(members)[:1])
    while waiting:
        found = members.intersection(graph.neighbours(waiting.pop())) - seen
        seen |= found
        waiting.extend(found)
    return len(seen) == len(members)


@pytest.mark.parametrize(
    ("n", "corrupted", "sets", "passing", "disconnected"), [(12, 1, 2_510, 98, 100), (14, 2, 128_804, 1_903, 17_520)]
)
def test_survivors_that_pass_the_window_rule_are_connected(
    n: int, corrupted: int, sets: int, passing: int, disconnected: int
) -> None:
    graph = Graph.ring(range(n), 6, SEED, CONTEXT)
    fewest = {survivors: graph.windows(survivors) for survivors in subsets(graph.ids, n // 2)}
    connected: dict[frozenset[int], bool] = {}
    seen = passed = cut = cut_though_passed = 0
    first = graph.order[0]  # the ring looks alike from everywhere
    for others in combinations(graph.order[1:], corrupted - 1):
        helpers = {first, *others}
        window = graph.degree // 2 - graph.windows(set(graph.ids) - helpers)
        for survivors, fewest_in_window in fewest.items():
            honest = survivors - helpers
            if honest not in connected:
                connected[honest] = is_connected(graph, honest)
            accepted = fewest_in_window >= window + 1
            seen, passed = seen + 1, passed + accepted
            cut += not connected[honest]
            cut_though_passed += accepted and not connected[honest]
    assert (seen, passed, cut) == (sets, passing, disconnected)
    assert cut_though_passed == 0
    assert seen == comb(n - 1, corrupted - 1) * len(fewest)


def test_a_server_that_saw_the_ring_cuts_it_with_few_losses_unless_windows_are_counted() -> None:
    n = 1000
    blind = find_sparse_parameters(n, Assumption(0.05, 0.05, against=Against.SEMI))
    active = find_sparse_parameters(n, Assumption(0.05, 0.1))
    for parameters in (blind, active):
        graph = Graph.ring(range(n), parameters.degree, SEED, CONTEXT)
        half = parameters.degree // 2
        victims = frozenset(graph.order[half : half + 3])
        lost = {*graph.order[:half], *graph.order[half + 3 : 2 * half + 3]}
        survivors = frozenset(graph.ids) - lost
        assert len(lost) == parameters.degree <= 100
        assert not is_connected(graph, survivors)
        assert all(victims.isdisjoint(graph.neighbours(u)) for u in survivors - victims)
        assert len(survivors) >= parameters.quorum  # no quorum would notice
        assert (graph.windows(survivors) <= parameters.window) is (parameters is active)


# --- the ring: what is refused


@pytest.mark.parametrize("degree", [-2, 0, 1, 3, 7, 8, 9, 2.0, True, None])
def test_the_degree_of_a_ring_is_even_and_below_its_size(degree: int) -> None:
    with pytest.raises(BadParameters, match="even, at least 2 and below 8"):
        Graph.ring(range(8), degree, SEED, CONTEXT)


@pytest.mark.parametrize("order", [(), (1, 2), (1, 2, 2), (1, 2, 4), (1, 2, 3, 3)])
def test_the_order_of_a_ring_holds_everybody_once(order: tuple[int, ...]) -> None:
    with pytest.raises(BadParameters, match="every party of the roster once"):
        HararyGraph((1, 2, 3), order, 2)


def test_seed_and_context_of_a_ring_are_32_bytes() -> None:
    with pytest.raises(BadParameters, match="seed is 32 bytes"):
        Graph.ring(range(8), 2, SEED[:31], CONTEXT)
    with pytest.raises(BadParameters, match="context is 32 bytes"):
        Graph.ring(range(8), 2, SEED, Context(bytes(31)))


def test_who_is_no_neighbour_holds_no_share() -> None:
    graph = HararyGraph((1, 2, 3, 4, 5), (1, 2, 3, 4, 5), 2)
    with pytest.raises(BadParameters, match="no neighbour of party 1"):
        graph.point(1, 3)
    with pytest.raises(BadParameters, match="own secret"):
        graph.point(1, 1)


@pytest.mark.parametrize("stranger", [-1, 0, 6])
def test_strangers_are_not_on_the_ring(stranger: int) -> None:
    graph = Graph.ring(range(1, 6), 2, SEED, CONTEXT)
    for ask in (graph.neighbours, lambda who: graph.point(2, who), lambda who: graph.point(who, 2)):
        with pytest.raises(BadParameters, match="not in the roster"):
            ask(stranger)
    with pytest.raises(BadParameters, match="1 survivors are not in the roster"):
        graph.windows([1, 2, stranger])


@pytest.mark.parametrize("ids", [(1, 1, 2), (1, 2, 2)])
def test_repeated_parties_are_refused_on_a_ring(ids: tuple[int, ...]) -> None:
    with pytest.raises(BadParameters, match="each once"):
        Graph.ring(ids, 2, SEED, CONTEXT)


# --- which graph, and where its seed comes from

SPARSE = (GraphMode.ROSTER, GraphMode.BEACON)


@pytest.mark.parametrize("mode", GraphMode)
def test_up_to_64_clients_the_graph_is_complete_whatever_the_mode(mode: GraphMode) -> None:
    for n in (3, 20, 64):
        assert choose_parameters(n, Assumption(0.1, 0.1), mode) == find_parameters(n, Assumption(0.1, 0.1))


def test_above_64_clients_the_mode_decides() -> None:
    for n in (65, 200, 1024):
        assumption = Assumption(0.1, 0.1)
        assert choose_parameters(n, assumption, GraphMode.COMPLETE) == find_parameters(n, assumption)
        for mode in SPARSE:
            chosen = choose_parameters(n, assumption, mode)
            assert chosen == find_sparse_parameters(n, assumption)
            assert chosen.degree < n - 1
    with pytest.raises(NoParameters, match="3 to 1024"):
        choose_parameters(1025, Assumption(0.1, 0.1), GraphMode.COMPLETE)


def test_what_a_sparse_graph_cannot_bear_is_refused_though_a_complete_one_could() -> None:
    heavy = Assumption(0.1, 0.42)
    assert largest_feasible_dropout(500, heavy) > 0.42 > largest_feasible_sparse_dropout(500, heavy)
    assert choose_parameters(500, heavy, GraphMode.COMPLETE).degree == 499
    for mode in SPARSE:
        with pytest.raises(NoParameters, match="largest feasible drop-out is 2/5"):
            choose_parameters(500, heavy, mode)


@pytest.mark.parametrize("mode", GraphMode)
@pytest.mark.parametrize("n", [100.0, "100", True, None])
def test_the_number_of_clients_of_any_graph_is_an_integer(n: int, mode: GraphMode) -> None:
    with pytest.raises(BadParameters, match="number of clients"):
        choose_parameters(n, Assumption(0.1, 0.1), mode)


@pytest.mark.parametrize("mode", ["complete", None, True])
def test_a_mode_is_named_not_spelled(mode: GraphMode) -> None:
    with pytest.raises(BadParameters, match="COMPLETE"):
        choose_parameters(100, Assumption(0.1, 0.1), mode)


def test_seeds_are_hashes_of_the_roster_and_of_what_came_after_it() -> None:
    roster, value = hashlib.sha256(b"roster").digest(), hashlib.sha256(b"public").digest()
    assert roster_seed(roster) == hashlib.sha256(b"secagg/v1/pairwise/graph-roster" + roster).digest()
    assert beacon_seed(roster, value) == hashlib.sha256(b"secagg/v1/pairwise/graph-beacon" + roster + value).digest()
    assert len({roster_seed(roster), beacon_seed(roster, value), beacon_seed(value, roster)}) == 3
    assert beacon_seed(roster, value + b"x") != beacon_seed(roster, value)


def test_a_roster_hash_and_the_value_of_a_beacon_have_32_bytes() -> None:
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(BadParameters, match="hash of a roster"):
            roster_seed(wrong)
        with pytest.raises(BadParameters, match="hash of a roster"):
            beacon_seed(wrong, bytes(32))
    for guessable in (b"", bytes(31)):
        with pytest.raises(BadParameters, match="value of a beacon"):
            beacon_seed(bytes(32), guessable)
    assert len(beacon_seed(bytes(32), bytes(100))) == 32
