"""Client masking per element and mask, beside copying the vector once with numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.rows import Row, alternate
from secagg.keys import Seed
from secagg.masks import mask_into
from secagg.ring import Ring

DIMENSION = 1_000_000
LIMIT_NANOSECONDS = 1.0
CONTEXT = bytes(32)


def rows() -> Iterator[Row]:
    for bits in (23, 36):
        for neighbours in (9, 49):
            yield measure(Ring(bits), neighbours)


def measure(ring: Ring, neighbours: int) -> Row:
    total = ring.zeros(DIMENSION)
    copy = np.empty_like(total)
    seeds = {peer: Seed(peer.to_bytes(32, "little")) for peer in range(1, neighbours + 1)}
    own = Seed(bytes(32))

    def mask() -> None:
        mask_into(total, ring, own, seeds, 0, CONTEXT, 0, DIMENSION)

    ours, peer = alternate(mask, lambda: np.copyto(copy, total))
    masks = neighbours + 1
    return Row(
        suite="masking",
        case=f"{masks} masks, {ring.bits}-bit ring, d = {DIMENSION:,}",
        unit="ns per element and mask",
        ours=ours / DIMENSION / masks * 1e9,
        peer_name="numpy copy of the vector",
        peer=peer / DIMENSION * 1e9,
        limit=LIMIT_NANOSECONDS,
        judged="ours",
    )
