"""One SQLite file that keeps entries durably, in order, for many processes, and says so when it cannot.

    writer   BEGIN IMMEDIATE ... COMMIT    one at a time; every COMMIT is synced before it returns
    reader   one SELECT                    sees a consistent prefix, never waits

This file knows locks and transactions; it does not know what an entry says and it does not judge the chain. The
triggers guard against accidents; against forgers there is `dp.ledger.chain`.
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

from dp.errors import Corrupt, Locked, RolledBack, StorageRefused
from dp.ledger.chain import Entry, Kind
from dp.ledger.cohorts import Opening
from dp.ledger.connection import (
    SCHEMA,
    SCHEMA_VERSION,
    connecting,
    identity_of,
    left_by_parent,
    make_durable,
    named_errors,
    require_locks,
    require_ours,
    size_of,
    text_of,
)
from dp.ledger.place import APPLICATION_ID, beside, require_file, require_one_name, require_plain_tails
from dp.ledger.rows import entry_of, opening_of, require_further, witness_of
from dp.ledger.vouching import Witness
from dp.place import require_not_remote

COLUMNS = "seq, kind, body, prev, hash, signature, key_id"
FIRST_SEQ = -(2**63)
ROWS_AT_ONCE = 512
CHARGE_ID_BYTES = 32
_CHARGE_ID = b'"charge_id":"'

_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


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
        self._file = identity_of(path)
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
        with named_errors(path), connecting(path, "rw", timeout_seconds) as connection:
            make_durable(path, connection)
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
        with named_errors(path), connecting(path, "rw", timeout_seconds) as connection:
            require_ours(path, connection)
            make_durable(path, connection)
            require_locks(path, connection)
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
            if size_of(beside(path, "-wal")):
                raise
            return cls._read(path, "ro&immutable=1", timeout_seconds)

    @classmethod
    def _read(cls, path: Path, mode: str, timeout_seconds: float) -> Store:
        with named_errors(path), connecting(path, mode, timeout_seconds) as connection:
            require_ours(path, connection)
            return cls(path, connection)

    def close(self) -> None:
        """Merges the tail and gives up the file; harmless when closed before or in a forked child."""
        if self._connection is not None and self._process == os.getpid():
            with named_errors(self.path):
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
        yield from map(entry_of, rows)
        while len(rows) == ROWS_AT_ONCE:
            last = rows[-1][0]
            rows = self._rows(">", last)
            yield from map(entry_of, rows)
            require_further(rows, (last,))

    def _rows(self, relation: str, seq: int) -> list[tuple[Any, ...]]:
        query = f"SELECT {COLUMNS} FROM entry WHERE seq {relation} ? ORDER BY seq LIMIT {ROWS_AT_ONCE}"
        with named_errors(self.path):
            return self._live().execute(query, (seq,)).fetchall()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the one write lock; commits at the end, rolls back on any exception."""
        with named_errors(self.path):
            connection = self._live()
            self._require_same_file()
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with named_errors(self.path):
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
        with named_errors(self.path):
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
        with named_errors(self.path):
            self._live().execute(f"INSERT INTO entry ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def openings(self, since: int = FIRST_SEQ) -> Iterator[Opening]:
        """The openings of entries with seq >= since, in their order; all that are there, erased ones too."""
        rows = self._opening_rows(">=", since, FIRST_SEQ)
        yield from map(opening_of, rows)
        while len(rows) == ROWS_AT_ONCE:
            last = rows[-1][:2]
            rows = self._opening_rows(">", *last)
            yield from map(opening_of, rows)
            require_further(rows, last)

    def _opening_rows(self, relation: str, seq: int, position: int) -> list[tuple[Any, ...]]:
        query = (
            f"SELECT seq, position, pseudonym, salt FROM opening WHERE (seq, position) {relation} (?, ?) "
            f"ORDER BY seq, position LIMIT {ROWS_AT_ONCE}"
        )
        with named_errors(self.path):
            return self._live().execute(query, (seq, position)).fetchall()

    def openings_of(self, seq: int) -> list[Opening]:
        """The openings of one entry, in their order."""
        query = "SELECT seq, position, pseudonym, salt FROM opening WHERE seq = ? ORDER BY position"
        with named_errors(self.path):
            return [opening_of(row) for row in self._live().execute(query, (seq,)).fetchall()]

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
        with named_errors(self.path):
            self._live().executemany("INSERT INTO opening (seq, position, pseudonym, salt) VALUES (?, ?, ?, ?)", rows)

    def erase(self, openings: Sequence[Opening]) -> None:
        """Puts what is left of each opening in its place; only inside `writing()`, and `forget` after it."""
        places = [(each.seq, each.position) for each in openings]
        with named_errors(self.path):
            self._live().executemany("DELETE FROM opening WHERE seq = ? AND position = ?", places)
        self.add_openings([each.erased() for each in openings])

    def forget(self) -> None:
        """Merges the tail, so that no older page stays in it.  Raises: Locked while another process reads."""
        with named_errors(self.path):
            busy = self._live().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Locked(f"{self.path} is erased, but its tail still holds old pages for a reader; erase again later")

    def newest(self, kind: Kind) -> Entry | None:
        """The last entry of this kind; searched from the end, so that a recent one is found at once."""
        rows = self._asked(f"SELECT {COLUMNS} FROM entry WHERE kind = ? ORDER BY seq DESC LIMIT 1", str(kind))
        return entry_of(rows[0]) if rows else None

    def entries_of(self, kind: Kind) -> list[Entry]:
        """All entries of this kind, ascending."""
        return list(map(entry_of, self._asked(f"SELECT {COLUMNS} FROM entry WHERE kind = ? ORDER BY seq", str(kind))))

    def charge_ids(self, before: int) -> set[str]:
        """The charge ids, in hex, that RESERVE entries before this one say; their text only, unjudged.

        Guarantee: in a canonical body the marker stands nowhere but before the id, for quotes inside strings are
            escaped.
        """
        start, length = f"instr(body, X'{_CHARGE_ID.hex()}') + {len(_CHARGE_ID)}", 2 * CHARGE_ID_BYTES
        query = f"SELECT substr(body, {start}, {length}) FROM entry WHERE kind = ? AND seq < ?"
        return {text_of(found) for (found,) in self._asked(query, str(Kind.RESERVE), before)}

    def witnesses(self) -> Iterator[Witness]:
        """Every witness, by number and party."""
        yield from map(witness_of, self._asked("SELECT seq, party, signature FROM witness ORDER BY seq, party"))

    def add_witness(self, witness: Witness) -> None:
        """Inserts a witness that is not there yet; only inside `writing()`."""
        row = (witness.seq, witness.party, witness.signature)
        with named_errors(self.path):
            self._live().execute("INSERT OR IGNORE INTO witness (seq, party, signature) VALUES (?, ?, ?)", row)

    def copy_to(self, path: Path) -> None:
        """Everything that is committed, tail included, in a new file at path, which is empty or absent."""
        with named_errors(path):
            self._live().execute("VACUUM INTO ?", (str(path),))

    def _asked(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with named_errors(self.path):
            return self._live().execute(query, values).fetchall()

    def checked_entries(self) -> Iterator[Entry]:
        """All entries, then that no openings lie behind the last one, then SQLite's own check of every page, cell and
        column type. Raises: Corrupt."""
        yield from self.entries()
        self._require_no_openings("(SELECT max(seq) FROM entry)")
        with named_errors(self.path):
            found = self._live().execute("PRAGMA integrity_check(1)").fetchall()
        if found != [(b"ok",)]:
            raise Corrupt(f"{self.path} has damaged pages: {text_of(found)[:200]}")

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
        if identity_of(self.path) != self._file:
            raise RolledBack(f"{self.path} was replaced while it was open; restore it and open it again")


def _leave_to_parent() -> None:
    # Neither used nor closed in the child: even closing could merge or remove the parent's log.
    for store in list(_open_stores):
        if store._connection is not None and store._file is not None:
            left_by_parent.append((store._file, store._connection))
    _open_stores.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
