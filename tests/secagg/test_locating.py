"""Members whose shares are off the others' polynomials are found, as many as the shares beyond r can show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import BadParameters, BadShare
from secagg.keys import Seed
from secagg.locating import off_the_others
from secagg.prg import Stream
from secagg.quorum import Quorum
from secagg.shamir import PACKED_PRIME, PackedShare, combine_packed, deal_packed

QUORUMS = [Quorum(10, 2, 1), Quorum(20, 4, 2), Quorum(30, 6, 3), Quorum(60, 12, 6), Quorum(100, 20, 10)]
VALUES = np.arange(-60, 60, dtype=np.int64)


def dealt(quorum: Quorum) -> dict[int, PackedShare]:
    rows = deal_packed(VALUES, quorum, Stream(Seed(bytes([quorum.members]) * 32)))
    return dict(enumerate(rows, start=1))


def bent(shares: dict[int, PackedShare], off: set[int], seed: int, rows: int | None = None) -> dict[int, PackedShare]:
    """Each of these shares is off by what nobody chose, in so many words."""
    generator = np.random.default_rng(seed)
    found = {}
    for member, share in shares.items():
        shift = np.zeros(share.size, np.uint64)
        if member in off:
            shift[:rows] = generator.integers(1, PACKED_PRIME, shift[:rows].size)
        found[member] = ((share + shift) % np.uint64(PACKED_PRIME)).astype(np.uint32)
    return found


@pytest.mark.parametrize("quorum", QUORUMS, ids=str)
def test_where_nobody_is_off_nobody_is_named(quorum: Quorum) -> None:
    assert off_the_others(dealt(quorum), quorum) == frozenset()


@given(quorum=st.sampled_from(QUORUMS[1:]), data=st.data())
def test_all_but_one_of_the_spare_shares_may_be_off(quorum: Quorum, data: st.DataObject) -> None:
    shares = dealt(quorum)
    most = min(quorum.offline - 1, next(iter(shares.values())).size)
    off = data.draw(st.sets(st.integers(1, quorum.members), max_size=most))
    answered = bent(shares, off, data.draw(st.integers(0, 2**32)))
    assert off_the_others(answered, quorum) == frozenset(off)
    rest = sorted(answered.keys() - off)[: quorum.needed]
    assert np.array_equal(combine_packed({member: answered[member] for member in rest}, quorum, VALUES.size), VALUES)


@given(quorum=st.sampled_from(QUORUMS[1:]), data=st.data())
def test_in_one_row_half_of_the_spare_shares_may_be_off(quorum: Quorum, data: st.DataObject) -> None:
    off = data.draw(st.sets(st.integers(1, quorum.members), max_size=quorum.offline // 2))
    assert off_the_others(bent(dealt(quorum), off, data.draw(st.integers(0, 2**32)), rows=1), quorum) == frozenset(off)


@pytest.mark.parametrize("quorum", QUORUMS, ids=str)
def test_more_are_never_named_by_mistake(quorum: Quorum) -> None:
    for seed in range(5):
        for count in range(quorum.offline, quorum.offline + 3):
            off = set(range(1, count + 1))
            assert off_the_others(bent(dealt(quorum), off, seed), quorum) is None


def test_too_few_shares_say_nothing_and_just_enough_accuse_nobody() -> None:
    quorum = Quorum(10, 2, 1)
    shares = dealt(quorum)
    assert off_the_others({member: shares[member] for member in range(1, 10)}, quorum) == frozenset()
    assert off_the_others({member: shares[member] for member in range(1, 9)}, quorum) is None
    assert off_the_others({}, quorum) is None


def test_what_is_no_share_is_refused() -> None:
    quorum = Quorum(10, 2, 1)
    shares = dealt(quorum)
    with pytest.raises(BadParameters):
        off_the_others({**shares, 11: shares[1]}, quorum)
    with pytest.raises(BadShare):
        off_the_others({**shares, 3: shares[3][1:]}, quorum)
