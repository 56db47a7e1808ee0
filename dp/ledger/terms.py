"""What a budget of a ledger promises: the limit, for whom, on which data, towards whom, under which noise.

    matches     dataset in ("", the charge's)  and  task in ("", the charge's)        "" is any
    everyone    the limit holds for a client that may have been in every round
    each        the limit holds for each client by the rounds it was invited to

Several budgets may be open at once; a charge is admitted when every one that matches it holds it. The charges of
one are put together as parameters fixed beforehand are: where noise or sampling are chosen by looking at earlier
releases, a filter of `dp.filters` must admit them before the ledger is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dp.accountant import Budget, Unit, View
from dp.canonical import Body, Value, decode_rational, encode_rational, require_keys, text_of
from dp.errors import BadParameters

LONGEST_NAME = 200
LONGEST_TEXT = 2000
# How the charges of a budget are put together; a word of the format, of which there is one so far.
SCHEDULE = "schedule"


class Randomness(Enum):
    """Where noise must come from: a ledger for rehearsals accepts known seeds and proves nothing."""

    SYSTEM = "system"
    INSECURE = "insecure"


class Scope(Enum):
    """Whose privacy loss a limit is about."""

    EVERYONE = "everyone"
    EACH = "each"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one budget promises; `dataset` and `task` say which charges it is for, "" for all; `purpose` "" is unsaid.

    Raises: BadParameters, also for each client's own limit towards a viewer that knows no cohorts.
    """

    budget: Budget
    unit: Unit
    view: View
    randomness: Randomness
    dataset: str = ""
    task: str = ""
    purpose: str = ""
    scope: Scope = Scope.EVERYONE

    def __post_init__(self) -> None:
        if self.unit.relation is not self.budget.relation:
            raise BadParameters(
                f"the budget is stated under {self.budget.relation.value}, its unit under {self.unit.relation.value}"
            )
        for name in ("dataset", "task", "purpose"):
            if getattr(self, name) != "":
                require_name(name, getattr(self, name))
        if self.scope is Scope.EACH and self.view is View.RELEASED:
            raise BadParameters(
                "a reader of the model knows no cohorts, so no client's own rounds count for it; state a limit for "
                f"each client towards the {View.AGGREGATOR.value}"
            )

    def __str__(self) -> str:
        limit = self.budget
        said = f"epsilon {limit.epsilon} at delta {limit.delta} under {limit.relation.value}"
        if self.scope is Scope.EACH:
            said += " for each client"
        for name, words in (("dataset", "on data set"), ("task", "in task"), ("purpose", "for")):
            if getattr(self, name):
                said += f" {words} {getattr(self, name)!r}"
        return said

    def covers(self, dataset: str, task: str) -> bool:
        """Whether a charge on this data set in this task is charged to this budget."""
        return self.dataset in ("", dataset) and self.task in ("", task)

    def to_body(self) -> dict[str, Value]:
        """As they stand in an OPEN_BUDGET entry."""
        return {
            "epsilon": encode_rational(self.budget.epsilon),
            "delta": encode_rational(self.budget.delta),
            "relation": self.budget.relation.value,
            "of": self.unit.of,
            "view": self.view.value,
            "composition": SCHEDULE,
            "randomness": self.randomness.value,
            "dataset": self.dataset,
            "task": self.task,
            "purpose": self.purpose,
            "scope": self.scope.value,
        }

    @classmethod
    def from_body(cls, body: Body) -> Terms:
        """The inverse of `to_body`. Raises: BadParameters."""
        require_keys(body, *_KEYS)
        if text_of(body, "composition") != SCHEDULE:
            raise BadParameters(f"unknown composition {text_of(body, 'composition')[:40]!r}")
        relation = text_of(body, "relation")
        budget = Budget(decode_rational(text_of(body, "epsilon")), decode_rational(text_of(body, "delta")), relation)
        try:
            view, scope = View(text_of(body, "view")), Scope(text_of(body, "scope"))
        except ValueError as unknown:
            raise BadParameters(f"unknown view or scope: {unknown}") from unknown
        return cls(
            budget,
            Unit(relation, text_of(body, "of")),
            view,
            randomness_of(body),
            text_of(body, "dataset"),
            text_of(body, "task"),
            text_of(body, "purpose"),
            scope,
        )


_KEYS = (
    *("epsilon", "delta", "relation", "of", "view", "composition", "randomness"),
    *("dataset", "task", "purpose", "scope", "clock"),
)


def randomness_of(body: Body) -> Randomness:
    """body["randomness"].  Raises: BadParameters."""
    try:
        return Randomness(text_of(body, "randomness"))
    except ValueError as unknown:
        raise BadParameters(f"unknown randomness: {unknown}") from unknown


def require_name(name: str, value: object) -> None:
    """A non-empty printable string of at most 200 characters. Raises: BadParameters."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME or not value.isprintable():
        raise BadParameters(f"{name} must be 1 to {LONGEST_NAME} printable characters, got {str(value)[:40]!r}")


def require_text(name: str, value: object, least: int = 1) -> str:
    """A string of `least` to 2000 characters, given back. Raises: BadParameters."""
    if not isinstance(value, str) or not least <= len(value) <= LONGEST_TEXT:
        raise BadParameters(f"{name} must be {least} to {LONGEST_TEXT} characters, got {str(value)[:40]!r}")
    return value
