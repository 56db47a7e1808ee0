"""Small ledgers and charges for the ledger tests; no check of ours is replaced here."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from dp.accountant import Budget, Unit, View, account
from dp.events import Event, GaussianEvent, Repeated
from dp.ledger import Charge, Ledger, Outcome

DELTA = Fraction(1, 10**5)
RELATION = "zero-out"
EVENT = GaussianEvent(sigma2=40_000, l2_squared=100, d=10, components=20, draws=200)
WIDE = Budget(8, DELTA, RELATION)


def epsilon_of(*events: Event, view: View = View.AGGREGATOR) -> Fraction:
    """The upper end for these events, straight from the accountants."""
    return Fraction(account(events, Unit(RELATION), view, DELTA).upper)


def budget_for(times: int, event: Event = EVENT) -> Budget:
    """A limit that holds exactly so many of the event, and not one more."""
    return Budget(epsilon_of(Repeated(event, times)), DELTA, RELATION)


def charge(number: int, event: Event = EVENT, **other: object) -> Charge:
    """The charge of one round; `other` replaces single fields."""
    fields: dict[str, object] = {
        "task": "digits",
        "round": number,
        "dataset": "clients",
        "mechanism": "sum",
        "event": event,
        "cohort": 40,
        "context": hashlib.sha256(repr(number).encode()).digest(),
    }
    return Charge(**{**fields, **other})  # type: ignore[arg-type]


def outcome(event: Event = EVENT, survivors: int = 38) -> Outcome:
    """What a round that went well says."""
    return Outcome(survivors, event, b"\x07" * 32)


def write_rounds(path: Path, rounds: int, budget: Budget = WIDE) -> None:
    """A ledger with GENESIS, OPEN_BUDGET and a RESERVE and COMMIT per round, closed and merged."""
    with Ledger.open(path, budget) as ledger:
        for number in range(rounds):
            ledger.commit(ledger.reserve(charge(number)), outcome())


def edit(path: Path, *statements: str) -> None:
    """What somebody with the sqlite tool does: triggers dropped, rows changed, triggers back in place."""
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()


def start(work: Callable[[], object]) -> int:
    """Runs work in a forked child; its exit code tells whether it raised (1) or not (0)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def finish(child: int) -> int:
    """The child's exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
