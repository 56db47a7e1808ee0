"""Server memory: peak bytes of one round, in vectors, for ten clients and for a hundred.

A round is recorded once; the frames are then replayed into a fresh server while allocations are traced,
so the clients' own memory is not counted.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

from benchmarks.inputs import update_of
from benchmarks.recording import hear, record
from benchmarks.rows import Effort, Row, Taken
from protocols.coding import coding_of
from protocols.trial import plan_for

# The running sum, the sum handed out, and what unmasking needs; frames in flight are the transport's.
LIMIT_VECTORS = 3.0


def rows(effort: Effort) -> Iterator[Row]:
    few, many = min(10, effort.most_clients), min(40, effort.most_clients)
    yield Row(
        suite="memory",
        case=f"server peak of a round, {many} clients, d = {effort.dimension:,}",
        unit="vectors of the ring's word",
        ours=Taken.once(peak_vectors(many, effort.dimension)),
        peer_name=f"the same with {few} clients",
        peer=Taken.once(peak_vectors(few, effort.dimension)),
        limit=LIMIT_VECTORS,
        judged="ours",
    )


def peak_vectors(clients: int, dimension: int) -> float:
    """Peak of what the server allocates from the first letter to the sum, in vectors."""
    recorded = record(plan_for(clients, 0.1, 16), dimension, lambda who: update_of(who, dimension))
    server = recorded.server()
    tracemalloc.start()
    hear(server, list(recorded.to_server))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (dimension * coding_of(server.agreement).ring.word_bits / 8)
