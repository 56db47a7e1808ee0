"""prv-accountant under the checks of `benchmarks.matrix`; run in the environment of the peer.

<env>/bin/python -m benchmarks.peers.prv_target '{"checks": ["D3"]}'
"""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.matrix import privacy
from benchmarks.matrix.checks import ids
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.privacy import DELTA, FINE, Run
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.pins import names_of
from benchmarks.peers.prv import DELTA_SHARE, VERSION, interval

SYMBOLS = {
    "prv_accountant": ("PRVAccountant",),
    "prv_accountant.privacy_random_variables": ("LaplaceMechanism",),
}
# Half widths of intervals: what its documentation calls typical, and ten times finer.
ERROR, FINER = 0.1, 0.01


@cache
def names() -> Any:
    return names_of("prv-accountant", VERSION, SYMBOLS)


def version() -> str:
    names()
    return VERSION


def upper(run: Run, error: float = ERROR) -> float:
    """The end of its interval that is safe to say."""
    return interval(run.rate, run.noise, run.steps, run.delta, error)[1]


def grid() -> Answer:
    """It states its error: the width of its interval."""
    lower, default = interval(FINE.rate, FINE.noise, FINE.steps, FINE.delta, ERROR)
    return privacy.grid(default, upper(FINE, FINER), told=default - lower)


def laplace(scale: float) -> float:
    step = names().LaplaceMechanism(mu=1 / scale)
    accountant = names().PRVAccountant(
        step, eps_error=FINER / 2, delta_error=DELTA * DELTA_SHARE, max_self_compositions=1
    )
    return float(accountant.compute_epsilon(DELTA, [1])[2])


PROBES = {
    "D2": grid,
    "D3": lambda: privacy.never_below({"PRVAccountant": upper}),
    "D4": lambda: privacy.finite({"PRVAccountant": upper}, (ValueError, RuntimeError)),
    "D5": lambda: privacy.laplace_scale({"PRVAccountant": laplace}),
}
TARGET = Target(
    "prv-accountant",
    version,
    PROBES,
    for_all(ids("F", "N", "T"), "it accounts for noise and neither masks nor encrypts")
    | for_all(("D6", "D8", "D9"), "it draws no noise")
    | {"D1": "it takes no relation", "D10": "it keeps no record of what was spent"},
    {},
)

if __name__ == "__main__":
    TARGET.main()
