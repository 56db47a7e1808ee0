"""Judging a whole ledger from its entries alone: chain, signatures, order of events, and the limit.

Nothing derived is believed: every hash, signature and interval is computed again. What cannot be seen from
inside is whether entries were cut off the end or all of it was rewritten by the holder of the key; without a
head kept elsewhere (`dp.ledger.vouching`) the best verdict is therefore "internally-consistent".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from dp.accountant import Interval, upward
from dp.errors import AccountantDisagreement, Corrupt, LedgerError, NoiseTooCoarse, UnsupportedEvent
from dp.events import Event
from dp.ledger.attendance import Attendance, Counts, possibilities, profiles
from dp.ledger.budgets import LARGEST_DIFFERENCE, BudgetState, compose, unpaid
from dp.ledger.chain import Entry, Head, Kind, check_signature, signed_by
from dp.ledger.charge import grid_above
from dp.ledger.cohorts import Opening
from dp.ledger.history import History
from dp.ledger.vouching import NOTHING_KNOWN, Known, Vouching, Witness

NO_PROOF = (UnsupportedEvent, NoiseTooCoarse, AccountantDisagreement)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: at which entry (None: the file as a whole), by which named error, and how."""

    line: int | None
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ok` when no problem was found in the entries that are there; `head` is where they end.

    `vouched` is the last entry that a pin or a known witness vouches for: everything up to it is what somebody
    outside has seen, what follows is the word of the key's holder alone. `witnesses` counts valid signatures of
    anybody. `unread` is the first entry that makes no sense or is missing though somebody has seen it: of it and of
    what follows nothing is known, and no sum over all entries is. None where the ledger was read to its end.
    `erased` counts openings that were taken out, so that nobody can say any more whose they were.
    `audits_refuted` counts the audits among what was read that refute a claim: the file may hold all the same.
    """

    ok: bool
    entries: int
    head: Head | None
    problems: tuple[Problem, ...]
    vouched: int | None = None
    witnesses: int = 0
    unread: int | None = None
    erased: int = 0
    audits_refuted: int = 0

    @property
    def verdict(self) -> str:
        """ "refuted", "verified" up to `vouched`, or "internally-consistent" where nobody outside vouches."""
        if not self.ok:
            return "refuted"
        return "internally-consistent" if self.vouched is None else "verified"


class Merged:
    """Openings read alongside their entries, one ahead."""

    def __init__(self, openings: Iterable[Opening]) -> None:
        self._left = iter(openings)
        self._ahead: list[Opening] = []

    def until(self, seq: int) -> list[Opening]:
        """The next ones, of entries up to this one."""
        taken: list[Opening] = []
        while ahead := self._ahead or list(islice(self._left, 1)):
            self._ahead = ahead
            if ahead[0].seq > seq:
                break
            taken.append(ahead[0])
            self._ahead = []
        return taken


class _Examination:
    """History for as long as it makes sense, and everything found on the way."""

    def __init__(self, openings: Iterable[Opening], vouching: Vouching) -> None:
        self.history = History()
        self.attendance = Attendance()
        self.vouching = vouching
        self.entries = 0
        self.last: Entry | None = None
        self.unread: int | None = None
        self.problems: list[Problem] = []
        self._openings = Merged(openings)
        self._checked: dict[int, int] = {}
        self._outcomes: dict[tuple[int, int, int], str] = {}

    def note(self, wrong: LedgerError) -> None:
        self.problems.append(Problem(wrong.seq, type(wrong).__name__, str(wrong)))

    def read(self, entry: Entry) -> None:
        """One more entry, its signature first: an unsigned one is nobody's statement."""
        self.entries, self.last = self.entries + 1, entry
        if self.unread is not None:
            return
        try:
            signed = self.history.signed or signed_by(entry)
            check_signature(signed, entry)
            if entry.kind == Kind.ABORT:
                # Charges shrink only here: the fullest prefixes end before an abort, or at the end.
                self.check_limits(entry.seq - 1)
            self.history.apply(entry)
            self.attendance.learn(self.history, self._openings.until(entry.seq))
            self.check_recorded(entry)
            self.check_outcome(entry)
        except LedgerError as wrong:
            # Not the number it gives itself: one before it may be missing.
            self.unread = self.entries - 1
            self.note(wrong)
        else:
            self.note_all(self.vouching.see(signed, entry))

    def check(self, require: Callable[[], None]) -> None:
        """Notes what a requirement raises."""
        try:
            require()
        except LedgerError as wrong:
            self.note(wrong)

    def note_all(self, found: Iterable[LedgerError]) -> None:
        for wrong in found:
            self.note(wrong)

    def end(self) -> None:
        """What can only be said once everything was read."""
        if self.entries == 0 and not self.problems:
            self.note(Corrupt("the ledger has no entries, not even a GENESIS"))
        self.check(self.history.require_unrehearsed)
        if self.last is not None and self.history.signed is not None and self.unread is None:
            self.check(lambda: self.history.erased.require_same(self.attendance.erased))
            self.check_limits(self.last.seq)
            missing = self.vouching.end(self.history.signed, self.last.head)
            self.note_all(missing)
            if missing:
                self.unread = self.last.seq + 1

    def check_recorded(self, entry: Entry) -> None:
        """What a RESERVE says the intervals became stays within the limits."""
        record = self.history.records.get(entry.seq)
        for budget, after in () if record is None else record.after:
            if after.upper > grid_above(self.history.budgets[budget].terms.budget.epsilon):
                self.refute(entry.seq, self.history.budgets[budget], f"records epsilon {float(after.upper):.9g}")

    def check_outcome(self, entry: Entry) -> None:
        """What a COMMIT says came out does not provably cost more, by itself, than what was charged for it."""
        ended = self.history.ended
        record = None if ended is None else self.history.records[ended]
        if entry.kind != Kind.COMMIT or record is None or record.outcome is None:
            return
        for budget in record.budgets:
            pair = record.charge.event, record.outcome.released
            if said := self._unpaid(entry.seq, self.history.budgets[budget], *pair):
                self.note(Corrupt(f"entry {entry.seq}: {said} to budget {budget}", seq=entry.seq))

    def _unpaid(self, seq: int, budget: BudgetState, charged: Event, released: Event) -> str:
        # Equal events of one history are one object, and it keeps them.
        key = (budget.id, id(charged), id(released))
        if charged is not released and key not in self._outcomes:
            paid, realised = (self._alone(seq, budget, event) for event in (charged, released))
            said = "" if paid is None or realised is None else unpaid(paid, realised, LARGEST_DIFFERENCE)
            self._outcomes[key] = said
        return self._outcomes.get(key, "")

    def _alone(self, seq: int, budget: BudgetState, event: Event) -> Interval | None:
        try:
            return compose(Counter([event]), budget.terms, budget.terms.view)
        except NO_PROOF as wrong:
            self.problems.append(Problem(seq, "Unverifiable", f"the outcome at entry {seq}: {wrong}"))
            return None

    def check_limits(self, seq: int) -> None:
        """What is charged up to here, composed anew, does not provably exceed the limit of any budget."""
        for budget in self.history.budgets.values():
            if self._checked.get(budget.id) != budget.version:
                self._checked[budget.id] = budget.version
                self.check_limit(seq, budget)

    def check_limit(self, seq: int, budget: BudgetState) -> None:
        """The same for one budget; under a limit for each client, of the client that has spent most."""
        limit, erased = upward(budget.terms.budget.epsilon), self.attendance.unknown(self.history, budget)
        try:
            certain = self._most(budget, profiles(self.history, budget, self.attendance))
            possible = self._most(budget, possibilities(self.history, budget, self.attendance)) if erased else certain
        except NO_PROOF as wrong:
            self.problems.append(Problem(seq, "Unverifiable", f"charges up to entry {seq}: {wrong}"))
            return
        if certain > limit:
            self.refute(seq, budget, f"is charged epsilon {certain:.9g}")
        elif possible > limit:
            message = (
                f"in {erased.total()} rounds of budget {budget.id} openings were erased; a client that was in all it "
                f"may have been in is charged epsilon {possible:.9g} at entry {seq}, the limit is {budget.terms}"
            )
            self.problems.append(Problem(seq, "Unverifiable", message))

    def refute(self, seq: int, budget: BudgetState, what: str) -> None:
        message = f"budget {budget.id} {what} at entry {seq}, the limit is {budget.terms}"
        self.problems.append(Problem(seq, "BudgetExceeded", message))

    def _most(self, budget: BudgetState, spent: Iterable[Counts]) -> float:
        return max(_proven(compose(counts, budget.terms, budget.terms.view)) for counts in spent)


def _proven(interval: Interval) -> float:
    # The lower end refutes for certain; a newer accountant may place the upper end differently.
    return interval.upper if interval.lower is None else interval.lower


def examine(
    entries: Iterable[Entry],
    openings: Iterable[Opening] = (),
    witnesses: Iterable[Witness] = (),
    known: Known = NOTHING_KNOWN,
) -> Verdict:
    """Reads all entries and says what is wrong with them; damage becomes a problem, not an exception.

    `openings` and `witnesses` are all that lie beside the entries, in their order; `known` comes from elsewhere.
    """
    seen = _Examination(openings, Vouching(known))
    stopped: int | None = None
    try:
        seen.vouching.expect(witnesses)
        for entry in entries:
            seen.read(entry)
    except LedgerError as wrong:
        seen.note(wrong)
        stopped = seen.entries
    seen.end()
    problems = tuple(seen.problems)
    head = None if seen.last is None else seen.last.head
    return Verdict(
        ok=not problems,
        entries=seen.entries,
        head=head,
        problems=problems,
        vouched=seen.vouching.vouched,
        witnesses=seen.vouching.witnesses,
        unread=stopped if seen.unread is None else seen.unread,
        erased=seen.attendance.erased.size,
        audits_refuted=sum(finding.refuted for finding in seen.history.audits.values()),
    )
