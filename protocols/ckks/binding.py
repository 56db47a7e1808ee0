"""How holders know that what they open is the sum of what its contributors signed.

    FULL      every second half is shown to every holder, who adds them up itself
    HASHED    digit sums are shown, and each contributor's linear hash of its half, which must add up to theirs

Nobody chooses: the plan says whether the halves of all clients are few enough to be shown. Both bind alike; HASHED
costs a client its hash, and a holder the same however many clients there are.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from protocols.wire import AtMost, Buffer
from secagg.ckks.binding import HASH_BYTES, Knapsack, hash_to_bytes
from secagg.ckks.plan import CkksPlan, Mode
from secagg.ckks.wire import packed_bytes
from secagg.keys import Context
from secagg.negacyclic import N
from secagg.workers import ALONE, Workers

# Second halves of all clients that are shown to every holder.
MOST_HALVES_BYTES = 256 << 20

# One client's, or nothing in a round that shows halves.
LinearHash = Annotated[bytes, AtMost(HASH_BYTES)]


class Binding(Enum):
    """What holders are shown."""

    FULL = "full"
    HASHED = "hashed"


def binding_of(plan: CkksPlan) -> Binding:
    """What everybody derives alike from the plan. One decryptor adds up whole uploads, so they are shown."""
    if plan.keys.mode is not Mode.THRESHOLD:
        return Binding.FULL
    halves = plan.clients * packed_bytes(plan.blocks * N, plan.width1)
    return Binding.FULL if halves <= MOST_HALVES_BYTES else Binding.HASHED


def knapsack_of(plan: CkksPlan, context: Context) -> Knapsack:
    """The linear hash of one round, or of one key where only its strength matters.

    Raises: NoParameters when it does not bind so many clients.
    """
    return Knapsack(context, plan.clients, plan.blocks, plan.width1)


def hash_bytes(plan: CkksPlan) -> int:
    """The one legal length of an upload's hash."""
    return HASH_BYTES if binding_of(plan) is Binding.HASHED else 0


def hash_of(plan: CkksPlan, context: Context, half: Buffer, workers: Workers = ALONE) -> bytes:
    """What a client sends beside its upload: the hash of its second half, or nothing where halves are shown."""
    if binding_of(plan) is Binding.FULL:
        return b""
    return hash_to_bytes(knapsack_of(plan, context).hash(half, workers))
