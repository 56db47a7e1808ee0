"""How fine a mesh an epsilon needs: compose coarsely to see where the answer lies, then until both ends agree.

    scout     laws on a scale-free grid    -> the tilt, where the answer is, how wide the sum spreads
    mesh      both ends err by about (1 + tilt) releases mesh^2 / 8 in epsilon; the first guess follows from it
    refine    halve the mesh until upper - lower is small, or the window grows beyond `_MOST_CELLS`

Every mesh gives a valid interval, so the best ends of all of them count. Meshes are powers of two: nearby
questions meet on the same grid, and steps of the grid are exact doubles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dp.ends import Upper, epsilon_below
from dp.errors import AccountantDisagreement, BadParameters
from dp.grid import Grid, Law, law_above, laws_below, reach
from dp.neighbours import Counted
from dp.profiles import Pair
from dp.spectrum import (
    RELATIVE_ERROR,
    Parts,
    chernoff_epsilon,
    chernoff_log_delta,
    compose,
    gentlest_tilt,
    span,
    spread,
    tilt_for_delta,
    tilt_for_epsilon,
    tilt_for_mean,
    tilt_to_meet,
    window,
)

# Ends this close together are not worth another mesh: a share of the upper end, or an absolute gap.
_RELATIVE_GAP, _ABSOLUTE_GAP = 2.0**-11, 2.0**-14
_LEAST_CELLS, _MOST_CELLS = 2**15, 2**20
_MOST_REFINEMENTS = 6
_EVEN = 2048
_EVENLY, _MOST_EVEN_STEPS = 2**62, 2**24
_SCOUT_EVEN, _SCOUT_MESH = 64, 2.0**-10
_KNOT_BITS = 60
_LEAST_EXTENT = 2.0**-500
# Share of delta spent on losses counted as infinite, and how coarsely that threshold is rounded.
_TAIL_SHARE, _TAIL_STEP = 2.0**-24, 16
# Errors of an FFT above this share of delta are avoided where a tilt can do it.
_ACCURACY = 2.0**-24
# Relative excess of a lower over an upper end that rounding explains.
_CROSSED = 1e-9
# Smaller deltas are answered as this one: it leaves room for thresholds that are still doubles.
LEAST_DELTA = 2.0**-800


@dataclass(frozen=True, slots=True)
class Ends:
    """epsilon lies in [lower, upper]."""

    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class _Scouted:
    """Where the answer is: a good tilt, a rough epsilon, how far the tilted sum extends, all releases."""

    tilt: float
    epsilon: float
    extent: float
    releases: int

    @classmethod
    def of(cls, parts: Parts, tilt: float, epsilon: float, delta: float) -> _Scouted:
        """At the gentlest tilt about as good as the given one."""
        count = sum(count for _, count in parts)
        tilt = gentlest_tilt(parts, tilt, epsilon, math.log(delta) + _spare(count))
        low, high = span(parts, tilt)
        return cls(tilt, epsilon, high - low, count)

    def mesh(self) -> float:
        """The power of two with which both ends should meet, as far as the window allows."""
        gap = _gap(self.epsilon)
        second_order = math.sqrt(8.0 * gap / (self.releases * (1.0 + self.tilt)))
        affordable = max(self.extent, self.epsilon / _EVEN, _LEAST_EXTENT) / _LEAST_CELLS
        wanted = min(second_order, max(1.0, gap / self.releases), affordable)
        return 2.0 ** math.floor(math.log2(max(wanted, 2.0 * self.extent / _MOST_CELLS)))


def ends(above: Counted, below: Counted, delta: float) -> Ends:
    """Both ends of epsilon at delta >= LEAST_DELTA, the worse of removing and adding a unit."""
    tail = _tail(above, delta)
    if _beyond(above, tail, delta):
        return Ends(0.0, math.inf)
    ways = [(_scout(pairs, tail, delta), pairs, _turned(below, way)) for way, pairs in enumerate(_directions(above))]
    ways.sort(key=lambda way: -way[0].epsilon)
    lower, upper = 0.0, 0.0
    for scouted, pairs, proven in ways:
        # What the scout says is an upper bound already: a direction below the other's lower end is settled.
        if scouted.epsilon > lower:
            found = _refined(scouted, pairs, proven, tail, delta)
            lower, upper = max(lower, found.lower), max(upper, found.upper)
    return ordered(lower, upper)


def ordered(lower: float, upper: float) -> Ends:
    """The ends, which rounding may have crossed by a hair.

    Raises: AccountantDisagreement when it was more than rounding: that is a bug of ours.
    """
    if lower > upper * (1.0 + _CROSSED):
        raise AccountantDisagreement(
            f"privacy loss distributions prove epsilon >= {lower!r} and epsilon <= {upper!r}; nothing may be "
            "released, report both"
        )
    return Ends(min(lower, upper), upper)


def _refined(scouted: _Scouted, above: Counted, below: Counted, tail: float, delta: float) -> Ends:
    """Both ends in one direction, from as many meshes as it takes."""
    finest = _finest(above, tail)
    grid = Grid(max(scouted.mesh(), finest), _EVEN, tail)
    found = Ends(0.0, scouted.epsilon)
    for _ in range(_MOST_REFINEMENTS):
        before, tried = found, (grid.mesh, scouted.tilt)
        upper = min(found.upper, _upper(above, scouted.tilt, grid, delta))
        found = Ends(max(found.lower, _lower(below, scouted.tilt, grid, delta)), upper)
        gained = max(before.upper - found.upper, found.lower - before.lower)
        if min(gained, found.upper - found.lower) <= _gap(found.upper):
            break
        # Aimed before it is asked what is affordable: the sum may spread less where the answer is.
        scouted = _aimed(above, tail, found.upper, delta)
        grid = _finer(grid, scouted, found, finest)
        if (grid.mesh, scouted.tilt) == tried:
            break
    return found


def _finer(grid: Grid, scouted: _Scouted, found: Ends, finest: float) -> Grid:
    """The next mesh: a quarter where the ends are far apart, half or the same where more cells cannot be kept."""
    factor = 4 if found.upper - found.lower > 8.0 * _gap(found.upper) and found.lower > 0.0 else 2
    while factor > 1 and (2.0 * factor * scouted.extent / grid.mesh > _MOST_CELLS or grid.mesh < 4.0 * factor * finest):
        factor //= 2
    return grid.finer(factor)


def upper_at(above: Counted, delta: float, mesh: float) -> float:
    """The upper end on one given, evenly spaced mesh, for comparisons; that of the scout where it is better.

    Raises: BadParameters for a mesh that leaves more losses of one release than can be kept.
    """
    tail = _tail(above, delta)
    farthest = max(abs(end) for pair, _ in above for end in reach(pair, tail))
    if farthest / mesh > _MOST_EVEN_STEPS:
        raise BadParameters(
            f"mesh {mesh!r} takes more than {_MOST_EVEN_STEPS} steps to {farthest:.6g}; take a wider one"
        )
    if _beyond(above, tail, delta):
        return math.inf
    grid = Grid(mesh, _EVENLY, tail)
    return max(_upper_on(grid, way, delta) for way in _directions(above))


def _upper_on(grid: Grid, pairs: Counted, delta: float) -> float:
    """The upper end in one direction: first where the scout looks, then where that found it."""
    scouted = _scout(pairs, grid.tail, delta)
    found = min(scouted.epsilon, _upper(pairs, scouted.tilt, grid, delta))
    return min(found, _upper(pairs, _aimed(pairs, grid.tail, found, delta).tilt, grid, delta))


def delta_above(above: Counted, epsilon: float) -> float:
    """An upper bound of delta at epsilon, in the worse direction."""
    return max(_delta_above(way, epsilon) for way in _directions(above))


def _delta_above(pairs: Counted, epsilon: float) -> float:
    rough = _rough_delta(pairs, epsilon)
    tail = _tail(pairs, rough)
    parts = _scout_parts(pairs, tail)
    tilt = tilt_for_epsilon(parts, epsilon)
    coarse = _chernoff_delta(parts, tilt, epsilon)
    scouted = _Scouted.of(parts, tilt, epsilon, rough)
    fine = _above(pairs, Grid(max(scouted.mesh(), _finest(pairs, tail)), _EVEN, tail))
    frame = window(fine, scouted.tilt)
    if frame.size > _MOST_CELLS:
        return coarse
    return min(coarse, Upper.of(compose(fine, scouted.tilt, frame), missing_mass(fine)).delta(epsilon))


def releases_in(pairs: Counted) -> int:
    """How many releases the pairs stand for."""
    return sum(count for _, count in pairs)


def missing_mass(parts: Parts) -> float:
    """The mass at infinite loss of all releases together."""
    return math.fsum(law.missing * count for law, count in parts) * (1.0 + 2.0**-50)


def _gap(epsilon: float) -> float:
    return max(_RELATIVE_GAP * epsilon, _ABSOLUTE_GAP)


def _directions(pairs: Counted) -> list[Counted]:
    """The pairs as they are, and turned round where that makes a difference."""
    turned = _turned(pairs, 1)
    return [pairs] if turned == pairs else [pairs, turned]


def _turned(pairs: Counted, direction: int) -> Counted:
    return tuple((pair.swapped, count) for pair, count in pairs) if direction else pairs


def _tail(pairs: Counted, delta: float) -> float:
    """The one-release profile below which losses count as infinite: delta hardly notices all of them."""
    exponent = math.log2(delta * _TAIL_SHARE / releases_in(pairs))
    return 2.0 ** (_TAIL_STEP * math.floor(exponent / _TAIL_STEP))


def _scout_parts(pairs: Counted, tail: float) -> Parts:
    return tuple((_scout_law(pair, tail), count) for pair, count in pairs)


@lru_cache(maxsize=256)
def _scout_law(pair: Pair, tail: float) -> Law:
    # The total variation is of the size of a typical loss; much finer steps would drown in rounding.
    typical = float(pair.profile(np.zeros(1))[0])
    mesh = 2.0 ** math.floor(math.log2(typical * _SCOUT_MESH))
    return law_above(pair, Grid(max(mesh, _finest(((pair, 1),), tail)), _SCOUT_EVEN, tail))


def _finest(pairs: Counted, tail: float) -> float:
    """The power of two below which the knots of the largest loss are no 64-bit integers."""
    farthest = max(abs(end) for pair, _ in pairs for end in reach(pair, tail))
    return 2.0 ** (math.ceil(math.log2(farthest)) - _KNOT_BITS)


def _beyond(above: Counted, tail: float, delta: float) -> bool:
    """Whether doubles do not tell the largest loss from an infinite one, for which delta cannot pay."""
    return any(missing_mass(_scout_parts(pairs, tail)) >= delta for pairs in _directions(above))


def _scout(pairs: Counted, tail: float, delta: float) -> _Scouted:
    parts, count = _scout_parts(pairs, tail), releases_in(pairs)
    left = delta - missing_mass(parts)
    tilt = tilt_for_delta(parts, left)
    epsilon = max(0.0, float(chernoff_epsilon(parts, np.array([tilt]), left)[0]) + count * RELATIVE_ERROR / tilt)
    return _Scouted.of(parts, tilt, epsilon, delta)


def _aimed(pairs: Counted, tail: float, epsilon: float, delta: float) -> _Scouted:
    """The tilt whose law is centred at an epsilon already known; Chernoff can be far off when tails are heavy."""
    parts = _scout_parts(pairs, tail)
    return _Scouted.of(parts, tilt_for_mean(parts, epsilon), epsilon, delta)


def _spare(count: int) -> float:
    """How much a Chernoff bound of ln delta may exceed it before the errors of an FFT show in delta."""
    return max(0.0, math.log(_ACCURACY / (2.0**-39 + count * 2.0**-44)))


def _rough_delta(pairs: Counted, epsilon: float) -> float:
    parts = _scout_parts(pairs, _tail(pairs, LEAST_DELTA))
    return max(LEAST_DELTA, _chernoff_delta(parts, tilt_for_epsilon(parts, epsilon), epsilon))


def _chernoff_delta(parts: Parts, tilt: float, epsilon: float) -> float:
    """An upper bound of delta at epsilon without any spectrum."""
    rounding = sum(count for _, count in parts) * RELATIVE_ERROR
    log_delta = float(chernoff_log_delta(parts, np.array([tilt]), epsilon)[0]) + rounding
    return min(1.0, math.exp(min(0.0, log_delta)) + missing_mass(parts))


def _above(pairs: Counted, grid: Grid) -> Parts:
    return tuple((law_above(pair, grid), count) for pair, count in pairs)


def _upper(pairs: Counted, tilt: float, grid: Grid, delta: float) -> float:
    """The upper end on one mesh; infinite when the sum spreads over more cells than can be kept."""
    parts = _above(pairs, grid)
    frame = window(parts, tilt)
    if frame.size > _MOST_CELLS:
        return math.inf
    return max(0.0, Upper.of(compose(parts, tilt, frame), missing_mass(parts)).epsilon(delta))


def _lower(pairs: Counted, tilt: float, grid: Grid, delta: float) -> float:
    """What a coarse observer of the merged laws proves on one mesh; 0 without laws, or beyond all cells."""
    if not pairs:
        return 0.0
    merged = [(laws_below(pair, grid), count) for pair, count in pairs]
    one = tuple((laws[0], count) for laws, count in merged)
    other = tuple((laws[1], count) for laws, count in merged)
    turned = tilt_to_meet(other, tilt + 1.0, *spread(one, tilt))
    frame = window(one, tilt).joined(window(other, turned))
    if frame.size > _MOST_CELLS:
        return 0.0
    return epsilon_below(compose(one, tilt, frame), compose(other, turned, frame), delta)
