"""One ledger file being followed: entries are read, judged and understood before anything is added.

    catch_up    read what is new -> does it continue the head I know? -> history
    say         under the write lock: catch up -> decide -> link and sign -> sync -> history -> pin
    resume      begin at the newest checkpoint of the own key instead of the first entry
    whole       read what was skipped then, because somebody asked about it

Once a file could not be believed, it is not asked again: every later call repeats the first error.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dp.canonical import Body
from dp.errors import BadParameters, Corrupt, Forked, LedgerError, RolledBack, StorageRefused, Unverifiable
from dp.ledger.chain import Entry, Head, Kind, Signed, Signer, check_signature, link
from dp.ledger.charge import Charge
from dp.ledger.checkpoint import EVERY
from dp.ledger.cohorts import Drawn
from dp.ledger.genesis import clock
from dp.ledger.history import History
from dp.ledger.pins import Pin, renew
from dp.ledger.store import FIRST_SEQ, Store


@dataclass(frozen=True, slots=True)
class Said:
    """What an entry is to say, and the openings to lie beside it."""

    kind: Kind
    body: Body
    openings: tuple[Drawn, ...] = ()


class Log:
    """What a store says so far (`history`), and the only way to say more."""

    def __init__(self, store: Store, signer: Signer | None, pin: Path | None = None) -> None:
        self.store = store
        self.history = History()
        self.broken: LedgerError | None = None
        self._signer = signer
        self._pin = pin
        self._skipped: set[str] | None = None

    def resume(self) -> None:
        """Begins at the newest checkpoint that the own key signed, or at the first entry where there is none.

        Raises: Corrupt, Unverifiable when the checkpoint or what it names is not what it was.
        """
        checkpoint, own = self.store.newest(Kind.CHECKPOINT), self.writer()
        first = next(self.store.entries(), None)
        if checkpoint is None or first is None or not hmac.compare_digest(checkpoint.key_id, own.key_id):
            return
        history = History()
        try:
            history.apply(first)
            if "budgets" not in checkpoint.fields:
                return
            history.resume(checkpoint, self.entry)
        except BadParameters as wrong:
            raise Corrupt(f"entry {checkpoint.seq} ({checkpoint.kind}): {wrong}", seq=checkpoint.seq) from wrong
        self.history = history

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

    def whole(self) -> History:
        """The same with everything in it that an opening by checkpoint skipped."""
        history = self.catch_up()
        if history.since > 1 and history.head is not None:
            full = History()
            try:
                for entry in self.store.entries():
                    full.apply(entry)
                    if entry.seq == history.head.seq:
                        break
                if full.head != history.head:
                    raise Forked(
                        f"the entries before the checkpoint {history.since} are not those it was made of; verify",
                        seq=history.since,
                    )
            except (Corrupt, Unverifiable, Forked) as wrong:
                self.broken = wrong
                raise
            history.replace_by(full)
        return history

    def knowing(self, charge: Charge) -> History:
        """The history as far as it must be known to say whether this charge was reserved before."""
        history = self.catch_up()
        if history.since > 1:
            if self._skipped is None:
                self._skipped = self.store.charge_ids(history.since)
            if charge.id.hex() in self._skipped:
                return self.whole()
        return history

    def begun(self) -> History:
        """The same of a ledger that has a first entry.  Raises: Corrupt without one."""
        history = self.catch_up()
        self._known(history)
        return history

    def say(self, decide: Callable[[], list[Said]]) -> list[Entry]:
        """Appends what `decide` wants said, and renews the pin."""
        said = self.append(decide)
        self.keep_pin()
        return said

    def append(self, decide: Callable[[], list[Said]]) -> list[Entry]:
        """Appends what `decide` wants said in view of the newest history: all of it, durably, or nothing.

        A checkpoint that is due goes before it.
        """
        signer = self.writer()
        with self.store.writing():
            signed, head = self._known(self.catch_up())
            self._require_current(signed, signer)
            self.store.require_no_openings_after(head.seq)
            said: list[Entry] = []
            wanted = decide()
            due = self._due(wanted, head)
            for each in due + wanted:
                entry = link(signed.ledger_id, signer, said[-1].head if said else head, each.kind, each.body)
                self.store.append(entry)
                self.store.add_openings([drawn.at(entry.seq, at) for at, drawn in enumerate(each.openings)])
                said.append(entry)
        for entry in said:
            self.history.apply(entry)
        return said[len(due) :]

    def keep_pin(self) -> None:
        """Renews the head that is kept elsewhere, where one is.

        Raises: RolledBack, Forked when the one kept there is not in this ledger; Locked, StorageRefused.
        """
        if self._pin is not None:
            renew(self._pin, self._pinned)

    def _pinned(self, kept: Pin | None) -> Pin:
        # Read after the pin was: whatever another process kept there, an honest ledger holds by now.
        self.catch_up()
        newest = self.pin()
        if kept is not None:
            kept.require_reached(newest.ledger_id, newest.head)
            kept.require_same(self.entry(kept.head.seq).head)
        return newest

    def pin(self) -> Pin:
        """The newest head that was read, as it would be kept."""
        signed, head = self.known()
        by = self.history.head_signed or signed
        return Pin(signed.ledger_id, by.public, head)

    def _due(self, wanted: list[Said], head: Head) -> list[Said]:
        """The checkpoint that goes before what is said; a new key is named directly after what it follows."""
        history = self.history
        last = history.checkpoints[-1].seq if history.checkpoints else 0
        if not wanted or head.seq - last < EVERY or any(each.kind is Kind.ROTATE_KEY for each in wanted):
            return []
        return [Said(Kind.CHECKPOINT, {**history.state(), **clock()})]

    def take_key(self, signer: Signer) -> None:
        """Writes with this key from here on."""
        self._signer = signer

    def _require_current(self, signed: Signed, signer: Signer) -> None:
        if not hmac.compare_digest(signed.public, signer.public):
            raise StorageRefused(
                f"another process changed the signing key of {self.store.path}; close the ledger and open it again"
            )

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

    def signer_now(self) -> bytes:
        """The public key that signs what is added next.  Raises: what `catch_up` raises."""
        return self._known(self.catch_up())[0].public

    def known(self) -> tuple[Signed, Head]:
        """Who signs, and where the ledger ends, as far as it was read.  Raises: Corrupt without a first entry."""
        return self._known(self.history)

    def _follow(self) -> None:
        known = self.history.head
        entries = self.store.entries(FIRST_SEQ if known is None else known.seq)
        if known is not None:
            _require_same(known, entries)
        newest = None
        for newest in entries:
            self.history.apply(newest)
        if newest is not None and self.history.head_signed is not None:
            check_signature(self.history.head_signed, newest)

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
