"""Many pure releases: the exact binomial composition lies inside the interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from dp.accountant import Unit
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
