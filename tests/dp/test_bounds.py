"""dp.bounds: sensitivities are the formulas, in exact integers, and lattices the powers of two they should be."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.bounds import (
    FINENESS,
    MAX_L1_RADIUS,
    MAX_L2_RADIUS,
    NEAREST_DIMENSION,
    Clip,
    Lattice,
    l1_bound,
    l1_bound_from_l2,
    l2_squared_bound,
    require_norm,
    round_for_l2,
)
from dp.errors import BadParameters, ClipExceeded, NonFinite
from dp.lattice import rounded_norm_squared
from tests.dp.noise_kit import seeded

bounds = st.fractions(Fraction(1, 1000), 1000)
dimensions = st.integers(1, 10**6)


# the integer norms


@given(st.fractions(1, 2**20), st.integers(1, NEAREST_DIMENSION))
def test_the_l2_bound_of_nearest_rounding_is_its_formula(radius: Fraction, d: int) -> None:
    with localcontext() as arithmetic:
        arithmetic.prec = 200
        c = Decimal(radius.numerator) / Decimal(radius.denominator)
        exact = (c + Decimal(d).sqrt() / 2) ** 2
        # At an exact integer the decimal may fall on the wrong side by 10^-190.
        expected = {
            int((exact + nudge).to_integral_value(ROUND_FLOOR)) for nudge in (Decimal("1e-150"), -Decimal("1e-150"))
        }
    assert l2_squared_bound(Clip(radius), Lattice(Fraction(1)), d) in expected


def test_some_bounds_by_hand() -> None:
    one = Lattice(Fraction(1))
    assert l2_squared_bound(Clip(Fraction(2)), one, 4) == 9  # (2 + 2/2)^2
    assert l2_squared_bound(Clip(Fraction(5, 2)), one, 1) == 9
    assert l1_bound(Clip(Fraction(3), Fraction(7, 2)), one, 3) == 5
    assert l1_bound_from_l2(Clip(Fraction(2)), one, 4) == 6  # sqrt(4) * 3 < 9
    assert l1_bound_from_l2(Clip(Fraction(2)), one, 100) == 49  # |v|^2 = (2 + 5)^2 < 10 * 7
    assert l1_bound_from_l2(Clip(Fraction(2), Fraction(3)), one, 4) == 5
    # Conditional rounding may move every coordinate by almost a whole step.
    assert l1_bound_from_l2(Clip(Fraction(2**20), Fraction(2**20)), one, 10_001) == 2**20 + 10_001


@given(st.fractions(1, 2**15), st.integers(NEAREST_DIMENSION + 1, 10**7))
def test_beyond_ten_thousand_coordinates_the_bound_is_that_of_conditional_rounding(radius: Fraction, d: int) -> None:
    found = l2_squared_bound(Clip(radius), Lattice(Fraction(1)), d)
    assert found == rounded_norm_squared(radius, d, Fraction(1))
    assert found <= (radius + isqrt(d) + 1) ** 2


@given(bounds, bounds, st.fractions(Fraction(1, 10**6), Fraction(1, 1000)), dimensions)
def test_bounds_depend_on_the_ratio_alone_and_grow(l2: Fraction, l1: Fraction, gamma: Fraction, d: int) -> None:
    clip, lattice = Clip(l2, l1), Lattice(gamma)
    twice = Clip(2 * l2, 2 * l1)
    for bound in (l2_squared_bound, l1_bound, l1_bound_from_l2):
        assert bound(clip, lattice, d) == bound(twice, Lattice(2 * gamma), d)
        assert bound(clip, lattice, d) <= bound(twice, lattice, d)


# the default lattices


@given(bounds, dimensions)
def test_the_default_lattice_is_the_largest_power_of_two_that_is_fine_enough(bound: Fraction, d: int) -> None:
    for lattice, share in ((Lattice.for_l2(Clip(bound), d), d), (Lattice.for_l1(Clip(bound, bound), d), d * d)):
        gamma = lattice.gamma
        assert gamma.numerator == 1 or gamma.denominator == 1
        assert gamma.numerator & (gamma.numerator - 1) == gamma.denominator & (gamma.denominator - 1) == 0
        assert gamma**2 * share * FINENESS**2 <= bound**2 < (2 * gamma) ** 2 * share * FINENESS**2


def test_default_lattices_stay_within_the_largest_radius() -> None:
    for d in (1, 10**6, 2**28):
        l2_squared_bound(Clip(Fraction(1)), Lattice.for_l2(Clip(Fraction(1)), d), d)
        l1_bound(Clip(Fraction(1), Fraction(1)), Lattice.for_l1(Clip(Fraction(1), Fraction(1)), d), d)


def test_sums_of_four_million_units_stay_within_int64() -> None:
    assert MAX_L1_RADIUS << 22 <= 2**62
    assert (MAX_L2_RADIUS + 2**16) ** 2 < 2**62


# clips


def test_both_clips_hold_at_once() -> None:
    clip = Clip(Fraction(3), Fraction(4))
    for update in (np.array([3.0, 4.0]), np.array([10.0, 0.0]), np.full(100, 1.0)):
        clipped = clip.shorten(update)
        assert np.abs(clipped.vector).sum() <= 4
        assert np.linalg.norm(clipped.vector) <= 3
        assert clipped.hit
        assert clipped.norm == pytest.approx(np.linalg.norm(update))
    inside = clip.shorten(np.array([1.0, 1.0]))
    assert (inside.vector.tolist(), inside.hit) == ([1.0, 1.0], False)


def test_layers_are_clipped_to_their_own_bounds() -> None:
    clip = Clip(Fraction(5), per_layer=(Fraction(3), Fraction(4)))
    clipped = clip.shorten([np.array([[6.0, 0.0]]), np.array([0.0, 1.0, 0.0])])
    assert clipped.vector == pytest.approx([3, 0, 0, 1, 0])
    assert clipped.bound == 5
    for wrong in (np.zeros((2, 3)), np.zeros(2), [np.zeros(2)]):
        with pytest.raises(BadParameters):
            clip.shorten(wrong)
    with pytest.raises(NonFinite):
        clip.shorten([np.zeros(1), np.array([np.nan])])


@pytest.mark.parametrize(
    "parts",
    [
        {"l2": 1.0},
        {"l2": 0},
        {"l2": Fraction(1, 2**257)},
        {"l2": 2**257},
        {"l2": 1, "l1": -1},
        {"l2": 1, "l1": 0.5},
        {"l2": 1, "per_layer": ()},
        {"l2": 1, "per_layer": (Fraction(4, 5), Fraction(4, 5))},
        {"l2": 1, "per_layer": (0,)},
        {"l2": 1, "l1": 1, "per_layer": (1,)},
    ],
    ids=str,
)
def test_a_clip_out_of_range_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(BadParameters, match=r"l2|l1|per_layer"):
        Clip(**parts)


@pytest.mark.parametrize("gamma", [0, -1, 0.5, None, Fraction(1, 2**257), 2**257])
def test_a_lattice_out_of_range_is_refused(gamma: Any) -> None:
    with pytest.raises(BadParameters, match="gamma"):
        Lattice(gamma)


@pytest.mark.parametrize("gamma", [Fraction(2), Fraction(1, 2**31)], ids=["coarse", "fine"])
def test_a_lattice_that_does_not_suit_the_clip_is_refused(gamma: Fraction) -> None:
    with pytest.raises(BadParameters, match=r"gamma .* lattice"):
        l2_squared_bound(Clip(Fraction(1)), Lattice(gamma), 3)
    with pytest.raises(BadParameters, match=r"gamma .* lattice"):
        l1_bound(Clip(Fraction(1), Fraction(1)), Lattice(gamma / 2**10 if gamma < 1 else gamma), 3)


def test_a_vector_longer_than_its_bound_blocks_the_release() -> None:
    with pytest.raises(ClipExceeded, match="squared L2"):
        round_for_l2(np.array([3.0, 4.0]), 24, seeded(1))
    with pytest.raises(ClipExceeded):
        round_for_l2(np.full(NEAREST_DIMENSION + 1, 3.0), 9, seeded(1))
    assert round_for_l2(np.array([3.0, 4.0]), 25, seeded(1)).tolist() == [3, 4]
    require_norm("L1", 7, 7)
    with pytest.raises(ClipExceeded, match="is 8, above its bound 7"):
        require_norm("L1", 8, 7)
