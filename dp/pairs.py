"""Pairs of output laws that neighbours can cause, told by their masses over intervals of privacy loss.

    L = ln(dP/dQ)     loss of an output drawn from P; whoever compares P with Q need know nothing but its law
    cells(edges)      P- and Q-mass of edges[i] < L <= edges[i+1]; their ratio is e^L up to the width of a cell

Masses and not densities: a grid that keeps both masses of every cell is certified (dp.losses), whatever the law
does inside it. A pair *dominates* a release when no neighbours can be told apart better.
Source: Zhu, Dong, Wang, AISTATS 2022 (dominating pairs).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# More atoms than this are not listed one by one.
MOST_ATOMS = 1 << 20


class Pair(Protocol):
    """Two laws by their privacy loss."""

    def cells(self, edges: Floats) -> tuple[Floats, Floats]:
        """(P-masses, Q-masses) of the intervals between ascending edges, open below and closed above."""

    def reach(self, tail: float) -> tuple[float, float]:
        """Losses below and above which P and Q have at most `tail` each."""


@dataclass(frozen=True, slots=True)
class GaussianPair:
    """N(mu, 1) against N(0, 1): the loss is mu y - mu^2/2.  Source: Balle and Wang, ICML 2018."""

    mu: float

    def cells(self, edges: Floats) -> tuple[Floats, Floats]:
        y = edges / self.mu + self.mu / 2.0
        return normal_masses(y - self.mu), normal_masses(y)

    def reach(self, tail: float) -> tuple[float, float]:
        from scipy.special import ndtri

        z = -float(ndtri(min(tail, 0.5)))  # infinite for no tail at all
        return -self.mu * (z + self.mu / 2.0), self.mu * (z + self.mu / 2.0)


@dataclass(frozen=True, slots=True)
class LaplacePair:
    """Laplace noise around 0 against the same around 1, loss at most epsilon: |x - 1| - |x| in units of epsilon.

    One coordinate carries the whole distance.
    """

    epsilon: float

    def cells(self, edges: Floats) -> tuple[Floats, Floats]:
        # Between the two peaks, at x = 0 and 1, the loss falls from epsilon to -epsilon.
        x = np.clip((1.0 - edges / self.epsilon) / 2.0, 0.0, 1.0)
        p, q = np.diff(0.5 * np.exp(-self.epsilon * x)), -np.diff(0.5 * np.exp(-self.epsilon * (1.0 - x)))
        tail = 0.5 * math.exp(-self.epsilon)
        atoms = np.array([-self.epsilon, self.epsilon])
        return with_atoms((p, q), edges, atoms, np.array([tail, 0.5]), np.array([0.5, tail]))

    def reach(self, tail: float) -> tuple[float, float]:
        return -self.epsilon, self.epsilon


@dataclass(frozen=True, slots=True)
class ResponsePair:
    """Randomised response: loss epsilon with chance e^epsilon / (1 + e^epsilon), else -epsilon.

    It dominates every epsilon-DP release.  Source: Kairouz, Oh, Viswanath, ICML 2015, Theorem 3.3.
    """

    epsilon: float

    def cells(self, edges: Floats) -> tuple[Floats, Floats]:
        lie = math.exp(-self.epsilon) / (1.0 + math.exp(-self.epsilon))
        truth = 1.0 / (1.0 + math.exp(-self.epsilon))
        nothing = np.zeros(edges.size - 1)
        atoms = np.array([-self.epsilon, self.epsilon])
        return with_atoms((nothing, nothing), edges, atoms, np.array([lie, truth]), np.array([truth, lie]))

    def reach(self, tail: float) -> tuple[float, float]:
        return -self.epsilon, self.epsilon


@dataclass(frozen=True, slots=True)
class DiscreteLaplacePair:
    """Integer noise with P(k) ~ e^(-|k|/scale) around 0 against the same around `distance`: distance + 1 losses."""

    scale: float
    distance: int

    def cells(self, edges: Floats) -> tuple[Floats, Floats]:
        x = np.arange(self.distance + 1.0)
        losses = (self.distance - 2.0 * x) / self.scale
        peak = math.tanh(0.5 / self.scale)
        tail = -1.0 / math.expm1(-1.0 / self.scale)
        p, q = peak * np.exp(-x / self.scale), peak * np.exp(-x[::-1] / self.scale)
        # Everything beyond a peak has the loss of the peak.
        for masses in (p, q):
            masses[0] *= tail
            masses[-1] *= tail
        order = slice(None, None, -1)
        nothing = np.zeros(edges.size - 1)
        return with_atoms((nothing, nothing), edges, losses[order], p[order], q[order])

    def reach(self, tail: float) -> tuple[float, float]:
        return -self.distance / self.scale, self.distance / self.scale


@dataclass(frozen=True, slots=True)
class Step:
    """One release on a Poisson sample: (1 - q) Q + q P against Q, and the other way round.

    With loss L of the pair inside, the loss is ln(1 - q + q e^L), increasing in L; q = 1 takes everyone. The unit
    that is removed, or zeroed, is the one that moves P to Q; whoever looks does not know whether it was sampled.
    Source: Steinke 2022 (arXiv 2210.00597), Theorem 28; Zhu, Dong, Wang, Proposition 30.
    """

    pair: Pair
    q: float

    def cells(self, edges: Floats) -> tuple[Floats, Floats]:
        """(mixture-masses, Q-masses) between ascending edges of the sampled loss."""
        p, q = self.pair.cells(self._inside(edges))
        return (1.0 - self.q) * q + self.q * p, q

    def reach(self, tail: float) -> tuple[float, float]:
        """Losses below and above which both laws have at most `tail` each; no loss is below ln(1 - q)."""
        low, high = self.outside(np.array(self.pair.reach(tail)))
        return float(low), float(high)

    def _inside(self, edges: Floats) -> Floats:
        if self.q == 1.0:
            return edges
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            small = np.log1p(np.expm1(edges) / self.q)
            # Far out e^x - 1 + q is e^x (1 - (1 - q) e^-x), which does not overflow.
            large = edges - math.log(self.q) + np.log1p(-(1.0 - self.q) * np.exp(-edges))
        inside = np.where(edges > 30.0, large, small)
        return np.where(np.isnan(inside), -np.inf, inside)

    def outside(self, losses: Floats) -> Floats:
        """ln(1 - q + q e^L) of losses L inside."""
        if self.q == 1.0:
            return losses
        far = np.maximum(losses, 0.0) + np.log(self.q + (1.0 - self.q) * np.exp(-np.maximum(losses, 0.0)))
        near = np.log1p(self.q * np.expm1(np.minimum(losses, 30.0)))
        return np.where(losses > 30.0, far, near)


def normal_masses(edges: Floats) -> Floats:
    """Standard normal mass between ascending edges, each to its own relative precision: the smaller tail is used."""
    from scipy.special import ndtr

    tails = ndtr(-np.abs(edges))
    below, above = edges[:-1] < 0.0, edges[1:] > 0.0
    masses = np.where(below, tails[1:] - tails[:-1], tails[:-1] - tails[1:])
    found: Floats = np.maximum(np.where(below & above, 1.0 - tails[:-1] - tails[1:], masses), 0.0)
    return found


def with_atoms(
    masses: tuple[Floats, Floats], edges: Floats, losses: Floats, p: Floats, q: Floats
) -> tuple[Floats, Floats]:
    """The masses with atoms added, each to the interval that holds its loss; those beyond the edges are left out."""
    places = np.searchsorted(edges, losses, side="left") - 1
    inside = (places >= 0) & (places < edges.size - 1)
    count = edges.size - 1
    more_p = np.bincount(places[inside], weights=p[inside], minlength=count)
    more_q = np.bincount(places[inside], weights=q[inside], minlength=count)
    return masses[0] + more_p, masses[1] + more_q
