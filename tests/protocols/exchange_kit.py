"""Sites in folders of their own, and a framework that carries one answer to each question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protocols.errors import Misbehaved
from protocols.exchanges import Exchanges
from protocols.home import Home, make_homes
from protocols.party import PartyId
from protocols.plan import RoundPlan
from protocols.sites import Site

LENGTH = 40


@dataclass
class Framework:
    """Carries bundles between an `Exchanges` and its sites.

    Who is in `lost` answers nothing from the exchange of that number on, the training one included. `bends` changes an
    answer on its way.
    """

    exchanges: Exchanges
    sites: Mapping[PartyId, Site]
    lost: Mapping[PartyId, int] = field(default_factory=dict)
    bends: Callable[[PartyId, bytes], bytes] = lambda who, answer: answer
    refusals: dict[PartyId, str] = field(default_factory=dict)

    @classmethod
    def made(
        cls, folder: Path, plan: RoundPlan, clients: int, ledger: Any = None, openers: int | None = None
    ) -> Framework:
        roster = make_homes(folder, clients, plan.protocol, openers)
        server = Home.at(folder / "server")
        policy = roster.policy(min_cohort=plan.min_cohort, protocols=frozenset({plan.protocol}))
        sites = [Home.at(folder / f"site-{site}").site(policy) for site in range(clients)]
        here = {who: site for site in sites for who in site.numbers}
        return cls(Exchanges(plan, roster, server.identity, ledger), here)

    @property
    def clients(self) -> tuple[PartyId, ...]:
        return tuple(sorted(self.exchanges.roster.clients))

    def is_lost(self, who: PartyId) -> bool:
        return self.exchanges.exchanges >= self.lost.get(who, 1 << 30)

    def ask(self, letters: Mapping[PartyId, bytes], seconds: float) -> dict[PartyId, bytes]:
        assert seconds > 0
        answers = {}
        for who, bundle in letters.items():
            if not self.is_lost(who):
                try:
                    answers[who] = self.bends(who, self.sites[who].hear(bundle))
                except Misbehaved as error:
                    self.refusals[who] = type(error).__name__
        return answers

    def round(self, update: Callable[[PartyId], Any], weights: Mapping[PartyId, int] | None = None) -> Any:
        """Invitations, training, the sum."""
        letters = self.exchanges.begin(LENGTH, bytes(32), bytes(32), self.clients, self.ask)
        answers = {}
        for who, bundle in letters.items():
            # The training message is the next exchange.
            if self.exchanges.exchanges + 1 >= self.lost.get(who, 1 << 30):
                continue
            try:
                assert self.sites[who].hear(bundle) == bytes(4)
                assert self.sites[who].needs_update
                answer = self.sites[who].submit(update(who), weight=1 if weights is None else weights[who])
            except Misbehaved as error:
                self.refusals[who] = type(error).__name__
            else:
                answers[who] = self.bends(who, answer)
        return self.exchanges.finish(answers, self.ask)


def update_of(who: PartyId) -> Any:
    return np.linspace(-0.01, 0.01, LENGTH) * (who + 1)
