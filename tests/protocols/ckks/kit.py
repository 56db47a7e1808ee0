"""A server, its clients and its key holders in one process: what is lost or bent is the test's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from protocols.ckks import client as clients
from protocols.ckks import holder as holders
from protocols.ckks import keys
from protocols.ckks import server as servers
from protocols.ckks.epoch import Epoch
from protocols.ckks.messages import Certificate
from protocols.ckks.vector import Shape
from protocols.coding import Randomness
from protocols.errors import ProtocolError
from protocols.heads import NO_LEDGER
from protocols.ideal import aggregate
from protocols.messages import Aggregate, NeedUpdate, Result, Submit
from protocols.party import APP, SELF, SERVER, Deadline, Envelope, Excluded, Party, PartyId, Wait
from protocols.plan import NOTHING, Agreement, Metric, Policy, RoundPlan, context_of
from secagg.ckks.cipher import Fft
from secagg.ckks.plan import Keys
from secagg.keys import Identity, Seed, verify

LENGTH = 3000
CLIENTS, HOLDERS = 6, 5
FIRST_HOLDER = 100
LOSS = Metric("loss", Fraction(9))
PLAN = replace(
    RoundPlan.recommend(CLIENTS, dropout=Fraction(1, 3), corrupt=0, bits=12, max_weight=3, task="t", metrics=(LOSS,)),
    protocol="ckks",
)
# Two openings are spent on the ceremony.
KEYS = Keys.recommended(HOLDERS, 8)

Bend = Callable[[PartyId, PartyId, Any], Any]
LOST = object()


def as_it_is(_sender: PartyId, _to: PartyId, message: Any) -> Any:
    """Nothing is lost or changed."""
    return message


def seed(name: str, number: int) -> Seed:
    return Seed((name.encode() + bytes([number])).ljust(32, b"."))


@dataclass
class Company:
    """Everybody, with roots that can be repeated. `bend` sees each letter on its way and says what arrives, or LOST."""

    plan: RoundPlan = PLAN
    keys: Keys = KEYS
    length: int = LENGTH
    bend: Bend = as_it_is
    excluded: list[Excluded] = field(default_factory=list)
    failures: dict[PartyId, Exception] = field(default_factory=dict)
    submitted: dict[PartyId, Submit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client_ids = {PartyId(n): Identity.from_seed(seed("client", n)) for n in range(self.plan.max_clients)}
        self.holder_ids = [Identity.from_seed(seed("holder", n)) for n in range(self.keys.holders)]
        self.places = tuple(PartyId(FIRST_HOLDER + n) for n in range(self.keys.holders))
        self.shape = Shape.of(self.agreement(NOTHING), self.keys)
        self.epoch = Epoch(
            self.plan.task, 0, self.shape.plan, tuple(each.public for each in self.holder_ids), self.plan.min_cohort
        )
        policy = holders.HolderPolicy(
            frozenset(self.epoch.holders),
            {who: each.public for who, each in self.client_ids.items()},
            min_cohort=self.plan.min_cohort,
        )
        self.holder_policy = policy
        self.holders = {
            place: Party(holders.holder, holders.Uninvited(self.holder_own(n), seed("root", n)))
            for n, place in enumerate(self.places)
        }
        self.maker = Party(keys.keymaker, keys.Idle(keys.Known(verify)))

    def holder_own(self, number: int) -> holders.Own:
        identity = self.holder_ids[number]
        return holders.Own(identity.public, self.holder_policy, identity.sign, verify)

    def agreement(self, key: bytes, number: int = 0) -> Agreement:
        return Agreement(self.plan, number, bytes(16), self.length, NOTHING, NOTHING, NO_LEDGER, key)

    def certificate(self) -> Certificate:
        """Makes the key."""
        self._play(self.maker, keys.Make(self.epoch, self.places, 60), self.holders)
        state = self.maker.state
        assert isinstance(state, keys.Certified)
        return state.certificate

    def policy(self) -> Policy:
        return Policy(
            {who: each.public for who, each in self.client_ids.items()},
            protocols=frozenset({"ckks"}),
            holders=frozenset(self.epoch.holders),
        )

    def client(self, who: PartyId, policy: Policy | None = None) -> Party:
        own = clients.Own(who, policy or self.policy(), self.client_ids[who].sign, verify, bytes(32), Fft())
        return Party(clients.client, clients.Idle(own, seed("update", who), -1))

    def server(self) -> Party:
        identities = {who: each.public for who, each in self.client_ids.items()}
        return Party(servers.server, servers.Unopened(servers.Known(identities, self.places, verify)))

    def round(self, certificate: Certificate, number: int = 0, *, server: Party | None = None) -> Aggregate:
        """Plays a round and returns its sum; whoever raises is noted in `failures` and falls silent."""
        agreement = self.agreement(certificate.digest, number)
        self.submitted = {}
        parties = {who: self.client(who) for who in self.client_ids} | self.holders
        begin = servers.Begin(agreement, certificate, tuple(self.client_ids))
        notes = self._play(server or self.server(), begin, parties, agreement)
        return next(note for note in notes if isinstance(note, Aggregate))

    def ideal(self, survivors: Iterable[PartyId], certificate: Certificate, number: int = 0) -> Aggregate:
        agreement = self.agreement(certificate.digest, number)
        return aggregate(agreement, {who: self.submitted[who] for who in survivors})

    def update(self, who: PartyId, agreement: Agreement, update_seed: Seed) -> Submit:
        vector = np.random.default_rng(who).normal(size=self.length)
        randomness = Randomness(update_seed, context_of(agreement), True)
        weight = 1 + who % self.plan.max_weight
        encoded = self.shape.coding.encode(vector, weight, randomness, clients.ALONE)
        return Submit(
            encoded.vector,
            weight,
            NOTHING,
            self.shape.extras.quantised(dict.fromkeys(self.shape.extras.names, who / 2)),
        )

    def _play(
        self, server: Party, start: object, parties: dict[PartyId, Party], agreement: Agreement | None = None
    ) -> list[object]:
        notes: list[object] = []
        room = ""
        queue = [(SERVER, envelope) for envelope in server.receive(APP, start)]
        while queue or type(server.state).__name__ not in ("Certified", "Closed"):
            if not queue:
                queue = [(SERVER, envelope) for envelope in server.receive(SELF, Deadline(room))]
                continue
            sender, envelope = queue.pop(0)
            for to in envelope.to:
                if to == APP and sender == SERVER:
                    notes.append(envelope.message)
                    room = envelope.message.room if isinstance(envelope.message, Wait) else room
                    self.excluded += [envelope.message] if isinstance(envelope.message, Excluded) else []
                else:
                    queue += self._deliver(server, parties, sender, to, envelope, agreement)
        return notes

    def _deliver(
        self,
        server: Party,
        parties: dict[PartyId, Party],
        sender: PartyId,
        to: PartyId,
        envelope: Envelope,
        agreement: Agreement | None,
    ) -> list[tuple[PartyId, Envelope]]:
        message = envelope.message
        if to == APP and isinstance(message, NeedUpdate) and agreement is not None:
            party = parties[sender]
            self.submitted[sender] = self.update(sender, agreement, party.state.update_seed)
            return [(sender, out) for out in party.receive(APP, self.submitted[sender])]
        bent = self.bend(sender, to, message)
        if bent is LOST or isinstance(message, Result):
            return []
        party = server if to == SERVER else parties[to]
        try:
            return [(to, out) for out in party.receive(sender, bent)]
        except ProtocolError as error:
            if to == SERVER:
                raise
            self.failures.setdefault(to, error)
            return []
