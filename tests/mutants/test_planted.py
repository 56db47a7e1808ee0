"""Planted faults of privacy: half the noise, no clip, the wrong sign. The tests named beside each must notice.

Each fault is written into a copy of the sources and the tests run there. A fault that nothing notices is a test that
is missing, or a test that cannot fail.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.checks import ROOT
from tests.mutants.spoiling import pytest_in, spoilt

# A name or argument that is not there would fail any test: such a fault proves nothing about the tests.
BROKEN = re.compile(r"^E\s+(NameError|UnboundLocalError|ImportError|AttributeError|TypeError|SyntaxError)\b", re.M)
# The quick run tries one of each kind; all of them are for the slow run.
SAMPLE = {
    "half the noise in a client's share",
    "no clip in a client's share",
    "plus in the adaptive clip",
    "sampling claimed against a server that knows the cohort",
    "no variance given up for the lattice",
}


@dataclass(frozen=True, slots=True)
class Planted:
    """One fault: `find`, once in `file`, becomes `replace`, and every test of `killed_by` must fail."""

    name: str
    file: str
    find: str
    replace: str
    killed_by: tuple[str, ...]

    def source(self) -> str:
        """The file with the fault in it."""
        return (ROOT / self.file).read_text(encoding="utf-8").replace(self.find, self.replace)

    def occurrences(self) -> int:
        """How often the text that is to be replaced is there."""
        return (ROOT / self.file).read_text(encoding="utf-8").count(self.find)


TABLE = tomllib.loads((Path(__file__).parent / "planted.toml").read_text(encoding="utf-8"))
FAULTS = tuple(
    Planted(name, row["file"], row["find"], row["replace"], tuple(row["killed_by"])) for name, row in TABLE.items()
)


def test_each_fault_changes_one_place_and_names_the_tests_that_notice() -> None:
    assert {fault.name: fault.occurrences() for fault in FAULTS if fault.occurrences() != 1} == {}
    assert [fault.name for fault in FAULTS if fault.find == fault.replace or not fault.killed_by] == []
    assert {fault.name for fault in FAULTS} >= SAMPLE
    places = [(fault.file, fault.find, fault.replace) for fault in FAULTS]
    assert len(set(places)) == len(places)


def failures(said: str) -> set[str]:
    """The tests that failed, without their parameters."""
    return {line.split()[1].split("[")[0] for line in said.splitlines() if line.startswith("FAILED tests/")}


def test_only_a_failed_test_counts_as_one_that_noticed() -> None:
    said = "FAILED tests/a.py::test_one[x y] - assert 1\nERROR tests/a.py::test_two\nFAILED tests/b.py::K::test_three\n"
    assert failures(said) == {"tests/a.py::test_one", "tests/b.py::K::test_three"}
    assert BROKEN.search("E   NameError: name 'x' is not defined")
    assert not BROKEN.search("E   AssertionError: NameError is not what this is")


def nodes_of(faults: list[Planted]) -> list[str]:
    return sorted({node for fault in faults for node in fault.killed_by})


def assert_pass(nodes: list[str], folder: Path) -> None:
    done = pytest_in(folder, nodes)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_the_tests_of_the_sample_pass_where_nothing_is_planted(copy: Path) -> None:
    assert_pass(nodes_of([fault for fault in FAULTS if fault.name in SAMPLE]), copy)


@pytest.mark.slow
def test_all_of_these_tests_pass_where_nothing_is_planted(copy: Path) -> None:
    assert_pass(nodes_of(list(FAULTS)), copy)


def marked(fault: Planted) -> object:
    return pytest.param(fault, id=fault.name, marks=() if fault.name in SAMPLE else (pytest.mark.slow,))


@pytest.mark.parametrize("fault", [marked(fault) for fault in FAULTS])
def test_a_planted_fault_is_noticed_by_each_test_named_for_it(fault: Planted, copy: Path) -> None:
    with spoilt(copy / fault.file, fault.source()):
        done = pytest_in(copy, fault.killed_by)
    said = f"{done.stdout[-3000:]}{done.stderr[-1000:]}"
    assert done.returncode == 1, f"nothing failed, or nothing ran:\n{said}"
    assert failures(done.stdout) == set(fault.killed_by), f"these did not notice:\n{said}"
    assert not BROKEN.search(done.stdout), f"the fault is no working code:\n{said}"
