"""Ledgers that were cut, flipped, edited, reordered, replaced or forged.

The rule for every damage: a named error, or what is read is exactly a prefix of what was written, with the
figures of that prefix. A cut tail looks like a shorter ledger from inside; only a head kept elsewhere tells.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from dp.canonical import Body
from dp.errors import BadParameters, Corrupt, DpError, Forked, LedgerError, RolledBack, Unverifiable
from dp.events import GaussianEvent, Repeated
from dp.ledger import Ledger, Standing, Verdict, store
from dp.ledger.chain import Entry, Head, Kind, Signer, link
from dp.ledger.charge import Ends
from dp.ledger.place import beside, read_key
from dp.ledger.session import Owner
from dp.ledger.verdict import examine
from tests.dp.ledger_kit import EVENT, WIDE, budget_for, charge, edit, epsilon_of, outcome, write_rounds
from tests.rows import rows

ROUNDS = 9  # with GENESIS and OPEN_BUDGET: 20 entries


@dataclass(frozen=True)
class Original:
    """An undamaged ledger of 20 entries: its bytes, and what each of its prefixes says."""

    path: Path
    raw: bytes
    log: bytes
    heads: dict[int, bytes]
    uppers: dict[int, Fraction]

    def restore(self, raw: bytes, log: bytes = b"") -> None:
        """Puts these bytes at the path, with this unmerged tail."""
        for left in ("-wal", "-shm"):
            beside(self.path, left).unlink(missing_ok=True)
        self.path.write_bytes(raw)
        if log:
            beside(self.path, "-wal").write_bytes(log)


def prefixes(entries: list[Entry]) -> dict[int, Fraction]:
    reserved = 0
    uppers = {}
    for entry in entries:
        reserved += entry.kind == Kind.RESERVE
        uppers[entry.seq] = epsilon_of(Repeated(EVENT, reserved)) if reserved else Fraction(0)
    return uppers


def original_in(directory: Path, *, merged: bool) -> Original:
    path = directory / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        for number in range(ROUNDS):
            ledger.commit(ledger.reserve(charge(number)), outcome())
        entries = list(ledger.entries())
        raw, log = path.read_bytes(), beside(path, "-wal").read_bytes()
    if merged:
        raw, log = path.read_bytes(), b""
    return Original(path, raw, log, {entry.seq: entry.hash for entry in entries}, prefixes(entries))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return original_in(tmp_path_factory.mktemp("merged"), merged=True)


@pytest.fixture(scope="module")
def unmerged(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return original_in(tmp_path_factory.mktemp("unmerged"), merged=False)


def look(original: Original, opening: Callable[[Path], Ledger]) -> str:
    """The name of the error, or "whole", "prefix", "refuted"; asserts that no figure is wrong."""
    try:
        ledger = opening(original.path)
    except LedgerError as wrong:
        return type(wrong).__name__
    with ledger:
        try:
            upper = Fraction(ledger.interval().upper)
        except DpError as wrong:
            assert not ledger.verify().ok
            return type(wrong).__name__
        # Opening for writing settles a reservation that lost its COMMIT: that one entry is new.
        entries = [entry for entry in ledger.entries() if entry.kind != Kind.SETTLE]
        assert [entry.hash for entry in entries] == list(original.heads.values())[: len(entries)]
        assert upper == original.uppers[entries[-1].seq]
        if not ledger.verify().ok:
            return "refuted"
        return "whole" if len(entries) == len(original.heads) else "prefix"


OPENINGS = (Ledger.read, Ledger.open)
# RolledBack: a damaged page can show an entry to one query and hide it from the next.
NAMED = {"Corrupt", "WrongVersion", "RolledBack"}


def cut_everywhere(original: Original, step: int) -> set[str]:
    found = set()
    for size in range(0, len(original.raw), step):
        for opening in OPENINGS:
            original.restore(original.raw[:size])
            found.add(look(original, opening))
    return found


def flip_everywhere(original: Original, step: int, bits: tuple[int, ...]) -> set[str]:
    found = set()
    for at in range(0, len(original.raw), step):
        for bit in bits:
            damaged = bytearray(original.raw)
            damaged[at] ^= 1 << ((at + bit) % 8)
            for opening in OPENINGS:
                original.restore(bytes(damaged))
                found.add(look(original, opening))
    return found


# --- L1 and L2: any byte -------------------------------------------------------------------------


@rows("L1")
def test_a_file_cut_anywhere_is_corrupt(row: str, original: Original) -> None:
    # The last cuts take only a signature or key id of a middle entry: whole for the writer, refuted by verify.
    assert cut_everywhere(original, 97) <= {"Corrupt", "refuted"}


@pytest.mark.slow
@rows("L1")
def test_a_file_cut_at_every_byte_is_corrupt(row: str, original: Original) -> None:
    assert cut_everywhere(original, 1) <= {"Corrupt", "refuted", "whole"}


@rows("L1")
def test_a_cut_tail_that_was_not_merged_is_an_intact_prefix(row: str, unmerged: Original) -> None:
    found = set()
    for size in [*range(0, len(unmerged.log), 997), len(unmerged.log)]:
        for opening in OPENINGS:
            unmerged.restore(unmerged.raw, unmerged.log[:size])
            found.add(look(unmerged, opening))
    assert found == {"prefix", "whole"}


@rows("L2")
def test_a_bit_flipped_anywhere_never_gives_a_wrong_number(row: str, original: Original) -> None:
    found = flip_everywhere(original, 101, (0,))
    assert {"Corrupt", "refuted", "whole"} <= found <= {*NAMED, "refuted", "whole"}


@pytest.mark.slow
@rows("L2")
def test_a_bit_flipped_at_every_byte_never_gives_a_wrong_number(row: str, original: Original) -> None:
    found = flip_everywhere(original, 1, (0,))
    assert {"Corrupt", "refuted", "whole"} <= found <= {*NAMED, "refuted", "whole", "StorageRefused"}


@rows("L2")
def test_a_bit_flipped_in_the_header_never_gives_a_wrong_number(row: str, original: Original) -> None:
    found = set()
    for at in range(100):
        for bit in (at % 8, (at + 5) % 8):
            damaged = bytearray(original.raw)
            damaged[at] ^= 1 << bit
            original.restore(bytes(damaged))
            found.add(look(original, Ledger.read))
    assert found <= {*NAMED, "refuted", "whole", "StorageRefused"}


@rows("L2")
def test_a_bit_flipped_in_the_unmerged_tail_leaves_a_prefix(row: str, unmerged: Original) -> None:
    found = set()
    for at in range(0, len(unmerged.log), 499):
        damaged = bytearray(unmerged.log)
        damaged[at] ^= 1 << (at % 8)
        unmerged.restore(unmerged.raw, bytes(damaged))
        found.add(look(unmerged, Ledger.read))
    assert found <= {"prefix", "whole", "Corrupt"}
    assert "prefix" in found


def test_random_bytes_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 0)
    header = path.read_bytes()[:100]
    for number in range(300):
        noise = hashlib.shake_256(number.to_bytes(4, "little")).digest(number * 29)
        path.write_bytes(noise if number % 2 else header + noise)
        for opening in OPENINGS:
            with pytest.raises(LedgerError), opening(path) as ledger:
                ledger.interval()


@pytest.mark.slow
def test_ten_thousand_random_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    for number in range(10_000):
        path.write_bytes(hashlib.shake_256(number.to_bytes(4, "little")).digest(number % 5_000))
        with pytest.raises(LedgerError), Ledger.read(path) as ledger:
            ledger.interval()


# --- L11: an editor who knows SQLite -------------------------------------------------------------


@rows("L11")
@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("UPDATE entry SET body = replace(body, '\"cohort\":40', '\"cohort\":41') WHERE seq = 4", 4),
        ("UPDATE entry SET kind = 'ABORT' WHERE seq = 5", 5),
        ("UPDATE entry SET hash = zeroblob(32) WHERE seq = 7", 7),
        ("UPDATE entry SET prev = zeroblob(32) WHERE seq = 7", 7),
        ("UPDATE entry SET signature = zeroblob(64) WHERE seq = 7", 7),
        ("UPDATE entry SET key_id = zeroblob(16) WHERE seq = 7", 7),
        ("UPDATE entry SET hash = zeroblob(31) WHERE seq = 7", 7),
        ("UPDATE entry SET kind = char(252) WHERE seq = 7", 7),
        ("DELETE FROM entry WHERE seq = 6", 6),
        ("DELETE FROM entry WHERE seq = 0", 0),
        ("INSERT INTO entry SELECT -1, kind, body, prev, hash, signature, key_id FROM entry WHERE seq = 0", 0),
        ("INSERT INTO entry SELECT 20, kind, body, prev, hash, signature, key_id FROM entry WHERE seq = 19", 20),
        ("UPDATE entry SET seq = 99 WHERE seq = 19", 19),
        ("UPDATE entry SET seq = -seq", 0),
    ],
)
def test_rows_edited_behind_our_back_are_found_at_their_line(
    row: str, original: Original, statement: str, line: int
) -> None:
    original.restore(original.raw)
    edit(
        original.path,
        statement.replace("replace(body, '", "CAST(replace(CAST(body AS TEXT), '").replace("41')", "41') AS BLOB)"),
    )
    with Ledger.read(original.path) as ledger:
        verdict = ledger.verify()
    assert verdict.verdict == "refuted"
    assert {(problem.line, problem.error) for problem in verdict.problems} == {(line, "Corrupt")}
    if "signature" not in statement and "key_id" not in statement:
        with pytest.raises(Corrupt):
            Ledger.open(original.path)


@rows("L11")
def test_two_rows_swapped_are_found(row: str, original: Original) -> None:
    original.restore(original.raw)
    edit(
        original.path,
        "UPDATE entry SET seq = 100 WHERE seq = 4",
        "UPDATE entry SET seq = 4 WHERE seq = 6",
        "UPDATE entry SET seq = 6 WHERE seq = 100",
    )
    with Ledger.read(original.path) as ledger, pytest.raises(Corrupt) as wrong:
        ledger.interval()
    assert wrong.value.seq == 4


@rows("L11")
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER entry_is_not_changed",
        "CREATE TABLE more (x)",
        "CREATE VIEW entries AS SELECT * FROM entry",
        "CREATE INDEX by_kind ON entry (kind)",
        "ALTER TABLE entry ADD COLUMN extra TEXT",
        "ALTER TABLE entry RENAME TO entry2",
    ],
)
def test_altered_tables_and_triggers_are_noticed(row: str, original: Original, statement: str) -> None:
    original.restore(original.raw)
    connection = sqlite3.connect(original.path, isolation_level=None)
    connection.execute(statement)
    connection.close()
    for opening in OPENINGS:
        with pytest.raises(Corrupt, match="tables and triggers"):
            opening(original.path)


@rows("L11")
def test_hashes_recomputed_without_the_key_fail_at_the_first_forged_signature(row: str, original: Original) -> None:
    original.restore(original.raw)
    with Ledger.read(original.path) as ledger:
        entries = list(ledger.entries())
    forger = Signer(bytes(32))
    ledger_id = bytes.fromhex(entries[0].fields["ledger_id"])  # type: ignore[arg-type]
    forged = link(ledger_id, forger, entries[17].head, Kind.NOTE, {"text": "nothing happened", "clock": 0})
    rewrite(original.path, [*entries[:18], forged])
    with Ledger.read(original.path) as ledger:
        assert [(p.line, p.error) for p in ledger.verify().problems] == [(18, "Corrupt")]
    with pytest.raises(Corrupt) as wrong:
        Ledger.open(original.path)
    assert wrong.value.seq == 18


def rewrite(path: Path, entries: list[Entry]) -> None:
    """Replaces all rows, triggers dropped and put back."""
    edit(path, "DELETE FROM entry")
    connection = sqlite3.connect(path, isolation_level=None)
    for e in entries:
        connection.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
            (e.seq, e.kind, e.body, e.prev, e.hash, e.signature, e.key_id),
        )
    connection.close()


# --- cut at a row, rolled back, forked -----------------------------------------------------------


@rows("L3")
@pytest.mark.parametrize("last", [1, 2, 5, 18])
def test_a_tail_cut_between_entries_is_consistent_but_never_called_verified(
    row: str, original: Original, last: int
) -> None:
    original.restore(original.raw)
    edit(original.path, f"DELETE FROM entry WHERE seq > {last}")
    with Ledger.read(original.path) as ledger:
        verdict = ledger.verify()
        assert (verdict.ok, verdict.verdict) == (True, "internally-consistent")
        assert ledger.head().hash == original.heads[last]
        assert Fraction(ledger.interval().upper) == original.uppers[last]


def test_a_ledger_cut_to_its_genesis_or_to_nothing_is_not_started_afresh(original: Original) -> None:
    for last in (0, -1):
        original.restore(original.raw)
        edit(original.path, f"DELETE FROM entry WHERE seq > {last}")
        with Ledger.read(original.path) as ledger:
            assert ledger.verify().ok is (last == 0)
            with pytest.raises(Corrupt if last < 0 else BadParameters, match="restore a copy"):
                ledger.interval()
        with pytest.raises(Corrupt if last < 0 else BadParameters, match="restore a copy"):
            Ledger.open(original.path, WIDE)


@rows("L3")
def test_a_ledger_that_loses_entries_while_open_was_rolled_back(row: str, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        ledger.reserve(charge(0))
        edit(path, "DELETE FROM entry WHERE seq = 2")
        for _ in range(2):
            with pytest.raises(RolledBack) as wrong:
                ledger.reserve(charge(1))
            assert wrong.value.seq == 2


def test_a_ledger_whose_last_entry_changes_while_open_was_forked(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        held = ledger.reserve(charge(0))
        edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 2")
        with pytest.raises(Forked):
            ledger.commit(held, outcome())


@rows("L3")
def test_an_older_copy_put_back_under_an_open_ledger_is_noticed_before_the_next_write(row: str, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 1)
    shutil.copy(path, tmp_path / "old")
    with Ledger.open(path) as ledger:
        held = ledger.reserve(charge(1))
        os.replace(tmp_path / "old", path)
        with pytest.raises(RolledBack, match="replaced"):
            ledger.commit(held, outcome())
        with pytest.raises(RolledBack):
            ledger.reserve(charge(2))
        with pytest.raises(RolledBack):
            ledger.close()


# --- what the holder of the key may not say ------------------------------------------------------


CHEAP = Ends(None, Fraction(1, 100)).to_body()


class Forger:
    """Somebody with the signing key who writes whatever entries they like, well linked and signed."""

    def __init__(self, path: Path) -> None:
        self.signer = Signer(read_key(beside(path, ".key")).seed)
        with Ledger.read(path) as ledger:
            self.entries = list(ledger.entries())
        self.ledger_id = bytes.fromhex(self.entries[0].fields["ledger_id"])  # type: ignore[arg-type]
        self.path = path

    def says(self, kind: str, body: Body) -> Forger:
        head: Head | None = self.entries[-1].head if self.entries else None
        self.entries.append(link(self.ledger_id, self.signer, head, kind, body))  # type: ignore[arg-type]
        return self

    def reserves(self, number: int, event: object = EVENT, after: Body = CHEAP, **changes: object) -> Forger:
        one = charge(number, event)  # type: ignore[arg-type]
        body = {
            "charge": one.to_body(),
            "charge_id": one.id.hex(),
            "owner": Owner("00" * 16, 1).to_body(),
            "budgets": [{"budget": 1, "before": CHEAP, "after": after}],
            "software": "by hand",
            "code": "00" * 32,
            "clock": 0,
        }
        return self.says(Kind.RESERVE, {**body, **changes})  # type: ignore[dict-item]

    def ends(self, kind: str, seq: int) -> Forger:
        extra = {"reason": "x"}
        if kind == Kind.COMMIT:
            extra = dict(outcome().to_body())  # type: ignore[arg-type]
        return self.says(kind, {"reserve": seq, "clock": 0, **extra})

    def verdict(self) -> Verdict:
        verdict = examine(self.entries)
        rewrite(self.path, self.entries)
        if {problem.error for problem in verdict.problems} <= {"BudgetExceeded"}:
            return verdict
        with Ledger.read(self.path) as ledger, pytest.raises((Corrupt, Unverifiable)) as wrong:
            ledger.interval()
        assert [(wrong.value.seq, type(wrong.value).__name__)] == [(p.line, p.error) for p in verdict.problems]
        return verdict


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    path = tmp_path / "run.ledger"
    write_rounds(path, 1, budget_for(2))
    return Forger(path)


def test_the_forger_can_write_a_legal_ledger(forger: Forger) -> None:
    """The test of the test: what follows is refused for what it says, not for how it is linked."""
    forger.reserves(1).ends(Kind.COMMIT, 4).says(Kind.NOTE, {"text": "fine", "clock": 0})
    assert forger.verdict().ok


UNKNOWN_EVENT = {**charge(1).to_body(), "event": ["wavelet", 3]}
COARSE_EVENT = {**charge(1).to_body(), "event": ["gaussian", "1/1", "1/1", 1, 20, 20, "system", "survivors"]}
OPENING: Body = {
    "epsilon": "9/1",
    "delta": "0/1",
    "relation": "zero-out",
    "of": "client",
    "view": "aggregator",
    "composition": "schedule",
    "randomness": "system",
    "dataset": "",
    "task": "",
    "purpose": "",
    "scope": "everyone",
    "clock": 0,
}


@pytest.mark.parametrize(
    ("story", "error"),
    [
        (lambda f: f.ends(Kind.COMMIT, 2), "Corrupt"),
        (lambda f: f.ends(Kind.COMMIT, 9), "Corrupt"),
        (lambda f: f.ends(Kind.ABORT, 2), "Corrupt"),
        (lambda f: f.ends(Kind.SETTLE, 3), "Corrupt"),
        (lambda f: f.reserves(0), "Corrupt"),
        (lambda f: f.reserves(1, charge_id="00" * 32), "Corrupt"),
        (lambda f: f.reserves(1, charge_id="AB" * 32), "Corrupt"),
        (lambda f: f.reserves(1, owner={}), "Corrupt"),
        (lambda f: f.reserves(1, after={"upper": "1/0"}), "Corrupt"),
        (lambda f: f.reserves(1, after={"lower": "2/1", "upper": "1/100"}), "Corrupt"),
        (lambda f: f.reserves(1, extra=1), "Corrupt"),
        (lambda f: f.reserves(1, clock="noon"), "Corrupt"),
        (lambda f: f.reserves(1, charge={}), "Unverifiable"),
        (lambda f: f.reserves(1, charge=UNKNOWN_EVENT), "Unverifiable"),
        (lambda f: f.reserves(1, charge=COARSE_EVENT), "Unverifiable"),
        (lambda f: f.reserves(1, GaussianEvent(1, 1, 1, 1, 1, rng="insecure")), "Unverifiable"),
        (lambda f: f.reserves(1, budgets=[]), "Corrupt"),
        (lambda f: f.reserves(1, budgets={}), "Corrupt"),
        (lambda f: f.reserves(1, budgets=["1"]), "Corrupt"),
        (lambda f: f.reserves(1, budgets=[{"budget": 1, "before": CHEAP}]), "Corrupt"),
        (lambda f: f.reserves(1, budgets=[{"budget": 2, "before": CHEAP, "after": CHEAP}]), "Corrupt"),
        (lambda f: f.reserves(1, budgets=[{"budget": 1, "before": CHEAP, "after": CHEAP}] * 2), "Corrupt"),
        (lambda f: f.reserves(1, code="00"), "Corrupt"),
        (lambda f: f.reserves(1, members="00" * 31), "Corrupt"),
        (lambda f: f.says(Kind.OPEN_BUDGET, {**OPENING, "randomness": "insecure"}), "Corrupt"),
        (lambda f: f.says(Kind.OPEN_BUDGET, {**OPENING, "scope": "each", "view": "released"}), "Corrupt"),
        (lambda f: f.says(Kind.OPEN_BUDGET, {**OPENING, "dataset": "two\nlines"}), "Corrupt"),
        (lambda f: f.says(Kind.GENESIS, {"clock": 0}), "Corrupt"),
        (lambda f: f.says("PARDON", {"clock": 0}), "Unverifiable"),
        (lambda f: f.says(Kind.NOTE, {"text": 1, "clock": 0}), "Corrupt"),
        (lambda f: f.says(Kind.NOTE, {"text": "no clock"}), "Corrupt"),
    ],
)
def test_a_signed_entry_that_is_not_legal_here_is_found_at_its_line(
    forger: Forger, story: Callable[[Forger], Forger], error: str
) -> None:
    at = len(forger.entries)
    assert [(problem.line, problem.error) for problem in story(forger).verdict().problems] == [(at, error)]


def test_more_survivors_than_invited_are_corrupt(forger: Forger) -> None:
    forger.reserves(1).says(Kind.COMMIT, {"reserve": 4, "clock": 0, **outcome(survivors=41).to_body()})
    assert [problem.line for problem in forger.verdict().problems] == [5]


def test_a_charge_without_a_budget_is_corrupt(forger: Forger) -> None:
    del forger.entries[1:]
    assert [(p.line, p.error) for p in examine(forger.reserves(0).entries).problems] == [(1, "Corrupt")]


def test_nothing_may_be_charged_after_closing_nor_closed_over_open_reservations(forger: Forger) -> None:
    closed: Body = {"budget": 1, "reason": "done", "clock": 0}
    forger.reserves(1).says(Kind.CLOSE_BUDGET, closed)
    assert [problem.line for problem in forger.verdict().problems] == [5]
    del forger.entries[5]
    forger.ends(Kind.COMMIT, 4).says(Kind.CLOSE_BUDGET, closed).reserves(2)
    assert [problem.line for problem in forger.verdict().problems] == [7]


def test_a_budget_overspent_by_the_key_holder_is_refuted(forger: Forger) -> None:
    forger.reserves(1).reserves(2)
    assert [(p.line, p.error) for p in forger.verdict().problems] == [(5, "BudgetExceeded")]


def test_overspending_is_refuted_even_when_it_was_aborted_later(forger: Forger) -> None:
    forger.reserves(1).reserves(2).ends(Kind.ABORT, 5)
    assert [(p.line, p.error) for p in forger.verdict().problems] == [(5, "BudgetExceeded")]


def test_a_recorded_interval_above_the_limit_is_refuted(forger: Forger) -> None:
    forger.reserves(1, after=Ends(None, Fraction(100)).to_body())
    assert [(p.line, p.error) for p in forger.verdict().problems] == [(4, "BudgetExceeded")]


def test_events_without_a_proof_are_unverifiable_not_free(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 0, budget_for(1))
    forger = Forger(path)
    departing = {**forger.entries[1].fields, "relation": "add-or-remove-one"}
    del forger.entries[1]
    forger.says(Kind.OPEN_BUDGET, departing).reserves(0)
    assert [(p.line, p.error) for p in examine(forger.entries).problems] == [(2, "Unverifiable")]


def test_a_schema_that_is_no_text_is_corrupt(original: Original) -> None:
    at = original.raw.index(b"INTEGER PRIMARY KEY")
    original.restore(original.raw[:at] + b"\xd4" + original.raw[at + 1 :])
    for opening in OPENINGS:
        with pytest.raises(Corrupt):
            opening(original.path)


@pytest.mark.parametrize("pieces", [1, 3, 19, 20, 21])
def test_reading_in_pieces_gives_every_entry_once(
    original: Original, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    original.restore(original.raw)
    monkeypatch.setattr(store, "ROWS_AT_ONCE", pieces)
    with Ledger.read(original.path) as ledger:
        assert [entry.hash for entry in ledger.entries()] == list(original.heads.values())
        assert ledger.verify().entries == 20


def test_a_broken_ledger_stays_broken_for_whoever_saw_it(original: Original) -> None:
    original.restore(original.raw)
    edit(original.path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 7")
    with Ledger.read(original.path) as ledger:
        for ask in (
            ledger.interval,
            ledger.head,
            ledger.remaining,
            ledger.interval_released,
            lambda: ledger.standing(charge(0)),
        ):
            with pytest.raises(Corrupt) as wrong:
                ask()
            assert wrong.value.seq == 7


def test_an_undamaged_ledger_passes_every_check_above(original: Original) -> None:
    """The test of the test: the restored original is whole, so the damage is what was found."""
    original.restore(original.raw)
    assert [look(original, opening) for opening in OPENINGS] == ["whole", "whole"]
    with Ledger.read(original.path) as ledger:
        assert ledger.standing(charge(0)) is Standing.COMMITTED
        assert (ledger.verify().entries, ledger.verify().problems) == (20, ())
