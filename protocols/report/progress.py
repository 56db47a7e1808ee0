"""A trial or an audit as it happens: one line on stderr while it is played."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from protocols.report.tables import NOTES
from protocols.simulate import Standing, Told


@contextmanager
def counted(clients: int) -> Iterator[Told]:
    """A line that counts the updates of so many clients, and holders' answers; only on a terminal, gone at the end.

    It is drawn when something is told, and by no thread of its own: a thread's seconds would count as some party's.
    """
    answered = TextColumn("{task.fields[answers]}")
    columns = (TextColumn("updates"), BarColumn(), MofNCompleteColumn(), answered, TimeElapsedColumn())
    with Progress(*columns, console=NOTES, transient=True, auto_refresh=False, disable=not NOTES.is_terminal) as shown:
        line = shown.add_task("updates", total=clients, answers="")

        def told(standing: Standing) -> None:
            answers = f"answers of holders: {standing.answers}" if standing.answers else ""
            shown.update(line, completed=standing.updates, answers=answers, refresh=True)

        yield told


@contextmanager
def steps(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A line that counts how many of so many steps are done; only on a terminal, gone at the end."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=NOTES, transient=True, auto_refresh=False, disable=not NOTES.is_terminal) as shown:
        line = shown.add_task(name, total=total)

        def told(done: int) -> None:
            # Drawn a hundred times in all, however many steps there are.
            if done == total or done % max(1, total // 100) == 0:
                shown.update(line, completed=done, refresh=True)

        yield told
