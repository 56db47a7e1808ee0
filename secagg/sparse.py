"""Chosen coordinates only: one public set for all clients, what it takes of a vector, and how that is put back.

    vector of d --gather--> |S| values --mask, sum, open--> |S| values --scatter--> vector of d, zero outside S

    top_k         the k largest magnitudes of a public vector     ties go to the lower index
    above         what exceeds a threshold
    draw          k places drawn by a public seed                 the first k of a keystream permutation
    block_norms   the L2 norm of every block of a vector

A masked vector is uniform, so nothing compresses it afterwards, and a set that one client chose would tell which
weights its own data moved. Hence S is a function of what everybody knows, every party computes it for itself, and its
digest joins the round's context: vectors of two different sets cannot be summed. Which public things S follows
from is the rules' affair (`protocols.learning.selection`).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters, NonFinite
from secagg.keys import Seed
from secagg.prg import Stream

LABEL_SELECTION = b"secagg/v1/sparse/selection"
MAX_LENGTH = 1 << 32

Ids = NDArray[np.int64]
Vector = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """S = the coordinates j of a vector of d with floor(j / block) in ids; single coordinates where block is 1.

    Shapes: ids is a read-only int64 row, strictly ascending, within 0..ceil(d / block) - 1; the last block is
        as long as what is left of d, nothing is padded. `size` = |S|, between 0 and d.
    Guarantee: the digest (SHA-256 over d, block and ids) tells sets apart as long as SHA-256 has no collisions. It
        also tells apart two spellings of one set, in blocks and in coordinates: those do not sum either.
    Raises: BadParameters for ids that are unsorted, repeated or out of range; nothing is sorted or dropped silently.
    """

    length: int
    ids: Ids = field(repr=False)
    block: int = 1
    size: int = field(init=False)
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        length = _counted("length", self.length, 1, MAX_LENGTH)
        block = _counted("block", self.block, 1, length)
        ids = _ids(self.ids, -(-length // block))
        last_is_short = ids.size > 0 and int(ids[-1]) == length // block
        size = ids.size * block - (block - length % block if last_is_short else 0)
        numbers = (length, block, ids.size)
        head = b"".join(number.to_bytes(8, "little") for number in numbers)
        digest = hashlib.sha256(LABEL_SELECTION + head)
        digest.update(ids.astype("<i8", copy=False).data)
        for name, value in (("ids", ids), ("size", size), ("digest", digest.digest())):
            object.__setattr__(self, name, value)

    @classmethod
    def whole(cls, length: int, block: int = 1) -> Selection:
        """Every coordinate."""
        count = -(-_counted("length", length, 1, MAX_LENGTH) // _counted("block", block, 1, length))
        return cls(length, np.arange(count, dtype=np.int64), block)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and hmac.compare_digest(self.digest, other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def coordinates(self) -> Ids:
        """S itself, ascending: the order in which `gather` gives the values."""
        wide = (self.ids[:, np.newaxis] * self.block + np.arange(self.block)).reshape(-1)
        return wide[: self.size]

    def gather(self, vector: Vector) -> Vector:
        """vector[S], a fresh array of the vector's dtype.

        Raises: BadParameters for a vector of another shape than (d,).
        """
        rows, tail = self._parts(vector)
        if self.block == 1:
            # Not `take`: of ids that nobody may write to it makes a copy, twice as large as float32 values.
            return np.asarray(vector[self.ids])
        values = np.empty(self.size, vector.dtype)
        count = self._whole_blocks
        whole = values[: count * self.block].reshape(count, self.block)
        # The ids are known to be in range. Told to check them again, numpy would first fill a buffer as large as `out`.
        np.take(rows, self.ids[:count], axis=0, out=whole, mode="clip")
        values[count * self.block :] = tail[: self.size - count * self.block]
        return values

    def scatter(self, values: Vector) -> Vector:
        """A vector of d with these values on S and zero elsewhere: `gather` of it gives them back.

        Raises: BadParameters for values of another shape than (|S|,).
        """
        vector = np.zeros(self.length, values.dtype)
        self.scatter_into(vector, values)
        return vector

    def scatter_into(self, vector: Vector, values: Vector) -> None:
        """vector[S] <- values; the rest stays.

        Raises: BadParameters, before anything has changed, for another shape, or a dtype other than the vector's.
        """
        if values.shape != (self.size,) or values.dtype != vector.dtype:
            raise BadParameters(
                f"expected {self.size} values of {vector.dtype}, got shape {values.shape} of {values.dtype}"
            )
        rows, tail = self._parts(vector)
        if self.block == 1:
            vector[self.ids] = values
            return
        count = self._whole_blocks
        rows[self.ids[:count]] = values[: count * self.block].reshape(count, self.block)
        tail[: self.size - count * self.block] = values[count * self.block :]

    @property
    def _whole_blocks(self) -> int:
        """How many of the chosen blocks have their full length."""
        return self.size // self.block

    def _parts(self, vector: Vector) -> tuple[Vector, Vector]:
        """The vector as rows of whole blocks, and what is left of it; both share its memory."""
        if vector.shape != (self.length,):
            raise BadParameters(f"this set is of a vector of ({self.length},), got shape {vector.shape}")
        end = self.length // self.block * self.block
        # Of a vector with gaps in memory `reshape` would be a copy, and what is scattered into it would be lost.
        if not vector.flags.c_contiguous:
            raise BadParameters("the vector has gaps in memory: pass np.ascontiguousarray of it")
        return vector[:end].reshape(-1, self.block), vector[end:]


def top_k(values: Vector, k: int) -> Ids:
    """The places of the k largest |values|, ascending; of equal ones the lower place comes first.

    Every party that has the same numbers finds the same places: nothing here is computed but magnitudes.
    Raises: NonFinite for NaN or infinity; BadParameters for k outside 0..d.
    """
    magnitudes = _magnitudes(values)
    k = _counted("k", k, 0, magnitudes.size)
    if k == 0:
        return np.zeros(0, np.int64)
    least = np.partition(magnitudes, magnitudes.size - k)[magnitudes.size - k]
    chosen = magnitudes > least
    ties = np.flatnonzero(magnitudes == least)[: k - int(np.count_nonzero(chosen))]
    chosen[ties] = True
    return np.flatnonzero(chosen).astype(np.int64, copy=False)


def above(values: Vector, threshold: float) -> Ids:
    """The places where |value| > threshold, ascending.

    Raises: NonFinite for NaN or infinity, in the values or as the threshold; BadParameters for one below 0.
    """
    if not np.isfinite(threshold):
        raise NonFinite(f"the threshold is {threshold}, it must be finite")
    if threshold < 0:
        raise BadParameters(f"the threshold is {threshold}, it must be at least 0")
    return np.flatnonzero(_magnitudes(values) > threshold).astype(np.int64, copy=False)


def draw(seed: Seed, population: int, k: int) -> Ids:
    """The places of the first k of a permutation of 0..population - 1, ascending.

    The permutation sorts places by word j of the seed's stream, the first 64-bit words being those of place 0, 1,
    and so on; of equal words the lower place comes first.
    Guarantee: uniform over all sets of k, up to population^2 / 2^65, as AES-256 is a pseudorandom permutation. The
        seed is public: what is drawn is known to everybody who knows it.
    Raises: BadParameters for k outside 0..population.
    """
    population = _counted("population", population, 0, MAX_LENGTH)
    k = _counted("k", k, 0, population)
    if k in (0, population):
        return np.arange(k, dtype=np.int64)
    words = Stream(seed).words(0, population)
    most = np.partition(words, k - 1)[k - 1]
    chosen = words < most
    ties = np.flatnonzero(words == most)[: k - int(np.count_nonzero(chosen))]
    chosen[ties] = True
    return np.flatnonzero(chosen).astype(np.int64, copy=False)


def block_norms(vector: Vector, block: int) -> NDArray[np.float64]:
    """The L2 norm of every block, the last one as short as what is left of d; float64.

    Raises: NonFinite for NaN or infinity; BadParameters for a block outside 1..d.
    """
    block = _counted("block", block, 1, vector.size)
    starts = np.arange(0, vector.size, block)
    # In units of the largest magnitude, so that neither 1e200 nor 1e-200 is lost in its square.
    magnitudes = _magnitudes(vector).astype(np.float64)
    largest = float(magnitudes.max())
    if largest == 0.0:
        return np.zeros(starts.size)
    magnitudes /= largest
    np.square(magnitudes, out=magnitudes)
    # A norm beyond float64 is infinite, and whoever compares it refuses it by name.
    with np.errstate(over="ignore"):
        return np.asarray(np.sqrt(np.add.reduceat(magnitudes, starts)) * largest)


def _magnitudes(values: Vector) -> Vector:
    if values.ndim != 1 or values.dtype.kind != "f":
        raise BadParameters(f"expected one row of floats, got shape {values.shape} of {values.dtype}")
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise NonFinite(f"{bad} of {values.size} values are not finite: no order of magnitudes holds them")
    return np.abs(values)


def _ids(given: object, count: int) -> Ids:
    """A read-only copy, so that nobody can change a set after its digest was taken."""
    if not isinstance(given, np.ndarray) or given.ndim != 1 or given.dtype.kind not in "iu":
        raise BadParameters("ids are one row of integers: np.flatnonzero(mask) makes them from a mask")
    if given.size and not (0 <= int(given.min()) <= int(given.max()) < count):
        raise BadParameters(f"ids span {given.min()}..{given.max()}, they must lie in 0..{count - 1}")
    ids = given.astype(np.int64)
    if not (ids[1:] > ids[:-1]).all():
        raise BadParameters("ids must be strictly ascending: sort them, and name none twice")
    ids.setflags(write=False)
    return ids


def _counted(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise BadParameters(f"{name} is {value!r}, it must be an integer in {least}..{most}")
    return int(value)
