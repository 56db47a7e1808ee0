"""What an inversion of gradients found, as values: the table, and the pictures that belong to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dp.audit.glyphs import MOST_PICTURES
from dp.errors import BadParameters

# Above it a picture counts as recovered: an error of 1/18 of the range from black to white.
RECOVERED_DB = 25.0
# Errors below 1e-10 of the range are those of float64 itself.
MOST_DB = 200.0


@dataclass(frozen=True, slots=True)
class InversionRow:
    """One cell of the table: a cohort, the noise on its sum, and what the attack found.

    `noise_multiplier` is the standard deviation on the sum divided by the clip, 0 for the bare sum; `epsilon` what
    one such release costs a client at the inversion's delta (zero-out), None for the bare sum, which bounds nothing.
    `best` and `median` are the clients' PSNR in dB. Raises: BadParameters.
    """

    clients: int
    noise_multiplier: Fraction
    epsilon: float | None
    recovered: int
    best: float
    median: float

    def __post_init__(self) -> None:
        if not 1 <= self.clients <= MOST_PICTURES or not 0 <= self.recovered <= self.clients:
            raise BadParameters(f"{self.recovered} of {self.clients} clients recovered: no such count")
        if self.noise_multiplier < 0 or (self.epsilon is None) != (self.noise_multiplier == 0):
            raise BadParameters("epsilon is given where, and only where, the noise multiplier is above 0")
        if self.epsilon is not None and not 0 <= self.epsilon < math.inf:
            raise BadParameters(f"epsilon must be finite and at least 0, got {self.epsilon}")
        if not 0 <= self.median <= self.best <= MOST_DB:
            raise BadParameters(f"PSNR median {self.median} and best {self.best} are not within 0..{MOST_DB:g} dB")


@dataclass(frozen=True, slots=True)
class Panel:
    """One line of pictures: the same clients in every panel, in the same order.

    Shapes: pixels float64 (clients, side, side) in [0, 1], read-only; psnr one figure in dB for each picture, empty for
    the originals.
    Raises: BadParameters.
    """

    title: str
    pixels: NDArray[np.float64] = field(repr=False)
    psnr: tuple[float, ...]

    def __post_init__(self) -> None:
        pixels = np.array(self.pixels, dtype=np.float64)
        if pixels.ndim != 3 or not 1 <= len(pixels) <= MOST_PICTURES or pixels.shape[1] != pixels.shape[2]:
            raise BadParameters(f"pictures are 1 to {MOST_PICTURES} squares, got an array of shape {pixels.shape}")
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise BadParameters("pixels must lie between 0 and 1")
        if len(self.psnr) not in (0, len(pixels)) or not all(0 <= value <= MOST_DB for value in self.psnr):
            raise BadParameters(f"a panel has no PSNR or one for each picture, within 0..{MOST_DB:g} dB")
        pixels.setflags(write=False)
        object.__setattr__(self, "pixels", pixels)


@dataclass(frozen=True, slots=True)
class Inversion:
    """The whole table, row by row, and panels to look at: originals first, then as more is done to the gradients.

    `source` names the pictures, `seed` drew them and the network (never the noise), `delta` belongs to the rows'
    epsilons. `baseline` is the median PSNR in dB of the mean picture, what anybody guesses who has seen no gradient.
    Raises: BadParameters.
    """

    source: str
    seed: int
    delta: Fraction
    baseline: float
    rows: tuple[InversionRow, ...]
    pictures: tuple[Panel, ...]

    def __post_init__(self) -> None:
        if not self.rows or not self.pictures or len({panel.pixels.shape for panel in self.pictures}) != 1:
            raise BadParameters("an inversion has rows, and panels that all show the same clients")
        if not 0 < self.delta < 1 or not 0 <= self.baseline <= MOST_DB:
            raise BadParameters(f"delta {self.delta} and baseline {self.baseline} dB are out of range")
