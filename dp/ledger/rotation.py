"""A new signing key for an old ledger: the old key names it, and the new one shows that somebody holds it.

    ROTATE_KEY n     body    {"signer": new public key, "signature": by the new key over the statement}
                     signed by the old key; entry n + 1 is the first one signed by the new key
    statement        SHA256(ROTATE || LE64(n) || hash_(n-1) || new public key), under the ledger's id

The file of the key follows the ledger, never the other way round:

    run.ledger.key.next    holds the new key, synced
    ROTATE_KEY             stands in the ledger, synced
    run.ledger.key.next    -> run.ledger.key

Whoever dies between two lines leaves a ledger that the next caller opens: with the old key, whose unused successor
the next rotation overwrites, or with the new one, whose rename is made up for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

from dp.canonical import Body, Value, bytes_of, require_keys
from dp.errors import BadParameters, Corrupt, StorageRefused
from dp.ledger.chain import Head, Signed, Signer, require_signed
from dp.ledger.place import Keys, beside, directory_lock, read_key, write_key
from dp.place import sync_directory

LABEL_ROTATE = b"secagg/v1/ledger/rotate"
NEXT = ".key.next"


def rotation_body(ledger_id: bytes, after: Head, new: Signer) -> dict[str, Value]:
    """What the ROTATE_KEY entry directly after this head says, for the signer that takes over."""
    signature = new.sign(ledger_id, _statement(after, new.public))
    return {"signer": new.public.hex(), "signature": signature.hex()}


def rotated(signed: Signed, after: Head, body: Body) -> Signed:
    """Who signs from here on.  Raises: BadParameters when the new key did not agree, or is the old one."""
    require_keys(body, "signer", "signature", "clock")
    public, signature = bytes_of(body, "signer", 32), bytes_of(body, "signature", 64)
    if public == signed.public:
        raise BadParameters("a key does not follow itself")
    successor = Signed(signed.ledger_id, public)
    try:
        require_signed(successor, _statement(after, public), signature)
    except Corrupt as wrong:
        raise BadParameters("the new key did not sign that it takes over here") from wrong
    return successor


# --- the file of the key -----------------------------------------------------------------------------


def prepare(path: Path, keys: Keys) -> None:
    """The keys that are to follow lie beside the ledger's, synced.  Raises: StorageRefused."""
    write_key(beside(path, NEXT), keys)
    sync_directory(path.parent)


def take_over(path: Path) -> None:
    """The keys that follow are the ledger's now.  Raises: StorageRefused."""
    try:
        beside(path, NEXT).replace(beside(path, ".key"))
    except OSError as wrong:
        raise StorageRefused(f"cannot replace the signing key of {path}: {wrong.strerror}") from wrong
    sync_directory(path.parent)


def keys_of(path: Path, signer: Callable[[], bytes], timeout_seconds: float) -> Keys:
    """The keys of a ledger; a rename somebody died before is made up for.

    `signer` reads in the ledger which public key signs it now.
    Raises: Corrupt when the keys beside it are of neither; StorageRefused; Locked; what `signer` raises.
    """
    keys = read_key(beside(path, ".key"))
    if _is(keys, signer()):
        return keys
    with directory_lock(path.parent, timeout_seconds):
        # Whoever held the lock may just have finished it, in the ledger and in the file.
        public, keys = signer(), read_key(beside(path, ".key"))
        if not _is(keys, public) and beside(path, NEXT).exists():
            following = read_key(beside(path, NEXT))
            if _is(following, public):
                take_over(path)
                return following
    if not _is(keys, public):
        raise Corrupt(f"{path} is signed by another key than the one beside it; restore both from the same copy")
    return keys


def _is(keys: Keys, public: bytes) -> bool:
    return hmac.compare_digest(Signer(keys.seed).public, public)


def _statement(after: Head, public: bytes) -> bytes:
    return hashlib.sha256(LABEL_ROTATE + (after.seq + 1).to_bytes(8, "little") + after.hash + public).digest()
