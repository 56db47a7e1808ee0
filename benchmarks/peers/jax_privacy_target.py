"""jax-privacy under the checks of `benchmarks.matrix`; run in the environment of the peer.

<env>/bin/python -m benchmarks.peers.jax_privacy_target '{"checks": ["D8"]}'
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks.matrix import privacy
from benchmarks.matrix.checks import ids
from benchmarks.matrix.child import ending_of
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.privacy import DEVIATION, DRAWS, Floats
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.pins import names_of

VERSION = "2.0.0"
SYMBOLS = {"jax.numpy": ("full",), "jax_privacy.noise_addition": ("gaussian_privatizer",)}


@cache
def names() -> Any:
    return names_of("jax-privacy", VERSION, SYMBOLS)


def version() -> str:
    names()
    return VERSION


def noisy(value: float, count: int) -> Floats:
    """Its Gaussian privatizer with the key that it draws where none is passed."""
    privatizer = names().gaussian_privatizer(stddev=DEVIATION)
    gradient = names().full((count,), value)
    added, _ = privatizer.update(gradient, privatizer.init(gradient))
    return np.asarray(added)


def print_forked() -> None:
    """Forks before JAX has started the threads that no fork survives; the answer goes to standard output."""
    names()
    answer = privacy.forked(lambda: noisy(0.0, 8).tobytes())
    print(int(answer.fell), answer.evidence)


def forked() -> Answer:
    ending = ending_of(__spec__.name, "print_forked")
    if ending.status:
        raise RuntimeError(str(ending))
    fell, _, evidence = ending.stdout.strip().splitlines()[-1].partition(" ")
    return Answer(fell == "1", evidence)


PROBES = {
    "D6": lambda: privacy.noise_as_asked(noisy(0.0, DRAWS).astype(np.float64), DEVIATION),
    "D8": lambda: privacy.granularity(noisy),
    "D9": forked,
}
TARGET = Target(
    "jax-privacy",
    version,
    PROBES,
    for_all(ids("F", "N", "T"), "it trains in one place and neither masks nor encrypts")
    | for_all(("D1", "D2", "D3", "D4", "D5"), "its accountants are those of dp-accounting: see there")
    | {"D10": "it keeps no record of what was spent"},
    {},
)

if __name__ == "__main__":
    TARGET.main()
