"""A whole training beside pfl's simulation: digits, a hundred users, Gaussian noise of one multiplier on every sum.

    pfl      sums in the clear, float noise added once by a trusted server
    ours     `Federation` on the ideal functionality: integers, every client's share of integer noise, the exact sum,
             bit for bit what a protocol would open

Both train the same model on the same users, in full batches from the same start. What masks cost on top is in the
other suites; what they change of a model is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.peers import pfl
from benchmarks.peers.pfl import Training
from benchmarks.rows import Effort, Row, Taken, alternate, on_cores, timed
from protocols.learning import Dealt, FedAvg, Federation, IdealRounds, Local, Parameters, Rounds, deal_iid, digits
from protocols.learning import softmax_regression as softmax
from protocols.plan import RoundPlan

USERS, FEATURES, CLASSES = 100, 64, 10
ROUNDS, SMOKE_ROUNDS = 20, 2
EPOCHS, RATE, CLIP, NOISE = 5, 1.0, 1.0, 1.0
MOST_REPEATS = 3
# Twice theirs buys rounding, integer noise of every client and a sum that a protocol reproduces.
LIMIT_SECONDS, LIMIT_MISSED = 2.0, 0.2


def rows(effort: Effort) -> Iterator[Row]:
    rounds = ROUNDS if effort.repeats > 1 else SMOKE_ROUNDS
    dealt = deal_iid(digits(), USERS, seed=0)
    users = [(dealt.clients[who].features, dealt.clients[who].labels) for who in range(USERS)]
    missed: tuple[list[float], list[float]] = ([], [])

    def ours() -> None:
        missed[0].append(off(trained(dealt, rounds, len(missed[0])), dealt))

    def peer() -> None:
        training = Training(rounds, EPOCHS, RATE, CLIP, NOISE, seed=len(missed[1]))
        missed[1].append(off(list(pfl.trained(users, CLASSES, training)), dealt))

    with on_cores(1):
        taken, taken_peer = alternate(timed(ours), timed(peer), min(effort.repeats, MOST_REPEATS))
    case = f"digits, {USERS} users, {rounds} rounds, clip {CLIP:g}, noise multiplier {NOISE:g}"
    yield Row(
        suite="pfl",
        case=f"{case}: the whole training",
        unit="s",
        ours=taken,
        peer_name=f"{pfl.TITLE}, SimulatedBackend",
        peer=taken_peer,
        limit=LIMIT_SECONDS,
        judged="ratio",
        note="CPU seconds",
    )
    yield Row(
        suite="pfl",
        case=f"{case}: held-out digits missed",
        unit="of all",
        ours=usual(missed[0]),
        peer_name=f"{pfl.TITLE}, SimulatedBackend",
        peer=usual(missed[1]),
        limit=LIMIT_MISSED,
        judged="ours",
        note="the median of trainings with noise of other seeds",
    )


def usual(missed: list[float]) -> Taken:
    """To be compared by the median: the luckiest noise is nobody's figure."""
    taken = Taken.of(missed)
    return replace(taken, least=taken.median)


def trained(dealt: Dealt, rounds: int, seed: int) -> Parameters:
    """The model after the last round."""
    plan = RoundPlan.recommend(USERS, dropout=0, corrupt=0, clip=CLIP, bits=16, noise_multiplier=NOISE)
    strategy = FedAvg(Local(rate=RATE, epochs=EPOCHS))
    federation = Federation(softmax(FEATURES, CLASSES), strategy, dealt, (Rounds(rounds),), seed=seed)
    run = federation.run(IdealRounds(plan, seed))
    for _ in run:
        pass
    return run.parameters


def off(parameters: Parameters, dealt: Dealt) -> float:
    """The fraction of held-out digits that a model of ours or theirs does not find, judged by one function."""
    return 1 - softmax(FEATURES, CLASSES).score([np.asarray(each) for each in parameters], dealt.public).accuracy
