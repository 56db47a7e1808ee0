"""packed sharing: plain integers beside it, what few shares say, any r members, sums, wrong shares, refusals."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from secagg import shamir
from secagg.errors import BadParameters, BadShare
from secagg.keys import Seed
from secagg.prg import Stream
from secagg.quorum import Quorum
from secagg.shamir import (
    MOST_PACKED,
    PACKED_PRIME,
    Words,
    add_share_into,
    check_share,
    combine_packed,
    deal_packed,
    draw_packed,
    fitting,
    lagrange,
    packed_rows,
    reduced,
    secret_points,
    transfer,
)
from tests.contracts.uniform import FALSE_ALARM, chi_square

SMALL, SPARE, WIDE = Quorum(4, 1, 0), Quorum(5, 1, 1), Quorum(8, 1, 0)
Share = NDArray[np.uint32]


class Planned(Stream):
    """A stream whose bytes are written out beforehand."""

    __slots__ = ("_plain",)

    def __init__(self, words: list[int]) -> None:
        super().__init__(Seed(bytes(32)))
        self._plain = np.array(words, "<u4").tobytes()

    def bytes(self, offset: int, count: int) -> bytes:
        assert offset + count <= len(self._plain)
        return self._plain[offset : offset + count]


def stream(name: str) -> Stream:
    return Stream(Seed(name.encode().ljust(32, b".")))


def integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def held(dealt: NDArray[np.uint32]) -> dict[int, Share]:
    """Shares by member."""
    return dict(enumerate(dealt, start=1))


def value_at(points: dict[int, int], place: int, prime: int) -> int:
    """The polynomial through these points at another place, in plain integers."""
    total = 0
    for x, y in points.items():
        above, below = 1, 1
        for other in points:
            if other != x:
                above, below = above * (place - other) % prime, below * (x - other) % prime
        total += y * above * pow(below, -1, prime)
    return total % prime


# --- known answers


def test_the_modulus_is_the_eighth_mersenne_prime() -> None:
    assert PACKED_PRIME == 2_147_483_647
    assert all(PACKED_PRIME % divisor for divisor in range(2, 46_341))


def test_one_secret_of_two_members_by_hand() -> None:
    # f(-1) = 10, f(1) = 4: f(X) = 7 - 3 X, so f(2) = 1; and -7 at -1 with 1 at 1: f(X) = -3 + 4 X, f(2) = 5.
    dealt = deal_packed(integers(10, -7), Quorum(2, 1, 0), Planned([4, 1]))
    assert dealt.tolist() == [[4, 1], [1, 5]]
    assert dealt.dtype == np.uint32


def test_two_secrets_of_five_members_by_hand() -> None:
    # f(X) = X^4 - 3 X + 1: f(-1) = 5, f(-2) = 23, f(1), f(2), f(3) = -1, 11, 73; f(4) = 245, f(5) = 611.
    dealt = deal_packed(integers(5, 23), Quorum(5, 1, 0), Planned([PACKED_PRIME - 1, 11, 73]))
    assert dealt[:, 0].tolist() == [PACKED_PRIME - 1, 11, 73, 245, 611]


def test_secrets_fill_the_first_places_of_all_polynomials_before_the_second_and_zeros_the_rest() -> None:
    quorum, values = WIDE, integers(1, -2, 3, -4, 5, -6, 7)
    assert (quorum.privacy, quorum.packed, packed_rows(7, quorum)) == (5, 3, 3)
    dealt = deal_packed(values, quorum, stream("order"))
    padded = [1, -2, 3, -4, 5, -6, 7, 0, 0]
    for row in range(3):
        points = {member: int(dealt[member - 1, row]) for member in range(1, 9)}
        for k in range(3):
            assert value_at(points, -k - 1, PACKED_PRIME) == padded[3 * k + row] % PACKED_PRIME


def test_the_first_shares_are_what_the_stream_gives_with_the_prime_itself_rejected() -> None:
    # The top bit is cut off; 2^31 - 1 and 2^32 - 1 become the prime and are passed over.
    words = [5, 2**31 - 1, 2**31 + 9, 2**32 - 1, 2**31 - 2, 0, 77]
    assert draw_packed(Planned(words), 5).tolist() == [5, 9, 2**31 - 2, 0, 77]
    plain = np.frombuffer(stream("draws").bytes(0, 4 * 6), "<u4")
    dealt = deal_packed(integers(1, 2), SMALL, stream("draws"))
    assert dealt[:3].ravel().tolist() == [int(word) % 2**31 for word in plain]


# --- beside plain integers


committees = st.tuples(st.integers(2, 24), st.integers(1, 8), st.integers(0, 3)).filter(
    lambda c: c[1] + 3 * c[2] < c[0]
)
secrets = st.lists(st.integers(-MOST_PACKED, MOST_PACKED), min_size=1, max_size=30)


@given(committees, secrets, st.data())
def test_any_r_members_give_the_secrets_and_plain_interpolation_agrees(
    committee: tuple[int, int, int], values: list[int], data: st.DataObject
) -> None:
    quorum = Quorum(*committee)
    dealt = deal_packed(integers(*values), quorum, stream("any"))
    chosen = data.draw(st.permutations(range(1, quorum.members + 1)))[: quorum.needed]
    found = combine_packed({member: dealt[member - 1] for member in chosen}, quorum, len(values))
    assert found.dtype == np.int64
    assert found.tolist() == values
    points = {member: int(dealt[member - 1, 0]) for member in chosen}
    assert value_at(points, -1, PACKED_PRIME) == values[0] % PACKED_PRIME
    for member in range(1, quorum.members + 1):
        assert points.get(member, value_at(points, member, PACKED_PRIME)) == dealt[member - 1, 0]


@pytest.mark.parametrize("quorum", [SPARE, WIDE, Quorum(7, 1, 1), Quorum(10, 3, 2)], ids=str)
def test_every_subset_of_r_members_gives_the_same(quorum: Quorum) -> None:
    values = integers(*range(-20, 21))
    shares = held(deal_packed(values, quorum, stream("every")))
    for members in combinations(shares, quorum.needed):
        assert np.array_equal(combine_packed({m: shares[m] for m in members}, quorum, 41), values)


@pytest.mark.parametrize("members", [2, 4, 5, 23, 60, 100])
def test_a_whole_key_at_every_size_of_committee(members: int) -> None:
    quorum = Quorum.usual(members)
    values = np.arange(2048, dtype=np.int64) * 1_000_003 % PACKED_PRIME - MOST_PACKED
    shares = held(deal_packed(values, quorum, stream("key")))
    last = {member: shares[member] for member in list(shares)[-quorum.needed :]}
    assert np.array_equal(combine_packed(last, quorum, 2048), values)
    assert fitting(shares, quorum, last) == frozenset(shares)


# --- what tau shares say


@pytest.mark.parametrize(("prime", "quorum"), [(5, Quorum(2, 1, 0)), (7, SPARE), (11, Quorum(5, 1, 0))])
def test_in_a_small_field_tau_shares_fit_all_secrets_equally_often(prime: int, quorum: Quorum) -> None:
    # Every polynomial, as it is dealt: secrets and the first tau shares chosen, the other shares interpolated.
    tau, members = quorum.privacy, range(1, quorum.members + 1)
    chosen = members[:tau]
    some = list(product(range(prime), repeat=quorum.packed))[:: max(1, prime**quorum.packed // 6)]
    for seen in combinations(members, tau):
        for hidden in some:
            views = set()
            for uniform in product(range(prime), repeat=tau):
                points = dict(zip((*secret_points(quorum), *chosen), (*hidden, *uniform), strict=True))
                views.add(tuple(points[m] if m in points else value_at(points, m, prime) for m in seen))
            assert len(views) == prime**tau


def determinant(matrix: list[list[int]]) -> int:
    """Mod q, in plain integers."""
    value, rows = 1, [list(row) for row in matrix]
    for column in range(len(rows)):
        pivot = next((row for row in range(column, len(rows)) if rows[row][column] % PACKED_PRIME), None)
        if pivot is None:
            return 0
        if pivot != column:
            rows[column], rows[pivot], value = rows[pivot], rows[column], -value
        value = value * rows[column][column] % PACKED_PRIME
        inverse = pow(rows[column][column], -1, PACKED_PRIME)
        for row in range(column + 1, len(rows)):
            factor = rows[row][column] * inverse
            rows[row] = [
                (one - factor * other) % PACKED_PRIME for one, other in zip(rows[row], rows[column], strict=True)
            ]
    return value % PACKED_PRIME


@pytest.mark.parametrize("quorum", [SMALL, SPARE, WIDE, Quorum(10, 2, 1)], ids=str)
def test_any_tau_shares_are_an_invertible_image_of_the_uniform_ones(quorum: Quorum) -> None:
    tau = quorum.privacy
    first = tuple(range(1, tau + 1))
    rest = tuple(range(tau + 1, quorum.members + 1))
    known = lagrange((*secret_points(quorum), *first), rest)[:, quorum.packed :].tolist()
    shares = [[int(row == column) for column in range(tau)] for row in range(tau)] + known
    for seen in combinations(shares, tau):
        assert determinant(list(seen)) != 0


def test_each_members_share_looks_uniform_whatever_is_shared() -> None:
    values = np.zeros(20_000, np.int64)
    for share in deal_packed(values, SPARE, stream("uniform")):
        assert chi_square((share >> 23).astype(np.int64), 256) > FALSE_ALARM
        assert chi_square((share & 255).astype(np.int64), 256) > FALSE_ALARM


# --- sums


def test_sums_of_shares_are_shares_of_the_sums() -> None:
    quorum, count = Quorum(8, 1, 1), 33
    clients = [np.arange(count, dtype=np.int64) * (who + 1) - 40 for who in range(50)]
    totals = {member: np.zeros(packed_rows(count, quorum), np.uint64) for member in (1, 2, 4, 5, 6, 7, 8)}
    for who, values in enumerate(clients):
        shares = held(deal_packed(values, quorum, stream(f"client {who}")))
        for member, total in totals.items():
            add_share_into(total, shares[member])
    sums = combine_packed({member: reduced(total) for member, total in totals.items()}, quorum, count)
    assert np.array_equal(sums, sum(clients, np.zeros(count, np.int64)))


def test_as_many_sums_as_a_key_may_have_clients_stay_exact_in_a_word() -> None:
    most = PACKED_PRIME - 1
    total = np.array([(2**25 - 1) * most, 0], np.uint64)
    add_share_into(total, np.array([most, most], np.uint32))
    assert total.tolist() == [2**25 * most, most]
    assert reduced(total).tolist() == [2**25 * most % PACKED_PRIME, most]
    assert reduced(total).dtype == np.uint32


# --- wrong shares


def test_a_wrong_share_is_found_from_any_base_without_it() -> None:
    quorum = Quorum(10, 1, 2)
    shares = held(deal_packed(integers(*range(30)), quorum, stream("wrong")))
    shares[4] = shares[4].copy()
    shares[4][-1] ^= 1
    honest = [member for member in shares if member != 4]
    for base in combinations(honest, quorum.needed):
        assert fitting(shares, quorum, base) == frozenset(honest)
    # A base with the wrong one agrees with nobody else.
    for base in combinations(shares, quorum.needed):
        if 4 in base:
            assert fitting(shares, quorum, base) == frozenset(base)


def test_fitting_looks_only_at_members_whose_shares_are_there() -> None:
    quorum = Quorum(10, 1, 2)
    shares = held(deal_packed(integers(7), quorum, stream("few")))
    del shares[3]
    assert fitting(shares, quorum, (10, 9, 8, 7, 6, 5, 4, 2)) == frozenset(shares)


def test_a_share_bent_by_one_bends_the_secret_by_its_factor() -> None:
    # Through x = 1 and 2, f(-1) = 3 f(1) - 2 f(2).
    shares = held(deal_packed(integers(100), Quorum(2, 1, 0), stream("bent")))
    bent = {1: shares[1], 2: (shares[2] + np.uint32(PACKED_PRIME - 1)) % np.uint32(PACKED_PRIME)}
    assert combine_packed(bent, Quorum(2, 1, 0), 1).tolist() == [102]


# --- refusals


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(3, np.int32),
        np.zeros(3, np.uint64),
        np.zeros((1, 3), np.int64),
        np.zeros(0, np.int64),
        integers(0, MOST_PACKED + 1),
        integers(-MOST_PACKED - 1, 0),
        integers(-(2**63)),
    ],
    ids=str,
)
def test_what_cannot_be_packed_is_refused(values: NDArray[np.int64]) -> None:
    with pytest.raises(BadParameters):
        deal_packed(values, SMALL, stream("refused"))


@pytest.mark.parametrize(
    "share",
    [
        np.zeros(2, np.uint64),
        np.zeros(2, np.int32),
        np.zeros(1, np.uint32),
        np.zeros(3, np.uint32),
        np.zeros((2, 1), np.uint32),
        np.array([PACKED_PRIME, 0], np.uint32),
        np.array([0, 2**32 - 1], np.uint32),
    ],
    ids=str,
)
def test_a_share_of_another_shape_or_out_of_range_names_its_member(share: Share) -> None:
    shares = held(deal_packed(integers(1, 2), SMALL, stream("range")))
    shares[3] = share
    with pytest.raises(BadShare, match="of member 3 "):
        combine_packed(shares, SMALL, 2)
    with pytest.raises(BadShare, match="of member 3 "):
        fitting(shares, SMALL, (1, 2, 3, 4))
    with pytest.raises(BadShare, match="of client 9 "):
        check_share(share, 2, "of client 9")
    total = np.zeros(2, np.uint64)
    with pytest.raises(BadShare):
        add_share_into(total, share)
    assert not total.any()


def test_exactly_r_shares_are_combined() -> None:
    shares = held(deal_packed(integers(1), SPARE, stream("exactly")))
    for count in (0, 3, 5):
        with pytest.raises(BadShare, match="4 shares are needed"):
            combine_packed({member: shares[member] for member in list(shares)[:count]}, SPARE, 1)


@pytest.mark.parametrize("stranger", [0, 6, -1, True, 2.0])
def test_only_members_have_shares(stranger: int) -> None:
    shares = held(deal_packed(integers(1), SPARE, stream("strangers")))
    mixed = {stranger: shares[1], 3: shares[3], 4: shares[4], 5: shares[5]}
    with pytest.raises(BadParameters, match=r"members are 1 \.\. 5"):
        combine_packed(mixed, SPARE, 1)
    with pytest.raises(BadParameters, match=r"members are 1 \.\. 5"):
        fitting(mixed, SPARE, mixed)


@pytest.mark.parametrize("count", [0, -1])
def test_no_secrets_are_no_secret(count: int) -> None:
    with pytest.raises(BadParameters, match="at least one secret"):
        combine_packed({}, SMALL, count)


@pytest.mark.parametrize("base", [(), (1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, 3), (1, 2, 3, 9), (1, 2, 3, 3, 4)])
def test_a_base_is_r_different_members_with_shares(base: tuple[int, ...]) -> None:
    shares = held(deal_packed(integers(1), SPARE, stream("base")))
    with pytest.raises(BadParameters, match="a base is 4 different members"):
        fitting(shares, SPARE, base)
    with pytest.raises(BadParameters, match="a base is 4 different members"):
        fitting({}, SPARE, base)


@pytest.mark.parametrize("total", [np.zeros(2, np.int64), np.zeros(2, np.uint32)], ids=str)
def test_a_sum_is_kept_in_wide_words(total: NDArray[np.uint64]) -> None:
    with pytest.raises(BadParameters, match="one row of uint64"):
        add_share_into(total, np.zeros(2, np.uint32))
    with pytest.raises(BadParameters, match="one row of uint64"):
        add_share_into(np.zeros((1, 2), np.uint64), np.zeros(2, np.uint32))


def test_nothing_secret_is_left_in_the_memory_that_was_worked_in(monkeypatch: pytest.MonkeyPatch) -> None:
    values, worked_in = integers(3, -4, 5), []

    def watched(nodes: tuple[int, ...], places: tuple[int, ...], known: Words) -> Words:
        moved = transfer(nodes, places, known)
        worked_in.append((known, known.copy(), moved, moved.copy()))
        return moved

    monkeypatch.setattr(shamir, "transfer", watched)
    shares = held(deal_packed(values, SMALL, stream("forgotten")))
    assert np.array_equal(combine_packed(shares, SMALL, 3), values)
    (known, secret, *_), (_, _, residues, opened) = worked_in
    assert secret.any()
    assert not known.any()
    assert opened.any()
    assert not residues.any()


def test_factors_kept_for_all_callers_cannot_be_written_to() -> None:
    factors = lagrange((1, 2), (-1,))
    with pytest.raises(ValueError, match="read-only"):
        factors[0, 0] = 1


def test_as_many_rows_as_nodes_are_moved() -> None:
    for rows in (1, 3):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            transfer((1, 2), (-1,), np.zeros((rows, 1), np.uint64))


def test_no_product_is_left_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made, plain = [], np.empty_like

    def watched(like: NDArray[np.uint64]) -> NDArray[np.uint64]:
        made.append(plain(like))
        return made[-1]

    monkeypatch.setattr(np, "empty_like", watched)
    assert transfer((1, 2), (-1,), np.array([[4], [1]], np.uint64)).tolist() == [[10]]
    assert [term.any() for term in made] == [False]


def test_what_is_dealt_leaves_the_values_alone() -> None:
    values = integers(3, -4)
    deal_packed(values, SMALL, stream("alone"))
    assert values.tolist() == [3, -4]
