"""The tables of the page. Texts come from suites and peers, and are escaped like anybody's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.scoreboard import Cell
from benchmarks.suites import suite_of
from protocols.report.markup import Markup, Piece, element, join
from protocols.report.parts import code, facts, paragraph, table

Plain = Mapping[str, Any]
# Classes of the style: what is fine, what is not, and what nobody knows.
TONES = {True: "held", False: "refuted", None: "consistent"}


def word(said: str, passed: bool | None) -> Markup:
    """A verdict in the colour of its tone."""
    return element("span", element("span", said, cls="word"), cls=TONES[passed])


def goals(cells: Sequence[Plain]) -> Markup:
    lines = []
    for plain in cells:
        cell = Cell(**plain)
        said = f"{cell.measured}: {cell.why}" if cell.why else cell.measured
        lines.append((cell.row, cell.against, said, cell.goal, word(cell.verdict, cell.passed)))
    return table("Goals, and what this run measured", ("row", "against", "measured", "goal", "passed"), lines)


def taken_on(result: Plain) -> Markup:
    """The machine, and every version as it was found installed."""
    about = {**result["machine"], "commit": result["commit"]}
    pairs = [(name.replace("_", " "), shown(value)) for name, value in about.items()]
    lines = [
        (place, name, code(version) if version else "not installed there")
        for place, found in result["versions"].items()
        for name, version in found.items()
    ]
    return join([facts(pairs), table("Versions", ("environment", "library", "version"), lines)])


def attacks(verdicts: Sequence[Plain]) -> Markup:
    """The matrix: each check, against us and against a peer."""
    if not verdicts:
        return paragraph("No attack was tried in this run.")
    lines = [
        (
            idea_of(row),
            said_of(row["ours"]),
            join([str(row.get("peer_name") or ""), ": ", said_of(row["peer"]) if row.get("peer") else skipped_of(row)]),
            word("yes" if row["passed"] else "NO", bool(row["passed"])),
        )
        for row in verdicts
    ]
    return table("Attacks, by whom they were withstood", ("attack", "this library", "peer", "passed"), lines)


def idea_of(row: Plain) -> Markup:
    idea = row.get("idea")
    return join([element("strong", str(row["case"])), *([" ", str(idea)] if idea else [])])


def skipped_of(row: Plain) -> str:
    return str(row.get("skipped") or "not tried")


def said_of(verdict: Piece | Plain | None) -> str:
    """A verdict as it was stored: a word, or the parts of one, whichever the matrix has."""
    if isinstance(verdict, Mapping):
        wanted = ("library", "version", "outcome", "evidence", "upstream")
        return ", ".join(str(verdict[key]) for key in wanted if verdict.get(key))
    return str(verdict)


def figures(rows: Sequence[Plain]) -> Markup:
    """A table for each suite."""
    suites = dict.fromkeys(suite_of(row["suite"]) for row in rows)
    columns = ("case", "ours", "peer", "ratio", "limit", "passed")
    return join(
        table(suite, columns, [line(row) for row in rows if suite_of(row["suite"]) == suite]) for suite in suites
    )


def line(row: Plain) -> tuple[Piece, ...]:
    case = f"{row['case']} ({row['note']})" if row["note"] else row["case"]
    ours = f"{side(row, 'ours')} {row['unit']}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    limit = f"{row['judged']} <= {row['limit']:.3g}"
    peer = f"{side(row, 'peer')} ({row['peer_name']})"
    return case, ours, peer, ratio, limit, word("yes" if row["passed"] else "NO", row["passed"])


def side(row: Plain, name: str) -> str:
    """The figure that is compared, and its spread where one was taken."""
    spread = row[f"{name}_spread"]
    return f"{row[name]:.3g}" + ("" if spread is None else f" (median {row[f'{name}_median']:.3g}, IQR {spread:.2g})")


def modules(found: Sequence[Plain]) -> Markup:
    lines = [
        (one["suite"], one["module"], one["environment"] or "our own", f"{one['seconds']:.0f} s", str(one["rows"]))
        for one in found
    ]
    return table("Modules", ("suite", "module", "environment", "took", "rows"), lines)


def shown(value: object) -> str:
    return "not known" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
