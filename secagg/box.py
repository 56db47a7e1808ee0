"""An authenticated box for one small secret.

    seal(key, plaintext, aad) = AES-256-GCM(key, nonce = 0, plaintext, aad)    plaintext + 16 bytes

A constant nonce is safe here and only here: a box key is derived from both ends, the direction and the
session, and seals one message. Sealing that same message again, after a crash, repeats the same bytes;
a key that sealed two different ones would give away their difference and the means to forge.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg.errors import BadBox
from secagg.keys import Seed

NONCE = bytes(12)
TAG_BYTES = 16


def seal(key: Seed, plaintext: bytes, aad: bytes | memoryview) -> bytes:
    """Plaintext under a key that seals nothing else, bound to aad.

    Guarantee: without key a box hides all but the length and cannot be changed, moved to other aad, or
        made. The key must come from `derive` with sender, recipient and session among its parts.
    Source: NIST SP 800-38D.
    """
    return encrypt(key.expose(), NONCE, plaintext, aad)


def open_box(key: Seed, sealed: bytes, aad: bytes) -> bytes:
    """The plaintext of a box sealed under this key and aad.

    Raises: BadBox, without saying which of the three does not fit.
    """
    return decrypt(key.expose(), NONCE, sealed, aad)


def encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes | memoryview) -> bytes:
    """AES-GCM, the 16-byte tag at the end, for every key size: what published vectors can be held against."""
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def decrypt(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The inverse of `encrypt`. Raises BadBox."""
    if len(sealed) < TAG_BYTES:
        raise BadBox(f"a box is at least {TAG_BYTES} bytes, not {len(sealed)}")
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag as refused:
        raise BadBox("the box does not open under this key and these ends") from refused
