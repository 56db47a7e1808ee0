"""SECURITY.md's tables are complete: every row names a test that exists, every row of the catalogue is there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.rows import catalogue, claims

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NODE = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
CATALOGUED = re.compile(r"^\| ([A-Z]\d{1,2}) \|", re.MULTILINE)


def body_rows(text: str) -> list[str]:
    """The rows of every table, without heads and rules."""
    lines = text.splitlines()
    tabular = [line.startswith("|") for line in lines]
    rules = {number for number, line in enumerate(lines) if re.fullmatch(r"\|[-:| ]+\|", line)}
    heads = {number - 1 for number in rules}
    return [line for number, line in enumerate(lines) if tabular[number] and number not in rules | heads]


ROWS = body_rows(TEXT)


@functools.cache
def functions_of(file: str) -> frozenset[str]:
    if not (ROOT / file).is_file():
        return frozenset()
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def missing_from(row: str) -> str | None:
    """What is wrong with a row, None where every test that it names exists and it names one."""
    named = NODE.findall(row)
    if not named:
        return "names no test"
    gone = [f"{file}::{test}" for file, test in named if test.rpartition("::")[2] not in functions_of(file)]
    return f"names tests that do not exist: {gone}" if gone else None


def test_there_are_tables() -> None:
    assert len(ROWS) > 150


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_every_row_of_every_table_names_tests_that_exist(row: str) -> None:
    assert missing_from(row) is None


def test_rows_without_a_test_or_with_one_that_is_gone_are_found() -> None:
    table = "| a | b |\n|---|---|\n| x | `tests/test_threats.py` |\n| y | `tests/test_threats.py::test_gone` |\n"
    bare, gone = body_rows(table)
    assert missing_from(bare) == "names no test"
    assert "test_gone" in str(missing_from(gone))
    assert missing_from("| z | `tests/test_threats.py::test_there_are_tables` |") is None


def test_the_catalogue_is_there_row_by_row() -> None:
    rows = catalogue()
    assert CATALOGUED.findall(TEXT) == [name for name, row in rows.items() if row.awaits is None]
    for line in ROWS:
        if CATALOGUED.match(line):
            _, name, case, node, _ = (cell.strip() for cell in line.split("|"))
            assert case == rows[name].case
            assert any(f"`{claim.node}`" == node for claim in claims() if name in claim.ids), name


def test_what_awaits_a_test_is_named_as_out_of_scope() -> None:
    scope = TEXT.partition("## Out of scope")[2].partition("\n## ")[0]
    assert all(f"({name})" in scope for name, row in catalogue().items() if row.awaits is not None)
