"""Whether a charge fits into the budget, and whether an outcome fits its charge.

What was composed last is remembered with the version of the history it belongs to, so that a round costs one
composition; nothing remembered here is ever written, and `verify` does not know it.
"""

from __future__ import annotations

from collections import Counter

from dp.accountant import Interval
from dp.errors import BadParameters, BudgetExceeded, Corrupt, InsecureEntropy
from dp.events import Event, is_insecure
from dp.ledger.charge import Charge, Outcome, Randomness, Terms
from dp.ledger.history import History, compose

_REMEMBERED_COSTS = 256


class Admission:
    """The judge of one ledger: intervals of its history, with and without a candidate."""

    def __init__(self) -> None:
        self._composed: tuple[int, Interval] | None = None
        self._costs: dict[Event, Interval] = {}

    def charged(self, history: History) -> Interval:
        """Everything that counts as spent, as the budget's viewer sees it."""
        if self._composed is None or self._composed[0] != history.version:
            terms = terms_of(history)
            self._composed = (history.version, compose(history.charged, terms, terms.view))
        return self._composed[1]

    def admit(self, history: History, charge: Charge) -> Interval:
        """The interval with the candidate, which is within the limit.

        Raises: BudgetExceeded; InsecureEntropy; UnsupportedEvent or NoiseTooCoarse without a proof.
        """
        terms = require_unclosed(history)
        after = _after(history, charge.event, terms)
        if not terms.budget.holds(after):
            raise BudgetExceeded(
                f"the limit is {terms}; round {charge.round} of task {charge.task!r} would make it "
                f"{after.upper:.9g}, it is {self.charged(history).upper:.9g} now; nothing was written"
            )
        return after

    def affords(self, history: History, event: Event) -> bool:
        """Whether a candidate with this event would be admitted.

        Raises: InsecureEntropy; UnsupportedEvent or NoiseTooCoarse without a proof.
        """
        terms = terms_of(history)
        return history.closed is None and terms.budget.holds(_after(history, event, terms))

    def admitted(self, history: History, after: Interval) -> None:
        """The candidate was written: its interval is the history's now."""
        self._composed = (history.version, after)

    def require_covered(self, history: History, charge: Charge, outcome: Outcome) -> None:
        """The outcome is one the charge could have led to.

        Raises: InsecureEntropy; BadParameters for more survivors than were invited, or an event that by
            itself provably costs more than what was charged.
        """
        terms = terms_of(history)
        _require_secure(outcome.released, terms)
        if outcome.survivors > charge.cohort:
            raise BadParameters(f"survivors is {outcome.survivors}, but only {charge.cohort} were invited")
        if outcome.released == charge.event:
            return
        paid, realised = self._cost(charge.event, terms), self._cost(outcome.released, terms)
        proven = realised.upper if realised.lower is None else realised.lower
        if proven > paid.upper:
            raise BadParameters(
                f"the outcome alone costs epsilon {proven:.9g}, but {paid.upper:.9g} was charged; do not "
                "hand it out, forfeit the reservation"
            )

    def _cost(self, event: Event, terms: Terms) -> Interval:
        if event not in self._costs:
            if len(self._costs) >= _REMEMBERED_COSTS:
                self._costs.clear()
            self._costs[event] = compose(Counter([event]), terms, terms.view)
        return self._costs[event]


def terms_of(history: History) -> Terms:
    """What the budget promises. Raises: Corrupt when the entry that opened it is missing."""
    if history.terms is None:
        raise Corrupt("the ledger has no budget: it was cut after its first entry; restore a copy", seq=0)
    return history.terms


def require_unclosed(history: History) -> Terms:
    """The terms of the open budget. Raises: BudgetExceeded once it was closed."""
    if history.closed is not None:
        raise BudgetExceeded(f"the budget was closed at entry {history.closed}; open a new ledger")
    return terms_of(history)


def _after(history: History, event: Event, terms: Terms) -> Interval:
    """The interval with one more of this event."""
    _require_secure(event, terms)
    return compose(history.charged + Counter([event]), terms, terms.view)


def _require_secure(event: Event, terms: Terms) -> None:
    if terms.randomness is Randomness.SYSTEM and is_insecure(event):
        raise InsecureEntropy(
            "the event's noise comes from a known seed; draw it from Entropy.system, or rehearse on a ledger "
            "made by Ledger.open_insecure"
        )
