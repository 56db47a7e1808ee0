"""What encrypted suites compare: two ways to hold a key that open exactly, models of the known sizes, whole uploads."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.encrypted import CLIENTS, STEP, Federated, Ours, Shared, exact_mean
from benchmarks.inputs import mean_of, rms, update_of
from benchmarks.models import lenet5, resnet18
from benchmarks.suites import nvflare_he
from secagg.ckks.cipher import Fft, Opened
from secagg.ckks.plan import Keys

DIMENSION = 5000


@pytest.mark.parametrize(
    "mean",
    [
        lambda: Ours(Federated.agreed(Keys.recommended(5, 1), DIMENSION)).mean(Fft()),
        lambda: Shared(CLIENTS, DIMENSION).mean(),
    ],
    ids=["holders", "a shared key"],
)
def test_both_ways_open_the_mean_of_the_rounded_updates(mean: object) -> None:
    assert callable(mean)
    assert 0 < rms(mean() - mean_of(list(range(CLIENTS)), DIMENSION)) < STEP / 2


def test_an_inexact_sum_is_never_measured() -> None:
    opened = Shared(CLIENTS, DIMENSION)
    sums = opened.open(opened.summed())
    with pytest.raises(AssertionError, match="not that of the clients' integers"):
        exact_mean(Opened(sums.values + np.eye(1, DIMENSION, 7, np.int64)[0], sums.squares, sums.plausible), CLIENTS)


def test_the_models_are_of_the_sizes_that_are_known() -> None:
    """44,426 parameters of LeNet-5 on 28 x 28 pixels; 62 tensors and 11,689,512 parameters of ResNet-18."""
    for shapes, tensors, parameters in ((lenet5(), 10, 44_426), (resnet18(64), 62, 11_689_512)):
        assert len(shapes) == tensors
        assert sum(map(math.prod, shapes.values())) == parameters


def test_an_upload_weighs_what_is_encrypted_and_little_more() -> None:
    """The planner's bytes are those of the ciphertexts that are timed, and of frames and signatures around them."""
    planned = nvflare_he.our_bytes(DIMENSION, CLIENTS)
    assert set(planned) == set(nvflare_he.LIMITS)
    upload = Ours(Federated.agreed(Keys.recommended(5, 1), DIMENSION)).upload(update_of(0, DIMENSION), Fft())
    seeded = Shared(CLIENTS, DIMENSION).upload(update_of(0, DIMENSION))
    assert 0 < planned[nvflare_he.HELD] - len(upload.c0) - len(upload.c1) < 20_000
    assert 32 < planned[nvflare_he.GIVEN] - len(seeded) < 1000
