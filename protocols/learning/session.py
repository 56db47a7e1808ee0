"""The server's side of a training loop of your own: model, secure rounds, ledger, and a folder to come back to.

    with Session(model, plan, range(40), "runs/one", budget=Budget(8, 1e-5, "zero-out")) as session:
        while session.rounds < 30:
            session.round({who: fit(session.model, data[who]) for who in range(40)})
    model = session.model

Every client is played in this process (`secure_mean`). A model is a state_dict of torch, a dict or a list of numpy
arrays; an update is the difference of its floating arrays, trained minus received.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from dp.accountant import Budget
from dp.ledger import Ledger
from protocols.errors import Misused, RoundLost, WrongUpdate
from protocols.learning.checkpoint import Checkpoint
from protocols.learning.folders import RunFolder, described
from protocols.learning.loop import Aggregated
from protocols.learning.secure import Faults, RoundInterrupted, SecureRounds, no_faults
from protocols.learning.stopping import Progress
from protocols.learning.strategies import FedAvg, Local, ServerRule, require_rule
from protocols.plan import RoundPlan
from protocols.round import RoundReport
from protocols.tensors import Integers, Layout

LEDGER = "run.ledger"


class Session:
    """Rounds of one plan that move one model; made again with the same folder it goes on where it was.

    Integer buffers, and arrays that `keep` matches, stay as in the model given here. `strategy` is the server's rule,
    FedAvg by default. `weights` are the clients' integers, for plans without noise.
    Guarantee: the plan's, round by round; with noise, no more than `budget` together. A round is charged once.
    Raises: Misused for a budget without noise or noise without a budget, a folder of other settings, or a strategy
        without a `repr` of its own, which no folder could be resumed with; WrongUpdate for a model that has no layout;
        Locked; dp.errors.LedgerError.
    """

    def __init__(
        self,
        model: Any,
        plan: RoundPlan,
        clients: Iterable[int],
        folder: str | os.PathLike[str],
        *,
        budget: Budget | None = None,
        strategy: ServerRule | None = None,
        keep: str | Iterable[str] = (),
        integers: str = Integers.KEEP,
        weights: Mapping[int, int] | None = None,
        faults: Faults = no_faults,
    ) -> None:
        _check_budget(plan, budget)
        self.layout = Layout.of(model, keep=keep, integers=integers)
        self.strategy = FedAvg(Local(rate=1.0)) if strategy is None else strategy
        require_rule(self.strategy)
        self.model = model
        self._settings = described(plan, self.layout.digest().hex(), self.strategy)
        with ExitStack() as stack:
            self._folder = stack.enter_context(RunFolder(folder))
            self.ledger = None if budget is None else stack.enter_context(Ledger.open(Path(folder) / LEDGER, budget))
            self._secure = SecureRounds(
                plan,
                clients,
                ledger=self.ledger,
                folder=self._folder,
                layout=self.layout,
                weights=weights,
                faults=faults,
            )
            self._here = Checkpoint.load(self._folder, self._settings) or self._first()
            self._recover()
            self._exit = stack.pop_all()

    @property
    def rounds(self) -> int:
        """How many rounds have moved the model."""
        return self._here.progress.rounds

    def round(self, updates: Mapping[int, Any]) -> RoundReport:
        """The mean of these clients' updates moves the model, which is on disk before this returns.

        Raises: RoundLost when there is no mean, with the model as it was: go on with other updates; BudgetExceeded
            before anything is sent; WrongUpdate also for a model that its dtype would not hold: the mean stays charged
            and unused; what `SecureRounds` and `secure_mean` raise.
        """
        try:
            found = self._secure(updates, self._here.number)
        except RoundLost:
            self._move(self._skipped())
            raise
        self._take(found)
        report = self._secure.report
        # What was found on file was opened here, or taken up when this session was made.
        assert report is not None
        return report

    def close(self) -> None:
        """Gives up folder and ledger."""
        self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _first(self) -> Checkpoint:
        flat = [self._flat(self.model)]
        return Checkpoint(flat, self.strategy.start(flat), Progress())

    def _recover(self) -> None:
        """Takes up the mean that a dead process had opened, or passes over the number it died with."""
        self.model = self.layout.unflatten(self._here.parameters[0], like=self.model)
        try:
            found = self._secure.recovered(self._here.number, self.layout)
        except RoundInterrupted:
            self._move(self._skipped())
            return
        if found is not None:
            self._take(found)

    def _take(self, found: Aggregated) -> None:
        # Every rule is element-wise: to it a model is one long array.
        mean = self._flat(found.mean)
        parameters, state = self.strategy.step([self._flat(self.model)], [mean], self._here.state)
        try:
            model = self.layout.unflatten(parameters[0], like=self.model)
        except WrongUpdate:
            # Kept open, this number would give the same mean to every later round, and to whoever opens the folder.
            self._move(self._skipped())
            raise
        before = self._here.progress
        norms = (*before.norms, float(np.linalg.norm(mean)))
        self._move(Checkpoint([self._flat(model)], state, Progress(before.attempts + 1, (), norms)))
        self.model = model

    def _skipped(self) -> Checkpoint:
        before = self._here.progress
        return replace(self._here, progress=replace(before, attempts=before.attempts + 1))

    def _flat(self, arrays: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        return self.layout.flatten(arrays).astype(np.float64)

    def _move(self, to: Checkpoint) -> None:
        to.save(self._folder, self._settings)
        self._here = to


def _check_budget(plan: RoundPlan, budget: Budget | None) -> None:
    if (plan.noise is None) != (budget is None):
        raise Misused(
            "a plan with noise needs a budget, and one without has nothing to charge to it: give both noise_multiplier "
            "and budget, or neither"
        )
