"""The accountant of privacy loss distributions against references, exact enumeration, and dp-accounting."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountant import Accountant, Interval, Relation, Unit, View, account, upward
from dp.errors import AccountantDisagreement, BadParameters, NoiseTooCoarse, UnsupportedEvent
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
from dp.gaussian import gaussian_epsilon
from dp.neighbours import between
from dp.pld import PldAccountant
from dp.rdp import RdpAccountant
from dp.search import ordered
from tests.contracts.accountants import AccountantContract

Reference = dict[str, list[dict[str, Any]]]
ADD_REMOVE, ZERO_OUT, REPLACE_ONE = (Unit(relation) for relation in Relation)
HALF = Poisson(Fraction(1, 2))


@pytest.fixture(scope="module")
def reference(shared: Path) -> Reference:
    """The reference table, section by section."""
    table: Reference = json.loads((shared / "data" / "dp_reference.json").read_text())
    return table


def sampled(z: Any, q: Any) -> Sampled:
    """One Poisson-sampled continuous Gaussian."""
    return Sampled(GaussianEvent.for_multiplier(z), Poisson(exact("q", q)))


def spent(unit: Unit, *events: Event) -> PldAccountant:
    """An accountant that has seen the events."""
    accountant = PldAccountant(unit)
    accountant.compose(Composed(events))
    return accountant


def both_ends(accountant: PldAccountant, delta: Any) -> tuple[float, float]:
    """(lower, upper), neither missing nor crossed."""
    interval = accountant.interval(delta)
    assert interval.lower is not None
    assert 0.0 <= interval.lower <= interval.upper
    return interval.lower, interval.upper


# --- references ----------------------------------------------------------------------------------------


def test_sampled_gaussians_meet_every_certified_interval_and_are_narrow(reference: Reference) -> None:
    for entry in reference["subsampled_gaussian"]:
        config, value = entry["config"], entry["value"]
        event = Repeated(sampled(config["noise_multiplier"], config["q"]), config["steps"])
        lower, upper = both_ends(spent(ADD_REMOVE, event), config["delta"])
        assert lower <= value["prv_accountant"]["upper"]
        assert upper >= value["prv_accountant"]["lower"]
        assert value["dp_accounting_pld_optimistic"]["epsilon"] <= upper
        assert lower <= value["dp_accounting_pld_pessimistic_connect_dots"]["epsilon"]
        assert upper - lower <= max(1e-3 * upper, 1e-4)
        assert upper <= value["dp_accounting_rdp"]["epsilon"]


def test_on_an_equal_mesh_the_upper_end_is_that_of_the_peer(reference: Reference) -> None:
    for entry in reference["subsampled_gaussian"]:
        config, peer = entry["config"], entry["value"]["dp_accounting_pld_pessimistic_connect_dots"]
        accountant = spent(ADD_REMOVE, Repeated(sampled(config["noise_multiplier"], config["q"]), config["steps"]))
        upper = accountant.upper_at(peer["dx"], config["delta"])
        assert upper == pytest.approx(peer["epsilon"], rel=1e-5)
        assert upper >= both_ends(accountant, config["delta"])[0]


def test_mixed_schedules_match_the_peer(reference: Reference) -> None:
    entry = reference["heterogeneous"][0]
    parts = [Repeated(sampled(p["sigma"], p["q"]), p["steps"]) for p in entry["config"]["composition"]]
    accountant = spent(ADD_REMOVE, *parts)
    lower, upper = both_ends(accountant, entry["config"]["delta"])
    assert lower <= entry["value"]["pld_pess"] <= upper * (1 + 1e-3)
    assert lower <= accountant.upper_at(1e-4, entry["config"]["delta"]) <= entry["value"]["pld_pess"] * (1 + 1e-5)


def test_laplace_compositions_match_the_peer_and_are_exact_at_delta_zero(reference: Reference) -> None:
    for entry in reference["laplace_composition"]:
        config, value = entry["config"], entry["value"]
        event = Repeated(LaplaceEvent.for_multiplier(config["scale_over_sensitivity"]), config["count"])
        lower, upper = both_ends(spent(ADD_REMOVE, event), config["delta"])
        if config["delta"] == 0:
            assert upper == value["pure_eps"]
            assert lower > 0.99 * upper
        else:
            assert lower <= value["pld_pess"] * (1 + 1e-9)
            assert value["pld_opt"] <= upper <= value["rdp"]
            assert upper - lower <= 1e-3 * upper


def test_full_gaussians_are_exact_under_every_relation(reference: Reference) -> None:
    for entry in reference["gaussian_under_relations"]:
        config = entry["config"]
        unit = Unit(config["relation"].lower().replace("_", "-"))
        event = Repeated(GaussianEvent.for_multiplier(config["sigma"]), config["T"])
        lower, upper = both_ends(spent(unit, event), config["delta"])
        assert upper == pytest.approx(entry["value"]["pld"], rel=1e-6)
        assert upper - lower < 1e-9
        assert spent(unit, event).upper_at(1e-3, config["delta"]) == pytest.approx(upper, rel=1e-5)


def test_integer_gaussians_contain_the_exact_scalar_values(reference: Reference) -> None:
    for entry in reference["discrete_gaussian_scalar"]:
        config, truth = entry["config"], Fraction(entry["value"]["delta_exact"])
        event = GaussianEvent(Fraction(config["sigma2"]), 1, d=1, components=1, draws=0)
        if event.sigma2 <= 4:
            with pytest.raises(NoiseTooCoarse, match="finer lattice"):
                spent(ZERO_OUT, event)
            continue
        lower, upper = both_ends(spent(ZERO_OUT, event), truth)
        assert lower <= config["epsilon"] <= upper


# --- exact enumeration ---------------------------------------------------------------------------------


def exact_delta(one: Any, other: Any, rounds: int, epsilon: float) -> float:
    """delta of `rounds` releases with these outcome probabilities, the larger of both directions."""
    p, q = np.asarray(one, dtype=np.longdouble), np.asarray(other, dtype=np.longdouble)
    joint_p, joint_q = p, q
    for _ in range(rounds - 1):
        joint_p, joint_q = np.multiply.outer(joint_p, p).ravel(), np.multiply.outer(joint_q, q).ravel()
    grow = np.exp(np.longdouble(epsilon))
    return float(max(np.maximum(0, joint_p - grow * joint_q).sum(), np.maximum(0, joint_q - grow * joint_p).sum()))


def check_against(accountant: PldAccountant, one: Any, other: Any, rounds: int, *, width: float = 2e-3) -> None:
    """Upper deltas above the truth, the interval at the true delta around epsilon, and both close."""
    for epsilon in (0.05, 0.2, 0.5, 1.0, 2.0):
        truth = exact_delta(one, other, rounds, epsilon)
        if truth < 1e-13:
            continue
        assert accountant.delta(Fraction(epsilon)) >= truth * (1 - 1e-9)
        lower, upper = both_ends(accountant, Fraction(truth))
        assert lower <= epsilon * (1 + 1e-9)
        assert upper >= epsilon * (1 - 1e-9)
        assert upper - lower <= width * (1 + upper)


def mixed(one: Any, other: Any, q: Fraction) -> Any:
    """What a Poisson sample makes of the law `one` when `other` is the law without the unit."""
    return float(q) * np.asarray(one) + (1 - float(q)) * np.asarray(other)


def integer_law(kind: str, parameter: float, shift: int, reach: int) -> Any:
    """Discrete Gaussian (variance) or Laplace (scale) on [-reach, reach], moved by `shift`."""
    k = np.arange(-reach, reach + 1) - shift
    weights = np.exp(-(k**2) / (2 * parameter)) if kind == "gaussian" else np.exp(-np.abs(k) / parameter)
    return weights / weights.sum()


@pytest.mark.parametrize("rounds", [1, 2, 5, 8])
@pytest.mark.parametrize("epsilon", [Fraction(1, 10), Fraction(1, 2), Fraction(3)])
def test_randomised_response_matches_all_sequences_of_answers(epsilon: Fraction, rounds: int) -> None:
    yes = 1 / (1 + math.exp(-float(epsilon)))
    # The event states a bound only, so the truth of the worst mechanism is between 0 and the upper end.
    accountant = spent(ZERO_OUT, Repeated(PureEvent(epsilon), rounds))
    for at in (0.05, 0.3, 1.0, 2.0):
        truth = exact_delta([yes, 1 - yes], [1 - yes, yes], rounds, at)
        if truth < 1e-13:
            continue
        assert truth * (1 - 1e-9) <= accountant.delta(Fraction(at)) <= truth * 1.02 + 1e-9
        interval = accountant.interval(Fraction(truth))
        assert interval.lower is None
        assert at * (1 - 1e-9) <= interval.upper <= at * 1.002 + 2e-3


@pytest.mark.parametrize("rounds", [1, 3, 8])
def test_sampled_randomised_response_matches_all_sequences_of_answers(rounds: int) -> None:
    q, yes = Fraction(1, 5), 1 / (1 + math.exp(-1.0))
    with_unit, without = mixed([yes, 1 - yes], [1 - yes, yes], q), [1 - yes, yes]
    accountant = spent(ADD_REMOVE, Repeated(Sampled(PureEvent(1), Poisson(q)), rounds))
    for at in (0.05, 0.2, 0.5):
        truth = exact_delta(with_unit, without, rounds, at)
        assert truth * (1 - 1e-9) <= accountant.delta(Fraction(at)) <= truth * 1.02 + 1e-9


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize(("scale", "distance"), [(1, 1), (2, 3), (5, 4)])
def test_discrete_laplace_matches_enumeration(scale: int, distance: int, rounds: int) -> None:
    # All outcomes left of 0 have one loss, all right of the distance another: fold them together exactly.
    def folded(shift: int) -> list[float]:
        r = math.exp(-1 / scale)

        def below(m: int) -> float:  # P(k <= m) for the law centred at the shift
            return r ** (shift - m) / (1 + r) if m < shift else 1 - r ** (m - shift + 1) / (1 + r)

        inner = [below(m) - below(m - 1) for m in range(1, distance)]
        return [below(0), *inner, 1 - below(distance - 1)]

    event = Repeated(LaplaceEvent(scale, distance, d=1, draws=0), rounds)
    check_against(spent(ZERO_OUT, event), folded(0), folded(distance), rounds)
    q = Fraction(1, 3)
    event = Repeated(Sampled(LaplaceEvent(scale, distance, d=1, draws=0), Poisson(q)), rounds)
    check_against(spent(ZERO_OUT, event), mixed(folded(distance), folded(0), q), folded(0), rounds)


@pytest.mark.parametrize(("rounds", "reach"), [(1, 60), (2, 45), (3, 36)])
def test_sampled_discrete_gaussians_match_enumeration(rounds: int, reach: int) -> None:
    q, variance, shift = Fraction(1, 4), 25, 4
    moved, still = integer_law("gaussian", variance, shift, reach), integer_law("gaussian", variance, 0, reach)
    event = Sampled(GaussianEvent(variance, shift**2, d=1, components=1, draws=0), Poisson(q))
    # Four units of variance are given up on each side, of 25: the interval is that much wider.
    check_against(spent(ZERO_OUT, Repeated(event, rounds)), mixed(moved, still, q), still, rounds, width=0.3)


def test_several_releases_on_one_cohort_match_enumeration() -> None:
    q, reach = Fraction(1, 2), 40
    still = integer_law("gaussian", 36, 0, reach)
    moved = [integer_law("gaussian", 36, shift, reach) for shift in (3, 4)]
    pair = np.multiply.outer(*moved).ravel()
    base = np.multiply.outer(still, still).ravel()
    inside = Composed(tuple(GaussianEvent(36, shift**2, d=1, components=1, draws=0) for shift in (3, 4)))
    check_against(spent(ZERO_OUT, Sampled(inside, Poisson(q))), mixed(pair, base, q), base, 1, width=0.3)


@pytest.mark.parametrize("rounds", [1, 2, 4, 8])
def test_integer_gaussians_match_direct_convolution(rounds: int) -> None:
    law = integer_law("gaussian", 40, 0, 90)
    total = law
    for _ in range(rounds - 1):
        total = np.convolve(total, law)
    moved = np.concatenate([np.zeros(5 * rounds), total])
    event = Repeated(GaussianEvent(40, 25, d=1, components=1, draws=0), rounds)
    other = np.concatenate([total, np.zeros(5 * rounds)])
    check_against(spent(ZERO_OUT, event), moved, other, 1, width=0.3)


@pytest.mark.parametrize("q", [Fraction(1, 1000), Fraction(1, 20), Fraction(9, 10)])
@pytest.mark.parametrize("z", ["0.3", "1", "20"])
def test_one_sampled_gaussian_matches_the_closed_form(z: str, q: Fraction) -> None:
    """q h(ln((e^epsilon - 1 + q)/q)) when removing, solved in the exact Gaussian accountant."""
    inner = gaussian_epsilon(1e-7 / float(q), float(z))
    removed = math.log1p(float(q) * math.expm1(inner)) if inner < 30 else inner + math.log(float(q))
    lower, upper = both_ends(spent(ADD_REMOVE, sampled(z, q)), "1e-7")
    assert lower <= removed * (1 + 1e-9) + 1e-12
    assert removed * (1 - 1e-9) <= upper <= removed * (1 + 1e-3) + 1e-4


# --- an independent accountant -------------------------------------------------------------------------


def check_random_setting(seed: int) -> None:
    """One random (q, z, T, delta): dp-accounting from above and below meets our interval."""
    peer = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="extra [verify] is not installed")
    draw = np.random.default_rng(seed)
    q, z = 10.0 ** draw.uniform(-4, -0.05), 10.0 ** draw.uniform(-0.3, 1.2)
    rounds, delta = int(10.0 ** draw.uniform(0, 3.5)), 10.0 ** draw.uniform(-10, -2)
    accountant = spent(ADD_REMOVE, Repeated(sampled(z, q), rounds))
    lower, upper = both_ends(accountant, delta)
    assert upper - lower <= max(2e-3 * upper, 1e-3)
    ends = []
    for pessimistic in (False, True):
        loss = peer.from_gaussian_mechanism(
            z, sampling_prob=q, value_discretization_interval=1e-3, pessimistic_estimate=pessimistic
        )
        # Its FFT leaves about 1e-10 of delta in the tail, which lifts its lower end where delta is no larger.
        noise = 0.0 if pessimistic else 1e-9
        ends.append(loss.self_compose(rounds).get_epsilon_for_delta(delta + noise))
    assert ends[0] <= upper * (1 + 1e-9)
    assert lower <= ends[1] * (1 + 1e-9) + 1e-12
    assert accountant.upper_at(1e-3, delta) <= ends[1] * (1 + 1e-5) + 1e-6


@pytest.mark.parametrize("seed", range(25))
def test_dp_accounting_meets_the_interval_at_random_settings(seed: int) -> None:
    check_random_setting(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25, 200))
def test_dp_accounting_meets_the_interval_at_many_more(seed: int) -> None:
    check_random_setting(seed)


def test_replacement_agrees_with_the_peer_accountant_that_has_it_right() -> None:
    peer = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="extra [verify] is not installed")
    laplace = peer.from_laplace_mechanism(5.0, sensitivity=2.0, value_discretization_interval=1e-3)
    gaussian = peer.from_gaussian_mechanism(8.0, sensitivity=2.0, value_discretization_interval=1e-3)
    theirs = laplace.self_compose(40).compose(gaussian.self_compose(3)).get_epsilon_for_delta(1e-6)
    ours = spent(
        REPLACE_ONE, Repeated(LaplaceEvent.for_multiplier(5), 40), Repeated(GaussianEvent.for_multiplier(8), 3)
    )
    lower, upper = both_ends(ours, "1e-6")
    assert lower <= theirs <= upper * (1 + 1e-3)
    assert lower <= ours.upper_at(1e-3, "1e-6") <= theirs * (1 + 1e-5)


# --- properties ----------------------------------------------------------------------------------------

few = settings(max_examples=12)
rates = st.fractions(Fraction(1, 2000), Fraction(1, 2), max_denominator=2000)
noises = st.fractions(Fraction(1, 2), 8, max_denominator=16)
powers = st.integers(2, 12)


@few
@given(rates, noises, st.integers(1, 2000), powers)
def test_epsilon_is_monotone_in_everything_up_to_its_own_width(
    q: Fraction, z: Fraction, rounds: int, power: int
) -> None:
    delta = Fraction(1, 10**power)
    lower, upper = both_ends(spent(ADD_REMOVE, Repeated(sampled(z, q), rounds)), delta)
    more = [
        spent(ADD_REMOVE, Repeated(sampled(z, q), 2 * rounds)).interval(delta),
        spent(ADD_REMOVE, Repeated(sampled(z, 2 * q), rounds)).interval(delta),
        spent(ADD_REMOVE, Repeated(sampled(z * Fraction(4, 5), q), rounds)).interval(delta),
        spent(ADD_REMOVE, Repeated(sampled(z, q), rounds)).interval(delta / 10),
    ]
    for interval in more:
        assert lower <= interval.upper
        assert upper <= interval.upper * (1 + 1e-3) + 1e-4


@few
@given(rates, noises, noises, st.integers(1, 50), st.integers(1, 50), powers)
def test_order_and_splitting_change_no_bit(
    q: Fraction, z: Fraction, other: Fraction, first: int, second: int, power: int
) -> None:
    one, two, delta = sampled(z, q), LaplaceEvent.for_multiplier(other), Fraction(1, 10**power)
    together = spent(ZERO_OUT, Repeated(one, first + second), two, GaussianEvent.for_multiplier(other))
    apart = spent(
        ZERO_OUT, GaussianEvent.for_multiplier(other), Repeated(one, second), two, Composed((Repeated(one, first),))
    )
    assert together.interval(delta) == apart.interval(delta)
    assert together.delta(1) == apart.delta(1)
    assert PldAccountant.from_state(json.loads(json.dumps(together.state()))).interval(delta) == together.interval(
        delta
    )
    assert spent(ZERO_OUT, Repeated(one, 2)).interval(delta) == spent(ZERO_OUT, one, one).interval(delta)


@few
@given(st.fractions(Fraction(1, 2), 20, max_denominator=8), st.integers(1, 30), powers)
def test_replacing_a_unit_is_removing_one_of_twice_the_size(scale: Fraction, rounds: int, power: int) -> None:
    delta = Fraction(1, 10**power)
    for one, other in (
        (LaplaceEvent(scale, 1, 1, 0, components=0), LaplaceEvent(scale, 2, 1, 0, components=0)),
        (LaplaceEvent(scale, 3, 1, 0), LaplaceEvent(scale, 6, 1, 0)),
        (LaplaceEvent(scale, 3, 4, 0), LaplaceEvent(scale, 6, 4, 0)),
    ):
        replaced = spent(REPLACE_ONE, Repeated(one, rounds)).interval(delta)
        assert replaced == spent(ADD_REMOVE, Repeated(other, rounds)).interval(delta)


@few
@given(rates, noises, st.integers(1, 500), powers)
def test_delta_at_the_returned_epsilon_is_nearly_the_asked_delta(
    q: Fraction, z: Fraction, rounds: int, power: int
) -> None:
    accountant = spent(ZERO_OUT, Repeated(sampled(z, q), rounds))
    lower, upper = both_ends(accountant, Fraction(1, 10**power))
    if lower > 0:
        assert accountant.delta(Fraction(lower) * Fraction(99, 100)) >= 10.0**-power
        assert accountant.delta(Fraction(upper) * Fraction(101, 100) + Fraction(1, 1000)) <= 10.0**-power


@few
@given(rates, noises, st.integers(1, 500), powers)
def test_renyi_divergences_are_never_below(q: Fraction, z: Fraction, rounds: int, power: int) -> None:
    event, delta = Repeated(sampled(z, q), rounds), Fraction(1, 10**power)
    renyi = RdpAccountant(ADD_REMOVE)
    renyi.compose(event)
    assert both_ends(spent(ADD_REMOVE, event), delta)[0] <= renyi.epsilon(delta) * (1 + 1e-9)


# --- extremes ------------------------------------------------------------------------------------------

EXTREMES: list[tuple[Any, Any, int, Any]] = [
    ("0.5", "0.4", 1000, "1e-5"),
    ("0.01", 1, 1000, "1.1e-18"),
    ("0.01", "1e-3", 1, "1e-5"),
    ("0.01", "1e-3", 1000, "1e-5"),
    ("0.01", "1e6", 1000, "1e-5"),
    ("0.001", 1, 10**6, "1e-5"),
    ("1e-9", 1, 10**9, "1e-5"),
    ("1e-9", 1, 10**6, "1e-12"),
    ("0.01", 1, 100, "0.999999"),
    ("0.01", 1, 100, "1e-200"),
    ("0.01", 1, 100, "1e-300"),
    ("0.01", 1, 100, "1e-400"),
    ("0.01", 1, 100, 0),
    ("0.999", 1, 100, "1e-5"),
    ("0.9999999999999999999", 1, 100, "1e-5"),
    ("1e-40", 1, 100, "1e-5"),
    ("1e-400", 1, 100, "1e-5"),
    ("0.5", 1, 10**15, "1e-5"),
    ("0.3", "1e-200", 3, "1e-5"),
    ("0.3", "1e200", 3, "1e-5"),
    ("0.3", "1e13", 10**18, "1e-5"),
    ("0.5", "0.01", 1, "0.1"),
    ("0.5", 1, 1, "0.6"),
    ("1e-18", "1e-3", 30, "1e-30"),
    ("1e-300", "1e-12", 30, "1e-5"),
]


@pytest.mark.parametrize(("q", "z", "rounds", "delta"), EXTREMES)
def test_extreme_settings_have_ordered_answers(q: Any, z: Any, rounds: int, delta: Any) -> None:
    accountant = spent(ADD_REMOVE, Repeated(sampled(z, q), rounds))
    interval = accountant.interval(delta)
    assert 0.0 <= (interval.lower or 0.0) <= interval.upper
    together = account([Repeated(sampled(z, q), rounds)], ADD_REMOVE, View.RELEASED, delta)
    assert 0.0 <= (together.lower or 0.0) <= together.upper
    assert together.upper < math.inf or exact("delta", delta) < Fraction(1, 10**300) or z == "1e-200"
    for epsilon in (0, 1, 10**6):
        assert 0.0 <= accountant.delta(epsilon) <= 1.0


KNOWN: list[tuple[Any, Any, int, Any, float, float]] = [
    # dp-accounting 0.6.0 on a mesh of 1e-4 (1e-2 for the first), pessimistic, and its optimistic end.
    ("0.5", "0.4", 1000, "1e-5", 1420.0, 1427.0),
    ("0.001", 1, 10**6, "1e-5", 6.0, 6.05),
    ("0.01", 1, 1000, "1.1e-18", 5.74, 5.76),
]


@pytest.mark.parametrize(("q", "z", "rounds", "delta", "least", "most"), KNOWN)
def test_extreme_settings_have_the_right_answers(
    q: Any, z: Any, rounds: int, delta: Any, least: float, most: float
) -> None:
    lower, upper = both_ends(spent(ADD_REMOVE, Repeated(sampled(z, q), rounds)), delta)
    assert least <= lower <= upper <= most
    assert upper - lower <= 1e-3 * upper


def test_tiny_noise_keeps_both_ends_around_the_closed_form() -> None:
    """Under Q nothing of the far mode is left as a double; the lower end must not mistake that for proof."""
    inner = gaussian_epsilon(1e-3, 1e-3)
    truth = inner + math.log(0.01)
    lower, upper = both_ends(spent(ADD_REMOVE, sampled("1e-3", "0.01")), "1e-5")
    assert 0.99 * truth <= lower <= truth <= upper <= 1.01 * truth


# --- what is counted, and what is refused --------------------------------------------------------------


def test_stated_bounds_count_above_and_prove_nothing_below() -> None:
    gaussian = Repeated(sampled(1, "0.01"), 100)
    alone = both_ends(spent(ZERO_OUT, gaussian), "1e-5")
    with_bound = both_ends(spent(ZERO_OUT, gaussian, PureEvent(Fraction(1, 2))), "1e-5")
    assert with_bound[1] > alone[1] + 0.3
    assert with_bound[0] == pytest.approx(alone[0], rel=1e-3)
    assert spent(ZERO_OUT, PureEvent(1)).interval("1e-5").lower is None


def test_approximate_events_spend_their_delta_outright() -> None:
    event = Repeated(ApproxEvent(Fraction(1, 10), Fraction(1, 10**6)), 10)
    accountant = spent(ZERO_OUT, event)
    assert accountant.epsilon(Fraction(1, 10**5)) == 1.0
    assert accountant.epsilon("0.999e-5") == math.inf
    pure = spent(ZERO_OUT, Repeated(PureEvent(Fraction(1, 10)), 10))
    assert accountant.epsilon("1e-2") == pure.epsilon("0.00999")
    assert accountant.delta(1) == pytest.approx(1e-5)
    assert accountant.upper_at(1e-3, "1e-2") == pytest.approx(pure.upper_at(1e-3, "0.00999"))


def test_exact_sums_of_pure_events_reach_the_last_unit() -> None:
    for parts in (1, 3, 10, 10**6):
        accountant = spent(ZERO_OUT, Repeated(PureEvent(Fraction(3, 10 * parts)), parts))
        assert accountant.epsilon(0) == upward(Fraction(3, 10))
        assert accountant.delta(Fraction(3, 10)) == 0.0
        assert accountant.upper_at(1e-3, 0) == upward(Fraction(3, 10))


def test_vector_laplace_costs_as_any_pure_release_and_proves_as_one_coordinate() -> None:
    line, space = (spent(ZERO_OUT, Repeated(LaplaceEvent(2, 1, d, 0, components=0), 10)) for d in (1, 100))
    pure = spent(ZERO_OUT, Repeated(PureEvent(Fraction(1, 2)), 10))
    assert space.epsilon("1e-5") == pure.epsilon("1e-5") >= line.epsilon("1e-5")
    assert space.interval("1e-5").lower == pytest.approx(both_ends(line, "1e-5")[0], rel=1e-3)


def test_an_exact_release_costs_everything() -> None:
    accountant = spent(ZERO_OUT, NonPrivate(), sampled(1, "0.1"))
    assert accountant.epsilon("0.5") == math.inf
    assert accountant.delta(100) == 1.0
    assert accountant.upper_at(1e-3, "1e-5") == math.inf


def test_imperfect_draws_and_lattice_slack_widen_both_ends() -> None:
    def release(d: int, draws: int) -> Event:
        return Repeated(Sampled(GaussianEvent(10**4, 10**4, d, 1, draws), Poisson(Fraction(1, 10))), 10)

    ideal = both_ends(spent(ZERO_OUT, release(4, 0)), "1e-5")
    drawn = both_ends(spent(ZERO_OUT, release(4, 2**100)), "1e-5")
    assert drawn[0] < ideal[0]
    assert ideal[1] < drawn[1] < 1.1 * ideal[1]
    assert spent(ZERO_OUT, release(4, 2**126)).interval("1e-5").upper == math.inf
    # A dimension nobody has: kappa(4) d = 4e-7 per release.
    wide = both_ends(spent(ZERO_OUT, release(2 * 10**27, 0)), "1e-5")
    assert wide[0] < ideal[0]
    assert wide[1] > ideal[1]
    assert spent(ZERO_OUT, release(2 * 10**27, 0)).delta(1) >= spent(ZERO_OUT, release(4, 0)).delta(1)


REFUSED: list[tuple[str, Event, Unit]] = [
    ("replace-one", sampled(1, "0.1"), REPLACE_ONE),
    ("replace-one", Sampled(GaussianEvent.for_multiplier(1), FixedSize(1, 10)), REPLACE_ONE),
    ("fixed size", Sampled(GaussianEvent.for_multiplier(1), FixedSize(1, 10)), ADD_REMOVE),
    ("exact total", Sampled(GaussianEvent(900, 1, 1, 10, 0), HALF), ZERO_OUT),
    ("shrinks", GaussianEvent(900, 1, 1, 10, 0), ADD_REMOVE),
    ("skellam", SkellamEvent(900, 1, 1, 1, 0), ZERO_OUT),
    ("skellam", Sampled(SkellamEvent(900, 1, 1, 1, 0), HALF), ZERO_OUT),
    ("zcdp", ZcdpEvent(1), ZERO_OUT),
    ("zcdp", Sampled(ZcdpEvent(1), HALF), ZERO_OUT),
    ("approximate", Sampled(ApproxEvent(1, 0), HALF), ZERO_OUT),
    ("laplace", Sampled(Composed((LaplaceEvent(1, 1, 1, 0), GaussianEvent(900, 1, 1, 1, 0))), HALF), ZERO_OUT),
    ("finer lattice", GaussianEvent(10**6, 10**6, d=10**30, components=1, draws=0), ZERO_OUT),
    ("finer lattice", Sampled(GaussianEvent(10**6, 10**6, 10**30, 1, 0), HALF), ZERO_OUT),
]


@pytest.mark.parametrize(("reason", "event", "unit"), REFUSED)
def test_what_has_no_dominating_pair_is_refused_by_name(reason: str, event: Event, unit: Unit) -> None:
    with pytest.raises(UnsupportedEvent, match=reason):
        spent(unit, event)


def test_sampled_integer_noise_below_nine_is_too_coarse() -> None:
    with pytest.raises(NoiseTooCoarse, match="finer lattice"):
        spent(ZERO_OUT, Sampled(GaussianEvent(8, 1, 1, 1, 1), HALF))


def test_losses_beyond_all_scales_move_to_the_private_side() -> None:
    huge, tiny = LaplaceEvent(Fraction(1, 10**20), 1, 1, 0, components=0), LaplaceEvent(10**40, 1, 1, 0, components=0)
    assert between(huge, Relation.ZERO_OUT).above is None
    assert between(tiny, Relation.ZERO_OUT).below is None
    assert spent(ZERO_OUT, huge).epsilon("1e-5") == pytest.approx(1e20)
    assert 0.0 <= spent(ZERO_OUT, tiny).epsilon("1e-5") < 1e-30
    far = LaplaceEvent(2**60, 2**60, 1, 0)
    assert between(far, Relation.ZERO_OUT).below is None
    assert spent(ZERO_OUT, far).epsilon("1e-5") <= 1.0


@pytest.mark.parametrize("mesh", ["1e400", 0.0, -1.0, math.inf, math.nan])
def test_a_mesh_that_is_none_is_refused(mesh: float) -> None:
    with pytest.raises(BadParameters, match="mesh"):
        spent(ZERO_OUT, sampled(1, "0.1")).upper_at(mesh, "1e-5")


def test_a_mesh_too_fine_to_be_kept_is_refused() -> None:
    with pytest.raises(BadParameters, match="mesh"):
        spent(ZERO_OUT, sampled(1, "0.1")).upper_at(1e-9, "1e-5")


def test_ends_that_cross_block_the_release() -> None:
    assert ordered(1.0, 2.0).upper == 2.0
    assert ordered(2.0 * (1 + 1e-12), 2.0).lower == 2.0
    with pytest.raises(AccountantDisagreement, match="report both"):
        ordered(2.001, 2.0)


def test_both_accountants_make_one_interval() -> None:
    interval = account([Repeated(sampled("0.7683", "0.001"), 2000)], ADD_REMOVE, View.RELEASED, "1e-7")
    assert interval == Interval(interval.lower, interval.upper, Fraction(1, 10**7), "pld")
    assert interval.lower is not None
    assert 0.99 <= interval.lower <= interval.upper <= 1.0


class TestPldAccountant(AccountantContract):
    """The contract."""

    refused = Sampled(SkellamEvent(900, 1, 1, 1, 0), HALF)

    def make(self, unit: Unit) -> Accountant:
        """An accountant of privacy loss distributions."""
        return PldAccountant(unit)


@pytest.mark.parametrize(
    ("z", "q", "rounds", "delta"),
    [
        ("0.8", "1e-4", 10_000, "1e-10"),
        ("0.8", "1e-4", 10_000, "1e-12"),
        ("0.6", "2e-5", 20_000, "1e-8"),
        ("0.5567", "3.166e-5", 4_835, "1.41e-12"),
    ],
)
def test_both_ends_meet_where_the_sum_is_mostly_nothing_and_rarely_much(
    z: str, q: str, rounds: int, delta: str
) -> None:
    """The scout's tilt spreads such sums over more cells than can be kept; the right one does not."""
    found = spent(ADD_REMOVE, Repeated(sampled(z, q), rounds)).interval(delta)
    assert found.lower is not None
    assert found.upper - found.lower <= max(0.01 * found.upper, 0.005)
