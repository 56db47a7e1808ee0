"""Who was in which round: openings read back, held against the roots in their entries, and counted by client.

A client's own loss is that of the rounds it was invited to and that were not aborted. Where openings were erased
nobody can say whose they were. Whoever grants a charge must take such a round to be any client's that is not listed
in it (`possible`); whoever accuses may not (`listed`).
"""

from __future__ import annotations

import hmac
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import groupby, pairwise

from dp.errors import Corrupt
from dp.events import Event
from dp.ledger.budgets import BudgetState
from dp.ledger.cohorts import Opening, cohort_root
from dp.ledger.erasing import Erasures, runs_of
from dp.ledger.history import History
from dp.ledger.records import Named, Standing
from dp.ledger.terms import Scope

Counts = Counter[Event]


class Attendance:
    """The openings of a ledger up to some entry, every root checked."""

    def __init__(self) -> None:
        self.invited: dict[bytes, list[int]] = {}
        self.survived: dict[bytes, list[int]] = {}
        # The reservations whose survivors were named.
        self.told: set[int] = set()
        self.erased = Erasures()
        self._incomplete: list[int] = []
        self._learnt = 0
        self._next = 0

    @property
    def next(self) -> int:
        """The least entry whose openings are still to be learnt."""
        return self._next

    def learn(self, history: History, openings: Iterable[Opening]) -> None:
        """Takes in the openings of the entries from `next` on; those of entries after the history's end wait.

        Raises: Corrupt where openings are missing, are too many, or are not those the entry was written with.
        """
        end = 0 if history.head is None else history.head.seq
        found = {seq: list(group) for seq, group in groupby(openings, lambda each: each.seq) if seq <= end}
        for named in history.named[self._learnt :]:
            self._take(named, found.pop(named.seq, []))
        if found:
            stray = min(found)
            raise Corrupt(f"entry {stray} has openings beside it, but names nobody", seq=stray)
        self._learnt, self._next = len(history.named), end + 1

    def listed(self, history: History, budget: BudgetState, pseudonym: bytes) -> Counts:
        """What one client's data was released by, charged to one budget."""
        return _counted(history, budget, self.invited.get(pseudonym, []))

    def possible(self, history: History, budget: BudgetState, pseudonym: bytes) -> Counts:
        """The same, and every round it may have been erased from."""
        listed = self.invited.get(pseudonym, [])
        own = set(listed)
        return _counted(history, budget, [*listed, *(seq for seq in self._incomplete if seq not in own)])

    def unknown(self, history: History, budget: BudgetState) -> Counts:
        """What is possible for a client that is listed nowhere."""
        return _counted(history, budget, self._incomplete)

    def _take(self, named: Named, openings: list[Opening]) -> None:
        require_openings(named, openings)
        for run in runs_of(each for each in openings if each.is_erased):
            self.erased.add(run)
        if named.seq != named.reserve:
            self._require_invited(named, openings)
            self.told.add(named.reserve)
        into = self.invited if named.seq == named.reserve else self.survived
        for opening in openings:
            if not opening.is_erased:
                into.setdefault(opening.pseudonym, []).append(named.reserve)
        if named.seq == named.reserve and any(opening.is_erased for opening in openings):
            self._incomplete.append(named.seq)

    def _require_invited(self, named: Named, openings: list[Opening]) -> None:
        strangers = sum(not each.is_erased and not self._is_listed(each, named.reserve) for each in openings)
        # Whoever is not listed may be one whose invitation was erased: so many, and no more.
        if strangers > self.erased.in_entry(named.reserve):
            raise Corrupt(
                f"entry {named.seq} names {strangers} survivors that entry {named.reserve} did not invite",
                seq=named.seq,
            )

    def _is_listed(self, opening: Opening, reserve: int) -> bool:
        rounds = self.invited.get(opening.pseudonym, [])
        at = bisect_left(rounds, reserve)
        return at < len(rounds) and rounds[at] == reserve


def require_openings(named: Named, openings: list[Opening]) -> None:
    """The openings beside an entry are the ones it was written with.  Raises: Corrupt."""
    placed = all(opening.position == at for at, opening in enumerate(openings))
    if len(openings) != named.size or not placed:
        raise Corrupt(
            f"entry {named.seq} names {named.size}, but {len(openings)} openings are beside it; restore a copy",
            seq=named.seq,
        )
    names = [each.pseudonym for each in openings if not each.is_erased]
    if not all(one < other for one, other in pairwise(names)):
        raise Corrupt(f"the openings of entry {named.seq} name somebody twice, or out of order", seq=named.seq)
    if not hmac.compare_digest(cohort_root(openings), named.root):
        raise Corrupt(f"the openings of entry {named.seq} are not those it was written with", seq=named.seq)


def fullest(profiles: Iterable[Counts]) -> list[Counts]:
    """Those of the counts that no other one contains: the largest loss is among theirs."""
    distinct = {frozenset(counts.items()): counts for counts in profiles}
    kept: list[Counts] = []
    for counts in sorted(distinct.values(), key=lambda each: each.total(), reverse=True):
        if not any(counts <= other for other in kept):
            kept.append(counts)
    return kept


def profiles(history: History, budget: BudgetState, attendance: Attendance) -> list[Counts]:
    """What was spent for certain: by a client that may have been in every round, or by those listed in most."""
    if budget.terms.scope is Scope.EVERYONE:
        return [budget.charged]
    return fullest([Counter(), *(attendance.listed(history, budget, each) for each in attendance.invited)])


def possibilities(history: History, budget: BudgetState, attendance: Attendance) -> list[Counts]:
    """What may have been spent: by those listed in most, had they been in every round they may be erased from."""
    if budget.terms.scope is Scope.EVERYONE:
        return [budget.charged]
    known = (attendance.possible(history, budget, each) for each in attendance.invited)
    return fullest([attendance.unknown(history, budget), *known])


def _counted(history: History, budget: BudgetState, seqs: Iterable[int]) -> Counts:
    # An event is slow to hash, and equal ones are mostly one object in a history.
    times: Counter[int] = Counter()
    events: dict[int, Event] = {}
    for seq in seqs:
        record = history.records[seq]
        if record.standing is not Standing.ABORTED and budget.id in record.budgets:
            event = record.charge.event
            events[id(event)] = event
            times[id(event)] += 1
    counts: Counts = Counter()
    for key, count in times.items():
        counts[events[key]] += count
    return counts
