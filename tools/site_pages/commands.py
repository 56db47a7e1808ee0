"""The page of the command: arguments, options and defaults from the typer application, keys of `--json` from a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_type_hints

import typer.main

from protocols.cli import app

ROOT = Path(__file__).resolve().parents[2]
# Short runs whose one JSON object shows the keys; from top to bottom, in one folder.
SHOWN = (
    "demo --clients 10 --rounds 1 --iid",
    "plan --clients 40 --dropout 0.1 --corrupt 0.1",
    "simulate --clients 5 --dim 16",
    "epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --steps 100 --delta 1e-5",
    "calibrate --epsilon 4 --delta 1e-5 --sampling-rate 0.01 --steps 100",
    "ledger show {ledger}",
    "ledger verify {ledger}",
    "ledger replay {ledger}",
)


def leaves(group: typer.Typer, name: str = "secagg") -> Iterator[tuple[str, Any]]:
    """Every function that is a command, with its whole name."""
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{name} {command.name or command.callback.__name__}", command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from leaves(inner.typer_instance, f"{name} {inner.name}")


@dataclass(frozen=True)
class Command:
    """What typer makes of a function, and the types that the function declares."""

    help: str
    params: list[Any]
    hints: dict[str, Any]


def commands() -> dict[str, Command]:
    """All commands by their whole names."""
    found = {}
    made = typer.main.get_command(app)
    for name, function in leaves(app):
        command: Any = made
        for part in name.split()[1:]:
            command = command.commands[part]
        found[name] = Command(command.help or "", command.params, get_type_hints(function))
    return found


def options_of(command: Command) -> set[str]:
    """Every spelling of every option."""
    return {"--help", *(option for part in command.params for option in (*part.opts, *part.secondary_opts))}


def page() -> str:
    """The page in Markdown."""
    keys = keys_of_runs()
    parts = [HEAD]
    for name, command in commands().items():
        parts.append(f"\n## `{name}`\n\n{' '.join(command.help.split())}\n\n{table(command)}")
        if name in keys:
            parts.append(f"\nOne object on stdout with `--json`; its keys:\n\n{keys[name]}")
    return "".join(parts)


HEAD = """---
order: 100
---

# The command

Exit codes: 0 fine; 1 a budget or a check refused, or the round was lost; 2 the request cannot be met or makes no sense.
With `--json` a command writes exactly one JSON object to stdout, also when it fails: then `error` names what is wrong.
"""


def table(command: Command) -> str:
    rows = [
        f"| `{spelled(part, command.hints[part.name])}` | {escaped(part.help or '')} | {default_of(part)} |\n"
        for part in command.params
    ]
    return f"| argument or option | is | unless given |\n|---|---|---|\n{''.join(rows)}"


def spelled(part: Any, hint: Any) -> str:
    if part.param_type_name == "argument":
        return str(part.metavar or part.name.upper())
    if part.is_flag:
        return ", ".join((*part.opts, *part.secondary_opts))
    # Optional ones and lists of one kind are of that kind.
    kind: type = next((inner for inner in (*get_args(hint), hint) if isinstance(inner, type)), hint)
    choices = " or ".join(str(choice.value) for choice in kind) if issubclass(kind, Enum) else ""
    return f"{', '.join(part.opts)} {choices or part.metavar or kind.__name__.upper()}"


def default_of(part: Any) -> str:
    if part.required:
        return "required"
    if part.default is None or part.default is False or part.default == ():
        return ""
    return f"`{getattr(part.default, 'value', part.default)}`"


def escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def keys_of_runs() -> dict[str, str]:
    """Command -> a list of its keys.  Raises: CalledProcessError where a run that is shown fails."""
    found = {}
    with TemporaryDirectory() as folder:
        for line in SHOWN:
            ledgers = sorted(Path(folder).glob("runs/*/run.ledger"))
            words = line.format(ledger=ledgers[0] if ledgers else "").split()
            printed = run([*words, "--json"], folder)
            name = " ".join(["secagg", *(word for word in words[:2] if word.isalpha())])
            found[name] = f"`secagg {line.format(ledger='run.ledger')} --json`\n\n{listed(json.loads(printed))}"
    return found


def run(words: list[str], folder: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from protocols.cli import main; main()", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def listed(values: dict[str, Any]) -> str:
    return "".join(f"- `{key}`: {kind_of(value)}\n" for key, value in values.items())


def kind_of(value: object) -> str:
    match value:
        case None:
            return "null where there is none"
        case bool():
            return "true or false"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "text"
        case [dict() as first, *_]:
            return f"list of objects of {quoted(first)}"
        case list():
            return "list"
        case dict():
            return f"object of {quoted(value)}"
    raise TypeError(f"JSON has no {type(value).__name__}")


def quoted(values: dict[str, Any]) -> str:
    return ", ".join(f"`{key}`" for key in values)
