"""One-shot rounds of real endpoints on which a villain plays the server: a hand on every upload and every question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from protocols import codec
from protocols.codec import Frame
from protocols.committee import OneShotCommittee
from protocols.endpoint import Client, Member, Server, Task
from protocols.errors import TooFewMembers
from protocols.messages import Submit
from protocols.oneshot import epoch as names
from protocols.oneshot.messages import Certificate, Concealed, Contribution, Included, OpenOneShot, Summed
from protocols.oneshot.shape import Shape
from protocols.party import SERVER, PartyId
from protocols.plan import Agreement, context_of
from secagg.errors import SecaggError
from secagg.keys import Context, Identity
from secagg.negacyclic import Integers, N
from secagg.ring import RingVector
from secagg.rlwe import reveal
from secagg.shamir import combine_packed

Application = Callable[[PartyId, Client], Submit | None]


@dataclass
class Floor:
    """Server, clients and the members of a committee; `keys` are everybody's identities, the villain's among them."""

    server: Server
    clients: Mapping[PartyId, Client]
    committee: OneShotCommittee
    keys: Mapping[PartyId, Identity]
    application: Application
    length: int
    heard: dict[PartyId, Concealed] = field(default_factory=dict)
    frames: dict[PartyId, bytes] = field(default_factory=dict)
    asked: dict[PartyId, bytes] = field(default_factory=dict)

    def open(self) -> bytes:
        """The invitation to a round under the committee, which is convened first."""
        task = Task(0, self.length, nonce=bytes(16))
        certificate = self.committee.certificate_for(self.server.agree(task))
        [frame] = self.server.open(replace(task, certificate=certificate), tuple(self.clients))
        return bytes(frame)

    @property
    def certificate(self) -> Certificate:
        return self.committee.ceremony.maker.certificate

    @property
    def agreement(self) -> Agreement:
        return self.server.agreement

    @property
    def members(self) -> Mapping[PartyId, Member]:
        # A one-shot committee's openers are members, which its type, shared with other protocols, does not say.
        return self.committee.holders  # type: ignore[return-value]

    # --- honest play ----------------------------------------------------------------------------------

    def upload(self, who: PartyId, invitation: bytes) -> list[bytes]:
        """What this client says, overheard; nothing where its application has nothing to submit."""
        client = self.clients[who]
        client.receive(invitation)
        submission = self.application(who, client)
        said = [] if submission is None else [bytes(frame) for frame in client.send(submission)]
        for data in said:
            self.heard[who], self.frames[who] = self.decoded(data), data
        return said

    def gather(self) -> None:
        """All clients upload, and the server asks about them."""
        invitation = self.open()
        for who in self.clients:
            for data in self.upload(who, invitation):
                self.hand(who, data)
        self.close("Summing")

    def finish(self) -> None:
        """The members that were asked answer.  Raises: RoundLost."""
        for who, question in self.asked.items():
            if not self.server.done:
                for frame in self.members[who].receive(question):
                    self.hand(who, bytes(frame))
        self.close("Opening")

    def hand(self, who: PartyId, data: bytes) -> None:
        self._post(self.server.receive(data, who))

    def close(self, room: str) -> None:
        """The time of this room is over, where it still stands open."""
        if not self.server.done and self.server.wait is not None and self.server.wait.room == room:
            self._post(self.server.deadline(room))

    def _post(self, frames: list[Frame]) -> None:
        for frame in frames:
            if codec.kind_of(frame) is Included:
                self.asked |= {who: bytes(frame) for who in frame.to}

    # --- villainy -------------------------------------------------------------------------------------

    def decoded(self, data: bytes) -> Any:
        return codec.decode_body(codec.kind_of(data), data[codec.HEADER.size : -codec.SIGNATURE_BYTES], SERVER)

    def framed(self, sender: PartyId, message: object) -> bytes:
        """A properly signed frame of the server or a client."""
        task, nonce = self.agreement.plan.task, self.agreement.nonce
        topic = codec.task_id(task) if isinstance(message, OpenOneShot) else codec.attempt_id(task, nonce)
        return b"".join(codec.encode(message, sender, topic, self.agreement.round, self.keys[sender].sign))

    def ask(self, member: PartyId, whose: Iterable[PartyId]) -> Summed:
        """The server asks this member about these clients; its answer.  Raises: Misbehaved."""
        place, cohort = sorted(self.members).index(member), set(whose)
        said = tuple(
            Contribution(who, letter.box_key, letter.signature, letter.boxes[place])
            for who, letter in sorted(self.heard.items())
            if who in cohort
        )
        question = Included(self.certificate.epoch.context, context_of(self.agreement), said)
        [frame] = self.members[member].receive(self.framed(SERVER, question))
        letter: Summed = self.decoded(bytes(frame))
        return letter

    def key_from(self, answers: Mapping[PartyId, Summed]) -> Integers:
        """The sum of mask keys that these answers rebuild.  Raises: TooFewMembers."""
        places = {who: place for place, who in enumerate(sorted(self.members), start=1)}
        shares = {
            places[who]: names.share_from_bytes(letter.shares)
            for who, letter in answers.items()
            if letter.shares is not None
        }
        quorum = self.certificate.epoch.quorum
        if len(shares) < quorum.needed:
            raise TooFewMembers(len(shares), quorum.needed, "Opening")
        return combine_packed({place: shares[place] for place in sorted(shares)[: quorum.needed]}, quorum, N)

    def opened(self, whose: Iterable[PartyId], key: Integers, context: Context | None = None) -> RingVector | None:
        """The sum of these vectors as this key opens it; None where it opens nothing."""
        shape, cohort = Shape.of(self.agreement), list(whose)
        total = shape.mask.ring.zeros(shape.mask.coefficients)
        for who in cohort:
            shape.mask.ring.add_packed_into(total, self.heard[who].vector)
        try:
            values = reveal(shape.mask, total, key, context or context_of(self.agreement), len(cohort))
        except SecaggError:
            return None
        return shape.sums(values)[0]
