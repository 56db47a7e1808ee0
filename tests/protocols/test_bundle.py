"""Bundles of frames: what was packed comes out, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.bundle import EMPTY, MOST_FRAMES, pack, unpack
from protocols.codec import Frame
from protocols.errors import Malformed, Misused
from protocols.party import PartyId

PEER = PartyId(7)


def test_a_bundle_by_hand() -> None:
    assert pack([b"ab", Frame((PEER,), (b"c", b"de"))]) == bytes.fromhex("00000002 00000002 6162 00000003 636465")
    assert pack([]) == EMPTY == bytes(4)


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_what_was_packed_comes_out(frames: list[bytes]) -> None:
    assert [bytes(frame) for frame in unpack(pack(frames), PEER)] == frames


@given(st.binary(max_size=64))
def test_any_other_bytes_are_refused_in_the_name_of_the_peer(data: bytes) -> None:
    refused = None
    try:
        frames = unpack(data, PEER)
    except Malformed as error:
        refused = error.peer
    assert refused == PEER or pack(frames) == data


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_a_bundle_cut_or_prolonged_is_refused(frames: list[bytes], data: st.DataObject) -> None:
    packed = pack(frames)
    with pytest.raises(Malformed, match="ends"):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))], PEER)
    with pytest.raises(Malformed, match="1 bytes too many"):
        unpack(packed + b"\0", PEER)


def test_a_bundle_has_no_more_frames_than_any_party_says() -> None:
    assert len(unpack(pack([b""] * MOST_FRAMES), PEER)) == MOST_FRAMES
    with pytest.raises(Misused, match="4097 frames"):
        pack([b""] * (MOST_FRAMES + 1))
    with pytest.raises(Malformed, match="4097 frames"):
        unpack((MOST_FRAMES + 1).to_bytes(4, "big") + bytes(4 * (MOST_FRAMES + 1)), PEER)
    with pytest.raises(Malformed, match="4294967295 frames"):
        unpack(bytes([255] * 4), PEER)


def test_a_length_beyond_the_bundle_allocates_nothing() -> None:
    with pytest.raises(Malformed, match="ends within a frame of 4294967295 bytes"):
        unpack(bytes.fromhex("00000001 ffffffff 00"), PEER)
