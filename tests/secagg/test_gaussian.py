"""gaussian: exact thresholds, the guide table against plain inversion of all its bits, the law, the two streams."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from secagg.errors import BadParameters
from secagg.gaussian import (
    LABEL,
    MASK_REACH,
    MASK_SIGMA,
    RUN,
    Law,
    Sampler,
    mask_law,
    thresholds,
)
from secagg.keys import Seed, derive

SEED = Seed(bytes(range(32)))
CONTEXT = bytes(range(32, 64))
FALSE_ALARM = 1e-6
LAW = mask_law()


def exponential(x: Fraction) -> Fraction:
    """e^-x to some 2^-200, by Taylor's series of a small part of x."""
    part, term, total = x / 64, Fraction(1), Fraction(1)
    for n in range(1, 60):
        term *= -part / n
        total += term
    return Fraction(round(total**64 * 2**400), 2**400) if x <= 8 else exponential(x / 2) ** 2


def exact_law(sigma: Fraction, reach: int) -> dict[int, Fraction]:
    weights = [exponential(Fraction(k * k) / (2 * sigma**2)) for k in range(reach + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    return {k: weights[abs(k)] / total for k in range(-reach, reach + 1)}


EXACT = exact_law(Fraction(453, 100), 65)


def exact_thresholds() -> list[int]:
    below, found = Fraction(0), []
    for probability in list(EXACT.values())[:-1]:
        below += probability
        found.append(math.floor(below * 2**64))
    return found


def keystream(label: bytes, count: int) -> bytes:
    key = derive(SEED, label, CONTEXT).expose()
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(count))


def sampler(count: int, seed: Seed = SEED, context: bytes = CONTEXT, start: int = 0) -> Sampler:
    return Sampler(LAW, seed, context, range(start, start + count))


def drawn(count: int, start: int = 0) -> NDArray[np.int64]:
    source = sampler(count, start=start)
    parts = [source.read() for _ in range(0, count, RUN)]
    return np.concatenate(parts).astype(np.int64)


# --- the table


def test_the_width_is_sqrt_2_times_that_of_the_standard() -> None:
    assert MASK_SIGMA == 4.53
    assert 0 < MASK_SIGMA - math.sqrt(2) * 3.2 < 0.005
    assert MASK_REACH > 14 * MASK_SIGMA


def test_thresholds_are_the_exact_ones() -> None:
    assert math.isclose(float(exponential(Fraction(99))), math.exp(-99), rel_tol=1e-13)
    assert thresholds(4.53, 65).tolist() == exact_thresholds() == LAW.thresholds.tolist()
    # Few enough to check by hand: e^-1/2 of 1 + 2 e^-1/2 on either side of zero.
    assert (thresholds(1.0, 1) / 2.0**64).tolist() == pytest.approx([0.274068619061197, 0.725931380938803])


def test_thresholds_are_within_2_to_the_minus_58_of_the_law() -> None:
    edges = [0, *LAW.thresholds.tolist(), 2**64]
    made = [Fraction(high - low, 2**64) for low, high in pairwise(edges)]
    assert sum(abs(p - q) for p, q in zip(made, EXACT.values(), strict=True)) / 2 < Fraction(1, 2**58)


def test_every_cell_holds_what_all_its_words_give_or_is_cut() -> None:
    first = np.arange(1 << 16, dtype=np.uint64) << np.uint64(48)
    lowest, highest = LAW.inverted(first), LAW.inverted(first + np.uint64(2**48 - 1))
    cells = LAW.cells.astype(np.int64)
    whole = cells != -128
    np.testing.assert_array_equal(cells[whole], lowest[whole])
    np.testing.assert_array_equal(cells[whole], highest[whole])
    assert (lowest[~whole] < highest[~whole]).all()
    # Inversion rises, so that nothing between the ends of a cell was overlooked.
    assert (np.diff(LAW.inverted(np.sort(np.concatenate([LAW.thresholds, LAW.thresholds - np.uint64(1)])))) >= 0).all()
    cut_by_hand = {threshold >> 48 for threshold in exact_thresholds() if threshold % 2**48}
    assert set(np.flatnonzero(~whole).tolist()) == cut_by_hand
    assert len(cut_by_hand) < 50


def test_inversion_switches_at_the_thresholds() -> None:
    for k in (-40, -5, -1, 0, 1, 5, 40):
        at = exact_thresholds()[k + 65]
        assert LAW.inverted(np.array([at - 1, at, at + 1], np.uint64)).tolist() == [k, k + 1, k + 1]
    assert np.abs(LAW.inverted(np.array([0, 2**64 - 1], np.uint64))).max() <= 65


@pytest.mark.parametrize(("sigma", "reach"), [(0.0, 65), (-1.0, 65), (math.nan, 65), (4.53, 0), (4.53, 128)])
def test_a_law_without_a_table_is_refused(sigma: float, reach: int) -> None:
    with pytest.raises(BadParameters, match="no table"):
        Law.of(sigma, reach)


# --- the samples


def test_samples_are_plain_inversion_of_the_same_bits() -> None:
    count = 9 * RUN + 77
    runs = np.frombuffer(keystream(LABEL, 10 * (8192 + 2 * RUN)), "<u2").reshape(10, -1)
    cells = runs[:, 4096:].reshape(-1)[:count]
    cut = {threshold >> 48 for threshold in exact_thresholds()}
    undecided = np.flatnonzero(np.isin(cells, list(cut)))
    assert undecided.size > 100
    # The j-th undecided of a run has the run's j-th word.
    heads = runs[:, :4096].copy().view("<u8")
    cuts = np.concatenate([heads[run, : (undecided // RUN == run).sum()] for run in range(10)]) % 2**48
    for filler in (0, 2**48 - 1):
        words = (cells.astype(np.uint64) << np.uint64(48)) + np.uint64(filler)
        words[undecided] = (cells[undecided].astype(np.uint64) << np.uint64(48)) + cuts
        plain = np.searchsorted(np.array(exact_thresholds(), np.uint64), words, side="right") - 65
        np.testing.assert_array_equal(drawn(count), plain)


@settings(max_examples=20)
@given(st.integers(0, 4), st.integers(1, 3 * RUN))
def test_samples_do_not_depend_on_where_reading_begins_and_ends(run: int, count: int) -> None:
    start = run * RUN
    source = sampler(count, start=start)
    parts = [source.read() for _ in range(0, count, RUN)]
    assert all(part.dtype == np.int8 for part in parts)
    assert source.read().size == 0
    np.testing.assert_array_equal(np.concatenate(parts), drawn(start + 3 * RUN)[start : start + count])


def test_runs_stay_as_they_are_when_the_next_is_read() -> None:
    source = sampler(2 * RUN)
    first = source.read()
    before = first.copy()
    source.read()
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("wanted", [range(1, 10), range(RUN - 1, 2 * RUN), range(0, 2 * RUN, 2)])
def test_reading_begins_with_a_run(wanted: range) -> None:
    with pytest.raises(BadParameters, match="multiples of 65536"):
        Sampler(LAW, SEED, CONTEXT, wanted)


def test_samples_are_a_discrete_gaussian() -> None:
    count = 2_000_000
    samples = drawn(count)
    tail = max(k for k, p in EXACT.items() if p * count >= 10)
    counts = [int((samples == k).sum()) for k in range(-tail, tail + 1)]
    expected = [float(EXACT[k]) * count for k in range(-tail, tail + 1)]
    counts += [int((samples < -tail).sum()), int((samples > tail).sum())]
    expected += [float(sum(p for k, p in EXACT.items() if k > tail)) * count] * 2
    assert stats.chisquare(counts, expected).pvalue > FALSE_ALARM
    assert abs(samples.mean()) < 6 * MASK_SIGMA / math.sqrt(count)
    assert abs(samples.var() / MASK_SIGMA**2 - 1) < 6 * math.sqrt(2 / count)
    for lag in (1, 2, 8, 16):
        assert abs(np.corrcoef(samples[:-lag], samples[lag:])[0, 1]) < 6 / math.sqrt(count)


def test_other_seeds_and_contexts_give_other_samples() -> None:
    ours = sampler(5000).read().astype(float)
    for other in (sampler(5000, Seed(bytes(32))), sampler(5000, context=bytes(32))):
        assert abs(np.corrcoef(ours, other.read())[0, 1]) < 6 / math.sqrt(5000)


@pytest.mark.parametrize("context", [b"", bytes(31), bytes(33)])
def test_a_context_is_32_bytes(context: Any) -> None:
    with pytest.raises(BadParameters, match="context is 32 bytes"):
        sampler(10, context=context)
