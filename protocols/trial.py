"""One real cryptographic round on pseudorandom vectors, compared with the ideal sum: `secagg simulate`.

It answers what a round costs and whether it is exact, for sizes and drop-outs of the caller's choice.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import asdict, dataclass

import numpy as np

from protocols.coding import Floats, coding_of
from protocols.endpoint import Client, Task
from protocols.errors import Misused
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import NOTHING, RoundPlan
from protocols.planning import graphs_for
from protocols.simulate import Cohort, FaultPlan, Simulation
from protocols.verifying import Verifier, remembering
from secagg.graph import GraphMode, largest_feasible_dropout, largest_feasible_sparse_dropout
from secagg.keys import Seed, derive, verify
from secagg.prg import Stream

TIMED_CLIENTS = 9
LABEL_VECTOR = b"secagg/v1/trial/vector"
LABEL_NONCE = b"secagg/v1/trial/nonce"


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try: n clients, d coordinates in [-1, 1], a fraction that drops out at random exchanges."""

    plan: RoundPlan
    clients: int
    dimension: int
    dropout: float


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What the round gave. Seconds are CPU time, bytes whole frames, memory the process's peak.

    The median is over clients that check every signature themselves, as each does in a process of its own; the
    other clients of this process share what was checked.
    """

    exact: bool
    survivors: int
    client_seconds_median: float
    server_seconds: float
    upload_bytes_per_client: int
    rounds_trips: int
    peak_rss_bytes: int
    degree: int
    threshold: int
    modulus_bits: int
    deterministic: bool

    def to_dict(self) -> dict[str, object]:
        """The report under the names the command prints."""
        return asdict(self)


def plan_for(clients: int, dropout: float, bits: int) -> RoundPlan:
    """The plan that `secagg plan` recommends, or one that assumes as much of the drop-out as any survives.

    A trial may ask for more drop-outs than are assumed, to see the round refused.
    """
    graphs = graphs_for(clients)
    graph = next((graph for graph in graphs if dropout <= most_assumable(clients, bits, graph)), graphs[0])
    assumable = min(dropout, most_assumable(clients, bits, graph))
    return RoundPlan.recommend(clients, dropout=assumable, bits=bits, graph=graph)


def most_assumable(clients: int, bits: int, graph: GraphMode) -> float:
    """The largest drop-out that a plan on this graph survives."""
    assumed = RoundPlan.recommend(clients, dropout=0, bits=bits, graph=graph).assumption
    largest = largest_feasible_dropout if graph is GraphMode.COMPLETE else largest_feasible_sparse_dropout
    return float(largest(clients, assumed))


def run_trial(trial: Trial, seed: int | None) -> TrialReport:
    """Play the round. With a seed, identities, secrets, vectors and faults are functions of it (insecure).

    Raises: TooFewClients when the drop-outs are too many; BadPlan, Misused for impossible requests.
    """
    root = _root(seed)
    ids = tuple(map(PartyId, range(trial.clients)))
    nonce = derive(root, LABEL_NONCE, NOTHING).expose()[:16]
    faults_seed = int.from_bytes(nonce, "little") if seed is None else seed
    faults = FaultPlan.seeded(ids, trial.dropout, faults_seed)
    # Each of n clients checks n signatures: n of them in one process would check n^2, and time nothing else.
    timed, memory = frozenset(sorted(set(ids) - set(faults.fates))[:TIMED_CLIENTS]), remembering()

    def verifiers(who: PartyId) -> Verifier:
        return verify if who in timed else memory

    if seed is None:
        cohort = Cohort.fresh(trial.plan, ids, verifiers)
    else:
        cohort = Cohort.from_root(trial.plan, ids, root, verifiers)

    def train(who: PartyId, client: Client) -> Submit:
        return client.prepare(vector_of(root, who, trial.dimension))

    simulation = Simulation(cohort, train, faults, timed=timed)
    task = Task(0, trial.dimension, nonce=nonce)
    costs = simulation.run(task)
    parameters = trial.plan.parameters(trial.clients)
    return TrialReport(
        exact=simulation.exact,
        survivors=len(simulation.opened.survivors),
        client_seconds_median=costs.client_seconds_median,
        server_seconds=costs.server_seconds,
        upload_bytes_per_client=costs.upload_bytes_per_client,
        rounds_trips=costs.exchanges,
        peak_rss_bytes=peak_rss_bytes(),
        degree=parameters.degree,
        threshold=parameters.threshold,
        modulus_bits=coding_of(cohort.server.agree(task)).ring.bits,
        deterministic=cohort.deterministic,
    )


def _root(seed: int | None) -> Seed:
    if seed is None:
        return Seed.fresh()
    if not 0 <= seed < 1 << 256:
        raise Misused(f"seed is {seed}, it must lie in 0..2^256 - 1")
    return Seed(seed.to_bytes(32, "little"))


def vector_of(root: Seed, who: PartyId, dimension: int) -> Floats:
    """A client's test vector: float32, uniform in [-1, 1), a function of root and id."""
    stream = Stream(derive(root, LABEL_VECTOR, NOTHING, who.to_bytes(4, "little")))
    words = stream.words(0, (dimension + 1) // 2).view(np.int32)[:dimension]
    return words.astype(np.float32) * np.float32(2.0**-31)


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
