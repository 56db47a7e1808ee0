"""Google's dp-accounting: privacy loss distributions on a given grid, Renyi curves, calibration.

    epsilon of T steps of a Gaussian of that noise multiplier, each on a Poisson sample of rate q

Nothing of this project is imported here.
"""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import Any

import numpy as np
from scipy.fft import irfft, rfft

from benchmarks.peers.pins import names_of

NAME = "dp_accounting"
VERSION = "0.6.0"
TITLE = f"dp-accounting {VERSION}"
PYTHON = "3.11"
PIP = ("dp-accounting==0.6.0",)

# Where its laws are composed in extended precision: multiples of the grid, and tilts to choose from.
CELLS = 2**20
TILTS = tuple(2.0 ** (k / 8) for k in range(-24, 64))

SYMBOLS = {
    "dp_accounting": (
        "GaussianDpEvent",
        "LowerEndpointAndGuess",
        "PoissonSampledDpEvent",
        "SelfComposedDpEvent",
        "calibrate_dp_mechanism",
    ),
    "dp_accounting.pld": ("PLDAccountant", "privacy_loss_distribution"),
    "dp_accounting.rdp": ("RdpAccountant",),
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    # It tells of every fractional order for which its series does not converge, and leaves that order out.
    logging.getLogger("absl").setLevel(logging.ERROR)
    return names_of("dp-accounting", VERSION, SYMBOLS)


def event(rate: float, noise: float, steps: int) -> Any:
    """The whole run as one of its events."""
    peer = names()
    sampled = peer.PoissonSampledDpEvent(rate, peer.GaussianDpEvent(noise))
    return peer.SelfComposedDpEvent(sampled, steps)


def pld_epsilon(rate: float, noise: float, steps: int, delta: float, interval: float) -> float:
    """The pessimistic end on a grid of that interval, connecting the dots, both directions: its tightest bound."""
    step = names().privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=interval
    )
    return float(step.self_compose(steps).get_epsilon_for_delta(delta))


def pld_epsilon_of_its_law(rate: float, noise: float, steps: int, delta: float, interval: float) -> float:
    """What its one-step laws on that grid say when they are composed in extended precision, exponentially tilted.

    Its own composition keeps 15 digits of the whole law, which at a delta of 1e-9 leaves fewer than six of the tail.
    """
    step = names().privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=interval
    )
    return max(_composed(law, steps, delta, interval) for law in (step._pmf_remove, step._pmf_add))


def _composed(law: Any, steps: int, delta: float, interval: float) -> float:
    """The least multiple of a 2^-40 share of the grid with delta(epsilon) <= delta, by bisection."""
    law = law.to_dense_pmf()
    mass = np.asarray(law._probs, dtype=np.longdouble)
    losses = (law._lower_loss + np.arange(mass.size)) * np.longdouble(interval)
    tilt = min(TILTS, key=lambda t: (steps * _log_moment(mass, losses, t) - math.log(delta)) / t)
    log_moment = _log_moment(mass, losses, tilt)
    tilted = mass * np.exp(tilt * losses - log_moment)
    around = np.zeros(CELLS, dtype=np.longdouble)
    np.add.at(around, (law._lower_loss + np.arange(mass.size)) % CELLS, tilted)
    around = irfft(np.exp(steps * np.log(rfft(around))), CELLS)
    cells = round(float(steps * (tilted * losses).sum()) / interval) - CELLS // 2 + np.arange(CELLS)
    cells = cells[cells > 0]
    sums = cells * np.longdouble(interval)
    total = np.exp(steps * log_moment - tilt * sums) * np.maximum(around[cells % CELLS], 0)

    def at(epsilon: float) -> float:
        beyond = sums > epsilon
        inside = float((total[beyond] * np.expm1(epsilon - sums[beyond])).sum())
        return float(law._infinity_mass) * steps - inside

    low, high = 0.0, float(sums[-1])
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle) > delta else (low, middle)
    return high


def _log_moment(mass: Any, losses: Any, tilt: float) -> Any:
    return np.log((mass * np.exp(tilt * losses)).sum())


def rdp_epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """The Renyi accountant with its default orders."""
    accountant = names().RdpAccountant()
    accountant.compose(event(rate, noise, steps))
    return float(accountant.get_epsilon(delta))


class Online:
    """A PLD accountant that is told of one round at a time and asked after each."""

    def __init__(self, rate: float, noise: float, delta: float, interval: float) -> None:
        self._accountant = names().PLDAccountant(value_discretization_interval=interval)
        self._round = event(rate, noise, 1)
        self._delta = delta

    def next(self) -> float:
        """Epsilon after one more round."""
        self._accountant.compose(self._round)
        return float(self._accountant.get_epsilon(self._delta))
