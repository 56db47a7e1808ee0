"""Commands that try to refute a privacy claim by attack: `secagg audit ...`."""

from __future__ import annotations

import typer

audits = typer.Typer(
    help="Lower bounds of what leaks, by attack: above the claim, the claim is refuted.", no_args_is_help=True
)
