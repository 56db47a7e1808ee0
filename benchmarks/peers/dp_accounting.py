"""Google's dp-accounting: privacy loss distributions on a given grid, Renyi curves, calibration.

    epsilon of T steps of a Gaussian of that noise multiplier, each on a Poisson sample of rate q

Nothing of this project is imported here.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from benchmarks.peers.pins import names_of

NAME = "dp_accounting"
VERSION = "0.6.0"
TITLE = f"dp-accounting {VERSION}"
PYTHON = "3.11"
PIP = ("dp-accounting==0.6.0",)

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
    epsilon: float = step.self_compose(steps).get_epsilon_for_delta(delta)
    return epsilon


def rdp_epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """The Renyi accountant with its default orders."""
    accountant = names().RdpAccountant()
    accountant.compose(event(rate, noise, steps))
    epsilon: float = accountant.get_epsilon(delta)
    return epsilon


class Online:
    """A PLD accountant that is told of one round at a time and asked after each."""

    def __init__(self, rate: float, noise: float, delta: float, interval: float) -> None:
        self._accountant = names().PLDAccountant(value_discretization_interval=interval)
        self._round = event(rate, noise, 1)
        self._delta = delta

    def next(self) -> float:
        """Epsilon after one more round."""
        self._accountant.compose(self._round)
        epsilon: float = self._accountant.get_epsilon(self._delta)
        return epsilon
