"""The files of a ledger: a regular file; its key beside it, for its owner's eyes only.

    run.ledger            the entries (dp.ledger.store)
    run.ledger.key        the signer's seed and the secret of its pseudonyms, mode 0600
    run.ledger.new        a ledger being made; renamed once it is complete

Which directories may hold them says `dp.place`.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dp.errors import Corrupt, Locked, StorageRefused
from dp.place import is_mount_point, open_directory, open_regular, take_lock

KEY_HEADER = b"secagg ledger signing key v2\n"
LONGEST_KEY = 1024
# What SQLite keeps beside a database.
TAILS = ("-wal", "-shm", "-journal")
# Everything that may lie beside a ledger under its name; the last one says that a training goes on with it.
COMPANIONS = (".key", ".key.next", *TAILS, ".training")
# In the header of the ledger file: SQLite's file format, 1.3.
APPLICATION_ID = 0x5EC466DB
_DATABASE = b"SQLite format 3\0"
_APPLICATION_ID_AT = 68


@dataclass(frozen=True, slots=True)
class Keys:
    """What a ledger's key file holds, 32 bytes each: the signer's seed, which may be changed for another, and the
    secret of its pseudonyms, which stays as long as the ledger."""

    seed: bytes = field(repr=False)
    secret: bytes = field(repr=False)


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a ledger: its whole name and a suffix."""
    return path.with_name(path.name + suffix)


def require_file(path: Path) -> None:
    """Path is a regular file this process may read. Raises: StorageRefused."""
    try:
        mode = path.stat().st_mode
    except OSError as wrong:
        raise StorageRefused(f"cannot open {path}: {wrong.strerror}") from wrong
    if not stat.S_ISREG(mode):
        raise StorageRefused(f"{path} is not a regular file; name the ledger file itself")
    if not os.access(path, os.R_OK):
        raise StorageRefused(f"{path} may not be read by this user; run as its owner")


def require_plain_tails(path: Path) -> None:
    """What lies beside the ledger for SQLite is regular files, no links and no pipes: opening those would wait, or
    write elsewhere.  Raises: StorageRefused."""
    for tail in (beside(path, suffix) for suffix in TAILS):
        try:
            mode = tail.lstat().st_mode
        except FileNotFoundError:
            continue
        except OSError as wrong:
            raise StorageRefused(f"cannot open {tail}: {wrong.strerror}") from wrong
        if not stat.S_ISREG(mode):
            raise StorageRefused(f"{tail} is not a regular file; remove it")


def require_one_name(path: Path) -> None:
    """The ledger file goes by this name only: SQLite keeps the tail and the locks in files named after the ledger,
    so that under two names there are two tails, and either grants the last of a budget.

    Raises: StorageRefused for a hard link, and for a single file that is mounted (of itself, tail or locks).
    """
    try:
        links = path.stat().st_nlink
    except OSError as wrong:
        raise StorageRefused(f"cannot open {path}: {wrong.strerror}") from wrong
    if links != 1:
        raise StorageRefused(
            f"{path} has {links} names (hard links), and its tail would be known by one of them only; remove the others"
        )
    for suffix in ("", "-wal", "-shm"):
        if is_mount_point(beside(path, suffix)):
            raise StorageRefused(
                f"{beside(path, suffix)} is mounted as a single file and goes by another name as well; "
                "mount the directory it lies in"
            )


def require_not_of_a_ledger(out: Path) -> None:
    """Something may be written to out: neither it, nor the name it has while it is written, is a ledger or a file
    that belongs to one.

    Raises: StorageRefused.
    """
    for path in (out, beside(out, ".new")):
        path = Path(os.path.realpath(path.parent)) / path.name
        bases = [path.with_name(path.name.removesuffix(suffix)) for suffix in COMPANIONS if path.name.endswith(suffix)]
        if _is_ledger_or_key(path) or any(base.name and _is_ledger_or_key(base) for base in bases):
            raise StorageRefused(f"{path} is a ledger or belongs to one, and would be lost; write to another place")


def _is_ledger_or_key(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with os.fdopen(open_regular(path), "rb") as file:
            start = file.read(_APPLICATION_ID_AT + 4)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as wrong:
        raise StorageRefused(f"cannot see what {path} is: {wrong.strerror}; write to another place") from wrong
    number = APPLICATION_ID.to_bytes(4, "big")
    return start.startswith(KEY_HEADER) or (start.startswith(_DATABASE) and start[_APPLICATION_ID_AT:] == number)


@contextmanager
def directory_lock(directory: Path, timeout_seconds: float) -> Iterator[None]:
    """One process at a time may make a ledger in this directory; the kernel frees the lock at any death.

    Raises: Locked after timeout_seconds; StorageRefused where directories cannot be locked.
    """
    descriptor = open_directory(directory)
    try:
        give_up = time.monotonic() + timeout_seconds
        while not take_lock(descriptor, directory):
            if time.monotonic() >= give_up:
                raise Locked(f"another process makes a ledger in {directory}; try again")
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def write_key(path: Path, keys: Keys) -> None:
    """Stores the keys with mode 0600, whatever the umask. Raises: StorageRefused."""
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(KEY_HEADER + f"{keys.seed.hex()}\n{keys.secret.hex()}\n".encode("ascii"))
            file.flush()
            os.fsync(descriptor)
    except OSError as wrong:
        raise StorageRefused(f"cannot store the signing key {path}: {wrong.strerror}") from wrong


def read_key(path: Path) -> Keys:
    """The signer's seed and the ledger's secret.

    Raises: StorageRefused when it is missing, readable by others or no file; Corrupt when it is no key.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise StorageRefused(
                    f"the signing key {path} can be read by others; run chmod 600 on it and "
                    "treat entries since then as unsigned"
                )
            raw = file.read(LONGEST_KEY + 1)
    except OSError as wrong:
        raise StorageRefused(
            f"cannot read the signing key {path}: {wrong.strerror}; without it the ledger can only be read"
        ) from wrong
    found = re.fullmatch(re.escape(KEY_HEADER) + rb"([0-9a-f]{64})\n([0-9a-f]{64})\n", raw)
    if found is None:
        raise Corrupt(f"{path} is not a signing key of a ledger; restore it from a copy")
    return Keys(bytes.fromhex(found[1].decode("ascii")), bytes.fromhex(found[2].decode("ascii")))
