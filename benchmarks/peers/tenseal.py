"""TenSEAL's CKKSVector, used as its tutorials and NVFlare's `HEModelEncryptor` use it: one vector, one context.

The context holds what NVFlare provisions by default. It is made with the secret key in it, for everybody; NVFlare
encrypts with that key, projects of TenSEAL's own tutorials with the public one. Not counted on its side: the copy of
the context (0.66 MB) that NVFlare sends with every tensor. Nothing of this project is imported here.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from benchmarks.peers.pins import names_of

NAME = "tenseal"
VERSION = "0.3.18"
TITLE = f"TenSEAL {VERSION}"
PYTHON = "3.11"
PIP = ("tenseal==0.3.18",)

# NVFlare's HEBuilder: poly_modulus_degree, coeff_mod_bit_sizes, scale_bits.
DEGREE, PRIME_BITS, SCALE_BITS = 8192, (60, 40, 40), 40

Floats = np.ndarray[Any, np.dtype[Any]]
SYMBOLS = {"tenseal": ("ENCRYPTION_TYPE", "SCHEME_TYPE", "ckks_vector", "ckks_vector_from", "context")}


class Encryption(Enum):
    """The key that clients encrypt with."""

    PUBLIC = "ASYMMETRIC"
    SYMMETRIC = "SYMMETRIC"

    def __str__(self) -> str:
        return self.name.lower()


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    return names_of("tenseal", VERSION, SYMBOLS)


class Federation:
    """One context for everybody. TenSEAL prints a warning on stdout for each vector longer than half the degree."""

    def __init__(self, encryption: Encryption) -> None:
        peer = names()
        self._context = peer.context(
            peer.SCHEME_TYPE.CKKS,
            DEGREE,
            coeff_mod_bit_sizes=list(PRIME_BITS),
            n_threads=1,
            encryption_type=getattr(peer.ENCRYPTION_TYPE, encryption.value),
        )
        self._context.global_scale = 2**SCALE_BITS

    def upload(self, update: Floats) -> bytes:
        """One client: floats to the bytes of a ciphertext."""
        serialized: bytes = names().ckks_vector(self._context, update).serialize()
        return serialized

    def load(self, upload: bytes) -> Any:
        """The ciphertext of an upload."""
        return names().ckks_vector_from(self._context, upload)

    def add(self, total: Any, upload: bytes) -> None:
        """One client's share of the server's work."""
        total += self.load(upload)

    def mean(self, total: Any, clients: int) -> Floats:
        """What whoever has the context opens."""
        return np.array(total.decrypt()) / clients
