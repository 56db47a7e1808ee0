"""What a lying server can compute: the closure of what it was told, on sets of clients.

    unknown    x_u and b_u of every client u, and the mask m_uv of every pair of neighbours
    known      y_u = x_u + b_u +- sum over v of m_uv, whatever became of u; b_u once t shares of it were told, or
               all m_uv of u once t shares of its mask key were; a corrupted holder tells both, and of a corrupted
               client everything is known

A set of honest clients has a mask-free sum iff it is a union of components of the graph of unknown pair masks in
which every b is known. `Knowledge.sums` are those components by union-find, `Knowledge.row_space` the same by
linear algebra, slowly and without the theorem: all combinations of the y from which every unknown mask vanishes.

A client is a bit, a set of clients an integer. A corrupted client is one whose pair masks are known and which
belongs to no sum. Where worlds are counted by the ten thousands their knowledge is computed by numpy, and the
few states of knowledge that differ are judged one by one.
Source: Bonawitz et al., CCS 2017, section 6 (lists that differ); Bell et al., CCS 2020, section 4 (a cut ring).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Any large prime: a combination that vanishes over the integers modulo 2^b does for these +-1 matrices over it.
FIELD = (1 << 61) - 1

Sets = NDArray[np.int64]


def members(clients: int) -> tuple[int, ...]:
    """The clients of a set, ascending."""
    return tuple(u for u in range(clients.bit_length()) if clients >> u & 1)


def to_set(clients: Iterable[int]) -> int:
    return sum(1 << u for u in clients)


def complete(n: int) -> tuple[int, ...]:
    """The neighbourhoods of the complete graph."""
    return tuple((1 << n) - 1 - (1 << u) for u in range(n))


def ring(n: int, degree: int) -> tuple[int, ...]:
    """The neighbourhoods of a ring on which client u stands at position u."""
    half = degree // 2
    return tuple(to_set((u + step) % n for step in range(-half, half + 1) if step) for u in range(n))


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Neighbourhoods by client, the clients whose own mask is known, and those whose pair masks are."""

    neighbours: tuple[int, ...]
    selves: int
    keys: int

    @property
    def doubly_revealed(self) -> int:
        return self.selves & self.keys

    def sums(self) -> tuple[int, ...]:
        """The least sets of clients whose sum is free of masks; every other such set is a union of them."""
        parent = list(range(len(self.neighbours)))

        def root(u: int) -> int:
            while parent[u] != u:
                parent[u] = parent[parent[u]]
                u = parent[u]
            return u

        for u, v in self.hidden_pairs():
            parent[root(u)] = root(v)
        components = [0] * len(parent)
        for u in range(len(parent)):
            components[root(u)] |= 1 << u
        return tuple(sorted(one for one in components if one and not one & ~self.selves))

    def hidden_pairs(self) -> Iterator[tuple[int, int]]:
        """The pairs u < v whose mask is unknown."""
        hidden = ~self.keys
        for u, near in enumerate(self.neighbours):
            if hidden >> u & 1:
                for v in members((near & hidden) >> (u + 1) << (u + 1)):
                    yield u, v

    def row_space(self) -> list[list[int]]:
        """A reduced basis of the combinations c of the y, modulo a prime, that hold no unknown mask."""
        n, pairs = len(self.neighbours), list(self.hidden_pairs())
        rows = []
        for u in range(n):
            own = [int(u == v and not self.selves >> v & 1) for v in range(n)]
            shared = [int(u == low) - int(u == high) for low, high in pairs]
            rows.append(own + shared + [int(u == v) for v in range(n)])
        width = n + len(pairs)
        return reduced([row[width:] for row in reduced(rows) if not any(row[:width])])


def reduced(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """The reduced echelon form over the field, without its zero rows."""
    rest, done = [[value % FIELD for value in row] for row in rows], 0
    for column in range(len(rest[0]) if rest else 0):
        pivot = next((i for i in range(done, len(rest)) if rest[i][column]), None)
        if pivot is None:
            continue
        rest[done], rest[pivot] = rest[pivot], rest[done]
        scale = pow(rest[done][column], -1, FIELD)
        rest[done] = [value * scale % FIELD for value in rest[done]]
        for i, row in enumerate(rest):
            if i != done and (factor := row[column]):
                rest[i] = [(a - factor * b) % FIELD for a, b in zip(row, rest[done], strict=True)]
        done += 1
    return rest[:done]


@dataclass(frozen=True, slots=True)
class World:
    """Who is neighbour to whom, t, the corrupted, and whether a client counts its own share as in the first papers."""

    neighbours: tuple[int, ...]
    threshold: int
    corrupted: int = 0
    holds_its_own: bool = False

    def told(self, views: Sequence[Sets | int], answers: Sequence[Any] | None = None) -> tuple[Sets, Sets]:
        """Whose own mask and whose pair masks are known after these answers, one pair of sets per assignment.

        views[u] is the set client u was told survives; answers[u] whether it answered, by default that it did.
        Views of corrupted clients do not matter.
        """
        n = len(self.neighbours)
        selves, keys = np.zeros(1, np.int64), np.zeros(1, np.int64)
        for dealer in range(n):
            holders = self.neighbours[dealer] | (1 << dealer if self.holds_its_own else 0)
            free = (holders & self.corrupted).bit_count()
            alive: Any = np.int64(free)
            dead: Any = np.int64(free)
            for holder in members(holders & ~self.corrupted):
                speaks = 1 if answers is None else np.asarray(answers[holder], np.int64)
                seen = np.asarray(views[holder], np.int64) >> dealer & 1
                alive, dead = alive + speaks * seen, dead + speaks * (1 - seen)
            selves = selves | (alive >= self.threshold).astype(np.int64) << dealer
            keys = keys | (dead >= self.threshold).astype(np.int64) << dealer
        return np.atleast_1d(selves & ~self.corrupted), np.atleast_1d(keys | self.corrupted)

    def census(self, selves: Sets, keys: Sets) -> Iterator[tuple[Knowledge, int]]:
        """The states of knowledge that occur, and how often."""
        shift = len(self.neighbours)
        states, counts = np.unique(np.ravel(selves << shift | keys), return_counts=True)
        for state, count in zip(states.tolist(), counts.tolist(), strict=True):
            yield Knowledge(self.neighbours, state >> shift, state & (1 << shift) - 1), count


def every(choices: Sequence[Sequence[int]]) -> list[Sets]:
    """Every way to give each client one of its choices: per client the column of what it was given."""
    if not choices:
        return []
    grid = np.meshgrid(*[np.asarray(one, np.int64) for one in choices], indexing="ij")
    return [np.ravel(column) for column in grid]
