"""Rounds with a canary in them, as systems for an audit to attack: the ideal sum, and the real protocol.

    ideal    every client's own encoding, added by the trusted party          about a millisecond for each client
    real     `secure_mean`: endpoints, masks, signatures, the whole round      some tens of them

Client 0 is the canary: it sends C v with the presence IN and the zero vector with OUT. All others send zero vectors,
which is what a server knows at best. What is returned is what the server opens: the sum, noise included.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dp.accountant import Relation, Unit, View, account
from dp.audit import Presence
from dp.events import Exact
from protocols.coding import Floats, Noisy, Randomness, coding_of, planned_coding
from protocols.endpoint import Task
from protocols.errors import Misused
from protocols.ideal import Ideal
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import NOTHING, Agreement, RoundPlan, context_of
from protocols.round import secure_mean
from protocols.simulate import Cohort
from secagg.keys import Seed, derive

LABEL_CANARY = b"secagg/v1/canary/round"
LABEL_NONCE = b"secagg/v1/canary/nonce"

CANARY = PartyId(0)


@dataclass(frozen=True, slots=True)
class CanaryRounds:
    """Rounds of one plan, each of whose clients is invited and survives, over vectors of so many coordinates.

    Raises: Misused for a plan without noise, with a clip that adapts, or whose surplus noise must be removed.
    """

    plan: RoundPlan
    length: int

    def __post_init__(self) -> None:
        self._coding()

    @property
    def direction(self) -> Floats:
        """v: all coordinates alike, of length 1."""
        return np.full(self.length, self.length**-0.5)

    @property
    def clip(self) -> Fraction:
        """C."""
        return self.plan.clip

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the opened sum's noise over the clip, all clients' shares counted."""
        coding = self._coding()
        variance = float(coding.noise_variance(self.plan.max_clients))
        return float(coding.share.gamma) * math.sqrt(variance) / float(self.clip)

    def claim(self, delta: Exact) -> float:
        """What a ledger books for one of these rounds to whoever knows nobody's noise.

        Raises: Misused when that is no finite epsilon: there is no claim that could be refuted.
        """
        event = self._coding().share.event_released(self.plan.max_clients)
        claim = account([event], Unit(Relation.ZERO_OUT), View.AGGREGATOR, delta).upper
        if math.isinf(claim):
            raise Misused(f"noise of {self.noise_multiplier:.6g} clips promises no finite epsilon at delta {delta}")
        return claim

    def through_ideal(self, root: Seed | None = None) -> IdealRounds:
        """The rounds of the trusted party; with a root, noise anybody can repeat."""
        return IdealRounds(self, root)

    def through_protocol(self) -> RealRounds:
        """The rounds of the real protocol."""
        return RealRounds(self)

    def updates(self, presence: Presence) -> dict[PartyId, Floats]:
        """What the clients train."""
        silent = np.zeros(self.length)
        updates = {PartyId(who): silent for who in range(self.plan.max_clients)}
        if presence is Presence.IN:
            updates[CANARY] = float(self.clip) * self.direction
        return updates

    def agreement(self, root: Seed | None) -> Agreement:
        """What the parties of one such round agree on; with a root, the same in every process."""
        ids = range(self.plan.max_clients)
        if root is None:
            return Cohort.fresh(self.plan, ids).server.agree(Task(0, self.length))
        nonce = derive(root, LABEL_NONCE, NOTHING).expose()[:16]
        return Cohort.from_root(self.plan, ids, root).server.agree(Task(0, self.length, nonce=nonce))

    def _coding(self) -> Noisy:
        coding = planned_coding(self.plan, self.length)
        if not isinstance(coding, Noisy):
            raise Misused(
                "a canary audits noise that stays in the sum, at a fixed clip: give a plan with noise_multiplier, "
                "excess kept, and no adaptive clip"
            )
        return coding


class IdealRounds:
    """Each call plays one round: all clients encode, the trusted party adds, the server decodes."""

    def __init__(self, rounds: CanaryRounds, root: Seed | None) -> None:
        self._rounds, self._agreement, self._root = rounds, rounds.agreement(root), root
        self._coding, self._context = coding_of(self._agreement), context_of(self._agreement)
        self._counter = itertools.count()

    def __call__(self, presence: Presence) -> Floats:
        number, ideal = next(self._counter), Ideal(self._agreement)
        for who, update in self._rounds.updates(presence).items():
            randomness = Randomness(self._seed(number, who), self._context, self._root is not None)
            ideal.add(who, Submit(self._coding.encode(update, 1, randomness).vector))
        return self._coding.decode(ideal.aggregate().total, 1, self._context)

    def _seed(self, number: int, who: PartyId) -> Seed:
        if self._root is None:
            return Seed.fresh()
        return derive(self._root, LABEL_CANARY, NOTHING, number.to_bytes(8, "little") + who.to_bytes(4, "little"))


class RealRounds:
    """Each call plays one round of the real protocol, on rounds numbered upwards."""

    def __init__(self, rounds: CanaryRounds) -> None:
        self._rounds, self._counter = rounds, itertools.count()

    def __call__(self, presence: Presence) -> Floats:
        updates: dict[int, list[Floats]] = {who: [update] for who, update in self._rounds.updates(presence).items()}
        report = secure_mean(updates, self._rounds.plan, round=next(self._counter))
        [mean] = report.mean
        return np.asarray(mean, dtype=np.float64) * len(report.survivors)
