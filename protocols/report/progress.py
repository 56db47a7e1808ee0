"""A trial or an audit as it happens: one line on stderr while it is played."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from protocols.report.tables import NOTES
from protocols.simulate import Standing, Told

Draw = Callable[[int, str], None]


@contextmanager
def drawn(total: int, *columns: ProgressColumn) -> Iterator[Draw]:
    """A line that shows how many of `total` are done, and a remark; only on a terminal, gone at the end.

    It is drawn when something is told, and by no thread of its own: a thread's seconds would count as some party's.
    """
    if not NOTES.is_terminal:
        # Older releases of rich end even a progress that is disabled with an empty line.
        yield lambda done, remark: None
        return
    with Progress(*columns, console=NOTES, transient=True, auto_refresh=False) as shown:
        line = shown.add_task("", total=total, remark="")
        yield lambda done, remark: shown.update(line, completed=done, remark=remark, refresh=True)


@contextmanager
def counted(clients: int) -> Iterator[Told]:
    """A line that counts the updates of so many clients, and holders' answers."""
    remark = TextColumn("{task.fields[remark]}")
    with drawn(clients, TextColumn("updates"), BarColumn(), MofNCompleteColumn(), remark, TimeElapsedColumn()) as draw:

        def told(standing: Standing) -> None:
            draw(standing.updates, f"answers of holders: {standing.answers}" if standing.answers else "")

        yield told


@contextmanager
def steps(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A line that counts how many of so many steps are done."""
    with drawn(total, TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as draw:

        def told(done: int) -> None:
            # Drawn a hundred times in all, however many steps there are.
            if done == total or done % max(1, total // 100) == 0:
                draw(done, "")

        yield told
