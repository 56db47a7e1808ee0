"""The noise in an event, as plain numbers to draw and to print; what bounds privacy are the accountants alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from dp.events import (
    Composed,
    Event,
    GaussianEvent,
    LaplaceEvent,
    Repeated,
    Sampled,
    Sampling,
    SkellamEvent,
    leaves,
    takes_everyone,
    without_sampling,
)
from dp.ledger.charge import Setting
from protocols.report.privacy.words import float_of


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise on a sum: its standard deviation per coordinate on the lattice, and over the L2 bound of one unit.

    `multiplier` is None for a law that is stated for another norm.
    """

    deviation: float
    multiplier: float | None
    coordinates: int


def noise_of(event: Event) -> Noise | None:
    """The noise of the part with most coordinates; None where an event states a bound and no law, or has no noise."""
    laws = [law for law, _ in leaves(without_sampling(event))]
    drawn = [law for law in laws if isinstance(law, GaussianEvent | SkellamEvent | LaplaceEvent)]
    if not drawn:
        return None
    law = max(drawn, key=lambda each: each.d)
    if isinstance(law, LaplaceEvent):
        return Noise(_laplace_deviation(law), None, law.d)
    variance = law.sigma2 if isinstance(law, GaussianEvent) else law.mu
    return Noise(root(Fraction(variance)), root(Fraction(variance) / Fraction(law.l2_squared)), law.d)


def laws_of(event: Event) -> list[tuple[Event, int]]:
    """The parts of an event as they were written, each with how often; sampling is a part that holds others."""
    match event:
        case Repeated():
            return [(law, times * event.times) for law, times in laws_of(event.event)]
        case Composed():
            return [found for part in event.events for found in laws_of(part)]
    return [(event, 1)]


def sampled_by(event: Event | None) -> set[Sampling]:
    """How the cohort was drawn, for every part of an event that says so; nothing where everybody was in it."""
    laws = [] if event is None else [law for law, _ in laws_of(event)]
    return {law.sampling for law in laws if isinstance(law, Sampled) and not takes_everyone(law.sampling)}


def deviation(event: Event | None, setting: Setting | None) -> float | None:
    """The noise on one coordinate of the sum, in units of an update, or in steps where no setting is given."""
    noise = None if event is None else noise_of(event)
    if noise is None:
        return None
    return noise.deviation * (1.0 if setting is None else float_of(setting.lattice_step))


def _laplace_deviation(law: LaplaceEvent) -> float:
    scale = float_of(Fraction(law.scale))
    if law.components == 0 or scale == 0.0:
        return math.sqrt(2.0) * scale
    # Of the law ~ e^(-|k| / scale) on the integers: variance 2 p / (1 - p)^2 with p = e^(-1 / scale).
    gap = -math.expm1(-1.0 / scale)
    return math.sqrt(2.0) * math.exp(-0.5 / scale) / gap if gap > 0.0 else math.inf


def root(square: Fraction) -> float:
    return math.sqrt(float_of(square))
