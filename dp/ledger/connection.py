"""What SQLite is told, and what its errors mean: a connection that keeps what it says it keeps, or a named refusal.

Whatever bytes lie at the path, the outcome is a connection to a ledger or a named error, never a foreign exception.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dp.canonical import MAX_BODY_BYTES
from dp.errors import Corrupt, LedgerError, Locked, StorageRefused, WrongVersion
from dp.ledger.place import APPLICATION_ID
from dp.place import file_system_of

SCHEMA_VERSION = 2
SCHEMA = {
    "entry": "CREATE TABLE entry (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL, "
    "prev BLOB NOT NULL, hash BLOB NOT NULL, signature BLOB NOT NULL, key_id BLOB NOT NULL) STRICT",
    "entry_is_not_changed": "CREATE TRIGGER entry_is_not_changed BEFORE UPDATE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END",
    "entry_is_not_removed": "CREATE TRIGGER entry_is_not_removed BEFORE DELETE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END",
    "opening": "CREATE TABLE opening (seq INTEGER NOT NULL, position INTEGER NOT NULL, pseudonym BLOB NOT NULL, "
    "salt BLOB NOT NULL, PRIMARY KEY (seq, position)) STRICT, WITHOUT ROWID",
    "opening_is_not_changed": "CREATE TRIGGER opening_is_not_changed BEFORE UPDATE ON opening "
    "BEGIN SELECT RAISE(ABORT, 'an opening is erased, never changed'); END",
    "witness": "CREATE TABLE witness (seq INTEGER NOT NULL, party BLOB NOT NULL, signature BLOB NOT NULL, "
    "PRIMARY KEY (seq, party)) STRICT, WITHOUT ROWID",
    "witness_is_not_changed": "CREATE TRIGGER witness_is_not_changed BEFORE UPDATE ON witness "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END",
    "witness_is_not_removed": "CREATE TRIGGER witness_is_not_removed BEFORE DELETE ON witness "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END",
}
SMALLEST_PAGE = 512

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REFUSED = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_INTERRUPT,
}

# Files that were open in the parent when this process was forked, with the connections, which stay untouched.
left_by_parent: list[tuple[tuple[int, int], sqlite3.Connection]] = []


def connect(path: Path, mode: str, timeout_seconds: float) -> sqlite3.Connection:
    identity = identity_of(path)
    if any(identity == inherited for inherited, _ in left_by_parent):
        # SQLite counts file locks per process and believes it still holds the parent's, which the kernel
        # did not hand on: a connection opened here would write without any lock.
        raise StorageRefused(
            f"{path} was open in the parent when this process was forked; close it before forking, or spawn"
        )
    if sqlite3.sqlite_version_info < (3, 37):
        raise StorageRefused(f"SQLite {sqlite3.sqlite_version} is too old for typed tables; 3.37 is needed")
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None)
    # Names come back as bytes: damaged text must become our error, not a codec's.
    connection.text_factory = bytes
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * MAX_BODY_BYTES)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def connecting(path: Path, mode: str, timeout_seconds: float) -> Iterator[sqlite3.Connection]:
    connection = connect(path, mode, timeout_seconds)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def require_ours(path: Path, connection: sqlite3.Connection) -> None:
    size = size_of(path)
    if size < SMALLEST_PAGE:
        raise Corrupt(f"{path} has {size} bytes, less than any ledger; restore a copy")
    application = _number(connection, "application_id")
    version = _number(connection, "user_version")
    if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise WrongVersion(
            f"{path} has application id {application:#x} and schema {version}, expected {APPLICATION_ID:#x} "
            f"and {SCHEMA_VERSION}; it is no ledger, or one of another version"
        )
    rows = connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
    if {text_of(name): text_of(sql) for name, sql in rows} != SCHEMA:
        raise Corrupt(f"{path} does not have the tables and triggers of a ledger; somebody altered them")


def make_durable(path: Path, connection: sqlite3.Connection) -> None:
    answer = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if answer != (b"wal",):
        raise StorageRefused(f"{path} cannot keep a write-ahead log here; choose a local directory")
    # What is erased is overwritten, not only unlinked.
    connection.execute("PRAGMA secure_delete=ON")
    # NORMAL would not sync each commit, and a release could outlive its charge in a power cut.
    connection.execute("PRAGMA synchronous=FULL")


def require_locks(path: Path, connection: sqlite3.Connection) -> None:
    """Where the kernel does not name the file system, two connections must at least exclude each other."""
    if file_system_of(path.parent):
        return
    connection.execute("BEGIN IMMEDIATE")
    probe = connect(path, "rw", 0.0)
    try:
        probe.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as busy:
        if _primary(busy) not in _BUSY:
            raise
    else:
        raise StorageRefused(f"two writers could lock {path} at once; choose a local directory")
    finally:
        probe.close()
        connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def text_of(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _primary(wrong: sqlite3.Error) -> int:
    # The low byte is SQLite's primary code; Python's own complaints carry none and count as damage.
    return (getattr(wrong, "sqlite_errorcode", None) or 0) & 0xFF


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as wrong:
        raise _named(path, wrong) from wrong
    except UnicodeDecodeError as wrong:
        # Damaged names inside SQLite's own error message.
        raise Corrupt(f"{path} is damaged: its schema is no text; restore a copy") from wrong


def _named(path: Path, wrong: sqlite3.Error) -> LedgerError:
    code = _primary(wrong)
    if code in _BUSY:
        return Locked(f"{path} is held by another writer; nothing was written, try again")
    if code in _REFUSED:
        return StorageRefused(f"{path} cannot be read or written ({wrong}); nothing was written")
    return Corrupt(f"{path} is damaged or no ledger ({wrong}); restore a copy")
