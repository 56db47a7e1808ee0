"""Who outside vouches for a ledger, and how far: pins, and the signatures of parties somebody knows.

a pin               the entry with its number has its hash, so everything up to it is what was seen
a known witness     the same, for the head that the party signed
a stranger          its signature is checked and counted, and vouches for nothing: whoever rewrites a ledger can
                    also make keys and let them sign
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dp.errors import BadParameters, Corrupt, Forked, LedgerError, RolledBack
from dp.ledger.chain import Entry, Head, Signed, check_witness
from dp.ledger.pins import Pin


@dataclass(frozen=True, slots=True)
class Witness:
    """A head's number, the public key of a party that has seen it, and its signature.

    Raises: BadParameters.
    """

    seq: int
    party: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.seq < 2**63 or len(self.party) != 32 or len(self.signature) != 64:
            raise BadParameters(f"a witness of entry {self.seq} has parts of the wrong length")


@dataclass(frozen=True, slots=True)
class Known:
    """What an examiner has from elsewhere: a kept head, keys of parties that sign heads, the ledger's first key."""

    pin: Pin | None = None
    parties: frozenset[bytes] = frozenset()
    signer: bytes | None = None


NOTHING_KNOWN = Known()


class Vouching:
    """Follows a ledger entry by entry; `vouched` is the last entry that somebody outside vouches for."""

    def __init__(self, known: Known) -> None:
        self.vouched: int | None = None
        self.witnesses = 0
        self._known = known
        self._waiting: dict[int, list[Witness]] = {}

    def expect(self, witnesses: Iterable[Witness]) -> None:
        """Signatures to be checked when their entries come by."""
        for witness in witnesses:
            self._waiting.setdefault(witness.seq, []).append(witness)

    def see(self, signed: Signed, entry: Entry) -> list[LedgerError]:
        """What this entry, signed by that key, contradicts."""
        found: list[LedgerError] = []
        if entry.seq == 0 and self._known.signer not in (None, signed.public):
            found.append(Forked("the ledger begins under another key than the one that is known", seq=0))
        pin = self._known.pin
        if pin is not None and entry.seq == pin.head.seq:
            try:
                pin.require_reached(signed.ledger_id, entry.head)
            except (Forked, RolledBack) as wrong:
                found.append(wrong)
            else:
                self.vouched = entry.seq
        for witness in self._waiting.pop(entry.seq, ()):
            found += self._witnessed(signed, entry.head, witness)
        return found

    def end(self, signed: Signed, head: Head) -> list[LedgerError]:
        """What is missing at the end of the ledger."""
        found: list[LedgerError] = []
        pin = self._known.pin
        if pin is not None and pin.head.seq > head.seq:
            try:
                pin.require_reached(signed.ledger_id, head)
            except (Forked, RolledBack) as wrong:
                found.append(wrong)
        if self._waiting:
            last = max(self._waiting)
            found.append(
                RolledBack(
                    f"the ledger ends at entry {head.seq}, but a witness of entry {last} is there; "
                    "restore the newer copy",
                    seq=head.seq,
                )
            )
        return found

    def _witnessed(self, signed: Signed, head: Head, witness: Witness) -> list[LedgerError]:
        try:
            check_witness(signed.ledger_id, head, witness.party, witness.signature)
        except BadParameters:
            return [Corrupt(f"entry {head.seq} has a witness that signed something else", seq=head.seq)]
        self.witnesses += 1
        if witness.party in self._known.parties:
            self.vouched = head.seq
        return []
