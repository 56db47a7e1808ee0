"""Several signed frames as one piece of bytes, for frameworks that carry one answer to one question.

bundle = count | (length | frame) ...          u32 each, big-endian
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from protocols.codec import Frame
from protocols.errors import Malformed, Misused
from protocols.party import PartyId
from protocols.wire import Buffer

MOST_FRAMES = 4096
_NUMBER = struct.Struct(">I")

EMPTY = _NUMBER.pack(0)


def pack(frames: Iterable[Frame | Buffer]) -> bytes:
    """The frames in this order. A frame is shorter than 4 GiB.

    Raises: Misused for more frames than `unpack` takes.
    """
    kept = [bytes(frame) for frame in frames]
    if len(kept) > MOST_FRAMES:
        raise Misused(f"{len(kept)} frames do not go into one bundle, {MOST_FRAMES} do")
    return b"".join([_NUMBER.pack(len(kept)), *(part for frame in kept for part in (_NUMBER.pack(len(frame)), frame))])


def unpack(data: Buffer, peer: PartyId) -> list[memoryview]:
    """The frames, as views of the bundle.

    Raises: Malformed, in the name of `peer`, for what is too short, too long, or more frames than any party says.
    """
    view, frames = memoryview(data).cast("B"), []
    count, place = _number(view, 0, peer), _NUMBER.size
    if count > MOST_FRAMES:
        raise Malformed(peer, f"sent a bundle of {count} frames, {MOST_FRAMES} are allowed")
    for _ in range(count):
        length = _number(view, place, peer)
        start, place = place + _NUMBER.size, place + _NUMBER.size + length
        if place > len(view):
            raise Malformed(peer, f"sent a bundle that ends within a frame of {length} bytes")
        frames.append(view[start:place])
    if place != len(view):
        raise Malformed(peer, f"sent a bundle with {len(view) - place} bytes too many")
    return frames


def _number(view: memoryview, place: int, peer: PartyId) -> int:
    if place + _NUMBER.size > len(view):
        raise Malformed(peer, "sent a bundle that ends before it says how long it is")
    return int(_NUMBER.unpack_from(view, place)[0])
