"""A head that is kept elsewhere: written whole, never back, and believed only where it was signed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.errors import BadParameters, Corrupt, Forked, RolledBack, StorageRefused
from dp.ledger import Head
from dp.ledger.chain import Kind, Signer, check_witness, link, witness_statement
from dp.ledger.pins import MAX_PIN_BYTES, Pin

SIGNER, OTHER = Signer(bytes(range(32))), Signer(bytes(32))
LEDGER_ID = bytes(range(16))


def heads(count: int, text: str = "") -> list[Head]:
    """The heads of a ledger with so many notes."""
    found: list[Head] = []
    for number in range(count):
        last = found[-1] if found else None
        found.append(link(LEDGER_ID, SIGNER, last, Kind.NOTE, {"text": f"{text}{number}"}).head)
    return found


def pin(head: Head) -> Pin:
    return Pin(LEDGER_ID, SIGNER.public, head)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "run.pin"
    for head in heads(3):
        pin(head).keep(path)
        assert Pin.read(path) == pin(head)
    assert os.listdir(tmp_path) == ["run.pin"]


def test_a_pin_is_one_line_of_canonical_json() -> None:
    [head] = heads(1)
    assert (
        pin(head).to_bytes()
        == (
            f'{{"hash":"{head.hash.hex()}","ledger_id":"{LEDGER_ID.hex()}","seq":0,'
            f'"signature":"{head.signature.hex()}","signer":"{SIGNER.public.hex()}"}}\n'
        ).encode()
    )


def test_a_pin_never_goes_back(tmp_path: Path) -> None:
    path, seen = tmp_path / "run.pin", heads(5)
    pin(seen[3]).keep(path)
    pin(seen[3]).keep(path)
    with pytest.raises(RolledBack, match="ends at entry 2, but entry 3 was there;") as wrong:
        pin(seen[2]).keep(path)
    assert wrong.value.seq == 2
    with pytest.raises(Forked, match="entry 3 is not the one") as forked:
        pin(heads(4, "rewritten ")[3]).keep(path)
    assert forked.value.seq == 3
    assert Pin.read(path) == pin(seen[3])


def test_a_pin_belongs_to_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "run.pin"
    pin(heads(1)[0]).keep(path)
    stranger = link(bytes(16), SIGNER, None, Kind.NOTE, {"text": "0"}).head
    with pytest.raises(Forked, match="another ledger"):
        Pin(bytes(16), SIGNER.public, stranger).keep(path)


def test_a_head_that_its_ledger_did_not_sign_is_not_kept() -> None:
    [head] = heads(1)
    with pytest.raises(Corrupt, match="not signed by its ledger's key"):
        Pin(LEDGER_ID, OTHER.public, head)
    with pytest.raises(Corrupt, match="not signed"):
        pin(dataclasses.replace(head, hash=bytes(32)))
    with pytest.raises(Corrupt, match="not signed"):
        Pin(LEDGER_ID, b"short", head)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"seq":1}',
        b"x" * (MAX_PIN_BYTES + 1),
        pin(heads(1)[0]).to_bytes() + b"\n",
        pin(heads(1)[0]).to_bytes().replace(b'"seq":0', b'"seq":-1'),
        pin(heads(1)[0]).to_bytes().replace(b'"seq":0', b'"seq": 0'),
    ],
    ids=["empty", "object", "no-text", "half", "long", "two-lines", "negative", "spaces"],
)
def test_anything_else_at_the_path_is_no_pin(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "run.pin").write_bytes(raw)
    with pytest.raises(Corrupt):
        Pin.read(tmp_path / "run.pin")
    with pytest.raises(Corrupt):
        pin(heads(1)[0]).keep(tmp_path / "run.pin")


@given(st.binary(max_size=300))
def test_random_bytes_are_no_pin(raw: bytes) -> None:
    with pytest.raises(Corrupt):
        Pin.from_bytes(raw)


@given(st.integers(0, 8 * 400), st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_changes_nothing_signed(at: int, bit: int) -> None:
    # The number is the one thing no signature covers: a wrong one meets an entry with another hash.
    raw = bytearray(pin(heads(1)[0]).to_bytes())
    raw[at % len(raw)] ^= 1 << bit
    try:
        found = Pin.from_bytes(bytes(raw))
    except Corrupt:
        return
    assert found.head.hash == heads(1)[0].hash


def test_a_place_that_cannot_keep_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="No such file"):
        Pin.read(tmp_path / "nowhere")
    with pytest.raises(StorageRefused, match="cannot open the directory"):
        pin(heads(1)[0]).keep(tmp_path / "no" / "such" / "run.pin")
    (tmp_path / "taken.new").mkdir()
    with pytest.raises(StorageRefused, match="Is a directory"):
        pin(heads(1)[0]).keep(tmp_path / "taken")


def test_a_crash_before_the_rename_leaves_the_old_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "run.pin", heads(2)
    pin(seen[0]).keep(path)

    def crash(*paths: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(StorageRefused, match="Input/output"):
        pin(seen[1]).keep(path)
    monkeypatch.undo()
    assert Pin.read(path) == pin(seen[0])
    pin(seen[1]).keep(path)
    assert Pin.read(path) == pin(seen[1])


# --- a head signed by somebody else -------------------------------------------------------------------


def test_a_witness_signs_label_ledger_number_and_hash() -> None:
    head = heads(3)[2]
    text = b"secagg/v1/ledger/witness" + LEDGER_ID + bytes([2, 0, 0, 0, 0, 0, 0, 0]) + head.hash
    assert witness_statement(LEDGER_ID, head) == text
    check_witness(LEDGER_ID, head, OTHER.public, OTHER._key.sign(text))


def test_a_witness_of_another_head_ledger_or_party_is_none() -> None:
    first, second = heads(2)
    signature = OTHER._key.sign(witness_statement(LEDGER_ID, first))
    for ledger_id, head, party in [
        (LEDGER_ID, second, OTHER.public),
        (bytes(16), first, OTHER.public),
        (LEDGER_ID, dataclasses.replace(first, seq=1), OTHER.public),
        (LEDGER_ID, first, SIGNER.public),
        (LEDGER_ID, first, b"no key"),
    ]:
        with pytest.raises(BadParameters, match="did not sign the head"):
            check_witness(ledger_id, head, party, signature)
