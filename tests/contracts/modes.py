"""Companies whose sums one decryptor opens, or clients who share a key.

Single      a server, its clients, and one decryptor; who has it make its key is heard, and lives on
Seeded      a server, and clients who share a key
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from protocols.ckks.decryptor import DecryptorPolicy
from protocols.cohort import Cohort
from protocols.committee import KeyCommittee, numbers
from protocols.endpoint import Client, Decryptor, Server
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, RoundPlan
from secagg.ckks.plan import Mode
from secagg.ckks.whole import SharedKey
from secagg.keys import Identity
from tests.contracts.company import VERIFIER, Company, StandIn, seed_of

CLIENTS = 6
PLAN = RoundPlan.recommend(
    CLIENTS, dropout=Fraction(1, 3), corrupt=0, bits=12, max_weight=8, task="t", protocol=ENCRYPTED
)
[DECRYPTOR] = numbers(1)
SHARED = SharedKey(seed_of("owner"))


class Single(Company):
    """A server, its clients, and one decryptor."""

    def __init__(self, plan: RoundPlan = PLAN) -> None:
        super().__init__(plan, plan.max_clients)
        self.decryptor_identity = Identity.from_seed(seed_of("decryptor"))
        self.openers = {DECRYPTOR: self.decryptor_identity.public}
        self.policy = replace(
            self.policy,
            protocols=frozenset({ENCRYPTED}),
            modes=frozenset({Mode.SINGLE}),
            holders=frozenset(self.openers.values()),
        )
        self.decryptor_policy = DecryptorPolicy(self.known, min_cohort=plan.min_cohort)

    def decryptor(self) -> Decryptor:
        root, policy, mine = seed_of("decryptor root"), self.decryptor_policy, self.decryptor_identity
        return Decryptor.from_root(root, DECRYPTOR, policy, mine, self.identity.public, VERIFIER)

    def server(self) -> Server:
        return Server(self.plan, self.known, self.identity, holders=self.openers)

    def cohort(self, kind: type[StandIn] = StandIn) -> Cohort:
        def build(*_: object) -> Any:
            return kind(self.decryptor)

        made = KeyCommittee.single(self.plan, self.known, self.identity, {DECRYPTOR: self.decryptor_identity}, build)
        maker: Any = made.ceremony.maker
        made.ceremony.maker = StandIn(lambda: maker)  # type: ignore[assignment]
        return replace(super().cohort(kind), committee=made)


class Seeded(Company):
    """A server, and clients who share a key."""

    def __init__(self, plan: RoundPlan = PLAN) -> None:
        super().__init__(plan, plan.max_clients)
        self.policy = replace(self.policy, protocols=frozenset({ENCRYPTED}), modes=frozenset({Mode.SEEDED}))

    def client(self, who: PartyId, policy: Any = None, shared: SharedKey | None = SHARED) -> Client:
        root, mine = seed_of("root", who), self.identities[who]
        return Client.from_root(root, policy or self.policy, mine, self.identity.public, VERIFIER, shared_key=shared)

    def cohort(self, kind: type[StandIn] = StandIn) -> Cohort:
        return replace(super().cohort(kind), shared=SHARED.name)
