"""Integers in coefficients: encrypt under a public key, add in numpy, open exactly.

    x    --digits, guard bits-->   m        a few signed integers in each coefficient, g bits above the noise
    m    --u, e0, e1-->            c0 = b u + e0 + m,   c1 = a u + e1                       mod q, X^N + 1
    sum c0 + s sum c1              = sum m + noise      --round g bits, digits-->  sum x    nothing else is left

The server only adds, so neither slots nor rescaling are needed: what is opened is the exact sum of the integers that
went in, and no noise leaves with it. That takes the key-recovery attack on approximate decryptions its input
(Li and Micciancio, EUROCRYPT 2021), and leaves the law of the noise that clients added for privacy as it was.

An `Engine` makes encryptions of zero: `Fft` here, or SEAL's (`secagg.ckks.seal`). Both give the same kind of pairs in
the same ring, and are mixed freely in one sum.
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017, with b = -a s + k and messages in coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from secagg.ckks.plan import Bounded, CkksPlan, Mode
from secagg.ckks.sample import cbd21, ternary, uniform_mod_q
from secagg.ckks.wire import Buffer, dropped, pack_into, packed_bytes, planes
from secagg.errors import BadCiphertext, BadParameters, Overflow
from secagg.keys import Seed, derive
from secagg.negacyclic import (
    PRIME,
    Complexes,
    Integers,
    N,
    Residues,
    Spectrum,
    centred,
    reduced,
    small_product,
    transform,
)
from secagg.prg import Stream
from secagg.workers import ALONE, Workers

LABEL_MULTIPLIER = b"secagg/v1/ckks/u"
LABEL_ERROR = b"secagg/v1/ckks/e"
LABEL_PUBLIC = b"secagg/v1/ckks/a"

# Blocks worked on at a time: about what a core's cache holds. Each draws from streams of its own.
CHUNK = 32
# Residues of planes that are added at a time.
ADDED_AT_ONCE = 1 << 15

# What was rounded away may be so much wider than planned; of garbage it is about six times as wide.
RESIDUAL_MARGIN = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class PublicKey:
    """b = -a s + k.  Shapes: N residues each. Whoever holds it can add to a sum, and open none.

    Raises: BadParameters for anything but residues.
    """

    a: Residues
    b: Residues
    spectrum_a: Spectrum = field(init=False, repr=False)
    spectrum_b: Spectrum = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spectrum_a", Spectrum.of(self.a))
        object.__setattr__(self, "spectrum_b", Spectrum.of(self.b))


class Engine(Protocol):
    """Makes encryptions of zero."""

    def zeros(self, key: PublicKey, part: Part, root: Seed, context: bytes) -> tuple[Residues, Residues]:
        """(b u + e0, a u + e1) for the blocks of a part.  Shapes: rows of N residues, fresh arrays.

        An engine that draws by itself leaves root and context unused; one that does not is a function of them.
        """


class Fft:
    """The engine in numpy: u ternary, errors centred binomial, exact products by FFT; both threads of two work."""

    def zeros(self, key: PublicKey, part: Part, root: Seed, context: bytes) -> tuple[Residues, Residues]:
        """As `Engine.zeros`: a function of (key, part, root, context)."""
        multiplier = Stream(derive(root, LABEL_MULTIPLIER, context, part.name))
        error = Stream(derive(root, LABEL_ERROR, context, part.name))
        u = transform(ternary(multiplier, part.size * N).reshape(part.size, N))
        errors = cbd21(error, 2 * part.size * N).reshape(2, part.size, N)
        c0, c1 = small_product(u, key.spectrum_b), small_product(u, key.spectrum_a)
        add_into(c0, reduced(errors[0]))
        add_into(c1, reduced(errors[1]))
        return c0, c1


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One client's ciphertext as it travels: the planes of c0 and of c1."""

    c0: bytearray = field(repr=False)
    c1: bytearray = field(repr=False)


def encrypt(
    plan: CkksPlan,
    key: PublicKey,
    values: Integers,
    root: Seed,
    context: bytes,
    engine: Engine,
    workers: Workers = ALONE,
) -> Upload:
    """The planes of (c0, c1).

    Shapes: int64 of the plan's dimension, |x| <= largest_value(plan). Memory: the planes, and a chunk per worker.
    Guarantee: IND-CPA under ring-LWE with (N, q, sigma) of the standard; one root serves one context.
    Raises: BadParameters, Overflow.
    """
    check_values(plan, values)
    count = plan.blocks * N
    upload = Upload(bytearray(packed_bytes(count, plan.width0)), bytearray(packed_bytes(count, plan.width1)))

    def work(part: Part) -> None:
        c0, c1 = engine.zeros(key, part, root, context)
        add_into(c0, reduced(messages(plan, values, part)))
        pack_into(upload.c0, c0, plan.width0, part.first * N)
        pack_into(upload.c1, c1, plan.width1, part.first * N)

    each_part(plan.blocks, work, workers)
    return upload


def encrypt_seeded(
    plan: CkksPlan,
    secret: Complexes,
    values: Integers,
    root: Seed,
    context: bytes,
    public: bytes,
    workers: Workers = ALONE,
) -> bytearray:
    """The planes of c0 = -a s + e + m, with a expanded from the 32 public bytes that travel beside them.

    Shapes: as `encrypt`; `secret` is the transform of a ternary key.
    Guarantee: IND-CPA against whoever lacks the key, when no public seed is used twice under it.
    Raises: BadParameters, Overflow.
    """
    if plan.keys.mode is not Mode.SEEDED:
        raise BadParameters(f"mode {plan.keys.mode.value} has two polynomials a block; only seeded uploads expand one")
    check_values(plan, values)
    packed = bytearray(packed_bytes(plan.blocks * N, plan.width0))

    def work(part: Part) -> None:
        errors = cbd21(Stream(derive(root, LABEL_ERROR, context, part.name)), part.size * N).reshape(part.size, N)
        total = reduced(errors + messages(plan, values, part))
        subtract_into(total, small_product(secret, Spectrum.of(public_rows(public, part))))
        pack_into(packed, total, plan.width0, part.first * N)

    each_part(plan.blocks, work, workers)
    return packed


def public_rows(public: bytes, part: Part) -> Residues:
    """Some blocks of the public polynomials that 32 public bytes stand for.  Shapes: rows of N residues."""
    stream = Stream(derive(Seed(public), LABEL_PUBLIC, bytes(32), part.name))
    return uniform_mod_q(stream, part.size * N).reshape(part.size, N)


@dataclass(frozen=True, slots=True)
class Part:
    """Blocks first .. first + size of a vector, which draw from streams of their own."""

    chunk: int
    size: int

    @property
    def first(self) -> int:
        return self.chunk * CHUNK

    @property
    def name(self) -> bytes:
        """What its streams are derived by."""
        return self.chunk.to_bytes(4, "little")


def each_part(blocks: int, work: Callable[[Part], None], workers: Workers) -> None:
    """Does the work for every part of so many blocks, shared among the workers."""

    def some(first: int, end: int) -> None:
        for chunk in range(first, end):
            work(Part(chunk, min(CHUNK, blocks - chunk * CHUNK)))

    workers.each_of(-(-blocks // CHUNK), some)


def messages(plan: CkksPlan, values: Integers, part: Part) -> Integers:
    """The plaintext of some blocks, signed, guard bits included.

    Coordinate (block digits + k) N + j is digit k of coefficient j; the last block is padded with zeros.
    Shapes: int64 of the plan's dimension; rows of N.
    """
    width = plan.digits * N
    some = values[part.first * width : (part.first + part.size) * width]
    rows = np.zeros((part.size, plan.digits, N), np.int64)
    rows.reshape(-1)[: some.size] = some
    total = rows[:, plan.digits - 1].copy()
    for digit in reversed(range(plan.digits - 1)):
        total <<= plan.bits
        total += rows[:, digit]
    total <<= plan.guard
    return total


def check_values(plan: CkksPlan, values: Integers) -> None:
    """Raises: BadParameters for another shape or type; Overflow for a value of which the sum could wrap."""
    if type(values) is not np.ndarray or values.dtype != np.int64 or values.shape != (plan.dimension,):
        raise BadParameters(f"values must be one plain int64 vector of {plan.dimension} coordinates")
    bound = largest_value(plan)
    if max(int(values.max()), -int(values.min())) > bound:
        raise Overflow(f"a value exceeds {bound}: sums over {plan.clients} clients could leave {plan.bits} bits")


def largest_value(plan: CkksPlan) -> int:
    """What no client's value may exceed in magnitude."""
    return plan.largest_sum // (plan.clients if plan.bounded is Bounded.EACH else 1)


def largest_opened(plan: CkksPlan) -> int:
    """What no sum of so many clients exceeds in magnitude."""
    return min(largest_value(plan) * plan.clients, plan.largest_sum)


def add_into(total: Residues, more: Residues) -> None:
    """total <- total + more mod q, in place."""
    np.add(total, more, out=total)
    # Unsigned, what is below q wraps far above: the lesser of the two is the residue.
    np.minimum(total, total - np.uint64(PRIME), out=total)


def add_planes_into(total: Residues, buffer: Buffer, count: int, width: int) -> None:
    """total <- total + the first residues of `count` in planes that were checked, mod q, in place.

    A part and a plane at a time: what is made of them stays in one scratch that a core's cache holds. Asking the system
    for fresh memory as large as the vector would take longer than the addition.
    """
    scratch = np.empty(min(total.size, ADDED_AT_ONCE), np.uint64)
    found, drop = planes(buffer, count, width), dropped(width)
    for first in range(0, total.size, ADDED_AT_ONCE):
        part = total[first : first + ADDED_AT_ONCE]
        some, shift = scratch[: part.size], drop
        for plane in found:
            some[:] = plane[first : first + part.size]
            some <<= np.uint64(shift)
            part += some
            shift += 8 * plane.itemsize
        np.subtract(part, np.uint64(PRIME), out=some)
        np.minimum(part, some, out=part)


def subtract_into(total: Residues, less: Residues) -> None:
    """total <- total - less mod q, in place."""
    np.subtract(total, less, out=total)
    np.minimum(total, total + np.uint64(PRIME), out=total)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What a sum opens to: exact values, and the mean square of what was rounded away in each block.

    `plausible` says that what must be zero is, padding and digits above the last one, and that no sum is larger than
    so many clients can make it.
    """

    values: Integers
    squares: NDArray[np.float64]
    plausible: bool

    @property
    def residual(self) -> float:
        """Root mean square of what was rounded away."""
        return math.sqrt(float(np.mean(self.squares)))

    @property
    def worst_residual(self) -> float:
        """The same of the block where it is largest: one spoilt block does not hide among hundreds."""
        return math.sqrt(float(np.max(self.squares)))


def check_opened(plan: CkksPlan, opened: Opened) -> None:
    """Whether a sum looks like one of honest uploads, opened by its own key; values may be released after this only.

    Raises: BadCiphertext. It sees garbage, and no whole multiple of 2^g that somebody added.
    """
    if opened.worst_residual > RESIDUAL_MARGIN * plan.noise.std:
        raise BadCiphertext(
            f"what was rounded away has width {opened.worst_residual:.3g}, planned is {plan.noise.std:.3g}: "
            "an upload or a partial decryption is garbage"
        )
    if not opened.plausible:
        raise BadCiphertext("a sum is larger than its clients can make it, or its padding is not zero")


def open_exact(plan: CkksPlan, plaintext: Residues) -> Opened:
    """The exact sums in c0 + s c1.

    Shapes: `blocks` rows of N residues; int64 of the plan's dimension.
    Raises: BadParameters for other shapes.
    """
    if plaintext.dtype != np.uint64 or plaintext.shape != (plan.blocks, N):
        raise BadParameters(f"expected {plan.blocks} rows of {N} residues, got {plaintext.dtype} {plaintext.shape}")
    rest = centred(plaintext)
    rounded = (rest + (1 << (plan.guard - 1))) >> plan.guard
    rest -= rounded << plan.guard
    squares = np.mean(np.square(rest.astype(np.float64)), axis=1)
    digits = np.empty((plan.blocks, plan.digits, N), np.int64)
    half, mask = 1 << (plan.bits - 1), (1 << plan.bits) - 1
    for digit in range(plan.digits):
        low = ((rounded + half) & mask) - half
        digits[:, digit] = low
        rounded = (rounded - low) >> plan.bits
    values = digits.reshape(-1)
    within = max(int(values.max()), -int(values.min())) <= largest_opened(plan)
    plausible = within and not (values[plan.dimension :].any() or rounded.any())
    return Opened(values[: plan.dimension], squares, plausible)
