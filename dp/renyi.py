"""Renyi divergence of order alpha, one release, for each mechanism: pure functions of floats.

Every function takes an increasing array of finite orders > 1 and returns upper bounds R(alpha) of

    D_alpha(P || Q) = ln E_Q[(P/Q)^alpha] / (alpha - 1),       both ways round,

for neighbouring inputs at the stated distance. A shift is mu^2 = (distance / sigma)^2. Moments near 1 are
computed as their excess over 1, never as a difference of two numbers near 1: at q = 0.001 and sigma = 4 the
excess is 2e-8 and a plain log-sum-exp would leave it eight digits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Trapezoid rule on a Gaussian weight, in standard deviations. Truncation leaves e^(-13^2/2); the nearest
# singularity of the integrand lies pi/mu off the axis, so the rule itself leaves e^(-2 pi^2 / (mu step)).
_REACH = 13.0
_WIDE_STEP, _FINE_STEP, _WIDE_SHIFT = 1.0 / 8.0, 1.0 / 16.0, 9.0

# Covers the rounding of the sums below with room to spare.
_ROUND_UP = 1.0 + 1e-9

# Beyond this shift (sigma below a fiftieth of the sensitivity) the grid grows and nobody calls it private.
_LARGEST_SAMPLED_SHIFT = 2500.0
_LARGEST_MOMENT = 256
_MANY_TERMS = 64
_LARGEST_EXPONENT = 700.0
_SMALLEST = 1e-300
# Of an epsilon beyond, no order is worth computing: all of them are at most epsilon.
_LARGEST_PURE = 1e100


def gaussian(orders: Floats, shift: float) -> Floats:
    """alpha mu^2 / 2, exactly.  Source: Mironov, CSF 2017, Corollary 3."""
    return orders * (shift / 2.0)


def poisson_gaussian(orders: Floats, q: float, shift: float) -> Floats:
    """R of (1-q) N(0, 1) + q N(mu, 1) against N(0, 1), the worse of the two directions.

    Guarantee: within 1e-9 relative above the true value for mu <= 50; beyond, the bound without sampling.
    Source: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530), Sections 3.2, 3.3 and Theorem 5.
    """
    if shift > _LARGEST_SAMPLED_SHIFT or q >= 1.0:  # a rate just below 1 may be 1 as a double
        return gaussian(orders, shift)
    q, shift = max(q, _SMALLEST), max(shift, _SMALLEST)
    whole = orders == np.floor(orders)
    excess = np.empty_like(orders)
    excess[whole] = _log_binomial_excess(orders[whole], q, shift)
    excess[~whole] = _log_integral_excess(orders[~whole], q, shift)
    return _from_log_excess(orders, excess) * _ROUND_UP


def fixed_size_gaussian(orders: Floats, q: float, shift: float) -> Floats:
    """R of m = qN of N units drawn without replacement, one replaced; shift of the replacement itself.

    exp((alpha-1) R) = 1 + sum_(j=2..alpha) q^j C(alpha, j) min{4 sqrt(B(2 floor(j/2)) B(2 ceil(j/2))),
    2 e^E(j)} at integers, E(j) = j(j-1) mu^2 / 2, B(l) = E_Q[(P/Q - 1)^l]; (alpha-1) R is convex, so it is
    interpolated linearly between integers.
    Source: Wang, Balle, Kasiviswanathan, AISTATS 2019, Theorem 27 and Corollary 10.
    """
    q, shift = max(q, _SMALLEST), max(shift, _SMALLEST)
    whole = _neighbouring_integers(orders)
    j = np.arange(2.0, whole[-1] + 1.0)
    log_moment = math.log(2.0) + j * (j - 1.0) * shift / 2.0
    even, log_b = _log_even_moments(int(whole[-1]), shift)
    if even.size:
        below, above = 2 * (j // 2), 2 * (-(-j // 2))
        log_pair = 0.5 * (np.interp(below, even, log_b) + np.interp(above, even, log_b))
        usable = above <= even[-1]
        log_moment = np.where(usable, np.minimum(log_moment, math.log(4.0) + log_pair), log_moment)
    terms = _log_binomials(whole, j) + j * math.log(q) + log_moment
    log_excess = _log_sum_exp(np.where(j <= whole[:, None], terms, -np.inf))
    cumulant = np.where(whole > 1.0, np.logaddexp(0.0, log_excess), 0.0)
    bound = np.interp(orders, whole, cumulant) / (orders - 1.0)
    return np.minimum(bound, gaussian(orders, shift))


def laplace(orders: Floats, epsilon: float) -> Floats:
    """Continuous Laplace noise, any L1 distance vector with |.|_1 / scale = epsilon.

    R is convex in the distance and 0 at 0, so all of it in one coordinate is the worst case.
    Source: Mironov, CSF 2017, Proposition 6.
    """
    first = orders / (2.0 * orders - 1.0)
    return _two_exponentials(orders, first, 1.0 - first, epsilon)


def discrete_laplace(orders: Floats, scale: float, distance: int) -> Floats:
    """Noise with pmf ~ e^(-|k|/scale) on the integers, any integer shift with |.|_1 = distance.

    Summing p(k)^alpha p(k - distance)^(1-alpha) left, between and right of the two peaks gives a positive
    combination of e^((alpha-1) epsilon) and e^(-alpha epsilon), log-convex in the distance as before. At
    distance 1 it is randomised response, above the continuous law.
    """
    decay = (2.0 * orders - 1.0) / scale
    outside, between = -1.0 / math.expm1(-1.0 / scale), np.exp(-decay) / -np.expm1(-decay)
    first = np.minimum(1.0, math.tanh(0.5 / scale) * (outside + between))
    return _two_exponentials(orders, first, 1.0 - first, distance / scale)


def pure(orders: Floats, epsilon: float) -> Floats:
    """Randomised response, which every epsilon-DP release is a post-processing of.

    It is the discrete Laplace law at scale 1/epsilon and distance 1, seen through its sign.
    Source: Kairouz, Oh, Viswanath, ICML 2015, Theorem 3.3 with Section 3 (dominating mechanism).
    """
    if not _SMALLEST < epsilon < _LARGEST_PURE:
        return np.full_like(orders, epsilon)
    return discrete_laplace(orders, 1.0 / epsilon, 1)


def skellam(orders: Floats, mu: float, l2_squared: float, l1: float) -> Floats:
    """alpha D2^2/(2 mu) + min{((2 alpha - 1) D2^2 + 6 D1)/(4 mu^2), 3 D1/(2 mu)}, interpolated.

    Source: Agarwal, Kairouz, Liu, NeurIPS 2021 (arXiv 2110.04995), Theorem 3.5; integer orders >= 2.
    """
    whole = _neighbouring_integers(orders)
    excess = np.minimum(((2 * whole - 1) * l2_squared + 6 * l1) / (4 * mu * mu), 1.5 * l1 / mu)
    cumulant = (whole - 1.0) * (whole * l2_squared / (2.0 * mu) + excess)
    return np.interp(orders, whole, cumulant) / (orders - 1.0)


def _log_binomial_excess(orders: Floats, q: float, shift: float) -> Floats:
    """ln(A - 1), A = sum_k C(alpha, k) (1-q)^(alpha-k) q^k e^((k^2-k) mu^2/2), integer alpha >= 2."""
    low = orders[orders <= _MANY_TERMS]
    parts = [low, orders[low.size :]]  # a short sum should not be padded to the length of the longest
    return np.concatenate([_log_binomial_rows(part, q, shift) for part in parts if part.size] or [orders])


def _log_binomial_rows(orders: Floats, q: float, shift: float) -> Floats:
    k = np.arange(2.0, orders[-1] + 1.0)
    taken = k * math.log(q) + _log_expm1((k * k - k) * (shift / 2.0))
    left_out = np.maximum(orders[:, None] - k, 0.0) * math.log1p(-q)
    return _log_sum_exp(_log_binomials(orders, k) + taken + left_out)


def _log_integral_excess(orders: Floats, q: float, shift: float) -> Floats:
    """ln(A - 1), A = E[(1 + u)^alpha] over y ~ N(0, 1), u = q (e^(mu y - mu^2/2) - 1), so E[u] = 0."""
    if not orders.size:
        return orders
    mu, step = math.sqrt(shift), _WIDE_STEP if shift <= _WIDE_SHIFT else _FINE_STEP
    y = np.arange(-_REACH, orders[-1] * mu + _REACH, step)
    loss = mu * y - shift / 2.0
    u = q * np.expm1(np.minimum(loss, _LARGEST_EXPONENT))
    beyond = loss + np.log(q + (1.0 - q) * np.exp(-np.maximum(loss, _LARGEST_EXPONENT)))
    log_ratio = np.where(loss > _LARGEST_EXPONENT, beyond, np.log1p(u))
    return _log_sum_exp(_log_weight(y, step) + _log_bernoulli(orders[:, None], u, log_ratio))


def _log_bernoulli(alpha: Floats, u: Floats, log_ratio: Floats) -> Floats:
    """ln((1+u)^alpha - 1 - alpha u) for increasing u; log_ratio = ln(1+u).

    The argument is positive for alpha > 1 (Bernoulli). Three forms, each where it keeps ten digits: the
    binomial series, the difference, the difference divided by its first term.
    Shapes: alpha (m, 1), u and log_ratio (n,), result (m, n).
    """
    small = np.abs(u) < 1e-4
    large = u > 1.0
    middle = ~(small | large)
    result = np.empty(np.broadcast_shapes(alpha.shape, u.shape))
    x, ratio, far = u[small], log_ratio[middle], log_ratio[large]
    series = 1.0 + (alpha - 2.0) / 3.0 * x * (1.0 + (alpha - 3.0) / 4.0 * x * (1.0 + (alpha - 4.0) / 5.0 * x))
    factor = 1.0 - np.exp(-alpha * far) + alpha * np.expm1(-far) * np.exp(-(alpha - 1.0) * far)
    with np.errstate(divide="ignore"):
        result[:, small] = np.log(alpha * (alpha - 1.0) / 2.0 * series) + 2.0 * np.log(np.abs(x))
    result[:, middle] = np.log(np.expm1(alpha * ratio) - alpha * u[middle])
    result[:, large] = alpha * far + np.log(factor)
    return result


def _log_even_moments(largest_order: int, shift: float) -> tuple[Floats, Floats]:
    """(even l, ln B(l)), B(l) = E[(e^(mu y - mu^2/2) - 1)^l] over y ~ N(0, 1), for those l that matter.

    The alternating sum of the source is this moment; for even l nothing cancels. Once l e^(-(l-1) mu^2)
    is far below 1, B(l) is nearly e^E(l) and cannot be the smaller of the two bounds.
    """
    candidates = np.arange(2.0, min(largest_order + 1, _LARGEST_MOMENT) + 1.0, 2.0)
    useful = candidates[np.log(40.0 * candidates) >= (candidates - 1.0) * shift]
    if not useful.size:
        return useful, useful
    mu, reach = math.sqrt(shift), _REACH + math.sqrt(useful[-1])
    y = np.arange(-reach, useful[-1] * mu + reach, _WIDE_STEP)
    loss = mu * y - shift / 2.0
    with np.errstate(divide="ignore"):
        log_gap = np.where(loss > 30.0, loss, np.log(np.abs(np.expm1(np.minimum(loss, 30.0)))))
    return useful, _log_sum_exp(useful[:, None] * log_gap + _log_weight(y, _WIDE_STEP))


def _two_exponentials(orders: Floats, first: Floats, second: Floats, epsilon: float) -> Floats:
    """ln(first e^((alpha-1) epsilon) + second e^(-alpha epsilon)) / (alpha-1), first + second = 1.

    The two excesses cancel to second order in epsilon; what rounding can hide is added back, and the
    result is capped by epsilon, which it approaches at infinite order.
    """
    grow, shrink = (orders - 1.0) * epsilon, orders * epsilon
    excess = first * np.expm1(np.minimum(grow, 30.0)) + second * np.expm1(-shrink)
    far = grow + np.log(first + second * np.exp(-np.minimum(grow + shrink, 745.0)))
    cumulant = np.where(grow > 30.0, far, np.log1p(np.maximum(excess, 0.0)))
    return np.minimum(cumulant / (orders - 1.0) + 2.0**-49 * epsilon, epsilon)


def _neighbouring_integers(orders: Floats) -> Floats:
    return np.unique(np.concatenate([np.floor(orders), np.ceil(orders)]))


def _from_log_excess(orders: Floats, log_excess: Floats) -> Floats:
    return np.logaddexp(0.0, log_excess) / (orders - 1.0)


def _log_weight(y: Floats, step: float) -> Floats:
    """ln of the standard normal mass that the trapezoid rule gives each node."""
    return math.log(step / math.sqrt(2.0 * math.pi)) - y * y / 2.0


def _log_expm1(x: Floats) -> Floats:
    return x + np.log(-np.expm1(-x))


def _log_sum_exp(log_terms: Floats) -> Floats:
    """ln sum exp along the last axis."""
    top = np.maximum(np.max(log_terms, axis=-1, keepdims=True), -1e300)
    with np.errstate(divide="ignore"):
        total: Floats = np.squeeze(top, -1) + np.log(np.sum(np.exp(log_terms - top), axis=-1))
    return total


def _log_binomials(n: Floats, k: Floats) -> Floats:
    """ln C(n_i, k_j), -inf where k > n.  Shapes: (len(n), len(k))."""
    from scipy.special import gammaln

    rest = n[:, None] - k
    values = gammaln(n + 1.0)[:, None] - gammaln(k + 1.0) - gammaln(np.maximum(rest, 0.0) + 1.0)
    return np.where(rest >= 0, values, -np.inf)
