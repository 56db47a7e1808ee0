"""The kit's company where one decryptor has the key, and where the clients share it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from protocols.ckks import client as clients
from protocols.ckks import decryptor as decryptors
from protocols.ckks import keys, seeded, seeded_server, single_server
from protocols.ckks import server as servers
from protocols.ckks.epoch import Epoch
from protocols.ckks.messages import Certificate
from protocols.ckks.vector import Shape
from protocols.ideal import aggregate
from protocols.messages import Aggregate
from protocols.party import APP, Envelope, Party, PartyId
from protocols.plan import NOTHING, Agreement, Policy
from secagg.ckks.cipher import Engine, Fft
from secagg.ckks.plan import Keys, Mode
from secagg.ckks.whole import SharedKey
from secagg.keys import Identity, verify
from tests.protocols.ckks.kit import Company, seed

DECRYPTOR = PartyId(100)
# One opening a round.
THREE_ROUNDS = Keys(Mode.SINGLE, openings=3)
SERVER_IDENTITY = Identity.from_seed(seed("server", 0))


@dataclass
class SingleCompany(Company):
    """A server, its clients and one decryptor."""

    keys: Keys = THREE_ROUNDS
    engines: tuple[Engine, ...] = (Fft(),)

    def __post_init__(self) -> None:
        self.client_ids = {PartyId(n): Identity.from_seed(seed("client", n)) for n in range(self.plan.max_clients)}
        self.identity = Identity.from_seed(seed("decryptor", 0))
        self.shape = Shape.of(self.agreement(NOTHING), self.keys)
        self.epoch = Epoch(self.plan.task, 0, self.shape.plan, (self.identity.public,), self.plan.min_cohort)
        policy = decryptors.DecryptorPolicy(
            {who: each.public for who, each in self.client_ids.items()}, min_cohort=self.plan.min_cohort
        )
        self.own = decryptors.Own(self.identity.public, SERVER_IDENTITY.public, policy, self.identity.sign, verify)
        self.decryptor = Party(decryptors.decryptor, decryptors.Uninvited(self.own, seed("root", 0)))
        self.maker = Party(single_server.single_keymaker, keys.Idle(keys.Known(verify)))

    def certificate(self) -> Certificate:
        self._play(self.maker, keys.Make(self.epoch, (DECRYPTOR,), 60), {DECRYPTOR: self.decryptor})
        state = self.maker.state
        assert isinstance(state, keys.Certified)
        return state.certificate

    def policy(self) -> Policy:
        return replace(super().policy(), modes=frozenset({Mode.SINGLE}))

    def client(self, who: PartyId, policy: Policy | None = None) -> Party:
        engine = self.engines[who % len(self.engines)]
        own = clients.Own(who, policy or self.policy(), self.client_ids[who].sign, verify, bytes(32), engine)
        own = replace(own, server=SERVER_IDENTITY.public)
        return Party(clients.client, clients.Idle(own, seed("update", who), -1))

    def server(self) -> Party:
        identities = {who: each.public for who, each in self.client_ids.items()}
        known = servers.Known(identities, (DECRYPTOR,), verify)
        return Party(single_server.single_server, servers.Unopened(known))

    def round(self, certificate: Certificate, number: int = 0, *, server: Party | None = None) -> Aggregate:
        agreement = self.agreement(certificate.digest, number)
        self.submitted = {}
        parties = {who: self.client(who) for who in self.client_ids} | {DECRYPTOR: self.decryptor}
        begin = servers.Begin(agreement, certificate, tuple(self.client_ids))
        notes = self._play(server or self.server(), begin, parties, agreement)
        return next(note for note in notes if isinstance(note, Aggregate))


@dataclass
class SeededCompany(Company):
    """A server, and clients who share a key; `opened` is what each of them hands to its application."""

    keys: Keys = seeded.KEYS
    opened: dict[PartyId, Aggregate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client_ids = {PartyId(n): Identity.from_seed(seed("client", n)) for n in range(self.plan.max_clients)}
        self.shared = SharedKey(seed("owner", 0))
        self.shape = Shape.of(self.seeded_agreement(), self.keys)
        self.parties = {who: self.client(who) for who in self.client_ids}

    def seeded_agreement(self, number: int = 0) -> Agreement:
        return self.agreement(self.shared.name, number)

    def policy(self) -> Policy:
        identities = {who: each.public for who, each in self.client_ids.items()}
        return Policy(identities, protocols=frozenset({"ckks"}), modes=frozenset({Mode.SEEDED}))

    def client(self, who: PartyId, policy: Policy | None = None) -> Party:
        own = seeded.Own(who, policy or self.policy(), self.client_ids[who].sign, verify, self.shared)
        return Party(seeded.seeded_client, seeded.Idle(own, seed("update", who), -1))

    def server(self) -> Party:
        identities = {who: each.public for who, each in self.client_ids.items()}
        return Party(seeded_server.seeded_server, seeded_server.Unopened(seeded_server.Known(identities, verify)))

    def play(self, number: int = 0, *, server: Party | None = None) -> tuple[PartyId, ...]:
        """Plays a round, and says who was handed its sum."""
        agreement = self.seeded_agreement(number)
        self.submitted, self.opened = {}, {}
        begin = seeded_server.Begin(agreement, tuple(self.client_ids))
        notes = self._play(server or self.server(), begin, self.parties, agreement)
        return next(note.survivors for note in notes if isinstance(note, seeded_server.HandedOut))

    def expected(self, survivors: tuple[PartyId, ...]) -> Aggregate:
        return aggregate(self.seeded_agreement(), {who: self.submitted[who] for who in survivors})

    def _deliver(
        self,
        server: Party,
        parties: dict[PartyId, Party],
        sender: PartyId,
        to: PartyId,
        envelope: Envelope,
        agreement: Agreement | None,
    ) -> list[tuple[PartyId, Envelope]]:
        if to == APP and isinstance(envelope.message, Aggregate):
            self.opened[sender] = envelope.message
            return []
        return super()._deliver(server, parties, sender, to, envelope, agreement)
