"""What is said where clients share the key. The second half of an upload is 32 bytes, in its sum too."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from protocols.ckks.epoch import CONTRIBUTION_BYTES, WIDTH
from protocols.ckks.messages import Contribution
from protocols.errors import Undecodable
from protocols.plan import Agreement, ContextBytes
from protocols.wire import Bytes32, Bytes64, Payload
from secagg.ckks.plan import CkksPlan
from secagg.ckks.wire import packed_bytes
from secagg.negacyclic import N


@dataclass(frozen=True, slots=True)
class OpenSeeded:
    """Server -> invited: here is a round; its agreement names the key that you share."""

    agreement: Agreement


@dataclass(frozen=True, slots=True)
class SeededCiphertext:
    """Client -> server: my update, encrypted, and the public bytes that its second half is expanded from; signed."""

    c0: Payload = field(repr=False)
    public: Bytes32
    signature: Bytes64


@dataclass(frozen=True, slots=True)
class SeededSum:
    """Server -> those whose uploads are in the sum: the first halves added up, and each upload's public bytes.

    `publics` are in the order of the contributions, which strictly ascend.
    """

    context: ContextBytes
    contributions: tuple[Contribution, ...]
    publics: tuple[Bytes32, ...]
    sum0: Payload = field(repr=False)

    def __post_init__(self) -> None:
        if any(a.who >= b.who for a, b in itertools.pairwise(self.contributions)):
            raise Undecodable("contributors must strictly ascend")


def largest_sum(plan: CkksPlan) -> int:
    """Bytes that no letter with a sum of this plan exceeds."""
    return packed_bytes(plan.blocks * N, WIDTH) + plan.clients * CONTRIBUTION_BYTES
