"""Rounds with a canary: the ideal sum and the real protocol are one system to an audit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dp.adaptive import AdaptiveClip
from dp.audit import Presence, Rule, canary, membership, observe
from dp.audit.matching import rates_for
from dp.gaussian import gaussian_epsilon
from protocols.canary_rounds import CANARY, CanaryRounds
from protocols.errors import Misused
from protocols.party import PartyId
from protocols.plan import NOTHING, Excess, RoundPlan
from secagg.keys import Seed
from tests.rows import rows

DELTA = Fraction(1, 100_000)
ROOT = Seed(bytes(range(32)))


def planned(noise_multiplier: Fraction, clients: int = 3, clip: Fraction = Fraction(1)) -> RoundPlan:
    return RoundPlan.recommend(
        clients, dropout=0, corrupt=0, noise_multiplier=noise_multiplier, min_cohort=clients, clip=clip
    )


@pytest.mark.parametrize("clip", [Fraction(1), Fraction(1, 10), Fraction(30)])
def test_the_sum_is_the_canary_or_nothing_and_noise_of_the_plan(clip: Fraction) -> None:
    rounds = CanaryRounds(planned(Fraction(1, 2), clip=clip), 16)
    assert rounds.noise_multiplier == pytest.approx(0.5, rel=1e-3)
    release = rounds.through_ideal(ROOT)
    seen = observe(release, rounds.direction, clip, rounds=400, seed=1)
    assert seen.present.mean() == pytest.approx(1.0, abs=6 * 0.5 / math.sqrt(150))
    assert seen.absent.mean() == pytest.approx(0.0, abs=6 * 0.5 / math.sqrt(150))
    assert seen.absent.std() == pytest.approx(0.5, rel=6 / math.sqrt(2 * 150))


def test_the_claim_is_the_curve_of_gaussian_noise() -> None:
    assert CanaryRounds(planned(Fraction(1)), 16).claim(DELTA) == pytest.approx(gaussian_epsilon(1e-5, 1.0), rel=1e-4)


def test_noise_that_promises_nothing_has_no_claim() -> None:
    with pytest.raises(Misused, match="no finite epsilon"):
        CanaryRounds(planned(Fraction(1, 20)), 16).claim(DELTA)


def test_only_the_canary_sends_anything() -> None:
    rounds = CanaryRounds(planned(Fraction(1)), 16)
    assert np.linalg.norm(rounds.updates(Presence.IN)[CANARY]) == pytest.approx(1.0, rel=1e-12)
    assert not any(update.any() for update in rounds.updates(Presence.OUT).values())
    assert set(rounds.updates(Presence.OUT)) == {PartyId(0), PartyId(1), PartyId(2)}


def test_rounds_of_a_root_repeat_themselves_and_differ_from_each_other() -> None:
    rounds = CanaryRounds(planned(Fraction(1)), 16)
    one, other = rounds.through_ideal(ROOT), rounds.through_ideal(ROOT)
    first, second = one(Presence.OUT), one(Presence.OUT)
    assert not np.array_equal(first, second)
    assert np.array_equal(other(Presence.OUT), first)
    assert not np.array_equal(rounds.through_ideal()(Presence.OUT), rounds.through_ideal()(Presence.OUT))


@rows("N5")
@pytest.mark.slow
def test_thousands_of_ideal_rounds_and_tens_of_real_ones_agree(row: str) -> None:
    """One claim, both bounds below it, and the rates of the few within the ends of the many."""
    rounds = CanaryRounds(planned(Fraction(1, 2)), 16)
    claim = rounds.claim(DELTA)
    many = observe(rounds.through_ideal(ROOT), rounds.direction, rounds.clip, rounds=3000, seed=2)
    few = observe(rounds.through_protocol(), rounds.direction, rounds.clip, rounds=60, seed=2)
    for one, other in ((many.present, few.present), (many.absent, few.absent)):
        assert abs(one.mean() - other.mean()) < 5 * 0.5 / math.sqrt(other.size)
        assert math.log(one.var() / other.var()) == pytest.approx(0.0, abs=5 * math.sqrt(2 / other.size))
    for release, count in ((rounds.through_ideal(ROOT), 3000), (rounds.through_protocol(), 60)):
        found = canary(
            release,
            rounds.direction,
            rounds.clip,
            claim=claim,
            delta=DELTA,
            rounds=count,
            seed=3,
            rule=Rule.SHIFT,
        )
        assert not found.refuted
        assert found.lower_bound is not None
        assert 0.2 * claim < found.lower_bound < claim


@rows("N6")
def test_half_the_noise_in_the_clients_own_coding_is_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import dp.distributed

    whole = dp.distributed.add_discrete_gaussian_into
    monkeypatch.setattr(
        dp.distributed,
        "add_discrete_gaussian_into",
        lambda total, sigma2, entropy: whole(total, sigma2 / 4, entropy),
    )
    rounds = CanaryRounds(planned(Fraction(1)), 16)
    found = canary(
        rounds.through_ideal(ROOT),
        rounds.direction,
        rounds.clip,
        claim=rounds.claim(DELTA),
        delta=DELTA,
        rounds=800,
        seed=4,
        rule=Rule.SHIFT,
    )
    assert found.refuted


def test_membership_in_ideal_rounds_stays_on_its_optimum() -> None:
    rounds = CanaryRounds(planned(Fraction(1)), 16)
    found = membership(
        rounds.through_ideal(ROOT),
        rounds.direction,
        rounds.clip,
        noise_multiplier=rounds.noise_multiplier,
        claim=rounds.claim(DELTA),
        delta=DELTA,
        rounds=600,
        seed=5,
        rates=rates_for(600),
    )
    assert not found.refuted


@pytest.mark.parametrize(
    "plan",
    [
        RoundPlan.recommend(5),
        RoundPlan.recommend(5, noise_multiplier=1, modulus_bits=32, excess=Excess.REMOVED),
        RoundPlan.recommend(
            20,
            noise_multiplier=1,
            modulus_bits=32,
            adaptive=AdaptiveClip.for_cohort(20, min_clip=Fraction(1, 10), max_clip=Fraction(10)),
        ),
    ],
    ids=["exact", "layers", "adaptive"],
)
def test_what_is_not_noise_that_stays_at_a_fixed_clip_is_refused(plan: RoundPlan) -> None:
    with pytest.raises(Misused, match="fixed clip"):
        CanaryRounds(plan, 16)


def test_a_seed_of_a_round_is_no_other_rounds() -> None:
    release = CanaryRounds(planned(Fraction(1)), 16).through_ideal(ROOT)
    seeds = {release._seed(number, PartyId(who)).expose() for number in range(50) for who in range(3)}
    assert len(seeds) == 150
    assert NOTHING not in seeds
