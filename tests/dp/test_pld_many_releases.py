"""Many pure releases: the exact binomial composition lies inside the interval, and an empty window promises nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from dp.accountant import Unit
from dp.convolution import Composed
from dp.events import Event, GaussianEvent, LaplaceEvent, Poisson, PureEvent, Repeated, Sampled
from dp.pld import PldAccountant
from dp.rdp import RdpAccountant

UNIT = Unit("zero-out")


def pld_of(event: Event) -> PldAccountant:
    accountant = PldAccountant(UNIT)
    accountant.compose(event)
    return accountant


def binomial_delta(loss: float, times: int) -> Callable[[float], float]:
    """delta(epsilon) of `times` randomised responses: the loss is (2 K - times) loss, K binomial."""
    from scipy.stats import binom

    heads = np.arange(times + 1)
    losses, masses = (2 * heads - times) * loss, binom.pmf(heads, times, 1 / (1 + math.exp(-loss)))

    def delta(epsilon: float) -> float:
        above = losses > epsilon
        return float(np.sum(masses[above] * -np.expm1(epsilon - losses[above])))

    return delta


@pytest.mark.parametrize(("loss", "times"), [("1/20", 10**2), ("1/20", 10**5), ("1/5", 10**4), ("1/100", 10**5)])
@pytest.mark.parametrize("delta", [1e-5, 1e-10])
def test_no_epsilon_is_below_that_of_the_exact_binomial_composition(loss: str, times: int, delta: float) -> None:
    accountant = pld_of(Repeated(PureEvent(Fraction(loss)), times))
    exact = binomial_delta(float(Fraction(loss)), times)
    for epsilon in (accountant.interval(delta).upper, accountant.epsilon(delta)):
        assert exact(epsilon) <= delta * (1 + 1e-9)
        assert exact(epsilon * (1 - 1e-4)) > delta
    # And the curve asked the other way round.
    for part in (0.5, 0.9, 1.1):
        asked = part * accountant.interval(delta).upper
        assert accountant.delta(asked) >= exact(asked) * (1 - 1e-9)


@pytest.mark.parametrize("rate", ["1", "1/100"])
@pytest.mark.parametrize(("scale", "steps"), [(20, 10**3), (20, 10**5), (5, 10**4)])
def test_many_laplace_releases_cost_a_finite_interval_below_the_renyi_bound(rate: str, scale: int, steps: int) -> None:
    run = Repeated(Sampled(LaplaceEvent.for_multiplier(scale), Poisson(Fraction(rate))), steps)
    renyi = RdpAccountant(UNIT)
    renyi.compose(run)
    found = pld_of(run).interval(1e-5)
    assert found.lower is not None
    assert 0 < found.lower <= found.upper < renyi.epsilon(1e-5)
    assert found.upper - found.lower <= max(0.011 * found.upper, 0.006)


@pytest.mark.parametrize(
    ("multiplier", "rate", "steps"), [(10.2, "3/10", 1), (1.9, "3/10", 1), (3.3, "1/100", 1), (1, "1/100", 500)]
)
def test_no_interval_ends_above_the_epsilon_by_which_noise_is_calibrated(
    multiplier: float, rate: str, steps: int
) -> None:
    accountant = pld_of(Repeated(Sampled(GaussianEvent.for_multiplier(multiplier), Poisson(Fraction(rate))), steps))
    assert accountant.interval(1e-5).upper <= accountant.epsilon(1e-5)


def test_a_window_whose_masses_are_no_doubles_near_the_centre_promises_its_end_and_nothing_less() -> None:
    """Aimed at an epsilon of 10^4, a law of losses up to 40 leaves no double: that is no proof of epsilon 0."""
    law = Composed(
        mesh=1.0,
        start=0.0,
        tilted=np.full(41, 1 / 41),
        order=1.0,
        centre=1e4,
        log_scale=0.0,
        added=0.0,
        slack=0.0,
    )
    assert law.upper(1e-5) == 40
    assert law.lower(1e-5) == 0
    assert law.delta(39.0) == 1.0
    assert law.delta(40.0) == 0.0


def test_losses_below_zero_alone_cost_nothing() -> None:
    law = Composed(
        mesh=1.0, start=-9.0, tilted=np.full(5, 0.2), order=0.0, centre=0.0, log_scale=0.0, added=0.0, slack=0.0
    )
    assert (law.upper(1e-5), law.lower(1e-5), law.delta(0.0)) == (0.0, 0.0, 0.0)
