"""OpenDP under the checks of `benchmarks.matrix`; run in the environment of the peer.

<env>/bin/python -m benchmarks.peers.opendp_target '{"checks": ["D8"]}'
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks.matrix import privacy
from benchmarks.matrix.checks import ids
from benchmarks.matrix.privacy import DEVIATION, Floats
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.opendp import SYMBOLS, VERSION
from benchmarks.peers.pins import names_of


@cache
def names() -> Any:
    peer = names_of("opendp", VERSION, SYMBOLS)
    peer.enable_features("contrib")
    return peer


def version() -> str:
    names()
    return VERSION


def floats() -> Any:
    """Vectors of floats, of which none is missing."""
    return names().vector_domain(names().atom_domain(T=float, nan=False))


def noisy(value: float, count: int) -> Floats:
    """Its Gaussian on floats."""
    added = names().m.make_gaussian(floats(), names().l2_distance(T=float), scale=DEVIATION)
    return np.array(added([value] * count))


def laplace(scale: float) -> float:
    """The epsilon that its own map gives for a sensitivity of 1."""
    epsilon: float = names().m.make_laplace(floats(), names().l1_distance(T=float), scale=scale).map(1.0)
    return epsilon


PROBES = {
    "D5": lambda: privacy.laplace_scale({"make_laplace": laplace}),
    "D6": lambda: privacy.noise_as_asked(noisy(0.0, privacy.DRAWS), DEVIATION),
    "D8": lambda: privacy.granularity(noisy),
    "D9": lambda: privacy.forked(lambda: noisy(0.0, 8).tobytes()),
}
TARGET = Target(
    "opendp",
    version,
    PROBES,
    for_all(ids("F", "N", "T"), "it measures in one place and neither masks nor encrypts")
    | for_all(("D1",), "its maps take the sensitivity itself, whichever relation it is of")
    | for_all(("D2", "D3", "D4"), "these runs are of sampled Gaussians, which it has no map for")
    | {"D10": "its queryables cannot be stored"},
    {},
)

if __name__ == "__main__":
    TARGET.main()
