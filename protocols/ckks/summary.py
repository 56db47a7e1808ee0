"""What a round says of the encryption it used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from secagg.ckks.plan import CkksPlan


@dataclass(frozen=True, slots=True)
class Encryption:
    """The numbers of one key.

    `guard_bits` are rounded away when a sum is opened; a holder adds noise of standard deviation 2^`smudging_log2` to
    its part, None where one party opens alone; a residue of c0 and of c1 travels in `residue_bytes`.
    """

    mode: str
    holders: int
    threshold: int
    guard_bits: int
    smudging_log2: float | None
    residue_bytes: tuple[int, int]

    @classmethod
    def of(cls, plan: CkksPlan) -> Self:
        """As planned."""
        smudging = plan.noise.smudging
        return cls(
            mode=plan.keys.mode.value,
            holders=plan.keys.holders,
            threshold=plan.keys.threshold,
            guard_bits=plan.guard,
            smudging_log2=math.log2(smudging) if smudging else None,
            residue_bytes=(plan.width0, plan.width1),
        )
