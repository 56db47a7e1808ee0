"""Whether a charge fits into every budget it is charged to, and whether an outcome fits its charge.

What was composed last is remembered with the version of the budget it belongs to, so that a round costs one
composition for each budget; nothing remembered here is ever written, and `verify` does not know it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from dp.accountant import Interval, View
from dp.canonical import Value
from dp.errors import BadParameters, BudgetExceeded, InsecureEntropy
from dp.events import Event, is_insecure
from dp.ledger.attendance import Attendance, Counts, fullest, possibilities
from dp.ledger.budgets import BudgetState, compose, require_names, unpaid
from dp.ledger.charge import Charge, Ends, Outcome
from dp.ledger.history import History
from dp.ledger.terms import Randomness, Scope

_REMEMBERED_COSTS = 1024


@dataclass(frozen=True, slots=True)
class Price:
    """What a charge does to one budget in one of its versions.

    Under a limit for each client, `before` and `after` are those of the invited client that has spent most.
    """

    budget: int
    version: int
    before: Interval
    after: Interval

    def to_body(self) -> dict[str, Value]:
        """As it stands in a RESERVE entry."""
        return {
            "budget": self.budget,
            "before": Ends.of(self.before).to_body(),
            "after": Ends.of(self.after).to_body(),
        }


class Admission:
    """The judge of one ledger: intervals of its budgets, with and without a candidate.

    `attendance` gives who was in which round, as the history stands now.
    """

    def __init__(self, attendance: Callable[[History], Attendance]) -> None:
        self._attendance = attendance
        self._composed: dict[int, tuple[int, Interval]] = {}
        self._costs: dict[tuple[int, View, frozenset[tuple[Event, int]]], Interval] = {}

    def charged(self, history: History, budget: BudgetState) -> Interval:
        """Everything that counts as spent, as the budget's viewer sees it; for each client: of who has spent most."""
        known = self._composed.get(budget.id)
        if known is None or known[0] != budget.version:
            known = (budget.version, self._spent(history, budget))
            self._composed[budget.id] = known
        return known[1]

    def towards_server(self, budget: BudgetState, counts: Counts) -> Interval:
        """What these releases cost towards whoever knows the cohorts, at the budget's delta."""
        view = budget.terms.view
        return self._cost(budget, counts, View.AGGREGATOR if view is View.RELEASED else view)

    def admit(self, history: History, charge: Charge, members: tuple[bytes, ...]) -> tuple[Price, ...]:
        """What the charge does to every budget it is charged to, all of which hold it; members are pseudonyms.

        Raises: BudgetExceeded; BadParameters where no budget is for it; InsecureEntropy; UnsupportedEvent or
            NoiseTooCoarse without a proof.
        """
        budgets = _open_for(history, charge)
        require_names(budgets, named=bool(members))
        _require_secure(charge.event, history.randomness)
        return tuple(self._price(history, budget, charge, members) for budget in budgets)

    def affords(self, history: History, budget: BudgetState, event: Event) -> bool:
        """Whether a candidate with this event would be admitted; for each client: one that is listed nowhere.

        Raises: InsecureEntropy; UnsupportedEvent or NoiseTooCoarse without a proof.
        """
        _require_secure(event, history.randomness)
        if budget.closed is not None:
            return False
        spent = budget.charged
        if budget.terms.scope is Scope.EACH:
            spent = self._attendance(history).unknown(history, budget)
        return budget.terms.budget.holds(self._cost(budget, spent + Counter([event])))

    def affords_client(self, history: History, budget: BudgetState, event: Event, pseudonym: bytes) -> bool:
        """The same of one client; where the limit is for everyone, it is the same for all."""
        if budget.closed is not None or budget.terms.scope is Scope.EVERYONE:
            return self.affords(history, budget, event)
        _require_secure(event, history.randomness)
        spent = self._attendance(history).possible(history, budget, pseudonym)
        return budget.terms.budget.holds(self._cost(budget, spent + Counter([event])))

    def admitted(self, history: History, prices: Iterable[Price]) -> None:
        """The candidate was written: where everybody is charged alike, its interval is the budget's now."""
        for price in prices:
            budget = history.budgets[price.budget]
            if budget.terms.scope is Scope.EVERYONE:
                self._composed[budget.id] = (budget.version, price.after)

    def require_covered(self, history: History, reservation: int, outcome: Outcome) -> None:
        """The outcome is one the charge could have led to.

        Raises: InsecureEntropy; BadParameters for more survivors than were invited or fewer than the noise was
            planned for, or an event that by itself provably costs more than what was charged.
        """
        record = history.records[reservation]
        _require_secure(outcome.released, history.randomness)
        record.charge.require_survivors(outcome.survivors)
        if outcome.released == record.charge.event:
            return
        for budget in record.budgets:
            self._require_cheaper(history.budgets[budget], record.charge.event, outcome.released)

    def _require_cheaper(self, budget: BudgetState, charged: Event, released: Event) -> None:
        paid, realised = self._cost(budget, Counter([charged])), self._cost(budget, Counter([released]))
        if said := unpaid(paid, realised):
            raise BadParameters(f"{said} to {budget.name}; do not hand it out, forfeit the reservation")

    def _price(self, history: History, budget: BudgetState, charge: Charge, members: tuple[bytes, ...]) -> Price:
        candidate = Counter([charge.event])
        if budget.terms.scope is Scope.EVERYONE:
            before = self.charged(history, budget)
            after = compose(budget.charged + candidate, budget.terms, budget.terms.view)
        else:
            attendance = self._attendance(history)
            spent = fullest(attendance.possible(history, budget, member) for member in members)
            before = self._worst(budget, spent)
            after = self._worst(budget, [counts + candidate for counts in spent])
        if not budget.terms.budget.holds(after):
            raise BudgetExceeded(
                f"budget {budget.id}: the limit is {budget.terms}; round {charge.round} of task {charge.task!r} would "
                f"make it {after.upper:.9g}, it is {before.upper:.9g} now; nothing was written"
            )
        return Price(budget.id, budget.version, before, after)

    def _spent(self, history: History, budget: BudgetState) -> Interval:
        if budget.terms.scope is Scope.EVERYONE:
            return compose(budget.charged, budget.terms, budget.terms.view)
        return self._worst(budget, possibilities(history, budget, self._attendance(history)))

    def _worst(self, budget: BudgetState, profiles: Iterable[Counts]) -> Interval:
        return max((self._cost(budget, counts) for counts in profiles), key=lambda interval: interval.upper)

    def _cost(self, budget: BudgetState, counts: Counts, view: View | None = None) -> Interval:
        seen = budget.terms.view if view is None else view
        key = (budget.id, seen, frozenset(counts.items()))
        if key not in self._costs:
            if len(self._costs) >= _REMEMBERED_COSTS:
                self._costs.clear()
            self._costs[key] = compose(counts, budget.terms, seen)
        return self._costs[key]


def remaining(budget: BudgetState, spent: Interval) -> Fraction:
    """Epsilon left: the limit minus the upper end, exactly; 0 once the budget is closed."""
    if budget.closed is not None or spent.upper == float("inf"):
        return Fraction(0)
    return max(Fraction(0), budget.terms.budget.epsilon - Fraction(spent.upper))


def require_unclosed(budget: BudgetState) -> BudgetState:
    """The budget, which is open. Raises: BudgetExceeded once it was closed."""
    if budget.closed is not None:
        raise BudgetExceeded(f"{budget.name} was closed at entry {budget.closed}; open a new budget")
    return budget


def _open_for(history: History, charge: Charge) -> tuple[BudgetState, ...]:
    """The budgets it is charged to. Raises: BudgetExceeded where all that match were closed; BadParameters."""
    if not history.matching(charge):
        for budget in reversed(history.budgets.values()):
            if budget.terms.covers(charge.dataset, charge.task):
                require_unclosed(budget)
    return history.require_matching(charge)


def _require_secure(event: Event, randomness: Randomness) -> None:
    if randomness is Randomness.SYSTEM and is_insecure(event):
        raise InsecureEntropy(
            "the event's noise comes from a known seed; draw it from Entropy.system, or rehearse on a ledger "
            "made by Ledger.open_insecure"
        )
