"""hypergeometric: tails against exact fractions, near the middle and far out."""

from __future__ import annotations

import math
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import BadParameters
from secagg.hypergeometric import Population, log_factorials

# Eight digits of the probability itself.
CLOSE = 1e-8


def up_to(n: int, marked: int, count: int, x: int) -> Fraction:
    """P[X <= x] for n clients."""
    ways = sum(comb(marked, j) * comb(n - marked, count - j) for j in range(min(x, count) + 1))
    return Fraction(ways, comb(n, count))


def log2_of(p: Fraction) -> float:
    """log2 of a fraction too small for a float."""
    return -math.inf if p == 0 else math.log2(p.numerator) - math.log2(p.denominator)


# --- known answers


def test_a_hand_of_cards() -> None:
    aces = Population(52).draw(4, 13)
    assert aces.log2_above(3) == pytest.approx(math.log2(11 / 4165), abs=1e-12)
    assert aces.log2_up_to(0) == pytest.approx(math.log2(6327 / 20825), abs=1e-12)
    assert Population(52).log2_all_marked(13, 13) == pytest.approx(-math.log2(635_013_559_600), abs=1e-12)


@pytest.mark.parametrize("most", [0, 1, 255, 256, 257, 2000])
def test_logarithms_of_factorials_are_those_of_the_integers(most: int) -> None:
    table = log_factorials(most)
    assert table.shape == (most + 1,)
    for x in range(most + 1):
        assert table[x] == pytest.approx(math.log(math.factorial(x)), rel=1e-15, abs=0)


def test_logarithms_of_large_factorials_agree_with_the_gamma_function_of_the_platform() -> None:
    table = log_factorials(1_000_000)
    for x in (10_000, 123_456, 999_999, 1_000_000):
        assert table[x] == pytest.approx(math.lgamma(x + 1), rel=1e-14, abs=0)


@pytest.mark.parametrize(
    ("n", "marked", "count"), [(10_000, 1_000, 144), (100_000, 33_000, 224), (1_000_000, 50_000, 86)]
)
def test_tails_of_large_populations_keep_eight_digits(n: int, marked: int, count: int) -> None:
    draw = Population(n).draw(marked, count)
    for x in range(0, count, 13):
        below = up_to(n, marked, count, x)
        for computed, exact in ((draw.log2_up_to(x), below), (draw.log2_above(x), 1 - below)):
            assert 2 ** (computed - log2_of(exact)) == pytest.approx(1, abs=CLOSE)
    assert Population(n).log2_all_marked(marked, count) == pytest.approx(draw.log2_above(count - 1), abs=CLOSE)


def test_what_is_possible_is_never_called_impossible() -> None:
    draw = Population(100_000).draw(2_000, 1_000)
    assert draw.log2_above(999) == pytest.approx(log2_of(Fraction(comb(2_000, 1_000), comb(100_000, 1_000))), rel=1e-12)
    assert draw.log2_above(999) < -5_000
    assert draw.log2_above(1_000) == -math.inf


# --- properties


@st.composite
def draws(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 60))
    return n, draw(st.integers(0, n)), draw(st.integers(0, n))


@given(draws())
def test_tails_are_the_exact_ones(case: tuple[int, int, int]) -> None:
    n, marked, count = case
    draw = Population(n).draw(marked, count)
    for x in range(count + 1):
        below = up_to(n, marked, count, x)
        assert draw.log2_up_to(x) == pytest.approx(log2_of(below), abs=1e-11)
        assert draw.log2_above(x) == pytest.approx(log2_of(1 - below), abs=1e-11)
    assert Population(n).log2_all_marked(marked, count) == pytest.approx(
        log2_of(Fraction(comb(marked, count), comb(n, count))), abs=1e-11
    )


# No count of ways of at most 60 clients divides to these, so rounding cannot decide.
@given(draws(), st.sampled_from([math.pi * 10.0**-e for e in range(1, 18)]))
def test_quantiles_are_the_least_that_will_do(case: tuple[int, int, int], probability: float) -> None:
    n, marked, count = case
    draw, bound = Population(n).draw(marked, count), Fraction(probability)
    below = [up_to(n, marked, count, x) for x in range(count + 1)]
    assert draw.exceeded_below(probability) == next(x for x in range(count + 1) if 1 - below[x] < bound)
    assert draw.reached_from(probability) == next(x for x in range(count + 1) if below[x] >= bound)


# --- what is refused


@pytest.mark.parametrize(("marked", "count"), [(-1, 2), (11, 2), (2, -1), (2, 11)])
def test_no_more_are_marked_or_drawn_than_there_are(marked: int, count: int) -> None:
    clients = Population(10)
    for ask in (clients.draw, clients.log2_all_marked):
        with pytest.raises(BadParameters, match=r"0\.\.10"):
            ask(marked, count)
