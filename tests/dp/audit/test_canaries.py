"""The canary client: bounds below the truth, above a false claim, and coins that the seed alone decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from dp.audit import Correction, Observed, Presence, Rule, canary, membership, observe
from dp.audit.canaries import coins
from dp.errors import BadParameters, NonFinite, NotEnoughTrials
from dp.gaussian import gaussian_epsilon, gaussian_sigma
from tests.dp.audit.audit_kit import AXIS, gaussian_sum
from tests.rows import rows

Floats = NDArray[np.float64]
DELTA = Fraction(1, 100_000)


def test_coins_are_fair_and_follow_from_the_seed() -> None:
    many = coins(7, 100_000)
    assert np.array_equal(many, coins(7, 100_000))
    assert np.array_equal(many[:100], coins(7, 100))
    assert not np.array_equal(many[:100], coins(8, 100))
    assert abs(many.mean() - 0.5) < 6 * 0.5 / math.sqrt(100_000)
    assert abs(np.corrcoef(many[1:], many[:-1])[0, 1]) < 6 / math.sqrt(100_000)


@pytest.mark.parametrize("clip", [Fraction(1, 7), Fraction(50)])
def test_the_statistic_is_in_units_of_the_clip(clip: Fraction) -> None:
    seen = observe(gaussian_sum(0.5, seed=1, clip=float(clip)), AXIS, clip, rounds=4000, seed=1)
    assert seen.rounds == 4000
    assert seen.present.mean() == pytest.approx(1.0, abs=6 * 0.5 / math.sqrt(1900))
    assert seen.absent.std() == pytest.approx(0.5, rel=6 / math.sqrt(2 * 1900))


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0])
def test_a_true_claim_is_not_refuted_and_nearly_reached(z: float) -> None:
    claim = gaussian_epsilon(1e-5, z)
    finding = canary(gaussian_sum(z, seed=2), AXIS, 1, claim=claim, delta=DELTA, rounds=60_000, seed=2, rule=Rule.SHIFT)
    assert finding.lower_bound is not None
    assert 0.85 * claim < finding.lower_bound < claim
    assert not finding.refuted
    assert (finding.trials, finding.hypotheses, finding.correction, finding.seed) == (60_000, 1, Correction.NONE, 2)


@rows("N5")
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_bounds_exceed_a_true_claim_as_rarely_as_they_say(row: str, epsilon: float) -> None:
    z, above = gaussian_sigma(epsilon, 1e-5), 0
    truth = gaussian_epsilon(1e-5, z)
    for seed in range(200):
        release = gaussian_sum(z, seed)
        finding = canary(release, AXIS, 1, claim=truth, delta=DELTA, rounds=400, seed=seed, rule=Rule.SHIFT)
        above += finding.refuted
    assert above <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95)


def laplace_sum(epsilon: float, seed: int) -> Callable[[Presence], Floats]:
    """epsilon-DP exactly, with delta 0: no two Gaussians are as far apart in their tails."""
    generator = np.random.default_rng(seed)

    def release(presence: Presence) -> Floats:
        return (AXIS if presence is Presence.IN else 0.0 * AXIS) + generator.laplace(0.0, 1.0 / epsilon, 3)

    return release


@rows("N5")
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_a_true_claim_of_other_noise_is_hardly_ever_refuted(row: str, epsilon: float) -> None:
    above = 0
    for seed in range(100):
        release = laplace_sum(epsilon, seed)
        above += canary(release, AXIS, 1, claim=epsilon, delta=DELTA, rounds=1000, seed=seed).refuted
    assert above <= 100 * 0.05 + 3 * math.sqrt(100 * 0.05 * 0.95)


@rows("N5")
def test_the_bound_of_the_filter_holds_for_other_noise_too(row: str) -> None:
    """Its curve does not: that is a claim of Gaussian noise, which this is not."""
    for seed in range(10):
        release = laplace_sum(1.0, seed)
        found = membership(
            release,
            AXIS,
            1,
            noise_multiplier=math.sqrt(2),
            claim=1.0,
            delta=DELTA,
            rounds=2000,
            seed=seed,
            rates=(0.1,),
        )
        assert found.lower_bound is not None
        assert found.lower_bound < 1.0


def test_noise_that_is_too_weak_for_its_claim_is_refuted_by_two_bins_as_well() -> None:
    found = canary(laplace_sum(2.0, 1), AXIS, 1, claim=1.0, delta=DELTA, rounds=4000, seed=1)
    assert found.refuted
    # Half of exp(-2 * 1/2) is the rate of either mistake at a threshold of 1/2.
    mistake = math.exp(-1.0) / 2.0
    assert found.lower_bound == pytest.approx(math.log((1.0 - mistake) / mistake), abs=0.2)


def test_the_curve_of_gaussian_noise_is_for_claims_of_gaussian_noise_only() -> None:
    """Why it has to be asked for: it refutes a claim that is true."""
    release = laplace_sum(1.0, 1)
    assert canary(release, AXIS, 1, claim=1.0, delta=DELTA, rounds=2000, seed=1, rule=Rule.SHIFT).refuted


def test_whoever_listens_hears_every_round() -> None:
    heard: list[int] = []
    observe(gaussian_sum(1.0, seed=3), AXIS, 1, rounds=20, seed=3, told=heard.append)
    assert heard == list(range(1, 21))


def test_a_claim_nobody_makes_is_refuted_by_nothing() -> None:
    finding = canary(gaussian_sum(1.0, seed=4), AXIS, 1, claim=None, delta=DELTA, rounds=1000, seed=4)
    assert finding.claim is None
    assert finding.lower_bound is not None
    assert not finding.refuted


def test_an_exact_sum_is_told_from_another_as_surely_as_trials_allow() -> None:
    finding = canary(gaussian_sum(1e-9, seed=5), AXIS, 1, claim=4.0, delta=DELTA, rounds=1000, seed=5)
    assert finding.refuted
    assert [reading.value for reading in finding.readings] == [0.5, 0.0, 0.0]


# --- what is refused ---------------------------------------------------------------------------------------------


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(NotEnoughTrials, match="run at least"):
        canary(gaussian_sum(1.0, seed=1), AXIS, 1, claim=1.0, delta=DELTA, rounds=10, seed=1)
    with pytest.raises(NotEnoughTrials, match="coin"):
        Observed(np.zeros(3), np.zeros(0))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1e-17, math.nan])
def test_a_confidence_that_is_none_is_refused_before_any_round(confidence: float) -> None:
    def release(presence: Presence) -> Floats:
        raise AssertionError("a round was run")

    with pytest.raises(BadParameters, match="confidence"):
        canary(release, AXIS, 1, claim=1.0, delta=DELTA, rounds=10, seed=1, confidence=confidence)
    with pytest.raises(BadParameters, match="confidence"):
        membership(
            release,
            AXIS,
            1,
            noise_multiplier=1.0,
            claim=1.0,
            delta=DELTA,
            rounds=10,
            seed=1,
            confidence=confidence,
        )


def test_statistics_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(NonFinite):
        Observed(np.array([1.0, math.nan]), np.zeros(2))


@pytest.mark.parametrize("rounds", [1, 0, True, 2.0, (1 << 24) + 1])
def test_a_number_of_rounds_that_is_none_is_refused(rounds: int) -> None:
    with pytest.raises(BadParameters, match="rounds"):
        observe(gaussian_sum(1.0, seed=1), AXIS, 1, rounds=rounds, seed=1)


@pytest.mark.parametrize("direction", [2 * AXIS, AXIS.astype(np.float32), 0 * AXIS, [1.0, 0.0, 0.0]])
def test_a_direction_that_is_none_is_refused(direction: Floats) -> None:
    with pytest.raises(BadParameters, match="direction"):
        observe(gaussian_sum(1.0, seed=1), direction, 1, rounds=10, seed=1)


@pytest.mark.parametrize("clip", [0, -1, Fraction(0)])
def test_a_clip_that_is_none_is_refused(clip: Fraction) -> None:
    with pytest.raises(BadParameters, match="clip"):
        observe(gaussian_sum(1.0, seed=1), AXIS, clip, rounds=10, seed=1)


@pytest.mark.parametrize(
    ("release", "error"),
    [
        (lambda presence: np.zeros(4), BadParameters),
        (lambda presence: np.full(3, math.nan), NonFinite),
        (lambda presence: np.full(3, math.inf), NonFinite),
    ],
)
def test_a_release_of_another_shape_or_without_numbers_is_refused(
    release: Callable[[Presence], Floats], error: type[Exception]
) -> None:
    with pytest.raises(error):
        observe(release, np.array([0.6, 0.8, 0.0]), 1, rounds=50, seed=1)
