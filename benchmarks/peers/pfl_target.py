"""pfl under the checks of `benchmarks.matrix`; run in the environment of the peer.

<env>/bin/python -m benchmarks.peers.pfl_target '{"checks": ["D5"]}'
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.matrix import privacy
from benchmarks.matrix.checks import ids
from benchmarks.matrix.privacy import DELTA, DEVIATION, DRAWS, FINE, Floats, Run
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.pins import names_of

VERSION = "0.6.0"
KINDS = ("PLDPrivacyAccountant", "PRVPrivacyAccountant", "RDPPrivacyAccountant")
SYMBOLS = {
    "pfl.privacy.privacy_accountant": KINDS,
    "pfl.privacy.gaussian_mechanism": ("GaussianMechanism",),
    "pfl.stats": ("MappedVectorStatistics",),
}
FINER = 1e-5


@cache
def names() -> Any:
    logging.getLogger("absl").setLevel(logging.ERROR)
    return names_of("pfl", VERSION, SYMBOLS)


def version() -> str:
    names()
    return VERSION


def asked(kind: str, run: Run, mechanism: str = "gaussian", **settings: float) -> float:
    """Epsilon of the run by an accountant of this kind."""
    accountant = getattr(names(), kind)(
        num_compositions=run.steps,
        sampling_probability=run.rate,
        mechanism=mechanism,
        noise_parameter=run.noise,
        delta=run.delta,
        **settings,
    )
    return float(accountant.epsilon)


def laplace(kind: str) -> Callable[[float], float]:
    return lambda scale: asked(kind, Run(1.0, scale, 1, DELTA), "laplace")


def noisy(value: float, count: int) -> Floats:
    """Its central mechanism on the statistics of one user."""
    mechanism = names().GaussianMechanism(clipping_bound=1.0, relative_noise_stddev=DEVIATION)
    statistics = names().MappedVectorStatistics({"x": np.full(count, value)})
    added, _ = mechanism.add_noise(statistics, cohort_size=1)
    return np.asarray(added["x"])


PLD, PRV, RDP = (partial(asked, kind) for kind in KINDS)
PROBES = {
    "D2": lambda: privacy.grid(PLD(FINE), PLD(FINE, value_discretization_interval=FINER)),
    "D3": lambda: privacy.never_below(dict(zip(KINDS, (PLD, PRV, RDP), strict=True))),
    "D4": lambda: privacy.finite(
        {KINDS[0]: partial(PLD, value_discretization_interval=1e-2), KINDS[1]: PRV, KINDS[2]: RDP},
        (ValueError, RuntimeError),
    ),
    "D5": lambda: privacy.laplace_scale({kind: laplace(kind) for kind in KINDS}),
    "D6": lambda: privacy.noise_as_asked(noisy(0.0, DRAWS), DEVIATION),
    "D8": lambda: privacy.granularity(noisy),
    "D9": lambda: privacy.forked(lambda: noisy(0.0, 8).tobytes()),
}
TARGET = Target(
    "pfl",
    version,
    PROBES,
    for_all(ids("F", "N", "T"), "its sums are simulated in the clear: it neither masks nor encrypts")
    | {"D1": "its accountants take no relation", "D10": "its accountants are of a whole run and keep no record"},
    {},
)

if __name__ == "__main__":
    TARGET.main()
