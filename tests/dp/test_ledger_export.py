"""A ledger as lines of JSON and back, and as a second file: whole, verifiable, and nothing made of a damaged one."""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.errors import Corrupt, LedgerError, StorageRefused
from dp.ledger import Ledger, exporting
from dp.ledger.chain import Head
from dp.ledger.exporting import FORMAT, MAX_LINE_BYTES, export_lines
from dp.ledger.place import beside
from dp.ledger.store import Store
from tests.dp.ledger_kit import EVENT, WIDE, charge, edit, outcome, write_rounds
from tests.dp.test_ledger_vouching import PUBLIC, seen_by_party

MEMBERS = (b"A", b"B", b"C")


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    """Rounds with members and survivors, one erased, a witness, a new key."""
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        for number in range(3):
            reservation = ledger.reserve(charge(number, cohort=3, members=MEMBERS))
            ledger.commit(reservation, outcome(survivors=3))
        ledger.erase(ledger.pseudonym(b"B"))
        ledger.rotate_key()
        head = ledger.note("ä remark")
        ledger.witness(head, PUBLIC, seen_by_party(ledger, head))
    return path


def exported(path: Path) -> Path:
    out = path.with_name("run.jsonl")
    with Ledger.read(path) as ledger:
        ledger.export(out)
    return out


def test_every_field_comes_back(ledger_file: Path, tmp_path: Path) -> None:
    out = exported(ledger_file)
    Ledger.import_lines(out, tmp_path / "back.ledger")
    with Ledger.read(ledger_file) as before, Ledger.read(tmp_path / "back.ledger") as after:
        assert list(after.entries()) == list(before.entries())
        assert list(after._log.store.openings()) == list(before._log.store.openings())
        assert list(after._log.store.witnesses()) == list(before._log.store.witnesses())
        assert after.verify() == before.verify()
        assert after.verify().ok
        assert after.interval() == before.interval()
    again = tmp_path / "again.jsonl"
    with Ledger.read(tmp_path / "back.ledger") as after:
        after.export(again)
    assert again.read_bytes() == out.read_bytes()


def test_an_import_that_is_written_in_many_pieces_is_the_same(
    ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "WRITTEN_AT_ONCE", 4)
    Ledger.import_lines(exported(ledger_file), tmp_path / "back.ledger")
    with Ledger.read(ledger_file) as before, Ledger.read(tmp_path / "back.ledger") as after:
        assert list(after.entries()) == list(before.entries())
        assert list(after._log.store.openings()) == list(before._log.store.openings())


def test_what_comes_after_the_head_is_not_exported(ledger_file: Path, tmp_path: Path) -> None:
    with Ledger.open(ledger_file) as ledger:
        head = ledger.head()
        ledger.note("later")
        export_lines(ledger._log.store, head, tmp_path / "early.jsonl")
    Ledger.import_lines(tmp_path / "early.jsonl", tmp_path / "back.ledger")
    with Ledger.read(tmp_path / "back.ledger") as early:
        assert early.head() == head
        assert early.verify().ok


def test_a_ledger_without_entries_has_no_first_line(tmp_path: Path) -> None:
    empty = Store.create(tmp_path / "empty", 1.0)
    with pytest.raises(Corrupt, match="not even a GENESIS"):
        export_lines(empty, Head(0, bytes(32), bytes(64)), tmp_path / "out.jsonl")
    empty.close()
    assert not (tmp_path / "out.jsonl").exists()


def test_an_import_into_no_folder_is_refused_by_name(ledger_file: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match=r"cannot store .*No such file"):
        Ledger.import_lines(exported(ledger_file), tmp_path / "nowhere" / "back.ledger")
    assert not (tmp_path / "nowhere").exists()


def test_a_rehearsal_comes_back_as_one(tmp_path: Path) -> None:
    path, seeded = tmp_path / "run.ledger", replace(EVENT, rng="insecure")
    with Ledger.open_insecure(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(0, seeded)), outcome(seeded))
    Ledger.import_lines(exported(path), tmp_path / "back.ledger")
    with Ledger.read(tmp_path / "back.ledger") as after:
        assert [(each.line, each.error) for each in after.verify().problems] == [(2, "Unverifiable")]


def test_the_lines_are_what_the_page_says(ledger_file: Path) -> None:
    lines = [json.loads(line) for line in exported(ledger_file).read_text("utf-8").splitlines()]
    with Ledger.read(ledger_file) as ledger:
        entries, head = list(ledger.entries()), ledger.head()
    assert lines[0]["format"] == FORMAT
    assert lines[0]["ledger_id"] == entries[0].fields["ledger_id"]
    signers = [entries[0].fields["signer"], *(e.fields["signer"] for e in entries if e.kind == "ROTATE_KEY")]
    assert lines[0]["signers"] == signers
    assert len(signers) == 2
    assert lines[-1] == {"end": head.seq, "hash": head.hash.hex(), "signature": head.signature.hex()}
    said = [line for line in lines if "kind" in line]
    assert [line["body"] for line in said] == [entry.fields for entry in entries]
    assert [line["seq"] for line in said] == list(range(len(entries)))
    assert len([line for line in lines if "position" in line]) == 9
    assert [line["party"] for line in lines if "party" in line] == [PUBLIC.hex()]


def test_an_export_belongs_to_its_owner_alone(ledger_file: Path) -> None:
    assert stat.S_IMODE(exported(ledger_file).stat().st_mode) == 0o600


def test_what_was_imported_can_be_read_and_not_written(ledger_file: Path, tmp_path: Path) -> None:
    Ledger.import_lines(exported(ledger_file), tmp_path / "back.ledger")
    with pytest.raises(StorageRefused, match="cannot read the signing key"):
        Ledger.open(tmp_path / "back.ledger")


def test_an_export_takes_no_place_that_is_taken(ledger_file: Path) -> None:
    out = exported(ledger_file)
    with pytest.raises(StorageRefused, match="already"):
        Ledger.import_lines(out, ledger_file)
    ledger_file.unlink()
    with pytest.raises(StorageRefused, match="already"):
        Ledger.import_lines(out, ledger_file)
    with pytest.raises(StorageRefused, match="cannot open"):
        Ledger.import_lines(out.with_name("nowhere"), out.with_name("new.ledger"))


CHANGES: list[tuple[str, Callable[[list[str]], list[str]], str]] = [
    ("no-first-line", lambda lines: lines[1:], "no secagg ledger export"),
    ("empty", lambda lines: [], "no secagg ledger export"),
    ("cut", lambda lines: lines[:-1], "cut off"),
    ("half-a-line", lambda lines: [*lines[:5], lines[5][:-9]], "no line of an export"),
    ("more-behind", lambda lines: [*lines, lines[-1]], "behind the end"),
    ("twice", lambda lines: [lines[0], lines[1], *lines[1:]], "damaged|does not hold"),
    ("one-entry-less", lambda lines: [*lines[:2], *lines[3:]], "does not hold"),
    ("one-opening-less", lambda lines: _without(lines, '"position":0'), "does not hold"),
    ("another-body", lambda lines: [line.replace("digits", "digitz") for line in lines], "does not hold"),
    ("spaces", lambda lines: [line.replace('":"', '": "') for line in lines], "canonical"),
    ("long", lambda lines: [lines[0], '{"seq":"' + "x" * MAX_LINE_BYTES + '"}', *lines[1:]], "too long"),
    ("huge-number", lambda lines: [line.replace('"seq":3,', f'"seq":{2**70},') for line in lines], "no entry or"),
    ("negative", lambda lines: [line.replace('"position":1', '"position":-1') for line in lines], "no entry or"),
    ("another-end", lambda lines: [*lines[:-1], lines[-1].replace('"end":', '"end":1')], "another head"),
    ("strange-key", lambda lines: [lines[0], lines[1].replace('"kind"', '"kinds"'), *lines[2:]], "no line of"),
    ("word", lambda lines: [lines[0], lines[1].replace("GENESIS", "GENÉSIS"), *lines[2:]], "does not hold"),
    ("another-id", lambda lines: [lines[0].replace('"ledger_id":"', '"ledger_id":"f'), *lines[1:]], "another ledger"),
    ("no-signers", lambda lines: ['{"format":"secagg ledger export v1"}', *lines[1:]], "other signers"),
    ("one-signer", lambda lines: [_one_signer(lines[0]), *lines[1:]], "other signers"),
    ("more-said", lambda lines: [lines[0].replace('"signers"', '"said":1,"signers"'), *lines[1:]], "other signers"),
    ("witness", lambda lines: [_other_signature(line) for line in lines], "does not hold"),
]


def _without(lines: list[str], part: str) -> list[str]:
    at = next(number for number, line in enumerate(lines) if part in line)
    return lines[:at] + lines[at + 1 :]


def _one_signer(line: str) -> str:
    body = json.loads(line)
    body["signers"] = body["signers"][:1]
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _other_signature(line: str) -> str:
    if '"party"' not in line:
        return line
    body = json.loads(line)
    body["signature"] = "00" * 64
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(("change", "why"), [(c, w) for _, c, w in CHANGES], ids=[name for name, _, _ in CHANGES])
def test_nothing_is_made_of_an_export_that_does_not_hold(
    ledger_file: Path, tmp_path: Path, change: Callable[[list[str]], list[str]], why: str
) -> None:
    out = exported(ledger_file)
    lines = change(out.read_text("utf-8").splitlines())
    out.write_text("".join(line + "\n" for line in lines), "utf-8")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(Corrupt, match=why):
        Ledger.import_lines(out, tmp_path / "back.ledger")
    assert sorted(os.listdir(tmp_path)) == before


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_random_bytes_are_no_export(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("random")
    (folder / "in").write_bytes(raw)
    with pytest.raises(Corrupt):
        Ledger.import_lines(folder / "in", folder / "out")
    assert os.listdir(folder) == ["in"]


def test_a_flipped_byte_anywhere_makes_nothing(ledger_file: Path, tmp_path: Path) -> None:
    raw, draw = exported(ledger_file).read_bytes(), random.Random(1)
    for number in range(60):
        flipped = bytearray(raw)
        flipped[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        (tmp_path / "in").write_bytes(bytes(flipped))
        target = tmp_path / f"{number}.ledger"
        with pytest.raises(LedgerError):
            Ledger.import_lines(tmp_path / "in", target)
        assert not target.exists()


def test_a_damaged_ledger_is_not_exported(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 2)
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 2")
    with Ledger.read(path) as ledger, pytest.raises(Corrupt):
        ledger.export(tmp_path / "run.jsonl")
    assert not (tmp_path / "run.jsonl").exists()


def test_a_place_that_cannot_take_an_export_is_named(ledger_file: Path, tmp_path: Path) -> None:
    with Ledger.read(ledger_file) as ledger, pytest.raises(StorageRefused, match="cannot store"):
        ledger.export(tmp_path / "no" / "such" / "file")


# --- a copy --------------------------------------------------------------------------------------------------


def test_a_copy_has_the_tail_that_a_copied_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(1)), outcome())
        (tmp_path / "naive.ledger").write_bytes(path.read_bytes())
        ledger.copy(tmp_path / "copy.ledger")
        head = ledger.head()
    with Ledger.read(tmp_path / "copy.ledger") as copy:
        assert copy.head() == head
        assert copy.verify().ok
    with Ledger.read(tmp_path / "naive.ledger") as naive:
        assert naive.head().seq < head.seq
    assert stat.S_IMODE((tmp_path / "copy.ledger").stat().st_mode) == 0o600


def test_a_copy_is_made_by_a_reader_and_takes_no_place_that_is_taken(ledger_file: Path, tmp_path: Path) -> None:
    with Ledger.read(ledger_file) as ledger:
        ledger.copy(tmp_path / "copy.ledger")
        with pytest.raises(StorageRefused, match="already"):
            ledger.copy(tmp_path / "copy.ledger")
        with pytest.raises(StorageRefused, match="cannot store"):
            ledger.copy(tmp_path / "no" / "such" / "copy.ledger")
    with Ledger.read(tmp_path / "copy.ledger") as copy:
        assert copy.verify().ok


# --- outputs that would overwrite a ledger -------------------------------------------------------------------


COMPANIONS = ("", ".key", ".key.next", "-wal", "-shm", "-journal", ".training")


@pytest.mark.parametrize("suffix", COMPANIONS)
@pytest.mark.parametrize(
    "write",
    [
        lambda ledger, source, out: ledger.export(out),
        lambda ledger, source, out: ledger.copy(out),
        lambda ledger, source, out: Ledger.import_lines(source, out),
        lambda ledger, source, out: ledger.pin().keep(out),
        lambda ledger, source, out: Ledger.open(source.with_name("run.ledger"), pin=out),
    ],
    ids=["export", "copy", "import", "pin", "open with pin"],
)
def test_no_output_takes_the_place_of_a_file_of_a_ledger(
    ledger_file: Path, suffix: str, write: Callable[[Ledger, Path, Path], object]
) -> None:
    source, out = exported(ledger_file), beside(ledger_file, suffix)
    files = contents(ledger_file.parent)
    with Ledger.read(ledger_file) as ledger, pytest.raises(StorageRefused, match=r"would be lost|already"):
        write(ledger, source, out)
    assert contents(ledger_file.parent) == files


@pytest.mark.parametrize("name", ["link", "hard", "folder/run.ledger", "folder/run.ledger-wal"])
def test_a_ledger_is_known_by_any_name(ledger_file: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(ledger_file)
    (tmp_path / "hard").hardlink_to(ledger_file)
    (tmp_path / "folder").symlink_to(tmp_path)
    with Ledger.read(ledger_file) as ledger, pytest.raises(StorageRefused, match="would be lost"):
        ledger.export(tmp_path / name)


def test_the_name_an_output_has_while_it_is_written_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "run.new"
    write_rounds(path, 1)
    with Ledger.read(path) as ledger:
        for write in (ledger.export, ledger.copy, ledger.pin().keep):
            with pytest.raises(StorageRefused, match="would be lost"):
                write(tmp_path / "run")
        assert ledger.verify().ok


def test_what_has_the_name_of_an_import_is_left_alone(ledger_file: Path, tmp_path: Path) -> None:
    source = exported(ledger_file).rename(tmp_path / "back.ledger.import")
    Ledger.import_lines(source, tmp_path / "back.ledger")
    source.unlink()
    source.mkdir()
    with Ledger.read(ledger_file) as ledger:
        ledger.export(tmp_path / "lines")
    Ledger.import_lines(tmp_path / "lines", tmp_path / "back too.ledger")
    (tmp_path / "back too.ledger").unlink()
    (tmp_path / "back too.ledger.import").mkdir()
    Ledger.import_lines(tmp_path / "lines", tmp_path / "back too.ledger")
    with Ledger.read(tmp_path / "back.ledger") as one, Ledger.read(tmp_path / "back too.ledger") as two:
        assert one.head() == two.head()


def contents(folder: Path) -> dict[str, bytes]:
    # A reader makes the shared index and an empty tail anew.
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("-shm", "-wal"))}
