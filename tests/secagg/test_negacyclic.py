"""negacyclic: exact integers by Kronecker substitution as the judge, the rounding bound measured, ring laws."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from secagg import negacyclic
from secagg.errors import BadParameters
from secagg.negacyclic import (
    EXCESS,
    PRIME,
    PRIME_BITS,
    Multiplier,
    N,
    Residues,
    Spectrum,
    big_product,
    centred,
    digits_needed,
    in_pairs,
    interpolate,
    reduced,
    rounding_error,
    small_product,
    transform,
)

SLOT = 128
UNIT = 2.0**-53
HALF = PRIME // 2


def as_integer(polynomial: Sequence[int]) -> int:
    """The polynomial at 2^128."""
    positive, negative = bytearray(), bytearray()
    for coefficient in polynomial:
        positive += max(coefficient, 0).to_bytes(SLOT // 8, "little")
        negative += max(-coefficient, 0).to_bytes(SLOT // 8, "little")
    return int.from_bytes(positive, "little") - int.from_bytes(negative, "little")


def exact_product(x: Sequence[int], y: Sequence[int]) -> list[int]:
    """x y in Z[X]/(X^N + 1) by one multiplication of Python integers."""
    size, bias = SLOT // 8, 1 << (SLOT - 1)
    product = as_integer(x) * as_integer(y) + as_integer([bias] * (2 * N))
    data = product.to_bytes(2 * N * size + 1, "little", signed=True)
    digits = [int.from_bytes(data[k * size : (k + 1) * size], "little") - bias for k in range(2 * N)]
    return [low - high for low, high in zip(digits[:N], digits[N:], strict=True)]


def modulo_q(integers: Sequence[int]) -> Residues:
    return np.array([value % PRIME for value in integers], np.uint64)


def times(x: Residues, y: Residues) -> Residues:
    return modulo_q(exact_product(x.tolist(), y.tolist()))


def by_small(small: NDArray[np.int64], key: Residues) -> Residues:
    return small_product(transform(small.astype(np.float64)), Spectrum.of(key))


def monomial(place: int, coefficient: int = 1) -> list[int]:
    return [coefficient if k == place else 0 for k in range(N)]


def of_limbs(limb: int) -> int:
    return sum(limb << (14 * place) for place in range(4))


def random_residues(seed: int, *shape: int) -> Residues:
    return np.random.default_rng(seed).integers(0, PRIME, (*shape, N), dtype=np.uint64)


def random_ternary(seed: int, *shape: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(-1, 2, (*shape, N))


KEYS = {
    "zero": modulo_q([0] * N),
    "random": random_residues(1),
    "all q/2": modulo_q([HALF] * N),
    "all q/2 + 1": modulo_q([HALF + 1] * N),
    "all ones": modulo_q([1] * N),
    "all q - 1": modulo_q([-1] * N),
    "alternating": modulo_q([HALF, HALF + 1] * (N // 2)),
    "widest low half": modulo_q([-(1 << 26) + ((1 << 26) - 1 << 27)] * N),
    "widest high half": modulo_q([-(1 << 26) - ((1 << 26) - 1 << 27)] * N),
    "lowest limbs": modulo_q([of_limbs(-(1 << 13) + 1)] * N),
    "highest limbs": modulo_q([of_limbs((1 << 13) - 1)] * N),
    "first": modulo_q(monomial(0, HALF)),
    "last": modulo_q(monomial(N - 1, HALF)),
}
SMALL = {
    "zero": np.zeros(N, np.int64),
    "random": random_ternary(2),
    "all ones": np.ones(N, np.int64),
    "all minus ones": -np.ones(N, np.int64),
    "alternating": np.array([1, -1] * (N // 2)),
    "first": np.array(monomial(0)),
    "last": np.array(monomial(N - 1, -1)),
    "norm 2^9": np.array([11, -11, 12, 11] * (N // 4)),
}


# --- the judge, and the numbers


def test_the_judge_reads_signs_and_wraps() -> None:
    assert exact_product(monomial(3, -5), monomial(N - 1, 7)) == monomial(2, 35)
    x, y = [1, -2, 3], [-4, 5, 6]
    schoolbook = [-4, 13, -16, 3, 18]
    assert exact_product(x + [0] * (N - 3), y + [0] * (N - 3)) == schoolbook + [0] * (N - 5)


def test_the_prime_splits_completely() -> None:
    assert PRIME == 18014398509404161 == 2**54 - 77823 == (1 << PRIME_BITS) - EXCESS
    assert PRIME % (2 * N) == 1
    # Miller-Rabin with these bases decides below 2^64.
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        assert pow(base, odd, PRIME) == 1 or any(pow(base, odd << k, PRIME) == PRIME - 1 for k in range(twos))


@pytest.mark.parametrize("integers", [[0, 1, -1, PRIME - 1, PRIME, PRIME + 1, -PRIME, 2**54 - 1, 2**54, -(2**54)]])
def test_reduced_is_the_remainder(integers: list[int]) -> None:
    extremes = [-(2**63), 2**63 - 1, -(2**63) + 1, 511 * PRIME - 1, 512 * PRIME - 1, -512 * PRIME, -511 * PRIME - 1]
    array = np.array(integers + extremes, np.int64)
    before = array.copy()
    assert reduced(array).tolist() == [value % PRIME for value in integers + extremes]
    np.testing.assert_array_equal(array, before)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_reduced_is_the_remainder_of_any_word(integers: list[int]) -> None:
    assert reduced(np.array(integers, np.int64)).tolist() == [value % PRIME for value in integers]


def test_centred_is_the_representative_of_least_magnitude() -> None:
    residues = np.array([0, 1, HALF - 1, HALF, HALF + 1, PRIME - 1], np.uint64)
    assert centred(residues).tolist() == [0, 1, HALF - 1, HALF, -HALF, -1]
    assert reduced(centred(residues)).tolist() == residues.tolist()
    assert residues.tolist() == [0, 1, HALF - 1, HALF, HALF + 1, PRIME - 1]


# --- exactness


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("small", SMALL)
def test_small_product_is_the_integer_convolution(small: str, key: str) -> None:
    expected = modulo_q(exact_product(SMALL[small].tolist(), KEYS[key].tolist()))
    np.testing.assert_array_equal(by_small(SMALL[small], KEYS[key]), expected)


@pytest.mark.parametrize("other", KEYS)
def test_big_product_is_the_integer_convolution(other: str) -> None:
    rows = np.stack(list(KEYS.values()))
    product = big_product(rows, KEYS[other])
    for got, row in zip(product, rows, strict=True):
        np.testing.assert_array_equal(got, times(row, KEYS[other]))


def test_batches_of_any_size_are_the_products_one_by_one() -> None:
    key, other = random_residues(3), random_residues(4)
    for count in (0, 1, 7, 8, 9, 33):
        rows, small = random_residues(5, count), random_ternary(6, count)
        singles = [big_product(row, other) for row in rows]
        np.testing.assert_array_equal(big_product(rows, other), np.array(singles, np.uint64).reshape(count, N))
        singles = [by_small(row, key) for row in small]
        np.testing.assert_array_equal(by_small(small, key), np.array(singles, np.uint64).reshape(count, N))


def test_products_of_many_axes_and_many_keys() -> None:
    rows, small = random_residues(7, 3, 2), random_ternary(8)
    np.testing.assert_array_equal(big_product(rows, rows[0, 0])[2, 1], times(rows[2, 1], rows[0, 0]))
    many = small_product(transform(small.astype(np.float64)), Spectrum.of(rows))
    np.testing.assert_array_equal(many[1, 1], by_small(small, rows[1, 1]))


def test_arguments_are_left_alone() -> None:
    rows, key, small = random_residues(9, 2), random_residues(10), random_ternary(11).astype(np.float64)
    before = rows.copy(), key.copy(), small.copy()
    values, spectrum = transform(small), Spectrum.of(key)
    kept = values.copy(), spectrum.low.copy(), spectrum.high.copy()
    first = small_product(values, spectrum)
    big_product(rows, key)
    np.testing.assert_array_equal(small_product(values, spectrum), first)
    for now, then in zip((rows, key, small, values, spectrum.low, spectrum.high), (*before, *kept), strict=True):
        np.testing.assert_array_equal(now, then)


# --- how far from the integers

# What is seen is below a twelfth of it; what rounds wrongly is beyond 1/2.
SMALL_BOUND, LIMB_BOUND, SEEN = 1.6e-3, 6.1e-3, 1 / 12


def stated_bound(products: int, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    norms = np.linalg.norm(x.astype(np.float64)) * np.linalg.norm(y.astype(np.float64))
    return 9 * math.log2(N) * UNIT * float(norms) * products


def test_the_docstring_states_the_bound_at_the_widest_input() -> None:
    ones, half, limb = np.ones(N, np.int64), np.full(N, 1 << 26), np.full(N, 1 << 13)
    assert SMALL_BOUND > stated_bound(1, ones, half) > 1.5e-3
    assert LIMB_BOUND > stated_bound(4, limb, limb) > 6e-3
    # With the norm that small_product admits, rounding is still far from failing.
    assert stated_bound(1, SMALL["norm 2^9"], half) < 3e-2
    assert np.linalg.norm(SMALL["norm 2^9"]) <= 2**9


@pytest.mark.parametrize("key", ["random", "all q/2", "alternating", "widest low half", "widest high half"])
@pytest.mark.parametrize("small", ["random", "all ones", "alternating", "norm 2^9"])
def test_halves_come_within_the_bound_of_their_integers(small: str, key: str) -> None:
    low, high = negacyclic._halves(centred(KEYS[key]))
    np.testing.assert_array_equal(low + (high << 27), centred(KEYS[key]))
    for half in (low, high):
        assert np.abs(half).max() <= 1 << 26
        unrounded = negacyclic._coefficients(transform(SMALL[small].astype(np.float64)) * transform(half))
        exact = exact_product(SMALL[small].tolist(), half.tolist())
        assert np.abs(unrounded - np.array(exact, np.float64)).max() <= SEEN * stated_bound(1, SMALL[small], half)
        np.testing.assert_array_equal(interpolate(transform(SMALL[small]) * transform(half)), exact)


@pytest.mark.parametrize(
    ("left", "right"), [(-(1 << 13), -(1 << 13)), (-(1 << 13), (1 << 13) - 1), (8191, 8191), (None, None)]
)
def test_sums_of_four_limb_products_come_within_the_bound(left: int | None, right: int | None) -> None:
    rng = np.random.default_rng(12)

    def limbs(value: int | None) -> list[NDArray[np.int64]]:
        return [np.full(N, value) if value is not None else rng.integers(-(1 << 13), 1 << 13, N) for _ in range(4)]

    pairs = list(zip(limbs(left), limbs(right), strict=True))
    unrounded = negacyclic._coefficients(np.sum([transform(x) * transform(y) for x, y in pairs], axis=0))
    exact = np.sum([exact_product(x.tolist(), y.tolist()) for x, y in pairs], axis=0)
    assert np.abs(unrounded - exact.astype(np.float64)).max() <= SEEN * sum(stated_bound(1, x, y) for x, y in pairs)


def test_limbs_stay_within_14_bits_of_any_residue() -> None:
    residues = np.concatenate([random_residues(13), *KEYS.values()])
    integers = centred(residues)
    rest, joined = integers.copy(), np.zeros_like(integers)
    for place in range(4):
        digit = negacyclic._low_digit(rest, 14)
        assert digit.min() >= -(1 << 13)
        assert digit.max() < 1 << 13
        joined += digit << (14 * place)
        rest = (rest - digit) >> 14
    np.testing.assert_array_equal(joined, integers)


# --- modulo 2^Q

GAUSSIAN = np.rint(np.random.default_rng(21).normal(0, 4.53, N)).astype(np.int64)


def adversarial(bits: int) -> dict[str, tuple[int, int]]:
    """Words at even and at odd places: digits at their widest, and their edges."""
    widest, middle = 2 ** (bits - 1), 2 ** (-(-bits // 2) - 1)
    return {
        "ones": (1, 1),
        "minus ones": (2**bits - 1, 2**bits - 1),
        "most negative": (widest, widest),
        "most positive": (widest - 1, widest - 1),
        "alternating": (widest, widest - 1),
        "low digit most negative": (middle % 2**bits, middle % 2**bits),
        "both digits most negative": ((widest + middle) % 2**bits, (widest + middle) % 2**bits),
    }


def adversarial_words(bits: int) -> dict[str, Residues]:
    """What stands above Q bits is noise that has to be ignored."""
    rng = np.random.default_rng(bits)
    above = rng.integers(0, 2 ** (64 - bits), N, dtype=np.uint64) << np.uint64(bits)
    words = {"random": rng.integers(0, 2**bits, N, dtype=np.uint64) | above}
    for name, values in adversarial(bits).items():
        words[name] = np.array([*values] * (N // 2), np.uint64) | above
    return words


def low_signed(words: Residues, bits: int) -> NDArray[np.int64]:
    """The lowest bits as the representative in -2^(bits - 1) .. 2^(bits - 1) - 1."""
    low = (words & np.uint64(2**bits - 1)).astype(np.int64)
    return np.where(low >= 2 ** (bits - 1), low - 2**bits, low)


def aligned(words: Residues) -> NDArray[np.int64]:
    """What adds up all sizes of a word's digits in coefficient 0: 65 by the signs of x(1/X)."""
    reflected = np.concatenate([words[:1], words[:0:-1]])
    signs = np.where(low_signed(reflected, 16) < 0, -65, 65)
    signs[1:] *= -1
    return signs


def times_modulo(small: NDArray[np.int64], words: Residues, bits: int) -> Residues:
    """By the multiplier, from and to the order of the powers."""
    product = Multiplier.of(in_pairs(small), bits).times(in_pairs(words)) & np.uint64(2**bits - 1)
    natural = np.empty_like(product)
    natural[in_pairs(np.arange(N))] = product
    return natural


def test_pairs_are_coefficients_half_the_degree_apart() -> None:
    pairs = in_pairs(np.arange(2 * N).reshape(2, N))
    assert pairs[0, :6].tolist() == [0, N // 2, 1, N // 2 + 1, 2, N // 2 + 2]
    np.testing.assert_array_equal(pairs[1], pairs[0] + N)
    assert sorted(pairs[0].tolist()) == list(range(N))


FACTORS = {"gaussian": GAUSSIAN, "extreme": np.full(N, 65), "signs": np.array([65, -65] * (N // 2))}


@functools.cache
def by_even_and_odd_places(factor: str) -> tuple[list[int], list[int]]:
    return tuple(exact_product(FACTORS[factor].tolist(), part * (N // 2)) for part in ([1, 0], [0, 1]))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("bits", range(1, 55))
def test_the_multiplier_is_the_integer_convolution_at_every_modulus(bits: int, factor: str) -> None:
    small, words = FACTORS[factor], adversarial_words(bits)
    random = words["random"] & np.uint64(2**bits - 1)
    expected = {"random": exact_product(small.tolist(), random.tolist())}
    even, odd = by_even_and_odd_places(factor)
    for name, (at_even, at_odd) in adversarial(bits).items():
        expected[name] = [at_even * x + at_odd * y for x, y in zip(even, odd, strict=True)]
    for name, exact in expected.items():
        assert times_modulo(small, words[name], bits).tolist() == [x % 2**bits for x in exact], name


@pytest.mark.parametrize("bits", [33, 34, 48, 53, 54])
def test_the_multiplier_is_exact_for_the_largest_factor_it_takes(bits: int) -> None:
    largest = int(0.5 / rounding_error(bits, 2, math.sqrt(N)))
    words = adversarial_words(bits)["both digits most negative"]
    for small in (np.full(N, largest), np.where(np.arange(N) % 2, largest, -largest)):
        expected = [x % 2**bits for x in exact_product(small.tolist(), words.tolist())]
        assert times_modulo(small, words, bits).tolist() == expected
    with pytest.raises(BadParameters, match="no exact product"):
        Multiplier.of(np.full(N, largest + 1), bits)


@pytest.mark.parametrize("bits", [20, 33, 34, 43, 48, 54])
def test_products_modulo_2_to_the_q_come_within_the_bound_of_their_integers(bits: int) -> None:
    for name, words in adversarial_words(bits).items():
        if name not in ("random", "alternating", "both digits most negative"):
            continue
        for small in (GAUSSIAN, aligned(words)):
            norm = float(np.linalg.norm(small.astype(np.float64)))
            digits = digits_needed(bits, norm)
            assert digits is not None
            width = -(-bits // digits)
            low = low_signed(words, width)
            high = low_signed((words - low.view(np.uint64)) >> np.uint64(width), bits - width)
            for digit in (low, high) if digits == 2 else (low,):
                assert np.abs(digit).max() <= 2 ** (width - 1)
                unrounded = negacyclic._coefficients(transform(small.astype(np.float64)) * transform(digit))
                apart = np.abs(unrounded - np.array(exact_product(small.tolist(), digit.tolist()), np.float64)).max()
                assert apart <= SEEN * rounding_error(bits, digits, norm), name


def test_one_digit_serves_where_the_bound_allows_it() -> None:
    norm = 4.53 * math.sqrt(N)
    assert [digits_needed(bits, norm) for bits in (1, 33, 34, 54)] == [1, 1, 2, 2]
    assert rounding_error(33, 1, norm) < 0.5 <= rounding_error(34, 1, norm)
    # A word's lowest and highest size, the norm of N of them, and the factor of the docstring.
    assert math.isclose(rounding_error(54, 2, norm), 99 * UNIT * 2**26 * math.sqrt(N) * norm)
    assert digits_needed(54, 14978) == 2
    assert digits_needed(54, 14979) is None
    assert digits_needed(52, 2 * 14978) == 2


@pytest.mark.parametrize("bits", [1, 51, 52, 54])
def test_the_product_with_zero_is_zero(bits: int) -> None:
    """However small the factor, one digit brings 51 bits at most."""
    assert digits_needed(bits, 0.0) == (1 if bits <= 51 else 2)
    words = adversarial_words(bits)["random"]
    assert not times_modulo(np.zeros(N, np.int64), words, bits).any()


def test_blocks_are_multiplied_one_by_one_and_inputs_stay_as_they_are() -> None:
    for bits in (30, 54):
        words = np.concatenate([in_pairs(word) for word in adversarial_words(bits).values()])
        before, multiplier = words.copy(), Multiplier.of(in_pairs(GAUSSIAN), bits)
        together = multiplier.times(words)
        for first in range(0, words.size, N):
            np.testing.assert_array_equal(multiplier.times(words[first : first + N]), together[first : first + N])
        np.testing.assert_array_equal(words, before)
        assert multiplier.times(words[:0]).size == 0


@settings(max_examples=25)
@given(st.integers(1, 54), st.integers(0, 2**32 - 1))
def test_products_modulo_2_to_the_q_distribute(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 2**64, (2, N), dtype=np.uint64)
    u, v = rng.integers(-70, 71, (2, N))
    mask = np.uint64(2**bits - 1)

    def product(small: NDArray[np.int64], words: Residues) -> Residues:
        return Multiplier.of(small, bits).times(words)

    np.testing.assert_array_equal(product(u, x + y) & mask, (product(u, x) + product(u, y)) & mask)
    np.testing.assert_array_equal(product(u + v, x) & mask, (product(u, x) + product(v, x)) & mask)


@pytest.mark.parametrize("bits", [0, 55, -1, True, 33.0])
def test_a_modulus_of_other_bits_is_refused(bits: Any) -> None:
    with pytest.raises(BadParameters, match="1 to 54 bits"):
        Multiplier.of(GAUSSIAN, bits)


@pytest.mark.parametrize(
    "small", [GAUSSIAN[1:], GAUSSIAN[None], GAUSSIAN.astype(np.int32), GAUSSIAN.astype(np.float64)]
)
def test_a_factor_of_another_shape_is_refused(small: Any) -> None:
    with pytest.raises(BadParameters, match="coefficients in int64"):
        Multiplier.of(small, 33)


@pytest.mark.parametrize(
    "words", [np.zeros(N - 1, np.uint64), np.zeros(N, np.int64), np.zeros((1, N), np.uint64), np.zeros(N, np.float64)]
)
def test_words_that_are_no_blocks_are_refused(words: Any) -> None:
    with pytest.raises(BadParameters, match="blocks of 2048 words"):
        Multiplier.of(GAUSSIAN, 33).times(words)


# --- laws of the ring

SEEDS = st.integers(0, 2**32 - 1)
SPARSE = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, PRIME - 1)), min_size=1, max_size=6)


def of_terms(terms: list[tuple[int, int]]) -> Residues:
    polynomial = [0] * N
    for place, coefficient in terms:
        polynomial[place] = coefficient
    return modulo_q(polynomial)


@settings(max_examples=25)
@given(SEEDS, SPARSE)
def test_big_products_commute_and_distribute(seed: int, terms: list[tuple[int, int]]) -> None:
    x, y, z = random_residues(seed), of_terms(terms), random_residues(seed + 1)
    np.testing.assert_array_equal(big_product(x, y), big_product(y, x))
    sums = (y + z) % np.uint64(PRIME)
    np.testing.assert_array_equal(big_product(x, sums), (big_product(x, y) + big_product(x, z)) % np.uint64(PRIME))


@settings(max_examples=25)
@given(SEEDS, SEEDS)
def test_small_products_distribute_on_either_side(seed: int, other: int) -> None:
    u, v, x, y = random_ternary(seed), random_ternary(other), random_residues(seed), random_residues(other)
    q = np.uint64(PRIME)
    np.testing.assert_array_equal(by_small(u + v, x), (by_small(u, x) + by_small(v, x)) % q)
    np.testing.assert_array_equal(by_small(u, (x + y) % q), (by_small(u, x) + by_small(u, y)) % q)
    np.testing.assert_array_equal(by_small(u, x), big_product(x, reduced(u)))


@settings(max_examples=25)
@given(SEEDS, st.integers(0, N - 1))
def test_the_nth_power_of_x_is_minus_one(seed: int, shift: int) -> None:
    x = random_residues(seed)
    wrapped = (np.uint64(PRIME) - x) % np.uint64(PRIME)
    shifted = np.concatenate([wrapped[N - shift :], x[: N - shift]])
    np.testing.assert_array_equal(by_small(np.array(monomial(shift)), x), shifted)
    np.testing.assert_array_equal(big_product(x, modulo_q(monomial(shift))), shifted)
    back = big_product(shifted, modulo_q(monomial((N - shift) % N, -1 if shift else 1)))
    np.testing.assert_array_equal(back, x)


# --- refusals

WRONG: dict[str, Any] = {
    "signed": np.zeros(N, np.int64),
    "double": np.zeros(N, np.float64),
    "narrow": np.zeros(N, np.uint32),
    "short": np.zeros(N - 1, np.uint64),
    "long": np.zeros(2 * N, np.uint64),
    "not below q": np.full(N, PRIME, np.uint64),
    "all ones": np.full(N, 2**64 - 1, np.uint64),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_row_of_residues_is_refused(wrong: str) -> None:
    good = random_residues(14)
    for attempt in (
        lambda: Spectrum.of(WRONG[wrong]),
        lambda: big_product(WRONG[wrong][None], good),
        lambda: big_product(good[None], WRONG[wrong]),
    ):
        with pytest.raises(BadParameters, match="residue"):
            attempt()


def test_scalars_and_a_second_factor_of_rows_are_refused() -> None:
    with pytest.raises(BadParameters):
        Spectrum.of(np.array(1, np.uint64))
    with pytest.raises(BadParameters):
        big_product(random_residues(15, 2), random_residues(16, 2))


def test_one_residue_at_q_among_many_is_found() -> None:
    rows = random_residues(17, 3)
    rows[2, N - 1] = PRIME - 1
    Spectrum.of(rows)
    rows[2, N - 1] = PRIME
    with pytest.raises(BadParameters, match="not below"):
        Spectrum.of(rows)
