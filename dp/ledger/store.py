"""One SQLite file that keeps entries durably, in order, for many processes, and says so when it cannot.

    writer   BEGIN IMMEDIATE ... COMMIT    one at a time; every COMMIT is synced before it returns
    reader   one SELECT                    sees a consistent prefix, never waits

This file knows locks, modes, pragmas and what SQLite's errors mean; it does not know what an entry says and
it does not judge the chain. The triggers guard against accidents; against forgers there is `dp.ledger.chain`.
Whatever bytes lie at the path, the outcome is rows or a named error, never a foreign exception.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dp.canonical import MAX_BODY_BYTES
from dp.errors import BadParameters, Corrupt, LedgerError, Locked, RolledBack, StorageRefused, WrongVersion
from dp.ledger.chain import Entry, Kind
from dp.ledger.cohorts import Opening
from dp.ledger.place import APPLICATION_ID, beside, require_file, require_one_name, require_plain_tails
from dp.ledger.vouching import Witness
from dp.place import file_system_of, require_not_remote

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
COLUMNS = "seq, kind, body, prev, hash, signature, key_id"
FIRST_SEQ = -(2**63)
SMALLEST_PAGE = 512
ROWS_AT_ONCE = 512
CHARGE_ID_BYTES = 32
_CHARGE_ID = b'"charge_id":"'

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

_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_left_by_parent: list[tuple[tuple[int, int], sqlite3.Connection]] = []


class Store:
    """One connection to one ledger file, used by the process and thread that opened it.

    Guarantee: when `writing()` ends without an exception its rows survive a crash of the process and of the
        machine; when it raises, no row of it is visible to anybody through this connection.
    Raises: Corrupt, WrongVersion, Locked, StorageRefused, RolledBack from every method.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = connection
        self._process = os.getpid()
        self._thread = threading.get_ident()
        self._file = _identity(path)
        _open_stores.add(self)

    # --- opening ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, timeout_seconds: float) -> Store:
        """A new, empty file with mode 0600, whatever the umask."""
        require_not_remote(path)
        require_plain_tails(path)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
        except OSError as wrong:
            raise StorageRefused(f"cannot create {path}: {wrong.strerror}; choose another place") from wrong
        with _named_errors(path), _connecting(path, "rw", timeout_seconds) as connection:
            _make_durable(path, connection)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            for statement in SCHEMA.values():
                connection.execute(statement)
            return cls(path, connection)

    @classmethod
    def open(cls, path: Path, timeout_seconds: float) -> Store:
        """The existing file, for reading and appending."""
        require_not_remote(path)
        require_file(path)
        require_plain_tails(path)
        require_one_name(path)
        with _named_errors(path), _connecting(path, "rw", timeout_seconds) as connection:
            _require_ours(path, connection)
            _make_durable(path, connection)
            _require_locks(path, connection)
            return cls(path, connection)

    @classmethod
    def read(cls, path: Path, timeout_seconds: float) -> Store:
        """The existing file, for reading only; also from a place where nothing can be written."""
        require_file(path)
        require_plain_tails(path)
        try:
            return cls._read(path, "ro", timeout_seconds)
        except StorageRefused:
            # Without write access SQLite cannot make its shared index. That is no obstacle when there is no
            # unmerged tail to index: then nobody is writing and the file alone is the ledger.
            if _size(beside(path, "-wal")):
                raise
            return cls._read(path, "ro&immutable=1", timeout_seconds)

    @classmethod
    def _read(cls, path: Path, mode: str, timeout_seconds: float) -> Store:
        with _named_errors(path), _connecting(path, mode, timeout_seconds) as connection:
            _require_ours(path, connection)
            return cls(path, connection)

    def close(self) -> None:
        """Merges the tail and gives up the file; harmless when closed before or in a forked child."""
        if self._connection is not None and self._process == os.getpid():
            with _named_errors(self.path):
                self._live().close()
        self._connection = None
        _open_stores.discard(self)

    @property
    def is_usable(self) -> bool:
        """Whether this process and thread may use it, and it is not closed."""
        mine = (self._process, self._thread) == (os.getpid(), threading.get_ident())
        return mine and self._connection is not None

    # --- reading and appending -------------------------------------------------------------------

    def entries(self, since: int = FIRST_SEQ) -> Iterator[Entry]:
        """Entries with seq >= since, ascending; those appended while reading may or may not be among them.

        Read in pieces, so that no cursor stays open: a writer's own snapshot must never be an old one.
        """
        rows = self._rows(">=", since)
        yield from map(_entry, rows)
        while len(rows) == ROWS_AT_ONCE:
            last = rows[-1][0]
            rows = self._rows(">", last)
            yield from map(_entry, rows)
            _require_further(rows, (last,))

    def _rows(self, relation: str, seq: int) -> list[tuple[Any, ...]]:
        query = f"SELECT {COLUMNS} FROM entry WHERE seq {relation} ? ORDER BY seq LIMIT {ROWS_AT_ONCE}"
        with _named_errors(self.path):
            return self._live().execute(query, (seq,)).fetchall()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the one write lock; commits at the end, rolls back on any exception."""
        with _named_errors(self.path):
            connection = self._live()
            self._require_same_file()
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with _named_errors(self.path):
                connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                # A rollback that fails loses nothing: what was not committed never counts.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """What is read inside is of one moment, whatever others write meanwhile; nothing may be written inside."""
        connection = self._live()
        with _named_errors(self.path):
            connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:
                # Nothing was written in it, so nothing can be lost with it.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    def append(self, entry: Entry) -> None:
        """Inserts one entry; only inside `writing()`."""
        row = (entry.seq, entry.kind, entry.body, entry.prev, entry.hash, entry.signature, entry.key_id)
        with _named_errors(self.path):
            self._live().execute(f"INSERT INTO entry ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def openings(self, since: int = FIRST_SEQ) -> Iterator[Opening]:
        """The openings of entries with seq >= since, in their order; all that are there, erased ones too."""
        rows = self._opening_rows(">=", since, FIRST_SEQ)
        yield from map(_opening, rows)
        while len(rows) == ROWS_AT_ONCE:
            last = rows[-1][:2]
            rows = self._opening_rows(">", *last)
            yield from map(_opening, rows)
            _require_further(rows, last)

    def _opening_rows(self, relation: str, seq: int, position: int) -> list[tuple[Any, ...]]:
        query = (
            f"SELECT seq, position, pseudonym, salt FROM opening WHERE (seq, position) {relation} (?, ?) "
            f"ORDER BY seq, position LIMIT {ROWS_AT_ONCE}"
        )
        with _named_errors(self.path):
            return self._live().execute(query, (seq, position)).fetchall()

    def openings_of(self, seq: int) -> list[Opening]:
        """The openings of one entry, in their order."""
        query = "SELECT seq, position, pseudonym, salt FROM opening WHERE seq = ? ORDER BY position"
        with _named_errors(self.path):
            return [_opening(row) for row in self._live().execute(query, (seq,)).fetchall()]

    def require_no_openings_after(self, seq: int) -> None:
        """Nothing lies beside an entry that is not there yet.  Raises: Corrupt."""
        self._require_no_openings("?", seq)

    def _require_no_openings(self, end: str, *values: object) -> None:
        # Entries and openings are compared in one query: another process may be adding both.
        stray = self._asked(f"SELECT seq FROM opening WHERE seq > {end} LIMIT 1", *values)
        if stray:
            at = stray[0][0] if isinstance(stray[0][0], int) else None
            raise Corrupt(f"entry {at} is not there, but openings of it are; somebody put them there", seq=at)

    def add_openings(self, openings: Sequence[Opening]) -> None:
        """Inserts the openings of an entry; only inside `writing()`."""
        rows = [(each.seq, each.position, each.pseudonym, each.salt) for each in openings]
        with _named_errors(self.path):
            self._live().executemany("INSERT INTO opening (seq, position, pseudonym, salt) VALUES (?, ?, ?, ?)", rows)

    def erase(self, openings: Sequence[Opening]) -> None:
        """Puts what is left of each opening in its place; only inside `writing()`, and `forget` after it."""
        places = [(each.seq, each.position) for each in openings]
        with _named_errors(self.path):
            self._live().executemany("DELETE FROM opening WHERE seq = ? AND position = ?", places)
        self.add_openings([each.erased() for each in openings])

    def forget(self) -> None:
        """Merges the tail, so that no older page stays in it.  Raises: Locked while another process reads."""
        with _named_errors(self.path):
            busy = self._live().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Locked(f"{self.path} is erased, but its tail still holds old pages for a reader; erase again later")

    def newest(self, kind: Kind) -> Entry | None:
        """The last entry of this kind; searched from the end, so that a recent one is found at once."""
        rows = self._asked(f"SELECT {COLUMNS} FROM entry WHERE kind = ? ORDER BY seq DESC LIMIT 1", str(kind))
        return _entry(rows[0]) if rows else None

    def entries_of(self, kind: Kind) -> list[Entry]:
        """All entries of this kind, ascending."""
        return list(map(_entry, self._asked(f"SELECT {COLUMNS} FROM entry WHERE kind = ? ORDER BY seq", str(kind))))

    def charge_ids(self, before: int) -> set[str]:
        """The charge ids, in hex, that RESERVE entries before this one say; their text only, unjudged.

        Guarantee: in a canonical body the marker stands nowhere but before the id, for quotes inside strings are
            escaped.
        """
        start, length = f"instr(body, X'{_CHARGE_ID.hex()}') + {len(_CHARGE_ID)}", 2 * CHARGE_ID_BYTES
        query = f"SELECT substr(body, {start}, {length}) FROM entry WHERE kind = ? AND seq < ?"
        return {_text(found) for (found,) in self._asked(query, str(Kind.RESERVE), before)}

    def witnesses(self) -> Iterator[Witness]:
        """Every witness, by number and party."""
        yield from map(_witness, self._asked("SELECT seq, party, signature FROM witness ORDER BY seq, party"))

    def add_witness(self, witness: Witness) -> None:
        """Inserts a witness that is not there yet; only inside `writing()`."""
        row = (witness.seq, witness.party, witness.signature)
        with _named_errors(self.path):
            self._live().execute("INSERT OR IGNORE INTO witness (seq, party, signature) VALUES (?, ?, ?)", row)

    def copy_to(self, path: Path) -> None:
        """Everything that is committed, tail included, in a new file at path, which is empty or absent."""
        with _named_errors(path):
            self._live().execute("VACUUM INTO ?", (str(path),))

    def _asked(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with _named_errors(self.path):
            return self._live().execute(query, values).fetchall()

    def checked_entries(self) -> Iterator[Entry]:
        """All entries, then that no openings lie behind the last one, then SQLite's own check of every page, cell and
        column type. Raises: Corrupt."""
        yield from self.entries()
        self._require_no_openings("(SELECT max(seq) FROM entry)")
        with _named_errors(self.path):
            found = self._live().execute("PRAGMA integrity_check(1)").fetchall()
        if found != [(b"ok",)]:
            raise Corrupt(f"{self.path} has damaged pages: {_text(found)[:200]}")

    def _live(self) -> sqlite3.Connection:
        if self._process != os.getpid():
            raise StorageRefused(
                f"the ledger was opened by process {self._process} and is used in process {os.getpid()}; "
                "a connection does not survive fork: open the ledger after forking"
            )
        if self._thread != threading.get_ident():
            raise StorageRefused("the ledger is used in another thread than the one that opened it")
        if self._connection is None:
            raise StorageRefused(f"the ledger {self.path} is closed; open it again")
        return self._connection

    def _require_same_file(self) -> None:
        if _identity(self.path) != self._file:
            raise RolledBack(f"{self.path} was replaced while it was open; restore it and open it again")


def _entry(row: tuple[object, ...]) -> Entry:
    seq, kind, body, prev, digest, signature, key_id = row
    if not (
        isinstance(seq, int)
        and isinstance(kind, bytes)
        and isinstance(body, bytes)
        and isinstance(prev, bytes)
        and isinstance(digest, bytes)
        and isinstance(signature, bytes)
        and isinstance(key_id, bytes)
    ):
        where = seq if isinstance(seq, int) else None
        raise Corrupt(f"entry {where} holds a column of the wrong type", seq=where)
    if (len(prev), len(digest), len(signature), len(key_id)) != (32, 32, 64, 16):
        raise Corrupt(f"entry {seq} holds a hash, signature or key id of the wrong length", seq=seq)
    try:
        return Entry(seq, kind.decode("ascii"), body, prev, digest, signature, key_id)
    except UnicodeDecodeError as wrong:
        raise Corrupt(f"entry {seq} has a kind that is no word", seq=seq) from wrong


def _require_further(rows: Sequence[tuple[Any, ...]], last: tuple[int, ...]) -> None:
    """Rows read behind `last` end behind it: in a damaged tree they may not, and reading on would never end."""
    if rows and rows[-1][: len(last)] <= last:
        raise Corrupt(f"the rows behind entry {last[0]} lead back to it; restore a copy", seq=last[0])


def _opening(row: tuple[object, ...]) -> Opening:
    seq, position, pseudonym, salt = row
    if not (
        isinstance(seq, int) and isinstance(position, int) and isinstance(pseudonym, bytes) and isinstance(salt, bytes)
    ):
        where = seq if isinstance(seq, int) else None
        raise Corrupt(f"an opening of entry {where} holds a column of the wrong type", seq=where)
    try:
        return Opening(seq, position, pseudonym, salt)
    except BadParameters as wrong:
        raise Corrupt(str(wrong), seq=seq) from wrong


def _witness(row: tuple[object, ...]) -> Witness:
    seq, party, signature = row
    if not (isinstance(seq, int) and isinstance(party, bytes) and isinstance(signature, bytes)):
        where = seq if isinstance(seq, int) else None
        raise Corrupt(f"a witness of entry {where} holds a column of the wrong type", seq=where)
    try:
        return Witness(seq, party, signature)
    except BadParameters as wrong:
        raise Corrupt(str(wrong), seq=seq) from wrong


# --- SQLite, told what we need -------------------------------------------------------------------


def _connect(path: Path, mode: str, timeout_seconds: float) -> sqlite3.Connection:
    identity = _identity(path)
    if any(identity == inherited for inherited, _ in _left_by_parent):
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
def _connecting(path: Path, mode: str, timeout_seconds: float) -> Iterator[sqlite3.Connection]:
    connection = _connect(path, mode, timeout_seconds)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _require_ours(path: Path, connection: sqlite3.Connection) -> None:
    size = _size(path)
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
    if {_text(name): _text(sql) for name, sql in rows} != SCHEMA:
        raise Corrupt(f"{path} does not have the tables and triggers of a ledger; somebody altered them")


def _make_durable(path: Path, connection: sqlite3.Connection) -> None:
    answer = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if answer != (b"wal",):
        raise StorageRefused(f"{path} cannot keep a write-ahead log here; choose a local directory")
    # What is erased is overwritten, not only unlinked.
    connection.execute("PRAGMA secure_delete=ON")
    # NORMAL would not sync each commit, and a release could outlive its charge in a power cut.
    connection.execute("PRAGMA synchronous=FULL")


def _require_locks(path: Path, connection: sqlite3.Connection) -> None:
    """Where the kernel does not name the file system, two connections must at least exclude each other."""
    if file_system_of(path.parent):
        return
    connection.execute("BEGIN IMMEDIATE")
    probe = _connect(path, "rw", 0.0)
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


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _primary(wrong: sqlite3.Error) -> int:
    # The low byte is SQLite's primary code; Python's own complaints carry none and count as damage.
    return (getattr(wrong, "sqlite_errorcode", None) or 0) & 0xFF


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
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


def _leave_to_parent() -> None:
    # Neither used nor closed in the child: even closing could merge or remove the parent's log.
    for store in list(_open_stores):
        if store._connection is not None and store._file is not None:
            _left_by_parent.append((store._file, store._connection))
    _open_stores.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
