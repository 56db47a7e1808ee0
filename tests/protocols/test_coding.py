"""Both codings: what goes in comes out of the mean, within the error each one states; noise is there and private."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp import errors as dp_errors
from protocols.coding import Exact, Noisy, Randomness, coding_of
from protocols.errors import BadPlan, WrongUpdate
from protocols.heads import NO_LEDGER
from protocols.plan import Agreement, NoisePlan, RoundPlan, context_of
from secagg.errors import BadParameters
from secagg.keys import Seed

CLIENTS = 6
PLAN = RoundPlan.recommend(CLIENTS, bits=16, max_weight=4, clip=1.0)
NOISY_PLAN = RoundPlan.recommend(CLIENTS, noise_multiplier=1.0, modulus_bits=32, clip=1.0, corrupt=0)


def agreement(plan: RoundPlan = PLAN, length: int = 5) -> Agreement:
    return Agreement(plan, 0, bytes(16), length, bytes(32), bytes(32), NO_LEDGER)


def randomness(agreed: Agreement, who: int = 0, deterministic: bool = True) -> Randomness:
    return Randomness(Seed(bytes([who]) * 32), context_of(agreed), deterministic)


def mean_of(agreed: Agreement, updates: list, weights: list[int]) -> np.ndarray:
    coding = coding_of(agreed)
    total = coding.ring.zeros(coding.length)
    for who, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        coding.ring.add_into(total, coding.encode(update, weight, randomness(agreed, who)).vector)
    return coding.decode(coding.ring.reduce(total), sum(weights), context_of(agreed))


# --- without noise


def test_lattice_points_come_back_without_any_error() -> None:
    agreed = agreement()
    step = agreed.plan.encoding.step
    updates = [np.array([who, -who, 100 * who, 0, 32768], float) * step for who in range(CLIENTS)]
    weights = [1, 2, 3, 4, 1, 2]
    expected = sum(w * u for w, u in zip(weights, updates, strict=True)) / sum(weights)
    assert mean_of(agreed, updates, weights).tolist() == expected.tolist()


@given(st.lists(st.lists(st.floats(-1, 1), min_size=5, max_size=5), min_size=2, max_size=CLIENTS), st.data())
def test_the_weighted_mean_errs_by_less_than_one_step(updates: list[list[float]], data: st.DataObject) -> None:
    agreed = agreement()
    weights = [data.draw(st.integers(1, 4)) for _ in updates]
    arrays = [np.array(update) for update in updates]
    expected = sum(w * u for w, u in zip(weights, arrays, strict=True)) / sum(weights)
    assert np.max(np.abs(mean_of(agreed, arrays, weights) - expected)) < agreed.plan.encoding.step * (1 + 2**-20)


def test_clipped_coordinates_are_counted_and_end_at_the_clip() -> None:
    agreed = agreement()
    update = np.array([2.0, -3.0, 0.5, 1.0, -1.0])
    encoded = coding_of(agreed).encode(update, 1, randomness(agreed))
    assert encoded.clipped == 2
    assert mean_of(agreed, [update], [1]).tolist() == [1.0, -1.0, 0.5, 1.0, -1.0]


def test_rounding_is_a_private_function_of_seed_and_context() -> None:
    agreed = agreement(length=400)
    other = replace(agreed, round=1)
    update = np.full(400, 0.3)
    coding = coding_of(agreed)
    first = coding.encode(update, 1, randomness(agreed)).vector
    assert np.array_equal(first, coding.encode(update, 1, randomness(agreed)).vector)
    for changed in (randomness(agreed, 1), randomness(other)):
        assert not np.array_equal(first, coding.encode(update, 1, changed).vector)


# --- with noise


def test_the_noisy_mean_is_within_eight_standard_deviations_and_not_exact() -> None:
    agreed = agreement(NOISY_PLAN, 50)
    coding = coding_of(agreed)
    assert isinstance(coding, Noisy)
    updates = [np.full(50, 0.01 * who) for who in range(CLIENTS)]
    deviation = float(coding.share.gamma) * math.sqrt(CLIENTS * coding.share.share_variance) / CLIENTS
    errors = mean_of(agreed, updates, [1] * CLIENTS) - np.mean(updates, axis=0)
    assert np.max(np.abs(errors)) < 8 * deviation
    # Half the noise, or none, would not reach this; one in 10^7 honest runs would not either.
    assert np.sqrt(np.mean(errors**2)) > deviation / 2


def test_every_client_draws_its_own_noise_and_the_same_again_from_the_same_root() -> None:
    agreed = agreement(NOISY_PLAN)
    coding = coding_of(agreed)
    update = np.zeros(5)
    drawn = [coding.encode(update, 1, randomness(agreed, who)).vector.tobytes() for who in (0, 1, 2, 0)]
    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]
    later = replace(agreed, round=1)
    assert coding.encode(update, 1, randomness(later)).vector.tobytes() not in drawn


def test_noise_of_a_known_root_is_marked_insecure_and_any_other_is_not() -> None:
    agreed = agreement(NOISY_PLAN)
    assert randomness(agreed, deterministic=True).noise().rng == "insecure"
    assert randomness(agreed, deterministic=False).noise().rng != "insecure"


def test_the_ring_is_the_plans_and_the_vector_is_padded() -> None:
    coding = coding_of(agreement(NOISY_PLAN, 50))
    assert coding.ring.bits == 32
    assert coding.length == 64
    assert coding_of(agreement(PLAN, 50)).length == 50
    assert isinstance(coding_of(agreement()), Exact)


def test_the_plan_of_the_noise_is_that_of_the_smallest_cohort() -> None:
    share = coding_of(agreement(NOISY_PLAN)).share
    assert (share.min_survivors, share.max_clients) == (NOISY_PLAN.min_cohort, CLIENTS)
    assert share.noise_multiplier == Fraction(1)
    assert share.clip == NOISY_PLAN.clip


def test_the_rotation_is_public_and_a_function_of_the_context() -> None:
    from protocols.coding import _rotation

    agreed = agreement(NOISY_PLAN)
    assert _rotation(context_of(agreed)) == _rotation(context_of(agreed))
    assert _rotation(context_of(agreed)) != _rotation(context_of(replace(agreed, round=1)))


def test_an_update_with_a_long_norm_is_clipped_as_a_whole() -> None:
    agreed = agreement(NOISY_PLAN)
    coding = coding_of(agreed)
    assert coding.encode(np.full(5, 10.0), 1, randomness(agreed)).clipped == 1
    assert coding.encode(np.full(5, 0.01), 1, randomness(agreed)).clipped == 0


# --- errors


def test_weights_have_no_place_beside_noise() -> None:
    agreed = agreement(NOISY_PLAN)
    with pytest.raises(WrongUpdate, match="every client has weight 1"):
        coding_of(agreed).encode(np.zeros(5), 2, randomness(agreed))


@pytest.mark.parametrize("weight", [0, 5, -1])
def test_weights_lie_in_the_agreed_range(weight: int) -> None:
    agreed = agreement()
    with pytest.raises(BadParameters, match="weight"):
        coding_of(agreed).encode(np.zeros(5), weight, randomness(agreed))


@pytest.mark.parametrize("update", [np.zeros(4), np.zeros(6), np.zeros((5, 1))])
def test_a_noisy_update_of_another_length_is_refused(update: np.ndarray) -> None:
    agreed = agreement(NOISY_PLAN)
    with pytest.raises(dp_errors.BadParameters):
        coding_of(agreed).encode(update, 1, randomness(agreed))


def test_not_a_number_is_refused_by_either_coding() -> None:
    from secagg.errors import NonFinite

    for plan, error in ((PLAN, NonFinite), (NOISY_PLAN, dp_errors.NonFinite)):
        agreed = agreement(plan)
        for bad in (math.nan, math.inf, -math.inf):
            with pytest.raises(error):
                coding_of(agreed).encode(np.array([0, 0, bad, 0, 0]), 1, randomness(agreed))


def test_noise_that_does_not_fit_the_ring_is_a_bad_plan_that_names_the_remedy() -> None:
    plan = replace(NOISY_PLAN, noise=NoisePlan(Fraction(1 << 30), 0, 8))
    with pytest.raises(BadPlan, match="smallest modulus_bits that would do is"):
        coding_of(agreement(plan))


@pytest.mark.parametrize("multiplier", [Fraction(1 << 64), Fraction(1, 1 << 64)])
@pytest.mark.parametrize("bits", [2, 8, 24, 62, 64])
def test_the_ends_of_the_range_of_noise_are_met_or_refused_by_name(multiplier: Fraction, bits: int) -> None:
    with pytest.raises(BadPlan):
        coding_of(agreement(replace(NOISY_PLAN, noise=NoisePlan(multiplier, 0, bits))))
