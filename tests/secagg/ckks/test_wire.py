"""wire: identity up to rounding, halves to even, parts in any order, and every number that no residue becomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.ckks import cipher
from secagg.ckks.wire import WIDTHS, check_planes, dropped, largest, pack_into, packed_bytes, shorten, unpack
from secagg.errors import BadCiphertext, BadParameters
from secagg.negacyclic import PRIME, PRIME_BITS, Residues

DROPS = {3: 30, 4: 22, 5: 14, 6: 6, 7: 0}
EDGES = [0, 1, 2, PRIME // 2, PRIME // 2 + 1, PRIME - 2, PRIME - 1]


def residues_of(values: list[int]) -> Residues:
    return np.array(values, np.uint64)


def packed(residues: Residues, width: int) -> bytearray:
    buffer = bytearray(packed_bytes(residues.size, width))
    pack_into(buffer, residues, width)
    return buffer


def rounded(residue: int, drop: int) -> int:
    """residue / 2^drop to the nearest integer, halves to even, modulo 2^(54 - drop): by Python's own rounding."""
    whole, rest = divmod(residue, 1 << drop)
    half = 1 << drop >> 1
    up = rest > half or (rest == half > 0 and whole % 2 == 1)
    return (whole + up) % (1 << (PRIME_BITS - drop))


def planes(numbers: list[int], width: int) -> bytes:
    """The low bytes of all numbers first, plane by plane."""
    sizes = {3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}[width]
    parts, start = [], 0
    for size in sizes:
        parts += [number.to_bytes(width, "little")[start : start + size] for number in numbers]
        start += size
    return b"".join(parts)


def distance(left: int, right: int) -> int:
    apart = (left - right) % PRIME
    return min(apart, PRIME - apart)


# --- known answers


def test_what_each_width_drops() -> None:
    assert tuple(DROPS) == WIDTHS
    assert {width: dropped(width) for width in WIDTHS} == DROPS
    assert [packed_bytes(10, width) for width in WIDTHS] == [30, 40, 50, 60, 70]


def test_the_largest_numbers() -> None:
    # q - 1 = 2^54 - 77824, and 77824 is 1216 times 2^6 or 4.75 times 2^14. Coarser, it rounds to 2^54, which is 0.
    assert largest(3) == 2**24 - 1
    assert largest(4) == 2**32 - 1
    assert largest(5) == 2**40 - 5
    assert largest(6) == (PRIME - 1) >> 6 == 2**48 - 1216
    assert largest(7) == PRIME - 1


@pytest.mark.parametrize("width", WIDTHS)
def test_every_legal_number_stands_for_a_residue_below_q(width: int) -> None:
    assert largest(width) << dropped(width) < PRIME


def test_planes_are_little_endian_low_first() -> None:
    pair = residues_of([0x01020304050607, 0x11121314151617])
    assert packed(pair, 7).hex(" ", 1) == "07 06 05 04 17 16 15 14 03 02 13 12 01 11"
    top = residues_of([0x010203 << 30, 0x111213 << 30])
    assert packed(top, 3).hex(" ", 1) == "03 02 13 12 01 11"


@pytest.mark.parametrize("width", WIDTHS)
def test_planes_by_hand(width: int) -> None:
    values = [*EDGES, *np.random.default_rng(width).integers(0, PRIME, 500).tolist()]
    numbers = [rounded(value, DROPS[width]) for value in values]
    assert shorten(residues_of(values), width).tolist() == numbers
    assert packed(residues_of(values), width) == planes(numbers, width)
    assert unpack(planes(numbers, width), len(values), width).tolist() == [number << DROPS[width] for number in numbers]


# --- rounding


@pytest.mark.parametrize("width", [3, 4])
def test_what_rounds_to_2_to_the_54_is_zero(width: int) -> None:
    half = 1 << (DROPS[width] - 1)
    first = (1 << PRIME_BITS) - half
    values = residues_of([first - 1, first, PRIME - 1])
    back = unpack(packed(values, width), 3, width)
    assert back.tolist() == [largest(width) << DROPS[width], 0, 0]


@pytest.mark.parametrize("width", [3, 4, 5, 6])
def test_halves_go_to_the_even_neighbour(width: int) -> None:
    drop = DROPS[width]
    half = 1 << (drop - 1)
    ties = residues_of([(k << drop) + half for k in range(6)])
    assert shorten(ties, width).tolist() == [0, 2, 2, 4, 4, 6]
    around = residues_of([(3 << drop) + half - 1, (2 << drop) + half + 1])
    assert shorten(around, width).tolist() == [3, 3]


@pytest.mark.parametrize("width", [5, 6])
def test_the_error_over_two_periods_has_mean_zero_and_the_planned_variance(width: int) -> None:
    drop = DROPS[width]
    values = np.arange(7 << drop, 9 << drop, dtype=np.uint64)
    error = (shorten(values, width) << np.uint64(drop)).astype(np.int64) - values.astype(np.int64)
    assert error.sum() == 0
    assert 12 * np.square(error).sum() == (4**drop + 2) * values.size


@given(st.sampled_from([3, 4, 5, 6]), st.data())
def test_errors_on_either_side_of_a_number_cancel(width: int, data: st.DataObject) -> None:
    drop = DROPS[width]
    middle, offset = data.draw(st.integers(1, 1000)) << drop, data.draw(st.integers(0, 1 << (drop - 1)))
    below, above = (int(short) << drop for short in shorten(residues_of([middle - offset, middle + offset]), width))
    assert below + above == 2 * middle


def test_the_sum_of_many_uploads_stays_centred() -> None:
    # Halves always up would leave 1/2 in every coefficient of every upload: 17 standard deviations here.
    values = np.random.default_rng(5).integers(0, PRIME, 400_000, dtype=np.uint64)
    back = unpack(packed(values, 6), values.size, 6)
    mean = np.mean((back.astype(np.int64) - values.astype(np.int64)).astype(np.float64))
    assert abs(mean) < 6 * np.sqrt(4**6 / 12 / values.size)


@given(st.sampled_from(WIDTHS), st.lists(st.integers(0, PRIME - 1) | st.sampled_from(EDGES), max_size=40))
def test_unpacking_is_within_half_of_what_is_dropped(width: int, values: list[int]) -> None:
    back = unpack(bytes(packed(residues_of(values), width)), len(values), width).tolist()
    for before, after in zip(values, back, strict=True):
        assert after < PRIME
        assert distance(before, after) <= (1 << DROPS[width]) >> 1


@given(st.sampled_from(WIDTHS), st.data())
def test_any_legal_numbers_survive_unpacking_and_packing(width: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, largest(width)), max_size=40))
    buffer = planes(numbers, width)
    assert packed(unpack(buffer, len(numbers), width), width) == buffer


# --- parts


@given(st.sampled_from(WIDTHS), st.lists(st.integers(0, 30), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_parts_in_any_order_are_the_whole(width: int, sizes: list[int], random: object) -> None:
    total = sum(sizes)
    values = np.random.default_rng(total).integers(0, PRIME, total, dtype=np.uint64)
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    order = list(zip(starts, sizes, strict=True))
    random.shuffle(order)  # type: ignore[attr-defined]
    buffer = bytearray(packed_bytes(total, width))
    for start, size in order:
        pack_into(memoryview(buffer), values[start : start + size], width, start)
    assert buffer == packed(values, width)


def test_rows_are_packed_flat_and_left_alone() -> None:
    rows = np.random.default_rng(6).integers(0, PRIME, (4, 8), dtype=np.uint64)
    for width in WIDTHS:
        before = rows.copy()
        assert packed(rows, width) == packed(rows.reshape(-1), width)
        assert packed(rows[:, ::2], width) == packed(np.ascontiguousarray(rows[:, ::2]), width)
        np.testing.assert_array_equal(rows, before)


def test_unpacked_residues_are_ours_to_change() -> None:
    for width in WIDTHS:
        buffer = bytes(packed(residues_of(EDGES), width))
        fresh = unpack(buffer, len(EDGES), width)
        fresh += np.uint64(1)
        assert fresh.dtype == np.uint64
        assert fresh.tolist() != unpack(buffer, len(EDGES), width).tolist()


# --- refusals


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("change", [-1, 1])
def test_another_length_is_refused(width: int, change: int) -> None:
    with pytest.raises(BadCiphertext, match="bytes for 10 residues"):
        unpack(bytes(10 * width + change), 10, width)
    with pytest.raises(BadCiphertext):
        unpack(bytes(10 * width), 10 + change, width)


@pytest.mark.parametrize("width", [5, 6, 7])
@pytest.mark.parametrize("place", [0, 4, 9])
def test_one_above_the_largest_number_is_refused(width: int, place: int) -> None:
    numbers = [0] * 10
    numbers[place] = largest(width)
    assert unpack(planes(numbers, width), 10, width)[place] == largest(width) << DROPS[width]
    for excessive in (largest(width) + 1, (1 << 8 * width) - 1):
        numbers[place] = excessive
        with pytest.raises(BadCiphertext, match="not below the modulus"):
            unpack(planes(numbers, width), 10, width)


@pytest.mark.parametrize("width", [3, 4])
def test_every_number_of_narrow_widths_is_legal(width: int) -> None:
    top = (1 << 8 * width) - 1
    assert unpack(planes([top], width), 1, width).tolist() == [top << DROPS[width]]


@pytest.mark.parametrize("width", [-1, 0, 1, 2, 8, 54, None, "7", 3.5])
def test_a_width_without_planes_is_refused(width: int) -> None:
    for attempt in (
        lambda: dropped(width),
        lambda: largest(width),
        lambda: packed_bytes(1, width),
        lambda: shorten(residues_of([1]), width),
        lambda: pack_into(bytearray(8), residues_of([1]), width),
        lambda: unpack(b"", 0, width),
    ):
        with pytest.raises(BadParameters, match="3 to 7 bytes"):
            attempt()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("size", "first"), [(4, 7), (11, 0), (1, 10), (1, -1), (4, -4)])
def test_a_part_outside_of_the_vector_is_refused_and_writes_nothing(width: int, size: int, first: int) -> None:
    buffer = bytearray(packed_bytes(10, width))
    with pytest.raises(BadParameters, match="hold no residues"):
        pack_into(buffer, np.ones(size, np.uint64), width, first)
    assert not any(buffer)


def test_planes_of_another_length_are_refused() -> None:
    with pytest.raises(BadParameters, match="hold no residues"):
        pack_into(bytearray(10 * 7 + 1), np.ones(10, np.uint64), 7)


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_packs_to_nothing(width: int) -> None:
    assert packed(residues_of([]), width) == b""
    assert unpack(b"", 0, width).size == 0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", [1, 5, 40])
def test_planes_are_added_as_their_residues_are(width: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts that do not divide the vector, onto sums next to the modulus, and the first of them alone."""
    monkeypatch.setattr(cipher, "ADDED_AT_ONCE", 16)
    values = [(7919 * place * PRIME // 40) % PRIME for place in range(39)] + [PRIME - 1]
    buffer = bytes(packed(residues_of(values), width))
    check_planes(buffer, len(values), width)
    total = residues_of([PRIME - 1 - place for place in range(size)])
    expected = [(int(a) + int(b)) % PRIME for a, b in zip(total, unpack(buffer, len(values), width), strict=False)]
    cipher.add_planes_into(total, buffer, len(values), width)
    assert total.tolist() == expected
