"""What every end that many parties speak to does with frames: read, check, answer again, or hand on to its role.

    bytes -> header -> who must have signed it -> told before? -> message -> role -> signed frames

A faulty frame costs a note in `excluded` and nothing else. What a hub is about (rounds, or a key) its subclass says.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from typing import Any

from protocols import codec
from protocols.codec import Frame, Header
from protocols.endpoint.images import NOT_YET_ANSWERED, Answered, Topic
from protocols.endpoint.outbox import Outbox
from protocols.endpoint.turns import Turns
from protocols.errors import BadSignature, Misbehaved, Misused, OutOfTurn
from protocols.party import APP, SELF, SERVER, Deadline, Envelope, Excluded, Party, PartyId, Wait, report
from protocols.wire import Buffer
from secagg.keys import Identity

NOBODY = PartyId(2**32 - 4)
MOST_NOTES = 10_000


class Hub(ABC):
    """One role behind the codec, to whom many speak.

    Guarantee: no frame ends the process, and a frame that is no letter of this moment changes nothing.
    """

    def __init__(self, identity: Identity, party: Party) -> None:
        self._wait: Wait | None = None
        self.excluded: list[Excluded] = []
        self._identity = identity
        self._party = party
        self._answered: dict[PartyId, Answered] = {}
        self._outbox = Outbox()
        self._limit = codec.MAX_CONTROL_BYTES
        self._turns = Turns(type(self).__name__.lower())

    @property
    def public(self) -> bytes:
        """The identity key under which others check this end's frames."""
        return self._identity.public

    @property
    def wait(self) -> Wait | None:
        """The room that is open, and for how long; None when nobody is waited for, as after a round that was lost."""
        return None if self.done else self._wait

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether nobody is waited for any more."""

    @abstractmethod
    def _topic(self) -> Topic | None:
        """What is being spoken of, None before anything is."""

    @abstractmethod
    def _check_kind(self, header: Header, speaker: PartyId) -> None:
        """Raises: OutOfTurn, TooLarge for a letter nobody says to this end, or none of this length."""

    @abstractmethod
    def _identity_of(self, data: Buffer, header: Header, speaker: PartyId) -> bytes:
        """The key a frame's sender must have signed it with.

        Raises: BadSignature for a stranger, in the name of whoever carried the frame.
        """

    @abstractmethod
    def _admit(self, who: PartyId, identity: bytes) -> None:
        """Whoever just proved this identity may go on."""

    def _hears(self, who: PartyId, identity: bytes, letter: Any) -> bool:
        """Whether the letter is for this end itself: its role never sees it, and it answers nothing.

        Raises: Misbehaved, and then it is noted.
        """
        return False

    @abstractmethod
    def _take(self, note: Any) -> None:
        """What the role says to its application."""

    def receive(self, data: Buffer, speaker: PartyId = NOBODY) -> list[Frame]:
        """Take one frame and return what to send. A faulty frame is noted in `excluded`.

        `speaker` is whom the transport believes is speaking, if it knows.
        Raises: a RoundLost when this frame closed a room that cannot go on; Misused while another thread is inside, and
            in a forked process.
        """
        with self._turns.one(self._party):
            return self._receive(data, speaker)

    def _receive(self, data: Buffer, speaker: PartyId) -> list[Frame]:
        try:
            header = codec.read_header(data, speaker, self._limit)
            if speaker not in (NOBODY, header.sender):
                raise BadSignature(speaker, f"speaks as party {header.sender}, which it is not")
            self._check_kind(header, speaker)
            identity = self._identity_of(data, header, speaker)
            fingerprint = codec.fingerprint(data)
            answered = self._answered.get(header.sender, NOT_YET_ANSWERED)
            if hmac.compare_digest(answered.fingerprint, fingerprint):
                return self._outbox.to(header.sender)
            message = self._opened(data, header, identity, speaker)
            topic = self._topic()
            if topic is None or not topic.covers(header):
                raise OutOfTurn(header.sender, f"speaks of round {header.round}, which is not open")
            self._admit(header.sender, identity)
            if self._hears(header.sender, identity, message):
                return []
        except Misbehaved as error:
            return self._deliver([report(error)])
        if header.kind >= answered.kind:
            # A stale letter, delivered late, does not hide the latest one.
            self._answered[header.sender] = Answered(header.kind, fingerprint)
            self._outbox.answered(header.sender, header.kind)
        return self._deliver(self._party.receive(header.sender, message))

    def deadline(self, room: str) -> list[Frame]:
        """The time of this room is over; an older room's deadline, arriving late, closes nothing.

        Raises: a RoundLost when the room cannot go on; Misused as `receive`.
        """
        with self._turns.one(self._party):
            return self._deliver(self._party.receive(SELF, Deadline(room)))

    def repeat(self) -> list[Frame]:
        """To each party what it was sent since it last spoke."""
        return self._outbox.everything()

    def _begin(self, party: Party) -> None:
        """What was said and noted about anything earlier is over."""
        self._party = party
        self.excluded, self._answered, self._outbox = [], {}, Outbox()

    def _opened(self, data: Buffer, header: Header, identity: bytes, speaker: PartyId) -> Any:
        try:
            return codec.open_frame(data, header, identity)
        except BadSignature as error:
            # Whoever is named in a forged frame did not send it: blame who carried it, if anybody is known.
            raise BadSignature(speaker, error.why) from error

    def _note(self, note: Excluded) -> None:
        # A stranger can send faulty frames for ever; the first ones tell the story.
        if len(self.excluded) < MOST_NOTES:
            self.excluded.append(note)

    def _deliver(self, envelopes: list[Envelope]) -> list[Frame]:
        frames, topic = [], self._topic()
        for envelope in envelopes:
            if envelope.to != (APP,):
                if topic is None:
                    raise Misused("nothing is open: call open first")
                frame = topic.frame(envelope, SERVER, self._identity.sign)
                self._outbox.remember(frame)
                frames.append(frame)
            elif isinstance(envelope.message, Wait):
                self._wait = envelope.message
            elif isinstance(envelope.message, Excluded):
                self._note(envelope.message)
            else:
                self._take(envelope.message)
        return frames
