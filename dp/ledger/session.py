"""Which opened ledger holds a reservation, and whether it still lives: asked of the kernel, not of a clock.

    every writer    holds a shared lock on one byte of the key file, at an offset drawn with its session
    is it dead?     would an exclusive lock on that byte be granted?
    one name        and on one byte more, far behind, at an offset drawn from the name the file goes by;
                    whoever finds another byte there locked came by a second name, and is refused

The kernel drops the lock when the process ends, however it ends, and sees through process ids that are used
again, restarts, and containers that cannot see each other's processes. Where it has no locks that belong to
an open file, the process id alone is asked: a reused one makes the dead look alive, which costs a settlement
later, never a release.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import weakref
from dataclasses import dataclass
from pathlib import Path

from dp.canonical import Body, bytes_of, integer_of, require_keys
from dp.errors import BadParameters, StorageRefused
from dp.place import open_regular

# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_ASK: int | None = getattr(fcntl, "F_OFD_GETLK", None)

# Sessions lock bytes before this one, names bytes behind it.
_NAMES = 2**62
_TO_THE_END = 0

_open_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Owner:
    """Who reserved: 16 random bytes for one opened ledger, and its process id for the reader."""

    session: str
    pid: int

    def __post_init__(self) -> None:
        if not 1 <= self.pid < 2**31:
            raise BadParameters(f"no process has the id {self.pid}")

    def to_body(self) -> Body:
        """As it stands in a RESERVE entry."""
        return {"session": self.session, "pid": self.pid}

    @classmethod
    def from_body(cls, body: Body) -> Owner:
        """The inverse of `to_body`. Raises: BadParameters."""
        require_keys(body, "session", "pid")
        return cls(bytes_of(body, "session", 16).hex(), integer_of(body, "pid"))

    @property
    def offset(self) -> int:
        """The byte of the key file that is locked while this owner lives; the file need not reach so far."""
        return int(self.session[:16], 16) >> 2


class Session:
    """One opened ledger: alive until closed, forgotten, or its process ends.

    Raises: StorageRefused; also while the same key file is in use under another name, for there the ledger's tail
        is another one.
    """

    def __init__(self, key_path: Path) -> None:
        try:
            self._descriptor = open_regular(key_path)
        except OSError as wrong:
            raise StorageRefused(f"cannot open {key_path}: {wrong.strerror}") from wrong
        self._release = weakref.finalize(self, os.close, self._descriptor)
        self.owner = Owner(os.urandom(16).hex(), os.getpid())
        self._has_locks = _call(_SET, self._descriptor, fcntl.F_RDLCK, self.owner.offset) is not None
        if self._has_locks and not self._is_only_name(_name_of(key_path)):
            self._release()
            raise StorageRefused(
                f"{key_path} is in use under another name; close it there, and open the ledger by one name only"
            )
        _open_sessions.add(self)

    def is_dead(self, other: Owner) -> bool:
        """Whether another owner can never act again; never True while it lives."""
        if other == self.owner:
            return False
        if not self._has_locks:
            return not _exists(other.pid)
        return _call(_ASK, self._descriptor, fcntl.F_WRLCK, other.offset) == fcntl.F_UNLCK

    def _is_only_name(self, name: int) -> bool:
        """Locks the byte of the own name first: of two that come at once, both may be refused, never none."""
        if _call(_SET, self._descriptor, fcntl.F_RDLCK, name) is None:
            return False
        before = _call(_ASK, self._descriptor, fcntl.F_WRLCK, _NAMES, name - _NAMES)
        behind = _call(_ASK, self._descriptor, fcntl.F_WRLCK, name + 1, _TO_THE_END)
        return before == behind == fcntl.F_UNLCK

    def close(self) -> None:
        """Gives up the lock: from here others count this owner as dead."""
        self._release()
        _open_sessions.discard(self)


def _name_of(path: Path) -> int:
    """A byte behind _NAMES for the directory a file lies in and its name there; the same by every way to it."""
    try:
        found = path.parent.stat()
    except OSError as wrong:
        raise StorageRefused(f"cannot open {path}: {wrong.strerror}") from wrong
    name = f"{found.st_dev}/{found.st_ino}/".encode("ascii") + os.fsencode(path.name)
    return _NAMES + 1 + (int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 3)


def _call(command: int | None, descriptor: int, kind: int, offset: int, length: int = 1) -> int | None:
    """The lock type the kernel answers with, None when it knows no such locks."""
    if command is None:
        return None
    try:
        answer = fcntl.fcntl(descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, offset, length, 0))
    except OSError:
        return None
    found: int = _FLOCK.unpack(answer)[0]
    return found


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, so it is there
    return True


def _leave_to_parent() -> None:
    # A child that kept the file open would keep its dead parent alive.
    for session in list(_open_sessions):
        session.close()


os.register_at_fork(after_in_child=_leave_to_parent)
