"""Vectors over Z_{2^b}: numpy words that wrap, and the exact b bits per element that travel.

    b in 1..16 -> uint16    17..32 -> uint32    33..64 -> uint64

The word's own wrap-around is reduction modulo a multiple of 2^b, so additions never reduce; only
`centre` and `pack` look at the low b bits alone. On the wire b is written as a sum of distinct powers
of two, and each power is one *plane*, largest first:

    b = 27 = 16 + 8 + 2 + 1     | bits 0..15 of all | bits 16..23 of all | bits 24, 25 | bit 26 |

Planes of 8 bits and more are little-endian arrays; narrower ones fill bytes from the low bit up and end
in zero bits. Packing is thus a handful of shifts over whole vectors and wastes less than three bytes.
Floats, weights and the bound on the sum are `encode.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadParameters

RingVector = NDArray[Any]
Buffer = bytes | bytearray | memoryview

# Elements handled at once: their words and planes stay in a core's own cache. A multiple of 8, so
# that every chunk of every plane begins on a byte.
CHUNK = 1 << 16

WIDE_PLANES = (64, 32, 16, 8)
NARROW_PLANES = (4, 2, 1)


@dataclass(frozen=True, slots=True)
class Ring:
    """Z_{2^b} in its word. Vectors are one row of little-endian words, whose bits above b mean nothing.

    Raises: BadParameters for b outside 1..64, and from every method for a vector of another word or
        length: nothing is ever broadcast.
    """

    bits: int

    def __post_init__(self) -> None:
        if type(self.bits) is not int or not 1 <= self.bits <= 64:
            raise BadParameters(f"a ring has 1 to 64 bits, not {self.bits!r}")

    @property
    def word_bits(self) -> int:
        """Bits of the machine word that holds an element: 16, 32 or 64, at least `bits`."""
        return 16 if self.bits <= 16 else 32 if self.bits <= 32 else 64

    @property
    def dtype(self) -> np.dtype[Any]:
        """The unsigned numpy dtype of so many bits."""
        return np.dtype(f"<u{self.word_bits // 8}")

    @property
    def modulus(self) -> int:
        """2^bits."""
        return 1 << self.bits

    def zeros(self, d: int) -> RingVector:
        """d zeros of the ring, in its dtype."""
        return np.zeros(d, dtype=self.dtype)

    def check(self, x: RingVector) -> None:
        """Raises BadParameters unless x is one row of this ring's words."""
        if x.dtype != self.dtype or x.ndim != 1:
            raise BadParameters(f"expected one row of {self.dtype}, got shape {x.shape} of {x.dtype}")

    def reduce(self, integers: NDArray[np.int64]) -> RingVector:
        """Signed integers -> their residues in 0..2^b - 1."""
        if integers.dtype.kind not in "iu" or integers.ndim != 1:
            raise BadParameters(f"expected one row of integers, got {integers.ndim}-d {integers.dtype}")
        residues: RingVector = integers.astype(self.dtype)
        residues &= self.dtype.type(self.modulus - 1)
        return residues

    def reduce_in_place(self, x: RingVector) -> None:
        """x <- x mod 2^b."""
        self.check(x)
        x &= self.dtype.type(self.modulus - 1)

    def centre(self, x: RingVector) -> NDArray[np.int64]:
        """Residues -> the representatives in -2^(b-1) .. 2^(b-1) - 1."""
        self.check(x)
        spare = self.word_bits - self.bits
        signed: NDArray[Any] = np.left_shift(x, spare).view(f"<i{self.word_bits // 8}")
        signed >>= spare
        return signed.astype(np.int64, copy=False)

    def sum_centred(self, x: RingVector) -> int:
        """The sum of the representatives `centre` gives, modulo 2^64 as a signed integer; linear in x up to wraps."""
        self.check(x)
        spare, total = self.word_bits - self.bits, 0
        for lo in range(0, x.size, CHUNK):
            if self.word_bits == 64:
                total += int(self.centre(x[lo : lo + CHUNK]).sum(dtype=np.int64))
            else:
                # Shifted up, a word is its representative times 2^spare; a chunk of them cannot wrap 64 bits.
                shifted: NDArray[Any] = np.left_shift(x[lo : lo + CHUNK], spare).view(f"<i{self.word_bits // 8}")
                total += int(shifted.sum(dtype=np.int64)) >> spare
        return (total + (1 << 63)) % (1 << 64) - (1 << 63)

    def add_into(self, total: RingVector, x: RingVector) -> None:
        """total <- total + x."""
        self._check_pair(total, x)
        np.add(total, x, out=total)

    def sub_from(self, total: RingVector, x: RingVector) -> None:
        """total <- total - x."""
        self._check_pair(total, x)
        np.subtract(total, x, out=total)

    def _check_pair(self, total: RingVector, x: RingVector) -> None:
        self.check(total)
        self.check(x)
        if total.size != x.size:
            raise BadParameters(f"lengths {total.size} and {x.size} differ")

    def packed_bytes(self, d: int) -> int:
        """Bytes of d packed elements: sum over planes of ceil(width * d / 8)."""
        if d < 0:
            raise BadParameters(f"a vector cannot have {d} elements")
        return sum(-(-width * d // 8) for width in WIDE_PLANES + NARROW_PLANES if self.bits & width)

    def pack(self, x: RingVector) -> bytearray:
        """x mod 2^b in exactly b bits per element, plane by plane."""
        self.check(x)
        packed = bytearray(self.packed_bytes(x.size))
        packer = Packer(self, packed, x.size)
        for lo in range(0, x.size, CHUNK):
            packer.write(lo, x[lo : lo + CHUNK])
        return packed

    def unpack(self, buffer: Buffer, d: int) -> RingVector:
        """The d elements packed in buffer, each in 0..2^b - 1."""
        self._check_packed(buffer, d)
        x = self.zeros(d)
        self.add_packed_into(x, buffer)
        return x

    def add_packed_into(self, total: RingVector, buffer: Buffer) -> None:
        """total <- total + unpack(buffer), a chunk at a time; no vector is made.

        Raises: BadParameters before total changes, for any other length and for padding that is not zero:
            one vector has one spelling.
        """
        self.check(total)
        self._check_packed(buffer, total.size)
        packer = Packer(self, buffer, total.size)
        packer.check_padding()
        for lo in range(0, total.size, CHUNK):
            part = total[lo : lo + CHUNK]
            np.add(part, packer.read(lo, part.size), out=part)

    def _check_packed(self, buffer: Buffer, d: int) -> None:
        expected, got = self.packed_bytes(d), memoryview(buffer).nbytes
        if got != expected:
            raise BadParameters(f"{d} elements of {self.bits} bits are {expected} bytes, got {got}")


class Packer:
    """The planes of one packed vector of d elements, written and read a chunk at a time.

    Shapes: `packed` is as long as `Ring.packed_bytes` says; chunks begin at multiples of 8 and have at most
        CHUNK elements, the last one whatever is left. Chunks do not overlap in any byte, so that several
        packers may write different ones of the same buffer at once.

    The planes narrower than a byte are taken together: they are the bits of one byte per element, the
    fringe, so that the work on single bits is done on bytes and eight at a time.
    """

    def __init__(self, ring: Ring, buffer: Buffer, d: int) -> None:
        packed = np.frombuffer(buffer, dtype=np.uint8)
        self.d = d
        self.wide: list[tuple[int, NDArray[Any]]] = []
        self.narrow: list[tuple[int, int, NDArray[np.uint8]]] = []
        shift = start = 0
        for width in WIDE_PLANES:
            if ring.bits & width:
                end = start + width // 8 * d
                self.wide.append((shift, packed[start:end].view(f"<u{width // 8}")))
                shift, start = shift + width, end
        self.fringe_shift = shift
        for width in NARROW_PLANES:
            if ring.bits & width:
                end = start + -(-width * d // 8)
                self.narrow.append((width, shift - self.fringe_shift, packed[start:end]))
                shift, start = shift + width, end
        size = min(CHUNK, _whole_bytes(d))
        self.words = np.empty(size, dtype=ring.dtype)
        self.shifted = np.empty(size, dtype=ring.dtype)
        self.fringe = np.empty(size, dtype=np.uint8)

    def check_padding(self) -> None:
        for width, _, plane in self.narrow:
            used = width * self.d % 8
            if used and plane[-1] >> used:
                raise BadParameters(f"the padding of the {width}-bit plane is not zero")

    def write(self, lo: int, x: RingVector) -> None:
        shifted = self.shifted[: x.size]
        for shift, plane in self.wide:
            plane[lo : lo + x.size] = np.right_shift(x, shift, out=shifted) if shift else x
        if not self.narrow:
            return
        fringe = self.fringe[: _whole_bytes(x.size)]
        fringe[x.size :] = 0
        fringe[: x.size] = np.right_shift(x, self.fringe_shift, out=shifted)
        for width, shift, plane in self.narrow:
            start = lo * width // 8
            part = plane[start : start + fringe.size * width // 8]
            part[:] = _fold(fringe, width, shift)[: part.size]

    def read(self, lo: int, count: int) -> RingVector:
        """Elements lo .. lo + count, in scratch that the next call overwrites."""
        words, shifted = self.words[:count], self.shifted[:count]
        for shift, plane in self._sources(lo, count):
            if shift == 0:
                np.copyto(words, plane)
            else:
                np.copyto(shifted, plane)
                np.left_shift(shifted, shift, out=shifted)
                np.bitwise_or(words, shifted, out=words)
        return words

    def _sources(self, lo: int, count: int) -> Iterator[tuple[int, NDArray[Any]]]:
        for shift, plane in self.wide:
            yield shift, plane[lo : lo + count]
        if not self.narrow:
            return
        fringe = self.fringe[: _whole_bytes(count)]
        for width, shift, plane in self.narrow:
            start = lo * width // 8
            lane = _spread(plane[start : start + fringe.size * width // 8], width, shift)
            if shift == 0:
                fringe[: lane.size] = lane[: fringe.size]
            else:
                np.bitwise_or(fringe[: lane.size], lane[: fringe.size], out=fringe[: lane.size])
        yield self.fringe_shift, fringe[:count]


def _whole_bytes(count: int) -> int:
    """count rounded up to a multiple of 8: the elements of as many whole bytes of any plane."""
    return -(-count // 8) * 8


def _fold(fringe: NDArray[np.uint8], width: int, shift: int) -> NDArray[np.uint8]:
    """Bits shift .. shift + width of each byte, side by side: element j at bit j * width."""
    mask = ((1 << width) - 1) * 0x0101010101010101
    lanes = fringe.view("<u8") >> shift
    lanes &= mask
    if width == 1:
        return np.packbits(lanes.view(np.uint8), bitorder="little")
    if width == 2:
        quads = lanes.view("<u4")
        quads |= quads >> 6
        quads |= quads >> 12
        return quads.astype(np.uint8)
    pairs = lanes.view("<u2")
    pairs |= pairs >> 4
    return pairs.astype(np.uint8)


def _spread(folded: NDArray[np.uint8], width: int, shift: int) -> NDArray[np.uint8]:
    """The inverse of `_fold`, in fresh memory; the other bits of each byte are zero."""
    if width == 1:
        bits = np.unpackbits(folded, bitorder="little")
        return (bits.view("<u8") << shift).view(np.uint8) if shift else bits
    if width == 2:
        # A factor copies each field to its neighbour's place; the copies do not overlap, so nothing carries.
        quads = folded.astype("<u4")
        quads *= 0x1001
        quads &= 0x000F000F
        quads *= 0x41 << shift
        quads &= 0x03030303 << shift
        return quads.view(np.uint8)
    pairs = folded.astype("<u2")
    pairs |= pairs << 4
    pairs &= 0x0F0F
    return pairs.view(np.uint8)
