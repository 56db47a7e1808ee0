"""One ledger file being followed: entries are read, judged and understood before anything is added.

    catch_up    read what is new -> does it continue the head I know? -> history
    say         under the write lock: catch up -> decide -> link and sign -> sync -> history

Once a file could not be believed, it is not asked again: every later call repeats the first error.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dp.canonical import Body
from dp.errors import Corrupt, Forked, LedgerError, RolledBack, StorageRefused, Unverifiable
from dp.ledger.chain import Entry, Head, Kind, Signed, Signer, check_signature, link
from dp.ledger.cohorts import Drawn
from dp.ledger.history import History
from dp.ledger.store import FIRST_SEQ, Store


@dataclass(frozen=True, slots=True)
class Said:
    """What an entry is to say, and the openings to lie beside it."""

    kind: Kind
    body: Body
    openings: tuple[Drawn, ...] = ()


class Log:
    """What a store says so far (`history`), and the only way to say more."""

    def __init__(self, store: Store, signer: Signer | None) -> None:
        self.store = store
        self.history = History()
        self.broken: LedgerError | None = None
        self._signer = signer

    def catch_up(self) -> History:
        """Reads what other processes added; the newest signature vouches for all of it.

        Raises: Corrupt, Unverifiable, RolledBack, Forked; the same again ever after.
        """
        if self.broken is not None:
            raise self.broken
        try:
            self._follow()
        except (Corrupt, Unverifiable, RolledBack, Forked) as wrong:
            self.broken = wrong
            raise
        return self.history

    def begun(self) -> History:
        """The same of a ledger that has a first entry.  Raises: Corrupt without one."""
        history = self.catch_up()
        self._known(history)
        return history

    def say(self, decide: Callable[[], list[Said]]) -> list[Entry]:
        """Appends what `decide` wants said in view of the newest history: all of it, durably, or nothing."""
        signer = self.writer()
        with self.store.writing():
            signed, head = self._known(self.catch_up())
            said: list[Entry] = []
            for each in decide():
                entry = link(signed.ledger_id, signer, said[-1].head if said else head, each.kind, each.body)
                self.store.append(entry)
                self.store.add_openings([drawn.at(entry.seq, at) for at, drawn in enumerate(each.openings)])
                said.append(entry)
        for entry in said:
            self.history.apply(entry)
        return said

    def head(self) -> Head:
        """The newest entry's head."""
        return self._known(self.catch_up())[1]

    def entry(self, seq: int) -> Entry:
        """The stored entry with this number, which is known to exist."""
        return next(self.store.entries(seq))

    def writer(self) -> Signer:
        """The key this ledger writes with. Raises: StorageRefused when it was opened for reading."""
        if self._signer is None:
            raise self.read_only()
        return self._signer

    def read_only(self) -> StorageRefused:
        """The error of whoever wants to write without the key."""
        return StorageRefused(f"{self.store.path} was opened for reading; use Ledger.open to write")

    def require_own_key(self) -> None:
        """The key beside the file is the one its entries are signed with. Raises: Corrupt."""
        signed, _ = self._known(self.catch_up())
        if not hmac.compare_digest(signed.public, self.writer().public):
            raise Corrupt(
                f"{self.store.path} is signed by another key than the one beside it; restore both from the same copy"
            )

    def _follow(self) -> None:
        known = self.history.head
        entries = self.store.entries(FIRST_SEQ if known is None else known.seq)
        if known is not None:
            _require_same(known, entries)
        newest = None
        for newest in entries:
            self.history.apply(newest)
        if newest is not None and self.history.signed is not None:
            check_signature(self.history.signed, newest)

    def _known(self, history: History) -> tuple[Signed, Head]:
        if history.signed is None or history.head is None:
            raise Corrupt(f"{self.store.path} has no entries, not even a GENESIS; restore a copy", seq=0)
        return history.signed, history.head


def _require_same(known: Head, entries: Iterator[Entry]) -> None:
    entry = next(entries, None)
    if entry is None or entry.seq != known.seq:
        raise RolledBack(
            f"the ledger lost entry {known.seq}, which was there before; restore the newer copy", seq=known.seq
        )
    if not hmac.compare_digest(entry.hash, known.hash):
        raise Forked(
            f"entry {known.seq} is not the one that was there before; keep both copies as evidence", seq=known.seq
        )
