"""OpenFHE: CKKS whose key three parties made together, all of whom it takes to open; and with one key.

Depth 0, where nothing but sums is computed: its security check refuses a ring below 8192 for these primes, so two
residues of 8 bytes carry each of 4096 slots. Lists of floats go in and come out. Its wheel holds one interpreter's
extension, so its suite asks it in a process of its own. Nothing of this project is imported here.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np

from benchmarks.inputs import mean_of, rms, update_of
from benchmarks.peers.pins import names_of

NAME = "openfhe"
VERSION = "1.6.1.0.22.4"
TITLE = "OpenFHE 1.6.1"
PYTHON = "3.10"
PIP = ("openfhe==1.6.1.0.22.4",)

PARTIES = 3
SCALE_BITS, FIRST_BITS = 50, 60

SYMBOLS = {
    "openfhe": (
        "BINARY",
        "CCParamsCKKSRNS",
        "DeserializeCiphertextString",
        "FIXEDMANUAL",
        "GenCryptoContext",
        "HEStd_128_classic",
        "PKESchemeFeature",
        "Serialize",
    )
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    return names_of("openfhe", VERSION, SYMBOLS)


def context() -> Any:
    """One for everybody: sums alone, 128 bits."""
    peer = names()
    wanted = peer.CCParamsCKKSRNS()
    wanted.SetMultiplicativeDepth(0)
    wanted.SetScalingModSize(SCALE_BITS)
    wanted.SetFirstModSize(FIRST_BITS)
    wanted.SetScalingTechnique(peer.FIXEDMANUAL)
    wanted.SetSecurityLevel(peer.HEStd_128_classic)
    made = peer.GenCryptoContext(wanted)
    for feature in ("PKE", "LEVELEDSHE", "MULTIPARTY"):
        made.Enable(getattr(peer.PKESchemeFeature, feature))
    return made


class Stands:
    """Clients that encrypt to the key of three parties, a server that adds, and the parties that open together."""

    def __init__(self) -> None:
        self._context = context()
        self._keys = [self._context.KeyGen()]
        for _ in range(1, PARTIES):
            self._keys.append(self._context.MultipartyKeyGen(self._keys[-1].publicKey))
        self._slots = self._context.GetRingDimension() // 2
        self._update: Any = None
        self._upload: list[bytes] = []
        self._total: list[Any] = []
        self._opened: list[float] = []

    def ring(self) -> int:
        """Coefficients of a polynomial, which its security check decides."""
        return 2 * int(self._slots)

    def hold(self, who: int, dimension: int) -> str:
        """Takes this client's update; a digest of it, for both sides must have been given the same."""
        self._update = update_of(who, dimension)
        return hashlib.sha256(self._update.tobytes()).hexdigest()

    def encrypt(self) -> int:
        """float32 to the bytes of ciphertexts; how many bytes."""
        peer, values = names(), self._update.tolist()
        self._upload = []
        for first in range(0, len(values), self._slots):
            plain = self._context.MakeCKKSPackedPlaintext(values[first : first + self._slots])
            sealed = self._context.Encrypt(self._keys[-1].publicKey, plain)
            self._upload.append(peer.Serialize(sealed, peer.BINARY))
        return sum(map(len, self._upload))

    def begin(self) -> None:
        """The upload becomes the sum."""
        self._total = [self._loaded(block) for block in self._upload]

    def add(self) -> None:
        """The server's work for one more client: the upload is loaded and added."""
        for total, block in zip(self._total, self._upload, strict=True):
            self._context.EvalAddInPlace(total, self._loaded(block))

    def open_together(self) -> None:
        """Each party's part of every block, and what they fuse to."""
        self._opened = []
        for block in self._total:
            lead, *others = self._keys
            [first] = self._context.MultipartyDecryptLead([block], lead.secretKey)
            parts = [first, *(self._context.MultipartyDecryptMain([block], key.secretKey)[0] for key in others)]
            fused = self._context.MultipartyDecryptFusion(parts)
            fused.SetLength(self._slots)
            self._opened += fused.GetRealPackedValue()

    def error(self, clients: int, dimension: int) -> float:
        """Root mean square error of the mean that is opened, a whole round of it."""
        for who in range(clients):
            self.hold(who, dimension)
            self.encrypt()
            if who:
                self.add()
            else:
                self.begin()
        self.open_together()
        mean = np.array(self._opened[:dimension]) / clients
        return rms(mean - mean_of(list(range(clients)), dimension))

    def _loaded(self, block: bytes) -> Any:
        return names().DeserializeCiphertextString(block, names().BINARY)


def stand() -> Stands:
    """What its process is asked."""
    return Stands()
