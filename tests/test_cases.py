"""The catalogue is kept: every row has a test, no test names an unknown row, every named error is provoked.

All of it is read from the source of the tests, so that it holds for slow ones too.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dp import errors as dp_errors
from protocols import errors as protocol_errors
from secagg import errors as secagg_errors
from tests.rows import ROW, catalogue, claims, claims_of

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = catalogue()
CLAIMS = claims()
CLAIMED = {row for claim in CLAIMS for row in claim.ids}

# Errors that are named and await the protocol, the audit or the erasure that raises them.
NOT_YET_PROVOKED = {
    "protocols": set(),
    "secagg": {"WrongContext"},
    "dp": set(),
}

COUNTS = {"M": 26, "C": 20, "D": 25, "S": 18, "L": 12, "K": 10, "N": 8}


def test_the_catalogue_is_complete_and_in_order() -> None:
    assert list(CATALOGUE) == [f"{letter}{number}" for letter, most in COUNTS.items() for number in range(1, most + 1)]
    assert all(ROW.fullmatch(name) for name in CATALOGUE)
    assert len({row.case for row in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_row_has_a_test_or_says_what_it_awaits(name: str) -> None:
    if CATALOGUE[name].awaits is None:
        assert name in CLAIMED, f"no test stands for {name}: {CATALOGUE[name].case}"
    else:
        assert name not in CLAIMED, f"{name} has a test and awaits nothing any more"


def test_no_test_stands_for_a_row_that_does_not_exist() -> None:
    assert {row: claim.node for claim in CLAIMS for row in claim.ids if row not in CATALOGUE} == {}


def test_claims_are_found_in_functions_classes_and_parameters() -> None:
    source = """
@rows("M1", "M2")
def test_one(row): ...

class TestTwo:
    @pytest.mark.parametrize("x", [pytest.param(1, id="D1-reply"), pytest.param(2, id="n4-d7")])
    def test_two(self, x): ...

    def test_three(self): ...

@rows("M3")
def helper(row): ...
"""
    found = {claim.node: claim.ids for claim in claims_of(ast.parse(source), "f.py")}
    assert found == {"f.py::test_one": ("M1", "M2"), "f.py::TestTwo::test_two": ("D1",)}


def test_the_tests_of_a_contract_count_for_the_class_that_keeps_it() -> None:
    nodes = [claim.node for claim in CLAIMS if "C15" in claim.ids]
    assert any(node.startswith("tests/protocols/test_pairwise.py::TestPairwise::") for node in nodes)
    assert not any("contracts" in node for node in nodes)


# --- every named error is provoked ------------------------------------------------------------------

TREES = {
    "protocols": (protocol_errors, protocol_errors.ProtocolError),
    "secagg": (secagg_errors, secagg_errors.SecaggError),
    "dp": (dp_errors, dp_errors.DpError),
}
# These only describe the trees; naming an error there provokes nothing.
DESCRIPTIONS = {"test_errors.py", "test_cases.py", "test_house.py", "test_init.py"}
ASSERTING = {"raises", "refuses", "shuns", "shrugs_off", "param", "parametrize"}


def leaves(tree: str) -> set[type[BaseException]]:
    module, root = TREES[tree]
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, root) and not value.__subclasses__()
    }


def imported_names(tree: ast.Module) -> dict[str, object]:
    """What each name means that a test file imports from our packages.

    Adapters are left out: they need frameworks that are not here, and no error of ours is defined in one.
    """
    meaning: dict[str, object] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or str(node.module).startswith("protocols.adapters"):
            continue
        if str(node.module).partition(".")[0] in TREES:
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if hasattr(module, alias.name):
                    meaning[alias.asname or alias.name] = getattr(module, alias.name)
    return meaning


def provoked_in(source: str) -> set[object]:
    """Errors a test demands: by class where something must raise, by name where a note is compared."""
    return {found for found in _demanded(source) if isinstance(found, type)}


def _demanded(source: str) -> Iterator[object]:
    tree = ast.parse(source)
    meaning = imported_names(tree)
    by_name = {error.__name__: error for error in leaves("protocols")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) in ASSERTING:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    yield meaning.get(inner.id)
                elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
                    yield getattr(meaning.get(inner.value.id), inner.attr, None)
        elif isinstance(node, ast.Compare):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant):
                    yield by_name.get(str(inner.value))


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


PROVOKED = {
    error
    for path in sorted((ROOT / "tests").rglob("*.py"))
    if path.name not in DESCRIPTIONS
    for error in provoked_in(path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("tree", TREES)
def test_every_named_error_is_provoked_by_a_test(tree: str) -> None:
    assert {error.__name__ for error in leaves(tree) - PROVOKED} == NOT_YET_PROVOKED[tree]


def test_the_scan_for_provoked_errors_tells_equal_names_apart() -> None:
    source = """
from dp.errors import BadParameters as Bad, Locked
from protocols import errors
from secagg.errors import BadShare
def test_it():
    with pytest.raises(Bad): ...
    with stage.refuses(1, errors.Replay): ...
    assert note.error == "Duplicate"
    try: ...
    except (Locked, BadShare): ...
"""
    assert provoked_in(source) == {dp_errors.BadParameters, protocol_errors.Replay, protocol_errors.Duplicate}
