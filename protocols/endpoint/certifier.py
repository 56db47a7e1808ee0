"""What both ends share that have a certificate made: of a key by its holders, of a committee by its members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from protocols import codec
from protocols.codec import Frame, Header
from protocols.endpoint.hub import Hub
from protocols.endpoint.images import Topic
from protocols.errors import BadSignature, Misused, OutOfTurn, PolicyConflict
from protocols.party import Envelope, Party, PartyId
from protocols.wire import Buffer
from secagg.keys import Identity

Certified = TypeVar("Certified")


class Certifier(Hub, Generic[Certified]):
    """One ceremony after the other, with parties of these identities, of whom the server is none.

    Raises: PolicyConflict where the server is among them.
    """

    told: ClassVar[frozenset[type[Any]]]

    def __init__(
        self, holders: Mapping[PartyId, bytes], identity: Identity, patience_seconds: int, idle: Party
    ) -> None:
        if identity.public in holders.values():
            raise PolicyConflict("who adds up must not hold a key, or a part of one: take the server out of `holders`")
        self.holders = dict(holders)
        self.patience_seconds = patience_seconds
        self._made: Certified | None = None
        self._about: Topic | None = None
        super().__init__(identity, idle)

    @property
    def certificate(self) -> Certified:
        """What was made.  Raises: Misused before there is one."""
        if self._made is None:
            raise Misused("no key has been made: open a ceremony, or convene, and carry its letters until it is done")
        return self._made

    def _convened(self, topic: Topic, party: Party, envelopes: list[Envelope]) -> list[Frame]:
        """The ceremony that this party has begun, and its invitations."""
        self._about, self._made = topic, None
        self._begin(party)
        return self._deliver(envelopes)

    def _certify(self, certificate: Certified) -> None:
        self._made, self._wait = certificate, None

    def _topic(self) -> Topic | None:
        return self._about

    def _check_kind(self, header: Header, speaker: PartyId) -> None:
        kind = codec.KINDS[header.kind]
        if kind not in self.told:
            raise OutOfTurn(speaker, f"sends a {kind.__name__}, which is no part of a ceremony")

    def _identity_of(self, data: Buffer, header: Header, speaker: PartyId) -> bytes:
        known = self.holders.get(header.sender)
        if known is None:
            raise BadSignature(speaker, f"speaks as party {header.sender}, which holds no part of this key")
        return known

    def _admit(self, who: PartyId, identity: bytes) -> None:
        """Whoever is known is admitted."""
