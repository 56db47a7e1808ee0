"""dp-accounting under the checks of `benchmarks.matrix`; run in the environment of the peer.

<env>/bin/python -m benchmarks.peers.dp_accounting_target '{"checks": ["D1"]}'
"""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import Any

from benchmarks.matrix import privacy
from benchmarks.matrix.checks import ids
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.privacy import DELTA, FINE, REPEATED, Run
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.dp_accounting import VERSION, event
from benchmarks.peers.pins import names_of

SYMBOLS = {
    "dp_accounting": ("GaussianDpEvent", "LaplaceDpEvent", "SelfComposedDpEvent"),
    "dp_accounting.pld": ("PLDAccountant",),
    "dp_accounting.rdp": ("RdpAccountant",),
    "dp_accounting.privacy_accountant": ("NeighboringRelation",),
}
# What an accountant of losses on a grid uses where nobody says, and ten times finer.
FINER = 1e-5
# The extreme runs take many multiples of the usual grid; a coarser one answers in seconds.
COARSE = 1e-2


@cache
def names() -> Any:
    logging.getLogger("absl").setLevel(logging.ERROR)
    return names_of("dp-accounting", VERSION, SYMBOLS)


def version() -> str:
    names()
    return VERSION


def asked(accountant: Any, run: Run) -> float:
    """Epsilon of the run by a new accountant."""
    accountant.compose(event(run.rate, run.noise, run.steps))
    return float(accountant.get_epsilon(run.delta))


def by_renyi(run: Run) -> float:
    return asked(names().RdpAccountant(), run)


def on_a_grid(run: Run, **settings: Any) -> float:
    return asked(names().PLDAccountant(**settings), run)


ACCOUNTANTS = {"RdpAccountant": by_renyi, "PLDAccountant": on_a_grid}


def replace_one() -> Answer:
    peer = names()
    claims: dict[str, float | str] = {}
    for accountant in (peer.RdpAccountant, peer.PLDAccountant):
        made = accountant(neighboring_relation=peer.NeighboringRelation.REPLACE_ONE)
        made.compose(peer.SelfComposedDpEvent(peer.GaussianDpEvent(REPEATED.noise), REPEATED.steps))
        claims[accountant.__name__] = float(made.get_epsilon(REPEATED.delta))
    return privacy.replace_one(claims)


def laplace(scale: float) -> float:
    accountant = names().PLDAccountant()
    accountant.compose(names().LaplaceDpEvent(scale))
    return float(accountant.get_epsilon(DELTA))


PROBES = {
    "D1": replace_one,
    "D2": lambda: privacy.grid(on_a_grid(FINE), on_a_grid(FINE, value_discretization_interval=FINER)),
    "D3": lambda: privacy.never_below(ACCOUNTANTS),
    "D4": lambda: privacy.finite(
        ACCOUNTANTS | {"PLDAccountant": partial(on_a_grid, value_discretization_interval=COARSE)}
    ),
    "D5": lambda: privacy.laplace_scale({"PLDAccountant": laplace}),
}
TARGET = Target(
    "dp-accounting",
    version,
    PROBES,
    for_all(ids("F", "N", "T"), "it accounts for noise and neither masks nor encrypts")
    | for_all(("D6", "D8", "D9"), "it draws no noise")
    | {"D10": "it keeps what was spent in memory only, and stores no record"},
    {"D1": ("google/differential-privacy#378", "google/differential-privacy#464")},
)

if __name__ == "__main__":
    TARGET.main()
