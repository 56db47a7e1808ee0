"""Damage done to bytes on purpose: every mutant is a function of one integer and of the seeds.

    flip       one bit                         length     a count becomes 0, 1, 2^31, 2^63, ...
    byte       one byte becomes another        item       a list loses or repeats one item, and counts right
    insert     some bytes more                 swap       a field of another seed in its place
    delete     some bytes fewer                splice     the head of this one, the tail of another
    duplicate  some bytes twice                truncate   the head alone

Most mutants are damaged once: the more often, the sooner a parser refuses and the less of it is met.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from protocols import wire

COUNTS = tuple(n.to_bytes(8, "little") for n in (0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**40, 2**63, 2**64 - 1))
# Sizes of what lies on the wire: flags, ids, counts, keys, shares, signatures, and anything.
FIELDS = (1, 4, 8, 8, 16, 32, 33, 64, 82)


@dataclass(frozen=True, slots=True)
class Count:
    """Where eight bytes count what follows, and the size of one item, or of the first where they differ."""

    place: int
    stride: int


@dataclass(frozen=True, slots=True)
class Seed:
    """Bytes to damage, and where their counts stand."""

    data: bytes
    counts: tuple[Count, ...]


def counts_in(
    kind: type[Any], data: bytes, start: int = 0, supplied: Mapping[Any, object] | None = None
) -> tuple[Count, ...]:
    """The counts of an encoded value that begins at byte `start`, as its decoder meets them."""
    found: list[tuple[int, int, int]] = []
    read = wire._length

    def watched(reader: wire.Reader, most: int, least_item: int = 1) -> int:
        found.append((reader.position, most, least_item))
        return read(reader, most, least_item)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_length", watched)
        wire.decode(kind, data[start:], supplied)
    return tuple(Count(start + place, _stride(found[index:])) for index, (place, _, _) in enumerate(found))


def _stride(found: list[tuple[int, int, int]]) -> int:
    """The size of one item of the first count: its least size, unless its items hold counts of their own.

    Then counts of one kind follow each other, item by item, and the next of the first kind is an item further.
    """
    (place, _, least), *inside = found
    if not inside or inside[0][0] >= place + 8 + least:
        return least
    following = (one[0] for one in inside[1:] if one[1:] == inside[0][1:])
    return next(following, inside[0][0] + least) - inside[0][0]


class Mutator:
    """An endless supply of mutants; the same integer gives the same ones in the same order."""

    def __init__(self, number: int, seeds: Sequence[Seed]) -> None:
        self.draw = random.Random(number)
        self.seeds = seeds
        self.ways: tuple[Callable[[Seed, bytearray], None], ...] = (
            self.flip,
            self.byte,
            self.insert,
            self.delete,
            self.duplicate,
            self.length,
            self.item,
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
        if seed.counts:
            at = seed.counts[self.below(len(seed.counts))].place
            data[at : at + 8] = COUNTS[self.below(len(COUNTS))]

    def item(self, seed: Seed, data: bytearray) -> None:
        if not seed.counts:
            return
        count = seed.counts[self.below(len(seed.counts))]
        start = count.place + 8
        number = int.from_bytes(data[count.place : start], "little")
        if not 1 <= number < 1 << 16:
            return
        first = start + count.stride * self.below(number)
        if self.below(2):
            number -= 1
            del data[first : first + count.stride]
        else:
            number += 1
            data[first:first] = data[first : first + count.stride]
        data[count.place : start] = number.to_bytes(8, "little")

    def swap(self, _: Seed, data: bytearray) -> None:
        other, at, size = self.any_seed().data, self.place(data), self.size()
        start = self.below(len(other) + 1)
        data[at : at + size] = other[start : start + size]

    def splice(self, _: Seed, data: bytearray) -> None:
        other = self.any_seed().data
        data[self.place(data) :] = other[self.below(len(other) + 1) :]

    def truncate(self, _: Seed, data: bytearray) -> None:
        del data[self.place(data) :]


class Focused(Mutator):
    """Every other place it draws in long bytes lies near a count or an end: what lies between is residues."""

    LONG, NEAR = 2048, 256

    def __init__(self, number: int, seeds: Sequence[Seed]) -> None:
        super().__init__(number, seeds)
        self.near = [0]

    def mutant(self, seed: Seed | None = None) -> bytes:
        """A damaged copy of this seed, or of any."""
        seed = seed or self.any_seed()
        self.near = [0, len(seed.data) - self.NEAR, *(count.place for count in seed.counts)]
        return super().mutant(seed)

    def below(self, most: int) -> int:
        """An integer in 0..most-1."""
        drawn = super().below(most)
        if most < self.LONG or super().below(2):
            return drawn
        return min(self.near[super().below(len(self.near))] + super().below(self.NEAR), most - 1)
