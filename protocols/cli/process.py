"""The process behind the command: what was typed is run, and every expected failure ends by its name."""

from __future__ import annotations

import os
import sys

import typer

from dp.errors import (
    AccountantDisagreement,
    BudgetExceeded,
    ClipExceeded,
    DpError,
    EntropyUnavailable,
    LedgerError,
    UnsoundNoise,
)
from protocols.cli.app import app
from protocols.cli.options import REFUSED, WRONG_USE, output
from protocols.errors import Misused, ProtocolError
from protocols.report.tables import Output, TextOutput
from secagg.errors import EntropyUnavailable as NoEntropy
from secagg.errors import SecaggError

# None of these is wrong use: a limit was reached, or the machine or this package failed a check of its own.
REFUSALS = (
    BudgetExceeded | LedgerError | EntropyUnavailable | NoEntropy | AccountantDisagreement | ClipExceeded | UnsoundNoise
)
# What newer releases of typer return for KeyboardInterrupt; older ones raise Abort.
INTERRUPTED = 130

# The classes of a usage error differ between typer's releases; these two are its public name's parents.
_USAGE_ERROR, _CLICK_ERROR = typer.BadParameter.__mro__[1:3]


def exit_code(error: Exception) -> int:
    """1 when something was refused or failed on the way, 2 when the request itself was wrong."""
    if isinstance(error, REFUSALS):
        return REFUSED
    return WRONG_USE if isinstance(error, Misused | DpError | SecaggError) else REFUSED


def asked_for() -> str | None:
    """The command that was typed, of a group with its group; None when there is none or it is unknown."""
    words = iter(sys.argv[1:])
    first = next((word for word in words if word in commands(app) or word in groups()), None)
    if first is None or first in commands(app):
        return first
    second = next((word for word in words if word in commands(groups()[first])), None)
    return first if second is None else f"{first} {second}"


def commands(group: typer.Typer) -> set[str]:
    """What the commands of a group are called."""
    return {
        info.name or info.callback.__name__.replace("_", "-")
        for info in group.registered_commands
        if info.callback is not None
    }


def groups() -> dict[str, typer.Typer]:
    """Commands that have commands of their own, by name."""
    return {
        info.name: info.typer_instance
        for info in app.registered_groups
        if isinstance(info.name, str) and info.typer_instance is not None
    }


def fail_despite_stdout(show: Output, command: str | None, error: OSError) -> None:
    """Say what failed, on stderr where stdout itself is what failed."""
    try:
        show.failure(command, type(error).__name__, str(error))
        sys.stdout.flush()
    except OSError:
        # What is still buffered can go nowhere; left open, it would fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        TextOutput().failure(command, type(error).__name__, str(error))


def main() -> None:
    """Run the command; every expected failure ends in its name and what to do, never in a traceback."""
    show, command = output("--json" in sys.argv), asked_for()
    try:
        code = app(standalone_mode=False)
        # Here and not at the end of the process: a full disk behind stdout is a failure with a name.
        sys.stdout.flush()
        if code == INTERRUPTED:
            raise typer.Abort
    except (ProtocolError, DpError, SecaggError) as error:
        show.failure(command, type(error).__name__, str(error))
        code = exit_code(error)
    except _CLICK_ERROR as error:  # type: ignore[misc]  # typer's own copy of click is found while it runs
        show.failure(command, "UsageError", error.format_message())
        code = WRONG_USE
    except OSError as error:
        fail_despite_stdout(show, command, error)
        code = REFUSED
    except typer.Abort:
        show.failure(command, "Aborted", "stopped by the user; rounds that a ledger was charged for stay charged")
        code = REFUSED
    sys.exit(code if isinstance(code, int) else 0)
