"""How a ledger comes to be: complete at one instant, together with its key, or not at all.

    run.ledger.new       filled with GENESIS and OPEN_BUDGET, synced, closed
    run.ledger.key.new   -> run.ledger.key
    run.ledger.new       -> run.ledger

Whoever dies between two lines leaves something the next caller finishes or throws away. A key without its
ledger is neither: somebody removed the ledger, and starting afresh would forget what was spent.
"""

from __future__ import annotations

import os
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dp.errors import BadParameters, EntropyUnavailable, LedgerError, RolledBack, StorageRefused
from dp.ledger.chain import LEDGER_ID_BYTES, Entry, Kind, Signer, link, signed_by
from dp.ledger.charge import Terms
from dp.ledger.place import beside, directory_lock, read_key, write_key
from dp.ledger.store import Store
from dp.place import require_directory, sync_directory


def create(path: Path, terms: Terms | None, timeout_seconds: float) -> None:
    """Afterwards a ledger is at path: made here, or by another process that was quicker.

    Raises: BadParameters without terms; RolledBack when the key is there but the ledger is gone;
        StorageRefused; Locked.
    """
    if terms is None and not beside(path, ".key").exists():
        raise BadParameters(f"there is no ledger at {path}; give a Budget to make one")
    require_directory(path.parent)
    with directory_lock(path.parent, timeout_seconds):
        if path.exists():
            return
        try:
            if terms is None or beside(path, ".key").exists():
                _require_complete(path)
            else:
                _make(path, terms, timeout_seconds)
            beside(path, ".new").rename(path)
        except OSError as wrong:
            raise StorageRefused(f"cannot create {path}: {wrong.strerror}") from wrong
        sync_directory(path.parent)


def _make(path: Path, terms: Terms, timeout_seconds: float) -> None:
    for left in (".new", ".new-wal", ".new-shm", ".new-journal"):
        beside(path, left).unlink(missing_ok=True)
    seed, ledger_id = _entropy(32), _entropy(LEDGER_ID_BYTES)
    store = Store.create(beside(path, ".new"), timeout_seconds)
    try:
        with store.writing():
            for entry in _first_entries(Signer(seed), ledger_id, terms):
                store.append(entry)
    finally:
        store.close()
    write_key(beside(path, ".key.new"), seed)
    beside(path, ".key.new").rename(beside(path, ".key"))
    sync_directory(path.parent)


def _first_entries(signer: Signer, ledger_id: bytes, terms: Terms) -> list[Entry]:
    genesis = link(
        ledger_id,
        signer,
        None,
        Kind.GENESIS,
        {"ledger_id": ledger_id.hex(), "signer": signer.public.hex(), "software": software(), **clock()},
    )
    budget = link(ledger_id, signer, genesis.head, Kind.OPEN_BUDGET, {**terms.to_body(), **clock()})
    return [genesis, budget]


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
        if signed_by(first).public != Signer(read_key(beside(path, ".key"))).public:
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


def _entropy(length: int) -> bytes:
    try:
        drawn = os.urandom(length)
    except (OSError, NotImplementedError) as wrong:
        raise EntropyUnavailable("the operating system gives no randomness; no key was made") from wrong
    if len(drawn) != length:
        raise EntropyUnavailable(f"the operating system gave {len(drawn)} of {length} random bytes")
    return drawn
