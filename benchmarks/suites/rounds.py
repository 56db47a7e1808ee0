"""A whole pairwise round beside the ideal functionality on the same vectors."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.rows import Effort, Row, alternate, on_cores, timed
from protocols import ideal
from protocols.endpoint import Task
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.simulate import Cohort, Simulation
from protocols.trial import plan_for, vector_of
from secagg.keys import Seed

CLIENTS = 20
LIMIT_RATIO = 100_000.0


def rows(effort: Effort) -> Iterator[Row]:
    root, dimension = Seed(bytes(32)), effort.dimension // 10
    plan = plan_for(CLIENTS, 0.1, 16)
    cohort = Cohort.from_root(plan, range(CLIENTS), root)
    prepared: dict[PartyId, Submit] = {}
    rounds = iter(range(1_000))

    def real() -> None:
        def train(who: PartyId, client: object) -> Submit:
            prepared[who] = cohort.clients[who].prepare(vector_of(root, who, dimension))
            return prepared[who]

        Simulation(cohort, train).run(Task(next(rounds), dimension))

    real()
    agreement = cohort.server.agreement
    with on_cores(1):
        ours, peer = alternate(timed(real), timed(lambda: ideal.aggregate(agreement, prepared)), repeats=3)
    yield Row(
        suite="rounds",
        case=f"{CLIENTS} clients, d = {dimension:,}, whole round in one process",
        unit="s",
        ours=ours,
        peer_name="ideal sum of the same vectors",
        peer=peer,
        limit=LIMIT_RATIO,
        judged="ratio",
    )
