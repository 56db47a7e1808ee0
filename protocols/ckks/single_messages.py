"""What is said to and by the one decryptor, and how it writes a sum: b-bit integers in four or eight bytes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from protocols.ckks.epoch import CONTRIBUTION_BYTES
from protocols.ckks.messages import Contribution
from protocols.errors import Undecodable
from protocols.plan import ContextBytes
from protocols.wire import Buffer, Bytes32, Payload
from secagg.ckks.cipher import largest_opened
from secagg.ckks.plan import CkksPlan
from secagg.ckks.wire import packed_bytes
from secagg.errors import BadCiphertext
from secagg.negacyclic import Integers, N


@dataclass(frozen=True, slots=True)
class WholeSum:
    """Server -> decryptor: whose uploads, and both halves of each, for the decryptor to add up.

    `key` is the certificate's digest; contributions strictly ascend.
    """

    key: Bytes32
    context: ContextBytes
    contributions: tuple[Contribution, ...]
    firsts: tuple[Payload, ...] = field(repr=False)
    seconds: tuple[Payload, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if any(a.who >= b.who for a, b in itertools.pairwise(self.contributions)):
            raise Undecodable("contributors must strictly ascend")


@dataclass(frozen=True, slots=True)
class Decrypted:
    """Decryptor -> server: the exact sums, or nothing where what was opened is no sum of honest uploads.

    Nothing of what was rounded away is said.
    """

    context: ContextBytes
    question: Bytes32
    sums: Payload | None = field(repr=False)


def largest_question(plan: CkksPlan) -> int:
    """Bytes that no letter asking to open a sum of this plan exceeds."""
    count = plan.blocks * N
    halves = packed_bytes(count, plan.width0) + packed_bytes(count, plan.width1)
    return plan.clients * (halves + CONTRIBUTION_BYTES)


def sums_bytes(plan: CkksPlan) -> int:
    """How long the sums of a plan are."""
    return plan.dimension * _word(plan).itemsize


def sums_to_bytes(plan: CkksPlan, sums: Integers) -> bytes:
    """Signed, little-endian."""
    return sums.astype(_word(plan)).tobytes()


def sums_from_bytes(plan: CkksPlan, data: Buffer) -> Integers:
    """Raises: BadCiphertext for another length, or what so many clients cannot have added."""
    if len(data) != sums_bytes(plan):
        raise BadCiphertext(f"{len(data)} bytes for {plan.dimension} sums of {plan.bits} bits")
    sums = np.frombuffer(data, _word(plan)).astype(np.int64)
    if max(int(sums.max()), -int(sums.min())) > largest_opened(plan):
        raise BadCiphertext(f"a sum exceeds {largest_opened(plan)}")
    return sums


def _word(plan: CkksPlan) -> np.dtype[np.signedinteger]:
    return np.dtype("<i4" if plan.bits <= 32 else "<i8")
