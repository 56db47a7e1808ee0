"""The privacy ledger: charge first, release second, prove it afterwards.

book      the public face: reserve, mark, commit, abort         admission  does a charge fit
charge    what is charged and what came out                      history    what stands, from the entries
chain     canonical bodies, hash chain, signatures               verdict    an examiner's opinion of a file
log       append to the file and follow it                       store      SQLite
genesis   making a new ledger                                    place      where one may live, its key
session   which process holds which reservation
"""

from __future__ import annotations

from dp.ledger.book import (
    Charge,
    Entry,
    Head,
    Ledger,
    Outcome,
    Problem,
    Reservation,
    Standing,
    Terms,
    Verdict,
    spend,
)

__all__ = [
    "Charge",
    "Entry",
    "Head",
    "Ledger",
    "Outcome",
    "Problem",
    "Reservation",
    "Standing",
    "Terms",
    "Verdict",
    "spend",
]
