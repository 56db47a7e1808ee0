"""Server memory: peak bytes of one round, in vectors, for ten clients and for a hundred.

A round is recorded once; the frames are then replayed into a fresh server while allocations are traced,
so the clients' own memory is not counted.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

from benchmarks.rows import Row
from protocols.codec import Frame
from protocols.coding import coding_of
from protocols.endpoint import NOBODY, Client, Task
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.simulate import Cohort, Simulation
from protocols.trial import plan_for, vector_of
from protocols.wire import Buffer
from secagg.keys import Seed

DIMENSION = 1_000_000
# The running sum, the sum handed out, and what unmasking needs; frames in flight are the transport's.
LIMIT_VECTORS = 3.0


def rows() -> Iterator[Row]:
    few, many = peak_bytes(10), peak_bytes(40)
    yield Row(
        suite="memory",
        case=f"server peak of a round, 40 clients, d = {DIMENSION:,}",
        unit="vectors of the ring's word",
        ours=many,
        peer_name="the same with 10 clients",
        peer=few,
        limit=LIMIT_VECTORS,
        judged="ours",
    )


def peak_bytes(clients: int) -> float:
    """Peak of what the server allocates while vectors arrive and are unmasked, in vectors."""
    root = Seed(bytes(32))
    plan = plan_for(clients, 0.1, 16)
    cohort = Cohort.from_root(plan, range(clients), root)
    task = Task(0, DIMENSION, nonce=bytes(16))
    arrivals: list[tuple[PartyId, bytes]] = []

    def train(who: PartyId, client: Client) -> Submit:
        return client.prepare(vector_of(root, who, DIMENSION))

    simulation = Simulation(cohort, train)
    receive = cohort.server.receive

    def record(data: Buffer, speaker: PartyId = NOBODY) -> list[Frame]:
        arrivals.append((speaker, bytes(data)))
        return receive(data, speaker)

    # Listening at the one door every frame comes through; the server itself is as it is.
    cohort.server.receive = record  # type: ignore[method-assign]
    simulation.run(task)
    return replayed_peak(Cohort.from_root(plan, range(clients), root), task, arrivals)


def replayed_peak(cohort: Cohort, task: Task, arrivals: list[tuple[PartyId, bytes]]) -> float:
    """Everything the server allocates from invitation to sum: vectors, keys, tags and shares."""
    server = cohort.server
    tracemalloc.start()
    server.open(task)
    for speaker, data in arrivals:
        server.receive(data, speaker)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (DIMENSION * coding_of(server.agreement).ring.word_bits / 8)
