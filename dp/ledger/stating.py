"""From a ledger file to a `Statement`: the entries are read once, judged, and said in plain values.

A ledger that does not hold is stated as far as its entries make sense; its verdict says from where on they do not.
What rests on all entries, such as what was spent, is then left out: of the rest nothing is known, not even that it is
little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from dp.accountant import Interval, View
from dp.canonical import Body, bytes_of, integer_of, text_of
from dp.errors import AccountantDisagreement, Corrupt, NoiseTooCoarse, UnsupportedEvent
from dp.events import Event, GaussianEvent, leaves, without_sampling
from dp.ledger.admission import remaining
from dp.ledger.attendance import Attendance, Counts, fullest
from dp.ledger.budgets import BudgetState, compose
from dp.ledger.chain import Kind
from dp.ledger.cohorts import Opening
from dp.ledger.erasing import runs_in
from dp.ledger.history import History
from dp.ledger.records import Record, Standing
from dp.ledger.replay import Foreign, replay
from dp.ledger.statement import (
    NOTHING_ERASED,
    BudgetStatement,
    ClientStatement,
    Erased,
    Opinion,
    Point,
    Release,
    Statement,
)
from dp.ledger.store import Store
from dp.ledger.terms import Scope
from dp.ledger.verdict import Merged, examine
from dp.ledger.vouching import Known

# Further releases that are looked for; who could afford so many is not short of any.
MOST_AFFORDABLE = 2**20
# Releases of so many kinds that are no Gaussian on everyone: each costs every trial a table, all of them seconds.
MOST_TABLES = 16
NO_PROOF = (UnsupportedEvent, NoiseTooCoarse, AccountantDisagreement)


def state(store: Store, known: Known, foreign: Foreign | None) -> Statement:
    """Everything the ledger says.  Raises: LedgerError when not even its first entry makes sense."""
    verdict = examine(store.checked_entries(), store.openings(), store.witnesses(), known)
    read = _Read(verdict.unread)
    read.all(store)
    history = read.history
    if history.signed is None:
        raise Corrupt(f"{store.path} has no GENESIS that could be stated; restore a copy", seq=0)
    whole = verdict.unread is None
    return Statement(
        ledger_id=history.signed.ledger_id,
        software=text_of(read.said[0], "software"),
        policy=history.policy,
        verdict=verdict,
        pin=None if known.pin is None else known.pin.head,
        checkpoints=tuple(history.checkpoints),
        witnesses=verdict.witnesses,
        budgets=tuple(read.budget(budget) for budget in history.budgets.values()),
        releases=tuple(read.release(seq, record) for seq, record in sorted(history.records.items())),
        clients=tuple(read.clients()) if whole else (),
        audits=tuple(sorted(history.audits.items())),
        notes=tuple(read.notes),
        opinions=_opinions(store, foreign) if whole else (),
        erased=read.erased() if whole else NOTHING_ERASED,
    )


def _opinions(store: Store, foreign: Foreign | None) -> tuple[Opinion, ...]:
    replayed = replay(store.entries(), store.openings(), foreign)
    return tuple(opinion for budget in replayed.budgets for opinion in budget.opinions)


class _Read:
    """What was read: history, attendance, and of the bodies what the history does not keep.

    `unread` is the entry before which reading ends, None where there is none.
    """

    def __init__(self, unread: int | None) -> None:
        self.unread = unread
        self.history = History()
        self.attendance = Attendance()
        self.said: dict[int, Body] = {}
        self.notes: list[tuple[int, str]] = []
        self._erased: Counter[int] = Counter()
        self._composed: dict[tuple[int, View, frozenset[tuple[Event, int]]], Interval] = {}

    def all(self, store: Store) -> None:
        """What the verdict could read, and GENESIS in any case.  Raises: LedgerError when that makes no sense."""
        openings = Merged(self._counted(store.openings()))
        end = None if self.unread is None else max(self.unread, 1)
        for entry in islice(store.entries(), end):
            self.history.apply(entry)
            if entry.kind in (Kind.GENESIS, Kind.RESERVE, Kind.ABORT, Kind.SETTLE):
                self.said[entry.seq] = entry.fields
            elif entry.kind == Kind.NOTE:
                self.notes.append((entry.seq, text_of(entry.fields, "text")))
            elif entry.kind == Kind.ERASE:
                gone = sum(run.size for run in runs_in(entry.fields))
                self.notes.append((entry.seq, f"{gone} openings erased"))
            self.attendance.learn(self.history, openings.until(entry.seq))

    def _counted(self, openings: Iterable[Opening]) -> Iterator[Opening]:
        """The same openings; of each entry the erased ones are counted as they pass."""
        for opening in openings:
            if opening.is_erased:
                self._erased[opening.seq] += 1
            yield opening

    # --- budgets ---------------------------------------------------------------------------------

    def budget(self, budget: BudgetState) -> BudgetStatement:
        """One budget, with every interval recorded for it."""
        whole = self.unread is None
        spent = self._spent(budget) if whole else None
        return BudgetStatement(
            id=budget.id,
            terms=budget.terms,
            spent=spent,
            released=self._released(budget) if whole else None,
            remaining=None if spent is None else remaining(budget, spent),
            closed=budget.closed,
            points=tuple(self._points(budget)),
            affordable=self._affordable(budget) if whole else None,
        )

    def _points(self, budget: BudgetState) -> Iterable[Point]:
        for seq, record in sorted(self.history.records.items()):
            for number, ends in record.after:
                if number == budget.id:
                    yield Point(seq, record.charge.round, ends)

    def _spent(self, budget: BudgetState) -> Interval:
        counts = self._profiles(budget)
        try:
            return max((self._cost(budget, each, budget.terms.view) for each in counts), key=lambda cost: cost.upper)
        except NO_PROOF as refused:
            return Interval(None, float("inf"), budget.terms.budget.delta, f"no proof: {type(refused).__name__}")

    def _profiles(self, budget: BudgetState) -> list[Counts]:
        if budget.terms.scope is Scope.EVERYONE:
            return [budget.charged]
        known = (self.attendance.possible(self.history, budget, each) for each in self.attendance.invited)
        return fullest([self.attendance.unknown(self.history, budget), *known])

    def _released(self, budget: BudgetState) -> Interval | None:
        try:
            return self._cost(budget, budget.realised, View.RELEASED)
        except NO_PROOF:
            return None

    def _affordable(self, budget: BudgetState) -> int | None:
        """How many more like the last one would be granted: doubled until too many, then halved."""
        last = [record for record in self.history.records.values() if budget.id in record.budgets]
        if not last:
            return None
        if budget.closed is not None:
            return 0
        event, spent = last[-1].charge.event, self._fullest(budget)
        if _tables(budget, [event, *spent]) > MOST_TABLES:
            return None

        def holds(more: int) -> bool:
            try:
                return budget.terms.budget.holds(
                    compose(spent + Counter({event: more}), budget.terms, budget.terms.view)
                )
            except NO_PROOF:
                return False

        low, high = 0, 1
        while high <= MOST_AFFORDABLE and holds(high):
            low, high = high, 2 * high
        while high - low > 1 and low < MOST_AFFORDABLE:
            middle = (low + high) // 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    def _fullest(self, budget: BudgetState) -> Counts:
        """What counts against one more release: everything, or what a client listed nowhere may have been in."""
        if budget.terms.scope is Scope.EACH:
            return self.attendance.unknown(self.history, budget)
        return budget.charged

    # --- releases and clients --------------------------------------------------------------------

    def release(self, seq: int, record: Record) -> Release:
        """One reservation and how it ended."""
        said, charge, outcome = self.said[seq], record.charge, record.outcome
        end = self.said.get(record.ended or -1)
        return Release(
            seq=seq,
            task=charge.task,
            round=charge.round,
            dataset=charge.dataset,
            mechanism=charge.mechanism,
            standing=record.standing,
            reason=None if end is None else text_of(end, "reason"),
            cohort=charge.cohort,
            survivors=None if outcome is None else outcome.survivors,
            event=charge.event,
            released=None if outcome is None else outcome.released,
            setting=charge.setting,
            budgets=record.budgets,
            software=text_of(said, "software"),
            code=bytes_of(said, "code", 32),
            clock=integer_of(said, "clock"),
        )

    def erased(self) -> Erased:
        """What was taken out of the lists of who was in a round."""
        reserves = {named.seq: named.reserve for named in self.history.named}
        return Erased(self._erased.total(), len({reserves[seq] for seq in self._erased}))

    def clients(self) -> Iterable[ClientStatement]:
        """Every client that is listed in a round that counts, by pseudonym."""
        counting = {seq for seq, record in self.history.records.items() if record.standing is not Standing.ABORTED}
        named = {each.reserve for each in self.history.named if each.seq != each.reserve}
        for pseudonym, seqs in sorted(self.attendance.invited.items()):
            rounds = counting.intersection(seqs)
            if rounds:
                survived = len(rounds.intersection(self.attendance.survived.get(pseudonym, ())))
                spent = tuple(self._of_client(pseudonym, rounds))
                yield ClientStatement(pseudonym, len(rounds), survived if rounds & named else None, spent)

    def _of_client(self, pseudonym: bytes, rounds: set[int]) -> Iterable[tuple[int, Interval]]:
        charged = {budget for seq in rounds for budget in self.history.records[seq].budgets}
        for budget in sorted(charged):
            state = self.history.budgets[budget]
            counts = self.attendance.possible(self.history, state, pseudonym)
            try:
                yield budget, self._cost(state, counts, View.AGGREGATOR)
            except NO_PROOF:
                continue

    def _cost(self, budget: BudgetState, counts: Counts, view: View) -> Interval:
        # Clients share few profiles: thousands of them cost a handful of compositions.
        key = (budget.id, view, frozenset(counts.items()))
        if key not in self._composed:
            self._composed[key] = compose(counts, budget.terms, view)
        return self._composed[key]


def _tables(budget: BudgetState, events: Iterable[Event]) -> int:
    """How many laws the accountants must tabulate to put these together."""
    seen = events if budget.terms.view is View.RELEASED else map(without_sampling, events)
    return len({leaf for event in seen for leaf, _ in leaves(event) if not isinstance(leaf, GaussianEvent)})
