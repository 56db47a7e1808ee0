"""A company whose sums are encrypted: three holders beside server and clients, of whom two open.

Company             as the pairwise one, and holders and the maker of their key
bad_dealer          inside, a holder deals pieces of no one polynomial
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols.ckks import binding
from protocols.ckks.epoch import Dealing, Epoch
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.keys import keys_for_rounds
from protocols.committee import KeyCommittee, KeyMaking, numbers
from protocols.endpoint import Holder, KeyMaker, Server
from protocols.endpoint.holder import LABEL_ROOT
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, Metric, Policy, RoundPlan
from protocols.simulate import Cohort
from protocols.verifying import Verifier
from secagg.ckks.share import Dealt, SecretResidues, deal
from secagg.keys import Context, Identity, Seed, derive
from secagg.negacyclic import N
from secagg.prg import Stream
from tests.contracts.company import VERIFIER, StandIn, seed_of
from tests.contracts.company import Company as Pairwise

HOLDERS = 3


def encrypted_plan(clients: int) -> RoundPlan:
    """A small plan whose vector fits one polynomial; a quarter may drop out."""
    return RoundPlan.recommend(
        clients,
        dropout=Fraction(1, 4),
        corrupt=Fraction(0),
        bits=12,
        max_weight=8,
        min_cohort=3,
        metrics=(Metric("loss", Fraction(4)),),
        protocol=ENCRYPTED,
    )


class Company(Pairwise):
    """Endpoints over one encrypted plan; halves longer than `most_halves` together are not shown to holders."""

    def __init__(self, clients: int = 4, number: int = 0, most_halves: int = binding.MOST_HALVES_BYTES) -> None:
        super().__init__(encrypted_plan(clients), clients, number)
        self.most_halves = most_halves
        self.holder_ids = numbers(HOLDERS)
        self.holder_identities = {who: Identity.from_seed(seed_of("holder", number, who)) for who in self.holder_ids}
        self.holders = {who: identity.public for who, identity in self.holder_identities.items()}
        pinned = frozenset(self.holders.values())
        self.policy = Policy(
            self.known, min_cohort=self.plan.min_cohort, protocols=frozenset({ENCRYPTED}), holders=pinned
        )
        self.holder_policy = HolderPolicy(pinned, self.known, min_cohort=self.plan.min_cohort)
        self.keys = keys_for_rounds(HOLDERS)

    @contextmanager
    def conditions(self) -> Iterator[None]:
        """Inside, what is shown to holders is as this company has it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(binding, "MOST_HALVES_BYTES", self.most_halves)
            yield

    def server(self) -> Server:
        return Server(self.plan, self.known, self.identity, holders=self.holders)

    def holder(self, who: PartyId, verifier: Verifier = VERIFIER) -> Holder:
        root, identity = self.holder_root(who), self.holder_identities[who]
        return Holder.from_root(root, who, self.holder_policy, identity, self.identity.public, verifier)

    def holder_root(self, who: PartyId) -> Seed:
        return seed_of("holder-root", self.number, who)

    def ceremony_root(self, who: PartyId, epoch: Epoch) -> Seed:
        """What all that this holder deals for this key is derived from."""
        return derive(self.holder_root(who), LABEL_ROOT, epoch.context, who.to_bytes(4, "little"))

    def maker(self) -> KeyMaker:
        return KeyMaker(self.holders, self.identity)

    def cohort(
        self,
        kind: Callable[[Callable[[], Any]], StandIn] = StandIn,
        maker: Callable[[Callable[[], Any]], StandIn] = StandIn,
    ) -> Cohort:
        """Stand-ins of one kind for everybody who is stored, which the maker of a key is not."""
        holders = {who: kind(lambda who=who: self.holder(who)) for who in self.holder_ids}
        committee = KeyCommittee(KeyMaking(maker(self.maker), self.keys), holders)
        return replace(super().cohort(kind), committee=committee)


@contextmanager
def bad_dealer(company: Company, who: PartyId) -> Iterator[None]:
    """Inside, this holder deals by a polynomial of too high a degree, true to its commitment."""
    honest = Dealing.of

    def of(root: Seed, epoch: Epoch, context: Context) -> Dealing:
        dealing = honest(root, epoch, context)
        if root != company.ceremony_root(who, epoch):
            return dealing
        keys = epoch.plan.keys
        rows = deal(np.full(N, 7, np.uint64), keys.threshold + 1, keys.holders, Stream(root))
        pieces = tuple(Dealt(SecretResidues(row), piece.mask) for row, piece in zip(rows, dealing.pieces, strict=True))
        return replace(dealing, pieces=pieces)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dealing, "of", of)
        yield
