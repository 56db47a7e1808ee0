"""Where an endpoint's image lies: one file in a folder of its own, replaced as a whole, locked while it is in use.

    image.new     written and synced
    image         image.new, renamed; then the folder is synced

    image = magic | SHA-256 of the rest | version, client or server, Ed25519 public key | what `freeze` returned

Whoever dies before the rename left the image before, whoever dies after it the new one; never half of either. No
older image is kept and none is ever gone back to: that could mask a second vector with the masks of the first.

The image of an open round holds its secrets. It is replaced by one without when the round ends, but file systems and
disks keep the blocks of replaced files for a while: encrypt a disk that may be stolen.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import os
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dp.errors import Corrupt, Locked, StorageRefused, WrongVersion
from dp.place import open_directory, require_directory, require_not_remote, sync_directory, take_lock
from protocols.endpoint import IMAGE_VERSION
from protocols.errors import Misused
from protocols.wire import Buffer

AnyPath = str | os.PathLike[str]

IMAGE, NEW = "image", "image.new"
# The envelope stays as it is in every version, so that another version can be told from damage.
MAGIC = b"secagg\r\n"
ENVELOPE = struct.Struct("<8s32s")
OWNER = struct.Struct("<BB32s")


class Kind(enum.IntEnum):
    """Whose image it is; a number is never reused."""

    CLIENT = 1
    SERVER = 2
    HOLDER = 3
    DECRYPTOR = 4
    MEMBER = 5


_open_folders: weakref.WeakSet[Folder] = weakref.WeakSet()


class Folder:
    """One endpoint's image in a folder of its own, locked while this object is open.

    The folder has mode 0700 and the file 0600, whatever the umask. A forked child leaves both to its parent.
    Raises: StorageRefused when the place is on a network, can be entered by others or cannot be written; Locked
        while another process, or another endpoint of this one, has it open.
    """

    def __init__(self, path: AnyPath, kind: Kind, public: bytes) -> None:
        self.path = Path(path)
        self._owner = OWNER.pack(IMAGE_VERSION, kind, public)
        self._stored = b""
        require_not_remote(self.path / IMAGE)
        if not self.path.exists():
            require_directory(self.path)
            sync_directory(self.path.parent)
        self._directory = _locked(self.path)
        self._release = weakref.finalize(self, os.close, self._directory)
        _open_folders.add(self)
        try:
            self._require_writable()
        except StorageRefused:
            self.close()
            raise

    def load(self) -> bytes | None:
        """The stored image, None where there is none yet.

        Raises: Corrupt when the file is damaged; WrongVersion, with the file untouched, when it belongs to another
            version, role or identity; StorageRefused when it cannot be read, or others may read it.
        """
        self.require_open()
        with self._refusing("read"):
            found = self._read()
        return None if found is None else self._judged(found)

    def store(self, image: bytes) -> None:
        """Afterwards this image, and no other, comes back after any crash; one that is stored already is left alone.

        Raises: StorageRefused; the image before is then still whole, or this one is there already.
        """
        self.require_open()
        digest = self._digest(image)
        if hmac.compare_digest(digest, self._stored):
            return
        with self._refusing("written"):
            descriptor = self._create()
            try:
                for piece in (ENVELOPE.pack(MAGIC, digest), self._owner, image):
                    _write(descriptor, piece)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(NEW, IMAGE, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.fsync(self._directory)
        self._stored = digest

    def close(self) -> None:
        """Gives the folder up; whoever opens it next finds what was stored last."""
        self._release()
        _open_folders.discard(self)

    def require_open(self) -> None:
        """Raises: Misused once it was closed, by its owner, by an error inside an arrow, or by a fork."""
        if not self._release.alive:
            raise Misused(f"{self.path} is not open here any more: build a new endpoint and open the folder with it")

    def _require_writable(self) -> None:
        """Asked now, not when a vector waits to be sent. What an interrupted store left is removed on the way."""
        with self._refusing("written"):
            os.close(self._create())
            os.unlink(NEW, dir_fd=self._directory)

    def _digest(self, image: Buffer) -> bytes:
        digest = hashlib.sha256(self._owner)
        digest.update(image)
        return digest.digest()

    def _create(self) -> int:
        descriptor = os.open(NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=self._directory)
        os.fchmod(descriptor, 0o600)
        return descriptor

    def _read(self) -> bytes | None:
        try:
            descriptor = os.open(IMAGE, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._directory)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise StorageRefused(f"{self.path / IMAGE} can be read by others; run chmod 600 on it")
            return file.read()

    def _judged(self, found: bytes) -> bytes:
        rest = found[ENVELOPE.size :]
        digest = hashlib.sha256(rest).digest()
        if len(rest) < OWNER.size or not hmac.compare_digest(found[: ENVELOPE.size], ENVELOPE.pack(MAGIC, digest)):
            raise Corrupt(
                f"{self.path / IMAGE} is damaged; remove it and take part in the next round, and put no older copy "
                "in its place: that could mask a second vector with the masks of the first"
            )
        if rest[: OWNER.size] != self._owner:
            raise WrongVersion(
                f"{self.path / IMAGE} belongs to another version, role or identity than the endpoint given here; "
                "give each endpoint its own folder"
            )
        self._stored = digest
        return rest[OWNER.size :]

    @contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as wrong:
            raise StorageRefused(
                f"{self.path / IMAGE} cannot be {what}: {wrong.strerror}; nothing was sent, mend it and resend"
            ) from wrong


def require_folder(path: Path) -> None:
    """The folder exists afterwards, and those it lies in; each that is made here belongs to its owner alone.

    Raises: StorageRefused.
    """
    for folder in (*reversed(path.parents), path):
        require_directory(folder)


def _locked(path: Path) -> int:
    """An open, locked folder that nobody else may enter. The kernel frees the lock at any death."""
    descriptor = open_directory(path)
    held = False
    try:
        if os.fstat(descriptor).st_mode & 0o077:
            raise StorageRefused(f"{path} can be entered by others; run chmod 700 on it, or name a new folder in it")
        held = take_lock(descriptor, path)
        if not held:
            raise Locked(f"another endpoint has {path} open; end it first, or name another folder")
    except OSError as wrong:
        raise StorageRefused(f"cannot look into the folder {path}: {wrong.strerror}; choose a local folder") from wrong
    finally:
        if not held:
            os.close(descriptor)
    return descriptor


def _write(descriptor: int, data: Buffer) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _leave_to_parent() -> None:
    # A child that kept the folder open would keep its dead parent's lock, and could store over the parent's image.
    for folder in list(_open_folders):
        folder.close()


os.register_at_fork(after_in_child=_leave_to_parent)
