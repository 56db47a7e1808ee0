"""Commands about a privacy ledger: `secagg ledger ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.options import REFUSED, Json, output

ledgers = typer.Typer(help="What was spent, by whom it can be checked, and whether it holds.", no_args_is_help=True)
LedgerPath = Annotated[Path, typer.Argument(help="the ledger file", metavar="PATH")]


@ledgers.command()
def show(path: LedgerPath, json: Json = False) -> None:
    """Entries, head, and what was spent in both views."""
    from dp.ledger import Ledger

    with Ledger.read(path) as ledger:
        verdict = ledger.verify()
        spent, released = ledger.interval(), ledger.interval_released()
    output(json).result(
        "ledger show",
        {
            "ok": verdict.ok,
            "entries": verdict.entries,
            "head": None if verdict.head is None else verdict.head.hash.hex(),
            "epsilon_lower": spent.lower,
            "epsilon_upper": spent.upper,
            "epsilon_released_upper": released.upper,
            "problems": [{"line": each.line, "error": each.error} for each in verdict.problems],
        },
    )
    if not verdict.ok:
        raise typer.Exit(REFUSED)
