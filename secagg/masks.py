"""The masks of a round: one of one's own, and one per neighbour that cancels in the sum.

    client u    y_u = x_u + PRG(self_u) + sum over neighbours v of sign(u, v) * PRG(pair_uv)
    server      sum of y - sum over survivors v of PRG(self_v)
                         - sum over edges (v survived, w dropped) of sign(v, w) * PRG(pair_vw)

sign(u, v) is +1 when u < v and -1 otherwise, so the two ends of an edge add and subtract the same stream.
A seed never keys a stream directly. Each *segment* of 2^19 elements has a key of its own,

    derive(seed, LABEL_STREAM, context, section, b, length, segment)

which binds the stream to context, section, modulus and length, and lets workers that share a vector start
at the beginning of a stream, where reading is fastest (`prg.py`). Who may learn which seed is decided in
`protocols`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secagg.errors import BadParameters
from secagg.keys import Seed, derivation
from secagg.prg import CHUNK_BYTES, Streams, accumulate_into, check_range
from secagg.ring import CHUNK, Packer, Ring, RingVector
from secagg.workers import ALONE, SEGMENT, Workers

LABEL_STREAM = b"secagg/v1/pairwise/stream"

# AES contexts alive at once: a server may have to take away 10^5 streams.
STREAMS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Correction:
    """One stream the server adds to the sum (+1) or takes away (-1).

    Raises: BadParameters for any other sign.
    """

    sign: int
    seed: Seed

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise BadParameters(f"a sign is +1 or -1, not {self.sign!r}")


def mask_into(
    total: RingVector,
    ring: Ring,
    self_seed: Seed,
    pair_seeds: Mapping[int, Seed],
    me: int,
    context: bytes,
    section: int,
    length: int,
    lo: int = 0,
    hi: int | None = None,
) -> None:
    """total[lo:hi] <- total + PRG(self) + sum over v of sign(me, v) * PRG(pair_v)   (mod 2^b)

    Shapes: total is the whole section, `length` words of this ring; only lo..hi change, so that workers can
        share one vector (`shards` cuts it well). Scratch is one chunk.
    Guarantee: while self_seed or one pair seed is unknown, total[lo:hi] is uniform in Z_{2^b}, with
        AES-256-CTR and HKDF-SHA256 pseudorandom. (context, section) masks one vector: a second one gives
        away the difference of the two, so the caller's state must not allow it.
    Raises: BadParameters when me is among the neighbours (the term would be a second self mask), or total
        is not the section described.
    Source: Bonawitz et al., CCS 2017, section 4; Bell et al., CCS 2020, for sparse neighbourhoods.
    """
    unmask_into(total, ring, mask_terms(me, self_seed, pair_seeds), context, section, length, lo, hi)


def mask_and_pack(
    vector: RingVector,
    ring: Ring,
    self_seed: Seed,
    pair_seeds: Mapping[int, Seed],
    me: int,
    context: bytes,
    section: int,
    length: int,
    workers: Workers = ALONE,
) -> bytearray:
    """pack(vector + PRG(self) + sum over v of sign(me, v) * PRG(pair_v)); the vector stays as it is.

    Shapes: as `mask_into`; besides the packed bytes only a chunk for each worker is made, and a chunk is
        masked and packed while it is in cache.
    Guarantee, Raises: as `mask_into`.
    """
    check_range(vector, ring, 0, None)
    key_of = _keys(ring, context, section, length, vector)
    terms = mask_terms(me, self_seed, pair_seeds)
    packed = bytearray(ring.packed_bytes(length))
    step = min(CHUNK, CHUNK_BYTES // ring.dtype.itemsize)

    def pack_range(lo: int, hi: int) -> None:
        packer, scratch = Packer(ring, packed, length), ring.zeros(min(step, hi - lo))
        for segment, first, last in _segments(lo, hi):
            keyed = [(term.sign, key_of(segment)(term.seed)) for term in terms]
            streams = Streams(ring, keyed, first - segment * SEGMENT, last - first)
            for start in range(first, last, step):
                part = scratch[: min(step, last - start)]
                np.copyto(part, vector[start : start + part.size])
                streams.add_into(part)
                packer.write(start, part)

    workers.each(length, pack_range)
    return packed


def mask_terms(me: int, self_seed: Seed, pair_seeds: Mapping[int, Seed]) -> list[Correction]:
    """What client `me` adds to its vector.

    Raises: BadParameters when me is among the neighbours.
    """
    if me in pair_seeds:
        raise BadParameters(f"party {me} cannot be its own neighbour")
    # The order of ids, not of arrival, fixes the sign: both ends must agree without talking.
    return [Correction(1, self_seed)] + [Correction(1 if me < v else -1, seed) for v, seed in pair_seeds.items()]


def unmask_into(
    total: RingVector,
    ring: Ring,
    corrections: Sequence[Correction],
    context: bytes,
    section: int,
    length: int,
    lo: int = 0,
    hi: int | None = None,
) -> None:
    """total[lo:hi] <- total + sum over corrections of sign * PRG(seed)   (mod 2^b)

    Shapes: as `mask_into`. Ranges are independent: they come in any order, and a failed one is repeated.
    Raises: BadParameters when total is not the section described.
    """
    end = check_range(total, ring, lo, hi)
    key_of = _keys(ring, context, section, length, total)
    for segment, first, last in _segments(lo, end):
        key = key_of(segment)
        offset = segment * SEGMENT
        part = total[offset : offset + SEGMENT]
        for start in range(0, len(corrections), STREAMS_AT_ONCE):
            streams = [(term.sign, key(term.seed)) for term in corrections[start : start + STREAMS_AT_ONCE]]
            accumulate_into(part, ring, streams, first - offset, last - offset)


def _segments(lo: int, hi: int) -> Iterator[tuple[int, int, int]]:
    """(segment, first, last): what of lo..hi lies in each segment."""
    for segment in range(lo // SEGMENT, -(-hi // SEGMENT)):
        yield segment, max(lo, segment * SEGMENT), min(hi, (segment + 1) * SEGMENT)


def _keys(
    ring: Ring, context: bytes, section: int, length: int, vector: RingVector
) -> Callable[[int], Callable[[Seed], Seed]]:
    """The derivation of a segment's stream keys.

    Raises: BadParameters when the vector is not the section described.
    """
    if vector.size != length:
        raise BadParameters(f"section {section} has {length} elements, the vector {vector.size}")
    if not 0 <= section < 1 << 32:
        raise BadParameters(f"a section is numbered from 0 to 2^32 - 1, not {section}")
    parts = (section.to_bytes(4, "big"), ring.bits.to_bytes(4, "big"), length.to_bytes(8, "big"))
    return lambda segment: derivation(LABEL_STREAM, context, *parts, segment.to_bytes(4, "big"))
