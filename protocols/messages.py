"""Everything that is said, frozen and valid by construction.

Letters cross the wire and have a kind byte in `codec`; notes stay between a party and its own
application. Sizes of the letters, with n clients, k neighbours, s witnesses and a packed vector of P bytes:

    Open 0.5 kB   Advertise 193   Roster 165 n   Shares 162 k   Inbox n/8 + 162 k + 4
    Masked P + 16   Survivors n/8   Witness 64   Witnesses 68 s   Unmask 34 k   Result 64   Countersignature 104

With noise that is removable after t drop-outs, Shares and Inbox grow by 65 (t + 1) k, Unmask by 34 k.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from protocols.certificates import Credential
from protocols.errors import Malformed, ShapeMismatch, Undecodable
from protocols.party import PartyId
from protocols.plan import NOTHING, Agreement, ContextBytes
from protocols.wire import I64, U32, U64, AtMost, Bitmap, Bytes32, Bytes64, Exactly, Payload, Text, Unsigned, Vector
from secagg.keys import Context

LABEL_RESULT = b"secagg/v1/result"
BOX_TAG_BYTES = 16
SHARE_BYTES = 33
# Two shares, and one for each seed of removable noise: nobody plans for more drop-outs than this.
MOST_LINKS = 1 << 16

Point = Bytes32
Who = Annotated[PartyId, Unsigned(4)]


@dataclass(frozen=True, slots=True)
class Open:
    """Server -> invited: here is a round, take part or stay silent."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Advertise:
    """Client -> server: my two public keys and a commitment to my self mask, signed.

    The signature covers the context, so keys of one round or model are worthless in another. `credential` is for
    those who have not pinned my identity.
    """

    context: ContextBytes
    box_key: Point
    mask_key: Point
    commitment: Bytes32
    signature: Bytes64
    credential: Credential | None = None


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One advertised client, as everybody else sees it."""

    who: Who
    box_key: Point
    mask_key: Point
    commitment: Bytes32
    signature: Bytes64
    credential: Credential | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """Server -> all who advertised: these are we. Ids strictly ascend."""

    context: ContextBytes
    entries: tuple[RosterEntry, ...]

    def __post_init__(self) -> None:
        ids = [entry.who for entry in self.entries]
        if any(a >= b for a, b in itertools.pairwise(ids)):
            raise Undecodable("roster ids must strictly ascend")


def sealed_bytes(links: int) -> int:
    """The length of a box with a share of the mask key, one of the self seed, and one of each link of the chain."""
    return (2 + links) * SHARE_BYTES + BOX_TAG_BYTES


@dataclass(frozen=True, slots=True)
class SealedShares:
    """One dealer's shares for one holder, sealed; the tags let the server check what returns.

    Beside mask key and self seed there is one share for each seed of the dealer's removable noise, where the plan
    has such.
    """

    box: Annotated[bytes, AtMost((2 + MOST_LINKS) * SHARE_BYTES + BOX_TAG_BYTES)]
    mask_tag: Bytes32
    self_tag: Bytes32
    link_tags: tuple[Bytes32, ...] = ()

    def fits(self, links: int) -> bool:
        """Whether it has the shape a plan with so many removable seeds asks for."""
        return len(self.box) == sealed_bytes(links) and len(self.link_tags) == links


@dataclass(frozen=True, slots=True)
class Shares:
    """Client -> server: sealed shares, one per neighbour in ascending order of id."""

    sealed: tuple[SealedShares, ...]


@dataclass(frozen=True, slots=True)
class Inbox:
    """Server -> client `who`: who shared (a bitmap over the roster) and what they sealed for you."""

    who: Who
    members: Bitmap
    sealed: tuple[SealedShares, ...]


@dataclass(frozen=True, slots=True)
class Masked:
    """Client -> server: the masked vector packed to its modulus, masked extras, unopenable boxes."""

    vector: Payload
    extras: Payload
    complaints: tuple[Who, ...]


@dataclass(frozen=True, slots=True)
class Survivors:
    """Server -> survivors: a bitmap over the roster of those whose vector is in the sum."""

    bitmap: Bitmap


@dataclass(frozen=True, slots=True)
class Witness:
    """Client -> server: my signature over the session and the one survivor list I was shown."""

    signature: Bytes64


@dataclass(frozen=True, slots=True)
class Signed:
    """A witness signature and the roster position of its signer."""

    index: U32
    signature: Bytes64


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Server -> survivors: enough signatures that two different lists cannot both have them."""

    signed: tuple[Signed, ...]

    def __post_init__(self) -> None:
        indices = [entry.index for entry in self.signed]
        if any(a >= b for a, b in itertools.pairwise(indices)):
            raise Undecodable("witness indices must strictly ascend")


@dataclass(frozen=True, slots=True)
class Unmask:
    """Client -> server: per sharing neighbour, ascending, one share or none.

    Which of the two secrets it belongs to follows from the survivor list; there is no way to ask
    for, or to send, the other. With removable noise, `links` holds beside each share of a self seed one of the
    survivor's chain: of the seed that the number of survivors opens.
    """

    shares: tuple[Annotated[bytes, Exactly(SHARE_BYTES)] | None, ...] = field(repr=False)
    links: tuple[Annotated[bytes, Exactly(SHARE_BYTES)] | None, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """Server -> survivors: the fingerprint of the sum I hand out, in a frame that I signed.

    Clients that compare theirs out of band notice a server that publishes two sums.
    """

    context: ContextBytes
    digest: Bytes32


@dataclass(frozen=True, slots=True)
class Countersignature:
    """Client -> server, beside its vector: I was shown this entry at the end of the ledger that the round names.

    The signature is over `dp.ledger.chain.witness_statement` alone, so that whoever has the ledger can check it.
    """

    seq: U64
    hash: Bytes32
    signature: Bytes64


# --- notes between a party and its own application ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """APP -> server: open this round for these clients."""

    agreement: Agreement
    invited: tuple[PartyId, ...]


@dataclass(frozen=True, slots=True)
class NeedUpdate:
    """Client -> APP: enough shares are held; train, then `Submit`."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Submit:
    """APP -> client: the encoded vector, its integer weight, the digest of the model trained from, and metrics."""

    vector: np.ndarray[Any, Any] = field(repr=False)
    weight: U64 = 1
    model: Bytes32 = NOTHING
    metrics: tuple[I64, ...] = ()


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Server -> APP: the sum of exactly the survivors' vectors modulo 2^b, and the sum of their weights.

    `blamed` names who was excluded and the name of the error; `metrics` are the sums of weighted metric integers.
    `surplus` has one opened seed per survivor where the plan's noise is removable: what they draw is still in `total`.
    """

    total: Vector
    weight_sum: U64
    survivors: tuple[Who, ...]
    blamed: Mapping[Who, Text]
    metrics: tuple[I64, ...] = ()
    surplus: tuple[Bytes32, ...] = ()


def digest_of(context: Context, aggregate: Aggregate) -> bytes:
    """SHA-256 of everything an aggregate says about its sum; what `Result` carries."""
    digest = hashlib.sha256(LABEL_RESULT + context)
    for numbers in (aggregate.survivors, (aggregate.weight_sum,), aggregate.metrics):
        digest.update(len(numbers).to_bytes(8, "little"))
        digest.update(b"".join((number % (1 << 64)).to_bytes(8, "little") for number in numbers))
    digest.update(b"".join(aggregate.surplus))
    digest.update(np.ascontiguousarray(aggregate.total).data.cast("B"))
    return digest.digest()


@dataclass(frozen=True, slots=True)
class NeedBeacon:
    """To APP: the roster is fixed; hand over `Beacon` with a public value that was not known before it was."""

    roster: Bytes32


@dataclass(frozen=True, slots=True)
class Beacon:
    """APP -> client or server: the public value that seeds this round's graph."""

    value: Bytes32


# --- bitmaps over a sorted roster -----------------------------------------------------------------


def to_bitmap(members: set[PartyId] | frozenset[PartyId], roster: tuple[PartyId, ...]) -> bytes:
    """Bit i is set when the i-th client of the roster is a member; padding bits are zero."""
    flags = np.fromiter((who in members for who in roster), dtype=bool, count=len(roster))
    return np.packbits(flags, bitorder="little").tobytes()


def from_bitmap(bitmap: bytes, roster: tuple[PartyId, ...], peer: PartyId) -> frozenset[PartyId]:
    """The members a bitmap names.

    Raises: ShapeMismatch when it is not exactly one bit per client of the roster;
        Malformed when padding bits are set.
    """
    if len(bitmap) != (len(roster) + 7) // 8:
        raise ShapeMismatch(peer, f"a bitmap of {len(bitmap)} bytes for {len(roster)} clients")
    flags = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")
    if flags[len(roster) :].any():
        raise Malformed(peer, "a bitmap names clients beyond the roster")
    return frozenset(who for who, flag in zip(roster, flags[: len(roster)].tolist(), strict=True) if flag)
