"""Where one-shot rounds are attacked: five clients, five members of whom four open, and a server that may lie.

Assembly    a committee is convened and a round is open; clients speak, and members answer, when a test has them do so
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from protocols import codec
from protocols.codec import kind_of
from protocols.endpoint import Client, Member
from protocols.errors import Misbehaved
from protocols.messages import Submit
from protocols.oneshot import epoch as names
from protocols.oneshot.member import opened
from protocols.oneshot.messages import Certificate, Concealed, Contribution, Included, OpenOneShot, Summed
from protocols.oneshot.shape import Shape
from protocols.party import SERVER, PartyId
from protocols.plan import ONE_SHOT, Agreement, ContextBytes, Policy, RoundPlan, context_of
from secagg.errors import BadCiphertext
from secagg.keys import AgreementKey, Context, Seed, derive
from secagg.negacyclic import Integers, Multiplier, N
from secagg.prg import Stream
from secagg.quorum import Quorum
from secagg.ring import RingVector
from secagg.rlwe import LABEL_PUBLIC, check_secret_sum
from secagg.shamir import PackedShare, combine_packed
from tests.attacks.hall import body_of
from tests.attacks.villain import Signer
from tests.contracts.company import Speaking, StandIn, update_of

LENGTH = 5
CLIENTS = 5


def one_shot_plan(**changes: Any) -> RoundPlan:
    terms: dict[str, Any] = {"bits": 12, "max_weight": 8, "min_cohort": 3} | changes
    return RoundPlan.recommend(CLIENTS, dropout=Fraction(1, 5), corrupt=Fraction(0), protocol=ONE_SHOT, **terms)


class Assembly:
    """One round. `uploads` are the letters of clients, `asked` the frames that ask members to open the sum."""

    def __init__(self, members: int = 5, length: int = LENGTH, plan: RoundPlan | None = None) -> None:
        self.company = Speaking(plan or one_shot_plan(), CLIENTS, members=members)
        self.length = length
        self.signers = {who: Signer(identity) for who, identity in self.company.holder_identities.items()}
        self.company.holder_identities.update(self.signers)  # type: ignore[arg-type]
        self.speakers = {who: Signer(identity) for who, identity in self.company.identities.items()}
        self.company.identities.update(self.speakers)  # type: ignore[arg-type]
        self.ids = self.company.ids
        self.server = self.company.server()
        self.clients: dict[PartyId, Client] = {who: self.company.client(who) for who in self.ids}
        committee = self.company.committee(StandIn)
        self.certificate: Certificate = committee.certificate_for(self.server.agree(self.company.task(length)))
        self.members: dict[PartyId, Member] = {who: one.live for who, one in committee.holders.items()}  # type: ignore[attr-defined]
        self.places = {who: place for place, who in enumerate(sorted(self.members), start=1)}
        self.submitted: dict[PartyId, Submit] = {}
        self.uploads: dict[PartyId, Concealed] = {}
        self.asked: dict[PartyId, bytes] = {}
        self.task = replace(self.company.task(length), certificate=self.certificate)
        [self.invitation] = map(bytes, self.server.open(self.task))

    # --- names of things

    @property
    def quorum(self) -> Quorum:
        return self.certificate.epoch.quorum

    @property
    def agreement(self) -> Agreement:
        return self.server.agreement

    @property
    def context(self) -> ContextBytes:
        return context_of(self.agreement)

    @property
    def shape(self) -> Shape:
        return Shape.of(self.agreement)

    def vector_of(self, who: PartyId) -> list[int]:
        return [int(each) for each in self.shape.coding.ring.reduce(self.submitted[who].vector)]

    def sum_of(self, *whose: PartyId) -> list[int]:
        ring = self.shape.coding.ring
        total = ring.zeros(self.length)
        for who in whose:
            ring.add_into(total, self.submitted[who].vector)
        return [int(each) for each in ring.reduce(total)]

    # --- honest clients and members

    def upload_of(self, who: PartyId, invitation: bytes | None = None, model: bytes = bytes(32)) -> Concealed:
        """What this client answers to an invitation, without its being said to the server."""
        client = self.clients[who]
        client.receive(invitation or self.invitation)
        self.submitted[who] = client.prepare(update_of(self.company, who, self.length), weight=2, model=model)
        [frame] = client.send(self.submitted[who])
        self.uploads[who] = body_of(bytes(frame), who)
        return self.uploads[who]

    def speak(self, who: PartyId, letter: object) -> list[tuple[PartyId, str]]:
        """The client or member says this under its own good signature; whom the server names for what."""
        noted = len(self.server.excluded)
        self.hand(self.server.receive(self.framed(letter, who), who))
        return [(note.peer, note.error) for note in self.server.excluded[noted:]]

    def framed(self, letter: object, who: PartyId) -> bytes:
        """A letter of this attempt; an invitation is one of its task."""
        company = self.company
        signers = {SERVER: company.identity, **company.identities, **company.holder_identities}
        invites = isinstance(letter, OpenOneShot)
        agreement = letter.agreement if isinstance(letter, OpenOneShot) else self.agreement
        task = agreement.plan.task
        topic = codec.task_id(task) if invites else codec.attempt_id(task, agreement.nonce)
        return b"".join(codec.encode(letter, who, topic, agreement.round, signers[who].sign))

    def hand(self, frames: list[Any]) -> None:
        for frame in frames:
            if kind_of(frame) is Included:
                self.asked |= {who: bytes(frame) for who in frame.to}

    def everybody(self, *but: PartyId) -> None:
        """All clients but these upload; who is missing at the deadline is not in the sum."""
        for who in self.ids:
            if who not in but:
                assert self.speak(who, self.uploads.get(who) or self.upload_of(who)) == []
        if but:
            self.hand(self.server.deadline("Summing"))

    def open(self, *silent: PartyId) -> None:
        """Members that were asked answer, but these, until the round is over."""
        while self.asked:
            who, question = self.asked.popitem()
            if who not in silent:
                for frame in self.members[who].receive(question):
                    self.hand(self.server.receive(bytes(frame), who))
        if not self.server.done:
            self.server.deadline("Opening")

    def require_sum_of(self, *whose: PartyId) -> None:
        """The round ends in exactly the sum of these."""
        self.open()
        aggregate = self.server.aggregate
        assert aggregate is not None
        assert aggregate.survivors == whose
        assert aggregate.total.tolist() == self.sum_of(*whose)

    # --- the server that lies

    def contribution(self, who: PartyId, member: PartyId) -> Contribution:
        said = self.uploads[who]
        return Contribution(who, bytes(said.box_key), bytes(said.signature), bytes(said.boxes[self.places[member] - 1]))

    def question(self, member: PartyId, whose: Iterable[PartyId]) -> Included:
        """What would ask this member for the sum over these."""
        said = tuple(self.contribution(who, member) for who in sorted(whose))
        return Included(self.certificate.epoch.context, self.context, said)

    def ask(self, member: PartyId, question: Included) -> Summed:
        """The server says this to a member; its answer."""
        [frame] = self.members[member].receive(self.framed(question, SERVER))
        letter = body_of(bytes(frame), member)
        assert isinstance(letter, Summed)
        return letter

    def share_in(self, letter: Summed) -> PackedShare:
        assert letter.shares is not None
        return names.share_from_bytes(letter.shares)

    def rebuilt(self, shares: Mapping[int, PackedShare], whose: int) -> Integers | None:
        """The sum of so many keys that any of these answers, by place, rebuild; None where they rebuild none."""
        if len(shares) < self.quorum.needed:
            return None
        base = {place: shares[place] for place in sorted(shares)[: self.quorum.needed]}
        secret = combine_packed(base, self.quorum, N)
        try:
            check_secret_sum(secret, whose)
        except BadCiphertext:
            return None
        return secret

    def summed(self, *whose: PartyId) -> RingVector:
        """The masked vectors of these, added up."""
        mask = self.shape.mask
        total = mask.ring.zeros(mask.coefficients)
        for who in whose:
            mask.ring.add_packed_into(total, self.uploads[who].vector)
        return total

    def key_of(self, who: PartyId, context: ContextBytes | None = None) -> Integers:
        """This client's mask key, were enough members to give away what it dealt them."""
        shares = {}
        for party, place in self.places.items():
            state = self.members[party]._party.state
            said = self.contribution(who, party)
            pair, named = AgreementKey(state.key), Context(context or self.context)
            shares[place] = opened(state.me, state.epoch.rows, pair, named, said)
        key = self.rebuilt(shares, 1)
        assert key is not None
        return key

    def unmasked(self, total: RingVector, secret: Integers, context: ContextBytes) -> RingVector:
        """What is left of a masked sum when this key's mask in this context is taken off: 2^g m + e, or noise."""
        mask = self.shape.mask
        public = Stream(derive(Seed(context), LABEL_PUBLIC, context)).words(0, mask.coefficients)
        left: RingVector = total - Multiplier.of(secret, mask.modulus_bits).times(public)
        mask.ring.reduce_in_place(left)
        return left

    @contextmanager
    def refuses(self, who: PartyId, error: type[Misbehaved], match: str | None = None) -> Iterator[None]:
        """Inside, this member refuses the server with this error, says nothing, and its key outlives the lie."""
        member, signer = self.members[who], self.signers[who]
        signed, state = signer.signed, member._party.state
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert caught.value.peer == SERVER
        assert signer.signed == signed, "something was signed, so something could have left"
        assert member._party.state is state

    @contextmanager
    def shuns(self, who: PartyId, error: type[Misbehaved], match: str | None = None) -> Iterator[None]:
        """Inside, this client refuses the server with this error and says nothing in this round."""
        client, signer = self.clients[who], self.speakers[who]
        signed = signer.signed
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert caught.value.peer == SERVER
        assert signer.signed == signed, "something was signed, so something could have left"
        assert not client.needs_update

    def invite(self, who: PartyId, certificate: Certificate, **changes: Any) -> None:
        """The server invites this client under another committee."""
        agreement = replace(self.agreement, key=certificate.digest, **changes)
        self.clients[who].receive(self.framed(OpenOneShot(agreement, certificate), SERVER))

    def pinning(self, who: PartyId, **changes: Any) -> Policy:
        """Gives this client another policy, before it was invited."""
        policy = replace(self.company.policy, **changes)
        self.clients[who] = self.company.client(who, policy)
        return policy
