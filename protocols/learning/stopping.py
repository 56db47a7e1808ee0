"""When a run ends: rules over what is public after a round, each of which says in words that it ended the run.

    Rounds(n)                     n rounds gave a mean
    Attempts(n)                   n rounds were tried, lost ones among them
    Converged(patience, ...)      the loss has settled, or the mean update has become short
    BudgetSpent(ledger, event)    one more round would exceed the budget

Rules see released quantities alone: stopping by them is post-processing and tells nothing more about any client.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dp.events import Event
from dp.ledger import Ledger
from protocols.errors import Misused
from protocols.learning.arguments import require_count


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `losses` are those of the start and of every model since; `norms` of every mean update.

    Lost rounds release no model: they count among the attempts, and nowhere else.
    """

    attempts: int = 0
    losses: tuple[float, ...] = ()
    norms: tuple[float, ...] = ()

    @property
    def rounds(self) -> int:
        """How many rounds gave a mean."""
        return len(self.norms)


class StopRule(Protocol):
    """One reason to end; `str` of it is the reason in words."""

    def reached(self, progress: Progress) -> bool: ...


@dataclass(frozen=True, slots=True)
class Rounds:
    """So many rounds gave a mean."""

    count: int

    def __post_init__(self) -> None:
        require_count("rounds", self.count)

    def reached(self, progress: Progress) -> bool:
        """Whether all are done."""
        return progress.rounds >= self.count

    def __str__(self) -> str:
        return f"all {self.count} rounds are done"


@dataclass(frozen=True, slots=True)
class Attempts:
    """So many rounds were tried, whether or not they gave a mean: what a budget divided among rounds allows."""

    count: int

    def __post_init__(self) -> None:
        require_count("attempts", self.count)

    def reached(self, progress: Progress) -> bool:
        """Whether all are used up."""
        return progress.attempts >= self.count

    def __str__(self) -> str:
        return f"all {self.count} attempts are used up"


class Quantity(enum.Enum):
    """What has to settle."""

    LOSS = "loss"
    UPDATE_NORM = "norm of the mean update"

    def series(self, progress: Progress) -> Sequence[float]:
        """Its values so far."""
        return progress.losses if self is Quantity.LOSS else progress.norms


@dataclass(frozen=True, slots=True)
class Converged:
    """The quantity has not fallen by `tolerance` below its best for `patience` rounds.

    Guarantee: the loss is that of the released (noisy) model on the server's own examples, the norm that of the
        released mean. Lost rounds do not count.
    """

    patience: int
    tolerance: float
    of: Quantity = Quantity.LOSS

    def __post_init__(self) -> None:
        require_count("patience", self.patience)
        if not 0 <= self.tolerance < math.inf:
            raise Misused(f"tolerance is {self.tolerance}, expected a number >= 0")

    def reached(self, progress: Progress) -> bool:
        """Whether it has settled."""
        return self.settled(self.of.series(progress))

    def settled(self, series: Sequence[float]) -> bool:
        """Whether this series, oldest first, has settled."""
        best, stale = math.inf, 0
        for value in series:
            stale = 0 if value < best - self.tolerance else stale + 1
            best = min(best, value)
        return stale >= self.patience

    def __str__(self) -> str:
        return f"the {self.of.value} has settled for {self.patience} rounds"


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """One more release of `event` would exceed the ledger's limit; asked before anybody is selected.

    `event` is what a round charges: `SecureRounds.event`. Where others charge the same ledger, a round may still be
    refused: dp.errors.BudgetExceeded, before anything is sent.
    """

    ledger: Ledger = field(repr=False)
    event: Event = field(repr=False)

    def reached(self, progress: Progress) -> bool:
        """Whether the next round cannot be paid for."""
        return not self.ledger.affords(self.event)

    def __str__(self) -> str:
        return "the privacy budget is spent"
