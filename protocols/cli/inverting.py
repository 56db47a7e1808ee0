"""The command that reads pictures out of sums of gradients: `secagg audit invert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.audits import LedgerOption
from protocols.cli.options import REFUSED, Json, SourceName, output


def invert(
    clients: Annotated[
        list[int] | None,
        typer.Option(help="clients in the sum, rising; several times for several cohorts", min=1, max=1024),
    ] = None,
    noise_multiplier: Annotated[
        list[str] | None,
        typer.Option(help="standard deviation on the sum / clip, rising, 0 for none; several times", metavar="NUMBER"),
    ] = None,
    source: Annotated[
        SourceName | None,
        typer.Option(help="whose pictures: digits (of scikit-learn) or glyphs; unless said, digits where installed"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="pictures and network; never the noise")] = 0,
    pictures: Annotated[Path | None, typer.Option(help="folder that receives what was read, as PNG")] = None,
    ledger: LedgerOption = None,
    json: Json = False,
) -> None:
    """Pictures of clients, read out of sums of their gradients: alone, aggregated, and with noise."""
    from dp.audit.inversion import COHORTS, MULTIPLIERS
    from dp.events import exact
    from protocols.auditing import AuditReport, record, require_ledger
    from protocols.learning.inverting import Source, audit_inversion
    from protocols.report.album import Album

    require_ledger(ledger)
    album = None if pictures is None else Album.at(pictures)
    audit = audit_inversion(
        None if source is None else Source(source.value),
        seed,
        COHORTS if not clients else tuple(clients),
        MULTIPLIERS if not noise_multiplier else tuple(exact("--noise-multiplier", z) for z in noise_multiplier),
    )
    values = audit.to_dict()
    if album is not None:
        values["pictures"] = album.keep(audit.inversion.pictures)
    # Into the ledger first: what is printed is then there. A ledger that fails loses its entry, never the finding.
    try:
        if ledger is not None:
            record(ledger, AuditReport((audit.finding,)))
    finally:
        output(json).result("audit invert", values)
    if audit.finding.refuted:
        raise typer.Exit(REFUSED)
