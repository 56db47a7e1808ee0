"""The matrix as a table: check by library, for a terminal and for the page in the documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.matrix.checks import CHECKS
from benchmarks.matrix.finding import Finding, Outcome

SIGNS = {
    Outcome.WITHSTOOD: "✓",
    Outcome.FELL: "✗",
    Outcome.NOT_APPLICABLE: "–",
    Outcome.NOT_INSTALLED: "?",
}
LEGEND = "✓ withstood   ✗ fell   – not applicable   ? not installed"
STYLES = {Outcome.WITHSTOOD: "green", Outcome.FELL: "red", Outcome.NOT_APPLICABLE: "dim", Outcome.NOT_INSTALLED: "dim"}


class Matrix:
    """All findings, by check and library; libraries in the order in which they came, ours first."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.cells: Mapping[tuple[str, str], Finding] = {(each.check, each.library): each for each in findings}
        self.libraries: Sequence[str] = list(dict.fromkeys(library for _, library in self.cells))
        self.checks = [check for check in CHECKS if any((check.id, each) in self.cells for each in self.libraries)]

    def heading(self, library: str) -> str:
        """The library and the version that was seen."""
        versions = {cell.version for (_, whose), cell in self.cells.items() if whose == library} - {""}
        return f"{library} {' '.join(sorted(versions))}".strip()

    def rich(self) -> Table:
        table = Table(title="attacks", caption=LEGEND, box=SIMPLE_HEAD)
        table.add_column("check", overflow="fold", min_width=36)
        for library in self.libraries:
            table.add_column(self.heading(library).replace(" ", "\n"), justify="center", overflow="fold")
        for check in self.checks:
            cells = (self.cells[check.id, library] for library in self.libraries)
            table.add_row(str(check), *(f"[{STYLES[cell.outcome]}]{SIGNS[cell.outcome]}[/]" for cell in cells))
        return table

    def markdown(self) -> str:
        """The table, and below it what was seen where a library fell and why others were not asked."""
        head = ("check", *map(self.heading, self.libraries))
        lines = [head, ("---", *(":-:",) * len(self.libraries))]
        lines += [(str(check), *(SIGNS[each] for each in self._outcomes(check.id))) for check in self.checks]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return f"{LEGEND}\n\n{table}\n{''.join(map(self._section, self.libraries))}".rstrip() + "\n"

    def _outcomes(self, check: str) -> list[Outcome]:
        return [self.cells[check, library].outcome for library in self.libraries]

    def _section(self, library: str) -> str:
        """What was seen of one library: each check in a line, and reasons once for all checks that share them."""
        cells = [self.cells[check.id, library] for check in self.checks]
        lines = [f"- **{cell.check} {cell.outcome.value}.** {told(cell)}\n" for cell in cells if cell.outcome.seen]
        reasons: dict[tuple[Outcome, str], list[str]] = {}
        for cell in cells:
            if not cell.outcome.seen:
                reasons.setdefault((cell.outcome, cell.evidence), []).append(cell.check)
        lines += [
            f"- {', '.join(checks)} {outcome.value}: {escaped(why)}\n" for (outcome, why), checks in reasons.items()
        ]
        return f"### {self.heading(library)}\n\n{''.join(lines)}\n"


def told(cell: Finding) -> str:
    """The evidence, and of a fall the public issue or that none is known."""
    cited = f" Upstream: {', '.join(cell.upstream)}." if cell.upstream else " No public issue is known to us."
    return f"{escaped(cell.evidence)}.{cited if cell.fell else ''}"


def escaped(text: str) -> str:
    """As Markdown shows it: no text of a library becomes a link, a mark or a cell."""
    for mark in ("\\", "|", "<", "*", "_", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return text
