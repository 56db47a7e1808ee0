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
from protocols.ckks import client as ckks_client
from protocols.ckks import decryptor as ckks_decryptor
from protocols.ckks import holder as ckks_holder
from protocols.ckks import messages as ckks_messages
from protocols.ckks import seeded, seeded_messages, seeded_server, single_messages
from protocols.ckks import server as ckks_server
from protocols.codec import kind_of
from protocols.endpoint import CLIENT_STATES, DECRYPTOR_STATES, HOLDER_STATES, MEMBER_STATES, SERVER_STATES
from protocols.errors import BadSignature, Malformed, TooLarge, Undecodable
from protocols.heads import LedgerHead
from protocols.messages import Masked, Witness
from protocols.oneshot import client as oneshot_client
from protocols.oneshot import member as oneshot_member
from protocols.oneshot import messages as oneshot_messages
from protocols.oneshot import server as oneshot_server
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.party import PartyId
from protocols.plan import ONE_SHOT
from protocols.simulate import Encrypted, Exchange, Fate, FaultPlan, Lost
from secagg.keys import Identity, Seed
from tests.attacks.villain import plan_of
from tests.contracts.company import Company, Restarted, Speaking, play
from tests.contracts.encrypted import Company as EncryptedCompany
from tests.contracts.encrypted import bad_dealer
from tests.contracts.modes import Seeded, Single
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
    12: "Invite",
    13: "Commit",
    14: "Commits",
    15: "Reveal",
    16: "Deals",
    17: "Checked",
    18: "Dispute",
    19: "Summands",
    20: "Certificate",
    21: "Probe",
    22: "OpenEncrypted",
    23: "Ciphertext",
    24: "EncryptedSum",
    25: "Partial",
    26: "WholeSum",
    27: "Decrypted",
    28: "OpenSeeded",
    29: "SeededCiphertext",
    30: "SeededSum",
    31: "Convene",
    32: "Enlisted",
    33: "OpenOneShot",
    34: "Concealed",
    35: "Included",
    36: "Summed",
    37: "Countersignature",
}
HOMES = (messages, ckks_messages, single_messages, seeded_messages, oneshot_messages)
STATES_OF_ALL = {*CLIENT_STATES, *SERVER_STATES, *HOLDER_STATES, *DECRYPTOR_STATES, *MEMBER_STATES}
LENGTH = 3
# Most bytes of a letter about keys are residues: of a long one these many are tried at either end, and in between.
NEAR, BETWEEN = 600, 400


class Recorded:
    """Every letter of seven small rounds, one in each other key mode and one one-shot; and the states.

    With a drop-out, a silent holder, or one that deals wrongly.

    `frames` are by name: the kind's, and a second spelling where holders are shown digit sums and hashes.
    """

    def __init__(self) -> None:
        pairwise, shown = Company(plan_of(4), 4), EncryptedCompany()
        hashed, disputed = EncryptedCompany(most_halves=1000), EncryptedCompany(number=1)
        self.frames: dict[str, bytes] = {}
        self.states: dict[type[Any], bytes] = {}
        pairwise.head = LedgerHead(bytes(range(16)), 2, bytes(range(32)))
        self.record(pairwise, {pairwise.ids[3]: Fate(Exchange.MASKED, Lost.REPLY)}, "")
        self.record(shown, {shown.holder_ids[0]: Fate(Encrypted.VECTOR, Lost.REQUEST)}, "")
        self.record(hashed, {hashed.ids[3]: Fate(Encrypted.VECTOR, Lost.REPLY)}, " hashed")
        with bad_dealer(disputed, disputed.holder_ids[1]):
            self.record(disputed, {}, " disputed")
        self.record(Single(), {}, " single")
        self.record(Seeded(), {}, " seeded")
        speaking = Speaking(plan_of(4, protocol=ONE_SHOT), 4)
        self.record(speaking, {speaking.holder_ids[0]: Fate(Encrypted.VECTOR, Lost.REPLY)}, " one-shot")

    def record(self, company: Company, fates: dict[PartyId, Fate], suffix: str) -> None:
        found = self.states

        class Freezing(Restarted):
            def act(self, deed: Any) -> Any:
                found[type(self.live._party.state)] = codec.freeze(self.live._party.state)
                try:
                    return super().act(deed)
                finally:
                    found[type(self.live._party.state)] = codec.freeze(self.live._party.state)

        with company.conditions():
            frames = play(company, LENGTH, FaultPlan(fates), kind=Freezing).said_by_all()
        for frame in frames:
            name = kind_of(frame).__name__
            fresh = name not in self.frames
            if fresh or name in ("Ciphertext", "EncryptedSum"):
                self.frames[name if fresh else name + suffix] = frame


RECORDED = Recorded()
FRAMES = RECORDED.frames
BODIES = {name: frame[40:-64] for name, frame in FRAMES.items()}
LETTERS = {name: codec.decode_body(kind_of(frame), frame[40:-64], WHO) for name, frame in FRAMES.items()}


def places(size: int) -> list[int]:
    """Every place in so many bytes, or of many some, the same ones each time."""
    if size <= 2 * NEAR + BETWEEN:
        return list(range(size))
    return [*range(NEAR), *range(NEAR, size - NEAR, size // BETWEEN), *range(size - NEAR, size)]


def framed(message: object, sign: Any = IDENTITY.sign) -> bytes:
    return b"".join(codec.encode(message, WHO, TASK, 3, sign))


def opened(data: bytes, limit: int = 1 << 20) -> Any:
    return codec.open_frame(data, codec.read_header(data, WHO, limit), IDENTITY.public)


# --- known answers


def test_the_table_of_kinds_is_pinned() -> None:
    assert {kind: message.__name__ for kind, message in codec.KINDS.items()} == NAMES
    for kind, name in NAMES.items():
        home = next(home for home in HOMES if hasattr(home, name))
        assert getattr(home, name) is codec.KINDS[kind]


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
    assert {type(letter) for letter in LETTERS.values()} == set(codec.KINDS.values())
    assert {"Ciphertext hashed", "EncryptedSum hashed"} < set(LETTERS)
    for letter in LETTERS.values():
        frame = framed(letter)
        assert codec.read_header(frame, WHO, 1 << 20) == codec.Header(
            codec._KIND_OF[type(letter)], WHO, TASK, 3, len(frame) - 104
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
@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_cut_at_every_byte_is_malformed(row: str, name: str) -> None:
    frame = FRAMES[name]
    for size in places(len(frame)):
        with pytest.raises(Malformed):
            codec.read_header(frame[:size], WHO, 1 << 20)


@rows("D15")
@pytest.mark.parametrize("name", FRAMES)
def test_a_body_cut_at_every_byte_is_malformed_under_a_true_signature(row: str, name: str) -> None:
    kind, body = kind_of(FRAMES[name]), BODIES[name]
    for size in places(len(body)):
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
        (3, b"\xff", Malformed, "unknown kind 255"),
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
@pytest.mark.parametrize("name", FRAMES)
def test_lengths_inside_a_body_allocate_no_more_than_the_body(row: str, name: str) -> None:
    """Each run of eight bytes is overwritten by a huge count in turn."""
    kind, body = kind_of(FRAMES[name]), BODIES[name]
    peak = 0
    for place in places(len(body) - 8)[::3]:
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
    name = data.draw(st.sampled_from(list(BODIES)))
    kind, body = kind_of(FRAMES[name]), bytearray(BODIES[name])
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


SUPPLIED = {
    pairwise_client.Own: object(),
    pairwise_server.Registry: object(),
    ckks_client.Own: object(),
    ckks_server.Known: object(),
    ckks_holder.Own: object(),
    ckks_decryptor.Own: object(),
    seeded.Own: object(),
    seeded_server.Known: object(),
    oneshot_client.Own: object(),
    oneshot_member.Own: object(),
    oneshot_server.Known: object(),
}
STATES = RECORDED.states


def test_every_kind_of_state_of_the_rounds_can_be_frozen() -> None:
    # These last no longer than the arrow that leaves them; a graph from a beacon has its own test.
    passing = {
        pairwise_client.Idle,
        pairwise_client.Enrolled,
        pairwise_server.Seeding,
        ckks_client.Idle,
        ckks_server.Unopened,
        ckks_holder.Uninvited,
        ckks_decryptor.Uninvited,
        seeded.Idle,
        seeded_server.Unopened,
        oneshot_client.Idle,
        oneshot_member.Uninvited,
        oneshot_server.Unopened,
    }
    assert set(STATES) == STATES_OF_ALL - passing


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
    for summing, name in ((pairwise_server.Summing, "total"), (ckks_server.Summing, "sum0")):
        state = codec.thaw(summing, STATES[summing], SUPPLIED)
        getattr(state, name)[:] += 1
        assert codec.freeze(state) != STATES[summing]


def test_a_note_to_the_application_has_no_frame() -> None:
    with pytest.raises(KeyError):
        codec.encode(messages.NeedUpdate(LETTERS["Open"].agreement), WHO, TASK, 0, IDENTITY.sign)
