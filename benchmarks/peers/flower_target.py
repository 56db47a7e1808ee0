"""Flower under the checks of `benchmarks.matrix`; run in the environment of the peer.

    <env>/bin/python -m benchmarks.peers.flower_target '{"checks": ["F2"]}'

Its SecAgg+ is attacked by the scripts of `protocols.adversary` (`flower_stage`), its noise and its accountant here.
"""

from __future__ import annotations

import importlib
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.matrix import privacy
from benchmarks.matrix.checks import ids
from benchmarks.matrix.finding import Answer, NotInstalled
from benchmarks.matrix.masks import probes_of
from benchmarks.matrix.privacy import DEVIATION, DRAWS, REPEATED, Floats
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.flower_seam import flower
from benchmarks.peers.flower_stage import Flower
from benchmarks.peers.pins import names_of

SYMBOLS = {
    "flwr.supercore.differential_privacy": ("add_gaussian_noise_inplace",),
    "flwr.supercore.privacy_accounting": (
        "GaussianPrivacyEvent",
        "NeighboringRelation",
        "PrivacyConfig",
        "SamplingMethod",
    ),
    "flwr.supercore.privacy_accounting.rdp_accountant": ("RdpAccountant",),
}
POPULATION = 100


def version() -> str:
    found: str = flower().__version__
    return found


@cache
def names() -> Any:
    """Names that need no more than Flower itself."""
    return names_of("flwr", version(), SYMBOLS)


def noisy(value: float, count: int) -> Floats:
    """As its strategies and its local mod add noise."""
    outputs = np.full(count, value)
    names().add_gaussian_noise_inplace([outputs], DEVIATION)
    return outputs


def accountant(relation: str, sampling: str) -> Any:
    """A new one.  Raises: NotInstalled without the accountant that it stands on."""
    peer = names()
    try:
        importlib.import_module("dp_accounting")
    except ModuleNotFoundError as missing:
        raise NotInstalled(f"its accountant needs {missing.name}, which is not in this environment") from missing
    settings = peer.NeighboringRelation[relation], peer.SamplingMethod[sampling]
    return peer.RdpAccountant(peer.PrivacyConfig(REPEATED.delta, POPULATION, *settings))


def spent(relation: str, sampling: str) -> float:
    return composed(accountant(relation, sampling))


def composed(made: Any) -> float:
    """Epsilon after the releases that every library is asked about."""
    made.compose(names().GaussianPrivacyEvent(REPEATED.noise, POPULATION, POPULATION), REPEATED.steps)
    return float(made.get_epsilon(REPEATED.delta))


def replace_one() -> Answer:
    """Under both of its ways to take everybody."""
    return privacy.replace_one(
        {
            sampling: privacy.refused_in(partial(spent, "REPLACE_ONE", sampling))
            for sampling in ("NO_AMPLIFICATION", "WITHOUT_REPLACEMENT")
        }
    )


def edited() -> Answer:
    """The state that it stores as JSON, less all but one release."""
    made, restored = (accountant("ADD_OR_REMOVE_ONE", "NO_AMPLIFICATION") for _ in range(2))
    before = composed(made)
    state = made.state_dict()
    state["compositions"][0]["count"] = 1
    restored.load_state_dict(state)
    after = float(restored.get_epsilon(REPEATED.delta))
    return privacy.edited_record(before, after, f"load_state_dict takes 1 release for {REPEATED.steps}")


PROBES = {
    **probes_of(Flower),
    "D1": replace_one,
    "D6": lambda: privacy.noise_as_asked(noisy(0.0, DRAWS), DEVIATION),
    "D8": lambda: privacy.granularity(noisy),
    "D9": lambda: privacy.forked(lambda: noisy(0.0, 8).tobytes()),
    "D10": edited,
}
TARGET = Target(
    "flower",
    version,
    PROBES,
    for_all(ids("N", "T"), "it masks and does not encrypt")
    | {
        "N4": "it masks and does not encrypt; F7 is this check under masks",
        "D2": "its accountant has no grid",
        "D3": "its accountant is dp-accounting's: see there",
        "D4": "its accountant is dp-accounting's: see there",
        "D5": "it has no Laplace noise",
    },
    {
        "F1": ("flower#7522", "flower#7570"),
        "D1": ("google/differential-privacy#378", "google/differential-privacy#464"),
    },
)

if __name__ == "__main__":
    TARGET.main()
