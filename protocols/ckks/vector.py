"""One client's integers as CKKS carries them: the coded update, and behind it its extras in small limbs.

    ring vector  --centre-->  signed integers, whose sums the coding bounds
    64-bit words --limbs-->   numbers of l bits, unsigned, with n 2^l below half of the sum's range: no limb wraps

Sums of limbs are put together again modulo 2^64, so weights, checksum and metrics mean what they mean elsewhere; on the
way the checksum covers the other extras as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.ckks.epoch import Epoch
from protocols.coding import Coding, Exact, Extras, RingVector, coding_of
from protocols.errors import BadPlan
from protocols.messages import Aggregate
from protocols.party import PartyId
from protocols.plan import Agreement
from protocols.submission import checked_sums
from secagg.ckks.plan import Bounded, CkksPlan, Keys, plan
from secagg.errors import BadParameters, NoParameters
from secagg.negacyclic import Integers

WORD_BITS = 64
# The place of the vector's checksum among the extras.
CHECKSUM = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """What a vector of this agreement looks like, and the plan that carries it."""

    coding: Coding
    extras: Extras
    limb_bits: int
    plan: CkksPlan

    @classmethod
    def of(cls, agreement: Agreement, keys: Keys) -> Shape:
        """Derived by every party for itself.  Raises: BadPlan naming what to lower."""
        coding, extras, clients = coding_of(agreement), Extras.of(agreement.plan), agreement.plan.max_clients
        bits = coding.ring.bits
        # Noise has tails: that the sum fits the ring is then the coding's promise, and a sum that does not is seen.
        bounded = Bounded.EACH if isinstance(coding, Exact) else Bounded.TOGETHER
        limb_bits = bits - 1 - clients.bit_length()
        if limb_bits < 1:
            raise BadPlan(f"sums of {bits} bits have no room for the weights of {clients} clients: take more bits")
        dimension = coding.length + extras.length * _limbs(limb_bits)
        try:
            return cls(coding, extras, limb_bits, plan(clients, bits, dimension, keys, bounded))
        except (NoParameters, BadParameters) as error:
            raise BadPlan(str(error)) from error

    def integers(self, vector: RingVector, words: RingVector) -> Integers:
        """What is encrypted.  Shapes: the coding's vector, the extras' words; int64 of the plan's dimension."""
        mask = np.uint64((1 << self.limb_bits) - 1)
        tied = _tied(words)
        limbs = [(tied >> np.uint64(shift)) & mask for shift in self._shifts()]
        return np.concatenate([self.coding.ring.centre(vector), *(limb.astype(np.int64) for limb in limbs)])

    def sums(self, opened: Integers) -> tuple[RingVector, RingVector]:
        """(the coding's sum modulo 2^b, the extras' sums modulo 2^64)."""
        length, size = self.coding.length, self.extras.length
        limbs = opened[length:].reshape(-1, size).view(np.uint64)
        words = np.zeros(size, np.uint64)
        for limb, shift in zip(limbs, self._shifts(), strict=True):
            words += limb << np.uint64(shift)
        return self.coding.ring.reduce(opened[:length]), _untied(words)

    def _shifts(self) -> range:
        return range(0, WORD_BITS, self.limb_bits)


def aggregate_of(agreement: Agreement, keys: Keys, survivors: tuple[PartyId, ...], opened: Integers) -> Aggregate:
    """The sum of exactly these uploads, after the opened extras have confirmed it.  Raises: ImplausibleSum."""
    shape = Shape.of(agreement, keys)
    total, words = shape.sums(opened)
    weight_sum, metrics = checked_sums(agreement, shape.coding, shape.extras, len(survivors), total, words)
    return Aggregate(total, weight_sum, survivors, {}, metrics)


def _tied(words: RingVector) -> RingVector:
    """The checksum plus all other extras, modulo 2^64.

    Against: an answer that is bent by a whole multiple of 2^g where a weight or a metric is opened. What was rounded
    away does not show it, and masks would have covered it together with the vector; here the checksum must.
    """
    tied = words.copy()
    tied[CHECKSUM:][:1] += np.delete(words, CHECKSUM).sum(keepdims=True)
    return tied


def _untied(words: RingVector) -> RingVector:
    """What `_tied` was given; tying is linear, so sums are taken apart too."""
    untied = words.copy()
    untied[CHECKSUM:][:1] -= np.delete(words, CHECKSUM).sum(keepdims=True)
    return untied


def _limbs(limb_bits: int) -> int:
    return -(-WORD_BITS // limb_bits)


def key_for(agreement: Agreement, keys: Keys, number: int, holders: tuple[bytes, ...]) -> Epoch:
    """The key, not yet made, of rounds such as this one, shared by holders of these identities.

    Raises: BadPlan when no ciphertext carries such a round, or there are more or fewer holders than `keys` says.
    """
    return Epoch(agreement.plan.task, number, Shape.of(agreement, keys).plan, holders)
