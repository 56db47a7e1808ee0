"""Pairs, their laws on a grid and their sums: identities between independent formulas, and naive sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.ends import Upper
from dp.gaussian import gaussian_delta
from dp.grid import Grid, law_above, laws_below
from dp.profiles import Added, DiscreteLaplace, Gaussian, Laplace, Pair, Removed, Response
from dp.search import _lower, _turned, delta_above, missing_mass
from dp.spectrum import Window, compose, discounted, spread, tilt_for_delta, tilt_to_meet, window

INNER = [Gaussian(0.3), Gaussian(1.0), Gaussian(5.0), Laplace(0.7), DiscreteLaplace(2.5, 6), Response(1.2)]
PAIRS: list[Pair] = [*INNER, *(kind(inner, q) for inner in INNER for q in (0.01, 0.6) for kind in (Removed, Added))]
EPSILONS = np.array([0.0, 0.004, 0.05, 0.3, 0.65, 1.1, 2.0, 4.0])


def hockey_stick(pair: Pair, loss: np.ndarray) -> np.ndarray:
    """P(L > loss) - e^loss Q(L > loss), from the tails alone."""
    one, other = pair.log_tails(loss)
    return np.exp(one) - np.exp(loss + other)


@pytest.mark.parametrize("pair", PAIRS, ids=repr)
def test_profiles_are_those_of_the_tails_in_both_directions(pair: Pair) -> None:
    for one in (pair, pair.swapped):
        assert one.profile(EPSILONS) == pytest.approx(hockey_stick(one, EPSILONS), rel=1e-7, abs=1e-13)
        # Below 0 the profile of the swapped pair says the same: h(-e) = 1 - e^-e + e^-e h'(e).
        mirrored = -np.expm1(-EPSILONS) + np.exp(-EPSILONS) * one.swapped.profile(EPSILONS)
        assert hockey_stick(one, -EPSILONS) == pytest.approx(mirrored, rel=1e-9, abs=1e-12)
        assert one.swapped.swapped == one
        assert one.profile(np.array([one.top * (1 + 1e-9), np.inf])) == pytest.approx([0.0, 0.0], abs=1e-12)


@given(st.floats(0.0, 30.0), st.floats(-1.5, 1.7))
def test_the_gaussian_profile_is_the_exact_curve(epsilon: float, log_sigma: float) -> None:
    sigma = 10.0**log_sigma
    got = float(Gaussian(1 / sigma).profile(np.array([epsilon]))[0])
    assert got == pytest.approx(gaussian_delta(epsilon, sigma), rel=1e-8, abs=1e-290)


@pytest.mark.parametrize("mu", [1e-3, 1e-6, 1e-9, 1e-12])
def test_the_gaussian_profile_keeps_its_digits_when_noise_is_enormous(mu: float) -> None:
    """h / mu tends to phi(z) - z Phi(-z), z = epsilon/mu; a plain difference would keep one digit at 1e-12."""
    from scipy.special import ndtr

    z = np.array([0.0, 0.5, 2.0, 5.0])
    limit = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * ndtr(-z)
    assert Gaussian(mu).profile(z * mu) / mu == pytest.approx(limit, rel=10 * mu + 1e-10)


@pytest.mark.parametrize("pair", PAIRS, ids=repr)
def test_laws_on_a_grid_bound_the_profile_from_both_sides(pair: Pair) -> None:
    grid = Grid(2.0**-6, 64, 1e-14)
    law = law_above(pair, grid)
    assert np.exp(law.log_mass).sum() + law.missing == pytest.approx(1.0, abs=1e-10)
    mass, loss = np.exp(law.log_mass), law.losses
    one, other = laws_below(pair, grid)
    assert np.exp(one.log_mass).sum() == pytest.approx(1.0, abs=1e-12)
    assert np.exp(other.log_mass).sum() == pytest.approx(1.0, abs=1e-12)
    for epsilon in EPSILONS:
        truth = float(pair.profile(np.array([epsilon]))[0])
        above = (mass * np.maximum(0.0, -np.expm1(epsilon - loss))).sum() + law.missing
        assert truth * (1 - 1e-11) <= above <= truth + 2e-3
        at = one.losses[:, None]
        caught = (np.exp(one.log_mass) * (one.losses >= at)).sum(1)
        missed = (np.exp(other.log_mass) * (other.losses >= at)).sum(1)
        below = float(np.max(caught - math.exp(epsilon) * missed))
        assert truth - 2e-2 <= max(0.0, below) <= truth * (1 + 1e-9) + 1e-14


def test_composition_is_convolution_and_its_error_bound_holds() -> None:
    law = law_above(Removed(Gaussian(1.0), 0.2), Grid(2.0**-6, 2**62, 1e-14))
    mass = np.zeros(law.knots[-1] - law.knots[0] + 1)
    mass[law.knots - law.knots[0]] = np.exp(law.log_mass)
    total = np.convolve(np.convolve(mass, mass), mass)
    losses = (3 * law.knots[0] + np.arange(total.size)) * law.mesh
    for delta in (1e-3, 1e-12):
        parts = ((law, 3),)
        tilt = tilt_for_delta(parts, delta)
        composed = compose(parts, tilt, window(parts, tilt))
        upper = Upper.of(composed, 3 * law.missing)
        for epsilon in (0.5, 1.0, 2.0):
            naive = float((total * np.maximum(0.0, -np.expm1(epsilon - losses))).sum()) + 3 * law.missing
            assert naive * (1 - 1e-9) <= upper.delta(epsilon)
        epsilon = upper.epsilon(delta)
        assert upper.delta(epsilon) == pytest.approx(delta, rel=1e-6)
        # Nothing is left to pay with: no epsilon is enough, and none within the window at a delta below the errors.
        assert upper.epsilon(3 * law.missing) == math.inf
        assert upper.epsilon(3 * law.missing + 1e-280) == math.inf


def test_the_rounding_that_is_booked_covers_the_rounding_that_happens() -> None:
    """Against extended precision. All losses are finite, so that nothing escapes: what differs is rounding."""
    law, count, tilt = law_above(DiscreteLaplace(2.5, 6), Grid(2.0**-6, 2**62, 1e-14)), 5, 1.7
    parts = ((law, count),)
    low, high = count * int(law.knots[0]), count * int(law.knots[-1])
    composed = compose(parts, tilt, Window(low, high - low + 1))
    one = np.zeros(law.knots[-1] - law.knots[0] + 1, dtype=np.longdouble)
    one[law.knots - law.knots[0]] = np.exp(law.log_mass.astype(np.longdouble) + tilt * law.losses)
    moment = one.sum()
    assert 0 < abs(count * np.log(moment) - composed.log_moment) <= composed.rounding < 1e-10
    total = np.ones(1, dtype=np.longdouble)
    for _ in range(count):
        total = np.convolve(total, one / moment)
    expected = np.zeros(composed.weights.size, dtype=np.longdouble)
    expected[: total.size] = total
    assert 0 < np.linalg.norm((composed.weights - expected).astype(np.float64)) <= composed.noise < 1e-12


@pytest.mark.parametrize("pair", [Gaussian(0.5), Removed(Gaussian(1.5), 0.2)], ids=repr)
def test_losses_beyond_the_grid_are_paid_for_in_full(pair: Pair) -> None:
    """A grid that ends early still bounds delta from above: what lies beyond counts as an infinite loss."""
    early, late = ((law_above(pair, Grid(2.0**-8, 2**62, tail)), 4) for tail in (1e-3, 1e-14))
    assert early[0].missing > 1e-4
    assert missing_mass((early, early)) >= 8 * early[0].missing
    for epsilon in (0.5, 2.0, 3.0):
        above, sharp = (
            Upper.of(compose((part,), 1.0, window((part,), 1.0)), missing_mass((part,))).delta(epsilon)
            for part in (early, late)
        )
        assert sharp <= above <= sharp + missing_mass((early,)) + 1e-3
    assert missing_mass((early,)) <= delta_above(((pair, 4),), 0.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 50))
def test_discounted_sums_are_the_naive_ones(values: list[float], rate: float) -> None:
    naive = [sum(v * math.exp(-rate * i) for i, v in enumerate(values[j:])) for j in range(len(values))]
    assert discounted(np.array(values), rate) == pytest.approx(naive, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("near", [1e-6, 0.5, 1e3, 1e7])
def test_a_tilt_is_found_from_any_start(near: float) -> None:
    parts = ((law_above(Removed(Gaussian(1.0), 0.2), Grid(2.0**-6, 2048, 1e-14)), 10),)
    mean, deviation = spread(parts, 1.7)
    found = tilt_to_meet(parts, near, mean, 0.1 * deviation)
    assert abs(spread(parts, found)[0] - mean) <= 0.1 * deviation


def test_a_mean_beyond_all_losses_ends_the_search() -> None:
    parts = ((law_above(Response(1.0), Grid(2.0**-6, 2048, 1e-14)), 10),)
    assert tilt_to_meet(parts, 1.0, 11.0, 1e-3) > 1e9


def test_more_cells_than_can_be_kept_prove_nothing() -> None:
    pairs = ((Removed(Gaussian(1.0), 0.2), 100),)
    assert _lower(pairs, 1.0, Grid(2.0**-24, 2048, 1e-14), 1e-5) == 0.0
    assert _turned(_turned(pairs, 1), 1) == pairs
