"""Our own checks, taken out one by one: for each, the tests of its row of the catalogue must fail.

A copy of the sources with one check removed is written to a temporary folder and the row's tests run there.
"""

from __future__ import annotations

import ast
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.mutants.checks import Check, Finder, every_check, without
from tests.mutants.spoiling import pytest_in, spoilt
from tests.rows import ROW, claims

CHECKS = every_check()
TABLE = tomllib.loads((Path(__file__).parent / "checks.toml").read_text(encoding="utf-8"))
ROWS = {(place, line): row for place, lines in TABLE.items() for line, row in lines.items()}
# One of each kind and side; the rest is for the slow run.
SAMPLE = {
    "pairwise.client.check_roster: if len(set(points)) != len(points)",
    "pairwise.client.check_survivors: if len(survivors) < session.smallest_sum",
    "pairwise.client.second_list: raise Replay",
    "pairwise.server.keep_unmask: if len(letter.shares) != len(sharing)",
    "oneshot.member.next_question: if before is not None and (not hmac.compare_digest(before, question))",
    "pairwise.recovery.corrections_for: honest = hmac.compare_digest(committed, entry_of[dealer].commitment)",
}


def row_of(check: Check) -> str:
    """The row of a check; empty when it is missing from the table, which then fails by name."""
    return ROWS.get((check.place, check.line), "")


def nodes_of(row: str) -> list[str]:
    return [claim.node for claim in claims() if row in claim.ids]


def outcome_without(check: Check, nodes: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What pytest says about these tests when the check is taken out."""
    with spoilt(folder / check.file, without(check)):
        return pytest_in(folder, nodes, "-x")


def test_the_table_names_exactly_the_checks_there_are() -> None:
    there = [(check.place, check.line) for check in CHECKS]
    assert len(set(there)) == len(there)
    assert set(there) == set(ROWS)
    assert {str(check) for check in CHECKS} >= SAMPLE


def test_every_row_of_the_table_has_tests() -> None:
    assert {row for row in ROWS.values() if ROW.fullmatch(row) and not nodes_of(row)} == set()
    assert {row for row in ROWS.values() if not ROW.fullmatch(row) and not row.startswith("implied by ")} == set()


PLANTED = """
def hold(state, who):
    if who.bad:
        raise Replay(who)
    if who.good:
        return state, []
    with blame(who):
        verify(who)
    try:
        number = coding_of(who)
    except BadPlan:
        raise PolicyViolation(who)
    honest = digest(who) == state.digest
    return state, [number]

def refuse(state, who):
    raise Misused(who)
"""
FILE = "protocols/pairwise/client.py"


def test_the_scan_finds_every_kind_of_check_and_takes_out_just_one() -> None:
    finder = Finder(FILE)
    finder.visit(ast.parse(PLANTED))
    lines = ["if who.bad", "with blame(who)", "verify(who)", "except BadPlan", "honest = digest(who) == state.digest"]
    assert [check.line for check in finder.found] == [*lines, "raise Misused"]
    for number, check in enumerate(finder.found):
        spoilt = Finder(FILE, remove=number).visit(ast.parse(PLANTED))
        rest = Finder(FILE)
        rest.visit(ast.parse(ast.unparse(spoilt)))
        assert {each.line for each in finder.found} - {each.line for each in rest.found} <= {check.line}
        assert ast.unparse(spoilt) != ast.unparse(ast.parse(PLANTED))


def marked(check: Check) -> object:
    marks = () if str(check) in SAMPLE else (pytest.mark.slow,)
    return pytest.param(check, id=str(check), marks=marks)


@pytest.mark.parametrize("check", [marked(check) for check in CHECKS if ROW.fullmatch(row_of(check))])
def test_without_this_check_a_test_of_its_row_fails(check: Check, copy: Path) -> None:
    done = outcome_without(check, nodes_of(row_of(check)), copy)
    said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert (done.returncode, "\nFAILED tests/" in done.stdout) == (1, True), f"{row_of(check)} did not notice:\n{said}"
