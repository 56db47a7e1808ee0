"""One release as a law on the multiples of a mesh: from above by connecting dots, from below by merging cells.

    above   between two knots every true loss is split so that its mass under P and under Q is kept. That is
            exactly what the chord of the profile, as a function of e^epsilon, does: it lies above the profile
    below   all losses nearest to one knot are answered alike. That is a post-processing of the release: what
            it still tells apart, the release tells apart as well

Both err in second order of the mesh. Knots may thin out where losses are large and therefore rare.

Source: Doroshenko, Ghazi, Kamath, Kumar and Manurangsi, PoPETs 2022 (connect the dots).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp.profiles import Floats, Pair

Knots = NDArray[np.int64]

# Arguments of a profile are lowered by this share, which covers their rounding: the profile falls.
_LOWERED = 1.0 - 2.0**-48
_LADDER = np.exp2(np.arange(-150.0, 60.0, 0.125))


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Masses e^log_mass at losses knots * mesh, and `missing` at infinite loss; equal only to itself."""

    knots: Knots
    log_mass: Floats
    mesh: float
    missing: float

    @property
    def losses(self) -> Floats:
        """knots * mesh."""
        return np.multiply(self.knots, self.mesh, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Grid:
    """How finely losses are told apart: steps of `mesh` up to `even` of them, then steps of 1/even.

    `tail` is the profile below which what is left is counted as an infinite loss.
    """

    mesh: float
    even: int
    tail: float

    def finer(self, factor: int) -> Grid:
        """The same with steps smaller by a power of two."""
        return Grid(self.mesh / factor, self.even * factor, self.tail)


@lru_cache(maxsize=256)
def law_above(pair: Pair, grid: Grid) -> Law:
    """A law at least as far apart as the pair: composing it bounds every composition from above."""
    knots = _knots(pair, grid)
    at = np.multiply(knots, grid.mesh, dtype=np.float64)
    right, left = at[knots >= 0], at[knots <= 0]
    above = pair.profile(right * _LOWERED)
    below = pair.swapped.profile(-left * _LOWERED)
    mass = np.zeros(at.size)
    zero = left.size - 1
    gap = np.diff(at)
    # From the chords right of 0, slopes taken in units of e^-epsilon so that nothing overflows.
    drop, step = -np.diff(above), gap[zero:]
    mass[zero + 1 :] += drop / -np.expm1(-step)
    mass[zero:-1] -= drop * np.exp(-step) / -np.expm1(-step)
    # From those left of 0, in terms of the swapped profile: 1 - e^epsilon has no kinks and drops out.
    rise, step = np.diff(below), gap[:zero]
    mass[:zero] += np.exp(left[:-1]) * rise / -np.expm1(-step)
    mass[1 : zero + 1] -= np.exp(left[1:]) * rise * np.exp(-step) / -np.expm1(-step)
    mass[zero] += 1.0 - above[0]
    return _law(knots, mass, grid.mesh, float(above[-1]))


@lru_cache(maxsize=256)
def laws_below(pair: Pair, grid: Grid) -> tuple[Law, Law]:
    """The laws under P and under Q of the knot nearest to the loss: what a coarse observer would see."""
    knots = _knots(pair, grid)
    edges = np.multiply(knots[:-1] + knots[1:], 0.5 * grid.mesh, dtype=np.float64)
    one, other = pair.log_tails(edges)
    return _merged(knots, one, grid.mesh), _merged(knots, other, grid.mesh)


def _merged(knots: Knots, log_tail: Floats, mesh: float) -> Law:
    """The law with e^log_tail of its mass above each edge between two knots, in logarithms: Q underflows."""
    upper = np.append(log_tail, -np.inf)
    lower = np.insert(log_tail, 0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_mass = lower + np.log(-np.expm1(np.minimum(0.0, upper - lower)))
    there = log_mass > -np.inf
    return Law(knots[there], log_mass[there], mesh, 0.0)


def _law(knots: Knots, mass: Floats, mesh: float, missing: float) -> Law:
    # Rounding can leave a mass of -1e-17 where there is none.
    there = mass > 0.0
    return Law(knots[there], np.log(mass[there]), mesh, missing)


@lru_cache(maxsize=1024)
def reach(pair: Pair, tail: float) -> tuple[float, float]:
    """(lowest, highest) loss worth telling apart: beyond, the profile, or P itself, is below `tail`."""
    upward = pair.profile(_LADDER) > tail
    downward = np.exp(-_LADDER) * pair.swapped.profile(_LADDER) > tail
    return -_first_beyond(downward, pair.swapped.top), _first_beyond(upward, pair.top)


def _first_beyond(counts: NDArray[np.bool_], top: float) -> float:
    last = np.flatnonzero(counts)
    beyond = _LADDER[min(last[-1] + 1, _LADDER.size - 1)] if last.size else _LADDER[0]
    return min(float(beyond), top)


def _knots(pair: Pair, grid: Grid) -> Knots:
    lowest, highest = reach(pair, grid.tail)
    down, up = (max(1, math.ceil(end / grid.mesh * (1.0 + 2.0**-50))) for end in (-lowest, highest))
    return np.concatenate([-_thinning(down, grid.even)[:0:-1], _thinning(up, grid.even)])


def _thinning(last: int, even: int) -> Knots:
    """0, 1, 2, ... up to `even`, then steps growing with the knot, and `last` itself."""
    if last <= even:
        return np.arange(last + 1)
    steps = math.ceil(math.log(last / even) / math.log1p(1.0 / even))
    growing = np.rint(even * np.exp(np.arange(1, steps) * math.log1p(1.0 / even))).astype(np.int64)
    return np.unique(np.concatenate([np.arange(even + 1), growing[growing < last], [last]]))
