"""The demo as it happens: a live table on stderr, and what the server saw when it is over."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.live import Live
from rich.table import Table

from protocols.learning.demo import LEDGER, Demo, DemoResult, DemoRound, DemoStart
from protocols.report.privacy.words import counted
from protocols.report.tables import NOTES


def follow(steps: Iterator[DemoStart | DemoRound | DemoResult], settings: Demo) -> DemoResult:
    """Show where it goes, and every round when it ends; return the result, which comes last.

    Raises: whatever the run raises.
    """
    # What is wrong from the start is said before anything is shown.
    start = next(steps)
    if not isinstance(start, DemoStart):
        raise RuntimeError("the demo began without saying where")
    for line in opening_words(start):
        NOTES.print(line, markup=False, highlight=False)
    sizes = f"{counted(settings.clients, 'client')}, {counted(settings.rounds, 'round')}"
    table = Table(title=f"{sizes}, drop-out {settings.dropout:g}")
    for column in ("round", "survivors", "accuracy", "without privacy", "epsilon spent", "kB up", "exact"):
        table.add_column(column, justify="right")
    result: DemoResult | None = None
    with interruption_told(start, settings), lines_of_their_own(), Live(table, console=NOTES, refresh_per_second=4):
        for step in steps:
            if isinstance(step, DemoRound):
                table.add_row(*row_of(step))
            elif isinstance(step, DemoResult):
                result = step
    if result is None:
        raise RuntimeError("the demo ended without a result")
    for line in (*closing_words(result), *spent_words(start, result)):
        NOTES.print(line, markup=False, highlight=False)
    return result


@contextmanager
def interruption_told(start: DemoStart, settings: Demo) -> Iterator[None]:
    """Whoever stops a run is told where it lies and what comes next; the interruption goes on its way."""
    try:
        yield
    except KeyboardInterrupt:
        for line in stopped_words(start, settings):
            NOTES.print(line, markup=False, highlight=False)
        raise


def stopped_words(start: DemoStart, settings: Demo) -> Iterator[str]:
    """Where a stopped run lies, and the two ways on: the training cannot be resumed, its ledger can."""
    yield f"stopped: the rounds so far and their model are kept in {start.folder}"
    if settings.private:
        ledger = settings.ledger or Path(start.folder) / LEDGER
        yield (
            f"to train anew on the same account: secagg demo --ledger {shlex.quote(str(ledger))}; without --ledger the "
            "next run opens an account of its own"
        )
    else:
        yield "the same command begins anew, in a folder of its own"


@contextmanager
def lines_of_their_own() -> Iterator[None]:
    """A live table ends without a line break where there is no terminal; what follows must not stick to it."""
    try:
        yield
    finally:
        if not NOTES.is_terminal:
            NOTES.line()


def opening_words(start: DemoStart) -> Iterator[str]:
    """Where the run leaves what it makes, and what its ledger has spent before."""
    yield f"this run is kept in {start.folder}"
    if start.epsilon:
        yield (
            f"the ledger has spent epsilon {start.epsilon:.3f} in earlier runs: the training begins anew, and what its "
            "rounds cost comes on top"
        )


def spent_words(start: DemoStart, result: DemoResult) -> Iterator[str]:
    """How a continued ledger's epsilon came about; nothing for a ledger of this run's own."""
    if start.epsilon and result.epsilon is not None:
        added = result.epsilon - start.epsilon
        yield (
            f"epsilon of the ledger for the aggregator: {start.epsilon:.3f} before, {added:.3f} added by this run, "
            f"{result.epsilon:.3f} in total; pins of earlier runs still hold, as they vouch for its beginning"
        )


def row_of(step: DemoRound) -> tuple[str, ...]:
    """One line of the live table."""
    return (
        str(step.round + 1),
        str(step.survivors) if step.lost is None else step.lost.partition(":")[0],
        f"{step.accuracy:.3f}",
        f"{step.accuracy_plain:.3f}",
        "-" if step.epsilon is None else f"{step.epsilon:.3f}",
        f"{step.bytes_up_per_client / 1e3:.1f}",
        "-" if step.lost is not None else "yes" if step.exact else "NO",
    )


def closing_words(result: DemoResult) -> Iterator[str]:
    """What the server saw, what was spent in both views, and how the ledger ends."""
    if result.chi_square_p is None:
        yield "no round ended in a sum: fewer drop-outs or more clients are needed"
    else:
        yield (
            f"What the server saw of one client in the first sum: {result.seen_bytes:,} bytes; chi-square p-value "
            f"against uniform {result.chi_square_p:.3f}"
        )
    if result.epsilon is not None and result.epsilon_released is not None:
        yield (
            f"epsilon at delta {result.delta:g}: {result.epsilon:.3f} for the aggregator and the colluders it may "
            f"have, {result.epsilon_released:.3f} for a reader of the model"
        )
    if result.ledger_tail is not None:
        yield f"last line of the ledger: {result.ledger_tail}"
        yield "run.pin keeps where it ends: on another disk it would tell whether somebody put an old copy back"
    yield f"model, report{' and ledger' if result.ledger_tail else ''} are in {result.folder}"
