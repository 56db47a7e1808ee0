"""Exact integer noise: which tables make which law, and how many draws that costs.

| law                          | P(k) ~               | one sample is                                              |
|---|---|---|
| `GaussianLaw(sigma2)`        | exp(-k^2/(2 sigma2)) | a table; above std 4096 k A + B, two smaller ones          |
| `LaplaceLaw(scale)`          | exp(-|k| / scale)    | a table; above scale 256 m B + A, two smaller ones         |
| `SkellamLaw(mu)`             | I_k(mu)              | a table; above std 4096 the sum of equal parts             |

A noise vector is a function of (secret, label, context, law, n), so it can be regenerated from its seed.
No float takes part anywhere: a float sampler betrays its input through the values it cannot produce
(Mironov, CCS 2012). Clipping, the lattice and the event that accounts for a draw live elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

import numpy as np

from dp.alias import TABLES, AliasTable
from dp.alias import Integers as Integers
from dp.entropy import CHUNK_WORDS as CHUNK_WORDS
from dp.entropy import Entropy as Entropy
from dp.entropy import RngSource as RngSource
from dp.entropy import keystream as keystream
from dp.errors import BadParameters
from dp.weights import fold_weights, gaussian_weights, laplace_weights, skellam_weights

TABLE_STD = 4096
MAX_SIGMA2 = 1 << 100
TABLE_SCALE = 256
MAX_SCALE = 1 << 50
MAX_FOLD = 1 << 15
MAX_MU = 1 << 34


@dataclass(frozen=True, slots=True)
class Term:
    """factor * T, T drawn from the symmetric table of weights(*parameters)."""

    factor: int
    weights: Callable[..., list[int]]
    parameters: tuple[Fraction | int, ...]

    def table(self) -> AliasTable:
        """The table of T, kept for the next draw."""
        return TABLES.table(
            (self.weights, self.parameters), lambda: AliasTable.symmetric(self.weights(*self.parameters))
        )


class Law(ABC):
    """A law of noise on the integers: symmetric, and drawn as a sum of independent terms.

    Guarantee: total variation at most 2^-127 per draw of a table: the tails left out weigh below 2^-129,
        the weights of N <= 2^22 columns err by less than N 2^-250, and their scaling by less than N 2^-256.
        Events book `draws` of them.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def variance(self) -> Fraction:
        """The variance of the continuous law of these parameters; that of the integer law is not above."""

    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """The independent terms whose sum has this law, in the normative order of their drawing."""

    @property
    def reach(self) -> int:
        """No sample is larger in magnitude."""
        return sum(abs(term.factor) * term.table().reach for term in self.terms())

    def draws(self, count: int) -> int:
        """How many table draws `count` samples take."""
        return count * len(self.terms())

    def add_into(self, total: Integers, entropy: Entropy) -> None:
        """total <- total + one sample per coordinate, without a vector in between.

        Every term is drawn for all coordinates before the next one begins.
        Raises: BadParameters for anything but a plain int64 vector: a masked array would keep coordinates bare.
        """
        if type(total) is not np.ndarray or total.dtype != np.int64 or total.ndim != 1:
            raise BadParameters(f"noise is added to a plain int64 vector, not to a {type(total).__name__}")
        for term in self.terms():
            term.table().add_into(total, term.factor, entropy)

    def sample(self, count: int, entropy: Entropy) -> Integers:
        """count independent samples.  Shapes: int64."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise BadParameters(f"count must be an integer of at least 0, not {count!r}")
        noise = np.zeros(count, dtype=np.int64)
        self.add_into(noise, entropy)
        return noise


@dataclass(frozen=True, slots=True)
class GaussianLaw(Law):
    """N_Z(0, sigma2): P(k) proportional to exp(-k^2 / (2 sigma2)).

    A standard deviation s above TABLE_STD is drawn as k*A + B with A ~ N_Z(0, sigma2/k^2 - 9),
    B ~ N_Z(0, 9 k^2), k = round(sqrt(s)), each in the same manner, A first.
    Completing the square, the sum differs from N_Z(0, sigma2) only by a theta sum of variance above 6.25.

    Guarantee: per split a pointwise log-ratio below 2^-170 besides the distance of `Law`; the draws booked
        cover both.
    Raises: BadParameters for sigma2 outside (0, 2^100] or not rational.
    Source: Canonne, Kamath, Steinke, NeurIPS 2020 (the law); Micciancio, Walter, CRYPTO 2017 (convolution).
    """

    sigma2: Fraction

    def __post_init__(self) -> None:
        _require("sigma2", self.sigma2, MAX_SIGMA2)
        object.__setattr__(self, "sigma2", Fraction(self.sigma2))

    @property
    def variance(self) -> Fraction:
        return self.sigma2

    def terms(self) -> tuple[Term, ...]:
        return _gaussian_terms(1, self.sigma2)


@dataclass(frozen=True, slots=True)
class LaplaceLaw(Law):
    """Discrete Laplace: P(k) proportional to exp(-|k| / scale).

    A scale t above TABLE_SCALE is drawn as m*B + A with B of scale t/m in the same manner, A the fold of
    width m (`dp.weights.fold_weights`), m = sqrt(90 t) up to MAX_FOLD: exact, and both tables are small.

    Raises: BadParameters for a scale outside (0, 2^50] or not rational.
    Source: Ghosh, Roughgarden, Sundararajan, SIAM J. Comput. 2012 (the law).
    """

    scale: Fraction

    def __post_init__(self) -> None:
        _require("scale", self.scale, MAX_SCALE)
        object.__setattr__(self, "scale", Fraction(self.scale))

    @property
    def variance(self) -> Fraction:
        return 2 * self.scale**2

    def terms(self) -> tuple[Term, ...]:
        return _laplace_terms(1, self.scale)


@dataclass(frozen=True, slots=True)
class SkellamLaw(Law):
    """Skellam of variance mu: P(k) = exp(-mu) I_k(mu), the difference of two Poisson(mu / 2).

    Sums of Skellam are Skellam, exactly; so a standard deviation above TABLE_STD is drawn as the sum of
    equal parts. That gets slow where a discrete Gaussian would not: prefer it for wide noise.

    Raises: BadParameters for mu outside (0, 2^34] or not rational.
    Source: Agarwal, Kairouz, Liu, NeurIPS 2021.
    """

    mu: Fraction

    def __post_init__(self) -> None:
        _require("mu", self.mu, MAX_MU)
        object.__setattr__(self, "mu", Fraction(self.mu))

    @property
    def variance(self) -> Fraction:
        return self.mu

    def terms(self) -> tuple[Term, ...]:
        parts = -(-self.mu // TABLE_STD**2)
        return (Term(1, skellam_weights, (self.mu / parts,)),) * parts


def discrete_gaussian(sigma2: Fraction, count: int, entropy: Entropy) -> Integers:
    """count independent draws of N_Z(0, sigma2); see `GaussianLaw`.  Shapes: int64."""
    return GaussianLaw(sigma2).sample(count, entropy)


def discrete_laplace(scale: Fraction, count: int, entropy: Entropy) -> Integers:
    """count independent draws of P(k) ~ exp(-|k| / scale); see `LaplaceLaw`.  Shapes: int64."""
    return LaplaceLaw(scale).sample(count, entropy)


def skellam(mu: Fraction, count: int, entropy: Entropy) -> Integers:
    """count independent draws of Skellam noise of variance mu; see `SkellamLaw`.  Shapes: int64."""
    return SkellamLaw(mu).sample(count, entropy)


def add_discrete_gaussian_into(total: Integers, sigma2: Fraction, entropy: Entropy) -> None:
    """total <- total + `discrete_gaussian`, without a vector in between."""
    GaussianLaw(sigma2).add_into(total, entropy)


def add_discrete_laplace_into(total: Integers, scale: Fraction, entropy: Entropy) -> None:
    """total <- total + `discrete_laplace`, without a vector in between."""
    LaplaceLaw(scale).add_into(total, entropy)


def add_skellam_into(total: Integers, mu: Fraction, entropy: Entropy) -> None:
    """total <- total + `skellam`, without a vector in between."""
    SkellamLaw(mu).add_into(total, entropy)


def table_draws(sigma2: Fraction) -> int:
    """How many table draws one sample of `discrete_gaussian` costs: 1 up to TABLE_STD."""
    return GaussianLaw(sigma2).draws(1)


def split(sigma2: Fraction) -> tuple[int, Fraction, Fraction]:
    """(k, a2, b2) with k^2 a2 + b2 = sigma2, k the integer nearest to the fourth root of sigma2."""
    factor = (isqrt(isqrt(16 * sigma2.numerator // sigma2.denominator)) + 1) // 2
    return factor, sigma2 / factor**2 - 9, Fraction(9 * factor**2)


def _gaussian_terms(factor: int, sigma2: Fraction) -> tuple[Term, ...]:
    if sigma2 <= TABLE_STD**2:
        return (Term(factor, gaussian_weights, (sigma2,)),)
    spread, coarse, fine = split(sigma2)
    return _gaussian_terms(factor * spread, coarse) + _gaussian_terms(factor, fine)


def _laplace_terms(factor: int, scale: Fraction) -> tuple[Term, ...]:
    if scale <= TABLE_SCALE:
        return (Term(factor, laplace_weights, (scale,)),)
    # Both tails of scale t/m end near 90 t/m, the fold at m: the two tables are equally long.
    width = min(isqrt(90 * scale.numerator // scale.denominator), MAX_FOLD)
    return (*_laplace_terms(factor * width, scale / width), Term(factor, fold_weights, (scale, width)))


def _require(name: str, value: Fraction, most: int) -> None:
    if not isinstance(value, int | Fraction) or isinstance(value, bool):
        raise BadParameters(f"{name} must be an int or a Fraction, not {type(value).__name__}")
    if value <= 0:
        raise BadParameters(f"{name} must be above 0, not {value}")
    if value > most:
        raise BadParameters(f"{name} must be at most 2^{most.bit_length() - 1}, not {value}")
