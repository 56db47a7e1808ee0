"""What a noise path is to an audit: something it can draw from, and the claim it holds the draws against.

One release of N coordinates is N independent releases of one coordinate, into which a worst-case unit may put its
whole norm: so much may neighbours be apart there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from dp.accountant import Relation
from dp.audit.confidence import Rule
from dp.entropy import Entropy
from dp.errors import BadParameters
from dp.events import Event
from dp.noise import Integers, Law

Source = Callable[[bytes, bytes], Entropy]
Draw = Callable[[Source, bytes], Integers]
Length = Callable[[Source], Fraction]


class NoisePath(StrEnum):
    """Ways noise reaches a release here."""

    GAUSSIAN = "gaussian"
    LAPLACE = "laplace"
    SKELLAM = "skellam"
    SHARES = "shares"
    SKELLAM_SHARES = "skellam-shares"
    LAYERS = "layers"
    CLIP_BIT = "clip-bit"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Route:
    """One noise path: what it draws, what is claimed of it, and the rule it is judged by, fixed beforehand.

    `draw(source, context)` is the noise that N neighbours without the unit would release, int64 of length N; context
    names the round, so two contexts must never share a word. With the unit the output is `distance` steps higher, and
    above `threshold` counts as "in". `variance` and `fourth` (E x^4 / variance^2) are those of the claimed law.
    `length(source)` is the largest |v|^2 / Delta^2 of updates at the clip and far beyond it, v what such an update
    moves the release by, noise and all: both are drawn from equal streams, so that noise which depends on the update
    counts too.
    `laws` are those its samples are drawn from, each of whose tables is tested by itself.
    Raises: BadParameters.
    """

    name: str
    event: Event
    relation: Relation
    distance: int
    threshold: int
    rule: Rule
    variance: Fraction
    fourth: float
    draw: Draw
    length: Length
    laws: tuple[Law, ...]

    def __post_init__(self) -> None:
        if self.distance < 1 or self.variance <= 0 or self.fourth <= 1:
            raise BadParameters("a route needs neighbours at least one step apart, and noise")


@dataclass(frozen=True, slots=True)
class Drawn:
    """The three things of a route that are production's own code: how it draws, moves, and from which laws."""

    draw: Draw
    length: Length
    laws: tuple[Law, ...]


def shifted(name: str, event: Event, relation: Relation, sigma2: Fraction, distance: int, drawn: Drawn) -> Route:
    """Gaussian noise: the best rule is the middle between the neighbours."""
    middle, variance = distance // 2, Fraction(sigma2)
    return Route(
        name, event, relation, distance, middle, Rule.SHIFT, variance, 3.0, drawn.draw, drawn.length, drawn.laws
    )


def binned(name: str, event: Event, relation: Relation, mu: Fraction, distance: int, drawn: Drawn) -> Route:
    """Skellam noise, of which no Gaussian curve is claimed: two bins judge, above the distance or not."""
    fourth = 3.0 + 1.0 / float(mu)
    return Route(
        name, event, relation, distance, distance, Rule.TWO_BINS, mu, fourth, drawn.draw, drawn.length, drawn.laws
    )


def secret_of(source: Source, label: bytes, context: bytes) -> bytes:
    """32 bytes of this source: two streams of one secret are equal, and nobody else has it."""
    with source(label, context) as entropy:
        return entropy.borrow(4, label).tobytes()
