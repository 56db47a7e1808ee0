"""What one round writes into a privacy ledger, in the order that a crash cannot turn against anybody.

    entries = charging(ledger, server.agree(task), identities)

reserve   before an invitation leaves          BudgetExceeded, and nobody was asked anything
mark      before anybody is asked to open      from here on the sum may be known
commit    before the mean is handed out
lose      a round without a sum: given back before the mark, forfeited after it
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from dp.events import Event
from dp.ledger import Charge, Head, Ledger, Outcome, Reservation, Setting, Standing
from dp.noise import RngSource
from protocols.coding import Counted, Exact, Layered, Noisy, coding_of
from protocols.errors import BadPlan
from protocols.messages import Aggregate
from protocols.party import PartyId
from protocols.plan import NOTHING, Agreement, context_of

MECHANISM = "distributed-discrete-gaussian"
WHY_LOST = "the round did not end in a sum"
NOBODY: Mapping[bytes, bytes] = MappingProxyType({})


class Charging(Protocol):
    """One round's entries."""

    def mark(self) -> None: ...
    def commit(self, aggregate: Aggregate, countersignatures: Mapping[bytes, bytes] = NOBODY) -> None: ...
    def lose(self) -> None: ...


def by_number(clients: Iterable[PartyId]) -> dict[PartyId, bytes]:
    """Names for clients whose keys are made anew with every cohort: their numbers, as text."""
    return {who: b"%d" % who for who in clients}


class Uncharged:
    """A round that no ledger counts."""

    def mark(self) -> None:
        """Nothing is written."""

    def commit(self, aggregate: Aggregate, countersignatures: Mapping[bytes, bytes] = NOBODY) -> None:
        """Nothing is written."""

    def lose(self) -> None:
        """Nothing is written."""


class Charged:
    """A round whose worst case is reserved from construction on, for the clients it invites.

    `invited` gives each a name that is the same in all rounds, such as its identity key: the ledger knows it by that.

    Raises: BadPlan for a plan without noise; dp.errors.BudgetExceeded.
    """

    def __init__(self, ledger: Ledger, agreement: Agreement, invited: Mapping[PartyId, bytes], rng: RngSource) -> None:
        self._ledger, self._coding, self._rng, self._invited = ledger, _noisy(agreement), rng, invited
        self._head = Head(agreement.ledger_head.seq, agreement.ledger_head.hash, b"")
        self._marked = False
        self._reservation: Reservation = ledger.reserve(
            Charge(
                task=agreement.plan.task,
                round=agreement.round,
                dataset=agreement.plan.task,
                mechanism=MECHANISM,
                event=self._coding.worst_event(rng),
                cohort=len(invited),
                context=context_of(agreement),
                setting=setting_of(self._coding),
                members=tuple(invited.values()),
            )
        )

    def mark(self) -> None:
        """Written once, however often it is said."""
        if not self._marked:
            self._ledger.mark(self._reservation)
            self._marked = True

    def commit(self, aggregate: Aggregate, countersignatures: Mapping[bytes, bytes] = NOBODY) -> None:
        """What the round did reveal to a reader of its mean: the noise of all survivors but the assumed corrupt.

        `countersignatures` of the head that the round named (`Server.countersignatures`) are kept as evidence.
        """
        survivors = len(aggregate.survivors)
        outcome = Outcome(
            survivors=survivors,
            released=self._coding.event(survivors, self._rng),
            digest=hashlib.sha256(aggregate.total.tobytes()).digest(),
            variance=self._coding.noise_variance(survivors),
            named=tuple(self._invited[who] for who in aggregate.survivors),
        )
        self._ledger.commit(self._reservation, outcome)
        if countersignatures:
            self._ledger.witness_all(self._head, countersignatures)

    def lose(self) -> None:
        """Once somebody was asked to open the sum, the server may know it: then the charge stands."""
        give_back = self._ledger.forfeit if self._marked else self._ledger.abort
        give_back(self._reservation, WHY_LOST)


def charging(
    ledger: Ledger | None, agreement: Agreement, invited: Mapping[PartyId, bytes], rng: RngSource = "system"
) -> Charging:
    """The entries of a round about to open, its charge reserved.  Raises: as `Charged`."""
    return Uncharged() if ledger is None else Charged(ledger, agreement, invited, rng)


def setting_of(coding: Noisy | Layered | Counted) -> Setting:
    """How a round's noise is made, in the words of the ledger."""
    vector = coding.vector if isinstance(coding, Counted) else coding
    share = vector.share
    return Setting(
        lattice_step=share.gamma,
        clip=share.clip,
        modulus_bits=share.modulus_bits,
        min_survivors=share.min_survivors,
        colluders=share.colluders,
        layers=len(vector.layers.variances) if isinstance(vector, Layered) else 1,
    )


def charge_standing(ledger: Ledger, task: str, number: int, event: Event) -> Standing | None:
    """How the charge of this round stands; None where there never was one. Its event is no part of its name."""
    return ledger.standing(Charge(task, number, task, MECHANISM, event, cohort=1, context=NOTHING))


def _noisy(agreement: Agreement) -> Noisy | Layered | Counted:
    coding = coding_of(agreement)
    if isinstance(coding, Exact):
        raise BadPlan("a ledger accounts for noise and this plan has none: set noise_multiplier, or drop the ledger")
    return coding
