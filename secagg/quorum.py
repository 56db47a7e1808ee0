"""How a committee shares a key so that its server opens one sum, whatever it asks whom.

    C members, t of them corrupted, f of them away        a client's key in polynomials, one value per member

    tau = t + floor(2 (C - t) / 3)     uniform values in each polynomial: so many shares say nothing
    r   = C - f                        shares that determine it
    l   = r - tau                      secrets packed into it; at least 1 exactly when t + 3 f < C

Shares add up: a member asked about a set of clients answers with the sum of their shares, and r answers open
the sum of their keys. A server may ask different members about different sets. That two sets cannot both be
opened is not enough, because more than tau shares, though fewer than r, are equations on small numbers.

Claim. When every honest member answers about one set per context, a server with t members and any clients
learns nothing about honest clients beyond the sum over one set, whatever sets it hands out and however it
chooses them. Sets are counted by their honest clients, a set's shares by its answers and the t corrupted ones.

Proof. h = C - t members are honest. A linear functional of a polynomial that does not depend on its uniform
values and looks at tau shares or fewer is zero; and 2 tau + 1 >= 2 t + h = C + t.

    A  Some set has more than tau shares: at least tau + 1 - t honest members answered about it. All other
       answers and all corrupted shares lie at C - (tau + 1 - t) <= tau places. Even every single client's
       shares there, with the whole sum polynomial of the set, leave all keys hidden but for their sum.

    B  No set has. What leaks is a functional: weights w on the honest answers, and for each client weights
       on its corrupted shares. Randomness is drawn per client, so for each client c the functional restricted
       to the answers about sets with c, and to the corrupted shares of c, is free of randomness; so is the
       difference of two clients' restrictions. While two different sets with w != 0 are left (those without
       honest clients say nothing), some client c is in one of them only, and some c' in the other. Answers
       with c, answers with c', and answers with just one of the two cover every honest member at most twice
       in all: the fewest of the three are floor(2 h / 3) or less, with the corrupted places tau or less, and
       there w is zero. In the end one set is left, with tau shares or fewer, and w is zero. What remains
       looks at t <= tau shares of each client, and is zero.

    For fixed questions a view thus has the same distribution for all keys with the same sum over one set; a
    server that lets questions depend on answers is a tree of such views, so this holds for it as well.

With one uniform value less the claim is false: a third of the honest members each, asked about {a}, {b} and
{a, b}, are enough (`tests` find such questions for every committee of up to seven with tau > t).

Whether a member has answered before, and which sets are large enough to be opened, is `protocols`.
Sources: Shamir, CACM 1979; Blakley and Meadows, CRYPTO 1984 (ramp schemes); Franklin and Yung, STOC 1992
(packed secrets). The rule for tau is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from secagg.errors import BadParameters, NoParameters
from secagg.hypergeometric import Population

FEWEST_MEMBERS = 2
MOST_MEMBERS = 100
MOST_CLIENTS = 1_000_000

LEAST_FAILURE_LOG2 = -128  # tails below are not compared with exact ones


@dataclass(frozen=True, slots=True)
class Quorum:
    """A committee of C members, of whom t may help the server and f may stay away.

    Shapes: 2 <= members <= 100, corrupted >= 1, offline >= 0.
    Guarantee: the claim above; without f members the others still open a sum.
    Assumption: every honest member answers about one set of clients per context, also after a restart.
    Raises: BadParameters for anything out of range; NoParameters unless corrupted + 3 offline < members.
    """

    members: int
    corrupted: int
    offline: int

    def __post_init__(self) -> None:
        _check_integer("members", self.members, FEWEST_MEMBERS, MOST_MEMBERS)
        _check_integer("corrupted", self.corrupted, 1, MOST_MEMBERS)
        _check_integer("offline", self.offline, 0, MOST_MEMBERS)
        if self.packed < 1:
            raise NoParameters(
                f"{self.members} members with {self.corrupted} corrupted and {self.offline} offline have no quorum: "
                f"corrupted + 3 * offline must stay below members; lower offline or corrupted, or add members"
            )

    @classmethod
    def usual(cls, members: int) -> Self:
        """A fifth corrupted and a tenth offline, at least one of each; below five members none offline.

        Raises: NoParameters below 2 members; BadParameters above 100 or for no integer.
        """
        if type(members) is int and members < FEWEST_MEMBERS:
            raise NoParameters(f"a committee has at least {FEWEST_MEMBERS} members, not {members}; add members")
        _check_integer("members", members, FEWEST_MEMBERS, MOST_MEMBERS)
        # With one corrupted, five is the first committee that can spare a member.
        return cls(members, max(1, members // 5), 0 if members < 5 else usual_offline(members))

    @property
    def privacy(self) -> int:
        """tau: uniform values in each polynomial; any tau shares are independent of its secrets."""
        return self.corrupted + 2 * (self.members - self.corrupted) // 3

    @property
    def needed(self) -> int:
        """r = tau + l: shares that determine a polynomial."""
        return self.members - self.offline

    @property
    def packed(self) -> int:
        """l: secrets in each polynomial."""
        return self.needed - self.privacy


def usual_offline(members: int) -> int:
    """f: a tenth of the members, at least one."""
    return max(1, members // 10)


def drawn_from(population: int, corrupted: int, failure_log2: float = -40) -> Quorum:
    """The committee of least upload, drawn uniformly from so many clients, of which a tenth may stay away.

    Upload counts the shares, C / l for each secret; of two committees that cost the same the smaller one is taken.

    Guarantee: P[more of the drawn members are corrupted than the quorum allows] < 2^failure_log2, and the
        quorum allows no more than that takes (at least one).
    Assumption: the corrupted clients do not depend on the draw.
    Raises: BadParameters unless 2 <= population <= 10^6, 0 <= corrupted <= population and
        -128 <= failure_log2 < 0; NoParameters when no committee of up to 100 members is safe.
    """
    _check_integer("population", population, FEWEST_MEMBERS, MOST_CLIENTS)
    _check_integer("corrupted", corrupted, 0, population)
    if type(failure_log2) not in (int, float) or not LEAST_FAILURE_LOG2 <= failure_log2 < 0:
        raise BadParameters(f"failure_log2 is from {LEAST_FAILURE_LOG2} up to below 0, not {failure_log2!r}")
    clients = Population(population)
    safe = []
    for members in range(FEWEST_MEMBERS, min(population, MOST_MEMBERS) + 1):
        most_drawn = max(1, clients.draw(corrupted, members).exceeded_below(2.0**failure_log2))
        if most_drawn + 3 * usual_offline(members) < members:
            safe.append(Quorum(members, most_drawn, usual_offline(members)))
    if not safe:
        raise NoParameters(
            f"no committee of up to {MOST_MEMBERS} drawn from {population} clients with {corrupted} corrupted "
            f"bears a tenth offline and fails below 2^{failure_log2}; assume less corruption, or raise failure_log2"
        )
    return min(safe, key=lambda quorum: Fraction(quorum.members, quorum.packed))


def _check_integer(name: str, value: int, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise BadParameters(f"{name} is an integer from {least} to {most}, not {value!r}")
