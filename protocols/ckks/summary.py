"""What a round says of the encryption it used, and of what it does not protect against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from protocols.ckks.binding import binding_of
from protocols.ckks.modes import weakness
from secagg.ckks.plan import CkksPlan, Mode


@dataclass(frozen=True, slots=True)
class Encryption:
    """The numbers of one key.

    `guard_bits` are rounded away when a sum is opened; a holder adds noise of standard deviation 2^`smudging_log2` to
    its part, None where one party opens alone; a residue of c0 and of c1 travels in `residue_bytes`. `binding` is how
    holders know whose sum they open, None where nobody holds a part; `weakness` what the mode does not protect against.
    Where clients share the key, holders and threshold are 1: it is one key, and each of them has it.
    """

    mode: str
    holders: int
    threshold: int
    guard_bits: int
    smudging_log2: float | None
    residue_bytes: tuple[int, int]
    binding: str | None
    weakness: str

    @classmethod
    def of(cls, plan: CkksPlan) -> Self:
        """As planned."""
        smudging, mode = plan.noise.smudging, plan.keys.mode
        return cls(
            mode=mode.value,
            holders=plan.keys.holders,
            threshold=plan.keys.threshold,
            guard_bits=plan.guard,
            smudging_log2=math.log2(smudging) if smudging else None,
            residue_bytes=(plan.width0, plan.width1),
            binding=binding_of(plan).value if mode is Mode.THRESHOLD else None,
            weakness=weakness(mode),
        )
