"""A server's self-test: silent on sound noise, and a named refusal of everything else."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from dp.errors import UnsoundNoise
from protocols.selftesting import require_sound_noise


def test_sound_noise_is_what_it_found() -> None:
    found = require_sound_noise()
    assert [finding.subject for finding in found] == [
        "sum of noise shares",
        "total after surplus layers",
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


def test_a_stream_that_repeats_itself_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", bytes)
    with pytest.raises(UnsoundNoise, match="windows of 12 that occur twice"):
        require_sound_noise()
