"""The same rounds in the eyes of each viewer."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountant import Interval, Unit, View, account
from dp.distributed import NoiseShare
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import (
    ApproxEvent,
    Composed,
    Event,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    NonPrivate,
    Poisson,
    PureEvent,
    Repeated,
    Sampled,
    SkellamEvent,
    ZcdpEvent,
)
from dp.layers import Layers
from dp.skellam_share import SkellamShare
from dp.views import Coalition, KnownCohorts, Participations, SeenTimes, Views, released_cost, seen_cost

DELTA = Fraction(1, 100000)
CENTRAL = GaussianEvent.for_multiplier("0.8")
SAMPLED = Sampled(CENTRAL, Poisson(Fraction(1, 100)))
ADD_REMOVE, ZERO_OUT = Unit("add-or-remove-one"), Unit("zero-out")
DEMAND = {
    "noise_multiplier": Fraction(2),
    "clip": Fraction(1),
    "dimension": 100,
    "modulus_bits": 22,
    "max_clients": 10,
    "min_survivors": 8,
    "colluders": 2,
}
PLANS = [NoiseShare.plan(**DEMAND), Layers.plan(**DEMAND), SkellamShare.plan(**DEMAND)]
each_plan = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)


# Known answers: dp-accounting for the sampled run, the closed form of one Gaussian for the others.


def test_the_reader_and_the_aggregator_get_very_different_figures_of_one_run() -> None:
    mean_five = Participations({"often": 16, "mean": 5, "rarely": 1, "seldom": 2, "twice": 2, "four": 4})
    views = Views.of(SAMPLED, 500, ADD_REMOVE, DELTA, mean_five)
    assert views.released.lower <= 2.39944 <= views.released.upper <= 2.401
    assert views.aggregator.mean.upper == pytest.approx(15.22, abs=0.005)
    assert views.aggregator.most.upper == pytest.approx(33.10, abs=0.005)
    assert views.aggregator.client("often") == views.aggregator.most
    assert views.aggregator.client("mean") == views.aggregator.mean
    assert views.aggregator.client("rarely").upper < views.aggregator.client("twice").upper < 15.22
    assert (views.coalition, views.colluding) == (None, None)


def balle_wang_epsilon(delta: float, mu: float) -> float:
    """Bisection on Phi(mu/2 - e/mu) - e^e Phi(-mu/2 - e/mu), straight from the theorem."""

    def phi(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        too_small = phi(mu / 2 - middle / mu) - math.exp(middle) * phi(-mu / 2 - middle / mu) > delta
        low, high = (middle, high) if too_small else (low, middle)
    return high


def test_a_coalition_of_t_leaves_the_noise_of_n_minus_t() -> None:
    # 10 shares of variance 100 against norm 10: z^2 is 10 with all of them unknown, 6 with four known.
    event = GaussianEvent(1000, 100, d=5, components=10, draws=50)
    views = Views.of(event, 3, ZERO_OUT, DELTA, Participations({1: 3, 2: 1}), Coalition(4, 10))
    for times in (1, 2, 3):
        everyone, fewer = (balle_wang_epsilon(1e-5, math.sqrt(times / z2)) for z2 in (10, 6))
        assert seen_cost(event, times, ZERO_OUT, DELTA).upper == pytest.approx(everyone, rel=0.02)
        assert seen_cost(Coalition(4, 10).sees(event), times, ZERO_OUT, DELTA).upper == pytest.approx(fewer, rel=0.02)
        assert everyone < fewer
    assert views.colluding is not None
    assert views.colluding.client(1).upper == pytest.approx(balle_wang_epsilon(1e-5, math.sqrt(3 / 6)), rel=0.02)
    assert views.colluding.mean.upper == pytest.approx(balle_wang_epsilon(1e-5, math.sqrt(2 / 6)), rel=0.02)
    assert views.coalition == Coalition(4, 10)


# Noise made by the clients.


@each_plan
@pytest.mark.parametrize("survivors", [8, 9, 10])
def test_a_coalition_sees_what_the_plan_says_of_its_colluders(plan: NoiseShare, survivors: int) -> None:
    released = plan.event_released(survivors)
    assert Coalition(2, survivors).sees(released) == plan.event(survivors)
    assert Coalition(0, survivors).sees(released) == released


@each_plan
def test_each_further_colluder_takes_one_share_away(plan: NoiseShare) -> None:
    def noise(event: Event) -> Fraction:
        return event.mu if isinstance(event, SkellamEvent) else event.sigma2

    released = plan.event_released(8)
    shares = [noise(Coalition(known, 8).sees(released)) for known in range(8)]
    assert {before - after for before, after in itertools.pairwise(shares)} == {noise(released) / 8}


@each_plan
def test_the_figures_of_a_training_are_ordered_as_the_viewers_know_more(plan: NoiseShare) -> None:
    cohorts = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 8], [0, 1, 2, 3, 4, 5, 9, 8]]
    seen = Participations.from_cohorts(cohorts)
    views = Views.of(plan.event_released(8), 3, ZERO_OUT, DELTA, seen, Coalition(2, 8))
    assert views.colluding is not None
    assert views.released == views.aggregator.most
    assert views.aggregator.mean.upper <= views.aggregator.most.upper < views.colluding.most.upper
    assert views.colluding.most == account([Repeated(plan.event(8), 3)], ZERO_OUT, View.COLLUDING, DELTA)
    assert [(group.times, group.clients) for group in views.colluding.each] == [(1, 2), (2, 2), (3, 6)]


def test_every_kind_of_composition_is_seen_without_the_known_shares() -> None:
    known, share = Coalition(1, 4), GaussianEvent(80, 1, d=1, components=4, draws=8)
    fewer = GaussianEvent(60, 1, d=1, components=3, draws=6)
    central = Composed((CENTRAL, LaplaceEvent.for_multiplier(1), SkellamEvent(9, 1, 1, 1, 1), NonPrivate()))
    assert known.sees(Repeated(share, 7)) == Repeated(fewer, 7)
    assert known.sees(Composed((share, central))) == Composed((fewer, central))
    for sampling in (Poisson(Fraction(1, 2)), FixedSize(1, 9)):
        assert known.sees(Sampled(share, sampling)) == Sampled(fewer, sampling)


# Counting.


def test_cohorts_are_counted_client_by_client() -> None:
    seen = Participations.from_cohorts([["a", "b"], {"a", "c"}, ("a",), []])
    assert dict(seen.rounds) == {"a": 3, "b": 1, "c": 1}
    assert (seen.of("a"), seen.of("c"), seen.of("nobody")) == (3, 1, 0)
    assert (seen.mean, seen.most, seen.counts()) == (Fraction(5, 3), 3, {1: 2, 3: 1})


def test_a_mean_is_over_everybody_named_and_rounded_up_to_rounds() -> None:
    seen = Participations({1: 3, 2: 0, 3: 1})
    assert seen.mean == Fraction(4, 3)
    known = KnownCohorts.of(CENTRAL, ZERO_OUT, View.AGGREGATOR, DELTA, seen)
    assert known.mean == seen_cost(CENTRAL, 2, ZERO_OUT, DELTA)
    assert known.most == known.client(1) == seen_cost(CENTRAL, 3, ZERO_OUT, DELTA)
    assert known.each[0] == SeenTimes(0, 1, known.client(2))
    assert (known.client(2).lower, known.client(2).upper) == (0.0, 0.0)
    assert [group.times for group in known.each] == [0, 1, 3]


def test_where_nobody_was_seen_nothing_was_learned() -> None:
    nobody = Participations({})
    assert (nobody.mean, nobody.most) == (0, 0)
    views = Views.of(SAMPLED, 10, ADD_REMOVE, DELTA, nobody)
    assert (views.aggregator.mean.upper, views.aggregator.most.upper, views.aggregator.each) == (0.0, 0.0, ())
    assert views.released.upper > 0
    assert released_cost(SAMPLED, 0, ADD_REMOVE, DELTA).upper == 0.0


def test_participations_do_not_change_behind_their_figures() -> None:
    counts = {1: 2}
    seen = Participations(counts)
    counts[1] = 9
    assert seen.of(1) == 2
    with pytest.raises(TypeError):
        seen.rounds[1] = 9  # type: ignore[index]


# Properties.


@given(st.lists(st.sets(st.integers(0, 9), max_size=6), max_size=12))
@settings(max_examples=30, deadline=None)
def test_the_most_seen_client_bounds_every_other(cohorts: list[set[int]]) -> None:
    seen = Participations.from_cohorts(cohorts)
    known = KnownCohorts.of(SAMPLED, ADD_REMOVE, View.AGGREGATOR, DELTA, seen)
    assert sum(group.times * group.clients for group in known.each) == sum(map(len, cohorts))
    assert all(known.client(who).upper <= known.most.upper for who in seen.rounds)
    assert known.mean.upper <= known.most.upper
    assert all(known.client(who) == seen_cost(CENTRAL, seen.of(who), ADD_REMOVE, DELTA) for who in seen.rounds)


@pytest.mark.parametrize("view", [View.AGGREGATOR, View.COLLUDING])
def test_who_knows_the_cohorts_is_told_of_no_amplification(view: View) -> None:
    assert seen_cost(SAMPLED, 7, ADD_REMOVE, DELTA, view) == seen_cost(CENTRAL, 7, ADD_REMOVE, DELTA)
    # Nor does asking on behalf of a reader hide a cohort that is known.
    assert seen_cost(SAMPLED, 7, ADD_REMOVE, DELTA, View.RELEASED) == seen_cost(CENTRAL, 7, ADD_REMOVE, DELTA)


# Errors.


@pytest.mark.parametrize("count", [-1, 1.0, True, "3", None, Fraction(1)])
def test_a_client_is_seen_a_whole_number_of_times(count: object) -> None:
    with pytest.raises(BadParameters, match="client 7 was seen"):
        Participations({7: count})  # type: ignore[dict-item]


def test_a_client_is_in_a_cohort_once_and_in_no_more_rounds_than_there_are() -> None:
    with pytest.raises(BadParameters, match="cohort 1 holds client 5 more than once"):
        Participations.from_cohorts([[5], [4, 5, 5]])
    with pytest.raises(BadParameters, match="seen 3 times in 2 rounds"):
        Views.of(CENTRAL, 2, ZERO_OUT, DELTA, Participations({1: 3}))
    with pytest.raises(BadParameters, match="nothing is known of client 2"):
        Views.of(CENTRAL, 3, ZERO_OUT, DELTA, Participations({1: 3})).aggregator.client(2)


@pytest.mark.parametrize(
    ("colluders", "survivors", "said"),
    [
        (3, 3, "know the noise of all 3"),
        (0, 0, "know the noise of all 0"),
        (-1, 3, "colluders must be an integer"),
        (1, -3, "survivors must be an integer"),
        (1.0, 3, "colluders must be an integer"),
        (True, 3, "colluders must be an integer"),
    ],
)
def test_a_coalition_leaves_somebody(colluders: int, survivors: int, said: str) -> None:
    with pytest.raises(BadParameters, match=said):
        Coalition(colluders, survivors)


@pytest.mark.parametrize("components", [3, 5, 6])
def test_the_noise_of_another_cohort_is_refused(components: int) -> None:
    with pytest.raises(BadParameters, match="no equal parts of 4 survivors"):
        Coalition(1, 4).sees(GaussianEvent(90, 1, d=1, components=components, draws=0))
    with pytest.raises(BadParameters, match="no equal parts of 4 survivors"):
        Coalition(1, 4).sees(SkellamEvent(90, 1, 1, d=1, components=4, draws=components))


@pytest.mark.parametrize("bound", [PureEvent(1), ApproxEvent(1, Fraction(1, 9)), ZcdpEvent(1)])
def test_a_bound_does_not_say_whose_noise_it_counts(bound: Event) -> None:
    with pytest.raises(UnsupportedEvent, match="does not say whose noise"):
        Coalition(0, 4).sees(Composed((CENTRAL, bound)))


def test_an_amplified_figure_is_refused_where_clients_make_the_noise_and_the_server_still_gets_its_own() -> None:
    event = Sampled(PLANS[0].event_released(8), Poisson(Fraction(1, 2)))
    with pytest.raises(UnsupportedEvent):
        Views.of(event, 4, ZERO_OUT, DELTA, Participations({1: 2}))
    assert isinstance(seen_cost(event, 2, ZERO_OUT, DELTA), Interval)
