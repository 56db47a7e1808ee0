"""Integer weights of the laws of noise: half[|k|] proportional to P(k), no float anywhere.

    discrete Gaussian   exp(-k^2 / (2 sigma2))                         two products per value
    discrete Laplace    exp(-|k| / t)                                  one product per value
    fold of width m     r^|k| (1 - r^(2 (m - |k|))), r = exp(-1/t)     what m times a coarser Laplace lacks
    Skellam             I_k(mu)                                        backward recurrence

Each list ends where both tails together hold less than 2^-129 of the whole; every weight is right to
within 2^-250 of the whole. `dp.alias` turns a list into a table, `dp.noise` says which lists make a law.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

WEIGHT_BITS = 320
TAIL_BITS = 129

_ONE = 1 << WEIGHT_BITS


def gaussian_weights(sigma2: Fraction) -> list[int]:
    """2^320 exp(-k^2 / (2 sigma2)) for k = 0, 1, ... until both tails hold below 2^-129.

    w_(k+1) = w_k r_k and r_(k+1) = r_k exp(-1/sigma2): two products per value, error below k^2 2^-319.
    """
    step = exp_negative(1 / sigma2)
    weight = exp_negative(1 / (2 * sigma2))
    weights, total = [_ONE], _ONE
    ratio = weight * step >> WEIGHT_BITS
    # From here on ratios only fall, so the rest is below the geometric series weight / (1 - ratio).
    while weight << (TAIL_BITS + 1 + WEIGHT_BITS) > total * (_ONE - ratio):
        weights.append(weight)
        total += 2 * weight
        weight = weight * ratio >> WEIGHT_BITS
        ratio = ratio * step >> WEIGHT_BITS
    return weights


def laplace_weights(scale: Fraction) -> list[int]:
    """2^320 r^k, r = exp(-1 / scale), for k = 0, 1, ... until both tails hold below 2^-129.

    One product per value, error below k 2^-319; the tail is the geometric series itself.
    """
    ratio = exp_negative(1 / scale)
    weights, total, weight = [_ONE], _ONE, ratio
    while weight << (TAIL_BITS + 1 + WEIGHT_BITS) > total * (_ONE - ratio):
        weights.append(weight)
        total += 2 * weight
        weight = weight * ratio >> WEIGHT_BITS
    return weights


def fold_weights(scale: Fraction, width: int) -> list[int]:
    """2^320 r^k (1 - r^(2 (m - k))) for k = 0..m-1: the difference of two geometrics cut to [0, m).

    A geometric G with ratio r is low + m high with independent low, high (r^(low + m high) is a product),
    so a discrete Laplace, G - G', is this difference plus m times a discrete Laplace of scale t / m.
    P(low - low' = k) ~ sum over j < m - k of r^j r^(j + k), a geometric sum.
    """
    ratio = exp_negative(1 / scale)
    powers = [_ONE]
    for _ in range(2 * width):
        powers.append(powers[-1] * ratio >> WEIGHT_BITS)
    return [powers[k] * (_ONE - powers[2 * (width - k)]) >> WEIGHT_BITS for k in range(width)]


def skellam_weights(mu: Fraction) -> list[int]:
    """A multiple of I_k(mu) for k = 0, 1, ... until both tails hold below 2^-129.

    I_(k-1) = I_(k+1) + (2k / mu) I_k downwards from k = N with the start f_(N+1) = f_N = 2^320. All terms
    are positive, so the rounding of one step, 2^-320 of the value, is never amplified. Let r_k = I_k /
    I_(k-1), s_k = f_k / f_(k-1). From 1/r_k = r_(k+1) + 2k/mu, alike for s, the error of a ratio is that
    of the next one times r_k s_k; a product s_k s_(k+1) is below 1 and s_(N+1) = 1, so the false start
    changes ratio k by at most I_N / I_(k-1) of itself, and P(k) by at most k P(N).
    Bernstein: P(N) <= exp(-N^2 / (2 (mu + N/3))) <= 2^-256 for N >= 119 + sqrt(355 mu).
    """
    start = 120 + isqrt(355 * mu.numerator // mu.denominator + 1)
    after, value = _ONE, _ONE
    falling = [value]
    for k in range(start, 0, -1):
        after, value = value, after + 2 * k * mu.denominator * value // mu.numerator
        falling.append(value)
    # The largest weight keeps 64 bits more than the other laws have; the rest of a weight is only slow.
    spare = max(0, value.bit_length() - WEIGHT_BITS - 64)
    weights = [weight >> spare for weight in reversed(falling)]
    return _without_tail(weights)


def _without_tail(half: list[int]) -> list[int]:
    """The shortest beginning that leaves out, on both sides, less than 2^-129 of the whole."""
    total = half[0] + 2 * sum(half[1:])
    kept, left_out = len(half), 0
    while kept > 1 and (left_out + 2 * half[kept - 1]) << TAIL_BITS < total:
        kept -= 1
        left_out += 2 * half[kept]
    return half[:kept]


def exp_negative(exponent: Fraction) -> int:
    """2^320 exp(-x) for rational x >= 0, within 1: halve x below 2^-7, Taylor, square back."""
    if exponent > WEIGHT_BITS:
        return 0
    guard = WEIGHT_BITS + 64
    halvings = max(0, exponent.numerator.bit_length() - exponent.denominator.bit_length() + 8)
    reduced = (exponent.numerator << guard) // (exponent.denominator << halvings)
    term = total = 1 << guard
    order = 0
    while term:
        order += 1
        term = (term * reduced >> guard) // order
        total += term if order % 2 == 0 else -term
    for _ in range(halvings):
        total = total * total >> guard
    return total >> 64
