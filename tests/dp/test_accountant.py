"""The vocabulary of accounting, and the interval that several accountants make together."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import (
    DRAW_DISTANCE,
    Budget,
    Interval,
    Relation,
    Unit,
    View,
    account,
    agree,
    booked,
    distance_cost,
    upward,
)
from dp.errors import AccountantDisagreement, BadParameters, NoiseTooCoarse, UnsupportedEvent
from dp.events import (
    Composed,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    NonPrivate,
    Poisson,
    PureEvent,
    Repeated,
    Sampled,
    SkellamEvent,
)

DELTA = Fraction(1, 100000)
ROUND = GaussianEvent.for_multiplier("0.8")
SAMPLED = Sampled(ROUND, Poisson(Fraction(1, 100)))


def test_a_cohort_the_viewer_knows_gives_no_amplification() -> None:
    unit = Unit("add-or-remove-one")
    released = account([Repeated(SAMPLED, 500)], unit, View.RELEASED, DELTA)
    assert released.lower <= 2.39944 <= released.upper <= 2.401
    assert released.method == "pld"
    for seen, truth in ((5, 15.22), (16, 33.10)):
        for view in (View.AGGREGATOR, View.COLLUDING):
            interval = account([Repeated(SAMPLED, seen)], unit, view, DELTA)
            assert interval.upper == pytest.approx(truth, abs=0.005)
            assert interval.lower == pytest.approx(interval.upper, rel=1e-9)
            assert interval.method == "exact-gaussian"


SUPPORT = [
    (ROUND, Relation.ADD_REMOVE, True),
    (ROUND, Relation.ZERO_OUT, True),
    (ROUND, Relation.REPLACE_ONE, True),
    (SAMPLED, Relation.ADD_REMOVE, True),
    (SAMPLED, Relation.ZERO_OUT, True),
    (SAMPLED, Relation.REPLACE_ONE, False),
    (Sampled(ROUND, FixedSize(1, 100)), Relation.ADD_REMOVE, False),
    (Sampled(ROUND, FixedSize(1, 100)), Relation.ZERO_OUT, False),
    (Sampled(ROUND, FixedSize(1, 100)), Relation.REPLACE_ONE, True),
]


@pytest.mark.parametrize(("event", "relation", "supported"), SUPPORT)
def test_the_support_matrix_is_the_documented_one(event: Sampled, relation: Relation, supported: bool) -> None:
    if supported:
        assert 0 < account([event], Unit(relation), View.RELEASED, DELTA).upper < math.inf
    else:
        with pytest.raises(UnsupportedEvent, match=relation.value):
            account([event], Unit(relation), View.RELEASED, DELTA)
        assert account([event], Unit(relation), View.AGGREGATOR, DELTA).upper < math.inf


def test_what_has_dominating_pairs_has_both_ends_and_others_an_upper_one() -> None:
    unit = Unit("zero-out")
    mixed = [GaussianEvent.for_multiplier(3), Repeated(GaussianEvent.for_multiplier(7), 4)]
    full = account(mixed, unit, View.RELEASED, DELTA)
    assert full.lower == pytest.approx(full.upper, rel=1e-9)
    for other in (SAMPLED, LaplaceEvent.for_multiplier(1)):
        interval = account([*mixed, other], unit, View.RELEASED, DELTA)
        assert interval.method == "pld"
        assert full.upper < interval.lower <= interval.upper <= 1.001 * interval.lower
    interval = account([*mixed, SkellamEvent(100, 1, 1, 1, 1)], unit, View.RELEASED, DELTA)
    assert (interval.lower, interval.method) == (None, "rdp")
    assert interval.upper > full.upper


def test_the_finer_accountant_decides_the_upper_end() -> None:
    unit, lattice = Unit("zero-out"), GaussianEvent(10**6, 10**5, d=100, components=10, draws=1000)
    interval = account([lattice], unit, View.RELEASED, DELTA)
    assert interval.method == "exact-gaussian"
    assert interval.lower is not None
    assert 0 < interval.upper - interval.lower < 1e-4
    # At variance 6 the exact curve gives up too much, at 3 it has no proof; the Renyi accountant has.
    coarse = account([GaussianEvent(6, 1, d=1, components=1, draws=1)], unit, View.RELEASED, DELTA)
    assert coarse.method == "exact-gaussian, rdp"
    coarser = account([GaussianEvent(3, 1, d=1, components=1, draws=1)], unit, View.RELEASED, DELTA)
    assert (coarser.lower, coarser.method) == (None, "rdp")


def test_what_no_accountant_supports_is_refused_with_the_last_reason() -> None:
    with pytest.raises(NoiseTooCoarse, match="finer lattice"):
        account(
            [Sampled(GaussianEvent(3, 1, 1, 1, 1), Poisson(Fraction(1, 2)))], Unit("zero-out"), View.RELEASED, DELTA
        )


def test_releasing_nothing_costs_nothing_and_an_exact_release_everything() -> None:
    unit = Unit("zero-out")
    nothing = account([], unit, View.RELEASED, DELTA)
    assert (nothing.lower, nothing.upper) == (0.0, 0.0)
    assert account([ROUND, NonPrivate()], unit, View.RELEASED, DELTA).upper == math.inf


def test_accountants_that_contradict_each_other_block_the_release() -> None:
    low, high = Interval(None, 1.0, DELTA, "first"), Interval(1.5, 2.0, DELTA, "second")
    with pytest.raises(AccountantDisagreement, match=r"second proves epsilon >= 1\.5, first proves epsilon <= 1\.0"):
        agree([low, high])
    assert agree([low, Interval(0.5, 2.0, DELTA, "second")]) == Interval(0.5, 1.0, DELTA, "second, first")
    assert agree([low]) == low


@given(st.integers(1, 200), st.integers(1, 10))
def test_more_rounds_cost_more_and_the_order_of_events_nothing(rounds: int, power: int) -> None:
    unit, delta = Unit("zero-out"), Fraction(1, 10**power)
    fewer = account([Repeated(SAMPLED, rounds), ROUND], unit, View.RELEASED, delta)
    more = account([ROUND, Repeated(SAMPLED, rounds + 1)], unit, View.RELEASED, delta)
    assert fewer.upper <= more.upper
    assert account([ROUND, Repeated(SAMPLED, rounds)], unit, View.RELEASED, delta) == fewer


@given(st.fractions(Fraction(1, 1000), Fraction(1, 2)), st.fractions(Fraction(1, 2), 8))
def test_a_larger_rate_costs_more(q: Fraction, z: Fraction) -> None:
    unit, release = Unit("zero-out"), GaussianEvent.for_multiplier(z)
    small = account([Repeated(Sampled(release, Poisson(q)), 50)], unit, View.RELEASED, DELTA).upper
    large = account([Repeated(Sampled(release, Poisson(2 * q)), 50)], unit, View.RELEASED, DELTA).upper
    everyone = account([Repeated(release, 50)], unit, View.RELEASED, DELTA)
    assert small <= large * (1 + 1e-9)
    assert everyone.lower is not None


def test_budgets_keep_what_was_typed() -> None:
    budget = Budget(8.0, 1e-5, "zero-out")
    assert budget == Budget("8", "1/100000", Relation.ZERO_OUT)
    assert (budget.epsilon, budget.delta, budget.relation) == (Fraction(8), DELTA, Relation.ZERO_OUT)
    assert hash(budget) == hash(Budget(8, "1e-5", "zero-out"))


def test_budgets_hold_up_to_their_last_unit_and_no_further() -> None:
    unit, budget = Unit("zero-out"), Budget("0.3", 0, "zero-out")
    tenth = PureEvent(Fraction(1, 10))
    assert budget.holds(account([Repeated(tenth, 3)], unit, View.RELEASED, 0))
    assert not budget.holds(account([Repeated(tenth, 4)], unit, View.RELEASED, 0))
    assert not budget.holds(account([tenth, PureEvent(Fraction(1, 10**6)), tenth, tenth], unit, View.RELEASED, 0))
    assert not budget.holds(account([tenth], unit, View.RELEASED, DELTA))
    assert Budget("0.3", DELTA, "zero-out").holds(account([tenth], unit, View.RELEASED, 0))
    assert not Budget("1e9", DELTA, "zero-out").holds(account([NonPrivate()], unit, View.RELEASED, DELTA))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("epsilon", (-1, 0.1, "zero-out")),
        ("epsilon", (math.inf, 0.1, "zero-out")),
        ("epsilon", ("nan", 0.1, "zero-out")),
        ("delta", (1, 1, "zero-out")),
        ("delta", (1, -0.1, "zero-out")),
        ("relation", (1, 0.1, "bounded")),
        ("relation", (1, 0.1, None)),
    ],
)
def test_a_budget_out_of_range_is_refused_by_name(name: str, arguments: tuple[object, object, object]) -> None:
    with pytest.raises(BadParameters, match=name):
        Budget(*arguments)  # type: ignore[arg-type]


def test_units_name_their_relation_and_kind() -> None:
    assert Unit("replace-one", of="record") == Unit(Relation.REPLACE_ONE, "record")
    assert [relation.factor for relation in Relation] == [1, 1, 2]
    with pytest.raises(BadParameters, match="add-or-remove-one, zero-out, replace-one"):
        Unit("unbounded")
    with pytest.raises(BadParameters, match="client or a record"):
        Unit("zero-out", of="user")


@pytest.mark.parametrize(("lower", "upper"), [(-0.1, 1.0), (2.0, 1.0), (None, -1.0), (None, math.nan), (math.nan, 1.0)])
def test_an_interval_without_points_is_refused(lower: float | None, upper: float) -> None:
    with pytest.raises(BadParameters, match="interval"):
        Interval(lower, upper, DELTA, "none")


def test_distance_costs_delta_on_both_sides() -> None:
    assert distance_cost(Fraction(0), 1e9) == 0
    assert float(distance_cost(Fraction(1, 1000), 1.0)) == pytest.approx((1 + math.e) / 1000)
    assert distance_cost(DRAW_DISTANCE, 800.0) == 1


def test_booked_epsilon_is_infinite_rather_than_too_small() -> None:
    def curve(delta: float) -> float:
        return -math.log(delta) if delta > 0 else math.inf

    half, none = Fraction(1, 2), Fraction(0)
    assert booked(curve, half, none, none) == curve(0.5)
    assert booked(curve, half, Fraction(1, 4), none) == curve(0.25)
    assert booked(curve, half, half, none) == math.inf
    assert booked(curve, half, Fraction(3, 4), none) == math.inf
    with_distance = booked(curve, half, none, Fraction(1, 100))
    assert with_distance >= curve(0.5 - 0.01 * (1 + math.exp(with_distance)))
    assert booked(curve, half, none, Fraction(1, 3)) == math.inf


@given(st.fractions())
def test_upward_is_the_next_double(number: Fraction) -> None:
    double = upward(number)
    assert Fraction(double) >= number
    assert Fraction(math.nextafter(double, -math.inf)) < number
    assert upward(Fraction(10) ** 400) == math.inf
    assert Fraction(upward(-(Fraction(10) ** 400))) >= -(Fraction(10) ** 400)


def test_nothing_composed_is_an_event_too() -> None:
    unit = Unit("zero-out")
    assert account([Composed(())], unit, View.AGGREGATOR, DELTA).upper == 0.0


@pytest.mark.parametrize("delta", [0, 1e-5])
def test_nothing_released_costs_nothing_at_any_delta(delta: float) -> None:
    interval = account([], Unit("zero-out"), View.AGGREGATOR, delta)
    assert (interval.lower, interval.upper) == (0.0, 0.0)


@pytest.mark.parametrize("rate", ["1/2", "9/10", "99/100"])
def test_a_sample_never_costs_more_than_everyone(rate: str) -> None:
    release = GaussianEvent.for_multiplier(1)
    unit = Unit("add-or-remove-one")
    sampled = account([Sampled(release, Poisson(Fraction(rate)))], unit, View.RELEASED, 1e-5)
    everyone = account([release], unit, View.RELEASED, 1e-5)
    assert sampled.upper <= everyone.upper
