"""What a client sends and holds beside Flower's: upload bytes per parameter, and its peak memory.

upload    all five frames, headers and signatures included; of Flower's four answers the payload alone
memory    from the invitation to the last answer, over what was held before, the update among it: the peak
          that tracemalloc saw, and the peak of the process's resident set, sampled
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.inputs import update_of
from benchmarks.peers import flower
from benchmarks.recording import FIRST, plan_of, record
from benchmarks.resident import sampled_peak
from benchmarks.rows import Effort, Row, Taken, on_cores
from protocols.coding import coding_of

MOST_UPLOAD = 3.0
MASKS = 11
MEBIBYTE = 1 << 20


def rows(effort: Effort) -> Iterator[Row]:
    yield upload(effort)
    for dimension in (effort.dimension, effort.large):
        yield from memory(dimension)


def upload(effort: Effort) -> Row:
    clients, dimension = effort.most_clients, effort.dimension
    recorded = record(plan_of(clients), dimension, lambda who: update_of(who, dimension))
    peer = flower.Client(update_of(FIRST, dimension), clients, weight=1000)
    peer.run()
    return Row(
        suite="sizes",
        case=f"upload, 16 bits, {clients} clients, d = {dimension:,}",
        unit="bytes per parameter",
        ours=Taken.once(recorded.costs.upload_bytes_per_client / dimension),
        peer_name=flower.TITLE,
        peer=Taken.once(peer.upload_bytes / dimension),
        limit=MOST_UPLOAD,
        judged="ours",
        note="float32 in the clear: 4",
    )


def memory(dimension: int) -> Iterator[Row]:
    """Both figures of one client among eleven; the limit is twice its packed vector and 16 MiB."""
    recorded = record(plan_of(MASKS), dimension, lambda who: update_of(who, dimension))
    update = update_of(FIRST, dimension)
    coding = coding_of(recorded.cohort.server.agreement)
    limit = (2 * coding.ring.packed_bytes(dimension) + 16 * MEBIBYTE) / MEBIBYTE
    peer = flower.Client(update, MASKS, weight=1000)
    with on_cores(1):
        ours = peak_of(lambda: recorded.play(recorded.client(), update))
        theirs = peak_of(peer.run)
        for figure, mine, other in (
            ("tracemalloc", ours.traced, theirs.traced),
            ("resident set", ours.resident, theirs.resident),
        ):
            yield Row(
                suite="sizes",
                case=f"client peak memory, {MASKS} masks, d = {dimension:,}, {figure}",
                unit="MiB",
                ours=Taken.once(mine / MEBIBYTE),
                peer_name=flower.TITLE,
                peer=Taken.once(other / MEBIBYTE),
                limit=limit,
                judged="ours",
                note="limit: twice the packed vector and 16 MiB",
            )


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes above what was held on entry."""

    traced: int
    resident: int


def peak_of(act: Callable[[], object]) -> Peak:
    """The peak of `act` as Python's allocator and as the operating system saw it, in two runs of it."""
    resident = sampled_peak(act)
    gc.collect()
    tracemalloc.start()
    act()
    _, traced = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Peak(traced, resident)
