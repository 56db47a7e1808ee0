"""The demo: federated training on real digits with everything switched on, beside the same without privacy.

    100 clients with skewed digits, 30 rounds of 80 selected clients, a tenth vanishing at random exchanges;
    softmax regression on public features, FedAvg with momentum; noise calibrated to the whole run's budget

Both trainings see the same data, selection and survivors; only one is masked, clipped and noised.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from dp.accountant import Budget, Relation, View
from dp.calibrate import calibrate_gaussian
from dp.ledger import Ledger
from protocols.errors import Misused, TooFewClients
from protocols.learning.cohorts import UniformCohort
from protocols.learning.data import deal_dirichlet, deal_iid, digits, orientation_features
from protocols.learning.folders import save_model
from protocols.learning.loop import Aggregated, Federation, RoundRecord, plain_mean
from protocols.learning.models import Parameters, softmax_regression
from protocols.learning.stopping import Attempts
from protocols.learning.strategies import FedAvgM, Local
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, Promise, RoundPlan
from protocols.round import RoundReport, secure_mean
from protocols.selftesting import require_sound_noise
from protocols.simulate import Cohort, FaultPlan
from protocols.verifying import shared_memory
from secagg.ckks.cipher import Engine

LEDGER, PIN = "run.ledger", "run.pin"
BUDGET = Budget(6, Fraction(1, 10**4), Relation.ZERO_OUT)
# The noise aims a little below the limit: integer noise costs slightly more than the real-valued it follows.
CALIBRATED_TO = Budget(Fraction(59, 10), Fraction(1, 10**4), Relation.ZERO_OUT)
CORRUPT = Fraction(1, 10)
# Of all clients, this many are selected for each round. Nobody claims amplification for it: the ledger
# charges every round in full to everybody.
SELECTED = Fraction(4, 5)
L2_CLIP = Fraction(3, 2)
COORDINATE_CLIP = Fraction(4)
STRATEGY = FedAvgM(Local(rate=3.0, epochs=10, batch_size=None), rate=0.5, momentum=0.5)


@dataclass(frozen=True, slots=True)
class Demo:
    """What to run. `seed` decides data, selection and drop-outs, never a secret; `engine` encrypts, with ckks.

    Raises: Misused when a ledger is given for a run without noise, or for a negative seed.
    """

    protocol: str
    rounds: int
    clients: int
    dropout: float
    private: bool
    iid: bool
    seed: int
    folder: Path
    ledger: Path | None
    engine: Engine | None = None

    def __post_init__(self) -> None:
        if self.ledger is not None and not self.private:
            raise Misused(f"the ledger {self.ledger} cannot account for a run without noise; drop one of the two")
        if self.seed < 0:
            raise Misused(f"seed is {self.seed}, expected a number >= 0")


@dataclass(frozen=True, slots=True)
class DemoStart:
    """Nothing hinders a first round; `epsilon` is what earlier runs spent of the ledger, None without noise."""

    folder: str
    epsilon: float | None


@dataclass(frozen=True, slots=True)
class DemoRound:
    """One round as it ended; `lost` names the error of a round without a sum."""

    round: int
    survivors: int
    accuracy: float
    accuracy_plain: float
    epsilon: float | None
    bytes_up_per_client: int
    exact: bool
    lost: str | None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The whole run. `epsilon` is the aggregator's view, colluders' noise discounted; both at `delta`."""

    protocol: str
    accuracy: float
    accuracy_plain: float
    epsilon: float | None
    epsilon_released: float | None
    delta: float | None
    rounds: int
    lost_rounds: int
    survivors: list[int]
    bytes_up_per_client: int
    seconds: float
    exact: bool
    seen_bytes: int
    chi_square_p: float | None
    ledger_tail: str | None
    folder: str

    def to_dict(self) -> dict[str, object]:
        """The result under the names the command prints."""
        return asdict(self)


def selected_of(demo: Demo) -> int:
    """How many clients a round invites: four fifths, and three at the least."""
    return max(3, math.ceil(SELECTED * demo.clients))


def plan_of(demo: Demo, task: str) -> RoundPlan:
    """The demo's plan; with privacy, the least noise that keeps all its rounds within the budget.

    The corrupt clients of an encrypted run tell the server what they know, and follow the protocol: see `RoundPlan`.
    """
    promise = Promise.CURIOUS if demo.protocol == ENCRYPTED else Promise.ACTIVE
    recommend = partial(
        RoundPlan.recommend,
        selected_of(demo),
        dropout=demo.dropout,
        corrupt=CORRUPT,
        task=task,
        protocol=demo.protocol,
        promise=promise,
    )
    if not demo.private:
        return recommend(clip=COORDINATE_CLIP)
    calibrated = calibrate_gaussian(CALIBRATED_TO, 1, demo.rounds, View.AGGREGATOR)
    return recommend(clip=L2_CLIP, noise_multiplier=calibrated.noise)


def federation_of(demo: Demo) -> Federation:
    """Model, data and rule of the demo."""
    examples = orientation_features(digits())
    deal = deal_iid if demo.iid else deal_dirichlet
    return Federation(
        model=softmax_regression(examples.features.shape[1], examples.classes),
        strategy=STRATEGY,
        data=deal(examples, demo.clients, demo.seed),
        # The budget is divided among so many charges: a lost round is not tried again.
        stops=(Attempts(demo.rounds),),
        max_lost_rounds=demo.rounds,
        seed=demo.seed,
        selection=UniformCohort(selected_of(demo)),
    )


class SecureAggregation:
    """The secure round as the loop calls it: one cohort of endpoints, one ledger, planned drop-outs.

    Where the plan's clip adapts, `clip` is the next round's: what the latest report said, a lost round keeps it.
    """

    def __init__(self, demo: Demo, plan: RoundPlan, ledger: Ledger | None) -> None:
        self.demo = demo
        self.plan = plan
        self.clip = plan.clip
        self.ledger = ledger
        self.cohort = Cohort.fresh(plan, range(demo.clients), shared_memory(), demo.engine)
        self.reports: list[RoundReport] = []

    def __call__(self, updates: Mapping[int, Parameters], number: int) -> Aggregated:
        invited = tuple(map(PartyId, sorted(updates)))
        faults = FaultPlan.seeded(invited, self.demo.dropout, self.demo.seed * 1_000_003 + number)
        report = secure_mean(
            updates,
            self.plan,
            round=number,
            ledger=self.ledger,
            clip=self.clip,
            faults=faults,
            cohort=self.cohort,
        )
        self.clip = report.next_clip
        self.reports.append(report)
        return Aggregated(report.mean, report.survivors)


def run_demo(demo: Demo) -> Iterator[DemoStart | DemoRound | DemoResult]:
    """Run both trainings in step; yield the start, every round, the result. Files appear as the run goes on.

    Raises: MissingExtra without scikit-learn; Misused where no folder can be made, or the ledger to continue is
        not there; dp.BudgetExceeded and LedgerError from the ledger, with all rounds so far on disk.
    """
    _require_ledger(demo.ledger)
    started = time.perf_counter()
    federation = federation_of(demo)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S-%f")
    plan = plan_of(demo, f"digits-{stamp}")
    folder = _new_folder(demo.folder / stamp)
    with ExitStack() as stack:
        ledger = None
        if demo.private:
            require_sound_noise()
            path = demo.ledger or folder / LEDGER
            ledger = stack.enter_context(Ledger.open(path, BUDGET, pin=folder / PIN))
        secure = SecureAggregation(demo, plan, ledger)
        yield DemoStart(str(folder), None if ledger is None else ledger.interval().upper)
        rounds: list[DemoRound] = []
        for record, plain in in_step(federation, secure):
            rounds.append(_round_of(record, plain, secure))
            _keep(folder, rounds[-1], record)
            yield rounds[-1]
        if ledger is not None:
            for finding in require_sound_noise():
                ledger.audit(finding)
        result = _result_of(demo, rounds, secure, folder, time.perf_counter() - started)
        (folder / "report.json").write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
        yield result


def _require_ledger(path: Path | None) -> None:
    """A typing error must not open a second budget over the same data."""
    if path is None:
        return
    real = os.path.realpath(path)
    # A key alone is left to the ledger, which says what became of the file.
    if not os.path.lexists(real) and not os.path.lexists(f"{real}.key"):
        raise Misused(f"there is no ledger {path} to continue; a run that is given none makes its own in its folder")


def _new_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True)
    except OSError as wrong:
        raise Misused(f"cannot make the folder {folder}: {wrong.strerror}; choose another place for runs") from wrong
    return folder


def in_step(federation: Federation, secure: SecureAggregation) -> Iterator[tuple[RoundRecord, RoundRecord]]:
    """Each secure round, then the plain round over the same survivors."""
    survivors: tuple[int, ...] = ()

    def plain(updates: Mapping[int, Parameters], number: int) -> Aggregated:
        if not survivors:
            raise TooFewClients(0, 1, "Summing")
        return plain_mean({who: updates[who] for who in survivors}, number)

    plain_run = federation.run(plain)
    for record in federation.run(secure):
        survivors = record.survivors
        yield record, next(plain_run)


def _round_of(record: RoundRecord, plain: RoundRecord, secure: SecureAggregation) -> DemoRound:
    report = secure.reports[-1] if record.failed is None else None
    return DemoRound(
        round=record.round,
        survivors=len(record.survivors),
        accuracy=record.accuracy,
        accuracy_plain=plain.accuracy,
        epsilon=None if secure.ledger is None else secure.ledger.interval().upper,
        bytes_up_per_client=0 if report is None else report.costs.upload_bytes_per_client,
        exact=report is None or report.exact,
        lost=record.failed,
    )


def _keep(folder: Path, step: DemoRound, record: RoundRecord) -> None:
    """Write what a crash must not lose: the round's line, then the model so far."""
    with open(folder / "rounds.jsonl", "a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(step)) + "\n")
    save_model(folder / "model.npz", record.parameters)


def _result_of(
    demo: Demo, rounds: list[DemoRound], secure: SecureAggregation, folder: Path, seconds: float
) -> DemoResult:
    ledger, reports = secure.ledger, secure.reports
    tail = None if ledger is None else list(ledger.entries())[-1]
    return DemoResult(
        protocol=demo.protocol,
        accuracy=rounds[-1].accuracy,
        accuracy_plain=rounds[-1].accuracy_plain,
        epsilon=None if ledger is None else ledger.interval().upper,
        epsilon_released=None if ledger is None else ledger.interval_released().upper,
        delta=None if ledger is None else float(BUDGET.delta),
        rounds=len(rounds),
        lost_rounds=sum(step.lost is not None for step in rounds),
        survivors=[step.survivors for step in rounds],
        bytes_up_per_client=sum(step.bytes_up_per_client for step in rounds),
        seconds=seconds,
        exact=bool(reports) and all(step.exact for step in rounds),
        seen_bytes=reports[0].seen_bytes if reports else 0,
        chi_square_p=reports[0].seen_chi_square_p if reports else None,
        ledger_tail=None if tail is None else f"{tail.seq} {tail.kind} {tail.hash.hex()}",
        folder=str(folder),
    )
