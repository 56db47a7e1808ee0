"""TenSEAL's vectors under the checks of `benchmarks.matrix`; run in the environment of the peer.

    <env>/bin/python -m benchmarks.peers.tenseal_target '{"checks": ["T4"]}'

Used as its tutorials and NVFlare use it. What may kill the process is done in another one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks.matrix import ciphertexts
from benchmarks.matrix.checks import ids
from benchmarks.matrix.child import ending_of
from benchmarks.matrix.ciphertexts import HOLLOW, NO_CIPHERTEXTS, Floats
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.pins import names_of
from benchmarks.peers.tenseal import DEGREE, PRIME_BITS, SCALE_BITS, VERSION

SYMBOLS = {"tenseal": ("SCHEME_TYPE", "ckks_tensor_from", "ckks_vector", "ckks_vector_from", "context")}
SLOTS = DEGREE // 2
CLAIMED = 60_000
# A ring in which a sum of three times 900 has no room, as its modulus of 40 bits holds 2^12 at this scale.
SMALL_DEGREE, SMALL_BITS, SMALL_SCALE_BITS = 2048, (40, 14), 28
LARGE = 900.0


@cache
def names() -> Any:
    return names_of("tenseal", VERSION, SYMBOLS)


def version() -> str:
    names()
    return VERSION


def context(degree: int = DEGREE, bits: tuple[int, ...] = PRIME_BITS, scale_bits: int = SCALE_BITS) -> Any:
    made = names().context(names().SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=list(bits), n_threads=1)
    made.global_scale = 2**scale_bits
    return made


def read_as_tensor(message: str) -> None:
    names().ckks_tensor_from(context(), bytes.fromhex(message)).decrypt()


def add_to_vector(message: str) -> None:
    """One honest vector that fills its ciphertext, and these bytes."""
    own = context()
    total = names().ckks_vector(own, np.zeros(SLOTS))
    total += names().ckks_vector_from(own, bytes.fromhex(message))
    total.decrypt()


def no_ciphertext() -> Answer:
    deeds = {"read as a tensor": "read_as_tensor", "added to a vector": "add_to_vector"}
    return ciphertexts.survives(
        [
            (f"{what} {how}", ending_of(__spec__.name, deed, message.hex()))
            for what, message in NO_CIPHERTEXTS.items()
            for how, deed in deeds.items()
        ]
    )


def packed_sizes(size: int) -> bytes:
    """The first field of a message: one number, in protocol buffers' base 128."""
    groups = bytearray()
    while size >= 128:
        groups.append(size & 127 | 128)
        size >>= 7
    groups.append(size)
    return bytes([0x0A, len(groups)]) + bytes(groups)


def print_length(message_size: str) -> None:
    own = context()
    honest = names().ckks_vector(own, [0.5] * SLOTS).serialize()
    before = packed_sizes(SLOTS)
    if not honest.startswith(before):
        raise RuntimeError("a vector no longer begins with its size")
    forged = packed_sizes(int(message_size)) + honest[len(before) :]
    print(len(names().ckks_vector_from(own, forged).decrypt()))


def forged_size() -> Answer:
    ending = ending_of(__spec__.name, "print_length", str(CLAIMED))
    returned = None if ending.status else int(ending.stdout.split()[-1])
    return ciphertexts.believed(CLAIMED, SLOTS, returned, str(ending))


def flips() -> Answer:
    own, values = context(), np.linspace(-1, 1, SLOTS)
    upload = names().ckks_vector(own, values).serialize()

    def read(message: bytes) -> Floats | None:
        try:
            return np.array(names().ckks_vector_from(own, message).decrypt())
        except (RuntimeError, ValueError):
            return None

    return ciphertexts.flipped(read, upload, values)


def released() -> Answer:
    """A sum of three clients' integers, as `decrypt` releases it."""
    own, integers = context(), np.arange(SLOTS) % 100
    total = names().ckks_vector(own, integers)
    for _ in range(2):
        total += names().ckks_vector(own, integers)
    return ciphertexts.carries_noise(np.array(total.decrypt()), (3 * integers).astype(np.float64))


def overflow() -> Answer:
    own = context(SMALL_DEGREE, SMALL_BITS, SMALL_SCALE_BITS)
    total = names().ckks_vector(own, [LARGE])
    for _ in range(2):
        total += names().ckks_vector(own, [LARGE])
    return ciphertexts.wraps(float(total.decrypt()[0]), 3 * LARGE, f"three times {LARGE:g}, primes {list(SMALL_BITS)}")


def encrypt_long() -> None:
    names().ckks_vector(context(), [0.1] * (SLOTS + 1))


def notes() -> Answer:
    return ciphertexts.talks(ending_of(__spec__.name, "encrypt_long").stdout, f"a vector of {SLOTS + 1:,} numbers")


PROBES = {
    "N2": lambda: ciphertexts.survives(
        [("three bytes added to a vector", ending_of(__spec__.name, "add_to_vector", HOLLOW.hex()))]
    ),
    "T1": no_ciphertext,
    "T2": forged_size,
    "T3": flips,
    "T4": released,
    "T5": overflow,
    "T6": notes,
}
TARGET = Target(
    "tenseal",
    version,
    PROBES,
    for_all(ids("F"), "it has no masks and no rounds")
    | for_all(ids("D"), "it adds no noise for privacy and accounts for none")
    | {
        "N1": "who is given a key is for its user to decide",
        "N3": "how an update is cut into vectors is for its user to decide",
        "N4": "it sums what its user hands it",
        "N5": "it logs nothing",
    },
    {},
)

if __name__ == "__main__":
    TARGET.main()
