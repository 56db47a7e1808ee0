"""jax-privacy: its accountant of DP-SGD, which is dp-accounting's, and its audit of one run.

Nothing of this project is imported here.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from benchmarks.peers.pins import names_of

NAME = "jax_privacy"
VERSION = "2.0.0"
TITLE = f"jax-privacy {VERSION}"
PYTHON = "3.11"
PIP = ("jax-privacy==2.0.0",)

Floats = np.ndarray[Any, np.dtype[Any]]

SYMBOLS = {
    "jax_privacy.accounting": ("DpParams", "DpsgdTrainingAccountant", "PldAccountantConfig"),
    "jax_privacy.auditing": ("CanaryScoreAuditor", "Split", "_epsilon_one_run"),
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    return names_of("jax-privacy", VERSION, SYMBOLS)


def epsilon(rate: Fraction, noise: float, steps: int, delta: float, mesh: float) -> float:
    """Of T steps of a Gaussian, each on a Poisson sample; it takes the rate as a batch of a data set."""
    peer = names()
    trained = peer.DpParams(
        noise_multipliers=noise, num_samples=rate.denominator, batch_size=rate.numerator, delta=delta
    )
    accountant = peer.DpsgdTrainingAccountant(peer.PldAccountantConfig(value_discretization_interval=mesh))
    return float(accountant.compute_epsilon(steps, trained))


def bound(canaries: int, guesses: int, correct: int, delta: float, alpha: float) -> float:
    """The epsilon that so many right guesses of one run refute."""
    return float(names()._epsilon_one_run(0.0, canaries, guesses, correct, alpha, delta))


def one_run(scores: Floats, included: Floats, delta: float, alpha: float, seed: int) -> float:
    """The epsilon that it proves of one run: half of the canaries choose the threshold that the rest is tested at."""
    peer = names()
    auditor = peer.CanaryScoreAuditor(scores[included], scores[~included])
    return float(auditor.epsilon_one_run(alpha, delta, threshold_strategy=peer.Split(seed=seed)))
