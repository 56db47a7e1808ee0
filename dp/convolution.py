"""Many releases as one law of losses: a tilted convolution by fast Fourier transform, and what it may hide.

    tilt     each law times e^(lambda loss - K(lambda)): the far tail, where delta is decided, becomes the centre
    power    product of spectra to the number of their releases; one inverse transform
    untilt   P(loss = s) = tilted(s) e^(K - lambda s),  K = sum of count_i K_i(lambda)

Rounding of the transforms is flat across the tilted law, so after untilting it is small where delta is small:
without the tilt nothing below 1e-13 can be told. Everything that is cut off, wraps around or is rounded is bounded
and kept beside the curve, for the certified ends of an interval (dp.pld).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp.losses import Losses, losses_of
from dp.pairs import Floats, Step

_UNIT_ROUNDOFF = 2.0**-53
_SMALLEST = 1e-300
_FARTHEST = 600.0
_MOST_CELLS = 1 << 23
# ln of the tilted mass that may leave the window on one side: wrapped, it must stay a correction.
_MOST_WRAPPED = math.log(1e-4)


@dataclass(frozen=True, slots=True)
class Part:
    """`count` releases of one step; `adding` is the direction in which the unit is added."""

    step: Step
    count: int
    adding: bool

    def losses(self, mesh: float, tail: float) -> Losses:
        """The grid law of one release."""
        return losses_of(self.step, mesh, tail)[self.adding]


@dataclass(frozen=True)
class Composed:
    """delta at epsilon = added + sum of P(s) (1 - e^(epsilon - s)) over s > epsilon, up to +- slack(epsilon).

    tilted[j] e^(log_scale - order (s_j - centre)) is P(s_j), s_j = start + j mesh. `added` is the mass that counts as
    infinite loss or may have left the window; `slack` bounds what rounding did, at e^(-order (epsilon - centre)).
    """

    mesh: float
    start: float
    tilted: Floats = field(repr=False)
    order: float
    centre: float
    log_scale: float
    added: float
    slack: float

    def upper(self, delta: float) -> float:
        """An epsilon whose delta, with all that may be missing added, is at most this; infinite when there is none."""
        return self._settled(lambda blur: self._crossing(delta - self.added - blur * self.slack, upwards=True))

    def lower(self, delta: float) -> float:
        """An epsilon at which delta, with all that may be too much taken away, is not below this; 0 when none is."""
        return self._settled(lambda blur: self._crossing(delta + self.added + blur * self.slack, upwards=False))

    def delta(self, epsilon: float) -> float:
        """An upper bound of delta at this epsilon >= 0."""
        losses, above, below, _ = self._sums
        blur = math.exp(min(_FARTHEST, self.order * max(0.0, self.centre - epsilon)))
        rest = self.added + blur * self.slack
        if epsilon >= self._last:
            return min(1.0, rest)
        if losses.size == 0 or epsilon < losses[0]:
            return 1.0
        place = int(np.searchsorted(losses, epsilon, side="right")) - 1
        found = float(above[place] - math.exp(epsilon - self.centre) * below[place])
        return min(1.0, max(0.0, found) * math.exp(min(_FARTHEST, self.log_scale)) + rest)

    def doubt(self, epsilon: float) -> float:
        """How much of delta at this epsilon is rounding and wrapping."""
        return self.slack * math.exp(min(_FARTHEST, self.order * max(0.0, self.centre - epsilon)))

    def _settled(self, epsilon_at: Callable[[float], float]) -> float:
        """The epsilon whose own distance below the centre was allowed for: there the slack is larger."""
        blur = 1.0
        while True:
            epsilon = epsilon_at(blur)
            needed = math.exp(min(_FARTHEST, self.order * max(0.0, self.centre - epsilon)))
            if needed <= blur:
                return epsilon
            blur = 2.0 * needed

    def _crossing(self, delta: float, *, upwards: bool) -> float:
        if delta <= 0.0:
            return math.inf
        losses, above, below, curve = self._sums
        if losses.size == 0:
            # Every loss is below 0, or so far below the centre that its mass is no double: then only the end is known.
            return max(0.0, self._last) if upwards else 0.0
        target = math.exp(min(_FARTHEST, math.log(delta) - self.log_scale))
        excess = curve > target
        if upwards:
            places = np.flatnonzero(excess)
            place = -1 if places.size == 0 else int(places[-1])
        else:
            place = int(np.argmin(excess)) - 1 if not excess.all() else losses.size - 1
        if place < 0:
            return max(0.0, float(losses[0])) if upwards else 0.0
        if place == losses.size - 1:
            return math.inf if upwards else float(losses[-1])
        # Between two losses delta is linear in e^epsilon.
        ratio = max((above[place] - target) / max(below[place], _SMALLEST), _SMALLEST)
        epsilon = self.centre + math.log(ratio)
        return float(min(max(epsilon, losses[place]), losses[place + 1]))

    @property
    def _last(self) -> float:
        """The largest loss of the window."""
        return self.start + (self.tilted.size - 1) * self.mesh

    @cached_property
    def _sums(self) -> tuple[Floats, Floats, Floats, Floats]:
        """(losses s >= 0, sums over larger ones of P, of P e^-s, delta), all relative to the centre and scale."""
        first = max(0, -math.floor(self.start / self.mesh), self._near())
        losses = self.start + np.arange(first, self.tilted.size, dtype=np.float64) * self.mesh
        weights = self.tilted[first:] * np.exp(-self.order * (losses - self.centre))
        away = np.exp(np.minimum(losses - self.centre, _FARTHEST))
        above, below = _larger(weights), _larger(weights / away)
        return losses, above, below, above - away * below

    def _near(self) -> int:
        """The first place whose untilted mass is a double."""
        reach = _FARTHEST / (self.order + 1.0)
        return max(0, math.ceil((self.centre - reach - self.start) / self.mesh))


def _larger(values: Floats) -> Floats:
    """Sums over all later values."""
    sums = np.zeros_like(values)
    sums[:-1] = np.cumsum(values[:0:-1])[::-1]
    return sums


def compose(parts: Sequence[Part], mesh: float, tail: float, escape: float, order: float, centre: float) -> Composed:
    """The law of all losses together, tilted by `order` >= 0 for epsilon near `centre`.

    tail: mass each single release may lose at either end; escape: mass that may leave the window; both probabilities.
    Where no window of 2^23 cells holds it, the answer says nothing: everything may be infinite loss.
    """
    laws = [(part.losses(mesh, tail), part) for part in parts]
    log_moment = sum(part.count * law.log_moment(order) for law, part in laws)
    log_scale = log_moment - order * centre
    # What wraps around is untilted like the place it comes to.
    room = min(math.log(escape) - log_scale, _MOST_WRAPPED)
    low, high = _window(laws, order, room)
    first, last = math.floor(low / mesh), math.ceil(high / mesh)
    if last - first >= _MOST_CELLS:
        return Composed(mesh, 0.0, np.ones(1), 0.0, 0.0, 0.0, 1.0, 0.0)
    size = _good_size(last - first + 1)
    spectrum: NDArray[np.complex128] | float = 0.0
    for part in parts:
        spectrum = spectrum + part.count * _log_spectrum(part, mesh, tail, order, size).logs
    shift = sum(part.count * law.first for law, part in laws) - first
    values = np.exp(spectrum)
    tilted = np.roll(_inverse(values, size), shift % size)
    rounding = _rounding(parts, spectrum, float(np.linalg.norm(values)), mesh, tail, order, size)
    infinite = -math.expm1(sum(part.count * math.log1p(-min(law.infinite, 0.5)) for law, part in laws))
    lifted = sum(part.count * law.lifted for law, part in laws)
    return Composed(
        mesh,
        first * mesh,
        tilted,
        order,
        centre,
        log_scale,
        infinite + lifted,
        (rounding * _seen(order, mesh, size) + 3.0 * math.exp(room)) * math.exp(min(_FARTHEST, log_scale)),
    )


def _window(laws: list[tuple[Losses, Part]], order: float, log_escape: float) -> tuple[float, float]:
    """(low, high) outside which the tilted sum has mass e^log_escape at most on either side, by Chernoff's bound."""
    mesh, base = laws[0][0].mesh, _log_moment(laws, order)
    mean, variance = _tilted_moments(laws, order)
    theta = math.sqrt(-2.0 * log_escape / max(variance, mesh**2))

    def end(sign: float, step: float) -> float:
        return (_log_moment(laws, order + sign * step) - base - log_escape) / step

    # A normal law has its best step at theta; the heavier a tail, the smaller the step.
    low = -min(end(-1.0, theta), end(-1.0, theta / 2.0))
    high = _least(lambda step: end(1.0, step), theta)
    return min(low, mean) - mesh, max(high, mean) + mesh


def _least(value: Callable[[float], float], step: float) -> float:
    """The least value found by halving the step for as long as that helps."""
    best = value(step)
    while (halved := value(step / 2.0)) < best:
        best, step = halved, step / 2.0
    return min(best, halved)


def _log_moment(laws: list[tuple[Losses, Part]], order: float) -> float:
    return sum(part.count * law.log_moment(order) for law, part in laws)


def _tilted_moments(laws: list[tuple[Losses, Part]], order: float) -> tuple[float, float]:
    """Mean and variance of the tilted sum."""
    mean, variance = 0.0, 0.0
    for law, part in laws:
        values = law.values
        weights = law.tilted(order)
        first = float(weights @ values)
        mean += part.count * first
        variance += part.count * float(weights @ (values - first) ** 2)
    return mean, variance


def _good_size(least: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(max(least, 16), real=True))


@dataclass(frozen=True, slots=True)
class Spectrum:
    """ln of the Fourier transform of one tilted law, and the Euclidean norm of that law."""

    logs: NDArray[np.complex128] = field(repr=False)
    norm: float


@lru_cache(maxsize=12)
def _log_spectrum_of(part: Part, mesh: float, tail: float, order: float, size: int) -> Spectrum:
    from scipy.fft import rfft

    law = part.losses(mesh, tail)
    tilted = law.tilted(order)
    if tilted.size > size:
        whole = np.zeros(-(-tilted.size // size) * size)
        whole[: tilted.size] = tilted
        tilted = whole.reshape(-1, size).sum(axis=0)
    values = rfft(tilted, size)
    small = np.abs(values) < _SMALLEST
    values[small] = _SMALLEST
    return Spectrum(np.log(values), float(np.linalg.norm(tilted)))


def _log_spectrum(part: Part, mesh: float, tail: float, order: float, size: int) -> Spectrum:
    # One more release of a kind only changes the power: the spectrum is that of a single one.
    return _log_spectrum_of(Part(part.step, 1, part.adding), mesh, tail, order, size)


def _inverse(spectrum: NDArray[np.complex128], size: int) -> Floats:
    from scipy.fft import irfft

    values: Floats = irfft(spectrum, size)
    return values


def _seen(order: float, mesh: float, size: int) -> float:
    """How much of such an error delta at the centre can see: the norm of its weights over the root of n (Parseval).

    The weight of a loss x above epsilon is e^(-order x) (1 - e^-x); the sum of its squares is at most their integral
    over the mesh, and once the largest.
    """
    integral = math.inf if order == 0.0 else 2.0 / (2.0 * order * (2.0 * order + 1.0) * (2.0 * order + 2.0))
    return math.sqrt(min(1.0, (integral / mesh + 1.0 / (1.0 + order) ** 2) / size))


def _rounding(
    parts: Sequence[Part], spectrum: Any, norm: float, mesh: float, tail: float, order: float, size: int
) -> float:
    """A bound of the Euclidean norm, over all frequencies, of what rounding does to the spectrum.

    One transform errs by c u |law| in each frequency; the power by count |F|^(count - 1) as much. c = 8 log2 n is
    far above what is met.
    """
    constant = 8.0 * _UNIT_ROUNDOFF * math.log2(size)
    error = math.sqrt(2.0) * norm
    for part in parts:
        own = _log_spectrum(part, mesh, tail, order, size)
        error += part.count * own.norm * math.sqrt(2.0) * float(np.linalg.norm(np.exp(spectrum.real - own.logs.real)))
    return constant * error
