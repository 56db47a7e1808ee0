"""A key that nobody holds: dealt by everybody, opened by any t of C holders together.

    holder j   s_j, e_j fresh;  b_j = -a s_j + e_j         the collective key is b = sum b_j, s = sum s_j
               f_j of degree t - 1 with f_j(0) = s_j       holder i gets f_j(i), keeps sigma_i = sum_j f_j(i)
    opening    d_i = c1 (lambda_i sigma_i) + smudge_i      M = c0 + sum over t of them

Lagrange's lambda_i is multiplied in before the smudge: afterwards it would blow the smudge up modulo q. So the set
that opens is fixed before anybody answers.

Source: Asharov, Jain, Lopez-Alt, Tromer, Vaikuntanathan, Wichs, EUROCRYPT 2012; Mouchet, Troncoso-Pastoriza, Bossuat,
Hubaux, PoPETs 2021 (collective keys, partial decryption); Shamir 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from secagg.ckks.cipher import add_into
from secagg.ckks.sample import key_gaussian, rounded_gaussian, uniform_mod_q
from secagg.errors import BadParameters, BadShare
from secagg.negacyclic import PRIME, N, Residues, big_product, reduced
from secagg.prg import Stream


def public_share(secret: Residues, a: Residues, errors: Stream) -> Residues:
    """b_j = -a s_j + e_j, e_j of width 4.6."""
    product = big_product(secret[None], a)[0]
    total = reduced(key_gaussian(errors, N))
    add_into(total, (np.uint64(PRIME) - product) % np.uint64(PRIME))
    return total


def deal(secret: Residues, threshold: int, holders: int, coefficients: Stream) -> Residues:
    """f(1), ..., f(C) for f of degree t - 1 with f(0) = s, coefficient by coefficient.

    Shapes: N residues; holders rows of N.
    Guarantee: any t - 1 rows are uniform and independent of the secret.
    """
    random = uniform_mod_q(coefficients, (threshold - 1) * secret.size).reshape(threshold - 1, secret.size)
    rows = np.zeros((holders, secret.size), np.uint64)
    for point, row in enumerate(rows, start=1):
        for coefficient in (*random, secret):
            # Below 2^54 times at most 64, plus 2^54: no word overflows.
            row *= np.uint64(point)
            row += coefficient
            row %= np.uint64(PRIME)
    return rows


def lagrange(points: Sequence[int]) -> dict[int, int]:
    """lambda_i with sum of lambda_i f(i) = f(0) for every f of degree below their number.

    Raises: BadParameters for a point twice, or one that is no holder's.
    """
    if len(set(points)) != len(points) or any(not 0 < point < PRIME for point in points):
        raise BadParameters(f"points must be distinct holders, got {list(points)}")
    weights = {}
    for mine in points:
        others = [point for point in points if point != mine]
        numerator = _product(-point for point in others)
        denominator = _product(mine - point for point in others)
        weights[mine] = numerator * pow(denominator, -1, PRIME) % PRIME
    return weights


def scaled(residues: Residues, factor: int) -> Residues:
    """factor * x mod q for one polynomial."""
    return np.array([int(value) * factor % PRIME for value in residues], np.uint64)


def partial(share: Residues, c1: Residues, weight: int, smudging: float, noise: Stream) -> Residues:
    """c1 (lambda sigma) + e, e rounded Gaussian of that width.

    Shapes: N residues; rows of N in and out.
    Guarantee: as `CkksPlan.smudging`, when no sum and set is ever answered with fresh noise twice.
    """
    if smudging <= 0.0:
        raise BadParameters("a partial decryption without smudging gives the share away")
    total = big_product(c1, scaled(share, weight))
    add_into(total, reduced(rounded_gaussian(noise, smudging, total.size)).reshape(total.shape))
    return total


def combine(c0: Residues, partials: Iterable[Residues]) -> Residues:
    """M = c0 + sum of d_i mod q."""
    total = c0.copy()
    for part in partials:
        add_into(total, part)
    return total


def inner(challenge: Residues, values: Residues) -> int:
    """<gamma, x> mod q."""
    return sum(int(left) * int(right) for left, right in zip(challenge, values, strict=True)) % PRIME


def check_degree(values: Mapping[int, int], threshold: int) -> None:
    """Whether all values lie on one polynomial of degree t - 1.

    Raises: BadShare when they do not: somebody dealt a polynomial that two sets of holders open differently.
    """
    points = sorted(values)
    base = points[:threshold]
    for point in points[threshold:]:
        shifted = lagrange([(other - point) % PRIME for other in base])
        expected = sum(shifted[(other - point) % PRIME] * values[other] for other in base) % PRIME
        if expected != values[point]:
            raise BadShare(f"the shares of holders {points} lie on no polynomial of degree {threshold - 1}")


def _product(factors: Iterable[int]) -> int:
    total = 1
    for factor in factors:
        total = total * factor % PRIME
    return total
