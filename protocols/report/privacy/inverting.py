"""Part 8: pictures read out of gradients, where somebody tried."""

from __future__ import annotations

from protocols.report.markup import Markup
from protocols.report.privacy.parts import code, paragraph, section


def inversion() -> Markup:
    """Part 8 of a report that was handed no pictures."""
    return section(
        8,
        "inversion",
        "Pictures read out of gradients",
        paragraph("No inversion was handed to this report; ", code("secagg audit invert"), " makes one."),
    )
