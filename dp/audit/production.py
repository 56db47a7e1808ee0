"""Every way noise reaches a release here, as something an audit can draw from and hold against its own event.

| route                     | drawn by                                                | neighbours are apart by |
|---|---|---|
| central discrete Gaussian | `DiscreteGaussian.apply`, one table and several         | Delta_2                 |
| central discrete Laplace  | `DiscreteLaplace.apply`                                 | Delta_1                 |
| central Skellam           | `Skellam.apply`                                         | Delta_2                 |
| sum of noise shares       | `NoiseShare.encode` of the fewest survivors, colluders' | Delta_2                 |
|                           | shares known; the same with `SkellamShare`              |                         |
| surplus layers            | `Layers.encode` of all, less `Layers.surplus`           | Delta_2                 |
| adaptive clip bit         | `BitShare.encode` of the fewest survivors               | one scaled step         |
| local DP                  | `LocalMechanism.randomise`                              | 2 Delta_2               |

One release of N coordinates is N independent releases of one coordinate, into which a worst-case unit may put its
whole norm: so much may neighbours be apart there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TypeVar

import numpy as np

from dp.accountant import Relation, Unit
from dp.adaptive import BitShare, bit
from dp.audit.routes import Draw, Length, NoisePath, Route, Rule, Source
from dp.bounds import Clip, Lattice, l1_bound, l2_squared_bound
from dp.distributed import NoiseShare
from dp.events import Event, Exact, exact
from dp.layers import Layers
from dp.mechanisms import DiscreteGaussian, DiscreteLaplace, LocalMechanism, Mechanism, Skellam
from dp.noise import Entropy, Integers
from dp.skellam_share import SkellamShare

LABEL_ROUTE = b"secagg/v1/dp/audit/route"
LABEL_ROUTE_BIT = b"secagg/v1/dp/audit/bit"
LABEL_FIRST = b"secagg/v1/dp/audit/first"

Planned = TypeVar("Planned")

ONE_CLIENT = Clip(Fraction(1))
STEP = Lattice(Fraction(1, 64))
# Its tails are long: on this step its table is as small as the others.
COARSE_STEP = Lattice(Fraction(1, 32))
# A standard deviation above dp.noise.TABLE_STD is drawn from several tables.
FINE_STEP = Lattice(Fraction(1, 8192))
COORDINATES = 1 << 17
SHARED_COORDINATES = 1 << 16
BITS = 1 << 9
FAR_TOO_LONG = 1000.0
SEED = bytes(32)


def central_gaussian(noise_multiplier: Exact, *, lattice: Lattice = STEP, coordinates: int = COORDINATES) -> Route:
    """The discrete Gaussian added once, at z = standard deviation / Delta."""
    unit = Unit(Relation.ADD_REMOVE)
    squared = l2_squared_bound(ONE_CLIENT, lattice, 1)
    sigma2 = exact("noise_multiplier", noise_multiplier) ** 2 * squared
    mechanism = DiscreteGaussian(sigma2, ONE_CLIENT, lattice, unit)
    tables = mechanism.law.draws(1)
    name = f"central discrete Gaussian, {tables} table{'s' if tables > 1 else ''}"
    return _shifted(name, mechanism.event(1), unit, sigma2, math.isqrt(squared), _applied(mechanism, coordinates))


def central_laplace(epsilon: Exact, *, coordinates: int = COORDINATES) -> Route:
    """The discrete Laplace added once; the best two bins are at and above Delta_1, or below."""
    unit, clip = Unit(Relation.ADD_REMOVE), Clip(Fraction(1), Fraction(1))
    distance = l1_bound(clip, COARSE_STEP, 1)
    mechanism = DiscreteLaplace(distance / exact("epsilon", epsilon), clip, COARSE_STEP, unit)
    draw, length = _applied(mechanism, coordinates)
    return Route(
        name="central discrete Laplace",
        event=mechanism.event(1),
        relation=unit.relation,
        distance=distance,
        threshold=distance - 1,
        rule=Rule.TWO_BINS,
        variance=mechanism.law.variance,
        fourth=6.0,
        draw=draw,
        length=length,
    )


def central_skellam(noise_multiplier: Exact, *, coordinates: int = COORDINATES) -> Route:
    """Skellam noise added once. No Gaussian curve is claimed of it: two bins judge, above Delta or not."""
    unit = Unit(Relation.ADD_REMOVE)
    squared = l2_squared_bound(ONE_CLIENT, STEP, 1)
    mu = exact("noise_multiplier", noise_multiplier) ** 2 * squared
    mechanism = Skellam(mu, ONE_CLIENT, STEP, unit)
    return _binned("central Skellam", mechanism.event(1), unit, mu, squared, _applied(mechanism, coordinates))


def shares(noise_multiplier: Exact, *, coordinates: int = SHARED_COORDINATES) -> Route:
    """What is left of the fewest survivors' sum to an aggregator whom a colluder tells its share."""
    share = _planned(NoiseShare.plan, noise_multiplier, coordinates, clients=4, colluders=1)
    event = share.event(share.min_survivors)

    def draw(source: Source, context: bytes) -> Integers:
        silent = np.zeros(share.dimension)
        honest = range(share.min_survivors - share.colluders)
        return _summed(share.encode(silent, SEED, source(LABEL_ROUTE, _of(context, i))).vector for i in honest)

    drawn = draw, _shared_length(share)
    return _shifted(
        "sum of noise shares",
        event,
        Unit(Relation.ZERO_OUT),
        Fraction(event.sigma2),
        math.isqrt(share.l2_squared),
        drawn,
    )


def skellam_shares(noise_multiplier: Exact, *, coordinates: int = SHARED_COORDINATES) -> Route:
    """The same with Skellam noise."""
    whole = _planned(SkellamShare.plan, noise_multiplier, coordinates, clients=4, colluders=1)
    share, event = whole.share, whole.event(whole.share.min_survivors)

    def draw(source: Source, context: bytes) -> Integers:
        silent = np.zeros(share.dimension)
        honest = range(share.min_survivors - share.colluders)
        return _summed(whole.encode(silent, SEED, source(LABEL_ROUTE, _of(context, i))).vector for i in honest)

    drawn, unit = (draw, _shared_length(share)), Unit(Relation.ZERO_OUT)
    return _binned("sum of Skellam shares", event, unit, Fraction(event.mu), share.l2_squared, drawn)


def layers(noise_multiplier: Exact, *, coordinates: int = SHARED_COORDINATES) -> Route:
    """What is left of everybody's sum once the surplus layers are drawn again and subtracted."""
    cut = _planned(Layers.plan, noise_multiplier, coordinates, clients=3, colluders=0)
    share, everybody = cut.share, cut.share.max_clients
    event = cut.event(everybody)

    def draw(source: Source, context: bytes) -> Integers:
        silent = np.zeros(share.dimension)
        firsts = [_seed(source(LABEL_ROUTE, _of(context, everybody + i))) for i in range(everybody)]
        entropies = (source(LABEL_ROUTE, _of(context, i)) for i in range(everybody))
        total = _summed(
            cut.encode(silent, SEED, entropy, first).vector for entropy, first in zip(entropies, firsts, strict=True)
        )
        opened = [cut.seeds(first)[cut.opened(everybody) - 1] for first in firsts]
        return total - cut.surplus(opened)

    drawn = draw, _shared_length(share)
    return _shifted(
        "total after surplus layers",
        event,
        Unit(Relation.ZERO_OUT),
        Fraction(event.sigma2),
        math.isqrt(share.l2_squared),
        drawn,
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
        # Zeroing a client's update must move its sign by one step, however long the update was.
        steps = [abs(bit(norm, Fraction(1)) - bit(0.0, Fraction(1))) for norm in (0.5, FAR_TOO_LONG)]
        return Fraction(max(steps) * share.scale, share.scale)

    unit, drawn = Unit(Relation.ZERO_OUT), (draw, length)
    return _shifted("adaptive clip bit", event, unit, Fraction(event.sigma2), share.scale, drawn)


def local(noise_multiplier: Exact, *, coordinates: int = COORDINATES) -> Route:
    """One client's own message; its neighbour is any other message, so they are twice the clip apart."""
    unit = Unit(Relation.REPLACE_ONE)
    squared = l2_squared_bound(ONE_CLIENT, STEP, coordinates)
    sigma2 = exact("noise_multiplier", noise_multiplier) ** 2 * squared
    mechanism = LocalMechanism(DiscreteGaussian(sigma2, ONE_CLIENT, STEP, unit))

    def draw(source: Source, context: bytes) -> Integers:
        with source(LABEL_ROUTE, context) as entropy:
            return mechanism.randomise(np.zeros(coordinates), entropy).vector

    drawn = draw, _central_length(mechanism.mechanism)
    distance = unit.relation.factor * math.isqrt(squared)
    return _shifted("local DP", mechanism.event(coordinates), unit, sigma2, distance, drawn)


def routes_of(path: NoisePath) -> tuple[Route, ...]:
    """The routes of one noise path, at the multipliers the self-test is run with."""
    match path:
        case NoisePath.GAUSSIAN:
            return central_gaussian(1), central_gaussian(1, lattice=FINE_STEP)
        case NoisePath.LAPLACE:
            return (central_laplace(1),)
        case NoisePath.SKELLAM:
            return (central_skellam(1),)
        case NoisePath.SHARES:
            return (shares(1),)
        case NoisePath.SKELLAM_SHARES:
            return (skellam_shares(1),)
        case NoisePath.LAYERS:
            return (layers(1),)
        case NoisePath.CLIP_BIT:
            return (clip_bit(1),)
        case NoisePath.LOCAL:
            return (local(2),)


def production_routes() -> tuple[Route, ...]:
    """All of them."""
    return tuple(route for path in NoisePath for route in routes_of(path))


Drawn = tuple[Draw, Length]


def _shifted(name: str, event: Event, unit: Unit, sigma2: Fraction, distance: int, drawn: Drawn) -> Route:
    """Gaussian noise: the best rule is the middle between the neighbours."""
    draw, length = drawn
    return Route(name, event, unit.relation, distance, distance // 2, Rule.SHIFT, Fraction(sigma2), 3.0, draw, length)


def _binned(name: str, event: Event, unit: Unit, mu: Fraction, squared: int, drawn: Drawn) -> Route:
    distance, (draw, length) = math.isqrt(squared), drawn
    fourth = 3.0 + 1.0 / float(mu)
    return Route(name, event, unit.relation, distance, distance, Rule.TWO_BINS, mu, fourth, draw, length)


def _planned(
    plan: Callable[..., Planned], noise_multiplier: Exact, coordinates: int, *, clients: int, colluders: int
) -> Planned:
    """A plan for one drop-out, on a lattice whose tables are small."""
    return plan(
        noise_multiplier=exact("noise_multiplier", noise_multiplier),
        clip=Fraction(1),
        dimension=coordinates,
        modulus_bits=12,
        max_clients=clients,
        min_survivors=clients - 1,
        colluders=colluders,
    )


def _summed(vectors: Iterable[Integers]) -> Integers:
    first, *others = vectors
    for other in others:
        first += other
    return first


def _of(context: bytes, client: int) -> bytes:
    return context + client.to_bytes(4, "little")


def _seed(entropy: Entropy) -> bytes:
    """A client's first seed of its layers: 32 bytes of its own."""
    with entropy:
        return entropy.borrow(4, LABEL_FIRST).tobytes()


def _applied(mechanism: Mechanism, coordinates: int) -> Drawn:
    def draw(source: Source, context: bytes) -> Integers:
        with source(LABEL_ROUTE, context) as entropy:
            return mechanism.apply(np.zeros(coordinates, dtype=np.int64), entropy)

    return draw, _central_length(mechanism)


def _central_length(mechanism: Mechanism) -> Length:
    def length(source: Source) -> Fraction:
        with source(LABEL_ROUTE, b"length") as entropy:
            vector = mechanism.quantise(np.array([FAR_TOO_LONG]), entropy)
        if isinstance(mechanism, DiscreteLaplace):
            return Fraction(int(np.abs(vector).sum()), l1_bound(mechanism.clip, mechanism.lattice, 1))
        return Fraction(int(np.dot(vector, vector)), l2_squared_bound(mechanism.clip, mechanism.lattice, 1))

    return length


def _shared_length(share: NoiseShare) -> Length:
    def length(source: Source) -> Fraction:
        long = np.zeros(share.dimension)
        long[0] = FAR_TOO_LONG
        with source(LABEL_ROUTE, b"length") as entropy:
            vector = share.quantise(long, SEED, entropy).vector
        return Fraction(int(np.dot(vector, vector)), share.l2_squared)

    return length
