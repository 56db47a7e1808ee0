"""Keys that one party has whole: the named decryptor's, and the one that all clients of one owner share.

    s ternary, k centred binomial                both functions of a root and a context
    single    b = -a s + k                       a is the epoch's common polynomial; who has s opens, who has b encrypts
    seeded    no b                               who has s does both, and every round has an s of its own
    opening   M = c0 + c1 s                      exactly, without a smudge: there is one part only

Nothing is smudged since no part of a decryption leaves: whoever decrypts releases the rounded integers, never M.
Source: Homomorphic Encryption Standard, 2018 (ternary keys, sigma 3.2).
"""

from __future__ import annotations

from typing import Self

import numpy as np

from secagg.ckks.cipher import Part, PublicKey, add_into, each_part, subtract_into
from secagg.ckks.sample import cbd21, ternary
from secagg.ckks.share import SecretResidues, common_polynomial
from secagg.errors import BadParameters
from secagg.keys import CONTEXT_BYTES, Seed, derive
from secagg.negacyclic import Complexes, N, Residues, Spectrum, centred, reduced, small_product, transform
from secagg.prg import Stream
from secagg.workers import ALONE, Workers

LABEL_WHOLE_KEY = b"secagg/v1/ckks/whole-key"
LABEL_WHOLE_ERROR = b"secagg/v1/ckks/whole-error"
LABEL_SHARED_NAME = b"secagg/v1/ckks/shared-name"


class SecretKey(SecretResidues):
    """A ternary s that opens alone; it does not print, pickle or copy, and can be overwritten.

    Raises: BadParameters for a polynomial that is not ternary, and from every use after `erase`.
    """

    __slots__ = ()

    def __init__(self, residues: Residues) -> None:
        super().__init__(residues)
        if residues.size != N or int(np.abs(centred(residues)).max()) > 1:
            raise BadParameters(f"a key that opens alone is {N} coefficients of -1, 0 and 1")

    @classmethod
    def of(cls, root: Seed, context: bytes) -> Self:
        """The key of this root in this context, the same whenever it is asked for."""
        return cls(reduced(ternary(Stream(derive(root, LABEL_WHOLE_KEY, context)), N).astype(np.int64)))

    @property
    def transformed(self) -> Complexes:
        """As `encrypt_seeded` takes it; a copy, for the one computation that needs it."""
        return transform(centred(self.residues))


class SharedKey:
    """What all clients of one owner were given out of band: each round has a key of its own from it.

    A party holds it for many rounds, so the end of a round does not overwrite it: erase the seed it was made of.
    Guarantee: a round's key tells nothing about another round's, nor does the name.
    """

    __slots__ = ("_root", "name")

    name: bytes

    def __init__(self, root: Seed) -> None:
        if not isinstance(root, Seed):
            raise BadParameters(
                f"a shared key is made of a secagg.Seed of 32 secret bytes, not of {type(root).__name__}"
            )
        self._root = root
        self.name = derive(root, LABEL_SHARED_NAME, bytes(CONTEXT_BYTES)).expose()

    def __repr__(self) -> str:
        return "<SharedKey: secret>"

    def of(self, context: bytes) -> SecretKey:
        """The key of one round.  Raises: BadParameters once the seed was erased."""
        return SecretKey.of(self._root, context)


def public_key(secret: SecretKey, root: Seed, context: bytes) -> PublicKey:
    """b = -a s + k for the epoch's a, k centred binomial.

    Guarantee: pseudorandom under ring-LWE; a second one for the same key would need another error, so the root
        gives one.
    """
    b = reduced(cbd21(Stream(derive(root, LABEL_WHOLE_ERROR, context)), N))
    a, multiplier = common_polynomial(context), secret.transformed
    subtract_into(b, small_product(multiplier, Spectrum.of(a)))
    multiplier[:] = 0
    return PublicKey(a, b)


def decrypt(secret: SecretKey, c0: Residues, c1: Residues, workers: Workers = ALONE) -> Residues:
    """M = c0 + c1 s, exactly.

    Shapes: rows of N residues in and out; what leaves this process is `open_exact` of it, never itself.
    Raises: BadParameters for halves of different shapes.
    """
    if c0.ndim != 2 or c0.shape != c1.shape:
        raise BadParameters(f"the halves of a ciphertext have shapes {c0.shape} and {c1.shape}")
    multiplier, total = secret.transformed, np.empty_like(c0)

    def work(part: Part) -> None:
        rows = slice(part.first, part.first + part.size)
        some = small_product(multiplier, Spectrum.of(c1[rows]))
        add_into(some, c0[rows])
        total[rows] = some

    each_part(len(c0), work, workers)
    multiplier[:] = 0
    return total
