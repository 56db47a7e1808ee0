"""Which members' shares are off the polynomials of the others, found from all polynomials at once.

    syndromes of one polynomial's n shares     S_k = sum over members of v_x x^k y_x,  k = 0 .. n - r - 1
                                               v_x = 1 / prod over other x' of (x - x'): all are 0 where none is off
    e shares are off, the same in all rows     Lambda(z) = product of (z - x) over them
                                               sum over j of Lambda_j S_{k+j} = 0  for each row and k < n - r - e

Rows share Lambda: together they give equations enough for as many as n - r - 1 that are off, as long as what they are
off by does not depend linearly on each other, as lies that were not made for it do not; one row alone for half as many.

Source: Krachkovsky and Lee, IEEE Trans. Inf. Theory 43(6), 1997; Bleichenbacher, Kiayias, Yung, ICALP 2003 (interleaved
Reed-Solomon codes); Peterson 1960 for one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from secagg.quorum import Quorum
from secagg.shamir import PACKED_PRIME, PackedShare, check_shares

# Rows that are looked at, of those in which something is off: more than shares can be off and still be told.
MOST_ROWS = 40


def off_the_others(shares: Mapping[int, PackedShare], quorum: Quorum) -> frozenset[int] | None:
    """The fewest members without whose shares all others lie on polynomials of degree below r; None where it cannot be
    told: too many are off, or there are too few shares to tell.

    Shapes: rows of words below 2^31 - 1, at least r of them. What is found may still be wrong where more are off than
        shares beyond r can show: what the secrets are for tells.
    Raises: BadParameters for somebody who is no member; BadShare for what is no share.
    """
    first = next(iter(shares.values()), np.zeros(0, np.uint32))
    members = check_shares(shares, quorum, first.size)
    spare = len(members) - quorum.needed
    if spare < 1:
        return frozenset() if spare == 0 else None
    rows = _syndromes(members, np.stack([shares[member] for member in members]), spare)
    if not rows:
        return frozenset()
    for count in range(1, spare):
        locator = _locator(rows, count, spare)
        if locator is not None:
            roots = frozenset(member for member in members if _at(locator, member) == 0)
            return roots if len(roots) == count else None
    return None


def _syndromes(members: Sequence[int], values: PackedShare, spare: int) -> list[list[int]]:
    """(S_0, ..., S_{n - r - 1}) of the first rows that have one which is not 0."""
    checks = []
    weights = [pow(_product(x - other for other in members if other != x), -1, PACKED_PRIME) for x in members]
    for power in range(spare):
        total = np.zeros(values.shape[1], np.uint64)
        for x, weight, row in zip(members, weights, values, strict=True):
            factor = np.uint64(weight * pow(x, power, PACKED_PRIME) % PACKED_PRIME)
            total += factor * row.astype(np.uint64) % np.uint64(PACKED_PRIME)
        checks.append(total % np.uint64(PACKED_PRIME))
    stacked = np.stack(checks, axis=1)
    return [[int(each) for each in row] for row in stacked[stacked.any(axis=1)][:MOST_ROWS]]


def _locator(rows: list[list[int]], count: int, spare: int) -> list[int] | None:
    """The one monic polynomial of this degree that all syndromes follow, lowest coefficient first; None unless one."""
    equations = [[*row[k : k + count], row[k + count]] for row in rows for k in range(spare - count)]
    solved = _reduced(equations, count)
    return None if solved is None else [*(-value % PACKED_PRIME for value in solved), 1]


def _reduced(equations: list[list[int]], unknowns: int) -> list[int] | None:
    """The one solution of linear equations mod the prime, each with its right side last; None unless there is one."""
    left = equations
    for column in range(unknowns):
        pivot = next((place for place in range(column, len(left)) if left[place][column]), None)
        if pivot is None:
            return None
        left[column], left[pivot] = left[pivot], left[column]
        inverse = pow(left[column][column], -1, PACKED_PRIME)
        left[column] = [value * inverse % PACKED_PRIME for value in left[column]]
        for place, row in enumerate(left):
            if place != column and row[column]:
                factor = row[column]
                left[place] = [(a - factor * b) % PACKED_PRIME for a, b in zip(row, left[column], strict=True)]
    if any(row[unknowns] for row in left[unknowns:]):
        return None
    return [left[column][unknowns] for column in range(unknowns)]


def _at(polynomial: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % PACKED_PRIME
    return value


def _product(factors: Iterable[int]) -> int:
    total = 1
    for factor in factors:
        total = total * factor % PACKED_PRIME
    return total
