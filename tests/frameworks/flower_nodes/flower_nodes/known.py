"""Who sends what. Floats with full mantissas, so that eight bytes of one are not met by chance."""

from __future__ import annotations

import numpy as np

CLIENTS = 4
VICTIM = 3
LENGTH = 1000


def start() -> np.ndarray:
    return np.random.default_rng(7).uniform(-1, 1, LENGTH)


def delta_of(who: int) -> np.ndarray:
    return np.random.default_rng(100 + who).uniform(-0.5, 0.5, LENGTH)


def weight_of(who: int) -> int:
    return 10007 + 1000 * who


def mean_over(clients: list[int]) -> np.ndarray:
    return sum(weight_of(who) * delta_of(who) for who in clients) / sum(map(weight_of, clients))
