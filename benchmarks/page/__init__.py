"""A stored result as one page: scoreboard, machine, ratios, curves, accuracy, attacks, and every row.

    render(result) -> html       pure: the object that was printed in, text out; no script, nothing loaded

plots    ratios as bars, curves, accuracy against epsilon          tables    all that has rows
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.page.plots import accuracy, curves, ratios
from benchmarks.page.tables import attacks, figures, goals, modules, taken_on
from protocols.report.markup import element, join
from protocols.report.parts import document, listing, paragraph, quiet, section

TITLE = "What secure sums cost"


def render(result: Mapping[str, Any]) -> str:
    """The whole file."""
    rows = [row for row in result["rows"] if row["suite"] != "attacks"]
    verdicts = [row for row in result["rows"] if row["suite"] == "attacks"]
    left_out = [*result["skipped"], *(f"failed: {why}" for why in result["failed"])]
    parts = (
        ("scoreboard", "Scoreboard", goals(result["scoreboard"])),
        ("machine", "Machine and versions", taken_on(result)),
        ("ratios", "Beside the peers", ratios(rows)),
        ("scaling", "How a round grows", curves(rows)),
        ("utility", "Accuracy against epsilon", accuracy(rows)),
        ("attacks", "Attacks", attacks(verdicts)),
        ("rows", "Every figure", figures(rows)),
        ("modules", "What was run", join([modules(result["modules"]), listing(left_out)])),
    )
    links = (element("li", element("a", title, href=f"#{key}")) for key, title, _ in parts)
    contents = element("nav", element("ol", *links), aria_label="Parts of this page")
    about = f"secagg bench, {result['date']}, {result['effort']} run of {result['seconds']:,.0f} s"
    words = paragraph(
        "Each ratio was formed within one run on one machine, ours and the peer's taking turns. Ratios travel "
        "between machines, times do not."
    )
    header = element("header", element("h1", TITLE), quiet(about), words, contents)
    main = element("main", *(section(number, *part) for number, part in enumerate(parts, start=1)))
    return document(TITLE, element("body", header, main))
