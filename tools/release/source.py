"""The tracked files of this checkout, and clean copies of its last commit."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def git(*arguments: str) -> bytes:
    """What git prints in this checkout.  Raises: CalledProcessError outside one."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def tracked() -> frozenset[str]:
    """Paths of the last commit's files, relative to the root."""
    return frozenset(
        name for name in git("ls-tree", "-r", "-z", "--name-only", "HEAD").decode("utf-8").split("\0") if name
    )


def last_change() -> int:
    """When the last commit was made, in seconds since 1970: the time that every file of an archive bears."""
    return int(git("log", "-1", "--format=%ct"))


def differs_from_commit() -> bool:
    """Whether files here are changed or not tracked, and so are not in a release."""
    return bool(git("status", "--porcelain"))


def export(folder: Path, umask: int) -> None:
    """Writes the last commit's files into a new folder, without git's own, as a checkout under this umask would."""
    folder.mkdir(parents=True)
    packed = git("-c", f"tar.umask={umask:04o}", "archive", "--format=tar", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
