"""The Renyi accountant against quadrature to 18 digits, brute force on the integers, and dp-accounting."""

from __future__ import annotations

import json
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp import renyi
from dp.accountant import Accountant, Relation, Unit, View, account
from dp.errors import NoiseTooCoarse, UnsupportedEvent
from dp.events import (
    ApproxEvent,
    Composed,
    Event,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    NonPrivate,
    Poisson,
    PureEvent,
    Repeated,
    Sampled,
    SkellamEvent,
    ZcdpEvent,
    exact,
)
from dp.pure import amplified, pure_epsilon
from dp.rdp import ORDERS, RdpAccountant, curve, delta_from_curve, epsilon_from_curve
from dp.renyi import Floats
from tests.contracts.accountants import AccountantContract

Reference = dict[str, list[dict[str, Any]]]
ADD_REMOVE, ZERO_OUT, REPLACE_ONE = (Unit(relation) for relation in Relation)
SOME_ORDERS = np.array([1.1, 1.5, 2.0, 4.5, 8.0, 32.0])


@pytest.fixture(scope="module")
def reference(shared: Path) -> Reference:
    """The reference table, section by section."""
    table: Reference = json.loads((shared / "data" / "dp_reference.json").read_text())
    return table


def at(alpha: float) -> Floats:
    """One order as the array the curves take."""
    return np.array([float(alpha)])


def sampled(z: Any, q: Any) -> Sampled:
    """One Poisson-sampled continuous Gaussian."""
    return Sampled(GaussianEvent.for_multiplier(z), Poisson(exact("q", q)))


def spent(unit: Unit, *events: Event) -> RdpAccountant:
    """An accountant that has seen the events."""
    accountant = RdpAccountant(unit)
    accountant.compose(Composed(events))
    return accountant


def test_sampled_gaussian_matches_quadrature(reference: Reference) -> None:
    for entry in reference["rdp_curve_subsampled_gaussian"]:
        config, truth = entry["config"], float(entry["value"]["rdp_exact"])
        got = renyi.poisson_gaussian(at(config["alpha"]), config["q"], config["sigma"] ** -2)[0]
        assert truth * (1 - 1e-13) <= got <= truth * (1 + 2e-9)


def test_fixed_size_matches_the_reference(reference: Reference) -> None:
    for entry in reference["rdp_curve_wor_gaussian_replace_one"]:
        config = entry["config"]
        got = renyi.fixed_size_gaussian(at(config["alpha"]), config["q"], config["sigma"] ** -2)[0]
        assert got == pytest.approx(entry["value"]["rdp"], rel=1e-12)


def test_laplace_matches_the_reference(reference: Reference) -> None:
    for entry in reference["rdp_curve_laplace"]:
        config = entry["config"]
        got = renyi.laplace(at(config["alpha"]), 1 / config["scale"])[0]
        assert got == pytest.approx(entry["value"]["rdp"], rel=1e-12)


def test_conversion_matches_the_reference(reference: Reference) -> None:
    for entry in reference["rdp_to_eps_conversion"]:
        config = entry["config"]
        got = epsilon_from_curve(at(config["alpha"]), at(config["rdp"]), config["delta"])
        assert got == pytest.approx(entry["value"]["epsilon"], rel=1e-12)


def test_epsilon_is_close_above_the_peers_and_above_certified_lower_ends(reference: Reference) -> None:
    for entry in reference["subsampled_gaussian"]:
        config, value = entry["config"], entry["value"]
        event = Repeated(sampled(config["noise_multiplier"], config["q"]), config["steps"])
        epsilon = spent(ADD_REMOVE, event).epsilon(config["delta"])
        assert epsilon <= value["dp_accounting_rdp"]["epsilon"] + 1e-4
        assert epsilon >= value["prv_accountant"]["lower"]
        assert epsilon >= value["dp_accounting_pld_optimistic"]["epsilon"]


def test_mixed_and_fixed_size_schedules_match_the_peers(reference: Reference) -> None:
    entry = reference["heterogeneous"][0]
    parts = [Repeated(sampled(p["sigma"], p["q"]), p["steps"]) for p in entry["config"]["composition"]]
    epsilon = spent(ADD_REMOVE, *parts).epsilon(entry["config"]["delta"])
    assert entry["value"]["pld_pess"] < epsilon <= entry["value"]["rdp"] + 1e-4
    # The reference counts sigma against the distance of a replacement, an event against one clip.
    entry = reference["sampling_variants"][0]
    config = entry["config"]
    one = Sampled(GaussianEvent.for_multiplier(2 * config["sigma"]), FixedSize(config["sample"], config["N"]))
    epsilon = spent(REPLACE_ONE, Repeated(one, config["T"])).epsilon(config["delta"])
    assert epsilon == pytest.approx(entry["value"]["rdp_wor_replace_one_sigma_over_replace_distance"], rel=1e-10)


def test_laplace_composition_matches_the_peers_and_pure_sums_are_exact(reference: Reference) -> None:
    for entry in reference["laplace_composition"]:
        config, value = entry["config"], entry["value"]
        event = Repeated(LaplaceEvent.for_multiplier(config["scale_over_sensitivity"]), config["count"])
        epsilon = spent(ADD_REMOVE, event).epsilon(config["delta"])
        if config["delta"] == 0:
            assert epsilon == value["pure_eps"]
        else:
            assert value["pld_opt"] <= epsilon <= value["rdp"] + 1e-9


def test_skellam_matches_the_published_accountant(reference: Reference) -> None:
    for entry in reference["distributed_forward"]:
        config = entry["config"]
        radius, d = config["l2_clip"] / config["gamma"], config["dim"]
        slack = math.sqrt(2 * math.log(1 / config["beta"])) * (radius + math.sqrt(d) / 2)
        l2_squared = min((radius + math.sqrt(d)) ** 2, radius**2 + d / 4 + slack)
        l1 = min(math.sqrt(d * l2_squared), l2_squared)
        mu = config["num_clients"] * (config["local_stddev"] / config["gamma"]) ** 2
        event = SkellamEvent(Fraction(mu), Fraction(l2_squared), Fraction(l1), d, draws=0)
        epsilon = spent(ZERO_OUT, event).epsilon(config["delta"])
        assert epsilon == pytest.approx(entry["value"]["eps_skellam"], rel=1e-9)


def test_skellam_covers_the_exact_divergence_and_its_own_formula() -> None:
    from scipy.special import ive

    for mu, shift in ((2.0, 1), (10.0, 3), (400.0, 5)):
        k = np.arange(-int(mu) - 60 - 9 * shift, int(mu) + 61 + 9 * shift)
        log_p, log_q = np.log(ive(np.abs(k), mu)), np.log(ive(np.abs(k - shift), mu))
        for alpha in (2, 3, 8):
            exact_divergence = math.log(np.exp(alpha * log_p + (1 - alpha) * log_q).sum()) / (alpha - 1)
            assert renyi.skellam(at(alpha), mu, shift**2, shift)[0] >= exact_divergence
    assert renyi.skellam(at(2), 4.0, 9.0, 3.0)[0] == pytest.approx(2 * 9 / 8 + min((3 * 9 + 18) / 64, 9 / 8))
    assert renyi.skellam(at(64), 4.0, 9.0, 3.0)[0] == pytest.approx(64 * 9 / 8 + 9 / 8)
    assert renyi.skellam(at(1.5), 4.0, 9.0, 3.0)[0] == renyi.skellam(at(2), 4.0, 9.0, 3.0)[0]


def test_replacement_doubles_both_norms_of_integer_laws() -> None:
    for one, other in (
        (SkellamEvent(50, 9, 5, 2, 0), SkellamEvent(50, 36, 10, 2, 0)),
        (LaplaceEvent(3, 2, 2, 0), LaplaceEvent(3, 4, 2, 0)),
        (LaplaceEvent(3, 2, 2, 0, components=0), LaplaceEvent(3, 4, 2, 0, components=0)),
    ):
        assert np.array_equal(curve(one, Relation.REPLACE_ONE), curve(other, Relation.ZERO_OUT))
        assert pure_epsilon(one, Relation.REPLACE_ONE) == pure_epsilon(other, Relation.ZERO_OUT)


def test_integer_laplace_bounds_whole_norms_only() -> None:
    fractional = LaplaceEvent(3, Fraction(29, 10), 2, 0)
    assert np.array_equal(curve(fractional, Relation.ZERO_OUT), curve(LaplaceEvent(3, 2, 2, 0), Relation.ZERO_OUT))
    assert pure_epsilon(fractional, Relation.REPLACE_ONE) == Fraction(4, 3)
    assert np.array_equal(curve(LaplaceEvent(1, 1, 1, 0), Relation.ZERO_OUT), curve(PureEvent(1), Relation.ZERO_OUT))


def test_the_lattice_slack_is_booked_per_coordinate_and_component() -> None:
    # Dimensions nobody has, because in real ones the slack is invisible: kappa(9/2) is 1e-38.
    spread = (2 * ORDERS - 1) / (ORDERS - 1)
    one, two = (GaussianEvent(900, 9, d=10**36, components=n, draws=0) for n in (1, 2))
    extra = curve(two, Relation.ZERO_OUT) - curve(one, Relation.ZERO_OUT)
    assert extra == pytest.approx(10**36 * 4 * math.exp(-9 * math.pi**2) * spread, rel=1e-9)
    half, wide = Poisson(Fraction(1, 2)), GaussianEvent(900, 9, d=10**30, components=1, draws=0)
    extra = curve(Sampled(wide, half), Relation.ZERO_OUT) - curve(
        Sampled(GaussianEvent(900, 9, d=1, components=1, draws=0), half), Relation.ZERO_OUT
    )
    assert extra == pytest.approx(10**30 * 4 * math.exp(-8 * math.pi**2) * spread, rel=1e-9)


@settings(max_examples=25)
@given(st.floats(-6, -0.01), st.floats(-0.6, 2.5), st.floats(1.05, 10.9))
def test_fractional_orders_match_a_plain_wide_trapezoid(log_q: float, log_sigma: float, alpha: float) -> None:
    """A second, obvious implementation: extended precision, step 1/32, 45 standard deviations each way."""
    q, sigma = 10.0**log_q, 10.0**log_sigma
    mu = 1 / np.longdouble(sigma)
    y = np.arange(-45, float(alpha * mu) + 45, 1 / 32).astype(np.longdouble)
    u = np.longdouble(q) * np.expm1(mu * y - mu * mu / 2)
    excess = np.expm1(alpha * np.log1p(u)) - alpha * u
    moment = np.sum(np.exp(-y * y / 2) * excess) / 32 / np.sqrt(2 * np.pi * np.longdouble(1))
    truth = float(np.log1p(moment) / (alpha - 1))
    assert renyi.poisson_gaussian(at(alpha), q, sigma**-2.0)[0] == pytest.approx(truth, rel=3e-9)


def _moments(alpha: int, q: str, sigma: str) -> tuple[Decimal, Decimal]:
    """exp((alpha - 1) R) of a Poisson sample and of a fixed-size one, term by term as the papers print them."""
    rate, shift = Decimal(q), 1 / Decimal(sigma) ** 2

    def grown(j: int) -> Decimal:
        return (j * (j - 1) * shift / 2).exp()

    def moment(order: int) -> Decimal:
        return abs(sum((-1) ** i * math.comb(order, i) * grown(i) for i in range(order + 1)))

    poisson = sum(math.comb(alpha, k) * (1 - rate) ** (alpha - k) * rate**k * grown(k) for k in range(alpha + 1))
    fixed = Decimal(1)
    for j in range(2, alpha + 1):
        pair = 4 * (moment(2 * (j // 2)) * moment(2 * -(-j // 2))).sqrt()
        fixed += rate**j * math.comb(alpha, j) * min(pair, 2 * grown(j))
    return poisson, fixed


@pytest.mark.parametrize("alpha", [2, 3, 8, 17])
@pytest.mark.parametrize(("q", "sigma"), [("0.001", "0.8"), ("0.01", "2"), ("0.2", "4"), ("0.5", "1")])
def test_whole_orders_match_the_printed_sums_in_300_digits(alpha: int, q: str, sigma: str) -> None:
    with localcontext(prec=300):
        poisson, fixed = (float(moment.ln() / (alpha - 1)) for moment in _moments(alpha, q, sigma))
    shift = float(sigma) ** -2.0
    assert renyi.poisson_gaussian(at(alpha), float(q), shift)[0] == pytest.approx(poisson, rel=3e-9)
    everyone = alpha * shift / 2
    assert renyi.fixed_size_gaussian(at(alpha), float(q), shift)[0] == pytest.approx(min(fixed, everyone), rel=1e-9)


@given(st.fractions(Fraction(1, 10**6), Fraction(99, 100)), st.fractions(Fraction(1, 20), 50))
def test_sampling_never_hurts_and_curves_grow_with_the_order(q: Fraction, z: Fraction) -> None:
    release, cohort = GaussianEvent.for_multiplier(z), FixedSize(q.numerator, q.denominator)
    for sampling, relation in ((Poisson(q), Relation.ZERO_OUT), (cohort, Relation.REPLACE_ONE)):
        divergence, whole = curve(Sampled(release, sampling), relation), curve(release, relation)
        assert np.all(divergence > 0)
        assert np.all(divergence <= whole * (1 + 2e-9))
        assert np.all(np.diff(divergence) >= -1e-12 * divergence[1:])


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0, 30.0])
def test_fixed_size_moments_match_the_alternating_sum(sigma: float) -> None:
    """B(l) of the source, in exact integers with 1,200 fractional bits."""
    even, log_b = renyi._log_even_moments(40, sigma**-2.0)
    bits = 1200
    exponent = Fraction(sigma) ** -2
    ratio = _exp_fixed(exponent, bits)  # e^(1/sigma^2)
    powers = [1 << bits]
    step = 1 << bits
    for _ in range(41):
        powers.append(powers[-1] * step >> bits)  # e^E(i+1) = e^E(i) e^(i/sigma^2)
        step = step * ratio >> bits
    for order, got in zip(even.astype(int), log_b, strict=True):
        moment = sum((-1) ** i * math.comb(order, i) * powers[i] for i in range(order + 1))
        assert got == pytest.approx(math.log(moment) - bits * math.log(2), rel=1e-12, abs=1e-11)


def _exp_fixed(x: Fraction, bits: int) -> int:
    total, term, n = Fraction(0), Fraction(1), 0
    while term > Fraction(1, 2 ** (bits + 8)):
        total, n = total + term, n + 1
        term = Fraction(int(term * x / n * 2 ** (bits + 40)), 2 ** (bits + 40))
    return int(total * 2**bits)


@pytest.mark.parametrize(("scale", "distance"), [(0.3, 1), (1.0, 1), (1.0, 4), (7.5, 3), (40.0, 100)])
def test_discrete_laplace_matches_summation_over_the_integers(scale: float, distance: int) -> None:
    reach = int(60 * scale) + 2 * distance + 60
    k = np.arange(-reach, reach + 1).astype(float)
    log_p = -np.abs(k) / scale + math.log(math.tanh(0.5 / scale))
    log_q = -np.abs(k - distance) / scale + math.log(math.tanh(0.5 / scale))
    for alpha in SOME_ORDERS:
        for one, other in ((log_p, log_q), (log_q, log_p)):
            truth = math.log(np.exp(alpha * one + (1 - alpha) * other).sum()) / (alpha - 1)
            got = renyi.discrete_laplace(at(alpha), scale, distance)[0]
            assert got == pytest.approx(truth, rel=1e-9)


def test_the_continuous_laplace_curve_would_be_below_the_truth_on_a_coarse_lattice() -> None:
    orders = SOME_ORDERS
    assert np.all(renyi.discrete_laplace(orders, 1.0, 1) > 1.01 * renyi.laplace(orders, 1.0))
    assert renyi.discrete_laplace(orders, 10.0**6, 10**6) == pytest.approx(renyi.laplace(orders, 1.0), rel=1e-5)


def test_splitting_a_laplace_shift_over_coordinates_is_never_worse() -> None:
    for whole, parts in ((4, (1, 3)), (4, (2, 2)), (9, (1, 8))):
        apart = sum(renyi.discrete_laplace(SOME_ORDERS, 2.0, part) for part in parts)
        assert np.all(apart <= renyi.discrete_laplace(SOME_ORDERS, 2.0, whole) * (1 + 1e-12))


@pytest.mark.parametrize("epsilon", [0.0, 1e-310, 1e-7, 1e-3, 1.0, 20.0, 900.0])
def test_pure_curves_are_randomised_response(epsilon: float) -> None:
    got = renyi.pure(SOME_ORDERS, epsilon)
    assert np.all(got <= epsilon)
    assert got == pytest.approx(np.minimum(epsilon, _response_curve(epsilon)), rel=1e-8)


def _response_curve(epsilon: float) -> Floats:
    """ln(yes^a no^(1-a) + no^a yes^(1-a)) / (a-1), the excess over 1 as a product so that nothing cancels."""
    grow = np.minimum((SOME_ORDERS - 1) * epsilon, 700.0)
    excess = np.expm1(grow) * -np.expm1(-SOME_ORDERS * epsilon) / (1 + math.exp(-epsilon))
    return np.where(grow < 700.0, np.log1p(excess) / (SOME_ORDERS - 1), epsilon)


@given(st.floats(1e-6, 60.0), st.floats(1e-6, 1.0))
def test_amplified_pure_noise_covers_both_directions_of_a_sampled_response(epsilon: float, q: float) -> None:
    yes, no = 1 / (1 + math.exp(-epsilon)), 1 / (1 + math.exp(epsilon))
    mixed = ((1 - q) * no + q * yes, (1 - q) * yes + q * no)
    worst = max(abs(math.log(mixed[0] / no)), abs(math.log(mixed[1] / yes)))
    assert amplified(epsilon, q) == pytest.approx(worst, rel=1e-6, abs=1e-9)
    assert amplified(epsilon, q) <= epsilon * (1 + 1e-12)


def test_approximate_events_spend_their_delta_outright() -> None:
    event = Repeated(ApproxEvent(Fraction(1, 10), Fraction(1, 10**6)), 10)
    accountant = spent(ZERO_OUT, event)
    assert accountant.epsilon(Fraction(1, 10**5)) == 1.0
    assert accountant.epsilon("0.999e-5") == math.inf
    assert accountant.epsilon("1e-2") == spent(ZERO_OUT, Repeated(PureEvent(Fraction(1, 10)), 10)).epsilon("0.00999")
    assert accountant.delta(1) == pytest.approx(1e-5)


def test_exact_sums_of_pure_events_reach_the_last_unit() -> None:
    for parts in (1, 3, 10, 10**6):
        accountant = spent(ZERO_OUT, Repeated(PureEvent(Fraction(3, 10 * parts)), parts))
        assert accountant.epsilon(0) == spent(ZERO_OUT, PureEvent(Fraction(3, 10))).epsilon(0)
        assert accountant.delta(Fraction(3, 10)) == 0.0


def test_a_very_large_delta_ends_at_epsilon_zero() -> None:
    assert spent(ZERO_OUT, ZcdpEvent(Fraction(1, 10**8))).epsilon("0.01") == 0.0
    assert spent(ZERO_OUT, ZcdpEvent(Fraction(1, 10**8))).epsilon("1e-6") > 0.0


@given(st.fractions(Fraction(1, 1000), 2), st.integers(2, 10))
def test_zcdp_is_the_gaussian_curve(rho: Fraction, power: int) -> None:
    delta = Fraction(1, 10**power)
    same = spent(ZERO_OUT, GaussianEvent(1, 2 * rho, 1, 0, 0)).epsilon(delta)
    assert spent(ZERO_OUT, ZcdpEvent(rho)).epsilon(delta) == pytest.approx(same, rel=1e-10)


def test_conversions_invert_each_other() -> None:
    divergence = curve(sampled("1.1", "0.01"), Relation.ZERO_OUT) * 1000
    for delta in (1e-3, 1e-6, 1e-12):
        epsilon = epsilon_from_curve(ORDERS, divergence, delta)
        assert delta_from_curve(ORDERS, divergence, epsilon) == pytest.approx(delta, rel=1e-9)
    assert epsilon_from_curve(ORDERS, divergence, 0.0) == math.inf


def test_an_exact_release_costs_everything() -> None:
    accountant = spent(ZERO_OUT, NonPrivate(), GaussianEvent.for_multiplier(5))
    assert accountant.epsilon("0.5") == math.inf
    assert accountant.delta(100) == 1.0
    assert accountant.epsilon(0) == math.inf


def test_integer_gaussian_needs_no_finer_lattice_at_full_participation() -> None:
    coarse = GaussianEvent(Fraction(1, 4), 1, d=1, components=1, draws=0)
    same = GaussianEvent.for_multiplier("0.5")
    assert np.array_equal(curve(coarse, Relation.ZERO_OUT), curve(same, Relation.ZERO_OUT))


def test_sampled_integer_noise_gives_up_four_units_of_variance() -> None:
    q = Fraction(1, 100)
    integer = Sampled(GaussianEvent(104, 25, d=1, components=1, draws=0), Poisson(q))
    assert curve(integer, Relation.ZERO_OUT) == pytest.approx(curve(sampled(2, q), Relation.ZERO_OUT), rel=1e-12)
    with pytest.raises(NoiseTooCoarse, match="finer lattice"):
        curve(Sampled(GaussianEvent(8, 1, 1, 1, 1), Poisson(q)), Relation.ZERO_OUT)


def test_several_releases_on_one_cohort_are_one_larger_gaussian() -> None:
    q = Fraction(1, 50)
    pair = Composed((GaussianEvent.for_multiplier(3), Repeated(GaussianEvent.for_multiplier(6), 4)))
    joint = GaussianEvent(1, Fraction(1, 9) + Fraction(4, 36), 1, 0, 0)
    for sampling, relation in ((Poisson(q), Relation.ZERO_OUT), (FixedSize(1, 50), Relation.REPLACE_ONE)):
        together = curve(Sampled(joint, sampling), relation)
        assert curve(Sampled(pair, sampling), relation) == pytest.approx(together, rel=1e-9)


def test_tiny_noise_falls_back_to_the_curve_without_sampling() -> None:
    whole = curve(GaussianEvent.for_multiplier("0.01"), Relation.ZERO_OUT)
    assert curve(sampled("0.01", "0.1"), Relation.ZERO_OUT) == pytest.approx(whole, rel=1e-12)
    hopeless = GaussianEvent(Fraction(1, 10**200), 10**200, 1, 0, 0)
    assert spent(ZERO_OUT, hopeless).epsilon("1e-5") == math.inf


REFUSED: list[tuple[str, Event, Unit]] = [
    ("replace-one", sampled(1, "0.1"), REPLACE_ONE),
    ("add-or-remove-one", Sampled(GaussianEvent.for_multiplier(1), FixedSize(1, 10)), ADD_REMOVE),
    ("zero-out", Sampled(GaussianEvent.for_multiplier(1), FixedSize(1, 10)), ZERO_OUT),
    ("exact total", Sampled(GaussianEvent(900, 1, 1, 10, 0), Poisson(Fraction(1, 2))), ZERO_OUT),
    ("exact total", Sampled(GaussianEvent(900, 1, 1, 10, 0), FixedSize(1, 2)), REPLACE_ONE),
    ("shrinks", GaussianEvent(900, 1, 1, 10, 0), ADD_REMOVE),
    ("shrinks", GaussianEvent(900, 1, 1, 10, 0, total="exact"), ADD_REMOVE),
    ("shrinks", SkellamEvent(900, 1, 1, 1, 0, components=10), ADD_REMOVE),
    ("skellam", Sampled(SkellamEvent(900, 1, 1, 1, 0), Poisson(Fraction(1, 2))), ZERO_OUT),
    ("zcdp", Sampled(ZcdpEvent(1), Poisson(Fraction(1, 2))), ZERO_OUT),
    ("approximate", Sampled(ApproxEvent(1, 0), Poisson(Fraction(1, 2))), ZERO_OUT),
    ("non-private", Sampled(NonPrivate(), Poisson(Fraction(1, 2))), ZERO_OUT),
    ("laplace", Sampled(LaplaceEvent.for_multiplier(1), FixedSize(1, 2)), REPLACE_ONE),
]


@pytest.mark.parametrize(("reason", "event", "unit"), REFUSED)
def test_what_has_no_proof_is_refused_by_name(reason: str, event: Event, unit: Unit) -> None:
    with pytest.raises(UnsupportedEvent, match=reason):
        spent(unit, event)


def test_what_has_a_proof_is_accepted() -> None:
    everyone = GaussianEvent(900, 1, 1, 10, 0, total="exact")
    for unit, event in (
        (ZERO_OUT, Sampled(everyone, Poisson(Fraction(1, 2)))),
        (REPLACE_ONE, Sampled(everyone, FixedSize(1, 2))),
        (REPLACE_ONE, Sampled(everyone, Poisson(1))),
        (ADD_REMOVE, Sampled(LaplaceEvent.for_multiplier(1), Poisson(Fraction(1, 2)))),
        (ZERO_OUT, Sampled(Composed((PureEvent(1), PureEvent(2))), Poisson(Fraction(1, 2)))),
        (REPLACE_ONE, SkellamEvent(900, 1, 1, 1, 0, components=10)),
    ):
        assert 0 < spent(unit, event).epsilon("1e-5") < math.inf


def test_an_event_of_an_unknown_class_is_refused() -> None:
    class Cauchy(Event):
        tag = "cauchy"

    with pytest.raises(UnsupportedEvent, match="cauchy"):
        curve(Cauchy(), Relation.ZERO_OUT)
    assert pure_epsilon(ZcdpEvent(1), Relation.ZERO_OUT) is None


@pytest.mark.parametrize("seed", range(24))
def test_dp_accounting_agrees_at_random_settings(seed: int) -> None:
    peer = pytest.importorskip("dp_accounting", reason="extra [verify]: dp-accounting is not installed")
    from dp_accounting.pld import privacy_loss_distribution

    draw = np.random.default_rng(seed)
    q, z = 10.0 ** draw.uniform(-3, -0.1), draw.uniform(0.6, 6.0)
    rounds, delta = int(10.0 ** draw.uniform(0, 2.5)), 10.0 ** draw.uniform(-9, -3)
    ours = account([Repeated(sampled(z, q), rounds)], ADD_REMOVE, View.RELEASED, delta).upper
    whole_orders = [float(order) for order in ORDERS if order == int(order)]
    theirs = peer.rdp.RdpAccountant(orders=whole_orders)
    theirs.compose(peer.SelfComposedDpEvent(peer.PoissonSampledDpEvent(q, peer.GaussianDpEvent(z)), rounds))
    assert ours <= theirs.get_epsilon(delta) + 1e-6
    loss = privacy_loss_distribution.from_gaussian_mechanism(
        z, sampling_prob=q, value_discretization_interval=1e-2, pessimistic_estimate=False
    )
    assert ours >= loss.self_compose(rounds).get_epsilon_for_delta(delta)


class TestRdpAccountant(AccountantContract):
    """The contract."""

    refused = Sampled(SkellamEvent(900, 1, 1, 1, 0), Poisson(Fraction(1, 2)))

    def make(self, unit: Unit) -> Accountant:
        """A Renyi accountant."""
        return RdpAccountant(unit)
