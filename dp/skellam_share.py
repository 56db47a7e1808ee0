"""Skellam noise made by the clients: sums of Skellam are Skellam, whoever takes part.

    x --NoiseShare.quantise--> integers, |.|_2 <= Delta, |.|_1 <= min(sqrt(d') Delta, Delta^2) --+ Skellam(v)--> y

The geometry, the ring and the size of a share are those of dp.distributed; only the law and its event differ. It
accounts by Renyi divergences alone, and dearly on coarse lattices: prefer the discrete Gaussian, whose tight curve is
known, unless the exact law of the sum matters.
Source: Agarwal, Kairouz, Liu, NeurIPS 2021 (arXiv 2110.04995).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dp.clip import require_kind
from dp.distributed import EncodedShare, NoiseShare
from dp.errors import BadParameters
from dp.events import SkellamEvent
from dp.noise import TABLE_STD, Entropy, Integers, RngSource, SkellamLaw


@dataclass(frozen=True, slots=True)
class SkellamShare:
    """A demand met with Skellam noise of variance v per client, v that of the `NoiseShare` it holds.

    Guarantee: any min_survivors clients, without the noise of `colluders` of them, hold Skellam noise of variance
        >= (z Delta)^2 exactly in law.
    Raises: BadParameters for a share so wide that its table is split: take a coarser lattice (`plan` does).
    """

    share: NoiseShare

    def __post_init__(self) -> None:
        require_kind("share", self.share, NoiseShare)
        if self.share.share_variance > TABLE_STD**2:
            raise BadParameters(
                f"one share has lattice variance {float(self.share.share_variance):.6g}, above {TABLE_STD}^2; "
                "take a coarser lattice"
            )

    @classmethod
    def plan(cls, **demand: Any) -> Self:
        """The lattice of `NoiseShare.plan(...)`, coarsened by powers of two until one table draws a share.

        Raises: as there.
        """
        share = NoiseShare.plan(**demand)
        while share.share_variance > TABLE_STD**2:
            share = replace(share, gamma=2 * share.gamma)
        return cls(share)

    @property
    def law(self) -> SkellamLaw:
        """What one client adds to each coordinate."""
        return SkellamLaw(self.share.share_variance)

    @property
    def l1(self) -> int:
        """min(sqrt(d') Delta, Delta^2), rounded up: no vector of integers of norm Delta has a larger L1 norm."""
        squared = self.share.l2_squared
        return min(isqrt(self.share.padded * squared - 1) + 1, squared)

    def encode(self, vector: NDArray[Any], rotation_seed: bytes, entropy: Entropy) -> EncodedShare:
        """`NoiseShare.quantise`, plus one share of Skellam noise per padded coordinate."""
        quantised = self.share.quantise(vector, rotation_seed, entropy)
        self.law.add_into(quantised.vector, entropy)
        return EncodedShare(quantised.vector, quantised.clipped, entropy.rng)

    def decode(self, total: Integers, rotation_seed: bytes) -> NDArray[np.float64]:
        """As `NoiseShare.decode`."""
        return self.share.decode(total, rotation_seed)

    def event(self, survivors: int, rng: RngSource = "system") -> SkellamEvent:
        """What the aggregator learns when `colluders` of the survivors tell it their noise.

        Raises: Infeasible when too few took part.
        """
        return self._release(self.share.event(survivors, rng).components, rng)

    def event_released(self, survivors: int, rng: RngSource = "system") -> SkellamEvent:
        """What a reader of the opened sum learns, to whom every survivor's noise is unknown."""
        return self._release(self.share.event_released(survivors, rng).components, rng)

    def _release(self, components: int, rng: RngSource) -> SkellamEvent:
        return SkellamEvent(
            mu=components * self.share.share_variance,
            l2_squared=self.share.l2_squared,
            l1=self.l1,
            d=self.share.padded,
            draws=components * self.law.draws(self.share.padded),
            components=components,
            rng=rng,
        )
