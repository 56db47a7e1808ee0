"""dp.adaptive: a clip that finds its quantile, a bit that costs what it says, and the peer that ran away."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp import AdaptiveClip
from dp.accountant import Relation, Unit
from dp.adaptive import CLIP_STEP, BitShare, bit
from dp.clip import clip_l2
from dp.distributed import NoiseShare
from dp.errors import BadParameters, Infeasible, NoiseTooCoarse, NonFinite
from dp.events import Composed, GaussianEvent, Poisson, Repeated, Sampled
from dp.gaussian import GaussianAccountant
from dp.noise import Entropy
from dp.pld import PldAccountant
from dp.rdp import RdpAccountant
from tests.rows import rows

CLIENTS = 100
UNIT = Unit(Relation.ZERO_OUT, "client")
MULTIPLIERS = st.fractions(min_value=Fraction(1, 10), max_value=9, max_denominator=1000)


def rule_of(**changes: Any) -> AdaptiveClip:
    asked = {"min_clip": Fraction(1, 1024), "max_clip": Fraction(1 << 20), "bit_noise": Fraction(5)}
    return AdaptiveClip(**asked | changes)


def bit_share(**changes: Any) -> BitShare:
    asked = {
        "bit_noise": Fraction(5),
        "modulus_bits": 24,
        "max_clients": CLIENTS,
        "min_survivors": 80,
        "colluders": 10,
    }
    return BitShare.plan(**asked | changes)


def known(seed: int) -> Entropy:
    return Entropy.insecure(seed, b"test", b"adaptive")


# known answers


def test_a_norm_on_the_clip_is_within_it() -> None:
    assert [bit(norm, Fraction(1)) for norm in (0.5, 1.0, math.nextafter(1.0, 2.0))] == [1, 1, -1]


def test_the_bit_agrees_with_the_clipper_on_a_bound_no_float_has() -> None:
    for norm in (0.1, math.nextafter(0.1, 0.0)):
        hit = clip_l2(np.array([norm]), Fraction(1, 10)).hit
        assert bit(norm, Fraction(1, 10)) == (-1 if hit else 1)


def test_half_below_the_clip_is_a_fraction_of_one_half_and_keeps_a_clip_aimed_at_it() -> None:
    rule = rule_of()
    assert rule.fraction(0, CLIENTS) == Fraction(1, 2)
    assert rule.next(Fraction(3), Fraction(1, 2)) == 3


def test_all_below_is_a_fraction_of_one_and_all_above_of_none() -> None:
    assert rule_of().fraction(CLIENTS, CLIENTS) == 1
    assert rule_of().fraction(-CLIENTS, CLIENTS) == 0


@pytest.mark.parametrize(
    "fraction", [Fraction(0), Fraction(1, 3), Fraction(3, 4), Fraction(1), Fraction(7, 5)], ids=str
)
def test_the_step_is_the_published_one(fraction: Fraction) -> None:
    moved = rule_of().next(Fraction(2), fraction)
    assert float(moved) == pytest.approx(2 * math.exp(-0.2 * (float(fraction) - 0.5)), abs=2**-20)
    assert moved % CLIP_STEP == 0


def test_noise_beyond_reason_moves_the_clip_to_an_end_of_its_range_and_no_further() -> None:
    rule = rule_of()
    assert rule.next(Fraction(1), Fraction(10**6)) == rule.min_clip
    assert rule.next(Fraction(1), Fraction(-(10**6))) == rule.max_clip
    assert rule.next(Fraction(1), Fraction(-200)) == rule.max_clip


def test_the_vector_multiplier_of_a_known_pair() -> None:
    # 1/0.6^2 = 1/z_v^2 + 1/1^2 with z_v = 0.75, as 3:4:5 has it.
    assert rule_of(bit_noise=Fraction(1, 2)).vector_multiplier(Fraction(3, 5)) == Fraction(3, 4)


def test_the_default_bit_noise_is_a_twentieth_of_the_cohort() -> None:
    rule = AdaptiveClip.for_cohort(CLIENTS, min_clip=Fraction(1, 8), max_clip=Fraction(8))
    assert (rule.bit_noise, rule.learning_rate, rule.target) == (5, Fraction(1, 5), Fraction(1, 2))


# privacy: what one client moves, and what the pair costs


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False), st.fractions(Fraction(1, 1000), 1000))
def test_zeroing_a_client_moves_the_bit_by_one_step_at_most(norm: float, clip: Fraction) -> None:
    assert abs(bit(norm, clip) - bit(0.0, clip)) <= 1
    assert bit(norm, clip) in (-1, 0, 1)


def test_zeroing_a_client_moves_the_lattice_sum_by_one_scaled_step_exactly() -> None:
    share = bit_share()
    noise = [share.encode(sign, known(5)) for sign in (-1, 0, 1)]
    assert noise[2] - noise[1] == noise[1] - noise[0] == share.scale
    assert share.event(80).l2_squared == share.scale**2


@given(MULTIPLIERS)
def test_vector_and_bit_together_are_one_gaussian_of_the_claimed_multiplier(z: Fraction) -> None:
    """Exactly, in rationals: no more than the claim, and no more than 2^-30 less."""
    rule = rule_of()
    shift = 1 / rule.vector_multiplier(z) ** 2 + 1 / (2 * rule.bit_noise) ** 2
    assert 0 <= 1 / z**2 - shift < Fraction(1, 1 << 30) / z**2


@pytest.mark.parametrize("z", [Fraction(1, 2), Fraction(1), Fraction(13, 10), Fraction(4)], ids=str)
def test_the_accountant_gives_the_pair_the_epsilon_of_the_one_gaussian(z: Fraction) -> None:
    rule = rule_of()
    pair, one = GaussianAccountant(UNIT), GaussianAccountant(UNIT)
    for multiplier in (rule.vector_multiplier(z), 2 * rule.bit_noise):
        pair.compose(GaussianEvent.for_multiplier(multiplier))
    one.compose(GaussianEvent.for_multiplier(z))
    assert pair.epsilon(1e-5) <= one.epsilon(1e-5) * (1 + 1e-12)
    assert pair.epsilon(1e-5) == pytest.approx(one.epsilon(1e-5), rel=1e-9)


@pytest.mark.parametrize("rate", [Fraction(1, 100), Fraction(1, 3)], ids=str)
def test_under_poisson_sampling_too(rate: Fraction) -> None:
    """Vector and bit of one cohort: one mixture of the pair, not two mixtures."""
    rule, z = rule_of(), Fraction(6, 5)
    vector, count = (GaussianEvent.for_multiplier(m) for m in (rule.vector_multiplier(z), 2 * rule.bit_noise))
    pair, one = RdpAccountant(UNIT), RdpAccountant(UNIT)
    pair.compose(Sampled(Composed((vector, count)), Poisson(rate)))
    one.compose(Sampled(GaussianEvent.for_multiplier(z), Poisson(rate)))
    np.testing.assert_allclose(pair.curve(), one.curve(), rtol=1e-7)
    exact_pair, exact_one = PldAccountant(UNIT), PldAccountant(UNIT)
    exact_pair.compose(Repeated(Sampled(Composed((vector, count)), Poisson(rate)), 10))
    exact_one.compose(Repeated(Sampled(GaussianEvent.for_multiplier(z), Poisson(rate)), 10))
    assert exact_pair.epsilon(1e-5) == pytest.approx(exact_one.epsilon(1e-5), rel=1e-6)


@given(MULTIPLIERS, st.integers(60, CLIENTS))
def test_the_integer_pair_never_shifts_more_than_the_claim(z: Fraction, survivors: int) -> None:
    rule = rule_of()
    count = bit_share(min_survivors=60).event(survivors)
    vector = NoiseShare.plan(
        noise_multiplier=rule.vector_multiplier(z),
        clip=Fraction(1),
        dimension=64,
        modulus_bits=32,
        max_clients=CLIENTS,
        min_survivors=60,
        colluders=10,
    ).event(survivors)
    shift = sum(Fraction(part.l2_squared) / Fraction(part.sigma2) for part in (vector, count))
    assert shift <= 1 / z**2
    if survivors == 60:
        assert shift >= 1 / z**2 * (1 - Fraction(1, 1 << 14))


def test_a_bit_that_costs_as_much_as_the_round_is_infeasible() -> None:
    rule = rule_of(bit_noise=Fraction(1, 2))
    assert rule.vector_multiplier(Fraction(999, 1000)) > 22
    for z in (Fraction(1), Fraction(2)):
        with pytest.raises(Infeasible, match="the clip bit alone"):
            rule.vector_multiplier(z)


@pytest.mark.parametrize("bits", [14, 16, 18, 24, 32])
@pytest.mark.parametrize("clients", [4, 10, 100, 1000])
def test_every_planned_bit_meets_its_promises(bits: int, clients: int) -> None:
    share = bit_share(
        bit_noise=Fraction(clients, 20), modulus_bits=bits, max_clients=clients, min_survivors=clients - 1, colluders=1
    )
    assert share.share_variance >= 9
    assert (share.min_survivors - 1) * share.share_variance >= (2 * share.bit_noise * share.scale) ** 2
    worst = clients * share.scale + 5.4 * math.sqrt(clients * share.share_variance)
    assert worst < 2 ** (bits - 1)


@rows("N8")
def test_the_sum_of_the_extreme_bits_stays_in_the_ring(row: str) -> None:
    """The tightest ring that is accepted, everybody below and then everybody above, with real noise."""
    share = bit_share(modulus_bits=12, min_survivors=100, colluders=0)
    assert share.scale * CLIENTS > 1 << 8
    with known(11) as entropy:
        for sign in (-1, 1):
            for _ in range(20):
                total = sum(share.encode(sign, entropy) for _ in range(CLIENTS))
                assert abs(total) < 1 << 11
                assert abs(share.decode(total) - sign * CLIENTS) < 60


def test_the_noise_of_a_cohort_has_the_planned_variance() -> None:
    share = bit_share(min_survivors=100, colluders=0)
    with known(3) as entropy:
        sums = [share.decode(sum(share.encode(0, entropy) for _ in range(CLIENTS))) for _ in range(400)]
    assert np.std([float(total) for total in sums]) == pytest.approx(10, rel=0.15)


# convergence: the clip finds the quantile, with integer noise, and the published failure does not


def clips_of(
    rule: AdaptiveClip, start: Fraction, rounds: int, seed: int, *, count_clipped: bool = False
) -> list[float]:
    """The clips of a run over lognormal norms of median 1; `count_clipped` is the mistake of Flower 1.42."""
    share = BitShare.plan(
        bit_noise=rule.bit_noise, modulus_bits=24, max_clients=CLIENTS, min_survivors=CLIENTS, colluders=0
    )
    norms = np.random.default_rng(seed)
    clip, clips = start, [float(start)]
    with known(seed) as entropy:
        for _ in range(rounds):
            signs = [bit(float(norm), clip) for norm in norms.lognormal(0.0, 0.5, CLIENTS)]
            total = sum(share.encode(-sign if count_clipped else sign, entropy) for sign in signs)
            clip = rule.next(clip, rule.fraction(share.decode(total), CLIENTS))
            clips.append(float(clip))
    return clips


@pytest.mark.parametrize("start", [Fraction(1, 10), Fraction(10)], ids=["a-tenth", "tenfold"])
@pytest.mark.parametrize("target", [Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)], ids=str)
def test_adaptive_converges(start: Fraction, target: Fraction) -> None:
    quantile = math.exp(0.5 * {Fraction(1, 4): -0.6744898, Fraction(1, 2): 0.0, Fraction(3, 4): 0.6744898}[target])
    begin = round(start * Fraction(quantile) / CLIP_STEP) * CLIP_STEP
    clips = clips_of(rule_of(target=target), begin, 100, seed=17)
    assert np.median(clips[-20:]) == pytest.approx(quantile, rel=0.05)


def test_counting_clipped_clients_with_the_same_sign_runs_away() -> None:
    """Flower 1.42: true median 1.0, and yet 0.1 -> 3.8e-6, 10 -> 1.85e5. Without noise, as published."""

    def peer(clip: float) -> float:
        norms = np.random.default_rng(23)
        for _ in range(100):
            clipped = float(np.mean(norms.lognormal(0.0, 0.5, CLIENTS) > clip))
            clip *= math.exp(-0.2 * (clipped - 0.5))
        return clip

    assert peer(0.1) == pytest.approx(0.1 * math.exp(-10), rel=0.3)
    assert peer(10.0) == pytest.approx(10.0 * math.exp(10), rel=0.3)
    down = clips_of(rule_of(), Fraction(round(2**20 / 10), 2**20), 60, seed=23, count_clipped=True)
    up = clips_of(rule_of(), Fraction(10), 60, seed=23, count_clipped=True)
    assert down[-1] < 0.001
    assert up[-1] > 1000


def test_the_smallest_clip_allowed_still_moves() -> None:
    rule = rule_of(min_clip=Fraction(263, 1 << 20))
    assert rule.next(rule.min_clip, Fraction(1, 2) - Fraction(1, 100)) > rule.min_clip


@given(
    st.fractions(min_value=-3, max_value=3, max_denominator=10**6),
    st.integers(1 << 10, 1 << 24).map(lambda steps: steps * CLIP_STEP),
)
def test_more_below_the_clip_never_raises_it(fraction: Fraction, clip: Fraction) -> None:
    rule = rule_of()
    moved = rule.next(clip, fraction)
    assert (moved <= clip) if fraction >= rule.target else (moved >= clip)
    assert rule.next(clip, fraction + Fraction(1, 10)) <= moved
    rule.require_clip(moved)


# errors


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"min_clip": 0}, "min_clip"),
        ({"min_clip": 0.5}, "min_clip"),
        ({"min_clip": Fraction(1, 3)}, "multiple of 2"),
        ({"max_clip": Fraction(1, 3)}, "multiple of 2"),
        ({"min_clip": Fraction(2), "max_clip": Fraction(1)}, "max_clip"),
        ({"max_clip": Fraction(1 << 41)}, "max_clip"),
        ({"min_clip": Fraction(1, 1 << 13)}, "could not move"),
        ({"bit_noise": Fraction(0)}, "bit_noise"),
        ({"bit_noise": Fraction(1, 1 << 33)}, "bit_noise"),
        ({"learning_rate": Fraction(0)}, "learning_rate"),
        ({"learning_rate": Fraction(11, 10)}, "learning_rate"),
        ({"target": Fraction(1)}, "target"),
        ({"target": Fraction(-1)}, "target"),
    ],
    ids=str,
)
def test_a_rule_out_of_range_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(BadParameters, match=match):
        rule_of(**changes)


@pytest.mark.parametrize("norm", [math.nan, math.inf, -1.0], ids=str)
def test_a_norm_that_is_no_length_has_no_bit(norm: float) -> None:
    with pytest.raises(NonFinite, match="no bit"):
        bit(norm, Fraction(1))


def test_a_clip_outside_the_rule_is_refused() -> None:
    for clip in (Fraction(1, 2048), Fraction(1 << 21), Fraction(1, 3), 1.0, 0):
        with pytest.raises(BadParameters, match="clip"):
            rule_of().next(clip, Fraction(1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.5, True, "1/2"], ids=repr)
def test_fractions_and_sums_are_exact(value: Any) -> None:
    with pytest.raises(BadParameters, match="fraction"):
        rule_of().next(Fraction(1), value)
    with pytest.raises(BadParameters, match="noisy_sum"):
        rule_of().fraction(value, 3)


def test_a_mean_over_nobody_has_no_fraction() -> None:
    with pytest.raises(BadParameters, match="clients"):
        rule_of().fraction(0, 0)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"colluders": 80}, Infeasible, "fewer than 2 honest clients"),
        ({"modulus_bits": 7}, Infeasible, "reach beyond"),
        ({"bit_noise": Fraction(1, 1 << 30)}, NoiseTooCoarse, "lattice variance"),
        ({"bit_noise": 0.5}, BadParameters, "bit_noise"),
        ({"modulus_bits": 0}, BadParameters, "modulus_bits"),
        ({"min_survivors": 101}, BadParameters, "min_survivors"),
    ],
    ids=str,
)
def test_a_bit_that_cannot_be_planned_says_why(changes: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        bit_share(**changes)


def test_a_share_made_by_hand_is_checked() -> None:
    made = bit_share()
    asked: dict[str, Any] = {name: getattr(made, name) for name in type(made).__dataclass_fields__}
    with pytest.raises(BadParameters, match="wrap_probability"):
        BitShare(**asked | {"wrap_probability": Fraction(1)})
    with pytest.raises(NoiseTooCoarse, match="below 9"):
        BitShare(**asked | {"scale": 1, "bit_noise": Fraction(1)})


def test_too_few_survivors_hold_too_little_noise() -> None:
    with pytest.raises(Infeasible, match="do not open"):
        bit_share().event(79)


def test_only_signs_are_encoded_and_only_integers_decoded() -> None:
    with known(1) as entropy, pytest.raises(BadParameters, match="sign"):
        bit_share().encode(2, entropy)
    for total in (0.5, True):
        with pytest.raises(BadParameters, match="total"):
            bit_share().decode(total)  # type: ignore[arg-type]
    assert bit_share().decode(np.int64(3)) == Fraction(3, bit_share().scale)  # type: ignore[arg-type]
