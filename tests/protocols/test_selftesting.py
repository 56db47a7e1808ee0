"""A server's self-test: silent on sound noise, and a named refusal of everything else."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dp.audit import NoisePath, routes_of
from dp.clip import Clipped
from dp.distributed import EncodedShare
from dp.entropy import Entropy
from dp.errors import UnsoundNoise
from dp.noise import TABLE_STD, GaussianLaw, table_draws
from protocols.coding import Floats, Noisy, Randomness, planned_coding
from protocols.errors import Misused
from protocols.plan import RoundPlan
from protocols.selftesting import examine_coding, plans, require_sound_noise
from secagg.keys import Context, Seed, derive


@pytest.fixture(autouse=True)
def untested() -> None:
    """A process that passed says what it found the first time; each of these is asked as if it were new."""
    require_sound_noise.cache_clear()


def test_sound_noise_is_what_it_found() -> None:
    found = require_sound_noise()
    assert [finding.subject for finding in found] == [
        "sum of noise shares",
        "sum of noise shares, 20 bits",
        "total after surplus layers",
        "total after surplus layers, 20 bits",
        "adaptive clip bit",
        "entropy",
        "clients' shares in a round",
        "clients' layers in a round",
        "clients' shares and bits in a round",
    ]
    assert not any(finding.refuted for finding in found)


def test_half_the_noise_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = importlib.import_module("dp.noise")
    whole: Callable[[int, Fraction], Any] = noise._gaussian_terms
    monkeypatch.setattr(noise, "_gaussian_terms", lambda factor, sigma2: whole(factor, sigma2 / 4))
    with pytest.raises(UnsoundNoise) as refused:
        require_sound_noise()
    message = str(refused.value)
    assert "sum of noise shares (variance, in standard errors is -" in message
    assert "is claimed and" in message
    assert "entropy" not in message


def test_no_noise_above_one_table_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of real plans are far wider than one table: without this route all of their noise could be missing."""
    whole = GaussianLaw.terms
    monkeypatch.setattr(GaussianLaw, "terms", lambda law: whole(law) if law.sigma2 <= TABLE_STD**2 else ())
    with pytest.raises(UnsoundNoise, match="sum of noise shares, 20 bits"):
        require_sound_noise()


@pytest.mark.parametrize("noise_multiplier", [1, 4])
def test_a_real_plan_draws_its_shares_from_as_many_tables_as_the_self_test(noise_multiplier: int) -> None:
    coding = planned_coding(RoundPlan.recommend(40, noise_multiplier=noise_multiplier), 1000)
    assert isinstance(coding, Noisy)
    [_, wide] = routes_of(NoisePath.SHARES)
    assert all(law.draws(1) == table_draws(coding.share.share_variance) == 2 for law in wide.laws)


def test_a_stream_that_repeats_itself_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", bytes)
    with pytest.raises(UnsoundNoise, match="windows of 12 that occur twice"):
        require_sound_noise()


# --- randomness of rounds: derived, which the routes never draw from ------------------------------------------------

SEED = Seed(bytes(32))


def refuses(words: str) -> bool:
    with pytest.raises(UnsoundNoise) as refused:
        require_sound_noise()
    return words in str(refused.value)


def test_sound_codings_are_not_refuted() -> None:
    for subject, plan in plans():
        found = examine_coding(subject, plan)
        assert (found.refuted, found.trials) == (False, 6)
        assert [check.value for check in found.checks if "twice" in check.name] == [0.0, 0.0]


def test_a_constant_secret_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    derived = Entropy.derived
    monkeypatch.setattr(Entropy, "derived", lambda secret, label, context: derived(bytes(32), label, context))
    assert refuses("clients' shares in a round (secrets that occur twice")


def test_a_constant_stream_of_noise_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Randomness, "noise", lambda each: Entropy.derived(bytes(32), b"x", b""))
    assert refuses("clients' shares in a round (secrets that occur twice is 5, windows of 12")


@pytest.mark.parametrize("purpose", ["noise", "bit"])
def test_noise_of_one_round_that_serves_another_starts_no_server(purpose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round is left out of the derivation; every client keeps a seed of its own."""
    monkeypatch.setattr(Randomness, purpose, lambda each: Entropy.derived(each.seed.expose(), purpose.encode(), b""))
    assert refuses("secrets that occur twice is 3")


def test_noise_of_one_client_that_serves_another_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Randomness._entropy
    monkeypatch.setattr(Randomness, "_entropy", lambda each, label: whole(replace(each, seed=SEED), label))
    assert refuses("secrets that occur twice")


def test_one_purpose_for_noise_and_bit_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Randomness, "bit", Randomness.noise)
    assert refuses("secrets that occur twice is 6")


def test_layers_of_one_seed_start_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer differs, and hides in every sum that the others are one and the same."""
    import protocols.coding

    monkeypatch.setattr(protocols.coding, "layers_seed", lambda seed, context: SEED)
    assert refuses("clients' layers in a round (secrets that occur twice is 5, windows of 12")


def test_layers_that_ignore_their_seeds_start_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import dp.layers

    whole = dp.layers._add_layer_into
    monkeypatch.setattr(dp.layers, "_add_layer_into", lambda total, variance, seed: whole(total, variance, bytes(32)))
    assert refuses("clients' layers in a round (windows of 12")


def test_a_context_that_is_ignored_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def roundless(seed: Seed, label: bytes, context: Context, *rest: bytes) -> Seed:
        return derive(seed, label, Context(bytes(32)), *rest)

    made = Entropy.__init__
    monkeypatch.setattr("protocols.coding.derive", roundless)
    monkeypatch.setattr(
        Entropy, "__init__", lambda entropy, secret, label, context, rng: made(entropy, secret, label, b"", rng)
    )
    assert refuses("clients' layers in a round (secrets that occur twice")


def test_a_coding_that_leaves_noise_out_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shares themselves are sound, and what a client of a round calls is not."""

    def bare(coding: Noisy, update: Floats, weight: int, randomness: Randomness) -> EncodedShare:
        quantised = coding.share.quantise(update, bytes(32), randomness.noise())
        return EncodedShare(quantised.vector, quantised.clipped, "system")

    monkeypatch.setattr(Noisy, "noisy", bare)
    assert refuses("clients' shares in a round (windows of 12")


def test_a_bit_of_two_steps_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.coding.bit", lambda norm, clip: 1 if norm <= clip else -1)
    assert refuses("clients' shares and bits in a round (length of a far too long update / sensitivity is 4)")


def test_no_clip_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(vector: Floats, bound: Fraction) -> Clipped:
        return Clipped(np.asarray(vector, np.float64), Fraction(bound), float(np.abs(vector).sum()), hit=False)

    monkeypatch.setattr("dp.distributed.clip_l2", unclipped)
    assert refuses("clients' layers in a round (length of a far too long update")


def test_a_plan_without_noise_has_none_to_test() -> None:
    with pytest.raises(Misused, match="noise_multiplier"):
        examine_coding("exact", RoundPlan.recommend(5))
