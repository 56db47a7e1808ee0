"""t-of-n sharing of a 32-byte secret: t points determine a polynomial, t - 1 say nothing about f(0).

    f(X) = secret + c_1 X + ... + c_{t-1} X^{t-1}   over Z_p,   p = 2^256 + 297
    share of holder x: (x, f(x))                    secret = sum over t shares of y * lambda_x,
                                                    lambda_x = prod over other x' of x' / (x' - x)

p is the smallest prime above 2^256: every 32-byte string is a field element as it stands, with no reduction
and no bias, and a share is 33 bytes. Which x belongs to whom, and what a wrong share means for its dealer,
is decided in `protocols`.
Source: Shamir, CACM 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

from secagg.errors import BadParameters, BadShare
from secagg.keys import SEED_BYTES, Seed
from secagg.prg import Stream

PRIME = 2**256 + 297
FIELD_BITS = PRIME.bit_length()
SHARE_BYTES = 33

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
