"""Who is asked: exact inclusion frequencies, groups that are never cut, and cohorts that come too close."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chisquare, norm

from dp.accountant import Relation, Unit, View, account
from dp.distributed import SHRINK
from dp.entropy import Entropy
from dp.errors import UnsupportedEvent
from dp.events import FixedSize, GaussianEvent, Poisson, Sampled
from dp.lattice import block_length
from protocols.budgets import Schedule
from protocols.coding import Noisy, planned_coding
from protocols.errors import Misused
from protocols.learning import CohortsTooClose, Everyone, FixedGroups, IdealRounds, PoissonCohort, UniformCohort
from protocols.learning.cohorts import CohortRule, Draws, check_apart
from protocols.plan import RoundPlan

# A false alarm of one test, all seeds being fixed.
ALARM = 1e-6
CLIENTS = range(10)


def draws(seed: int = 0) -> Draws:
    return Draws(Entropy.insecure(seed, b"test", b"cohorts"))


def cohorts(rule: CohortRule, rounds: int, seed: int = 0) -> list[tuple[int, ...]]:
    source = draws(seed)
    return [rule.choose(CLIENTS, source) for _ in range(rounds)]


# Draws


@pytest.mark.parametrize("bound", [1, 2, 3, 10, 1000, (1 << 53) - 1, 1 << 53])
def test_a_draw_is_below_its_bound(bound: int) -> None:
    source = draws()
    assert all(0 <= source.below(bound) < bound for _ in range(100))


def test_draws_are_uniform() -> None:
    source = draws()
    assert chisquare(np.bincount([source.below(7) for _ in range(7000)], minlength=7)).pvalue > ALARM


def test_every_subset_is_equally_likely() -> None:
    source = draws()
    found = Counter(source.sample(range(5), 2) for _ in range(5000))
    assert set(found) == set(combinations(range(5), 2))
    assert chisquare(list(found.values())).pvalue > ALARM


def test_words_beyond_the_last_whole_multiple_are_drawn_again() -> None:
    class Words:
        """2^64 - 1 is no part of a whole multiple of 3 * 2^50; 5 is."""

        left: ClassVar = [(1 << 64) - 1, 5]

        def borrow(self, count: int, stream: bytes) -> list[int]:
            return [self.left.pop(0)]

    words: Any = Words()
    assert Draws(words).below(3 << 50) == 5
    assert words.left == []


@pytest.mark.parametrize("bound", [0, -1, (1 << 53) + 1])
def test_a_bound_no_draw_has_is_refused(bound: int) -> None:
    with pytest.raises(Misused, match="needs a bound in 1"):
        draws().below(bound)


# Inclusion frequencies


def test_everyone_is_everyone() -> None:
    assert Everyone().choose([9, 3, 5], draws()) == (3, 5, 9)


def counts(found: list[tuple[int, ...]]) -> list[int]:
    return [sum(who in cohort for cohort in found) for who in CLIENTS]


def test_a_uniform_cohort_asks_everybody_equally_often() -> None:
    found = cohorts(UniformCohort(4), 2000)
    assert all(len(set(cohort)) == 4 and list(cohort) == sorted(cohort) for cohort in found)
    # Without replacement the statistic only shrinks, so the test is conservative.
    assert chisquare(counts(found)).pvalue > ALARM


@pytest.mark.parametrize("rate", ["0.3", "1/7", 1])
def test_a_poisson_cohort_includes_each_client_with_its_probability(rate: str) -> None:
    rounds, expected = 2000, float(Fraction(rate))
    found = cohorts(PoissonCohort(rate), rounds)
    for count in counts(found):
        assert 2 * min(binom.cdf(count, rounds, expected), binom.sf(count - 1, rounds, expected)) > ALARM / 10


def test_the_size_of_a_poisson_cohort_is_binomial() -> None:
    sizes = np.bincount([len(cohort) for cohort in cohorts(PoissonCohort(0.5), 3000)], minlength=11)
    expected = 3000 * binom.pmf(range(11), 10, 0.5)
    # The two ends are rare: with their neighbours they are expected often enough for the test.
    joined = [np.array([v[:2].sum(), *v[2:9], v[9:].sum()]) for v in (sizes, expected)]
    assert chisquare(joined[0], joined[1]).pvalue > ALARM


def test_clients_of_a_poisson_cohort_are_independent() -> None:
    pairs = Counter((0 in cohort, 1 in cohort) for cohort in cohorts(PoissonCohort(0.5), 4000))
    assert chisquare([pairs[a, b] for a in (True, False) for b in (True, False)]).pvalue > ALARM


def test_the_frequency_tests_notice_a_biased_draw() -> None:
    """The test of the tests: one client is left out in a tenth of its rounds."""
    found = [tuple(w for w in c if w or i % 10) for i, c in enumerate(cohorts(PoissonCohort(0.5), 20_000))]
    assert binom.cdf(counts(found)[0], 20_000, 0.5) < ALARM


def test_fixed_groups_are_asked_equally_often() -> None:
    found = Counter(cohorts(FixedGroups(3), 3000))
    assert set(found) == {(0, 1, 2), (3, 4, 5), (6, 7, 8, 9)}
    assert chisquare(list(found.values())).pvalue > ALARM


def test_system_entropy_repeats_nothing() -> None:
    rule = UniformCohort(20)
    one, two = (rule.choose(range(40), Draws(Entropy.system(b"test", b""))) for _ in range(2))
    assert one != two


# Fixed groups


@given(st.sets(st.integers(0, 1000), min_size=2, max_size=60), st.integers(2, 12))
def test_groups_divide_all_and_none_is_smaller_than_asked(clients: set[int], size: int) -> None:
    if len(clients) < size:
        with pytest.raises(Misused, match=f"a group of {size} cannot be made"):
            FixedGroups(size).groups(clients)
        return
    groups = FixedGroups(size).groups(clients)
    assert sorted(who for group in groups for who in group) == sorted(clients)
    assert all(size <= len(group) < 2 * size for group in groups)


def test_no_difference_of_sums_of_groups_is_over_fewer_than_a_group() -> None:
    """Of all integer combinations with coefficients -1, 0, 1 of up to four sums."""
    groups = FixedGroups(3).groups(range(14))
    rows = np.array([[who in group for who in range(14)] for group in groups], np.int64)
    for signs in np.ndindex(*(3,) * len(groups)):
        left = np.abs((np.array(signs) - 1) @ rows)
        assert not 0 < np.count_nonzero(left) < 3


# Cohorts that come too close


def test_cohorts_that_differ_in_few_clients_are_refused_by_name() -> None:
    with pytest.raises(CohortsTooClose, match="differ in 2 clients, and without noise fewer than 3"):
        check_apart(range(5), [frozenset(range(10)), frozenset({0, 1, 2, 3, 7})], least=3)


def test_equal_and_distant_cohorts_pass() -> None:
    check_apart(range(5), [frozenset(range(5)), frozenset(range(5, 10)), frozenset(range(8))], least=3)


def test_the_attack_that_the_refusal_is_against() -> None:
    """Two exact sums over cohorts that differ in one client are that client's vector."""
    secret = np.random.default_rng(0).integers(0, 100, (5, 4))
    assert np.array_equal(secret.sum(axis=0) - secret[:4].sum(axis=0), secret[4])
    with pytest.raises(CohortsTooClose):
        check_apart(range(4), [frozenset(range(5))], least=3)


# What may be claimed


def test_what_a_reader_of_the_models_may_count() -> None:
    assert Everyone().sampling(100) is None
    assert FixedGroups(10).sampling(100) is None
    assert UniformCohort(10).sampling(100) == FixedSize(10, 100)
    assert PoissonCohort(0.1).sampling(100) == Poisson(Fraction(1, 10))


@pytest.mark.parametrize(("rate", "least"), [("1/2", 4), ("0.1", 1), ("0.9", 12), (1, 12)])
def test_the_chance_of_a_cohort_that_is_too_small_is_the_binomial_tail(rate: Any, least: int) -> None:
    rule, n = PoissonCohort(rate), 12
    q = rule.exact_rate
    exactly = sum((comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(least)), Fraction(0))
    found = Fraction(rule.chance_of_fewer(n, least))
    assert exactly <= found <= exactly * (1 + Fraction(2, 10**9))


def test_only_poisson_amplifies_under_zeroing_and_the_aggregator_never() -> None:
    release = GaussianEvent.for_multiplier(4)
    unit, delta = Unit(Relation.ZERO_OUT), Fraction(1, 10**5)
    poisson = Schedule.of(release, PoissonCohort(0.1).sampling(100), 20)
    assert poisson.released(unit, delta).upper < poisson.to_aggregator(unit, delta).upper / 3
    uniform = Schedule.of(release, UniformCohort(10).sampling(100), 20)
    with pytest.raises(UnsupportedEvent):
        uniform.released(unit, delta)


# Errors


def test_a_cohort_of_nobody_or_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(Misused, match="a cohort of 0 clients cannot train"):
        UniformCohort(0)
    for act in (lambda: UniformCohort(7).choose(range(6), draws()), lambda: UniformCohort(7).sampling(6)):
        with pytest.raises(Misused, match="a cohort of 7 cannot be drawn from 6 clients"):
            act()


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, Fraction(1, 1 << 54)])
def test_a_rate_that_is_no_probability_is_refused(rate: Any) -> None:
    with pytest.raises(Misused, match="expected a probability above 0"):
        PoissonCohort(rate)


@pytest.mark.parametrize("rate", [True, "often", float("nan"), None])
def test_a_rate_that_is_no_number_is_refused(rate: Any) -> None:
    with pytest.raises(Misused, match="rate must be a"):
        PoissonCohort(rate)


def test_a_group_of_one_hides_nobody() -> None:
    with pytest.raises(Misused, match="groups of 1 hide nobody"):
        FixedGroups(1)


@pytest.mark.parametrize("size", [11, 13, 17])
def test_a_mean_with_noise_tells_the_size_of_its_cohort(size: int) -> None:
    """Why a run of Poisson cohorts claims no amplification for its models: the lattice of the mean is a step / n."""
    plan = RoundPlan.recommend(20, dropout=0.2, corrupt=0, noise_multiplier=1, min_cohort=11)
    rng, coding = np.random.default_rng(size), planned_coding(plan, 50)
    assert isinstance(coding, Noisy)
    [mean] = IdealRounds(plan, seed=1)({who: [rng.normal(size=50)] for who in range(size)}, 0).mean
    step = float(coding.share.gamma) / SHRINK / block_length(50) ** 0.5
    fits = [n for n in range(1, 40) if np.allclose(mean * n / step, np.rint(mean * n / step), rtol=0, atol=1e-6)]
    assert fits[0] == size


def test_who_knows_the_size_of_a_poisson_cohort_may_not_count_it_as_amplified() -> None:
    """n - 1 others at +c, and a unit at -c that may be zero: without it another one of +c is in its place."""
    grid = np.linspace(-12, 12, 48_001)
    q, epsilon = 0.01, 1.0
    elsewhere, present, absent = (norm.pdf(grid, place) for place in (0.0, -2.0, -1.0))
    one, two = (1 - q) * elsewhere + q * present, (1 - q) * elsewhere + q * absent
    delta = float(np.maximum(one - np.exp(epsilon) * two, 0).sum()) * (grid[1] - grid[0])
    assert delta == pytest.approx(1.7e-4, rel=0.02)
    claimed = GaussianEvent.for_multiplier(Fraction(1))
    run = account([Sampled(claimed, Poisson(Fraction(1, 100)))], Unit(Relation.ZERO_OUT, "client"), View.RELEASED, 1e-4)
    assert run.upper < epsilon
