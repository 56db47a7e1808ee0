"""Canonical bodies, the hash chain and signatures, against a second implementation that shares no code."""

from __future__ import annotations

import hashlib
import json
import pickle
from fractions import Fraction

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from dp.canonical import (
    MAX_BODY_BYTES,
    bytes_of,
    decode_body,
    decode_rational,
    encode_body,
    encode_rational,
    integer_of,
    object_of,
    require_keys,
    text_of,
)
from dp.errors import BadParameters, Corrupt
from dp.ledger.chain import Entry, Kind, Signed, Signer, check_hash, check_signature, link, signed_by
from tests.rows import rows

SEED = bytes(range(32))
LEDGER_ID = bytes(range(16))

values = st.recursive(
    st.one_of(st.integers(-(2**200), 2**200), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text('abÄ"\\\n', max_size=3), inner)),
    max_leaves=10,
)
bodies = st.dictionaries(st.text("abc_", max_size=4), values, max_size=4)


def chain_of(*bodies: dict[str, object]) -> list[Entry]:
    """GENESIS and then a NOTE per body."""
    signer = Signer(SEED)
    genesis = {"ledger_id": LEDGER_ID.hex(), "signer": signer.public.hex()}
    entries = [link(LEDGER_ID, signer, None, Kind.GENESIS, genesis)]
    for body in bodies:
        entries.append(link(LEDGER_ID, signer, entries[-1].head, Kind.NOTE, body))  # type: ignore[arg-type]
    return entries


def test_a_body_is_sorted_compact_utf8_json() -> None:
    assert encode_body({"b": [1, "ä", {"z": 0, "a": -1}], "a": "p/q"}) == (
        '{"a":"p/q","b":[1,"ä",{"a":-1,"z":0}]}'.encode()
    )


def test_an_entry_hash_is_the_one_written_on_the_page() -> None:
    # Written out anew from the formula: label, id, LE64, previous hash, inner hash of kind 00 body.
    previous = bytes(32)
    for seq, entry in enumerate(chain_of({"text": "one"}, {"text": "two"})):
        inner = hashlib.sha256(entry.kind.encode() + bytes(1) + entry.body).digest()
        number = bytes((seq >> 8 * i) & 0xFF for i in range(8))
        joined = b"secagg/v1/ledger/entry" + LEDGER_ID + number + previous + inner
        assert entry.hash == hashlib.sha256(joined).digest()
        assert entry.prev == previous
        previous = entry.hash


def test_a_signature_is_plain_ed25519_over_label_id_and_hash() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    for entry in chain_of({"text": "one"}):
        message = b"secagg/v1/ledger/sign" + LEDGER_ID + entry.hash
        assert entry.signature == key.sign(message)
        assert entry.key_id == hashlib.sha256(key.public_key().public_bytes_raw()).digest()[:16]


@given(bodies)
def test_decoding_inverts_encoding_and_any_other_spelling_is_refused(body: dict[str, object]) -> None:
    raw = encode_body(body)  # type: ignore[arg-type]
    assert decode_body(raw) == body
    for other in (raw + b" ", b" " + raw, json.dumps(body, ensure_ascii=True, indent=1).encode()):
        if other != raw:
            with pytest.raises(BadParameters):
                decode_body(other)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"a":0.5}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":true}',
        b'{"a":null}',
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'{"a":01}',
        b'{"a":-0}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"[" * 60_000,
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a":1}' + b" " * MAX_BODY_BYTES,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_a_text_that_is_not_canonical_is_refused(raw: bytes) -> None:
    with pytest.raises(BadParameters):
        decode_body(raw)


@rows("L7")
@pytest.mark.parametrize(
    "value",
    [0.5, float("nan"), float("inf"), None, True, b"ab", {1: 2}, {"x": 0.0}, [1.0], 2**5000, "\ud800"],
    ids=repr,
)
def test_a_body_never_holds_what_has_no_exact_text(row: str, value: object) -> None:
    with pytest.raises(BadParameters):
        encode_body({"value": value})  # type: ignore[dict-item]


def test_a_body_above_64_kib_is_refused() -> None:
    fits = "x" * (MAX_BODY_BYTES - len('{"t":""}'))
    assert len(encode_body({"t": fits})) == MAX_BODY_BYTES
    with pytest.raises(BadParameters, match="65537 bytes"):
        encode_body({"t": fits + "x"})


@given(st.fractions())
def test_rationals_come_back_exactly(value: Fraction) -> None:
    assert decode_rational(encode_rational(value)) == value


@rows("L7")
@pytest.mark.parametrize(
    "text",
    ["", "1", "1/0", "0/0", "2/4", "-0/1", "1/-2", "+1/2", "01/2", "1/02", " 1/2", "1/2\n", "1.5/2", "١/٢", 3],
    ids=repr,
)
def test_a_rational_has_one_spelling(row: str, text: object) -> None:
    with pytest.raises(BadParameters):
        decode_rational(text)  # type: ignore[arg-type]


def test_fields_are_refused_by_name_when_missing_or_of_another_type() -> None:
    body = {"text": 1, "integer": "1", "object": [], "hash": "AB"}
    for read in (
        lambda: text_of(body, "text"),
        lambda: integer_of(body, "integer"),
        lambda: object_of(body, "object"),
        lambda: bytes_of(body, "hash", 1),
        lambda: require_keys(body, "text"),
    ):
        with pytest.raises(BadParameters, match=r"ledger body"):
            read()


def check_both(signed: Signed, before: Entry, entry: Entry) -> None:
    check_hash(signed, before.head, entry)
    check_signature(signed, entry)


def test_every_single_change_of_an_entry_is_noticed_there() -> None:
    entries = chain_of({"text": "one"}, {"text": "two"})
    signed = signed_by(entries[0])
    good = entries[2]
    check_hash(signed, entries[1].head, good)
    check_signature(signed, good)
    other = bytes(32)
    changed = [
        Entry(3, good.kind, good.body, good.prev, good.hash, good.signature, good.key_id),
        Entry(2, "ABORT", good.body, good.prev, good.hash, good.signature, good.key_id),
        Entry(2, good.kind, entries[1].body, good.prev, good.hash, good.signature, good.key_id),
        Entry(2, good.kind, good.body, other, good.hash, good.signature, good.key_id),
        Entry(2, good.kind, good.body, good.prev, other, good.signature, good.key_id),
        Entry(2, good.kind, good.body, good.prev, good.hash, entries[1].signature, good.key_id),
        Entry(2, good.kind, good.body, good.prev, good.hash, good.signature, bytes(16)),
    ]
    for entry in changed:
        with pytest.raises(Corrupt) as wrong:
            check_both(signed, entries[1], entry)
        assert wrong.value.seq == 2


def test_bodies_and_hashes_recomputed_without_the_key_fail_the_signature() -> None:
    entries = chain_of({"text": "one"})
    signed = signed_by(entries[0])
    forged = link(LEDGER_ID, Signer(bytes(32)), entries[0].head, Kind.NOTE, {"text": "two"})
    check_hash(signed, entries[0].head, forged)
    with pytest.raises(Corrupt, match="signer"):
        check_signature(signed, forged)
    stolen_name = Entry(1, forged.kind, forged.body, forged.prev, forged.hash, forged.signature, entries[0].key_id)
    with pytest.raises(Corrupt, match="not signed"):
        check_signature(signed, stolen_name)


def test_a_signature_means_nothing_in_another_ledger() -> None:
    entry = chain_of({"text": "one"})[1]
    with pytest.raises(Corrupt):
        check_signature(Signed(bytes(16), Signer(SEED).public), entry)


def test_the_first_entry_must_be_a_genesis_that_names_id_and_key() -> None:
    signer = Signer(SEED)
    body = {"ledger_id": LEDGER_ID.hex(), "signer": signer.public.hex()}
    for kind, said in ((Kind.NOTE, body), (Kind.GENESIS, {"ledger_id": "00"})):
        with pytest.raises(Corrupt) as wrong:
            signed_by(link(LEDGER_ID, signer, None, kind, said))
        assert wrong.value.seq == 0


def test_a_signer_shows_neither_key_nor_seed() -> None:
    signer = Signer(SEED)
    shown = repr(signer) + str(signer)
    assert SEED.hex() not in shown
    assert "key_id=" in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(signer)
    with pytest.raises(BadParameters, match="32 bytes"):
        Signer(b"short")


def test_the_test_of_the_test_plain_ed25519_refuses_a_changed_message() -> None:
    entry = chain_of()[0]
    key = Ed25519PublicKey.from_public_bytes(Signer(SEED).public)
    with pytest.raises(InvalidSignature):
        key.verify(entry.signature, b"secagg/v1/ledger/sign" + LEDGER_ID + bytes(32))
