"""One client's ring elements as one-shot masks carry them: the coded vector, and behind it its extras in small limbs.

vector           elements of Z_{2^b}, as the coding made them
64-bit words     limbs of k bits with n 2^k < 2^(b-1): no sum of limbs leaves half of the ring; joined modulo 2^64
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.coding import Coding, Extras, RingVector, coding_of
from protocols.errors import BadPlan
from protocols.plan import Agreement
from secagg.errors import BadParameters, NoParameters
from secagg.rlwe import KahePlan

WORD_BITS = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """What a vector of this agreement looks like, and the mask that hides it."""

    coding: Coding
    extras: Extras
    limb_bits: int
    mask: KahePlan

    @classmethod
    def of(cls, agreement: Agreement) -> Shape:
        """Derived by every party for itself.  Raises: BadPlan naming what to lower."""
        coding, extras, clients = coding_of(agreement), Extras.of(agreement.plan), agreement.plan.max_clients
        limb_bits = coding.ring.bits - 1 - clients.bit_length()
        if limb_bits < 1:
            raise BadPlan(
                f"sums of {coding.ring.bits} bits have no room for the weights of {clients} clients: take more bits"
            )
        length = coding.length + extras.length * -(-WORD_BITS // limb_bits)
        try:
            return cls(coding, extras, limb_bits, KahePlan(coding.ring.bits, clients, length))
        except (NoParameters, BadParameters) as error:
            raise BadPlan(str(error)) from error

    def elements(self, vector: RingVector, words: RingVector) -> RingVector:
        """What is masked.  Shapes: the coding's vector, the extras' words; the mask's `length` of ring elements."""
        mask = np.uint64((1 << self.limb_bits) - 1)
        limbs = [(words >> np.uint64(shift)) & mask for shift in self._shifts()]
        return np.concatenate([vector, *(each.astype(vector.dtype) for each in limbs)])

    def sums(self, opened: RingVector) -> tuple[RingVector, RingVector]:
        """(the coding's sum modulo 2^b, the extras' sums modulo 2^64); the former is a view of what was opened."""
        words = np.zeros(self.extras.length, np.uint64)
        limbs = opened[self.coding.length :].reshape(-1, self.extras.length).astype(np.uint64)
        for row, shift in zip(limbs, self._shifts(), strict=True):
            words += row << np.uint64(shift)
        return opened[: self.coding.length], words

    def _shifts(self) -> range:
        return range(0, WORD_BITS, self.limb_bits)
