"""The matrix inside its document, written from a stored result and never by hand.

python -m benchmarks --suite attacks --save     results/<date>-attacks.json
python -m benchmarks.matrix                     the table and the findings in docs/explanation/attack-matrix.md
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import pages
from benchmarks.matrix.finding import Finding
from benchmarks.matrix.table import Matrix

PAGE = pages.DOCS / "explanation" / "attack-matrix.md"
COMMAND = "python -m benchmarks.matrix"


def newest() -> Path:
    """The newest stored result of all checks.  Raises: FileNotFoundError where there is none."""
    found = sorted(pages.RESULTS.glob("*-attacks.json"))
    if not found:
        raise FileNotFoundError(f"no result in {pages.RESULTS}: python -m benchmarks --suite attacks --save")
    return found[-1]


def stored(result: Path) -> Matrix:
    """The findings of a stored result, ours first."""
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    return Matrix(Finding.from_dict(row[side]) for side in ("ours", "peer") for row in rows)


def made(result: Path) -> str:
    """What stands between the marks: when it was seen, and what."""
    date = result.name.removesuffix("-attacks.json")
    return f"Seen on {date}.\n\n{stored(result).markdown()}"


def write() -> None:
    """Put the newest result into the page."""
    pages.write_between(PAGE, COMMAND, made(newest()))
