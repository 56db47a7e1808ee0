"""What all budgets of a data set bound together: those that were closed still count, for what is revealed stays so.

    total(data set) = least sum of epsilons over budgets that together were charged with every release on it

By basic composition such a sum is an upper bound, and so is each of them; tried are every budget by itself, those
opened for this data set by name, and all that cover it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from dp.accountant import Unit, View
from dp.ledger.records import Standing
from dp.ledger.statement import BudgetStatement, Release, Statement

# Each of n additions and the conversion may lose half a last place.
_ROUNDING = 1.0 + 2.0**-50


@dataclass(frozen=True, slots=True)
class Total:
    """One data set, in one unit and for one viewer: how many budgets cover it, and what they bound together.

    `uncounted` releases on it were charged to none of these budgets; unless it is 0, `epsilon` and `delta` bound the
    others only.
    """

    dataset: str
    unit: Unit
    view: View
    open: int
    closed: int
    epsilon: float
    delta: Fraction
    uncounted: int


def totals_of(statement: Statement) -> tuple[Total, ...]:
    """Of every data set that a release or a budget names; of none where not all entries could be read."""
    if statement.verdict.unread is not None:
        return ()
    spent = [release for release in statement.releases if release.standing is not Standing.ABORTED]
    released: dict[str, list[Release]] = {}
    for release in spent:
        released.setdefault(release.dataset, []).append(release)
    for budget in statement.budgets:
        if budget.terms.dataset:
            released.setdefault(budget.terms.dataset, [])
    return tuple(total for dataset, found in released.items() for total in _of(dataset, found, statement.budgets))


def _of(dataset: str, releases: Sequence[Release], budgets: Sequence[BudgetStatement]) -> Iterable[Total]:
    groups: dict[tuple[Unit, View], list[BudgetStatement]] = {}
    for budget in budgets:
        if budget.terms.dataset in ("", dataset):
            groups.setdefault((budget.terms.unit, budget.terms.view), []).append(budget)
    charged = Counter(number for release in releases for number in release.budgets)
    for (unit, view), covering in groups.items():
        named = [budget for budget in covering if budget.terms.dataset]
        candidates = [[budget] for budget in covering if charged[budget.id] == len(releases)]
        candidates += [chosen for chosen in (named,) if chosen and not _uncounted(chosen, releases)]
        best = min([*candidates, covering], key=_epsilon)
        closed = sum(budget.closed is not None for budget in covering)
        delta = sum((budget.terms.budget.delta for budget in best), Fraction(0))
        yield Total(
            dataset,
            unit,
            view,
            len(covering) - closed,
            closed,
            _epsilon(best),
            delta,
            _uncounted(covering, releases),
        )


def _epsilon(budgets: Sequence[BudgetStatement]) -> float:
    spent = [math.inf if budget.spent is None else budget.spent.upper for budget in budgets]
    if len(spent) == 1:
        return spent[0]
    return math.fsum(spent) * _ROUNDING


def _uncounted(budgets: Sequence[BudgetStatement], releases: Sequence[Release]) -> int:
    known = {budget.id for budget in budgets}
    return sum(known.isdisjoint(release.budgets) for release in releases)
