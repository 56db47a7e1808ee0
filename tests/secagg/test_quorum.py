"""quorum: the table by hand, views enumerated and eliminated over a small prime, committees drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import BadParameters, NoParameters
from secagg.quorum import MOST_MEMBERS, Quorum, drawn_from
from tests.secagg.view_kit import PRIME, Question, Sharing, leaks, partitions

# --- the table


@pytest.mark.parametrize(
    ("members", "corrupted", "offline", "privacy", "packed", "needed"),
    [
        # h = C - t honest: tau = t + floor(2 h / 3).
        (2, 1, 0, 1, 1, 2),
        (3, 1, 0, 2, 1, 3),
        (4, 1, 0, 3, 1, 4),
        (4, 3, 0, 3, 1, 4),
        (5, 1, 0, 3, 2, 5),
        (5, 1, 1, 3, 1, 4),
        (8, 1, 1, 5, 2, 7),
        (10, 2, 1, 7, 2, 9),
        (10, 3, 0, 7, 3, 10),
        (20, 4, 2, 14, 4, 18),
        (40, 8, 4, 29, 7, 36),
        (60, 12, 6, 44, 10, 54),
        (100, 20, 10, 73, 17, 90),
        (100, 1, 0, 67, 33, 100),
    ],
)
def test_the_table_by_hand(members: int, corrupted: int, offline: int, privacy: int, packed: int, needed: int) -> None:
    quorum = Quorum(members, corrupted, offline)
    assert (quorum.privacy, quorum.packed, quorum.needed) == (privacy, packed, needed)


@pytest.mark.parametrize(
    ("members", "corrupted", "offline"),
    [(2, 1, 0), (3, 1, 0), (4, 1, 0), (5, 1, 1), (9, 1, 1), (10, 2, 1), (20, 4, 2), (40, 8, 4), (100, 20, 10)],
)
def test_the_usual_committee(members: int, corrupted: int, offline: int) -> None:
    assert Quorum.usual(members) == Quorum(members, corrupted, offline)


def test_every_size_has_a_usual_committee() -> None:
    for members in range(2, MOST_MEMBERS + 1):
        assert Quorum.usual(members).packed >= 1


numbers = st.integers(0, MOST_MEMBERS)


@given(st.integers(2, MOST_MEMBERS), st.integers(1, MOST_MEMBERS), numbers)
def test_what_every_quorum_keeps(members: int, corrupted: int, offline: int) -> None:
    if corrupted + 3 * offline >= members:
        with pytest.raises(NoParameters):
            Quorum(members, corrupted, offline)
        return
    quorum = Quorum(members, corrupted, offline)
    honest = members - corrupted
    # Three sums of places, each honest member in two of them at most, cannot all exceed tau - t.
    assert 3 * (quorum.privacy - corrupted + 1) > 2 * honest
    assert 2 * quorum.privacy + 1 >= members + corrupted
    assert 2 * quorum.needed > members + corrupted
    assert corrupted <= quorum.privacy < quorum.needed <= members - offline
    assert quorum.packed == quorum.needed - quorum.privacy


# --- refusals


@pytest.mark.parametrize(
    ("members", "corrupted", "offline", "name"),
    [
        (1, 1, 0, "members"),
        (101, 1, 0, "members"),
        (True, 1, 0, "members"),
        (5.0, 1, 0, "members"),
        (5, 0, 0, "corrupted"),
        (5, -1, 0, "corrupted"),
        (5, 101, 0, "corrupted"),
        (5, True, 0, "corrupted"),
        (5, 1, -1, "offline"),
        (5, 1, 101, "offline"),
        (5, 1, False, "offline"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(members: int, corrupted: int, offline: int, name: str) -> None:
    with pytest.raises(BadParameters, match=f"^{name} is an integer"):
        Quorum(members, corrupted, offline)


@pytest.mark.parametrize(("members", "corrupted", "offline"), [(4, 1, 1), (2, 2, 0), (5, 9, 0), (10, 4, 2), (5, 1, 5)])
def test_a_committee_that_cannot_pack_a_secret_says_what_to_lower(members: int, corrupted: int, offline: int) -> None:
    said = f"{members} members with {corrupted} corrupted and {offline} offline .* lower offline or corrupted"
    with pytest.raises(NoParameters, match=said):
        Quorum(members, corrupted, offline)


@pytest.mark.parametrize("members", [1, 0, -3])
def test_nobody_alone_is_a_usual_committee(members: int) -> None:
    with pytest.raises(NoParameters, match="at least 2 members"):
        Quorum.usual(members)


@pytest.mark.parametrize("members", [101, True, 7.0])
def test_a_usual_committee_has_up_to_a_hundred_members(members: int) -> None:
    with pytest.raises(BadParameters, match="members"):
        Quorum.usual(members)


# --- what a server learns, enumerated


def quorums(members: int) -> Iterator[Quorum]:
    """Every quorum of so many members."""
    for corrupted in range(1, members):
        for offline in range((members - corrupted - 1) // 3 + 1):
            yield Quorum(members, corrupted, offline)


def sharing_of(quorum: Quorum) -> Sharing:
    return Sharing(quorum.privacy, quorum.packed)


@pytest.mark.parametrize("quorum", [q for members in range(2, 8) for q in quorums(members)], ids=str)
def test_no_questions_about_up_to_three_sets_tell_more_than_the_sum_over_one(quorum: Quorum) -> None:
    corrupted = range(1, quorum.corrupted + 1)
    assert next(leaks(sharing_of(quorum), quorum.members, corrupted, sets=3, most=4), None) is None


@pytest.mark.parametrize("quorum", [q for members in range(2, 6) for q in quorums(members)], ids=str)
def test_whichever_members_are_corrupted(quorum: Quorum) -> None:
    for corrupted in combinations(range(1, quorum.members + 1), quorum.corrupted):
        assert next(leaks(sharing_of(quorum), quorum.members, corrupted, sets=3, most=3), None) is None


@pytest.mark.slow
@pytest.mark.parametrize("quorum", [q for members in range(4, 7) for q in quorums(members)], ids=str)
def test_nor_questions_about_four(quorum: Quorum) -> None:
    corrupted = range(1, quorum.corrupted + 1)
    assert next(leaks(sharing_of(quorum), quorum.members, corrupted, sets=4, most=4), None) is None


@pytest.mark.parametrize(
    "quorum", [q for members in range(3, 8) for q in quorums(members) if q.privacy > q.corrupted], ids=str
)
def test_with_one_random_value_less_some_questions_do(quorum: Quorum) -> None:
    fewer = Sharing(quorum.privacy - 1, quorum.packed)
    corrupted = range(1, quorum.corrupted + 1)
    assert next(leaks(fewer, quorum.members, corrupted, sets=3, most=2), None) is not None


@pytest.mark.parametrize("quorum", [q for m in range(2, 8) for q in quorums(m) if q.offline == 0], ids=str)
def test_the_one_sum_is_learned_in_full_so_that_the_enumeration_sees_something(quorum: Quorum) -> None:
    honest = tuple(range(quorum.corrupted + 1, quorum.members + 1))
    question = Question(sharing_of(quorum), (1, 1, 1), tuple(range(1, quorum.corrupted + 1)), honest)
    [learned] = question.learned([(0,) * len(honest)])
    kept = learned[learned.any(axis=(1, 2))]
    assert len(kept) == quorum.packed
    assert (kept == kept[:, :1]).all()


def test_that_two_sets_cannot_both_be_opened_is_not_enough() -> None:
    # Member 1 is corrupted; 2 and 3 are asked about both clients, 4 about one of them: tau = 1, l = 2, r = 3.
    question = Question(Sharing(1, 2), (0b01, 0b11), (1,), (2, 3, 4))
    assert 2 * 3 > 4 + 1
    assert question.leaky([(0, 0, 1)], sets=2) == [(0, 0, 1)]


def test_two_shares_of_a_line_with_one_random_value_tell_its_secrets_what_a_hand_computation_says() -> None:
    # f has degree 2 and Z(x) = (x + 1)(x + 2): Z(1) = 6, Z(2) = 12, so f(2) - 2 f(1) is free of randomness.
    # S(x) = s_1 (x + 2) - s_2 (x + 1):  S(2) - 2 S(1) = (4 - 6) s_1 + (-3 + 4) s_2.
    question = Question(Sharing(1, 2), (1,), (1,), (2,))
    [learned] = question.learned([(0,)])
    [[[first, second]]] = learned[learned.any(axis=(1, 2))]
    assert (first * pow(int(second), -1, PRIME) - -2) % PRIME == 0


def test_that_no_two_sets_can_have_more_than_tau_shares_is_not_enough_either() -> None:
    # 2 tau + 1 = C + t, but three sets of one honest member each: client a, client b, both of them.
    tau, members, corrupted = 2, 4, 1
    assert 2 * tau + 1 == members + corrupted
    for packed in (1, 2):
        question = Question(Sharing(tau, packed), (0b101, 0b110), (1,), (2, 3, 4))
        assert question.leaky([(0, 1, 2)], sets=3) == [(0, 1, 2)]
        assert question.leaky(partitions(3, 2), sets=2) == []


def test_a_second_client_of_one_pattern_changes_nothing() -> None:
    for sharing, expected in ((Sharing(2, 1), [(0, 1, 2)]), (Sharing(3, 1), [])):
        question = Question(sharing, (0b101, 0b101, 0b110, 0b110), (1,), (2, 3, 4))
        assert question.leaky([(0, 1, 2)], sets=3) == expected


# --- committees drawn from clients


def more_corrupted_than(population: int, corrupted: int, members: int, most: int) -> Fraction:
    """P[more than `most` of the drawn are corrupted], in integers."""
    ways = sum(comb(corrupted, x) * comb(population - corrupted, members - x) for x in range(most + 1, members + 1))
    return Fraction(ways, comb(population, members))


@pytest.mark.parametrize(
    ("population", "corrupted", "failure_log2"),
    [(100, 5, -40), (100, 10, -40), (1000, 50, -40), (10_000, 1_000, -40), (100_000, 25_000, -40), (1000, 100, -20)],
)
def test_no_other_committee_that_is_safe_in_exact_fractions_takes_less_upload(
    population: int, corrupted: int, failure_log2: int
) -> None:
    chosen, bound = drawn_from(population, corrupted, failure_log2), Fraction(1, 2**-failure_log2)

    def smallest_safe(members: int) -> int:
        return next(t for t in range(1, members + 1) if more_corrupted_than(population, corrupted, members, t) < bound)

    assert chosen.corrupted == smallest_safe(chosen.members)
    assert chosen.offline == max(1, chosen.members // 10)
    for members in range(2, min(population, MOST_MEMBERS) + 1):
        try:
            other = Quorum(members, smallest_safe(members), max(1, members // 10))
        except NoParameters:
            continue
        mine, its = (Fraction(quorum.members, quorum.packed) for quorum in (chosen, other))
        assert mine < its or (mine == its and chosen.members <= members)


@pytest.mark.parametrize(
    ("population", "corrupted", "expected"),
    [
        (100, 0, Quorum(17, 1, 1)),  # one is assumed corrupted even where none is
        (5, 1, Quorum(5, 1, 1)),  # all clients
        (10**6, 2, Quorum(18, 2, 1)),  # both among 18 of a million: 306 in 10^12, above 2^-40
        (10**6, 10**5, Quorum(96, 35, 9)),
    ],
)
def test_committees_drawn(population: int, corrupted: int, expected: Quorum) -> None:
    assert drawn_from(population, corrupted) == expected


def test_a_population_that_gives_no_safe_committee_is_refused_by_what_to_change() -> None:
    for population, corrupted in ((4, 1), (10, 7), (10**6, 500_000)):
        with pytest.raises(NoParameters, match=f"{population} clients with {corrupted} corrupted"):
            drawn_from(population, corrupted)


@pytest.mark.parametrize(
    ("population", "corrupted", "failure_log2", "name"),
    [
        (1, 0, -40, "population"),
        (10**6 + 1, 0, -40, "population"),
        (True, 0, -40, "population"),
        (10, -1, -40, "corrupted"),
        (10, 11, -40, "corrupted"),
        (10, 1.0, -40, "corrupted"),
        (10, 1, 0, "failure_log2"),
        (10, 1, -129, "failure_log2"),
        (10, 1, float("nan"), "failure_log2"),
        (10, 1, True, "failure_log2"),
    ],
)
def test_a_draw_out_of_range_is_refused_by_name(
    population: int, corrupted: int, failure_log2: float, name: str
) -> None:
    with pytest.raises(BadParameters, match=f"^{name} is"):
        drawn_from(population, corrupted, failure_log2)
