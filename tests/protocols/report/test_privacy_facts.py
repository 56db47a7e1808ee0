"""What the privacy report derives before it says anything: noise, histograms, and numbers as they are printed."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Interval
from dp.events import ApproxEvent, Composed, GaussianEvent, LaplaceEvent, Repeated
from protocols.report.privacy import render
from protocols.report.privacy.facts import Histogram, spread, spread_of_counts
from protocols.report.privacy.noise import laws_of, noise_of
from protocols.report.privacy.words import Number, above, below, near
from tests.protocols.report import statement_kit as kit

# --- what is derived --------------------------------------------------------------------------------


def test_noise_is_that_of_the_law_with_most_coordinates() -> None:
    bit = GaussianEvent(sigma2=9, l2_squared=1, d=1, components=1, draws=1)
    noise = noise_of(Composed((bit, Repeated(kit.SAMPLED, 2))))
    assert noise is not None
    assert (noise.deviation, noise.multiplier, noise.coordinates) == (800.0, 8.0, 1000)
    assert noise_of(ApproxEvent(1, kit.DELTA)) is None


def test_the_deviation_of_the_discrete_laplace_is_that_of_its_sum() -> None:
    noise = noise_of(LaplaceEvent(scale=Fraction(5, 2), l1=1, d=1, draws=1))
    weights = {k: math.exp(-abs(k) / 2.5) for k in range(-200, 201)}
    variance = sum(k * k * w for k, w in weights.items()) / sum(weights.values())
    assert noise is not None
    assert noise.deviation == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_parts_of_an_event_are_counted_through_what_repeats_them() -> None:
    assert laws_of(Repeated(Composed((kit.EVENT, Repeated(kit.SAMPLED, 3))), 2)) == [(kit.EVENT, 2), (kit.SAMPLED, 6)]


@given(st.lists(st.floats(0, 1e6) | st.floats(0, 1.7e308) | st.just(math.inf), max_size=50))
def test_a_histogram_counts_every_finite_value_once(values: list[float]) -> None:
    histogram = spread(values)
    finite = [value for value in values if math.isfinite(value)]
    assert sum(histogram.counts) == len(finite)
    assert len(histogram.edges) == len(histogram.counts) + bool(finite)
    assert all(low < high for low, high in pairwise(histogram.edges))
    if finite:
        assert histogram.edges[0] <= min(finite)
        assert histogram.edges[-1] == max(finite)


@given(st.lists(st.integers(0, 2**45), max_size=50))
def test_a_histogram_of_counts_has_its_edges_between_them(values: list[int]) -> None:
    histogram = spread_of_counts(values)
    assert sum(histogram.counts) == len(values)
    assert len(histogram.counts) <= 24
    assert all(low < high for low, high in pairwise(histogram.edges))
    assert all(edge % 1 == 0.5 for edge in histogram.edges)


def test_a_histogram_of_one_value_is_a_narrow_bin_that_ends_at_it() -> None:
    """Every client at 5.9 once looked like clients between 5.9 and 11.8."""
    assert spread([5.899996] * 100) == Histogram((pytest.approx(5.841, abs=1e-4), 5.899996), (100,))
    assert spread([4.0, 4.0]) == Histogram((pytest.approx(3.96), 4.0), (2,))
    assert spread([0.0]).edges[1] == 0.0
    assert spread([2.0, math.nextafter(2.0, 3.0)]).counts == (2,)
    assert spread_of_counts([3, 3, 5]) == Histogram((2.5, 3.5, 4.5, 5.5), (2, 0, 1))


def test_one_epsilon_for_all_is_drawn_within_an_axis_around_it() -> None:
    cost = Interval(5.89, 5.899996, kit.DELTA, "pld")
    clients = tuple(kit.ClientStatement(bytes([number]), 1, 1, ((1, cost),)) for number in range(9))
    page, _ = render(kit.statement(1, clients=clients))
    chart = page[page.index('aria-labelledby="clients-1-title') :].split("</svg>")[0]
    ticks = [float(tick) for tick in re.findall(r'class="tick middle">([\d.]+)<', chart)]
    assert 5.6 <= min(ticks) < 5.84
    assert 5.9 <= max(ticks) <= 6.1
    [width] = re.findall(r'<rect [^>]*width="([\d.]+)"', chart)
    assert 20 < float(width) < 60


# --- how numbers are said ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (Fraction(1, 3), "0.333333", "0.333334"),
        (Fraction(1, 10**5), "1e-5", "1e-5"),
        (0.1, "0.1", "0.1"),
        (2.399, "2.399", "2.399"),
        (1234567, "1.23456e+6", "1.23457e+6"),
        (Fraction(-1, 3), "-0.333334", "-0.333333"),
        (0, "0", "0"),
        (math.inf, "unbounded", "unbounded"),
    ],
)
def test_bounds_are_rounded_outwards_and_exact_numbers_stay_exact(value: Number, low: str, high: str) -> None:
    assert (below(value), above(value)) == (low, high)


@given(st.fractions() | st.floats(allow_nan=False, allow_infinity=False))
def test_no_bound_is_rounded_inwards(value: Number) -> None:
    number = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    low, high = Fraction(below(value)), Fraction(above(value))
    assert low <= number <= high
    assert high - low <= abs(number) / 10**4
    assert low <= Fraction(near(value)) <= high
