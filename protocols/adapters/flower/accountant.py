"""Flower's own privacy accountant interface in front of a ledger, for those who stay with its central noise.

would_exceed(event)    reserves; True where the ledger refuses
noise is added         by Flower, from a float generator: no accountant can vouch for its lowest bits
compose(event)         commits what was reserved, before the model is handed on
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flwr.serverapp import GaussianPrivacyEvent, NeighboringRelation, PrivacyConfig, PrivacySpent, SamplingMethod

from dp.accountant import Relation, Unit, View, account
from dp.errors import BadParameters, BudgetExceeded, RolledBack
from dp.events import Composed, Event, GaussianEvent, Repeated, without_sampling
from dp.ledger import Charge, Outcome, Reservation, Standing
from dp.pld import PldAccountant
from protocols.plan import NOTHING

if TYPE_CHECKING:
    from dp.ledger import Ledger

METHOD = "pld"
MECHANISM = "flower-central-gaussian"
STATE_VERSION = 1
# Flower allows one way of sampling with each relation. The server knows the cohorts, so none amplifies here.
MODELS = {
    Relation.ADD_REMOVE: (NeighboringRelation.ADD_OR_REMOVE_ONE, SamplingMethod.NO_AMPLIFICATION),
    Relation.REPLACE_ONE: (NeighboringRelation.REPLACE_ONE, SamplingMethod.WITHOUT_REPLACEMENT),
}


class FlowerAccountant:
    """`flwr.serverapp.PrivacyAccountant` over a durable ledger, whose budget is the limit.

    Every figure is the upper end of the aggregator's view; under replace-one the sensitivity counts twice. What was
    reserved and not composed counts as spent, so a crash wastes budget and reveals nothing that was not charged.
    Raises: BadParameters for a ledger of another relation than Flower knows, or an event of another population;
        dp.errors.BudgetExceeded from `compose` where nothing was reserved and nothing is left.
    """

    def __init__(self, ledger: Ledger, population_size: int, *, task: str = "flower") -> None:
        budget = ledger.terms.budget
        if budget.relation not in MODELS:
            raise BadParameters(f"Flower knows add-or-remove-one and replace-one, not the ledger's {budget.relation}")
        relation, sampling = MODELS[budget.relation]
        self._ledger, self._task, self._unit = ledger, task, Unit(budget.relation)
        self._config = PrivacyConfig(
            target_delta=float(budget.delta),
            population_size=population_size,
            neighboring_relation=relation,
            sampling_method=sampling,
            max_epsilon=float(budget.epsilon),
        )
        self._pending: Reservation | None = None

    @property
    def config(self) -> PrivacyConfig:
        """The ledger's budget in Flower's words."""
        return self._config

    @property
    def num_releases(self) -> int:
        """How many releases were composed, in this run or an earlier one of the task."""
        charges = self._ledger.charges()
        done = [c for c, standing in charges if c.task == self._task and standing is Standing.COMMITTED]
        return sum(_times(charge.event) for charge in done)

    def compose(self, event: GaussianPrivacyEvent, count: int = 1) -> None:
        """Commit so many releases: those that were reserved, or, where none were, reserved now."""
        reservation = self._reserve(event, count)
        self._pending = None
        self._ledger.mark(reservation)
        # The noisy model is not shown to an accountant: there is nothing to take a digest of.
        self._ledger.commit(reservation, Outcome(event.sample_size, reservation.charge.event, NOTHING))

    def would_exceed(self, event: GaussianPrivacyEvent, max_epsilon: float | None = None, count: int = 1) -> bool:
        """Whether these releases do not fit; where they do, they are reserved."""
        if max_epsilon is not None and self._epsilon([self._event_of(event, count)]) > max_epsilon:
            return True
        try:
            self._reserve(event, count)
        except BudgetExceeded:
            return True
        return False

    def get_epsilon(self, delta: float) -> float:
        """Of everything charged, at this delta."""
        return self._epsilon([], delta)

    def get_delta(self, epsilon: float) -> float:
        """Of everything charged, at this epsilon."""
        accountant = PldAccountant(self._unit)
        spent = self._spent()
        if not spent:
            return 0.0
        accountant.compose(without_sampling(Composed(tuple(spent))))
        return accountant.delta(epsilon)

    def get_privacy_spent(self, delta: float | None = None) -> PrivacySpent:
        """Epsilon and delta of everything charged."""
        at = self._config.target_delta if delta is None else delta
        return PrivacySpent(self.get_epsilon(at), at, self.num_releases, METHOD)

    def state_dict(self) -> dict[str, object]:
        """Where the ledger stands; the ledger itself is the state."""
        head = self._ledger.head()
        return {"version": STATE_VERSION, "backend": "ledger", "entry": head.seq, "hash": head.hash.hex()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Hold this ledger against the one the state was taken of; it may have gone on since.

        Raises: BadParameters for another accountant's state; RolledBack where the ledger lacks that entry.
        """
        if (state.get("version"), state.get("backend")) != (STATE_VERSION, "ledger"):
            raise BadParameters("this is not the state of an accountant with a ledger")
        at, known = state.get("entry"), str(state.get("hash"))
        found = [entry.head.hash.hex() for entry in self._ledger.entries() if entry.seq == at]
        if not any(hmac.compare_digest(each.encode(), known.encode()) for each in found):
            raise RolledBack(f"the ledger has no entry {at} of hash {known[:16]}...: it is older, or another one")

    def _reserve(self, event: GaussianPrivacyEvent, count: int) -> Reservation:
        """The reservation for this release, which stays until it is composed."""
        wanted = self._event_of(event, count)
        pending = self._pending
        if pending is not None and (pending.charge.event, pending.charge.cohort) != (wanted, event.sample_size):
            self._ledger.abort(pending, "another release was asked for, and none of this")
            self._pending = pending = None
        if pending is None:
            rounds = [charge.round for charge, _ in self._ledger.charges() if charge.task == self._task]
            charge = Charge(
                task=self._task,
                round=max(rounds, default=0) + 1,
                dataset=self._task,
                mechanism=MECHANISM,
                event=wanted,
                cohort=event.sample_size,
                context=NOTHING,
            )
            self._pending = pending = self._ledger.reserve(charge)
        return pending

    def _event_of(self, event: GaussianPrivacyEvent, count: int) -> Event:
        if event.population_size != self._config.population_size:
            raise BadParameters(
                f"the event is of {event.population_size} clients, the accountant of {self._config.population_size}"
            )
        release = GaussianEvent.for_multiplier(event.noise_multiplier)
        return release if count == 1 else Repeated(release, count)

    def _spent(self) -> list[Event]:
        return [charge.event for charge, standing in self._ledger.charges() if standing is not Standing.ABORTED]

    def _epsilon(self, further: list[Event], delta: float | None = None) -> float:
        events = self._spent() + further
        at: Any = self._config.target_delta if delta is None else delta
        return account(events, self._unit, View.AGGREGATOR, at).upper if events else 0.0


def _times(event: Event) -> int:
    return event.times if isinstance(event, Repeated) else 1
