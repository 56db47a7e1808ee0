"""How many of m clients drawn at random are marked, far out in the tails.

    P[X = x] = C(K, x) C(N - K, m - x) / C(N, m)        K of N clients are marked, m are drawn

The probabilities asked for are 2^-60 and less, so they are made of logarithms of factorials, and every tail
is summed from its far end, smallest term first. The error of a logarithm stays below 10^-8 for a million
clients (`tests` compare with exact fractions). What is marked, and how rare is rare enough, is `harary.py`.
Source: Stirling's series for the logarithm of the factorial (DLMF 5.11.1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters

# Above this argument the first term left out of the series is below 10^-15.
SERIES_FROM = 256

_SMALL = np.array([math.log(math.factorial(i)) for i in range(SERIES_FROM)])
_HALF_LOG_TAU = math.log(2 * math.pi) / 2


def log_factorials(most: int) -> NDArray[np.float64]:
    """ln 0!, ln 1!, ..., ln most!"""
    table = np.empty(most + 1)
    table[:SERIES_FROM] = _SMALL[: most + 1]
    x = np.arange(SERIES_FROM, most + 1, dtype=np.float64)
    series = 1 / (12 * x) - 1 / (360 * x**3)
    table[SERIES_FROM:] = (x + 0.5) * np.log(x) - x + _HALF_LOG_TAU + series
    return table


class Draw:
    """X, the number of marked clients in one draw; x below is from 0 to m."""

    __slots__ = ("_log_mass",)

    def __init__(self, log_mass: NDArray[np.float64]) -> None:
        self._log_mass = log_mass

    def exceeded_below(self, probability: float) -> int:
        """The least x with P[X > x] < probability."""
        reached = np.exp(self._log_mass[:0:-1]).cumsum()
        return int(np.count_nonzero(reached >= probability))

    def reached_from(self, probability: float) -> int:
        """The least x with P[X <= x] >= probability."""
        return int(np.count_nonzero(np.exp(self._log_mass).cumsum() < probability))

    def log2_above(self, x: int) -> float:
        """log2 P[X > x]; -inf only where it is impossible."""
        return _log2_sum(self._log_mass[x + 1 :])

    def log2_up_to(self, x: int) -> float:
        """log2 P[X <= x]; -inf only where it is impossible."""
        return _log2_sum(self._log_mass[: x + 1])


class Population:
    """N clients, from whom draws are made without replacement; one table of factorials serves all draws."""

    __slots__ = ("_log_factorial", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._log_factorial = log_factorials(size)

    def draw(self, marked: int, count: int) -> Draw:
        """How many of `count` drawn clients are among the `marked`.

        Raises: BadParameters unless both lie in 0..N.
        """
        self._check(marked, count)
        log, unmarked = self._log_factorial, self.size - marked
        least, most, rest = max(0, count - unmarked), min(count, marked), unmarked - count
        chosen = log[least : most + 1] + log[marked - most : marked - least + 1][::-1]
        others = log[count - most : count - least + 1][::-1] + log[rest + least : rest + most + 1]
        log_mass = np.full(count + 1, -np.inf)
        log_mass[least : most + 1] = log[marked] + log[unmarked] - self._log_choices(count) - chosen - others
        return Draw(log_mass)

    def log2_all_marked(self, marked: int, count: int) -> float:
        """log2 P[X = count]; -inf where fewer than `count` are marked.

        Raises: BadParameters unless both lie in 0..N.
        """
        self._check(marked, count)
        if count > marked:
            return -math.inf
        log = self._log_factorial
        return float(log[marked] - log[marked - count] - log[count] - self._log_choices(count)) / math.log(2)

    def _log_choices(self, count: int) -> float:
        log = self._log_factorial
        return float(log[self.size] - log[count] - log[self.size - count])

    def _check(self, marked: int, count: int) -> None:
        if not (0 <= marked <= self.size and 0 <= count <= self.size):
            raise BadParameters(f"{marked} marked and {count} drawn do not both lie in 0..{self.size}")


def _log2_sum(logs: NDArray[np.float64]) -> float:
    peak = float(logs.max(initial=-math.inf))
    if peak == -math.inf:
        return peak
    return (peak + math.log(float(np.exp(logs - peak).sum()))) / math.log(2)
