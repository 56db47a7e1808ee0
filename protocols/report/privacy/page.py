"""The page: one file, no script, nothing loaded from anywhere, the same bytes for the same statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from protocols.report.markup import Markup, Piece, element, join
from protocols.report.parts import code, document, hexadecimal, quiet
from protocols.report.privacy.claiming import claims
from protocols.report.privacy.evidence import audits, exceptions
from protocols.report.privacy.facts import Facts
from protocols.report.privacy.opening import verdict, views
from protocols.report.privacy.plots import plots
from protocols.report.privacy.reference import reference
from protocols.report.privacy.working import mechanisms, trust

CONTENTS = (
    ("verdict", "Verdict"),
    ("claim", "Claim"),
    ("views", "Views"),
    ("plots", "Plots"),
    ("mechanisms", "Mechanisms"),
    ("trust", "Trust"),
    ("audits", "Audits"),
    ("inversion", "Inversion"),
    ("exceptions", "Exceptions"),
    ("glossary", "Questions and glossary"),
)


def page(known: Facts, sentences: Sequence[str], pictures: Markup, generated: datetime | None) -> str:
    """The whole file; `pictures` is part 8."""
    parts = (
        verdict(known),
        claims(known, sentences),
        views(known),
        plots(known),
        mechanisms(known),
        trust(known),
        audits(known),
        pictures,
        exceptions(known),
        reference(known),
    )
    body = element("body", _header(known, generated), element("main", *parts), _footer())
    return document(f"Privacy report {known.statement.ledger_id.hex()}", body)


def _header(known: Facts, generated: datetime | None) -> Markup:
    statement = known.statement
    about: list[Piece] = [
        join(["Ledger ", hexadecimal(statement.ledger_id)]),
        join(["software ", code(statement.software)]),
    ]
    if generated is not None:
        about.append(f"generated {generated.isoformat(timespec='seconds')}")
    links = (element("li", element("a", title, href=f"#{key}")) for key, title in CONTENTS)
    contents = element("nav", element("ol", *links), aria_label="Parts of this report")
    return element("header", element("h1", "Privacy report"), quiet(join(about, " · ")), contents)


def _footer() -> Markup:
    make = code("secagg ledger report --json-out FILE")
    words = (
        "Bounds are rounded outwards to 6 digits. Every number in full is in the JSON record that ",
        make,
        " writes.",
    )
    return element("footer", *words)
