"""Sharing a secret so that enough points of a polynomial determine it, and fewer say nothing about it.

    one 32-byte seed     f(X) = secret + c_1 X + ... + c_{t-1} X^{t-1}   over Z_p,   p = 2^256 + 297
                         share of holder x: (x, f(x))        secret = sum over t shares of y * lambda_x,
                                                             lambda_x = prod over other x' of x' / (x' - x)

    many small integers  f(-1), ..., f(-l) are secrets, f(1), ..., f(tau) uniform   over Z_q,   q = 2^31 - 1
                         share of member i: f(i)             any r = tau + l shares determine f, tau say nothing

p is the smallest prime above 2^256: every 32-byte string is a field element as it stands, with no reduction
and no bias, and a share is 33 bytes. q is as large as a word of 32 bits allows with every sum of two residues
below 2^32 and every product below 2^62; shares of it are rows of such words, one word per polynomial, and
they add up: sums of shares are shares of the sums. How tau and l follow from a committee is `quorum.py`.
Which x belongs to whom, and what a wrong share means for its dealer, is decided in `protocols`.
Sources: Shamir, CACM 1979; Franklin and Yung, STOC 1992 (packed secrets).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters, BadShare
from secagg.keys import SEED_BYTES, Seed
from secagg.prg import Stream
from secagg.quorum import Quorum

PRIME = 2**256 + 297
FIELD_BITS = PRIME.bit_length()
SHARE_BYTES = 33

PACKED_PRIME = 2**31 - 1
# Packed secrets, and sums of them, lie from -MOST_PACKED to MOST_PACKED.
MOST_PACKED = PACKED_PRIME // 2

PackedShare = NDArray[np.uint32]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

# Horner's rule over plain integers: a reduction costs as much as a few steps, so it is done once in so many.
STEPS_PER_REDUCTION = 32


@dataclass(frozen=True, slots=True)
class Share:
    """The point (x, y) of one holder. y is secret: it never prints.

    Raises: BadShare unless 1 <= x < p and 0 <= y < p; x = 0 would be the secret itself.
    """

    x: int
    y: int = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.x < PRIME:
            raise BadShare("a share's x is at least 1 and below the prime")
        if not 0 <= self.y < PRIME:
            raise BadShare(f"the share of holder {self.x} is not a field element")

    def to_bytes(self) -> bytes:
        """y, 33 bytes big-endian; x is known from who holds it."""
        return self.y.to_bytes(SHARE_BYTES, "big")

    @classmethod
    def from_bytes(cls, x: int, data: bytes) -> Share:
        """The share at point x whose value these 33 bytes hold, big-endian.  Raises: BadShare for other lengths."""
        if len(data) != SHARE_BYTES:
            raise BadShare(f"the share of holder {x} is {len(data)} bytes, not {SHARE_BYTES}")
        return cls(x, int.from_bytes(data, "big"))


def split(secret: Seed, threshold: int, points: Sequence[int], coefficients: Stream) -> list[Share]:
    """One share per point of a polynomial of degree threshold - 1 through (0, secret).

    Guarantee: any threshold - 1 shares are independent of the secret, whatever it is, when the stream is
        secret and serves this polynomial only.
    Raises: BadParameters unless 1 <= threshold <= len(points) and points are distinct in 1 .. 2^32 - 1.
    """
    if not 1 <= threshold <= len(points):
        raise BadParameters(f"threshold {threshold} is not in 1..{len(points)}, the number of points")
    if len(set(points)) != len(points) or not all(0 < x < 1 << 32 for x in points):
        raise BadParameters("points of shares are distinct and in 1 .. 2^32 - 1")
    polynomial = [int.from_bytes(secret.expose(), "big"), *draw_elements(coefficients, threshold - 1)]
    return [Share(x, evaluate(polynomial, x, PRIME)) for x in points]


def combine(shares: Sequence[Share], threshold: int) -> Seed:
    """The secret, from exactly `threshold` shares.

    Guarantee: shares on one polynomial of degree below threshold give its value at 0. Others give some seed
        or BadShare; only a commitment to the secret tells them apart.
    Raises: BadShare for another number of shares, a repeated x, or a value that is no 32-byte secret;
        BadParameters for a threshold below 1.
    """
    if threshold < 1:
        raise BadParameters(f"a threshold is at least 1, not {threshold}")
    if len(shares) != threshold:
        raise BadShare(f"{threshold} shares are needed, no more and no fewer; got {len(shares)}")
    xs = tuple(share.x for share in shares)
    if len(set(xs)) != threshold:
        raise BadShare("two shares have the same x")
    value = interpolate(xs, [share.y for share in shares], PRIME)
    if value >= 1 << 8 * SEED_BYTES:
        raise BadShare("the shares lie on no polynomial through a 32-byte secret")
    return Seed(value.to_bytes(SEED_BYTES, "big"))


def draw_elements(stream: Stream, count: int) -> list[int]:
    """`count` uniform elements of Z_p: successive 33-byte draws, cut to 257 bits, those >= p rejected."""
    elements: list[int] = []
    offset = 0
    while len(elements) < count:
        # About half are rejected; what is missing is asked for twice over, in one read.
        draws = stream.bytes(offset, 2 * SHARE_BYTES * (count - len(elements)))
        offset += len(draws)
        for start in range(0, len(draws), SHARE_BYTES):
            element = int.from_bytes(draws[start : start + SHARE_BYTES], "little") % (1 << FIELD_BITS)
            if element < PRIME and len(elements) < count:
                elements.append(element)
    return elements


def evaluate(polynomial: Sequence[int], x: int, prime: int) -> int:
    """f(x) mod prime, coefficients from the constant upwards."""
    value = 0
    for stop in range(len(polynomial), 0, -STEPS_PER_REDUCTION):
        for coefficient in reversed(polynomial[max(0, stop - STEPS_PER_REDUCTION) : stop]):
            value = value * x + coefficient
        value %= prime
    return value


def interpolate(xs: tuple[int, ...], ys: Sequence[int], prime: int) -> int:
    """f(0) mod prime of the polynomial of degree below len(xs) through these points."""
    return sum(y * factor for y, factor in zip(ys, lagrange_at_zero(xs, prime), strict=True)) % prime


@lru_cache(maxsize=128)
def lagrange_at_zero(xs: tuple[int, ...], prime: int) -> tuple[int, ...]:
    """lambda_i = prod over j != i of x_j / (x_j - x_i) mod prime.

    Cached, because without drop-outs everybody's shares come from the same points; points are public.
    """
    numerator = prod(xs) % prime
    denominators = [x * prod(other - x for other in xs if other != x) % prime for x in xs]
    return tuple(numerator * inverse % prime for inverse in invert_all(denominators, prime))


def invert_all(values: Sequence[int], prime: int) -> list[int]:
    """Inverses mod prime by one inversion: 1/a_i = (a_1 .. a_{i-1}) * (a_{i+1} .. a_n) / (a_1 .. a_n)."""
    prefixes = [1]
    for value in values:
        prefixes.append(prefixes[-1] * value % prime)
    inverse = pow(prefixes[-1], -1, prime)
    inverses = []
    for value, before in zip(reversed(values), reversed(prefixes[:-1]), strict=True):
        inverses.append(inverse * before % prime)
        inverse = inverse * value % prime
    return inverses[::-1]


def deal_packed(values: Integers, quorum: Quorum, random: Stream) -> PackedShare:
    """Row i - 1 is the share of member i: values at i of ceil(N / l) polynomials that hold N secrets.

    Shapes: values one row of N >= 1 int64 from -(q - 1) / 2 to (q - 1) / 2; the result is (members, rows) uint32
        below q. Secret j lies at -(j // rows + 1) of polynomial j % rows; zeros fill up the last ones.
    Guarantee: any tau rows of the result are uniform and independent of the values, when the stream is secret
        and serves this call only. The result is as secret as the values: whoever has it overwrites both.
    Raises: BadParameters for another shape or type, or a value out of range.
    """
    if values.dtype != np.int64 or values.ndim != 1 or values.size == 0:
        raise BadParameters(f"expected one row of int64, got shape {values.shape} of {values.dtype}")
    if values.max() > MOST_PACKED or values.min() < -MOST_PACKED:
        raise BadParameters(f"packed secrets lie from {-MOST_PACKED} to {MOST_PACKED}")
    rows, chosen = packed_rows(values.size, quorum), quorum.privacy
    known = np.zeros((quorum.needed, rows), np.uint64)
    secrets = known[: quorum.packed].view(np.int64).reshape(-1)
    np.remainder(values, PACKED_PRIME, out=secrets[: values.size])
    known[quorum.packed :] = draw_packed(random, chosen * rows).reshape(chosen, rows)
    shares = np.empty((quorum.members, rows), np.uint32)
    shares[:chosen] = known[quorum.packed :]
    nodes = (*secret_points(quorum), *range(1, chosen + 1))
    shares[chosen:] = transfer(nodes, tuple(range(chosen + 1, quorum.members + 1)), known)
    known.fill(0)
    return shares


def combine_packed(shares: Mapping[int, PackedShare], quorum: Quorum, count: int) -> Integers:
    """The `count` secrets, centred, from the shares of exactly r members.

    Guarantee: shares of one dealing, or sums mod q of the same members' shares of many, give the secrets or
        their sums, where these lie from -(q - 1) / 2 to (q - 1) / 2. Any other shares give some integers: only
        more than r shares (`fitting`), or what the secrets are for, tells them apart.
    Raises: BadParameters for count < 1 or somebody who is no member; BadShare for another number of shares or
        a share that is not of ceil(count / l) words below q.
    """
    members = check_shares(shares, quorum, packed_rows(count, quorum))
    if len(members) != quorum.needed:
        raise BadShare(f"{quorum.needed} shares are needed, no more and no fewer; got {len(members)}")
    residues = transfer(members, secret_points(quorum), np.stack([shares[member] for member in members]))
    secrets = residues.reshape(-1)[:count].astype(np.int64)
    residues.fill(0)
    secrets -= PACKED_PRIME * (secrets > MOST_PACKED)
    return secrets


def fitting(shares: Mapping[int, PackedShare], quorum: Quorum, base: Collection[int]) -> frozenset[int]:
    """Which members' shares lie on the polynomials through the shares of `base`; those of base always do.

    Raises: BadParameters unless base is r different members with shares; BadShare for a share that is not of
        as many words below q as the others.
    """
    first = next(iter(shares.values()), np.zeros(0, np.uint32))
    members = check_shares(shares, quorum, first.size)
    nodes = tuple(sorted(set(base)))
    if not len(nodes) == len(base) == quorum.needed or not shares.keys() >= set(nodes):
        raise BadParameters(f"a base is {quorum.needed} different members with shares, not {sorted(base)}")
    others = tuple(member for member in members if member not in nodes)
    expected = transfer(nodes, others, np.stack([shares[member] for member in nodes]))
    agreeing = (other for other, row in zip(others, expected, strict=True) if np.array_equal(row, shares[other]))
    return frozenset((*nodes, *agreeing))


def add_share_into(total: Words, share: PackedShare) -> None:
    """total <- total + share, unreduced: exact for up to 2^32 shares; `reduced` ends it.

    Raises: BadParameters unless total is a row of uint64 of the share's length; BadShare for a share with
        words of another type, or not below q.
    """
    check_share(share, total.size, "added")
    if total.dtype != np.uint64 or total.ndim != 1:
        raise BadParameters(f"a sum of shares is one row of uint64, not shape {total.shape} of {total.dtype}")
    np.add(total, share, out=total)


def reduced(total: Words) -> PackedShare:
    """The residues below q of a sum of shares: a share of the sum."""
    return (total % np.uint64(PACKED_PRIME)).astype(np.uint32)


def check_share(share: PackedShare, rows: int, whose: str) -> None:
    """Raises: BadShare, saying whose, unless the share is one row of so many uint32 below q."""
    if share.dtype != np.uint32 or share.shape != (rows,):
        raise BadShare(f"the share {whose} is of shape {share.shape} and {share.dtype}, not {rows} words of 32 bits")
    if share.size and share.max() >= PACKED_PRIME:
        raise BadShare(f"the share {whose} holds a word that is no field element")


def check_shares(shares: Mapping[int, PackedShare], quorum: Quorum, rows: int) -> tuple[int, ...]:
    """The members with shares, ascending.

    Raises: BadParameters for somebody who is no member; BadShare naming whose share is not of so many words.
    """
    strangers = [member for member in shares if type(member) is not int or not 1 <= member <= quorum.members]
    if strangers:
        raise BadParameters(f"members are 1 .. {quorum.members}, not {strangers}")
    for member, share in shares.items():
        check_share(share, rows, f"of member {member}")
    return tuple(sorted(shares))


def packed_rows(count: int, quorum: Quorum) -> int:
    """ceil(count / l): how many polynomials hold so many secrets, and how many words a share has.

    Raises: BadParameters for a count below 1.
    """
    if count < 1:
        raise BadParameters(f"at least one secret is shared, not {count}")
    return -(-count // quorum.packed)


def secret_points(quorum: Quorum) -> tuple[int, ...]:
    """-1, ..., -l: where the secrets of a polynomial lie, away from all members."""
    return tuple(range(-1, -quorum.packed - 1, -1))


def draw_packed(stream: Stream, count: int) -> PackedShare:
    """`count` uniform elements of Z_q: the low 31 bits of successive words of 32, those equal to q rejected."""
    elements = np.empty(0, np.uint32)
    offset = 0
    while elements.size < count:
        draws = stream.bytes(offset, 4 * (count - elements.size))
        offset += len(draws)
        words = np.frombuffer(draws, "<u4") & np.uint32(PACKED_PRIME)
        elements = np.concatenate((elements, words[words != PACKED_PRIME]))
    return elements


def transfer(nodes: tuple[int, ...], places: tuple[int, ...], values: NDArray[np.unsignedinteger]) -> Words:
    """Values mod q at `places` of the polynomials of degree below len(nodes) with these values at `nodes`.

    Shapes: values (nodes, rows) below q; the result (places, rows).
    """
    factors = lagrange(nodes, places)
    total = np.zeros((len(places), values.shape[1]), np.uint64)
    term = np.empty_like(total)
    for column, row in zip(factors.T, values, strict=True):
        # Below 2^62; one sum of a residue for each of at most 100 nodes is far below 2^64.
        np.multiply(column[:, None], row[None, :], out=term, dtype=np.uint64)
        np.remainder(term, np.uint64(PACKED_PRIME), out=term)
        total += term
    term.fill(0)
    total %= np.uint64(PACKED_PRIME)
    return total


@lru_cache(maxsize=128)
def lagrange(nodes: tuple[int, ...], places: tuple[int, ...]) -> Words:
    """The matrix (places, nodes) of prod over other x' of (place - x') / (x - x') mod q; not to be written to.

    Cached, because all clients of a committee share alike, and its members' answers come from few subsets.
    """
    denominators = [prod(x - other for other in nodes if other != x) % PACKED_PRIME for x in nodes]
    inverses = invert_all(denominators, PACKED_PRIME)
    rows = [
        [
            prod(place - other for other in nodes if other != x) * inverse % PACKED_PRIME
            for x, inverse in zip(nodes, inverses, strict=True)
        ]
        for place in places
    ]
    factors = np.array(rows, np.uint64).reshape(len(places), len(nodes))
    factors.flags.writeable = False
    return factors
