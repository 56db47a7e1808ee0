"""The privacy ledger: charge first, release second, prove it afterwards.

book       the public face: reserve, mark, commit, abort        reading    what it can be asked
charge     what is charged and what came out                    terms      what a budget promises
admission  does a charge fit every budget it is for             budgets    what was charged to one
history    what stands, from the entries                        verdict    an examiner's opinion of a file
chain      canonical bodies, hash chain, signatures             log        append to the file and follow it
cohorts    pseudonyms, openings, hidden results                 attendance who was in which round
clients    what stands of one client, and proofs for it
merkle     one hash for a list, and proofs                      store      SQLite
genesis    making a new ledger                                  place      where one may live, its keys
session    which process holds which reservation                upkeep     remarks, audits, witnesses, a new key
pins       a head kept elsewhere                                vouching   who outside vouches, and how far
checkpoint where opening may begin                              rotation   a key that follows another
exporting  as lines of JSON and back, copies                    replay     every figure computed anew
stating    everything it says, as values                        statement  those values
opening    what is expected of one that is opened               records    what stands of one reservation
erasing    which openings were taken out, signed                connection what SQLite is told, and its errors
rows       rows of the file as what they say
"""

from __future__ import annotations

from dp.ledger.book import (
    Charge,
    Check,
    Entry,
    Head,
    Ledger,
    Outcome,
    Problem,
    Reservation,
    Scope,
    Setting,
    Standing,
    Terms,
    Verdict,
    spend,
)
from dp.ledger.clients import ClientRecord, MerkleProof, check_proof
from dp.ledger.pins import Pin
from dp.ledger.vouching import Known

__all__ = [
    "Charge",
    "Check",
    "ClientRecord",
    "Entry",
    "Head",
    "Known",
    "Ledger",
    "MerkleProof",
    "Outcome",
    "Pin",
    "Problem",
    "Reservation",
    "Scope",
    "Setting",
    "Standing",
    "Terms",
    "Verdict",
    "check_proof",
    "spend",
]
