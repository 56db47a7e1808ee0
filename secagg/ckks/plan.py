"""How many bits of a ciphertext travel, so that every sum within the plan opens exactly.

    n clients, sums of b bits, D values, holders, openings   ->   rho values a coefficient, w0 and w1 bytes a residue,
                                                                  g guard bits

A coefficient carries 2^g (x_0 + 2^b x_1 + ... + 2^(b (rho-1)) x_{rho-1}), signed. Added up, |sum of messages| is below
2^(rho b - 1) 2^g, and the noise below 2^(g-1) except with probability 2^-40 over all that one key ever opens. With
rho b + g <= 53 both together stay below 2^52 + 2^51 < q/2: the centred residue is the integer, rounding g bits away
gives the sum, and successive centred digits give the rho sums. Constructing a `CkksPlan` is this proof.

Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017 (the scheme); Kim, Lee, Seo, Song, CRYPTO 2023 (hints on the key).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import product

from secagg.ckks.sample import CBD_SIGMA, KEY_SIGMA
from secagg.ckks.wire import WIDTHS, dropped
from secagg.errors import BadParameters, NoParameters
from secagg.negacyclic import PRIME_BITS, N

MOST_DIGITS = 4
MOST_HOLDERS = 64
MOST_CLIENTS = 1 << 20
MOST_OPENINGS = 1 << 20
MOST_VALUES = 1 << 32
# rho b + g: with the sign of the sum and half a bit of noise it stays below q/2.
MOST_BITS = PRIME_BITS - 1
FAILURE_LOG2 = -40
# How much wider than a Gaussian of the planned width the tails of the noise are taken.
MARGIN = 1.15
TERNARY_VARIANCE = 2 / 3
# Variance of the smudge in units of B sigma_k^2.
SMUDGING_FACTOR = 32


class Mode(Enum):
    """Who can open a sum.

    THRESHOLD: t of the holders together. SINGLE: one named decryptor, who is not the aggregator. SEEDED: every client,
    so each can open every other's upload that it gets to see; the aggregator alone learns nothing.
    """

    THRESHOLD = "threshold"
    SINGLE = "single"
    SEEDED = "seeded"


class Bounded(Enum):
    """Whose size keeps sums from wrapping.

    EACH: no value of an upload exceeds an n-th of the largest sum, so none can. TOGETHER: values may be as large as a
    sum, and it is for whoever draws them, as with noise, to say how seldom a sum exceeds it; it is then seen, and lost.
    """

    EACH = "each"
    TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Keys:
    """Who opens: C holders of whom t are needed, and how many sums they open with one key.

    Two sets of t have a holder in common. With f corrupt it is an honest one, who opens one sum a round, only where
    2t > C + f: `tolerated` is the largest such f.
    Raises: BadParameters.
    """

    mode: Mode
    holders: int = 1
    threshold: int = 1
    openings: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.mode, Mode):
            raise BadParameters(f"mode is {self.mode!r}, it must be one of {', '.join(map(str, Mode))}")
        _require_within("openings", self.openings, 1, MOST_OPENINGS)
        if self.mode is not Mode.THRESHOLD:
            if (self.holders, self.threshold) != (1, 1):
                raise BadParameters(f"mode {self.mode.value} has one key: holders and threshold are 1")
            return
        _require_within("holders", self.holders, 2, MOST_HOLDERS)
        _require_within("threshold", self.threshold, 2, self.holders)
        if 2 * self.threshold <= self.holders:
            raise BadParameters(
                f"two sets of {self.threshold} of {self.holders} holders need not have a holder in common: take a "
                f"threshold of at least {self.holders // 2 + 1}"
            )

    @classmethod
    def recommended(cls, holders: int, openings: int, corrupt: int | None = None) -> Keys:
        """The least threshold against so many corrupt holders, floor((C - 1) / 3) unless it is said.

        Raises: BadParameters when none is safe.
        """
        assumed = (holders - 1) // 3 if corrupt is None else corrupt
        _require_within("corrupt", assumed, 0, holders)
        return cls(Mode.THRESHOLD, holders, max(2, assumed + 1, (holders + assumed) // 2 + 1), openings)

    def tolerates_a_third_of(self, pinned: int) -> bool:
        """Whether floor((P - 1) / 3) corrupt of P parties, all among these C, cannot open two sums of one round.

        Against: a server that makes a key with few of those whom a policy pins, the corrupt ones among them.
        """
        return self.tolerated >= (pinned - 1) // 3

    @property
    def tolerated(self) -> int:
        """f: the most corrupt holders with 2t > C + f; t > f follows from t <= C."""
        return 2 * self.threshold - self.holders - 1


@dataclass(frozen=True, slots=True)
class Noise:
    """Variances in one coefficient of what is opened, for n uploads of `blocks` polynomials each.

        e0 + r0 + u k + (e1 + r1) s   =   3.24^2 + 4^d0/12 + N 2/3 Var(k) + N (3.24^2 + 4^d1/12) Var(s)

    u ternary, e centred binomial, s and k the collective key and its error, r what rounding to d bits less leaves
    (uniform over 2^d, its mean 0 since halves go to the even neighbour; that adds 1/6). Seeded uploads have c1
    unrounded and their error in c0 alone.
    """

    clients: int
    blocks: int
    keys: Keys
    width0: int
    width1: int

    @property
    def opened(self) -> int:
        """L: polynomials opened under one key."""
        return self.keys.openings * self.blocks

    @property
    def smudging(self) -> float:
        """Standard deviation of what a holder adds to its partial decryption; 0 where one party opens alone.

        t - 1 corrupt holders learn, of an honest one, v + e where v = U k + E1 s + E0 is a linear hint on its key
        (s, k). By the theorem below, keys of width sigma_k with hints smudged by sigma are as hard as keys of width
        sigma_0 without any,

            1 / sigma_0^2 = 2 (1 / sigma_k^2 + B / sigma^2)

        where B = `hint_bound` bounds the largest eigenvalue of M^T M, the hints being M (s, k) + e. Given the hints the
        key is a discrete Gaussian of covariance (1 / sigma_k^2 + M^T M / sigma^2)^-1 at least; half of the least of it
        is split off as a spherical key, which is what the 2 pays for, and needs sigma_0 to be sqrt(2) times the
        smoothing parameter. sigma^2 = 32 B sigma_k^2 leaves sigma_0 = sigma_k / sqrt(2 (1 + 1/32)) = 3.20, the width
        that the standard's 128 bits are for.

        Guarantee: as above, for uploads drawn honestly; whoever chooses u and e1 of an upload and sees what is opened
            is outside of it.
        Source: Kim, Lee, Seo, Song, CRYPTO 2023, Theorem 1 (Hint-MLWE); Homomorphic Encryption Standard, 2018, Table 1
        (N = 2048, q of 54 bits, sigma 3.2).
        """
        if self.keys.mode is not Mode.THRESHOLD:
            return 0.0
        return KEY_SIGMA * math.sqrt(SMUDGING_FACTOR * self.hint_bound)

    @property
    def hint_bound(self) -> float:
        """B: what the largest eigenvalue of the hints' M^T M stays below, except with probability 2^-40.

        The multipliers of one opened polynomial are negacyclic, U with N coefficients of variance 2n/3 and E1 with N of
        variance n (3.24^2 + r1); so at each of N/2 pairs of roots zeta the eigenvalue is at most the sum over the
        polynomials of |U(zeta)|^2 + |E1(zeta)|^2. Its mean is n L N (2/3 + 3.24^2 + r1), and with L independent
        polynomials its tails are at most those of a Gamma variable of shape L:

            P(> mean (1 + sqrt(2x/L) + x/L)) <= e^-x,    e^-x N/2 = 2^-40

        B is that, and at least twice the mean. As the same sum may be opened again by another set of holders, only the
        polynomials of one upload count as independent.
        Source: Laurent, Massart, Annals of Statistics 28, 2000, Lemma 1; all coefficients are strictly sub-Gaussian.
        """
        mean = self.clients * self.opened * N * (TERNARY_VARIANCE + CBD_SIGMA**2 + _rounding(self.width1))
        tail = (math.log(N / 2) - FAILURE_LOG2 * math.log(2)) / self.blocks
        return mean * max(2.0, 1 + math.sqrt(2 * tail) + tail)

    @property
    def std(self) -> float:
        """Standard deviation in one coefficient of a full sum."""
        return math.sqrt(self.clients * self._upload() + self.keys.threshold * self.smudging**2)

    @property
    def guard(self) -> int:
        """g: with probability 1 - 2^-40 no coefficient of the epoch is off by 2^(g-1).

        Union bound over L N coefficients with the tails of a Gaussian 15 % wider than planned.
        """
        farthest = MARGIN * math.sqrt(2 * (math.log(2 * self.opened * N) - FAILURE_LOG2 * math.log(2)))
        return math.ceil(math.log2(2 * farthest * self.std))

    def _upload(self) -> float:
        fresh = CBD_SIGMA**2 + _rounding(self.width0)
        match self.keys.mode:
            case Mode.SEEDED:
                return fresh
            case Mode.SINGLE:
                key, error = TERNARY_VARIANCE, CBD_SIGMA**2
            case Mode.THRESHOLD:
                key = error = self.keys.holders * KEY_SIGMA**2
        return fresh + N * TERNARY_VARIANCE * error + N * (CBD_SIGMA**2 + _rounding(self.width1)) * key


@dataclass(frozen=True, slots=True)
class CkksPlan:
    """Parameters of one key epoch; constructing it is the proof that no sum within them wraps or opens wrongly.

    At most `clients` uploads are added, each of `dimension` integers whose sums have `bits` bits, sign included.
    `digits` values share a coefficient; c0 and c1 travel in `width0` and `width1` bytes a residue (`width1` is 0 where
    c1 is expanded from a seed); `guard` bits are rounded away.
    Raises: NoParameters for what does not fit; BadParameters for numbers out of range.
    """

    clients: int
    bits: int
    dimension: int
    keys: Keys
    digits: int
    width0: int
    width1: int
    guard: int
    bounded: Bounded = Bounded.EACH

    def __post_init__(self) -> None:
        for name, least, most in (
            ("clients", 1, MOST_CLIENTS),
            ("bits", 2, MOST_BITS),
            ("dimension", 1, MOST_VALUES),
            ("digits", 1, MOST_DIGITS),
            ("guard", 1, MOST_BITS),
        ):
            _require_within(name, getattr(self, name), least, most)
        if not isinstance(self.keys, Keys):
            raise BadParameters(f"keys is {self.keys!r}, it must be a Keys")
        if not isinstance(self.bounded, Bounded):
            raise BadParameters(f"bounded is {self.bounded!r}, it must be one of {', '.join(map(str, Bounded))}")
        if (self.digits, self.width0, self.width1) not in _layouts(self.keys.mode):
            raise BadParameters(f"mode {self.keys.mode.value} has no residues of {self.width0} and {self.width1} bytes")
        if self.guard < self.noise.guard:
            raise NoParameters(f"{self.guard} guard bits are fewer than the {self.noise.guard} that the noise needs")
        if self.digits * self.bits + self.guard > MOST_BITS:
            raise NoParameters(
                f"{self.digits} values of {self.bits} bits and {self.guard} guard bits exceed {MOST_BITS}: a sum wraps"
            )

    @property
    def blocks(self) -> int:
        """Polynomials in one upload."""
        return _blocks(self.dimension, self.digits)

    @property
    def noise(self) -> Noise:
        """What is rounded away, and how holders smudge."""
        return Noise(self.clients, self.blocks, self.keys, self.width0, self.width1)

    @property
    def bytes_per_value(self) -> float:
        """What one value of an upload takes on the wire."""
        return (self.width0 + self.width1) / self.digits

    @property
    def largest_sum(self) -> int:
        """What no sum may exceed in magnitude: one more would be read as a negative one."""
        return (1 << (self.bits - 1)) - 1


def plan(clients: int, bits: int, dimension: int, keys: Keys, bounded: Bounded = Bounded.EACH) -> CkksPlan:
    """The plan of least bytes per value, then per residue, then of least guard bits.

    Raises: NoParameters naming what would fit; BadParameters for numbers out of range.
    """
    for name, value, most in (("clients", clients, MOST_CLIENTS), ("dimension", dimension, MOST_VALUES)):
        _require_within(name, value, 1, most)
    _require_within("bits", bits, 2, MOST_BITS)
    return replace(_planned(clients, bits, dimension, keys), bounded=bounded)


@lru_cache(maxsize=256)
def _planned(clients: int, bits: int, dimension: int, keys: Keys) -> CkksPlan:
    found = list(_feasible(clients, bits, dimension, keys))
    if not found:
        raise NoParameters(
            f"no ciphertext carries sums of {bits} bits over {clients} clients, opened {keys.openings} times by "
            f"{keys.threshold} of {keys.holders}: {_what_would_fit(clients, bits, dimension, keys)}"
        )
    return min(found, key=lambda each: (each.bytes_per_value, each.width0 + each.width1, each.guard))


def _feasible(clients: int, bits: int, dimension: int, keys: Keys) -> Iterator[CkksPlan]:
    """Every layout that fits, with as few guard bits as its noise allows."""
    for digits, width0, width1 in _layouts(keys.mode):
        guard = Noise(clients, _blocks(dimension, digits), keys, width0, width1).guard
        if digits * bits + guard <= MOST_BITS:
            yield CkksPlan(clients, bits, dimension, keys, digits, width0, width1, guard)


def _layouts(mode: Mode) -> tuple[tuple[int, int, int], ...]:
    """(digits, width0, width1) to choose from."""
    return tuple(product(range(1, MOST_DIGITS + 1), WIDTHS, (0,) if mode is Mode.SEEDED else WIDTHS))


def _what_would_fit(clients: int, bits: int, dimension: int, keys: Keys) -> str:
    """One number at a time, lowered until it fits."""

    def fits(clients: int = clients, bits: int = bits, keys: Keys = keys) -> bool:
        return any(True for _ in _feasible(clients, bits, dimension, keys))

    largest = {
        "bits": _largest(lambda most: fits(bits=most), 2, bits),
        "clients": _largest(lambda most: fits(clients=most), 1, clients),
        "openings": _largest(lambda most: fits(keys=replace(keys, openings=most)), 1, keys.openings),
    }
    # Two bits fit whatever the other numbers are, so something is always named.
    options = [f"{most} {name}" for name, most in largest.items() if most is not None]
    return f"at most {' or '.join(options)} would fit"


def _largest(fits: Callable[[int], bool], least: int, most: int) -> int | None:
    """The largest number that fits; fewer of anything fit as well."""
    if not fits(least):
        return None
    low, high = least, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _blocks(dimension: int, digits: int) -> int:
    return -(-dimension // (N * digits))


def _rounding(width: int) -> float:
    """Variance of what dropping low bits leaves: uniform over 2^d, halves to either side."""
    drop = dropped(width) if width else 0
    return (4**drop + 2) / 12 if drop else 0.0


def _require_within(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise BadParameters(f"{name} is {value!r}, it must be an integer in {least}..{most}")
