"""What everybody derives alike about one key: its context, public polynomial, commitments and signed texts.

Epoch     who holds the key, for which sums      -> context, the salt of every derivation
Dealing   what one holder deals                  a function of (root, context): nothing of it is stored
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from protocols import wire
from protocols.ckks.binding import Binding, binding_of, hash_bytes, knapsack_of
from protocols.errors import BadPlan
from protocols.wire import U32, U64, Buffer, Bytes32, Exactly, Text
from secagg.ckks.ceremony import Reveal, probe, probe_plan
from secagg.ckks.cipher import PublicKey, add_into
from secagg.ckks.plan import CkksPlan, Mode
from secagg.ckks.share import Dealt, common_polynomial, own_deals, own_key, own_public_share
from secagg.ckks.wire import WIDTHS, dropped, pack_into, packed_bytes, unpack
from secagg.errors import NoParameters
from secagg.keys import Context, Seed, derive
from secagg.negacyclic import PRIME, N, Residues

PREFIX = b"secagg/v1/ckks/"
LABEL_EPOCH = PREFIX + b"epoch"
LABEL_NONCE = PREFIX + b"nonce"
LABEL_BOX_KEY = PREFIX + b"box-key"
LABEL_BOX = PREFIX + b"box"
LABEL_PIECE = PREFIX + b"piece"
LABEL_COMMITTED = PREFIX + b"committed"
LABEL_CHECKED = PREFIX + b"checked"
LABEL_CERTIFICATE = PREFIX + b"certificate"
LABEL_UPDATE = PREFIX + b"update"
LABEL_UPLOAD = PREFIX + b"upload"
LABEL_PUBLIC_BYTES = PREFIX + b"public-bytes"
LABEL_QUESTION = PREFIX + b"question"
LABEL_WEIGHTS = PREFIX + b"weights"
LABEL_SMUDGING = PREFIX + b"holder-smudging"

# Residues travel and are stored whole here: nothing is dropped from a key.
WIDTH = 7
POLYNOMIAL_BYTES = packed_bytes(N, WIDTH)
PIECE_BYTES = packed_bytes(N + 1, WIDTH)

# A contributor's number, two digests and a signature, and some room for lengths.
CONTRIBUTION_BYTES = 256

# How far below the smudge's width what is left out must lie.
SPARE_BITS = 4

Polynomial = Annotated[bytes, Exactly(POLYNOMIAL_BYTES)]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One key: for which task, sums and holders. `holders` are identity keys, holder i the i-th, counted from 1.

    In mode single there is one holder, the decryptor, who has the key whole. Whoever opens does so for no fewer than
    `min_cohort` clients, whatever a server asks: noise is sized for that many.

    Raises: BadPlan when the holders do not fit the plan, or no hash binds sums too large to be shown.
    """

    task: Text
    number: U64
    plan: CkksPlan
    holders: tuple[Bytes32, ...]
    min_cohort: U32

    def __post_init__(self) -> None:
        if self.plan.keys.mode is Mode.SEEDED:
            raise BadPlan("in mode seeded the clients have the key: no holder does, and nothing is certified")
        if len(self.holders) != self.plan.keys.holders or len(set(self.holders)) != len(self.holders):
            raise BadPlan(
                f"{len(self.holders)} holders for a plan of {self.plan.keys.holders}, each with its own identity"
            )
        if binding_of(self.plan) is Binding.HASHED:
            try:
                knapsack_of(self.plan, Context(bytes(32)))
            except NoParameters as error:
                raise BadPlan(str(error)) from error

    @property
    def context(self) -> Context:
        """SHA-256 of all of it, modulus and degree included."""
        named = wire.encode(self) + PRIME.to_bytes(8, "little") + N.to_bytes(4, "little")
        return Context(hashlib.sha256(LABEL_EPOCH + named).digest())


def to_bytes(polynomial: Residues) -> bytes:
    """Seven bytes a residue."""
    packed = bytearray(POLYNOMIAL_BYTES)
    pack_into(packed, polynomial, WIDTH)
    return bytes(packed)


def from_bytes(polynomial: bytes | memoryview) -> Residues:
    """N residues.  Raises: BadCiphertext."""
    return unpack(polynomial, N, WIDTH)


@dataclass(frozen=True, slots=True)
class Dealing:
    """All that one holder makes of its root: its part of the key, and a piece of it for everybody."""

    nonce: bytes
    public: Residues
    pieces: tuple[Dealt, ...] = field(repr=False)

    @classmethod
    def of(cls, root: Seed, epoch: Epoch, context: Context) -> Dealing:
        """A function of its arguments; the secret is erased on the way."""
        keys, secret = epoch.plan.keys, own_key(root, context)
        public = own_public_share(secret, root, context)
        pieces = own_deals(secret, keys.threshold, keys.holders, root, context)
        secret.erase()
        return cls(derive(root, LABEL_NONCE, context).expose(), public, tuple(pieces))

    def hashes(self, context: Context, dealer: int) -> tuple[bytes, ...]:
        """One for each piece, so that each recipient can hold its own against the commitment."""
        return tuple(
            piece_hash(context, dealer, to, piece_to_bytes(piece)) for to, piece in enumerate(self.pieces, start=1)
        )


def piece_to_bytes(piece: Dealt) -> bytes:
    """Seven bytes a residue, the share and then its mask."""
    packed = bytearray(PIECE_BYTES)
    pack_into(packed, np.append(piece.share.residues, piece.mask.residues), WIDTH)
    return bytes(packed)


def piece_from_bytes(data: bytes) -> Dealt:
    """Raises: BadCiphertext for what are no residues."""
    return Dealt.of(unpack(data, N + 1, WIDTH))


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def piece_hash(context: Context, dealer: int, to: int, piece: bytes) -> bytes:
    return hashlib.sha256(LABEL_PIECE + context + number(dealer) + number(to) + piece).digest()


def reveal_of(dealer: int, nonce: bytes, public: bytes, hashes: Sequence[bytes]) -> Reveal:
    """What a holder is committed to before it has seen any other's part.

    Raises: BadCiphertext, BadParameters for what is no part of a key.
    """
    return Reveal(dealer, nonce, from_bytes(public), hashlib.sha256(b"".join(hashes)).digest())


def committed_text(context: Context, dealer: int, commitment: bytes, box_key: bytes) -> bytes:
    """What holder `dealer` signs when it commits."""
    return LABEL_COMMITTED + context + number(dealer) + commitment + box_key


def box_key(agreed: Seed, context: Context, dealer: int, to: int) -> Seed:
    """The key of the one box from dealer to recipient."""
    return derive(agreed, LABEL_BOX, context, number(dealer), number(to))


def box_binding(context: Context, dealer: int, to: int) -> bytes:
    return LABEL_BOX + context + number(dealer) + number(to)


def collective(publics: Sequence[Residues]) -> Residues:
    """b = sum of b_j."""
    total = np.zeros(N, np.uint64)
    for part in publics:
        add_into(total, part)
    return total


def checked_text(context: Context, holder: int, public: bytes, value: int) -> bytes:
    """What holder `holder` signs: the collective key b, and that its pieces opened and add up to this value."""
    return LABEL_CHECKED + context + number(holder) + hashlib.sha256(public).digest() + value.to_bytes(8, "little")


def digest(part: Buffer) -> bytes:
    """SHA-256 of one half of a ciphertext as it travels, or of its linear hash."""
    return hashlib.sha256(part).digest()


def upload_text(context: Context, key: bytes, who: int, digest0: bytes, digest1: bytes, linear: bytes = b"") -> bytes:
    """What a client signs: its one upload to this round, under this key, and the linear hash, if any, that binds it."""
    return LABEL_UPLOAD + context + key + number(who) + digest0 + digest1 + digest(linear)


def question_of(context: Context, key: bytes, contributors: Sequence[bytes]) -> bytes:
    """Names one sum: the texts that its contributors signed, in order. Which holders open it is not part of it."""
    texts = hashlib.sha256(b"".join(hashlib.sha256(text).digest() for text in contributors)).digest()
    return hashlib.sha256(LABEL_QUESTION + context + key + texts).digest()


def probe_halves(epoch: Epoch, public: bytes, transcript: bytes) -> tuple[Residues, Residues]:
    """(c0, c1) of the pattern that everybody encrypts for itself.  Shapes: rows of N residues."""
    key = PublicKey(common_polynomial(epoch.context), from_bytes(public))
    shape, upload = probe_plan(epoch.plan), probe(epoch.plan, key, epoch.context, transcript)
    rows, count = (shape.blocks, N), shape.blocks * N
    return unpack(upload.c0, count, shape.width0).reshape(rows), unpack(upload.c1, count, shape.width1).reshape(rows)


def partial_width(plan: CkksPlan) -> int:
    """Bytes of a residue in a partial decryption: low bits far below the smudge are left out.

    Rounding to 2^d has variance (4^d + 2) / 12, and the smudge's is at least 4^(d + 4): under a thousandth of it.
    """
    spare = math.floor(math.log2(plan.noise.smudging)) - SPARE_BITS
    return next(width for width in WIDTHS if dropped(width) <= spare)


def largest_question(plan: CkksPlan) -> int:
    """Bytes that no letter asking to open a sum of this plan exceeds."""
    count = plan.blocks * N
    match binding_of(plan):
        case Binding.FULL:
            shown = plan.clients * packed_bytes(count, plan.width1)
        case Binding.HASHED:
            shown = knapsack_of(plan, Context(bytes(32))).sums_bytes
    return shown + plan.clients * (hash_bytes(plan) + CONTRIBUTION_BYTES)
