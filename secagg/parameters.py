"""How many must remain: (degree, threshold, window, quorum) from what may go wrong.

    n clients, A = floor(corrupt * n) corrupted, D = floor(dropout * n) lost; a client's secrets are shared
    among its k neighbours, and t of those shares rebuild one.

    t too small    A corrupted neighbours, and a server that asks half of the honest ones for one share and
                   half for the other, hold t shares of both secrets of a victim
    t too large    after D losses nobody can be rebuilt, and the round is lost

On the complete graph (k = n - 1), answered here, both are certainties, not chances, so the failure
probabilities are zero. The sparse graph, where they are chances, is `harary.py`.

    against CURIOUS    t = max(A + 1, floor(k / 2) + 1)
    SEMI and ACTIVE    t = floor((k + A) / 2) + 1      2 t > k + A: at most one of a victim's two secrets
                       q = floor((n + A) / 2) + 1      two lists with q signers each share an honest signer
    feasible           t <= k - D and q <= n - D

Which answer counts as signed, and what a shortage means, is `protocols`.
Source: Bonawitz et al., CCS 2017, sections 4 and 6; Bell et al., CCS 2020, section 4.
"""

from __future__ import annotations

import math
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
        eta bound the probability that a sparse graph fails: 2^-sigma for privacy, 2^-eta for completion,
        against ACTIVE for each of the two ways not to complete.
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

    def quorum(self, n: int) -> int:
        """q: so many signers that two lists of n clients share an honest one; 0 where nobody signs."""
        return 0 if self.against is Against.CURIOUS else (n + self.corrupted(n)) // 2 + 1


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an assumption demands of a round.

    Shapes: degree k, neighbours of each client; threshold t, shares that rebuild a secret, the owner's not
        among them; window w, a list of survivors counts when every half neighbourhood of the ring holds at
        least w + 1 of them (0 on the complete graph, where nothing can be cut; -1 on a ring whose losses
        are assumed to be chance, where nothing is demanded); quorum q, signatures under a list of survivors
        (0 against CURIOUS: there is no witness round); log2 of failure bounds, -inf for certainty.
    """

    degree: int
    threshold: int
    window: int
    quorum: int
    privacy_failure_log2: float
    completion_failure_log2: float


def find_parameters(n: int, assumption: Assumption) -> Parameters:
    """The parameters of n clients on the complete graph; every party computes them for itself.

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
    """The largest D / n for which a complete graph has parameters under the rest of the assumption.

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


def check_clients(n: int, least: int, most: int, graph: str) -> None:
    """Raises: BadParameters when n is no integer; NoParameters unless least <= n <= most."""
    if type(n) is not int:
        raise BadParameters(f"the number of clients is an integer, not {n!r}")
    if not least <= n <= most:
        raise NoParameters(f"a {graph} graph has {least} to {most} clients, not {n}")


def _complete(n: int, assumption: Assumption) -> Parameters:
    """Degree, threshold and quorum of the complete graph, whether or not they leave room for losses."""
    check_clients(n, MIN_CLIENTS, MAX_COMPLETE, "complete")
    degree, corrupted = n - 1, assumption.corrupted(n)
    threshold = (degree + corrupted) // 2 + 1
    if assumption.against is Against.CURIOUS:
        threshold = max(corrupted, degree // 2) + 1
    return Parameters(degree, threshold, 0, assumption.quorum(n), CERTAIN, CERTAIN)


def _fraction(name: str, value: Fraction | float) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, Fraction | int | float):
        raise BadParameters(f"{name} is a fraction, not {type(value).__name__}")
    if not 0 <= value < 1:
        raise BadParameters(f"{name} is at least 0 and below 1, not {value}")
    return Fraction(repr(float(value))) if isinstance(value, float) else Fraction(value)
