"""The masks of a round: one of one's own, and one per neighbour that cancels in the sum.

    client u    y_u = x_u + PRG(self_u) + sum over neighbours v of sign(u, v) * PRG(pair_uv)
    server      sum of y - sum over survivors v of PRG(self_v)
                         - sum over edges (v survived, w dropped) of sign(v, w) * PRG(pair_vw)

sign(u, v) is +1 when u < v and -1 otherwise, so the two ends of an edge add and subtract the same stream.
A seed never keys a stream directly. Each *segment* of 2^18 elements has a key of its own,

    derive(seed, LABEL_STREAM, context, section, b, length, segment)

which binds the stream to context, section, modulus and length, and lets workers that share a vector start
at the beginning of a stream, where reading is fastest (`prg.py`). Who may learn which seed is decided in
`protocols`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice, pairwise

from secagg.errors import BadParameters
from secagg.keys import Seed, derivation
from secagg.prg import accumulate_into, check_range
from secagg.ring import Ring, RingVector

LABEL_STREAM = b"secagg/v1/pairwise/stream"

SEGMENT = 1 << 18

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
    if me in pair_seeds:
        raise BadParameters(f"party {me} cannot be its own neighbour")
    terms = [Correction(1, self_seed)]
    # The order of ids, not of arrival, fixes the sign: both ends must agree without talking.
    terms += [Correction(1 if me < peer else -1, seed) for peer, seed in pair_seeds.items()]
    unmask_into(total, ring, terms, context, section, length, lo, hi)


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
    if total.size != length:
        raise BadParameters(f"section {section} has {length} elements, the vector {total.size}")
    if not 0 <= section < 1 << 32:
        raise BadParameters(f"a section is numbered from 0 to 2^32 - 1, not {section}")
    parts = (section.to_bytes(4, "big"), ring.bits.to_bytes(4, "big"), length.to_bytes(8, "big"))
    for segment in range(lo // SEGMENT, -(-end // SEGMENT)):
        first = segment * SEGMENT
        key_of = derivation(LABEL_STREAM, context, *parts, segment.to_bytes(4, "big"))
        for batch in _batches(corrections):
            streams = [(term.sign, key_of(term.seed)) for term in batch]
            part = total[first : first + SEGMENT]
            accumulate_into(part, ring, streams, max(lo - first, 0), min(end - first, part.size))


def _batches(corrections: Iterable[Correction]) -> Iterator[list[Correction]]:
    rest = iter(corrections)
    while batch := list(islice(rest, STREAMS_AT_ONCE)):
        yield batch


@dataclass(frozen=True, slots=True)
class Workers:
    """`count` workers of an executor that share one vector: threads, since AES and numpy release the lock."""

    executor: Executor
    count: int

    def unmask_into(
        self,
        total: RingVector,
        ring: Ring,
        corrections: Sequence[Correction],
        context: bytes,
        section: int,
        length: int,
    ) -> None:
        """`unmask_into` the whole section, each worker a range of it; the result does not depend on them."""
        jobs = [
            self.executor.submit(unmask_into, total, ring, corrections, context, section, length, lo, hi)
            for lo, hi in shards(length, self.count)
        ]
        for job in jobs:
            job.result()


def shards(length: int, count: int) -> list[tuple[int, int]]:
    """[0, length) as at most `count` adjacent ranges of nearly equal size, for workers that share a vector.

    Ranges begin on segments where there are enough of them, so that every worker reads its streams from the
    start; a shorter vector is cut between segments all the same, on whole AES blocks.
    Raises: BadParameters for count < 1.
    """
    if count < 1:
        raise BadParameters(f"a vector cannot be cut into {count} ranges")
    grain = SEGMENT if length > SEGMENT * count else 16
    grains = -(-length // grain)
    cuts = sorted({min(length, grains * i // count * grain) for i in range(count + 1)})
    return list(pairwise(cuts))
