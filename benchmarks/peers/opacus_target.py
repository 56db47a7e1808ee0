"""Opacus under the checks of `benchmarks.matrix`; run in the environment of the peer.

<env>/bin/python -m benchmarks.peers.opacus_target '{"checks": ["D8"]}'
"""

from __future__ import annotations

import warnings
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.matrix import privacy
from benchmarks.matrix.checks import ids
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.privacy import DEVIATION, DRAWS, FINE, Floats, Run
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.opacus import VERSION
from benchmarks.peers.pins import names_of

SYMBOLS = {
    "opacus.accountants": ("GaussianAccountant", "PRVAccountant", "RDPAccountant"),
    "opacus.optimizers.optimizer": ("_generate_noise",),
    "torch": ("full", "set_num_threads", "zeros"),
}
FINER = 0.001


@cache
def names() -> Any:
    peer = names_of("opacus", VERSION, SYMBOLS)
    peer.set_num_threads(1)
    return peer


def version() -> str:
    names()
    return VERSION


def asked(name: str, run: Run, **settings: float) -> float:
    """Epsilon of the run by the accountant of this name."""
    with warnings.catch_warnings():
        # It warns that its Gaussian accountant may say too little, and of its largest order.
        warnings.simplefilter("ignore")
        accountant = getattr(names(), name)()
        accountant.history = [(run.noise, run.rate, run.steps)]
        return float(accountant.get_epsilon(run.delta, **settings))


RENYI, PRV, GDP = (partial(asked, name) for name in ("RDPAccountant", "PRVAccountant", "GaussianAccountant"))


def noise(count: int, secure: bool) -> Any:
    return names()._generate_noise(std=DEVIATION, reference=names().zeros(count), secure_mode=secure)


def noisy(value: float, count: int) -> Floats:
    """As its optimizer adds noise to a gradient in secure mode, the finer of its two ways."""
    outputs: Floats = (names().full((count,), value) + noise(count, secure=True)).numpy()
    return outputs


def edited() -> Answer:
    """The state that a checkpoint stores, less all but one step."""
    accountant = names().RDPAccountant()
    accountant.history = [(1.0, 0.01, 1000)]
    before = accountant.get_epsilon(1e-5)
    state = accountant.state_dict()
    state["history"] = [(1.0, 0.01, 1)]
    restored = names().RDPAccountant()
    restored.load_state_dict(state)
    return privacy.edited_record(before, restored.get_epsilon(1e-5), "load_state_dict takes 1 step for 1,000")


PROBES = {
    "D2": lambda: privacy.grid(PRV(FINE), PRV(FINE, eps_error=FINER)),
    "D3": lambda: privacy.never_below({"RDPAccountant": RENYI, "PRVAccountant": PRV, "GaussianAccountant": GDP}),
    "D4": lambda: privacy.finite({"RDPAccountant": RENYI, "PRVAccountant": PRV}),
    "D6": lambda: privacy.noise_as_asked(noise(DRAWS, secure=False).numpy().astype(np.float64), DEVIATION),
    "D8": lambda: privacy.granularity(noisy),
    "D9": lambda: privacy.forked(lambda: bytes(noise(16, secure=False).numpy().tobytes())),
    "D10": edited,
}
TARGET = Target(
    "opacus",
    version,
    PROBES,
    for_all(ids("F", "N", "T"), "it trains in one place and neither masks nor encrypts")
    | {"D1": "its accountants take no relation", "D5": "it has no Laplace noise"},
    {"D4": ("opacus#637",)},
)

if __name__ == "__main__":
    TARGET.main()
