"""One budget among those of a ledger: its terms, what was charged to it, and which charges are for it.

Events are the only truth: they are counted, never added up as epsilons, so no sum can drift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from dp.accountant import Interval, View, account
from dp.errors import BadParameters
from dp.events import ApproxEvent, Event, PureEvent, Repeated, ZcdpEvent, leaves, without_sampling
from dp.ledger.terms import Scope, Terms

# Between a figure and the same one computed on another machine: rounding of libraries, no more.
LARGEST_DIFFERENCE = 1e-6
# Stated for one relation by whoever made them; the others are bounds that each accountant turns into its own.
_STATED = (ApproxEvent, PureEvent, ZcdpEvent)


@dataclass(slots=True)
class BudgetState:
    """A budget after some prefix of a ledger, named by the entry that opened it.

    `charged` is everything reserved and not aborted; `realised` the same with the outcome of what was committed;
    `version` changes whenever `charged` does: an admission computed for one version holds only in that version.
    """

    id: int
    terms: Terms
    closed: int | None = None
    charged: Counter[Event] = field(default_factory=Counter)
    realised: Counter[Event] = field(default_factory=Counter)
    version: int = 0

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"budget {self.id} ({self.terms})"

    def charge(self, event: Event) -> None:
        """Counts one more as spent."""
        self.charged[event] += 1
        self.realised[event] += 1
        self.version += 1

    def realise(self, event: Event, released: Event) -> None:
        """One that was charged came out as another event, which costs no more."""
        _remove(self.realised, event)
        self.realised[released] += 1

    def give_back(self, event: Event) -> None:
        """One that was charged is not spent after all."""
        _remove(self.charged, event)
        _remove(self.realised, event)
        self.version += 1


def compose(counts: Counter[Event], terms: Terms, view: View) -> Interval:
    """The interval of all counted events together, at the budget's delta, for one viewer.

    Raises: UnsupportedEvent, NoiseTooCoarse, AccountantDisagreement.
    """
    if not counts:
        return Interval(0.0, 0.0, terms.budget.delta, "nothing released")
    events = [Repeated(event, times) for event, times in counts.items()]
    return account(events, terms.unit, view, terms.budget.delta)


def unpaid(paid: Interval, realised: Interval, rounding: float = 0.0) -> str:
    """How an outcome provably costs more than what was charged for it, beyond rounding; "" where it does not."""
    proven = realised.upper if realised.lower is None else realised.lower
    if proven <= paid.upper + rounding * max(1.0, paid.upper):
        return ""
    return f"the outcome alone costs epsilon {proven:.9g}, but {paid.upper:.9g} was charged"


def require_one_meaning(event: Event, budgets: Iterable[BudgetState]) -> None:
    """An event stated for one relation is charged under one relation only.  Raises: BadParameters."""
    relations = sorted({budget.terms.unit.relation.value for budget in budgets})
    if len(relations) > 1 and any(isinstance(leaf, _STATED) for leaf, _ in leaves(without_sampling(event))):
        raise BadParameters(
            f"the event's epsilon is stated for one relation, but the budgets it is charged to are under {relations}; "
            "charge the mechanism itself, or open budgets under one relation"
        )


def require_names(budgets: Iterable[BudgetState], *, named: bool) -> None:
    """A limit for each client takes charges that say who was invited.  Raises: BadParameters."""
    for budget in budgets:
        if budget.terms.scope is Scope.EACH and not named:
            raise BadParameters(f"{budget.name} counts the rounds of each client: give the charge its members")


def _remove(counts: Counter[Event], event: Event) -> None:
    counts[event] -= 1
    if counts[event] == 0:
        del counts[event]
