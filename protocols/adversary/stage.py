"""A stage on which a villain plays the server, or one of the clients, against real endpoints of this library.

    stage = Stage(server, clients, keys, application, length)
    rosters = stage.until(Roster)          play honestly until the server wants to say this; it is not delivered
    stage.say(who, message)                the villain's server says this to a client: a signed, real frame
    stage.speak(who, message)              the villain's client says this to the server: a signed, real frame

The villain has everybody's signing key in `keys`; what it lacks are the clients' round secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from protocols import codec
from protocols.codec import Frame
from protocols.endpoint import Client, Server, Task
from protocols.errors import Misused, TooFewClients
from protocols.messages import Masked, Open, Submit, Unmask
from protocols.pairwise import session as names
from protocols.pairwise.session import Session
from protocols.party import SERVER, Excluded, PartyId
from secagg.keys import AgreementKey, Identity, Seed
from secagg.masks import Correction, unmask_into
from secagg.shamir import Share, combine

Application = Callable[[PartyId, Client], Submit | None]
"""What a client that needs an update submits; None: it has none and falls silent."""


class Stage:
    def __init__(
        self,
        server: Server,
        clients: Mapping[PartyId, Client],
        keys: Mapping[PartyId, Identity],
        application: Application,
        length: int,
    ) -> None:
        self.server = server
        self.clients = dict(clients)
        self.ids = tuple(sorted(clients))
        self.keys = keys
        self.application = application
        self.length = length
        self.round = 0
        self.opened = False
        self.heard: dict[tuple[PartyId, type[Any]], Any] = {}
        self.frames: dict[tuple[PartyId, type[Any]], bytes] = {}
        self.vectors: dict[PartyId, np.ndarray[Any, Any]] = {}
        self.pending: list[tuple[PartyId, bytes]] = []

    @property
    def task(self) -> bytes:
        """What an invitation's header names."""
        return codec.task_id(self.server.plan.task)

    @property
    def attempt(self) -> bytes:
        """What every later header names."""
        agreement = self.server.agreement
        return codec.attempt_id(agreement.plan.task, agreement.nonce)

    # --- honest play ----------------------------------------------------------------------------------

    def open(self, round: int = 0, nonce: bytes = bytes(16)) -> None:
        self.round, self.opened = round, True
        self.pending = self._addressed(self.server.open(self.task_of(round, nonce), self.ids))

    def task_of(self, round: int, nonce: bytes) -> Task:
        """What the server opens this round about."""
        return Task(round, self.length, nonce=nonce)

    def until(self, kind: type[Any] | None, silent: Iterable[PartyId] = ()) -> dict[PartyId, Any]:
        """Play on until the server wants to say `kind`; what it wants to say to whom. None: to the end.

        Clients that are `silent` hear nothing from here on.
        """
        if not self.opened:
            self.open()
        while not self.server.done:
            if kind is not None and self.pending and codec.kind_of(self.pending[0][1]) is kind:
                return {who: self.decoded(frame) for who, frame in self.pending}
            self.hand(self.answers(silent))
            self.quiet()
        if kind is not None:
            raise Misused(f"the round ended before the server had a {kind.__name__} to send")
        return {}

    def answers(self, silent: Iterable[PartyId] = ()) -> dict[PartyId, bytes]:
        """Deliver what the server said and keep what the clients answer from the server."""
        said, self.pending = self.pending, []
        return {who: reply for who, frame in said if who not in set(silent) for reply in self.deliver(who, frame)}

    def hand(self, replies: Mapping[PartyId, bytes]) -> None:
        """The answers reach the server after all."""
        for who, reply in replies.items():
            self.pending += self._addressed(self.server.receive(reply, who))

    def quiet(self) -> None:
        """Where nobody has anything to say, the open room's time is over."""
        if not self.pending and self.server.wait is not None:
            self.pending = self._addressed(self.server.deadline(self.server.wait.room))

    def deliver(self, who: PartyId, frame: bytes) -> list[bytes]:
        """One frame to a client, and its update when asked; the answers, remembered as heard."""
        client = self.clients[who]
        frames = client.receive(frame)
        submission = self.application(who, client) if client.needs_update else None
        if submission is not None:
            self.vectors[who] = submission.vector
            frames = client.send(submission)
        return [self._overheard(who, reply) for reply in frames]

    def _overheard(self, who: PartyId, frame: Frame) -> bytes:
        data = bytes(frame)
        self.heard[who, codec.kind_of(data)], self.frames[who, codec.kind_of(data)] = self.decoded(data), data
        return data

    def _addressed(self, frames: list[Frame]) -> list[tuple[PartyId, bytes]]:
        return [(who, bytes(frame)) for frame in frames for who in frame.to]

    def decoded(self, frame: bytes) -> Any:
        return codec.decode_body(codec.kind_of(frame), frame[codec.HEADER.size : -codec.SIGNATURE_BYTES], SERVER)

    # --- villainy -------------------------------------------------------------------------------------

    def framed(self, sender: PartyId, message: object, round: int | None = None) -> bytes:
        """A properly signed frame of the server or a client."""
        number = self.round if round is None else round
        topic = self.task if isinstance(message, Open) else self.attempt
        return b"".join(codec.encode(message, sender, topic, number, self.keys[sender].sign))

    def say(self, who: PartyId, message: object) -> list[Any]:
        """The server says this to `who`; the messages it answers."""
        return [self.decoded(reply) for reply in self.deliver(who, self.framed(SERVER, message))]

    def speak(self, who: PartyId, message: object) -> list[Excluded]:
        """Client `who` says this to the server; the notes it makes."""
        before = len(self.server.excluded)
        self.pending += self._addressed(self.server.receive(self.framed(who, message), who))
        return self.server.excluded[before:]

    def session(self, roster: Any) -> Session:
        return Session.of(self.server.agreement, roster.context, roster.entries)

    # --- what a villain computes from shares it was given -----------------------------------------------

    def rebuilt(
        self, session: Session, dealer: PartyId, answers: Mapping[PartyId, Unmask], sharing: Iterable[PartyId]
    ) -> Seed:
        """A secret of the dealer from the answers of holders; which secret depends on what they were told.

        Raises: TooFewClients when the answers hold fewer shares than the threshold.
        """
        members, threshold, shares = set(sharing), session.parameters.threshold, []
        for holder, answer in answers.items():
            dealers = [peer for peer in session.neighbours(holder) if peer in members]
            share = dict(zip(dealers, answer.shares, strict=True)).get(dealer)
            if share is not None:
                shares.append(Share.from_bytes(session.point(dealer, holder), share))
        if len(shares) < threshold:
            raise TooFewClients(len(shares), threshold, "Unmasking")
        return combine(shares[:threshold], threshold)

    def unmasked(self, session: Session, whose: Iterable[PartyId], corrections: list[Correction]) -> list[int]:
        """The masked vectors of `whose`, added up, with these masks taken away."""
        ring = session.coding.ring
        total = ring.zeros(self.length)
        for who in whose:
            ring.add_packed_into(total, self.heard[who, Masked].vector)
        unmask_into(total, ring, corrections, session.sid, names.MODEL_SECTION, self.length)
        return [int(value) for value in ring.reduce(total)]

    def encoded(self, whose: Iterable[PartyId]) -> list[int]:
        """What the sum of these clients' vectors really is."""
        ring = self.server.agreement.plan.encoding.ring
        total = ring.zeros(self.length)
        for who in whose:
            ring.add_into(total, self.vectors[who])
        return [int(value) for value in ring.reduce(total)]


def pair_correction(session: Session, one: PartyId, secret: Seed, other: PartyId, public: bytes) -> Correction:
    """Removes from y_other the mask it shares with `one`; `secret` is one end's mask key, `public` the other's."""
    seed = names.pair_seed(AgreementKey(secret).agree(public), session.sid, one, other)
    return Correction(-1 if other < one else 1, seed)
