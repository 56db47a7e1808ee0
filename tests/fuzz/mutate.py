"""Damage done to bytes on purpose: every mutant is a function of one integer and of the seeds.

    flip       one bit                         length     a count becomes 0, 1, 2^31, 2^63, ...
    byte       one byte becomes another        swap       a field of another seed in its place
    insert     some bytes more                 splice     the head of this one, the tail of another
    delete     some bytes fewer                truncate   the head alone
    duplicate  some bytes twice

Most mutants are damaged once: the more often, the sooner a parser refuses and the less of it is met.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

COUNTS = tuple(n.to_bytes(8, "little") for n in (0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**40, 2**63, 2**64 - 1))
# Sizes of what lies on the wire: flags, ids, counts, keys, shares, signatures, and anything.
FIELDS = (1, 4, 8, 8, 16, 32, 33, 64, 82)
SMALL = 1 << 16


@dataclass(frozen=True)
class Seed:
    """Bytes to damage."""

    data: bytes

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Where eight bytes stand that may be a count: a small number."""
        places = range(len(self.data) - 7)
        return tuple(at for at in places if int.from_bytes(self.data[at : at + 8], "little") < SMALL) or (0,)


class Mutator:
    """An endless supply of mutants; the same integer gives the same ones in the same order."""

    def __init__(self, number: int, seeds: Sequence[bytes]) -> None:
        self.draw = random.Random(number)
        self.seeds = [Seed(data) for data in seeds]
        self.ways: tuple[Callable[[Seed, bytearray], None], ...] = (
            self.flip,
            self.byte,
            self.insert,
            self.delete,
            self.duplicate,
            self.length,
            self.swap,
            self.splice,
            self.truncate,
        )

    def below(self, most: int) -> int:
        """An integer in 0..most-1; as good as uniform for positions, and twice as fast as randrange."""
        return int(self.draw.random() * most)

    def any_seed(self) -> Seed:
        return self.seeds[self.below(len(self.seeds))]

    def mutant(self, seed: Seed | None = None) -> bytes:
        """A damaged copy of this seed, or of any."""
        seed = seed or self.any_seed()
        data = bytearray(seed.data)
        while True:
            self.ways[self.below(len(self.ways))](seed, data)
            if self.below(4):
                return bytes(data)

    def place(self, data: bytearray) -> int:
        return self.below(len(data) + 1)

    def size(self) -> int:
        return FIELDS[self.below(len(FIELDS))]

    def flip(self, _: Seed, data: bytearray) -> None:
        if data:
            data[self.below(len(data))] ^= 1 << self.below(8)

    def byte(self, _: Seed, data: bytearray) -> None:
        if data:
            data[self.below(len(data))] = self.below(256)

    def insert(self, _: Seed, data: bytearray) -> None:
        at = self.place(data)
        data[at:at] = self.draw.randbytes(self.size())

    def delete(self, _: Seed, data: bytearray) -> None:
        at = self.place(data)
        del data[at : at + self.size()]

    def duplicate(self, _: Seed, data: bytearray) -> None:
        at = self.place(data)
        data[at:at] = data[at : at + self.size()]

    def length(self, seed: Seed, data: bytearray) -> None:
        at = seed.counts[self.below(len(seed.counts))]
        data[at : at + 8] = COUNTS[self.below(len(COUNTS))]

    def swap(self, _: Seed, data: bytearray) -> None:
        other, at, size = self.any_seed().data, self.place(data), self.size()
        start = self.below(len(other) + 1)
        data[at : at + size] = other[start : start + size]

    def splice(self, _: Seed, data: bytearray) -> None:
        other = self.any_seed().data
        data[self.place(data) :] = other[self.below(len(other) + 1) :]

    def truncate(self, _: Seed, data: bytearray) -> None:
        del data[self.place(data) :]
