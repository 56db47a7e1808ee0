"""Any law with integer weights, drawn exactly: a probability table read by a keystream.

    word = | column (m bits) | fraction (64 - m bits) |
        fraction < threshold[column]   own value
        fraction > threshold[column]   alias
        equal                          192 more bits decide (about once in 2^(64-m) draws)

The order in which words are consumed is normative: stored seeds of noise must keep their meaning.
Table gathers remain a cache channel for an attacker on the same machine; batch time does not depend on
the values drawn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from dp.entropy import CHUNK_WORDS, Entropy, Words
from dp.errors import BadParameters

LABEL_WORDS = b"secagg/v1/dp/noise/words"
LABEL_TIES = b"secagg/v1/dp/noise/ties"

TIE_WORDS = 3
TIE_BITS = 64 * TIE_WORDS
MAX_COLUMNS = 1 << 22
# 40 bytes each, 320 MiB in all: a hundred laws of standard deviation 2000 stay at hand.
CACHED_COLUMNS = 1 << 23

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AliasTable:
    """P(value_i) = weight_i / sum, to within 2^-256 per column: Vose's alias method in integers.

    Shapes: heads, uint64 of N = 2^m columns, the top fraction bits of each threshold (a full column holds
        2^(word_bits - m) and never ties); tails, the next 192 bits of each, big-endian; outcomes, 2 N
        values, alias and own interleaved so that a draw is two gathers.
    Guarantee: a draw compares up to word_bits - m + 192 fraction bits, so its law is the table's exactly.
    """

    column_bits: int
    word_bits: int
    heads: Words
    tails: bytes
    outcomes: NDArray[np.int32]

    @classmethod
    def build(cls, values: Sequence[int], weights: Sequence[int], word_bits: int = 64) -> AliasTable:
        """The table of any law with integer weights; what the scaling loses is added to the first value.

        Raises: BadParameters beyond MAX_COLUMNS values, or for values outside int32.
        Source: Vose, IEEE Trans. Software Eng. 1991; work lists are stacks filled in ascending order.
        """
        column_bits = max(1, (len(values) - 1).bit_length())
        if len(values) > MAX_COLUMNS:
            raise BadParameters(f"{len(values)} values do not fit a table of {MAX_COLUMNS} columns")
        scale, total = 1 << (word_bits + TIE_BITS), sum(weights)
        masses = [weight * scale // total for weight in weights]
        masses[0] += scale - sum(masses)
        masses += [0] * ((1 << column_bits) - len(values))
        aliases = _vose(masses, scale >> column_bits)
        own = np.zeros(len(masses), dtype=np.int32)
        own[: len(values)] = values
        outcomes = np.empty(2 * len(masses), dtype=np.int32)
        outcomes[0::2] = own[aliases]
        outcomes[1::2] = own
        low = (1 << TIE_BITS) - 1
        return cls(
            column_bits,
            word_bits,
            np.array([mass >> TIE_BITS for mass in masses], dtype=np.uint64),
            b"".join([(mass & low).to_bytes(8 * TIE_WORDS, "big") for mass in masses]),
            outcomes,
        )

    @classmethod
    def symmetric(cls, half: Sequence[int], word_bits: int = 64) -> AliasTable:
        """The law with weight half[|k|] at k, its values listed 0, +1, -1, +2, ..."""
        values, weights = [0], [half[0]]
        for magnitude, weight in enumerate(half[1:], start=1):
            values += [magnitude, -magnitude]
            weights += [weight, weight]
        return cls.build(values, weights, word_bits)

    @property
    def reach(self) -> int:
        """The largest magnitude a draw can have."""
        return max(int(self.outcomes.max()), -int(self.outcomes.min()))

    def add_into(self, total: Integers, factor: int, entropy: Entropy) -> None:
        """total <- total + factor * samples, one per word of LABEL_WORDS in index order.

        A tie takes TIE_WORDS of LABEL_TIES, ascending by index.
        """
        for start in range(0, total.size, CHUNK_WORDS):
            part = total[start : start + CHUNK_WORDS]
            samples = self._choose(entropy.borrow(part.size, LABEL_WORDS), entropy).astype(np.int64)
            samples *= factor
            part += samples

    def _choose(self, words: Words, entropy: Entropy) -> NDArray[np.int32]:
        words >>= np.uint64(64 - self.word_bits)
        fraction_bits = self.word_bits - self.column_bits
        columns = (words >> np.uint64(fraction_bits)).view(np.int64)
        words &= np.uint64((1 << fraction_bits) - 1)
        # Columns have m bits and the tables 2^m entries: nothing is ever clipped, but nothing is tested either.
        thresholds = self.heads.take(columns, mode="clip")
        own = words < thresholds
        tied = np.flatnonzero(words == thresholds)
        for index in tied:
            own[index] = self._break_tie(int(columns[index]), entropy)
        columns <<= 1
        columns += own
        return self.outcomes.take(columns, mode="clip")

    def _break_tie(self, column: int, entropy: Entropy) -> bool:
        """Whether 192 further bits, first word most significant, fall below the rest of the threshold."""
        bits = int.from_bytes(entropy.borrow(TIE_WORDS, LABEL_TIES).astype(">u8").tobytes(), "big")
        at = 8 * TIE_WORDS * column
        return bits < int.from_bytes(self.tails[at : at + 8 * TIE_WORDS], "big")


def _vose(masses: list[int], capacity: int) -> list[int]:
    """Turn masses (sum = columns * capacity) into thresholds in place; return the alias of each column."""
    aliases = list(range(len(masses)))
    small = [column for column, mass in enumerate(masses) if mass < capacity]
    large = [column for column, mass in enumerate(masses) if mass > capacity]
    while small:
        under, over = small.pop(), large.pop()
        aliases[under] = over
        # `under` keeps its mass as threshold; what it lacks is taken from `over`.
        masses[over] -= capacity - masses[under]
        if masses[over] < capacity:
            small.append(over)
        elif masses[over] > capacity:
            large.append(over)
    return aliases


class TableCache:
    """Tables by their law, the least recently used dropped once the columns kept exceed a limit.

    Bounded by memory and not by number: one table of 2^17 columns weighs as much as a hundred small ones.
    """

    def __init__(self, most_columns: int) -> None:
        self._most = most_columns
        self._tables: OrderedDict[Hashable, AliasTable] = OrderedDict()
        self._lock = Lock()

    def table(self, law: Hashable, build: Callable[[], AliasTable]) -> AliasTable:
        """The kept table of this law, or a new one; the newest is kept whatever its size."""
        with self._lock:
            if law in self._tables:
                self._tables.move_to_end(law)
                return self._tables[law]
        # Built outside the lock: two threads may build one table twice, and the two are equal.
        table = build()
        with self._lock:
            self._tables[law] = table
            while len(self._tables) > 1 and self.columns > self._most:
                self._tables.popitem(last=False)
        return table

    @property
    def columns(self) -> int:
        """How many columns all kept tables have together."""
        return sum(len(table.heads) for table in self._tables.values())


TABLES = TableCache(CACHED_COLUMNS)
