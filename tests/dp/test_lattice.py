"""dp.lattice: the rotation against a slow one, the norm bound in exact arithmetic, rounding on hard inputs."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dp import lattice
from dp.errors import BadParameters, ClipExceeded
from dp.lattice import (
    block_length,
    padded_length,
    rotate,
    round_conditionally,
    rounded_norm_squared,
    unrotate,
)
from dp.noise import Entropy, keystream

SEED = bytes(range(32))
Vector = NDArray[np.float64]


def seeded(seed: int) -> Entropy:
    return Entropy.insecure(seed, b"test", b"")


def slow_rotation(vector: Vector, seed: bytes) -> Vector:
    """The definition: pad, flip the signs that keystream bits name, Walsh-Hadamard by butterflies."""
    length = 1 << (len(vector) - 1).bit_length()
    key = HKDFExpand(SHA256(), 32, info=b"secagg/v1/dp/lattice/signs").derive(seed)
    stream = keystream(key).update(bytes(length))
    out = [0.0] * length
    for index, value in enumerate(vector):
        out[index] = -value if stream[index // 8] >> (index % 8) & 1 else float(value)
    half = 1
    while half < length:
        for start in range(0, length, 2 * half):
            for at in range(start, start + half):
                out[at], out[at + half] = out[at] + out[at + half], out[at] - out[at + half]
        half *= 2
    return np.array(out) / length**0.5


# rotation


@pytest.mark.parametrize("dimension", [1, 2, 3, 16, 17, 100, 513, 5000])
def test_the_rotation_is_the_one_defined_by_butterflies(dimension: int) -> None:
    vector = np.random.default_rng(dimension).normal(size=dimension)
    np.testing.assert_allclose(rotate(vector, SEED, 1.0), slow_rotation(vector, SEED), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dimension", [1, 2, 31, 1000, 2**14, 2**15 + 1])
def test_unrotating_undoes_rotating_and_the_norm_stays(dimension: int) -> None:
    vector = np.random.default_rng(dimension).normal(size=dimension)
    turned = rotate(vector, SEED, 8.0)
    assert len(turned) == padded_length(dimension)
    np.testing.assert_allclose(unrotate(turned, SEED, 1 / 8, dimension), vector, rtol=0, atol=1e-13)
    assert np.linalg.norm(turned) == pytest.approx(8 * np.linalg.norm(vector), rel=1e-14)


def test_long_vectors_are_rotated_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice, "MAX_BLOCK", 64)
    vector = np.random.default_rng(0).normal(size=150)
    turned = rotate(vector, SEED, 1.0)
    assert (block_length(150), padded_length(150), len(turned)) == (64, 192, 192)
    np.testing.assert_allclose(unrotate(turned, SEED, 1.0, 150), vector, rtol=0, atol=1e-13)
    np.testing.assert_allclose(turned[:64], slow_rotation(vector[:64], SEED), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("dimension", "padded"), [(1, 1), (2, 2), (3, 4), (2**24, 2**24), (2**24 + 1, 2**25)])
def test_the_padded_length_is_the_next_power_of_two_up_to_whole_blocks(dimension: int, padded: int) -> None:
    assert padded_length(dimension) == padded


def test_a_single_spike_becomes_flat() -> None:
    spike = np.zeros(4096)
    spike[7] = 64.0
    assert np.array_equal(np.abs(rotate(spike, SEED, 1.0)), np.ones(4096))


@pytest.mark.parametrize("bits", [14, 15, 18, 19, 20])
def test_long_spikes_become_rows_of_the_sylvester_matrix(bits: int) -> None:
    # Longer than one tile: every group of high bits is there.
    stream = keystream(HKDFExpand(SHA256(), 32, info=b"secagg/v1/dp/lattice/signs").derive(SEED))
    signs = np.unpackbits(np.frombuffer(stream.update(bytes(1 << (bits - 3))), np.uint8), bitorder="little")
    for at in map(int, np.random.default_rng(bits).integers(1 << bits, size=4)):
        spike = np.zeros(1 << bits)
        spike[at] = 1.0
        row = np.array([(-1.0) ** int(signs[at])])
        for bit in range(bits):
            row = np.concatenate([row, row * (-1.0) ** (at >> bit & 1)])
        np.testing.assert_allclose(rotate(spike, SEED, 1.0), row / 2 ** (bits / 2), rtol=1e-15, atol=0)


def test_another_seed_turns_otherwise() -> None:
    vector = np.ones(256)
    assert not np.allclose(rotate(vector, SEED, 1.0), rotate(vector, bytes(32), 1.0))


@pytest.mark.parametrize("seed", [b"", bytes(31), "x" * 32, bytearray(32)], ids=repr)
def test_a_seed_that_is_not_32_bytes_raises(seed: bytes) -> None:
    with pytest.raises(BadParameters, match="rotation_seed"):
        rotate(np.ones(4), seed, 1.0)


# the integer norm bound


@given(
    st.fractions(min_value=Fraction(1, 1000), max_value=2**30),
    st.sampled_from([1, 2, 8, 64, 2**20, 3 * 2**24]),
    st.fractions(min_value=0, max_value=10).filter(lambda slack: slack > 0),
)
def test_the_norm_bound_is_the_floor_of_its_formula(radius: Fraction, padded: int, slack: Fraction) -> None:
    with localcontext() as arithmetic:
        arithmetic.prec = 100
        root = Decimal(padded).sqrt()
        c, s = (Decimal(part.numerator) / Decimal(part.denominator) for part in (radius, slack))
        formula = min((c + root) ** 2, c * c + Decimal(padded) / 4 + s * (c + root / 2))
        floor = int(formula.to_integral_value(rounding="ROUND_FLOOR"))
        # 100 digits may miss an exact integer by their last one; the integers may not.
        assert rounded_norm_squared(radius, padded, slack) in {floor, int((formula + Decimal("1e-60")) // 1)}


def test_the_norm_bound_by_hand() -> None:
    # c = 3, d' = 16, slack 1: (3 + 4)^2 = 49 and 9 + 4 + (3 + 2) = 18.
    assert rounded_norm_squared(Fraction(3), 16, Fraction(1)) == 18
    assert rounded_norm_squared(Fraction(3), 16, Fraction(100)) == 49


# rounding

HARD = {
    "one coordinate": np.array([1000.25, *[0.0] * 1023]),
    "all halves": np.full(1024, 0.5),
    "all minus halves": np.full(1024, -0.5),
    "alternating": np.tile([1.5, -2.5], 512),
    "integers": np.arange(-512.0, 512.0),
    "tiny": np.full(1024, -1e-300),
    "almost one": np.full(1024, np.nextafter(1.0, 0.0)),
    "large": np.full(1024, 2.0**24 + 0.375),
}


def limit_of(scaled: Vector) -> int:
    radius_squared = sum(Fraction(float(value)) ** 2 for value in scaled)
    radius = Fraction(int(float(radius_squared) ** 0.5 * 2**20) + 1, 2**20)
    return rounded_norm_squared(radius, len(scaled), Fraction(1))


@pytest.mark.parametrize("name", HARD)
def test_rounding_hard_inputs_is_bounded_and_moves_each_by_less_than_one(name: str) -> None:
    scaled, stream = HARD[name], seeded(1)
    limit = limit_of(scaled)
    for _ in range(50):
        rounded = round_conditionally(scaled, limit, stream)
        assert rounded.dtype == np.int64
        assert sum(int(value) ** 2 for value in rounded) <= limit
        assert np.abs(rounded - scaled).max() < 1


def worst_bias(scaled: Vector, limit: int, repeats: int) -> float:
    """The largest mean error of a coordinate, in standard errors of the roughest fraction."""
    stream = seeded(2)
    total = sum(round_conditionally(scaled, limit, stream) for _ in range(repeats))
    return float(np.abs(total - repeats * scaled).max()) / (0.5 * repeats**0.5)


@pytest.mark.parametrize("name", HARD)
def test_rounding_hard_inputs_has_no_bias(name: str) -> None:
    assert worst_bias(HARD[name], 1 << 62, 400) < 6


@pytest.mark.parametrize("name", HARD.keys() - {"one coordinate"})
def test_refusing_long_vectors_leaves_no_bias_where_many_coordinates_carry_the_norm(name: str) -> None:
    assert worst_bias(HARD[name], limit_of(HARD[name]), 400) < 6


def test_a_lone_spike_is_why_vectors_are_rotated_first() -> None:
    # Rounding 1000.25 up adds 1500 to the squared norm, the bound allows 1272: unrotated it always goes down.
    spike = HARD["one coordinate"]
    assert worst_bias(spike, limit_of(spike), 400) > 9
    turned = rotate(spike, SEED, 1.0)
    assert worst_bias(turned, limit_of(turned), 400) < 6


def test_each_fraction_rounds_up_exactly_that_often() -> None:
    fractions = np.repeat([0.01, 0.25, 0.5, 0.9, 2.0**-30], 40_000)
    rounded = round_conditionally(fractions, 10**9, seeded(3)).reshape(5, -1).mean(axis=1)
    for share, mean in zip([0.01, 0.25, 0.5, 0.9, 2.0**-30], rounded, strict=True):
        assert abs(mean - share) < 5 * (share * (1 - share) / 40_000) ** 0.5 + 1e-9


@pytest.mark.parametrize("name", HARD)
def test_at_least_four_in_ten_attempts_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []
    once = lattice._round_into

    def counted(out: NDArray[np.int64], scaled: Vector, entropy: Entropy) -> int:
        attempts.append(1)
        return once(out, scaled, entropy)

    monkeypatch.setattr(lattice, "_round_into", counted)
    stream, limit = seeded(4), limit_of(HARD[name])
    for _ in range(100):
        round_conditionally(HARD[name], limit, stream)
    assert 100 <= len(attempts) <= 250


def test_when_every_attempt_is_refused_truncation_obeys_the_limit() -> None:
    scaled = np.tile([1.75, -2.75], 512)
    limit = int((np.trunc(scaled) ** 2).sum())
    assert np.array_equal(round_conditionally(scaled, limit, seeded(5)), np.trunc(scaled))


def test_a_vector_longer_than_promised_is_refused_not_shortened() -> None:
    with pytest.raises(ClipExceeded, match="not clipped"):
        round_conditionally(np.full(16, 2.0), 63, seeded(6))
