"""How a ledger comes to be: complete at one instant, together with its key, or not at all.

    run.ledger.new       filled with GENESIS and, where one was asked for, OPEN_BUDGET; synced, closed
    run.ledger.key.new   -> run.ledger.key
    run.ledger.new       -> run.ledger

Whoever dies between two lines leaves something the next caller finishes or throws away. A key without its
ledger is neither: somebody removed the ledger, and starting afresh would forget what was spent.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from dp.errors import BadParameters, EntropyUnavailable, LedgerError, RolledBack, StorageRefused
from dp.ledger.chain import LEDGER_ID_BYTES, Entry, Kind, Signer, link, signed_by
from dp.ledger.cohorts import SECRET_BYTES, Pseudonyms
from dp.ledger.place import Keys, beside, directory_lock, read_key, write_key
from dp.ledger.store import Store
from dp.ledger.terms import Randomness, Terms, require_text
from dp.place import require_directory, sync_directory

# Of a package whose installed files are not those that run.
UNKNOWN_CODE = bytes(32)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a new ledger says first: which noise it accepts, what its owner declares, and its first budget, if any.

    `policy` is free text about access to the data outside the mechanism; nobody checks it.
    Raises: BadParameters.
    """

    randomness: Randomness
    policy: str = ""
    terms: Terms | None = None

    def __post_init__(self) -> None:
        require_text("policy", self.policy, least=0)
        if self.terms is not None and self.terms.randomness is not self.randomness:
            raise BadParameters("the first budget is for another randomness than the ledger")


def create(path: Path, beginning: Beginning | None, timeout_seconds: float) -> bool:
    """Afterwards a ledger is at path: made or finished here (True), or by another process that was quicker.

    Raises: BadParameters without a beginning; RolledBack when the key is there but the ledger is gone;
        StorageRefused; Locked.
    """
    if beginning is None and not beside(path, ".key").exists():
        raise BadParameters(f"there is no ledger at {path}; give a Budget to make one")
    require_directory(path.parent)
    with directory_lock(path.parent, timeout_seconds):
        if path.exists():
            return False
        try:
            if beginning is None or beside(path, ".key").exists():
                _require_complete(path)
            else:
                _make(path, beginning, timeout_seconds)
            beside(path, ".new").rename(path)
        except OSError as wrong:
            raise StorageRefused(f"cannot create {path}: {wrong.strerror}") from wrong
        sync_directory(path.parent)
    return True


def _make(path: Path, beginning: Beginning, timeout_seconds: float) -> None:
    for left in (".new", ".new-wal", ".new-shm", ".new-journal"):
        beside(path, left).unlink(missing_ok=True)
    keys, ledger_id = Keys(draw(32), draw(SECRET_BYTES)), draw(LEDGER_ID_BYTES)
    store = Store.create(beside(path, ".new"), timeout_seconds)
    try:
        with store.writing():
            for entry in _first_entries(keys, ledger_id, beginning):
                store.append(entry)
    finally:
        store.close()
    write_key(beside(path, ".key.new"), keys)
    beside(path, ".key.new").rename(beside(path, ".key"))
    sync_directory(path.parent)


def _first_entries(keys: Keys, ledger_id: bytes, beginning: Beginning) -> list[Entry]:
    signer = Signer(keys.seed)
    body = {
        "ledger_id": ledger_id.hex(),
        "signer": signer.public.hex(),
        "names": Pseudonyms(keys.secret).fingerprint.hex(),
        "policy": beginning.policy,
        "randomness": beginning.randomness.value,
        "software": software(),
        **clock(),
    }
    genesis = link(ledger_id, signer, None, Kind.GENESIS, body)
    if beginning.terms is None:
        return [genesis]
    return [genesis, link(ledger_id, signer, genesis.head, Kind.OPEN_BUDGET, {**beginning.terms.to_body(), **clock()})]


def _require_complete(path: Path) -> None:
    """A finished ledger of this key waits under its first name: its maker died before the last rename."""
    gone = (
        f"{path} is gone but its signing key is still there; restore the ledger, or remove the key and with "
        "it the record of what was spent"
    )
    if not beside(path, ".new").exists():
        raise RolledBack(gone)
    try:
        store = Store.open(beside(path, ".new"), timeout_seconds=0.0)
        try:
            first = next(store.entries())
        finally:
            store.close()
        if signed_by(first).public != Signer(read_key(beside(path, ".key")).seed).public:
            raise RolledBack(gone)
    except (LedgerError, StopIteration) as wrong:
        raise RolledBack(gone) from wrong


def clock() -> dict[str, int]:
    """The wall clock as an entry records it; nothing is ever decided by it."""
    return {"clock": time.time_ns()}


@cache
def software() -> str:
    """Which version of this package writes."""
    try:
        return f"secagg {version('secagg')}"
    except PackageNotFoundError:
        return "secagg, not installed"


@cache
def code() -> bytes:
    """Which code writes: SHA-256 of the installed wheel's RECORD, which lists the hash of each of its files.

    32 zero bytes where the files that run are not those that were installed: an editable install, a source tree, or
    another copy found first. RECORD says what was installed; whether somebody edited the files since, it does not.
    """
    here = Path(__file__).resolve()
    try:
        installed = distribution("secagg")
    except PackageNotFoundError:
        return UNKNOWN_CODE
    record = installed.read_text("RECORD")
    if record is None or Path(str(installed.locate_file("dp/ledger/genesis.py"))).resolve() != here:
        return UNKNOWN_CODE
    return hashlib.sha256(record.encode("utf-8")).digest()


def draw(length: int) -> bytes:
    """So many bytes from the operating system.  Raises: EntropyUnavailable."""
    try:
        drawn = os.urandom(length)
    except (OSError, NotImplementedError) as wrong:
        raise EntropyUnavailable("the operating system gives no randomness; nothing was written") from wrong
    if len(drawn) != length:
        raise EntropyUnavailable(f"the operating system gave {len(drawn)} of {length} random bytes")
    return drawn
