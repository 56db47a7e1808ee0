"""Every figure of a ledger once more, from its events alone, and what others say of the last ones.

    at every RESERVE, in every budget it was charged to
        recorded upper end  >=  recomputed lower end        else Corrupt: it says less than it cost
        recorded lower end  <=  recomputed upper end        else Corrupt: it says more than it can have cost
        recorded upper ends ==  recomputed, within 1e-6     else Corrupt, where no lower end is known
        both ends           ==  recomputed, within 1e-6     else Corrupt, where the same software wrote it
        before the charge, and after it
        recomputed upper end  <=  limit                     else BudgetExceeded: it should not have been granted
    at the end, by budget
        the recorded interval meets the recomputed one
        each accountant by itself, and a foreign one where one is asked

Nothing is taken over from the ledger but events, terms and what was recorded to compare with. A ledger whose chain
was made anew by another key passes `verify` without a pin; it does not pass here unless its figures were, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from dp.accountant import Accountant, Interval, View
from dp.errors import LedgerError, NoiseTooCoarse, UnsupportedEvent
from dp.events import Composed, Event, Repeated, without_sampling
from dp.gaussian import GaussianAccountant
from dp.ledger.attendance import Attendance, Counts, fullest, profiles
from dp.ledger.budgets import LARGEST_DIFFERENCE, BudgetState, compose
from dp.ledger.chain import Entry, check_signature, signed_by
from dp.ledger.charge import GRID, Ends
from dp.ledger.cohorts import Opening
from dp.ledger.genesis import code, software
from dp.ledger.history import History
from dp.ledger.records import Charged, Record
from dp.ledger.statement import Opinion
from dp.ledger.terms import Scope, Terms
from dp.ledger.verdict import NO_PROOF, Merged, Problem
from dp.pld import PldAccountant
from dp.rdp import RdpAccountant

# Charging cannot lower what was spent; two upper ends may be differently loose.
BEFORE_ABOVE = 1.01
# A foreign upper end may lie so far above ours, since its tables are coarser.
FOREIGN_ABOVE = 1.01

Foreign = Callable[[Counter[Event], Terms], Interval]
"""An accountant that is not ours: an upper end for what was counted, or UnsupportedEvent saying why it has none."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One budget at its last reservation: what was recorded, what follows from the events, what others say of it.

    `recorded` is None where nothing was ever charged to it; `own` where no accountant has a proof.
    """

    budget: int
    recorded: Ends | None
    own: Interval | None
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """`ok` when every figure was reproduced and nobody contradicts; `compared` is how many recorded figures were."""

    ok: bool
    compared: int
    budgets: tuple[Replayed, ...]
    problems: tuple[Problem, ...]


def replay(entries: Iterable[Entry], openings: Iterable[Opening], foreign: Foreign | None = None) -> ReplayReport:
    """Reads all entries and computes every budget anew; damage becomes a problem, not an exception."""
    seen = _Replay(openings)
    try:
        for entry in entries:
            seen.read(entry)
        seen.history.require_unrehearsed()
    except LedgerError as wrong:
        seen.note(wrong.seq, type(wrong).__name__, str(wrong))
    budgets = tuple(seen.finish(budget, foreign) for budget in seen.history.budgets.values())
    return ReplayReport(not seen.problems, seen.compared, budgets, tuple(seen.problems))


class _Replay:
    """History and attendance as far as they make sense, the last figures by budget, and what contradicts."""

    def __init__(self, openings: Iterable[Opening]) -> None:
        self.history = History()
        self.attendance = Attendance()
        self.compared = 0
        self.problems: list[Problem] = []
        self._openings = Merged(openings)
        self._erased = False
        self._last: dict[int, tuple[int, Ends, list[Counts]]] = {}
        self._composed: dict[tuple[int, frozenset[tuple[Event, int]]], Interval] = {}

    def note(self, seq: int | None, error: str, message: str) -> None:
        self.problems.append(Problem(seq, error, message))

    def read(self, entry: Entry) -> None:
        """One more entry; a reservation's figures are compared in every budget it was charged to."""
        check_signature(self.history.signed or signed_by(entry), entry)
        self.history.apply(entry)
        invited = self._openings.until(entry.seq)
        self.attendance.learn(self.history, invited)
        self._erased = self._erased or any(opening.is_erased for opening in invited)
        record = self.history.records.get(entry.seq)
        if record is not None:
            self._compare(entry, record, invited)

    def _compare(self, entry: Entry, record: Record, invited: list[Opening]) -> None:
        fields = entry.fields
        ours = (fields.get("software"), fields.get("code")) == (software(), code().hex())
        for charged in record.charged:
            budget = self.history.budgets[charged.budget]
            counts = self._charged_by(budget, invited)
            self._last[budget.id] = (entry.seq, charged.after, counts)
            try:
                found = list(self._judge(budget, record.charge.event, charged, counts, differ if ours else exceeds))
            except NO_PROOF as wrong:
                self.note(entry.seq, type(wrong).__name__, f"budget {budget.id} cannot be computed: {wrong}")
                continue
            self.compared += 1
            if (
                not found
                and float(charged.before.upper) > float(charged.after.upper) * BEFORE_ABOVE + LARGEST_DIFFERENCE
            ):
                found.append(("Corrupt", f"before it, epsilon {_text(charged.before)} is recorded, and less after it"))
            for error, message in found:
                self.note(entry.seq, error, f"entry {entry.seq}, budget {budget.id}: {message}")

    def _judge(
        self,
        budget: BudgetState,
        event: Event,
        charged: Charged,
        counts: list[Counts],
        disagree: Callable[[Ends, Interval], bool],
    ) -> Iterator[tuple[str, str]]:
        """What was recorded of one budget against what is computed here, as errors and messages."""
        own = self._worst(budget, counts)
        figures = [("after", charged.after, own)]
        if self._whose_is_known(budget):
            figures.append(
                ("before", charged.before, self._worst(budget, [each - Counter([event]) for each in counts]))
            )
        for when, recorded, interval in figures:
            if understates(recorded, interval):
                yield (
                    "Corrupt",
                    f"{when} it, at most epsilon {float(recorded.upper):.9g} is recorded, {_costs(interval)}",
                )
            if self._whose_is_known(budget) and disagree(recorded, interval):
                yield "Corrupt", f"{when} it, epsilon {_text(recorded)} is recorded, {_computed(interval, disagree)}"
        if not budget.terms.budget.holds(own):
            yield "BudgetExceeded", f"takes it to {own.upper:.9g}: {budget.terms}"

    def finish(self, budget: BudgetState, foreign: Foreign | None) -> Replayed:
        """What is to be said of a budget at its last reservation; whoever contradicts makes a problem."""
        if budget.id not in self._last:
            return Replayed(budget.id, None, compose(Counter(), budget.terms, budget.terms.view), ())
        seq, recorded, counts = self._last[budget.id]
        try:
            own = self._worst(budget, counts)
        except NO_PROOF:
            return Replayed(budget.id, recorded, None, ())
        worst = max(counts, key=lambda each: self._cost(budget, each).upper)
        if self._whose_is_known(budget) and not meets(recorded, own):
            self.note(seq, "Corrupt", f"budget {budget.id} ends outside of what its events cost")
        opinions = [opinion_of(budget, worst, kind) for kind in (GaussianAccountant, PldAccountant, RdpAccountant)]
        if foreign is not None:
            opinions.append(foreign_opinion(budget, worst, own, foreign))
        for opinion in opinions:
            if not opinion.agrees:
                self.note(seq, "AccountantDisagreement", f"budget {budget.id}: {opinion.accountant} {opinion.why}")
        return Replayed(budget.id, recorded, own, tuple(opinions))

    def _whose_is_known(self, budget: BudgetState) -> bool:
        """Once names were erased nobody can say which client a figure was of: it may be above what is left to see."""
        return budget.terms.scope is Scope.EVERYONE or not self._erased

    def _charged_by(self, budget: BudgetState, invited: list[Opening]) -> list[Counts]:
        """What the reservation just read certainly came to: for each client, of those it invited."""
        if budget.terms.scope is Scope.EVERYONE:
            return [Counter(budget.charged)]
        named = (each.pseudonym for each in invited if not each.is_erased)
        known = [self.attendance.listed(self.history, budget, name) for name in named]
        return fullest(known) or profiles(self.history, budget, self.attendance)

    def _worst(self, budget: BudgetState, counts: list[Counts]) -> Interval:
        return max((self._cost(budget, each) for each in counts), key=lambda interval: interval.upper)

    def _cost(self, budget: BudgetState, counts: Counts) -> Interval:
        key = (budget.id, frozenset(counts.items()))
        if key not in self._composed:
            self._composed[key] = compose(counts, budget.terms, budget.terms.view)
        return self._composed[key]


def understates(recorded: Ends, own: Interval) -> bool:
    """Whether less was recorded than it certainly cost; an end that is only bounded must be the one computed here."""
    if own.lower is None:
        return recorded.upper < own.upper * (1.0 - LARGEST_DIFFERENCE) - LARGEST_DIFFERENCE
    return recorded.upper < own.lower


def differ(recorded: Ends, own: Interval) -> bool:
    """Whether an end that was recorded is not the one that the same software computes, apart from rounding."""
    if math.isinf(own.upper) or (recorded.lower is None) != (own.lower is None):
        return True
    ends = ((recorded.upper, own.upper), (recorded.lower or 0, own.lower or 0))
    return any(abs(one - Fraction(other)) > _rounding(other) for one, other in ends)


def exceeds(recorded: Ends, own: Interval) -> bool:
    """Whether more was recorded than any version can have computed: one may know more ends than another, and looser."""
    most = own.upper + _rounding(own.upper)
    return (recorded.lower or 0) > most or (own.lower is None and recorded.upper > most)


def meets(recorded: Ends, own: Interval) -> bool:
    """Whether the two intervals have a point in common, apart from rounding."""
    return (recorded.lower or 0) <= own.upper + _rounding(own.upper) and (own.lower or 0) <= recorded.upper + Fraction(
        LARGEST_DIFFERENCE
    )


def _rounding(end: float) -> float:
    return LARGEST_DIFFERENCE * max(1.0, end) + 1 / GRID


def _text(recorded: Ends) -> str:
    return f"{float(recorded.lower or 0):.9g} to {float(recorded.upper):.9g}"


def _costs(own: Interval) -> str:
    return f"but it costs at least {own.upper if own.lower is None else own.lower:.9g}"


def _computed(own: Interval, disagree: Callable[[Ends, Interval], bool]) -> str:
    who = "the same software computes" if disagree is differ else "more than any can have computed:"
    return f"{who} {own.lower or 0.0:.9g} to {own.upper:.9g}"


def opinion_of(budget: BudgetState, counts: Counts, kind: Callable[..., Accountant]) -> Opinion:
    """What one accountant says by itself; having no proof is no contradiction, and each one's own ends are its own."""
    accountant = kind(budget.terms.unit)
    name = str(getattr(accountant, "method", kind.__name__))
    whole: Event = Composed(tuple(Repeated(event, times) for event, times in counts.items()))
    try:
        accountant.compose(whole if budget.terms.view is View.RELEASED else without_sampling(whole))
    except (UnsupportedEvent, NoiseTooCoarse) as refused:
        return Opinion(budget.id, name, None, agrees=True, why=f"has no proof: {refused}")
    return Opinion(budget.id, name, accountant.interval(budget.terms.budget.delta), agrees=True, why="")


def foreign_opinion(budget: BudgetState, counts: Counts, own: Interval, foreign: Foreign) -> Opinion:
    """What a foreign accountant says: its upper end below our lower one, or far above our upper one, contradicts."""
    try:
        found = foreign(counts, budget.terms)
    except UnsupportedEvent as refused:
        return Opinion(budget.id, "foreign", None, agrees=True, why=f"is not asked: {refused}")
    below = own.lower is not None and found.upper < own.lower * (1 - LARGEST_DIFFERENCE)
    above = found.upper > own.upper * FOREIGN_ABOVE + LARGEST_DIFFERENCE and not math.isinf(own.upper)
    why = f"says epsilon {found.upper:.9g}, we say {own.lower} to {own.upper:.9g}" if below or above else ""
    return Opinion(budget.id, found.method, found, agrees=not (below or above), why=why)
