"""dp.clip: bounds that hold in float64, and inputs that broke other clippers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from dp.accountant import Unit
from dp.bounds import Clip
from dp.clip import Clipped, clip_l1, clip_l2, clip_layers
from dp.errors import BadParameters, ClipExceeded, NonFinite
from dp.layers import Layers
from dp.mechanisms import Gaussian, Laplace
from dp.noise import Entropy, discrete_gaussian
from dp.skellam_share import SkellamShare

CENTRAL = Gaussian.for_sigma(Fraction(1), clip=Clip(Fraction(1)), dimension=3, unit=Unit("zero-out"))

VECTORS = arrays(
    np.float64,
    array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=40),
    elements=st.floats(-1e150, 1e150, allow_subnormal=True),
)
BOUNDS = st.fractions(min_value=Fraction(1, 10**6), max_value=10**6)


def exact_l2_squared(vector: NDArray[np.float64]) -> Fraction:
    """|v|^2 with no rounding at all."""
    return sum((Fraction(float(value)) ** 2 for value in vector.ravel()), Fraction(0))


# known answers


def test_three_four_five() -> None:
    clipped = clip_l2(np.array([3.0, 4.0]), Fraction(1))
    assert clipped.norm == 5.0
    assert clipped.hit
    np.testing.assert_allclose(clipped.vector, [0.6, 0.8], rtol=1e-14)


def test_a_short_vector_passes_bit_for_bit() -> None:
    vector = np.array([3.0, 4.0, 1e-310])
    clipped = clip_l2(vector, Fraction(5))
    assert not clipped.hit
    assert np.array_equal(clipped.vector, vector)


def test_l1_of_three_four_is_seven() -> None:
    clipped = clip_l1(np.array([3.0, -4.0]), Fraction(7, 2))
    assert clipped.norm == 7.0
    np.testing.assert_allclose(clipped.vector, [1.5, -2.0], rtol=1e-14)


def test_layers_are_clipped_apart_and_laid_end_to_end() -> None:
    layers = [np.array([[3.0, 4.0]]), np.array([0.5])]
    clipped = clip_layers(layers, [Fraction(3), Fraction(4)], Fraction(5))
    np.testing.assert_allclose(clipped.vector, [1.8, 2.4, 0.5], rtol=1e-14)
    assert clipped.bound == 5
    assert clipped.hit
    assert clipped.norm == math.hypot(5.0, 0.5)


# properties


@given(VECTORS, BOUNDS)
def test_the_exact_norm_never_exceeds_the_bound_after_a_hit(vector: NDArray[np.float64], bound: Fraction) -> None:
    clipped = clip_l2(vector, bound)
    if clipped.hit:
        assert exact_l2_squared(clipped.vector) <= bound**2
    else:
        assert exact_l2_squared(clipped.vector) <= bound**2 * (1 + Fraction(1, 2**40))


@given(VECTORS, BOUNDS)
def test_the_exact_l1_norm_never_exceeds_the_bound_after_a_hit(vector: NDArray[np.float64], bound: Fraction) -> None:
    clipped = clip_l1(vector, bound)
    total = sum((abs(Fraction(float(value))) for value in clipped.vector.ravel()), Fraction(0))
    assert total <= (bound if clipped.hit else bound * (1 + Fraction(1, 2**40)))


@given(VECTORS, BOUNDS)
def test_clipping_keeps_shape_and_direction_and_wastes_nothing(vector: NDArray[np.float64], bound: Fraction) -> None:
    clipped = clip_l2(vector, bound)
    assert clipped.vector.shape == vector.shape
    assert np.all(clipped.vector * vector >= 0)
    if clipped.hit:
        assert exact_l2_squared(clipped.vector) >= bound**2 * (1 - Fraction(1, 2**30))


@given(VECTORS, BOUNDS)
def test_clipping_twice_changes_nothing(vector: NDArray[np.float64], bound: Fraction) -> None:
    once = clip_l2(vector, bound)
    twice = clip_l2(once.vector, bound)
    assert not twice.hit
    assert np.array_equal(once.vector, twice.vector)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_every_float_width_comes_back_as_float64(dtype: type[np.floating]) -> None:
    assert clip_l2(np.array([3, 4], dtype=dtype), Fraction(1)).vector.dtype == np.float64


def test_the_result_does_not_share_memory_with_the_input() -> None:
    vector = np.array([0.5])
    clipped = clip_l2(vector, Fraction(1))
    vector[0] = 9.0
    assert clipped.vector[0] == 0.5


# inputs that broke others


@pytest.mark.parametrize("value", [3e38, 1e300, 5e-324, 1e-310], ids=str)
def test_extreme_magnitudes_neither_overflow_nor_vanish(value: float) -> None:
    clipped = clip_l2(np.full(4, value), Fraction(1))
    assert clipped.norm == pytest.approx(2 * value, rel=1e-15, abs=5e-324)
    assert exact_l2_squared(clipped.vector) <= 1


def test_the_smallest_bound_still_holds() -> None:
    bound = Fraction(1, 1 << 900)
    assert exact_l2_squared(clip_l2(np.array([1.0, 1.0]), bound).vector) <= bound**2


def test_a_bound_that_is_no_float_is_rounded_down() -> None:
    clipped = clip_l2(np.array([1.0]), Fraction(1, 10))
    assert Fraction(float(clipped.vector[0])) <= Fraction(1, 10)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_zeros_and_nothing_have_norm_zero(size: int) -> None:
    clipped = clip_l2(np.zeros(size), Fraction(1))
    assert (clipped.norm, clipped.hit) == (0.0, False)


def test_many_coordinates_obey_the_bound_exactly() -> None:
    vector = np.random.default_rng(7).normal(size=10**5).astype(np.float32)
    assert exact_l2_squared(clip_l2(vector, Fraction(1, 1000)).vector) <= Fraction(1, 10**6)


def test_a_vector_near_the_largest_float_is_clipped_to_a_small_bound() -> None:
    """limit / norm would be subnormal, and wrong in its fifth digit."""
    for scale in np.linspace(1.0, 1.7, 50):
        clipped = clip_l2(np.array([0.3, 0.7, 0.5]) * scale * 1e308, Fraction(1, 10**12))
        assert Fraction(1, 10**24) * (1 - Fraction(1, 2**40)) <= exact_l2_squared(clipped.vector) <= Fraction(1, 10**24)


def test_zero_update_is_unchanged() -> None:
    """Flower 1.42 divides by its norm."""
    for clip in (clip_l2, clip_l1):
        clipped = clip(np.zeros(3, np.float32), Fraction(1, 1000))
        assert (clipped.norm, clipped.hit, clipped.vector.tolist()) == (0.0, False, [0.0, 0.0, 0.0])
    parts = clip_layers([np.zeros(2), np.zeros(1)], [Fraction(3), Fraction(4)], Fraction(5))
    assert (parts.norm, parts.hit, parts.vector.tolist()) == (0.0, False, [0.0, 0.0, 0.0])


@pytest.mark.parametrize("update", [[3.0, math.inf], [math.nan], [-math.inf, math.inf], [0.0, math.nan]], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_clip_and_infinite_clip_are_refused(update: list[float], dtype: type[np.floating]) -> None:
    """Peers let NaN pass unclipped, since min(1, nan) is 1, and turn [3, inf] into [0, nan]."""
    vector = np.array(update, dtype=dtype)
    for clip in (clip_l2, clip_l1):
        with pytest.raises(NonFinite, match="nothing was clipped"):
            clip(vector, Fraction(1))
    with pytest.raises(NonFinite, match="nothing was clipped"):
        clip_layers([np.ones(2), vector], [Fraction(3), Fraction(4)], Fraction(5))


def test_float32_largest_and_smallest_values_are_clipped() -> None:
    for value in (3e38, 1e-45):
        clipped = clip_l2(np.full(1000, value, np.float32), Fraction(1, 1000))
        assert clipped.norm == pytest.approx(float(np.float32(value)) * math.sqrt(1000), rel=1e-12)
        assert exact_l2_squared(clipped.vector) <= Fraction(1, 10**6)
        assert clipped.hit is (value > 1)


def test_rounding_a_clipped_vector_back_to_float32_would_break_its_bound() -> None:
    """Why the result stays float64."""
    vectors = np.random.default_rng(3).normal(size=(50, 7)).astype(np.float32)
    clipped = [clip_l2(vector, Fraction(1, 1000)).vector for vector in vectors]
    assert all(exact_l2_squared(vector) <= Fraction(1, 10**6) for vector in clipped)
    assert any(exact_l2_squared(vector.astype(np.float32)) > Fraction(1, 10**6) for vector in clipped)


@pytest.mark.parametrize("value", [1.0, -0.3, 1e-300, 1e300], ids=str)
@pytest.mark.parametrize("size", [1, 3, 8192, 8193, 100_000])
def test_all_equal_coordinates_obey_the_bound_exactly(value: float, size: int) -> None:
    clipped = clip_l2(np.full(size, value), Fraction(1, 3))
    assert size * Fraction(float(clipped.vector[0])) ** 2 <= Fraction(1, 9)
    assert np.all(clipped.vector == clipped.vector[0])


# errors


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("clip", [clip_l2, clip_l1], ids=["l2", "l1"])
def test_a_value_that_is_not_finite_raises(bad: float, clip) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NonFinite):
        clip(np.array([3.0, bad]), Fraction(1))


def test_a_norm_beyond_float64_raises() -> None:
    with pytest.raises(NonFinite, match="beyond float64"):
        clip_l2(np.full(100, 1e308), Fraction(1))


@pytest.mark.parametrize("bound", [0, -1, 1.0, True, "1", Fraction(0)], ids=repr)
def test_a_bound_that_is_no_positive_rational_raises(bound: Fraction) -> None:
    with pytest.raises(BadParameters, match="bound"):
        clip_l2(np.ones(2), bound)


def test_a_bound_that_float64_cannot_resolve_raises() -> None:
    with pytest.raises(BadParameters, match="2\\^-900"):
        clip_l2(np.ones(2), Fraction(1, (1 << 900) + 1))


@pytest.mark.parametrize("vector", [[1.0], np.array([1]), np.array([1 + 1j]), None], ids=repr)
def test_only_float_arrays_are_clipped(vector: NDArray[np.float64]) -> None:
    with pytest.raises(BadParameters, match="float array"):
        clip_l2(vector, Fraction(1))


def test_layer_bounds_beyond_the_total_raise() -> None:
    with pytest.raises(BadParameters, match="sum of squares"):
        clip_layers([np.ones(1), np.ones(1)], [Fraction(3), Fraction(4)], Fraction(5) - Fraction(1, 10**30))


@pytest.mark.parametrize("bound", [0.5, math.nan, "3", None, 0], ids=repr)
def test_a_layer_bound_that_is_no_positive_rational_is_named(bound: Fraction) -> None:
    with pytest.raises(BadParameters, match=r"bounds\[1\]"):
        clip_layers([np.ones(1), np.ones(1)], [Fraction(3), bound], Fraction(5))


def test_layers_and_bounds_must_be_as_many() -> None:
    with pytest.raises(BadParameters, match="as many bounds"):
        clip_layers([np.ones(1)], [], Fraction(5))


def test_a_clipper_that_forgot_to_shorten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = iter([2.0, 1.5])
    monkeypatch.setattr("dp.clip._euclidean", lambda *_: next(lengths))
    with pytest.raises(ClipExceeded):
        clip_l2(np.ones(4), Fraction(1))


@pytest.mark.parametrize(
    ("vector", "norm", "error"),
    [
        (np.ones(1, np.float32), 1.0, BadParameters),
        (np.ones(1), math.nan, NonFinite),
        (np.ones(1), -1.0, NonFinite),
    ],
)
def test_a_clipped_made_by_hand_is_checked(vector: NDArray[np.float64], norm: float, error: type[Exception]) -> None:
    with pytest.raises(error):
        Clipped(vector, Fraction(1), norm, False)


def test_the_vector_and_its_norm_are_not_printed() -> None:
    shown = repr(clip_l2(np.array([1234.5]), Fraction(1)))
    assert "1234" not in shown
    assert "hit" not in shown


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: clip_layers(np.ones((2, 3)), [1, 1], 2),
        lambda: clip_layers((part for part in [np.ones(2)]), [1], 2),
        lambda: clip_layers([np.ones(2)], np.ones(1), 2),
        lambda: Clip(Fraction(1), per_layer=5),
        lambda: Gaussian.for_sigma(Fraction(1), clip=1.0, dimension=3, unit=Unit("zero-out")),
        lambda: Gaussian.for_sigma(Fraction(1), clip=Clip(1), dimension=3, unit=Unit("zero-out"), lattice=Fraction(1)),
        lambda: Laplace.for_epsilon(Fraction(1), clip=Clip(1, l1=1), dimension=3, unit="zero-out"),
        lambda: Layers(None),
        lambda: SkellamShare(None),
        lambda: discrete_gaussian(Fraction(4), 2.5, Entropy.insecure(1, b"l", b"c")),
        lambda: discrete_gaussian(Fraction(4), True, Entropy.insecure(1, b"l", b"c")),
        lambda: CENTRAL.apply(np.zeros(3, np.int64), None),
        lambda: CENTRAL.apply(np.zeros(3, np.int64), np.random.default_rng(0)),
    ],
)
def test_an_argument_of_another_kind_is_refused_by_name(attempt: Callable[[], object]) -> None:
    with pytest.raises(BadParameters, match=r"must be|must hold|expected"):
        attempt()
