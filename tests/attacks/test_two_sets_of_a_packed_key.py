"""The server asks members of a committee about a cohort, and another about the cohort without one client.

Neither set of shares of that client's key is enough to open it. But a key is small numbers, several in one
polynomial, and whoever has more than tau shares has equations modulo q on them:

    members anywhere in the field    one equation has one small solution: the whole key
    members at 1, 2, 3, 4            its factors are small as well: 15 s_1 - 8 s_2, known as an integer, has the
                                     solutions (s_1 + 8 k, s_2 + 15 k), of which the shortest is nearly always right
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from secagg.errors import NoParameters
from secagg.keys import Seed
from secagg.prg import Stream
from secagg.quorum import Quorum
from secagg.shamir import PACKED_PRIME, add_share_into, combine_packed, deal_packed, reduced
from tests.rows import rows
from tests.secagg.view_kit import Question, Sharing

Q = PACKED_PRIME
CLIENTS, VICTIM, COEFFICIENTS = 6, 2, 2048
WIDTH = 4.53
# Beyond ten widths no coefficient of a key is ever drawn.
MOST = 46


def key_of(client: int) -> list[int]:
    """A key as clients draw it: rounded Gaussians of width 4.53."""
    drawn = np.random.default_rng(client).normal(0, WIDTH, COEFFICIENTS)
    return [int(x) for x in np.rint(drawn)]


Places = tuple[int, int, int, int]
Shares = dict[int, int]
Pair = tuple[int, int]


def at(points: dict[int, int], place: int) -> int:
    """The polynomial through these points at a place mod q."""
    total = 0
    for x, y in points.items():
        for other in points:
            if other != x:
                y = y * (place - other) * pow(x - other, -1, Q) % Q
        total += y
    return total % Q


def dealt_by_rule_of_intersection(client: int, places: Places) -> list[Shares]:
    """Four members, tau = 1, l = 2, r = 3: one polynomial for two coefficients and one uniform value."""
    key, rng = key_of(client), np.random.default_rng(1000 + client)
    polynomials = []
    for one, other in zip(key[::2], key[1::2], strict=True):
        points = {-1: one, -2: other, places[0]: int(rng.integers(Q))}
        polynomials.append({place: at(points, place) for place in places})
    return polynomials


def shares_of_victim(places: Places) -> list[tuple[int, int]]:
    """What the server finds out: the victim's shares at the first and the third place, of every polynomial."""
    cohort = range(CLIENTS)
    without = [client for client in cohort if client != VICTIM]
    dealt = [dealt_by_rule_of_intersection(client, places) for client in cohort]
    own, asked, odd, also_asked = places
    found = []
    for row, victims in enumerate(dealt[VICTIM]):
        # The first member is the server's own; two honest ones hear of all clients, one of all but the victim.
        sums = {place: sum(dealt[client][row][place] for client in cohort) for place in (own, asked, also_asked)}
        answer = sum(dealt[client][row][odd] for client in without)
        found.append((victims[own], (at(sums, odd) - answer) % Q))
    return found


def small_solutions(places: Places) -> tuple[int, dict[int, list[Pair]]]:
    """c, and all pairs of small numbers with f(odd) - c f(own) = value, by value, shortest first."""
    own, _, odd, _ = places
    first, second, c = (at({-1: int(x == -1), -2: int(x == -2), own: int(x == own)}, odd) for x in (-1, -2, own))
    table: dict[int, list[Pair]] = {}
    small = range(-MOST, MOST + 1)
    for pair in sorted(product(small, small), key=lambda pair: pair[0] ** 2 + pair[1] ** 2):
        table.setdefault((first * pair[0] + second * pair[1]) % Q, []).append(pair)
    return c, table


def candidates(places: Places) -> list[list[Pair]]:
    """What each pair of the victim's coefficients may be."""
    c, table = small_solutions(places)
    return [table[(odd - c * own) % Q] for own, odd in shares_of_victim(places)]


def pairs_of_victim() -> list[Pair]:
    key = key_of(VICTIM)
    return list(zip(key[::2], key[1::2], strict=True))


@rows("M2", "M23")
def test_where_two_sets_cannot_both_be_opened_two_shares_of_a_key_still_give_all_of_it(row: str) -> None:
    assert 2 * 3 > 4 + 1
    found = candidates((1_234_567_891, 271_828_182, 314_159_265, 1_618_033_988))
    assert found == [[pair] for pair in pairs_of_victim()]


@rows("M2", "M23")
def test_with_members_at_small_places_they_give_nearly_all_of_it(row: str) -> None:
    found, truth = candidates((1, 2, 3, 4)), pairs_of_victim()
    assert all(pair in pairs for pair, pairs in zip(truth, found, strict=True))
    assert max(len(pairs) for pairs in found) <= 7
    # The shortest is the right one when the key's part along (8, 15), of length 17, is below half of that.
    right = sum(pair == pairs[0] for pair, pairs in zip(truth, found, strict=True)) / len(truth)
    assert right == pytest.approx(math.erf(17 / 2 / WIDTH / math.sqrt(2)), abs=0.03)
    # Without any share the best guess is zero.
    assert sum(pair == (0, 0) for pair in truth) / len(truth) < 0.02


@rows("M2", "M23")
def test_no_quorum_has_these_numbers(row: str) -> None:
    quorum = Quorum(4, 1, 0)
    assert (quorum.privacy, quorum.packed, quorum.needed) == (3, 1, 4)
    with pytest.raises(NoParameters):
        Quorum(4, 1, 1)


def learned(sharing: Sharing, asked: tuple[int, int, int]) -> NDArray[np.int64]:
    """What the same server learns: sets are the cohort (0) and the cohort without the victim (1)."""
    question = Question(sharing, (0b01, 0b11, 0b11), (1,), (2, 3, 4))
    [functionals] = question.learned([asked])
    said: NDArray[np.int64] = functionals[functionals.any(axis=(1, 2))]
    return said


@rows("M2", "M23")
@pytest.mark.parametrize("asked", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)], ids=str)
def test_of_a_key_with_a_quorum_the_same_questions_give_no_equation_at_all(
    row: str, asked: tuple[int, int, int]
) -> None:
    quorum = Quorum(4, 1, 0)
    assert learned(Sharing(quorum.privacy, quorum.packed), asked).size == 0
    assert learned(Sharing(1, 2), asked).size > 0


@rows("M2", "M23")
def test_nor_can_the_server_rule_out_any_key_from_what_it_is_told(row: str) -> None:
    """For any other key of the victim there are dealings with the very same answers: here is one, built."""
    quorum = Quorum(4, 1, 0)
    dealt = [
        deal_packed(np.array(key_of(client), np.int64), quorum, Stream(Seed(bytes([client]) * 32)))
        for client in range(CLIENTS)
    ]
    key = key_of(VICTIM)
    other = [-x for x in key]
    forged = [shares.astype(np.int64) for shares in dealt]
    for place in range(COEFFICIENTS):
        # Zero at 1, 2 and 3, which the server knows or can work out; at 4 it heard of the others only.
        change = {-1: other[place] - key[place], 1: 0, 2: 0, 3: 0}
        forged[VICTIM][3, place] = (forged[VICTIM][3, place] + at(change, 4)) % Q
    assert seen_by_server(forged) == seen_by_server([shares.astype(np.int64) for shares in dealt])
    victims = {member: forged[VICTIM][member - 1].astype(np.uint32) for member in range(1, 5)}
    assert combine_packed(victims, quorum, COEFFICIENTS).tolist() == other


def seen_by_server(dealt: list[NDArray[np.int64]]) -> list[list[int]]:
    """Member 1's share of every client; 2 and 3 about all clients, 4 about all but the victim."""
    every = list(range(CLIENTS))
    asked = {1: every, 2: every, 3: [client for client in every if client != VICTIM]}
    sums = []
    for index, cohort in asked.items():
        total = np.zeros(COEFFICIENTS, np.uint64)
        for client in cohort:
            add_share_into(total, dealt[client][index].astype(np.uint32))
        sums.append(reduced(total).tolist())
    return [*(shares[0].tolist() for shares in dealt), *sums]
