"""A server that chooses the weights it sends out: in the bare sum of many clients it leaves one picture in each gap.

    every hidden unit sees the brightness of the picture, and fires above a threshold of its own
    gradient of unit i          sum over all pictures above threshold i
    unit i minus unit i + 1     sum over the pictures between two thresholds: mostly one, or none

Clients cannot tell such weights from bad luck, and the masks change nothing in the sum.
Source: Fowl, Geiping, Czaja, Goldblum, Goldstein, ICLR 2022, section 3 (there as a module before the model).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from dp.audit.glyphs import Pictures
from dp.audit.network import HIDDEN, Floats, Network

# Of the second layer: small, so that every class has nearly the same probability and every picture a gradient.
_GAIN = 1e-2


@dataclass(frozen=True, slots=True)
class Imprint(Network):
    """Weights of which each hidden unit measures the same and compares it with another threshold."""

    @classmethod
    def from_public(cls, public: Pictures) -> Self:
        """Thresholds at the quantiles of the brightness of pictures like the clients', which the server has itself."""
        inputs = public.pixels[0].size
        brightness = public.pixels.reshape(len(public), -1).mean(axis=1)
        thresholds = np.quantile(brightness, np.arange(HIDDEN) / HIDDEN)
        # Alike for all hidden units, so that a picture moves every unit below its brightness by the same.
        second = _GAIN * np.linspace(-1, 1, public.classes)[:, None] * np.ones(HIDDEN)
        return cls(np.full((HIDDEN, inputs), 1 / inputs), -thresholds, second, np.zeros(public.classes))

    def candidates(self, gradient: Floats) -> Floats:
        """(dW_i - dW_(i+1)) / (db_i - db_(i+1)) of neighbours, where there is anything between: (m, inputs).

        Raises: BadParameters for another length.
        """
        rows, biases = self.first_layer(gradient)
        # Above the last threshold is nothing to subtract.
        between = np.diff(biases, append=0.0)
        pictures = np.diff(rows, axis=0, append=0.0 * rows[:1])
        # What floats leave of equal numbers is no gradient.
        moved = np.abs(between) > 1e-9 * np.abs(biases).max()
        return np.asarray(np.clip(pictures[moved] / between[moved, None], 0, 1))
