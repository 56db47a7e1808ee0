"""Layers of noise: any allowed cohort ends with the same variance, and a seed opens its layer and later ones only."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Unit, View, account
from dp.errors import BadParameters, Infeasible, NoiseTooCoarse
from dp.events import Poisson, Sampled
from dp.layers import LABEL_LAYER, Layers, chain
from dp.noise import Entropy, discrete_gaussian

ROTATION = bytes(32)
DEMAND = {
    "noise_multiplier": Fraction(1),
    "clip": Fraction(1),
    "dimension": 500,
    "modulus_bits": 24,
    "max_clients": 10,
    "min_survivors": 5,
    "colluders": 1,
}
LAYERS = Layers.plan(**DEMAND)
ZERO = np.zeros(DEMAND["dimension"])


def first_of(client: int, trial: int = 0) -> bytes:
    return bytes([client, trial]) + bytes(30)


def sent(layers: Layers, client: int, trial: int = 0, vector: np.ndarray = ZERO) -> np.ndarray:
    entropy = Entropy.insecure(1000 * trial + client, b"test", b"layers")
    return layers.encode(vector, ROTATION, entropy, first_of(client, trial)).vector


def opened(layers: Layers, survivors: range, trial: int = 0) -> list[bytes]:
    place = layers.opened(len(survivors)) - 1
    return [layers.seeds(first_of(client, trial))[place] for client in survivors]


@given(most=st.integers(2, 60), data=st.data())
def test_the_kept_layers_add_up_to_the_total_whoever_drops_out(most: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(2, most))
    colluders = data.draw(st.integers(0, least - 2))
    layers = Layers.plan(**DEMAND | {"max_clients": most, "min_survivors": least, "colluders": colluders})
    assert len(layers.variances) == most - least + 1 == layers.removable + 1
    for survivors in range(least, most + 1):
        kept = layers.variances[: layers.opened(survivors)]
        assert survivors * sum(kept) == layers.total_variance
        assert (survivors - colluders) * sum(kept) >= layers.share.sigma2
    assert sum(layers.variances) == layers.share.share_variance


@pytest.mark.parametrize("survivors", range(5, 11))
def test_what_is_left_of_the_sum_are_exactly_the_kept_layers(survivors: int) -> None:
    cohort, kept = range(survivors), LAYERS.opened(survivors)
    left = sum(sent(LAYERS, client) for client in cohort) - LAYERS.surplus(opened(LAYERS, cohort))
    expected = np.zeros_like(left)
    for client in cohort:
        expected += sent(LAYERS, client)
        for place in range(kept, LAYERS.removable + 1):
            seed = LAYERS.seeds(first_of(client))[place - 1]
            with Entropy.derived(seed, LABEL_LAYER, b"") as entropy:
                expected -= discrete_gaussian(LAYERS.variances[place], left.size, entropy)
    assert np.array_equal(left, expected)


@pytest.mark.parametrize("survivors", [5, 8, 10])
def test_the_variance_of_what_is_left_is_the_total(survivors: int) -> None:
    trials, cohort = 40, range(survivors)
    left = [
        sum(sent(LAYERS, client, trial) for client in cohort) - LAYERS.surplus(opened(LAYERS, cohort, trial))
        for trial in range(trials)
    ]
    draws = np.concatenate(left)
    # The variance of n squared normal draws is 2/n: five of its standard deviations.
    assert abs(np.mean(draws.astype(float) ** 2) / float(LAYERS.total_variance) - 1) < 5 * (2 / draws.size) ** 0.5


def test_decoding_gives_the_sum_of_the_clipped_vectors() -> None:
    quiet = Layers.plan(**DEMAND | {"noise_multiplier": Fraction(1, 100), "modulus_bits": 40})
    vectors = [np.full(DEMAND["dimension"], 0.001 * client) for client in range(7)]
    total = sum(sent(quiet, client, 0, vector) for client, vector in enumerate(vectors))
    error = quiet.decode(total, ROTATION, opened(quiet, range(7))) - sum(vectors)
    std = float(quiet.share.gamma) * float(quiet.total_variance) ** 0.5
    assert 0.8 * std < np.std(error) < 1.2 * std


def test_a_chain_goes_one_way_and_may_be_followed_from_any_link() -> None:
    links = chain(first_of(3), 6)
    assert len(set(links)) == 6
    for place, link in enumerate(links):
        assert chain(link, 6 - place) == links[place:]
    assert chain(first_of(3), 0) == ()


def test_layers_of_one_client_and_of_two_are_unlike() -> None:
    seeds = [*chain(first_of(1), 3), *chain(first_of(2), 3)]
    assert len(set(seeds)) == 6
    alone = Layers.plan(**DEMAND | {"max_clients": 6})
    rows = [sent(alone, client, trial) for client in range(2) for trial in range(2)]
    assert all(not np.array_equal(one, other) for one, other in pairwise(rows))


def test_the_event_counts_the_layers_that_stay_and_is_never_dearer_than_planned() -> None:
    unit, costs = Unit("zero-out"), []
    for survivors in range(5, 11):
        event = LAYERS.event(survivors)
        kept = LAYERS.opened(survivors)
        assert event.components == (survivors - 1) * kept
        assert event.sigma2 == (survivors - 1) * sum(LAYERS.variances[:kept]) >= LAYERS.share.sigma2
        assert event.total == "exact"
        assert LAYERS.event_released(survivors).sigma2 == LAYERS.total_variance
        costs.append(account([event], unit, View.AGGREGATOR, "1e-5").upper)
    assert max(costs) == costs[0]
    claimed = account([LAYERS.share.event(5)], unit, View.AGGREGATOR, "1e-5").upper
    assert costs[0] == pytest.approx(claimed, rel=1e-9)


def test_an_exact_total_may_be_sampled() -> None:
    event = Sampled(LAYERS.event_released(7), Poisson(Fraction(1, 10)))
    sampled = account([event], Unit("zero-out"), View.RELEASED, "1e-5").upper
    assert sampled < account([LAYERS.event_released(7)], Unit("zero-out"), View.RELEASED, "1e-5").upper


@pytest.mark.parametrize("survivors", [0, 4, 11])
def test_a_cohort_that_was_not_planned_for_is_not_opened(survivors: int) -> None:
    with pytest.raises(Infeasible, match="do not open"):
        LAYERS.opened(survivors)
    with pytest.raises(Infeasible, match="do not open"):
        LAYERS.surplus([bytes(32)] * survivors)


def test_a_ring_too_narrow_for_thin_layers_is_refused_with_the_width_that_would_do() -> None:
    crowd = DEMAND | {"max_clients": 100, "min_survivors": 60, "noise_multiplier": Fraction(1, 20)}
    with pytest.raises(NoiseTooCoarse, match="the smallest modulus_bits that would do is") as refused:
        Layers.plan(**crowd | {"modulus_bits": 16})
    bits = int(str(refused.value).split()[-1])
    assert min(Layers.plan(**crowd | {"modulus_bits": bits}).variances) >= 9
    with pytest.raises(NoiseTooCoarse):
        Layers.plan(**crowd | {"modulus_bits": bits - 1})


@pytest.mark.parametrize("first", [b"", bytes(31), bytearray(32), "0" * 32])
def test_a_seed_is_32_bytes(first: object) -> None:
    with pytest.raises(BadParameters, match="32 bytes"):
        chain(first, 3)  # type: ignore[arg-type]
