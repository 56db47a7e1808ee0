"""Messages are valid by construction; a bitmap names exactly one set of a roster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.coding import Encoded
from protocols.errors import Malformed, ShapeMismatch, Undecodable
from protocols.messages import (
    SHARE_BYTES,
    Roster,
    RosterEntry,
    Signed,
    Submit,
    Survivors,
    Unmask,
    Witnesses,
    from_bitmap,
    sealed_bytes,
    to_bitmap,
)
from protocols.party import SERVER, PartyId
from secagg import shamir
from secagg.box import TAG_BYTES
from tests.rows import rows

rosters = st.lists(st.integers(0, 2**32 - 16), min_size=1, max_size=70, unique=True).map(
    lambda ids: tuple(PartyId(who) for who in sorted(ids))
)


def entry(who: int) -> RosterEntry:
    return RosterEntry(PartyId(who), bytes(32), bytes(32), bytes(32), bytes(64))


# --- known answers


@pytest.mark.parametrize(
    ("members", "bitmap"),
    [((), "0000"), ((2,), "0100"), ((3,), "0200"), ((19,), "8000"), ((23,), "0001"), ((2, 3, 23), "0301")],
)
def test_bit_i_stands_for_the_ith_client_of_the_roster(members: tuple[int, ...], bitmap: str) -> None:
    roster = tuple(map(PartyId, (2, 3, 5, 7, 11, 13, 17, 19, 23)))
    assert to_bitmap(set(map(PartyId, members)), roster) == bytes.fromhex(bitmap)
    assert from_bitmap(bytes.fromhex(bitmap), roster, SERVER) == frozenset(members)


def test_a_sealed_box_holds_two_shares_and_a_tag() -> None:
    assert SHARE_BYTES == shamir.SHARE_BYTES == 33
    assert sealed_bytes(0) == 2 * SHARE_BYTES + TAG_BYTES == 82


# --- properties


@given(rosters, st.data())
def test_every_set_of_a_roster_has_one_bitmap(roster: tuple[PartyId, ...], data: st.DataObject) -> None:
    members = frozenset(data.draw(st.lists(st.sampled_from(roster), unique=True)))
    bitmap = to_bitmap(members, roster)
    assert len(bitmap) == -(-len(roster) // 8)
    assert from_bitmap(bitmap, roster, SERVER) == members


@given(rosters, st.binary(max_size=10))
def test_any_bytes_are_a_set_in_its_only_spelling_or_refused(roster: tuple[PartyId, ...], data: bytes) -> None:
    try:
        members = from_bitmap(data, roster, PartyId(9))
    except (ShapeMismatch, Malformed):
        return
    assert to_bitmap(members, roster) == data


# --- errors


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_bitmap_of_another_length_is_a_shape_mismatch(size: int) -> None:
    with pytest.raises(ShapeMismatch, match=f"{size} bytes for 9 clients"):
        from_bitmap(bytes(size), tuple(map(PartyId, range(9))), SERVER)


@pytest.mark.parametrize("bit", range(1, 8))
def test_a_bit_beyond_the_roster_is_malformed(bit: int) -> None:
    with pytest.raises(Malformed, match="beyond the roster"):
        from_bitmap(bytes([0, 1 << bit]), tuple(map(PartyId, range(9))), SERVER)


@rows("D18")
@pytest.mark.parametrize("ids", [(1, 1), (2, 1), (1, 2, 2), (1, 3, 2)])
def test_roster_ids_strictly_ascend(row: str, ids: tuple[int, ...]) -> None:
    with pytest.raises(Undecodable, match="ascend"):
        Roster(bytes(32), tuple(map(entry, ids)))
    assert Roster(bytes(32), tuple(map(entry, sorted(set(ids))))).entries


@rows("D18")
@pytest.mark.parametrize("indices", [(0, 0), (1, 0)])
def test_witness_indices_strictly_ascend_so_that_none_counts_twice(row: str, indices: tuple[int, ...]) -> None:
    with pytest.raises(Undecodable, match="ascend"):
        Witnesses(tuple(Signed(index, bytes(64)) for index in indices))


def test_messages_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Survivors(b"\1").bitmap = b"\2"  # type: ignore[misc]


def test_an_update_does_not_print_before_it_is_masked() -> None:
    for shown in (Submit(np.array([8192, 77])), Encoded(np.array([8192, 77], np.uint32), 0)):
        assert "8192" not in repr(shown)


def test_shares_do_not_print() -> None:
    assert "deadbeef" not in repr(Unmask((bytes.fromhex("deadbeef"),))).replace("\\x", "")
