"""A new signing key for an old ledger: the old key names it, and the new one shows that somebody holds it.

    ROTATE_KEY n     body    {"signer": new public key, "signature": by the new key over the statement}
                     signed by the old key; entry n + 1 is the first one signed by the new key
    statement        SHA256(ROTATE || LE64(n) || hash_(n-1) || new public key), under the ledger's id

The file of the key follows the ledger, never the other way round:

    run.ledger.key.next    holds the new key, synced
    ROTATE_KEY             stands in the ledger, synced
    run.ledger.key.next    -> run.ledger.key

Whoever dies between two lines leaves a ledger that the next caller opens: with the old key, whose successor is
thrown away, or with the new one, whose rename is made up for.
"""

from __future__ import annotations

import hashlib

from dp.canonical import Body, Value, bytes_of, require_keys
from dp.errors import BadParameters, Corrupt
from dp.ledger.chain import Head, Signed, Signer, require_signed

LABEL_ROTATE = b"secagg/v1/ledger/rotate"


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


def _statement(after: Head, public: bytes) -> bytes:
    return hashlib.sha256(LABEL_ROTATE + (after.seq + 1).to_bytes(8, "little") + after.hash + public).digest()
