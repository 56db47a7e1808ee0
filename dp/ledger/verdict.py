"""Judging a whole ledger from its entries alone: chain, signatures, order of events, and the limit.

Nothing derived is believed: every hash, signature and interval is computed again. What cannot be seen from
inside is whether entries were cut off the end or all of it was rewritten by the holder of the key; without a
head kept elsewhere the best verdict is therefore "internally-consistent".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from dp.accountant import Interval
from dp.errors import AccountantDisagreement, Corrupt, LedgerError, NoiseTooCoarse, UnsupportedEvent
from dp.ledger.chain import Entry, Head, Kind, check_signature, signed_by
from dp.ledger.charge import grid_above
from dp.ledger.history import History, compose


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: at which entry (None: the file as a whole), by which named error, and how."""

    line: int | None
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ok` when no problem was found in the entries that are there; `head` is where they end."""

    ok: bool
    entries: int
    head: Head | None
    problems: tuple[Problem, ...]

    @property
    def verdict(self) -> str:
        """ "internally-consistent" or "refuted"; "verified" needs a head that was kept elsewhere."""
        return "internally-consistent" if self.ok else "refuted"


@dataclass(slots=True)
class _Examination:
    """History for as long as it makes sense, and everything found on the way."""

    history: History = field(default_factory=History)
    entries: int = 0
    last: Entry | None = None
    makes_sense: bool = True
    problems: list[Problem] = field(default_factory=list)

    def note(self, wrong: LedgerError) -> None:
        self.problems.append(Problem(wrong.seq, type(wrong).__name__, str(wrong)))

    def read(self, entry: Entry) -> None:
        """One more entry, its signature first: an unsigned one is nobody's statement."""
        self.entries, self.last = self.entries + 1, entry
        if not self.makes_sense:
            return
        try:
            check_signature(self.history.signed or signed_by(entry), entry)
            if entry.kind == Kind.ABORT:
                # Charges shrink only here: the fullest prefixes end before an abort, or at the end.
                self.check_limit(entry.seq - 1)
            self.history.apply(entry)
            self.check_recorded(entry)
        except LedgerError as wrong:
            self.makes_sense = False
            self.note(wrong)

    def check_recorded(self, entry: Entry) -> None:
        """What a RESERVE says the interval became stays within the limit."""
        record = self.history.records.get(entry.seq)
        terms = self.history.terms
        if record is not None and terms is not None and record.after.upper > grid_above(terms.budget.epsilon):
            self.refute(entry.seq, f"entry {entry.seq} records epsilon {float(record.after.upper):.9g}")

    def check_limit(self, seq: int) -> None:
        """What is charged up to here, composed anew, does not provably exceed the limit."""
        terms = self.history.terms
        if terms is None:
            return
        try:
            epsilon = _proven(compose(self.history.charged, terms, terms.view))
        except (UnsupportedEvent, NoiseTooCoarse, AccountantDisagreement) as wrong:
            self.problems.append(Problem(seq, "Unverifiable", f"charges up to entry {seq}: {wrong}"))
            return
        if epsilon > terms.budget.epsilon:
            self.refute(seq, f"charges up to entry {seq} cost epsilon {float(epsilon):.9g}")

    def refute(self, seq: int, what: str) -> None:
        self.problems.append(Problem(seq, "BudgetExceeded", f"{what}, the limit is {self.history.terms}"))


def _proven(interval: Interval) -> Fraction | float:
    # The lower end refutes for certain; a newer accountant may place the upper end differently.
    end = interval.upper if interval.lower is None else interval.lower
    return Fraction(end) if end != float("inf") else end


def examine(entries: Iterable[Entry]) -> Verdict:
    """Reads all entries and says what is wrong with them; damage becomes a problem, not an exception."""
    seen = _Examination()
    try:
        for entry in entries:
            seen.read(entry)
    except LedgerError as wrong:
        seen.note(wrong)
    if seen.entries == 0 and not seen.problems:
        seen.note(Corrupt("the ledger has no entries, not even a GENESIS"))
    if seen.makes_sense and seen.last is not None:
        seen.check_limit(seen.last.seq)
    problems = tuple(seen.problems)
    head = None if seen.last is None else seen.last.head
    return Verdict(not problems, seen.entries, head, problems)
