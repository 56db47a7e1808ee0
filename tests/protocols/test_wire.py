"""One canonical form per value: known bytes, round trips, and Undecodable for everything else."""

from __future__ import annotations

import enum
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, NewType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.errors import ProtocolError, Undecodable
from protocols.wire import I64, U8, U32, U64, Bitmap, Bytes16, Bytes32, Exactly, Payload, Supplied, Text, Vector
from secagg.keys import Secret, Seed

Name = NewType("Name", int)


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclass(frozen=True)
class Inner:
    number: U8
    text: Text


@dataclass(frozen=True)
class Outer:
    small: U8
    word: U32
    long: U64
    signed: I64
    name: Annotated[Name, wire.Unsigned(4)]
    colour: Colour
    ratio: Fraction
    either: Fraction | float
    tag: Bytes16
    bits: Bitmap
    note: str
    maybe: Inner | None
    many: tuple[Inner, ...]
    names: frozenset[Name]
    by_name: dict[Name, Bytes16]
    nested: Mapping[Name, dict[Name, bytes]]
    derived: int = field(init=False, default=7)


@dataclass(frozen=True)
class Heavy:
    payload: Payload
    vector: Vector


@dataclass(frozen=True)
class Secrets:
    seed: Seed
    share: Annotated[Secret, Exactly(33)]


@dataclass(frozen=True)
class Restorable:
    own: Annotated[object, Supplied]
    count: U8


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


inners = st.builds(Inner, st.integers(0, 255), st.text(max_size=9))
names = st.integers(0, 2**40).map(Name)
ratios = st.fractions(max_denominator=10**9)
outers = st.builds(
    Outer,
    small=st.integers(0, 255),
    word=st.integers(0, 2**32 - 1),
    long=st.integers(0, 2**64 - 1),
    signed=st.integers(-(2**63), 2**63 - 1),
    name=st.integers(0, 2**32 - 1).map(Name),
    colour=st.sampled_from(Colour),
    ratio=ratios,
    either=ratios,
    tag=st.binary(min_size=16, max_size=16),
    bits=st.binary(max_size=9),
    note=st.text(max_size=9),
    maybe=st.none() | inners,
    many=st.lists(inners, max_size=3).map(tuple),
    names=st.frozensets(names, max_size=3),
    by_name=st.dictionaries(names, st.binary(min_size=16, max_size=16), max_size=3),
    nested=st.dictionaries(names, st.dictionaries(names, st.binary(max_size=3), max_size=2), max_size=2),
)
SAMPLE = Outer(
    1,
    2,
    3,
    -4,
    Name(5),
    Colour.BLUE,
    Fraction(-1, 3),
    Fraction(2),
    bytes(range(16)),
    b"\x07",
    "é",
    Inner(6, "in"),
    (Inner(7, ""), Inner(8, "x")),
    frozenset({Name(9), Name(10)}),
    {Name(12): bytes(16), Name(11): b"\1" * 16},
    {Name(1): {Name(2): b"z"}},
)

# --- known answers


def test_a_value_is_its_fields_in_order_written_by_hand() -> None:
    assert wire.encode(SAMPLE) == b"".join(
        [
            b"\x01",
            b"\x02\0\0\0",
            u64(3),
            b"\xfc" + b"\xff" * 7,
            b"\x05\0\0\0",
            b"\x01",
            u64(4) + b"-1/3",
            u64(3) + b"2/1",
            bytes(range(16)),
            u64(1) + b"\x07",
            u64(2) + b"\xc3\xa9",
            b"\x01" + b"\x06" + u64(2) + b"in",
            u64(2) + b"\x07" + u64(0) + b"\x08" + u64(1) + b"x",
            u64(2) + u64(9) + u64(10),
            u64(2) + u64(11) + b"\1" * 16 + u64(12) + bytes(16),
            u64(1) + u64(1) + u64(1) + u64(2) + u64(1) + b"z",
        ]
    )


def test_a_vector_is_a_number_type_a_length_and_its_words() -> None:
    for code, dtype in enumerate((np.uint16, np.uint32, np.uint64, np.int64, np.float64)):
        vector = np.array([1, 2], dtype)
        data = wire.encode(Heavy(b"ab", vector))
        assert data == u64(2) + b"ab" + bytes([code]) + u64(2) + vector.tobytes()
        back = wire.decode(Heavy, data)
        assert back.vector.dtype == dtype
        assert back.vector.tolist() == [1, 2]
        # A restored room goes on adding into its sum.
        assert back.vector.flags.writeable


def test_secrets_are_written_bare_and_come_back_as_secrets() -> None:
    value = Secrets(Seed(bytes(range(32))), Secret(b"\x07" * 33))
    assert wire.encode(value) == bytes(range(32)) + b"\x07" * 33
    back = wire.decode(Secrets, wire.encode(value))
    assert (type(back.seed), type(back.share)) == (Seed, Secret)
    assert back == value


def test_what_must_be_supplied_is_never_written() -> None:
    own = object()
    assert wire.encode(Restorable(own, 3)) == b"\x03"
    assert wire.decode(Restorable, b"\x03", {object: own}) == Restorable(own, 3)


# --- properties


@given(outers)
def test_every_value_comes_back(value: Outer) -> None:
    assert wire.decode(Outer, wire.encode(value)) == value


@given(outers, st.binary(min_size=1, max_size=3))
def test_every_byte_must_be_consumed(value: Outer, more: bytes) -> None:
    with pytest.raises(Undecodable, match="too many"):
        wire.decode(Outer, wire.encode(value) + more)


def test_cut_at_every_byte_nothing_is_a_value() -> None:
    data = wire.encode(SAMPLE)
    for size in range(len(data)):
        with pytest.raises(Undecodable):
            wire.decode(Outer, data[:size])


def accepted(kind: type[Any], data: bytes) -> bool:
    """Whether bytes are a value; if so, they are the only spelling of it."""
    try:
        value = wire.decode(kind, data)
    except Undecodable:
        return False
    assert wire.encode(value) == data
    return True


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_in_its_only_spelling_or_undecodable(data: bytes) -> None:
    for kind in (Outer, Heavy, Inner):
        accepted(kind, data)


def test_with_any_one_byte_changed_the_bytes_are_another_value_or_none() -> None:
    data = wire.encode(SAMPLE)
    outcomes = [
        accepted(Outer, data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        for place in range(len(data))
        for flip in (1, 0x80, 0xFF)
    ]
    assert any(outcomes)
    assert not all(outcomes)


# --- sizes


HUGE = [2**20, 2**31, 2**32, 2**40, 2**63, 2**64 - 1]


@pytest.mark.parametrize("length", HUGE)
@pytest.mark.parametrize(
    ("kind", "before"),
    [
        (Heavy, b""),
        (Heavy, u64(0) + b"\x04"),
        (Inner, b"\0"),
        (tuple[Inner, ...], b""),
        (frozenset[Name], b""),
        (dict[Name, Bytes16], b""),
        (tuple[Bytes32 | None, ...], b""),
    ],
    ids=["payload", "vector", "text", "tuple", "set", "mapping", "options"],
)
def test_an_announced_length_is_checked_before_anything_is_allocated(kind: Any, before: bytes, length: int) -> None:
    data = before + u64(length) + bytes(1000)
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable, match="does not fit"):
            wire.coder(kind).read(wire.Reader(data))
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_a_large_payload_is_neither_copied_when_written_nor_when_read() -> None:
    payload = bytes(1 << 22)
    pieces = wire.pieces(Heavy(payload, np.zeros(0, np.uint64)))
    assert any(piece is payload for piece in pieces)
    data = b"".join(pieces)
    tracemalloc.start()
    try:
        back = wire.decode(Heavy, data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()
    assert isinstance(back.payload, memoryview)
    assert back.payload.obj is data


def test_a_small_field_does_not_keep_its_frame_alive() -> None:
    assert type(wire.decode(Outer, memoryview(wire.encode(SAMPLE))).bits) is bytes


# --- errors


@pytest.mark.parametrize(
    ("kind", "data", "named"),
    [
        (Colour, b"\x02", "no member 2"),
        (Inner | None, b"\x02", "neither absent nor present"),
        (Text, u64(1) + b"\xff", "not UTF-8"),
        (Text, u64(501) + bytes(501), "does not fit"),
        (Bitmap, u64((1 << 17) + 1) + bytes((1 << 17) + 1), "does not fit"),
        (Fraction, u64(3) + b"2/4", "lowest terms"),
        (Fraction, u64(4) + b"1/-2", "lowest terms"),
        (Fraction, u64(4) + b"01/2", "lowest terms"),
        (Fraction, u64(4) + b" 1/2", "lowest terms"),
        (Fraction, u64(1) + b"1", "not a rational"),
        (Fraction, u64(3) + b"1/0", "not a rational"),
        (Fraction, u64(3) + b"x/1", "not a rational"),
        (Fraction, u64(201) + b"1" * 201, "does not fit"),
        (frozenset[Name], u64(2) + u64(2) + u64(1), "ascend"),
        (frozenset[Name], u64(2) + u64(1) + u64(1), "ascend"),
        (dict[Name, Bytes16], u64(2) + 2 * (u64(1) + bytes(16)), "ascend"),
        (Vector, b"\x05" + u64(0), "unknown number type"),
        (Bytes32, bytes(31), "32 bytes expected, 31 left"),
    ],
)
def test_each_other_spelling_is_refused_by_name(kind: Any, data: bytes, named: str) -> None:
    with pytest.raises(Undecodable, match=named):
        wire.coder(kind).read(wire.Reader(data))


@pytest.mark.parametrize(
    ("hint", "value"),
    [(Bytes32, bytes(31)), (Bytes32, bytes(33)), (Bitmap, bytes((1 << 17) + 1)), (Text, "x" * 501)],
)
def test_what_could_not_be_read_back_is_not_written(hint: Any, value: object) -> None:
    with pytest.raises(Undecodable):
        wire.coder(hint).write(value, [])


@pytest.mark.parametrize(
    "hint", [object, float, tuple[int, int], int | str, list[int], Annotated[int, "?"], Inner | Outer | None]
)
def test_a_type_without_a_wire_form_is_our_bug_and_says_so(hint: Any) -> None:
    with pytest.raises(TypeError, match="wire form"):
        wire.coder(hint)


def test_undecodable_bytes_blame_nobody_by_themselves() -> None:
    assert issubclass(Undecodable, ProtocolError)
    assert not hasattr(Undecodable("x"), "peer")
