"""What a server said to each client since that client last spoke: it may have got lost, and is then said again."""

from __future__ import annotations

from collections.abc import Iterable

from protocols import codec
from protocols.codec import Frame
from protocols.endpoint.images import Said
from protocols.errors import Undecodable
from protocols.party import PartyId


class Outbox:
    """Frames by recipient, in the order they were said; a frame to many is held once."""

    def __init__(self) -> None:
        self._said: dict[PartyId, tuple[Frame, ...]] = {}

    @classmethod
    def of(cls, stored: Iterable[Said]) -> Outbox:
        """The outbox that `stored` described.

        Raises: Undecodable for any other way to write the same frames: one state has one image.
        """
        outbox, given = cls(), tuple(stored)
        for said in given:
            outbox.remember(Frame(said.to, (bytes(said.data),)))
        if outbox.stored() != given:
            raise Undecodable("what was said is not in its one order")
        return outbox

    def remember(self, frame: Frame) -> None:
        for who in frame.to:
            self._said[who] = (*self._said.get(who, ()), Frame((who,), frame.parts))

    def to(self, who: PartyId) -> list[Frame]:
        """What this client was sent and has not answered."""
        return list(self._said.get(who, ()))

    def everything(self) -> list[Frame]:
        return [frame for _, said in sorted(self._said.items()) for frame in said]

    def answered(self, who: PartyId, kind: int) -> None:
        """Its letter of this kind shows that a client has what led to it: nobody repeats that in a circle.

        What comes later in the protocol has a higher kind: it may have been said, and lost, before this letter came.
        """
        self._said[who] = tuple(frame for frame in self.to(who) if codec.kind_byte(frame) > kind)

    def stored(self) -> tuple[Said, ...]:
        """Each frame once, with all to whom it may have to be said again."""
        frames: dict[int, tuple[Frame, list[PartyId]]] = {}
        for who, said in sorted(self._said.items()):
            for frame in said:
                frames.setdefault(id(frame.parts), (frame, []))[1].append(who)
        # The sort is stable: by kind, which is the order of the protocol, then by the first recipient.
        by_kind = sorted(frames.values(), key=lambda held: codec.kind_byte(held[0]))
        return tuple(Said(tuple(to), bytes(frame)) for frame, to in by_kind)
