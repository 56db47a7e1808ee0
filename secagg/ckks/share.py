"""A key that nobody holds: dealt by everybody, opened by any t of C holders together.

    holder j   s_j, e_j fresh;  b_j = -a s_j + e_j         the collective key is b = sum b_j, s = sum s_j
               f_j of degree t - 1 with f_j(0) = s_j       holder i gets f_j(i), keeps sigma_i = sum_j f_j(i)
    opening    d_i = c1 (lambda_i sigma_i) + smudge_i      M = c0 + sum over t of them

Lagrange's lambda_i is multiplied in before the smudge: afterwards it would blow the smudge up modulo q. So the set
that opens is fixed before anybody answers. That all deals lie on polynomials of one degree is checked by
`secagg.ckks.ceremony`.

Source: Asharov, Jain, Lopez-Alt, Tromer, Vaikuntanathan, Wichs, EUROCRYPT 2012; Mouchet, Troncoso-Pastoriza, Bossuat,
Hubaux, PoPETs 2021 (collective keys, partial decryption); Shamir 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from secagg.ckks.cipher import Part, add_into, each_part, subtract_into
from secagg.ckks.plan import MOST_HOLDERS
from secagg.ckks.sample import KEY_SIGMA, key_gaussian, rounded_gaussian, uniform_mod_q
from secagg.errors import BadParameters, BadShare
from secagg.keys import Secret, Seed, derive
from secagg.negacyclic import PRIME, N, Residues, big_product, reduced
from secagg.prg import Stream
from secagg.workers import ALONE, Workers

LABEL_COMMON = b"secagg/v1/ckks/common"
LABEL_KEY = b"secagg/v1/ckks/key"
LABEL_KEY_ERROR = b"secagg/v1/ckks/key-error"
LABEL_DEAL = b"secagg/v1/ckks/deal"
LABEL_DEAL_MASK = b"secagg/v1/ckks/deal-mask"
LABEL_ANSWER = b"secagg/v1/ckks/answer"
LABEL_SMUDGE = b"secagg/v1/ckks/smudge"

WORD = np.dtype("<u8")


class SecretResidues(Secret):
    """Residues that do not print, pickle or copy, and can be overwritten: a key, a share of one, a mask.

    Raises: BadShare for anything but one row of residues; BadParameters from every use after `erase`.
    """

    __slots__ = ()

    def __init__(self, residues: Residues) -> None:
        if residues.dtype != np.uint64 or residues.ndim != 1:
            raise BadShare(f"secret residues are one row of uint64, not {residues.dtype} {residues.shape}")
        if residues.size and int(residues.max()) >= PRIME:
            raise BadShare("a secret residue is not below the modulus")
        super().__init__(residues.astype(WORD).tobytes())

    @property
    def residues(self) -> Residues:
        """A copy, for the one computation that needs it."""
        return np.frombuffer(bytearray(self.expose()), WORD).astype(np.uint64, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Dealt:
    """What holder i has from dealer j: f_j(i), a share of s_j, and mu_j(i), which masks the check of it.

    Raises: BadShare for another number of residues.
    """

    share: SecretResidues
    mask: SecretResidues

    def __post_init__(self) -> None:
        if self.share.residues.size != N or self.mask.residues.size != 1:
            raise BadShare(f"a deal is {N} residues and one more")

    @classmethod
    def of(cls, row: Residues) -> Self:
        """From N + 1 residues, as they travel."""
        return cls(SecretResidues(row[:N]), SecretResidues(row[N:]))

    def erase(self) -> None:
        """Overwrites both; erasing twice is harmless."""
        self.share.erase()
        self.mask.erase()


def common_polynomial(context: bytes) -> Residues:
    """a, which every holder of an epoch takes: uniform, from nothing but the epoch's public context."""
    return uniform_mod_q(Stream(derive(Seed(context), LABEL_COMMON, context)), N)


def own_key(root: Seed, context: bytes) -> SecretResidues:
    """s_j: N coefficients of width 4.6, a function of the holder's root and the epoch."""
    return SecretResidues(reduced(key_gaussian(Stream(derive(root, LABEL_KEY, context)), N)))


def own_public_share(secret: SecretResidues, root: Seed, context: bytes) -> Residues:
    """b_j = -a s_j + e_j for the epoch's a.

    Guarantee: pseudorandom under ring-LWE; a second one for the same key would need another error, so the root
        gives one.
    """
    errors = Stream(derive(root, LABEL_KEY_ERROR, context))
    return public_share(secret.residues, common_polynomial(context), errors)


def own_deals(secret: SecretResidues, threshold: int, holders: int, root: Seed, context: bytes) -> list[Dealt]:
    """What holders 1, ..., C get of s_j; the masks are shares of a random residue.

    Guarantee: as `deal`, for the share and the mask together.
    Raises: BadParameters unless 1 <= t <= C <= 64.
    """
    mask = uniform_mod_q(Stream(derive(root, LABEL_DEAL_MASK, context)), 1)
    rows = deal(np.append(secret.residues, mask), threshold, holders, Stream(derive(root, LABEL_DEAL, context)))
    return [Dealt.of(row) for row in rows]


def combine_deals(deals: Iterable[Dealt]) -> SecretResidues:
    """sigma_i = sum of f_j(i) over all dealers: holder i's share of the collective key."""
    total = np.zeros(N, np.uint64)
    for dealt in deals:
        add_into(total, dealt.share.residues)
    return SecretResidues(total)


def smudging_seed(root: Seed, context: bytes, digest: bytes, members: Sequence[int]) -> Seed:
    """What the smudge of one answer is drawn from: to the same question, of this sum by this set, the same answer.

    Guarantee: a holder that is asked again, or restarted, never gives two answers that average out; another sum or
        set gets a smudge of its own.
    """
    return derive(root, LABEL_ANSWER, context, digest, bytes(sorted(members)))


def public_share(secret: Residues, a: Residues, errors: Stream) -> Residues:
    """b_j = -a s_j + e_j, e_j of width 4.6."""
    total = reduced(key_gaussian(errors, N))
    subtract_into(total, big_product(secret, a))
    return total


def deal(secret: Residues, threshold: int, holders: int, coefficients: Stream) -> Residues:
    """f(1), ..., f(C) for f of degree t - 1 with f(0) = s, coefficient by coefficient.

    Shapes: any number of residues; holders rows of as many.
    Guarantee: any t - 1 rows are uniform and independent of the secret.
    Raises: BadParameters unless 1 <= t <= C <= 64.
    """
    if not 1 <= threshold <= holders <= MOST_HOLDERS:
        raise BadParameters(f"{threshold} of {holders} holders cannot share a key: 1 <= t <= C <= {MOST_HOLDERS}")
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


def partial(
    share: Residues, c1: Residues, weight: int, smudging: float, noise: Seed, workers: Workers = ALONE
) -> Residues:
    """c1 (lambda sigma) + e, e rounded Gaussian of that width.

    Shapes: N residues; rows of N in and out. `noise` is of `smudging_seed`.
    Guarantee: as `CkksPlan.smudging`, when no sum and set is ever answered with fresh noise twice.
    Raises: BadParameters for a smudge narrower than a key, or what are not residues.
    """
    if not KEY_SIGMA <= smudging < PRIME:
        raise BadParameters(f"a partial decryption smudged by {smudging} gives the share away")
    if c1.ndim != 2:
        raise BadParameters(f"c1 is rows of {N} residues, not {c1.shape}")
    weighted, total = scaled(share, weight), np.empty_like(c1)

    def work(part: Part) -> None:
        rows = slice(part.first, part.first + part.size)
        smudge = Stream(derive(noise, LABEL_SMUDGE, bytes(32), part.name))
        answer = big_product(c1[rows], weighted)
        add_into(answer, reduced(rounded_gaussian(smudge, smudging, answer.size)).reshape(answer.shape))
        total[rows] = answer

    each_part(len(c1), work, workers)
    return total


def combine(c0: Residues, partials: Iterable[Residues]) -> Residues:
    """M = c0 + sum of d_i mod q.

    Raises: BadParameters for a part of another shape: nothing is broadcast.
    """
    total = c0.copy()
    for part in partials:
        if part.dtype != total.dtype or part.shape != total.shape:
            raise BadParameters(f"a partial decryption has shape {part.shape}, the sum {total.shape}")
        add_into(total, part)
    return total


def inner(challenge: Residues, values: Residues) -> int:
    """<gamma, x> mod q."""
    return sum(int(left) * int(right) for left, right in zip(challenge, values, strict=True)) % PRIME


def check_degree(values: Mapping[int, int], threshold: int) -> None:
    """Whether all values lie on one polynomial of degree t - 1.

    Raises: BadShare when they do not: somebody dealt a polynomial that two sets of holders open differently;
        BadParameters for fewer values than t, which say nothing.
    """
    if not fits_degree(values, threshold):
        raise BadShare(f"the shares of holders {sorted(values)} lie on no polynomial of degree {threshold - 1}")


def fits_degree(values: Mapping[int, int], threshold: int) -> bool:
    """As `check_degree`, answered; exactly t values always fit."""
    points = sorted(values)
    if not 1 <= threshold <= len(points):
        raise BadParameters(f"{len(points)} values say nothing about a polynomial of degree {threshold - 1}")
    base = points[:threshold]
    for point in points[threshold:]:
        shifted = lagrange([(other - point) % PRIME for other in base])
        expected = sum(shifted[(other - point) % PRIME] * values[other] for other in base) % PRIME
        if expected != values[point]:
            return False
    return True


def _product(factors: Iterable[int]) -> int:
    total = 1
    for factor in factors:
        total = total * factor % PRIME
    return total
