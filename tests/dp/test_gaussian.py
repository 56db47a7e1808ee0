"""The exact Gaussian curve against 25-digit values, and integer noise against its own exact convolution."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Accountant, Relation, Unit
from dp.errors import BadParameters, NoiseTooCoarse
from dp.events import GaussianEvent, LaplaceEvent, Poisson, Repeated, Sampled
from dp.gaussian import GaussianAccountant, gaussian_delta, gaussian_epsilon, gaussian_sigma
from dp.shift import gaussian_shift, kappa, sum_slack
from tests.contracts.accountants import AccountantContract

ZERO_OUT = Unit("zero-out")


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, list[dict[str, Any]]]:
    """The reference table, section by section."""
    table: dict[str, list[dict[str, Any]]] = json.loads((shared / "data" / "dp_reference.json").read_text())
    return table


def discrete_delta(sigma2: float, shift: int, rounds: int, epsilon: float) -> float:
    """Exact delta of N_Z(0, sigma2) with an integer shift per round: the sum of outputs is sufficient."""
    reach = math.ceil(14 * math.sqrt(sigma2)) + shift * rounds
    k = np.arange(-reach, reach + 1)
    law = np.exp(-(k.astype(float) ** 2) / (2 * sigma2))
    law /= law.sum()
    total = law
    for _ in range(rounds - 1):
        total = np.convolve(total, law)
    moved = np.concatenate([np.zeros(shift * rounds), total[: total.size - shift * rounds]])
    return float(np.maximum(0.0, moved - math.exp(epsilon) * total).sum())


def test_delta_matches_25_digits_down_to_1e_90(reference: dict[str, list[dict[str, Any]]]) -> None:
    for entry in reference["gaussian_delta"]:
        sigma, epsilon = entry["config"]["sigma"], entry["config"]["epsilon"]
        assert gaussian_delta(epsilon, sigma) == pytest.approx(float(entry["value"]["delta"]), rel=1e-12)


def test_sigma_matches_the_exact_one_from_above(reference: dict[str, list[dict[str, Any]]]) -> None:
    for entry in reference["analytic_gaussian_sigma"]:
        sigma = gaussian_sigma(entry["config"]["epsilon"], entry["config"]["delta"])
        truth = Fraction(entry["value"]["sigma_exact"])
        assert truth <= Fraction(sigma) <= truth * (1 + Fraction(1, 10**12))


@given(st.floats(0.0, 30.0), st.floats(0.02, 60.0))
def test_epsilon_delta_and_sigma_invert_each_other(epsilon: float, sigma: float) -> None:
    delta = gaussian_delta(epsilon, sigma)
    if 1e-250 < delta < 0.999:
        assert gaussian_epsilon(delta, sigma) == pytest.approx(epsilon, rel=1e-9, abs=1e-9)
        assert gaussian_sigma(epsilon, delta) == pytest.approx(sigma, rel=1e-9)


def test_extreme_arguments_have_answers() -> None:
    assert gaussian_epsilon(1e-5, 1e-160) == math.inf
    assert gaussian_epsilon(0.0, 1.0) == math.inf
    assert gaussian_epsilon(1.0, 1.0) == 0.0
    assert gaussian_delta(1e300, 1.0) == 0.0
    assert gaussian_delta(0.0, 1e-3) == 1.0
    assert 0 < gaussian_epsilon(1e-300, 1.0) < 40
    assert gaussian_epsilon(1e-320, 1.0) == math.inf


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(-1.0, 0.1), (1.0, 0.0), (1.0, 1.0), (1.0, 1e-320), (math.inf, 0.1), (math.nan, 0.1)]
)
def test_a_sigma_nobody_can_have_is_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(BadParameters, match="delta"):
        gaussian_sigma(epsilon, delta)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_curve_without_noise_is_refused(sigma: float) -> None:
    with pytest.raises(BadParameters, match="sigma must be above 0"):
        gaussian_epsilon(1e-5, sigma)
    with pytest.raises(BadParameters, match="sigma must be above 0"):
        gaussian_delta(1.0, sigma)
    with pytest.raises(BadParameters, match="delta must be a number"):
        gaussian_epsilon(math.nan, 1.0)
    with pytest.raises(BadParameters, match="epsilon must not be negative"):
        gaussian_delta(-1.0, 1.0)


def test_single_precision_is_computed_in_double() -> None:
    assert gaussian_epsilon(1e-5, np.float32(0.1)) == gaussian_epsilon(1e-5, float(np.float32(0.1)))


def test_composition_matches_the_peer_at_every_relation(reference: dict[str, list[dict[str, Any]]]) -> None:
    for entry in reference["gaussian_under_relations"]:
        config = entry["config"]
        relation = config["relation"].lower().replace("_", "-")
        accountant = GaussianAccountant(Unit(relation))
        accountant.compose(Repeated(GaussianEvent.for_multiplier(config["sigma"]), config["T"]))
        assert accountant.epsilon(config["delta"]) == pytest.approx(entry["value"]["pld"], rel=1e-6)


@given(st.fractions(Fraction(1, 5), 30, max_denominator=50), st.integers(1, 400), st.integers(2, 15))
def test_both_ends_of_continuous_noise_agree_to_rounding(z: Fraction, rounds: int, power: int) -> None:
    accountant = GaussianAccountant(ZERO_OUT)
    accountant.compose(Repeated(GaussianEvent.for_multiplier(z), rounds))
    interval = accountant.interval(Fraction(1, 10**power))
    truth = gaussian_epsilon(10.0**-power, float(z) / math.sqrt(rounds))
    assert interval.lower is not None
    assert interval.lower <= truth * (1 + 1e-10) + 1e-12
    assert interval.upper >= truth * (1 - 1e-10)
    assert interval.upper - interval.lower <= 1e-9 * (1 + interval.upper)


@pytest.mark.parametrize("rounds", [1, 2, 8])
@pytest.mark.parametrize(("sigma2", "shift"), [(Fraction(9, 2), 1), (9, 1), (25, 3), (100, 10), (1000, 10)])
def test_integer_noise_lies_inside_its_interval(sigma2: Fraction, shift: int, rounds: int) -> None:
    accountant = GaussianAccountant(ZERO_OUT)
    accountant.compose(Repeated(GaussianEvent(sigma2, shift**2, d=1, components=1, draws=0), rounds))
    for epsilon in (0.1, 0.5, 1.0, 2.0):
        delta = discrete_delta(float(sigma2), shift, rounds, epsilon)
        if delta < 1e-11:
            continue
        assert accountant.delta(exactly(epsilon)) >= delta * (1 - 1e-9)
        interval = accountant.interval(exactly(delta))
        assert interval.lower is not None
        assert interval.lower <= epsilon + 1e-9
        assert interval.upper >= epsilon - 1e-9


def test_a_continuous_curve_at_the_same_variance_would_be_below_the_truth() -> None:
    # The mutant that gives up no variance: it must be seen to lie.
    assert gaussian_delta(0.1, 1.0) < 0.97 * discrete_delta(1.0, 1, 1, 0.1)


def test_integer_noise_matches_the_exact_scalar_values(reference: dict[str, list[dict[str, Any]]]) -> None:
    for entry in reference["discrete_gaussian_scalar"]:
        config, truth = entry["config"], float(entry["value"]["delta_exact"])
        event = GaussianEvent(Fraction(config["sigma2"]), 1, d=1, components=1, draws=0)
        accountant = GaussianAccountant(ZERO_OUT)
        if event.sigma2 <= 4:
            with pytest.raises(NoiseTooCoarse, match="finer lattice"):
                accountant.compose(event)
            continue
        accountant.compose(event)
        assert accountant.delta(exactly(config["epsilon"])) >= truth


def test_a_sum_of_components_is_bounded_by_its_slack() -> None:
    # Three components of variance 9 against one of 27, in one dimension: the ratio stays within e^slack.
    k = np.arange(-120, 121).astype(float)

    def law(sigma2: float) -> Any:
        weights = np.exp(-(k**2) / (2 * sigma2))
        return weights / weights.sum()

    summed = np.convolve(np.convolve(law(9), law(9), "same"), law(9), "same")
    middle = slice(90, 151)
    ratio = np.abs(np.log(summed[middle] / law(27)[middle]))
    slack = sum_slack(GaussianEvent(27, 1, d=1, components=3, draws=0))
    assert 0 < slack < 1e-35
    assert ratio.max() < 1e-10


def test_slack_and_given_up_variance_are_as_small_as_claimed() -> None:
    assert kappa(Fraction(4)) == pytest.approx(2.1e-34, rel=0.05)
    large = GaussianEvent(10**15, 10**12, d=2**20, components=10**6, draws=0)
    shift = gaussian_shift(large, Relation.ZERO_OUT)
    assert shift.slack < 1e-18
    assert 0 < shift.upper / shift.lower - 1 < 1e-14
    with pytest.raises(NoiseTooCoarse, match="resemble"):
        kappa(Fraction(1, 100))


def test_the_lower_end_uses_a_norm_some_integer_vector_has() -> None:
    line, space = (GaussianEvent(10**4, 7, d=d, components=1, draws=0) for d in (3, 4))
    assert gaussian_shift(line, Relation.ZERO_OUT).lower < gaussian_shift(space, Relation.ZERO_OUT).lower
    below_one = GaussianEvent(10**4, Fraction(1, 2), d=4, components=1, draws=0)
    assert gaussian_shift(below_one, Relation.ZERO_OUT).lower == 0.0
    accountant = GaussianAccountant(ZERO_OUT)
    accountant.compose(below_one)
    assert accountant.interval("1e-9").lower == 0.0


def test_the_lattice_slack_is_taken_from_both_ends() -> None:
    # A dimension nobody has: K = d kappa(4) = 2.1e-4 becomes visible.
    ends = []
    for d in (4, 10**30):
        accountant = GaussianAccountant(ZERO_OUT)
        accountant.compose(GaussianEvent(10**6, 10**6, d=d, components=1, draws=0))
        ends.append(accountant.interval("1e-5"))
        assert accountant.delta(exactly(ends[-1].upper)) == pytest.approx(1e-5, rel=1e-6)
    slack = 10**30 * kappa(Fraction(4))
    assert ends[0].lower is not None
    assert ends[1].lower is not None
    assert ends[1].upper - ends[0].upper == pytest.approx(2 * slack, rel=0.2)
    assert ends[0].lower - ends[1].lower == pytest.approx(2 * slack, rel=0.2)


def test_delta_zero_means_no_finite_epsilon() -> None:
    accountant = GaussianAccountant(ZERO_OUT)
    accountant.compose(GaussianEvent.for_multiplier(1))
    interval = accountant.interval(0)
    assert (interval.lower, interval.upper) == (math.inf, math.inf)


@pytest.mark.parametrize("digits", [320, 330, 2000])
def test_a_delta_below_all_doubles_has_a_lower_end_that_is_not_infinite(digits: int) -> None:
    accountant = GaussianAccountant(ZERO_OUT)
    accountant.compose(GaussianEvent.for_multiplier(1))
    interval = accountant.interval(Fraction(1, 10**digits))
    assert interval.lower is not None
    assert 37 < interval.lower < 39
    assert interval.upper == math.inf


def exactly(value: float) -> Fraction:
    """The double itself, not the decimal it prints as."""
    return Fraction(value)


class TestGaussianAccountant(AccountantContract):
    """The contract, and what this accountant leaves to others."""

    refused = Sampled(GaussianEvent.for_multiplier(1), Poisson(Fraction(1, 2)))

    def make(self, unit: Unit) -> Accountant:
        """An exact Gaussian accountant."""
        return GaussianAccountant(unit)

    def test_other_laws_are_left_to_others(self) -> None:
        from dp.errors import UnsupportedEvent

        with pytest.raises(UnsupportedEvent, match="laplace"):
            self.composed(LaplaceEvent.for_multiplier(1))
