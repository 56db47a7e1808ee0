"""A client sends vectors of another length, word size, order or padding; nothing is broadcast over the sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import ImplausibleSum
from protocols.messages import Inbox, Masked, Roster, Shares
from secagg.ring import Packer, Ring
from tests.attacks.villain import LENGTH, Stage, rows


def at_summing() -> Stage:
    """All vectors but that of client 0 are in the sum."""
    stage = Stage(5)
    stage.until(Inbox)
    replies = stage.answers()
    stage.hand({who: replies.pop(who) for who in stage.ids[1:]})
    return stage


def wrong_vectors(stage: Stage, honest: Masked) -> dict[str, Masked]:
    vector, extras = bytes(honest.vector), bytes(honest.extras)
    width = len(vector) // LENGTH + 1
    return {
        "empty": replace(honest, vector=b""),
        "one byte": replace(honest, vector=vector[:1]),
        "one coordinate": replace(honest, vector=vector[:width]),
        "one short": replace(honest, vector=vector[:-1]),
        "one long": replace(honest, vector=vector + b"\0"),
        "twice": replace(honest, vector=vector * 2),
        "float64": replace(honest, vector=bytes(8 * LENGTH)),
        "no extras": replace(honest, extras=b""),
        "extras short": replace(honest, extras=extras[:8]),
        "extras long": replace(honest, extras=extras + extras),
    }


NAMES = list(wrong_vectors(None, Masked(bytes(20), bytes(16), ())))


@rows("C2", "C3")
@pytest.mark.parametrize("name", NAMES)
def test_any_other_length_is_excluded_by_name_and_leaves_the_sum_alone(row: str, name: str) -> None:
    stage = at_summing()
    villain = stage.ids[0]
    state = stage.server._party.state
    before = state.total.tobytes(), state.extras.tobytes(), dict(state.arrived)
    [note] = stage.speak(villain, wrong_vectors(stage, stage.heard[villain, Masked])[name])
    assert (note.peer, note.error) == (villain, "ShapeMismatch")
    assert stage.server._party.state is state
    assert (state.total.tobytes(), state.extras.tobytes(), state.arrived) == before
    stage.until(None)
    assert stage.server.aggregate.survivors == stage.ids[1:]
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids[1:])


@rows("C3")
def test_padding_bits_that_are_set_are_malformed(row: str) -> None:
    stage = at_summing()
    villain = stage.ids[0]
    ring = stage.server.agreement.plan.encoding.ring
    narrow = [width for width in (1, 2, 4) if ring.bits & width]
    assert narrow, "this ring has no padding: choose other bits"
    vector = bytearray(stage.heard[villain, Masked].vector)
    vector[-1] |= 0x80
    state = stage.server._party.state
    before = state.total.tobytes()
    [note] = stage.speak(villain, replace(stage.heard[villain, Masked], vector=bytes(vector)))
    assert (note.peer, note.error) == (villain, "Malformed")
    assert state.total.tobytes() == before


@rows("C3")
def test_without_the_check_one_vector_has_two_spellings(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packer, "check_padding", lambda packer: None)
    stage = at_summing()
    villain = stage.ids[0]
    honest = stage.heard[villain, Masked]
    other = bytearray(honest.vector)
    other[-1] |= 0x80
    assert bytes(other) != bytes(honest.vector)
    assert stage.speak(villain, replace(honest, vector=bytes(other))) == []
    stage.until(None)
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


@rows("C2")
def test_complaints_about_strangers_or_oneself_are_malformed(row: str) -> None:
    stage = at_summing()
    villain = stage.ids[0]
    for complaints in ((villain,), (999,)):
        [note] = stage.speak(villain, replace(stage.heard[villain, Masked], complaints=complaints))
        assert (note.peer, note.error) == (villain, "Malformed")
    stage.until(None)
    assert stage.server.aggregate.blamed == {}


@rows("C2")
@pytest.mark.parametrize("count", [0, 3, 5])
def test_shares_for_another_number_of_neighbours_are_excluded(row: str, count: int) -> None:
    stage = Stage(5)
    stage.until(Roster)
    replies = stage.answers()
    villain = stage.ids[0]
    honest = stage.heard[villain, Shares]
    [note] = stage.speak(villain, Shares((honest.sealed + honest.sealed)[:count]))
    assert (note.peer, note.error) == (villain, "ShapeMismatch")
    stage.hand({who: replies[who] for who in stage.ids[1:]})
    stage.until(None, silent=[villain])
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids[1:])


@rows("C3")
def test_bytes_in_another_order_are_garbage_that_its_checksum_gives_away(row: str) -> None:
    stage = at_summing()
    villain = stage.ids[0]
    ring = stage.server.agreement.plan.encoding.ring
    honest = stage.heard[villain, Masked]
    swapped = ring.reduce(ring.unpack(honest.vector, LENGTH).byteswap().astype(np.int64))
    assert stage.speak(villain, replace(honest, vector=ring.pack(swapped))) == []
    with pytest.raises(ImplausibleSum, match="checksum"):
        stage.until(None)


class AnyLength(int):
    """A number of bytes that differs from no other."""

    def __ne__(self, other: object) -> bool:
        return False


def broadcast(ring: Ring, total: np.ndarray, packed: bytes) -> None:
    """What adding would be without a check of lengths."""
    total += np.frombuffer(packed, np.uint8) if len(packed) == 1 else np.zeros_like(total)


@rows("C2")
def test_without_both_checks_a_vector_of_one_coordinate_is_broadcast_over_the_sum(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both: that of the server, and that of the ring, which would take another length for malformed."""
    monkeypatch.setattr(Ring, "packed_bytes", lambda ring, length: AnyLength(8 * length))
    monkeypatch.setattr(Ring, "add_packed_into", broadcast)
    stage = Stage(5)
    stage.until(Inbox)
    replies = stage.answers()
    villain = stage.ids[0]
    stage.hand({who: replies[who] for who in stage.ids[1:3]})
    state = stage.server._party.state
    before = state.total.copy()
    assert stage.speak(villain, replace(stage.heard[villain, Masked], vector=b"\7")) == []
    assert (state.total == before + 7).all()
