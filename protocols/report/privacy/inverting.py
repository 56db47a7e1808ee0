"""Part 8: pictures read out of gradients, where somebody tried; what they show and what they do not."""

from __future__ import annotations

from collections.abc import Sequence

from dp.audit.finding import Finding
from dp.audit.inverted import RECOVERED_DB, Inversion, InversionRow, Panel
from protocols.report.markup import Markup, Piece, element, join
from protocols.report.parts import SHOWN, code, figures, left_out, paragraph, quiet, section, table
from protocols.report.png import data_uri
from protocols.report.privacy.words import above, count, near

INVERT = "invert"
# What one pixel of a picture is on the page; a telephone has room for five pictures beside each other.
_SIDE = 56
# So many pictures at about 1 kB each keep the page below a megabyte.
MOST_BESIDE = 10


def inversion(found: Inversion | None, audits: Sequence[tuple[int, Finding]]) -> Markup:
    """Part 8, also of a report that was handed no pictures; `audits` are those of the ledger, which keeps none."""
    kept = [seq for seq, finding in audits if finding.audit == INVERT]
    shown = _nothing() if found is None else _shown(found)
    return section(8, "inversion", "Pictures read out of gradients", *shown, *_kept(kept))


def _nothing() -> Sequence[Piece]:
    make = code("secagg ledger report --pictures")
    return [paragraph("No pictures were handed to this report; ", make, " attacks sums of gradients and shows them.")]


def _kept(entries: Sequence[int]) -> Sequence[Piece]:
    """Where such an audit stands whose pictures nobody kept."""
    if not entries:
        return []
    named = ", ".join(map(str, entries[:SHOWN]))
    which = f"audit in entry {named}" if len(entries) == 1 else f"audits in entries {named}"
    see = element("a", "part 7", href="#audits")
    kept = "; a ledger keeps the counts, which are in "
    more = left_out(len(entries), SHOWN, "such audits")
    return [paragraph(f"The {which} read pictures out of gradients{kept}", see, ", and no pictures."), more]


def _shown(found: Inversion) -> Sequence[Piece]:
    return [
        paragraph(
            "An attack that reads its clients' training pictures out of the gradients a server receives. Secure "
            "aggregation alone is not differential privacy: in a small cohort single pictures come out of the bare "
            "sum. Noise that stops this attack is no proof of privacy: another attack may find what this one does not."
        ),
        *map(_panel, found.pictures[:SHOWN]),
        left_out(len(found.pictures), SHOWN, "lines of pictures"),
        _grid(found),
        quiet(
            f"Pictures: {found.source}, seed {found.seed}. Recovered means above {near(RECOVERED_DB)} dB; guessing the "
            f"mean picture, without any gradient, gives {_decibels(found.baseline)}."
        ),
    ]


def _panel(panel: Panel) -> Markup:
    beside = range(min(len(panel.pixels), MOST_BESIDE))
    pictures = [_picture(panel, index) for index in beside]
    return element(
        "figure",
        element("figcaption", panel.title),
        element("div", *pictures, cls="pictures"),
        left_out(len(panel.pixels), MOST_BESIDE, "pictures"),
        cls="panel",
    )


def _picture(panel: Panel, index: int) -> Markup:
    alt = f"{panel.title}, picture {index + 1}"
    image = element("img", src=data_uri(panel.pixels[index]), alt=alt, width=_SIDE, height=_SIDE)
    return element("span", image, element("small", _decibels(panel.psnr[index])) if panel.psnr else "")


def _grid(found: Inversion) -> Markup:
    """Cohorts downwards, noise to the right; the noise multipliers are those of any row, in their order."""
    columns = {row.noise_multiplier: row for row in found.rows}
    cells = {(row.clients, row.noise_multiplier): row for row in found.rows}
    heads = ["no noise" if noise == 0 else f"noise {near(noise)}" for noise in columns]
    costs: list[Piece] = [
        figures("unbounded" if row.epsilon is None else above(row.epsilon)) for row in columns.values()
    ]
    rows: list[list[Piece]] = [["epsilon of one release", *costs]]
    for clients in dict.fromkeys(row.clients for row in found.rows):
        rows.append([f"{count(clients)} in the sum", *(_cell(cells.get((clients, noise))) for noise in columns)])
    title = f"Clients recovered, and the best picture; epsilon at delta {above(found.delta)}, zero-out"
    return table(title, ["clients", *heads], rows)


def _cell(row: InversionRow | None) -> Piece:
    if row is None:
        return "not tried"
    return join([figures(f"{count(row.recovered)} of {count(row.clients)}"), quiet(figures(_decibels(row.best)))])


def _decibels(value: float) -> str:
    return f"{count(round(value))} dB"
