"""Rows that lead back, and openings put beside entries that are not there yet."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from dp.errors import Corrupt
from dp.ledger import Ledger, store
from dp.ledger.cohorts import Opening
from tests.dp.ledger_kit import WIDE, charge, edit, outcome, write_rounds

MEMBERS = (b"A", b"B", b"C")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


def test_reading_ends_where_a_row_leads_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 4)
    with Ledger.open(path, WIDE) as ledger:
        for number in range(2, 9):
            ledger.note(f"{number}")
        body = list(ledger.entries())[7].body
    raw = bytearray(path.read_bytes())
    # SQLite's file format, 1.6: a leaf cell is size, rowid, record; these are the last types of the record's header.
    at = raw.index(b"\x4c\x4c\x81\x0c\x2cNOTE" + body) - 5
    assert raw[at] == 7
    raw[at] = 3
    path.write_bytes(bytes(raw))
    with Ledger.read(path) as ledger:
        with pytest.raises(Corrupt, match="lead back"):
            list(islice(ledger.entries(), 100))
        verdict = ledger.verify()
    assert [problem.line for problem in verdict.problems] == [7, 3]
    with pytest.raises(Corrupt):
        Ledger.open(path)


def test_openings_that_lead_back_end_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 2)
    write_rounds(path, 1)
    rows = [(2, 0, bytes(32), b""), (2, 1, bytes(32), b"")]
    with Ledger.read(path) as ledger:
        monkeypatch.setattr(store.Store, "_opening_rows", lambda *asked: rows)
        with pytest.raises(Corrupt, match="lead back"):
            list(islice(ledger._log.store.openings(), 100))


@pytest.mark.parametrize("ahead", [0, 1, 2**40])
@pytest.mark.parametrize("position", [0, 3])
def test_openings_planted_behind_the_end_are_found_and_nothing_is_written_over_them(
    path: Path, ahead: int, position: int
) -> None:
    with Ledger.open(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(0, cohort=3, members=MEMBERS)), outcome(survivors=3))
    end = 4 + ahead
    edit(path, f"INSERT INTO opening VALUES ({end}, {position}, zeroblob(32), zeroblob(16))")
    with Ledger.read(path) as ledger:
        verdict = ledger.verify()
        before = list(ledger.entries())
    assert [(each.line, each.error) for each in verdict.problems] == [(end, "Corrupt")]
    with Ledger.open(path) as ledger:
        for write in (lambda: ledger.reserve(charge(1, cohort=3, members=MEMBERS)), lambda: ledger.note("x")):
            with pytest.raises(Corrupt, match=f"entry {end} is not there"):
                write()
        assert list(ledger.entries()) == before
    edit(path, f"DELETE FROM opening WHERE seq = {end}")
    with Ledger.open(path) as ledger:
        ledger.commit(ledger.reserve(charge(1, cohort=3, members=MEMBERS)), outcome(survivors=3))
        assert ledger.verify().ok


def test_openings_of_entries_that_others_add_meanwhile_are_no_problem(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rounds(path, 1)
    with Ledger.open(path) as other, Ledger.read(path) as ledger:
        real = store.Store.entries

        def then_another(own: store.Store) -> object:
            yield from real(own)
            monkeypatch.undo()
            other.reserve(charge(1, cohort=3, members=MEMBERS))

        monkeypatch.setattr(store.Store, "entries", then_another)
        assert ledger.verify().ok
        assert len(list(ledger._log.store.openings())) == 3
        assert all(isinstance(opening, Opening) for opening in ledger._log.store.openings())
