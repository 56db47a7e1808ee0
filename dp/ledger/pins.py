"""A ledger's head, kept where whoever writes the ledger does not write: against cut tails and old copies.

    {"hash":..., "ledger_id":..., "seq":..., "signature":..., "signer":...}        one line, canonical JSON

    kept head         ledger                       then
    seq n             ends before n                RolledBack
    seq n, hash h     entry n has another hash     Forked
    seq n, hash h     entry n has hash h           everything up to n is what it was when the head was kept

The signature says that the ledger's key made the head; that it is the head somebody saw, only the place where
the file lies can say. Entries after the pin are as good as the next one.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dp.canonical import bytes_of, decode_body, encode_body, integer_of, require_keys
from dp.errors import BadParameters, Corrupt, Forked, RolledBack, StorageRefused
from dp.ledger.chain import LEDGER_ID_BYTES, Head, Signed, require_signed
from dp.ledger.place import directory_lock, require_not_of_a_ledger
from dp.place import open_regular, replacing

MAX_PIN_BYTES = 1024
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Pin:
    """The head a ledger had when somebody looked, and the key that had signed it.

    Raises: Corrupt when the key did not.
    """

    ledger_id: bytes
    signer: bytes
    head: Head

    def __post_init__(self) -> None:
        try:
            require_signed(Signed(self.ledger_id, self.signer), self.head.hash, self.head.signature)
        except Corrupt as wrong:
            raise Corrupt(f"the kept head {self.head.seq} is not signed by its ledger's key") from wrong

    def to_bytes(self) -> bytes:
        """The one line that is kept."""
        return (
            encode_body(
                {
                    "ledger_id": self.ledger_id.hex(),
                    "signer": self.signer.hex(),
                    "seq": self.head.seq,
                    "hash": self.head.hash.hex(),
                    "signature": self.head.signature.hex(),
                }
            )
            + b"\n"
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The inverse of `to_bytes`.  Raises: Corrupt."""
        try:
            body = decode_body(raw.removesuffix(b"\n"))
            require_keys(body, "ledger_id", "signer", "seq", "hash", "signature")
            head = Head(integer_of(body, "seq"), bytes_of(body, "hash", 32), bytes_of(body, "signature", 64))
            if not 0 <= head.seq < 2**63:
                raise BadParameters(f"no entry has the number {head.seq}")
            return cls(bytes_of(body, "ledger_id", LEDGER_ID_BYTES), bytes_of(body, "signer", 32), head)
        except BadParameters as wrong:
            raise Corrupt(f"this is no kept head of a ledger: {wrong}") from wrong

    @classmethod
    def read(cls, path: Path) -> Self:
        """The head kept at path.  Raises: StorageRefused when it cannot be read; Corrupt when it is none."""
        try:
            with os.fdopen(open_regular(path), "rb") as file:
                raw = file.read(MAX_PIN_BYTES + 1)
        except OSError as wrong:
            raise StorageRefused(f"cannot read the kept head {path}: {wrong.strerror}") from wrong
        if len(raw) > MAX_PIN_BYTES:
            raise Corrupt(f"{path} has more than {MAX_PIN_BYTES} bytes and is no kept head of a ledger")
        return cls.from_bytes(raw)

    def require_reached(self, ledger_id: bytes, end: Head) -> None:
        """The ledger that ends there may still hold this head.

        Raises: Forked when it is another ledger, or ends with another entry of the same number; RolledBack
            when it ends before this head.
        """
        if not hmac.compare_digest(self.ledger_id, ledger_id):
            raise Forked("the kept head belongs to another ledger; each ledger needs its own pin", seq=0)
        if end.seq < self.head.seq:
            raise RolledBack(
                f"the ledger ends at entry {end.seq}, but entry {self.head.seq} was there; restore the newer copy",
                seq=end.seq,
            )
        if end.seq == self.head.seq:
            self.require_same(end)

    def require_same(self, found: Head) -> None:
        """The entry with this head's number is the one that was seen.  Raises: Forked."""
        if not hmac.compare_digest(found.hash, self.head.hash):
            raise Forked(
                f"entry {self.head.seq} is not the one whose head was kept; keep both as evidence", seq=self.head.seq
            )

    def keep(self, path: Path, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Stores this head durably in place of an older one: whole or not at all, whenever the power fails.

        Raises: RolledBack when a later head is kept there; Forked when another one is; StorageRefused, also for a
            place that is a ledger's; Locked.
        """
        renew(path, self._following, timeout_seconds)

    def _following(self, kept: Pin | None) -> Pin:
        if kept is not None:
            kept.require_reached(self.ledger_id, self.head)
        return self


def renew(path: Path, decide: Callable[[Pin | None], Pin], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Replaces what is kept at path by what `decide` makes of it, one process at a time.

    Raises: what `decide` raises, and then the old one stays; StorageRefused; Locked; Corrupt.
    """
    require_not_of_a_ledger(path)
    with directory_lock(path.parent, timeout_seconds):
        kept = Pin.read(path) if os.path.lexists(path) else None
        decided = decide(kept)
        if decided != kept:
            with replacing(path) as file:
                file.write(decided.to_bytes())
