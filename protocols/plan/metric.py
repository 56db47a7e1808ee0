"""Numbers beside the vector, opened as a weighted mean only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from protocols.errors import BadPlan
from protocols.plan.checks import rational, require_short
from protocols.wire import U8, Text
from secagg.encode import Encoding, Rounding
from secagg.errors import SecaggError


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of each client, such as its loss, of which the round opens the weighted mean and nothing else.

    Fixed point: clipped to [-clip, clip], rounded to nearest on a lattice of `bits` bits, summed under the mask.
    Raises: BadPlan for a name that is none or a clip or precision no lattice has.
    """

    name: Text
    clip: Fraction
    bits: U8 = 24

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name.encode()) <= 64:
            raise BadPlan(f"a metric has a name of 1 to 64 bytes, got {self.name!r}")
        if not isinstance(self.clip, Fraction):
            object.__setattr__(self, "clip", rational(f"the clip of metric {self.name!r}", self.clip))
        self.encoding(1, 1)
        require_short(f"the clip of metric {self.name!r}", self.clip)

    def encoding(self, max_weight: int, max_clients: int) -> Encoding:
        """The lattice on which so many weighted values cannot wrap."""
        try:
            return Encoding(self.clip, self.bits, max_weight, max_clients, rounding=Rounding.NEAREST)
        except SecaggError as error:
            raise BadPlan(f"metric {self.name!r}: {error}") from error
