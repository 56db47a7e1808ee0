"""Rows of a ledger's file as what they say, checked: a damaged file holds any type in any column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp.errors import BadParameters, Corrupt
from dp.ledger.chain import Entry
from dp.ledger.cohorts import Opening
from dp.ledger.vouching import Witness


def entry_of(row: tuple[object, ...]) -> Entry:
    seq, kind, body, prev, digest, signature, key_id = row
    if not (
        isinstance(seq, int)
        and isinstance(kind, bytes)
        and isinstance(body, bytes)
        and isinstance(prev, bytes)
        and isinstance(digest, bytes)
        and isinstance(signature, bytes)
        and isinstance(key_id, bytes)
    ):
        where = seq if isinstance(seq, int) else None
        raise Corrupt(f"entry {where} holds a column of the wrong type", seq=where)
    if (len(prev), len(digest), len(signature), len(key_id)) != (32, 32, 64, 16):
        raise Corrupt(f"entry {seq} holds a hash, signature or key id of the wrong length", seq=seq)
    try:
        return Entry(seq, kind.decode("ascii"), body, prev, digest, signature, key_id)
    except UnicodeDecodeError as wrong:
        raise Corrupt(f"entry {seq} has a kind that is no word", seq=seq) from wrong


def require_further(rows: Sequence[tuple[Any, ...]], last: tuple[int, ...]) -> None:
    """Rows read behind `last` end behind it: in a damaged tree they may not, and reading on would never end."""
    if rows and rows[-1][: len(last)] <= last:
        raise Corrupt(f"the rows behind entry {last[0]} lead back to it; restore a copy", seq=last[0])


def opening_of(row: tuple[object, ...]) -> Opening:
    seq, position, pseudonym, salt = row
    if not (
        isinstance(seq, int) and isinstance(position, int) and isinstance(pseudonym, bytes) and isinstance(salt, bytes)
    ):
        where = seq if isinstance(seq, int) else None
        raise Corrupt(f"an opening of entry {where} holds a column of the wrong type", seq=where)
    try:
        return Opening(seq, position, pseudonym, salt)
    except BadParameters as wrong:
        raise Corrupt(str(wrong), seq=seq) from wrong


def witness_of(row: tuple[object, ...]) -> Witness:
    seq, party, signature = row
    if not (isinstance(seq, int) and isinstance(party, bytes) and isinstance(signature, bytes)):
        where = seq if isinstance(seq, int) else None
        raise Corrupt(f"a witness of entry {where} holds a column of the wrong type", seq=where)
    try:
        return Witness(seq, party, signature)
    except BadParameters as wrong:
        raise Corrupt(str(wrong), seq=seq) from wrong
