"""What is said in one-shot rounds and about their committees, frozen and valid by construction.

Sizes, with C members, n clients, a masked vector of P bytes and a share of S = 4 ceil(2048 / l) bytes:

    Convene 32 C   Enlisted 96   OpenOneShot 0.7 kB + 128 C   Concealed P + C (S + 24) + 100
    Included n (S + 130)   Summed S + 80
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import Self

from protocols import wire
from protocols.errors import BadCommittee, BadPlan, Misused, Undecodable
from protocols.messages import Point, Who
from protocols.oneshot.epoch import LABEL_CERTIFICATE, Epoch, enlisted_text
from protocols.party import PartyId
from protocols.plan import Agreement, ContextBytes
from protocols.verifying import Verifier
from protocols.wire import Bytes32, Bytes64, Payload
from secagg.errors import BadPoint, BadSignature
from secagg.keys import Context, check_point


@dataclass(frozen=True, slots=True)
class Convene:
    """Server -> members: serve in this committee."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Enlisted:
    """Member -> server: I serve, here is the key to seal my shares to, signed."""

    box_key: Point
    signature: Bytes64

    def check(self, identity: bytes, context: Context, place: int, verify: Verifier) -> None:
        """Returns when the member of this identity, in this place of the committee, said so.

        Raises: secagg.errors.BadPoint, BadSignature.
        """
        check_point(self.box_key)
        verify(identity, enlisted_text(context, place, self.box_key), self.signature)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A committee with every member's signature."""

    epoch: Epoch
    members: tuple[Enlisted, ...]

    @property
    def digest(self) -> bytes:
        """What agreements name the committee by."""
        return hashlib.sha256(LABEL_CERTIFICATE + wire.encode(self)).digest()

    def to_bytes(self) -> bytes:
        """For whoever keeps it over a restart; nothing of it is secret."""
        return wire.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` gave.

        Raises: Misused for any other bytes.
        """
        try:
            return wire.decode(cls, data)
        except (Undecodable, BadPlan) as error:
            raise Misused(f"these bytes are no certificate of a committee: {error}") from error

    def check(self, verify: Verifier, peer: PartyId) -> None:
        """Returns when every member signed, each for a key of its own.

        Raises: BadCommittee in the name of whoever showed it.
        """
        if len(self.members) != len(self.epoch.members):
            raise BadCommittee(peer, f"shows {len(self.members)} signatures of {len(self.epoch.members)} members")
        if len({each.box_key for each in self.members}) != len(self.members):
            raise BadCommittee(peer, "shows two members with one key")
        context = self.epoch.context
        for place, (identity, each) in enumerate(zip(self.epoch.members, self.members, strict=True), start=1):
            try:
                each.check(identity, context, place, verify)
            except (BadPoint, BadSignature) as error:
                raise BadCommittee(peer, f"member {place} of its committee: {error}") from error


@dataclass(frozen=True, slots=True)
class OpenOneShot:
    """Server -> invited: here is a round and the committee that opens its sum; take part or stay silent."""

    agreement: Agreement
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Concealed:
    """Client -> server: my masked vector, and for each member a sealed share of its key.

    `signature` is my word for `box_key`, which only I can seal under.
    """

    vector: Payload = field(repr=False)
    box_key: Point
    signature: Bytes64
    boxes: tuple[Payload, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contribution:
    """One upload as a member sees it: whose, what was signed, and the share that is for this member."""

    who: Who
    box_key: Point
    signature: Bytes64
    box: Payload = field(repr=False)


@dataclass(frozen=True, slots=True)
class Included:
    """Server -> member: these are all whose vectors are in the sum; contributors strictly ascend."""

    committee: ContextBytes
    context: ContextBytes
    contributions: tuple[Contribution, ...]

    def __post_init__(self) -> None:
        if any(a.who >= b.who for a, b in itertools.pairwise(self.contributions)):
            raise Undecodable("contributors must strictly ascend")


@dataclass(frozen=True, slots=True)
class Summed:
    """Member -> server: the sum of my shares over exactly these uploads; or none, and whose I cannot read."""

    context: ContextBytes
    question: Bytes32
    shares: Payload | None = field(repr=False)
    unreadable: tuple[Who, ...] = ()

    def __post_init__(self) -> None:
        if any(a >= b for a, b in itertools.pairwise(self.unreadable)):
            raise Undecodable("unreadable clients must strictly ascend")
        if (self.shares is None) is not bool(self.unreadable):
            raise Undecodable("an answer is a sum, or names whose share is unreadable")
