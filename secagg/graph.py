"""Who masks with whom, and how many must remain: (degree, threshold, quorum) from what may go wrong.

    n clients, A = floor(corrupt * n) corrupted, D = floor(dropout * n) lost; a client's secrets are shared
    among its k neighbours, and t of those shares rebuild one.

    t too small    A corrupted neighbours, and a server that asks half of the honest ones for one share and
                   half for the other, hold t shares of both secrets of a victim
    t too large    after D losses nobody can be rebuilt, and the round is lost

On the complete graph (k = n - 1) both are certainties, not chances, so the failure probabilities are zero.

    against CURIOUS    t = max(A + 1, floor(k / 2) + 1)
    SEMI and ACTIVE    t = floor((k + A) / 2) + 1      2 t > k + A: at most one of a victim's two secrets
                       q = floor((n + A) / 2) + 1      two lists with q signers each share an honest signer
    feasible           t <= k - D and q <= n - D

Which answer counts as signed, and what a shortage means, is `protocols`.
Source: Bonawitz et al., CCS 2017, sections 4 and 6; Bell et al., CCS 2020, section 4.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from secagg.errors import BadParameters, NoParameters

MIN_CLIENTS = 3  # among two, each learns the other's vector from the sum
MAX_COMPLETE = 1024
CERTAIN = -math.inf  # log2 of a failure probability of zero


class Against(Enum):
    """What the server is assumed to do."""

    CURIOUS = "curious"  # follows the protocol and looks at everything it sees
    SEMI = "semi"  # also lies about who dropped, and shows different clients different lists
    ACTIVE = "active"  # also chooses whom to drop after it has seen the graph


@dataclass(frozen=True, slots=True)
class Assumption:
    """At most a fraction `corrupt` of the clients helps the server, and at most `dropout` vanishes.

    Shapes: fractions in [0, 1); a float is read as the decimal it prints, so 0.1 means one tenth. sigma and
        eta bound the probability that a sparse graph fails: 2^-sigma for privacy, 2^-eta for completion.
    Raises: BadParameters for anything out of range.
    """

    corrupt: Fraction | float
    dropout: Fraction | float
    sigma: int = 40
    eta: int = 30
    against: Against = Against.ACTIVE

    def __post_init__(self) -> None:
        object.__setattr__(self, "corrupt", _fraction("corrupt", self.corrupt))
        object.__setattr__(self, "dropout", _fraction("dropout", self.dropout))
        for name, value in (("sigma", self.sigma), ("eta", self.eta)):
            if type(value) is not int or not 1 <= value <= 128:
                raise BadParameters(f"{name} is an integer from 1 to 128, not {value!r}")
        if not isinstance(self.against, Against):
            raise BadParameters(f"against is one of {[kind.name for kind in Against]}, not {self.against!r}")

    def corrupted(self, n: int) -> int:
        """A: how many of n clients may help the server."""
        return math.floor(self.corrupt * n)

    def lost(self, n: int) -> int:
        """D: how many of n clients may vanish."""
        return math.floor(self.dropout * n)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an assumption demands of a round.

    Shapes: degree k, neighbours of each client; threshold t, shares that rebuild a secret, the owner's not
        among them; window w, a list of survivors counts when every half neighbourhood of the ring holds at
        least w + 1 of them (0 on the complete graph, where nothing can be cut); quorum q, signatures under
        a list of survivors (0 against CURIOUS: there is no witness round); log2 of failure bounds, -inf for
        certainty.
    """

    degree: int
    threshold: int
    window: int
    quorum: int
    privacy_failure_log2: float
    completion_failure_log2: float


def find_parameters(n: int, assumption: Assumption) -> Parameters:
    """The parameters of n clients under an assumption; every party computes them for itself.

    Guarantee: fewer than `threshold` shares of one of any victim's two secrets can be had, by A corrupted
        clients and a server as assumed; with D clients lost every secret can still be rebuilt.
    Raises: NoParameters naming the largest feasible drop-out; BadParameters when n is no integer.
    """
    feasible = largest_feasible_dropout(n, assumption)
    parameters = _complete(n, assumption)
    if assumption.lost(n) > feasible * n:
        raise NoParameters(
            f"{n} clients with {assumption.corrupted(n)} corrupted cannot lose {assumption.lost(n)}: "
            f"threshold {parameters.threshold} of {parameters.degree}, quorum {parameters.quorum}; "
            f"the largest feasible drop-out is {feasible} ({float(feasible):.4f})"
        )
    return parameters


def largest_feasible_dropout(n: int, assumption: Assumption) -> Fraction:
    """The largest D / n for which parameters exist under the rest of the assumption.

    Raises: NoParameters where even without drop-outs there are none.
    """
    parameters = _complete(n, assumption)
    spare = min(parameters.degree - parameters.threshold, n - parameters.quorum)
    if spare < 0:
        raise NoParameters(
            f"{n} clients with {assumption.corrupted(n)} corrupted have no threshold even without drop-out: "
            f"{parameters.threshold} of {parameters.degree} shares would be needed; assume less corruption"
        )
    return Fraction(spare, n)


def _complete(n: int, assumption: Assumption) -> Parameters:
    """Degree, threshold and quorum of the complete graph, whether or not they leave room for losses."""
    if type(n) is not int:
        raise BadParameters(f"the number of clients is an integer, not {n!r}")
    if not MIN_CLIENTS <= n <= MAX_COMPLETE:
        raise NoParameters(f"a complete graph has {MIN_CLIENTS} to {MAX_COMPLETE} clients, not {n}")
    degree, corrupted = n - 1, assumption.corrupted(n)
    if assumption.against is Against.CURIOUS:
        return Parameters(degree, max(corrupted, degree // 2) + 1, 0, 0, CERTAIN, CERTAIN)
    threshold, quorum = (degree + corrupted) // 2 + 1, (n + corrupted) // 2 + 1
    return Parameters(degree, threshold, 0, quorum, CERTAIN, CERTAIN)


@dataclass(frozen=True, slots=True)
class Graph:
    """Neighbourhoods among the parties of one roster, the same for everybody who computes them.

    Shapes: ids ascend and are distinct.
    Raises: BadParameters for fewer than two or repeated ids, and for a party that is not in the roster.
    """

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.ids) < 2 or any(a >= b for a, b in zip(self.ids, self.ids[1:], strict=False)):
            raise BadParameters("a graph joins at least two parties, in ascending order and each once")

    @classmethod
    def complete(cls, ids: Iterable[int]) -> Graph:
        """Everybody is everybody's neighbour."""
        return cls(tuple(sorted(ids)))

    @property
    def degree(self) -> int:
        return len(self.ids) - 1

    def neighbours(self, u: int) -> tuple[int, ...]:
        """N(u), ascending; u is not among them."""
        place = self._place(u)
        return self.ids[:place] + self.ids[place + 1 :]

    def point(self, owner: int, holder: int) -> int:
        """The x of a holder's shares of an owner's secrets: 1 + its rank in N(owner), over the whole roster.

        Raises: BadParameters when the two are not neighbours; nobody holds shares of its own secrets.
        """
        if owner == holder:
            raise BadParameters(f"party {owner} holds no share of its own secret")
        rank, own = self._place(holder), self._place(owner)
        return 1 + rank - (rank > own)

    def windows(self, survivors: Collection[int]) -> int:
        """The fewest survivors in any half neighbourhood of a ring; on the complete graph, all of them.

        Raises: BadParameters for a survivor that is not in the roster.
        """
        distinct = set(survivors)
        if not distinct.issubset(self.ids):
            raise BadParameters(f"{len(distinct.difference(self.ids))} survivors are not in the roster")
        return len(distinct)

    def _place(self, u: int) -> int:
        place = bisect_left(self.ids, u)
        if place == len(self.ids) or self.ids[place] != u:
            raise BadParameters(f"party {u} is not in the roster of {len(self.ids)}")
        return place


def _fraction(name: str, value: Fraction | float) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, Fraction | int | float):
        raise BadParameters(f"{name} is a fraction, not {type(value).__name__}")
    if not 0 <= value < 1:
        raise BadParameters(f"{name} is at least 0 and below 1, not {value}")
    return Fraction(repr(float(value))) if isinstance(value, float) else Fraction(value)
