"""The tree of errors: complete, drawn in its docstring, bridged from the pure packages, and free of secrets."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import PackageNotFoundError

import pytest

from protocols import errors
from protocols.errors import (
    ImplausibleSum,
    Misbehaved,
    MissingExtra,
    Misused,
    ProtocolError,
    RoundLost,
    TooFewClients,
    blame,
    install_line,
    installed_from,
)
from secagg import errors as pure

TREE = {
    ProtocolError: "Misused Misbehaved Undecodable RoundLost",
    Misused: "PolicyConflict BadPlan WrongUpdate MissingExtra",
    Misbehaved: """
        Malformed TooLarge BadSignature OutOfTurn Duplicate Replay AlreadyAnswered PolicyViolation CohortTooSmall
        ViewMismatch UnsafeUnmask KeyMismatch ShapeMismatch BadShare BadBox BadCiphertext BadCommittee
        LedgerRolledBack
    """,
    RoundLost: "TooFewClients TooFewMembers BadDealing ImplausibleSum",
    ImplausibleSum: "BadMaskKey",
}
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, ProtocolError)]


@pytest.mark.parametrize("parent", TREE, ids=lambda parent: parent.__name__)
def test_each_branch_holds_exactly_the_named_children(parent: type[ProtocolError]) -> None:
    assert {cls.__name__ for cls in CLASSES if cls.__base__ is parent} == set(TREE[parent].split())


def test_the_module_docstring_draws_every_error() -> None:
    drawn = set(re.findall(r"\w+", errors.__doc__ or ""))
    # Undecodable never leaves the package: the caller turns it into the fault of a peer, or into Misused.
    assert {cls.__name__ for cls in CLASSES} - {"Undecodable"} <= drawn


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_explains_itself(cls: type[ProtocolError]) -> None:
    assert cls.__doc__
    assert len(cls.__doc__) > 40


@pytest.mark.parametrize("name", TREE[Misbehaved].split())
def test_misbehaviour_carries_the_peer_and_the_reason(name: str) -> None:
    error = getattr(errors, name)(7, "sent two words")
    assert (error.peer, error.why, str(error)) == (7, "sent two words", "party 7: sent two words")


def test_a_shortage_says_how_many_where_and_whom_to_leave_out() -> None:
    error = TooFewClients(2, 5, "Unmasking", (3, 9))
    assert (error.have, error.need, error.room, error.culprits) == (2, 5, "Unmasking", (3, 9))
    assert str(error) == "Unmasking: 2 clients remain, 5 are needed; exclude 3, 9 next time; open a new round"
    assert "exclude" not in str(TooFewClients(2, 5, "Summing"))


def test_a_missing_extra_carries_the_line_that_installs_it() -> None:
    error = MissingExtra("report")
    assert install_line("report", installed_from()) in str(error)
    assert error.extra == "report"


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "pip install 'secagg[torch]'"),
        (
            '{"dir_info": {"editable": true}, "url": "file:///home/me/secagg"}',
            "in the checkout, pip install -c constraints.txt -e '.[torch]'",
        ),
        (
            '{"archive_info": {}, "url": "file:///tmp/secagg-0.1.0-py3-none-any.whl"}',
            "pip install 'secagg[torch] @ file:///tmp/secagg-0.1.0-py3-none-any.whl'",
        ),
        (
            '{"url": "https://example.org/secagg", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}}',
            "pip install 'secagg[torch] @ git+https://example.org/secagg@0a1b'",
        ),
    ],
)
def test_the_line_that_installs_fits_where_the_package_came_from(origin: str | None, line: str) -> None:
    assert install_line("torch", origin) == line


def test_a_source_tree_that_was_never_installed_is_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", nowhere)
    assert "in the checkout" in str(MissingExtra("torch"))


BRIDGE = {
    pure.BadShare: errors.BadShare,
    pure.BadBox: errors.BadBox,
    pure.BadPoint: errors.KeyMismatch,
    pure.BadSignature: errors.BadSignature,
    pure.BadParameters: errors.Malformed,
    pure.WrongContext: errors.ViewMismatch,
    pure.BadCiphertext: errors.BadCiphertext,
}


@pytest.mark.parametrize(("cause", "fault"), BRIDGE.items(), ids=lambda cls: cls.__name__)
def test_a_complaint_about_foreign_bytes_becomes_the_fault_of_their_sender(
    cause: type[Exception], fault: type[Misbehaved]
) -> None:
    complaint = cause("the value is wrong")
    with pytest.raises(fault, match="party 4: the value is wrong") as caught, blame(4):
        raise complaint
    assert type(caught.value) is fault
    assert caught.value.__cause__ is complaint


@pytest.mark.parametrize("cause", [pure.NonFinite, pure.Overflow, pure.EntropyUnavailable, ValueError, KeyError])
def test_what_is_no_peers_fault_crosses_no_bridge(cause: type[Exception]) -> None:
    with pytest.raises(cause) as caught, blame(4):
        raise cause("mine")
    assert type(caught.value) is cause
