"""Exact binomial ends, and what they make of mistakes: against scipy's own, an exact sum, and Gaussians."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dp.audit import Count, Mistakes, epsilon_of_shift
from dp.errors import BadParameters, NotEnoughTrials
from dp.gaussian import gaussian_delta, gaussian_epsilon


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (1, 100_000), (30_854, 100_000)])
@pytest.mark.parametrize("alpha", [0.05, 1e-7])
def test_the_ends_are_those_of_clopper_and_pearson(hits: int, trials: int, alpha: float) -> None:
    interval = stats.binomtest(hits, trials).proportion_ci(1 - 2 * alpha, "exact")
    assert Count(hits, trials).above(alpha) == pytest.approx(interval.high, rel=1e-9)
    assert Count(hits, trials).below(alpha) == pytest.approx(interval.low, rel=1e-9, abs=1e-13)


def test_an_end_is_where_the_exact_tail_is_alpha() -> None:
    """Pr[Binomial(12, u) <= 3] = alpha, summed in rationals."""
    u = Fraction(Count(3, 12).above(0.01))
    tail = sum(math.comb(12, k) * u**k * (1 - u) ** (12 - k) for k in range(4))
    assert float(tail) == pytest.approx(0.01, rel=1e-9)


def test_an_end_misses_the_truth_as_rarely_as_it_says() -> None:
    rate, trials, alpha = 0.03, 200, 0.05
    misses = sum(stats.binom.pmf(hits, trials, rate) for hits in range(201) if Count(hits, trials).above(alpha) < rate)
    assert 0.0 < misses <= alpha


@given(st.integers(1, 500), st.data())
@settings(deadline=None)
def test_ends_surround_the_rate(trials: int, data: st.DataObject) -> None:
    count = Count(data.draw(st.integers(0, trials)), trials)
    assert count.below(0.01) <= count.rate <= count.above(0.01)


def test_a_shift_is_found_and_stays_below_the_truth() -> None:
    """N(0, 1) against N(1, 1), the rule at 1/2, exact rates of a million trials."""
    trials = 1_000_000
    wrong = Count(round(trials * stats.norm.sf(0.5)), trials)
    mu = Mistakes(wrong, wrong).shift(0.05)
    assert 0.99 < mu < 1.0
    assert epsilon_of_shift(mu, 1e-5) < gaussian_epsilon(1e-5, 1.0)


def test_the_bound_of_two_bins_is_that_of_randomised_response() -> None:
    """Pr[yes] is e / (1 + e) with and 1 / (1 + e) without: epsilon 1, which no bound may exceed."""
    trials, p = 1_000_000, math.e / (1 + math.e)
    mistakes = Mistakes(Count(round(trials * (1 - p)), trials), Count(round(trials * (1 - p)), trials))
    assert 0.99 < mistakes.loss(0.0, 0.05) < 1.0
    assert mistakes.loss(0.1, 0.05) < mistakes.loss(0.0, 0.05)


def test_no_difference_is_no_bound() -> None:
    half = Count(500, 1000)
    assert Mistakes(half, half).shift(0.05) == 0.0
    assert Mistakes(half, half).loss(0.0, 0.05) == 0.0
    assert Mistakes(Count(0, 1000), Count(1000, 1000)).loss(0.0, 0.05) == 0.0
    assert epsilon_of_shift(0.0, 1e-5) == 0.0


@pytest.mark.parametrize("mu", [1e-3, 0.3, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.01])
def test_an_epsilon_of_a_shift_is_rounded_down(mu: float, delta: float) -> None:
    epsilon = epsilon_of_shift(mu, delta)
    assert gaussian_delta(epsilon, 1 / mu) >= delta or epsilon == 0.0
    assert epsilon <= gaussian_epsilon(delta, 1 / mu)


def test_too_few_trials_are_named_with_how_many_would_do() -> None:
    few = Mistakes(Count(0, 5), Count(0, 5))
    with pytest.raises(NotEnoughTrials, match="run at least 7 of each"):
        few.shift(0.05)
    with pytest.raises(NotEnoughTrials, match="5 trials"):
        few.loss(0.0, 0.05)
    assert Mistakes(Count(0, 7), Count(0, 7)).shift(0.05) > 0.0


@pytest.mark.parametrize(("hits", "trials"), [(-1, 3), (4, 3)])
def test_what_is_no_count_is_refused(hits: int, trials: int) -> None:
    with pytest.raises(BadParameters, match="no count"):
        Count(hits, trials)


def test_nothing_tried_and_no_confidence_are_refused() -> None:
    with pytest.raises(NotEnoughTrials, match="nothing was tried"):
        Count(0, 0)
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(BadParameters, match="alpha"):
            Count(1, 2).above(alpha)


def test_a_bound_is_above_the_truth_as_rarely_as_it_says() -> None:
    """2,000 audits of N(0, 1) against N(1, 1) with 400 outputs each: at most 5 % and 3 standard errors above."""
    generator, above = np.random.default_rng(7), 0
    for _ in range(2000):
        absent, present = generator.standard_normal(200), 1 + generator.standard_normal(200)
        wrong = Count(int((absent > 0.5).sum()), 200), Count(int((present <= 0.5).sum()), 200)
        above += Mistakes(*wrong).shift(0.05) > 1.0
    assert above <= 2000 * 0.05 + 3 * math.sqrt(2000 * 0.05 * 0.95)
