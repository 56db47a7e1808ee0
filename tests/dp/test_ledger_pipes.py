"""Pipes where a ledger's files should be: refused by name, never waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dp.errors import StorageRefused
from dp.ledger import Ledger
from dp.ledger.pins import Pin
from dp.ledger.place import beside
from dp.ledger.session import Session
from tests.dp.ledger_kit import WIDE, write_rounds


def never(*arguments: object) -> None:
    raise AssertionError("it waited for a pipe")


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, never)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_rounds(tmp_path / "run.ledger", 1)
    return tmp_path / "run.ledger"


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("opening", [Ledger.open, Ledger.read])
def test_what_sqlite_keeps_beside_it_is_files(path: Path, suffix: str, opening: Callable[[Path], Ledger]) -> None:
    pipe(beside(path, suffix))
    with pytest.raises(StorageRefused, match="not a regular file"):
        opening(path)
    beside(path, suffix).unlink()
    beside(path, suffix).symlink_to(path.with_name("elsewhere"))
    with pytest.raises(StorageRefused, match="not a regular file"):
        opening(path)
    assert not path.with_name("elsewhere").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_new_ledger_finds_no_pipes_beside_it(tmp_path: Path, suffix: str) -> None:
    pipe(tmp_path / f"run.ledger{suffix}")
    with pytest.raises(StorageRefused, match="not a regular file"):
        Ledger.open(tmp_path / "run.ledger", WIDE)


@pytest.mark.parametrize("suffix", [".key", ".key.next"])
def test_a_key_is_a_file(path: Path, suffix: str) -> None:
    with Ledger.open(path) as ledger:
        ledger.rotate_key()
        new = beside(path, ".key").read_bytes()
    os.mkdir(path.with_name("other"))
    write_rounds(path.with_name("other") / "run.ledger", 1)
    beside(path, ".key").write_bytes(beside(path.with_name("other") / "run.ledger", ".key").read_bytes())
    assert beside(path, ".key").read_bytes() != new
    pipe(beside(path, suffix))
    with pytest.raises(StorageRefused, match="not a regular file"):
        Ledger.open(path)


def test_a_session_a_pin_and_an_export_are_files(path: Path, tmp_path: Path) -> None:
    fifo = pipe(tmp_path / "fifo")
    for use in (
        lambda: Session(fifo),
        lambda: Pin.read(fifo),
        lambda: Ledger.open(path, pin=fifo),
        lambda: Ledger.import_lines(fifo, tmp_path / "new.ledger"),
    ):
        with pytest.raises(StorageRefused, match="not a regular file"):
            use()
    assert not (tmp_path / "new.ledger").exists()
