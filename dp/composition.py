"""Steps together, between two laws: how fine a grid their answer needs, and both ends read off it.

Composition   steps that dominate, steps that are attained, and the pointwise slack of integer noise
Curve         their grid laws in both directions, aimed at one delta; `upper` and `lower` near it
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dp.aim import Aim, aim, aim_at
from dp.convolution import Composed, Part, compose
from dp.losses import Direction, range_of
from dp.pairs import Step

RELATIVE_WIDTH, ABSOLUTE_WIDTH = 0.01, 0.005
MOST_CELLS = 1 << 21
_COARSEST = 0.5
_NOTCH = 2.0**0.25
_ROUGH = 4.0
_LIFT = 2e-5
# A window is some 16 standard deviations of the tilted sum wide, where its two ends are of one kind.
_MOST_CELLS_OF_SPREAD = 1 << 19
# Losses beyond this are as good as infinite: no grid reaches them, and nobody calls it privacy.
_FARTHEST_LOSS = 1e5
# Shares of delta that may be cut off, may wrap around, and that the lower end may leave to chance.
_CUT, _ESCAPE, _CHANCE = 1e-8, 1e-8, 1e-3
# More doubt than this share of delta, and the tilt is taken anew where epsilon turned out to be.
_DOUBT = 1e-6
_LEAST_DELTA = 1e-300
# What float arithmetic may have added to the lower end beyond what is bounded elsewhere.
_FLOATS = 1e-9

Counted = tuple[Step, int]


@dataclass(frozen=True, slots=True)
class Composition:
    """`above` dominates everything composed, `below` is attained; integer noise lies within e^(+-slack) pointwise.

    `infinite`: something was released as it is.
    """

    above: tuple[Counted, ...]
    below: tuple[Counted, ...]
    slack: float
    infinite: bool

    def ceiling(self, delta: float) -> Curve:
        """The dominating laws alone, on the coarsest mesh that lifts epsilon by no more than a few 1e-5 of itself."""
        at = max(delta * math.exp(-self.slack), _LEAST_DELTA)
        if self.infinite or _too_far(self.above):
            return Curve((), (), self.slack, math.inf)
        return Curve(_grids(self.above, at, _mesh_above(self.above, at)), (), self.slack, 0.0)

    def curve(self, delta: float, mesh: float | None = None) -> Curve:
        """The grid laws for this delta > 0, on the mesh that a narrow interval needs unless one is given."""
        at = max(delta * math.exp(-self.slack), _LEAST_DELTA)
        if self.infinite or _too_far(self.above):
            return Curve((), (), self.slack, math.inf)
        if mesh is not None or not self.above:
            return self._curve(at, mesh or _COARSEST)
        mesh = max(_mesh(self.above, at), _floor(self.above, at))
        while True:
            curve = self._curve(at, mesh)
            finest = max(_floor(self.above, at), mesh * curve.cells / MOST_CELLS)
            excess = curve.width(delta) / max(RELATIVE_WIDTH * curve.upper(delta), ABSOLUTE_WIDTH)
            if not excess > 1.0 or mesh <= _NOTCH * finest:
                return curve
            mesh = max(_on_grid(0.9 * mesh / excess), _on_grid(finest))

    def _curve(self, at: float, mesh: float) -> Curve:
        above = _grids(self.above, at, mesh)
        below = above if self.below == self.above else _grids(self.below, at, mesh)
        return Curve(above, below, self.slack, 0.0)

    def delta(self, epsilon: float) -> float:
        """An upper bound of delta at epsilon."""
        if self.infinite or _too_far(self.above):
            return 1.0
        ideal = 0.0
        for parts in _directions(self.above):
            at = aim_at(parts, epsilon)
            delta = max(math.exp(at.log_scale), _LEAST_DELTA)
            mesh = max(_mesh_for(self.above, at, delta), _floor(self.above, delta))
            law = _aimed(parts, mesh, at, delta)
            ideal = max(ideal, law.delta(max(0.0, epsilon - 2.0 * self.slack)))
        return min(1.0, ideal * math.exp(self.slack))

    def most(self) -> float:
        """The largest loss there is: epsilon at delta 0."""
        if self.infinite:
            return math.inf
        ends = [(count, *step.reach(0.0)) for step, count in self.above]
        return max(sum(count * high for count, _, high in ends), sum(count * -low for count, low, _ in ends))


@dataclass(frozen=True, slots=True)
class Grid:
    """One direction's law on its grid, and how many moves on the grid lie between it and the true law."""

    law: Composed
    moves: int

    def lower(self, delta: float) -> float:
        """An epsilon that the true law does not stay below at this delta."""
        chance = _CHANCE * delta
        epsilon = self.law.lower(delta + chance)
        log_tail = self.law.log_scale + self.law.order * (self.law.centre - epsilon)
        return epsilon - _shift(self.moves, self.law.mesh, self.law.order, log_tail - math.log(chance))


@dataclass(frozen=True, slots=True)
class Curve:
    """Ends of epsilon at deltas near the one it was made for; `floor` is infinite where no grid was made."""

    above: tuple[Grid, ...]
    below: tuple[Grid, ...]
    slack: float
    floor: float

    def upper(self, delta: float) -> float:
        """No smaller than the true epsilon."""
        found = max((grid.law.upper(delta * math.exp(-self.slack)) for grid in self.above), default=self.floor)
        return found + 2.0 * self.slack if found > 0.0 else found

    def lower(self, delta: float) -> float:
        """No larger than the true epsilon."""
        inflated = delta * math.exp(self.slack)
        if inflated * (1.0 + _CHANCE) >= 1.0:
            return 0.0
        found = max((grid.lower(inflated) for grid in self.below), default=0.0)
        return max(0.0, found * (1.0 - _FLOATS) - 2.0 * self.slack)

    def width(self, delta: float) -> float:
        """How far apart the ends are."""
        return self.upper(delta) - self.lower(delta)

    @property
    def cells(self) -> int:
        """How many cells the widest window has."""
        return max(grid.law.tilted.size for grid in self.above)


def _too_far(steps: Sequence[Counted]) -> bool:
    return any(max(map(abs, step.reach(1e-16))) > _FARTHEST_LOSS for step, _ in steps)


def _directions(steps: Sequence[Counted]) -> list[tuple[Part, ...]]:
    """Removing and adding the unit; without sampling every pair here is its own mirror image."""
    if not steps:
        return []
    removing = tuple(Part(step, count, Direction.REMOVING) for step, count in steps)
    if all(step.q == 1.0 for step, _ in steps):
        return [removing]
    return [removing, tuple(Part(step, count, Direction.ADDING) for step, count in steps)]


def _grids(steps: Sequence[Counted], delta: float, mesh: float) -> tuple[Grid, ...]:
    """The dearer direction on this mesh; the other on a coarser one, if that already shows it to be no dearer."""
    aimed = [(aim(parts, delta), parts) for parts in _directions(steps)]
    aimed.sort(key=lambda one: -one[0].centre)
    grids: list[Grid] = []
    for at, parts in aimed:
        if grids and (rough := _grid(parts, _ROUGH * mesh, at, delta)).law.upper(delta) <= grids[0].law.upper(delta):
            grids.append(rough)
        else:
            grids.append(_grid(parts, mesh, at, delta))
    return tuple(grids)


def _grid(parts: tuple[Part, ...], mesh: float, at: Aim, delta: float) -> Grid:
    law = _aimed(parts, mesh, at, delta)
    epsilon = law.upper(delta)
    if law.doubt(epsilon) > _DOUBT * delta and not math.isinf(epsilon):
        law = _aimed(parts, mesh, aim_at(parts, epsilon), delta)
    return Grid(law, sum(part.count for part in parts))


def _aimed(parts: tuple[Part, ...], mesh: float, at: Aim, delta: float) -> Composed:
    moves = sum(part.count for part in parts)
    return compose(parts, mesh, _round_down(_CUT * delta / moves), _ESCAPE * delta, at.order, at.centre)


def _round_down(tail: float) -> float:
    """To a power of ten, so that one release more does not make another grid."""
    return 10.0 ** math.floor(math.log10(max(tail, _LEAST_DELTA)))


def _mesh(steps: Sequence[Counted], delta: float) -> float:
    """The coarsest mesh at which, as far as an aim tells, the ends meet as closely as promised."""
    worst = max((aim(parts, delta) for parts in _directions(steps)), key=lambda one: one.centre)
    return _mesh_for(steps, worst, delta)


def _mesh_for(steps: Sequence[Counted], at: Aim, delta: float) -> float:
    moves = sum(count for _, count in steps)
    goal = 0.4 * max(RELATIVE_WIDTH * at.centre, ABSOLUTE_WIDTH)
    # An aim lies above the epsilon it stands for, by a few units of 1 / order.
    log_tail = at.log_scale - math.log(_CHANCE * delta) + 2.0
    mesh, least = _COARSEST, at.spread / _MOST_CELLS_OF_SPREAD
    while mesh > least and _shift(moves, mesh, at.order, log_tail) > goal:
        mesh /= _NOTCH
    return max(mesh, least)


def _mesh_above(steps: Sequence[Counted], delta: float) -> float:
    """The coarsest mesh whose own lift of epsilon, T (1 + lambda) h^2/8 by its moments, is a small part of it."""
    if not steps:
        return _COARSEST
    worst = max((aim(parts, delta) for parts in _directions(steps)), key=lambda one: one.centre)
    moves = sum(count for _, count in steps)
    lift = _LIFT * max(worst.centre, ABSOLUTE_WIDTH)
    mesh = math.sqrt(8.0 * lift / (moves * (1.0 + worst.order)))
    return max(_on_grid(min(mesh, _COARSEST)), _floor(steps, delta), worst.spread / _MOST_CELLS_OF_SPREAD)


def _floor(steps: Sequence[Counted], delta: float) -> float:
    """The finest mesh at which 2^21 cells hold the losses of one release."""
    tail = _round_down(_CUT * delta / sum(count for _, count in steps))
    return _on_grid(max(range_of(step, tail) for step, _ in steps) / MOST_CELLS)


def _on_grid(mesh: float) -> float:
    """A power of 2^(1/4): accountants asked one after another then find their grids again."""
    return float(_NOTCH ** math.floor(math.log(mesh, _NOTCH)))


def _shift(moves: int, mesh: float, order: float, log_tail: float) -> float:
    """S of the lower end: the least over theta of (T s(1 + s) h^2/8 + log_tail) / theta, s = order + theta."""
    area = moves * mesh * mesh / 8.0
    rest = max(0.0, area * order * (1.0 + order) + log_tail)
    return area * (1.0 + 2.0 * order) + 2.0 * math.sqrt(area * rest)
