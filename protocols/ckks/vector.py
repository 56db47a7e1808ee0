"""One client's integers as CKKS carries them: the coded update, and behind it its extras in small limbs.

    ring vector  --centre-->  signed integers, whose sums the coding bounds
    64-bit words --limbs-->   numbers of l bits, unsigned, with n 2^l below half of the sum's range: no limb wraps

Sums of limbs are put together again modulo 2^64, so weights and metrics mean what they mean elsewhere. In place of the
checksum, which whoever bends a sum could bend with it, travels a weighted sum that holders cannot compute.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from protocols.ckks import epoch as names
from protocols.ckks.epoch import Epoch
from protocols.coding import Coding, Exact, Extras, RingVector, coding_of
from protocols.errors import BadPlan, ImplausibleSum
from protocols.messages import Aggregate
from protocols.party import PartyId
from protocols.plan import Agreement
from protocols.submission import checked_sums, checksum_of
from secagg.ckks.plan import Bounded, CkksPlan, Keys, plan
from secagg.errors import BadParameters, NoParameters
from secagg.keys import Seed
from secagg.negacyclic import Integers
from secagg.prg import Stream

WORD_BITS = 64
# The place of the vector's checksum among the extras.
CHECKSUM = 1
# Words of keystream that are made at a time.
STEP = 1 << 15


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

    def integers(self, agreement: Agreement, vector: RingVector, words: RingVector) -> Integers:
        """What is encrypted.  Shapes: the coding's vector, the extras' words; int64 of the plan's dimension."""
        integers = np.concatenate([self.coding.ring.centre(vector), self._split(words).ravel()])
        limbs = self._limbs_in(integers)
        limbs[:, CHECKSUM] = 0
        limbs[:, CHECKSUM:][:, :1] = self._split(np.array([weighted_sum(agreement, integers)], np.uint64))
        return integers

    def sums(self, agreement: Agreement, opened: Integers) -> tuple[RingVector, RingVector]:
        """(the coding's sum modulo 2^b, the extras' sums modulo 2^64), whose weighted sum is theirs.

        Raises: ImplausibleSum.
        """
        covered = opened.copy()
        limbs = self._limbs_in(covered)
        words = self._joined(limbs)
        limbs[:, CHECKSUM] = 0
        if int(words[CHECKSUM]) != weighted_sum(agreement, covered):
            raise ImplausibleSum("the opened vector contradicts its checksum: discard it and open a new round")
        total = self.coding.ring.reduce(opened[: self.coding.length])
        words[CHECKSUM] = checksum_of(self.coding.ring, total)
        return total, words

    def _limbs_in(self, integers: Integers) -> Integers:
        """A row of limbs for each place, of one limb for each extra, where they stand."""
        return integers[self.coding.length :].reshape(-1, self.extras.length)

    def _split(self, words: RingVector) -> Integers:
        """The limbs of words, the lowest row first."""
        mask = np.uint64((1 << self.limb_bits) - 1)
        return np.array([(words >> np.uint64(shift)) & mask for shift in self._shifts()]).astype(np.int64)

    def _joined(self, limbs: Integers) -> RingVector:
        """The words, or sums of words modulo 2^64, that have these limbs, or sums of limbs."""
        words = np.zeros(self.extras.length, np.uint64)
        for row, shift in zip(limbs.view(np.uint64), self._shifts(), strict=True):
            words += row << np.uint64(shift)
        return words

    def _shifts(self) -> range:
        return range(0, WORD_BITS, self.limb_bits)


def aggregate_of(agreement: Agreement, keys: Keys, survivors: tuple[PartyId, ...], opened: Integers) -> Aggregate:
    """The sum of exactly these uploads, after the opened extras have confirmed it.  Raises: ImplausibleSum."""
    shape = Shape.of(agreement, keys)
    total, words = shape.sums(agreement, opened)
    weight_sum, metrics = checked_sums(agreement, shape.coding, shape.extras, len(survivors), total, words)
    return Aggregate(total, weight_sum, survivors, {}, metrics)


def weighted_sum(agreement: Agreement, integers: Integers) -> int:
    """sum_j r_j x_j modulo 2^64 over all that is encrypted but this sum itself, with r uniform from the round's nonce.

    Linear, so that weighted sums add up to that of the sum.
    Guarantee: whoever does not know the nonce, as a holder that no client or server helps, and shifts opened integers,
        each by less than 2^b, passes with probability at most 2^-(64 - b): its shift of this sum is a guess.
    Against: an answer bent by whole multiples of 2^g, which what is rounded away does not show.
    """
    stream = Stream(Seed(hashlib.sha256(names.LABEL_WEIGHTS + agreement.nonce).digest()))
    numbers, total = integers.view(np.uint64), 0
    for first in range(0, numbers.size, STEP):
        part = numbers[first : first + STEP]
        total += int(np.dot(stream.words(first, part.size), part))
    return total % (1 << WORD_BITS)


def _limbs(limb_bits: int) -> int:
    return -(-WORD_BITS // limb_bits)


def key_for(agreement: Agreement, keys: Keys, number: int, holders: tuple[bytes, ...]) -> Epoch:
    """The key, not yet made, of rounds such as this one, shared by holders of these identities.

    Raises: BadPlan when no ciphertext carries such a round, or there are more or fewer holders than `keys` says.
    """
    plan = agreement.plan
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise BadPlan(f"a key's number is {number!r}, it must be an integer in 0..2^64 - 1")
    return Epoch(plan.task, number, Shape.of(agreement, keys).plan, holders, plan.min_cohort)
