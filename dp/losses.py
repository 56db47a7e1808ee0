"""One release as a law of privacy losses on a grid, an upper bound that errs by the square of the mesh.

    true loss in (e_k, e_(k+1)]  ->  e_k or e_(k+1), in the one proportion that keeps the P- and the Q-mass

Such a move spreads e^L under Q without changing its mean, so every divergence can only grow ("connect the dots":
the hockey-stick curve is replaced by chords). What lies above the grid counts as infinite loss, what lies below
is lifted to its foot.
Source: Doroshenko, Ghazi, Kamath, Kumar, Manurangsi, PoPETs 2022, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache

import numpy as np

from dp.pairs import Floats, Step

_LARGEST_EXPONENT = 700.0


class Direction(Enum):
    """Which of the two neighbours the released output came from."""

    REMOVING = "removing"  # drawn with the unit, compared with its absence
    ADDING = "adding"


@dataclass(frozen=True)
class Losses:
    """P(loss = (first + j) mesh) = masses[j]; and what was moved to make it so.

    `infinite` counts as infinite loss, `lifted` was moved up to the foot of the grid; both are at most the tail
    that was asked for.
    """

    mesh: float
    first: int
    masses: Floats = field(repr=False)
    infinite: float
    lifted: float

    @cached_property
    def values(self) -> Floats:
        """The losses themselves."""
        return (self.first + np.arange(self.masses.size, dtype=np.float64)) * self.mesh

    @cached_property
    def _logs(self) -> Floats:
        with np.errstate(divide="ignore"):
            return np.log(self.masses)

    def log_moment(self, order: float) -> float:
        """ln E[e^(order loss)] over the finite losses."""
        exponents = order * self.values + self._logs
        top = float(np.max(exponents))
        return top + math.log(float(np.sum(np.exp(exponents - top))))

    def tilted(self, order: float) -> Floats:
        """The law with density e^(order loss) / E[e^(order loss)] against this one."""
        exponents = order * self.values + self._logs
        weights: Floats = np.exp(exponents - np.max(exponents))
        weights /= np.sum(weights)
        return weights


@lru_cache(maxsize=32)
def losses_of(step: Step, mesh: float, tail: float) -> Mapping[Direction, Losses]:
    """The step's losses in both directions: P and Q change places between the two."""
    low, high = step.reach(tail)
    # One point more below, so that an atom at the least loss is inside the grid and not lifted to its foot.
    first, last = math.floor(low / mesh) - 1, math.ceil(high / mesh)
    grid = np.arange(first, last + 1, dtype=np.float64) * mesh
    mixed, plain = step.cells(np.concatenate([[-np.inf], grid, [np.inf]]))
    removing = _connect(mixed, plain, grid, mesh, first)
    adding = _connect(plain[::-1], mixed[::-1], -grid[::-1], mesh, -last)
    return {Direction.REMOVING: removing, Direction.ADDING: adding}


def range_of(step: Step, tail: float) -> float:
    """How wide a grid the step needs."""
    low, high = step.reach(tail)
    return high - low


def _connect(p: Floats, q: Floats, grid: Floats, mesh: float, first: int) -> Losses:
    """Splits each cell between its two ends.  Shapes: p, q of n + 1 cells, the outer two unbounded; grid of n."""
    scaled = q * np.exp(np.minimum(np.concatenate([grid[:1], grid]), _LARGEST_EXPONENT))
    inner = slice(1, -1)
    upper = np.clip((p[inner] - scaled[inner]) / -math.expm1(-mesh), 0.0, p[inner])
    masses = np.zeros(grid.size)
    masses[1:] = upper
    masses[:-1] += p[inner] - upper
    masses[0] += p[0]
    at_top = min(float(p[-1]), float(scaled[-1]))
    masses[-1] += at_top
    masses.setflags(write=False)
    return Losses(mesh, first, masses, float(p[-1]) - at_top, float(p[0]))
