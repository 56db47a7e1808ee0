"""`python -m benchmarks.quoted`: what the newest full result beside peers says, where it is quoted.

    secagg bench --peers --save        benchmarks/results/<date>-peers.json, half an hour on a quiet machine
    python -m benchmarks.quoted        the goals into README's section "Measured", every figure into the page

Everything in the section up to the next one is replaced, and the page between its marks: nothing there is by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.pages import BEGIN, DOCS, END, RESULTS, harmless, line_of, with_table
from benchmarks.peers import PEERS, pinned
from benchmarks.peers.environments import name_of
from benchmarks.scoreboard import Cell
from benchmarks.suites import suite_of

README = Path(__file__).parents[1] / "README.md"
PAGE = DOCS / "reference" / "measured.md"
COMMAND = "python -m benchmarks.quoted"
HEADING = "## Measured\n"
# Curves are for the result's own page; what attacks and compression say stands in theirs.
SHOWN = ("masks", "rounds", "ckks", "noise", "accounting", "bytes", "utility")
NOT_IN_TABLES = ("scaling", "compression", "attacks")

Plain = Mapping[str, Any]


def newest() -> dict[str, Any] | None:
    """The newest stored result of a full run beside peers; None where there is none.

    Raises: ValueError for one that was not measured in full, which nobody may quote.
    """
    found = sorted(RESULTS.glob("????-??-??-peers.json"))
    if not found:
        return None
    result: dict[str, Any] = json.loads(found[-1].read_text(encoding="utf-8"))
    if result["effort"] != "full":
        raise ValueError(f"{found[-1].name} is of a {result['effort']} run: full ones only are quoted")
    if result["failed"]:
        raise ValueError(f"{found[-1].name} is of a run that failed, which is not quoted: {result['failed']}")
    if missing := [cell["row"] for cell in result["scoreboard"] if cell["passed"] is None]:
        raise ValueError(f"{found[-1].name} did not measure every goal, and is not quoted: {missing}")
    return result


def section(result: Plain) -> str:
    """README's: where it was measured, and which goals hold."""
    every = "Every figure: [measured](docs/reference/measured.md)."
    return "\n".join([*opening(result), "", *goals(result["scoreboard"]), "", every])


def figures(result: Plain) -> str:
    """The page's: every row."""
    return "\n".join([*opening(result), *tables(result["rows"], result["modules"])]) + "\n"


def opening(result: Plain) -> Iterator[str]:
    about = result["machine"]
    when, minutes = result["date"][:10], result["seconds"] / 60
    processor, system = harmless(about["processor"]), harmless(about["system"].partition(",")[0])
    yield f"`secagg bench --peers`, {when}, {minutes:.0f} minutes on {about['cores']} cores of {processor}"
    yield f"({system}, Python {about['python']})."
    yield "Ours and the peer's took turns; ratios travel between machines, times do not."
    peers = ", ".join(
        f"{name} {version}"
        for place, found in result["versions"].items()
        if place in PEERS
        for name, version in found.items()
        if name in peers_of(place)
    )
    yield f"Peers: {peers}."


def peers_of(place: str) -> set[str]:
    """The distributions that an environment is made for, without what they are measured with."""
    return {name_of(pin) for pin in pinned(place)}


def goals(cells: Iterable[Plain]) -> Iterator[str]:
    lines = [Cell(**plain) for plain in cells]
    yield from table(
        ("goal", "beside", "measured", "wanted", ""),
        [
            (c.row, c.against, f"{c.measured}: {why}" if (why := why_of(c)) else c.measured, c.goal, c.verdict)
            for c in lines
        ],
    )


def why_of(cell: Cell) -> str:
    """Why a goal was missed: as the result says, or as was found out after it."""
    if cell.passed is not False or cell.why:
        return cell.why
    return next((goal.known for goal in GOALS if (goal.row, goal.against) == (cell.row, cell.against)), "")


def tables(rows: Sequence[Plain], modules: Sequence[Plain]) -> Iterator[str]:
    for suite in SHOWN:
        names = [one["module"] for one in modules if one["suite"] == suite and one["module"] not in NOT_IN_TABLES]
        within = [row for row in rows if suite_of(row["suite"]) == suite and row["suite"] not in NOT_IN_TABLES]
        if within:
            yield from ("", f"## {suite}: {', '.join(names)}", "")
            yield from table(("what", "ours", "beside", "ours / beside"), [line(row) for row in within])


def line(row: Plain) -> tuple[str, ...]:
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    ours = f"{row['ours']:.3g} {row['unit']}"
    return row["case"], ours, f"{row['peer']:.3g}, {row['peer_name']}", ratio + ("" if row["passed"] else ", MISSED")


def table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *lines):
        yield line_of(cells)


def with_section(text: str, made: str) -> str:
    """The page with this section.  Raises: ValueError for a page without its heading."""
    before, found, rest = text.partition(f"\n{HEADING}")
    if not found:
        raise ValueError(f"the page has no heading {HEADING.strip()!r}")
    _, following, after = rest.partition("\n## ")
    return f"{before}{found}\n{BEGIN.format(command=COMMAND)}\n\n{made}\n\n{END}\n{following}{after}"


def main() -> None:
    result = newest()
    if result is None:
        raise SystemExit("there is no full result beside peers: secagg bench --peers --save")
    README.write_text(with_section(README.read_text(encoding="utf-8"), section(result)), encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), COMMAND, figures(result)), encoding="utf-8")


if __name__ == "__main__":
    main()
