"""Noise that clients make together, as routes: shares, layers, and the bit of the adaptive clip.

Rings of 12 bits have small tables and fast draws; real plans have wider ones, where a share is drawn from several
tables. Both are tested: a fault above `dp.noise.TABLE_STD` is invisible below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

import numpy as np

from dp.accountant import Relation
from dp.adaptive import BitShare, bit
from dp.audit.routes import Drawn, Length, Route, Source, binned, secret_of, shifted
from dp.distributed import EncodedShare, NoiseShare
from dp.events import Exact, exact
from dp.layers import Layers
from dp.noise import Entropy, GaussianLaw, Integers
from dp.skellam_share import SkellamShare

LABEL_ROUTE = b"secagg/v1/dp/audit/route"
LABEL_ROUTE_BIT = b"secagg/v1/dp/audit/bit"
LABEL_FIRST = b"secagg/v1/dp/audit/first"
LABEL_EQUAL = b"secagg/v1/dp/audit/equal"

Planned = TypeVar("Planned")

NARROW_BITS = 12
# Standard deviations of 37,000 and above: as in a plan of 24 bits for some tens of clients.
WIDE_BITS = 20
SHARED_COORDINATES = 1 << 16
BITS = 1 << 9
FAR_TOO_LONG = 1000.0
SEED = bytes(32)
# A bit without noise stays within one step of one with noise half of the time.
MOVED_BITS = 1 << 5


def shares(noise_multiplier: Exact, *, modulus_bits: int = NARROW_BITS, coordinates: int = SHARED_COORDINATES) -> Route:
    """What is left of the fewest survivors' sum to an aggregator whom a colluder tells its share."""
    share = _planned(NoiseShare.plan, noise_multiplier, coordinates, modulus_bits, clients=4, colluders=1)
    event, laws = share.event(share.min_survivors), (GaussianLaw(share.share_variance),)

    def draw(source: Source, context: bytes) -> Integers:
        silent = np.zeros(share.dimension)
        honest = range(share.min_survivors - share.colluders)
        return _summed(share.encode(silent, SEED, source(LABEL_ROUTE, _of(context, i))).vector for i in honest)

    return shifted(
        f"sum of noise shares{_width(modulus_bits)}",
        event,
        Relation.ZERO_OUT,
        Fraction(event.sigma2),
        math.isqrt(share.l2_squared),
        Drawn(draw, _moved(share, lambda update, entropy: share.encode(update, SEED, entropy)), laws),
    )


def skellam_shares(noise_multiplier: Exact, *, coordinates: int = SHARED_COORDINATES) -> Route:
    """The same with Skellam noise."""
    whole = _planned(SkellamShare.plan, noise_multiplier, coordinates, NARROW_BITS, clients=4, colluders=1)
    share, event = whole.share, whole.event(whole.share.min_survivors)

    def draw(source: Source, context: bytes) -> Integers:
        silent = np.zeros(share.dimension)
        honest = range(share.min_survivors - share.colluders)
        return _summed(whole.encode(silent, SEED, source(LABEL_ROUTE, _of(context, i))).vector for i in honest)

    return binned(
        "sum of Skellam shares",
        event,
        Relation.ZERO_OUT,
        Fraction(event.mu),
        math.isqrt(share.l2_squared),
        Drawn(draw, _moved(share, lambda update, entropy: whole.encode(update, SEED, entropy)), (whole.law,)),
    )


def layers(
    noise_multiplier: Exact,
    *,
    lost: int = 0,
    modulus_bits: int = NARROW_BITS,
    coordinates: int = SHARED_COORDINATES,
) -> Route:
    """What is left of the survivors' sum once the surplus layers are drawn again and subtracted: none if all are lost
    that may be.
    """
    cut = _planned(Layers.plan, noise_multiplier, coordinates, modulus_bits, clients=3, colluders=0)
    share, survivors = cut.share, cut.share.max_clients - lost
    event = cut.event(survivors)

    def draw(source: Source, context: bytes) -> Integers:
        silent = np.zeros(share.dimension)
        firsts = [secret_of(source, LABEL_FIRST, _of(context, i)) for i in range(survivors)]
        entropies = (source(LABEL_ROUTE, _of(context, i)) for i in range(survivors))
        total = _summed(
            cut.encode(silent, SEED, entropy, first).vector for entropy, first in zip(entropies, firsts, strict=True)
        )
        opened = [cut.seeds(first)[cut.opened(survivors) - 1] for first in firsts]
        return total - cut.surplus(opened)

    return shifted(
        f"total after surplus layers{_width(modulus_bits)}",
        event,
        Relation.ZERO_OUT,
        Fraction(event.sigma2),
        math.isqrt(share.l2_squared),
        Drawn(
            draw,
            _moved(share, lambda update, entropy: cut.encode(update, SEED, entropy, SEED)),
            tuple(GaussianLaw(variance) for variance in cut.variances),
        ),
    )


def clip_bit(noise_multiplier: Exact, *, releases: int = BITS) -> Route:
    """The noisy sum of the signs that say whether a norm is within the clip, over the fewest survivors."""
    share = BitShare.plan(
        bit_noise=exact("noise_multiplier", noise_multiplier) / 2,
        modulus_bits=24,
        max_clients=4,
        min_survivors=2,
        colluders=0,
    )
    event = share.event(share.min_survivors)

    def draw(source: Source, context: bytes) -> Integers:
        clients = [source(LABEL_ROUTE_BIT, _of(context, i)) for i in range(share.min_survivors)]
        return np.array([sum(share.encode(0, client) for client in clients) for _ in range(releases)], dtype=np.int64)

    def length(source: Source) -> Fraction:
        secret = secret_of(source, LABEL_EQUAL, b"")

        def encoded(norm: float) -> list[int]:
            with Entropy.derived(secret, LABEL_ROUTE_BIT, b"") as entropy:
                return [share.encode(bit(norm, Fraction(1)), entropy) for _ in range(MOVED_BITS)]

        silent = encoded(0.0)
        # Zeroing a client's update must move its sign by one step, however long the update was.
        steps = (encoded(norm) for norm in (0.5, 1.0, FAR_TOO_LONG))
        most = max(abs(one - other) for step in steps for one, other in zip(step, silent, strict=True))
        return Fraction(most, share.scale) ** 2

    drawn = Drawn(draw, length, (GaussianLaw(share.share_variance),))
    return shifted("adaptive clip bit", event, Relation.ZERO_OUT, Fraction(event.sigma2), share.scale, drawn)


def long_updates(dimension: int, clip: float) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Updates at the clip and far beyond it: spread over all coordinates, and in a single one.

    Shapes: float64 of length `dimension`, at most 1000 clips long.
    """
    spread = np.where(np.arange(dimension) % 2 == 0, 1.0, -1.0) / math.sqrt(dimension)
    single = np.zeros(dimension)
    single[0] = 1.0
    yield from (clip * spread, clip * FAR_TOO_LONG * spread, clip * FAR_TOO_LONG * single)


def _moved(share: NoiseShare, encode: Callable[[np.ndarray, Entropy], EncodedShare]) -> Length:
    """How far an update moves one client's encoding, drawn from the same stream as that of silence."""

    def length(source: Source) -> Fraction:
        secret = secret_of(source, LABEL_EQUAL, b"")

        def encoded(update: np.ndarray) -> Integers:
            with Entropy.derived(secret, LABEL_ROUTE, b"") as entropy:
                return encode(update, entropy).vector

        silent = encoded(np.zeros(share.dimension))
        moves = (encoded(update) - silent for update in long_updates(share.dimension, float(share.clip)))
        return max(Fraction(int(np.dot(move, move)), share.l2_squared) for move in moves)

    return length


def _planned(
    plan: Callable[..., Planned],
    noise_multiplier: Exact,
    coordinates: int,
    modulus_bits: int,
    *,
    clients: int,
    colluders: int,
) -> Planned:
    """A plan for one drop-out."""
    return plan(
        noise_multiplier=exact("noise_multiplier", noise_multiplier),
        clip=Fraction(1),
        dimension=coordinates,
        modulus_bits=modulus_bits,
        max_clients=clients,
        min_survivors=clients - 1,
        colluders=colluders,
    )


def _width(modulus_bits: int) -> str:
    return "" if modulus_bits == NARROW_BITS else f", {modulus_bits} bits"


def _summed(vectors: Iterable[Integers]) -> Integers:
    first, *others = vectors
    for other in others:
        first += other
    return first


def _of(context: bytes, client: int) -> bytes:
    return context + client.to_bytes(4, "little")
