"""The updates every side of a comparison is given: one seeded source."""

from __future__ import annotations

from typing import Any

import numpy as np

SEED = 20261126
SCALE = 0.05

Floats = np.ndarray[Any, np.dtype[Any]]


def update_of(who: int, dimension: int) -> Floats:
    """Client who's update: float32, normal with standard deviation 0.05, within [-1, 1]."""
    generator = np.random.default_rng([SEED, who])
    drawn = generator.standard_normal(dimension, dtype=np.float32) * np.float32(SCALE)
    return np.clip(drawn, -1, 1, out=drawn)


def mean_of(clients: list[int], dimension: int) -> Floats:
    """The mean of their updates in float64: what every opened sum is compared with."""
    total = np.zeros(dimension)
    for who in clients:
        total += update_of(who, dimension)
    return total / len(clients)


def rms(values: Floats) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
