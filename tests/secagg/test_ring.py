"""Ring: words that wrap, centring, and the exact b-bit wire form, against Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import BadParameters
from secagg.ring import CHUNK, Ring, RingVector

BITS = range(1, 65)


def planes_of(bits: int) -> list[tuple[int, int]]:
    """(width, shift) of each plane, largest first, the largest in the lowest bits."""
    widths = [width for width in (64, 32, 16, 8, 4, 2, 1) if bits & width]
    return [(width, sum(widths[:place])) for place, width in enumerate(widths)]


def pack_slowly(bits: int, elements: list[int]) -> bytes:
    """One big integer per plane, element j at bit j * width."""
    packed = b""
    for width, shift in planes_of(bits):
        plane = sum((element >> shift) % 2**width << width * j for j, element in enumerate(elements))
        packed += plane.to_bytes((width * len(elements) + 7) // 8, "little")
    return packed


def words_of(ring: Ring, d: int, seed: int = 0) -> RingVector:
    generator = np.random.default_rng([seed, ring.bits, d])
    return generator.integers(0, 2**64, d, dtype=np.uint64).astype(ring.dtype)


# --- known answers


def test_three_elements_of_five_bits_packed_by_hand() -> None:
    # 5 = 4 + 1: low nibbles 6, 1, 15 in two bytes, then the fifth bits 1, 0, 1 in one.
    x = np.array([0b1_0110, 0b0_0001, 0b1_1111], dtype="<u2")
    assert Ring(5).pack(x) == bytes.fromhex("160f05")


def test_twenty_seven_bits_are_planes_of_16_8_2_1() -> None:
    assert planes_of(27) == [(16, 0), (8, 16), (2, 24), (1, 26)]
    x = np.array([0x6ABCDEF], dtype="<u4")
    assert Ring(27).pack(x) == bytes([0xEF, 0xCD, 0xAB, 0b10, 0b1])


@pytest.mark.parametrize(("bits", "word_bits"), [(1, 16), (16, 16), (17, 32), (32, 32), (33, 64), (64, 64)])
def test_the_word_is_the_smallest_that_holds_b_bits(bits: int, word_bits: int) -> None:
    ring = Ring(bits)
    assert (ring.word_bits, ring.dtype.itemsize * 8, ring.modulus) == (word_bits, word_bits, 2**bits)
    assert ring.dtype.str[1:] == f"u{word_bits // 8}"


# --- packing


@pytest.mark.parametrize("bits", BITS)
def test_packing_equals_the_integer_reference(bits: int) -> None:
    ring = Ring(bits)
    for d in range(68):
        x = words_of(ring, d)
        packed = pack_slowly(bits, x.tolist())
        assert ring.pack(x) == packed
        assert ring.packed_bytes(d) == len(packed)
        assert ring.unpack(packed, d).tolist() == [element % 2**bits for element in x.tolist()]


@pytest.mark.parametrize("bits", [4, 7, 23, 32, 61])
@pytest.mark.parametrize("d", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_chunks_leave_no_seam(bits: int, d: int) -> None:
    ring = Ring(bits)
    x = words_of(ring, d)
    packed = ring.pack(x)
    for width, shift in planes_of(bits):
        size = (width * d + 7) // 8
        digits = (x.astype(np.uint64) >> np.uint64(shift)) % np.uint64(2**width)
        plane = sum(int(digit) << width * j for j, digit in enumerate(digits[-40:].tolist()))
        whole = int.from_bytes(packed[:size], "little")
        assert whole >> width * (d - 40) == plane
        packed = packed[size:]
    assert packed == b""
    assert (ring.unpack(ring.pack(x), d) == ring.reduce(x)).all()


@given(st.integers(1, 64), st.integers(0, 300), st.integers(0, 9))
def test_a_packed_vector_is_added_as_if_unpacked(bits: int, d: int, seed: int) -> None:
    ring = Ring(bits)
    total, x = words_of(ring, d, seed), words_of(ring, d, seed + 10)
    expected = [(a + b) % 2**bits for a, b in zip(total.tolist(), x.tolist(), strict=True)]
    ring.add_packed_into(total, memoryview(b"?" + ring.pack(x))[1:])
    assert ring.reduce(total).tolist() == expected


def test_packing_wastes_less_than_three_bytes() -> None:
    for bits in BITS:
        for d in range(200):
            assert 0 <= 8 * Ring(bits).packed_bytes(d) - bits * d < 24


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 23, 63])
def test_padding_bits_are_zero_or_refused(bits: int) -> None:
    ring = Ring(bits)
    refused = 0
    for d in range(1, 9):
        packed = ring.pack(words_of(ring, d))
        end = 0
        for width, _ in planes_of(bits):
            end += (width * d + 7) // 8
            for bit in range(width * d % 8 or 8, 8):
                spoilt = bytearray(packed)
                spoilt[end - 1] |= 1 << bit
                total = words_of(ring, d, seed=1)
                before = total.copy()
                with pytest.raises(BadParameters, match="padding"):
                    ring.add_packed_into(total, spoilt)
                assert (total == before).all()
                refused += 1
    assert refused > 0


@pytest.mark.parametrize("bits", [1, 7, 16, 23, 36, 64])
def test_a_packed_vector_of_another_length_is_refused(bits: int) -> None:
    ring = Ring(bits)
    packed = ring.pack(words_of(ring, 17))
    for wrong in (b"", packed[:-1], packed + b"\0", packed + packed):
        with pytest.raises(BadParameters, match="bytes"):
            ring.add_packed_into(ring.zeros(17), wrong)
        with pytest.raises(BadParameters, match="bytes"):
            ring.unpack(wrong, 17)


def test_a_monstrous_length_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(BadParameters, match="bytes"):
        Ring(23).unpack(b"\0" * 64, 2**60)


# --- arithmetic


@pytest.mark.parametrize("bits", BITS)
def test_centring_inverts_reduction(bits: int) -> None:
    ring = Ring(bits)
    half = 2 ** (bits - 1)
    integers = np.array(
        sorted({-half, -half // 2, -1, 0, half // 2, half - 1} & set(range(-half, half)))
        if bits < 5
        else [-half, -half // 2, -2, -1, 0, 1, half // 2, half - 1],
        dtype=np.int64,
    )
    words = ring.reduce(integers)
    assert words.tolist() == [z % 2**bits for z in integers.tolist()]
    assert ring.centre(words).tolist() == integers.tolist()


@pytest.mark.parametrize("bits", [1, 5, 8, 13, 16, 23, 32, 33, 63, 64])
def test_the_sum_of_representatives_is_that_of_python_integers_modulo_2_to_the_64(bits: int) -> None:
    ring = Ring(bits)
    half = 2 ** (bits - 1)
    lowest = np.full(CHUNK + 3, half, np.uint64).astype(ring.dtype)
    for x in (ring.zeros(0), words_of(ring, 1), words_of(ring, 2 * CHUNK + 5), lowest):
        exact = sum((word + half) % 2**bits - half for word in x.tolist())
        assert ring.sum_centred(x) == (exact + 2**63) % 2**64 - 2**63


@given(st.integers(1, 64), st.integers(0, 99))
def test_words_add_and_subtract_like_residues_even_when_unreduced(bits: int, seed: int) -> None:
    ring = Ring(bits)
    total, x = words_of(ring, 9, seed), words_of(ring, 9, seed + 1)
    start = total.tolist()
    ring.add_into(total, x)
    assert ring.reduce(total).tolist() == [(a + b) % 2**bits for a, b in zip(start, x.tolist(), strict=True)]
    ring.sub_from(total, x)
    ring.sub_from(total, x)
    assert ring.reduce(total).tolist() == [(a - b) % 2**bits for a, b in zip(start, x.tolist(), strict=True)]


# --- refusals


@pytest.mark.parametrize("bits", [0, 65, -1, True, 23.0, "23", None])
def test_a_ring_has_1_to_64_bits(bits: int) -> None:
    with pytest.raises(BadParameters, match="1 to 64 bits"):
        Ring(bits)


@pytest.mark.parametrize("length", [0, 1, 4, 6])
def test_nothing_broadcasts_over_another_length(length: int) -> None:
    ring = Ring(23)
    total = ring.zeros(5)
    for operation in (ring.add_into, ring.sub_from):
        with pytest.raises(BadParameters, match="differ"):
            operation(total, np.ones(length, dtype=ring.dtype))
    assert not total.any()


@pytest.mark.parametrize(
    "x",
    [
        np.uint32(1).reshape(()),
        np.ones((5, 1), "<u4"),
        np.ones(5, "<u8"),
        np.ones(5, "<i4"),
        np.ones(5),
        np.ones(5, ">u4"),
    ],
    ids=["scalar", "matrix", "word", "sign", "float", "byte order"],
)
def test_another_shape_or_word_is_refused(x: RingVector) -> None:
    ring = Ring(23)
    for refused in (
        lambda: ring.add_into(ring.zeros(5), x),
        lambda: ring.sub_from(x, ring.zeros(5)),
        lambda: ring.centre(x),
        lambda: ring.pack(x),
        lambda: ring.add_packed_into(x, ring.pack(ring.zeros(5))),
    ):
        with pytest.raises(BadParameters, match="expected one row"):
            refused()


@pytest.mark.parametrize("integers", [np.ones(3), np.ones((3, 1), np.int64), np.ones(3, np.bool_)])
def test_only_integers_are_reduced(integers: RingVector) -> None:
    with pytest.raises(BadParameters, match="integers"):
        Ring(23).reduce(integers)


def test_a_vector_has_no_negative_length() -> None:
    with pytest.raises(BadParameters, match="-1"):
        Ring(23).packed_bytes(-1)
