"""What is said about keys and encrypted sums, frozen and valid by construction.

Sizes, with C holders and a polynomial of P = 14,336 bytes:

    Commit 128   Commits 128 C   Reveal P (C + 1)   Deals P (2 C)   Checked 72   Certificate P + 72 C
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import Annotated

from protocols import wire
from protocols.ckks.binding import LinearHash
from protocols.ckks.epoch import LABEL_CERTIFICATE, PIECE_BYTES, Epoch, Polynomial, checked_text, from_bytes
from protocols.errors import ShapeMismatch, Undecodable, blame
from protocols.messages import Who
from protocols.party import PartyId
from protocols.plan import Agreement, ContextBytes
from protocols.verifying import Verifier
from protocols.wire import U32, U64, Bytes32, Bytes64, Exactly, Payload
from secagg.box import TAG_BYTES
from secagg.ckks.share import check_degree

BOX_BYTES = PIECE_BYTES + TAG_BYTES
Box = Annotated[bytes, Exactly(BOX_BYTES)]


def require_ascending(name: str, places: tuple[int, ...]) -> None:
    """Raises: Undecodable, since a set has one spelling."""
    if any(a >= b for a, b in itertools.pairwise(places)):
        raise Undecodable(f"{name} must strictly ascend")


@dataclass(frozen=True, slots=True)
class Invite:
    """Server -> holders: let us make this key."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Commit:
    """Holder -> server: what my part of the key is bound to, and the key of my boxes, signed."""

    commitment: Bytes32
    box_key: Bytes32
    signature: Bytes64


@dataclass(frozen=True, slots=True)
class Commits:
    """Server -> holders: what everybody committed to, in the order of the epoch's holders."""

    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True)
class Reveal:
    """Holder -> server: my part of the public key, hashes of all pieces, and a sealed piece for each holder."""

    nonce: Bytes32
    public: Polynomial
    hashes: tuple[Bytes32, ...]
    boxes: tuple[Box, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Revealed:
    """One holder's reveal as another sees it: of the boxes only its own."""

    nonce: Bytes32
    public: Polynomial
    hashes: tuple[Bytes32, ...]
    box: Box = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deals:
    """Server -> holder: everybody's reveal, in the order of the epoch's holders, to the holder in this place."""

    to: U32
    reveals: tuple[Revealed, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """Holder -> server: my pieces opened; here is what they add up to, and I sign the collective key."""

    value: U64
    signature: Bytes64


@dataclass(frozen=True, slots=True)
class OpenEncrypted:
    """Server -> invited: here is a round and the key that its sum is under; take part or stay silent."""

    agreement: Agreement
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """Client -> server: my update, encrypted, and my word for its digests, by which holders know it.

    `hash` is the linear hash of c1 where holders are shown digit sums, else empty.
    """

    c0: Payload = field(repr=False)
    c1: Payload = field(repr=False)
    signature: Bytes64
    hash: LinearHash = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Contribution:
    """One upload as a holder sees it: whose, and what was signed. Its second half travels beside it, or not at all."""

    who: Who
    digest0: Bytes32
    digest1: Bytes32
    signature: Bytes64
    hash: LinearHash = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class EncryptedSum:
    """Server -> the holders who are to open: whose uploads, and what the sum of their second halves is known by.

    Either `halves`, one of each, for each holder to add up, or `digits`, the sums of their digits, which the hashes
    bind; the plan says which, and the other is empty. `key` is the certificate's digest, `openers` are the holders
    that open together, by place; contributions strictly ascend.
    """

    key: Bytes32
    context: ContextBytes
    openers: tuple[U32, ...]
    contributions: tuple[Contribution, ...]
    halves: tuple[Payload, ...] = field(repr=False)
    digits: Payload = field(repr=False)

    def __post_init__(self) -> None:
        require_ascending("openers", self.openers)
        require_ascending("contributors", tuple(said.who for said in self.contributions))


@dataclass(frozen=True, slots=True)
class Partial:
    """Holder -> server: my part of the opening of exactly this sum by exactly these holders."""

    context: ContextBytes
    question: Bytes32
    openers: tuple[U32, ...]
    part: Payload = field(repr=False)

    def __post_init__(self) -> None:
        require_ascending("openers", self.openers)


@dataclass(frozen=True, slots=True)
class Probe:
    """Server -> holders: open, with these, the pattern that everybody can encrypt from what was revealed."""

    openers: tuple[U32, ...]


@dataclass(frozen=True, slots=True)
class Dispute:
    """Server -> holders: your values lie on no polynomial of the degree agreed; tell me what each of you was dealt."""

    checks: tuple[Checked, ...]


@dataclass(frozen=True, slots=True)
class Summands:
    """Holder -> server: what my value is the sum of, a masked number for each dealer. The key is given up with it."""

    values: tuple[U64, ...]


def signed_values(
    epoch: Epoch, public: bytes, checks: tuple[Checked, ...], verify: Verifier, peer: PartyId
) -> dict[int, int]:
    """What each holder, by place, signed that its pieces add up to, beside this key.

    Raises: ShapeMismatch, BadSignature in the name of whoever showed it.
    """
    if len(checks) != len(epoch.holders):
        raise ShapeMismatch(peer, f"shows {len(checks)} words of {len(epoch.holders)} holders")
    context = epoch.context
    with blame(peer):
        for place, (identity, said) in enumerate(zip(epoch.holders, checks, strict=True), start=1):
            verify(identity, checked_text(context, place, public, said.value), said.signature)
    return {place: said.value for place, said in enumerate(checks, start=1)}


@dataclass(frozen=True, slots=True)
class Certificate:
    """The collective key with every holder's signature, and the values by which anybody can check the dealing."""

    epoch: Epoch
    public: Polynomial
    checks: tuple[Checked, ...]

    @property
    def digest(self) -> bytes:
        """What agreements name the key by."""
        return hashlib.sha256(LABEL_CERTIFICATE + wire.encode(self)).digest()

    def check(self, verify: Verifier, peer: PartyId) -> None:
        """Returns when every holder signed this key and all of them hold pieces of one dealing.

        Raises: ShapeMismatch, BadCiphertext, BadSignature, BadShare in the name of whoever showed it.
        """
        with blame(peer):
            from_bytes(self.public)
        values = signed_values(self.epoch, self.public, self.checks, verify, peer)
        with blame(peer):
            check_degree(values, self.epoch.plan.keys.threshold)
