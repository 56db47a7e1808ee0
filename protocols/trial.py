"""One real cryptographic round on pseudorandom vectors, compared with the ideal sum: `secagg simulate`.

It answers what a round costs and whether it is exact, for sizes and drop-outs of the caller's choice.
"""

from __future__ import annotations

import math
import resource
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from protocols.ckks.summary import Encryption
from protocols.coding import Floats, coding_of
from protocols.endpoint import Client, Task
from protocols.errors import Misused
from protocols.messages import Submit
from protocols.oneshot.messages import Certificate as CommitteeCertificate
from protocols.oneshot.shape import Shape
from protocols.pairwise_planning import graphs_for
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, NOTHING, PAIRWISE, RoundPlan
from protocols.simulate import Cohort, Costs, Encrypted, Fate, FaultPlan, Lost, Simulation, Told
from protocols.verifying import Verifier, remembering
from secagg.ckks.cipher import Engine
from secagg.ckks.plan import CkksPlan, Mode
from secagg.graph import GraphMode, largest_feasible_dropout, largest_feasible_sparse_dropout
from secagg.keys import Seed, derive, verify
from secagg.negacyclic import PRIME_BITS
from secagg.prg import Stream

TIMED_CLIENTS = 9
LABEL_VECTOR = b"secagg/v1/trial/vector"
LABEL_NONCE = b"secagg/v1/trial/nonce"


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try: n clients, d coordinates in [-1, 1], a fraction that drops out at random exchanges.

    Where the plan's protocol encrypts, `mode` says who can open.
    """

    plan: RoundPlan
    clients: int
    dimension: int
    dropout: float
    engine: Engine | None = None
    mode: Mode = Mode.THRESHOLD


@dataclass(frozen=True, slots=True)
class OpenedByHolders:
    """What an encrypted round adds to the report: its key, and what one holder did, 0 where clients share the key."""

    encryption: Encryption
    holder_seconds_median: float
    download_bytes_per_holder: int


@dataclass(frozen=True, slots=True)
class OpenedByCommittee:
    """What a one-shot round adds to the report: its committee, and what one member did.

    `members` of whom `corrupted` learn nothing and `offline` may be silent; `values_per_coefficient` of the mask.
    """

    members: int
    corrupted_members: int
    offline_members: int
    values_per_coefficient: int
    member_seconds_median: float
    download_bytes_per_member: int


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What the round gave. Seconds are CPU time, bytes whole frames, memory the process's peak.

    `threshold` of the neighbours or of the key's holders open the sum; `degree` is None where there is no graph.

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
    degree: int | None
    threshold: int
    modulus_bits: int
    deterministic: bool
    opened: OpenedByHolders | None = None
    committee: OpenedByCommittee | None = None

    def to_dict(self) -> dict[str, object]:
        """The report under the names the command prints; what concerns holders or members only where there are any."""
        values = asdict(self)
        opened, committee = values.pop("opened"), values.pop("committee")
        encrypted = {} if opened is None else opened.pop("encryption") | opened
        return values | encrypted | (committee or {})


def plan_for(clients: int, dropout: float, bits: int, protocol: str = PAIRWISE) -> RoundPlan:
    """The plan that `secagg plan` recommends, or one that assumes as much of the drop-out as any survives.

    A trial may ask for more drop-outs than are assumed, to see the round refused. Of encrypted rounds no client is
    assumed to help the server: see `RoundPlan`.
    """
    if protocol != PAIRWISE:
        bearable = Fraction(clients - max(3, clients // 2 + 1), clients)
        assumed = min(Fraction(repr(float(dropout))), bearable)
        corrupt = Fraction(0) if protocol == ENCRYPTED else Fraction(1, 10)
        return RoundPlan.recommend(clients, dropout=assumed, corrupt=corrupt, bits=bits, protocol=protocol)
    graphs = graphs_for(clients)
    graph = next((graph for graph in graphs if dropout <= most_assumable(clients, bits, graph)), graphs[0])
    assumable = min(dropout, most_assumable(clients, bits, graph))
    return RoundPlan.recommend(clients, dropout=assumable, bits=bits, graph=graph)


def most_assumable(clients: int, bits: int, graph: GraphMode) -> float:
    """The largest drop-out that a plan on this graph survives."""
    assumed = RoundPlan.recommend(clients, dropout=0, bits=bits, graph=graph).assumption
    largest = largest_feasible_dropout if graph is GraphMode.COMPLETE else largest_feasible_sparse_dropout
    return float(largest(clients, assumed))


def run_trial(trial: Trial, seed: int | None, told: Told = lambda standing: None) -> TrialReport:
    """Play the round. With a seed, identities, secrets, vectors and faults are functions of it (insecure).

    `told` hears how far the round is.
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
        cohort = Cohort.fresh(trial.plan, ids, verifiers, trial.engine, trial.mode)
    else:
        cohort = Cohort.from_root(trial.plan, ids, root, verifiers, trial.engine, trial.mode)

    def train(who: PartyId, client: Client) -> Submit:
        return client.prepare(vector_of(root, who, trial.dimension))

    task = cohort.keyed(Task(0, trial.dimension, nonce=nonce))
    faults = with_lost_holders(faults, cohort, trial.dropout)
    simulation = Simulation(cohort, train, faults, timed=timed, told=told)
    costs = simulation.run(task)
    return TrialReport(
        exact=simulation.exact,
        survivors=len(simulation.opened.survivors),
        client_seconds_median=costs.client_seconds_median,
        server_seconds=costs.server_seconds,
        upload_bytes_per_client=costs.upload_bytes_per_client,
        rounds_trips=costs.exchanges,
        peak_rss_bytes=peak_rss_bytes(),
        deterministic=cohort.deterministic,
        **opened_how(trial, cohort, task, costs),
    )


def opened_how(trial: Trial, cohort: Cohort, task: Task, costs: Costs) -> dict[str, Any]:
    """What the round says of its parameters, by who opened the sum."""
    encrypted = cohort.encryption_of(task)
    if encrypted is not None:
        return of_key(encrypted, costs)
    if isinstance(task.certificate, CommitteeCertificate):
        return of_committee(cohort, task, task.certificate, costs)
    return of_graph(trial, cohort, task)


def of_committee(cohort: Cohort, task: Task, certificate: CommitteeCertificate, costs: Costs) -> dict[str, Any]:
    """What a one-shot round says of its committee, and what its members did."""
    mask, quorum = Shape.of(cohort.server.agree(task)).mask, certificate.epoch.quorum
    return {
        "degree": None,
        "threshold": quorum.needed,
        "modulus_bits": mask.modulus_bits,
        "committee": OpenedByCommittee(
            quorum.members,
            quorum.corrupted,
            quorum.offline,
            mask.per_coefficient,
            costs.holder_seconds_median,
            costs.download_bytes_per_holder,
        ),
    }


def of_graph(trial: Trial, cohort: Cohort, task: Task) -> dict[str, Any]:
    """What a round of masks says of its parameters."""
    parameters = trial.plan.parameters(trial.clients)
    return {
        "degree": parameters.degree,
        "threshold": parameters.threshold,
        "modulus_bits": coding_of(cohort.server.agree(task)).ring.bits,
    }


def of_key(plan: CkksPlan, costs: Costs) -> dict[str, Any]:
    """What an encrypted round says of its key, and what its holders did."""
    return {
        "degree": None,
        "threshold": plan.keys.threshold,
        "modulus_bits": PRIME_BITS,
        "opened": OpenedByHolders(Encryption.of(plan), costs.holder_seconds_median, costs.download_bytes_per_holder),
    }


def with_lost_holders(faults: FaultPlan, cohort: Cohort, dropout: float) -> FaultPlan:
    """The same fraction of the holders is lost as of the clients, but never one of those that a sum needs."""
    if cohort.committee is None:
        return faults
    holders, needed = sorted(cohort.committee.holders), cohort.committee.needed
    lost = holders[: min(math.ceil(Fraction(repr(dropout)) * len(holders)), len(holders) - needed)]
    return FaultPlan({**faults.fates, **dict.fromkeys(lost, Fate(Encrypted.VECTOR, Lost.REPLY))})


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
