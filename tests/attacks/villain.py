"""A stage on which a villain plays the server, or one of the clients, against real endpoints.

    stage = Stage(clients=4)
    rosters = stage.until(Roster)          play honestly until the server wants to say this; it is not delivered
    stage.say(who, message)                the villain's server says this to a client: a signed, real frame
    stage.speak(who, message)              the villain's client says this to the server: a signed, real frame

`refuses` asserts what a refusal is: the named error, blame on the right party, no signature made in the
step (so nothing can have left), the state Failed, and no secret of the client alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.codec import Frame
from protocols.errors import Misbehaved
from protocols.messages import Masked, RosterEntry, Unmask
from protocols.pairwise import session as names
from protocols.pairwise.session import Session
from protocols.party import SERVER, Excluded, Failed, PartyId, secrets_in
from protocols.plan import Policy, Promise, RoundPlan
from secagg.errors import BadParameters
from secagg.keys import AgreementKey, Identity, Seed
from secagg.masks import Correction, unmask_into
from secagg.shamir import Share, combine
from tests.contracts.company import Company, kind_of, update_of

LENGTH = 5


def rows(*ids: str) -> pytest.MarkDecorator:
    """The rows of the catalogue a test stands for; they become part of its id."""
    return pytest.mark.parametrize("row", ["-".join(ids)])


class Signer:
    """An identity that counts what it signs."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.public = identity.public
        self.signed = 0

    def sign(self, text: bytes) -> bytes:
        self.signed += 1
        return self.identity.sign(text)


def plan_of(clients: int, **changes: Any) -> RoundPlan:
    """A small plan that bears a quarter of drop-outs and nobody corrupt, so that checks stand alone."""
    promise = changes.pop("promise", Promise.ACTIVE)
    plan = RoundPlan.recommend(
        clients, dropout=Fraction(1, 4), corrupt=Fraction(0), max_weight=8, min_cohort=3, promise=promise
    )
    return replace(plan, **changes)


class Stage:
    def __init__(self, clients: int = 5, promise: Promise = Promise.ACTIVE, policy: Policy | None = None) -> None:
        self.company = Company(plan_of(clients, promise=promise), clients)
        self.ids = self.company.ids
        self.server = self.company.server()
        self.signers = {who: Signer(identity) for who, identity in self.company.identities.items()}
        self.company.identities.update(self.signers)
        self.clients = {who: self.company.client(who, policy) for who in self.ids}
        self.round = 0
        self.opened = False
        self.heard: dict[tuple[PartyId, type[Any]], Any] = {}
        self.frames: dict[tuple[PartyId, type[Any]], bytes] = {}
        self.vectors: dict[PartyId, np.ndarray[Any, Any]] = {}
        self.pending: list[tuple[PartyId, bytes]] = []

    @property
    def task(self) -> bytes:
        return codec.task_id(self.company.plan.task)

    # --- honest play ----------------------------------------------------------------------------------

    def open(self, round: int = 0, nonce: bytes = bytes(16)) -> None:
        self.round, self.opened = round, True
        task = replace(self.company.task(LENGTH, round), nonce=nonce)
        self.pending = self._addressed(self.server.open(task, self.ids))

    def until(self, kind: type[Any] | None, silent: Iterable[PartyId] = ()) -> dict[PartyId, Any]:
        """Play on until the server wants to say `kind`; what it wants to say to whom. None: to the end.

        Clients that are `silent` hear nothing from here on.
        """
        if not self.opened:
            self.open()
        while not self.server.done:
            if kind is not None and self.pending and kind_of(self.pending[0][1]) is kind:
                return {who: self.decoded(frame) for who, frame in self.pending}
            self.hand(self.answers(silent))
            if not self.pending and self.server.wait is not None:
                self.pending = self._addressed(self.server.deadline(self.server.wait.room))
        assert kind is None, f"the round ended before {kind}"
        return {}

    def answers(self, silent: Iterable[PartyId] = ()) -> dict[PartyId, bytes]:
        """Deliver what the server said and keep what the clients answer from the server."""
        said, self.pending = self.pending, []
        return {who: reply for who, frame in said if who not in set(silent) for reply in self.deliver(who, frame)}

    def hand(self, replies: dict[PartyId, bytes]) -> None:
        """The answers reach the server after all."""
        for who, reply in replies.items():
            self.pending += self._addressed(self.server.receive(reply, who))

    def deliver(self, who: PartyId, frame: bytes) -> list[bytes]:
        """One frame to a client, and its update when asked; the answers, remembered as heard."""
        client = self.clients[who]
        frames = client.receive(frame)
        if client.needs_update:
            submission = client.prepare(self.update(who), weight=2)
            self.vectors[who] = submission.vector
            frames = client.send(submission)
        return [self._overheard(who, reply) for reply in frames]

    def update(self, who: PartyId) -> np.ndarray[Any, Any]:
        return update_of(self.company, who, LENGTH)

    def _overheard(self, who: PartyId, frame: Frame) -> bytes:
        data = bytes(frame)
        self.heard[who, kind_of(data)], self.frames[who, kind_of(data)] = self.decoded(data), data
        return data

    def _addressed(self, frames: list[Frame]) -> list[tuple[PartyId, bytes]]:
        return [(who, bytes(frame)) for frame in frames for who in frame.to]

    def decoded(self, frame: bytes) -> Any:
        return codec.decode_body(kind_of(frame), frame[codec.HEADER.size : -codec.SIGNATURE_BYTES], SERVER)

    # --- villainy -------------------------------------------------------------------------------------

    def framed(self, sender: PartyId, message: object, round: int | None = None) -> bytes:
        """A properly signed frame of the server or a client."""
        identity = self.company.identity if sender == SERVER else self.signers[sender].identity
        number = self.round if round is None else round
        return b"".join(codec.encode(message, sender, self.task, number, identity.sign))

    def say(self, who: PartyId, message: object) -> list[Any]:
        """The server says this to `who`; the messages it answers."""
        return [self.decoded(reply) for reply in self.deliver(who, self.framed(SERVER, message))]

    def speak(self, who: PartyId, message: object) -> list[Excluded]:
        """Client `who` says this to the server; the notes it makes."""
        before = len(self.server.excluded)
        self.pending += self._addressed(self.server.receive(self.framed(who, message), who))
        return self.server.excluded[before:]

    @contextmanager
    def refuses(
        self, who: PartyId, error: type[Misbehaved], blamed: PartyId = SERVER, match: str | None = None
    ) -> Iterator[None]:
        """Inside, client `who` refuses with this error and falls silent for the round."""
        client, signer = self.clients[who], self.signers[who]
        signed, state = signer.signed, client._party.state
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert caught.value.peer == blamed
        assert signer.signed == signed, "something was signed, so something could have left"
        assert isinstance(client._party.state, Failed)
        assert client._party.state.error == error.__name__
        assert not client.needs_update
        for secret in secrets_in(state):
            with pytest.raises(BadParameters, match="erased"):
                secret.expose()

    @contextmanager
    def shrugs_off(self, who: PartyId, error: type[Misbehaved], match: str | None = None) -> Iterator[None]:
        """Inside, client `who` refuses with this error, says nothing, and stays exactly where it was."""
        client, signer = self.clients[who], self.signers[who]
        signed, state = signer.signed, client._party.state
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert signer.signed == signed, "something was signed, so something could have left"
        assert client._party.state is state

    def forged(self, who: PartyId, entry: RosterEntry, context: bytes) -> RosterEntry:
        """The entry with a fresh, valid signature of `who`: a client that helps the villain."""
        text = names.advertised_text(context, entry.who, entry.box_key, entry.mask_key, entry.commitment)
        return replace(entry, signature=self.signers[who].identity.sign(text))

    def session(self, roster: Any) -> Session:
        return Session.of(self.server.agreement, roster.context, roster.entries)

    # --- what a villain computes from shares it was given -----------------------------------------------

    def rebuilt(
        self, session: Session, dealer: PartyId, answers: dict[PartyId, Unmask], sharing: Iterable[PartyId]
    ) -> Seed:
        """A secret of the dealer from the answers of holders; which secret depends on what they were told."""
        members, threshold, shares = set(sharing), session.parameters.threshold, []
        for holder, answer in answers.items():
            dealers = [peer for peer in session.neighbours(holder) if peer in members]
            share = dict(zip(dealers, answer.shares, strict=True)).get(dealer)
            if share is not None:
                shares.append(Share.from_bytes(session.point(dealer, holder), share))
        assert len(shares) >= threshold, f"{len(shares)} shares of {threshold}"
        return combine(shares[:threshold], threshold)

    def unmasked(self, session: Session, whose: Iterable[PartyId], corrections: list[Correction]) -> list[int]:
        """The masked vectors of `whose`, added up, with these masks taken away."""
        ring = session.coding.ring
        total = ring.zeros(LENGTH)
        for who in whose:
            ring.add_packed_into(total, self.heard[who, Masked].vector)
        unmask_into(total, ring, corrections, session.sid, names.MODEL_SECTION, LENGTH)
        return ring.reduce(total).tolist()

    def encoded(self, whose: Iterable[PartyId]) -> list[int]:
        """What the sum of these clients' vectors really is."""
        ring = self.server.agreement.plan.encoding.ring
        total = ring.zeros(LENGTH)
        for who in whose:
            ring.add_into(total, self.vectors[who])
        return ring.reduce(total).tolist()


def pair_correction(session: Session, one: PartyId, secret: Seed, other: PartyId, public: bytes) -> Correction:
    """Removes from y_other what it added for `one`, whose mask key is known."""
    seed = names.pair_seed(AgreementKey(secret).agree(public), session.sid, one, other)
    return Correction(-1 if other < one else 1, seed)
