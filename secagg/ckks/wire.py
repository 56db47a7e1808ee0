"""Residues as bytes: low bits dropped at home, the rest in planes of whole words.

    residue c < 2^54  --drop d-->  c / 2^d rounded, mod 2^(54-d)  --width w = ceil((54 - d) / 8)-->  planes

What is dropped is noise to whoever opens the sum, and the plan counts it; q stays the same for everybody. A half is
rounded to the even neighbour: always up, every upload would be 1/2 too large in the mean, and a sum of n uploads n/2 in
every coefficient alike, a multiplier of the key far wider than the plan counts. Planes are written one after the other
for the whole vector, so that packing is a few contiguous casts:

    width 3: u16 u8    4: u32    5: u32 u8    6: u32 u16    7: u32 u16 u8        little-endian, low plane first

No foreign byte becomes a residue that is not below q, and no bytes of a stranger ever reach SEAL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BadCiphertext, BadParameters
from secagg.negacyclic import PRIME, PRIME_BITS, Residues

Buffer = bytes | bytearray | memoryview

_PLANES: dict[int, tuple[str, ...]] = {
    3: ("<u2", "u1"),
    4: ("<u4",),
    5: ("<u4", "u1"),
    6: ("<u4", "<u2"),
    7: ("<u4", "<u2", "u1"),
}
WIDTHS = tuple(_PLANES)


def dropped(width: int) -> int:
    """How many low bits are left at home so that a residue fits `width` bytes.

    Raises: BadParameters for a width without planes.
    """
    if width not in _PLANES:
        raise BadParameters(f"a residue takes 3 to 7 bytes, not {width!r}")
    return max(0, PRIME_BITS - 8 * width)


def largest(width: int) -> int:
    """The largest number that a residue becomes on the wire."""
    drop = dropped(width)
    return min((PRIME - 1 + _half(drop)) >> drop, (1 << (PRIME_BITS - drop)) - 1)


def shorten(residues: Residues, width: int) -> NDArray[np.uint64]:
    """Each residue rounded to a multiple of 2^d, divided by it. One that rounds to 2^54 is next to q, so 0."""
    drop = dropped(width)
    if not drop:
        return residues
    short: NDArray[np.uint64] = residues >> np.uint64(drop)
    short &= np.uint64(1)
    short += residues
    short += np.uint64(_half(drop) - 1)
    short >>= np.uint64(drop)
    short &= np.uint64((1 << (PRIME_BITS - drop)) - 1)
    return short


def packed_bytes(count: int, width: int) -> int:
    """How long the planes of so many residues are."""
    dropped(width)
    return width * count


def pack_into(packed: bytearray | memoryview, residues: Residues, width: int, first: int = 0) -> None:
    """Write residues first, first + 1, ... of the vector whose planes are `packed`; parts may come in any order.

    Shapes: any number of residues below q, flattened.
    Raises: BadParameters for a width without planes, or a part that does not lie within the vector.
    """
    write_planes(packed, shorten(residues, width).ravel(), width, first)


def write_planes(packed: bytearray | memoryview, numbers: NDArray[np.uint64], width: int, first: int = 0) -> None:
    """Numbers first, first + 1, ... of the vector whose planes are `packed`, each of `width` bytes.

    Raises: BadParameters for a part that does not lie within the vector.
    """
    count, partial = divmod(len(packed), width)
    if partial or not 0 <= first <= count - numbers.size:
        raise BadParameters(f"{len(packed)} bytes hold no residues {first} .. {first + numbers.size} of {width}")
    start, shift = 0, 0
    for plane in _PLANES[width]:
        size = np.dtype(plane).itemsize
        out = np.frombuffer(packed, plane, numbers.size, start + first * size)
        np.right_shift(numbers, np.uint64(shift), out=out, casting="unsafe")
        start, shift = start + size * count, shift + 8 * size


def unpack(buffer: Buffer, count: int, width: int) -> Residues:
    """The residues that `pack_into` rounded, each a multiple of 2^d below q; a fresh array.

    Raises: BadCiphertext for another length, or a number that no residue becomes; BadParameters for a width without
    planes.
    """
    check_planes(buffer, count, width)
    residues = read_planes(buffer, count, width)
    # The largest number stands for a residue below q, so nothing is left to reduce.
    residues <<= np.uint64(dropped(width))
    return residues


def check_planes(buffer: Buffer, count: int, width: int) -> None:
    """Returns when `unpack` would; the high plane tells all but a few numbers, and nothing is made of the others.

    Raises: as `unpack`.
    """
    *lower, high = planes(buffer, count, width)
    bound, shift = largest(width), 8 * sum(plane.itemsize for plane in lower)
    top = bound >> shift
    if not count or int(high.max()) < top:
        return
    # Where the high plane is at its top the lower ones decide; beyond it no lower one does.
    places = np.flatnonzero(high >= top)
    if int(_joined([plane[places] for plane in (*lower, high)]).max()) > bound:
        raise BadCiphertext("a residue is not below the modulus")


def read_planes(buffer: Buffer, count: int, width: int) -> NDArray[np.uint64]:
    """The numbers that `write_planes` wrote; a fresh array.  Raises: as `planes`."""
    return _joined(planes(buffer, count, width))


def _joined(found: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """The numbers with these planes, the low one first."""
    low, *higher = found
    numbers: NDArray[np.uint64] = low.astype(np.uint64)
    shift = 8 * low.itemsize
    for plane in higher:
        part = plane.astype(np.uint64)
        part <<= np.uint64(shift)
        numbers |= part
        shift += 8 * plane.itemsize
    return numbers


def planes(buffer: Buffer, count: int, width: int) -> list[NDArray[np.unsignedinteger[Any]]]:
    """The planes of so many residues where they lie, the low one first.

    Raises: BadCiphertext for another length; BadParameters for a width without planes.
    """
    if len(buffer) != packed_bytes(count, width):
        raise BadCiphertext(f"{len(buffer)} bytes for {count} residues of {width}")
    found, start = [], 0
    for plane in _PLANES[width]:
        found.append(np.frombuffer(buffer, plane, count, start))
        start += np.dtype(plane).itemsize * count
    return found


def _half(drop: int) -> int:
    return (1 << drop) >> 1
