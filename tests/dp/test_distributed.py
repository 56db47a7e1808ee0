"""dp.distributed: shares add up to the promised noise for every cohort, inside the ring, on the finest lattice."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from dp.distributed import MIN_MODULUS_BITS, Demand, NoiseShare
from dp.errors import BadParameters, DpError, Infeasible, NoiseTooCoarse, NonFinite
from dp.events import GaussianEvent
from dp.noise import CHUNK_WORDS, Entropy, discrete_gaussian, table_draws
from tests.rows import rows

SEED = bytes(range(32))
FALSE_ALARM = 1e-6
ASKED: dict[str, Any] = {
    "noise_multiplier": Fraction(1),
    "clip": Fraction(1),
    "dimension": 1000,
    "modulus_bits": 20,
    "max_clients": 10,
    "min_survivors": 8,
    "colluders": 2,
}


def planned(**changes: Any) -> NoiseShare:
    return NoiseShare.plan(**{**ASKED, **changes})


def seeded(client: int) -> Entropy:
    return Entropy.insecure(client, b"test", b"round")


def updates(clients: int, dimension: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(clients, dimension))


def step_below(gamma: Fraction) -> Fraction:
    """The next finer step of a 16-bit mantissa."""
    mantissa, scale = gamma, Fraction(1)
    while mantissa < 2**15:
        mantissa, scale = 2 * mantissa, scale / 2
    while mantissa >= 2**16:
        mantissa, scale = mantissa / 2, 2 * scale
    assert mantissa.denominator == 1
    return (mantissa - 1) * scale if mantissa > 2**15 else (mantissa - Fraction(1, 2)) * scale


# the plan


def test_orders_of_magnitude_agree_with_the_published_recipe(shared: Path) -> None:
    # n = 100, d = 4096, b = 16, epsilon 4 at delta 1e-5: the continuous sum needs 1.0812, each client a tenth.
    reference = json.loads((shared / "data" / "dp_reference.json").read_text())
    case = reference["distributed_params"][0]
    asked, recipe = case["config"], case["value"]
    assert (asked["bits"], asked["num_clients"], asked["dim"], asked["target_eps"]) == (16, 100, 4096, 4.0)
    share = planned(
        noise_multiplier=Fraction(10812, 10**4),
        dimension=4096,
        modulus_bits=16,
        max_clients=100,
        min_survivors=100,
        colluders=0,
    )
    local = float(share.gamma) * float(share.share_variance) ** 0.5
    assert local == pytest.approx(0.10812, rel=1e-3)
    assert local < recipe["ddg_local_stddev"]
    # The recipe leaves the ring at four standard deviations, we at seven: our lattice is that much coarser.
    assert 1 < float(share.gamma) / recipe["ddg_gamma"] < 2.5


def test_sensitivity_target_and_share_follow_from_the_lattice() -> None:
    share = planned(clip=Fraction(3), noise_multiplier=Fraction(5, 4))
    c, padded = 3 / share.gamma, 1024
    # d' = 1024 has root 32, so the bound is a plain rational.
    likely = c * c + Fraction(padded, 4) + (c + 16)
    assert share.l2_squared == math.floor(min((c + 32) ** 2, likely))
    assert share.sigma2 == Fraction(25, 16) * share.l2_squared
    assert share.share_variance == Fraction(math.ceil(share.sigma2 / 6 * 65536), 65536)
    assert 0 <= share.share_variance - share.sigma2 / 6 < Fraction(1, 65536)


@pytest.mark.parametrize("bits", [12, 16, 20, 32, 48])
def test_no_finer_step_would_fit_the_ring(bits: int) -> None:
    share = planned(modulus_bits=bits)
    assert share.fits(share.gamma)
    assert not share.fits(step_below(share.gamma)) or share.clip / step_below(share.gamma) > 2**29


def test_the_plan_is_the_same_everywhere() -> None:
    # Regression, from our own output: two parties derive the plan apart and must meet on every bit of it.
    assert planned().gamma == Fraction(35667, 1 << 31)
    assert planned(dimension=10**6, modulus_bits=24, clip=Fraction(1, 3)).gamma == Fraction(53157, 1 << 37)


@given(
    multiplier=st.fractions(min_value=Fraction(1, 10), max_value=30, max_denominator=1000),
    clip=st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=1000),
    dimension=st.integers(1, 10**6),
    bits=st.integers(MIN_MODULUS_BITS, 62),
    clients=st.integers(2, 1000),
    data=st.data(),
)
def test_every_plan_obeys_its_own_promises(
    multiplier: Fraction, clip: Fraction, dimension: int, bits: int, clients: int, data: st.DataObject
) -> None:
    survivors = data.draw(st.integers(2, clients))
    colluders = data.draw(st.integers(0, survivors - 2))
    asked: dict[str, Any] = {
        "noise_multiplier": multiplier,
        "clip": clip,
        "dimension": dimension,
        "modulus_bits": bits,
        "max_clients": clients,
        "min_survivors": survivors,
        "colluders": colluders,
    }
    try:
        share = planned(**asked)
    except (Infeasible, NoiseTooCoarse):
        # Refused for want of bits: the widest ring must do.
        share = planned(**{**asked, "modulus_bits": 62})
    assert share.share_variance * (survivors - colluders) >= share.sigma2
    assert share.sigma2 == multiplier**2 * share.l2_squared
    assert share.share_variance >= 9
    assert share.share_variance.denominator <= 2**16
    assert share.l2_squared <= 4 * (clip / share.gamma) ** 2
    assert share.peak_squared_at(share.gamma) <= 4 ** (share.modulus_bits - 1)
    assert Fraction(float(share.gamma)) == share.gamma


def test_a_finer_lattice_raises_every_term_of_the_peak() -> None:
    demand = Demand(**ASKED)
    gammas = [Fraction(3) ** power for power in range(2, -15, -1)]
    peaks = [demand.peak_squared_at(gamma) for gamma in gammas]
    assert peaks == sorted(peaks)
    assert [demand.l2_squared_at(gamma) for gamma in gammas] == sorted(map(demand.l2_squared_at, gammas))


def test_the_peak_of_a_sum_by_hand() -> None:
    # d' = 1024, p = 1e-6: 2 d'/p < 2^31, so k^2 = 2 ln(2^31); n = 10, C/gamma = 64, root of d' is 32.
    demand, gamma = Demand(**ASKED), Fraction(1, 64)
    assert demand.l2_squared_at(gamma) == 64**2 + 256 + (64 + 16)
    share = Fraction(math.ceil(Fraction(4432, 6) * 65536), 65536)
    spread = Fraction(100 * 64**2, 1024) + Fraction(10, 4) + 10 * share
    assert float(demand.peak_squared_at(gamma) / spread) == pytest.approx(2 * 31 * math.log(2), rel=1e-9)
    assert demand.peak_squared_at(gamma) / spread > 2 * 31 * Fraction(math.log(2))


# sums


def test_the_sum_of_shares_is_the_sum_of_integers_plus_the_sum_of_noise() -> None:
    share = planned()
    encoded, plain, noise = [], [], []
    for client, update in enumerate(updates(10, 1000)):
        encoded.append(share.encode(update, SEED, seeded(client)).vector)
        plain.append(share.quantise(update, SEED, seeded(client)).vector)
        noise.append(discrete_gaussian(share.share_variance, share.padded, seeded(client)))
    assert np.array_equal(sum(encoded), sum(plain) + sum(noise))


def test_summing_in_the_ring_loses_nothing() -> None:
    share = planned(modulus_bits=16)
    vectors = [share.encode(update, SEED, seeded(i)).vector for i, update in enumerate(updates(10, 1000))]
    modulus = 1 << share.modulus_bits
    ring = sum(vector % modulus for vector in vectors) % modulus
    centred = np.where(ring >= modulus // 2, ring - modulus, ring)
    assert np.array_equal(centred, sum(vectors))
    assert np.array_equal(share.decode(centred, SEED), share.decode(sum(vectors), SEED))


@rows("N4")
@pytest.mark.parametrize("survivors", [6, 5, 4])
def test_every_allowed_cohort_of_six_holds_the_promised_noise(row: str, survivors: int) -> None:
    share = planned(dimension=4000, max_clients=6, min_survivors=4, colluders=1)
    noises = [
        share.encode(np.zeros(4000), SEED, seeded(client)).vector for client in range(6)
    ]  # the zero vector rounds to zero, so this is the noise itself
    assert np.array_equal(noises[0], discrete_gaussian(share.share_variance, share.padded, seeded(0)))
    for cohort in combinations(range(6), survivors):
        for colluder in cohort:
            honest = sum(noises[client] for client in cohort if client != colluder)
            assert holds_variance(honest, share.sigma2)
        assert np.array_equal(share.decode(sum(noises[i] for i in cohort), SEED).shape, (4000,))


@rows("N4")
def test_the_same_check_notices_half_the_noise_and_one_survivor_too_few(row: str) -> None:
    share = planned(dimension=4000, max_clients=6, min_survivors=4, colluders=1)
    noises = [discrete_gaussian(share.share_variance, share.padded, seeded(client)) for client in range(3)]
    assert holds_variance(sum(noises), share.sigma2)
    assert not holds_variance(sum(noises[:2]), share.sigma2)
    halved = [discrete_gaussian(share.share_variance / 4, share.padded, seeded(client)) for client in range(3)]
    assert not holds_variance(sum(halved), share.sigma2)
    forgot_colluders = share.sigma2 / share.min_survivors
    thin = [discrete_gaussian(forgot_colluders, share.padded, seeded(client)) for client in range(3)]
    assert not holds_variance(sum(thin), share.sigma2)


def holds_variance(noise: NDArray[np.int64], sigma2: Fraction) -> bool:
    """One-sided chi-square: is the variance of these coordinates at least sigma2?"""
    statistic = float((noise.astype(np.float64) ** 2).sum()) / float(sigma2)
    return bool(stats.chi2.cdf(statistic, len(noise)) > FALSE_ALARM)


@pytest.mark.parametrize("bits", range(12, 21))
def test_the_error_of_the_mean_is_that_of_the_noise_within_three_percent(bits: int) -> None:
    share = planned(dimension=60_000, modulus_bits=bits, max_clients=8, min_survivors=8, colluders=0)
    given_updates = updates(8, 60_000)
    encoded = [share.encode(update, SEED, seeded(client)) for client, update in enumerate(given_updates)]
    error = share.decode(sum(part.vector for part in encoded), SEED) - sum(p.clipped.vector for p in encoded)
    # Rounding adds between nothing and a quarter step squared per client.
    noise = 8 * float(share.share_variance)
    measured = float(np.var(error)) / float(share.gamma) ** 2
    assert 0.97 * noise < measured < 1.03 * (noise + 8 / 4)
    assert abs(float(error.mean())) < 6 * float(share.gamma) * (measured / 60_000) ** 0.5


@rows("N8")
@pytest.mark.parametrize("kind", ["equal", "spike"])
def test_the_worst_updates_do_not_leave_the_ring_at_the_promised_rate(row: str, kind: str) -> None:
    share = planned(dimension=2**14, modulus_bits=14, max_clients=50, min_survivors=50, colluders=0)
    update = np.full(2**14, 1.0) if kind == "equal" else np.eye(1, 2**14).ravel()
    half = 1 << (share.modulus_bits - 1)
    peaks, beyond_smaller_rings = [], 0
    for repeat in range(4):
        seed = bytes([repeat]) * 32
        total = sum(share.encode(update, seed, seeded(100 * repeat + client)).vector for client in range(50))
        peaks.append(int(np.abs(total).max()))
        beyond_smaller_rings += int((np.abs(total) >= half // 8).sum())
    assert max(peaks) < half
    # Not by having room to spare: a ring three bits smaller wraps.
    assert max(peaks) > half / 4
    assert beyond_smaller_rings > 0


def test_a_spike_arrives_without_bias() -> None:
    share = planned(dimension=1024, modulus_bits=12)
    spike = np.eye(1, 1024).ravel()
    stream, repeats = seeded(1), 300
    total = sum(share.quantise(spike, SEED, stream).vector for _ in range(repeats))
    error = share.decode(total, SEED) / repeats - spike
    assert np.abs(error).max() < 6 * 0.5 * float(share.gamma) / repeats**0.5


# one client


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e6])
def test_the_integer_norm_never_exceeds_the_bound(scale: float) -> None:
    share = planned(dimension=500, modulus_bits=12)
    for client, update in enumerate(updates(20, 500)):
        vector = share.quantise(scale * update, SEED, seeded(client)).vector
        assert sum(int(value) ** 2 for value in vector) <= share.l2_squared


def test_encoding_clips_and_says_so() -> None:
    share = planned()
    long, short = (share.encode(np.full(1000, value), SEED, seeded(1)) for value in (1.0, 1e-3))
    assert (long.clipped.hit, short.clipped.hit) == (True, False)
    assert long.clipped.bound == 1
    assert long.vector.dtype == np.int64
    assert long.vector.shape == (1024,)


def test_a_stored_seed_regenerates_the_very_vector() -> None:
    share, update = planned(), updates(1, 1000)[0]
    first, second = (share.encode(update, SEED, seeded(9)).vector for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, share.encode(update, SEED, seeded(10)).vector)


@rows("N7")
def test_noise_and_rounding_are_independent_streams(row: str) -> None:
    share, stream = planned(), seeded(3)
    noise_alone = discrete_gaussian(share.share_variance, share.padded, seeded(3))
    share.quantise(updates(1, 1000)[0], SEED, stream)
    assert np.array_equal(discrete_gaussian(share.share_variance, share.padded, stream), noise_alone)


def test_the_source_of_the_noise_travels_with_the_share() -> None:
    share, update = planned(), np.zeros(1000)
    assert share.encode(update, SEED, seeded(1)).rng == "insecure"
    assert share.encode(update, SEED, Entropy.system(b"test", b"")).rng == "system"


def test_nothing_of_an_update_is_printed() -> None:
    share = planned(dimension=2)
    encoded = share.encode(np.array([0.4321, 0.0]), SEED, seeded(1))
    for shown in (repr(encoded), repr(share.quantise(np.array([0.4321, 0.0]), SEED, seeded(1)))):
        assert "vector" not in shown
        assert "0.43" not in shown


# events


def test_the_event_discounts_colluders_and_counts_every_table_draw() -> None:
    share = planned()
    assert share.event(9) == GaussianEvent(
        sigma2=7 * share.share_variance,
        l2_squared=share.l2_squared,
        d=1024,
        components=7,
        draws=7 * 1024 * table_draws(share.share_variance),
        rng="system",
    )
    assert share.event_released(9).sigma2 == 9 * share.share_variance
    assert share.event_released(9).components == 9


def test_the_smallest_cohort_releases_at_least_the_target() -> None:
    share = planned(noise_multiplier=Fraction(7, 5))
    event = share.event(share.min_survivors)
    assert Fraction(event.sigma2) >= Fraction(49, 25) * event.l2_squared
    assert Fraction(event.sigma2) < Fraction(49, 25) * event.l2_squared + Fraction(6, 65536)


@pytest.mark.parametrize("survivors", [8, 9, 10])
def test_more_survivors_never_release_less_noise(survivors: int) -> None:
    share = planned()
    assert share.event(survivors).sigma2 >= share.sigma2
    assert share.event_released(survivors).sigma2 > share.event(survivors).sigma2


def test_a_rehearsal_is_marked_in_its_event() -> None:
    assert planned().event(8, rng="insecure").rng == "insecure"


@pytest.mark.parametrize("survivors", [0, 7])
def test_a_cohort_below_the_minimum_has_no_event(survivors: int) -> None:
    for event in (planned().event, planned().event_released):
        with pytest.raises(Infeasible, match="too little noise"):
            event(survivors)


# errors


@rows("N8")
def test_a_ring_that_is_too_small_names_the_smallest_that_would_do(row: str) -> None:
    with pytest.raises(Infeasible, match="smallest modulus_bits that would do is") as refused:
        planned(dimension=10**5, modulus_bits=8, max_clients=1000)
    bits = int(str(refused.value).rsplit(" ", 1)[1])
    planned(dimension=10**5, modulus_bits=bits, max_clients=1000)
    with pytest.raises(DpError):
        planned(dimension=10**5, modulus_bits=bits - 1, max_clients=1000)


def test_no_ring_is_large_enough_for_a_share_below_the_finest_lattice() -> None:
    with pytest.raises(NoiseTooCoarse, match="no modulus_bits up to 62"):
        planned(noise_multiplier=Fraction(1, 10**10))


def test_a_share_of_variance_below_nine_is_too_coarse() -> None:
    with pytest.raises(NoiseTooCoarse, match="below 9"):
        planned(noise_multiplier=Fraction(1, 100), modulus_bits=12, max_clients=10, dimension=100)


def test_a_lattice_on_which_rounding_dominates_is_refused() -> None:
    share = planned(dimension=1000)
    with pytest.raises(Infeasible, match="rounding lifts the norm"):
        replace(share, gamma=Fraction(1, 8))


def test_a_lattice_too_fine_for_its_ring_is_refused() -> None:
    share = planned()
    with pytest.raises(Infeasible, match="beyond 2"):
        replace(share, gamma=share.gamma / 2)


def test_a_lattice_beyond_exact_integers_is_refused() -> None:
    with pytest.raises(BadParameters, match="clip / gamma"):
        replace(planned(modulus_bits=62), gamma=Fraction(1, 1 << 31))


@pytest.mark.parametrize("survivors", [1, 2, 3])
def test_colluders_must_leave_two_honest_shares(survivors: int) -> None:
    """Noise of one client alone would pass as central noise, which stays when the client goes."""
    with pytest.raises(Infeasible, match="min_survivors must be at least 4"):
        planned(min_survivors=survivors, colluders=2)
    assert planned(min_survivors=4, colluders=2).event(4).components == 2


def test_whole_numbers_are_as_exact_as_fractions() -> None:
    """An int over an int would be a float, rounded to below the target."""
    whole = planned(noise_multiplier=3, colluders=2, min_survivors=5, modulus_bits=62, clip=1)
    assert whole == planned(
        noise_multiplier=Fraction(3), colluders=2, min_survivors=5, modulus_bits=62, clip=Fraction(1)
    )
    assert whole.share_variance * 3 >= whole.sigma2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *chain.from_iterable(
            ((name, bad) for bad in (0, -1, 0.5, True, None))
            for name in ("noise_multiplier", "clip", "wrap_probability")
        ),
        ("wrap_probability", Fraction(1)),
        ("clip", Fraction(1, 1 << 300)),
        ("clip", 1 << 300),
        *((name, bad) for name in ("modulus_bits", "dimension", "max_clients") for bad in (0, 1.5, True, 1 << 70)),
        ("min_survivors", 11),
        ("min_survivors", 0),
        ("colluders", -1),
        ("colluders", 11),
    ],
    ids=str,
)
def test_a_number_out_of_range_raises_with_its_name(name: str, value: object) -> None:
    with pytest.raises(BadParameters, match=name):
        planned(**{name: value})


def test_a_step_that_is_no_positive_rational_raises() -> None:
    with pytest.raises(BadParameters, match="gamma"):
        replace(planned(), gamma=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("update", [np.ones(999), np.ones((1000, 1)), [1.0] * 1000], ids=["short", "2-d", "list"])
def test_an_update_of_another_shape_raises(update: NDArray[np.float64]) -> None:
    with pytest.raises(BadParameters, match="shape"):
        planned().encode(update, SEED, seeded(1))


def test_an_update_with_nan_raises_before_anything_is_drawn() -> None:
    stream, untouched = seeded(1), seeded(1)
    with pytest.raises(NonFinite):
        planned().encode(np.full(1000, np.nan), SEED, stream)
    name = b"secagg/v1/dp/lattice/rounding"
    assert np.array_equal(stream.borrow(CHUNK_WORDS, name), untouched.borrow(CHUNK_WORDS, name))


@pytest.mark.parametrize("total", [np.zeros(1000, np.int64), np.zeros(1024, np.uint64), np.zeros(1024), None], ids=repr)
def test_a_sum_of_another_shape_or_type_raises(total: NDArray[np.int64]) -> None:
    with pytest.raises(BadParameters, match="int64"):
        planned().decode(total, SEED)


@pytest.mark.parametrize("survivors", [11, -1, 8.0], ids=repr)
def test_a_count_of_survivors_out_of_range_raises(survivors: int) -> None:
    with pytest.raises(BadParameters, match="survivors"):
        planned().event(survivors)
