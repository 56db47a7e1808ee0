"""The one-run audit: its p-value against exact enumeration and simulation, its coverage, and what it refuses."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from dp.audit import Canaries, ChosenOnHalf, Correction, Declared, one_run
from dp.audit.guessing import _densest, epsilon_bound, largest_bound, p_value
from dp.errors import BadParameters, NonFinite, NotEnoughTrials, UndeclaredHypothesis
from dp.gaussian import gaussian_epsilon
from tests.dp.audit.audit_kit import gaussian_canaries, responded

ONE = Fraction(1)


def exact_p_value(canaries: int, guesses: int, correct: int, odds: Fraction, delta: Fraction) -> Fraction:
    """The formula in rationals, its binomial by listing all 2^r ways to be right or wrong."""
    p, weights = odds / (1 + odds), [Fraction(0)] * (guesses + 1)
    for right in itertools.product((0, 1), repeat=guesses):
        weights[sum(right)] += p ** sum(right) * (1 - p) ** (guesses - sum(right))

    def between(low: int, high: int) -> Fraction:
        return sum(weights[max(0, low) : high + 1], Fraction(0))

    extra = [between(correct - i, correct - 1) / i for i in range(1, correct + 1)]
    return min(ONE, between(correct, guesses) + 2 * canaries * delta * max(extra, default=ONE))


@pytest.mark.parametrize("odds", [ONE, Fraction(3), Fraction(20)])
@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 1000)])
def test_the_p_value_is_that_of_exact_enumeration(odds: Fraction, delta: Fraction) -> None:
    for guesses in (1, 2, 5, 12):
        for correct in range(guesses + 1):
            exact = exact_p_value(20, guesses, correct, odds, delta)
            found = p_value(20, guesses, correct, math.log(odds), float(delta))
            assert found == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize(("guesses", "correct"), [(100, 80), (400, 310)])
def test_the_p_value_without_delta_is_what_randomised_response_does(guesses: int, correct: int) -> None:
    generator, trials = np.random.default_rng(1), 200_000
    for epsilon in (0.8, 1.1):
        p = 1 / (1 + math.exp(-epsilon))
        rate = np.mean(generator.binomial(guesses, p, trials) >= correct)
        found = p_value(1000, guesses, correct, epsilon, 0.0)
        assert abs(rate - found) < 4 * math.sqrt(found * (1 - found) / trials) + 1e-9


@given(st.integers(1, 60), st.data())
@settings(deadline=None)
def test_more_right_guesses_never_prove_less(guesses: int, data: st.DataObject) -> None:
    delta = data.draw(st.sampled_from([0.0, 1e-6, 1e-3]))
    correct = data.draw(st.integers(0, guesses - 1))
    assert p_value(100, guesses, correct + 1, 0.5, delta) <= p_value(100, guesses, correct, 0.5, delta) + 1e-12


@given(st.integers(1, 60), st.floats(0, 8), st.floats(0, 8), st.data())
@settings(deadline=None)
def test_more_epsilon_explains_more(guesses: int, one: float, other: float, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, guesses))
    low, high = sorted((one, other))
    assert p_value(100, guesses, correct, low, 0.0) <= p_value(100, guesses, correct, high, 0.0) + 1e-12


@given(st.integers(10, 400), st.data())
@settings(deadline=None)
def test_a_bound_is_an_epsilon_that_was_refuted(guesses: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, guesses))
    bound = epsilon_bound(1000, guesses, correct, 1e-6, 0.05)
    assert bound == 0.0 or p_value(1000, guesses, correct, bound, 1e-6) <= 0.05
    assert bound <= largest_bound(guesses, 0.05) + 1e-9


def test_four_hundred_guesses_cannot_prove_more_than_they_can() -> None:
    assert largest_bound(400, 0.05) == pytest.approx(4.89, abs=0.005)
    assert epsilon_bound(1000, 400, 400, 0.0, 0.05) == pytest.approx(largest_bound(400, 0.05), rel=1e-9)
    assert largest_bound(1, 0.05) == 0.0


def test_guesses_are_the_highest_and_the_lowest_scores() -> None:
    canaries = Canaries(np.array([0.5, 9.0, -3.0, 0.6, 7.0]), np.array([True, True, False, False, False]))
    assert [canaries.ranked(0).correct(r) for r in range(1, 6)] == [1, 2, 2, 2, 2]


def test_scores_that_say_nothing_prove_nothing() -> None:
    generator = np.random.default_rng(2)
    included = generator.random(1000) < 0.5
    assert one_run(Canaries(np.zeros(1000), included), 100, delta=1e-5).lower_bound < 0.6
    assert one_run(Canaries(generator.random(1000), included), 100, delta=1e-5).lower_bound < 0.6


@pytest.mark.parametrize("rising", [True, False])
def test_a_file_that_is_sorted_by_its_coins_proves_nothing_by_equal_scores(rising: bool) -> None:
    """The order of a file may be the coin itself: put in their order of arrival, equal scores would prove 4.86."""
    included = np.arange(1000) >= 500 if rising else np.arange(1000) < 500
    for seed in range(50):
        canaries = Canaries(np.zeros(1000), included)
        assert one_run(canaries, 400, delta=1e-5, seed=seed).lower_bound < 0.6
        assert one_run(canaries, ChosenOnHalf((100, 400)), delta=1e-5, seed=seed).lower_bound < 1.0


def test_equal_scores_are_right_half_of_the_time() -> None:
    included = np.arange(1000) < 500
    right = [Canaries(np.zeros(1000), included).ranked(seed).correct(400) for seed in range(200)]
    # Without replacement, 400 of 1000: less spread than 400 fair coins.
    assert np.mean(right) == pytest.approx(200, abs=6 * 10 / math.sqrt(200))
    assert len(set(right)) > 10


def test_equal_scores_do_not_move_others() -> None:
    scores = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 2.0])
    included = np.array([False, False, False, True, True, True])
    assert all(np.array_equal(Canaries(scores, included).ranked(seed).included, included) for seed in range(20))


@pytest.mark.parametrize("alternating", [True, False])
def test_halves_say_nothing_about_the_coins(alternating: bool) -> None:
    """By position, a file that alternates would put all that were in into one half."""
    included = np.arange(1000) % 2 == 0 if alternating else np.arange(1000) < 500
    one, other = Canaries(np.arange(1000.0), included).halves(3)
    assert 200 < np.count_nonzero(one.included) < 300
    assert np.array_equal(np.sort(np.concatenate((one.scores, other.scores))), np.arange(1000.0))


@given(st.integers(1, 3000), st.floats(0, 64), st.data())
@settings(deadline=None)
def test_the_largest_mean_of_weights_is_that_of_all_of_them(guesses: int, epsilon: float, data: st.DataObject) -> None:
    correct = data.draw(st.integers(1, guesses))
    p = float(special.expit(epsilon))
    tail = float(special.bdtrc(correct - 1, guesses, p))
    tails = np.concatenate(([1.0], special.bdtrc(np.arange(0, correct - 1), guesses, p)))
    every = (tails[::-1] - tail) / np.arange(1, correct + 1)
    assert _densest(guesses, correct, epsilon) == pytest.approx(float(np.max(every)), rel=1e-9, abs=1e-15)


def test_many_numbers_of_a_million_guesses_have_a_bound() -> None:
    generator = np.random.default_rng(6)
    included = generator.random(1 << 20) < 0.5
    canaries = Canaries(included + generator.standard_normal(1 << 20), included)
    found = one_run(canaries, Declared(tuple(range(1_000_000, 1_000_064))), delta=1e-5)
    assert found.lower_bound is not None
    assert 0.5 < found.lower_bound < 1.5


def test_a_finding_says_everything_a_reader_needs() -> None:
    finding = one_run(gaussian_canaries(1000, 1.0, 3), 100, delta=1e-5, claim=4.4, confidence=0.95, seed=3)
    assert (finding.audit, finding.trials, finding.hypotheses) == ("one-run", 1000, 1)
    assert (finding.correction, finding.seed, finding.claim) == (Correction.NONE, 3, 4.4)
    assert finding.delta == Fraction(1, 100_000)
    assert [reading.name for reading in finding.readings] == ["right of 100 guesses", "largest bound of 100 guesses"]
    assert not finding.refuted


# --- several numbers of guesses ---------------------------------------------------------------------------------


def test_declared_numbers_share_the_confidence() -> None:
    canaries = gaussian_canaries(1000, 0.1, 4)
    both = one_run(canaries, Declared((100, 400)), delta=1e-5)
    alone = one_run(canaries, 400, delta=1e-5)
    assert (both.hypotheses, both.correction) == (2, Correction.BONFERRONI)
    assert both.lower_bound == pytest.approx(epsilon_bound(1000, 400, 400, 1e-5, 0.025), rel=1e-9)
    assert alone.lower_bound is not None
    assert both.lower_bound < alone.lower_bound
    assert len(both.readings) == 4


def test_a_number_chosen_on_half_is_tested_on_the_other() -> None:
    canaries = gaussian_canaries(1000, 1.0, 5)
    finding = one_run(canaries, ChosenOnHalf((20, 100, 400)), delta=1e-5)
    chosen, tested = (half.ranked(0) for half in canaries.halves(0))
    best = max((20, 100, 400), key=lambda r: epsilon_bound(500, r, chosen.correct(r), 1e-5, 0.05))
    assert (finding.trials, finding.hypotheses, finding.correction) == (500, 3, Correction.SPLIT)
    assert finding.lower_bound == pytest.approx(epsilon_bound(500, best, tested.correct(best), 1e-5, 0.05))


@pytest.mark.slow
def test_a_thousand_runs_on_gaussian_noise_are_hardly_ever_above_the_truth() -> None:
    truth = gaussian_epsilon(1e-5, 1.0)
    bounds = [one_run(gaussian_canaries(1000, 1.0, seed), 100, delta=1e-5).lower_bound for seed in range(1000)]
    assert sum(bound > truth for bound in bounds if bound is not None) <= 50 + 3 * math.sqrt(1000 * 0.05 * 0.95)


MOST = 50 + 3 * math.sqrt(1000 * 0.05 * 0.95)
FIVE = (40, 100, 250, 500, 1000)


def exceeded(hypothesis: int | Declared | ChosenOnHalf, runs: int) -> int:
    """How often the bound lies above the truth where every guess is right exactly as often as epsilon 1 allows."""
    generator = np.random.default_rng(11)
    return sum(one_run(responded(1000, 1.0, generator), hypothesis, delta=0).lower_bound > 1.0 for _ in range(runs))


@pytest.mark.slow
@pytest.mark.parametrize("hypothesis", [250, Declared(FIVE), ChosenOnHalf((40, 100, 250, 500))])
def test_coverage_holds_on_the_tightest_mechanism_there_is(hypothesis: int | Declared | ChosenOnHalf) -> None:
    assert exceeded(hypothesis, 1000) <= MOST


@pytest.mark.slow
def test_the_best_of_five_without_a_correction_fails_that_coverage() -> None:
    """Kept as a demonstration: the usual mistake, which `one_run` has no argument for."""
    generator, above = np.random.default_rng(11), 0
    for _ in range(1000):
        canaries = responded(1000, 1.0, generator)
        above += max(epsilon_bound(1000, r, canaries.ranked(0).correct(r), 0.0, 0.05) for r in FIVE) > 1.0
    assert above > MOST + 3 * math.sqrt(1000 * 0.05 * 0.95)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Declared, ChosenOnHalf])
def test_no_number_of_guesses_is_an_undeclared_hypothesis(make: type[Declared | ChosenOnHalf]) -> None:
    with pytest.raises(UndeclaredHypothesis, match="before looking"):
        make(())
    with pytest.raises(UndeclaredHypothesis):
        make([10, 20])  # type: ignore[arg-type]  # a list can still be changed
    with pytest.raises(BadParameters, match="different"):
        make((10, 10))
    with pytest.raises(BadParameters, match="at least 1"):
        make((0,))


@pytest.mark.parametrize("hypothesis", [None, "best", (10, 20)])
def test_what_declares_nothing_is_refused(hypothesis: object) -> None:
    with pytest.raises(UndeclaredHypothesis, match="how many guesses"):
        one_run(gaussian_canaries(10, 1.0, 0), hypothesis, delta=0)  # type: ignore[arg-type]  # what the test is about


def test_a_declared_number_that_could_prove_nothing_is_paid_for_and_proves_nothing() -> None:
    canaries = gaussian_canaries(1000, 0.1, 4)
    found = one_run(canaries, Declared((1, 400)), delta=1e-5)
    assert (found.hypotheses, found.correction) == (2, Correction.BONFERRONI)
    assert found.lower_bound == pytest.approx(epsilon_bound(1000, 400, 400, 1e-5, 0.025), rel=1e-9)
    assert one_run(canaries, ChosenOnHalf((1, 400)), delta=1e-5).lower_bound == pytest.approx(
        epsilon_bound(500, 400, 400, 1e-5, 0.05), rel=1e-9
    )
    with pytest.raises(NotEnoughTrials, match="refute nothing"):
        one_run(canaries, Declared((1, 2)), delta=1e-5)


def test_guesses_that_could_prove_nothing_are_refused() -> None:
    canaries = gaussian_canaries(100, 1.0, 0)
    with pytest.raises(NotEnoughTrials, match="refute nothing"):
        one_run(canaries, 4, delta=0)
    with pytest.raises(NotEnoughTrials, match="refute nothing"):
        one_run(canaries, 100, delta=0.05)
    with pytest.raises(NotEnoughTrials, match="guess less"):
        one_run(canaries, 101, delta=0)


@pytest.mark.parametrize(
    ("scores", "included"),
    [
        (np.zeros(3), np.zeros(4, dtype=np.bool_)),
        (np.zeros((2, 2)), np.zeros((2, 2), dtype=np.bool_)),
        (np.zeros(3), np.zeros(3)),
        (np.zeros(0), np.zeros(0, dtype=np.bool_)),
    ],
)
def test_scores_of_another_shape_are_refused(scores: np.ndarray, included: np.ndarray) -> None:
    with pytest.raises(BadParameters):
        Canaries(scores, included)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(NonFinite):
        Canaries(np.array([1.0, math.nan]), np.array([True, False]))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1e-17, math.nan])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(BadParameters, match="confidence"):
        one_run(gaussian_canaries(100, 1.0, 0), 50, delta=0, confidence=confidence)


@pytest.mark.parametrize("numbers", [(10, 11, 0), (10, 5, -1), (4, 5, 5)])
def test_numbers_that_cannot_be_are_refused(numbers: tuple[int, int, int]) -> None:
    canaries, guesses, correct = numbers
    with pytest.raises(BadParameters):
        p_value(canaries, guesses, correct, 1.0, 0.0)
