"""dp.noise: each law is exact however it is drawn, and its keystream order is fixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from hashlib import sha256
from itertools import product
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from dp import noise
from dp.errors import BadParameters
from dp.noise import (
    CHUNK_WORDS,
    MAX_FOLD,
    TABLE_SCALE,
    TABLE_STD,
    GaussianLaw,
    LaplaceLaw,
    Law,
    SkellamLaw,
    add_discrete_gaussian_into,
    add_discrete_laplace_into,
    add_skellam_into,
    discrete_gaussian,
    discrete_laplace,
    skellam,
    split,
    table_draws,
)
from tests.dp.noise_kit import (
    FALSE_ALARM,
    SIX_SIGMAS,
    float_pmf,
    ks_bound,
    laplace_pmf,
    p_value,
    seeded,
    table_law,
    total_variation,
)
from tests.rows import rows

ROOT = Path(__file__).resolve().parents[2]

GAUSSIANS = [GaussianLaw(s2) for s2 in (Fraction(1, 4), 1, 4, 100, 10**4, 10**8)]
LAPLACES = [LaplaceLaw(t) for t in (Fraction(1, 2), 1, 30, 10**5)]
SKELLAMS = [SkellamLaw(mu) for mu in (Fraction(1, 4), 1, 4, 100, 10**4, 10**8)]
FUNCTIONS = [
    (discrete_gaussian, add_discrete_gaussian_into, Fraction(10**9)),
    (discrete_laplace, add_discrete_laplace_into, Fraction(10**6)),
    (skellam, add_skellam_into, Fraction(3 * 10**7)),
]

each_function = pytest.mark.parametrize(
    ("draw", "add_into", "parameter"), FUNCTIONS, ids=lambda value: getattr(value, "__name__", None)
)


def scaled(law: Law, factor: Fraction) -> Law:
    """The same law with its parameter multiplied."""
    match law:
        case GaussianLaw(sigma2):
            return GaussianLaw(sigma2 * factor)
        case LaplaceLaw(scale):
            return LaplaceLaw(scale * factor)
        case SkellamLaw(mu):
            return SkellamLaw(mu * factor)
    raise AssertionError(law)


# known answers


def test_samples_of_an_independent_implementation_fit_the_same_law(shared: Path) -> None:
    names = sorted((shared / "vectors").glob("discrete_gauss_*.json"))
    assert names
    for name in names:
        vector = json.loads(name.read_text())
        sigma2 = Fraction(vector["std_num"], vector["std_denom"]) ** 2
        theirs = np.array(vector["samples"], dtype=np.int64)
        ours = discrete_gaussian(sigma2, len(theirs), seeded(5))
        for samples in (theirs, ours):
            assert spread_fits(samples, float(sigma2))
            # The planted fault: noise of half the standard deviation sold as the whole.
            assert not spread_fits(samples, 4 * float(sigma2))
            assert abs(samples.mean()) < 5 * float(sigma2 / len(samples)) ** 0.5


def spread_fits(samples: NDArray[np.int64], sigma2: float) -> bool:
    """Two-sided chi-square of sum x^2 / sigma2 at the false alarm rate (the law is Gaussian enough)."""
    statistic = float((samples.astype(np.float64) ** 2).sum()) / sigma2
    tail = stats.chi2.cdf(statistic, len(samples)), stats.chi2.sf(statistic, len(samples))
    return bool(min(tail) > FALSE_ALARM / 2)


@pytest.mark.parametrize(
    ("law", "digest"),
    [
        (GaussianLaw(Fraction(1, 4)), "fd4f68ee497aecfa"),
        (GaussianLaw(10**4), "3d2070f071301011"),
        (GaussianLaw(10**9), "67249b5445a83b66"),
        (LaplaceLaw(Fraction(1, 2)), "dcfab9e4fd44f296"),
        (LaplaceLaw(30), "8bd653e9ed397834"),
        (LaplaceLaw(10**5), "0a85b14b58b013e6"),
        (LaplaceLaw(10**12), "6cc7fdf7beabb846"),
        (SkellamLaw(Fraction(1, 4)), "269ae45a2458ec79"),
        (SkellamLaw(10**4), "bc01b6b23f2a0565"),
        (SkellamLaw(10**8), "788a93ee0a4f0785"),
    ],
    ids=str,
)
def test_the_normative_streams_have_not_moved(law: Law, digest: str) -> None:
    # Regression, from our own output: stored seeds of noise must keep their meaning.
    samples = law.sample(5000, seeded(0, b"vector", b"v1"))
    assert sha256(samples.astype("<i8").tobytes()).hexdigest()[:16] == digest


# the laws


@rows("N2")
@pytest.mark.parametrize("law", [*GAUSSIANS, *LAPLACES, *SKELLAMS], ids=str)
def test_a_million_draws_fit_the_law_and_no_other(row: str, law: Law) -> None:
    samples, pmf = law.sample(10**6, seeded(int(law.variance))), float_pmf(law)
    assert p_value(samples, pmf) > FALSE_ALARM
    assert ks_bound(samples, pmf) > SIX_SIGMAS
    # The same tests must notice half the noise, a parameter wrong by two percent, and a shift of a tenth.
    half = float_pmf(scaled(law, Fraction(2 if isinstance(law, LaplaceLaw) else 4)))
    assert ks_bound(samples, half) < SIX_SIGMAS
    assert p_value(samples, half) < FALSE_ALARM
    assert p_value(samples, float_pmf(scaled(law, Fraction(102, 100)))) < FALSE_ALARM
    assert p_value(samples + max(1, isqrt(int(law.variance)) // 10), pmf) < FALSE_ALARM


def test_draws_do_not_depend_on_their_neighbours() -> None:
    samples = discrete_gaussian(Fraction(10**4), 10**6, seeded(3)).astype(np.float64)
    for lag in (1, 2, CHUNK_WORDS):
        assert abs(np.corrcoef(samples[:-lag], samples[lag:])[0, 1]) < 6 / 10**3


@pytest.mark.parametrize("law", [GaussianLaw(Fraction(1, 10**6)), LaplaceLaw(Fraction(1, 10**3))], ids=str)
def test_noise_of_no_size_worth_mentioning_is_zero(law: Law) -> None:
    assert law.reach == 0
    assert not law.sample(10**4, seeded(1)).any()


@pytest.mark.parametrize("law", [*GAUSSIANS[:5], *LAPLACES, *SKELLAMS[:5], LaplaceLaw(2**50)], ids=str)
def test_no_draw_is_beyond_the_reach_and_few_deviations_are(law: Law) -> None:
    samples = law.sample(10**5, seeded(2))
    assert np.abs(samples).max() <= law.reach
    assert law.reach < 70 * float(law.variance) ** 0.5 + 40


def test_the_widest_noise_still_fits_int64() -> None:
    assert GaussianLaw(2**100).reach < 2**56
    assert LaplaceLaw(2**50).reach < 2**57
    assert 1024 * SkellamLaw(2**24).reach < 2**30


# splitting


@given(st.fractions(min_value=TABLE_STD**2 + 1, max_value=2**100))
def test_a_split_keeps_the_variance_and_smooths_enough(sigma2: Fraction) -> None:
    factor, coarse, fine = split(sigma2)
    assert factor**2 * coarse + fine == sigma2
    assert coarse * fine / sigma2 >= Fraction(25, 4)
    # round(sqrt(s)): (factor - 1/2)^4 <= sigma2 < (factor + 1/2)^4
    assert (2 * factor - 1) ** 4 <= 16 * sigma2 < (2 * factor + 1) ** 4
    assert 2 <= table_draws(sigma2) <= 16


def test_a_split_law_is_pointwise_the_discrete_gaussian() -> None:
    sigma2 = Fraction(4000)
    factor, coarse, fine = split(sigma2)
    a, b, direct = (float_pmf(GaussianLaw(variance)) for variance in (coarse, fine, sigma2))
    law = np.zeros(2 * (factor * a.values[-1] + b.values[-1]) + 1)
    for value, mass in zip(a.values, a.law, strict=True):
        start = factor * (value - a.values[0])
        law[start : start + len(b.law)] += mass * b.law
    centre = len(law) // 2
    inside = np.abs(direct.values) <= 8 * float(sigma2) ** 0.5
    ratio = law[centre + direct.values[inside]] / direct.law[inside]
    assert np.abs(np.log(ratio)).max() < 1e-12


@pytest.mark.parametrize("scale", [Fraction(5), Fraction(33, 7)], ids=str)
def test_a_split_laplace_is_exactly_the_laplace(scale: Fraction, monkeypatch: pytest.MonkeyPatch) -> None:
    # Limits so low that a scale of 5 takes three tables, whose laws can be convolved as fractions.
    monkeypatch.setattr(noise, "TABLE_SCALE", 1)
    monkeypatch.setattr(noise, "MAX_FOLD", 3)
    terms = LaplaceLaw(scale).terms()
    assert len(terms) == 3
    law = {0: Fraction(1)}
    for term in terms:
        part = table_law(term.table())
        summed: dict[int, Fraction] = {}
        for (value, mass), (step, share) in product(law.items(), part.items()):
            at = value + term.factor * step
            summed[at] = summed.get(at, Fraction(0)) + mass * share
        law = summed
    assert total_variation(law, laplace_pmf(scale, max(law))) <= Fraction(len(terms), 2**127)


@given(st.fractions(min_value=TABLE_SCALE + Fraction(1, 9), max_value=2**50))
def test_a_laplace_splits_into_tables_of_bounded_length(scale: Fraction) -> None:
    *_, coarsest_fold = terms = LaplaceLaw(scale).terms()
    assert 2 <= len(terms) <= 4
    assert terms[0].parameters[0] <= TABLE_SCALE
    # Each fold fills exactly the gaps that the next coarser term leaves.
    factor = 1
    for term in reversed(terms[1:]):
        assert term.factor == factor
        at, width = term.parameters
        assert at * factor == scale
        assert 1 < width <= MAX_FOLD
        factor *= int(width)
    assert terms[0].factor == factor
    assert terms[0].parameters[0] * factor == scale
    assert coarsest_fold.factor == 1


@given(st.fractions(min_value=Fraction(1, 10), max_value=2**34))
def test_the_parts_of_a_skellam_are_equal_and_together_the_whole(mu: Fraction) -> None:
    terms = SkellamLaw(mu).terms()
    assert len(set(terms)) == 1
    assert sum(Fraction(term.parameters[0]) for term in terms) == mu
    assert terms[0].parameters[0] <= TABLE_STD**2
    assert len(terms) == 1 or mu / (len(terms) - 1) > TABLE_STD**2


def test_one_table_serves_up_to_the_limit_and_more_beyond() -> None:
    edge = TABLE_STD**2
    assert table_draws(Fraction(edge)) == GaussianLaw(edge).draws(1) == SkellamLaw(edge).draws(1) == 1
    assert table_draws(edge + Fraction(1, 7)) == SkellamLaw(edge + Fraction(1, 7)).draws(1) == 2
    assert [LaplaceLaw(TABLE_SCALE + more).draws(1) for more in (0, Fraction(1, 7))] == [1, 2]
    assert SkellamLaw(10**8).draws(1000) == 6000


@pytest.mark.parametrize("law", [GaussianLaw(10**9), LaplaceLaw(10**12), SkellamLaw(10**8)], ids=str)
def test_the_draws_that_are_booked_are_the_words_that_are_taken(law: Law) -> None:
    class Counting:
        words = 0

        def borrow(self, count: int, stream: bytes) -> NDArray[np.uint64]:
            assert stream == noise_words
            self.words += count
            return np.full(count, 2**63 - 12345, dtype="<u8")

    noise_words, counting = b"secagg/v1/dp/noise/words", Counting()
    law.add_into(np.zeros(20_000, dtype=np.int64), counting)  # type: ignore[arg-type]
    assert counting.words == law.draws(20_000)


# streams


@each_function
def test_equal_seeds_regenerate_equal_noise(draw, add_into, parameter) -> None:  # type: ignore[no-untyped-def]
    first, second = (draw(parameter, 40_000, seeded(1)) for _ in range(2))
    assert first.dtype == np.int64
    assert np.array_equal(first, second)


@each_function
def test_adding_into_a_vector_equals_drawing_and_adding(draw, add_into, parameter) -> None:  # type: ignore[no-untyped-def]
    total = np.arange(1000, dtype=np.int64)
    add_into(total, parameter, seeded(4))
    assert np.array_equal(total - np.arange(1000), draw(parameter, 1000, seeded(4)))


@rows("N7")
@each_function
def test_one_stream_never_gives_the_same_noise_twice(row, draw, add_into, parameter) -> None:  # type: ignore[no-untyped-def]
    # Coordinates of one vector, then the next vector of the same stream: all words are new.
    stream = seeded(9)
    vectors = [draw(parameter, 3 * CHUNK_WORDS, stream) for _ in range(2)]
    pieces = np.concatenate(vectors).reshape(6, CHUNK_WORDS)
    for first in range(6):
        for second in range(first):
            assert abs(np.corrcoef(pieces[first], pieces[second])[0, 1]) < 6 / CHUNK_WORDS**0.5
            assert (pieces[first] == pieces[second]).mean() < 0.01


def test_one_call_equals_two_shorter_ones() -> None:
    whole = discrete_gaussian(Fraction(50), CHUNK_WORDS + 100, seeded(1))
    stream = seeded(1)
    parts = [discrete_gaussian(Fraction(50), n, stream) for n in (7, CHUNK_WORDS - 1, 94)]
    assert np.array_equal(whole, np.concatenate(parts))


DRAW_ELSEWHERE = """
import sys
from fractions import Fraction
from dp.noise import Entropy, discrete_gaussian
sys.stdout.buffer.write(discrete_gaussian(Fraction(9), 10**5, Entropy.insecure(int(sys.argv[1]), b"t", b"")).tobytes())
"""


def drawn_in_another_process(seed: int) -> NDArray[np.int64]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRAW_ELSEWHERE, str(seed)]
    done = subprocess.run(command, check=True, env=environment, timeout=60, capture_output=True)
    return np.frombuffer(done.stdout, np.int64)


@rows("N3")
def test_another_process_draws_other_noise_of_the_same_law_and_the_same_from_the_same_seed(row: str) -> None:
    here, again = (discrete_gaussian(Fraction(9), 10**5, seeded(seed, b"t")) for seed in (1, 2))
    there = drawn_in_another_process(2)
    assert np.array_equal(there, again)
    assert stats.ks_2samp(here, there).pvalue > FALSE_ALARM
    # Independent draws of this law coincide in a share of the sum of its squared probabilities.
    law = table_law(GaussianLaw(9).terms()[0].table())
    by_chance = float(sum(share**2 for share in law.values()))
    assert abs((here == there).mean() - by_chance) < 6 * (by_chance / 10**5) ** 0.5
    # The same test must notice a variance wrong by a tenth and a shift of a third of the deviation.
    assert stats.ks_2samp(here, discrete_gaussian(Fraction(10), 10**5, seeded(3))).pvalue < FALSE_ALARM
    assert stats.ks_2samp(here, there + 1).pvalue < FALSE_ALARM


# errors


@pytest.mark.parametrize("wrong", [0, -1, 1.0, True, 2**100 + 1, 10**400, "1", None], ids=lambda value: str(value)[:9])
@pytest.mark.parametrize(("law", "name"), [(GaussianLaw, "sigma2"), (LaplaceLaw, "scale"), (SkellamLaw, "mu")])
def test_a_parameter_that_is_no_positive_rational_in_range_raises(law, name: str, wrong: object) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadParameters, match=name):
        law(wrong)


@each_function
def test_a_negative_count_raises(draw, add_into, parameter) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadParameters, match="count"):
        draw(parameter, -1, seeded(1))
