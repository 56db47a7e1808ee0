"""A ledger as a reader wants it: plain values, nothing left to look up. `dp.ledger.stating` makes it from a file.

Statement   verdict, budgets, releases, clients, audits, notes, and what a second accountant says
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dp.accountant import Interval
from dp.audit.finding import Finding
from dp.events import Event
from dp.ledger.chain import Head
from dp.ledger.charge import Ends, Setting, Terms
from dp.ledger.records import Standing
from dp.ledger.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Point:
    """One budget after one reservation: which entry, which round, and the interval as it was recorded."""

    seq: int
    round: int
    ends: Ends


@dataclass(frozen=True, slots=True)
class BudgetStatement:
    """One budget: its promise, what was spent in both views, and how it came to that.

    `released` is None where no accountant has a proof for that view; `affordable` how many more releases like the last
    one would be granted, None where there was none; `closed` the entry that closed it. What sums up all entries,
    `spent`, `released`, `remaining` and `affordable`, is None where they could not all be read.
    """

    id: int
    terms: Terms
    spent: Interval | None
    released: Interval | None
    remaining: Fraction | None
    closed: int | None
    points: tuple[Point, ...]
    affordable: int | None


@dataclass(frozen=True, slots=True)
class Release:
    """One reservation and its end. `setting` and `released` are None where they were not said; `survivors` until a
    COMMIT; `reason` is that of an ABORT or SETTLE. `clock` is nanoseconds since 1970, recorded and never used."""

    seq: int
    task: str
    round: int
    dataset: str
    mechanism: str
    standing: Standing
    reason: str | None
    cohort: int
    survivors: int | None
    event: Event
    released: Event | None
    setting: Setting | None
    budgets: tuple[int, ...]
    software: str
    code: bytes
    clock: int


@dataclass(frozen=True, slots=True)
class ClientStatement:
    """One client under its pseudonym: rounds it was invited to and survived, and the epsilon of those it was in.

    `survived` is None where the survivors were not named. One (budget id, interval) for each budget that was charged
    with it.
    """

    pseudonym: bytes
    invited: int
    survived: int | None
    spent: tuple[tuple[int, Interval], ...]


@dataclass(frozen=True, slots=True)
class Erased:
    """How many openings of cohorts and survivors were taken out, and of how many rounds.

    Nobody can say whose they were, so each such round counts for every client that is not listed in it.
    """

    openings: int
    rounds: int


NOTHING_ERASED = Erased(0, 0)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one accountant says of one budget now, and whether it agrees with what was recorded.

    `interval` is None where it has no proof for these events; then `why` says so.
    """

    budget: int
    accountant: str
    interval: Interval | None
    agrees: bool
    why: str


@dataclass(frozen=True, slots=True)
class Statement:
    """Everything a ledger says, at the head the verdict names.

    Where `verdict.unread` is not None, these are the entries before it: what is not among them may still be in the
    ledger, and clients, opinions and what was erased, which rest on all entries, are left out.
    """

    ledger_id: bytes
    software: str
    policy: str
    verdict: Verdict
    pin: Head | None
    checkpoints: tuple[Head, ...]
    witnesses: int
    budgets: tuple[BudgetStatement, ...]
    releases: tuple[Release, ...]
    clients: tuple[ClientStatement, ...]
    audits: tuple[tuple[int, Finding], ...]
    notes: tuple[tuple[int, str], ...]
    opinions: tuple[Opinion, ...]
    erased: Erased = NOTHING_ERASED
