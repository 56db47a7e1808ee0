"""dp.mechanisms: the contract for each law, and what each law alone promises."""

from __future__ import annotations

from fractions import Fraction
from math import exp, inf, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Relation, Unit, View, account
from dp.bounds import Clip, Lattice, l1_bound, l2_squared_bound
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import GaussianEvent, LaplaceEvent, Poisson, Sampled
from dp.mechanisms import DiscreteGaussian, DiscreteLaplace, Gaussian, Laplace, LocalMechanism, Mechanism, Skellam
from tests.contracts.mechanisms import CLIP, LATTICE, UNIT, MechanismContract
from tests.dp.noise_kit import seeded

REPLACE_ONE = Unit("replace-one")
units = st.sampled_from([Unit(relation) for relation in Relation])


class TestDiscreteGaussian(MechanismContract):
    def make(self, clip: Clip = CLIP, lattice: Lattice = LATTICE, unit: Unit = UNIT) -> Mechanism:
        return DiscreteGaussian(Fraction(2025), clip, lattice, unit)


class TestDiscreteLaplace(MechanismContract):
    def make(self, clip: Clip = CLIP, lattice: Lattice = LATTICE, unit: Unit = UNIT) -> Mechanism:
        return DiscreteLaplace(Fraction(81, 2), clip, lattice, unit)


class TestSkellam(MechanismContract):
    def make(self, clip: Clip = CLIP, lattice: Lattice = LATTICE, unit: Unit = UNIT) -> Mechanism:
        return Skellam(Fraction(2025), clip, lattice, unit)


class TestSkellamWithoutAnL1Clip(MechanismContract):
    """Its L1 bound then follows from the L2 norm."""

    def make(self, clip: Clip = CLIP, lattice: Lattice = LATTICE, unit: Unit = UNIT) -> Mechanism:
        return Skellam(Fraction(2025), Clip(clip.l2), lattice, unit)


# Laplace


@given(st.fractions(Fraction(1, 20), 20), st.integers(1, 10**5), units)
def test_laplace_costs_the_epsilon_it_was_built_for(epsilon: Fraction, d: int, unit: Unit) -> None:
    mechanism = Laplace.for_epsilon(epsilon, clip=Clip(Fraction(5), Fraction(5)), dimension=d, unit=unit)
    event = mechanism.event(d)
    assert unit.relation.factor * event.l1 / Fraction(event.scale) == epsilon
    # delta pays for the draws alone: at 10^-15 the accountant finds the pure epsilon, and hardly more.
    upper = account([event], unit, View.RELEASED, "1e-15").upper
    assert float(epsilon) * (1 - 1e-12) <= upper <= float(epsilon) * (1 + 1e-9)
    ideal = LaplaceEvent(event.scale, event.l1, d, draws=0)
    assert account([ideal], unit, View.RELEASED, 0).upper == pytest.approx(float(epsilon), rel=1e-9)
    assert account([event], unit, View.RELEASED, 0).upper == inf  # draws within 2^-127 are not pure, and say so


def test_the_ratio_of_neighbouring_laplace_outputs_is_e_to_the_epsilon() -> None:
    # One coordinate moved by Delta_1: no ratio of the exact law exceeds epsilon, and the far ones reach it.
    mechanism = Laplace.for_epsilon(
        Fraction(1), clip=Clip(Fraction(1), Fraction(1)), dimension=1, unit=UNIT, lattice=Lattice(Fraction(1, 8))
    )
    l1 = l1_bound(mechanism.clip, mechanism.lattice, 1)
    [term] = mechanism.law.terms()
    half = term.weights(*term.parameters)
    pmf = {k: half[abs(k)] for k in range(-len(half) + 1, len(half))}
    ratios = [log(Fraction(pmf[k], pmf[k + l1])) for k in pmf if k + l1 in pmf and abs(k) < 600]
    assert max(ratios) == pytest.approx(1, abs=1e-9)
    assert min(ratios) == pytest.approx(-1, abs=1e-9)


def test_the_tails_of_laplace_noise_follow_their_closed_form() -> None:
    # P(noise >= k) = r^k / (1 + r) for k >= 0, r = exp(-1 / scale).
    ratio = exp(-1 / 20)
    noise = DiscreteLaplace(Fraction(20), CLIP, LATTICE, UNIT).apply(np.zeros(10**6, dtype=np.int64), seeded(5))
    for k in (0, 1, 20, 60):
        expected = ratio**k / (1 + ratio)
        assert abs((noise >= k).mean() - expected) < 6 * (expected / 10**6) ** 0.5


def test_laplace_noise_without_an_l1_clip_is_refused() -> None:
    with pytest.raises(BadParameters, match="L1"):
        DiscreteLaplace(Fraction(1), Clip(Fraction(1)), LATTICE, UNIT)
    with pytest.raises(BadParameters, match="L1"):
        Laplace.for_epsilon(Fraction(1), clip=Clip(Fraction(1)), dimension=3, unit=UNIT)


# Gaussian


@given(st.fractions(Fraction(1, 2), 30), st.integers(1, 10**5), units)
def test_gaussian_costs_what_its_multiplier_costs_and_half_a_percent_more_at_most(
    z: Fraction, d: int, unit: Unit
) -> None:
    mechanism = Gaussian.for_sigma(z, clip=Clip(Fraction(1)), dimension=d, unit=unit)
    event = mechanism.event(d)
    assert event.sigma2 == z**2 * event.l2_squared
    ideal = account([GaussianEvent.for_multiplier(z)], unit, View.RELEASED, "1e-6").upper
    upper = account([event], unit, View.RELEASED, "1e-6").upper
    assert ideal * (1 - 1e-9) <= upper <= ideal * 1.005


def test_the_default_lattice_costs_a_thousandth_of_the_clip() -> None:
    for d in (1, 7, 1000, 10**6):
        mechanism = Gaussian.for_sigma(Fraction(1), clip=Clip(Fraction(3)), dimension=d, unit=UNIT)
        radius = 3 / mechanism.lattice.gamma
        assert radius**2 < l2_squared_bound(mechanism.clip, mechanism.lattice, d) < radius**2 * Fraction(1003, 1000)


def test_skellam_on_the_same_lattice_costs_a_little_more_than_gaussian() -> None:
    # Agarwal, Kairouz and Liu: the gap closes as the noise grows beyond the lattice.
    gaussian, skellam_noise = (
        account([law(Fraction(10**6), CLIP, Lattice(Fraction(1, 512)), UNIT).event(10)], UNIT, View.RELEASED, "1e-6")
        for law in (DiscreteGaussian, Skellam)
    )
    assert gaussian.upper < skellam_noise.upper < 1.1 * gaussian.upper


@pytest.mark.parametrize("wrong", [0, -1, 1.0, None])
def test_what_a_builder_is_asked_for_must_be_a_positive_rational(wrong: Any) -> None:
    with pytest.raises(BadParameters, match="noise_multiplier"):
        Gaussian.for_sigma(wrong, clip=CLIP, dimension=3, unit=UNIT)
    with pytest.raises(BadParameters, match="epsilon"):
        Laplace.for_epsilon(wrong, clip=CLIP, dimension=3, unit=UNIT)


# local


def local(z: int = 2) -> LocalMechanism:
    return LocalMechanism(
        Gaussian.for_sigma(Fraction(z), clip=Clip(Fraction(1)), dimension=4, unit=REPLACE_ONE, lattice=LATTICE)
    )


def test_one_message_holds_the_whole_noise_and_costs_twice_the_bound() -> None:
    mechanism, update = local().mechanism, np.array([0.5, -0.5, 0.25, 0.0])
    message = local().randomise(update, seeded(1))
    stream = seeded(1)
    assert np.array_equal(message.vector, mechanism.apply(mechanism.quantise(update, stream), stream))
    assert message.event == local().event(4, "insecure")
    upper = account([local().event(4)], REPLACE_ONE, View.AGGREGATOR, "1e-6").upper
    whole = account([GaussianEvent.for_multiplier(1)], Unit("add-or-remove-one"), View.AGGREGATOR, "1e-6").upper
    assert upper == pytest.approx(whole, rel=2e-3)
    assert upper > whole


def test_the_sum_of_n_messages_holds_n_times_the_noise() -> None:
    n, update = 50, np.zeros(2000)
    total = sum(local().randomise(update, seeded(client)).vector for client in range(n))
    mechanism: Any = local().mechanism
    ratio = float((np.asarray(total).astype(np.float64) ** 2).mean()) / (n * float(mechanism.sigma2))
    assert abs(ratio - 1) < 6 * (2 / 2000) ** 0.5


@pytest.mark.parametrize("relation", ["zero-out", "add-or-remove-one"])
def test_a_local_release_has_no_neighbour_but_another_message(relation: str) -> None:
    with pytest.raises(BadParameters, match="replace-one"):
        LocalMechanism(DiscreteGaussian(Fraction(100), CLIP, LATTICE, Unit(relation)))


def test_only_a_mechanism_runs_locally() -> None:
    with pytest.raises(BadParameters, match="mechanism"):
        LocalMechanism(Fraction(1))  # type: ignore[arg-type]


def test_a_local_message_is_of_everyone_and_is_not_amplified_by_sampling() -> None:
    with pytest.raises(UnsupportedEvent):
        account([Sampled(local().event(4), Poisson(Fraction(1, 100)))], REPLACE_ONE, View.RELEASED, "1e-6")


def test_a_local_mechanism_says_that_it_is_one() -> None:
    assert local().describe() == f"local, by every client: {local().mechanism.describe()}"
    assert "replace-one" in local().describe()


def test_a_release_prints_its_event_and_not_its_vector() -> None:
    message = local().randomise(np.zeros(4), seeded(1))
    assert "vector" not in repr(message)
    assert "insecure" in repr(message)
