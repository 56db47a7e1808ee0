"""Directories that keep state: local, lockable, the owner's own, and synced when a name in them changes.

File locks are advisory on network file systems and often absent: two processes there would both spend the
last of a budget, or both go on with one round, so those places are refused by name.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dp.errors import StorageRefused

MOUNTS = Path("/proc/self/mountinfo")
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs"})


def file_system_of(path: Path) -> str:
    """The type of the file system that holds path, "" where the kernel does not tell.

    Source: proc(5), mountinfo: field 5 is the mount point, the type follows the lone "-".
    """
    real = os.path.realpath(path)
    found = ("", "")
    for point, kind in _mounts():
        # Later lines lie over earlier ones with the same mount point, hence >=.
        if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted at path itself: a file as well, which then has a second name. As above."""
    real = os.path.realpath(path)
    return any(point == real for point, _ in _mounts())


def _mounts() -> Iterator[tuple[str, str]]:
    """Every mount point and the type of what is mounted there; none where the kernel does not tell."""
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        yield _unescape((before.split(" ") + [""] * 5)[4]), after.split(" ")[0]


def _unescape(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point


def require_not_remote(path: Path) -> None:
    """Path lies on no network file system known by name. Raises: StorageRefused."""
    kind = file_system_of(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StorageRefused(f"{path} lies on {kind}, where file locks do not hold; choose a local directory")


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


def open_regular(path: Path) -> int:
    """A descriptor to read the regular file at path; whoever asked closes it. A pipe or device there is not waited for.

    Raises: StorageRefused; OSError where it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageRefused(f"{path} is not a regular file; put the file itself there")
    return descriptor


def open_directory(directory: Path) -> int:
    """A descriptor of the directory; whoever asked closes it. Raises: StorageRefused."""
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as wrong:
        raise StorageRefused(f"cannot open the directory {directory}: {wrong.strerror}") from wrong


def take_lock(descriptor: int, directory: Path) -> bool:
    """Whether the lock of an open file or directory is this process's now; the kernel frees it at any death.

    Raises: StorageRefused where directories cannot be locked.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as wrong:
        raise StorageRefused(f"{directory} cannot be locked: {wrong.strerror}; choose a local directory") from wrong
    return True


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


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the path's place when all of it is on the disk; until then nothing changes there.

    It belongs to its owner alone, whatever the umask.
    Raises: StorageRefused.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        with fresh.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as wrong:
        raise StorageRefused(f"cannot store {path}: {wrong.strerror}") from wrong
    finally:
        # Gone after a success; after a failure that failure is what is told, not the rest it left.
        with suppress(OSError):
            fresh.unlink()
    sync_directory(path.parent)
