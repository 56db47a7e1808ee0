"""Skellam noise of the clients: its law in the sum, its sensitivities, its price beside the discrete Gaussian."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Unit, View, account
from dp.distributed import NoiseShare
from dp.errors import BadParameters, Infeasible, UnsupportedEvent
from dp.events import SkellamEvent
from dp.noise import TABLE_STD, Entropy
from dp.rdp import RdpAccountant
from dp.skellam_share import SkellamShare

ROTATION = bytes(32)
DEMAND = {
    "noise_multiplier": Fraction(1),
    "clip": Fraction(1),
    "dimension": 1000,
    "modulus_bits": 20,
    "max_clients": 10,
    "min_survivors": 5,
    "colluders": 1,
}
SHARE = SkellamShare.plan(**DEMAND)


def encoded(client: int, vector: np.ndarray, trial: int = 0) -> np.ndarray:
    return SHARE.encode(vector, ROTATION, Entropy.insecure(100 * trial + client, b"skellam", b"")).vector


@pytest.mark.parametrize("survivors", [5, 10])
def test_the_noise_of_the_sum_has_the_variance_of_its_event(survivors: int) -> None:
    zero = np.zeros(DEMAND["dimension"])
    draws = np.concatenate([sum(encoded(client, zero, trial) for client in range(survivors)) for trial in range(20)])
    planned = float(SHARE.event_released(survivors).mu)
    assert abs(np.mean(draws.astype(float) ** 2) / planned - 1) < 5 * (2 / draws.size) ** 0.5
    assert SHARE.event(survivors).mu == (survivors - 1) * SHARE.share.share_variance >= SHARE.share.sigma2


def test_decoding_gives_the_sum_of_the_clipped_vectors() -> None:
    vectors = [np.full(DEMAND["dimension"], 0.002 * client) for client in range(6)]
    total = sum(encoded(client, vector) for client, vector in enumerate(vectors))
    error = SHARE.decode(total, ROTATION) - sum(vectors)
    std = float(SHARE.share.gamma) * math.sqrt(float(SHARE.event_released(6).mu))
    assert 0.9 * std < np.std(error) < 1.1 * std


@given(st.integers(1, 3000), st.fractions(Fraction(1, 10), 4))
def test_no_vector_of_this_norm_has_a_larger_l1_norm(dimension: int, multiplier: Fraction) -> None:
    made = SkellamShare.plan(**DEMAND | {"dimension": dimension, "noise_multiplier": multiplier})
    squared, padded = made.share.l2_squared, made.share.padded
    assert made.l1 <= squared
    assert made.l1**2 >= min(padded * squared, squared**2)
    assert made.share.share_variance <= TABLE_STD**2
    assert made.event(5).l1 == made.l1


def test_it_costs_more_than_the_discrete_gaussian_and_hardly_more_on_a_fine_lattice() -> None:
    unit = Unit("zero-out")
    gaussian = RdpAccountant(unit)
    gaussian.compose(SHARE.share.event(5))
    here = account([SHARE.event(5)], unit, View.AGGREGATOR, "1e-5")
    assert here.lower is None
    assert gaussian.epsilon("1e-5") <= here.upper <= 1.01 * gaussian.epsilon("1e-5")
    coarse = SkellamShare.plan(**DEMAND | {"modulus_bits": 10, "max_clients": 5, "noise_multiplier": Fraction(3)})
    exact = RdpAccountant(unit)
    exact.compose(coarse.share.event(5))
    assert account([coarse.event(5)], unit, View.AGGREGATOR, "1e-5").upper > exact.epsilon("1e-5")


def test_published_epsilons_of_distributed_skellam_noise_are_met(shared: Path) -> None:
    """google-research/federated, distributed_dp: the same lattice, rounding bound and local noise."""
    table = json.loads((shared / "data" / "dp_reference.json").read_text())["distributed_forward"]
    checked = 0
    for entry in table:
        config, value = entry["config"], entry["value"]
        if config["q"] != 1.0 or config["steps"] != 1:
            continue
        radius = config["l2_clip"] / config["gamma"]
        slack = math.sqrt(2 * math.log(1 / config["beta"]))
        d = config["dim"]
        squared = min((radius + math.sqrt(d)) ** 2, radius**2 + d / 4 + slack * (radius + math.sqrt(d) / 2))
        mu = config["num_clients"] * (config["local_stddev"] / config["gamma"]) ** 2
        l1 = min(math.sqrt(d * squared), squared)
        event = SkellamEvent(*(Fraction(round(x * 10**6), 10**6) for x in (mu, squared, l1)), d=d, draws=0)
        accountant = RdpAccountant(Unit("zero-out"))
        accountant.compose(event)
        # Their orders are integers up to 255 and so are coarser; ours may only be below by that.
        assert 0.98 * value["eps_skellam"] <= accountant.epsilon(str(config["delta"])) <= 1.0001 * value["eps_skellam"]
        checked += 1
    assert checked >= 1


def test_wide_shares_small_cohorts_and_sampling_are_refused_by_name() -> None:
    wide = NoiseShare.plan(**DEMAND | {"modulus_bits": 40})
    with pytest.raises(BadParameters, match="coarser lattice"):
        SkellamShare(wide)
    assert SkellamShare.plan(**DEMAND | {"modulus_bits": 40}).share.share_variance <= TABLE_STD**2
    with pytest.raises(Infeasible, match="do not open"):
        SHARE.event(4)
    with pytest.raises(UnsupportedEvent):
        account([SHARE.event(5)], Unit("add-or-remove-one"), View.AGGREGATOR, "1e-5")
    assert SHARE.event(5, "insecure").rng == "insecure"
