"""A verifier that remembers accepts exactly what the plain one accepts."""

from __future__ import annotations

import pytest

from protocols import verifying
from protocols.verifying import remembering
from secagg.errors import BadSignature
from secagg.keys import Identity, Seed, verify

ONE, TWO = (Identity.from_seed(Seed(bytes([number]) * 32)) for number in (1, 2))
SIGNED = ONE.sign(b"text")


def test_it_accepts_and_refuses_as_often_as_it_is_asked() -> None:
    check = remembering()
    for _ in range(3):
        check(ONE.public, b"text", SIGNED)
        for public, text, signature in (
            (TWO.public, b"text", SIGNED),
            (ONE.public, b"other", SIGNED),
            (ONE.public, b"text", TWO.sign(b"text")),
            (ONE.public, b"text", bytes(64)),
            (b"", b"text", SIGNED),
        ):
            for verifier in (check, verify):
                with pytest.raises(BadSignature):
                    verifier(public, text, signature)


def test_it_checks_each_signature_once_and_refusals_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counting(public: bytes, text: bytes, signature: bytes) -> None:
        asked.append(text)
        verify(public, text, signature)

    monkeypatch.setattr(verifying, "verify", counting)
    check = remembering()
    for _ in range(3):
        check(ONE.public, b"text", SIGNED)
        with pytest.raises(BadSignature):
            check(ONE.public, b"lie", SIGNED)
    assert asked == [b"text", b"lie", b"lie", b"lie"]


def test_two_verifiers_share_no_memory() -> None:
    assert remembering() is not remembering()
