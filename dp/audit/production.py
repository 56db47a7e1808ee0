"""Every way noise reaches a release here, as something an audit can draw from and hold against its own event.

| route                     | drawn by                                                | neighbours are apart by |
|---|---|---|
| central discrete Gaussian | `DiscreteGaussian.release`, one table and several       | Delta_2                 |
| central discrete Laplace  | `DiscreteLaplace.release`, one table and several        | Delta_1                 |
| central Skellam           | `Skellam.release`                                       | Delta_2                 |
| sum of noise shares       | `NoiseShare.encode` of the fewest survivors, colluders' | Delta_2                 |
|                           | shares known, narrow and wide; `SkellamShare`, narrow   |                         |
| surplus layers            | `Layers.encode` of all, less `Layers.surplus`; wide, of | Delta_2                 |
|                           | the fewest                                              |                         |
| adaptive clip bit         | `BitShare.encode` of the fewest survivors               | one scaled step         |
| local DP                  | `LocalMechanism.randomise`                              | 2 Delta_2               |

One release of N coordinates is N independent releases of one coordinate, into which a worst-case unit may put its
whole norm: so much may neighbours be apart there.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from dp.accountant import Relation, Unit
from dp.audit.confidence import Rule
from dp.audit.routes import Drawn, NoisePath, Route, Source, binned, secret_of, shifted
from dp.audit.shared_routes import (
    FAR_TOO_LONG,
    LABEL_EQUAL,
    LABEL_ROUTE,
    WIDE_BITS,
    clip_bit,
    layers,
    long_updates,
    shares,
    skellam_shares,
)
from dp.bounds import Clip, Lattice, Update, l1_bound, l2_squared_bound
from dp.events import Exact, exact
from dp.mechanisms import DiscreteGaussian, DiscreteLaplace, LocalMechanism, Mechanism, Skellam
from dp.noise import TABLE_SCALE, TABLE_STD, Entropy, Integers

ONE_CLIENT = Clip(Fraction(1))
STEP = Lattice(Fraction(1, 64))
# Its tails are long: on this step its table is as small as the others.
COARSE_STEP = Lattice(Fraction(1, 32))
# A standard deviation above dp.noise.TABLE_STD, or a scale above TABLE_SCALE, is drawn from several tables.
FINE_STEP = Lattice(Fraction(1, 8192))
COORDINATES = 1 << 17
# So many are moved by one update each: noise that an update switches off cannot look like a step at all of them.
MOVED_COORDINATES = 1 << 10


def central_gaussian(noise_multiplier: Exact, *, lattice: Lattice = STEP, coordinates: int = COORDINATES) -> Route:
    """The discrete Gaussian added once, at z = standard deviation / Delta."""
    unit = Unit(Relation.ADD_REMOVE)
    squared = l2_squared_bound(ONE_CLIENT, lattice, 1)
    sigma2 = exact("noise_multiplier", noise_multiplier) ** 2 * squared
    mechanism = DiscreteGaussian(sigma2, ONE_CLIENT, lattice, unit)
    # Told by the width and not by what is drawn, which may be at fault.
    name = f"central discrete Gaussian, {'several tables' if sigma2 > TABLE_STD**2 else 'one table'}"
    drawn = _applied(mechanism, coordinates)
    return shifted(name, mechanism.event(1), unit.relation, sigma2, math.isqrt(squared), drawn)


def central_laplace(epsilon: Exact, *, lattice: Lattice = COARSE_STEP, coordinates: int = COORDINATES) -> Route:
    """The discrete Laplace added once; the best two bins are at and above Delta_1, or below."""
    unit, clip = Unit(Relation.ADD_REMOVE), Clip(Fraction(1), Fraction(1))
    distance = l1_bound(clip, lattice, 1)
    mechanism = DiscreteLaplace(distance / exact("epsilon", epsilon), clip, lattice, unit)
    drawn = _applied(mechanism, coordinates)
    return Route(
        name=f"central discrete Laplace, {'several tables' if mechanism.scale > TABLE_SCALE else 'one table'}",
        event=mechanism.event(1),
        relation=unit.relation,
        distance=distance,
        threshold=distance - 1,
        rule=Rule.TWO_BINS,
        variance=mechanism.law.variance,
        fourth=6.0,
        draw=drawn.draw,
        length=drawn.length,
        laws=drawn.laws,
    )


def central_skellam(noise_multiplier: Exact, *, coordinates: int = COORDINATES) -> Route:
    """Skellam noise added once. No Gaussian curve is claimed of it: two bins judge, above Delta or not."""
    unit = Unit(Relation.ADD_REMOVE)
    squared = l2_squared_bound(ONE_CLIENT, STEP, 1)
    mu = exact("noise_multiplier", noise_multiplier) ** 2 * squared
    mechanism = Skellam(mu, ONE_CLIENT, STEP, unit)
    drawn = _applied(mechanism, coordinates)
    return binned("central Skellam", mechanism.event(1), unit.relation, mu, math.isqrt(squared), drawn)


def local(noise_multiplier: Exact, *, coordinates: int = COORDINATES) -> Route:
    """One client's own message; its neighbour is any other message, so they are twice the clip apart."""
    unit = Unit(Relation.REPLACE_ONE)
    squared = l2_squared_bound(ONE_CLIENT, STEP, coordinates)
    sigma2 = exact("noise_multiplier", noise_multiplier) ** 2 * squared
    mechanism = LocalMechanism(DiscreteGaussian(sigma2, ONE_CLIENT, STEP, unit))

    def draw(source: Source, context: bytes) -> Integers:
        with source(LABEL_ROUTE, context) as entropy:
            return mechanism.randomise(np.zeros(coordinates), entropy).vector

    def length(source: Source) -> Fraction:
        secret = secret_of(source, LABEL_EQUAL, b"")

        def message(update: Update) -> Integers:
            with Entropy.derived(secret, LABEL_ROUTE, b"") as entropy:
                return mechanism.randomise(update, entropy).vector

        silent = message(np.zeros(coordinates))
        moves = (message(update) - silent for update in long_updates(coordinates, 1.0))
        return max(Fraction(int(np.dot(move, move)), squared) for move in moves)

    drawn, distance = Drawn(draw, length, (mechanism.mechanism.law,)), unit.relation.factor * math.isqrt(squared)
    return shifted("local DP", mechanism.event(coordinates), unit.relation, sigma2, distance, drawn)


def routes_of(path: NoisePath) -> tuple[Route, ...]:
    """The routes of one noise path, at the multipliers the self-test is run with."""
    match path:
        case NoisePath.GAUSSIAN:
            return central_gaussian(1), central_gaussian(1, lattice=FINE_STEP)
        case NoisePath.LAPLACE:
            return central_laplace(1), central_laplace(1, lattice=FINE_STEP)
        case NoisePath.SKELLAM:
            return (central_skellam(1),)
        case NoisePath.SHARES:
            return shares(1), shares(1, modulus_bits=WIDE_BITS)
        case NoisePath.SKELLAM_SHARES:
            return (skellam_shares(1),)
        case NoisePath.LAYERS:
            return layers(1), layers(1, lost=1, modulus_bits=WIDE_BITS)
        case NoisePath.CLIP_BIT:
            return (clip_bit(1),)
        case NoisePath.LOCAL:
            return (local(2),)


def production_routes() -> tuple[Route, ...]:
    """All of them."""
    return tuple(route for path in NoisePath for route in routes_of(path))


def _applied(mechanism: Mechanism, coordinates: int) -> Drawn:
    """Noise added once, to coordinates each of which is a release of its own."""

    def draw(source: Source, context: bytes) -> Integers:
        with source(LABEL_ROUTE, context) as entropy:
            return mechanism.release(np.zeros(coordinates, dtype=np.int64), entropy).vector

    def length(source: Source) -> Fraction:
        secret, silent = secret_of(source, LABEL_EQUAL, b""), np.zeros(MOVED_COORDINATES, dtype=np.int64)

        def released(update: float) -> Integers:
            with Entropy.derived(secret, LABEL_ROUTE, b"") as entropy:
                [steps] = mechanism.quantise(np.array([update]), entropy)
                return mechanism.release(silent + steps, entropy).vector

        without = released(0.0)
        most = max(int(np.abs(released(update) - without).max()) for update in (1.0, -1.0, FAR_TOO_LONG))
        if isinstance(mechanism, DiscreteLaplace):
            return Fraction(most, l1_bound(mechanism.clip, mechanism.lattice, 1)) ** 2
        return Fraction(most**2, l2_squared_bound(mechanism.clip, mechanism.lattice, 1))

    return Drawn(draw, length, (mechanism.law,))
