"""A server, its clients and the members of a committee in one process, driven by hand, letter by letter.

company = Company()                              the committee is convened, nobody has spoken
party = company.client(who)                      a client before the round
company.upload(who)                              what an honest client says, made once
server = company.summing()                       a server that has invited everybody
server, asked = company.opening()                the same when all uploads are in; what it asks each member
company.answer(place, asked[place])              what an honest member says to that
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from protocols.coding import Randomness
from protocols.heads import NO_LEDGER
from protocols.ideal import aggregate
from protocols.messages import Aggregate, Submit
from protocols.oneshot import client as clients
from protocols.oneshot import convener as conveners
from protocols.oneshot import epoch as names
from protocols.oneshot import member as members
from protocols.oneshot import server as servers
from protocols.oneshot.epoch import Epoch
from protocols.oneshot.messages import Certificate, Concealed, Convene, Enlisted, Included, OpenOneShot, Summed
from protocols.oneshot.shape import Shape
from protocols.party import APP, SELF, SERVER, Deadline, Envelope, Excluded, Party, PartyId
from protocols.plan import NOTHING, ONE_SHOT, Agreement, ContextBytes, Metric, Policy, RoundPlan, context_of
from secagg.keys import AgreementKey, Identity, Seed, verify
from secagg.quorum import Quorum
from secagg.shamir import PACKED_PRIME
from secagg.workers import ALONE

LENGTH = 300
CLIENTS = 6
FIRST_MEMBER = 100
LOSS = Metric("loss", Fraction(9))
# One corrupt, one away: five members of whom four open, with one secret in a polynomial.
QUORUM = Quorum(5, 1, 1)
# With two secrets in a polynomial, as larger committees have.
WIDE = Quorum(8, 1, 1)
# Two may be away, so two liars can be left out.
PATIENT = Quorum(8, 1, 2)


def plan_of(**changes: Any) -> RoundPlan:
    terms: dict[str, Any] = {"bits": 12, "max_weight": 3, "metrics": (LOSS,), "min_cohort": 3} | changes
    return RoundPlan.recommend(
        CLIENTS, dropout=Fraction(1, 3), corrupt=Fraction(0), task="t", protocol=ONE_SHOT, **terms
    )


def seed(name: str, number: int) -> Seed:
    return Seed((name.encode() + bytes([number])).ljust(32, b"."))


def identity(name: str, number: int) -> Identity:
    return Identity.from_seed(seed(name, number))


@dataclass
class Company:
    """Everybody, with roots that can be repeated; `plan` is the round's, `quorum` and `changes` make its committee."""

    quorum: Quorum = QUORUM
    plan: RoundPlan = field(default_factory=plan_of)
    length: int = LENGTH
    changes: Mapping[str, Any] = field(default_factory=dict)
    submitted: dict[PartyId, Submit] = field(default_factory=dict)
    uploads: dict[PartyId, Concealed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.identities = {PartyId(n): identity("client", n) for n in range(CLIENTS)}
        self.known = {who: each.public for who, each in self.identities.items()}
        self.ids = tuple(self.identities)
        self.member_identities = [identity("member", n) for n in range(self.quorum.members)]
        self.parties = tuple(PartyId(FIRST_MEMBER + n) for n in range(self.quorum.members))
        self.places = range(1, self.quorum.members + 1)
        self.publics = tuple(each.public for each in self.member_identities)
        epoch = Epoch(
            self.plan.task,
            0,
            self.publics,
            self.quorum.corrupted,
            self.quorum.offline,
            self.plan.min_cohort,
            self.plan.max_clients,
            3,
        )
        self.epoch = replace(epoch, **self.changes)
        self.member_policy = members.MemberPolicy(frozenset(self.publics), self.known)
        self.members = {place: self.member(place) for place in self.places}
        self.certificate = self.convened()
        self.agreement = self.agreed()

    # --- the committee

    def own_of_member(self, place: int) -> members.Own:
        mine = self.member_identities[place - 1]
        return members.Own(mine.public, self.member_policy, mine.sign, verify)

    def member(self, place: int) -> Party:
        return Party(members.member, members.Uninvited(self.own_of_member(place), seed("member root", place)))

    def convener(self) -> Party:
        """One that has invited everybody."""
        party = Party(conveners.convener, conveners.Idle(conveners.Known(verify)))
        party.receive(APP, conveners.Convoke(self.epoch, self.parties, 60))
        return party

    def convened(self) -> Certificate:
        convener = self.convener()
        for place, party in self.members.items():
            [said] = party.receive(SERVER, Convene(self.epoch))
            out = convener.receive(self.parties[place - 1], said.message)
        [note] = out
        made: Certificate = note.message.certificate
        return made

    def forged(self, epoch: Epoch, secrets: Mapping[int, Identity] | None = None) -> Certificate:
        """A certificate for another epoch, with every signature there is: members of ours are bent to sign."""
        keys = dict(enumerate(self.member_identities, start=1)) | dict(secrets or {})
        letters = []
        for place, public in enumerate(epoch.members, start=1):
            [signer] = [each for each in keys.values() if each.public == public]
            box_key = AgreementKey(seed("forged", place)).public
            letters.append(Enlisted(box_key, signer.sign(names.enlisted_text(epoch.context, place, box_key))))
        return Certificate(epoch, tuple(letters))

    # --- the round

    def agreed(self, number: int = 0, **changes: Any) -> Agreement:
        terms: dict[str, Any] = {"plan": self.plan, "key": self.certificate.digest} | changes
        return Agreement(
            terms.pop("plan"),
            number,
            nonce=bytes(16),
            length=self.length,
            layout=NOTHING,
            model=terms.pop("model", NOTHING),
            ledger_head=NO_LEDGER,
            **terms,
        )

    @property
    def context(self) -> ContextBytes:
        return context_of(self.agreement)

    @property
    def shape(self) -> Shape:
        return Shape.of(self.agreement)

    def policy(self, **changes: Any) -> Policy:
        terms: dict[str, Any] = {"protocols": frozenset({ONE_SHOT}), "holders": frozenset(self.publics)} | changes
        return Policy(self.known, **terms)

    def client(self, who: PartyId, last_round: int = -1, **changes: Any) -> Party:
        own = clients.Own(who, self.policy(**changes), self.identities[who].sign, verify, identity("server", 0).public)
        return Party(clients.client, clients.Idle(own, seed("root", who), last_round))

    def invited(self, who: PartyId, **changes: Any) -> Party:
        """A client that waits for its update."""
        party = self.client(who, **changes)
        party.receive(SERVER, OpenOneShot(self.agreement, self.certificate))
        return party

    def update(self, who: PartyId, agreement: Agreement, update_seed: Seed, weight: int | None = None) -> Submit:
        vector = np.random.default_rng(who).normal(size=self.length)
        shape, heavy = Shape.of(agreement), 1 + who % self.plan.max_weight if weight is None else weight
        encoded = shape.coding.encode(vector, heavy, Randomness(update_seed, context_of(agreement), True), ALONE)
        quantised = shape.extras.quantised(dict.fromkeys(shape.extras.names, who / 2))
        return Submit(encoded.vector, heavy, agreement.model, quantised)

    def upload(self, who: PartyId) -> Concealed:
        """What this client says, the same however often it is asked for."""
        if who not in self.uploads:
            party = self.invited(who)
            self.submitted[who] = self.update(who, self.agreement, party.state.update_seed)
            [out] = party.receive(APP, self.submitted[who])
            self.uploads[who] = out.message
        return self.uploads[who]

    def server(self) -> Party:
        return Party(servers.server, servers.Unopened(servers.Known(self.known, self.parties, verify)))

    def begin(self, **changes: Any) -> servers.Begin:
        return replace(servers.Begin(self.agreement, self.certificate, self.ids), **changes)

    def summing(self) -> Party:
        server = self.server()
        server.receive(APP, self.begin())
        return server

    def opening(self, *but: PartyId) -> tuple[Party, dict[int, Included]]:
        """When all but these have spoken, and the time of the others is over; the questions, by place."""
        server = self.summing()
        for who in self.ids:
            out = [] if who in but else server.receive(who, self.upload(who))
        out = server.receive(SELF, Deadline("Summing")) if but else out
        return server, self.questions(out)

    def questions(self, out: list[Envelope]) -> dict[int, Included]:
        """What members are asked, by place."""
        return {self.parties.index(each.to[0]) + 1: each.message for each in out if isinstance(each.message, Included)}

    def answer(self, place: int, question: Included) -> Summed:
        [out] = self.members[place].receive(SERVER, question)
        letter: Summed = out.message
        return letter

    def play(
        self,
        server: Party,
        asked: Mapping[int, Included],
        bend: Mapping[int, Callable[[Summed], Summed]] | None = None,
        silent: Iterable[int] = (),
        order: Iterable[int] = (),
    ) -> list[Envelope]:
        """Members answer in order of their places or in another; those in `bend` lie. What the server says in all."""
        out: list[Envelope] = []
        speaking = [place for place in (tuple(order) or asked) if place not in set(silent)]
        for place in speaking:
            if isinstance(server.state, servers.Opening):
                letter = self.answer(place, asked[place])
                lie = (bend or {}).get(place)
                out += server.receive(self.parties[place - 1], letter if lie is None else lie(letter))
        if isinstance(server.state, servers.Opening):
            out += server.receive(SELF, Deadline("Opening"))
        return out

    def ideal(self, survivors: Iterable[PartyId]) -> Aggregate:
        return aggregate(self.agreement, {who: self.submitted[who] for who in survivors})

    # --- clients that lie

    def signed(self, who: PartyId, letter: Concealed, **changes: Any) -> Concealed:
        """The bent letter under a good signature of this client."""
        bent = replace(letter, **changes)
        text = names.upload_text(self.context, self.epoch.context, who, bent.box_key)
        return replace(bent, signature=self.identities[who].sign(text))


def off_by(*changes: tuple[int, int]) -> Callable[[Summed], Summed]:
    """Makes these words of an answer so much more."""

    def bend(letter: Summed) -> Summed:
        share = names.share_from_bytes(letter.shares or b"").astype(np.uint64)
        for place, change in changes:
            share[place] = (int(share[place]) + change) % PACKED_PRIME
        return replace(letter, shares=names.share_to_bytes(share.astype(np.uint32)))

    return bend


def change_for(quorum: Quorum, base: Iterable[int], liar: int, shift: int) -> int:
    """By how much a member's answer must be off, so that the first secret of a polynomial is off by so much."""
    nodes, point, factor = tuple(base), -1, 1
    for node in nodes:
        if node != liar:
            factor = factor * (point - node) * pow(liar - node, -1, PACKED_PRIME) % PACKED_PRIME
    assert quorum.needed == len(nodes)
    return shift * pow(factor, -1, PACKED_PRIME) % PACKED_PRIME


def opened(out: list[Envelope]) -> Aggregate:
    """The sum among what a server says."""
    [found] = [each.message for each in out if isinstance(each.message, Aggregate)]
    return found


def noted(out: list[Envelope]) -> list[tuple[PartyId, str]]:
    """Whom a server names to its application, and for what."""
    return [(each.message.peer, each.message.error) for each in out if isinstance(each.message, Excluded)]


def same(one: Aggregate, other: Aggregate) -> bool:
    return (
        np.array_equal(one.total, other.total)
        and one.weight_sum == other.weight_sum
        and one.metrics == other.metrics
        and one.survivors == other.survivors
    )
