"""Tables inside documents, written from stored results and never by hand.

python -m benchmarks --suite compression --save     results/<date>-compression.json, and the table in its page
python -m benchmarks.learning                       results/learning.json, and the table in docs/explanation/learning.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.rows import Row

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"compression": "explanation/compression.md"}
COMMAND = "python -m benchmarks --suite {suite} --save"
BEGIN = "<!-- from here on: {command} -->"
END = "<!-- to here -->"
HEAD = ("what travels", "upload, bytes per client and round", "of all of it", "accuracy", "that of all of it", "more")


def table(rows: list[Row]) -> str:
    """The rows in Markdown: bytes, their share, and the share of right answers on both sides."""
    lines = [HEAD, ("---",) * len(HEAD), *map(cells, rows)]
    return "".join(f"{line_of(line)}\n" for line in lines)


def line_of(cells: Iterable[str]) -> str:
    """A line of a table. No text of a library or a machine ends a cell or a line, or becomes markup."""
    return f"| {' | '.join(map(harmless, cells))} |"


def harmless(text: str) -> str:
    """As a reader of Markdown sees it; a < that begins no element stays, as in <= 0.5."""
    one_line = " ".join(text.split()).replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one_line)


def cells(row: Row) -> tuple[str, ...]:
    right = ("" if error is None else f"{1 - error:.3f}" for error in (row.ours_error, row.peer_error))
    return row.case, f"{row.ours.least:,.0f}", f"{row.ratio:.1%}", *right, row.note


def stored(suite: str) -> list[Row]:
    """The rows of the newest stored result of this suite alone.

    Raises: FileNotFoundError where there is none.
    """
    found = sorted(RESULTS.glob(f"????-??-??-{suite}.json"))
    if not found:
        raise FileNotFoundError(f"no result of {suite} in {RESULTS}: python -m benchmarks --suite {suite} --save")
    return [Row.from_dict(plain) for plain in json.loads(found[-1].read_text(encoding="utf-8"))["rows"]]


def write(suite: str, rows: list[Row]) -> None:
    """Put the rows' table into the suite's page.

    Raises: ValueError for a page without the two marks.
    """
    write_between(DOCS / PAGES[suite], COMMAND.format(suite=suite), table(rows))


def write_between(page: Path, command: str, made: str) -> None:
    """Put this table where the page has the marks of this command.  Raises: ValueError for a page without them."""
    page.write_text(with_table(page.read_text(encoding="utf-8"), command, made), encoding="utf-8")


def with_table(text: str, command: str, made: str) -> str:
    """The page's text with this table between the marks of the command that makes it.  Raises: ValueError."""
    begin = BEGIN.format(command=command)
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the page has no place for the table: put {begin!r} and {END!r} where it belongs")
    return f"{before}{begin}\n\n{made}\n{END}{after}"
