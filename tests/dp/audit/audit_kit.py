"""Systems for audits to attack: Gaussian sums with a known truth, and sources that everybody can repeat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dp.audit import Canaries, Presence
from dp.entropy import Entropy

Floats = NDArray[np.float64]
AXIS = np.array([1.0, 0.0, 0.0])


def seeded(seed: int) -> Callable[[bytes, bytes], Entropy]:
    """A source whose every (label, context) is a function of the seed."""

    def source(label: bytes, context: bytes) -> Entropy:
        return Entropy.insecure(seed, label, context)

    return source


def fresh_seeded(seed: int) -> Callable[[bytes, bytes], Entropy]:
    """As the operating system's: every call another stream, yet all of them functions of the seed."""
    opened = iter(range(1 << 62))

    def source(label: bytes, context: bytes) -> Entropy:
        return Entropy.insecure((seed << 62) + next(opened), label, context)

    return source


def gaussian_sum(noise_multiplier: float, seed: int, clip: float = 1.0) -> Callable[[Presence], Floats]:
    """C v or nothing, plus Gaussian noise of z C per coordinate, three coordinates."""
    generator = np.random.default_rng(seed)

    def release(presence: Presence) -> Floats:
        signal = clip * AXIS if presence is Presence.IN else 0.0 * AXIS
        return signal + noise_multiplier * clip * generator.standard_normal(3)

    return release


def gaussian_canaries(count: int, noise_multiplier: float, seed: int) -> Canaries:
    """Each canary has a coordinate of its own: score = [in] + noise of z."""
    generator = np.random.default_rng(seed)
    included = generator.random(count) < 0.5
    return Canaries(included + noise_multiplier * generator.standard_normal(count), included)


def responded(count: int, epsilon: float, generator: np.random.Generator) -> Canaries:
    """Randomised response with a random confidence, which says nothing: every guess is right with p, exactly."""
    included = generator.random(count) < 0.5
    right = generator.random(count) < 1.0 / (1.0 + np.exp(-epsilon))
    sign = np.where(included == right, 1.0, -1.0)
    return Canaries(sign * generator.random(count), included)
