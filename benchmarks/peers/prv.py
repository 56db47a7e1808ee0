"""Microsoft's prv-accountant: an interval around epsilon whose half width is asked for.

It bounds the direction in which a unit is removed. Nothing of this project is imported here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.peers.pins import names_of

NAME = "prv"
VERSION = "0.2.0"
TITLE = f"prv-accountant {VERSION}"
PYTHON = "3.11"
PIP = ("prv-accountant==0.2.0",)

SYMBOLS = {
    "prv_accountant": ("PRVAccountant",),
    "prv_accountant.privacy_random_variables": ("PoissonSubsampledGaussianMechanism",),
}
# The share of delta that its own documentation gives to errors.
DELTA_SHARE = 1e-3


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    return names_of("prv-accountant", VERSION, SYMBOLS)


def interval(rate: float, noise: float, steps: int, delta: float, error: float) -> tuple[float, float]:
    """(lower, upper) epsilon of T steps of a Gaussian, each on a Poisson sample of rate q."""
    peer = names()
    step = peer.PoissonSubsampledGaussianMechanism(sampling_probability=rate, noise_multiplier=noise)
    accountant = peer.PRVAccountant(step, eps_error=error, delta_error=delta * DELTA_SHARE, max_self_compositions=steps)
    lower, _, upper = accountant.compute_epsilon(delta, [steps])
    return float(lower), float(upper)
