"""The catalogue of everything that goes wrong (`cases.toml`), and which test stands for which row of it.

    @rows("M4", "M17")          the row ids become part of the test's id: test_small_sum.py::test_...[M4-M17]

Which rows have tests is read from the source, so that no collection is needed: literal arguments of `rows`,
and literal ids of parameters such as `pytest.param(..., id="D5-reply")`.
"""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROW = re.compile(r"[A-Z]\d{1,2}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the catalogue; `awaits` names what must exist before it can have a test."""

    id: str
    case: str
    awaits: str | None = None


def catalogue() -> dict[str, Row]:
    """Every row by its id."""
    table = tomllib.loads((HERE / "cases.toml").read_text(encoding="utf-8"))
    return {name: Row(name, **fields) for name, fields in table.items()}


def rows(*ids: str) -> pytest.MarkDecorator:
    """The rows of the catalogue a test stands for; they become part of its id."""
    return pytest.mark.parametrize("row", ["-".join(ids)])


@dataclass(frozen=True, slots=True)
class Claim:
    """A test that says which rows it stands for; `node` is what pytest calls it, without parameters."""

    node: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    tree: ast.Module


@functools.cache
def claims() -> tuple[Claim, ...]:
    """What the tests of all files claim; tests of a contract count once per class that keeps it."""
    files = [
        _File(path.relative_to(HERE.parent).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(HERE.rglob("*.py"))
    ]
    collected = [file for file in files if Path(file.name).name.startswith("test_")]
    contracts = {scope.name: scope for file in files if file not in collected for scope in _classes(file.tree)}
    found = [claim for file in collected for claim in claims_of(file.tree, file.name)]
    for file in collected:
        for scope in _classes(file.tree):
            for base in scope.bases:
                if isinstance(base, ast.Name) and base.id in contracts:
                    found += claims_of(contracts[base.id], f"{file.name}::{scope.name}")
    return tuple(found)


def claims_of(tree: ast.AST, prefix: str) -> list[Claim]:
    """The claims of the tests in one file or class."""
    found = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef) and child.name.startswith("test"):
            ids = tuple(row for decorator in child.decorator_list for row in _ids_in(decorator))
            found += [Claim(f"{prefix}::{child.name}", ids)] if ids else []
        elif isinstance(child, ast.ClassDef):
            found += claims_of(child, f"{prefix}::{child.name}")
    return found


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [child for child in tree.body if isinstance(child, ast.ClassDef)]


def _ids_in(decorator: ast.expr) -> Iterator[str]:
    for node in ast.walk(decorator):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "rows":
            yield from (str(ast.literal_eval(argument)) for argument in node.args)
        for keyword in node.keywords:
            if keyword.arg == "id" and isinstance(keyword.value, ast.Constant):
                yield from (part for part in str(keyword.value.value).split("-") if ROW.fullmatch(part))
