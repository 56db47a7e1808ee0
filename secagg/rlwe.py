"""The lattice mask: one secret of 2 048 small numbers hides a vector of any length, and sums of secrets unmask sums.

    client     c = a s + e + 2^g m          mod (X^N + 1, 2^Q),  block by block,  m = sum over k of 2^(b k) x_k
    server     sum c - a (sum s) + 2^(g-1)     its low g bits are the summed error + 2^(g-1), its high ones sum m

a is public, uniform and the same for all clients of a context; s and e are discrete Gaussians of width 4.53. The ring
elements x_k stand in the high bits, never as T e + m with T dividing 2^Q: modulo T such a mask has no error, and linear
algebra takes it off. x_k is the representative in -2^(b-1) .. 2^(b-1) - 1, and so is its sum read: a sum of several in
one coefficient that leaves this range carries into its neighbour.

Security. N = 2048 and a modulus of at most 54 bits are 128 bits against a width of 3.2. Here the sums of all s and of
all e become known. Given the sum of the h >= 2 honest secrets each is still a discrete Gaussian, about a known centre
and narrower by sqrt(1 - 1/h), at most sqrt(2); so are the errors; 4.53 / sqrt(2) is above 3.2. (The theorem below has
another sqrt(2), for hints that leave no round Gaussian.) The sum itself, of course, is revealed too: how many clients
it must have is for the protocol. One secret masks one message.

Integrity. A sum S' that is not the sum S of the secrets leaves a (S' - S) in the low bits. If 2^v is the highest power
that divides S' - S then modulo 2^g that is uniform over the multiples of 2^v, seen at once among errors so much
narrower; unless v >= g, where the low bits are perfect and the high ones garbage. Both S and S' being bounded by
2^(g-1), S' - S is then 0. Hence two checks, of the sum of secrets and of the error, and no result without both.

Coefficients stand in pairs everywhere, as `negacyclic.in_pairs` puts them.

Source: Homomorphic Encryption Standard, 2018, Table 1 (N = 2048: 54 bits); Kim, Lee, Seo, Song, CRYPTO 2023 (Hint-MLWE:
secrets and errors of which linear functions are known); Karthikeyan and Polychroniadou, CRYPTO 2025 (OPA), Bell-Clark
et al., CRYPTO 2025 (Willow), for key-homomorphic masks in aggregation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from secagg.errors import BadCiphertext, BadParameters, NoParameters
from secagg.gaussian import MASK_REACH, MASK_SIGMA, RUN, Sampler, mask_law
from secagg.keys import Context, Seed, derive
from secagg.negacyclic import MOST_BITS, Integers, Multiplier, N, Residues, digits_needed
from secagg.prg import Keystream, scratch_of
from secagg.ring import Packer, Ring, RingVector
from secagg.workers import ALONE, Workers

LABEL_PUBLIC = b"secagg/v1/rlwe/public"
LABEL_SECRET = b"secagg/v1/rlwe/secret"
LABEL_ERROR = b"secagg/v1/rlwe/error"

MODULUS_BITS = MOST_BITS
MOST_CLIENTS = 1 << 20
# In words of 64 bits they stay below 2^31 bytes, all that one call of the cryptography library takes.
MOST_VALUES = (1 << 28) - 1
FAILURE_LOG2 = -40
# -ln of the probability that one check refuses what is honest.
_DOUBT = -FAILURE_LOG2 * math.log(2)
# Where some of them stand, and their words.
_Piece = tuple[int, Residues]
Result = TypeVar("Result")
_NO_CONTEXT = bytes(32)


@dataclass(frozen=True, slots=True)
class KahePlan:
    """Vectors of `length` elements of Z_{2^bits}, at most `clients` of which are added; all else follows.

    Raises: NoParameters where bits and clients leave no room in 54 bits; BadParameters for numbers out of range.
    """

    bits: int
    clients: int
    length: int

    def __post_init__(self) -> None:
        _require_within("bits", self.bits, 1, 64)
        _require_within("clients", self.clients, 1, MOST_CLIENTS)
        _require_within("length", self.length, 1, MOST_VALUES)
        _shape_of(self.bits, self.clients, self.length)

    @property
    def per_coefficient(self) -> int:
        """rho: ring elements in one coefficient, those with the fewest bits of ciphertext for each."""
        return self._shape.per_coefficient

    @property
    def guard_bits(self) -> int:
        """g: with probability 1 - 2^-40 no coefficient of the summed error reaches 2^(g-1)."""
        return self._shape.guard_bits

    @property
    def modulus_bits(self) -> int:
        """Q = rho b + g, at most 54."""
        return self._shape.modulus_bits

    @property
    def blocks(self) -> int:
        """Polynomials in one message."""
        return self._shape.blocks

    @property
    def coefficients(self) -> int:
        """Words in one message."""
        return self.blocks * N

    @property
    def ring(self) -> Ring:
        """Z_{2^Q}, in which messages are added and travel."""
        return Ring(self.modulus_bits)

    @property
    def packed_bytes(self) -> int:
        """Length of one packed message."""
        return self.ring.packed_bytes(self.coefficients)

    @property
    def _shape(self) -> _Shape:
        return _shape_of(self.bits, self.clients, self.length)


@dataclass(frozen=True, slots=True)
class _Shape:
    per_coefficient: int
    guard_bits: int
    modulus_bits: int
    blocks: int


def draw_secret(seed: Seed) -> Integers:
    """s: N coefficients of width 4.53, in int64, a function of the seed.

    Guarantee: for one message. A second one under the same secret gives away the difference of the two.
    """
    root = derive(seed, LABEL_SECRET, _NO_CONTEXT)
    return Sampler(mask_law(), root, _NO_CONTEXT, range(N)).read().astype(np.int64)


def conceal(
    plan: KahePlan,
    values: RingVector,
    secret: Integers,
    errors: Seed,
    context: Context,
    workers: Workers = ALONE,
) -> RingVector:
    """c = a s + e + 2^g m mod 2^Q.

    Shapes: values are `plan.length` words of Ring(b), whose bits above b mean nothing; c is `plan.coefficients` words
        of `plan.ring`, below 2^Q. Element k * coefficients + i is the k-th in coefficient i. What is made besides c is
        a few chunks for each worker.
    Guarantee: pseudorandom under ring-LWE, to whoever knows neither secret nor errors; these serve one message.
    Raises: BadParameters for other shapes, and for what cannot be a secret.
    """
    concealed = plan.ring.zeros(plan.coefficients)

    def some(part: Iterable[_Piece]) -> None:
        for first, words in part:
            concealed[first : first + words.size] = words

    _conceal_into(some, plan, values, secret, errors, context, workers)
    plan.ring.reduce_in_place(concealed)
    return concealed


def conceal_packed(
    plan: KahePlan,
    values: RingVector,
    secret: Integers,
    errors: Seed,
    context: Context,
    workers: Workers = ALONE,
) -> bytearray:
    """`conceal` as it travels: `plan.ring.pack` of it, without its words in between."""
    packed = bytearray(plan.packed_bytes)

    def some(part: Iterable[_Piece]) -> None:
        packer = Packer(plan.ring, packed, plan.coefficients)
        for first, words in part:
            packer.write(first, words.astype(plan.ring.dtype, copy=False))

    _conceal_into(some, plan, values, secret, errors, context, workers)
    return packed


def _conceal_into(
    write: Callable[[Iterable[_Piece]], None],
    plan: KahePlan,
    values: RingVector,
    secret: Integers,
    errors: Seed,
    context: Context,
    workers: Workers,
) -> None:
    """Gives every worker's share of c to `write`; bits above Q mean nothing."""
    Ring(plan.bits).check(values)
    if values.size != plan.length:
        raise BadParameters(f"the plan is for {plan.length} elements, the vector has {values.size}")
    if secret.dtype != np.int64 or secret.shape != (N,) or _largest(secret) > MASK_REACH:
        raise BadParameters(f"a secret is {N} integers within {MASK_REACH} of zero")
    mask, root = Multiplier.of(secret, plan.modulus_bits), derive(errors, LABEL_ERROR, context)

    def concealed(part: range) -> Iterator[_Piece]:
        error = Sampler(mask_law(), root, context, part)
        for first, a in _public(plan, context, part):
            words = mask.times(a)
            signed = words.view(np.int64)
            signed += error.read()
            _add_message(plan, words, values, first)
            yield first, words

    _each_part(plan, lambda part: write(concealed(part)), workers)


def reveal(
    plan: KahePlan,
    total: RingVector,
    secret_sum: Integers,
    context: Context,
    summed: int,
    workers: Workers = ALONE,
) -> RingVector:
    """sum of x mod 2^b, from the sum of c and the sum of s of the same `summed` messages.

    Shapes: total is `plan.coefficients` words of `plan.ring`, whose bits above Q mean nothing; `plan.length` words of
        Ring(b), below 2^b. What is made besides them is a few chunks for each worker.
    Guarantee: exact where every sum of the centred representatives is within -2^(b-1) .. 2^(b-1) - 1, as an `Encoding`
        proves; with one element in a coefficient, always. Another sum of secrets or context is refused, as the module's
        docstring says; one message more or less, where its error shows: among up to seventy of a million coefficients.
        Refuses what is honest with probability 2^-37 at most.
    Raises: BadCiphertext; BadParameters for other shapes and for a number of messages that the plan does not admit.
    """
    _check_total(plan, total, summed)
    check_secret_sum(secret_sum, summed)
    mask = Multiplier.of(secret_sum, plan.modulus_bits)
    values = Ring(plan.bits).zeros(plan.length)
    half = 1 << (plan.guard_bits - 1)
    offset = np.uint64(half + (_half_digits(plan) << plan.guard_bits))

    def some(part: range) -> tuple[int, int]:
        largest = squares = 0
        for first, a in _public(plan, context, part):
            words = mask.times(a)
            np.subtract(total[first : first + words.size], words, out=words)
            words += offset
            error = _error_in(words, half)
            largest = max(largest, _largest(error))
            squares += _squares(error)
            words >>= np.uint64(plan.guard_bits)
            _read_message(plan, words, values, first)
        return largest, squares

    largest, squares = zip(*_each_part(plan, some, workers), strict=True)
    _check_gaussian("the low bits are", max(largest), sum(squares), plan.coefficients, summed)
    return values


def check_secret_sum(secret_sum: Integers, summed: int) -> None:
    """Returns when this may be the sum of so many secrets: its largest coefficient and its norm are as they must be.

    Guarantee: no coefficient reaches 2^(g-1) of any plan for as many clients. Refuses an honest sum with probability
        2^-38 at most.
    Raises: BadCiphertext; BadParameters for another shape.
    """
    if secret_sum.dtype != np.int64 or secret_sum.shape != (N,):
        raise BadParameters(f"expected {N} coefficients in int64, got {secret_sum.dtype} {secret_sum.shape}")
    _require_within("summed", summed, 1, MOST_CLIENTS)
    # Squares wrap only where the largest is refused whatever they are.
    _check_gaussian("the sum of secrets is", _largest(secret_sum), _squares(secret_sum), N, summed)


def check_opens(plan: KahePlan, total: RingVector, secret_sum: Integers, context: Context, summed: int) -> None:
    """Returns when these secrets, that may be the sum of so many, take the mask off the first polynomial of the total.

    Guarantee: refuses any other sum of secrets, by how little it may be off, at the price of one product, where
        `reveal` takes one for each block. Refuses what is honest with probability 2^-37 at most. What was not masked as
        it should be in the other polynomials is left to `reveal`.
    Raises: BadCiphertext; BadParameters as `reveal` does.
    """
    _check_total(plan, total, summed)
    check_secret_sum(secret_sum, summed)
    _, a = next(_public(plan, context, range(N)))
    words, half = Multiplier.of(secret_sum, plan.modulus_bits).times(a), 1 << (plan.guard_bits - 1)
    np.subtract(total[:N], words, out=words)
    error = _error_in(words + np.uint64(half), half)
    _check_gaussian("the low bits are", _largest(error), _squares(error), N, summed)


def _check_total(plan: KahePlan, total: RingVector, summed: int) -> None:
    plan.ring.check(total)
    if total.size != plan.coefficients:
        raise BadParameters(f"the plan is for {plan.coefficients} words, the sum has {total.size}")
    _require_within("summed", summed, 1, plan.clients)


def _error_in(words: Residues, half: int) -> Integers:
    """The centred low g bits of words to which 2^(g-1) was added."""
    error: Integers = (words & np.uint64(2 * half - 1)).view(np.int64)
    error -= half
    return error


def _each_part(plan: KahePlan, job: Callable[[range], Result], workers: Workers) -> list[Result]:
    """The job for adjacent ranges of all coefficients, which begin at multiples of what is worked on at a time."""

    def some(first: int, end: int) -> Result:
        return job(range(first * RUN, min(end * RUN, plan.coefficients)))

    return workers.each_of(-(-plan.coefficients // RUN), some)


def _public(plan: KahePlan, context: Context, part: range) -> Iterator[_Piece]:
    """a, a few blocks at a time, in scratch that the next turn overwrites; bits above Q stay."""
    key = derive(Seed(context), LABEL_PUBLIC, context).expose()
    keystream = Keystream(key, 8 * part.start, 8 * len(part))
    scratch = scratch_of(8 * len(part), 8 * RUN)
    for first in part[::RUN]:
        count = min(RUN, part.stop - first)
        keystream.read_into(scratch, 8 * count)
        yield first, np.frombuffer(scratch, "<u8", count)


def _add_message(plan: KahePlan, words: Residues, values: RingVector, first: int) -> None:
    """words <- words + 2^g m, for the coefficients from `first` on."""
    ring, highest = Ring(plan.bits), plan.per_coefficient - 1
    for k, part in _planes(plan, values, first, words.size):
        # The highest needs no centring: bits above b are bits above Q there.
        plane = part.astype(np.uint64) if k == highest else ring.centre(part).view(np.uint64)
        plane <<= np.uint64(plan.guard_bits + plan.bits * k)
        words[: part.size] += plane


def _half_digits(plan: KahePlan) -> int:
    """What turns centred digits of b bits into plain ones, each 2^(b-1) more: no borrow then passes between them."""
    return sum(1 << (plan.bits * (k + 1) - 1) for k in range(plan.per_coefficient))


def _read_message(plan: KahePlan, words: Residues, values: RingVector, first: int) -> None:
    """values <- the centred digits in words to which `_half_digits` were added; the words are used up."""
    for k, part in _planes(plan, values, first, words.size):
        if k:
            words >>= np.uint64(plan.bits)
        np.copyto(part, words[: part.size], casting="unsafe")
        part &= part.dtype.type((1 << plan.bits) - 1)
        part ^= part.dtype.type(1 << (plan.bits - 1))


def _planes(plan: KahePlan, values: RingVector, first: int, count: int) -> Iterator[tuple[int, RingVector]]:
    """(k, what there is of the k-th elements of these coefficients)."""
    for k in range(plan.per_coefficient):
        start = k * plan.coefficients + first
        yield k, values[start : min(start + count, plan.length)]


def _largest(integers: Integers) -> int:
    return max(int(integers.max()), -int(integers.min()))


def _squares(integers: Integers) -> int:
    """The sum of squares, of a chunk of integers below 2^24."""
    return int(np.dot(integers, integers))


def _check_gaussian(what: str, largest: int, squares: int, count: int, summed: int) -> None:
    """Whether `count` integers of this magnitude and sum of squares are sums of `summed` samples of width 4.53.

    With D = count, s^2 = 4.53^2 summed and x = 40 ln 2 each of the three bounds fails with probability e^-x at most:

        |y_i|     <  `_reach`
        ||y||^2  <=  s^2 (D + 2 sqrt(D x) + 2x)      for s-sub-Gaussian y_i, as discrete Gaussians are
        ||y||^2  >=  s^2 (D - sqrt(6 D x))           for y_i^2 >= 0 with second moments of at most 3 s^4

    Source: Hsu, Kakade, Zhang, ECP 17, 2012, Theorem 2.1 (above; Laurent and Massart's Lemma 1 for sub-Gaussians);
        Maurer, JIPAM 4, 2003 (below).
    Raises: BadCiphertext.
    """
    mean = MASK_SIGMA**2 * summed
    most = mean * (count + 2 * math.sqrt(count * _DOUBT) + 2 * _DOUBT)
    least = mean * (count - math.sqrt(6 * count * _DOUBT))
    if largest >= _reach(count, summed) or not least <= squares <= most:
        raise BadCiphertext(f"{what} not that of {summed} honest messages: wrong secrets, context or messages")


@lru_cache(maxsize=256)
def _reach(count: int, summed: int) -> int:
    """The least T with P[some of `count` coefficients of a sum of `summed` samples is T or more in size] < 2^-40.

    Such a sum is, but for a factor 1 + 2^-200, a discrete Gaussian of width s = 4.53 sqrt(summed), and a falling
    density sums to less than its integral from one earlier on:

        P[|y| >= T] <= erfc((T - 1) / (s sqrt(2)))

    Source: Micciancio and Peikert, CRYPTO 2013, Theorem 3.3 (sums of discrete Gaussians).
    """
    width = MASK_SIGMA * math.sqrt(2 * summed)
    bound = 2.0**FAILURE_LOG2 / count
    # erfc(9) is below 2^-120, so that the answer lies between.
    low, high = 0, math.ceil(12 * width) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if math.erfc((middle - 1) / width) < bound else (middle, high)
    return high


@lru_cache(maxsize=256)
def _shape_of(bits: int, clients: int, length: int) -> _Shape:
    """The layout of fewest bits per element: of those that fit, the one with most elements in a coefficient.

    The guard that they share is never wider for more of them, as these make fewer blocks.
    Raises: NoParameters.
    """
    most = _most_modulus_bits(clients)
    fitting = [shape for shape in _shapes(bits, clients, length) if shape.modulus_bits <= most]
    if not fitting:
        raise NoParameters(
            f"elements of {bits} bits and the guard of a sum of {clients} do not fit a modulus of {most} bits: lower "
            f"the bits or the clients"
        )
    return max(fitting, key=lambda shape: shape.per_coefficient)


def _shapes(bits: int, clients: int, length: int) -> Iterator[_Shape]:
    for rho in range(1, MODULUS_BITS // bits + 1):
        blocks = -(-length // (rho * N))
        # The least g with T <= 2^(g-1).
        guard = (_reach(blocks * N, clients) - 1).bit_length() + 1
        yield _Shape(rho, guard, rho * bits + guard, blocks)


def _most_modulus_bits(clients: int) -> int:
    """54, or fewer where the product by a sum of so many secrets would not be exact."""
    norm = MASK_SIGMA * math.sqrt(clients * (N + 2 * math.sqrt(N * _DOUBT) + 2 * _DOUBT))
    return max(bits for bits in range(1, MODULUS_BITS + 1) if digits_needed(bits, norm) is not None)


def _require_within(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise BadParameters(f"{name} is {value!r}, it must be an integer in {least}..{most}")
