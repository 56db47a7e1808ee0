"""The matched filter: on its optimum where the noise is what it claims, far above where it is not."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dp.audit import Correction, Count, Observed, Point, Rule, judge, membership, optimum, roc
from dp.audit.matching import rates_for
from dp.errors import BadParameters, NotEnoughTrials
from dp.gaussian import gaussian_epsilon
from tests.dp.audit.audit_kit import AXIS, gaussian_sum

DELTA = Fraction(1, 100_000)


def observed(z: float, rounds: int, seed: int) -> Observed:
    """Statistics as `observe` would give them, without the rounds."""
    generator = np.random.default_rng(seed)
    half = rounds // 2
    return Observed(1 + z * generator.standard_normal(half), z * generator.standard_normal(half))


@pytest.mark.parametrize(("z", "rate"), [(0.5, 0.138), (1.0, 0.0183), (2.0, 0.0048)])
def test_the_best_rate_at_one_in_a_thousand_is_known(z: float, rate: float) -> None:
    assert float(optimum(np.array([1e-3]), z)[0]) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0])
def test_the_attack_reaches_the_optimum_and_does_not_pass_it(z: float) -> None:
    measured = roc(observed(z, 400_000, seed=1), z)
    assert len(measured.points) == 3
    for point in measured.points:
        assert abs(point.above) < 4
        low, high = point.bars(1e-4)
        assert low < point.true_positives.rate < high
    assert measured.best_area == pytest.approx(0.5 * (1 + math.erf(1 / (2 * z))), rel=1e-12)
    assert measured.area == pytest.approx(measured.best_area, abs=0.005)


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0])
def test_sound_noise_is_not_refuted(z: float) -> None:
    claim = gaussian_epsilon(1e-5, z)
    finding = judge(observed(z, 100_000, seed=2), z, claim=claim, delta=DELTA, seed=2, rule=Rule.SHIFT)
    assert not finding.refuted
    assert finding.lower_bound is not None
    assert 0.5 * claim < finding.lower_bound < claim
    assert (finding.hypotheses, finding.correction) == (3, Correction.BONFERRONI)


def test_half_the_noise_lies_above_the_curve_and_above_the_claim() -> None:
    claim = gaussian_epsilon(1e-5, 1.0)
    finding = judge(observed(0.5, 100_000, seed=3), 1.0, claim=claim, delta=DELTA, seed=3, rule=Rule.SHIFT)
    assert [check.passed for check in finding.checks if "above" in check.name] == [False, False, False]
    assert finding.claim is not None
    assert finding.lower_bound is not None
    assert finding.lower_bound > finding.claim


def test_false_alarms_of_the_curve_are_rare() -> None:
    """Two hundred sound systems, three points each: none as much as 6 standard errors above, few above 3."""
    above = [point.above for seed in range(200) for point in roc(observed(1.0, 40_000, seed=100 + seed), 1.0).points]
    assert max(above) < 6
    assert sum(value > 3 for value in above) <= 6
    assert abs(float(np.mean(above))) < 0.3
    assert float(np.std(above)) == pytest.approx(1.0, abs=0.2)


def test_the_area_is_that_of_all_pairs_with_ties_half() -> None:
    generator = np.random.default_rng(4)
    seen = Observed(generator.integers(0, 9, 300) + 1.0, generator.integers(0, 9, 400) * 1.0)
    pairs = np.mean(
        (seen.present[:, None] > seen.absent[None, :]) + 0.5 * (seen.present[:, None] == seen.absent[None, :])
    )
    assert roc(seen, 1.0, (0.1,)).area == pytest.approx(float(pairs), rel=1e-12)


def test_the_attack_on_rounds_is_the_attack_on_statistics() -> None:
    finding = membership(
        gaussian_sum(1.0, seed=5),
        AXIS,
        1,
        noise_multiplier=1.0,
        claim=gaussian_epsilon(1e-5, 1.0),
        delta=DELTA,
        rounds=2000,
        seed=5,
        rates=(0.1,),
    )
    assert (finding.audit, finding.trials, finding.hypotheses) == ("membership", 2000, 1)
    assert finding.correction is Correction.NONE
    assert not finding.refuted
    assert [check.name for check in finding.checks] == ["above the optimum at FPR 0.1, in standard errors"]
    assert [reading.name for reading in finding.readings] == [
        "TPR at FPR 0.1",
        "TPR at FPR 0.1, lower end",
        "TPR at FPR 0.1, upper end",
        "largest TPR at FPR 0.1",
        "area under the curve",
        "largest area under this noise",
    ]


def test_counts_of_none_and_all_still_have_a_place_on_the_curve() -> None:
    assert math.isfinite(Point(1.0, Count(0, 100), Count(100, 100), 0.5).above)


@pytest.mark.parametrize(("rounds", "rates"), [(400, (0.1,)), (4000, (0.1, 0.01)), (40_000, (0.1, 0.01, 0.001))])
def test_the_rates_follow_from_the_number_of_rounds_alone(rounds: int, rates: tuple[float, ...]) -> None:
    assert rates_for(rounds) == rates


def test_too_few_rounds_for_a_rate_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(NotEnoughTrials, match="at least 400"):
        rates_for(399)
    with pytest.raises(NotEnoughTrials, match="about 40000 rounds"):
        roc(observed(1.0, 1000, seed=6), 1.0)


@pytest.mark.parametrize("rates", [(), (0.0,), (1.0,), (math.nan,)])
def test_rates_that_are_none_are_refused(rates: tuple[float, ...]) -> None:
    with pytest.raises(BadParameters, match="rates"):
        roc(observed(1.0, 1000, seed=7), 1.0, rates)


@pytest.mark.parametrize("z", [0.0, -1.0, math.nan])
def test_no_noise_has_no_optimum(z: float) -> None:
    with pytest.raises(BadParameters, match="noise_multiplier"):
        optimum(np.array([0.1]), z)
