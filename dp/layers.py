"""Noise that drop-outs do not change: clients add it in layers, and the surplus of those that stayed is taken back.

    n = max_clients, t = n - min_survivors, v the variance of one whole share, L = min_survivors v

    layer 0                   L / n
    layer k = 1..t            L / ((n - k + 1)(n - k))
    layers 0..k together      L / (n - k): n - k survivors that keep them hold L between them, whatever k <= t is

    seed 1 -> seed 2 -> ... -> seed t -> end      one way; layer k is drawn from seed k

After k drop-outs the survivors' seeds k + 1 are opened, and with them all layers above k, which anybody can then
draw again and subtract; the seeds up to k stay unknown. Who may open which seed is decided in `protocols`.
Follows Jiang, Wang, Chen, "Dordis" (EuroSys 2024), section 4; the chain of seeds is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dp.clip import require_kind
from dp.distributed import MAX_MODULUS_BITS, MIN_COMPONENT_VARIANCE, EncodedShare, NoiseShare
from dp.entropy import SECRET_BYTES
from dp.errors import BadParameters, DpError, Infeasible, NoiseTooCoarse
from dp.events import GaussianEvent
from dp.noise import Entropy, Integers, RngSource, add_discrete_gaussian_into, table_draws

LABEL_CHAIN = b"secagg/v1/dp/layers/chain"
LABEL_LAYER = b"secagg/v1/dp/layers/noise"


def chain(first: bytes, length: int) -> tuple[bytes, ...]:
    """seed 1, ..., seed `length`: each the SHA-256 of the one before it.

    Guarantee: from one of them all later ones follow, and none before it as long as SHA-256 is one-way.
    Raises: BadParameters for a first seed that is not 32 bytes.
    """
    if not isinstance(first, bytes) or len(first) != SECRET_BYTES:
        raise BadParameters(f"a seed of a chain must be {SECRET_BYTES} bytes")
    seeds = [first]
    while len(seeds) < length:
        seeds.append(hashlib.sha256(LABEL_CHAIN + seeds[-1]).digest())
    return tuple(seeds[:length])


@dataclass(frozen=True, slots=True)
class Layers:
    """A share of noise cut into layers, so that every allowed cohort ends with the same variance.

    Guarantee: for n - k survivors, 0 <= k <= t, the layers 0..k add up to `total_variance` exactly, in rationals;
        without the layers of `colluders` of them at least the share's sigma2 is left. Each layer has lattice
        variance >= 9, so that integer noise accounts as Gaussian.
    Raises: NoiseTooCoarse when some layer does not: a finer lattice needs more modulus bits.
    """

    share: NoiseShare

    def __post_init__(self) -> None:
        require_kind("share", self.share, NoiseShare)
        least = min(self.variances)
        if least < MIN_COMPONENT_VARIANCE:
            raise NoiseTooCoarse(
                f"the thinnest of {len(self.variances)} layers has lattice variance {float(least):.6g}, below "
                f"{MIN_COMPONENT_VARIANCE}; allow fewer drop-outs, or a wider ring"
            )

    @classmethod
    def plan(cls, *, modulus_bits: int, **demand: Any) -> Self:
        """The layers of `NoiseShare.plan(...)`, with the same arguments.

        Raises: as there; NoiseTooCoarse naming the smallest modulus_bits that would do.
        """
        share = NoiseShare.plan(modulus_bits=modulus_bits, **demand)
        try:
            return cls(share)
        except NoiseTooCoarse as refused:
            raise NoiseTooCoarse(f"{refused}; {cls._advice(modulus_bits, demand)}") from None

    @classmethod
    def _advice(cls, modulus_bits: int, demand: dict[str, Any]) -> str:
        for bits in range(modulus_bits + 1, MAX_MODULUS_BITS + 1):
            try:
                cls(NoiseShare.plan(modulus_bits=bits, **demand))
            except DpError:
                continue
            return f"the smallest modulus_bits that would do is {bits}"
        return f"no modulus_bits up to {MAX_MODULUS_BITS} would do"

    @property
    def removable(self) -> int:
        """t: after how many drop-outs the total can still be made exact, and how many layers there are above 0."""
        return self.share.max_clients - self.share.min_survivors

    @property
    def total_variance(self) -> Fraction:
        """L: the lattice variance of the noise in every opened sum."""
        return self.share.min_survivors * self.share.share_variance

    @property
    def variances(self) -> tuple[Fraction, ...]:
        """The lattice variances of layers 0..t of one client."""
        most, total = self.share.max_clients, self.total_variance
        thin = (total / ((most - k + 1) * (most - k)) for k in range(1, self.removable + 1))
        return (total / most, *thin)

    def seeds(self, first: bytes) -> tuple[bytes, ...]:
        """The t seeds of a client's layers and the end of its chain, which draws nothing."""
        return chain(first, self.removable + 1)

    def opened(self, survivors: int) -> int:
        """Which seed of each survivor is opened, 1..t+1, when so many are in the sum.

        Raises: Infeasible when too few are: the sum must not be opened.
        """
        least, most = self.share.min_survivors, self.share.max_clients
        if not least <= survivors <= most:
            raise Infeasible(f"{survivors} survivors; layers are planned for {least}..{most}: do not open the sum")
        return most - survivors + 1

    def encode(self, vector: NDArray[Any], rotation_seed: bytes, entropy: Entropy, first: bytes) -> EncodedShare:
        """`NoiseShare.encode`, the noise drawn in layers: layer 0 from `entropy`, layer k from seed k of the chain.

        `first` is this client's alone, from the operating system or derived from such, and never used twice.
        """
        quantised = self.share.quantise(vector, rotation_seed, entropy)
        total, variances = quantised.vector, self.variances
        add_discrete_gaussian_into(total, variances[0], entropy)
        for seed, variance in zip(self.seeds(first), variances[1:], strict=False):
            _add_layer_into(total, variance, seed)
        return EncodedShare(total, quantised.clipped, entropy.rng)

    def surplus(self, seeds: Sequence[bytes]) -> Integers:
        """All layers that the survivors' opened seeds give: what is to be subtracted from their sum.

        Shapes: one seed per survivor, its `opened(len(seeds))`-th; int64 of the padded length.
        Raises: Infeasible for fewer or more survivors than planned for.
        """
        lost = self.opened(len(seeds)) - 1
        surplus = np.zeros(self.share.padded, dtype=np.int64)
        chains = [chain(seed, self.removable - lost) for seed in seeds]
        # Layer by layer, so that one table after the other is in use.
        for place, variance in enumerate(self.variances[lost + 1 :]):
            for links in chains:
                _add_layer_into(surplus, variance, links[place])
        return surplus

    def decode(self, total: Integers, rotation_seed: bytes, seeds: Sequence[bytes]) -> NDArray[np.float64]:
        """The sum of the clipped vectors plus noise of variance gamma^2 `total_variance` per coordinate.

        Shapes: as `NoiseShare.decode`; one opened seed per survivor.
        """
        return self.share.decode(total - self.surplus(seeds), rotation_seed)

    def event(self, survivors: int, rng: RngSource = "system") -> GaussianEvent:
        """What the aggregator learns when `colluders` of the survivors tell it their noise.

        Raises: Infeasible when too few took part.
        """
        return self._kept(self.share.event(survivors, rng), survivors)

    def event_released(self, survivors: int, rng: RngSource = "system") -> GaussianEvent:
        """What a reader of the opened sum learns, to whom every survivor's noise is unknown."""
        return self._kept(self.share.event_released(survivors, rng), survivors)

    def _kept(self, whole: GaussianEvent, survivors: int) -> GaussianEvent:
        """The event of whole shares, cut to the layers that stay."""
        layers = self.variances[: self.opened(survivors)]
        return replace(
            whole,
            sigma2=whole.components * sum(layers),
            components=whole.components * len(layers),
            draws=whole.components * whole.d * sum(map(table_draws, layers)),
            total="exact",
        )


def _add_layer_into(total: Integers, variance: Fraction, seed: bytes) -> None:
    with Entropy.derived(seed, LABEL_LAYER, b"") as entropy:
        add_discrete_gaussian_into(total, variance, entropy)
