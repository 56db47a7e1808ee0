"""A ledger as text that needs no database to be read, and back again; and a copy that loses no tail.

    {"format":..., "ledger_id":..., "signers":[...]}                 the first line: whose it is
    {"body":{...}, "hash":..., "kind":..., "seq":..., ...}           one line for each entry, with every field
    {"position":..., "pseudonym":..., "salt":..., "seq":...}         behind its entry, each opening that is left
    {"party":..., "seq":..., "signature":...}                        every witness, behind all entries
    {"end":..., "hash":..., "signature":...}                         the last line: the head

Each line is canonical JSON. Nothing in it is believed on the way back: what was read is examined as any other
ledger is, before it is given its name. Without the key it can be read and verified, never added to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, TypeVar

from dp.canonical import MAX_BODY_BYTES, Body, bytes_of, decode_body, encode_body, integer_of, object_of, require_keys
from dp.canonical import text_of as string_of
from dp.errors import BadParameters, Corrupt, StorageRefused, Unverifiable
from dp.ledger.chain import Entry, Head, Kind, signed_by
from dp.ledger.cohorts import Opening
from dp.ledger.place import beside, require_file, require_not_of_a_ledger
from dp.ledger.store import Store
from dp.ledger.verdict import Merged, examine
from dp.ledger.vouching import Witness
from dp.place import open_regular, replacing, sync_directory

FORMAT = "secagg ledger export v1"
# An entry's body and what stands around it.
MAX_LINE_BYTES = MAX_BODY_BYTES + 2048
WRITTEN_AT_ONCE = 512

Line = Entry | Opening | Witness
Found = TypeVar("Found")


def export_lines(store: Store, head: Head, path: Path) -> None:
    """Writes the ledger up to this head, which stands in it; the file belongs to its owner alone.

    Raises: StorageRefused; Corrupt.
    """
    require_not_of_a_ledger(path)
    with replacing(path) as file:
        for line in _lines(store, head):
            file.write(encode_body(line, MAX_LINE_BYTES) + b"\n")


def import_lines(source: Path, path: Path, timeout_seconds: float) -> None:
    """Makes a ledger without a key from an export; nothing is at path afterwards unless all of it holds.

    Raises: Corrupt naming the line or the entry; StorageRefused, also when there is something at path.
    """
    if path.exists() or beside(path, ".key").exists():
        raise StorageRefused(f"there is a ledger at {path} already; choose another place")
    require_not_of_a_ledger(path)
    require_file(source)
    try:
        # Under a name nobody has: whatever is there already may be somebody's.
        with TemporaryDirectory(prefix=f"{path.name[:64]}.import.", dir=path.parent) as folder:
            fresh = Path(folder) / "ledger"
            _import(source, fresh, timeout_seconds)
            fresh.rename(path)
    except OSError as wrong:
        raise StorageRefused(f"cannot store {path}: {wrong.strerror}") from wrong
    sync_directory(path.parent)


def _import(source: Path, fresh: Path, timeout_seconds: float) -> None:
    store = Store.create(fresh, timeout_seconds)
    try:
        first, head = _store_lines(source, store)
        _require_sound(store, head)
        if first != _first_line(store):
            raise Corrupt("the export's first line names another ledger or other signers than its entries do")
    finally:
        store.close()


def copy_file(store: Store, path: Path) -> None:
    """A second file with everything that is committed, tail included; without the key it can only be read.

    Raises: StorageRefused, also when there is something at path.
    """
    if path.exists():
        raise StorageRefused(f"there is something at {path} already; choose another place")
    require_not_of_a_ledger(path)
    with replacing(path) as file:
        store.copy_to(Path(file.name))


# --- out ---------------------------------------------------------------------------------------------


def _lines(store: Store, head: Head) -> Iterator[Body]:
    openings = Merged(store.openings())
    yield _first_line(store)
    for entry in store.entries():
        if entry.seq > head.seq:
            break
        yield _entry_line(entry)
        yield from map(_opening_line, openings.until(entry.seq))
    yield from (_witness_line(witness) for witness in store.witnesses() if witness.seq <= head.seq)
    yield {"end": head.seq, "hash": head.hash.hex(), "signature": head.signature.hex()}


def _first_line(store: Store) -> Body:
    """Whose the ledger is, and the public keys that signed, in their order.  Raises: Corrupt without entries."""
    genesis = next(store.entries(), None)
    if genesis is None:
        raise Corrupt("the ledger has no entries, not even a GENESIS", seq=0)
    signed = signed_by(genesis)
    later = [string_of(entry.fields, "signer") for entry in store.entries_of(Kind.ROTATE_KEY)]
    return {"format": FORMAT, "ledger_id": signed.ledger_id.hex(), "signers": [signed.public.hex(), *later]}


def _entry_line(entry: Entry) -> Body:
    return {
        "seq": entry.seq,
        "kind": entry.kind,
        "body": entry.fields,
        "prev": entry.prev.hex(),
        "hash": entry.hash.hex(),
        "signature": entry.signature.hex(),
        "key_id": entry.key_id.hex(),
    }


def _opening_line(opening: Opening) -> Body:
    return {
        "seq": opening.seq,
        "position": opening.position,
        "pseudonym": opening.pseudonym.hex(),
        "salt": opening.salt.hex(),
    }


def _witness_line(witness: Witness) -> Body:
    return {"seq": witness.seq, "party": witness.party.hex(), "signature": witness.signature.hex()}


# --- in ----------------------------------------------------------------------------------------------


def _store_lines(source: Path, store: Store) -> tuple[Body, Head]:
    """Stores everything but the first and the last line, as it is; returns the first, and the head of the last."""
    with os.fdopen(open_regular(source), "rb") as file:
        lines = _bodies(file)
        first = next(lines, {})
        _require_format(first)
        batch: list[Line] = []
        for number, body in enumerate(lines, start=2):
            if "end" in body:
                _write(store, batch)
                if next(lines, None) is not None:
                    raise Corrupt(f"line {number + 1} stands behind the end of the export")
                return first, _named_line(number, _end_of, body)
            batch.append(_named_line(number, _line_of, body))
            if len(batch) == WRITTEN_AT_ONCE:
                _write(store, batch)
                batch = []
    raise Corrupt("the export has no last line; it was cut off: export again")


def _bodies(file: BinaryIO) -> Iterator[Body]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        try:
            if not raw.endswith(b"\n"):
                raise BadParameters("it does not end, or is too long")
            body = decode_body(raw[:-1], MAX_LINE_BYTES)
        except BadParameters as wrong:
            raise Corrupt(f"line {number} is no line of an export: {wrong}") from wrong
        yield body


def _require_format(body: Body) -> None:
    if body.get("format") != FORMAT:
        raise Corrupt(f"this is no {FORMAT}: its first line names another format, or none")


def _named_line(number: int, read: Callable[[Body], Found], body: Body) -> Found:
    try:
        return read(body)
    except BadParameters as wrong:
        raise Corrupt(f"line {number} is no line of an export: {wrong}") from wrong


def _line_of(body: Body) -> Line:
    if not 0 <= integer_of(body, "seq") < 2**63 or not 0 <= integer_of({"position": 0, **body}, "position") < 2**63:
        raise BadParameters("no entry or opening has such a number")
    if "kind" in body:
        return _entry_of(body)
    if "party" in body:
        require_keys(body, "seq", "party", "signature")
        return Witness(integer_of(body, "seq"), bytes_of(body, "party", 32), bytes_of(body, "signature", 64))
    require_keys(body, "seq", "position", "pseudonym", "salt")
    salt = bytes_of(body, "salt", len(string_of(body, "salt")) // 2)
    return Opening(integer_of(body, "seq"), integer_of(body, "position"), bytes_of(body, "pseudonym", 32), salt)


def _entry_of(body: Body) -> Entry:
    require_keys(body, "seq", "kind", "body", "prev", "hash", "signature", "key_id")
    return Entry(
        integer_of(body, "seq"),
        string_of(body, "kind"),
        encode_body(object_of(body, "body")),
        bytes_of(body, "prev", 32),
        bytes_of(body, "hash", 32),
        bytes_of(body, "signature", 64),
        bytes_of(body, "key_id", 16),
    )


def _end_of(body: Body) -> Head:
    require_keys(body, "end", "hash", "signature")
    return Head(integer_of(body, "end"), bytes_of(body, "hash", 32), bytes_of(body, "signature", 64))


def _write(store: Store, lines: Iterable[Line]) -> None:
    with store.writing():
        for line in lines:
            match line:
                case Entry():
                    store.append(line)
                case Opening():
                    store.add_openings([line])
                case Witness():
                    store.add_witness(line)


def _require_sound(store: Store, head: Head) -> None:
    verdict = examine(store.checked_entries(), store.openings(), store.witnesses())
    # What follows from nothing, such as a rehearsal, can be read; every later judgement says so again.
    for problem in (each for each in verdict.problems if each.error != Unverifiable.__name__):
        raise Corrupt(f"the export does not hold: {problem.message}", seq=problem.line)
    if verdict.head != head:
        raise Corrupt(f"the export ends at entry {head.seq} with another head than its entries have", seq=head.seq)
