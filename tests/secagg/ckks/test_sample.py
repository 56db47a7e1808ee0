"""sample: bytes by hand, laws against exact probabilities, rejection forced, and the slow popcount."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from secagg.ckks import sample
from secagg.ckks.sample import (
    CBD_SIGMA,
    KEY_SIGMA,
    cbd21,
    key_gaussian,
    rounded_gaussian,
    ternary,
    uniform_mod_q,
)
from secagg.errors import BadParameters
from secagg.keys import Seed
from secagg.negacyclic import PRIME
from secagg.prg import Stream

SEED = Seed(bytes(range(32)))
FALSE_ALARM = 1e-6
MANY = 200_000
# A smudge this wide hides the rounding from a test of its law.
STD = 2.0**21


class Scripted:
    """Stands for a `Stream` whose bytes are given, then zeros."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def bytes(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count].ljust(count, b"\0")

    def words(self, offset: int, count: int) -> NDArray[np.uint64]:
        return np.frombuffer(bytearray(self.bytes(8 * offset, 8 * count)), "<u8")


def of_words(*words: int) -> Scripted:
    return Scripted(b"".join(word.to_bytes(8, "little") for word in words))


def keystream(count: int) -> bytes:
    return Cipher(algorithms.AES(SEED.expose()), modes.CTR(bytes(16))).encryptor().update(bytes(count))


def words_by_hand(count: int) -> list[int]:
    data = keystream(8 * count)
    return [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(count)]


def p_value(samples: NDArray[np.int64], probabilities: dict[int, float]) -> float:
    """Chi-square of samples, those expected fewer than 10 times put together."""
    common = [k for k, p in probabilities.items() if p * samples.size >= 10]
    counts = [int((samples == k).sum()) for k in common]
    expected = [probabilities[k] * samples.size for k in common]
    counts.append(samples.size - sum(counts))
    expected.append(samples.size - sum(expected))
    if expected[-1] < 1e-6 * samples.size:
        assert counts[-1] <= 10
        counts, expected = counts[:-1], [e * sum(counts[:-1]) / sum(expected[:-1]) for e in expected[:-1]]
    return float(stats.chisquare(counts, expected).pvalue)


SAMPLERS: dict[str, Callable[[Stream, int], NDArray[np.generic]]] = {
    "ternary": ternary,
    "cbd21": cbd21,
    "key_gaussian": key_gaussian,
    "rounded_gaussian": lambda stream, count: rounded_gaussian(stream, STD, count),
    "uniform_mod_q": uniform_mod_q,
}


# --- bytes by hand


def test_ternary_takes_bytes_in_order_and_refuses_255() -> None:
    data = keystream(3000)
    assert 255 in data[:2500]
    assert ternary(Stream(SEED), 2500).tolist() == [byte % 3 - 1 for byte in data if byte < 255][:2500]


def test_cbd21_counts_bits_of_words_in_order() -> None:
    # More than two steps of keystream, and a rest.
    count = 2 * sample._STEP + 5
    words = words_by_hand(count)
    mask = (1 << 21) - 1
    expected = [(word & mask).bit_count() - (word >> 21 & mask).bit_count() for word in words]
    assert cbd21(Stream(SEED), count).tolist() == expected


def test_key_gaussian_inverts_its_distribution_word_by_word() -> None:
    cumulated = exact_thresholds()
    expected = [sum(threshold <= word for threshold in cumulated) - 65 for word in words_by_hand(500)]
    assert key_gaussian(Stream(SEED), 500).tolist() == expected


def test_rounded_gaussian_is_box_muller_on_pairs_of_words() -> None:
    count = sample._STEP + 6
    words = words_by_hand(count)
    got = rounded_gaussian(Stream(SEED), STD, count)
    for i in [*range(0, 400, 2), *range(sample._STEP - 4, count, 2)]:
        radius = STD * math.sqrt(-2 * math.log(((words[i] >> 11) + 1) * 2.0**-53))
        angle = 2 * math.pi * ((words[i + 1] >> 11) * 2.0**-53 - 0.5)
        assert abs(got[i] - radius * math.cos(angle)) <= 0.5 + 1e-6
        assert abs(got[i + 1] - radius * math.sin(angle)) <= 0.5 + 1e-6


def test_uniform_takes_the_low_54_bits_of_words_in_order() -> None:
    expected = [word % 2**54 for word in words_by_hand(3000) if word % 2**54 < PRIME]
    assert uniform_mod_q(Stream(SEED), 2990).tolist() == expected[:2990]


@pytest.mark.parametrize("name", SAMPLERS)
@given(st.integers(0, 40), st.integers(0, 40))
def test_fewer_samples_are_the_first_of_more(name: str, few: int, more: int) -> None:
    draw = SAMPLERS[name]
    samples = draw(Stream(SEED), few + more)
    assert samples.shape == (few + more,)
    assert draw(Stream(SEED), few).tolist() == samples[:few].tolist()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_stands_for_its_samples_and_another_seed_for_others(name: str) -> None:
    draw = SAMPLERS[name]
    first, again, other = (draw(Stream(Seed(bytes([value]) * 32)), 1000).tolist() for value in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("count", [sample._STEP - 1, sample._STEP, sample._STEP + 1, 3 * sample._STEP])
def test_no_step_repeats_another(name: str, count: int) -> None:
    samples = SAMPLERS[name](Stream(SEED), count)
    assert samples.size == count
    windows = {samples[start : start + 64].tobytes() for start in range(0, count - 64, 64)}
    assert len(windows) == len(range(0, count - 64, 64))


# --- laws


def test_ternary_is_uniform_in_three_signs() -> None:
    samples = ternary(Stream(SEED), MANY)
    assert samples.dtype == np.float64
    assert p_value(samples.astype(np.int64), dict.fromkeys((-1, 0, 1), 1 / 3)) > FALSE_ALARM
    # Each sign has exactly 85 of the 255 bytes.
    every = ternary(Scripted(bytes(range(255))), 255)  # type: ignore[arg-type]
    assert [int((every == sign).sum()) for sign in (-1, 0, 1)] == [85, 85, 85]


def test_cbd21_is_a_centred_binomial() -> None:
    samples = cbd21(Stream(SEED), MANY)
    assert samples.dtype == np.int64
    assert p_value(samples, {k: math.comb(42, k + 21) / 2**42 for k in range(-21, 22)}) > FALSE_ALARM
    assert math.isclose(CBD_SIGMA**2, 10.5)
    # The kurtosis is below 3, so a sample variance varies by less than a Gaussian's, 2 sigma^4 / n.
    assert abs(np.var(samples) - 10.5) < 6 * 10.5 * math.sqrt(2 / MANY)
    assert abs(np.mean(samples)) < 6 * math.sqrt(10.5 / MANY)


def test_cbd21_reaches_21_on_either_side_and_no_further() -> None:
    low, high = (1 << 21) - 1, ((1 << 21) - 1) << 21
    rest = ((1 << 22) - 1) << 42
    words = of_words(low, high, low | high, 0, low | rest, high | rest, rest, 1, 1 << 20, 1 << 21, 1 << 41, 1 << 42)
    expected = [21, -21, 0, 0, 21, -21, 0, 1, 1, -1, -1, 0]
    assert cbd21(words, 12).tolist() == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_cbd21_without_the_fast_popcount_is_the_same(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = cbd21(Stream(SEED), count)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    slow = cbd21(Stream(SEED), count)
    assert slow.dtype == fast.dtype == np.int64
    assert slow.tolist() == fast.tolist()


def test_the_slow_popcount_counts_every_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    words = [1 << bit for bit in range(42)] + [(1 << bit) - 1 for bit in range(43)]
    assert sample._popcount(np.array(words, np.uint64)).tolist() == [word.bit_count() for word in words]


def exact_exponential(x: Fraction) -> Fraction:
    """e^-x within 2^-300, by the series of e^(x/2^k) squared k times in integers of 500 bits."""
    scale = 1 << 500
    argument, total, term, k = scale * x.numerator // x.denominator >> 8, scale, scale, 1
    while term:
        term = term * argument // (scale * k)
        total, k = total + term, k + 1
    for _ in range(8):
        total = total * total // scale
    return Fraction(scale, total)


def exact_law() -> dict[int, Fraction]:
    """P(k) ~ e^(-k^2 / (2 4.6^2)), k within 65 of 0."""
    weights = {k: exact_exponential(Fraction(k * k) / (2 * Fraction(46, 10) ** 2)) for k in range(66)}
    total = weights[0] + 2 * sum(weights[k] for k in range(1, 66))
    return {k: weights[abs(k)] / total for k in range(-65, 66)}


def exact_thresholds() -> list[int]:
    below, thresholds = Fraction(0), []
    for k, probability in exact_law().items():
        below += probability
        if k < 65:
            thresholds.append(math.floor(below * 2**64))
    return thresholds


def test_the_exponential_of_fractions_is_right() -> None:
    for x in (Fraction(0), Fraction(1), Fraction(25, 1058), Fraction(99)):
        assert math.isclose(float(exact_exponential(x)), math.exp(-float(x)), rel_tol=1e-14)


def test_key_thresholds_are_the_exact_ones() -> None:
    assert sample._key_thresholds().tolist() == exact_thresholds()
    assert KEY_SIGMA == 4.6


def test_key_gaussian_is_within_2_to_the_minus_58_of_its_law() -> None:
    edges = [0, *sample._key_thresholds().tolist(), 2**64]
    drawn = [Fraction(high - low, 2**64) for low, high in pairwise(edges)]
    apart = sum(abs(p - q) for p, q in zip(drawn, exact_law().values(), strict=True)) / 2
    assert apart < Fraction(1, 2**58)


def test_key_gaussian_switches_at_its_thresholds() -> None:
    thresholds = exact_thresholds()
    for k in (-40, -5, -1, 0, 1, 5, 40):
        at = thresholds[k + 65]
        assert key_gaussian(of_words(at - 1, at, at + 1), 3).tolist() == [k, k + 1, k + 1]  # type: ignore[arg-type]
    within = key_gaussian(of_words(0, 2**64 - 1), 2)  # type: ignore[arg-type]
    assert np.abs(within).max() <= 65


def test_key_gaussian_is_a_discrete_gaussian() -> None:
    samples = key_gaussian(Stream(SEED), MANY)
    assert samples.dtype == np.int64
    assert p_value(samples, {k: float(p) for k, p in exact_law().items()}) > FALSE_ALARM
    assert abs(np.var(samples) - 4.6**2) < 6 * 4.6**2 * math.sqrt(2 / MANY)


def test_rounded_gaussian_is_normal() -> None:
    samples = rounded_gaussian(Stream(SEED), STD, MANY)
    assert samples.dtype == np.int64
    assert stats.kstest(samples / STD, "norm").pvalue > FALSE_ALARM
    assert abs(np.mean(samples)) < 6 * STD / math.sqrt(MANY)
    assert abs(np.std(samples) / STD - 1) < 6 / math.sqrt(2 * MANY)
    # Both of a pair, and neighbours of different pairs, are uncorrelated.
    for x, y in ((samples[0::2], samples[1::2]), (samples[1:-1:2], samples[2::2])):
        assert abs(np.corrcoef(x, y)[0, 1]) < 6 / math.sqrt(x.size)


@pytest.mark.parametrize("std", [0.7, 3.2])
def test_rounded_gaussian_puts_its_mass_on_the_nearest_integers(std: float) -> None:
    law = {k: float(stats.norm.cdf((k + 0.5) / std) - stats.norm.cdf((k - 0.5) / std)) for k in range(-40, 41)}
    assert p_value(rounded_gaussian(Stream(SEED), std, MANY), law) > FALSE_ALARM


@pytest.mark.parametrize("word", [0, 1 << 10, 1 << 11, 1 << 62, 1 << 63, 3 << 62, 2**64 - 1])
@pytest.mark.parametrize("angle", [0, 1 << 62, 1 << 63, (1 << 63) - 1, 3 << 62, 2**64 - 1])
def test_rounded_gaussian_of_extreme_words_is_finite_and_ends_at_8_6_deviations(word: int, angle: int) -> None:
    pair = rounded_gaussian(of_words(word, angle), 2.0**48, 2)  # type: ignore[arg-type]
    radius = math.hypot(*pair.tolist())
    assert radius <= 8.6 * 2**48 < PRIME // 2
    assert math.isclose(radius, 2**48 * math.sqrt(-2 * math.log(((word >> 11) + 1) / 2**53)), rel_tol=1e-9)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf, 2.0**49])
def test_a_deviation_that_hides_nothing_or_wraps_is_refused(std: float) -> None:
    with pytest.raises(BadParameters, match="std"):
        rounded_gaussian(Stream(SEED), std, 10)


def test_uniform_is_uniform_below_q() -> None:
    samples = uniform_mod_q(Stream(SEED), MANY)
    assert samples.dtype == np.uint64
    assert int(samples.max()) < PRIME
    assert np.unique(samples).size == MANY
    assert stats.kstest(samples / PRIME, "uniform").pvalue > FALSE_ALARM
    counts = np.bincount((samples & np.uint64(255)).astype(np.int64), minlength=256)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


# --- rejection


@pytest.mark.parametrize("refused", [1, 9, 10, 11, 73, 74, 75, 500])
def test_ternary_passes_over_any_run_of_255(refused: int) -> None:
    data = bytes([255] * refused + list(range(10)))
    expected = [byte % 3 - 1 for byte in range(10)]
    assert ternary(Scripted(data), 10).tolist() == expected  # type: ignore[arg-type]


@given(st.lists(st.integers(250, 255), max_size=300), st.integers(1, 100))
def test_ternary_takes_every_accepted_byte_once(data: list[int], count: int) -> None:
    expected = ([byte % 3 - 1 for byte in data if byte < 255] + [-1] * count)[:count]
    assert ternary(Scripted(bytes(data)), count).tolist() == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("refused", [1, 4, 5, 6, 68, 69, 70, 300])
def test_uniform_passes_over_words_not_below_q(refused: int) -> None:
    high = 1023 << 54
    bad = [(PRIME, 2**54 - 1, PRIME | high, 2**64 - 1)[i % 4] for i in range(refused)]
    good = [PRIME - 1, (PRIME - 1) | high, 0, high, 12345]
    samples = uniform_mod_q(of_words(*bad, *good), 5)  # type: ignore[arg-type]
    assert samples.tolist() == [PRIME - 1, PRIME - 1, 0, 0, 12345]


def test_refused_words_between_accepted_ones_change_no_order() -> None:
    words = [value for k in range(200) for value in (k, PRIME + k)]
    assert uniform_mod_q(of_words(*words), 200).tolist() == list(range(200))  # type: ignore[arg-type]
