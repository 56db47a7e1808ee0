"""Rounds as a run calls them: `aggregate(updates, number)` gives the mean, or raises why there is none.

    SecureRounds(plan, clients, ledger=, folder=)    real endpoints, masks or encryption, the ledger charged
    IdealRounds(plan)                                the ideal functionality: the same integers, no cryptography
    plain_mean                                       the mean everybody could read (`loop`)

A killed run. The mean is written into the folder after it was opened and before the ledger says COMMIT:

    died before RESERVE                  the number is free: the round is run
    died between RESERVE and the file    charged, and its mean is nowhere: RoundInterrupted, go on with the next number
    died after the file                  charged, and the mean is handed out without another round
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from dp.events import Event
from dp.ledger import Ledger, Standing
from protocols.charging import charge_standing
from protocols.coding import Exact, Randomness, planned_coding
from protocols.errors import BadPlan, Misused, RoundLost, WrongUpdate
from protocols.heads import NO_LEDGER
from protocols.ideal import Ideal
from protocols.learning.cohorts import check_apart
from protocols.learning.folders import RunFolder
from protocols.learning.loop import Aggregated
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import NOTHING, Agreement, RoundPlan, context_of
from protocols.private import CohortIncomplete
from protocols.round import RoundReport, client_numbers, secure_mean
from protocols.simulate import Cohort, FaultPlan
from protocols.tensors import Layout
from protocols.verifying import shared_memory
from secagg.keys import Seed, derive

LABEL_IDEAL = b"secagg/v1/learning/ideal"
OPENED, COHORTS = "opened", "cohorts"
SPENT = (Standing.COMMITTED, Standing.SETTLED)

Faults = Callable[[tuple[PartyId, ...], int], FaultPlan]


class RoundInterrupted(RoundLost):
    """The process of this round died after it was charged and before its mean was kept: go on with the next number."""


class TooManyClients(RoundLost):
    """A drawn cohort is larger than the plan's rounds: nothing was sent, another is drawn under the next number."""


def no_faults(clients: tuple[PartyId, ...], number: int) -> FaultPlan:
    """Everybody stays."""
    return FaultPlan()


class SecureRounds:
    """Every round a secure one, of the same plan and endpoints; what the latest one reported is in `report`.

    `layout` is the model's where it keeps or ties arrays; `weights` are the clients' integers, 1 where None; `faults`
    says who vanishes in which round. Where the plan's clip adapts, each round takes the clip of the one before.
    Guarantee: that of the plan. No number is charged twice, and none is run again once its sum may have been seen.
        Without noise no two cohorts may differ in fewer than `min_cohort` clients; `folder` remembers them.
    """

    def __init__(
        self,
        plan: RoundPlan,
        clients: Iterable[int],
        *,
        ledger: Ledger | None = None,
        folder: RunFolder | None = None,
        layout: Layout | None = None,
        weights: Mapping[int, int] | None = None,
        faults: Faults = no_faults,
    ) -> None:
        self.plan, self.ledger, self.layout = plan, ledger, layout
        # One alone: a report holds a mean, which is as long as the model.
        self.report: RoundReport | None = None
        self._folder, self._weights, self._faults = folder, weights, faults
        self._endpoints = Cohort.fresh(plan, clients, shared_memory())
        self._cohorts = _known_cohorts(folder)
        self._clip = self._known_clip()

    def event(self, length: int) -> Event:
        """What a round charges at most, for vectors of this length.

        Raises: BadPlan for a plan without noise.
        """
        coding = planned_coding(self.plan, length)
        if isinstance(coding, Exact):
            raise BadPlan("this plan has no noise, so no round charges anything: set noise_multiplier")
        return coding.worst_event(self._endpoints.rng)

    def __call__(self, updates: Mapping[int, Any], number: int) -> Aggregated:
        """The mean of the survivors' updates.

        Raises: CohortIncomplete when fewer came than the smallest sum needs, TooManyClients, RoundInterrupted,
            CohortsTooClose, each before anything is sent; what `secure_mean` raises.
        """
        clients = client_numbers(updates) if updates else ()
        if len(clients) < self.plan.min_cohort:
            raise CohortIncomplete(len(clients), self.plan.min_cohort)
        layout = self.layout or Layout.of_update(updates[clients[0]])
        return self.recovered(number, layout) or self._run(updates, clients, number, layout)

    def recovered(self, number: int, layout: Layout) -> Aggregated | None:
        """The mean of this number where a dead process opened it and nobody has used it; None where it is free.

        Raises: RoundInterrupted where it was charged and there is no mean; Misused where the ledger does not know it.
        """
        found = None if self._folder is None else self._folder.load(OPENED)
        standing = None
        if self.ledger is not None:
            standing = charge_standing(self.ledger, self.plan.task, number, self.event(layout.length))
        if found is not None and (found[0]["task"], found[0]["number"]) == (self.plan.task, number):
            if standing is Standing.RESERVED:
                raise Misused(
                    f"the mean of round {number} was opened and its charge could not be written to its end: close "
                    "folder and ledger and open them again, which settles it"
                )
            if self.ledger is not None and standing not in SPENT:
                raise Misused(
                    f"the mean of round {number} was opened and this ledger holds no charge of it: resume with the "
                    "ledger that the run had"
                )
            return Aggregated(layout.unflatten(found[1]["mean"]), tuple(found[0]["survivors"]))
        if standing in SPENT:
            raise RoundInterrupted(
                f"round {number} was charged, and its mean is nowhere: its process died with it, or another run of "
                f"this ledger has the task name {self.plan.task!r}; it stays charged"
            )
        return None

    def _run(self, updates: Mapping[int, Any], clients: tuple[PartyId, ...], number: int, layout: Layout) -> Aggregated:
        if len(clients) > self.plan.max_clients:
            raise TooManyClients(
                f"{len(clients)} clients are more than the plan's {self.plan.max_clients}; nothing was sent"
            )
        self._remember(clients)

        def keep(mean: Any, survivors: tuple[PartyId, ...], next_clip: Fraction) -> None:
            if self._folder is not None:
                about = {
                    "task": self.plan.task,
                    "number": number,
                    "survivors": survivors,
                    "next_clip": str(next_clip),
                }
                self._folder.save(OPENED, about, {"mean": layout.flatten(mean)})

        report = secure_mean(
            updates,
            self.plan,
            round=number,
            ledger=self.ledger,
            weights=self._weights_of(clients),
            clip=self._clip,
            faults=self._faults(clients, number),
            cohort=self._endpoints,
            layout=layout,
            before_commit=keep,
        )
        self._clip = None if self.plan.rule is None else report.next_clip
        self.report = report
        return Aggregated(report.mean, report.survivors)

    def _known_clip(self) -> Fraction | None:
        """What the latest opened round gave for the next one, also that of a process that died; None where none did."""
        found = None if self._folder is None or self.plan.rule is None else self._folder.load(OPENED)
        if found is None or found[0]["task"] != self.plan.task:
            return None
        return Fraction(found[0]["next_clip"])

    def _weights_of(self, clients: tuple[PartyId, ...]) -> dict[int, int] | None:
        """Those that are given; `secure_mean` names who has none."""
        given = self._weights
        return None if given is None else {who: given[who] for who in clients if who in given}

    def _remember(self, clients: tuple[PartyId, ...]) -> None:
        if self.plan.noise is not None or frozenset(clients) in self._cohorts:
            return
        check_apart(clients, self._cohorts, self.plan.min_cohort)
        known = self._cohorts | {frozenset(clients)}
        # Written down first: a cohort that is only remembered here would be asked again and forgotten at death.
        if self._folder is not None:
            self._folder.save(COHORTS, {"cohorts": [sorted(cohort) for cohort in known]}, {})
        self._cohorts = known


class IdealRounds:
    """The same integers, clipped, rounded, noised and added by a trusted party: utility without the cost.

    The contract tests say that no protocol differs from it in a bit. `seed` makes its rounding and noise repeatable.
    `weights` are the clients' integers, 1 where None.
    """

    def __init__(self, plan: RoundPlan, seed: int | None = None, *, weights: Mapping[int, int] | None = None) -> None:
        if seed is not None and not 0 <= seed < 1 << 256:
            raise Misused(f"seed is {seed}, it must lie in 0..2^256 - 1")
        if plan.links:
            raise BadPlan("excess noise is removed by what neighbours hold: the ideal round has none (Excess.KEPT)")
        self.plan, self.deterministic, self._weights = plan, seed is not None, weights
        self._root = Seed.fresh() if seed is None else Seed(seed.to_bytes(32, "little"))

    def __call__(self, updates: Mapping[int, Any], number: int) -> Aggregated:
        """The mean of all of them.

        Raises: TooFewClients for fewer than the plan's smallest sum; WrongUpdate for a client without a weight; as the
            encoder for an update that does not fit.
        """
        clients = client_numbers(updates)
        layout = Layout.of_update(updates[clients[0]])
        coding = planned_coding(self.plan, layout.length)
        agreement = Agreement(self.plan, number, bytes(16), layout.length, layout.digest(), NOTHING, NO_LEDGER)
        context, ideal = context_of(agreement), Ideal(agreement)
        for who in clients:
            if self._weights is not None and who not in self._weights:
                raise WrongUpdate(f"weights are given for {sorted(self._weights)}, and client {who} has none")
            seed = derive(self._root, LABEL_IDEAL, context, who.to_bytes(4, "little"))
            randomness = Randomness(seed, context, self.deterministic)
            weight = 1 if self._weights is None else self._weights[who]
            encoded = coding.encode(layout.flatten(updates[who]), weight, randomness)
            ideal.add(who, Submit(encoded.vector, weight, NOTHING))
        found = ideal.aggregate()
        mean = coding.decode(found.total, found.weight_sum, context)
        return Aggregated(layout.unflatten(np.asarray(mean)), found.survivors)


def _known_cohorts(folder: RunFolder | None) -> set[frozenset[int]]:
    found = None if folder is None else folder.load(COHORTS)
    return set() if found is None else {frozenset(cohort) for cohort in found[0]["cohorts"]}
