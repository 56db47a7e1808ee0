"""An authority says which identity key belongs to which client, so that nobody has to pin everybody.

    authority --signs (task-free)--> client number, identity key          once, at enrolment
    client    --Advertise with credential--> server --Roster--> everybody checks it under one key

What an authority certifies it answers for: one that certifies many keys of one person lets that person be a
crowd. Who is on the list of a round is still the server's choice, as far as `Policy.min_cohort` and the assumed
corruption allow.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.party import PartyId
from protocols.wire import Bytes32, Bytes64
from secagg.keys import Identity, verify

LABEL_CERTIFICATE = b"secagg/v1/certificate"


@dataclass(frozen=True, slots=True)
class Credential:
    """A client's identity key and an authority's signature over its number and that key."""

    identity: Bytes32
    certificate: Bytes64

    @classmethod
    def issue(cls, authority: Identity, who: PartyId, identity: bytes) -> Credential:
        """The authority's word that client `who` speaks with this identity key."""
        return cls(identity, authority.sign(_text(who, identity)))

    def check(self, authority: bytes, who: PartyId) -> None:
        """Returns when this authority certified the identity for this very number.

        Raises: BadSignature (of the pure package).
        """
        verify(authority, _text(who, self.identity), self.certificate)


def _text(who: PartyId, identity: bytes) -> bytes:
    return LABEL_CERTIFICATE + who.to_bytes(4, "little") + identity
