"""What one round writes into a privacy ledger, in the order that a crash cannot turn against anybody.

reserve   before an invitation leaves          BudgetExceeded, and nobody was asked anything
mark      before anybody is asked to open      from here on the sum may be known
commit    before the mean is handed out
lose      a round without a sum: given back before the mark, forfeited after it
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from dp.events import Event
from dp.ledger import Charge, Ledger, Outcome, Reservation, Standing
from dp.noise import RngSource
from protocols.coding import Counted, Exact, Layered, Noisy, coding_of
from protocols.errors import BadPlan
from protocols.messages import Aggregate
from protocols.plan import NOTHING, Agreement, context_of

MECHANISM = "distributed-discrete-gaussian"
WHY_LOST = "the round did not end in a sum"


class Charging(Protocol):
    """One round's entries."""

    def mark(self) -> None: ...
    def commit(self, aggregate: Aggregate) -> None: ...
    def lose(self) -> None: ...


class Uncharged:
    """A round that no ledger counts."""

    def mark(self) -> None:
        """Nothing is written."""

    def commit(self, aggregate: Aggregate) -> None:
        """Nothing is written."""

    def lose(self) -> None:
        """Nothing is written."""


class Charged:
    """A round whose worst case is reserved from construction on.

    Raises: BadPlan for a plan without noise; dp.errors.BudgetExceeded.
    """

    def __init__(self, ledger: Ledger, agreement: Agreement, clients: int, rng: RngSource) -> None:
        self._ledger, self._coding, self._rng = ledger, _noisy(agreement), rng
        self._marked = False
        self._reservation: Reservation = ledger.reserve(
            Charge(
                task=agreement.plan.task,
                round=agreement.round,
                dataset=agreement.plan.task,
                mechanism=MECHANISM,
                event=self._coding.worst_event(rng),
                cohort=clients,
                context=context_of(agreement),
            )
        )

    def mark(self) -> None:
        """Written once, however often it is said."""
        if not self._marked:
            self._ledger.mark(self._reservation)
            self._marked = True

    def commit(self, aggregate: Aggregate) -> None:
        """What the round did reveal to a reader of its mean: the noise of all survivors but the assumed corrupt."""
        survivors = len(aggregate.survivors)
        released = self._coding.event(survivors, self._rng)
        digest = hashlib.sha256(aggregate.total.tobytes()).digest()
        self._ledger.commit(self._reservation, Outcome(survivors, released, digest))

    def lose(self) -> None:
        """Once somebody was asked to open the sum, the server may know it: then the charge stands."""
        give_back = self._ledger.forfeit if self._marked else self._ledger.abort
        give_back(self._reservation, WHY_LOST)


def charging(ledger: Ledger | None, agreement: Agreement, clients: int, rng: RngSource) -> Charging:
    """The entries of a round about to open, its charge reserved.  Raises: as `Charged`."""
    return Uncharged() if ledger is None else Charged(ledger, agreement, clients, rng)


def charge_standing(ledger: Ledger, task: str, number: int, event: Event) -> Standing | None:
    """How the charge of this round stands; None where there never was one. Its event is no part of its name."""
    return ledger.standing(Charge(task, number, task, MECHANISM, event, cohort=1, context=NOTHING))


def _noisy(agreement: Agreement) -> Noisy | Layered | Counted:
    coding = coding_of(agreement)
    if isinstance(coding, Exact):
        raise BadPlan("a ledger accounts for noise and this plan has none: set noise_multiplier, or drop the ledger")
    return coding
