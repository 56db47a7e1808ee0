"""cipher: sums opened bit for bit in every mode and layout, noise as planned, garbage seen, bad values refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.ckks import share
from secagg.ckks.cipher import (
    CHUNK,
    LABEL_ERROR,
    LABEL_MULTIPLIER,
    Fft,
    Part,
    PublicKey,
    add_into,
    check_opened,
    encrypt,
    encrypt_seeded,
    largest_value,
    messages,
    open_exact,
    subtract_into,
)
from secagg.ckks.plan import CkksPlan, Keys, Mode, plan
from secagg.ckks.sample import cbd21, rounded_gaussian, ternary
from secagg.ckks.wire import shorten, unpack
from secagg.errors import BadCiphertext, BadParameters, NoParameters, Overflow
from secagg.keys import derive
from secagg.negacyclic import PRIME, Integers, N, centred, reduced
from secagg.prg import Stream
from secagg.workers import Workers
from tests.secagg.ckks.committee import (
    CONTEXT,
    SEEDED,
    SINGLE,
    Seeded,
    Single,
    Threshold,
    deployed,
    every_layout,
    expanded,
    opened,
    random_residues,
    random_values,
    seed_of,
    slow_product,
    summed,
)

FIVE = Keys(Mode.THRESHOLD, 5, 4)
MODES = {"threshold": FIVE, "single": SINGLE, "seeded": SEEDED}
each_mode = pytest.mark.parametrize("keys", MODES.values(), ids=MODES)

# Digits, a few clients, and narrow and wide residues; what does not fit a mode is left out by `every_layout`.
LAYOUTS = [
    each
    for bits, clients in ((20, 10), (11, 3), (8, 100), (6, 4))
    for keys in MODES.values()
    for each in every_layout(clients, bits, N * 5 + 17, keys)[::7]
]


def described(each: CkksPlan) -> str:
    return f"{each.keys.mode.value}-n{each.clients}-b{each.bits}-rho{each.digits}-w{each.width0}{each.width1}"


# --- the arithmetic, against integers


def test_layouts_under_test_cover_every_digit_and_width_in_every_mode() -> None:
    for keys in MODES.values():
        mine = [each for each in LAYOUTS if each.keys == keys]
        assert {each.digits for each in mine} == {1, 2, 3, 4}
        assert {each.width0 for each in mine} >= {4, 5, 6, 7}
    assert {each.width0 for each in LAYOUTS} == {3, 4, 5, 6, 7}
    assert {each.width1 for each in LAYOUTS} >= {0, 4, 5, 6, 7}


@pytest.mark.parametrize("each", LAYOUTS, ids=described)
def test_a_sum_opens_to_the_sum_of_integers_bit_for_bit(each: CkksPlan) -> None:
    vectors = [random_values(each, who) for who in range(each.clients)]
    result = opened(deployed(each), vectors)
    assert result.values.dtype == np.int64
    assert np.array_equal(result.values, np.sum(vectors, axis=0))
    check_opened(each, result)


@settings(max_examples=40)
@given(
    st.integers(1, 24),
    st.integers(3, 20),
    st.integers(1, 2 * N + 1),
    st.sampled_from([Keys.recommended(3, 1), FIVE, Keys.recommended(7, 3), SINGLE, SEEDED]),
)
def test_the_worst_sums_of_every_plan_open(clients: int, value_bits: int, dimension: int, keys: Keys) -> None:
    bits = (2 * clients * 2 ** (value_bits - 1)).bit_length()
    each = plan(clients, bits, dimension, keys)
    bound = largest_value(each)
    assert bound >= 2 ** (value_bits - 1) - 1
    deployment = deployed(each)
    signs = np.where(np.arange(dimension) // 3 % 2, 1, -1)
    for worst in (np.full(dimension, bound), np.full(dimension, -bound), bound * signs):
        result = opened(deployment, [worst] * clients)
        assert np.array_equal(result.values, clients * worst)
        check_opened(each, result)


def test_an_upload_is_what_the_equations_say_with_products_by_python_integers() -> None:
    each = replace(plan(3, 14, N * 2, SINGLE), width0=7, width1=7)
    single = Single(each)
    values = random_values(each)
    upload = single.upload(values, 0)
    c0 = unpack(upload.c0, each.blocks * N, 7).reshape(each.blocks, N)
    c1 = unpack(upload.c1, each.blocks * N, 7).reshape(each.blocks, N)
    m = messages(each, values, Part(0, each.blocks))
    for block in range(each.blocks):
        product = np.array(slow_product(c1[block], single.secret), np.uint64)
        noise = centred(reduced((c0[block] + product).astype(np.int64) - m[block]))
        assert 50 < noise.std() < 2000
        assert np.abs(noise).max() < 1 << (each.guard - 1)


def test_an_encryption_of_zero_is_u_times_the_key_and_two_errors_of_streams_of_their_own() -> None:
    key, part, root = Single(plan(1, 8, 3, SINGLE)).key, Part(4, 2), seed_of("root")
    c0, c1 = Fft().zeros(key, part, root, CONTEXT)
    signs = ternary(Stream(derive(root, LABEL_MULTIPLIER, CONTEXT, part.name)), 2 * N).astype(np.int64).reshape(2, N)
    errors = cbd21(Stream(derive(root, LABEL_ERROR, CONTEXT, part.name)), 4 * N).reshape(2, 2, N)
    for row in range(2):
        for total, polynomial, error in ((c0, key.b, errors[0]), (c1, key.a, errors[1])):
            product = slow_product(reduced(signs[row]), polynomial)
            expected = [(int(x) + int(e)) % PRIME for x, e in zip(product, error[row], strict=True)]
            assert total[row].tolist() == expected


def test_digits_and_guard_bits_are_where_the_docstring_puts_them() -> None:
    each = CkksPlan(1, 5, 3 * N * 2 + 5, SEEDED, 3, 7, 0, 20)
    values = random_values(each)
    rows = messages(each, values, Part(0, each.blocks))
    padded = np.zeros(each.blocks * 3 * N, object)
    padded[: values.size] = values
    for block, j in ((0, 0), (0, N - 1), (1, 7), (2, 4), (2, 5)):
        digits = [padded[(block * 3 + k) * N + j] for k in range(3)]
        assert rows[block, j] == 2**20 * sum(digit * 2 ** (5 * k) for k, digit in enumerate(digits))
    assert not rows[2, 5:].any()
    assert rows.shape == (3, N)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, PRIME - 1), (PRIME - 1, PRIME - 1), (PRIME // 2, PRIME // 2)])
def test_addition_and_subtraction_modulo_q(one: int, other: int) -> None:
    total = np.array([one], np.uint64)
    add_into(total, np.array([other], np.uint64))
    assert total[0] == (one + other) % PRIME
    subtract_into(total, np.array([other], np.uint64))
    assert total[0] == one
    subtract_into(total, np.array([other], np.uint64))
    assert total[0] == (one - other) % PRIME


# --- what an upload depends on

LONG = plan(10, 14, (2 * CHUNK + 3) * N + 5, SINGLE)


@each_mode
def test_the_order_of_uploads_changes_nothing(keys: Keys) -> None:
    deployment = deployed(plan(4, 12, 2 * N + 1, keys))
    uploads = [deployment.upload(random_values(deployment.plan, who), who) for who in range(4)]
    first = deployment.summed(uploads)
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        again = deployment.summed([uploads[who] for who in order])
        assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))


@each_mode
def test_two_threads_write_the_same_bytes_as_one(keys: Keys) -> None:
    deployment = deployed(plan(10, 14, (2 * CHUNK + 3) * N + 5, keys))
    values = random_values(deployment.plan)
    alone = content(deployment.upload(values, 0))
    with ThreadPoolExecutor(2) as executor:
        for count in (2, 3):
            assert content(deployment.upload(values, 0, workers=Workers(executor, count))) == alone


def test_a_part_of_an_upload_does_not_depend_on_how_long_the_rest_is() -> None:
    short = replace(LONG, dimension=CHUNK * N * LONG.digits)
    values, root = random_values(LONG), seed_of("client")
    key = Single(LONG).key
    whole = encrypt(LONG, key, values, root, CONTEXT, Fft())
    part = encrypt(short, key, values[: short.dimension], root, CONTEXT, Fft())
    for long_planes, short_planes, width in ((whole.c0, part.c0, LONG.width0), (whole.c1, part.c1, LONG.width1)):
        residues = unpack(long_planes, LONG.blocks * N, width)
        assert np.array_equal(residues[: CHUNK * N], unpack(short_planes, CHUNK * N, width))


def test_no_two_chunks_share_their_noise() -> None:
    zeros = Single(LONG).upload(np.zeros(LONG.dimension, np.int64), 0)
    rows = unpack(zeros.c1, LONG.blocks * N, LONG.width1).reshape(LONG.blocks, N)
    assert len({row.tobytes() for row in rows}) == LONG.blocks


def content(upload: Any) -> tuple[bytes, bytes]:
    return (bytes(upload[0]), upload[1]) if isinstance(upload, tuple) else (bytes(upload.c0), bytes(upload.c1))


@each_mode
def test_an_upload_is_a_function_of_root_and_context(keys: Keys) -> None:
    deployment = deployed(plan(2, 10, N, keys))
    values = random_values(deployment.plan)
    upload = content(deployment.upload(values, 1))
    assert content(deployment.upload(values, 1)) == upload
    others = [content(deployment.upload(values, 2)), content(deployment.upload(values, 1, context=bytes(32)))]
    for other in others:
        assert other[0] != upload[0]
        assert other[1] != upload[1]


def test_a_seeded_upload_depends_on_its_public_bytes_and_opens_only_with_them() -> None:
    each = plan(1, 12, N, SEEDED)
    seeded = Seeded(each)
    values, root = random_values(each), seed_of("client")
    one, two = (bytes([i]) * 32 for i in (1, 2))
    packed = [encrypt_seeded(each, seeded.spectrum, values, root, CONTEXT, public) for public in (one, two)]
    assert packed[0] != packed[1]
    right = open_exact(each, seeded.plaintext(*seeded.summed([(packed[0], one)])))
    assert np.array_equal(right.values, values)
    with pytest.raises(BadCiphertext):
        check_opened(each, open_exact(each, seeded.plaintext(*seeded.summed([(packed[0], two)]))))
    assert np.array_equal(expanded(one, 40)[:CHUNK], expanded(one, CHUNK))
    assert len({row.tobytes() for row in expanded(one, 2 * CHUNK + 1)}) == 2 * CHUNK + 1


# --- noise


def residual_of(each: CkksPlan, clients: int) -> float:
    """Of a sum of that many uploads of zeros."""
    return opened(deployed(each), [np.zeros(each.dimension, np.int64)] * clients).residual


@pytest.mark.parametrize(
    "each",
    [
        plan(10, 20, 40 * N, SEEDED),
        plan(10, 20, 40 * N, SINGLE),
        replace(plan(10, 14, 40 * N, SINGLE), width0=7, width1=7),
        plan(10, 20, 40 * N, FIVE),
    ],
    ids=described,
)
def test_noise_is_as_wide_as_planned(each: CkksPlan) -> None:
    assert abs(residual_of(each, 10) / each.noise.std - 1) < 0.03


def test_the_same_check_sees_that_one_upload_of_ten_is_missing() -> None:
    each = plan(10, 20, 40 * N, SINGLE)
    assert abs(residual_of(each, 9) / each.noise.std - 1) > 0.03


def narrowed(stream: Stream, std: float, count: int) -> Integers:
    return rounded_gaussian(stream, 0.9 * std, count)


def test_the_same_check_sees_that_smudges_are_a_tenth_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    each = plan(10, 20, 40 * N, FIVE)
    monkeypatch.setattr(
        share, "rounded_gaussian", lambda stream, std, count: rounded_gaussian(stream, 0.9 * std, count)
    )
    assert abs(residual_of(each, 10) / each.noise.std - 1) > 0.03


# --- garbage


@each_mode
def test_a_wrong_key_opens_to_garbage_that_is_seen(keys: Keys) -> None:
    each = plan(3, 14, 3 * N - 5, keys)
    deployment = deployed(each)
    vectors = [random_values(each, who) for who in range(3)]
    uploads = [deployment.upload(values, who) for who, values in enumerate(vectors)]
    stranger = type(deployment)(each, "stranger")
    result = open_exact(each, stranger.plaintext(*deployment.summed(uploads)))
    assert not np.array_equal(result.values, np.sum(vectors, axis=0))
    assert result.residual == pytest.approx(2**each.guard / 12**0.5, rel=0.05)
    assert result.residual > 4 * each.noise.std
    assert not result.plausible
    with pytest.raises(BadCiphertext, match="garbage"):
        check_opened(each, result)


def test_one_spoilt_block_of_many_is_seen() -> None:
    each = plan(1, 20, 400 * N, SINGLE)
    single = Single(each)
    plaintext = single.plaintext(*single.summed([single.upload(np.zeros(each.dimension, np.int64), 0)]))
    plaintext[each.blocks // 2] = random_residues("garbage", rows=1)[0]
    result = open_exact(each, plaintext)
    assert result.residual < 1.25 * each.noise.std < result.worst_residual
    with pytest.raises(BadCiphertext, match="garbage"):
        check_opened(each, result)


def shifted(each: CkksPlan, place: tuple[int, int], by: int) -> Any:
    """An honest sum of zeros, opened after somebody added to one coefficient."""
    single = Single(each)
    plaintext = single.plaintext(*single.summed([single.upload(np.zeros(each.dimension, np.int64), 0)]))
    plaintext[place] = (int(plaintext[place]) + by) % PRIME
    return open_exact(each, plaintext)


def test_what_no_client_could_have_added_is_seen() -> None:
    each = plan(10, 14, 2 * N * 2 - 9, SINGLE)
    largest = each.clients * largest_value(each)
    last = (each.blocks - 1, N - 1)
    check_opened(each, shifted(each, (0, 0), largest << each.guard))
    for place, by in (
        (last, (1 << (each.bits * (each.digits - 1))) << each.guard),
        ((0, 0), (largest + 1) << each.guard),
        ((0, 0), -(largest + 1) << each.guard),
        ((0, 0), (1 << (each.bits * each.digits)) << each.guard),
    ):
        result = shifted(each, place, by)
        assert not result.plausible
        with pytest.raises(BadCiphertext, match="larger than its clients"):
            check_opened(each, result)


# --- refusals


def test_one_value_beyond_the_bound_overflows() -> None:
    for each in (plan(10, 20, N + 3, FIVE), plan(7, 11, N + 3, SINGLE)):
        deployment = deployed(each)
        bound = largest_value(each)
        assert each.clients * bound <= each.largest_sum < each.clients * (bound + 1)
        for value in (bound + 1, -bound - 1, 2**63 - 1, -(2**63)):
            values = np.zeros(each.dimension, np.int64)
            values[-1] = value
            with pytest.raises(Overflow, match=str(bound)):
                deployment.upload(values, 0)


def test_one_seeded_value_beyond_the_bound_overflows() -> None:
    each = plan(3, 9, 5, SEEDED)
    with pytest.raises(Overflow):
        Seeded(each).upload(np.array([0, 0, largest_value(each) + 1, 0, 0]), 0)


BAD_VALUES: dict[str, Callable[[Integers], Any]] = {
    "floats": lambda values: values.astype(np.float64),
    "NaN": lambda values: np.full(values.shape, np.nan),
    "int32": lambda values: values.astype(np.int32),
    "uint64": lambda values: values.astype(np.uint64),
    "big-endian": lambda values: values.astype(">i8"),
    "objects": lambda values: values.astype(object),
    "masked": lambda values: np.ma.masked_array(values, mask=values == 0),
    "matrix": lambda values: values.reshape(1, -1),
    "one short": lambda values: values[:-1],
    "one more": lambda values: np.append(values, 0),
    "a scalar": lambda values: np.int64(0),
    "a list": lambda values: values.tolist(),
    "nothing": lambda values: values[:0],
}


@pytest.mark.parametrize("bad", BAD_VALUES.values(), ids=BAD_VALUES)
def test_anything_but_one_plain_vector_of_integers_is_refused(bad: Callable[[Integers], Any]) -> None:
    each, seeded = plan(3, 14, 40, SINGLE), plan(3, 14, 40, SEEDED)
    values = np.arange(40, dtype=np.int64)
    with pytest.raises(BadParameters, match="plain int64 vector of 40"):
        Single(each).upload(bad(values), 0)
    with pytest.raises(BadParameters, match="plain int64 vector of 40"):
        Seeded(seeded).upload(bad(values), 0)


def test_an_encryption_of_another_mode_is_refused() -> None:
    single, seeded = plan(3, 14, 40, SINGLE), plan(3, 14, 40, SEEDED)
    values = np.zeros(40, np.int64)
    with pytest.raises(BadParameters, match="single"):
        encrypt_seeded(single, Seeded(seeded).spectrum, values, seed_of("r"), CONTEXT, bytes(32))
    with pytest.raises(BadParameters):
        encrypt(seeded, Single(single).key, values, seed_of("r"), CONTEXT, Fft())


@pytest.mark.parametrize("context", [b"", bytes(31), bytes(33)])
def test_a_context_has_32_bytes(context: bytes) -> None:
    with pytest.raises(BadParameters, match="context"):
        Single(plan(1, 8, 3, SINGLE)).upload(np.zeros(3, np.int64), 0, context=context)


def test_what_is_opened_has_the_shape_of_the_plan() -> None:
    each = plan(3, 14, 3 * N, SINGLE)
    good = random_residues("rows", rows=each.blocks)
    for bad in (good[0], good[:-1], good.astype(np.int64), np.vstack([good, good[:1]])):
        with pytest.raises(BadParameters, match="rows of"):
            open_exact(each, bad)


def test_a_public_key_is_two_polynomials_of_residues() -> None:
    good = random_residues("key", rows=1)[0]
    for bad in (good[:-1], good.astype(np.int64), np.full(N, PRIME, np.uint64)):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(BadParameters):
                PublicKey(*pair)


def test_keys_and_uploads_print_none_of_their_content() -> None:
    single = Single(plan(1, 8, 3, SINGLE))
    upload = single.upload(np.zeros(3, np.int64), 0)
    assert repr(upload) == "Upload()"
    assert "spectrum" not in repr(single.key)


def test_a_plan_that_could_wrap_is_not_made() -> None:
    with pytest.raises(NoParameters):
        plan(300, 29, N, Keys.recommended(5, 30))


# --- rounding and memory


def test_what_travels_is_the_residue_rounded() -> None:
    each = plan(10, 20, N, FIVE)
    threshold = Threshold(each)
    values = random_values(each)
    upload = threshold.upload(values, 3)
    c0, c1 = Fft().zeros(threshold.key, Part(0, 1), seed_of("client", 3), CONTEXT)
    add_into(c0, reduced(messages(each, values, Part(0, 1))))
    on_wire = summed([upload], each)
    for residues, sent, width in ((c0, on_wire[0], each.width0), (c1, on_wire[1], each.width1)):
        drop = max(0, 54 - 8 * width)
        assert drop
        assert np.array_equal(shorten(sent, width), shorten(residues, width))
        off = centred((residues + np.uint64(PRIME) - sent) % np.uint64(PRIME))
        assert np.abs(off).max() <= 1 << (drop - 1)


@each_mode
def test_a_million_values_take_16_megabytes_beyond_input_and_output(keys: Keys) -> None:
    each = plan(10, 20, 10**6, keys)
    deployment = deployed(each)
    values = random_values(each)
    deployment.upload(values, 0)
    tracemalloc.start()
    try:
        upload = deployment.upload(values, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    output = sum(map(len, content(upload)))
    assert output == pytest.approx(each.bytes_per_value * 10**6, rel=0.01)
    assert peak - output <= 16 << 20
