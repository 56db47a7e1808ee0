"""The page of the command: arguments, options and defaults from the typer application, its JSON from `keys`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_args, get_type_hints

import typer.main

from protocols.cli import app
from tools.site_pages.keys import EACH_WAY, KEYS


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
    parts = [HEAD]
    for name, command in commands().items():
        parts.append(f"\n## `{name}`\n\n{' '.join(command.help.split())}\n\n{table(command)}")
        parts.append(f"\nThe keys of its object with `--json`:\n\n{KEYS[name]}")
        if name == "secagg plan":
            parts.append(f"\n{EACH_WAY}\n")
    return "".join(parts)


HEAD = """---
order: 100
---

# The command

Exit codes: 0 fine; 1 a budget or a check refused, or the round was lost; 2 the request cannot be met or makes no sense.
With `--json` a command writes exactly one JSON object to stdout, also when it fails: then `error` names what is wrong.
Its `version` is an integer and `command` says which it was; beside them stand the keys that are listed here.
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
    kind = kind_in(hint)
    choices = " or ".join(str(choice.value) for choice in kind) if issubclass(kind, Enum) else ""
    return f"{', '.join(part.opts)} {choices or part.metavar or kind.__name__.upper()}"


def kind_in(hint: Any) -> type:
    """Optional ones and lists of one kind are of that kind."""
    inner = [each for each in get_args(hint) if each is not type(None)]
    return kind_in(inner[0]) if inner else hint


def default_of(part: Any) -> str:
    if part.required:
        return "required"
    if part.default is None or part.default is False or part.default == ():
        return ""
    return f"`{getattr(part.default, 'value', part.default)}`"


def escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
