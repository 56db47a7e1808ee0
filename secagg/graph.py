"""Who masks with whom and holds whose shares.

    complete    everybody with everybody; nothing can be cut; up to 64 clients always, up to 1024 by choice
    ring        positions in an order that a public seed decides; each with the k / 2 before and after it

                 ... o - o - [u] - o - o ...     k = 4: u, its four neighbours, and so on around

On a ring of k neighbours work and traffic of a client no longer grow with n, and a few secrets decide less:
its degree comes from a failure probability (`harary.py`), not from certainty (`parameters.py`), and that
bound is about an order of the ring that nobody chose. So where the seed comes from matters:

    ROSTER    hash of the roster; whoever picks the roster can try many of them, and is trusted not to
    BEACON    hash of the roster and of a public value that did not exist when the roster was fixed

Then, against an ACTIVE server: honest answers are about one list of survivors (quorum); at most one secret of
anybody is rebuilt (threshold); the pair masks that stay unknown connect the honest survivors (window); so the
masked vectors of these are uniform but for their sum.
Source: Bell et al., CCS 2020, sections 3 and 4 (a random Harary graph).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from secagg.errors import BadParameters
from secagg.harary import ALWAYS_COMPLETE
from secagg.harary import find_sparse_parameters as find_sparse_parameters
from secagg.harary import largest_feasible_sparse_dropout as largest_feasible_sparse_dropout
from secagg.keys import HASH_BYTES, Context, Seed, derive
from secagg.parameters import Against as Against
from secagg.parameters import Assumption as Assumption
from secagg.parameters import Parameters as Parameters
from secagg.parameters import find_parameters as find_parameters
from secagg.parameters import largest_feasible_dropout as largest_feasible_dropout
from secagg.prg import Stream

LABEL_GRAPH = b"secagg/v1/pairwise/graph"
LABEL_ROSTER_SEED = b"secagg/v1/pairwise/graph-roster"
LABEL_BEACON_SEED = b"secagg/v1/pairwise/graph-beacon"


class GraphMode(Enum):
    """Which graph, and for a sparse one, who could have influenced it."""

    COMPLETE = "complete"
    ROSTER = "roster"  # the promise becomes "active, graph trusted"
    BEACON = "beacon"


def choose_parameters(n: int, assumption: Assumption, mode: GraphMode) -> Parameters:
    """The parameters of n clients; the complete graph's up to 64 whatever the mode, and never instead of others.

    Raises: NoParameters naming the largest feasible drop-out of the graph asked for; BadParameters for an n
        that is no integer or a mode that is none.
    """
    if not isinstance(mode, GraphMode):
        raise BadParameters(f"a mode is one of {[kind.name for kind in GraphMode]}, not {mode!r}")
    sparse = mode is not GraphMode.COMPLETE and not (type(n) is int and n <= ALWAYS_COMPLETE)
    return find_sparse_parameters(n, assumption) if sparse else find_parameters(n, assumption)


def roster_seed(roster: bytes) -> bytes:
    """SHA-256(label, roster hash).

    Raises: BadParameters unless the roster's hash is 32 bytes.
    """
    return hashlib.sha256(LABEL_ROSTER_SEED + _roster_hash(roster)).digest()


def beacon_seed(roster: bytes, value: bytes) -> bytes:
    """SHA-256(label, roster hash, public value).

    Guarantee: nobody who fixed the roster before the value was known has any influence on the graph.
    Raises: BadParameters unless the roster's hash is 32 bytes and the value at least as many; a shorter one
        could be guessed in advance.
    """
    if len(value) < HASH_BYTES:
        raise BadParameters(f"the value of a beacon is at least {HASH_BYTES} bytes, not {len(value)}")
    return hashlib.sha256(LABEL_BEACON_SEED + _roster_hash(roster) + value).digest()


@dataclass(frozen=True, slots=True)
class Graph(ABC):
    """Neighbourhoods among the parties of one roster, the same for everybody who computes them.

    Shapes: ids ascend and are distinct.
    Raises: BadParameters for fewer than two or repeated ids, and for a party that is not in the roster.
    """

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.ids) < 2 or any(a >= b for a, b in zip(self.ids, self.ids[1:], strict=False)):
            raise BadParameters("a graph joins at least two parties, in ascending order and each once")

    @staticmethod
    def complete(ids: Iterable[int]) -> CompleteGraph:
        """Everybody is everybody's neighbour."""
        return CompleteGraph(tuple(sorted(ids)))

    @staticmethod
    def ring(ids: Iterable[int], degree: int, seed: bytes, context: Context) -> HararyGraph:
        """The ring of these parties under a public seed: positions by ascending (key, id).

        The key of the party of rank i is word i of the `graph` stream, 128 bits little-endian.

        Guarantee: every order is as likely as any other to whoever fixed ids and context without the seed.
        Raises: BadParameters for a seed or context that is not 32 bytes, and an odd or too large degree.
        """
        roster = tuple(sorted(ids))
        keys = Stream(derive(Seed(seed), LABEL_GRAPH, context)).words(0, 2 * len(roster)).reshape(-1, 2)
        # The sort is stable and ranks ascend with ids, so equal keys fall back on the id.
        order = np.lexsort((keys[:, 0], keys[:, 1])).tolist()
        return HararyGraph(roster, tuple([roster[rank] for rank in order]), degree)

    @property
    @abstractmethod
    def degree(self) -> int:
        """k: how many neighbours everybody has."""

    @abstractmethod
    def neighbours(self, u: int) -> tuple[int, ...]:
        """N(u), ascending; u is not among them."""

    @abstractmethod
    def point(self, owner: int, holder: int) -> int:
        """The x of a holder's shares of an owner's secrets: 1 + its rank in N(owner), over the whole roster.

        Raises: BadParameters when the two are not neighbours; nobody holds shares of its own secrets.
        """

    @abstractmethod
    def windows(self, survivors: Collection[int]) -> int:
        """The fewest survivors in any half neighbourhood of a ring; on the complete graph, all of them.

        Raises: BadParameters for a survivor that is not in the roster.
        """

    def _place(self, u: int) -> int:
        place = bisect_left(self.ids, u)
        if place == len(self.ids) or self.ids[place] != u:
            raise BadParameters(f"party {u} is not in the roster of {len(self.ids)}")
        return place

    def _members(self, survivors: Collection[int]) -> set[int]:
        distinct = set(survivors)
        if not distinct.issubset(self.ids):
            raise BadParameters(f"{len(distinct.difference(self.ids))} survivors are not in the roster")
        return distinct


@dataclass(frozen=True, slots=True)
class CompleteGraph(Graph):
    """Everybody masks with everybody: k = n - 1."""

    @property
    def degree(self) -> int:
        return len(self.ids) - 1

    def neighbours(self, u: int) -> tuple[int, ...]:
        place = self._place(u)
        return self.ids[:place] + self.ids[place + 1 :]

    def point(self, owner: int, holder: int) -> int:
        rank, own = self._place(holder), self._place(owner)
        if rank == own:
            raise BadParameters(f"party {owner} holds no share of its own secret")
        return 1 + rank - (rank > own)

    def windows(self, survivors: Collection[int]) -> int:
        return len(self._members(survivors))


@dataclass(frozen=True, slots=True)
class HararyGraph(Graph):
    """A ring on which everybody masks with the k / 2 before and the k / 2 after it.

    Shapes: order holds every id once, by position; the degree is even and below the number of parties.
    Raises: BadParameters for any other order or degree.
    """

    order: tuple[int, ...]
    degree: int
    _position: dict[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        Graph.__post_init__(self)
        if tuple(sorted(self.order)) != self.ids:
            raise BadParameters("the order of a ring holds every party of the roster once")
        if type(self.degree) is not int or self.degree % 2 or not 2 <= self.degree < len(self.ids):
            raise BadParameters(
                f"the degree of a ring of {len(self.ids)} is even, at least 2 and below {len(self.ids)}, "
                f"not {self.degree!r}"
            )
        object.__setattr__(self, "_position", {u: position for position, u in enumerate(self.order)})

    def neighbours(self, u: int) -> tuple[int, ...]:
        return tuple(sorted(self._around(u)))

    def point(self, owner: int, holder: int) -> int:
        around = self._around(owner)
        self._place(holder)
        if owner == holder:
            raise BadParameters(f"party {owner} holds no share of its own secret")
        if holder not in around:
            raise BadParameters(f"party {holder} is no neighbour of party {owner} and holds no share of it")
        return 1 + sum(map(holder.__gt__, around))

    def windows(self, survivors: Collection[int]) -> int:
        half, distinct = self.degree // 2, self._members(survivors)
        alive = np.fromiter((u in distinct for u in self.order), dtype=np.int64, count=len(self.order))
        before = np.concatenate(([0], np.cumsum(alive), alive.sum() + np.cumsum(alive[: half - 1])))
        return int((before[half:] - before[:-half]).min())

    def _around(self, u: int) -> tuple[int, ...]:
        """N(u) in the order of the ring."""
        self._place(u)
        half, position, n = self.degree // 2, self._position[u], len(self.order)
        first, last = position - half, position + half + 1
        if first < 0:
            return self.order[first:] + self.order[:position] + self.order[position + 1 : last]
        return self.order[first:position] + self.order[position + 1 : last] + self.order[: max(0, last - n)]


def _roster_hash(roster: bytes) -> bytes:
    if len(roster) != HASH_BYTES:
        raise BadParameters(f"the hash of a roster is {HASH_BYTES} bytes, not {len(roster)}")
    return roster
