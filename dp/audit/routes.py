"""What a noise path is to an audit: something it can draw from, and the claim it holds the draws against.

One release of N coordinates is N independent releases of one coordinate, into which a worst-case unit may put its
whole norm: so much may neighbours be apart there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from fractions import Fraction

from dp.accountant import Relation
from dp.entropy import Entropy
from dp.errors import BadParameters
from dp.events import Event
from dp.noise import Integers

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


class Rule(Enum):
    """Which inequality turns mistakes into epsilon: the curve of Gaussian noise, or that of any claim."""

    SHIFT = "shift"
    TWO_BINS = "two bins"


@dataclass(frozen=True, slots=True)
class Route:
    """One noise path: what it draws, what is claimed of it, and the rule it is judged by, fixed beforehand.

    `draw(source, context)` is the noise that N neighbours without the unit would release, int64 of length N; context
    names the round, so two contexts must never share a word. With the unit the output is `distance` steps higher, and
    above `threshold` counts as "in". `variance` and `fourth` (E x^4 / variance^2) are those of the claimed law.
    `length(source)` is |v|^2 / Delta^2 (or |v|_1 / Delta_1) of a far too long update after the clip.
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

    def __post_init__(self) -> None:
        if self.distance < 1 or self.variance <= 0 or self.fourth <= 1:
            raise BadParameters("a route needs neighbours at least one step apart, and noise")
