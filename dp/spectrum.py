"""Sums of independent losses, with every error booked: powers of spectra of exponentially tilted laws.

    K(t)  = sum of count * ln E[e^(t L)]                    the cumulant of the sum, over all parts
    R     = law of the sum under masses ~ e^(t L)           computed by FFT, centred where the answer lies
    P(sum = g) = e^(K(t) - t g) R(g)                        so errors of R shrink like the wanted delta

FFTs work with errors near 1e-16 whatever the size of the answer. Tilting moves the answer to the middle of R,
where it is of order 1: a delta of 1e-30 costs nothing more than one of 1e-3. What escapes from the window
is bounded by Chernoff, what rounding leaves by the error analysis of the FFT, in Euclidean norm: a tail that
falls quickly sees little of an error that is spread over the whole window.

Source: Doroshenko et al., PoPETs 2022; Higham, Accuracy and Stability, 2002, Theorem 24.2 (FFT error).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp.grid import Law
from dp.profiles import Floats

Spectrum = NDArray[np.complex128]
Parts = tuple[tuple[Law, int], ...]

_UNIT_ROUNDOFF = 2.0**-53
# Relative error of one release's masses, tilts and moments; booked once per release.
RELATIVE_ERROR = 2.0**-38
# Mass that may leave the window at each end of a tilted law.
_ESCAPED = 2.0**-48
_LADDER = np.exp2(np.arange(-60.0, 61.0))
# Logarithm of a spectrum's size below which it is taken as 0.
_SILENT = -80.0
_WIDER = np.array([2.0, 0.5, 0.125, 0.03125])
_ZOOM, _AROUND = (1.0 / 4.0, 1.0 / 16.0, 1.0 / 64.0), np.arange(-4.0, 5.0)
_GENTLER = np.arange(0.0, 2.0, 1.0 / 16.0)
_ROWS = 8
_MOST_HALVINGS = 60


def cumulant(parts: Parts, tilts: Floats) -> Floats:
    """K at each tilt."""
    total = np.zeros(tilts.size)
    for law, count in parts:
        losses = law.losses
        for first in range(0, tilts.size, _ROWS):
            exponents = law.log_mass + tilts[first : first + _ROWS, None] * losses
            top = exponents.max(axis=1)
            moment = top + np.log(np.exp(exponents - top[:, None]).sum(axis=1))
            total[first : first + _ROWS] += count * moment
    return total


def log_peak(tilts: Floats) -> Floats:
    """ln max over y > 0 of (1 - e^-y) e^(-tilt y): what an excess of the loss can add to delta.

    Chernoff: delta(epsilon) <= e^(K(t) - t epsilon + log_peak(t)).
    Source: Canonne, Kamath, Steinke, NeurIPS 2020, Proposition 12, at order 1 + t.
    """
    return -np.log1p(tilts) - tilts * np.log1p(1.0 / tilts)


def chernoff_epsilon(parts: Parts, tilts: Floats, delta: float) -> Floats:
    """Upper bounds of epsilon at delta, one per tilt."""
    return (cumulant(parts, tilts) + log_peak(tilts) - math.log(delta)) / tilts


def tilt_for_delta(parts: Parts, delta: float) -> float:
    """The tilt with the least Chernoff bound: its law has the answer about half a deviation from its centre."""
    # Where losses are bounded the bound falls for ever, by ever less: a doubling must gain something.
    return _least(lambda tilts: chernoff_epsilon(parts, tilts, delta) * (1.0 + 2.0**-16 * np.log2(tilts)))


def chernoff_log_delta(parts: Parts, tilts: Floats, epsilon: float) -> Floats:
    """Upper bounds of ln delta at epsilon, one per tilt."""
    return cumulant(parts, tilts) - tilts * epsilon + log_peak(tilts)


def tilt_for_epsilon(parts: Parts, epsilon: float) -> float:
    """The tilt with the least Chernoff bound of delta at epsilon."""
    return _least(lambda tilts: chernoff_log_delta(parts, tilts, epsilon))


def tilt_for_mean(parts: Parts, mean: float) -> float:
    """The tilt whose law has this mean: K(t) - t mean is least there."""
    return _least(lambda tilts: cumulant(parts, tilts) - tilts * mean)


def gentlest_tilt(parts: Parts, tilt: float, epsilon: float, log_delta: float) -> float:
    """The least tilt up to the given one whose Chernoff bound of ln delta at epsilon is still that good.

    Where tails are heavy, the best tilt makes a second mode far to the right, and a wide window with it.
    """
    tilts = tilt * np.exp2(-_GENTLER)
    good = chernoff_log_delta(parts, tilts, epsilon) <= log_delta
    return float(tilts[good].min(initial=tilt))


def _least(bound: Callable[[Floats], Floats]) -> float:
    """Where a bound with one minimum is least, to about 1 %."""
    tilts = _LADDER
    for step in _ZOOM:
        tilts = tilts[np.argmin(bound(tilts))] * np.exp2(step * _AROUND)
    return float(tilts[np.argmin(bound(tilts))])


def spread(parts: Parts, tilt: float) -> tuple[float, float]:
    """(mean, standard deviation) of the tilted sum."""
    mean, variance = 0.0, 0.0
    for law, count in parts:
        weights, losses = _tilted(law, tilt)[0], law.losses
        centre = float((weights * losses).sum())
        mean += count * centre
        variance += count * float((weights * np.square(losses - centre)).sum())
    return mean, math.sqrt(variance)


def tilt_to_meet(parts: Parts, near: float, mean: float, deviation: float) -> float:
    """A tilt under which the sum has this mean, up to a deviation: `near`, where cells are fine, else by bisection.

    Under Q one more than the tilt under P does it, as far as knots tell losses apart to within 1.
    """
    low, high = 0.0, math.inf
    for _ in range(_MOST_HALVINGS):
        there = spread(parts, near)[0]
        if abs(there - mean) <= deviation:
            break
        low, high = (near, high) if there < mean else (low, near)
        near = 2.0 * near if math.isinf(high) else 0.5 * (low + high)
    return near


def _tilted(law: Law, tilt: float) -> tuple[Floats, float]:
    """(masses that sum to 1, ln of the moment they were divided by)."""
    exponents = law.log_mass + tilt * law.losses
    top = float(exponents.max())
    weights = np.exp(exponents - top)
    total = float(weights.sum())
    return weights / total, top + math.log(total)


@dataclass(frozen=True, slots=True)
class Window:
    """The sums kept apart: `size` multiples of the mesh from `start` on; others wrap around."""

    start: int
    size: int

    def joined(self, other: Window) -> Window:
        """The least window that holds both."""
        start = min(self.start, other.start)
        return Window(start, max(self.start + self.size, other.start + other.size) - start)


def span(parts: Parts, tilt: float) -> tuple[float, float]:
    """Where all but 2^-48 of the tilted sum lies on each side, by Chernoff bounds at several tilts."""
    mean, deviation = spread(parts, tilt)
    budget = -math.log(_ESCAPED)
    # Wide laws ask for rates of their own scale, those pressed against their largest loss for that of the tilt.
    rates = np.append(math.sqrt(2.0 * budget) / max(deviation, parts[0][0].mesh) * _WIDER, [tilt, 0.5 * tilt])
    here, right, left = (cumulant(parts, tilt + side) for side in (np.zeros(1), rates, -rates))
    low = max(float(np.max((here - left - budget) / rates)), sum(n * float(law.losses[0]) for law, n in parts))
    high = min(float(np.min((right - here + budget) / rates)), sum(n * float(law.losses[-1]) for law, n in parts))
    return min(low, mean), max(high, mean)


def window(parts: Parts, tilt: float) -> Window:
    """The sums within the span."""
    mesh, (low, high) = parts[0][0].mesh, span(parts, tilt)
    start = math.floor(low / mesh) - 2
    return Window(start, math.ceil(high / mesh) + 2 - start)


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """R on a window: P(sum = g) = e^(log_moment - tilt g) R(g).

    R is off by rounding, of Euclidean norm at most `noise`, and by what escaped, `escaped` in all.
    """

    weights: Floats
    start: int
    mesh: float
    tilt: float
    log_moment: float
    noise: float
    escaped: float
    rounding: float

    @property
    def sums(self) -> Floats:
        """The losses the weights stand at."""
        return np.multiply(self.start + np.arange(self.weights.size), self.mesh, dtype=np.float64)

    def stray(self, largest: float, norm: float) -> float:
        """How far off a weighted sum over R may be: weights up to `largest`, of Euclidean norm `norm` (Cauchy)."""
        return self.noise * min(norm, math.sqrt(self.weights.size) * largest) + self.escaped * largest

    def tail(self) -> Floats:
        """sum over g' >= g of e^(-tilt (g' - g)) R(g'), so that P(sum >= g) = e^(log_moment - tilt g) times it."""
        return discounted(self.weights, self.tilt * self.mesh)


def compose(parts: Parts, tilt: float, frame: Window) -> Composed:
    """The law of the sum, by one real FFT per part and one back."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(max(frame.size, 32), real=True)
    log_size = np.zeros(size // 2 + 1)
    spectra: list[tuple[Spectrum, int]] = []
    log_moment, rough, releases = 0.0, 0.0, 0
    for law, count in parts:
        weights, moment = _tilted(law, tilt)
        spectrum = rfft(np.bincount(law.knots % size, weights, minlength=size))
        spectra.append((spectrum, count))
        log_size += count * np.log(np.maximum(np.abs(spectrum), 1e-300))
        log_moment += count * moment
        releases += count
        rough += math.sqrt(size * float(np.square(weights).sum()))
    around = irfft(_power(spectra, log_size), size)
    result = np.roll(around, -(frame.start % size))
    final = math.sqrt(size * float(np.square(result).sum()))
    fft_error = 8.0 * _UNIT_ROUNDOFF * math.log2(size) * (2.0 * releases * final + rough)
    noise, escaped = fft_error / math.sqrt(size), 2.0 * _ESCAPED + size * math.exp(_SILENT)
    return Composed(result, frame.start, parts[0][0].mesh, tilt, log_moment, noise, escaped, releases * RELATIVE_ERROR)


def _power(spectra: list[tuple[Spectrum, int]], log_size: Floats) -> Spectrum:
    """prod of spectrum^count, of absolute value e^log_size; what is below e^-80 is left at 0."""
    heard = log_size > _SILENT
    turns = np.zeros(int(np.count_nonzero(heard)))
    for spectrum, count in spectra:
        turns += count * (np.angle(spectrum[heard]) / (2.0 * math.pi))
    phase = 2.0 * math.pi * (turns - np.rint(turns))  # sines of large arguments are slow
    result: Spectrum = np.zeros(log_size.size, dtype=np.complex128)
    result[heard] = np.exp(log_size[heard]) * (np.cos(phase) + 1j * np.sin(phase))
    return result


def discounted(values: Floats, rate: float) -> Floats:
    """y_j = sum over i >= 0 of e^(-rate i) values_(j+i), by doubling; no term is ever larger than the result."""
    result = values.copy()
    step = 1
    while step < values.size and rate * step < 745.0:
        result[:-step] += math.exp(-rate * step) * result[step:]
        step *= 2
    return result
