"""What privacy costs in accuracy: epsilon from 1 to 8 and no noise, all coordinates and fewer, on real digits.

    data        the bundled digits, dealt evenly to 100 clients; softmax regression on public features, the demo's rule
    budget      epsilon at delta 1e-4 towards the server, for all 30 rounds together; the noise is calibrated to it
    rounds      the ideal functionality: the same integers and the same noise, without cryptography

No protocol differs from it in a bit, so which one runs makes no difference here; one training is made with each, on
updates that leave rounding nothing to draw, and must end in the very same model. Figures are medians over seeds of the
shares of test digits that are not found.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from benchmarks.rows import Effort, Row, Taken, spread_of
from dp.accountant import Budget, Relation, View
from dp.calibrate import calibrate_gaussian
from protocols.learning import (
    Aggregate,
    ErrorFeedback,
    Everything,
    FedAvg,
    Federation,
    IdealRounds,
    Local,
    Parameters,
    RandomK,
    Reduction,
    Rounds,
    SecureRounds,
    TopKOfLast,
    deal_iid,
    digits,
    orientation_features,
    softmax_regression,
)
from protocols.learning.demo import COORDINATE_CLIP, L2_CLIP, STRATEGY
from protocols.learning.loop import Released
from protocols.plan import Promise, RoundPlan

CLIENTS, ROUNDS, DELTA = 100, 30, Fraction(1, 10**4)
# None is no noise, beside which the others stand.
EPSILONS: tuple[int | None, ...] = (1, 2, 4, 8, None)
SEEDS = 3
# Half of the model's 910 coordinates.
K = 455
RULES: dict[str, Callable[[], Reduction]] = {
    "all coordinates": Everything,
    "TopKOfLast, half": lambda: TopKOfLast(K),
    "RandomK, half, feedback": lambda: ErrorFeedback(RandomK(K)),
}
# Shares of digits that may be missed; without noise and at every rule of sending less no more than at epsilon 4.
LIMITS: dict[int | None, float] = {1: 0.35, 2: 0.15, 4: 0.08, 8: 0.08, None: 0.08}
PROTOCOLS = ("pairwise", "oneshot", "ckks")
FEW, EQUAL_ROUNDS = 10, 3


@dataclass(frozen=True, slots=True)
class Trained:
    """One rule at one budget: the shares of digits not found, of every seed."""

    rule: str
    epsilon: int | None
    errors: tuple[float, ...]

    @property
    def taken(self) -> Taken:
        """The median stands for all: the least of some trainings is luck."""
        middle = statistics.median(self.errors)
        return Taken(middle, middle, len(self.errors), spread_of(list(self.errors)))

    @property
    def case(self) -> str:
        return case_of(self.rule, self.epsilon)


def case_of(rule: str, epsilon: int | None) -> str:
    return f"{rule}, no noise" if epsilon is None else f"{rule}, epsilon {epsilon}"


def point_of(case: str) -> tuple[str, int | None] | None:
    """The inverse of `case_of`; None for what is no such case."""
    known = {case_of(rule, epsilon): (rule, epsilon) for rule in RULES for epsilon in EPSILONS}
    return known.get(case)


def rows(effort: Effort) -> Iterator[Row]:
    seeds, rounds = (SEEDS, ROUNDS) if effort.repeats > 1 else (1, 2)
    for rule in RULES:
        trained = [trained_at(rule, epsilon, seeds, rounds) for epsilon in EPSILONS]
        yield from (row(one, trained[-1]) for one in trained)
    for protocol in PROTOCOLS:
        yield equal(protocol)


def row(trained: Trained, exact: Trained) -> Row:
    return Row(
        suite="utility",
        case=trained.case,
        unit="of digits not found",
        ours=trained.taken,
        peer_name="the same without noise",
        peer=exact.taken,
        limit=LIMITS[trained.epsilon],
        judged="ours",
        note=f"{len(trained.errors)} seeds, {min(trained.errors):.3f} to {max(trained.errors):.3f}; ideal rounds",
    )


def trained_at(rule: str, epsilon: int | None, seeds: int, rounds: int) -> Trained:
    return Trained(rule, epsilon, tuple(error_of(rule, epsilon, seed, rounds) for seed in range(seeds)))


def plan_at(epsilon: int | None, rounds: int) -> RoundPlan:
    """Sums of all clients, a tenth of whom may be lost and a tenth corrupt."""
    tenth = Fraction(1, 10)
    if epsilon is None:
        return RoundPlan.recommend(CLIENTS, dropout=tenth, corrupt=tenth, clip=COORDINATE_CLIP, task="utility")
    # A little below the limit: integer noise costs slightly more than the real-valued it follows.
    budget = Budget(Fraction(epsilon) * Fraction(59, 60), DELTA, Relation.ZERO_OUT)
    noise = calibrate_gaussian(budget, 1, rounds, View.AGGREGATOR).noise
    return RoundPlan.recommend(
        CLIENTS, dropout=tenth, corrupt=tenth, clip=L2_CLIP, noise_multiplier=noise, task="utility"
    )


def error_of(rule: str, epsilon: int | None, seed: int, rounds: int) -> float:
    """The share of test digits that the trained model does not find."""
    examples = orientation_features(digits())
    federation = Federation(
        model=softmax_regression(examples.features.shape[1], examples.classes),
        strategy=STRATEGY,
        data=deal_iid(examples, CLIENTS, seed),
        stops=(Rounds(rounds),),
        seed=seed,
        reduction=RULES[rule](),
    )
    *_, last = federation.run(IdealRounds(plan_at(epsilon, rounds), seed))
    return 1 - last.accuracy


# --- every protocol ---------------------------------------------------------------------------------------------


def equal(protocol: str) -> Row:
    """A training by real endpoints of this protocol, beside the one that is ideal: the largest difference."""
    promise = Promise.CURIOUS if protocol == "ckks" else Promise.ACTIVE
    plan = RoundPlan.recommend(FEW, clip=COORDINATE_CLIP, protocol=protocol, promise=promise, task="utility")
    secure, ideal = (model_after(plan, act) for act in (SecureRounds(plan, range(FEW)), IdealRounds(plan, 0)))
    apart = max(float(np.abs(one - other).max()) for one, other in zip(secure, ideal, strict=True))
    return Row(
        suite="utility",
        case=f"{protocol}: the model after {EQUAL_ROUNDS} real rounds of {FEW} clients, beside the ideal functionality",
        unit="largest difference",
        ours=Taken.once(apart),
        peer_name="bit for bit the same",
        peer=Taken.once(0.0),
        limit=0.0,
        judged="ours",
        note="no noise, updates on the lattice",
    )


def model_after(plan: RoundPlan, aggregate: Aggregate) -> Parameters:
    examples = orientation_features(digits())
    model = softmax_regression(examples.features.shape[1], examples.classes)
    data = deal_iid(examples, FEW, 0)
    run = Federation(model, FedAvg(Local(1.0)), data, (Rounds(EQUAL_ROUNDS),), seed=0).run(on_lattice(plan, aggregate))
    list(run)
    return run.parameters


def on_lattice(plan: RoundPlan, aggregate: Aggregate) -> Aggregate:
    """Updates rounded to what the plan can send, so that its own random rounding has nothing left to draw."""
    step = plan.encoding.step

    def act(updates: Mapping[int, Parameters], number: int) -> Released:
        return aggregate({who: [np.round(a / step) * step for a in update] for who, update in updates.items()}, number)

    return act
