"""Encoding: the published table, the rounding formula in plain Python, no wrap at the very bound, refusals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from secagg.encode import CHUNK, Encoding, Hit, OnExcess, Rounding
from secagg.errors import BadParameters, ClipExceeded, NonFinite, Overflow
from secagg.keys import Seed
from secagg.ring import Ring
from tests.rows import rows

SEED = Seed(b"rounding".ljust(32, b"."))
PLAIN = Encoding(clip=1.0, bits=16, max_weight=1, max_clients=100)


def encode_slowly(encoding: Encoding, x: list[float], weight: int, seed: Seed) -> list[int]:
    """weight * floor(clipped / step + U) as Python integers; float + float is the IEEE sum the page means."""
    keystream = Cipher(algorithms.AES(seed.expose()), modes.CTR(bytes(16))).encryptor().update(bytes(4 * len(x)))
    encoded = []
    for j, value in enumerate(x):
        uniform = (int.from_bytes(keystream[4 * j : 4 * j + 4], "little") >> 8) / 2**24
        y = Fraction(value) * Fraction(2) ** encoding.fraction_bits
        y = min(max(y, Fraction(-encoding.levels)), Fraction(encoding.levels))
        encoded.append(weight * math.floor(float(y) + uniform))
    return encoded


def rounding_of(encoding: Encoding, x: np.ndarray, weight: int = 1, seed: Seed = SEED) -> list[int]:
    return encoding.ring.centre(encoding.encode(x, weight, seed)[0]).tolist()


# --- the table


@pytest.mark.parametrize(
    ("bits", "max_weight", "max_clients", "ring_bits", "word_bits", "bytes_per_element"),
    [
        (16, 1, 100, 23, 32, 2.875),
        (16, 1, 1000, 26, 32, 3.25),
        (16, 1000, 1000, 36, 64, 4.5),
        (8, 1, 100, 15, 16, 1.875),
        (20, 256, 100, 35, 64, 4.375),
    ],
)
def test_ring_sizes_of_the_published_table(
    bits: int, max_weight: int, max_clients: int, ring_bits: int, word_bits: int, bytes_per_element: float
) -> None:
    encoding = Encoding(1.0, bits, max_weight, max_clients)
    assert encoding.levels == 2 ** (bits - 1)
    assert ring_bits == 1 + len(f"{max_clients * max_weight * 2 ** (bits - 1):b}")
    assert (encoding.ring.bits, encoding.ring.word_bits) == (ring_bits, word_bits)
    assert encoding.ring.packed_bytes(8000) == 8000 * bytes_per_element


@given(
    st.one_of(st.fractions(Fraction(1, 10**9), 10**9), st.floats(1e-9, 1e9)),
    st.integers(2, 24),
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.integers(0, 10**6),
)
def test_the_step_is_the_finest_power_of_two_and_the_ring_the_smallest(
    clip: Fraction | float, bits: int, max_weight: int, max_clients: int, noise_bound: int
) -> None:
    encoding = Encoding(clip, bits, max_weight, max_clients, noise_bound)
    scale = Fraction(2) ** encoding.fraction_bits
    assert encoding.levels == math.ceil(Fraction(clip) * scale) <= 2 ** (bits - 1)
    assert math.ceil(Fraction(clip) * scale * 2) > 2 ** (bits - 1)
    assert Fraction(encoding.step) * scale == 1
    bound = max_clients * (max_weight * encoding.levels + noise_bound)
    b = encoding.ring.bits
    assert 2 ** (b - 2) <= bound <= 2 ** (b - 1) - 1


def test_a_clip_of_one_keeps_all_its_bits_and_a_float_clip_is_its_binary_value() -> None:
    assert (PLAIN.levels, PLAIN.fraction_bits, PLAIN.step, PLAIN.noise_bound) == (32768, 15, 2.0**-15, 0)
    assert Encoding(Fraction(1), 16, 1, 100) == PLAIN == Encoding(1, 16, 1, 100)
    assert Encoding(0.1, 16, 1, 100).clip == Fraction(0.1) != Fraction(1, 10)
    assert Encoding(0.1, 16, 1, 100) != Encoding(0.1, 16, 1, 100, rounding=Rounding.NEAREST)


@pytest.mark.parametrize(
    ("clip", "fraction_bits", "levels"),
    [(0.3, 8, 77), (0.7, 7, 90), (1, 7, 128), (1.01, 6, 65), (3, 5, 96), (100, 0, 100), (128, 0, 128), (129, -1, 65)],
)
def test_the_step_of_eight_bits_by_hand(clip: float, fraction_bits: int, levels: int) -> None:
    encoding = Encoding(clip, 8, 1, 1)
    assert (encoding.fraction_bits, encoding.levels) == (fraction_bits, levels)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_is_from_2_to_minus_1000_to_2_to_1000(sign: int) -> None:
    assert Encoding(Fraction(2) ** (15 - 1000 * sign), 16, 1, 1).fraction_bits == 1000 * sign
    with pytest.raises(BadParameters, match="float64 is exact"):
        Encoding(Fraction(2) ** (15 - 1001 * sign), 16, 1, 1)


# --- rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bits", [2, 8, 16, 24])
@pytest.mark.parametrize("clip", [1.0, 0.3, 1e-4, 777.7])
def test_encoding_equals_the_formula(dtype: type, bits: int, clip: float) -> None:
    encoding = Encoding(clip, bits, 5, 10)
    x = (np.random.default_rng(1).standard_normal(500) * clip).astype(dtype)
    x[:12] = [0.0, -0.0, clip, -clip, 1e-42, -1e-42, 2 * clip, -2 * clip, encoding.step, -encoding.step, 1e30, -1e30]
    vector, hit = encoding.encode(x, 3, SEED)
    assert encoding.ring.centre(vector).tolist() == encode_slowly(encoding, x.tolist(), 3, SEED)
    limit = encoding.levels * Fraction(encoding.step)
    assert hit == Hit(sum(abs(Fraction(value)) > limit for value in x.tolist()))


@pytest.mark.parametrize("clip", [1e-290, 1e-40, 1e40, 1e290])
def test_extreme_clips_neither_warn_nor_lose_exactness(clip: float) -> None:
    encoding = Encoding(clip, 16, 1, 10)
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore", under="ignore"):
            x = np.array([clip, -clip, clip / 3, 0.0, 1.0, -1e-30], dtype=np.float64).astype(dtype)
        x = x[np.isfinite(x)]
        assert rounding_of(encoding, x) == encode_slowly(encoding, x.tolist(), 1, SEED)


@given(st.integers(0, 3 * CHUNK), st.integers(0, 3 * CHUNK))
def test_ranges_tile_the_whole(a: int, b: int) -> None:
    lo, hi = sorted((a, b))
    x = np.random.default_rng(2).standard_normal(3 * CHUNK).astype(np.float32)
    whole, hit = PLAIN.encode(x, 1, SEED)
    out = PLAIN.ring.zeros(x.size)
    hits = [PLAIN.encode_into(out, x, 1, SEED, *piece) for piece in ((0, lo), (lo, hi), (hi, None))]
    assert (out == whole).all()
    assert sum(piece.count for piece in hits) == hit.count > 0


def test_a_range_changes_nothing_outside() -> None:
    out = PLAIN.ring.zeros(100)
    PLAIN.encode_into(out, np.full(100, 0.5), 1, SEED, 10, 20)
    assert not out[:10].any()
    assert out[10:20].all()
    assert not out[20:].any()


@pytest.mark.parametrize("edge", [1.0, -1.0, 5e-324, -5e-324, 0.0, -0.0, 1 - 2**-53, -1 + 2**-53])
def test_no_rounding_leaves_the_levels(edge: float) -> None:
    z = rounding_of(PLAIN, np.full(50_000, edge))
    assert -PLAIN.levels <= min(z)
    assert max(z) <= PLAIN.levels
    assert set(z) <= {math.floor(edge * 2**15), math.ceil(edge * 2**15), math.floor(edge * 2**15) + 1} | {0}


@pytest.mark.parametrize("part", [0.5, 0.1, 0.875, 2.0**-10])
def test_rounding_is_unbiased_and_nearest_is_not(part: float) -> None:
    count = 200_000
    x = np.full(count, (7 + part) * PLAIN.step)
    five_errors = 5 * math.sqrt(part * (1 - part) / count)
    assert abs(np.mean(rounding_of(PLAIN, x)) - (7 + part)) < five_errors
    nearest = Encoding(1.0, 16, 1, 100, rounding=Rounding.NEAREST)
    assert abs(np.mean(rounding_of(nearest, x)) - (7 + part)) > five_errors


def test_uniform_numbers_have_24_bits() -> None:
    keystream = Cipher(algorithms.AES(SEED.expose()), modes.CTR(bytes(16))).encryptor().update(bytes(4 * 1000))
    uniform = (np.frombuffer(keystream, "<u4") >> 8) / 2.0**24
    # The least y that is rounded up by each of them, and a y that is less by half of their last bit.
    assert set(rounding_of(PLAIN, (1 - uniform) * PLAIN.step)) == {1}
    assert set(rounding_of(PLAIN, (1 - uniform - 2.0**-25) * PLAIN.step)) == {0}


@pytest.mark.parametrize("weight", [1, 2, 3, 5])
def test_the_weight_multiplies_the_rounded_integer(weight: int) -> None:
    encoding, x = Encoding(1.0, 16, 5, 10), np.linspace(-1, 1, 77)
    assert rounding_of(encoding, x, weight) == [weight * z for z in rounding_of(encoding, x, 1)]


def test_the_errors_of_stochastic_rounding_are_as_promised() -> None:
    assert PLAIN.rms_error(1) == 2.0**-15 / math.sqrt(6)
    assert PLAIN.rms_error(100) == pytest.approx(PLAIN.rms_error(1) / 10, rel=1e-12)
    assert [PLAIN.worst_rms_error(n) for n in (1, 4, 100)] == [2.0**-16, 2.0**-17, 2.0**-16 / 10]
    # Half-way between two levels every error is half a step; over all fractions the mean square is step^2 / 6.
    halves = np.full(1000, 2.0**-16)
    assert set(np.abs(PLAIN.decode(PLAIN.encode(halves, 1, SEED)[0], 1) - halves)) == {PLAIN.worst_rms_error(1)}
    x = np.arange(100_000) / 100_000 * 2.0**-15
    errors = PLAIN.decode(PLAIN.encode(x, 1, SEED)[0], 1) - x
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(PLAIN.rms_error(1), rel=0.01)


@pytest.mark.parametrize("clients", [0, -1, 101, 1.0])
def test_the_error_of_nobody_or_of_too_many_is_refused(clients: int) -> None:
    for error in (PLAIN.rms_error, PLAIN.worst_rms_error):
        with pytest.raises(BadParameters, match="clients is"):
            error(clients)


def test_nearest_rounds_half_to_even_and_reads_no_stream() -> None:
    nearest = Encoding(1.0, 16, 1, 100, rounding=Rounding.NEAREST)
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 7.0]) * nearest.step
    assert rounding_of(nearest, x) == [0, 2, 2, 0, -2, 0, 7]
    assert rounding_of(nearest, x, seed=Seed(bytes(32))) == [0, 2, 2, 0, -2, 0, 7]


# --- back again


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=40), st.integers(1, 1000))
def test_lattice_points_survive_exactly(z: list[int], weight: int) -> None:
    encoding = Encoding(1.0, 16, 1000, 1000)
    x = np.array(z) * encoding.step
    vector, hit = encoding.encode(x, weight, SEED)
    assert hit == Hit(0)
    assert encoding.decode(vector, weight).tolist() == x.tolist()
    assert encoding.decode_sum(vector).tolist() == (x * weight).tolist()


def test_the_weighted_mean_errs_by_less_than_a_step_whatever_the_weights() -> None:
    encoding = Encoding(1.0, 16, 1000, 1000)
    generator = np.random.default_rng(3)
    weights = [1, 2, 999, 1000, 5]
    updates = [generator.uniform(-1, 1, 3 * CHUNK + 5) for _ in weights]
    total = encoding.ring.zeros(updates[0].size)
    for client, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        encoding.ring.add_into(total, encoding.encode(update, weight, Seed(bytes([client]) * 32))[0])
    exact = np.average(updates, axis=0, weights=weights)
    assert np.abs(encoding.decode(total, sum(weights)) - exact).max() < encoding.step


def test_a_light_client_keeps_its_precision() -> None:
    encoding = Encoding(1.0, 16, 1000, 10)
    x = np.random.default_rng(4).uniform(-1, 1, 1000)
    alone = encoding.decode(encoding.encode(x, 1, SEED)[0], 1)
    assert np.abs(alone - x).max() < encoding.step


# --- C7: no wrap, exactly at the bound

SUM_AT_63_BITS = 2**63 - 1  # = 7 * 7 * 73 * 127 * 337 * 92737 * 649657, the largest centred element


@rows("C7")
def test_a_sum_at_the_bound_of_64_bits_is_exact_and_one_more_is_refused(row: str) -> None:
    clients, levels = 7, 2
    weight = (SUM_AT_63_BITS // clients - 1) // levels
    encoding = Encoding(1.0, 2, weight, clients, noise_bound=1)
    assert clients * (weight * levels + 1) == SUM_AT_63_BITS
    assert encoding.ring.bits == 64
    total = encoding.ring.zeros(2)
    for _ in range(clients):
        vector, _ = encoding.encode(np.array([1.0, -1.0]), weight, SEED)
        encoding.ring.add_into(total, vector + encoding.ring.reduce(np.array([1, -1])))
    assert encoding.ring.centre(total).tolist() == [SUM_AT_63_BITS, -SUM_AT_63_BITS]
    for worse in (
        {"max_weight": weight + 1},
        {"max_clients": clients + 1},
        {"noise_bound": 2},
        {"bits": 3},
    ):
        fields = {"bits": 2, "max_weight": weight, "max_clients": clients, "noise_bound": 1} | worse
        with pytest.raises(Overflow, match="of at most 64"):
            Encoding(1.0, **fields)


@rows("C7")
@given(
    bits=st.integers(2, 12), weight=st.integers(1, 9), clients=st.integers(1, 9), noise=st.integers(0, 99),
    clip=st.sampled_from([1.0, 0.7, 3.0]),
)  # fmt: skip
def test_the_extreme_sum_never_wraps(row: str, bits: int, weight: int, clients: int, noise: int, clip: float) -> None:
    encoding = Encoding(clip, bits, weight, clients, noise)
    ring, extreme = encoding.ring, weight * encoding.levels + noise
    total = ring.zeros(2)
    for _ in range(clients):
        ring.add_into(total, encoding.encode(np.array([1e9, -1e9]), weight, SEED)[0])
        ring.add_into(total, ring.reduce(np.array([noise, -noise])))
    assert ring.centre(total).tolist() == [clients * extreme, -clients * extreme]
    assert clients * extreme <= ring.modulus // 2 - 1


@rows("C7")
def test_in_a_ring_one_bit_smaller_the_extreme_sum_changes_its_sign(row: str) -> None:
    encoding = Encoding(1.0, 8, 3, 9)
    extreme = 9 * 3 * encoding.levels
    smaller = Ring(encoding.ring.bits - 1)
    assert encoding.ring.centre(encoding.ring.reduce(np.array([extreme]))).tolist() == [extreme]
    assert smaller.centre(smaller.reduce(np.array([extreme]))).tolist() == [extreme - smaller.modulus]


# --- C4, C5, C6: what a client may not submit


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 1, CHUNK, 2 * CHUNK + 1])
@rows("C4")
def test_a_value_that_is_not_finite_is_refused_wherever_it_hides(
    row: str, value: float, dtype: type, place: int
) -> None:
    x = np.zeros(2 * CHUNK + 2, dtype=dtype)
    x[0] = 5.0  # a clipped neighbour must not hide it
    x[place] = value
    for policy in OnExcess:
        if policy is OnExcess.REFUSE and place >= CHUNK:
            continue  # the excess in the first chunk is named first
        with pytest.raises(NonFinite, match=f"coordinate {place} "):
            PLAIN.encode(x, 1, SEED, policy)
    x[place] = 0.25
    assert PLAIN.encode(x, 1, SEED)[1].count <= 1


def scale_blindly(encoding: Encoding, y: np.ndarray, x: np.ndarray, start: int, on_excess: OnExcess) -> int:
    """What `_scale_into` would be without its checks."""
    np.multiply(x, math.ldexp(1.0, encoding.fraction_bits), out=y)
    return 0


@rows("C4")
def test_without_the_check_nan_becomes_an_ordinary_number(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoding, "_scale_into", scale_blindly)
    with np.errstate(invalid="ignore"):
        vector, _ = PLAIN.encode(np.full(3, math.nan), 1, SEED)
    assert np.isfinite(PLAIN.decode(vector, 1)).all()


@rows("C5")
def test_without_the_clip_one_client_leaves_its_levels(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoding, "_scale_into", scale_blindly)
    vector, hit = PLAIN.encode(np.full(3, 50.0), 1, SEED)
    assert hit == Hit(0)
    assert PLAIN.decode(vector, 1).tolist() == [50.0, 50.0, 50.0]


@rows("C5")
def test_an_excess_is_counted_and_clipped_or_refused(row: str) -> None:
    x = np.array([0.0, 1.0, -1.0, math.nextafter(1.0, 2.0), -7.0, 1e308])
    vector, hit = PLAIN.encode(x, 1, SEED)
    assert hit == Hit(3)
    assert PLAIN.ring.centre(vector).tolist() == [0, 32768, -32768, 32768, -32768, 32768]
    with pytest.raises(ClipExceeded, match="3 coordinates"):
        PLAIN.encode(x, 1, SEED, OnExcess.REFUSE)
    assert PLAIN.encode(x[:3], 1, SEED, OnExcess.REFUSE)[1] == Hit(0)


@pytest.mark.parametrize("weight", [0, -1, 6, 2**70, 1.0, math.nan, True, "1", None, np.float64(2)])
@rows("C6")
def test_a_weight_is_an_integer_within_its_bound(row: str, weight: int) -> None:
    encoding = Encoding(1.0, 16, 5, 10)
    out = encoding.ring.zeros(3)
    with pytest.raises(BadParameters, match="weight is"):
        encoding.encode_into(out, np.ones(3), weight, SEED)
    assert not out.any()


@rows("C6")
def test_the_mean_of_nobody_is_refused(row: str) -> None:
    total = PLAIN.ring.zeros(3)
    for weight_sum in (0, -1, 101, 1.0, math.nan):
        with pytest.raises(BadParameters, match="weight_sum"):
            PLAIN.decode(total, weight_sum)
    assert PLAIN.decode(total, np.int64(100)).tolist() == [0.0, 0.0, 0.0]


# --- other refusals


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 0.0}, {"clip": -1.0}, {"clip": math.nan}, {"clip": math.inf}, {"clip": True}, {"clip": "1"},
        {"clip": 5e-324}, {"clip": Fraction(2) ** 1100}, {"bits": 1}, {"bits": 25}, {"bits": 16.0},
        {"max_weight": 0}, {"max_clients": 0}, {"noise_bound": -1}, {"max_clients": 1e3},
    ],
    ids=lambda wrong: "{}={}".format(*next(iter(wrong.items())))[:24],
)  # fmt: skip
def test_a_field_out_of_range_is_refused_by_name(wrong: dict[str, int]) -> None:
    fields = {"clip": 1.0, "bits": 16, "max_weight": 1, "max_clients": 10} | wrong
    with pytest.raises(BadParameters, match=next(iter(wrong))):
        Encoding(**fields)


@pytest.mark.parametrize("x", [np.ones(3, np.float16), np.ones(3, np.int64), np.ones((3, 1)), np.float64(1.0)])
def test_only_a_row_of_floats_is_encoded(x: np.ndarray) -> None:
    with pytest.raises(BadParameters, match="float32 or float64"):
        PLAIN.encode_into(PLAIN.ring.zeros(3), x, 1, SEED)


@pytest.mark.parametrize("length", [0, 1, 2, 4])
def test_nothing_broadcasts(length: int) -> None:
    with pytest.raises(BadParameters, match="lengths"):
        PLAIN.encode_into(PLAIN.ring.zeros(3), np.ones(length), 1, SEED)
    with pytest.raises(BadParameters, match="range"):
        PLAIN.encode_into(PLAIN.ring.zeros(3), np.ones(3), 1, SEED, 2, 4)
    with pytest.raises(BadParameters, match="range"):
        PLAIN.encode_into(PLAIN.ring.zeros(3), np.ones(3), 1, SEED, -1, 3)
    with pytest.raises(BadParameters, match="expected one row"):
        PLAIN.encode_into(np.zeros(3, "<u8"), np.ones(3), 1, SEED)
    for size in (0, 3):
        with pytest.raises(BadParameters, match="expected one row"):
            PLAIN.decode(np.zeros(size, "<u8"), 1)


def test_an_empty_vector_is_encoded_as_nothing() -> None:
    vector, hit = PLAIN.encode(np.empty(0), 1, SEED)
    assert (vector.size, hit) == (0, Hit(0))
    assert PLAIN.decode(vector, 1).size == 0
