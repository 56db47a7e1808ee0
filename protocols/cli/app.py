"""All commands under their names."""

from __future__ import annotations

import typer

from protocols.cli.audits import audits
from protocols.cli.bench import bench
from protocols.cli.budgets import calibrate, epsilon
from protocols.cli.inverting import invert
from protocols.cli.keeping import KEEPING
from protocols.cli.ledgers import ledgers
from protocols.cli.rounds import demo, plan, simulate

app = typer.Typer(
    help="Secure aggregation and exact differential privacy for federated learning.",
    no_args_is_help=True,
    add_completion=False,
    # Locals in a traceback would print keys.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)
for command in (demo, simulate, plan, epsilon, calibrate, bench):
    app.command()(command)
for name, kept in KEEPING.items():
    ledgers.command(name)(kept)
app.add_typer(ledgers, name="ledger")
audits.command()(invert)
app.add_typer(audits, name="audit")
