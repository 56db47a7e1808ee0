"""Heads of ledgers: what one is, in how many bytes, and which heads go on from those accepted before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.errors import SERVER_ID, BadPlan, LedgerRolledBack
from protocols.heads import NO_LEDGER, LedgerHead, forgets, require_onward
from tests.attacks.villain import rows

LEDGER, OTHER = bytes(range(16)), bytes(range(1, 17))
HEAD = LedgerHead(LEDGER, 7, b"\1" * 32)
TASK, ANOTHER = b"\5" * 16, b"\6" * 16


def test_a_head_is_56_bytes_and_comes_back_from_them() -> None:
    data = wire.encode(HEAD)
    assert data == LEDGER + (7).to_bytes(8, "little") + b"\1" * 32
    assert wire.decode(LedgerHead, data) == HEAD
    assert wire.encode(NO_LEDGER) == bytes(56)
    assert wire.decode(LedgerHead, bytes(56)) == NO_LEDGER


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ledger_id": b"\1" * 15}, "ledger_id"),
        ({"ledger_id": "text"}, "ledger_id"),
        ({"hash": b"\1" * 31}, "hash"),
        ({"hash": None}, "hash"),
        ({"seq": -1}, "seq"),
        ({"seq": 1 << 64}, "seq"),
        ({"seq": True}, "seq"),
        ({"seq": 1.0}, "seq"),
        ({"ledger_id": bytes(16)}, "NO_LEDGER"),
        ({"hash": bytes(32)}, "NO_LEDGER"),
        ({"ledger_id": bytes(16), "hash": bytes(32)}, "NO_LEDGER"),
    ],
)
def test_what_is_no_head_is_refused_by_the_name_of_its_part(change: dict[str, Any], named: str) -> None:
    with pytest.raises(BadPlan, match=named):
        replace(HEAD, **change)


@pytest.mark.parametrize(
    "head",
    [replace(HEAD, seq=8, hash=b"\2" * 32), replace(HEAD, seq=(1 << 64) - 1)],
    ids=["the next", "the last"],
)
def test_a_ledger_that_grows_goes_on(head: LedgerHead) -> None:
    require_onward({TASK: HEAD}, TASK, head)


@rows("M26")
@pytest.mark.parametrize(
    ("head", "named"),
    [
        (replace(HEAD, seq=6), "ends at entry 6 and went on to 7 before"),
        (HEAD, "still ends at entry 7: the round before is not charged"),
        (replace(HEAD, hash=b"\2" * 32), "another entry 7"),
        (replace(HEAD, ledger_id=OTHER), "now charges it to 0102"),
        (replace(HEAD, ledger_id=OTHER, seq=9), "now charges it to 0102"),
        (NO_LEDGER, "now charges it to none"),
    ],
    ids=["cut", "not charged", "forked", "another", "another that is longer", "none"],
)
def test_what_does_not_go_on_is_blamed_on_the_server(row: str, head: LedgerHead, named: str) -> None:
    with pytest.raises(LedgerRolledBack, match=named) as caught:
        require_onward({TASK: HEAD}, TASK, head)
    assert caught.value.peer == SERVER_ID


@rows("M26")
def test_one_ledger_of_two_tasks_is_held_to_both(row: str) -> None:
    accepted = {TASK: HEAD, ANOTHER: replace(HEAD, seq=9, hash=b"\3" * 32)}
    require_onward(accepted, TASK, replace(HEAD, seq=10))
    for task in (TASK, ANOTHER, b"a name nobody has heard of"):
        with pytest.raises(LedgerRolledBack, match="still ends at entry 9"):
            require_onward(accepted, task, accepted[ANOTHER])
    for head in (HEAD, replace(HEAD, seq=8), replace(HEAD, seq=9)):
        with pytest.raises(LedgerRolledBack):
            require_onward(accepted, TASK, head)
    with pytest.raises(LedgerRolledBack):
        require_onward({TASK: HEAD}, ANOTHER, replace(HEAD, seq=6))


def test_a_task_that_no_ledger_counted_yet_takes_any() -> None:
    require_onward({}, TASK, NO_LEDGER)
    require_onward({}, TASK, HEAD)
    require_onward({TASK: HEAD}, ANOTHER, NO_LEDGER)
    require_onward({TASK: HEAD}, ANOTHER, replace(HEAD, seq=8))
    require_onward({TASK: NO_LEDGER}, TASK, NO_LEDGER)
    require_onward({TASK: HEAD}, ANOTHER, replace(HEAD, ledger_id=OTHER, seq=0))


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([b"\1" * 32, b"\2" * 32])), max_size=8))
def test_accepted_heads_of_a_ledger_grow_whatever_the_task(
    shown: list[tuple[int, bytes]],
) -> None:
    accepted: dict[bytes, LedgerHead] = {}
    story: list[LedgerHead] = []
    for place, (seq, digest) in enumerate(shown):
        head, task = LedgerHead(LEDGER, seq, digest), (TASK, ANOTHER)[place % 2]
        if story and seq <= story[-1].seq:
            with pytest.raises(LedgerRolledBack):
                require_onward(accepted, task, head)
        else:
            require_onward(accepted, task, head)
            accepted[task] = head
            story.append(head)


def test_who_knows_less_of_a_ledger_forgets() -> None:
    assert not forgets({}, {})
    assert not forgets({TASK: HEAD}, {})
    assert not forgets({TASK: HEAD}, {TASK: HEAD})
    assert not forgets({TASK: replace(HEAD, seq=8)}, {TASK: HEAD})
    assert forgets({}, {TASK: HEAD})
    assert forgets({ANOTHER: HEAD}, {TASK: HEAD})
    assert forgets({TASK: replace(HEAD, seq=6)}, {TASK: HEAD})
    assert forgets({}, {TASK: replace(HEAD, seq=0)})
    assert forgets({TASK: replace(HEAD, ledger_id=OTHER, seq=99)}, {TASK: HEAD})
