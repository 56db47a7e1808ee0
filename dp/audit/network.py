"""The network whose gradients are attacked: one hidden layer, forward and backward by hand.

    x --W1, b1--> relu --W2, b2--> logits --softmax--> cross-entropy

For one picture x the gradient of row i of W1 is db_i x: whoever sees both divides and has x. Of a sum of gradients
row i is sum_c db_i(c) x(c), the picture of client c wherever c alone made hidden unit i active.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dp.audit.glyphs import Pictures
from dp.errors import BadParameters

Floats = NDArray[np.float64]

HIDDEN = 128


@dataclass(frozen=True, slots=True)
class Network:
    """Weights of one network, as the server sent them to everybody.

    Shapes: first (hidden, inputs), first_bias (hidden,), second (classes, hidden), second_bias (classes,).
    """

    first: Floats = field(repr=False)
    first_bias: Floats = field(repr=False)
    second: Floats = field(repr=False)
    second_bias: Floats = field(repr=False)

    @classmethod
    def fresh(cls, inputs: int, classes: int, seed: int) -> Self:
        """Every weight uniform within +-1/sqrt(fan-in), the usual start of a dense layer.

        Raises: BadParameters for a negative seed.
        """
        if seed < 0:
            raise BadParameters(f"seed must be at least 0, got {seed}")
        # Another stream than that of pictures from the same seed: weights that know them would be another attack.
        rng = np.random.default_rng((seed, 1))

        def layer(rows: int, columns: int) -> tuple[Floats, Floats]:
            reach = columns**-0.5
            return rng.uniform(-reach, reach, (rows, columns)), rng.uniform(-reach, reach, rows)

        return cls(*layer(HIDDEN, inputs), *layer(classes, HIDDEN))

    @property
    def length(self) -> int:
        """How many numbers one gradient has."""
        return self.first.size + self.first_bias.size + self.second.size + self.second_bias.size

    def gradients(self, pictures: Pictures) -> Floats:
        """d loss / d weights of every picture by itself: (n, length), in the order W1, b1, W2, b2."""
        inputs = pictures.pixels.reshape(len(pictures), -1)
        hidden = inputs @ self.first.T + self.first_bias
        active = np.maximum(hidden, 0)
        logits = active @ self.second.T + self.second_bias
        slope = np.exp(logits - logits.max(axis=1, keepdims=True))
        slope /= slope.sum(axis=1, keepdims=True)
        slope[np.arange(len(pictures)), pictures.labels] -= 1
        below = (slope @ self.second) * (hidden > 0)
        parts = (below[:, :, None] * inputs[:, None, :], below, slope[:, :, None] * active[:, None, :], slope)
        return np.concatenate([part.reshape(len(pictures), -1) for part in parts], axis=1)

    def candidates(self, gradient: Floats) -> Floats:
        """dW_i / db_i of every hidden unit with a gradient, within [0, 1]: (at most hidden, inputs).

        Of one picture's gradient each is that picture; of a sum's, some are where units have one client.
        Raises: BadParameters for another length.
        Source: Phong, Aono, Hayashi, Wang, Moriai, IEEE TIFS 2018, section 3 (the division); Boenisch et al., EuroS&P
        2023, on sums (what stays separate in them).
        """
        rows, biases = self.first_layer(gradient)
        moved = biases != 0
        return np.asarray(np.clip(rows[moved] / biases[moved, None], 0, 1))

    def strongest(self, gradient: Floats) -> Floats:
        """The best rank-one fit u (x, 1) to (dW1, db1): its x, within [0, 1]; (1, inputs), none without a bias.

        For one picture under noise far better than one division: all rows hold the same picture, and the noise of each
        is another. Of a sum it is the strongest mixture.
        Raises: BadParameters for another length.
        Source: Eckart and Young, Psychometrika 1936 (the best fit is the first singular pair).
        """
        rows, biases = self.first_layer(gradient)
        first = np.linalg.svd(np.hstack([rows, biases[:, None]]), full_matrices=False)[2][0]
        return np.asarray(np.clip(first[None, :-1] / first[-1], 0, 1)) if first[-1] else np.zeros((0, len(first) - 1))

    def first_layer(self, gradient: Floats) -> tuple[Floats, Floats]:
        """dW1 and db1 of a gradient: (hidden, inputs) and (hidden,).

        Raises: BadParameters for another length.
        """
        if gradient.shape != (self.length,):
            raise BadParameters(f"a gradient has {self.length} numbers, got an array of shape {gradient.shape}")
        weights = self.first.size
        return gradient[:weights].reshape(self.first.shape), gradient[weights : weights + HIDDEN]
