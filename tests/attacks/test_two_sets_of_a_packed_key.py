"""The server asks members of a committee about a cohort, and others about the cohort without one client.

Neither set of shares of that client's key is enough to open it. But its key is small numbers, several in one
polynomial: whoever has more than tau shares has equations, and one equation modulo p finds two small numbers.
"""

from __future__ import annotations

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


def at(points: dict[int, int], place: int) -> int:
    """The polynomial through these points at a place mod q."""
    total = 0
    for x, y in points.items():
        for other in points:
            if other != x:
                y = y * (place - other) * pow(x - other, -1, Q) % Q
        total += y
    return total % Q


def dealt_by_rule_of_intersection(client: int) -> list[dict[int, int]]:
    """Four members, tau = 1, l = 2, r = 3: one polynomial for two coefficients, through one uniform value."""
    key, rng = key_of(client), np.random.default_rng(1000 + client)
    polynomials = []
    for first, second in zip(key[::2], key[1::2], strict=True):
        points = {-1: first, -2: second, 1: int(rng.integers(Q))}
        polynomials.append({member: at(points, member) for member in range(1, 5)})
    return polynomials


def answers(dealt: list[list[dict[int, int]]], cohort: set[int], member: int) -> list[int]:
    """What an honest member says: the sums of its shares over a cohort."""
    return [sum(dealt[client][row][member] for client in cohort) % Q for row in range(COEFFICIENTS // 2)]


@rows("M2", "M23")
def test_two_shares_of_a_key_whose_quorums_intersect_give_all_of_it(row: str) -> None:
    cohort = set(range(CLIENTS))
    assert 2 * 3 > 4 + 1, "two sets cannot both be opened"
    dealt = [dealt_by_rule_of_intersection(client) for client in range(CLIENTS)]
    # Member 1 is the server's own and shows every client's share; 2 and 3 hear of all, 4 of all but the victim.
    own = [dealt[VICTIM][row][1] for row in range(COEFFICIENTS // 2)]
    corrupted, second, third = answers(dealt, cohort, 1), answers(dealt, cohort, 2), answers(dealt, cohort, 3)
    fourth = answers(dealt, cohort - {VICTIM}, 4)
    # f(4) - c f(1) is free of the one uniform value: a s_1 + b s_2 + c f(1) = f(4).
    a, b, c = (at({-1: int(x == -1), -2: int(x == -2), 1: int(x == 1)}, 4) for x in (-1, -2, 1))
    small = range(-MOST, MOST + 1)
    table = {(a * first + b * other) % Q: (first, other) for first in small for other in small}
    assert len(table) == len(small) ** 2, "one equation modulo q has one small solution"
    found: list[int] = []
    for row_of, (one, two, three, four) in enumerate(zip(corrupted, second, third, fourth, strict=True)):
        last = (at({1: one, 2: two, 3: three}, 4) - four) % Q
        found += table[(last - c * own[row_of]) % Q]
    assert found == key_of(VICTIM)


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
    return functionals[functionals.any(axis=(1, 2))]


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
    other = [-x for x in key_of(VICTIM)]
    forged = [shares.astype(np.int64) for shares in dealt]
    for row_of in range(COEFFICIENTS):
        # The victim's share 1 is known, its sum with others at 2 and 3 and the others' at 4: so 4 can move.
        # A change of key by delta at -1 is drawn back to zero at 1, 2 and 3, and moves the victim's share 4.
        delta = {-1: other[row_of] - key_of_victim(row_of), 1: 0, 2: 0, 3: 0}
        forged[VICTIM][3, row_of] = (forged[VICTIM][3, row_of] + at(delta, 4)) % Q
    assert seen_by_server(forged) == seen_by_server([shares.astype(np.int64) for shares in dealt])
    victims = {member: forged[VICTIM][member - 1].astype(np.uint32) for member in range(1, 5)}
    assert combine_packed(victims, quorum, COEFFICIENTS).tolist() == other


VICTIMS_KEY = key_of(VICTIM)


def key_of_victim(place: int) -> int:
    return VICTIMS_KEY[place]


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
