"""Calibration: as little noise as the accountants can prove, and never a hair less."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountant import Budget, Unit, View, account
from dp.calibrate import Schedule, calibrate, calibrate_gaussian, largest_clip, largest_rate, most_steps
from dp.errors import AccountantDisagreement, BadParameters, Infeasible, UnsupportedEvent
from dp.events import ApproxEvent, Composed, Event, FixedSize, GaussianEvent, LaplaceEvent, Poisson, Repeated, Sampled
from dp.gaussian import gaussian_sigma

ZERO_OUT = Unit("zero-out")
BUDGET = Budget(4, "1e-5", "zero-out")


def test_sigma_is_between_the_truth_and_the_peers_with_the_same_mathematics(shared: Path) -> None:
    table: dict[str, list[dict[str, Any]]] = json.loads((shared / "data" / "dp_reference.json").read_text())
    for entry in table["calibration_subsampled_gaussian"]:
        config, sigma = entry["config"], entry["value"]["sigma"]
        budget = Budget(config["target_epsilon"], config["target_delta"], "add-or-remove-one")
        found = calibrate_gaussian(budget, config["q"], config["steps"], View.RELEASED)
        # dp-accounting stops where its own epsilon is 1e-5 below the budget: the only peer this close.
        assert float(found.noise) <= min(sigma.values()) * (1 + 1e-4)
        assert found.tight
        if "analytic_exact" in sigma:
            assert sigma["analytic_exact"] <= float(found.noise) <= sigma["analytic_exact"] * (1 + 2**-20)
        else:
            assert float(found.noise) >= sigma["dp_accounting_pld_dx1e-3"] * (1 - 2e-3)


@given(st.fractions(Fraction(1, 20), 12, max_denominator=40), st.integers(2, 10), st.integers(1, 500))
def test_full_participation_is_within_a_millionth_of_the_exact_noise(epsilon: Fraction, power: int, steps: int) -> None:
    budget = Budget(epsilon, Fraction(1, 10**power), "zero-out")
    found = calibrate(ZERO_OUT, Schedule(steps), View.RELEASED, budget, GaussianEvent.for_multiplier)
    truth = math.sqrt(steps) * gaussian_sigma(float(epsilon), 10.0**-power)
    assert truth * (1 - 1e-9) <= float(found.noise) <= truth * (1 + 2**-19)
    assert Fraction(float(found.noise)) == found.noise


@settings(max_examples=20)
@given(st.fractions(Fraction(1, 4), 10, max_denominator=8), st.fractions(Fraction(1, 500), 1), st.integers(1, 2000))
def test_accounting_what_was_calibrated_stays_in_the_budget(epsilon: Fraction, q: Fraction, steps: int) -> None:
    budget = Budget(epsilon, "1e-6", "zero-out")
    found = calibrate_gaussian(budget, q, steps, View.RELEASED)
    by_hand = Repeated(Sampled(GaussianEvent.for_multiplier(found.noise), Poisson(q)), steps)
    assert found.event == by_hand
    assert account([Event.from_canonical(by_hand.to_canonical())], ZERO_OUT, View.RELEASED, "1e-6") == found.interval
    assert Fraction(found.interval.upper) <= epsilon
    less = GaussianEvent.for_multiplier(found.noise * (1 - Fraction(1, 2**18)))
    spent = account([Repeated(Sampled(less, Poisson(q)), steps)], ZERO_OUT, View.RELEASED, "1e-6")
    assert spent.upper > epsilon


def test_a_viewer_of_the_cohorts_needs_noise_as_if_everyone_took_part() -> None:
    seen = calibrate_gaussian(BUDGET, "0.01", 50, View.AGGREGATOR)
    full = calibrate(ZERO_OUT, Schedule(50), View.RELEASED, BUDGET, GaussianEvent.for_multiplier)
    assert seen.noise == full.noise
    assert seen.noise > calibrate_gaussian(BUDGET, "0.01", 50, View.RELEASED).noise


def test_lattice_variance_is_calibrated_past_what_is_too_coarse() -> None:
    def shares(sigma2: Fraction) -> GaussianEvent:
        return GaussianEvent(sigma2, 10**6, d=4096, components=100, draws=0)

    found = calibrate(ZERO_OUT, Schedule(1), View.RELEASED, BUDGET, shares)
    # 16 bits, 100 clients, epsilon 4: the page's central sigma, plus the four units given up.
    assert 1.08116184952 <= math.sqrt(found.noise) / 1000 <= 1.08116184952 * (1 + 1e-5)
    assert found.tight
    lenient = calibrate(ZERO_OUT, Schedule(1), View.RELEASED, Budget(10**6, "1e-5", "zero-out"), shares)
    assert 900 <= lenient.noise <= 901
    assert not lenient.tight


def test_pure_noise_is_calibrated_at_delta_zero() -> None:
    found = calibrate(ZERO_OUT, Schedule(10), View.RELEASED, Budget(4, 0, "zero-out"), LaplaceEvent.for_multiplier)
    assert found.noise == Fraction(5, 2)
    assert found.interval.upper == 4.0


def test_fixed_size_cohorts_are_calibrated_under_replacement() -> None:
    unit, budget = Unit("replace-one"), Budget(4, "1e-5", "replace-one")
    some = Schedule(100, FixedSize(50, 500))
    sampled = calibrate(unit, some, View.RELEASED, budget, GaussianEvent.for_multiplier)
    full = calibrate(unit, Schedule(100), View.RELEASED, budget, GaussianEvent.for_multiplier)
    assert 1 < sampled.noise < full.noise


def test_most_steps_is_the_last_one_that_fits() -> None:
    release, sampling = GaussianEvent.for_multiplier(1), Poisson(Fraction(1, 100))
    steps = most_steps(ZERO_OUT, release, sampling, View.RELEASED, BUDGET)
    fits, exceeds = (
        account([Repeated(Sampled(release, sampling), count)], ZERO_OUT, View.RELEASED, "1e-5")
        for count in (steps, steps + 1)
    )
    assert fits.upper <= 4 < exceeds.upper
    assert most_steps(ZERO_OUT, LaplaceEvent.for_multiplier(1), None, View.RELEASED, Budget(3, 0, "zero-out")) == 3


def test_largest_rate_is_the_last_one_that_fits() -> None:
    release = GaussianEvent.for_multiplier(1)
    rate = largest_rate(ZERO_OUT, release, 1000, View.RELEASED, BUDGET)
    fits, exceeds = (
        account([Repeated(Sampled(release, Poisson(q)), 1000)], ZERO_OUT, View.RELEASED, "1e-5")
        for q in (rate, rate * (1 + Fraction(1, 2**18)))
    )
    assert fits.upper <= 4 < exceeds.upper
    quiet = GaussianEvent.for_multiplier(1000)
    assert largest_rate(ZERO_OUT, quiet, 10, View.RELEASED, BUDGET) == 1


IMPOSSIBLE: list[tuple[str, Callable[[], object]]] = [
    ("noise", lambda: calibrate_gaussian(Budget(4, 0, "zero-out"), "0.1", 10, View.RELEASED)),
    ("noise", lambda: calibrate_gaussian(Budget(0, 0, "zero-out"), "0.1", 10, View.RELEASED)),
    (
        "noise",
        lambda: calibrate(
            ZERO_OUT,
            Schedule(100),
            View.RELEASED,
            BUDGET,
            lambda z: Composed((GaussianEvent.for_multiplier(z), ApproxEvent(0, Fraction(1, 10**6)))),
        ),
    ),
    ("sampling rate", lambda: largest_rate(ZERO_OUT, GaussianEvent.for_multiplier(1), 9, View.AGGREGATOR, BUDGET)),
    ("one release", lambda: most_steps(ZERO_OUT, GaussianEvent.for_multiplier(1), None, View.RELEASED, BUDGET)),
    ("does not bound", lambda: most_steps(ZERO_OUT, Composed(()), None, View.RELEASED, BUDGET)),
]


@pytest.mark.parametrize(("what", "attempt"), IMPOSSIBLE)
def test_what_cannot_be_met_is_infeasible_by_name(what: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(Infeasible, match=what):
        attempt()


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_a_schedule_without_steps_is_refused(steps: int) -> None:
    with pytest.raises(BadParameters, match="steps"):
        Schedule(steps)


@pytest.mark.parametrize("rate", [0, -0.5, 1.5, "nan"])
def test_a_sampling_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(BadParameters, match=r"^(q|sampling_rate) "):
        calibrate_gaussian(BUDGET, rate, 10, View.RELEASED)


def test_a_budget_about_other_neighbours_is_refused() -> None:
    other = Unit("add-or-remove-one")
    with pytest.raises(BadParameters, match="agree"):
        calibrate(other, Schedule(1), View.RELEASED, BUDGET, GaussianEvent.for_multiplier)
    with pytest.raises(BadParameters, match="agree"):
        most_steps(other, GaussianEvent.for_multiplier(9), None, View.RELEASED, BUDGET)
    with pytest.raises(BadParameters, match="agree"):
        largest_rate(other, GaussianEvent.for_multiplier(9), 1, View.RELEASED, BUDGET)


def test_what_has_no_proof_is_not_calibrated() -> None:
    with pytest.raises(UnsupportedEvent, match="replace-one"):
        calibrate_gaussian(Budget(4, "1e-5", "replace-one"), "0.1", 10, View.RELEASED)
    assert calibrate_gaussian(Budget(4, "1e-5", "replace-one"), 1, 10, View.RELEASED).tight


def test_a_law_that_changes_its_mind_is_caught() -> None:
    asked: list[Fraction] = []

    def fickle(noise: Fraction) -> GaussianEvent:
        asked.append(noise)
        return GaussianEvent.for_multiplier(noise if asked.count(noise) == 1 else noise / 2)

    with pytest.raises(AccountantDisagreement, match="asked again"):
        calibrate(ZERO_OUT, Schedule(1), View.RELEASED, BUDGET, fickle)


def test_largest_clip_is_the_last_one_that_fits() -> None:
    def noisy(clip: Fraction) -> GaussianEvent:
        return GaussianEvent(1, clip**2, d=1, components=0, draws=0)

    schedule = Schedule(100, Poisson(Fraction(1, 50)))
    clip = largest_clip(ZERO_OUT, schedule, View.RELEASED, BUDGET, noisy)
    fits, exceeds = (
        account([schedule.run(noisy(bound))], ZERO_OUT, View.RELEASED, "1e-5")
        for bound in (clip, clip * (1 + Fraction(1, 2**18)))
    )
    assert fits.upper <= 4 < exceeds.upper
    full = largest_clip(ZERO_OUT, Schedule(1), View.RELEASED, BUDGET, noisy)
    assert float(full) == pytest.approx(1 / gaussian_sigma(4.0, 1e-5), rel=1e-5)
    with pytest.raises(BadParameters, match="agree"):
        largest_clip(Unit("replace-one"), schedule, View.RELEASED, BUDGET, noisy)
    with pytest.raises(Infeasible, match="clip"):
        largest_clip(ZERO_OUT, schedule, View.RELEASED, Budget(1, "0.5", "zero-out"), lambda _: Composed(()))


@pytest.mark.parametrize(("q", "steps"), [("0.001", 2000), ("0.01", 500), ("0.3", 40)])
def test_sampled_noise_is_within_one_percent_of_the_exact_noise(q: str, steps: int) -> None:
    found = calibrate_gaussian(Budget(1, "1e-7", "zero-out"), q, steps, View.RELEASED)
    assert found.tight
    less = GaussianEvent.for_multiplier(found.noise * Fraction(99, 100))
    proved = account([Repeated(Sampled(less, Poisson(Fraction(q))), steps)], ZERO_OUT, View.RELEASED, "1e-7")
    assert proved.lower is not None
    assert proved.lower > 1.0


def test_an_epsilon_of_zero_needs_a_delta_that_pays_for_all() -> None:
    found = calibrate(ZERO_OUT, Schedule(3), View.RELEASED, Budget(0, "0.01", "zero-out"), GaussianEvent.for_multiplier)
    assert found.interval.upper == 0.0
    assert found.tight


def test_an_epsilon_below_all_doubles_has_an_answer() -> None:
    release = GaussianEvent.for_multiplier
    budget = Budget("1e-400", "1e-5", "zero-out")
    found = calibrate(Unit("zero-out"), Schedule(1), View.RELEASED, budget, release)
    assert Fraction(found.interval.upper) <= budget.epsilon
    assert largest_rate(Unit("zero-out"), release(1), 5, View.RELEASED, Budget("1e-330", "0.3", "zero-out")) > 0


@pytest.mark.parametrize("sampling", [Poisson(Fraction(1, 10**5)), FixedSize(1, 10**5)], ids=["poisson", "fixed size"])
def test_a_delta_that_pays_for_whoever_is_drawn_needs_no_noise(sampling: Poisson | FixedSize) -> None:
    relation = "replace-one" if isinstance(sampling, FixedSize) else "zero-out"
    asked = Unit(relation), Schedule(100, sampling), View.RELEASED
    with pytest.raises(Infeasible, match="met without any noise"):
        calibrate(*asked, Budget(1, "0.01", relation), GaussianEvent.for_multiplier)
    assert calibrate(*asked, Budget(1, "0.0009", relation), GaussianEvent.for_multiplier).noise > 0


def test_millions_of_steps_are_found_to_the_last_one() -> None:
    release = GaussianEvent.for_multiplier(1000)
    budget = Budget(4, "1e-5", "zero-out")

    most = most_steps(Unit("zero-out"), release, None, View.RELEASED, budget)
    for steps, fits in ((most, True), (most + 1, False)):
        interval = account([Repeated(release, steps)], Unit("zero-out"), View.RELEASED, budget.delta)
        assert (Fraction(interval.upper) <= budget.epsilon) is fits
