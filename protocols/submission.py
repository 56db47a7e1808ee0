"""What every protocol asks of an update before it is hidden, and of a sum once it is opened.

Submit  -> words        weight, checksum and weighted metrics, to be summed beside the vector under the same cover
sum     -> plausible?   the checksum must agree, the weights must be possible
"""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.coding import EXTRAS_RING, Coding, Extras, RingVector
from protocols.errors import ImplausibleSum, ViewMismatch, WrongUpdate
from protocols.messages import Submit
from protocols.party import SERVER
from protocols.plan import NOTHING, Agreement
from secagg.ring import Ring


def checksum_of(ring: Ring, vector: np.ndarray[Any, Any]) -> int:
    """Sum of the centred coordinates modulo 2^64; linear, so the sum of checksums checks the sum."""
    return ring.sum_centred(vector) % (1 << 64)


def words_of(agreement: Agreement, coding: Coding, extras: Extras, message: Submit) -> RingVector:
    """The extras of one update, after it was held against the agreement.

    Raises: WrongUpdate when the update does not fit; ViewMismatch when the round is about another model.
    """
    plan, vector = agreement.plan, message.vector
    if vector.shape != (coding.length,) or vector.dtype != coding.ring.dtype:
        raise WrongUpdate(
            f"submitted {vector.dtype}{vector.shape}; this round sums {coding.ring.dtype}({coding.length},)"
        )
    if not 1 <= message.weight <= plan.max_weight:
        raise WrongUpdate(f"weight is {message.weight}, it must be an integer in 1..{plan.max_weight}")
    if message.model == NOTHING != agreement.model:
        raise WrongUpdate("this round is about one model: submit the digest of the model you trained from")
    if message.model != agreement.model:
        raise ViewMismatch(SERVER, "the round is about another model than the one this update was trained from")
    if not extras.fits(message.metrics, 1):
        raise WrongUpdate(f"this round opens {len(plan.metrics)} metrics within their clips, got {message.metrics}")
    return extras.words(message.weight, checksum_of(coding.ring, vector), message.metrics)


def checked_sums(
    agreement: Agreement, coding: Coding, extras: Extras, survivors: int, total: RingVector, words: RingVector
) -> tuple[int, tuple[int, ...]]:
    """The sums of weights and of weighted metrics, after the opened extras have confirmed the opened vector.

    Catches any wrong mask or damaged piece with probability 1 - 2^-64; not a client that sends a
    hostile vector with its true checksum.
    Raises: ImplausibleSum.
    """
    weight_sum, checksum = (int(value) for value in words[:2])
    metrics = tuple(int(value) for value in EXTRAS_RING.centre(words[2:]))
    if checksum != checksum_of(coding.ring, total):
        raise ImplausibleSum("the opened vector contradicts its checksum: discard it and open a new round")
    if not survivors <= weight_sum <= survivors * agreement.plan.max_weight:
        raise ImplausibleSum(f"{survivors} clients cannot have a weight sum of {weight_sum}: open a new round")
    if not extras.fits(metrics, weight_sum):
        raise ImplausibleSum(f"a weight sum of {weight_sum} cannot have the metric sums {metrics}: open a new round")
    return weight_sum, metrics
