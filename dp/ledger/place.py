"""Where a ledger may lie: a local, lockable, regular file; its key beside it, for its owner's eyes only.

    run.ledger            the entries (dp.ledger.store)
    run.ledger.key        the signer's seed, mode 0600
    run.ledger.new        a ledger being made; renamed once it is complete

File locks are advisory on network file systems and often absent: two writers there would both spend the
last of a budget, so those places are refused by name.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dp.errors import Corrupt, Locked, StorageRefused

MOUNTS = Path("/proc/self/mountinfo")
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs"})
KEY_HEADER = b"secagg ledger signing key v1\n"


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a ledger: its whole name and a suffix."""
    return path.with_name(path.name + suffix)


def file_system_of(path: Path) -> str:
    """The type of the file system that holds path, "" where the kernel does not tell.

    Source: proc(5), mountinfo: field 5 is the mount point, the type follows the lone "-".
    """
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    found = ("", "")
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _unescape((before.split(" ") + [""] * 5)[4])
        # Later lines lie over earlier ones with the same mount point, hence >=.
        if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(found[0]):
            found = (point, after.split(" ")[0])
    return found[1]


def _unescape(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point


def require_not_remote(path: Path) -> None:
    """Path lies on no network file system known by name. Raises: StorageRefused."""
    kind = file_system_of(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StorageRefused(f"{path} lies on {kind}, where file locks do not hold; choose a local directory")


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


def require_directory(directory: Path) -> None:
    """The directory exists afterwards; one that is made here belongs to its owner alone.

    Raises: StorageRefused.
    """
    try:
        if not directory.exists():
            directory.mkdir(0o700)
            directory.chmod(0o700)
    except OSError as wrong:
        raise StorageRefused(f"cannot create the directory {directory}: {wrong.strerror}") from wrong


@contextmanager
def directory_lock(directory: Path, timeout_seconds: float) -> Iterator[None]:
    """One process at a time may make a ledger in this directory; the kernel frees the lock at any death.

    Raises: Locked after timeout_seconds; StorageRefused where directories cannot be locked.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as wrong:
        raise StorageRefused(f"cannot open the directory {directory}: {wrong.strerror}") from wrong
    try:
        _take_lock(descriptor, directory, timeout_seconds)
        yield
    finally:
        os.close(descriptor)


def _take_lock(descriptor: int, directory: Path, timeout_seconds: float) -> None:
    give_up = time.monotonic() + timeout_seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as wrong:
            if time.monotonic() >= give_up:
                raise Locked(f"another process makes a ledger in {directory}; try again") from wrong
        except OSError as wrong:
            raise StorageRefused(f"{directory} cannot be locked: {wrong.strerror}; choose another") from wrong
        time.sleep(0.005)


def sync_directory(directory: Path) -> None:
    """Makes the renames in a directory survive a power cut. Raises: StorageRefused."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as wrong:
        raise StorageRefused(f"cannot sync the directory {directory}: {wrong.strerror}") from wrong


def write_key(path: Path, seed: bytes) -> None:
    """Stores the signer's seed with mode 0600, whatever the umask. Raises: StorageRefused."""
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(KEY_HEADER + seed.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(descriptor)
    except OSError as wrong:
        raise StorageRefused(f"cannot store the signing key {path}: {wrong.strerror}") from wrong


def read_key(path: Path) -> bytes:
    """The signer's seed.

    Raises: StorageRefused when it is missing or readable by others; Corrupt when it is no key.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise StorageRefused(
                f"the signing key {path} can be read by others; run chmod 600 on it and "
                "treat entries since then as unsigned"
            )
        raw = path.read_bytes()
    except OSError as wrong:
        raise StorageRefused(
            f"cannot read the signing key {path}: {wrong.strerror}; without it the ledger can only be read"
        ) from wrong
    text = raw.removeprefix(KEY_HEADER).removesuffix(b"\n")
    if len(raw) != len(KEY_HEADER) + 65 or len(text) != 64 or set(text) - set(b"0123456789abcdef"):
        raise Corrupt(f"{path} is not a signing key of a ledger; restore it from a copy")
    return bytes.fromhex(text.decode("ascii"))
