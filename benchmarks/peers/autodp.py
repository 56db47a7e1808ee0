"""autodp: epsilon of sampled Gaussians by its Renyi curves. Nothing of this project is imported here."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from benchmarks.peers.pins import names_of

NAME = "autodp"
VERSION = "0.2.3.1"
TITLE = f"autodp {VERSION}"
PYTHON = "3.11"
PIP = ("autodp==0.2.3.1",)

SYMBOLS = {
    "autodp.mechanism_zoo": ("GaussianMechanism",),
    "autodp.transformer_zoo": ("AmplificationBySampling", "Composition"),
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    return names_of("autodp", VERSION, SYMBOLS)


def epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """Of T steps of a Gaussian, each on a Poisson sample of rate q, a unit more or less."""
    peer = names()
    step = peer.GaussianMechanism(sigma=noise)
    step.neighboring = "add_remove"
    # By the exact Renyi divergence at whole orders, which is what its documentation calls improved.
    sampled = peer.AmplificationBySampling(PoissonSampling=True)(step, rate, improved_bound_flag=True)
    with warnings.catch_warnings():
        # Its minimiser divides by zero where the curve is flat.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(peer.Composition()([sampled], [steps]).get_approxDP(delta))
