"""binding: an exact convolution in Python's integers as the judge, linearity, every sum that is not the one hashed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import negacyclic
from secagg.ckks import binding
from secagg.ckks.binding import (
    HASH_BYTES,
    LABEL_KNAPSACK,
    MODULUS,
    MOST_CLIENTS,
    MOST_DIGIT,
    Hash,
    Knapsack,
    added,
    digits_of,
    hash_from_bytes,
    hash_to_bytes,
    log_root_hermite,
    shortest_found,
)
from secagg.ckks.cipher import add_into
from secagg.ckks.wire import WIDTHS, largest, pack_into, packed_bytes, unpack
from secagg.errors import BadCiphertext, BadParameters, NoParameters
from secagg.keys import Seed, derive
from secagg.negacyclic import PRIME, N, Residues, transform_pairs
from secagg.prg import Stream
from secagg.workers import Workers

CONTEXT = bytes(range(32))
KEY_BYTES = 6 * N
PART = 96
UPLOADS = 4


def knapsack(width: int = 6, blocks: int = 2, clients: int = UPLOADS) -> Knapsack:
    return Knapsack(CONTEXT, clients, blocks, width)


def half_of(seed: int, width: int = 6, blocks: int = 2) -> bytearray:
    residues = np.random.default_rng(seed).integers(0, PRIME, blocks * N, dtype=np.uint64)
    half = bytearray(packed_bytes(residues.size, width))
    pack_into(half, residues, width)
    return half


def key(place: int) -> list[int]:
    """a_k, by its definition: three signed words a coefficient, coefficients k and k + N/2 side by side."""
    stream = Stream(derive(Seed(CONTEXT), LABEL_KNAPSACK, CONTEXT, (place // PART).to_bytes(4, "little")))
    limbs = np.frombuffer(stream.bytes(place % PART * KEY_BYTES, KEY_BYTES), "<i2").reshape(3, N).tolist()
    return in_order([(low + (middle << 16) + (high << 32)) % MODULUS for low, middle, high in zip(*limbs, strict=True)])


def in_order(pairs: list[int]) -> list[int]:
    return pairs[0::2] + pairs[1::2]


def words(half: bytes | bytearray, width: int) -> list[int]:
    """The digits of a half: words of 16 bits of its planes, bytes of a plane of bytes."""
    count = len(half) // width
    even = width - width % 2 if width != 7 else 6
    found = np.frombuffer(half, "<u2", count * even // 2).tolist()
    return found + list(half[count * even :])


def exact_product(x: list[int], y: list[int]) -> list[int]:
    """x y in Z[X]/(X^N + 1) by one multiplication of Python integers, for numbers that are not negative."""
    left, right = (int.from_bytes(b"".join(c.to_bytes(16, "little") for c in p), "little") for p in (x, y))
    data = (left * right).to_bytes(32 * N, "little")
    slots = [int.from_bytes(data[16 * k : 16 * k + 16], "little") for k in range(2 * N)]
    return [low - high for low, high in zip(slots[:N], slots[N:], strict=True)]


def exact_hash(digits: list[int], keys: Any = key) -> list[int]:
    total = [0] * N
    for place in range(len(digits) // N):
        product = exact_product(keys(place), in_order(digits[place * N : (place + 1) * N]))
        total = [one + other for one, other in zip(total, product, strict=True)]
    return [value % MODULUS for value in total]


def summed(knap: Knapsack, halves: list[bytearray]) -> tuple[Any, list[Hash]]:
    sums = knap.zeros()
    for half in halves:
        knap.add_digits(sums, half)
    return sums, [knap.hash(half) for half in halves]


# --- known answers ------------------------------------------------------------------------------------


def test_the_modulus_is_prime_and_splits_the_ring_in_two() -> None:
    assert MODULUS == 2**48 - 59
    assert MODULUS % 8 == 5
    odd, twos = MODULUS - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        assert pow(base, odd, MODULUS) == 1 or any(pow(base, odd << k, MODULUS) == MODULUS - 1 for k in range(twos))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_hash_is_the_knapsack_of_exact_products(width: int) -> None:
    half = half_of(width, width)
    assert knapsack(width).hash(half).tolist() == exact_hash(words(half, width))


def test_polynomials_of_several_runs_and_keystreams_have_keys_of_their_own() -> None:
    blocks, places = 40, (0, 11, 12, 95, 96, 119)
    assert knapsack(blocks=blocks).polynomials > PART
    digits = [0] * (3 * blocks * N)
    for place in places:
        digits[place * N + place] = 40000 + place
    half = np.array(digits, "<u2").tobytes()
    expected = [0] * N
    for place in places:
        monomial = [0] * N
        monomial[place] = 40000 + place
        product = exact_product(key(place), in_order(monomial))
        expected = [(one + other) % MODULUS for one, other in zip(expected, product, strict=True)]
    assert knapsack(blocks=blocks).hash(half).tolist() == expected


@pytest.mark.parametrize("word", [-(1 << 15), (1 << 15) - 1])
def test_the_largest_digits_and_limbs_are_exact(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    """Twelve polynomials, a whole run, of nothing but extremes: the error bound at its worst."""

    class Extreme:
        def __init__(self, *_: object) -> None:
            pass

        def read_into(self, scratch: memoryview, count: int) -> None:
            scratch[:count] = word.to_bytes(2, "little", signed=True) * (count // 2)

    monkeypatch.setattr(binding, "Keystream", Extreme)
    knap = knapsack(blocks=4)
    half = b"\xff" * packed_bytes(4 * N, 6)
    same = [(word + (word << 16) + (word << 32)) % MODULUS] * N
    assert knap.hash(half).tolist() == exact_hash([MOST_DIGIT] * (12 * N), lambda _: same)


def test_rounding_is_far_from_its_bound() -> None:
    limbs, digits = np.full((12, N), -(2.0**15)), np.full((12, N), 2.0**16 - 1)
    limbs[:, ::3] *= -1
    unrounded = negacyclic._coefficients(np.sum(transform_pairs(limbs) * transform_pairs(digits), axis=0))
    assert np.max(np.abs(unrounded - np.rint(unrounded))) < 0.05
    assert 45 * 2.0**-53 * 12 * 2**31 * N < 0.27


def test_sums_of_the_most_clients_are_exact() -> None:
    """65,536 uploads of nothing but ones, by way of their digit sums alone."""
    knap = knapsack(clients=MOST_CLIENTS)
    half = b"\xff" * packed_bytes(2 * N, 6)
    sums = np.full(knap.polynomials * N, MOST_CLIENTS * MOST_DIGIT, np.uint32)
    one = knap.hash(half)
    assert knap.hash_of_sums(sums).tolist() == [MOST_CLIENTS * int(residue) % MODULUS for residue in one]
    assert knap.binds(sums, [one] * MOST_CLIENTS)
    assert knap.residues(sums).ravel().tolist() == [MOST_CLIENTS * (((1 << 48) - 1) << 6) % PRIME] * (2 * N)


def test_root_hermite_factors_are_those_of_the_thesis() -> None:
    """Chen's table: block sizes for 1.007, 1.006 and 1.005."""
    assert [round(2 ** log_root_hermite(size), 4) for size in (168, 216, 286)] == [1.007, 1.006, 1.005]
    assert shortest_found() == pytest.approx(45.97, abs=0.01)


# --- properties ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_digit_sums_are_bound_and_tell_the_sum_of_residues(width: int) -> None:
    """Shifting what was dropped after the sum is the same as before it: both are linear modulo q."""
    knap, halves = knapsack(width), [half_of(n, width) for n in range(UPLOADS - 1)]
    top = bytearray(packed_bytes(2 * N, width))
    pack_into(top, np.full(2 * N, PRIME - 1, np.uint64), width)
    halves.append(top)
    sums, hashes = summed(knap, halves)
    assert knap.binds(knap.from_bytes(knap.to_bytes(sums)), hashes)
    expected = np.zeros(2 * N, np.uint64)
    for half in halves:
        add_into(expected, unpack(half, 2 * N, width))
    np.testing.assert_array_equal(knap.residues(sums).ravel(), expected)


@given(numbers=st.lists(st.integers(0, largest(3)), min_size=2, max_size=8), width=st.sampled_from(WIDTHS))
@settings(max_examples=20)
def test_hashes_add_up_as_digits_do(numbers: list[int], width: int) -> None:
    knap = knapsack(width, blocks=1, clients=8)
    halves = []
    for place, number in enumerate(numbers):
        residues: Residues = np.zeros(N, np.uint64)
        residues[place * 97 % N] = number
        halves.append(bytearray(packed_bytes(N, width)))
        pack_into(halves[-1], residues, width)
    sums, hashes = summed(knap, halves)
    np.testing.assert_array_equal(knap.hash_of_sums(sums), added(hashes))


def test_workers_change_nothing_and_contexts_everything() -> None:
    half = half_of(1, blocks=70)
    with ThreadPoolExecutor(2) as threads:
        shared = knapsack(blocks=70).hash(half, Workers(threads, 2))
    np.testing.assert_array_equal(shared, knapsack(blocks=70).hash(half))
    other = Knapsack(bytes(32), UPLOADS, 70, 6).hash(half)
    assert not np.any(shared == other)


def test_hashes_travel_in_six_bytes_a_residue() -> None:
    hashed = knapsack().hash(half_of(1))
    assert len(hash_to_bytes(hashed)) == HASH_BYTES == 12288
    np.testing.assert_array_equal(hash_from_bytes(hash_to_bytes(hashed)), hashed)


# --- sums that are not those that were hashed ---------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{0: 1}, {5: -1}, {7: 1, 8: -1}, {3: 1, 3 + N: -1}, {0: 1 << 16}, {2 * 2 * N: 1, 1: -(1 << 16)}]
)
def test_moved_digits_are_not_bound(change: dict[int, int]) -> None:
    knap = knapsack()
    sums, hashes = summed(knap, [half_of(n) for n in range(UPLOADS)])
    assert knap.binds(sums, hashes)
    for place, by in change.items():
        sums[place] = int(sums[place]) + by if 0 <= int(sums[place]) + by < 1 << 32 else int(sums[place]) - by
    np.minimum(sums, UPLOADS * MOST_DIGIT, out=sums)
    assert not knap.binds(sums, hashes)


def test_one_upload_more_or_less_or_twice_is_not_bound() -> None:
    knap, halves = knapsack(), [half_of(n) for n in range(UPLOADS)]
    sums, hashes = summed(knap, halves)
    fewer, _ = summed(knap, halves[1:])
    twice, _ = summed(knap, [halves[0], *halves[:-1]])
    alone, _ = summed(knap, halves[:1])
    for wrong in (fewer, twice, alone):
        assert not knap.binds(wrong, hashes)
    assert not knap.binds(sums, hashes[::-1][1:] + hashes[:1])


def test_digit_sums_beyond_what_so_many_uploads_have_are_refused() -> None:
    """The norm that the knapsack was proved for rests on it."""
    knap = knapsack()
    sums, hashes = summed(knap, [half_of(n) for n in range(UPLOADS)])
    sums[9] = UPLOADS * MOST_DIGIT + 1
    with pytest.raises(BadCiphertext, match="larger than 4 uploads can make it"):
        knap.binds(sums, hashes)
    sums[9] = UPLOADS * MOST_DIGIT
    assert not knap.binds(sums, hashes)


# --- what is refused by name --------------------------------------------------------------------------


def test_lengths_and_numbers_that_are_none() -> None:
    knap, sums = knapsack(), knapsack().zeros()
    for length in (0, 6 * 2 * N - 1, 6 * 2 * N + 1):
        with pytest.raises(BadCiphertext, match=f"{length} bytes for"):
            knap.hash(bytes(length))
        with pytest.raises(BadCiphertext, match=f"{length} bytes for"):
            knap.add_digits(sums, bytes(length))
    for length in (0, knap.sums_bytes - 1, knap.sums_bytes + 4):
        with pytest.raises(BadCiphertext, match=f"{length} bytes of digit sums"):
            knap.from_bytes(bytes(length))
    for length in (0, HASH_BYTES - 1, HASH_BYTES + 6):
        with pytest.raises(BadCiphertext, match=f"{length} bytes for"):
            hash_from_bytes(bytes(length))
    too_large = np.zeros(N, np.uint64)
    too_large[3] = MODULUS
    with pytest.raises(BadCiphertext, match="not below its modulus"):
        hash_from_bytes(hash_to_bytes(too_large))
    for wrong in (sums[:-1], sums.astype(np.uint64), sums.reshape(2, -1)):
        for use in (knap.residues, knap.hash_of_sums, lambda each: knap.check_range(each, 1)):
            with pytest.raises(BadParameters, match="digit sums in uint32"):
                use(wrong)
    for count in (0, UPLOADS + 1):
        with pytest.raises(BadParameters, match=f"{count} uploads for a knapsack of 1 to 4"):
            knap.check_range(sums, count)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((MOST_CLIENTS + 1, 1, 6), NoParameters, "do not fit 32 bits"),
        ((MOST_CLIENTS, 1 << 18, 6), NoParameters, "invite fewer clients"),
        ((1000, 1 << 30, 6), NoParameters, "differ by 2\\^47.3, and differences of 2\\^46.0"),
        ((0, 1, 6), BadParameters, "clients is 0"),
        ((1.0, 1, 6), BadParameters, "clients is 1.0"),
        ((1, 0, 6), BadParameters, "blocks is 0"),
        ((1, 1, 8), BadParameters, "3 to 7 bytes"),
    ],
)
def test_a_knapsack_that_does_not_bind_cannot_be_made(arguments: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Knapsack(CONTEXT, *arguments)


def test_the_most_that_is_bound() -> None:
    """Ten million values at three digits, over the most clients, and not 2^46 / 2^32 squared of them."""
    Knapsack(CONTEXT, MOST_CLIENTS, 10_000_000 // N, 6)
    most = int((2 ** shortest_found() / (MOST_CLIENTS * MOST_DIGIT)) ** 2 / (N * digits_of(6)))
    Knapsack(CONTEXT, MOST_CLIENTS, most, 6)
    with pytest.raises(NoParameters):
        Knapsack(CONTEXT, MOST_CLIENTS, most + 2, 6)
