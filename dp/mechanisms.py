"""Noise added once, to an integer sum: clip, lattice, law and event under one name.

    each client    quantise(x)            clip, onto the lattice, norms checked in integers
    whoever sums   the int64 sum of these vectors; floats are never summed
    curator        release(sum)           sum + noise, and the event that says what was released
    everybody      to_real(noisy sum)     post-processing

| class              | noise                          | needs          | accounted as                          |
|---|---|---|---|
| `DiscreteGaussian` | N_Z(0, sigma2)                 | L2 clip        | Gaussian, rho = Delta_2^2 / (2 sigma2) |
| `DiscreteLaplace`  | P(k) ~ exp(-|k| / scale)       | L1 clip        | pure, epsilon = Delta_1 / scale        |
| `Skellam`          | P(k) = exp(-mu) I_k(mu)        | L2 clip        | Renyi, integer orders                 |

`Gaussian` and `Laplace` build them from what is asked for. `LocalMechanism` is the same done by every
client to its own vector. There is no continuous sampler: a float betrays its input (Mironov, CCS 2012).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dp.accountant import Relation, Unit
from dp.bounds import (
    Clip,
    Lattice,
    Update,
    l1_bound,
    l1_bound_from_l2,
    l2_squared_bound,
    require_l1,
    require_norm,
    round_for_l2,
    round_to_nearest,
)
from dp.clip import require_bound, require_kind
from dp.errors import BadParameters
from dp.events import Event, GaussianEvent, LaplaceEvent, SkellamEvent
from dp.noise import Entropy, GaussianLaw, Integers, LaplaceLaw, Law, RngSource, SkellamLaw

_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Release:
    """What leaves: a noisy int64 vector in lattice steps, and the event that accounts for it."""

    vector: Integers = field(repr=False)
    event: Event


class Mechanism(ABC):
    """One release of an integer sum; the sum of any vectors that `quantise` made.

    Guarantee: an output differs from the input by noise of exactly `law`, drawn once per coordinate, with
        no float in between; `event` bounds every vector that `quantise` can return.
    """

    __slots__ = ()
    clip: Clip
    lattice: Lattice
    unit: Unit

    @property
    @abstractmethod
    def law(self) -> Law:
        """The noise of one coordinate."""

    @abstractmethod
    def event(self, dimension: int, rng: RngSource = "system") -> Event:
        """What one release of d coordinates costs, with one unit's bound before the relation is applied.

        `rng` is that of the entropy that was, or will be, used; `release` fills it in by itself.
        """

    @abstractmethod
    def describe(self) -> str:
        """One line for a report: the law with its exact parameters, the bound, the step, the unit."""

    @abstractmethod
    def _round(self, scaled: NDArray[np.float64], entropy: Entropy) -> Integers:
        """The integers next to a clipped vector, norms checked."""

    def quantise(self, update: Update, entropy: Entropy) -> Integers:
        """clip, divide by gamma, round: one unit's vector without noise, never to be sent in the open.

        entropy is this unit's own; rounding takes words of it beyond 10^4 coordinates, where it is random.

        Shapes: (d,) floats in (or layers, when the clip is per layer); int64 of length d out.
        Raises: NonFinite; BadParameters for another shape; ClipExceeded (our bug).
        """
        return self._round(self.lattice.scale(self.clip.shorten(update)), entropy)

    def apply(self, total: Integers, entropy: Entropy) -> Integers:
        """total + noise, as a new vector.

        Shapes: int64 of length d in and out.
        Raises: BadParameters for another type, or a sum so large that the noise could leave int64.
        """
        # A subclass may leave coordinates out of what is added to it, as a masked array does.
        if type(total) is not np.ndarray or total.dtype != np.int64 or total.ndim != 1 or not total.size:
            raise BadParameters("total must be one int64 vector of at least one coordinate: sum integers, not floats")
        require_kind("entropy", entropy, Entropy)
        largest = max(int(total.max()), -int(total.min()))
        if largest > _LARGEST - self.law.reach:
            raise BadParameters(f"total reaches {largest}: with noise up to {self.law.reach} it could leave int64")
        noisy = total.copy()
        self.law.add_into(noisy, entropy)
        return noisy

    def release(self, total: Integers, entropy: Entropy) -> Release:
        """`apply`, with the event of exactly this release."""
        return Release(self.apply(total, entropy), self.event(len(total), entropy.rng))

    def to_real(self, integers: Integers) -> NDArray[np.float64]:
        """Lattice steps in the units of the update."""
        return self.lattice.to_real(integers)

    def _check_parts(self) -> None:
        for name, kind in (("clip", Clip), ("lattice", Lattice), ("unit", Unit)):
            if not isinstance(getattr(self, name), kind):
                raise BadParameters(f"{name} must be a {kind.__name__}, not {type(getattr(self, name)).__name__}")

    def _where(self) -> str:
        return f"step {self.lattice.gamma}; one {self.unit.of}, {self.unit.relation}"


@dataclass(frozen=True, slots=True)
class DiscreteGaussian(Mechanism):
    """sum + N_Z(0, sigma2)^d, sigma2 in squared lattice steps.

    Guarantee: zero-concentrated DP with rho = Delta^2 / (2 sigma2), and the Gaussian profile of `dp.gaussian`.
    Source: Canonne, Kamath, Steinke, NeurIPS 2020, Theorem 4 in its vector form.
    """

    sigma2: Fraction
    clip: Clip
    lattice: Lattice
    unit: Unit

    def __post_init__(self) -> None:
        self._check_parts()
        object.__setattr__(self, "sigma2", GaussianLaw(self.sigma2).sigma2)

    @property
    def law(self) -> GaussianLaw:
        return GaussianLaw(self.sigma2)

    def event(self, dimension: int, rng: RngSource = "system") -> GaussianEvent:
        return GaussianEvent(
            sigma2=self.sigma2,
            l2_squared=l2_squared_bound(self.clip, self.lattice, dimension),
            d=dimension,
            components=1,
            draws=self.law.draws(dimension),
            rng=rng,
        )

    def describe(self) -> str:
        return f"discrete Gaussian, sigma2 {self.sigma2} steps squared, L2 clip {self.clip.l2}, {self._where()}"

    def _round(self, scaled: NDArray[np.float64], entropy: Entropy) -> Integers:
        return round_for_l2(scaled, l2_squared_bound(self.clip, self.lattice, scaled.size), entropy)


@dataclass(frozen=True, slots=True)
class DiscreteLaplace(Mechanism):
    """sum + discrete Laplace noise, scale in lattice steps.

    Guarantee: epsilon = Delta_1 / scale with delta 0, but for the distance of the draws, which the event books.
    Source: Ghosh, Roughgarden, Sundararajan, SIAM J. Comput. 2012.
    """

    scale: Fraction
    clip: Clip
    lattice: Lattice
    unit: Unit

    def __post_init__(self) -> None:
        self._check_parts()
        object.__setattr__(self, "scale", LaplaceLaw(self.scale).scale)
        require_l1(self.clip)

    @property
    def law(self) -> LaplaceLaw:
        return LaplaceLaw(self.scale)

    def event(self, dimension: int, rng: RngSource = "system") -> LaplaceEvent:
        return LaplaceEvent(
            scale=self.scale,
            l1=l1_bound(self.clip, self.lattice, dimension),
            d=dimension,
            draws=self.law.draws(dimension),
            rng=rng,
        )

    def describe(self) -> str:
        return f"discrete Laplace, scale {self.scale} steps, L1 clip {self.clip.l1}, {self._where()}"

    def _round(self, scaled: NDArray[np.float64], entropy: Entropy) -> Integers:
        integers = round_to_nearest(scaled)
        limit = l1_bound(self.clip, self.lattice, scaled.size)
        require_norm("L1", int(np.abs(integers).sum()), limit)
        return integers


@dataclass(frozen=True, slots=True)
class Skellam(Mechanism):
    """sum + Skellam noise of variance mu, in squared lattice steps; prefer the discrete Gaussian.

    Guarantee: Renyi DP at integer orders (`dp.rdp`); its bound holds the L1 norm too.
    Source: Agarwal, Kairouz, Liu, NeurIPS 2021.
    """

    mu: Fraction
    clip: Clip
    lattice: Lattice
    unit: Unit

    def __post_init__(self) -> None:
        self._check_parts()
        object.__setattr__(self, "mu", SkellamLaw(self.mu).mu)

    @property
    def law(self) -> SkellamLaw:
        return SkellamLaw(self.mu)

    def event(self, dimension: int, rng: RngSource = "system") -> SkellamEvent:
        return SkellamEvent(
            mu=self.mu,
            l2_squared=l2_squared_bound(self.clip, self.lattice, dimension),
            l1=l1_bound_from_l2(self.clip, self.lattice, dimension),
            d=dimension,
            draws=self.law.draws(dimension),
            rng=rng,
        )

    def describe(self) -> str:
        return f"Skellam, mu {self.mu} steps squared, L2 clip {self.clip.l2}, {self._where()}"

    def _round(self, scaled: NDArray[np.float64], entropy: Entropy) -> Integers:
        integers = round_for_l2(scaled, l2_squared_bound(self.clip, self.lattice, scaled.size), entropy)
        limit = l1_bound_from_l2(self.clip, self.lattice, scaled.size)
        require_norm("L1", int(np.abs(integers).sum()), limit)
        return integers


class Gaussian:
    """The Gaussian mechanism, as it is run here: a `DiscreteGaussian` on a lattice."""

    @staticmethod
    def for_sigma(
        noise_multiplier: Fraction, *, clip: Clip, dimension: int, unit: Unit, lattice: Lattice | None = None
    ) -> DiscreteGaussian:
        """Standard deviation z Delta, Delta the integer L2 bound of one unit's vector of d coordinates.

        Without a lattice, the step is the largest power of two with gamma sqrt(d) <= C 2^-10.
        Raises: BadParameters.
        """
        require_bound("noise_multiplier", noise_multiplier)
        _require_parts(clip, unit, lattice)
        grid = Lattice.for_l2(clip, dimension) if lattice is None else lattice
        sigma2 = Fraction(noise_multiplier) ** 2 * l2_squared_bound(clip, grid, dimension)
        return DiscreteGaussian(sigma2, clip, grid, unit)


class Laplace:
    """The Laplace mechanism, as it is run here: a `DiscreteLaplace` on a lattice."""

    @staticmethod
    def for_epsilon(
        epsilon: Fraction, *, clip: Clip, dimension: int, unit: Unit, lattice: Lattice | None = None
    ) -> DiscreteLaplace:
        """Scale Delta_1 / epsilon, Delta_1 the integer L1 sensitivity of d coordinates under the unit's relation.

        Without a lattice, the step is the largest power of two with gamma d <= C_1 2^-10.
        Raises: BadParameters.
        """
        require_bound("epsilon", epsilon)
        _require_parts(clip, unit, lattice)
        grid = Lattice.for_l1(clip, dimension) if lattice is None else lattice
        sensitivity = unit.relation.factor * l1_bound(clip, grid, dimension)
        return DiscreteLaplace(sensitivity / Fraction(epsilon), clip, grid, unit)


def _require_parts(clip: Clip, unit: Unit, lattice: Lattice | None) -> None:
    require_kind("clip", clip, Clip)
    require_kind("unit", unit, Unit)
    if lattice is not None:
        require_kind("lattice", lattice, Lattice)


@dataclass(frozen=True, slots=True)
class LocalMechanism:
    """Every client adds the whole noise to its own vector: its message is safe to be seen by anyone.

    Guarantee: one message is a release of its own, of everyone, under replace-one; no cohort, drop-out or
        server weakens it. The mean of n of them holds n times the noise of the central form.
    Raises: BadParameters unless the mechanism's unit is replace-one: a single message is always there,
        so the only neighbour it has is another message.
    """

    mechanism: Mechanism

    def __post_init__(self) -> None:
        if not isinstance(self.mechanism, Mechanism):
            raise BadParameters(f"mechanism must be a Mechanism, not {type(self.mechanism).__name__}")
        if self.mechanism.unit.relation is not Relation.REPLACE_ONE:
            raise BadParameters(
                f"a local release is accounted under {Relation.REPLACE_ONE}, not {self.mechanism.unit.relation}"
            )

    def randomise(self, update: Update, entropy: Entropy) -> Release:
        """This client's message: `quantise`, then `release`, from one stream of its own."""
        return self.mechanism.release(self.mechanism.quantise(update, entropy), entropy)

    def event(self, dimension: int, rng: RngSource = "system") -> Event:
        """What one message costs its client."""
        return self.mechanism.event(dimension, rng)

    def describe(self) -> str:
        """The mechanism's line, and where it runs."""
        return f"local, by every client: {self.mechanism.describe()}"
