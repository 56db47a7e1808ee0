"""How much noise a plan asks for, and what becomes of too much."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dp.adaptive import AdaptiveClip
from dp.errors import DpError
from protocols.errors import BadPlan
from protocols.plan.checks import require_short
from protocols.plan.kinds import MAX_NOISE_MULTIPLIER, Excess
from protocols.wire import U8, U32


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """Differential privacy of the opened sum: std = noise_multiplier * L2 sensitivity.

    The noise is the sum of the clients' own shares. It is sized so that the smallest cohort the plan
    allows still reaches it after `colluders` of its members told the reader their shares.
    With `adaptive`, the clip follows the norms from round to round: the sum has one more coordinate, which counts
    the clients within the clip, and the multiplier is that of vector and count together (`dp.adaptive`).
    Units: the multiplier is a pure number; `modulus_bits` is the width of the ring on the wire.
    """

    noise_multiplier: Fraction
    colluders: U32
    modulus_bits: U8
    excess: Excess = Excess.KEPT
    adaptive: AdaptiveClip | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.excess, Excess):
            raise BadPlan(f"excess is {self.excess!r}, it must be one of {', '.join(map(str, Excess))}")
        if isinstance(self.noise_multiplier, bool) or not isinstance(self.noise_multiplier, int | Fraction):
            raise BadPlan(f"noise_multiplier is {self.noise_multiplier!r}, it must be a Fraction")
        object.__setattr__(self, "noise_multiplier", Fraction(self.noise_multiplier))
        for name in ("colluders", "modulus_bits"):
            if type(getattr(self, name)) is not int:
                raise BadPlan(f"{name} is {getattr(self, name)!r}, it must be an integer")
        if not 1 / MAX_NOISE_MULTIPLIER <= self.noise_multiplier <= MAX_NOISE_MULTIPLIER:
            raise BadPlan(f"noise_multiplier is {self.noise_multiplier}, it must lie in 2^-64..2^64")
        if not 2 <= self.modulus_bits <= 64:
            raise BadPlan(f"modulus_bits is {self.modulus_bits}, it must lie in 2..64")
        require_short("noise_multiplier", self.noise_multiplier)
        if self.adaptive is not None:
            self._check_adaptive(self.adaptive)

    def _check_adaptive(self, rule: AdaptiveClip) -> None:
        if not isinstance(rule, AdaptiveClip):
            raise BadPlan(f"adaptive is {rule!r}, it must be a dp.AdaptiveClip")
        for name in ("min_clip", "max_clip", "bit_noise", "learning_rate", "target"):
            require_short(f"{name} of the adaptive clip", getattr(rule, name))
        try:
            rule.vector_multiplier(self.noise_multiplier)
        except DpError as error:
            raise BadPlan(str(error)) from error

    @property
    def vector_multiplier(self) -> Fraction:
        """The multiplier of the vector alone: more than the round's where a count of clients is released beside it."""
        rule, whole = self.adaptive, self.noise_multiplier
        return whole if rule is None else rule.vector_multiplier(whole)
