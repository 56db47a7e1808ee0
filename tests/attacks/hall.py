"""Where encrypted rounds are attacked: four clients, three holders of whom two open, and a server that may lie.

Hall    a key is made, a round is open, all uploads are in the sum and the holders are asked
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.ckks.epoch import partial_width
from protocols.ckks.messages import Certificate, Ciphertext, EncryptedSum, Partial
from protocols.codec import kind_of
from protocols.endpoint import Client, Holder
from protocols.errors import Misbehaved
from protocols.messages import Submit
from protocols.party import SERVER, PartyId
from protocols.plan import ENCRYPTED, ContextBytes, RoundPlan, context_of
from secagg.ckks.plan import CkksPlan
from secagg.ckks.share import combine
from secagg.ckks.wire import unpack
from secagg.negacyclic import N, Residues
from secagg.ring import Ring
from tests.attacks.villain import Signer
from tests.contracts.company import Encrypting, Keyed, update_of

LENGTH = 5
CLIENTS = 4


def encrypted_plan(**changes: Any) -> RoundPlan:
    terms: dict[str, Any] = {"bits": 12, "max_weight": 8, "min_cohort": 3} | changes
    return RoundPlan.recommend(CLIENTS, dropout=Fraction(1, 4), corrupt=Fraction(0), protocol=ENCRYPTED, **terms)


class Hall:
    """One round. `uploads` are the letters of the clients, `asked` the frames that ask holders to open their sum."""

    def __init__(self, plan: RoundPlan | None = None, length: int = LENGTH) -> None:
        self.company = Encrypting(plan or encrypted_plan(), CLIENTS, holders=3)
        self.signers = {who: Signer(identity) for who, identity in self.company.holder_identities.items()}
        self.company.holder_identities.update(self.signers)  # type: ignore[arg-type]
        self.length = length
        self.ids = self.company.ids
        self.villain = self.ids[0]
        self.server = self.company.server()
        self.clients: dict[PartyId, Client] = {who: self.company.client(who) for who in self.ids}
        committee = self.company.committee(Keyed)
        agreement = self.server.agree(self.company.task(length))
        self.certificate: Certificate = committee.certificate_for(agreement)
        self.holders: dict[PartyId, Holder] = {who: one.live for who, one in committee.holders.items()}  # type: ignore[attr-defined]
        self.submitted: dict[PartyId, Submit] = {}
        self.uploads: dict[PartyId, Ciphertext] = {}
        self.asked: dict[PartyId, bytes] = {}
        task = replace(self.company.task(length), certificate=self.certificate)
        [self.invitation] = map(bytes, self.server.open(task))

    # --- names of things

    @property
    def plan(self) -> CkksPlan:
        return self.certificate.epoch.plan

    @property
    def context(self) -> ContextBytes:
        return context_of(self.server.agreement)

    @property
    def ring(self) -> Ring:
        return self.company.plan.encoding.ring

    def vector_of(self, who: PartyId) -> Any:
        return self.ring.reduce(self.submitted[who].vector)

    # --- honest clients

    def upload_of(self, who: PartyId) -> Ciphertext:
        """What this client would say, without its being said to the server."""
        client = self.clients[who]
        client.receive(self.invitation)
        self.submitted[who] = client.prepare(update_of(self.company, who, self.length), weight=2)
        [frame] = client.send(self.submitted[who])
        self.uploads[who] = body_of(bytes(frame), who)
        return self.uploads[who]

    def speak(self, who: PartyId, letter: object) -> list[Any]:
        """The client says this under its own good signature; what the server notes about it."""
        noted = len(self.server.excluded)
        self.hand(self.server.receive(self.framed(letter, who), who))
        return self.server.excluded[noted:]

    def framed(self, letter: object, who: PartyId) -> bytes:
        """A letter of this attempt."""
        identity = self.company.identity if who == SERVER else self.company.identities[who]
        task = codec.attempt_id(self.company.plan.task, self.server.agreement.nonce)
        return b"".join(codec.encode(letter, who, task, self.server.agreement.round, identity.sign))

    def hand(self, frames: list[Any]) -> None:
        for frame in frames:
            if kind_of(frame) is EncryptedSum:
                self.asked |= {who: bytes(frame) for who in frame.to}

    def everybody(self, *but: PartyId) -> None:
        """All clients but these upload; who is missing at the deadline is not in the sum."""
        for who in self.ids:
            if who not in but:
                assert self.speak(who, self.upload_of(who)) == []

    def open(self) -> None:
        """Holders answer until the round is over."""
        if not self.asked:
            self.hand(self.server.deadline("Summing"))
        while self.asked:
            who, question = self.asked.popitem()
            for frame in self.holders[who].receive(question):
                self.hand(self.server.receive(bytes(frame), who))

    def require_sum_of(self, *members: PartyId) -> None:
        """The round ends in exactly the sum of these."""
        self.open()
        opened, total = self.server.aggregate, self.ring.zeros(self.length)
        assert opened is not None
        assert opened.survivors == members
        for who in members:
            self.ring.add_into(total, self.submitted[who].vector)
        assert np.array_equal(opened.total, self.ring.reduce(total))

    # --- the server that lies

    def question(self) -> EncryptedSum:
        """What the server asked honestly."""
        question: EncryptedSum = body_of(next(iter(self.asked.values())), SERVER)
        return question

    def ask(self, who: PartyId, question: EncryptedSum) -> list[bytes]:
        return [bytes(frame) for frame in self.holders[who].receive(self.framed(question, SERVER))]

    def plaintext(self, c0: Residues, answers: list[bytes]) -> Residues:
        """What a server that reads everything has after the holders' answers."""
        count, width = self.plan.blocks * N, partial_width(self.plan)
        parts = [unpack(partial_in(answer).part, count, width) for answer in answers]
        return combine(c0, parts).reshape(self.plan.blocks, N)

    @contextmanager
    def refuses(self, who: PartyId, error: type[Misbehaved], match: str | None = None) -> Iterator[None]:
        """Inside, this holder refuses the server with this error, says nothing, and its key outlives the lie."""
        holder, signer = self.holders[who], self.signers[who]
        signed, state = signer.signed, holder._party.state
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert caught.value.peer == SERVER
        assert signer.signed == signed, "something was signed, so something could have left"
        assert holder._party.state is state


def body_of(data: bytes, who: PartyId) -> Any:
    return codec.decode_body(kind_of(data), data[codec.HEADER.size : -codec.SIGNATURE_BYTES], who)


def partial_in(data: bytes) -> Partial:
    letter = body_of(data, SERVER)
    assert isinstance(letter, Partial)
    return letter
