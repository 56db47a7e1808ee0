"""A secure sum where no messages are: one round's clients and its server in the arithmetic of somebody else's sum.

    update, weight --encode, noise share--> residues mod 2^b | weight, 1, check --> int64 words
    sum of words --check, reduce--> what `protocols.ideal` opens for the same submissions

Simulators of federated learning add up vectors and know neither rosters nor rounds. What they are given here adds
up to the very sum a real round opens, for studies of utility and cost; it hides nothing from the process it runs in.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from protocols.ckks import epoch as ckks
from protocols.coding import Floats, Randomness, coding_of
from protocols.endpoint.client import LABEL_ROOT
from protocols.endpoint.reader import OpenedSum
from protocols.errors import BadPlan, PolicyConflict, TooFewClients, WrongUpdate
from protocols.heads import NO_LEDGER
from protocols.messages import Aggregate
from protocols.oneshot import epoch as oneshot
from protocols.pairwise import session as pairwise
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, NOTHING, ONE_SHOT, PAIRWISE, Agreement, Excess, RoundPlan, context_of
from protocols.tensors import Layout
from secagg.keys import Seed, derive
from secagg.workers import ALONE

Words = np.ndarray[Any, np.dtype[np.int64]]
Draw = Callable[[Agreement, PartyId], Randomness]

# Behind the vector: the weight, a one for the client, and the check.
TAIL = 3
CHECK = 1 << 32
LARGEST_SUM = 1 << 63
UPDATE_LABELS: Mapping[str, bytes] = MappingProxyType(
    {PAIRWISE: pairwise.LABEL_UPDATE, ONE_SHOT: oneshot.LABEL_UPDATE, ENCRYPTED: ckks.LABEL_UPDATE}
)


def fresh(agreement: Agreement, who: PartyId) -> Randomness:
    """A client's rounding and noise, from the operating system."""
    return Randomness(Seed.fresh(), context_of(agreement), deterministic=False)


def from_root(root: Seed) -> Draw:
    """INSECURE outside tests: the rounding and noise that `Client.from_root` takes from this root."""

    def draw(agreement: Agreement, who: PartyId) -> Randomness:
        context = context_of(agreement)
        own = derive(root, LABEL_ROOT, context, who.to_bytes(4, "little"))
        return Randomness(derive(own, UPDATE_LABELS[agreement.plan.protocol], context), context, deterministic=True)

    return draw


def require_emulated(plan: RoundPlan) -> None:
    """Raises: BadPlan for what a plain sum of integers cannot stand in for."""
    if plan.metrics:
        raise BadPlan("a simulator adds up metrics by itself: leave the plan's metrics out")
    if plan.noise is not None and plan.noise.excess is Excess.REMOVED:
        raise BadPlan("removable noise is taken back by messages, and here are none: Excess.KEPT")


class Emulation:
    """One round: what each client adds, and what the sum says. Clients are numbered as they come.

    Guarantee: for equal randomness `opened` equals `ideal.aggregate` of the submissions bit for bit; no words that
        somebody has scaled, clipped, noised or thinned out are taken for a sum, but with probability 2^-32.
    Raises: BadPlan where max_clients residues of b bits could exceed 2^63, as in `require_emulated`.
    """

    def __init__(self, plan: RoundPlan, round: int, layout: Layout, draw: Draw = fresh) -> None:
        require_emulated(plan)
        self.layout = layout
        # Every client draws anew in each round: the attempt needs no nonce to differ by.
        self.agreement = Agreement(plan, round, bytes(16), layout.length, layout.digest(), NOTHING, NO_LEDGER)
        self.coding = coding_of(self.agreement)
        self._draw = draw
        self._come = 0
        if plan.max_clients << self.coding.ring.bits > LARGEST_SUM:
            raise BadPlan(
                f"{plan.max_clients} clients of {self.coding.ring.bits} bits each exceed the 2^63 of an int64 sum: "
                "lower bits, max_weight or max_clients"
            )

    def words(self, update: Floats, weight: float) -> Words:
        """What the next client adds: d residues mod 2^b, its weight, a one, and the residues' sum mod 2^32.

        Raises: BadPlan for more clients than planned; WrongUpdate for a weight that the plan does not allow;
            NonFinite.
        """
        plan, ring = self.agreement.plan, self.coding.ring
        if self._come == plan.max_clients:
            raise BadPlan(f"the cohort is larger than the plan's max_clients, {plan.max_clients}: plan for it")
        counted = _counted(weight, plan.max_weight)
        randomness = self._draw(self.agreement, PartyId(self._come))
        encoded = self.coding.encode(update, counted, randomness, ALONE)
        self._come += 1
        words = np.empty(self.coding.length + TAIL, np.int64)
        ring.reduce_in_place(encoded.vector)
        words[:-TAIL] = encoded.vector
        words[-TAIL:] = counted, 1, _check(words)
        return words

    def opened(self, total: Words) -> OpenedSum:
        """The sum of the words of some clients, as a round would open it.

        Raises: PolicyConflict when these are not the words of clients, added up; TooFewClients.
        """
        plan, ring = self.agreement.plan, self.coding.ring
        if total.dtype != np.int64 or total.shape != (self.coding.length + TAIL,):
            raise PolicyConflict(
                f"expected {self.coding.length + TAIL} added int64, got {total.dtype}{total.shape}: somebody changed "
                "them after they were encoded; nothing may come between the encoding and its sum"
            )
        weight, count, check = (int(word) for word in total[-TAIL:])
        if not 1 <= count <= self._come or (check - _check(total)) % CHECK:
            raise PolicyConflict(
                "these words contradict their check: somebody changed them after they were encoded; nothing may come "
                "between the encoding and its sum"
            )
        if count < plan.min_cohort:
            raise TooFewClients(count, plan.min_cohort, "Summing")
        survivors = tuple(PartyId(who) for who in range(count))
        return OpenedSum(self.agreement, Aggregate(ring.reduce(total[:-TAIL]), weight, survivors, {}))

    def sum_of(self, opened: OpenedSum) -> Floats:
        """The weighted sum of the clipped updates, noise included, as float64."""
        found = opened.aggregate
        return self.coding.decode(found.total, 1, context_of(self.agreement), ())


def _counted(weight: float, most: int) -> int:
    """Raises: WrongUpdate for a weight that is no integer of 1..most."""
    whole = int(weight) if float(weight).is_integer() else 0
    if not 1 <= whole <= most:
        raise WrongUpdate(
            f"weight is {weight}, this plan takes integers in 1..{most}: raise max_weight, or weight less"
        )
    return operator.index(whole)


def _check(words: Words) -> int:
    return int(words[:-TAIL].sum(dtype=np.int64)) % CHECK
