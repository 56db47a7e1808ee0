"""All commands under their names."""

from __future__ import annotations

from typing import Annotated

import typer

from protocols.cli.audits import audits
from protocols.cli.bench import bench
from protocols.cli.budgets import calibrate, epsilon
from protocols.cli.inverting import invert
from protocols.cli.keeping import KEEPING
from protocols.cli.ledgers import ledgers
from protocols.cli.options import require_command
from protocols.cli.rounds import demo, plan, simulate

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    # Locals in a traceback would print keys.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


def say_version(asked: bool) -> None:
    """Name and version on stdout, and nothing is run."""
    from dp.ledger.genesis import software

    if asked:
        print(software())
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="print name and version, and leave")
    ] = False,
) -> None:
    """Secure aggregation and exact differential privacy for federated learning."""
    require_command(context)


for command in (demo, simulate, plan, epsilon, calibrate, bench):
    app.command()(command)
for name, kept in KEEPING.items():
    ledgers.command(name)(kept)
app.add_typer(ledgers, name="ledger")
audits.command()(invert)
app.add_typer(audits, name="audit")
