"""dp.weights: integers that are the laws, held against the textbook formulas to 120 digits."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from dp.alias import AliasTable
from dp.weights import (
    TAIL_BITS,
    exp_negative,
    fold_weights,
    gaussian_weights,
    laplace_weights,
    skellam_weights,
)
from tests.dp.noise_kit import DIGITS, gaussian_pmf, laplace_pmf, skellam_pmf, table_law, total_variation

SMALL = [Fraction(1, 1000), Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(22, 7), Fraction(100)]
LAWS = [(gaussian_weights, gaussian_pmf), (laplace_weights, laplace_pmf), (skellam_weights, skellam_pmf)]

# known answers


def test_moments_agree_with_the_reference(shared: Path) -> None:
    reference = json.loads((shared / "data" / "dp_reference.json").read_text())
    for case in reference["discrete_gaussian_moments"]:
        half = gaussian_weights(Fraction(case["config"]["sigma2"]))
        total = half[0] + 2 * sum(half[1:])
        variance = Fraction(2 * sum(k * k * weight for k, weight in enumerate(half)), total)
        for name, ours in (
            ("P0", Fraction(half[0], total)),
            ("P1", Fraction(half[1], total)),
            ("variance_exact", variance),
        ):
            theirs = Fraction(case["value"][name])
            assert abs(ours / theirs - 1) < Fraction(1, 10**21), (case["config"], name)


@pytest.mark.parametrize("mu", [Fraction(1, 4), Fraction(1), Fraction(100), Fraction(10**4), Fraction(2**24)], ids=str)
def test_skellam_agrees_with_an_independent_bessel_function(mu: Fraction) -> None:
    # exp(-x) I_k(x) of scipy, in doubles: code and arithmetic that are not ours.
    half = skellam_weights(mu)
    total = half[0] + 2 * sum(half[1:])
    theirs = special.ive(np.arange(len(half)), float(mu))
    ours = np.array([float(Fraction(weight, total)) for weight in half])
    assert np.abs(ours / theirs - 1).max() < 1e-10  # 1.2e-11 was measured at 2^24


# properties


@pytest.mark.parametrize("parameter", SMALL, ids=str)
@pytest.mark.parametrize(("weights", "pmf"), LAWS, ids=["gaussian", "laplace", "skellam"])
def test_the_table_is_within_2_to_the_minus_127_of_its_law(weights, pmf, parameter) -> None:  # type: ignore[no-untyped-def]
    half = weights(parameter)
    table = AliasTable.symmetric(half)
    law = table_law(table)
    assert table.reach == len(half) - 1
    assert sum(law.values()) == 1
    assert total_variation(law, pmf(parameter, table.reach)) <= Fraction(1, 2**127)
    # The same measure must notice a parameter that is wrong by one part in 10^15.
    wrong = table_law(AliasTable.symmetric(weights(parameter * (1 + Fraction(1, 10**15)))))
    assert parameter < Fraction(1, 10) or total_variation(wrong, pmf(parameter, table.reach)) > Fraction(1, 2**127)


@pytest.mark.parametrize("weights", [laplace_weights, skellam_weights, gaussian_weights])
@pytest.mark.parametrize("parameter", SMALL, ids=str)
def test_a_list_ends_as_soon_as_both_tails_are_small_enough(weights, parameter) -> None:  # type: ignore[no-untyped-def]
    half = weights(parameter)
    total = half[0] + 2 * sum(half[1:])
    assert len(half) == 1 or 4 * half[-1] << TAIL_BITS > total / 1000


@given(st.fractions(min_value=Fraction(1, 2**40), max_value=2**20))
def test_skellam_weights_have_variance_mu_and_obey_the_recurrence(mu: Fraction) -> None:
    half = skellam_weights(mu)
    total = half[0] + 2 * sum(half[1:])
    variance = Fraction(2 * sum(k * k * weight for k, weight in enumerate(half)), total)
    # What the tails would add: P(K) < 2^-128 and K^2 < 2^30.
    assert abs(variance - mu) < Fraction(1, 2**90)
    for k in range(1, len(half) - 1):
        assert abs(half[k - 1] - half[k + 1] - 2 * k * half[k] / mu) <= 3 + 2 * k / mu


@given(st.fractions(Fraction(1, 10), 40), st.integers(1, 12))
def test_a_fold_is_the_difference_of_two_cut_geometrics(scale: Fraction, width: int) -> None:
    ratio = exp_negative(1 / scale)
    powers = [Fraction(ratio, 2**320) ** j for j in range(width)]
    folded = fold_weights(scale, width)
    assert len(folded) == width
    for k, weight in enumerate(folded):
        direct = sum(powers[j] * powers[j + k] for j in range(width - k))
        assert abs(direct * (1 - Fraction(ratio, 2**320) ** 2) - Fraction(weight, 2**320)) < Fraction(1, 2**310)


@given(st.fractions(min_value=0, max_value=400))
def test_the_integer_exponential_is_right_to_its_last_bit(exponent: Fraction) -> None:
    with localcontext() as arithmetic:
        arithmetic.prec = DIGITS
        exact = (-Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp() * 2**320
        assert abs(exp_negative(exponent) - exact) <= 2
