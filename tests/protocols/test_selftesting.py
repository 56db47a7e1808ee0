"""A server's self-test: silent on sound noise, and a named refusal of everything else."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from dp.audit import NoisePath, routes_of
from dp.errors import UnsoundNoise
from dp.noise import TABLE_STD, GaussianLaw, table_draws
from protocols.coding import Noisy, planned_coding
from protocols.plan import RoundPlan
from protocols.selftesting import require_sound_noise


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
