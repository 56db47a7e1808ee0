"""Model update <-> ring vector: the clients' half and the server's half of one agreement.

    without noise   clip each coordinate, round, times the integer weight          Exact
    with noise      clip the L2 norm, rotate, round, add the client's noise share  Noisy
    in layers       the same, with the noise cut so that surplus can be removed    Layered
    counted         either of these, and one coordinate: is the norm within the clip?  Counted

    weight, checksum and metrics, summed beside it under the same mask             Extras

Both ends of a coding sit in one class, so that what is encoded and what is decoded cannot drift
apart; both are derived by every party for itself from the agreement.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from dp.adaptive import AdaptiveClip, BitShare, bit
from dp.distributed import EncodedShare, NoiseShare
from dp.errors import DpError
from dp.events import Composed, GaussianEvent
from dp.layers import Layers
from dp.noise import Entropy, RngSource
from protocols.errors import BadPlan, WrongUpdate
from protocols.plan import Agreement, Excess, NoisePlan, RoundPlan
from secagg.encode import Encoding
from secagg.errors import NonFinite
from secagg.keys import Context, Seed, derive
from secagg.ring import Ring
from secagg.workers import ALONE, Workers

Floats = np.ndarray[Any, np.dtype[Any]]
RingVector = np.ndarray[Any, np.dtype[Any]]

EXTRAS_RING = Ring(64)

LABEL_ROUNDING = b"secagg/v1/coding/rounding"
LABEL_NOISE = b"secagg/v1/coding/noise"
LABEL_BIT = b"secagg/v1/coding/bit"
LABEL_LAYERS = b"secagg/v1/coding/layers"
LABEL_ROTATION = b"secagg/v1/coding/rotation"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A ring vector ready to be masked, and how many coordinates (or the vector) were clipped."""

    vector: RingVector = field(repr=False)
    clipped: int


@dataclass(frozen=True, slots=True)
class Randomness:
    """The client's private randomness for one encoding; `deterministic` marks a test's fixed root."""

    seed: Seed
    context: Context
    deterministic: bool

    def rounding(self) -> Seed:
        return derive(self.seed, LABEL_ROUNDING, self.context)

    def noise(self) -> Entropy:
        return self._entropy(LABEL_NOISE)

    def bit(self) -> Entropy:
        return self._entropy(LABEL_BIT)

    def layers(self) -> Seed:
        return layers_seed(self.seed, self.context)

    def _entropy(self, label: bytes) -> Entropy:
        secret = derive(self.seed, label, self.context).expose()
        if self.deterministic:
            return Entropy.insecure(int.from_bytes(secret, "little"), label, self.context)
        return Entropy.derived(secret, label, self.context)


def layers_seed(update_seed: Seed, context: Context) -> Seed:
    """The first seed of the chain that draws a client's removable layers of noise."""
    return derive(update_seed, LABEL_LAYERS, context)


class Coding(Protocol):
    """What a round needs to know of the vectors it sums."""

    @property
    def ring(self) -> Ring: ...
    @property
    def length(self) -> int: ...
    def encode(self, update: Floats, weight: int, randomness: Randomness, workers: Workers) -> Encoded: ...
    def decode(self, total: RingVector, weight_sum: int, context: Context, surplus: Sequence[bytes]) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Exact:
    """Fixed point without noise: the decoded mean errs by rounding only, at most one step."""

    encoding: Encoding
    length: int

    @property
    def ring(self) -> Ring:
        return self.encoding.ring

    def encode(self, update: Floats, weight: int, randomness: Randomness, workers: Workers = ALONE) -> Encoded:
        vector: RingVector = np.empty(update.size, self.ring.dtype)
        seed = randomness.rounding()
        hits = workers.each(
            update.size, lambda lo, hi: self.encoding.encode_into(vector, update, weight, seed, lo, hi).count
        )
        return Encoded(vector, sum(hits))

    def decode(self, total: RingVector, weight_sum: int, context: Context, surplus: Sequence[bytes] = ()) -> Floats:
        return self.encoding.decode(total, weight_sum)


@dataclass(frozen=True, slots=True)
class Noisy:
    """Lattice integers with this client's share of discrete Gaussian noise, modulo 2^b.

    Guarantee: the opened sum is that of vectors of bounded integer norm plus noise whose variance
    meets the plan for every allowed cohort (`dp.distributed`).
    """

    share: NoiseShare

    @property
    def ring(self) -> Ring:
        return Ring(self.share.modulus_bits)

    @property
    def length(self) -> int:
        return self.share.padded

    def encode(self, update: Floats, weight: int, randomness: Randomness, workers: Workers = ALONE) -> Encoded:
        return _reduced(self.ring, self.noisy(update, weight, randomness))

    def noisy(self, update: Floats, weight: int, randomness: Randomness) -> EncodedShare:
        """The lattice integers with their noise, before they are reduced."""
        require_equal_weight(weight)
        return self.share.encode(update, _rotation(randomness.context), randomness.noise())

    def decode(self, total: RingVector, weight_sum: int, context: Context, surplus: Sequence[bytes] = ()) -> Floats:
        return self.share.decode(self.ring.centre(total), _rotation(context)) / weight_sum

    def event(self, survivors: int, rng: RngSource) -> GaussianEvent:
        """What a sum over so many reveals to whoever knows the assumed colluders' noise."""
        return self.share.event(survivors, rng)

    def noise_variance(self, survivors: int) -> Fraction:
        """The lattice variance of all noise in a sum over so many."""
        return Fraction(self.share.event_released(survivors).sigma2)

    def worst_event(self, rng: RngSource) -> GaussianEvent:
        """The same for the smallest cohort, before anybody knows who survives."""
        return self.event(self.share.min_survivors, rng)


@dataclass(frozen=True, slots=True)
class Layered:
    """As `Noisy`, with noise in layers: of each survivor one seed is opened, and what it draws is subtracted.

    Guarantee: whoever of the allowed cohorts survives, the noise of the decoded sum has the same variance.
    """

    layers: Layers

    @property
    def share(self) -> NoiseShare:
        """The whole of one client's layers."""
        return self.layers.share

    @property
    def ring(self) -> Ring:
        return Ring(self.share.modulus_bits)

    @property
    def length(self) -> int:
        return self.share.padded

    def encode(self, update: Floats, weight: int, randomness: Randomness, workers: Workers = ALONE) -> Encoded:
        return _reduced(self.ring, self.noisy(update, weight, randomness))

    def noisy(self, update: Floats, weight: int, randomness: Randomness) -> EncodedShare:
        """The lattice integers with their noise, before they are reduced."""
        require_equal_weight(weight)
        first = randomness.layers().expose()
        return self.layers.encode(update, _rotation(randomness.context), randomness.noise(), first)

    def decode(self, total: RingVector, weight_sum: int, context: Context, surplus: Sequence[bytes] = ()) -> Floats:
        return self.layers.decode(self.ring.centre(total), _rotation(context), surplus) / weight_sum

    def event(self, survivors: int, rng: RngSource) -> GaussianEvent:
        """What a sum over so many reveals to whoever knows the assumed colluders' noise."""
        return self.layers.event(survivors, rng)

    def noise_variance(self, survivors: int) -> Fraction:
        """The lattice variance of all noise in a sum over so many."""
        return Fraction(self.layers.event_released(survivors).sigma2)

    def worst_event(self, rng: RngSource) -> GaussianEvent:
        """The same for the smallest cohort, before anybody knows who survives."""
        return self.event(self.share.min_survivors, rng)


@dataclass(frozen=True, slots=True)
class Counted:
    """Noisy or layered integers, and behind them one coordinate of another kind: the noisy clip bit.

    The bit is not rotated and its noise is never taken back: layers are cut from the vector's noise alone.
    Guarantee: vector and bit are one release whose multiplier is the plan's; zeroing a client's update zeroes both.
    """

    vector: Noisy | Layered
    bit: BitShare
    rule: AdaptiveClip
    clip: Fraction

    @property
    def ring(self) -> Ring:
        return self.vector.ring

    @property
    def length(self) -> int:
        return self.vector.length + 1

    def encode(self, update: Floats, weight: int, randomness: Randomness, workers: Workers = ALONE) -> Encoded:
        noisy = self.vector.noisy(update, weight, randomness)
        with randomness.bit() as entropy:
            count = self.bit.encode(bit(noisy.clipped.norm, self.clip), entropy)
        return Encoded(self.ring.reduce(np.append(noisy.vector, count)), int(noisy.clipped.hit))

    def decode(self, total: RingVector, weight_sum: int, context: Context, surplus: Sequence[bytes] = ()) -> Floats:
        return self.vector.decode(total[:-1], weight_sum, context, surplus)

    def fraction(self, total: RingVector, survivors: int) -> Fraction:
        """beta: the noisy fraction of the survivors whose norm was within the clip."""
        return self.rule.fraction(self.bit.decode(int(self.ring.centre(total[-1:])[0])), survivors)

    def next_clip(self, total: RingVector, survivors: int) -> Fraction:
        """The clip that the next round is to use; this one's is past changing."""
        return self.rule.next(self.clip, self.fraction(total, survivors))

    def event(self, survivors: int, rng: RngSource) -> Composed:
        """What a sum over so many reveals to whoever knows the assumed colluders' noise: the vector and the bit."""
        return Composed((self.vector.event(survivors, rng), self.bit.event(survivors, rng)))

    def noise_variance(self, survivors: int) -> Fraction:
        """The lattice variance of all noise in a sum over so many, at each coordinate but the bit's."""
        return self.vector.noise_variance(survivors)

    def worst_event(self, rng: RngSource) -> Composed:
        """The same for the smallest cohort, before anybody knows who survives."""
        return self.event(self.bit.min_survivors, rng)


def _reduced(ring: Ring, noisy: EncodedShare) -> Encoded:
    return Encoded(ring.reduce(noisy.vector), int(noisy.clipped.hit))


def require_equal_weight(weight: int) -> None:
    """Raises: WrongUpdate; a plan with noise promises the sensitivity of weight 1."""
    if weight != 1:
        raise WrongUpdate(f"weight {weight}: with noise every client has weight 1, submit without a weight")


@dataclass(frozen=True, slots=True)
class Extras:
    """The second section, in Z_{2^64}: weight w, checksum of the vector, and w * round(metric / step) for each metric.

    Shapes: `names` and `encodings` in the plan's order. The checksum is linear, so the sum of checksums checks the
    sum of vectors; a metric's integers are bounded so that no sum of them wraps.
    """

    names: tuple[str, ...]
    encodings: tuple[Encoding, ...]

    @classmethod
    def of(cls, plan: RoundPlan) -> Extras:
        """The extras every party derives from the plan."""
        encodings = tuple(metric.encoding(plan.max_weight, plan.max_clients) for metric in plan.metrics)
        return cls(tuple(metric.name for metric in plan.metrics), encodings)

    @property
    def length(self) -> int:
        return 2 + len(self.names)

    def quantised(self, metrics: Mapping[str, float]) -> tuple[int, ...]:
        """Each metric as an integer number of its steps, clipped, half to even.

        Raises: WrongUpdate unless exactly the plan's metrics are given; NonFinite.
        """
        if set(metrics) != set(self.names):
            raise WrongUpdate(f"this round opens {list(self.names)}: submit these metrics, not {sorted(metrics)}")
        return tuple(_steps(name, metrics[name], enc) for name, enc in zip(self.names, self.encodings, strict=True))

    def words(self, weight: int, checksum: int, metrics: tuple[int, ...]) -> RingVector:
        """One client's extras, before they are masked."""
        values = (weight, checksum, *(weight * value for value in metrics))
        return np.array([value % EXTRAS_RING.modulus for value in values], np.uint64)

    def fits(self, metrics: tuple[int, ...], weight: int) -> bool:
        """Whether metric integers of this total weight are possible."""
        bounds = [weight * encoding.levels for encoding in self.encodings]
        return len(metrics) == len(bounds) and all(abs(m) <= most for m, most in zip(metrics, bounds, strict=True))

    def means(self, sums: tuple[int, ...], weight_sum: int) -> dict[str, float]:
        """The weighted means of the opened metric sums."""
        steps = zip(self.names, self.encodings, sums, strict=True)
        return {name: total * encoding.step / weight_sum for name, encoding, total in steps}


def _steps(name: str, value: float, encoding: Encoding) -> int:
    if not math.isfinite(value):
        raise NonFinite(f"metric {name!r} is {value}, it must be finite")
    return round(min(max(float(value) / encoding.step, -encoding.levels), encoding.levels))


def _rotation(context: Context) -> bytes:
    # Public on purpose: both ends must turn by the same signs, and the bound holds for any rotation.
    return derive(Seed(bytes(context)), LABEL_ROTATION, context).expose()


def coding_of(agreement: Agreement) -> Exact | Noisy | Layered | Counted:
    """The coding every party derives from the agreement.

    Raises: BadPlan when the noise plan cannot be met at this length, naming what to change.
    """
    return planned_coding(agreement.plan, agreement.length)


def planned_coding(plan: RoundPlan, length: int) -> Exact | Noisy | Layered | Counted:
    """The coding of any round of this plan with vectors of this length.

    Raises: as `coding_of`.
    """
    if plan.noise is None:
        return Exact(plan.encoding, length)
    try:
        return _with_noise(plan.noise, plan.clip, length, plan.max_clients, plan.min_cohort)
    except DpError as error:
        raise BadPlan(str(error)) from error


def noise_coding(plan: RoundPlan, noise: NoisePlan, length: int) -> Noisy | Layered:
    """The coding of vectors of this length with this noise, under the rest of the plan, at its own fixed clip.

    Raises: dp.errors.Infeasible, NoiseTooCoarse or BadParameters, naming what to change.
    """
    return _vector(noise, plan.clip, length, plan.max_clients, plan.min_cohort)


@functools.lru_cache(maxsize=64)
def _with_noise(noise: NoisePlan, clip: Fraction, length: int, most: int, least: int) -> Noisy | Layered | Counted:
    if noise.adaptive is None:
        return _vector(noise, clip, length, most, least)
    # Planned for clip 1 and scaled: the lattice integers, their noise and the event are then equal in all rounds.
    vector = _at_clip(_vector(noise, Fraction(1), length, most, least), clip)
    bit_share = BitShare.plan(
        bit_noise=noise.adaptive.bit_noise,
        modulus_bits=noise.modulus_bits,
        max_clients=most,
        min_survivors=least,
        colluders=noise.colluders,
    )
    return Counted(vector, bit_share, noise.adaptive, clip)


@functools.lru_cache(maxsize=64)
def _vector(noise: NoisePlan, clip: Fraction, length: int, most: int, least: int) -> Noisy | Layered:
    demand: dict[str, Any] = {
        "noise_multiplier": noise.vector_multiplier,
        "clip": clip,
        "dimension": length,
        "modulus_bits": noise.modulus_bits,
        "max_clients": most,
        "min_survivors": least,
        "colluders": noise.colluders,
    }
    if noise.excess is Excess.REMOVED:
        return Layered(Layers.plan(**demand))
    return Noisy(NoiseShare.plan(**demand))


def _at_clip(coding: Noisy | Layered, clip: Fraction) -> Noisy | Layered:
    if isinstance(coding, Layered):
        return Layered(Layers(coding.layers.share.at_clip(clip)))
    return Noisy(coding.share.at_clip(clip))
