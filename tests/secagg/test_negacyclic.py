"""negacyclic: exact integers by Kronecker substitution as the judge, the rounding bound measured, ring laws."""

from __future__ import annotations

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
    N,
    Residues,
    Spectrum,
    big_product,
    centred,
    interpolate,
    reduced,
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

# What is seen is below a sixth of it; what rounds wrongly is beyond 1/2.
SMALL_BOUND, LIMB_BOUND = 5.1e-4, 2.1e-3


def stated_bound(products: int, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    norms = np.linalg.norm(x.astype(np.float64)) * np.linalg.norm(y.astype(np.float64))
    return 3 * math.log2(N) * UNIT * float(norms) * products


def test_the_docstring_states_the_bound_at_the_widest_input() -> None:
    ones, half, limb = np.ones(N, np.int64), np.full(N, 1 << 26), np.full(N, 1 << 13)
    assert SMALL_BOUND > stated_bound(1, ones, half) > 5e-4
    assert LIMB_BOUND > stated_bound(4, limb, limb) > 2e-3
    # With the norm that small_product admits, rounding is still far from failing.
    assert stated_bound(1, SMALL["norm 2^9"], half) < 1e-2
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
        assert np.abs(unrounded - np.array(exact, np.float64)).max() <= stated_bound(1, SMALL[small], half)
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
    assert np.abs(unrounded - exact.astype(np.float64)).max() <= sum(stated_bound(1, x, y) for x, y in pairs)


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
