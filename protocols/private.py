"""A private training in one call: so much epsilon over so many rounds, and the rest follows.

    make_private(...)  ->  least noise for the budget, smallest ring that carries it, plan, ledger
    training.round(updates)  ->  secure_mean, charged; BudgetExceeded once the rounds are spent

What was chosen, and whom each round invites, stands in the ledger before anything happens: nothing else is remembered,
and a run that was interrupted goes on with the same noise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from dp.accountant import Interval
from dp.canonical import text_of
from dp.errors import BudgetExceeded, Locked, StorageRefused
from dp.events import Exact, exact
from dp.ledger import Ledger
from dp.ledger.chain import Kind
from dp.place import take_lock
from protocols.errors import Misused, TooFewClients, WrongUpdate
from protocols.participation import Attendance, attendance, invite
from protocols.party import PartyId
from protocols.plan import PAIRWISE, Excess, RoundPlan
from protocols.private_plan import OPENING, PrivatePlan, PrivateSettings
from protocols.round import RoundReport, client_numbers, secure_mean
from protocols.selftesting import require_sound_noise
from protocols.simulate import FaultPlan
from protocols.tensors import Layout


class CohortIncomplete(TooFewClients):
    """Fewer clients came than the smallest sum needs. Nothing was sent, noted or charged: try the next cohort."""

    def __init__(self, have: int, need: int) -> None:
        super().__init__(have, need, "Inviting")

    def __str__(self) -> str:
        return (
            f"{self.have} clients came, at least {self.need} are needed; nothing was sent and nothing charged: skip "
            "this round and try the next cohort"
        )


class PrivateTraining:
    """A training whose rounds are charged to one ledger; made by `make_private`. One process at a time.

    Guarantee: what the server, with the colluders, learns of one client's whole contribution is at most the
        budget, however often the run is interrupted; a charge is durable before its sum is opened.
    """

    def __init__(self, chosen: PrivatePlan, ledger: Ledger, hold: BinaryIO) -> None:
        self.chosen = chosen
        self.ledger = ledger
        self._hold = hold

    @property
    def settings(self) -> PrivateSettings:
        """What was asked for, and the noise multiplier that follows."""
        return self.chosen.settings

    @property
    def plan(self) -> RoundPlan:
        """What every client of its rounds agrees to."""
        return self.chosen.plan

    @property
    def rounds_left(self) -> int:
        """How many more rounds can be charged; a lost round that was given back does not count."""
        return max(0, self.settings.rounds - self.attendance().charged)

    def attendance(self) -> Attendance:
        """Who was in how many rounds so far, as the ledger says."""
        return attendance(self.ledger, self.settings.task, self.chosen.event)

    def epsilon(self) -> Interval:
        """What the server has learned of the client that was invited most often."""
        return self.chosen.cost(self.attendance().most())

    def describe(self) -> str:
        """What was asked for, what was chosen, and what that means for the mean, in a few lines."""
        return self.chosen.describe()

    def round(self, updates: Mapping[int, Any], *, faults: FaultPlan | None = None) -> RoundReport:
        """The noisy mean of these updates, under the next free number.

        Raises: dp.errors.BudgetExceeded before anything is sent, when all rounds are spent or one of these
            clients has been in as many as it may; TooFewClients before anything is sent, when fewer came than the
            smallest sum needs; Misused for more than the plan's clients; WrongUpdate for another dimension; what
            secure_mean raises.
        """
        nobody = isinstance(updates, Mapping) and not updates
        clients = () if nobody else client_numbers(updates)
        for update in islice(updates.values(), 1):
            self._check_dimension(update)
        so_far = self.attendance()
        self._check_left(so_far, clients)
        self._check_cohort(len(clients))
        invite(self.ledger, self.settings.task, so_far.next_round, clients)
        return secure_mean(updates, self.plan, round=so_far.next_round, ledger=self.ledger, faults=faults)

    def _check_dimension(self, update: Any) -> None:
        length = Layout.of(update).length
        if length != self.settings.dimension:
            raise WrongUpdate(
                f"an update has {length} coordinates, and the noise is made for {self.settings.dimension}: "
                "give make_private that dimension, and another ledger"
            )

    def _check_cohort(self, size: int) -> None:
        if size > self.plan.max_clients:
            raise Misused(
                f"{size} clients are more than the {self.plan.max_clients} that the noise was made for; nothing was "
                "sent. Invite fewer, or give make_private that many clients, and another ledger"
            )
        if size < self.plan.min_cohort:
            raise CohortIncomplete(size, self.plan.min_cohort)

    def _check_left(self, so_far: Attendance, clients: Iterable[PartyId]) -> None:
        epsilon, most = float(self.settings.epsilon), self.settings.participations
        if so_far.charged >= self.settings.rounds:
            raise BudgetExceeded(
                f"all {self.settings.rounds} rounds that epsilon {epsilon:g} was divided among are spent; nothing was "
                "sent. Stop, or ask the owners of the data for a new budget"
            )
        spent = [who for who in clients if so_far.of(who) >= most]
        if spent:
            raise BudgetExceeded(
                f"clients {sorted(spent)[:5]} have been in {most} rounds, all that epsilon {epsilon:g} allows a "
                "client; nothing was sent. Invite others"
            )

    def close(self) -> None:
        """Gives up the ledger; `make_private` with the same settings goes on where this ended."""
        self.ledger.close()
        self._hold.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_private(
    *,
    clients: int,
    epsilon: Exact,
    delta: Exact,
    rounds: int,
    clip: Exact,
    dimension: int,
    ledger: str | os.PathLike[str],
    dropout: Exact = Fraction(1, 10),
    corrupt: Exact = Fraction(1, 10),
    participations: int | None = None,
    excess: Excess = Excess.KEPT,
    task: str = "private",
    protocol: str = PAIRWISE,
) -> PrivateTraining:
    """A training of `rounds` rounds that keeps every client within (epsilon, delta); see PrivateSettings.

    A client may be in all rounds unless `participations` says in how many at most. `Excess.REMOVED` takes back the
    noise that a cohort larger than the smallest has too much of, in pairwise rounds alone. `protocol` is "pairwise",
    "oneshot", or, where nobody is assumed corrupt, "ckks". The ledger at that path is made when absent, and gone
    on with when it was made for the same settings.
    Guarantee: see PrivateTraining.
    Raises: BadPlan, Infeasible, NoiseTooCoarse or BadParameters when it cannot be done, naming what to change;
        Misused when the ledger is no path or was started with other settings; dp.errors.UnsoundNoise when the self-test
        of the noise fails on this machine; dp.errors.LedgerError when it cannot
        be used, Locked while another training holds it.
    """
    if not isinstance(ledger, str | os.PathLike):
        raise Misused(f"ledger is the path of a file that charges are written to, got {ledger!r}")
    settings = PrivateSettings(
        clients=clients,
        rounds=rounds,
        participations=rounds if participations is None else participations,
        epsilon=exact("epsilon", epsilon),
        delta=exact("delta", delta),
        clip=exact("clip", clip),
        dimension=dimension,
        dropout=exact("dropout", dropout),
        corrupt=exact("corrupt", corrupt),
        excess=excess,
        task=task,
        protocol=protocol,
    )
    require_sound_noise()
    return _reopened(settings, ledger) if os.path.exists(ledger) else _started(settings, ledger)


def _held(path: str | os.PathLike[str]) -> BinaryIO:
    """An open file that no other training of this ledger can hold; the system lets go of it at any death.

    Against: two processes that both find a client with a round left, and both invite it.
    Raises: Locked; StorageRefused where something else than a file is in its place.
    """
    beside = f"{os.path.realpath(path)}.training"
    try:
        hold = os.fdopen(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600), "r+b")
    except OSError as wrong:
        raise StorageRefused(f"cannot open {beside}: {wrong.strerror or wrong}; remove it") from wrong
    if not take_lock(hold.fileno(), Path(beside)):
        hold.close()
        raise Locked(f"another training goes on with the ledger {path}: close it, or wait until its process has ended")
    return hold


def _started(settings: PrivateSettings, path: str | os.PathLike[str]) -> PrivateTraining:
    chosen = PrivatePlan.calibrated(settings)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(path, chosen.limit()))
        hold = stack.enter_context(_held(path))
        ledger.note(chosen.to_note())
        stack.pop_all()
    return PrivateTraining(chosen, ledger, hold)


def _reopened(settings: PrivateSettings, path: str | os.PathLike[str]) -> PrivateTraining:
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(path))
        hold = stack.enter_context(_held(path))
        said = [text_of(entry.fields, "text") for entry in ledger.entries() if entry.kind == Kind.NOTE]
        kept = next((text for text in said if text.startswith(OPENING)), None)
        if kept is not None:
            chosen = PrivatePlan.resumed(settings, kept)
            stack.pop_all()
            return PrivateTraining(chosen, ledger, hold)
        if any(entry.kind == Kind.RESERVE for entry in ledger.entries()):
            raise Misused(f"the ledger {path} belongs to something else: take another file for this training")
    # It was opened, and its process died before it said what for; or the caller opened it for this limit.
    return _started(settings, path)
