"""Dominating pairs: two laws (P, Q) of one release that are as far apart as neighbours can make it.

A pair is known by two functions of the loss L = ln dP/dQ:

    profile(epsilon)    sup over events S of P(S) - e^epsilon Q(S), for epsilon >= 0
    log_tails(loss)     (ln P(L > loss), ln Q(L > loss)), for any loss

`swapped` is the pair (Q, P). Gaussian, Laplace and randomised response look alike both ways round; what a
Poisson sample makes of them does not, so removing a unit and adding one are two pairs.

Source: Zhu, Dong and Wang, AISTATS 2022 (dominating pairs, their composition, and Poisson samples of them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SQRT2 = math.sqrt(2.0)
_ERFCX_SLOPE = 2.0 / math.sqrt(math.pi)
# Below this distance two values of erfcx are subtracted through the derivatives between them.
_CLOSE = 1e-2
_NOTHING_BEYOND = 1e3  # standard deviations


class Pair(Protocol):
    """What composition needs to know of one release; implementations are frozen and hashable."""

    def __hash__(self) -> int: ...

    @property
    def swapped(self) -> Pair: ...

    @property
    def top(self) -> float:
        """The least upper bound of the loss; may be infinite."""

    def profile(self, epsilon: Floats) -> Floats:
        """sup_S P(S) - e^epsilon Q(S) for an array of epsilon >= 0; relative error below 2^-39."""

    def log_tails(self, loss: Floats) -> tuple[Floats, Floats]:
        """(ln P(L > loss), ln Q(L > loss)), each falling in loss; Q is tiny where losses are large."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """N(mu, 1) against N(0, 1): the loss is N(mu^2/2, mu^2) under P.  Source: Balle and Wang, ICML 2018."""

    mu: float

    @property
    def swapped(self) -> Gaussian:
        """Itself: reflect the line."""
        return self

    @property
    def top(self) -> float:
        """Infinite."""
        return math.inf

    def profile(self, epsilon: Floats) -> Floats:
        """Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu).

        With a = epsilon/mu - mu/2, b = a + mu it is e^(-a^2/2) (erfcx(a/sqrt 2) - erfcx(b/sqrt 2)) / 2,
        which keeps its digits in the tail.
        """
        from scipy.special import erfcx, ndtr

        a = np.minimum(epsilon / self.mu - self.mu / 2.0, _NOTHING_BEYOND)
        inside = np.maximum(a, -2.0)
        weight = 0.5 * np.exp(-0.5 * np.square(a))
        near = weight * _erfcx_drop(inside / _SQRT2, self.mu / _SQRT2)
        if self.mu <= 2.0:
            return near
        far = ndtr(-a) - weight * erfcx((a + self.mu) / _SQRT2)
        return np.where(a > -1.0, near, far)

    def log_tails(self, loss: Floats) -> tuple[Floats, Floats]:
        """Normal tails; under Q the loss is N(-mu^2/2, mu^2)."""
        from scipy.special import log_ndtr

        z = loss / self.mu
        return log_ndtr(self.mu / 2.0 - z), log_ndtr(-self.mu / 2.0 - z)


def _erfcx_drop(x: Floats, distance: float) -> Floats:
    """erfcx(x) - erfcx(x + distance) without the cancellation of close arguments.

    Around the middle m the difference is d f' + d^3/24 f''' + d^5/1920 f''''', and f' = 2 x f - 2/sqrt(pi).
    """
    from scipy.special import erfcx

    if distance > _CLOSE:
        drop: Floats = erfcx(x) - erfcx(x + distance)
        return drop
    middle = x + 0.5 * distance
    derivatives = [erfcx(middle)]
    derivatives.append(2.0 * middle * derivatives[0] - _ERFCX_SLOPE)
    for order in range(1, 5):
        derivatives.append(2.0 * middle * derivatives[order] + 2.0 * order * derivatives[order - 1])
    square = distance * distance
    slope: Floats = derivatives[1] + square / 24.0 * (derivatives[3] + square / 80.0 * derivatives[5])
    return -distance * slope


@dataclass(frozen=True, slots=True)
class Laplace:
    """Laplace noise on one number, shifted by `epsilon` scales: half of P sits at the largest loss."""

    epsilon: float

    @property
    def swapped(self) -> Laplace:
        """Itself: reflect the line."""
        return self

    @property
    def top(self) -> float:
        """epsilon."""
        return self.epsilon

    def profile(self, epsilon: Floats) -> Floats:
        """1 - e^((epsilon' - epsilon)/2) up to epsilon, then 0."""
        return -np.expm1(np.minimum(0.0, (epsilon - self.epsilon) / 2.0))

    def log_tails(self, loss: Floats) -> tuple[Floats, Floats]:
        """Between -epsilon and epsilon the loss is the noise itself, scaled by -2."""
        inside = np.clip(loss, -self.epsilon, self.epsilon)
        above, below = loss >= self.epsilon, loss < -self.epsilon
        one = np.log1p(-0.5 * np.exp(0.5 * (inside - self.epsilon)))
        other = -0.5 * (inside + self.epsilon) - math.log(2.0)
        return _stepped(one, above, below), _stepped(other, above, below)


@dataclass(frozen=True, slots=True)
class DiscreteLaplace:
    """Noise with pmf ~ e^(-|k|/scale) on the integers, shifted by a whole `distance`: exact atoms.

    The loss of outcome k is (distance - 2k)/scale for 0 <= k <= distance, and stays put beyond.
    """

    scale: float
    distance: int

    @property
    def swapped(self) -> DiscreteLaplace:
        """Itself: reflect the line."""
        return self

    @property
    def top(self) -> float:
        """distance / scale."""
        return self.distance / self.scale

    def profile(self, epsilon: Floats) -> Floats:
        """P(k <= j) - e^epsilon Q(k <= j) at the last outcome j whose loss is above epsilon."""
        last = self._last(epsilon)
        ratio = math.exp(-1.0 / self.scale)
        gap = np.minimum(0.0, epsilon - (self.distance - last) / self.scale)
        value = (-np.expm1(gap) - ratio * np.expm1(-np.maximum(last, 0.0) / self.scale)) / (1.0 + ratio)
        return np.where(last < 0.0, 0.0, value)

    def log_tails(self, loss: Floats) -> tuple[Floats, Floats]:
        """Geometric sums."""
        last = self._last(loss)
        ratio = math.exp(-1.0 / self.scale)
        inside = np.clip(last, 0.0, max(0.0, self.distance - 1.0))
        one = np.log1p(-np.exp(-(inside + 1.0) / self.scale) / (1.0 + ratio))
        other = (inside - self.distance) / self.scale - math.log1p(ratio)
        above, below = last < 0.0, last >= self.distance
        return _stepped(one, above, below), _stepped(other, above, below)

    def _last(self, loss: Floats) -> Floats:
        return np.clip(np.ceil((self.distance - loss * self.scale) / 2.0) - 1.0, -1.0, float(self.distance))


@dataclass(frozen=True, slots=True)
class Response:
    """Randomised response: every release with pure `epsilon` is a post-processing of it.

    Source: Kairouz, Oh and Viswanath, ICML 2015, Theorem 3.3 with Section 3.
    """

    epsilon: float

    @property
    def swapped(self) -> Response:
        """Itself: rename the answers."""
        return self

    @property
    def top(self) -> float:
        """epsilon."""
        return self.epsilon

    def profile(self, epsilon: Floats) -> Floats:
        """(e^epsilon0 - e^epsilon) / (1 + e^epsilon0) up to epsilon0, then 0."""
        return -np.expm1(np.minimum(0.0, epsilon - self.epsilon)) / (1.0 + math.exp(-self.epsilon))

    def log_tails(self, loss: Floats) -> tuple[Floats, Floats]:
        """One atom at each end."""
        above, below = loss >= self.epsilon, loss < -self.epsilon
        yes = np.full_like(loss, -math.log1p(math.exp(-self.epsilon)))
        return _stepped(yes, above, below), _stepped(yes - self.epsilon, above, below)


def _stepped(inside: Floats, above: NDArray[np.bool_], below: NDArray[np.bool_]) -> Floats:
    return np.where(above, -np.inf, np.where(below, 0.0, inside))


Symmetric = Gaussian | Laplace | DiscreteLaplace | Response


@dataclass(frozen=True, slots=True)
class Removed:
    """(1-q) B + q A against B, for a symmetric pair (A, B): the unit was in the data, sampled with rate q."""

    inner: Symmetric
    q: float

    @property
    def swapped(self) -> Added:
        """The unit is added instead."""
        return Added(self.inner, self.q)

    @property
    def top(self) -> float:
        """ln(1 - q + q e^top)."""
        return _mixed(self.inner.top, self.q)

    def profile(self, epsilon: Floats) -> Floats:
        """q h(ln((e^epsilon - 1 + q)/q))."""
        return self.q * self.inner.profile(_unmixed(epsilon, self.q))

    def log_tails(self, loss: Floats) -> tuple[Floats, Floats]:
        """The loss is a growing function of the inner one."""
        one, other = self.inner.log_tails(_unmixed(loss, self.q))
        return _log_mixed(one, other, self.q), other


@dataclass(frozen=True, slots=True)
class Added:
    """B against (1-q) B + q A, for a symmetric pair (A, B): the unit joins, sampled with rate q."""

    inner: Symmetric
    q: float

    @property
    def swapped(self) -> Removed:
        """The unit is removed instead."""
        return Removed(self.inner, self.q)

    @property
    def top(self) -> float:
        """-ln(1 - q + q e^-top): not above -ln(1-q), whatever the noise."""
        return -_mixed(-self.inner.top, self.q)

    def profile(self, epsilon: Floats) -> Floats:
        """w h(ln(q e^epsilon / w)) with w = 1 - (1-q) e^epsilon, 0 once w is negative.

        q e^epsilon = w + e^epsilon - 1, so the argument is ln(1 + (e^epsilon - 1)/w).
        """
        most = -math.log1p(-self.q)
        inside = np.minimum(epsilon, most)
        left = -np.expm1(inside - most)
        with np.errstate(divide="ignore", over="ignore"):
            argument = np.where(left > 0.0, np.log1p(np.expm1(inside) / np.maximum(left, 1e-300)), np.inf)
        return left * self.inner.profile(argument)

    def log_tails(self, loss: Floats) -> tuple[Floats, Floats]:
        """Minus the loss of removing, seen from the other side: by symmetry an upper tail again."""
        one, other = self.inner.log_tails(-_unmixed(-loss, self.q))
        return one, _log_mixed(other, one, self.q)


def _log_mixed(one: Floats, other: Floats, q: float) -> Floats:
    """ln(q e^one + (1-q) e^other)."""
    return np.logaddexp(one + math.log(q), other + math.log1p(-q))


def _mixed(loss: float, q: float) -> float:
    """ln(1 - q + q e^loss)."""
    if loss > 30.0:
        return loss + math.log(q + (1.0 - q) * math.exp(-loss))
    return math.log1p(q * math.expm1(loss))


def _unmixed(loss: Floats, q: float) -> Floats:
    """ln((e^loss - 1 + q)/q), the inner loss that mixes to this one; -inf below all mixtures."""
    with np.errstate(divide="ignore"):
        small = np.log1p(np.maximum(-1.0, np.expm1(np.minimum(loss, 1.0)) / q))
    large = loss + np.log1p(-(1.0 - q) * np.exp(-np.maximum(loss, 1.0))) - math.log(q)
    return np.where(loss > 1.0, large, small)
