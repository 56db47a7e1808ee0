"""The two ends of epsilon, read off composed laws.

    above   delta(epsilon) = E[(1 - e^(epsilon - sum))+] of laws that dominate the releases
    below   epsilon >= ln((P(sum >= g) - delta) / Q(sum >= g)) for every threshold g, of laws that are
            post-processings of them: a test that a real observer could run

The upper end pays for what escaped the window, for rounding, and for losses counted as infinite; the lower end
pays the same in the other direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dp.profiles import Floats
from dp.spectrum import Composed, discounted, log_peak

# Where delta falls by more than this factor (its logarithm) per step, an epsilon is not read between steps.
_STEEP = 30.0
_LAST_PLACES = 2.0**-48


@dataclass(frozen=True, slots=True, eq=False)
class Upper:
    """delta as a function of epsilon, never below the truth, sharp where the composed law is centred.

    With s = e^(log_moment - tilt g) at sum g: s * mass = e^g Q(sum >= g), and s * excess = delta(g).
    """

    composed: Composed
    missing: float
    mass: Floats
    excess: Floats
    stray: float

    @classmethod
    def of(cls, composed: Composed, missing: float) -> Upper:
        """`missing` is the mass at infinite loss of all releases together."""
        tilt, mesh, size = composed.tilt, composed.mesh, composed.weights.size
        mass = discounted(np.maximum(composed.weights, 0.0), (1.0 + tilt) * mesh)
        # delta grows from one sum to the next below it by terms that are all positive: nothing cancels.
        growth = np.append(mass[1:], 0.0) * (-math.expm1(-mesh) * math.exp(-tilt * mesh))
        excess = discounted(growth, tilt * mesh) * (1.0 + size * 2.0**-50)
        # What lies y above epsilon counts (1 - e^-y) e^(-tilt y): at most the peak, and its square sums to at most
        # its integral over the mesh, and once the peak.
        peak = math.exp(log_peak(np.array([tilt]))[0])
        square = 2.0 / (2.0 * tilt * (2.0 * tilt + 1.0) * (2.0 * tilt + 2.0)) / mesh + peak**2
        return cls(composed, missing, mass, excess, composed.stray(peak, math.sqrt(square)))

    def delta(self, epsilon: float) -> float:
        """An upper bound of delta at epsilon."""
        of, size = self.composed, self.mass.size
        at = max(0, math.ceil(epsilon / of.mesh) - of.start)
        log_scale = of.log_moment + of.rounding - of.tilt * epsilon
        inside = self.stray
        if at < size:
            rest = max(0.0, (of.start + at) * of.mesh - epsilon)
            inside += (self.excess[at] - self.mass[at] * math.expm1(-rest)) * math.exp(-of.tilt * rest)
        return min(1.0, self.missing + math.exp(min(0.0, log_scale + math.log(inside))))

    def epsilon(self, delta: float) -> float:
        """An upper bound of epsilon at delta; infinite when delta cannot pay for what it must."""
        of = self.composed
        if delta <= self.missing:
            return math.inf
        first = max(0, -of.start)
        sums = of.sums[first:]
        target = math.log(delta - self.missing) - of.log_moment - of.rounding
        fits = np.log(self.excess[first:] + self.stray) - of.tilt * sums <= target
        if not fits.any():
            return math.inf
        at = int(np.argmax(fits))
        if at == 0 or of.tilt * of.mesh > _STEEP or self.mass[first + at] == 0.0:
            return float(sums[at])
        room = math.exp(target + of.tilt * sums[at]) - self.stray * math.exp(of.tilt * of.mesh)
        gain = max(0.0, room - self.excess[first + at]) / self.mass[first + at]
        back = -math.log1p(-gain) if gain < 1.0 else of.mesh
        return float(sums[at] - min(back, of.mesh))


def epsilon_below(one: Composed, other: Composed, delta: float) -> float:
    """A lower bound of epsilon at delta from the laws of one statistic under P and under Q, on one window."""
    sums, margin = one.sums, 1.0 + one.weights.size * 2.0**-50
    caught = discounted(one.weights, one.tilt * one.mesh) / margin - _stray_of_tail(one)
    missed = discounted(other.weights, other.tilt * other.mesh) * margin + _stray_of_tail(other)
    useful = (caught > 0.0) & (missed > 0.0)
    sums, caught, missed = sums[useful], caught[useful], missed[useful]
    log_caught = one.log_moment - one.rounding - one.tilt * sums + np.log(caught)
    log_missed = other.log_moment + other.rounding - other.tilt * sums + np.log(missed)
    paying = log_caught > math.log(delta)
    if not paying.any():
        return 0.0
    spare = np.log(-np.expm1(math.log(delta) - log_caught[paying]))
    # Large logarithms that nearly cancel, each known to a few units in its last place.
    sizes = abs(one.log_moment) + abs(other.log_moment) + (one.tilt + other.tilt) * np.abs(sums[paying])
    proved = log_caught[paying] + spare - log_missed[paying] - _LAST_PLACES * sizes
    return max(0.0, float(np.max(proved)))


def _stray_of_tail(composed: Composed) -> float:
    """The error of a sum with weights e^(-tilt y)."""
    rate = composed.tilt * composed.mesh
    return composed.stray(1.0, 1.0 / math.sqrt(-math.expm1(-2.0 * rate)) if rate > 0.0 else math.inf)
