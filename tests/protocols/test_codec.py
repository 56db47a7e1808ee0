"""Signed frames and frozen states: layout by hand, every cut and flip named, memory bounded, one spelling."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocols import codec, messages, wire
from protocols.codec import kind_of
from protocols.endpoint import PAIRWISE_CLIENT_STATES, PAIRWISE_SERVER_STATES
from protocols.errors import BadSignature, Malformed, TooLarge, Undecodable
from protocols.messages import Masked, Witness
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.party import SERVER, PartyId
from protocols.simulate import Exchange, Fate, FaultPlan, Lost
from secagg.keys import Identity, Seed
from tests.attacks.villain import plan_of
from tests.contracts.company import Company, Restarted, play
from tests.rows import rows

IDENTITY = Identity.from_seed(Seed(b"\x05" * 32))
TASK = codec.task_id("task")
WHO = PartyId(7)
NAMES = {
    1: "Open",
    2: "Advertise",
    3: "Roster",
    4: "Shares",
    5: "Inbox",
    6: "Masked",
    7: "Survivors",
    8: "Witness",
    9: "Witnesses",
    10: "Unmask",
    11: "Result",
}
PAIRWISE_STATES = (*PAIRWISE_CLIENT_STATES, *PAIRWISE_SERVER_STATES)


class Recorded:
    """Every letter and every frozen state of one small round with a drop-out."""

    def __init__(self) -> None:
        self.company = Company(plan_of(4), 4)
        gone = {self.company.ids[3]: Fate(Exchange.MASKED, Lost.REPLY)}
        played = play(self.company, 3, FaultPlan(gone), kind=Restarted)
        self.server_key = self.company.identity.public
        self.frames = {kind_of(frame): frame for who in (SERVER, *self.company.ids) for frame in played.said(who)}
        self.letters = {kind: codec.decode_body(kind, frame[40:-64], WHO) for kind, frame in self.frames.items()}


RECORDED = Recorded()
BODIES = {kind: wire.encode(letter) for kind, letter in RECORDED.letters.items()}


def framed(message: object, sign: Any = IDENTITY.sign) -> bytes:
    return b"".join(codec.encode(message, WHO, TASK, 3, sign))


def opened(data: bytes, limit: int = 1 << 20) -> Any:
    return codec.open_frame(data, codec.read_header(data, WHO, limit), IDENTITY.public)


# --- known answers


def test_the_table_of_kinds_is_pinned() -> None:
    assert {kind: message.__name__ for kind, message in codec.KINDS.items()} == NAMES
    assert all(getattr(messages, name) is codec.KINDS[kind] for kind, name in NAMES.items())


def test_a_frame_is_header_body_and_signature_as_the_docstring_draws_it() -> None:
    witness = Witness(bytes(range(64)))
    data = framed(witness)
    header = struct.pack("<2sBBI16sQQ", b"SA", 1, 8, 7, TASK, 3, 64)
    assert len(header) == 40
    assert data[:40] == header
    assert data[40:104] == bytes(range(64))
    text = b"secagg/v1/frame" + header + hashlib.sha256(bytes(range(64))).digest()
    Ed25519PublicKey.from_public_bytes(IDENTITY.public).verify(data[104:], text)
    assert hashlib.sha256(b"secagg/v1/task" + b"task").digest()[:16] == TASK


def test_every_letter_was_spoken_and_comes_back_from_its_frame() -> None:
    assert set(RECORDED.letters) == set(codec.KINDS.values())
    for kind, letter in RECORDED.letters.items():
        frame = framed(letter)
        assert codec.read_header(frame, WHO, 1 << 20) == codec.Header(
            codec._KIND_OF[kind], WHO, TASK, 3, len(frame) - 104
        )
        assert opened(frame) == letter
        assert opened(bytearray(frame)) == opened(memoryview(frame)) == letter


def test_a_frame_joins_its_parts_and_knows_its_length() -> None:
    vector = bytes(1 << 20)
    frame = codec.Frame((WHO,), codec.encode(Masked(vector, bytes(16), ()), WHO, TASK, 0, IDENTITY.sign))
    assert any(part is vector for part in frame.parts)
    assert len(frame) == len(bytes(frame))
    assert bytes(frame) == b"".join(frame.parts)


# --- foreign bytes


@rows("D15")
@pytest.mark.parametrize("kind", codec.KINDS.values(), ids=lambda kind: kind.__name__)
def test_a_frame_cut_at_every_byte_is_malformed(row: str, kind: type) -> None:
    frame = RECORDED.frames[kind]
    for size in range(len(frame)):
        with pytest.raises(Malformed):
            codec.read_header(frame[:size], WHO, 1 << 20)


@rows("D15")
@pytest.mark.parametrize("kind", codec.KINDS.values(), ids=lambda kind: kind.__name__)
def test_a_body_cut_at_every_byte_is_malformed_under_a_true_signature(row: str, kind: type) -> None:
    body = BODIES[kind]
    for size in range(len(body)):
        with pytest.raises(Malformed, match=f"party 7: {kind.__name__}: ") as caught:
            codec.decode_body(kind, body[:size], WHO)
        assert caught.value.peer == WHO
    with pytest.raises(Malformed, match="1 bytes too many"):
        codec.decode_body(kind, body + b"\0", WHO)


def test_every_flipped_bit_of_a_frame_is_noticed() -> None:
    frame = framed(Witness(bytes(64)))
    for bit in range(8 * len(frame)):
        bent = bytearray(frame)
        bent[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Malformed, TooLarge, BadSignature)):
            opened(bytes(bent))


@rows("D17")
@pytest.mark.parametrize(
    ("place", "byte", "error", "named"),
    [
        (0, b"X", Malformed, "another protocol"),
        (2, b"\x02", Malformed, "another protocol or version"),
        (2, b"\x00", Malformed, "another protocol or version"),
        (3, b"\x0c", Malformed, "unknown kind 12"),
        (3, b"\x00", Malformed, "unknown kind 0"),
        (4, b"\x08", BadSignature, "does not belong"),
        (8, b"\x00", BadSignature, "does not belong"),
        (24, b"\x04", BadSignature, "does not belong"),
        (32, b"\x3f", Malformed, "announces 63 bytes"),
        (32, b"\x41", Malformed, "announces 65 bytes"),
        (39, b"\x80", TooLarge, "announces 9223372036854775872 bytes, 1048576 are allowed"),
        (40, b"\x01", BadSignature, "does not belong"),
        (104, b"\x01", BadSignature, "does not belong"),
    ],
)
def test_each_field_of_a_frame_is_checked_by_name(row: str, place: int, byte: bytes, error: type, named: str) -> None:
    frame = framed(Witness(bytes(64)))
    bent = frame[:place] + byte + frame[place + 1 :]
    assert bent != frame
    with pytest.raises(error, match=named) as caught:
        opened(bent)
    assert caught.value.peer in (7, 8)


def test_a_frame_under_another_key_is_refused_before_its_body_is_read() -> None:
    other = Identity.from_seed(Seed(b"\x06" * 32))
    nonsense = framed(Witness(bytes(64)), other.sign)[:40] + b"\xff" * 64 + bytes(64)
    with pytest.raises(BadSignature):
        opened(nonsense)


@rows("D16")
@pytest.mark.parametrize("length", [2**31, 2**40, 2**63, 2**64 - 1])
def test_an_announced_length_allocates_nothing(row: str, length: int) -> None:
    frame = bytearray(framed(Witness(bytes(64))))
    frame[32:40] = length.to_bytes(8, "little")
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            codec.read_header(frame, WHO, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


@rows("D16")
@pytest.mark.parametrize("kind", codec.KINDS.values(), ids=lambda kind: kind.__name__)
def test_lengths_inside_a_body_allocate_no_more_than_the_body(row: str, kind: type) -> None:
    """Each run of eight bytes is overwritten by a huge count in turn."""
    body = BODIES[kind]
    peak = 0
    for place in range(0, len(body) - 8, 3):
        bent = body[:place] + (2**40 - 1).to_bytes(8, "little") + body[place + 8 :]
        tracemalloc.start()
        try:
            codec.decode_body(kind, bent, WHO)
        except Malformed:
            pass
        finally:
            peak = max(peak, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peak < 16 * len(body) + (1 << 17)


@given(st.binary(max_size=400))
def test_any_bytes_are_no_frame(data: bytes) -> None:
    with pytest.raises((Malformed, TooLarge)):
        codec.read_header(data, WHO, 1 << 20)


@given(st.sampled_from(list(codec.KINDS.values())), st.binary(max_size=300))
def test_any_body_is_a_letter_in_its_only_spelling_or_malformed(kind: type, body: bytes) -> None:
    require_canonical(kind, body)


@given(st.data())
def test_a_mutated_body_is_a_letter_in_its_only_spelling_or_malformed(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(BODIES)))
    body = bytearray(BODIES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        mutation = data.draw(st.sampled_from(["flip", "insert", "delete", "length", "splice"]))
        if mutation == "flip":
            body[place] ^= data.draw(st.integers(1, 255))
        elif mutation == "insert":
            body[place:place] = data.draw(st.binary(min_size=1, max_size=9))
        elif mutation == "delete" and len(body) > 9:
            del body[place : place + data.draw(st.integers(1, 8))]
        elif mutation == "length":
            body[place : place + 8] = data.draw(st.sampled_from([0, 1, 2**31, 2**63])).to_bytes(8, "little")
        else:
            body[place:] = BODIES[data.draw(st.sampled_from(list(BODIES)))][place:]
        if not body:
            return
    require_canonical(kind, bytes(body))


def require_canonical(kind: type, body: bytes) -> None:
    try:
        letter = codec.decode_body(kind, body, WHO)
    except Malformed:
        return
    assert wire.encode(letter) == body


# --- states


SUPPLIED = {pairwise_client.Own: object(), pairwise_server.Registry: object()}


def states() -> dict[type, bytes]:
    """A frozen state of every kind, as met in the recorded round and in a quiet one."""
    found: dict[type, bytes] = {}

    class Freezing(Restarted):
        def act(self, deed: Any) -> Any:
            state = self.live._party.state
            found[type(state)] = codec.freeze(state)
            try:
                return super().act(deed)
            finally:
                found[type(self.live._party.state)] = codec.freeze(self.live._party.state)

    play(RECORDED.company, 3, FaultPlan({RECORDED.company.ids[3]: Fate(Exchange.MASKED, Lost.REPLY)}), kind=Freezing)
    return found


STATES = states()


def test_every_kind_of_state_of_the_round_can_be_frozen() -> None:
    # Idle lasts no longer than the arrow that leaves it, and nobody failed; a graph from a beacon has its own test.
    met = {kind.__name__ for kind in STATES}
    wanted = {kind.__name__ for kind in PAIRWISE_STATES} - {
        "Idle",
        "Failed",
        "Enrolled",
        "Seeding",
    }
    assert met >= wanted


@pytest.mark.parametrize("kind", STATES, ids=lambda kind: kind.__name__)
def test_a_state_comes_back_and_a_cut_one_never(kind: type) -> None:
    data = STATES[kind]
    assert codec.freeze(codec.thaw(kind, data, SUPPLIED)) == data
    for size in range(0, len(data), max(1, len(data) // 400)):
        with pytest.raises(Undecodable):
            codec.thaw(kind, data[:size], SUPPLIED)


@given(st.data())
def test_a_mutated_state_is_another_state_or_undecodable(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([kind for kind in STATES if STATES[kind]]))
    frozen = bytearray(STATES[kind])
    place = data.draw(st.integers(0, len(frozen) - 1))
    frozen[place] ^= data.draw(st.integers(1, 255))
    try:
        state = codec.thaw(kind, bytes(frozen), SUPPLIED)
    except Undecodable:
        return
    assert codec.freeze(state) == frozen


def test_a_sum_goes_on_after_a_restart() -> None:
    summing = next(kind for kind in STATES if kind.__name__ == "Summing")
    state = codec.thaw(summing, STATES[summing], SUPPLIED)
    state.total[:] += 1
    assert codec.freeze(state) != STATES[summing]


def test_a_note_to_the_application_has_no_frame() -> None:
    with pytest.raises(KeyError):
        codec.encode(messages.NeedUpdate(RECORDED.letters[messages.Open].agreement), WHO, TASK, 0, IDENTITY.sign)
