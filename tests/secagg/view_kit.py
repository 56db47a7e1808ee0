"""What a server sees of packed keys, as linear algebra over a small prime; shares nothing with the code under test.

    f = S + Z g      S interpolates the secrets at -1 .. -l,  Z = (x + 1) ... (x + l),  g has tau random coefficients

A view is a matrix: one row per answer of an honest member about a set of clients, one row per client and
corrupted member; columns are all clients' random coefficients, then all their secrets. What is left of the
secrets' columns once the random ones are eliminated is everything the view says about the secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

PRIME = 101
INVERSES = np.array([0, *(pow(x, -1, PRIME) for x in range(1, PRIME))])

Matrices = NDArray[np.int64]
# Which of the sets a client is in, as bits.
Pattern = int


@dataclass(frozen=True)
class Sharing:
    """tau random values and l secrets in each polynomial of degree below tau + l."""

    privacy: int
    packed: int

    def row(self, x: int) -> list[int]:
        """The share at x as a combination of tau random coefficients and l secrets."""
        points = [-k - 1 for k in range(self.packed)]
        vanishing = 1
        for point in points:
            vanishing = vanishing * (x - point) % PRIME
        secrets = []
        for point in points:
            value = 1
            for other in points:
                if other != point:
                    value = value * (x - other) * pow(point - other, -1, PRIME) % PRIME
            secrets.append(value)
        return [vanishing * x**power % PRIME for power in range(self.privacy)] + secrets


@dataclass(frozen=True)
class Question:
    """Clients' patterns over the sets, the corrupted members, and which set each honest member is asked about."""

    sharing: Sharing
    clients: tuple[Pattern, ...]
    corrupted: tuple[int, ...]
    honest: tuple[int, ...]

    def views(self, assignments: Sequence[Sequence[int]]) -> Matrices:
        """One matrix per assignment of the honest members to sets."""
        tau, packed, n = self.sharing.privacy, self.sharing.packed, len(self.clients)
        rows = len(self.honest) + n * len(self.corrupted)
        views = np.zeros((len(assignments), rows, n * (tau + packed)), np.int64)

        def put(view: Matrices, client: int, share: list[int]) -> None:
            view[client * tau : (client + 1) * tau] = share[:tau]
            at = n * tau + client * packed
            view[at : at + packed] = share[tau:]

        for view, assignment in zip(views, assignments, strict=True):
            for row, (member, asked) in enumerate(zip(self.honest, assignment, strict=True)):
                for client, pattern in enumerate(self.clients):
                    if pattern >> asked & 1:
                        put(view[row], client, self.sharing.row(member))
            seen = ((member, client) for member in self.corrupted for client in range(n))
            for row, (member, client) in enumerate(seen, start=len(self.honest)):
                put(view[row], client, self.sharing.row(member))
        return views

    def learned(self, assignments: Sequence[Sequence[int]]) -> Matrices:
        """What each view says about the secrets: (assignments, functionals, clients, l), zero rows among them."""
        columns = len(self.clients) * self.sharing.privacy
        left = eliminated(self.views(assignments), columns)[:, :, columns:]
        return left.reshape(*left.shape[:2], len(self.clients), self.sharing.packed)

    def leaky(self, assignments: Sequence[Sequence[int]], sets: int) -> list[Sequence[int]]:
        """The assignments whose views say something that the sum over one set does not."""
        learned = self.learned(assignments)
        harmless = np.zeros(len(assignments), bool)
        for index in range(sets):
            inside = np.array([pattern >> index & 1 for pattern in self.clients], bool)
            others = learned[:, :, ~inside].any(axis=(1, 2, 3))
            members = learned[:, :, inside]
            unequal = (members != members[:, :, :1]).any(axis=(1, 2, 3))
            harmless |= ~others & ~unequal
        return [assignment for assignment, fine in zip(assignments, harmless, strict=True) if not fine]


def eliminated(matrices: Matrices, columns: int) -> Matrices:
    """Gauss over the first columns of each matrix mod p; rows used up are zero, the others are zero there."""
    left = matrices % PRIME
    for column in range(columns):
        present = left[:, :, column] != 0
        batch = np.flatnonzero(present.any(axis=1))
        chosen = present[batch].argmax(axis=1)
        pivot = left[batch, chosen]
        pivot = pivot * INVERSES[pivot[:, column]][:, None] % PRIME
        left[batch] = (left[batch] - left[batch, :, column][:, :, None] * pivot[:, None, :]) % PRIME
        # The pivot's own row has become zero, and is so for good: nothing is lost, since it spoke of randomness.
    return left


def partitions(members: int, sets: int) -> list[tuple[int, ...]]:
    """Members to at most so many sets, each way once up to the names of the sets."""
    found: list[tuple[int, ...]] = [()]
    for _ in range(members):
        found = [(*one, index) for one in found for index in range(min(sets, max(one, default=-1) + 2))]
    return found


def client_patterns(sets: int, most: int) -> Iterator[tuple[Pattern, ...]]:
    """Up to `most` clients with different patterns; a second client of one pattern adds nothing to the first."""
    for size in range(1, most + 1):
        yield from combinations(range(1, 1 << sets), size)


def leaks(sharing: Sharing, members: int, corrupted: Sequence[int], sets: int, most: int) -> Iterator[str]:
    """Every structure of up to `most` clients, and every assignment to so many sets, that leaks; in words."""
    honest = tuple(member for member in range(1, members + 1) if member not in corrupted)
    assignments = partitions(len(honest), sets)
    for clients in client_patterns(sets, most):
        question = Question(sharing, clients, tuple(corrupted), honest)
        for assignment in question.leaky(assignments, sets):
            yield f"clients {[f'{pattern:0{sets}b}' for pattern in clients]}, members {honest} asked {assignment}"
