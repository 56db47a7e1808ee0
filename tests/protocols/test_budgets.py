"""`secagg epsilon` and `secagg calibrate` in numbers: against stored values of other libraries, then properties."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp import views
from dp.accountant import Interval, Unit, View
from dp.calibrate import calibrate_gaussian, largest_rate
from dp.errors import AccountantDisagreement, BadParameters, Infeasible, UnsupportedEvent
from dp.events import Exact
from protocols import budgets
from protocols.budgets import (
    MECHANISMS,
    CalibratedNoise,
    EpsilonReport,
    Schedule,
    budget_of,
    epsilon_of,
    fixed_size,
    noise_within,
    poisson,
    rate_within,
    release_of,
    steps_within,
)

DELTA = 1e-5
# The stored upper bounds are themselves rounded up; nothing of ours may be looser than this.
SLACK = 1e-4


def rows(shared: Path, table: str) -> list[tuple[dict[str, object], dict[str, object]]]:
    found = json.loads((shared / "data" / "dp_reference.json").read_text("utf-8"))[table]
    return [(row["config"], row["value"]) for row in found]


def report(
    mechanism: str = "gaussian",
    noise: Exact = 1.0,
    rate: Exact = 1,
    steps: int = 1,
    delta: Exact = DELTA,
    relation: str = "add-or-remove-one",
) -> EpsilonReport:
    return epsilon_of(Schedule.of(release_of(mechanism, noise), poisson(rate), steps), delta, relation)


def calibrated_to(
    epsilon: Exact, delta: Exact, relation: str, rate: Exact, steps: int, mechanism: str = "gaussian"
) -> CalibratedNoise:
    return noise_within(budget_of(epsilon, delta, relation), mechanism, poisson(rate), steps)


# --- against other libraries


def test_no_epsilon_is_above_the_rdp_accountant_or_below_a_certified_lower_end(shared: Path) -> None:
    configs = rows(shared, "subsampled_gaussian")
    assert len(configs) == 14
    for config, value in configs:
        assert config["relation"] == "add_or_remove_one"
        found = report("gaussian", config["noise_multiplier"], config["q"], config["steps"], config["delta"])
        assert found.epsilon_upper <= value["dp_accounting_rdp"]["epsilon"] + SLACK, config["name"]
        assert found.epsilon_upper >= value["prv_accountant"]["lower"], config["name"]
        assert found.epsilon_upper >= value["dp_accounting_pld_optimistic"]["epsilon"], config["name"]
        if found.epsilon_lower is not None:
            assert found.epsilon_lower <= value["dp_accounting_pld_pessimistic_connect_dots"]["epsilon"], config["name"]
        assert found.epsilon_aggregator_view >= found.epsilon_upper, config["name"]


def test_one_full_gaussian_release_costs_the_exact_epsilon(shared: Path) -> None:
    exact = [(c, v["analytic_exact"]) for c, v in rows(shared, "subsampled_gaussian") if "analytic_exact" in v]
    assert exact
    for config, value in exact:
        found = report("gaussian", config["noise_multiplier"], 1, config["steps"], config["delta"])
        assert found.epsilon_lower is not None
        assert found.epsilon_lower <= float(value["epsilon"]) <= found.epsilon_upper
        assert found.epsilon_upper - found.epsilon_lower < 1e-9


def test_the_exact_noise_for_an_epsilon_costs_that_epsilon(shared: Path) -> None:
    for config, value in rows(shared, "analytic_gaussian_sigma"):
        found = report("gaussian", value["sigma_exact"], 1, 1, config["delta"])
        assert found.epsilon_upper == pytest.approx(config["epsilon"], rel=1e-9)
        # Sigma is printed to 22 digits, so the true epsilon is within rounding of the one asked for.
        assert found.epsilon_upper >= config["epsilon"] * (1 - 1e-12)


def test_the_relation_decides_what_ten_gaussian_releases_cost(shared: Path) -> None:
    for config, value in rows(shared, "gaussian_under_relations"):
        relation = {"ADD_OR_REMOVE_ONE": "add-or-remove-one", "REPLACE_ONE": "replace-one"}[config["relation"]]
        found = report("gaussian", config["sigma"], 1, config["T"], config["delta"], relation)
        # The stored value is rounded up on a grid of 1e-4.
        assert found.epsilon_upper == pytest.approx(value["pld"], abs=1e-4)


def test_laplace_costs_no_more_than_the_rdp_accountant_and_no_less_than_the_truth(shared: Path) -> None:
    for config, value in rows(shared, "laplace_composition"):
        found = report("laplace", config["scale_over_sensitivity"], 1, config["count"], config["delta"])
        assert found.epsilon_upper <= value["pure_eps"] * (1 + 1e-12)
        if value["rdp"] is not None:
            assert found.epsilon_upper <= value["rdp"] + SLACK
            assert found.epsilon_upper >= value["pld_opt"]


def test_published_epsilons_are_not_exceeded(shared: Path) -> None:
    seen = 0
    for config, value in rows(shared, "published_values"):
        if "epsilon_published" not in value:
            continue
        steps = round(config["epochs"] / config["q"])
        found = report("gaussian", config["noise_multiplier"], config["q"], steps, config["delta"])
        assert found.epsilon_upper <= value["epsilon_published"] + SLACK
        seen += 1
    assert seen == 2


def test_calibrated_noise_is_not_above_other_rdp_accountants_and_not_below_the_tightest(shared: Path) -> None:
    for config, value in rows(shared, "calibration_subsampled_gaussian"):
        found = calibrated_to(
            config["target_epsilon"], config["target_delta"], "add-or-remove-one", config["q"], config["steps"]
        )
        sigma = value["sigma"]
        assert found.noise_multiplier <= sigma["dp_accounting_rdp"] * (1 + 1e-6), config
        # PLD on a grid of 1e-3 asks for a little more than the truth: 0.12 % at 14,063 steps.
        assert found.noise_multiplier >= sigma.get("analytic_exact", sigma["dp_accounting_pld_dx1e-3"] * 0.998), config


# --- what must hold for all numbers


@given(
    z=st.floats(0.3, 20),
    rates=st.lists(st.floats(0.001, 0.999), min_size=2, max_size=2).map(sorted),
    steps=st.integers(1, 500),
    delta=st.sampled_from([1e-3, 1e-5, 1e-8]),
)
def test_smaller_cohorts_help_against_readers_and_never_against_the_aggregator(
    z: float, rates: list[float], steps: int, delta: float
) -> None:
    few, many = (report("gaussian", z, rate, steps, delta) for rate in rates)
    everyone = report("gaussian", z, 1, steps, delta)
    assert few.epsilon_aggregator_view == many.epsilon_aggregator_view == everyone.epsilon_upper
    assert few.epsilon_upper <= many.epsilon_upper
    assert few.epsilon_lower is None or 0 <= few.epsilon_lower <= few.epsilon_upper


@given(z=st.floats(0.5, 20), steps=st.integers(1, 200), mechanism=st.sampled_from(sorted(MECHANISMS)))
def test_more_releases_and_less_noise_cost_more(z: float, steps: int, mechanism: str) -> None:
    base = report(mechanism, z, 1, steps).epsilon_upper
    assert report(mechanism, z, 1, steps + 1).epsilon_upper >= base
    assert report(mechanism, 2 * z, 1, steps).epsilon_upper <= base


@pytest.mark.parametrize("z", [0.8, 2.0, 10.0])
@pytest.mark.parametrize("steps", [1, 30, 1000])
def test_integer_noise_on_a_fine_lattice_costs_almost_what_gaussian_noise_costs(z: float, steps: int) -> None:
    gaussian = report("gaussian", z, 1, steps).epsilon_upper
    discrete = report("discrete-gaussian", z, 1, steps).epsilon_upper
    assert gaussian <= discrete <= gaussian * 1.001


@pytest.mark.parametrize("z", [0.8, 2.0, 10.0])
@pytest.mark.parametrize("steps", [1, 30, 1000])
def test_skellam_noise_on_a_fine_lattice_costs_the_moments_bound_of_gaussian_noise(z: float, steps: int) -> None:
    # min over integer orders a of T a / (2 z^2) + log(1/delta) / (a - 1): Mironov 2017, Proposition 3.
    moments = min(steps * a / (2 * z * z) + math.log(1 / DELTA) / (a - 1) for a in range(2, 512))
    skellam = report("skellam", z, 1, steps).epsilon_upper
    assert report("gaussian", z, 1, steps).epsilon_upper <= skellam <= moments * 1.001


def test_zero_out_and_add_or_remove_agree_and_replacement_is_twice_the_sensitivity() -> None:
    for mechanism in ("gaussian", "laplace", "discrete-gaussian"):
        one = report(mechanism, 4, 1, 7)
        assert report(mechanism, 4, 1, 7, relation="zero-out").epsilon_upper == one.epsilon_upper
        doubled = report(mechanism, 8, 1, 7, relation="replace-one").epsilon_upper
        assert doubled == pytest.approx(one.epsilon_upper, rel=1e-4)


def test_without_delta_gaussian_noise_has_no_epsilon_and_laplace_its_pure_one() -> None:
    for mechanism in ("gaussian", "discrete-gaussian", "skellam"):
        with pytest.raises(Infeasible, match="no epsilon is finite at delta 0: allow more delta"):
            report(mechanism, 1, 1, 1, 0)
    assert report("laplace", 2, 1, 10, 0).epsilon_upper == pytest.approx(5, rel=1e-12)


def test_the_report_names_its_accountant_and_prints_the_keys_of_the_command() -> None:
    found = report().to_dict()
    assert list(found) == ["epsilon_lower", "epsilon_upper", "accountant", "epsilon_aggregator_view"]
    assert found["accountant"] == "exact-gaussian"
    assert report(rate=0.5).accountant == "pld"
    # Of sampled Gaussian noise several accountants know something; of Skellam noise only this one.
    assert report("skellam").accountant == "rdp"


@pytest.mark.parametrize("rate", [1, 0.01])
def test_a_hundred_thousand_laplace_releases_are_never_free(rate: float) -> None:
    few, many = (report("laplace", 20, rate, steps) for steps in (10**3, 10**5))
    assert few.epsilon_lower is not None
    assert many.epsilon_lower is not None
    assert 0 < few.epsilon_upper < many.epsilon_lower <= many.epsilon_upper
    # One scale of noise a release, T of them: the mean loss alone is about T / (2 z^2) where everybody is in.
    assert rate < 1 or many.epsilon_lower > 10**5 / (2 * 20**2)


# --- calibration


@pytest.mark.parametrize("epsilon", [0.1, 1, 8])
@pytest.mark.parametrize("rate", [0.01, 0.3, 1])
@pytest.mark.parametrize("steps", [1, 100])
def test_the_epsilon_command_confirms_what_calibrate_promises(epsilon: float, rate: float, steps: int) -> None:
    found = calibrated_to(epsilon, DELTA, "zero-out", rate, steps)
    confirmed = report("gaussian", found.noise_multiplier, rate, steps, relation="zero-out").epsilon_upper
    assert confirmed == pytest.approx(found.epsilon, rel=1e-9)
    assert Fraction(confirmed) <= Fraction(repr(float(epsilon)))
    # One part in a thousand less noise would break the budget: the answer is not merely safe.
    less = report("gaussian", found.noise_multiplier * 0.999, rate, steps, relation="zero-out").epsilon_upper
    assert less > epsilon


@given(
    epsilon=st.floats(0.05, 30),
    rate=st.floats(0.001, 1),
    steps=st.integers(1, 5000),
    mechanism=st.sampled_from(sorted(MECHANISMS)),
    relation=st.sampled_from(["add-or-remove-one", "zero-out", "replace-one"]),
    delta=st.sampled_from([1e-3, 1e-6, 1e-12]),
)
@settings(max_examples=12)
def test_whatever_is_answered_meets_the_budget_when_it_is_typed_back(
    epsilon: float, rate: float, steps: int, mechanism: str, relation: str, delta: float
) -> None:
    if mechanism == "skellam" or relation == "replace-one":
        rate = 1
    noise = calibrated_to(epsilon, delta, relation, rate, steps, mechanism)
    # As a person copies it: the text of the number, not the double.
    typed = repr(noise.noise_multiplier)
    assert len(typed.replace(".", "").lstrip("0").partition("e")[0]) <= 10
    checked = report(mechanism, typed, rate, steps, delta, relation)
    assert Fraction(checked.epsilon_upper) <= Fraction(repr(epsilon))
    assert checked.epsilon_upper == noise.epsilon
    budget, release = budget_of(epsilon, delta, relation), release_of(mechanism, typed)
    most = steps_within(budget, release, poisson(rate))
    assert most.steps >= steps
    assert report(mechanism, typed, rate, most.steps, delta, relation).epsilon_upper == most.epsilon <= epsilon
    largest = rate_within(budget, release, steps)
    assert 0.999 * rate < largest.sampling_rate <= 1
    back = report(mechanism, typed, repr(largest.sampling_rate), steps, delta, relation)
    assert back.epsilon_upper == largest.epsilon <= epsilon


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
def test_the_most_steps_fit_and_one_more_does_not(mechanism: str) -> None:
    budget, release = budget_of(2, DELTA, "zero-out"), release_of(mechanism, 8)
    most = steps_within(budget, release, poisson(1))
    assert most.steps > 1
    assert report(mechanism, 8, 1, most.steps).epsilon_upper == most.epsilon <= 2
    assert report(mechanism, 8, 1, most.steps + 1).epsilon_upper > 2


def test_the_largest_rate_fits_and_a_larger_one_does_not() -> None:
    largest = rate_within(budget_of(2, DELTA, "zero-out"), release_of("gaussian", 1), 100)
    assert report("gaussian", 1, largest.sampling_rate, 100).epsilon_upper == largest.epsilon <= 2
    assert report("gaussian", 1, largest.sampling_rate * 1.001, 100).epsilon_upper > 2
    assert rate_within(budget_of(50, DELTA, "zero-out"), release_of("gaussian", 1), 1).sampling_rate == 1


def test_one_release_that_is_too_much_and_steps_without_end_are_infeasible() -> None:
    with pytest.raises(Infeasible, match="one release already costs more"):
        steps_within(budget_of("0.1", DELTA, "zero-out"), release_of("gaussian", 1), poisson(1))
    with pytest.raises(Infeasible, match="the budget does not bound them"):
        steps_within(budget_of(10, DELTA, "zero-out"), release_of("gaussian", "1e15"), poisson(1))


def test_typed_numbers_are_exact() -> None:
    assert poisson("1/3").q == Fraction(1, 3)
    assert budget_of("1e-1", "1e-5", "zero-out").delta == Fraction(1, 10**5)
    assert release_of("gaussian", "0.1") == release_of("gaussian", Fraction(1, 10))


def test_a_budget_may_be_spent_to_its_last_unit() -> None:
    """Ten Laplace releases of scale 2 are exactly 5-DP: no more noise is asked for."""
    found = calibrated_to(5, 0, "zero-out", 1, 10, "laplace")
    assert (found.noise_multiplier, found.epsilon) == (2.0, 5.0)
    assert steps_within(budget_of(5, 0, "zero-out"), release_of("laplace", 2), poisson(1)).steps == 10


def test_the_printed_noise_is_rounded_up_and_the_rate_down() -> None:
    for epsilon in (1, 2, 3, 5, 7):
        budget = budget_of(epsilon, DELTA, "zero-out")
        noise = noise_within(budget, "gaussian", poisson(1), 10).noise_multiplier
        assert Fraction(repr(noise)) >= calibrate_gaussian(budget, 1, 10, View.RELEASED).noise
        release, unit = release_of("gaussian", 1), Unit(budget.relation)
        rate = rate_within(budget, release, 100).sampling_rate
        assert Fraction(repr(rate)) <= largest_rate(unit, release, 100, View.RELEASED, budget)


def test_an_answer_that_no_rounding_saves_blocks_and_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "account", _scaled(1.5))
    with pytest.raises(AccountantDisagreement, match="none is when rounded"):
        calibrated_to(1, DELTA, "zero-out", 1, 1)


def test_the_aggregator_counts_how_often_it_saw_a_client() -> None:
    """The figures of the documents: q 0.01, noise 0.8, 500 rounds; a client seen 5 times, and one seen 16 times."""
    for seen, upper in ((5, 15.22), (16, 33.10)):
        schedule = Schedule.of(release_of("gaussian", "0.8"), poisson("0.01"), 500, seen)
        assert epsilon_of(schedule, DELTA, "zero-out").epsilon_aggregator_view == pytest.approx(upper, abs=0.01)


def test_calibration_prints_the_keys_of_the_command() -> None:
    budget, release = budget_of(1, DELTA, "zero-out"), release_of("gaussian", 10)
    assert list(noise_within(budget, "gaussian", poisson(1), 1).to_dict()) == ["noise_multiplier", "epsilon"]
    assert list(steps_within(budget, release, poisson(1)).to_dict()) == ["steps", "epsilon"]
    assert list(rate_within(budget, release, 1).to_dict()) == ["sampling_rate", "epsilon"]


# --- every error by name

NONSENSE = [float("nan"), float("inf"), -float("inf"), -1]


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
@pytest.mark.parametrize("noise", [*NONSENSE, 0, "0/1", "1e-30", "1e30", "1e999999999", "1/0", "", "1e", True])
def test_noise_must_be_a_positive_number(mechanism: str, noise: Exact) -> None:
    with pytest.raises(BadParameters, match=r"noise.multiplier"):
        release_of(mechanism, noise)


@pytest.mark.parametrize("rate", [*NONSENSE, 0, 1.5, "1.0000000001", "-1/3", "1e-999999999"])
def test_a_sampling_rate_is_a_probability_above_zero(rate: Exact) -> None:
    with pytest.raises(BadParameters, match="sampling rate"):
        poisson(rate)


def test_the_bounds_themselves_are_allowed() -> None:
    for noise in (Fraction(1, 2**60), 2**60):
        assert release_of("gaussian", noise).to_canonical()
    assert fixed_size(2**48, 2**48).m == fixed_size(1, 2**48).population == 2**48
    assert report(noise=2**40, steps=2**48).epsilon_upper >= 0
    assert budget_of(2**60, "1e-300", "zero-out").epsilon == 2**60
    once = Schedule.of(release_of("gaussian", 1), poisson(1), 10, 1)
    assert once.participations == 1


@pytest.mark.parametrize(("cohort", "population"), [(0, 5), (6, 5), (-1, 5), (1, 0)])
def test_a_cohort_is_part_of_its_population(cohort: int, population: int) -> None:
    with pytest.raises(BadParameters, match="cohort must lie in"):
        fixed_size(cohort, population)


@pytest.mark.parametrize("steps", [0, -1, True, 2.0, "3"])
def test_steps_are_a_positive_integer(steps: int) -> None:
    with pytest.raises(BadParameters, match="steps must be an integer of at least 1"):
        Schedule.of(release_of("gaussian", 1), poisson(1), steps)
    with pytest.raises(BadParameters, match="steps must be an integer of at least 1"):
        calibrated_to(1, DELTA, "zero-out", 1, steps)
    with pytest.raises(BadParameters, match="steps must be an integer of at least 1"):
        rate_within(budget_of(1, DELTA, "zero-out"), release_of("gaussian", 1), steps)


def test_nobody_means_so_many_steps() -> None:
    with pytest.raises(BadParameters, match=r"steps must be at most 2\^48"):
        report(steps=2**48 + 1)


@pytest.mark.parametrize("participations", [0, -1, 11])
def test_a_client_is_in_one_release_at_least_and_in_all_at_most(participations: int) -> None:
    with pytest.raises(BadParameters, match=r"participations must lie in 1\.\.10 \(steps\)"):
        Schedule.of(release_of("gaussian", 1), poisson(1), 10, participations)


@pytest.mark.parametrize("delta", [*NONSENSE, 1, 1.5, "1e-301", "1e-999999999"])
def test_delta_is_a_probability_below_one(delta: Exact) -> None:
    with pytest.raises(BadParameters, match="delta must be"):
        report(delta=delta)
    with pytest.raises(BadParameters, match="delta must be"):
        calibrated_to(1, delta, "zero-out", 1, 1)


@pytest.mark.parametrize("epsilon", [*NONSENSE, "1e999", "1e999999999"])
def test_a_budget_is_a_number_from_zero(epsilon: Exact) -> None:
    with pytest.raises(BadParameters, match="epsilon must"):
        calibrated_to(epsilon, DELTA, "zero-out", 1, 1)


def test_an_unknown_mechanism_is_refused_with_the_known_ones() -> None:
    for ask in (lambda: release_of("cauchy", 1), lambda: calibrated_to(1, DELTA, "zero-out", 1, 1, "cauchy")):
        with pytest.raises(BadParameters, match=r"'cauchy'.*'discrete-gaussian', 'gaussian', 'laplace', 'skellam'"):
            ask()


def test_sampled_replacements_and_sampled_skellam_have_no_proof() -> None:
    with pytest.raises(UnsupportedEvent, match="replace-one"):
        report(rate=0.5, relation="replace-one")
    with pytest.raises(UnsupportedEvent, match="skellam"):
        report("skellam", rate=0.5)


def test_cohorts_of_a_fixed_size_have_a_proof_for_replacement_only() -> None:
    cohort = fixed_size(10, 1000)
    schedule = Schedule.of(release_of("gaussian", 2), cohort, 100)
    found = epsilon_of(schedule, DELTA, "replace-one")
    everybody = report("gaussian", 2, 1, 100, relation="replace-one")
    assert found.epsilon_upper < everybody.epsilon_upper / 4
    assert found.epsilon_aggregator_view == everybody.epsilon_upper
    for relation in ("zero-out", "add-or-remove-one"):
        with pytest.raises(UnsupportedEvent, match="fixed size"):
            epsilon_of(schedule, DELTA, relation)
    all_of_them = Schedule.of(release_of("gaussian", 2), fixed_size(7, 7), 100)
    assert epsilon_of(all_of_them, DELTA, "zero-out").epsilon_upper == report(noise=2, steps=100).epsilon_upper


def test_a_budget_without_delta_cannot_be_met_by_gaussian_noise() -> None:
    with pytest.raises(Infeasible, match="allow more epsilon or delta"):
        calibrated_to(1, 0, "zero-out", 1, 1)


def test_the_comparison_fails_for_an_accountant_that_is_too_low(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the test: a central limit figure, or a bound twice too large, would be noticed."""
    for factor in (0.5, 2.0):
        with monkeypatch.context() as patch:
            patch.setattr(views, "account", _scaled(factor))
            with pytest.raises(AssertionError):
                test_no_epsilon_is_above_the_rdp_accountant_or_below_a_certified_lower_end(shared)


def _scaled(factor: float):  # type: ignore[no-untyped-def]
    honest = budgets.account

    def account(*arguments: object) -> Interval:
        found = honest(*arguments)
        return Interval(None, found.upper * factor, found.delta, found.method)

    return account
