"""A client sends what is no ciphertext of this round, or none at all: the server names it and sums the others.

The server adds residues as they lie on the wire and hands no stranger's byte to any library that parses ciphertexts.
"""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import codec
from protocols.ckks import epoch as names
from protocols.ckks.epoch import POLYNOMIAL_BYTES
from protocols.ckks.messages import BOX_BYTES, Ciphertext, Reveal
from secagg.ckks.wire import WIDTHS
from tests.attacks.hall import Hall, encrypted_plan
from tests.rows import rows

ROOT = Path(__file__).resolve().parents[2]
Bend = Callable[[Hall, Ciphertext], Ciphertext]


@pytest.fixture
def hall() -> Hall:
    """All uploads but the villain's are in the sum."""
    made = Hall()
    made.everybody(made.villain)
    return made


def signed(hall: Hall, c0: bytes, c1: bytes, key: bytes | None = None) -> Ciphertext:
    """Halves under the villain's own good signature, for this key or another."""
    digests = names.digest(c0), names.digest(c1)
    text = names.upload_text(hall.context, key or hall.server.agreement.key, hall.villain, *digests)
    return Ciphertext(c0, c1, hall.company.identities[hall.villain].sign(text))


def require_excluded(hall: Hall, error: str, deed: Callable[[], list[Any]]) -> None:
    """The deed is refused by this name and changes nothing; the round ends in the sum of the others."""
    before = frozen(hall)
    frames = deed()
    assert frames == []
    assert [(note.peer, note.error) for note in hall.server.excluded] == [(hall.villain, error)]
    assert frozen(hall) == before
    hall.require_sum_of(*hall.ids[1:])


def frozen(hall: Hall) -> bytes:
    """The room as it would be stored."""
    return codec.freeze(hall.server._party.state)


def other_width(half: bytes, hall: Hall) -> bytes:
    """As many residues, one byte wider each."""
    width = hall.plan.width0
    assert width + 1 in WIDTHS
    return half + bytes(len(half) // width)


BENT: dict[str, tuple[str, Bend]] = {
    "empty": ("ShapeMismatch", lambda hall, m: signed(hall, b"", b"")),
    "08 80 20": ("ShapeMismatch", lambda hall, m: signed(hall, b"\x08\x80\x20", b"\x08\x80\x20")),
    "18 random bytes": ("ShapeMismatch", lambda hall, m: signed(hall, bytes(range(9)), bytes(range(9)))),
    "truncated": ("ShapeMismatch", lambda hall, m: signed(hall, m.c0, m.c1[:-1])),
    "a byte longer": ("ShapeMismatch", lambda hall, m: signed(hall, m.c0 + b"\0", m.c1)),
    "one half": ("ShapeMismatch", lambda hall, m: signed(hall, m.c0, b"")),
    "three polynomials": ("ShapeMismatch", lambda hall, m: signed(hall, m.c0, m.c1 + m.c1)),
    "more blocks": ("TooLarge", lambda hall, m: signed(hall, m.c0 * 2, m.c1 * 2)),
    "other width": ("ShapeMismatch", lambda hall, m: signed(hall, other_width(m.c0, hall), m.c1)),
    "halves swapped": ("ShapeMismatch", lambda hall, m: signed(hall, m.c1, m.c0)),
    "compressed": ("ShapeMismatch", lambda hall, m: signed(hall, gzip.compress(bytes(1 << 24)), m.c1)),
    "residues beyond the prime": ("BadCiphertext", lambda hall, m: signed(hall, m.c0, b"\xff" * len(m.c1))),
    "hash where none is": ("ShapeMismatch", lambda hall, m: replace(m, hash=bytes(64))),
    "other key": ("BadSignature", lambda hall, m: signed(hall, m.c0, m.c1, key=b"\1" * 32)),
    "changed after it was signed": ("BadSignature", lambda hall, m: replace(m, c1=bytes(len(m.c1)))),
    "of another round": ("BadSignature", lambda hall, m: Hall(encrypted_plan(bits=11)).upload_of(hall.villain)),
}


@rows("C17")
@pytest.mark.parametrize("name", BENT)
def test_what_is_no_ciphertext_of_this_round_is_excluded_by_name(row: str, name: str, hall: Hall) -> None:
    error, bend = BENT[name]
    bent = bend(hall, replace_bytes(hall.upload_of(hall.villain)))
    if name == "of another round":
        assert len(bent.c1) == len(hall.uploads[hall.villain].c1)
    require_excluded(hall, error, lambda: hall.server.receive(hall.framed(bent, hall.villain), hall.villain))


def replace_bytes(letter: Ciphertext) -> Ciphertext:
    return replace(letter, c0=bytes(letter.c0), c1=bytes(letter.c1))


@rows("C17")
@pytest.mark.parametrize("length", range(0, 104, 7))
def test_a_frame_cut_anywhere_before_its_vector_is_malformed(row: str, length: int, hall: Hall) -> None:
    frame = hall.framed(hall.upload_of(hall.villain), hall.villain)
    require_excluded(hall, "Malformed", lambda: hall.server.receive(frame[:length], hall.villain))


@rows("C17", "D16")
@pytest.mark.parametrize("announced", [2**31, 2**40, 2**63])
def test_two_gigabytes_are_too_large_before_any_byte_of_them_is_made_room_for(
    row: str, announced: int, hall: Hall
) -> None:
    frame = bytearray(hall.framed(hall.upload_of(hall.villain), hall.villain))
    frame[32:40] = announced.to_bytes(8, "little")
    tracemalloc.start()
    try:
        frames = hall.server.receive(bytes(frame), hall.villain)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    require_excluded(hall, "TooLarge", lambda: frames)


@rows("C17")
def test_zeros_under_a_good_signature_are_an_update_of_zero(row: str, hall: Hall) -> None:
    """The limit: whoever sends what encrypts nothing adds nothing, and its weight is missing from the sum's."""
    half0, half1 = (bytes(len(half)) for half in (hall.upload_of(hall.villain).c0, hall.uploads[hall.villain].c1))
    assert hall.speak(hall.villain, signed(hall, half0, half1)) == []
    hall.submitted[hall.villain] = replace(hall.submitted[hall.villain], vector=hall.ring.zeros(hall.length))
    hall.require_sum_of(*hall.ids)
    assert hall.server.aggregate is not None
    assert hall.server.aggregate.weight_sum == 2 * (len(hall.ids) - 1)


# --- key material where a ciphertext is expected ----------------------------------------------------------


def private_key() -> bytes:
    """A file such as people have lying about."""
    return Ed25519PrivateKey.from_private_bytes(b"\x17" * 32).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def context_with_secret_key() -> bytes:
    """What a site of another framework is given: context, keys and all."""
    tenseal = pytest.importorskip("tenseal")
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60])
    return bytes(context.serialize(save_secret_key=True))


@rows("C19")
@pytest.mark.parametrize("material", [private_key, context_with_secret_key], ids=lambda made: made.__name__)
def test_key_material_as_a_ciphertext_is_refused_by_its_size_and_never_stored(
    row: str, material: Callable[[], bytes], hall: Hall
) -> None:
    key = material()
    bent = signed(hall, key, bytes(hall.upload_of(hall.villain).c1))
    frame = hall.framed(bent, hall.villain)
    error = "ShapeMismatch" if len(frame) < hall.server._limit else "TooLarge"
    require_excluded(hall, error, lambda: hall.server.receive(frame, hall.villain))
    assert key[64:128] not in hall.server.freeze()


@rows("C19")
@pytest.mark.parametrize("material", [private_key, context_with_secret_key], ids=lambda made: made.__name__)
def test_a_file_with_a_key_is_no_frame(row: str, material: Callable[[], bytes], hall: Hall) -> None:
    require_excluded(hall, "Malformed", lambda: hall.server.receive(material(), hall.villain))


@rows("C19")
def test_letters_about_keys_are_not_said_to_a_server(row: str, hall: Hall) -> None:
    pieces = Reveal(bytes(32), bytes(POLYNOMIAL_BYTES), (bytes(32),) * 3, (bytes(BOX_BYTES),) * 3)
    before = hall.server.freeze()
    for letter, error in ((hall.certificate, "OutOfTurn"), (pieces, "TooLarge")):
        [note] = hall.speak(hall.villain, letter)
        assert (note.peer, note.error) == (hall.villain, error)
        assert hall.server.freeze() == before
    hall.require_sum_of(*hall.ids[1:])


# --- the server's process -------------------------------------------------------------------------------

IN_A_PROCESS_WITHOUT_THE_LIBRARY = """
import sys
sys.modules["tenseal"] = sys.modules["tenseal.sealapi"] = None
from tests.attacks.test_hostile_ciphertext import mutated
print(mutated(int(sys.argv[1])))
assert sys.modules["tenseal"] is None
"""


def mutated(count: int) -> str:
    """So many mutants of one upload, half of them under the client's own good signature: none is taken."""
    hall = Hall()
    hall.everybody(hall.villain)
    honest = replace_bytes(hall.upload_of(hall.villain))
    frame, draw = hall.framed(honest, hall.villain), random.Random(18)
    state = hall.server._party.state
    for number in range(count):
        data = bent_frame(frame, draw) if number % 2 else hall.framed(bent_letter(hall, honest, draw), hall.villain)
        assert hall.server.receive(data, hall.villain) == []
        assert hall.villain not in state.arrived
        if len(hall.server.excluded) > 5000:
            hall.server.excluded.clear()
    hall.require_sum_of(*hall.ids[1:])
    return f"{count} mutants, one sum"


def bent_frame(frame: bytes, draw: random.Random) -> bytes:
    """Bits flipped, or a piece cut out or repeated."""
    data = bytearray(frame)
    start = draw.randrange(len(data)) if draw.random() < 0.5 else draw.randrange(codec.HEADER.size)
    match draw.randrange(3):
        case 0:
            data[start] ^= 1 << draw.randrange(8)
        case 1:
            del data[start : start + draw.randrange(1, 100)]
        case _:
            data[start:start] = data[start : start + draw.randrange(1, 100)]
    return bytes(data)


def bent_letter(hall: Hall, honest: Ciphertext, draw: random.Random) -> Ciphertext:
    """Well signed, and wrong in length or in a residue."""
    c0, c1 = honest.c0, honest.c1
    match draw.randrange(3):
        case 0:
            c0 = c0[: draw.randrange(len(c0))]
        case 1:
            c1 = c1 + draw.randbytes(draw.randrange(1, 64))
        case _:
            c0 = draw.randbytes(len(c0))
            c1 = b"\xff" * len(c1)
    return signed(hall, c0, c1)


@rows("C18")
@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_server_without_the_library_survives_every_mutant(row: str, count: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", IN_A_PROCESS_WITHOUT_THE_LIBRARY, str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{count} mutants, one sum\n"), ended.stderr
