"""Readings at any time: above composition fixed in advance, not much above a filter, and safe to stop by."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Unit, View, account
from dp.errors import BadParameters, NoiseTooCoarse, UnsupportedEvent
from dp.events import ApproxEvent, Composed, GaussianEvent, LaplaceEvent, Poisson, PureEvent, Repeated, Sampled
from dp.gaussian import gaussian_epsilon
from dp.odometer import GdpOdometer, Odometer, RenyiOdometer

UNIT, DELTA = Unit("zero-out"), Fraction(1, 10**5)
SPLIT = 6 / math.pi**2


def gaussian(z: object) -> GaussianEvent:
    """The continuous Gaussian at a noise multiplier."""
    return GaussianEvent.for_multiplier(Fraction(str(z)))


def gdp(delta: Any = DELTA) -> GdpOdometer:
    """On the grid 1/16, 1/8, ..."""
    return GdpOdometer(UNIT, delta, Fraction(1, 16))


def renyi(delta: Any = DELTA) -> RenyiOdometer:
    """At order 8 on the grid 1/4, 1/2, ..."""
    return RenyiOdometer(UNIT, delta, Fraction(1, 4), 8)


each = pytest.mark.parametrize("opened", [gdp, renyi], ids=["gdp", "renyi"])


def test_gdp_readings_are_the_curve_on_the_grid() -> None:
    odometer = gdp()
    assert odometer.epsilon() == 0.0
    # z = 4: mu^2 = 1/16 per release, so T releases end at level ceil(log2 T) + 1.
    for rounds in range(1, 18):
        odometer.spend(gaussian(4))
        level = math.ceil(math.log2(rounds)) + 1
        truth = gaussian_epsilon(1e-5 * SPLIT / level**2, 4 / math.sqrt(2 ** (level - 1)))
        assert odometer.epsilon() == pytest.approx(truth, rel=1e-6)
        assert odometer.epsilon() >= truth
    assert odometer.spent == Fraction(17, 16)
    assert (odometer.first, odometer.delta, odometer.unit) == (Fraction(1, 16), DELTA, UNIT)


def test_renyi_readings_by_hand() -> None:
    odometer = renyi()
    odometer.spend(Repeated(gaussian(4), 3))  # R = 8/(2 16) each, 3/4 together: level 3, B = 1
    assert (odometer.order, odometer.spent) == (8, Fraction(3, 4))
    truth = 1 + math.log(7 / 8) - (math.log(1e-5 * SPLIT / 9) + math.log(8)) / 7
    assert odometer.epsilon() == pytest.approx(truth, rel=1e-6)
    assert odometer.epsilon() >= truth


def test_the_deltas_of_all_levels_stay_below_delta() -> None:
    from dp.odometer import _SPLIT

    assert 0 < SPLIT - float(_SPLIT) < 1e-9
    # sum of 1/k^2 up to n is below pi^2/6 - 1/(n+1), and pi below the fraction.
    pi = Fraction(314159265358980, 10**14)
    assert _SPLIT * pi**2 / 6 < 1


@each
@given(st.lists(st.fractions(1, 30, max_denominator=8), min_size=1, max_size=6), st.integers(1, 30))
def test_a_reading_is_never_below_composition_fixed_in_advance(opened: Any, zs: list[Fraction], times: int) -> None:
    odometer, events = opened(), [Repeated(GaussianEvent.for_multiplier(z), times) for z in zs]
    last = 0.0
    for event in events:
        foreseen = odometer.epsilon_after(event)
        odometer.spend(event)
        assert odometer.epsilon() == foreseen >= last
        last = foreseen
    interval = account(events, UNIT, View.AGGREGATOR, DELTA)
    assert interval.upper <= last
    if opened is gdp and odometer.spent > Fraction(1, 16):
        assert last <= 2.5 * interval.upper + 1


@each
@given(st.lists(st.fractions(1, 30, max_denominator=8), max_size=4))
def test_a_state_goes_through_json_and_back(opened: Any, zs: list[Fraction]) -> None:
    odometer: Odometer = opened()
    for z in zs:
        odometer.spend(GaussianEvent(int(z * 10**6), 10**6, 1024, 1, 2**12))
    again = type(odometer).from_state(json.loads(json.dumps(odometer.state())))
    assert again.state() == odometer.state()
    assert again.epsilon() == odometer.epsilon()


@each
def test_a_refused_event_leaves_no_trace(opened: Callable[..., Odometer]) -> None:
    odometer = opened()
    odometer.spend(gaussian(4))
    before = odometer.state()
    for event in (Composed((gaussian(4), ApproxEvent(1, 0))), ApproxEvent(1, Fraction(1, 9))):
        with pytest.raises(UnsupportedEvent, match="ApproxEvent"):
            odometer.spend(event)
    with pytest.raises(BadParameters, match="only events"):
        odometer.spend(4)  # type: ignore[arg-type]
    assert odometer.state() == before


def test_each_currency_refuses_what_it_has_no_price_for() -> None:
    for event in (Sampled(gaussian(1), Poisson(Fraction(1, 2))), LaplaceEvent.for_multiplier(3), PureEvent(1)):
        with pytest.raises(UnsupportedEvent, match="not Gaussian noise on everyone"):
            gdp().spend(event)
        renyi().spend(event)
    with pytest.raises(NoiseTooCoarse):
        gdp().spend(GaussianEvent(4, 1, 1, 1, 0))


def test_integer_noise_reads_a_hair_more_and_infinite_once_nothing_is_set_aside_for_it() -> None:
    for opened in (gdp, renyi):
        continuous, integer = opened(), opened()
        continuous.spend(GaussianEvent(10**7, 10**6, 1024, 0, 0))
        integer.spend(GaussianEvent(10**7, 10**6, 1024, 1, 2**20))
        assert continuous.epsilon() == integer.epsilon()
        integer.spend(GaussianEvent(10**7, 10**6, 1024, 1, 2**100))
        assert integer.epsilon() == math.inf
    coarse = gdp()
    coarse.spend(GaussianEvent(10**7, 10**6, 10**24, 1, 0))
    assert coarse.epsilon() == math.inf


def test_endless_spending_reads_infinite() -> None:
    odometer = gdp()
    odometer.spend(Repeated(GaussianEvent(1, 10**265, 1, 0, 0), 10**18))
    assert 10**282 < odometer.epsilon() < 10**283
    with pytest.raises(UnsupportedEvent, match="costs inf"):
        odometer.spend(GaussianEvent(1, 10**300, 1, 0, 0))
    for opened in (gdp, renyi):
        odometer = opened(Fraction(1, 10**320))
        odometer.spend(gaussian(1))
        assert odometer.epsilon() == math.inf


@pytest.mark.parametrize(("delta", "first"), [(0, 1), ("1e-5", 0), ("1e-5", -1), (1, 1), ("1e-5", "x")])
def test_what_no_odometer_can_read_is_refused(delta: Any, first: Any) -> None:
    for opened in (lambda: GdpOdometer(UNIT, delta, first), lambda: RenyiOdometer(UNIT, delta, first, 8)):
        with pytest.raises(BadParameters, match=r"delta|first"):
            opened()


def test_orders_are_those_of_the_renyi_accountant() -> None:
    with pytest.raises(BadParameters, match="order must be one of"):
        RenyiOdometer(UNIT, DELTA, 1, "8.05")


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (0, "renyi-odometer", "one order, got 0"),
        (1, "friends", "relation"),
        (3, "1/0", "rational"),
        (3, "0/1", "above 0"),
        (4, "2/4", "lowest terms"),
        (5, ("8/1",), "no orders"),
        (6, "-1/2", "lowest terms"),
        (8, 3, "lowest terms"),
    ],
)
def test_a_state_that_was_tampered_with_is_refused(at: int, value: object, match: str) -> None:
    state: Any = gdp().state()
    state = (*state[:at], value, *state[at + 1 :])
    kind = RenyiOdometer if value == "renyi-odometer" else GdpOdometer
    with pytest.raises(BadParameters, match=match):
        kind.from_state(state)


def test_the_state_of_another_kind_is_refused() -> None:
    for state in (renyi().state(), (), None, "gdp-odometer"):
        with pytest.raises(BadParameters, match="not the state of a GdpOdometer"):
            GdpOdometer.from_state(state)


def overspent(readings: list[float], mu: float, delta: float) -> float:
    """sum over histories of (P - e^reading Q)+ / delta, for whoever stops at the best of these times.

    After t releases of shift mu the sum of outputs is N(t mu^2, t mu^2) in terms of the loss, under P. Backward
    induction over the loss: at each time stop and collect (1 - e^(reading - loss))+, or go on.
    """
    step, reach = 1 / 32, 24.0
    losses = np.arange(-reach, reach + step / 2, step)
    value = np.maximum(0.0, -np.expm1(np.minimum(700.0, readings[-1] - losses)))
    kernel_at = np.arange(-8 * mu, 8 * mu + step / 2, step)
    kernel = np.exp(-((kernel_at - mu * mu / 2) ** 2) / (2 * mu * mu))
    kernel /= kernel.sum()
    for reading in reversed(readings[:-1]):
        going_on = np.convolve(value, kernel[::-1], "same")
        value = np.maximum(going_on, np.maximum(0.0, -np.expm1(np.minimum(700.0, reading - losses))))
    return float(np.interp(0.0, losses, np.convolve(value, kernel[::-1], "same"))) / delta


def test_whoever_stops_at_the_most_telling_moment_gains_nothing_from_an_odometer() -> None:
    delta, mu, rounds = Fraction(1, 50), 0.5, 12
    odometer, readings = GdpOdometer(UNIT, delta, Fraction(1, 4)), []
    for _ in range(rounds):
        odometer.spend(gaussian(2))
        readings.append(odometer.epsilon())
    assert 0.05 < overspent(readings, mu, 0.02) <= 1
    # Reading a fixed-T accountant after every round and stopping when it pays is beaten.
    naive = [gaussian_epsilon(0.02, 2 / math.sqrt(t)) for t in range(1, rounds + 1)]
    assert overspent(naive[-1:] * 1, 0.5 * math.sqrt(rounds), 0.02) == pytest.approx(1, rel=0.05)
    assert overspent(naive, mu, 0.02) > 1.3
