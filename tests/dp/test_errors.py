"""The tree of dp.errors: complete, drawn in its own docstring, and every leaf says who is to blame."""

from __future__ import annotations

import inspect
import re

import pytest

from dp import errors
from dp.errors import AuditError, BudgetExceeded, Corrupt, DpError, LedgerError

TREE = {
    DpError: """
        BadParameters NonFinite ClipExceeded NoiseTooCoarse Infeasible UnsupportedEvent EntropyUnavailable
        InsecureEntropy AccountantDisagreement UnsoundNoise BudgetExceeded LedgerError AuditError
    """,
    LedgerError: """
        Corrupt RolledBack Forked WrongVersion Locked StorageRefused ConflictingCharge BadReservation
        Erased Unverifiable
    """,
    AuditError: "NotEnoughTrials UndeclaredHypothesis",
}
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value)]


@pytest.mark.parametrize("parent", TREE, ids=lambda parent: parent.__name__)
def test_each_branch_holds_exactly_the_named_children(parent: type[DpError]) -> None:
    children = {cls.__name__ for cls in CLASSES if cls.__base__ is parent}
    assert children == set(TREE[parent].split())


def test_the_module_docstring_draws_every_error() -> None:
    drawn = set(re.findall(r"\w+", errors.__doc__ or ""))
    assert {cls.__name__ for cls in CLASSES} <= drawn


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_descends_from_the_root_and_explains_itself(cls: type[DpError]) -> None:
    assert issubclass(cls, DpError)
    assert cls.__doc__ is not None
    assert len(cls.__doc__) > 40


@pytest.mark.parametrize("names", TREE.values())
def test_every_leaf_says_whose_fault_it_is(names: str) -> None:
    blame = ("caller's", "ours", "nobody's", "machine's", "storage's", "key holder's", "writer's")
    for cls in (getattr(errors, name) for name in names.split() if not name.endswith("Error")):
        assert any(word in cls.__doc__.lower() for word in blame), cls


def test_a_ledger_error_carries_the_entry_it_was_noticed_at() -> None:
    assert Corrupt("entry 7 breaks the chain", seq=7).seq == 7
    assert Corrupt("no entry").seq is None
    assert str(Corrupt("entry 7 breaks the chain", seq=7)) == "entry 7 breaks the chain"


def test_running_out_of_budget_is_not_a_fault_of_the_ledger() -> None:
    assert not issubclass(BudgetExceeded, LedgerError)
