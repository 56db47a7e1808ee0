"""A linear hash that binds a sum to the uploads it is the sum of: everybody adds hashes, nobody sends vectors again.

    second half, as it travels --words of 16 bits, N at a time--> d_1, d_2, ...
    h = sum over k of a_k d_k   in Z_Q[X]/(X^N + 1)              a_k public and uniform, Q = 2^48 - 59

Digits are added as integers, never reduced: n uploads have digit sums below n 2^16, hashes that add up to the hash of
the digit sums, and digit sums tell the sum of residues. Whoever shows other legal digit sums with the same hash has a
combination of the a_k that is 0 modulo Q with coefficients below n 2^16: a solution of ring-SIS. Every `Knapsack` is
checked to be out of reach of lattice reduction that costs 2^128.

What it is not: h is linear and hides nothing, which is fine for halves that the server has anyway. A client that helps
the server can choose its hash so that the total is that of another sum, just as it can upload minus the sum of the
others to whoever adds up everything: hashes bind as adding up does, and no stronger.

A product of limbs of a_k, 16 signed bits, and digits, 16 bits, is taken by floating-point FFT as in `negacyclic`, and
12 of them are added before one is rounded. With u = 2^-53 the error is at most

    (3 log2(N) + 12) u 12 ||limb|| ||digits|| <= 45 u 12 2^15 2^16 N = 0.27 < 1/2

Source: Lyubashevsky, Micciancio, ICALP 2006, and Peikert, Rosen, TCC 2006 (generalised compact knapsacks are collision
resistant); Micciancio, Regev, Lattice-based Cryptography, 2009 (how short a solution reduction finds); Chen, thesis,
2013, and Becker, Ducas, Gama, Laarhoven, SODA 2016 (what quality costs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.ckks.wire import WIDTHS, Buffer, dropped, packed_bytes, planes, read_planes, write_planes
from secagg.errors import BadCiphertext, BadParameters, NoParameters
from secagg.keys import Seed, derive
from secagg.negacyclic import Integers, N, Residues, interpolate, settled, shifted, transform_pairs
from secagg.prg import Keystream, scratch_of
from secagg.workers import ALONE, Workers

LABEL_KNAPSACK = b"secagg/v1/ckks/knapsack"

# A prime, 5 modulo 8, so that X^N + 1 has two factors of degree N/2 and no more.
MODULUS_BITS = 48
MODULUS = (1 << MODULUS_BITS) - 59
DIGIT_BITS = 16
MOST_DIGIT = (1 << DIGIT_BITS) - 1
# Digit sums of so many clients fit 32 bits.
MOST_CLIENTS = 1 << 16
SECURITY_BITS = 128
# A block of so many dimensions costs sieving that many bits.
_BITS_PER_DIMENSION = 0.292

_LIMBS = 3
_HASH_WIDTH = 6
HASH_BYTES = packed_bytes(N, _HASH_WIDTH)
SUM_BYTES = 4
# Polynomials whose products are added before they are rounded, and those of one keystream.
_RUN, _PART = 12, 96
_KEY_BYTES = 2 * _LIMBS * N

DigitSums = NDArray[np.uint32]
Hash = NDArray[np.uint64]
_Digits = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Knapsack:
    """h for the second halves of at most `clients` uploads: `blocks` polynomials of `width` bytes a residue.

    The a_k are a function of the public context. Each of their coefficients is 48 uniform bits modulo Q, so an event
    is at most (2^48 / Q)^coefficients < 2 times as likely as for uniform ones, for fewer than 2^41 of them.
    Guarantee: constructing it is the proof that a collision within the legal digit sums is a solution of ring-SIS
        shorter than what reduction of 2^128 operations is estimated to find.
    Raises: NoParameters for what is within reach; BadParameters for numbers out of range.
    """

    context: bytes
    clients: int
    blocks: int
    width: int

    def __post_init__(self) -> None:
        check_binding(self.clients, self.blocks, self.width)

    @property
    def polynomials(self) -> int:
        """How many digit polynomials one upload has."""
        return self.blocks * digits_of(self.width)

    @property
    def sums_bytes(self) -> int:
        """What digit sums take on the wire."""
        return SUM_BYTES * self.polynomials * N

    def hash(self, half: Buffer, workers: Workers = ALONE) -> Hash:
        """h of one second half, as it travels.  Shapes: N residues modulo Q.  Raises: BadCiphertext for its length."""
        [hashed] = self._hashes([self._digits(half)], workers)
        return hashed

    def zeros(self) -> DigitSums:
        """The digit sums of nobody."""
        return np.zeros(self.polynomials * N, np.uint32)

    def add_digits(self, sums: DigitSums, half: Buffer) -> None:
        """sums <- sums + the digits of one second half, in place; of at most `clients`.  Raises: BadCiphertext."""
        first = 0
        for digits in self._digits(half):
            part = sums[first : first + digits.size]
            np.add(part, digits, out=part)
            first += digits.size

    def to_bytes(self, sums: DigitSums) -> bytes:
        """Four bytes a digit sum, little-endian."""
        return sums.astype("<u4", copy=False).tobytes()

    def from_bytes(self, data: Buffer) -> DigitSums:
        """Raises: BadCiphertext for another length."""
        if len(data) != self.sums_bytes:
            raise BadCiphertext(f"{len(data)} bytes of digit sums where {self.sums_bytes} are legal")
        return np.frombuffer(data, "<u4").astype(np.uint32, copy=False)

    def check_range(self, sums: DigitSums, uploads: int) -> None:
        """Whether so many uploads can have these digit sums: the norm of a collision was estimated for those alone.

        Raises: BadCiphertext; BadParameters for none or too many uploads, or another shape.
        """
        if not 1 <= uploads <= self.clients:
            raise BadParameters(f"{uploads} uploads for a knapsack of 1 to {self.clients} clients")
        self._check_sums(sums)
        if int(sums.max()) > uploads * MOST_DIGIT:
            raise BadCiphertext(f"a digit sum is larger than {uploads} uploads can make it")

    def binds(self, sums: DigitSums, hashes: Sequence[Hash], workers: Workers = ALONE) -> bool:
        """Whether uploads with these hashes have these digit sums.

        Guarantee: collision resistance, and only for digit sums of that many uploads, which is checked.
        Raises: as `check_range`.
        """
        self.check_range(sums, len(hashes))
        return np.array_equal(self.hash_of_sums(sums, workers), added(hashes))

    def residues(self, sums: DigitSums) -> Residues:
        """The sum of the residues that stand behind these digit sums, which must have been bound before.

        Shapes: `blocks` rows of N residues modulo q.  Raises: BadParameters for another shape.
        """
        self._check_sums(sums)
        return self._recombined(sums).reshape(self.blocks, N)

    def hash_of_sums(self, sums: DigitSums, workers: Workers = ALONE) -> Hash:
        """h of digit sums: of their low and high 16 bits, which are digits again.  Raises: BadParameters."""
        self._check_sums(sums)
        words = sums.astype("<u4", copy=False).view("<u2")
        low, high = self._hashes([[words[0::2]], [words[1::2]]], workers)
        return (low + _shifted(high)) % np.uint64(MODULUS)

    def _check_sums(self, sums: DigitSums) -> None:
        if sums.dtype != np.uint32 or sums.shape != (self.polynomials * N,):
            raise BadParameters(f"expected {self.polynomials * N} digit sums in uint32, got {sums.dtype} {sums.shape}")

    def _digits(self, half: Buffer) -> _Digits:
        """The planes' words of 16 bits, and the bytes of a plane of bytes."""
        found = planes(half, self.blocks * N, self.width)
        return [plane.view("<u2") if plane.itemsize == 4 else plane for plane in found]

    def _recombined(self, sums: DigitSums) -> Residues:
        """Horner's rule from the highest digit down, then the bits that stayed at home, as zeros."""
        count, places, first = self.blocks * N, [], 0
        for plane in planes(bytes(packed_bytes(1, self.width)), 1, self.width):
            words = 2 if plane.itemsize == 4 else 1
            part = sums[first : first + words * count]
            places += [part[place::words] for place in range(words)]
            first += part.size
        total = np.zeros(count, np.int64)
        for digits in reversed(places):
            total = shifted(total, DIGIT_BITS)
            total += digits
        return settled(shifted(total, dropped(self.width)))

    def _hashes(self, several: Sequence[_Digits], workers: Workers) -> list[Hash]:
        def some(first: int, end: int) -> list[NDArray[np.int64]]:
            return [self._part(number, several) for number in range(first, end)]

        limbs = [each for part in workers.each_of(-(-self.polynomials // _PART), some) for each in part]
        return [_joined([each[place] for each in limbs]) for place in range(len(several))]

    def _part(self, number: int, several: Sequence[_Digits]) -> NDArray[np.int64]:
        """Sums of products with each limb, for the polynomials of one keystream.  Shapes: (hashes, limbs, N)."""
        first, end = number * _PART, min((number + 1) * _PART, self.polynomials)
        seed = derive(Seed(self.context), LABEL_KNAPSACK, self.context, number.to_bytes(4, "little"))
        keystream = Keystream(seed.expose(), 0, (end - first) * _KEY_BYTES)
        scratch, words = scratch_of(_RUN * _KEY_BYTES), np.empty((_RUN, _LIMBS, N))
        rows, products = np.empty((_RUN, N)), np.empty((_RUN, _LIMBS, N // 2), np.complex128)
        totals = np.zeros((len(several), _LIMBS, N), np.int64)
        for start in range(first, end, _RUN):
            size = min(_RUN, end - start)
            keystream.read_into(scratch, size * _KEY_BYTES)
            words[:size].reshape(-1)[:] = np.frombuffer(scratch, "<i2", size * _LIMBS * N)
            keys = transform_pairs(words[:size])
            for total, digits in zip(totals, several, strict=True):
                _fill(rows[:size].reshape(-1), digits, start * N)
                values = transform_pairs(rows[:size])
                np.multiply(keys, values[:, np.newaxis], out=products[:size])
                total += interpolate(np.sum(products[:size], axis=0))
        return totals


def check_binding(clients: int, blocks: int, width: int) -> None:
    """Returns when no collision among the legal digit sums is within reach.

    Two different digit sums are apart by at most clients (2^16 - 1) in each coefficient, so their difference has a norm
    of at most that times the root of the number of coefficients; a solution must be shorter than Q and than
    2^(2 sqrt(N log2 Q log2 delta)), the shortest that reduction with root Hermite factor delta finds in any dimension.
    Raises: NoParameters, BadParameters.
    """
    for name, value in (("clients", clients), ("blocks", blocks)):
        if type(value) is not int or value < 1:
            raise BadParameters(f"{name} is {value!r}, it must be a positive integer")
    if width not in WIDTHS:
        raise BadParameters(f"a residue takes 3 to 7 bytes, not {width!r}")
    if clients > MOST_CLIENTS:
        raise NoParameters(f"digit sums of {clients} clients do not fit 32 bits: invite at most {MOST_CLIENTS}")
    norm = math.log2(clients * MOST_DIGIT) + math.log2(blocks * digits_of(width) * N) / 2
    if norm >= shortest_found():
        raise NoParameters(
            f"a linear hash does not bind sums of {clients} clients over {blocks * N} coefficients: two of them may "
            f"differ by 2^{norm:.1f}, and differences of 2^{shortest_found():.1f} can be found; invite fewer clients"
        )


def shortest_found() -> float:
    """log2 of the norm below which no solution is found at 2^128 operations."""
    log_modulus, size = math.log2(MODULUS), math.ceil(SECURITY_BITS / _BITS_PER_DIMENSION)
    return min(log_modulus, 2 * math.sqrt(N * log_modulus * log_root_hermite(size)))


def log_root_hermite(size: int) -> float:
    """log2 of ((pi b)^(1/b) b / (2 pi e))^(1 / (2 (b - 1))), what reduction with blocks of size b reaches."""
    return (math.log2(math.pi * size) / size + math.log2(size / (2 * math.pi * math.e))) / (2 * (size - 1))


def digits_of(width: int) -> int:
    """How many digits a residue of so many bytes has."""
    return -(-width // 2)


def hash_to_bytes(hashed: Hash) -> bytes:
    """Six bytes a residue, in planes."""
    packed = bytearray(HASH_BYTES)
    write_planes(packed, hashed, _HASH_WIDTH)
    return bytes(packed)


def hash_from_bytes(data: Buffer) -> Hash:
    """Raises: BadCiphertext for another length, or a number that is not below Q."""
    hashed = read_planes(data, N, _HASH_WIDTH)
    if int(hashed.max()) >= MODULUS:
        raise BadCiphertext("a hash has a residue that is not below its modulus")
    return hashed


def added(hashes: Sequence[Hash]) -> Hash:
    """The sum modulo Q of at most 2^16 hashes."""
    total = np.zeros(N, np.uint64)
    for hashed in hashes:
        total += hashed
    return total % np.uint64(MODULUS)


def _fill(out: NDArray[np.float64], digits: _Digits, first: int) -> None:
    """Digits first, first + 1, ... of those that stand one after the other."""
    begin = 0
    for piece in digits:
        low, high = max(first, begin), min(first + out.size, begin + piece.size)
        if low < high:
            out[low - first : high - first] = piece[low - begin : high - begin]
        begin += piece.size


def _joined(parts: Sequence[Integers]) -> Hash:
    """Horner's rule modulo Q over the sums of limbs' products, those of all parts."""
    total = np.zeros(N, np.uint64)
    for limb in reversed(range(_LIMBS)):
        total = _shifted(total)
        for part in parts:
            total += (part[limb] % MODULUS).view(np.uint64)
        total %= np.uint64(MODULUS)
    return total


def _shifted(residues: Hash) -> Hash:
    """2^16 x modulo Q: below 2^64 before it is reduced."""
    return (residues << np.uint64(DIGIT_BITS)) % np.uint64(MODULUS)
