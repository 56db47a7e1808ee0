"""Taking chosen coordinates out of a vector and putting them back, beside numpy's own fancy indexing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.inputs import SEED, Floats, update_of
from benchmarks.rows import Effort, Row, alternate, on_cores, timed
from secagg.sparse import Selection

MOST = 1.5
FRACTION = 10
BLOCK = 64


def rows(effort: Effort) -> Iterator[Row]:
    with on_cores(1):
        for block in (1, BLOCK):
            yield from both_ways(some(effort.large, block), effort)


def some(length: int, block: int) -> Selection:
    """A tenth of all blocks, drawn."""
    blocks = -(-length // block)
    drawn = np.random.default_rng(SEED).choice(blocks, blocks // FRACTION, replace=False)
    return Selection(length, np.sort(drawn), block)


def both_ways(chosen: Selection, effort: Effort) -> Iterator[Row]:
    vector, places = update_of(0, chosen.length), chosen.coordinates
    values, target = vector[places], np.zeros_like(vector)

    def ours_into() -> Floats:
        chosen.scatter_into(target, values)
        return target

    def theirs_into(into: Floats) -> Floats:
        into[places] = values
        return into

    def theirs() -> Floats:
        return theirs_into(np.zeros(chosen.length, vector.dtype))

    yield beside("gather", chosen, lambda: chosen.gather(vector), lambda: vector[places], effort)
    yield beside("scatter into a vector", chosen, ours_into, lambda: theirs_into(target), effort)
    yield beside("scatter into zeros", chosen, lambda: chosen.scatter(values), theirs, effort)


def beside(what: str, chosen: Selection, ours: Callable[[], Floats], peer: Callable[[], Floats], effort: Effort) -> Row:
    taken, taken_peer = alternate(timed(ours), timed(peer), 3 * effort.repeats)
    kind = "coordinates" if chosen.block == 1 else f"blocks of {chosen.block}"
    return Row(
        suite="sparse",
        case=f"{what}, {chosen.size:,} of {chosen.length:,} in {kind}, float32",
        unit="ns per chosen coordinate",
        ours=taken.per(chosen.size * 1e-9),
        peer_name="numpy's fancy index",
        peer=taken_peer.per(chosen.size * 1e-9),
        limit=MOST,
        judged="ratio",
        ours_error=float(np.abs(ours() - peer()).max()),
        error_limit=0.0,
        note="CPU seconds",
    )
