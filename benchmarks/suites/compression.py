"""What a client uploads and what the model finds, for every rule of sending less, alone and combined, on real digits.

    training    a small network by FedAvg; all rounds through the ideal functionality: the same integers, no masks
    bytes       all frames of one client of a pairwise round, headers and signatures included, mean over the rounds;
                counted by `protocols.sizes` for the vector that travelled, and held against one real round
    peer        the same training with all coordinates, 16 bits each (with noise: in a ring of 24 bits)

Rows judge bytes; errors are shares of test digits that are not found. One seed: read accuracies to a percent or two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from benchmarks.rows import Effort, Row, Taken
from dp.accountant import View
from dp.calibrate import calibrate_gaussian
from protocols import secure_mean
from protocols.heads import NO_LEDGER
from protocols.learning import (
    Aggregated,
    ErrorFeedback,
    Everything,
    FedAvg,
    Federation,
    IdealRounds,
    Local,
    OnlyKeys,
    PrunedMask,
    RandomK,
    Reduction,
    Rounds,
    TopKOfLast,
    VotedBlocks,
    deal_iid,
    digits,
    mlp,
)
from protocols.learning.demo import BUDGET, CALIBRATED_TO
from protocols.messages import Masked
from protocols.plan import NOTHING, Agreement, RoundPlan
from protocols.sizes import RoundSizes, round_sizes
from protocols.tensors import Layout

SEED = 1
ROUNDS = 30
STRATEGY = FedAvg(Local(rate=1.0, epochs=5))
K = 2048
GOAL_BYTES, GOAL_ERROR = 0.25, 0.10

Rule = Callable[[RoundPlan], Reduction]


@dataclass(frozen=True, slots=True)
class Setting:
    """Who trains what: so many clients, a network with one hidden layer, and a plan for each width of the numbers.

    `width` says what the bits are of.
    """

    name: str
    width: str
    clients: int
    hidden: int
    plan: Callable[[int, int], RoundPlan]
    dense_bits: int


@dataclass(frozen=True, slots=True)
class Case:
    """One way to send less; `goal` where it is held to an accuracy."""

    rule: str
    bits: int
    reduction: Rule
    goal: bool = False


@dataclass(slots=True)
class Uploads:
    """Rounds of the ideal functionality, and what each client would have uploaded in them."""

    plan: RoundPlan
    clients: int
    ideal: IdealRounds = field(init=False)
    lengths: list[int] = field(default_factory=list)
    latest: Mapping[int, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.ideal = IdealRounds(self.plan, SEED)

    def __call__(self, updates: Mapping[int, Any], number: int) -> Aggregated:
        self.latest = updates
        self.lengths.append(Layout.of_update(next(iter(updates.values()))).length)
        return self.ideal(updates, number)

    def sizes(self, length: int) -> RoundSizes:
        """The frames of a round about so many coordinates."""
        agreement = Agreement(self.plan, 0, bytes(16), length, NOTHING, NOTHING, NO_LEDGER)
        return round_sizes(agreement, self.clients)

    def mean_of(self, bytes_of: Callable[[RoundSizes], int]) -> float:
        """Bytes of one client and round, over all rounds."""
        return sum(bytes_of(self.sizes(length)) for length in self.lengths) / len(self.lengths)


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run: the share of test digits not found, and what was uploaded for it."""

    error: float
    uploads: Uploads
    parameters: int


def exact_plan(clients: int, bits: int) -> RoundPlan:
    """Every coordinate clipped to a quarter."""
    return RoundPlan.recommend(clients, clip=Fraction(1, 4), bits=bits, task="compression")


def noisy_plan(clients: int, bits: int) -> RoundPlan:
    """The whole update clipped to 1; noise for the demo's budget over all rounds, in a ring of so many bits."""
    noise = calibrate_gaussian(CALIBRATED_TO, 1, ROUNDS, View.AGGREGATOR).noise
    return RoundPlan.recommend(clients, clip=Fraction(1), noise_multiplier=noise, modulus_bits=bits, task="compression")


EXACT = Setting("without noise", "{} bits", clients=40, hidden=256, plan=exact_plan, dense_bits=16)
NOISY = Setting(
    f"epsilon {BUDGET.epsilon} at delta {float(BUDGET.delta):g}",
    "a ring of {} bits",
    clients=100,
    hidden=64,
    plan=noisy_plan,
    dense_bits=24,
)


def everything(plan: RoundPlan) -> Reduction:
    return Everything()


def voted(plan: RoundPlan) -> Reduction:
    return ErrorFeedback(VotedBlocks(plan, tau=0.3, min_votes=max(2, plan.max_clients // 2), block=16))


def named(rule: str, bits: tuple[int, ...], reduction: Rule, goal: bool = False) -> list[Case]:
    return [Case(rule, width, reduction, goal) for width in bits]


EXACT_CASES = [
    Case("all coordinates", 8, everything),
    *named("VotedBlocks (threshold), feedback", (16, 8), voted),
    *named("TopKOfLast", (16, 8), lambda plan: TopKOfLast(K), goal=True),
    *named("TopKOfLast exploring 0.3, feedback", (16, 8), lambda plan: ErrorFeedback(TopKOfLast(K, 0.3)), goal=True),
    *named("RandomK, scaled", (16, 8), lambda plan: RandomK(K)),
    *named("RandomK, feedback", (16, 8), lambda plan: ErrorFeedback(RandomK(K))),
    *named("PrunedMask 0.2, dense every 10", (16, 8), lambda plan: PrunedMask(0.2, 10)),
    *named("OnlyKeys, the last layer", (16, 8), lambda plan: OnlyKeys("[23]")),
]
NOISY_CASES = [
    Case("all coordinates", 16, everything),
    *named("TopKOfLast", (24, 16), lambda plan: TopKOfLast(K)),
    Case("TopKOfLast exploring 0.3, feedback", 16, lambda plan: ErrorFeedback(TopKOfLast(K, 0.3))),
    Case("RandomK, feedback", 16, lambda plan: ErrorFeedback(RandomK(K))),
    Case("PrunedMask 0.4, dense every 4", 16, lambda plan: PrunedMask(0.4, 4)),
    Case("OnlyKeys, the last layer", 16, lambda plan: OnlyKeys("[23]")),
]


def rows(effort: Effort) -> Iterator[Row]:
    for setting, cases in ((EXACT, EXACT_CASES), (NOISY, NOISY_CASES)):
        clients = min(setting.clients, effort.most_clients)
        dense = trained(setting, Case("all coordinates", setting.dense_bits, everything), clients, effort)
        for case in cases:
            run = trained(setting, case, clients, effort)
            yield row(setting, case, run, dense)
            if case.goal and case.bits == setting.dense_bits:
                yield checked(case, run)


def trained(setting: Setting, case: Case, clients: int, effort: Effort) -> Trained:
    """The whole training; every client is asked in every round."""
    examples = digits()
    model = mlp(examples.features.shape[1], setting.hidden, examples.classes)
    uploads = Uploads(setting.plan(clients, case.bits), clients)
    federation = Federation(
        model=model,
        strategy=STRATEGY,
        data=deal_iid(examples, clients, SEED),
        stops=(Rounds(min(ROUNDS, max(2, effort.schedules // 4))),),
        seed=SEED,
        reduction=case.reduction(uploads.plan),
    )
    last = list(federation.run(uploads))[-1]
    return Trained(1 - last.accuracy, uploads, Layout.of(last.parameters).length)


def row(setting: Setting, case: Case, run: Trained, dense: Trained) -> Row:
    uploads = run.uploads
    vector, vector_dense = (each.uploads.mean_of(lambda sizes: sizes.bytes_of(Masked)) for each in (run, dense))
    share = sum(uploads.lengths) / len(uploads.lengths) / run.parameters
    note = f"{share:.1%} of {run.parameters:,} coordinates; the vector's frame {vector / vector_dense:.1%}"
    if uploads.plan.noise is None:
        encoding, clients = uploads.plan.encoding, uploads.clients
        note += f"; rounding error {encoding.rms_error(clients):.1e}, at worst {encoding.worst_rms_error(clients):.1e}"
    return Row(
        suite="compression",
        case=f"{setting.name}: {case.rule}, {setting.width.format(case.bits)}",
        unit="bytes per client and round",
        ours=Taken.once(uploads.mean_of(lambda sizes: sizes.upload_bytes)),
        peer_name=f"all coordinates, {setting.width.format(setting.dense_bits)}",
        peer=Taken.once(dense.uploads.mean_of(lambda sizes: sizes.upload_bytes)),
        limit=GOAL_BYTES if case.goal else 1.0,
        judged="ratio",
        ours_error=run.error,
        peer_error=dense.error,
        error_limit=GOAL_ERROR if case.goal else None,
        note=note,
    )


def checked(case: Case, run: Trained) -> Row:
    """The last round again, with real endpoints and masks.

    Raises: AssertionError when its sum is not exact, or a client's frames are not of the size that was counted.
    """
    uploads = run.uploads
    report = secure_mean(uploads.latest, uploads.plan, round=0)
    counted = uploads.sizes(uploads.lengths[-1]).upload_bytes
    assert report.exact
    assert report.costs.upload_bytes_per_client == counted
    return Row(
        suite="compression",
        case=f"one real round: {case.rule}, {case.bits} bits",
        unit="bytes per client and round",
        ours=Taken.once(report.costs.upload_bytes_per_client),
        peer_name="as counted",
        peer=Taken.once(counted),
        limit=1.0,
        judged="ratio",
        note="masked, opened, exact",
    )
