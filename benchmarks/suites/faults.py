"""Rounds lost to drop-outs that leave enough survivors, beside Flower: the same schedules for both.

A schedule says which of ten clients vanish and at which stage: as many as three, so that seven answer to the
end, where both need six. Flower's four stages are advertised keys, shares, masked vectors and unmasking; at
the last, ours vanish before or after they sign the list of survivors. A round that opens another sum than
that of the survivors counts as lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from benchmarks.inputs import SEED, mean_of, rms, update_of
from benchmarks.peers import flower
from benchmarks.peers.flower_rounds import LOSES, Round
from benchmarks.peers.flower_seam import Node
from benchmarks.recording import ROOT
from benchmarks.rows import Effort, Row, Taken, on_cores
from protocols.endpoint import Client, Task
from protocols.errors import RoundLost
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import RoundPlan
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost, Simulation

CLIENTS = 10
MOST_LOST = 3
DIMENSION = 100
# Far above the rounding of either, far below what one client's mask does to a sum.
TOLERANCE = 1e-3

STAGES = (Exchange.ADVERTISE, Exchange.SHARES, Exchange.MASKED, Exchange.UNMASK)


@dataclass(frozen=True, slots=True)
class Vanishing:
    """The stage at which a client is last asked, and whether it got the request."""

    stage: int
    lost: Lost
    before_witness: bool


Schedule = Mapping[int, Vanishing]


def rows(effort: Effort) -> Iterator[Row]:
    schedules = list(schedules_of(effort.schedules))
    with on_cores(1):
        ours = sum(is_lost_here(schedule) for schedule in schedules)
        theirs = sum(is_lost_there(schedule) for schedule in schedules)
    yield Row(
        suite="faults",
        case=f"{len(schedules)} schedules, {CLIENTS} clients, up to {MOST_LOST} lost",
        unit="rounds lost",
        ours=Taken.once(ours),
        peer_name=flower.TITLE,
        peer=Taken.once(theirs),
        limit=0,
        judged="ours",
    )


def schedules_of(count: int) -> Iterator[Schedule]:
    generator = np.random.default_rng(SEED)
    sides = list(Lost)
    for _ in range(count):
        gone = generator.choice(CLIENTS, size=generator.integers(MOST_LOST + 1), replace=False)
        yield {
            int(who): Vanishing(
                int(generator.integers(len(STAGES))), sides[generator.integers(2)], bool(generator.integers(2))
            )
            for who in gone
        }


def survivors_of(schedule: Schedule) -> list[int]:
    """Those whose vector reaches the server: all who are there at that stage."""
    masked = STAGES.index(Exchange.MASKED)
    return [who for who in range(CLIENTS) if who not in schedule or schedule[who].stage > masked]


def is_lost_here(schedule: Schedule) -> bool:
    """Whether our round ends in another sum than the survivors', or in none."""
    plan = RoundPlan.recommend(CLIENTS, dropout=Fraction(MOST_LOST, CLIENTS), corrupt=Fraction(1, 10))
    cohort = Cohort.from_root(plan, range(CLIENTS), ROOT)
    fates = {}
    for who, vanishing in schedule.items():
        stage = STAGES[vanishing.stage]
        if stage is Exchange.UNMASK and vanishing.before_witness:
            stage = Exchange.WITNESS
        fates[PartyId(who)] = Fate(stage, vanishing.lost)

    def train(who: PartyId, client: Client) -> Submit:
        return client.prepare(update_of(who, DIMENSION))

    simulation = Simulation(cohort, train, FaultPlan(fates))
    try:
        simulation.run(Task(0, DIMENSION))
    except RoundLost:
        return True
    survivors = survivors_of(schedule)
    return not simulation.exact or list(simulation.opened.survivors) != survivors


def is_lost_there(schedule: Schedule) -> bool:
    """The same of Flower's round, by the mean it hands to its strategy."""
    nodes = {who + 1: Node(who + 1, update_of(who, DIMENSION), weight=1000) for who in range(CLIENTS)}
    round = Round(nodes, {who + 1: vanishing.stage for who, vanishing in schedule.items()})
    try:
        round.play(shares=CLIENTS, threshold=CLIENTS // 2 + 1)
    except LOSES:
        return True
    # A mean of NaN is no mean, and no comparison with it holds.
    return round.mean is None or not rms(round.mean - mean_of(survivors_of(schedule), DIMENSION)) <= TOLERANCE
