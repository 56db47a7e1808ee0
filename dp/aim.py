"""Where to look: the tilt and the epsilon near which a composition spends delta, from its moments.

    K(lambda) = ln E[e^(lambda loss)]
    epsilon <= (K + lambda ln(lambda/(1 + lambda)) - ln(1 + lambda) - ln delta) / lambda,   least over lambda

At the least lambda K' is that epsilon: the law tilted by lambda has its mean there. It only places the transform of
dp.convolution, whose bounds hold wherever it is placed.
Source: Canonne, Kamath, Steinke, NeurIPS 2020, Proposition 12, in terms of moments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dp.convolution import Part
from dp.pairs import Floats, Step

_ATOMS = 1500
_TAIL = 1e-40
_LEAST_VARIANCE = 1e-300
# ln of a chance that is no tail: then the law is composed as it stands.
_NO_TAIL = -0.7


@dataclass(frozen=True, slots=True)
class Aim:
    """The tilt, the epsilon it is for, the standard deviation of the tilted sum, and K - order centre."""

    order: float
    centre: float
    spread: float
    log_scale: float


@dataclass(frozen=True, slots=True)
class Atoms:
    """A law of losses in a few atoms of unequal distance."""

    losses: Floats
    logs: Floats

    def cumulants(self, order: float) -> tuple[float, float, float]:
        """(K, K', K'') at this order."""
        exponents = order * self.losses + self.logs
        top = float(np.max(exponents))
        weights = np.exp(exponents - top)
        total = float(np.sum(weights))
        mean = float(weights @ self.losses) / total
        variance = float(weights @ (self.losses - mean) ** 2) / total
        return top + math.log(total), mean, variance


@lru_cache(maxsize=64)
def _atoms(step: Step, adding: bool) -> Atoms:
    """The step in cells that are narrow where its losses are, each with its middle loss."""
    low, high = step.pair.reach(_TAIL)
    edges = np.linspace(low, high, _ATOMS)
    # Cells are open below: without one that ends at the least loss, an atom there, half of a law, would be lost.
    p, q = step.pair.cells(np.concatenate([[-np.inf], edges]))
    mixed = (1.0 - step.q) * q + step.q * p
    weights = q if adding else mixed
    kept = weights > 0.0
    losses = step.outside(np.concatenate([[low], 0.5 * (edges[:-1] + edges[1:])]))[kept]
    return Atoms(-losses if adding else losses, np.log(weights[kept]))


def aim(parts: Sequence[Part], delta: float) -> Aim:
    """The order at which the bound by moments is least, and the epsilon it gives."""
    moments = _Moments(parts)

    def bound(order: float) -> float:
        spent = order * math.log1p(1.0 / order) + math.log1p(order) + math.log(delta)
        return (moments.at(order)[0] - spent) / order

    order = min(moments.orders, key=bound)
    return moments.aim(order, bound(order))


def aim_at(parts: Sequence[Part], epsilon: float) -> Aim:
    """The order at which Chernoff's bound of losses above epsilon is least."""
    moments = _Moments(parts)
    return moments.aim(min(moments.orders, key=lambda order: moments.at(order)[0] - order * epsilon), epsilon)


class _Moments:
    """Cumulants of a composition, estimated; and the orders worth trying, powers of 2^(1/4)."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [(_atoms(part.step, part.adding), part.count) for part in parts]
        _, self.mean, variance = self.at(0.0)
        self.spread = math.sqrt(variance)
        # One release more leaves the order alone, and its spectra are found again.
        scale = math.floor(-math.log2(self.spread))
        self.orders = [2.0 ** (scale + place / 4.0) for place in range(-40, 41)]

    def at(self, order: float) -> tuple[float, float, float]:
        """(K, K', K'')."""
        own = [(count, *atoms.cumulants(order)) for atoms, count in self._parts]
        sums = [math.fsum(count * values[place] for count, *values in own) for place in range(3)]
        return sums[0], sums[1], max(sums[2], _LEAST_VARIANCE)

    def aim(self, order: float, epsilon: float) -> Aim:
        """This tilt for losses around epsilon; none where they are no tail of the law."""
        moment, _, variance = self.at(order)
        if epsilon <= self.mean or moment - order * epsilon > _NO_TAIL:
            return Aim(0.0, max(self.mean, 0.0), self.spread, 0.0)
        return Aim(order, epsilon, math.sqrt(variance), moment - order * epsilon)
