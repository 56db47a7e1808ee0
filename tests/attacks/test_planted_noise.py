"""Faults planted where privacy would be lost without any sum coming out wrong: each is refuted by an audit.

Where a fault lies in production code it is planted there, and the self-test, which knows nothing of it, has to speak.
Where it lies in what is claimed, the audit attacks what is really released.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dp.accountant import Relation, Unit, View, account
from dp.adaptive import AdaptiveClip, BitShare
from dp.alias import AliasTable
from dp.audit import NoisePath, Presence, Rule, canary, examine, one_run, routes_of, selftest
from dp.audit.production import central_gaussian, clip_bit, local, shares
from dp.audit.self_testing import DELTA, claimed
from dp.clip import Clipped
from dp.distributed import EncodedShare, NoiseShare
from dp.entropy import Entropy
from dp.events import GaussianEvent, Poisson, Sampled
from dp.gaussian import gaussian_epsilon
from dp.mechanisms import LocalMechanism, Mechanism, Release
from dp.noise import TABLE_STD, GaussianLaw, Integers, SkellamLaw, Term, add_discrete_gaussian_into, discrete_gaussian
from dp.weights import gaussian_weights
from tests.dp.audit.audit_kit import AXIS, fresh_seeded, gaussian_canaries, gaussian_sum, seeded
from tests.rows import rows

Floats = NDArray[np.float64]
GAUSSIAN_PATHS = [path for path in NoisePath if "skellam" not in path and path is not NoisePath.LAPLACE]
PATHS_WITH_A_CLIP = [path for path in NoisePath if path is not NoisePath.CLIP_BIT]


def caught(path: NoisePath, check: str) -> list[str]:
    """The routes of this path that the self-test refutes by the check whose name holds these words."""
    findings = [examine(route, source=fresh_seeded(9)) for route in routes_of(path)]
    return [each.subject for each in findings for found in each.checks if check in found.name and not found.passed]


def failed(path: NoisePath, check: str) -> bool:
    """Whether the self-test of every route of this path refutes it by the check whose name holds these words."""
    findings = [examine(route, source=fresh_seeded(9)) for route in routes_of(path)]
    return all(not next(each for each in found.checks if check in each.name).passed for found in findings)


# --- half the noise -------------------------------------------------------------------------------------------


@rows("N6")
@pytest.mark.parametrize("path", GAUSSIAN_PATHS)
def test_half_the_noise_of_any_gaussian_path_is_refuted(
    row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = importlib.import_module("dp.noise")
    whole: Callable[[int, Fraction], Any] = noise._gaussian_terms
    monkeypatch.setattr(noise, "_gaussian_terms", lambda factor, sigma2: whole(factor, sigma2 / 4))
    assert failed(path, "variance")


@rows("N6")
@pytest.mark.parametrize("path", GAUSSIAN_PATHS)
def test_half_the_noise_leaks_more_than_is_claimed(row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound alone refutes it, but for the bit, of which a run draws too few."""
    noise = importlib.import_module("dp.noise")
    whole: Callable[[int, Fraction], Any] = noise._gaussian_terms
    monkeypatch.setattr(noise, "_gaussian_terms", lambda factor, sigma2: whole(factor, sigma2 / 4))
    routes = [clip_bit(1, releases=1 << 11)] if path is NoisePath.CLIP_BIT else routes_of(path)
    for route in routes:
        found = examine(route, source=fresh_seeded(9))
        assert found.claim is not None
        assert found.lower_bound is not None
        assert found.lower_bound > found.claim


@rows("N6")
def test_half_the_noise_of_laplace_is_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = importlib.import_module("dp.noise")
    whole: Callable[[int, Fraction], Any] = noise._laplace_terms
    monkeypatch.setattr(noise, "_laplace_terms", lambda factor, scale: whole(factor, scale / 2))
    for route in routes_of(NoisePath.LAPLACE):
        found = examine(route, source=fresh_seeded(9))
        assert found.claim is not None
        assert found.lower_bound is not None
        assert found.lower_bound > found.claim


@rows("N6")
@pytest.mark.parametrize("path", [NoisePath.SKELLAM, NoisePath.SKELLAM_SHARES])
def test_half_the_noise_of_skellam_is_refuted(row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SkellamLaw.terms
    monkeypatch.setattr(SkellamLaw, "terms", lambda law: whole(SkellamLaw(law.mu / 4)) if law.mu > 1000 else whole(law))
    assert failed(path, "variance")


@rows("N6", "N4")
def test_a_share_sized_for_everybody_is_refuted_at_the_fewest_survivors(row: str) -> None:
    """Four clients' shares of which only two honest ones remain: as if drop-outs and colluders had been forgotten."""
    route = shares(1)
    honest = 2
    weak = replace(
        route,
        draw=lambda source, context: np.rint(route.draw(source, context) * (honest / 4) ** 0.5).astype(np.int64),
    )
    found = examine(weak, source=fresh_seeded(9))
    assert found.claim is not None
    assert found.lower_bound is not None
    assert found.lower_bound > found.claim


# --- wide noise, several tables -----------------------------------------------------------------------------------

WIDE_PATHS = {
    NoisePath.GAUSSIAN: ["central discrete Gaussian, several tables"],
    NoisePath.SHARES: ["sum of noise shares, 20 bits"],
    NoisePath.LAYERS: ["total after surplus layers, 20 bits"],
}
whole_terms = GaussianLaw.terms


@rows("N6")
@pytest.mark.parametrize("path", WIDE_PATHS)
def test_no_noise_at_all_above_one_table_is_refuted(row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianLaw, "terms", lambda law: whole_terms(law) if law.sigma2 <= TABLE_STD**2 else ())
    assert caught(path, "variance, in standard errors") == WIDE_PATHS[path]


@rows("N6")
@pytest.mark.parametrize("path", WIDE_PATHS)
@pytest.mark.parametrize("check", ["one neighbour cannot give", "the law they add up to"])
def test_noise_on_the_multiples_of_a_factor_is_refuted(
    row: str, check: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fine table is left out: a thousandth of the variance, and an odd gap that no power of two sees."""
    monkeypatch.setattr(GaussianLaw, "terms", lambda law: whole_terms(law)[:1])
    wide = [name for name in caught(path, check) if name.partition(",")[0] == WIDE_PATHS[path][0].partition(",")[0]]
    assert len(wide) == 1


@rows("N6")
@pytest.mark.parametrize("path", WIDE_PATHS)
def test_a_fine_table_of_a_quarter_of_its_width_is_refuted(
    row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still covers all residues; only the tables themselves give it away."""

    def narrowed(law: GaussianLaw) -> tuple[Term, ...]:
        coarse, *fine = whole_terms(law)
        return coarse, *(Term(term.factor, gaussian_weights, (Fraction(term.parameters[0]) / 16,)) for term in fine)

    monkeypatch.setattr(GaussianLaw, "terms", narrowed)
    assert caught(path, "the law they add up to") == WIDE_PATHS[path]


@rows("N6")
@pytest.mark.parametrize("path", WIDE_PATHS)
def test_fine_samples_of_half_their_width_are_refuted(
    row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables are sound and what is drawn from the finest of them is not."""
    add = AliasTable.add_into

    def halved(table: AliasTable, total: Integers, factor: int, entropy: Entropy) -> None:
        noise = np.zeros_like(total)
        add(table, noise, factor, entropy)
        total += noise if table.reach < 256 * 14 else noise // 2

    monkeypatch.setattr(AliasTable, "add_into", halved)
    assert set(WIDE_PATHS[path]) <= set(caught(path, "variance of each table"))


# --- no clip --------------------------------------------------------------------------------------------------


@rows("N6")
@pytest.mark.parametrize("path", PATHS_WITH_A_CLIP)
def test_a_missing_clip_is_refuted(row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(vector: Floats, bound: Fraction) -> Clipped:
        return Clipped(np.asarray(vector, np.float64), Fraction(bound), float(np.abs(vector).sum()), hit=False)

    for module in ("dp.bounds", "dp.distributed"):
        monkeypatch.setattr(f"{module}.clip_l2", unclipped)
    monkeypatch.setattr("dp.bounds.clip_l1", unclipped)
    assert failed(path, "far too long update")


@rows("N6")
def test_a_zero_vector_that_counts_as_within_the_clip_is_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeroing a client would then move the sum of signs by two steps, twice what is accounted."""
    monkeypatch.setattr("dp.audit.shared_routes.bit", lambda norm, clip: 1 if norm <= clip else -1)
    assert failed(NoisePath.CLIP_BIT, "far too long update")


# --- noise that depends on the update -----------------------------------------------------------------------------


@rows("N6")
@pytest.mark.parametrize("path", [NoisePath.SHARES])
def test_a_share_with_noise_only_where_the_update_is_zero_is_refuted(
    row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(share: NoiseShare, vector: Floats, seed: bytes, entropy: Entropy) -> EncodedShare:
        quantised = share.quantise(vector, seed, entropy)
        noise = np.zeros_like(quantised.vector)
        add_discrete_gaussian_into(noise, share.share_variance, entropy)
        noisy = np.where(quantised.vector == 0, noise, quantised.vector)
        return EncodedShare(noisy, quantised.clipped, entropy.rng)

    monkeypatch.setattr(NoiseShare, "encode", encode)
    assert failed(path, "far too long update")


@rows("N6")
@pytest.mark.parametrize("path", [NoisePath.SHARES])
def test_a_share_with_the_raw_update_on_top_is_refuted(
    row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = NoiseShare.encode

    def encode(share: NoiseShare, vector: Floats, seed: bytes, entropy: Entropy) -> EncodedShare:
        encoded = whole(share, vector, seed, entropy)
        raw = np.rint(np.resize(vector, encoded.vector.size) / float(share.gamma)).astype(np.int64)
        return EncodedShare(encoded.vector + raw, encoded.clipped, encoded.rng)

    monkeypatch.setattr(NoiseShare, "encode", encode)
    assert failed(path, "far too long update")


@rows("N6")
@pytest.mark.parametrize("path", [NoisePath.GAUSSIAN, NoisePath.LAPLACE, NoisePath.SKELLAM, NoisePath.LOCAL])
def test_central_noise_only_where_the_sum_is_zero_is_refuted(
    row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(mechanism: Mechanism, total: Integers, entropy: Entropy) -> Integers:
        noise = np.zeros_like(total)
        mechanism.law.add_into(noise, entropy)
        return np.where(total == 0, noise, total)

    monkeypatch.setattr(Mechanism, "apply", apply)
    assert failed(path, "far too long update")


@rows("N6")
@pytest.mark.parametrize("sign", [1, -1])
def test_a_clip_bit_without_noise_is_refuted(row: str, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is drawn for clients that sent nothing, and left out for those within the clip, or beyond it."""
    whole = BitShare.encode

    def encode(share: BitShare, bit: int, entropy: Entropy) -> int:
        noisy = whole(share, bit, entropy)
        return bit * share.scale if bit == sign else noisy

    monkeypatch.setattr(BitShare, "encode", encode)
    assert failed(NoisePath.CLIP_BIT, "far too long update")


@rows("N6")
def test_a_local_message_with_the_unclipped_update_on_top_is_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LocalMechanism.randomise

    def randomise(mechanism: LocalMechanism, update: Any, entropy: Entropy) -> Release:
        sent = whole(mechanism, np.zeros_like(update), entropy)
        raw = np.rint(update / float(mechanism.mechanism.lattice.gamma)).astype(np.int64)
        return Release(sent.vector + raw, sent.event)

    monkeypatch.setattr(LocalMechanism, "randomise", randomise)
    assert failed(NoisePath.LOCAL, "far too long update")


# --- what is claimed ------------------------------------------------------------------------------------------


@rows("N6")
def test_an_epsilon_of_another_delta_is_refuted(row: str) -> None:
    route = central_gaussian(1)
    found = examine(route, delta=DELTA, claim=claimed(route, Fraction(1, 100)), source=fresh_seeded(9))
    assert found.refuted
    assert all(check.passed for check in found.checks)


@rows("N6")
def test_a_relation_without_its_factor_is_refuted(row: str) -> None:
    """A local message accounted as if its neighbour were silence, when it is any other message."""
    route = local(2)
    claim = account([route.event], Unit(Relation.ZERO_OUT), View.RELEASED, DELTA).upper
    found = examine(route, claim=claim, source=fresh_seeded(9))
    assert found.refuted
    assert all(check.passed for check in found.checks)
    assert not examine(route, source=fresh_seeded(9)).refuted


@rows("N6")
def test_amplification_by_a_cohort_that_is_visible_is_refuted(row: str) -> None:
    """Poisson at 1/100 is claimed, but the server knows who was invited: it attacks the rounds the canary was in."""
    event = GaussianEvent.for_multiplier(1)
    unit = Unit(Relation.ADD_REMOVE)
    sampled = Sampled(event, Poisson(Fraction(1, 100)))
    hidden = account([sampled], unit, View.RELEASED, DELTA).upper
    visible = account([sampled], unit, View.AGGREGATOR, DELTA).upper

    def attack(claim: float) -> bool:
        release = gaussian_sum(1.0, seed=5)
        return canary(release, AXIS, 1, claim=claim, delta=DELTA, rounds=4000, seed=5, rule=Rule.SHIFT).refuted

    assert attack(hidden)
    assert not attack(visible)


# --- streams --------------------------------------------------------------------------------------------------


@rows("N6", "N7")
@pytest.mark.parametrize("path", list(NoisePath))
def test_one_word_for_every_coordinate_is_refuted(row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = AliasTable._choose

    def same(table: AliasTable, words: Any, entropy: Entropy) -> Any:
        words[:] = words[0]
        return drawn(table, words, entropy)

    def stuck(entropy: Entropy, count: int, stream: bytes) -> Any:
        return np.full(count, 0x0123456789ABCDEF, np.uint64)

    if path is NoisePath.CLIP_BIT:
        # It draws one word at a time.
        monkeypatch.setattr(Entropy, "borrow", stuck)
    monkeypatch.setattr(AliasTable, "_choose", same)
    assert failed(path, "occur twice")


@rows("N6", "N7")
@pytest.mark.parametrize("path", PATHS_WITH_A_CLIP)
def test_a_stream_that_begins_anew_with_every_chunk_is_refuted(
    row: str, path: NoisePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    onwards = Entropy.borrow

    def from_the_start(entropy: Entropy, count: int, stream: bytes) -> Any:
        entropy._streams.clear()
        return onwards(entropy, count, stream)

    monkeypatch.setattr(Entropy, "borrow", from_the_start)
    assert failed(path, "occur twice")


@rows("N6", "N7")
@pytest.mark.parametrize("path", list(NoisePath))
def test_noise_of_one_round_that_serves_another_is_refuted(row: str, path: NoisePath) -> None:
    """The context, and with it the round, is left out of the derivation; each client keeps a seed of its own."""

    def roundless(label: bytes, context: bytes) -> Entropy:
        return Entropy.insecure(1, label, context[-4:] if path is not NoisePath.LOCAL else b"")

    def every(label: bytes, context: bytes) -> Entropy:
        return Entropy.insecure(1, label, b"")

    central = path in (NoisePath.GAUSSIAN, NoisePath.LAPLACE, NoisePath.SKELLAM, NoisePath.LOCAL)
    for route in routes_of(path):
        found = examine(route, source=every if central else roundless)
        assert not next(check for check in found.checks if "occur twice" in check.name).passed


@rows("N7")
def test_an_operating_system_that_repeats_itself_is_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", bytes)
    findings = selftest(routes_of(NoisePath.GAUSSIAN))
    assert findings[-1].subject == "entropy"
    assert findings[-1].refuted


# --- what is released -----------------------------------------------------------------------------------------


@rows("N6")
def test_two_releases_that_are_charged_once_are_refuted(row: str) -> None:
    """The same round is opened twice with fresh noise: the mean of both leaks mu sqrt 2."""
    once = gaussian_sum(1.0, seed=6)

    def twice(presence: Presence) -> Floats:
        return (once(presence) + once(presence)) / 2

    claim = gaussian_epsilon(float(DELTA), 1.0)
    assert canary(twice, AXIS, 1, claim=claim, delta=DELTA, rounds=4000, seed=6, rule=Rule.SHIFT).refuted
    assert not canary(once, AXIS, 1, claim=claim, delta=DELTA, rounds=4000, seed=6, rule=Rule.SHIFT).refuted


@rows("N6")
def test_noise_that_is_sized_by_the_next_clip_is_refuted(row: str) -> None:
    """All are clipped to C_t, then the noise is drawn for C_(t+1), which the rule has just lowered."""
    rule = AdaptiveClip(Fraction(1, 8), Fraction(8), bit_noise=Fraction(10), learning_rate=Fraction(1))
    now = Fraction(1)
    after = rule.next(now, Fraction(1))
    assert after < now
    step = 1 / 256

    def sized_by(clip: Fraction) -> Callable[[Presence], Floats]:
        entropy = Entropy.insecure(8, b"test", str(clip).encode())

        def release(presence: Presence) -> Floats:
            noise = discrete_gaussian((clip * 256) ** 2, 3, entropy)
            return (float(now) * AXIS if presence is Presence.IN else 0.0 * AXIS) + step * noise

        return release

    claim = gaussian_epsilon(float(DELTA), 1.0)
    assert canary(sized_by(after), AXIS, now, claim=claim, delta=DELTA, rounds=2000, seed=8, rule=Rule.SHIFT).refuted
    assert not canary(sized_by(now), AXIS, now, claim=claim, delta=DELTA, rounds=2000, seed=8, rule=Rule.SHIFT).refuted


@rows("N6")
def test_noise_ten_times_too_small_is_refuted_by_a_single_run(row: str) -> None:
    """Canaries of one training: 4.86 is proved of a claimed 4.38, the most that 400 guesses can."""
    claim = gaussian_epsilon(float(DELTA), 1.0)
    weak = one_run(gaussian_canaries(1000, 0.1, seed=7), 400, delta=DELTA, claim=claim)
    assert weak.refuted
    assert weak.lower_bound == pytest.approx(4.86, abs=0.01)
    assert not one_run(gaussian_canaries(1000, 1.0, seed=7), 400, delta=DELTA, claim=claim).refuted


def test_none_of_the_paths_is_refuted_when_nothing_is_planted() -> None:
    for path in NoisePath:
        for check in ("variance", "occur twice", "far too long update"):
            assert not failed(path, check)
    assert not examine(central_gaussian(1), source=fresh_seeded(9)).refuted
    # One stream for everything is the fault that `fresh_seeded` is free of.
    assert examine(central_gaussian(1), source=lambda label, context: seeded(1)(label, b"")).refuted
