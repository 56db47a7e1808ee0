"""What a round must end in: a model of sets that shares no code with the protocol.

    U1 advertised, U2 shared, U3 sent a vector, U4 witnessed, U5 answered        (pairwise.md, section 11)

A client is told by the exchange at which it is lost, 0..4, or 5 when it stays. The answer is U3, the set that is
summed, or the name of the room in which the round is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Ring = Callable[[], tuple[int, ...]]


@dataclass(frozen=True)
class Rules:
    """The terms of a round: nobody is corrupt, `spare` of the `invited` may be lost, an active server or not.

    `degree` of a ring of so many clients; the complete graph has n - 1.
    """

    invited: int
    spare: int
    min_cohort: int
    active: bool
    degree: Callable[[int], int]


def verdict(rules: Rules, lost_at: Mapping[int, int], ring: Ring) -> frozenset[int] | str:
    """The survivors whose sum must come out, or the room that ends the round. `ring` is U1 in its order."""
    u1 = {who for who, exchange in lost_at.items() if exchange > 0}
    n = len(u1)
    k = rules.degree(n)
    t = k // 2 + 1 if rules.active or k == n - 1 else k // 2
    q = n // 2 + 1 if rules.active else 0
    still_spare = max(0, rules.spare - (rules.invited - n))
    if n < rules.min_cohort or (k == n - 1 and still_spare > min(k - t, n - q)):
        return "Gathering"
    least = max(rules.min_cohort, q)
    order = ring() if k < n - 1 else tuple(u1)
    near = {who: _around(order, place, k) for place, who in enumerate(order)}

    u2 = {who for who in u1 if lost_at[who] > 1}
    while thin := {who for who in u2 if len(near[who] & u2) < t}:
        u2 -= thin
    if len(u2) < least:
        return "Relaying"
    u3 = {who for who in u2 if lost_at[who] > 2}
    half_windows = [set((order + order)[place : place + k // 2]) for place in range(n)]

    def cut(there: set[int]) -> bool:
        return rules.active and k < n - 1 and any(not window & there for window in half_windows)

    if len(u3) < least or any(len(near[who] & u3) < t for who in u2) or cut(u3):
        return "Summing"
    u4 = {who for who in u3 if lost_at[who] > 3 or not rules.active}
    if rules.active and (len(u4) < least or cut(u4)):
        return "Witnessing"
    u5 = {who for who in u4 if lost_at[who] > 4}
    if any(len(near[who] & u5) < t for who in u2):
        return "Unmasking"
    return frozenset(u3)


def _around(order: tuple[int, ...], place: int, k: int) -> set[int]:
    n = len(order)
    if k == n - 1:
        return set(order) - {order[place]}
    return {order[(place + step) % n] for step in range(-(k // 2), k // 2 + 1) if step}
