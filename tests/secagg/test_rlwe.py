"""rlwe: a message by hand, exact sums, the plan's figures and bounds, and what a wrong secret or message comes to."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from secagg import rlwe
from secagg.errors import BadCiphertext, BadParameters, NoParameters
from secagg.gaussian import RUN, Sampler, mask_law
from secagg.keys import Context, Seed, derive
from secagg.negacyclic import Multiplier, N, digits_needed, in_pairs
from secagg.ring import Ring, RingVector
from secagg.rlwe import (
    LABEL_ERROR,
    LABEL_PUBLIC,
    KahePlan,
    check_opens,
    check_secret_sum,
    conceal,
    conceal_packed,
    draw_secret,
    reveal,
)
from secagg.workers import Workers
from tests.secagg.test_gaussian import EXACT
from tests.secagg.test_negacyclic import exact_product

CONTEXT = Context(bytes(range(100, 132)))
OTHER = Context(bytes(range(101, 133)))
SIGMA = 4.53
MILLION = 10**6

Integers = NDArray[np.int64]


def seed(*parts: int) -> Seed:
    return derive(Seed(bytes(32)), b"secagg/v1/test", bytes(32), *(part.to_bytes(4, "big") for part in parts))


class Round:
    """The sum of messages of `vectors`, each under its own secret, in one context."""

    def __init__(self, plan: KahePlan, vectors: Sequence[RingVector], context: Context = CONTEXT) -> None:
        self.plan = plan
        self.secrets = [draw_secret(seed(1, who)) for who in range(len(vectors))]
        self.messages = [
            conceal(plan, vector, secret, seed(2, who), context)
            for who, (vector, secret) in enumerate(zip(vectors, self.secrets, strict=True))
        ]
        self.total = plan.ring.zeros(plan.coefficients)
        for message in self.messages:
            self.total += message
        self.secret_sum = np.sum(self.secrets, axis=0)

    def revealed(self) -> RingVector:
        return reveal(self.plan, self.total, self.secret_sum, CONTEXT, len(self.messages))


def bounded_vectors(plan: KahePlan, clients: int, generator: np.random.Generator) -> list[RingVector]:
    """Whose centred sums stay within b bits; what stands above b bits in a word is noise."""
    most = (1 << (plan.bits - 1)) // clients
    ring = Ring(plan.bits)
    vectors = []
    for _ in range(clients):
        vector = ring.reduce(generator.integers(-most, max(most, 1), plan.length))
        above = generator.integers(0, 1 << 63, plan.length).astype(ring.dtype)
        vectors.append(vector | (above & ring.dtype.type(~(ring.modulus - 1) & (1 << ring.word_bits) - 1)))
    return vectors


def exact_sum(plan: KahePlan, vectors: Sequence[RingVector]) -> list[int]:
    return [sum(column) % 2**plan.bits for column in zip(*(vector.tolist() for vector in vectors), strict=True)]


def honest(bits: int, clients: int, length: int, summed: int | None = None) -> Round:
    plan = KahePlan(bits, clients, length)
    return Round(plan, bounded_vectors(plan, summed or clients, np.random.default_rng(bits)))


# --- a message by hand


def test_a_message_is_what_the_formula_says() -> None:
    plan = KahePlan(20, 10, 5000)
    assert (plan.per_coefficient, plan.guard_bits, plan.modulus_bits, plan.blocks) == (2, 8, 48, 2)
    values = Ring(20).reduce(np.random.default_rng(1).integers(-(2**19), 2**19, 5000))
    secret = draw_secret(seed(1))
    got = conceal(plan, values, secret, seed(2), CONTEXT)
    key = derive(Seed(CONTEXT), LABEL_PUBLIC, CONTEXT).expose()
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(8 * 2 * N))
    a = (np.frombuffer(stream, "<u8") % 2**48).reshape(2, N)
    error = Sampler(mask_law(), derive(seed(2), LABEL_ERROR, CONTEXT), CONTEXT, range(2 * N)).read()
    places = in_pairs(np.arange(N))
    powers = np.argsort(places)
    centred = [value - 2**20 if value >= 2**19 else value for value in values.tolist()]
    centred += [0] * (2 * 2 * N - 5000)
    expected = []
    for block in range(2):
        product = exact_product(a[block][powers].tolist(), secret[powers].tolist())
        for i, power in enumerate(places.tolist()):
            at = block * N + i
            message = centred[at] + 2**20 * centred[2 * N + at]
            expected.append((product[power] + int(error[at]) + 2**8 * message) % 2**48)
    assert got.dtype == plan.ring.dtype == np.uint64
    assert got.tolist() == expected


def test_a_secret_is_a_function_of_its_seed_and_gaussian() -> None:
    secrets = np.concatenate([draw_secret(seed(who)) for who in range(100)])
    assert secrets.dtype == np.int64
    np.testing.assert_array_equal(secrets[:N], draw_secret(seed(0)))
    assert abs(secrets.var() / SIGMA**2 - 1) < 6 * math.sqrt(2 / secrets.size)
    assert abs(np.corrcoef(secrets[:N], secrets[N : 2 * N])[0, 1]) < 6 / math.sqrt(N)
    assert abs(np.corrcoef(secrets[:-N], secrets[N:])[0, 1]) < 6 / math.sqrt(secrets.size)


def test_secret_and_error_of_one_seed_are_not_alike() -> None:
    plan = KahePlan(23, 100, N)
    nothing = np.zeros(N, np.int64)
    error = Ring(33).centre(conceal(plan, Ring(23).zeros(N), nothing, seed(0), CONTEXT))
    assert 0 < np.abs(error).max() < 40
    assert abs(np.corrcoef(draw_secret(seed(0)), error)[0, 1]) < 6 / math.sqrt(N)


# --- exact sums


@settings(max_examples=60)
@given(st.integers(1, 47), st.integers(1, 12), st.integers(1, 9000), st.integers(0, 2**32 - 1))
def test_sums_are_exact(bits: int, clients: int, length: int, entropy: int) -> None:
    assume(bits > 1 or clients == 1)
    plan = KahePlan(bits, clients, length)
    vectors = bounded_vectors(plan, clients, np.random.default_rng(entropy))
    kept = [vector.copy() for vector in vectors]
    work = Round(plan, vectors)
    assert all(int(message.max()) < 2**plan.modulus_bits for message in work.messages)
    # On the wire, and with noise above Q, the sum is the same.
    total = plan.ring.zeros(plan.coefficients)
    for message in work.messages:
        total += plan.ring.unpack(plan.ring.pack(message), plan.coefficients)
    before = total.copy()
    got = reveal(plan, total, work.secret_sum, CONTEXT, clients)
    assert got.dtype == Ring(bits).dtype
    assert got.tolist() == exact_sum(plan, vectors) == work.revealed().tolist()
    np.testing.assert_array_equal(total, before)
    for vector, then in zip(vectors, kept, strict=True):
        np.testing.assert_array_equal(vector, then)


@pytest.mark.parametrize(("bits", "clients"), [(20, 10), (13, 30), (5, 2), (23, 100)])
def test_the_extremes_of_a_sum_do_not_touch_their_neighbours(bits: int, clients: int) -> None:
    plan = KahePlan(bits, clients, 3 * N + 5)
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    ends = np.array([least, most, 0, -1, 1, most, least], np.int64)
    one = Ring(bits).reduce(np.resize(ends, plan.length))
    nothing = Ring(bits).zeros(plan.length)
    assert Round(plan, [one, nothing]).revealed().tolist() == one.tolist()


def test_with_one_element_in_a_coefficient_sums_wrap_as_the_ring_does() -> None:
    plan = KahePlan(23, 100, 5000)
    assert plan.per_coefficient == 1
    generator = np.random.default_rng(5)
    vectors = [generator.integers(0, 2**23, 5000).astype(np.uint32) for _ in range(9)]
    assert Round(plan, vectors).revealed().tolist() == exact_sum(plan, vectors)


def test_a_sum_beyond_its_range_carries_into_the_next_element() -> None:
    """As the docstring warns: only within the bound of the encoding are several in a coefficient apart."""
    plan = KahePlan(20, 10, 2 * N)
    vector = Ring(20).zeros(2 * N)
    vector[0] = 2**19 - 1
    got = Round(plan, [vector, vector]).revealed()
    assert (int(got[0]), int(got[N])) == (2**20 - 2, 1)


@pytest.mark.parametrize(("bits", "clients", "length"), [(3, 3, 1), (8, 3, 70_001), (13, 30, 5000), (23, 100, 150_000)])
def test_packed_at_once_or_afterwards_it_is_the_same(bits: int, clients: int, length: int) -> None:
    plan, ring = KahePlan(bits, clients, length), Ring(bits)
    values = ring.zeros(length) + ring.dtype.type(1)
    masked = conceal(plan, values, draw_secret(seed(0)), seed(1), CONTEXT)
    assert conceal_packed(plan, values, draw_secret(seed(0)), seed(1), CONTEXT) == plan.ring.pack(masked)


@pytest.mark.parametrize(("bits", "clients", "length"), [(8, 3, 1), (8, 3, 400_001), (20, 10, 500_000)])
def test_the_workers_do_not_show(bits: int, clients: int, length: int) -> None:
    plan = KahePlan(bits, clients, length)
    [vector] = bounded_vectors(plan, 1, np.random.default_rng(4))
    secret = draw_secret(seed(0))
    masked = conceal(plan, vector, secret, seed(1), CONTEXT)
    with ThreadPoolExecutor(3) as threads:
        workers = Workers(threads, 3)
        np.testing.assert_array_equal(conceal(plan, vector, secret, seed(1), CONTEXT, workers), masked)
        assert conceal_packed(plan, vector, secret, seed(1), CONTEXT, workers) == plan.ring.pack(masked)
        opened = reveal(plan, masked, secret, CONTEXT, 1, workers)
        assert opened.tolist() == exact_sum(plan, [vector])
        # Half a guard is far beyond what an error reaches.
        masked[-1] += masked.dtype.type(1 << (plan.guard_bits - 1))
        with pytest.raises(BadCiphertext, match="low bits"):
            reveal(plan, masked, secret, CONTEXT, 1, workers)


@pytest.mark.parametrize("summed", [1, 2, 57, 100])
def test_fewer_messages_than_planned_are_as_exact(summed: int) -> None:
    plan = KahePlan(23, 100, 3000)
    vectors = bounded_vectors(plan, summed, np.random.default_rng(summed))
    assert Round(plan, vectors).revealed().tolist() == exact_sum(plan, vectors)


def test_words_above_q_bits_of_a_sum_mean_nothing() -> None:
    work = honest(20, 10, 2500)
    expected = work.revealed()
    work.total |= np.uint64(0xABCD << 48)
    np.testing.assert_array_equal(work.revealed(), expected)


def test_many_chunks_are_revealed_like_one() -> None:
    plan = KahePlan(13, 5, 400_003)
    assert plan.coefficients > 2 * RUN
    vectors = bounded_vectors(plan, 5, np.random.default_rng(3))
    assert Round(plan, vectors).revealed().tolist() == exact_sum(plan, vectors)


def test_memory_is_the_result_and_a_few_chunks() -> None:
    plan = KahePlan(23, 100, MILLION)
    values, secret = Ring(23).zeros(MILLION), draw_secret(seed(0))
    conceal(plan, values, secret, seed(1), CONTEXT)
    tracemalloc.start()
    try:
        total = conceal(plan, values, secret, seed(1), CONTEXT)
        assert tracemalloc.get_traced_memory()[1] < total.nbytes + 3 * 2**20
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        revealed = reveal(plan, total, secret, CONTEXT, 1)
        assert tracemalloc.get_traced_memory()[1] < held + revealed.nbytes + 3 * 2**20
    finally:
        tracemalloc.stop()


# --- the noise that stays


def low_bits(work: Round, secret_sum: Integers | None = None) -> Integers:
    """What is left in the low g bits, centred."""
    plan = work.plan
    a = np.concatenate([words.copy() for _, words in rlwe._public(plan, CONTEXT, range(plan.coefficients))])
    factor = Multiplier.of(work.secret_sum if secret_sum is None else secret_sum, plan.modulus_bits)
    half = 1 << (plan.guard_bits - 1)
    rest = work.total - factor.times(a) + np.uint64(half)
    return (rest & np.uint64(2 * half - 1)).astype(np.int64) - half


def test_the_low_bits_are_the_sum_of_errors() -> None:
    work = honest(20, 10, 30_000)
    plan = work.plan
    roots = [derive(seed(2, who), LABEL_ERROR, CONTEXT) for who in range(10)]
    places = range(plan.coefficients)
    expected = np.sum([Sampler(mask_law(), root, CONTEXT, places).read().astype(np.int64) for root in roots], axis=0)
    got = low_bits(work)
    np.testing.assert_array_equal(got, expected)
    assert abs(got.std() / (SIGMA * math.sqrt(10)) - 1) < 6 / math.sqrt(2 * got.size)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_sum_is_judged_by_its_largest_error_and_by_the_sum_of_their_squares(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = honest(20, 10, 600_000)
    errors = low_bits(work)
    seen: list[tuple[int, int, int, int]] = []
    monkeypatch.setattr(rlwe, "_check_gaussian", lambda what, *figures: seen.append(figures))
    with ThreadPoolExecutor(workers) as pool:
        reveal(work.plan, work.total, work.secret_sum, CONTEXT, 10, Workers(pool, workers))
    of_secrets, of_errors = seen
    secrets = [abs(value) for value in work.secret_sum.tolist()]
    assert of_secrets == (max(secrets), sum(value**2 for value in secrets), N, 10)
    sizes = [abs(value) for value in errors.tolist()]
    assert of_errors == (max(sizes), sum(value**2 for value in sizes), work.plan.coefficients, 10)


def test_a_message_alone_is_uniform_in_all_its_bits() -> None:
    plan = KahePlan(20, 10, 20 * N)
    message = conceal(plan, Ring(20).zeros(plan.length), draw_secret(seed(1)), seed(2), CONTEXT)
    for bit in range(plan.modulus_bits):
        ones = int((message >> np.uint64(bit) & np.uint64(1)).sum())
        assert abs(ones - message.size / 2) < 6 * math.sqrt(message.size) / 2, bit


# --- what must be refused


@pytest.mark.parametrize("delta", [1, -1, 3, 1 << 4, 1 << 6, -(1 << 7), 1 << 7])
def test_a_secret_sum_off_by_one_coefficient_is_refused(delta: int) -> None:
    work = honest(20, 10, 30_000)
    work.secret_sum[17] += delta
    with pytest.raises(BadCiphertext, match="wrong secrets, context or messages"):
        work.revealed()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("place", [0, 1, N - 1])
def test_a_multiple_of_2_to_the_g_leaves_the_low_bits_perfect_and_is_refused(place: int, sign: int) -> None:
    work = honest(20, 10, 30_000)
    wrong = work.secret_sum.copy()
    wrong[place] += sign << work.plan.guard_bits
    # Errors alone would have let garbage pass.
    np.testing.assert_array_equal(low_bits(work, wrong), low_bits(work))
    with pytest.raises(BadCiphertext, match="sum of secrets"):
        reveal(work.plan, work.total, wrong, CONTEXT, 10)
    with pytest.raises(BadCiphertext, match="sum of secrets"):
        check_secret_sum(wrong, 10)


def test_half_of_2_to_the_g_within_the_bound_of_secrets_shows_in_the_low_bits() -> None:
    """The hardest case that the first check lets pass: all low bits but the highest are perfect."""
    work = honest(20, 10, 30_000)
    place = int(np.argmin(work.secret_sum))
    wrong = work.secret_sum.copy()
    wrong[place] += 1 << (work.plan.guard_bits - 1)
    check_secret_sum(wrong, 10)
    with pytest.raises(BadCiphertext, match="low bits"):
        reveal(work.plan, work.total, wrong, CONTEXT, 10)


def test_no_secret_or_anothers_is_refused() -> None:
    work = honest(20, 10, 5000)
    with pytest.raises(BadCiphertext, match="sum of secrets"):
        reveal(work.plan, work.total, np.zeros(N, np.int64), CONTEXT, 10)
    others = np.sum([draw_secret(seed(9, who)) for who in range(10)], axis=0)
    with pytest.raises(BadCiphertext, match="low bits"):
        reveal(work.plan, work.total, others, CONTEXT, 10)
    with pytest.raises(BadCiphertext, match="low bits"):
        reveal(work.plan, work.total, -work.secret_sum, CONTEXT, 10)


def test_another_context_is_refused() -> None:
    work = honest(20, 10, 5000)
    with pytest.raises(BadCiphertext, match="low bits"):
        reveal(work.plan, work.total, work.secret_sum, OTHER, 10)


def test_one_message_of_another_context_spoils_the_sum_and_is_refused() -> None:
    work = honest(20, 10, 5000)
    vector = Ring(20).zeros(5000)
    work.total += conceal(work.plan, vector, work.secrets[0], seed(2, 0), OTHER) - work.messages[0]
    with pytest.raises(BadCiphertext, match="low bits"):
        work.revealed()


@pytest.mark.parametrize("claimed", [1, 3, 4, 6, 8])
def test_a_wrong_number_of_messages_is_refused(claimed: int) -> None:
    work = honest(20, 8, 40_000, summed=5)
    work.revealed()
    with pytest.raises(BadCiphertext):
        reveal(work.plan, work.total, work.secret_sum, CONTEXT, claimed)


@pytest.mark.parametrize("change", ["missing", "twice", "without its secret"])
def test_a_message_too_many_or_too_few_is_refused(change: str) -> None:
    work = honest(20, 10, 5000, summed=6)
    match change:
        case "missing":
            work.total -= work.messages[3]
        case "twice":
            work.total += work.messages[3]
        case _:
            work.secret_sum = work.secret_sum - work.secrets[3]
    with pytest.raises(BadCiphertext, match="low bits"):
        work.revealed()


@pytest.mark.parametrize("length", [100, 5000, 50_000], ids=lambda length: f"{length} elements")
def test_the_sum_of_secrets_takes_the_mask_off_the_first_polynomial_and_no_other_does(length: int) -> None:
    work = honest(20, 10, length)
    check_opens(work.plan, work.total, work.secret_sum, CONTEXT, 10)
    before = work.total.copy()
    for place, change in ((0, 1), (N - 1, -3), (7, 11), (int(np.argmin(work.secret_sum)), 1 << 7)):
        wrong = work.secret_sum.copy()
        wrong[place] += change
        check_secret_sum(wrong, 10)
        with pytest.raises(BadCiphertext, match="low bits"):
            check_opens(work.plan, work.total, wrong, CONTEXT, 10)
    with pytest.raises(BadCiphertext, match="sum of secrets"):
        check_opens(work.plan, work.total, np.zeros(N, np.int64), CONTEXT, 10)
    with pytest.raises(BadCiphertext, match="low bits"):
        check_opens(work.plan, work.total, work.secret_sum, OTHER, 10)
    np.testing.assert_array_equal(work.total, before)


def test_what_is_wrong_in_another_polynomial_than_the_first_is_left_to_be_revealed() -> None:
    work = honest(20, 10, 5000)
    assert work.plan.blocks == 2
    first, second = work.total.copy(), work.total.copy()
    first[N - 8 : N] += np.uint64(127)
    second[N : N + 8] += np.uint64(127)
    with pytest.raises(BadCiphertext, match="low bits"):
        check_opens(work.plan, first, work.secret_sum, CONTEXT, 10)
    check_opens(work.plan, second, work.secret_sum, CONTEXT, 10)
    with pytest.raises(BadCiphertext, match="low bits"):
        reveal(work.plan, second, work.secret_sum, CONTEXT, 10)


def test_a_sum_of_another_shape_opens_nothing() -> None:
    work = honest(20, 10, 100)
    for total in (work.total[:-1], work.total.astype(np.uint32)):
        with pytest.raises(BadParameters):
            check_opens(work.plan, total, work.secret_sum, CONTEXT, 10)
    with pytest.raises(BadParameters, match="summed"):
        check_opens(work.plan, work.total, work.secret_sum, CONTEXT, 11)
    with pytest.raises(BadParameters, match="coefficients in int64"):
        check_opens(work.plan, work.total, work.secret_sum[1:], CONTEXT, 10)


@pytest.mark.parametrize("error", [127, -127, -128])
def test_one_error_too_large_is_refused(error: int) -> None:
    work = honest(20, 10, 3000)
    assert rlwe._reach(work.plan.coefficients, 10) <= 127
    work.total[5] = (int(work.total[5]) + error - int(low_bits(work)[5])) % 2**64
    assert low_bits(work)[5] == error
    with pytest.raises(BadCiphertext, match="low bits"):
        work.revealed()


@pytest.mark.parametrize("place", [3, 80_000, -1])
def test_one_error_too_large_is_refused_in_whichever_chunk_it_stands(place: int) -> None:
    work = honest(20, 10, 300_000, summed=2)
    assert work.plan.coefficients > 2 * RUN
    error = int(low_bits(work)[place])
    work.total[place] = (int(work.total[place]) - 128 - error) % 2**64
    with pytest.raises(BadCiphertext, match="low bits"):
        work.revealed()


@pytest.mark.parametrize("summed", [0, 11, -1, 5.0, True])
def test_more_messages_than_planned_are_refused(summed: Any) -> None:
    work = honest(20, 10, 3000)
    with pytest.raises(BadParameters, match="summed"):
        reveal(work.plan, work.total, work.secret_sum, CONTEXT, summed)


def test_the_sum_of_secrets_is_checked_from_above_and_below() -> None:
    secrets = [draw_secret(seed(who)) for who in range(40)]
    for summed in (1, 2, 10, 40):
        total = np.sum(secrets[:summed], axis=0)
        check_secret_sum(total, summed)
        for claimed in (2 * summed, summed / 2):
            if claimed >= 1:
                with pytest.raises(BadCiphertext):
                    check_secret_sum(total, int(claimed))
        for huge in (2**63 - 1, -(2**63), 2**32, -(2**31)):
            wrong = total.copy()
            wrong[5] = huge
            with pytest.raises(BadCiphertext):
                check_secret_sum(wrong, summed)


@pytest.mark.parametrize(
    "wrong", [np.zeros(N - 1, np.int64), np.zeros((1, N), np.int64), np.zeros(N), np.zeros(N, "u8")]
)
def test_a_sum_of_secrets_of_another_shape_is_refused(wrong: Any) -> None:
    with pytest.raises(BadParameters, match="coefficients in int64"):
        check_secret_sum(wrong, 10)
    with pytest.raises(BadParameters, match="summed"):
        check_secret_sum(np.zeros(N, np.int64), 0)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(N - 1, np.int64),
        np.zeros(N, np.int8),
        np.zeros((N, 1), np.int64),
        np.full(N, 66),
        np.full(N, -66),
        np.full(N, -(2**63)),
    ],
)
def test_what_cannot_be_a_secret_conceals_nothing(wrong: Any) -> None:
    plan = KahePlan(20, 10, 100)
    with pytest.raises(BadParameters, match="a secret is"):
        conceal(plan, Ring(20).zeros(100), wrong, seed(0), CONTEXT)


@pytest.mark.parametrize("extreme", [65, -65])
def test_a_secret_of_the_largest_coefficients_there_are_conceals(extreme: int) -> None:
    plan, secret = KahePlan(20, 10, 100), np.full(N, extreme)
    values = Ring(20).reduce(np.arange(100))
    message = conceal(plan, values, secret, seed(0), CONTEXT)
    a = np.concatenate([words.copy() for _, words in rlwe._public(plan, CONTEXT, range(plan.coefficients))])
    half = np.uint64(1 << (plan.guard_bits - 1))
    rest = message - Multiplier.of(secret, plan.modulus_bits).times(a) + half
    np.testing.assert_array_equal((rest[:100] >> np.uint64(plan.guard_bits)) % 2**20, values)


@pytest.mark.parametrize("shape", [99, 101, (1, 100), "u8", "i4"])
def test_a_vector_of_another_shape_is_refused(shape: Any) -> None:
    values = np.zeros(100, shape) if isinstance(shape, str) else np.zeros(shape, "u4")
    with pytest.raises(BadParameters):
        conceal(KahePlan(20, 10, 100), values, draw_secret(seed(0)), seed(0), CONTEXT)


@pytest.mark.parametrize("shape", ["u4", "i8", (1, 100)])
def test_a_vector_alone_in_its_coefficients_is_as_strictly_checked(shape: Any) -> None:
    plan = KahePlan(41, 100, 100)
    assert plan.per_coefficient == 1
    values = np.zeros(100, shape) if isinstance(shape, str) else np.zeros(shape, "u8")
    with pytest.raises(BadParameters, match="expected one row"):
        conceal(plan, values, draw_secret(seed(0)), seed(0), CONTEXT)


@pytest.mark.parametrize("total", [np.zeros(N + 1, "u8"), np.zeros(0, "u8"), np.zeros(N, "u4"), np.zeros((1, N), "u8")])
def test_a_sum_of_another_shape_is_refused(total: Any) -> None:
    with pytest.raises(BadParameters):
        reveal(KahePlan(20, 10, 100), total, draw_secret(seed(0)), CONTEXT, 1)


def test_a_context_of_another_length_is_refused() -> None:
    plan, secret = KahePlan(20, 10, 100), draw_secret(seed(0))
    with pytest.raises(BadParameters):
        conceal(plan, Ring(20).zeros(100), secret, seed(0), Context(bytes(31)))
    with pytest.raises(BadParameters):
        reveal(plan, plan.ring.zeros(N), secret, Context(bytes(33)), 1)


# --- the plan


@pytest.mark.parametrize(
    ("bits", "clients", "rho", "guard", "modulus"),
    [(20, 10, 2, 8, 48), (23, 100, 1, 10, 33), (13, 30, 3, 9, 48), (22, 100, 2, 10, 54), (44, 100, 1, 10, 54)],
)
def test_the_figures_of_a_million_values(bits: int, clients: int, rho: int, guard: int, modulus: int) -> None:
    plan = KahePlan(bits, clients, MILLION)
    assert (plan.per_coefficient, plan.guard_bits, plan.modulus_bits) == (rho, guard, modulus)
    assert plan.blocks == math.ceil(MILLION / (rho * N))
    assert plan.coefficients == plan.blocks * N
    assert plan.ring == Ring(modulus)
    assert plan.packed_bytes == plan.ring.packed_bytes(plan.coefficients)
    # 24.0, 33.0 and 16.0 bits per parameter, but for the last block.
    assert 0 <= 8 * plan.packed_bytes / MILLION - modulus / rho < 0.2


# Where one place more or less in the reach, or in the number of coefficients, is another bit of guard.
@pytest.mark.parametrize(("clients", "blocks", "guard"), [(3, 1, 8), (12, 1, 9), (10, 1000, 9), (11, 100, 9)])
def test_the_guard_is_the_least_that_holds_the_sum_of_errors(clients: int, blocks: int, guard: int) -> None:
    plan = KahePlan(41, clients, blocks * N)
    assert plan.blocks == blocks
    assert plan.guard_bits == least_guard(clients, blocks * N) == guard


def test_the_sum_of_one_client_more_has_a_product_of_two_bits_less() -> None:
    """4.53 sqrt(4237 (N + 2 sqrt(N x) + 2x)) with x = 40 ln 2 is the last norm whose products are exact at 54 bits."""
    assert [rlwe._most_modulus_bits(clients) for clients in (4237, 4238)] == [54, 52]
    assert [rlwe._most_modulus_bits(clients) for clients in (16_951, 16_952)] == [52, 50]


@given(st.integers(1, 47), st.integers(1, 300), st.integers(1, 10**7))
def test_no_layout_has_fewer_bits(bits: int, clients: int, length: int) -> None:
    try:
        plan = KahePlan(bits, clients, length)
    except NoParameters:
        assert bits + least_guard(clients, N) > 54 or bits > 40
        return
    assert plan.modulus_bits == plan.per_coefficient * bits + plan.guard_bits <= 54
    assert plan.per_coefficient * plan.coefficients >= length > plan.per_coefficient * (plan.coefficients - N)
    for rho in range(1, 54 // bits + 1):
        guard = least_guard(clients, math.ceil(length / (rho * N)) * N)
        if rho == plan.per_coefficient:
            assert guard == plan.guard_bits
        elif rho * bits + guard <= 54:
            assert Fraction(rho * bits + guard, rho) >= Fraction(plan.modulus_bits, plan.per_coefficient)


def least_guard(clients: int, coefficients: int) -> int:
    """The least g with the stated tail, searched from below."""
    guard = 1
    while coefficients * math.erfc((2 ** (guard - 1) - 1) / (SIGMA * math.sqrt(2 * clients))) >= 2.0**-40:
        guard += 1
    return guard


def test_the_reach_bounds_the_exact_tail_of_a_sum() -> None:
    """Exact laws of one, two and three samples, against the bound."""
    size = 65
    single = [EXACT[k] for k in range(-size, size + 1)]
    scale = 2**400
    law = [int(p * scale) for p in single]
    total = law
    for summed in (1, 2, 3):
        if summed > 1:
            total = [
                sum(total[i] * law[k - i] for i in range(max(0, k - 2 * size), min(k, len(total) - 1) + 1)) // scale
                for k in range(len(total) + 2 * size)
            ]
        middle = len(total) // 2
        for coefficients in (N, 2**20, 2**30):
            reach = rlwe._reach(coefficients, summed)
            beyond = 2 * sum(total[middle + reach :])
            assert 0 < Fraction(beyond, scale) * coefficients < Fraction(1, 2**40)
            # Not far too wide either: two closer to the middle the promise is broken.
            assert Fraction(2 * sum(total[middle + reach - 2 :]), scale) * coefficients > Fraction(1, 2**40)


@pytest.mark.parametrize("summed", [1, 7, 4000, 2**20])
@pytest.mark.parametrize("coefficients", [1, N, 2**30])
def test_the_reach_is_the_least_with_the_stated_tail(coefficients: int, summed: int) -> None:
    reach, width = rlwe._reach(coefficients, summed), SIGMA * math.sqrt(2 * summed)
    tails = [coefficients * math.erfc((reach - back) / width) for back in (1, 2)]
    assert tails[0] < 2.0**-40 <= tails[1]


@pytest.mark.parametrize("summed", [1, 7, 4000])
def test_sizes_and_norms_are_admitted_up_to_the_stated_bounds_and_no_further(summed: int) -> None:
    doubt, mean, reach = 40 * math.log(2), SIGMA**2 * summed, rlwe._reach(N, summed)
    most = math.floor(mean * (N + 2 * math.sqrt(N * doubt) + 2 * doubt))
    least = math.ceil(mean * (N - math.sqrt(6 * N * doubt)))
    for largest, squares in ((0, least), (0, most), (reach - 1, most)):
        rlwe._check_gaussian("these are", largest, squares, N, summed)
    for largest, squares in ((0, least - 1), (0, most + 1), (reach, most)):
        with pytest.raises(BadCiphertext, match="these are not that of"):
            rlwe._check_gaussian("these are", largest, squares, N, summed)


def test_the_centred_low_bits_by_hand() -> None:
    words = np.array([0, 1, 7, 8, 9, 15, 16, 31, 2**63 + 8], np.uint64)
    assert rlwe._error_in(words, 8).tolist() == [-8, -7, -1, 0, 1, 7, -8, 7, 0]


def test_sums_of_secrets_stay_below_what_would_hide_in_the_high_bits() -> None:
    for clients in (1, 10, 100, 4000, 2**20):
        for summed in {1, clients // 2 or 1, clients}:
            assert rlwe._reach(N, summed) <= 2 ** (KahePlan(8, clients, 1).guard_bits - 1)


def test_every_plan_is_within_reach_of_exact_products() -> None:
    """A sum of secrets at the very norm that `check_secret_sum` admits."""
    doubt = 40 * math.log(2)
    for clients in (1, 100, 4000, 5000, 2**17, 2**20):
        norm = SIGMA * math.sqrt(clients * (N + 2 * math.sqrt(N * doubt) + 2 * doubt))
        largest = rlwe._most_modulus_bits(clients)
        assert digits_needed(largest, norm) == 2
        assert largest == 54 or digits_needed(largest + 1, norm) is None
    assert rlwe._most_modulus_bits(4000) == 54 > rlwe._most_modulus_bits(2**20)
    assert [rlwe._most_modulus_bits(clients) for clients in (4500, 18_000, 70_000, 300_000)] == [52, 50, 48, 46]


def test_many_clients_are_summed_exactly() -> None:
    """The norm of 4 000 secrets, where products modulo 2^54 are still exact."""
    plan = KahePlan(41, 4000, 2000)
    assert plan.modulus_bits == 54
    secret_sum = np.sum([draw_secret(seed(who)) for who in range(4000)], axis=0)
    a = np.concatenate([words.copy() for _, words in rlwe._public(plan, CONTEXT, range(plan.coefficients))])
    values = np.random.default_rng(8).integers(0, 2**41, 2000, dtype=np.uint64)
    error = np.sum([draw_secret(seed(1, who)) for who in range(4000)], axis=0)
    powers = np.argsort(in_pairs(np.arange(N)))
    product = exact_product(a[powers].tolist(), secret_sum[powers].tolist())
    total = plan.ring.zeros(N)
    for i, power in enumerate(in_pairs(np.arange(N)).tolist()):
        message = int(values[i]) if i < 2000 else 0
        total[i] = (product[power] + int(error[i]) + (message << plan.guard_bits)) % 2**54
    assert reveal(plan, total, secret_sum, CONTEXT, 4000).tolist() == values.tolist()


@pytest.mark.parametrize(("bits", "clients"), [(45, 100), (54, 1), (64, 1), (38, 2**20)])
def test_what_does_not_fit_is_refused_and_says_what_to_lower(bits: int, clients: int) -> None:
    with pytest.raises(NoParameters, match="lower the bits or the clients"):
        KahePlan(bits, clients, MILLION)


def test_the_longest_vector_fits_one_call_of_the_library() -> None:
    assert 8 * KahePlan(8, 10, 2**28 - 1).length < 2**31 <= 8 * (rlwe.MOST_VALUES + 1)


def test_the_last_bits_that_fit() -> None:
    for clients in (1, 10, 100, 2**20):
        guard = KahePlan(8, clients, 1).guard_bits
        most = rlwe._most_modulus_bits(clients) - guard
        assert KahePlan(most, clients, 1).modulus_bits == most + guard
        with pytest.raises(NoParameters):
            KahePlan(most + 1, clients, 1)


@pytest.mark.parametrize(
    ("name", "bits", "clients", "length"),
    [
        ("bits", 0, 10, 10),
        ("bits", 65, 10, 10),
        ("bits", True, 10, 10),
        ("bits", 20.0, 10, 10),
        ("clients", 20, 0, 10),
        ("clients", 20, 2**20 + 1, 10),
        ("clients", 20, None, 10),
        ("length", 20, 10, 0),
        ("length", 20, 10, 2**28),
        ("length", 20, 10, -5),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(name: str, bits: Any, clients: Any, length: Any) -> None:
    with pytest.raises(BadParameters, match=f"^{name} is"):
        KahePlan(bits, clients, length)


# --- no false alarms


def test_honest_rounds_pass() -> None:
    """At the least and the most messages and coefficients; a threshold too tight by a third would refuse some."""
    for summed in (1, 2, 3, 10, 50):
        for attempt in range(20):
            check_secret_sum(np.sum([draw_secret(seed(7, attempt, who)) for who in range(summed)], axis=0), summed)
    for clients, length in ((1, 1), (1, 50_000), (7, 1), (3, 100_000)):
        honest(20, clients, length).revealed()
