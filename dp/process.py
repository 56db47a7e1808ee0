"""Which process holds a reservation, and whether it still lives; nothing here reads a clock.

A process id alone is reused. (boot, space, pid, start) is not: `boot` names this run of the machine, `space`
the pid name space, `start` the kernel's own count of ticks at which the process began. Where the kernel does
not tell these (no /proc), they are empty or 0 and only the process id is compared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dp.chain import Body, integer_of, require_keys, text_of
from dp.errors import BadParameters

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Owner:
    """One process of one run of one machine, and the session (one opened ledger) inside it."""

    boot: str
    space: str
    pid: int
    start: int
    session: str

    def __post_init__(self) -> None:
        if not 1 <= self.pid < 2**31 or self.start < 0:
            raise BadParameters(f"no process has pid {self.pid} and start {self.start}")

    @classmethod
    def here(cls) -> Owner:
        """This process, with a new session name."""
        pid = os.getpid()
        return cls(_boot(), _space(), pid, _start(pid), os.urandom(16).hex())

    def is_dead(self) -> bool:
        """Whether this process can never act again; False whenever that cannot be known from here.

        Guarantee: never True for a living process of this machine. A process of another pid name space
        (another container) looks alive until the machine restarts.
        """
        if self.boot != _boot():
            return True
        if self.space != _space():
            return False
        return not _is_alive(self.pid) or _start(self.pid) != self.start

    def to_body(self) -> Body:
        """As it stands in a ledger entry."""
        return {"boot": self.boot, "space": self.space, "pid": self.pid, "start": self.start,
                "session": self.session}

    @classmethod
    def from_body(cls, body: Body) -> Owner:
        """The inverse of `to_body`. Raises: BadParameters."""
        require_keys(body, "boot", "space", "pid", "start", "session")
        return cls(text_of(body, "boot"), text_of(body, "space"), integer_of(body, "pid"),
                   integer_of(body, "start"), text_of(body, "session"))


def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink(PROC / "self/ns/pid")
    except OSError:
        return ""


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state letter on; the command before it may hold anything."""
    try:
        return (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return []


def _start(pid: int) -> int:
    status = _status(pid)
    return int(status[19]) if len(status) > 19 else 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed process stays listed until its parent asks for it, but it will never write again.
    return _status(pid)[:1] not in (["Z"], ["X"])
