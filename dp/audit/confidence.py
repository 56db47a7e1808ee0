"""From counted mistakes to a lower bound of epsilon: exact binomial ends, never an approximation.

    FP = Pr[out looks in]      FN = Pr[in looks out]      by a rule that was fixed before any output was seen

    (epsilon, delta)-DP   1 - FN <= e^epsilon FP + delta           two bins: any claim at all
    mu-Gaussian DP        PhiInv(1 - FP) - PhiInv(FN) <= mu        claims through the curve of Gaussian noise

The second is far sharper and refutes less: it takes the claim to be that no pair of neighbours is farther apart than
two Gaussians, which is what every accountant of Gaussian noise claims.
Source: Clopper and Pearson, Biometrika 1934; Dong, Roth and Su, JRSS-B 2022, section 2; Nasr et al., USENIX Sec. 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from dp.errors import BadParameters, NotEnoughTrials
from dp.gaussian import gaussian_epsilon

# The inverse of the curve is exact to about 1e-13; an end rounded down must lie below the truth.
_ROUNDED_DOWN = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class Count:
    """How often something happened in so many independent trials.

    Raises: NotEnoughTrials without any trial; BadParameters for more hits than trials.
    """

    hits: int
    trials: int

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise NotEnoughTrials("nothing was tried: give at least one trial with the canary and one without")
        if not 0 <= self.hits <= self.trials:
            raise BadParameters(f"{self.hits} hits in {self.trials} trials is no count")

    @property
    def rate(self) -> float:
        """hits / trials."""
        return self.hits / self.trials

    def above(self, alpha: float) -> float:
        """The Clopper-Pearson upper end: below the true rate with probability at most alpha."""
        from scipy.special import betaincinv

        _require_alpha(alpha)
        if self.hits == self.trials:
            return 1.0
        return float(betaincinv(self.hits + 1, self.trials - self.hits, 1.0 - alpha))

    def below(self, alpha: float) -> float:
        """The Clopper-Pearson lower end."""
        return 1.0 - Count(self.trials - self.hits, self.trials).above(alpha)


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What a fixed rule got wrong: `false_positives` of the outputs without, `false_negatives` of those with."""

    false_positives: Count
    false_negatives: Count

    def shift(self, alpha: float) -> float:
        """mu >= PhiInv(1 - u_FP) - PhiInv(u_FN), 0 where that is below; wrong with probability at most alpha.

        Raises: NotEnoughTrials when not even a rule without mistakes could prove anything from so few.
        """
        from scipy.special import ndtri

        self._require_enough(alpha)
        false_alarm, missed = self._ends(alpha)
        # 1 - u by symmetry: subtracting from 1 would lose the digits of a small rate.
        return max(0.0, float(-ndtri(false_alarm) - ndtri(missed)))

    def loss(self, delta: float, alpha: float) -> float:
        """epsilon >= ln((1 - u_FN - delta) / u_FP), 0 where that is below; wrong with probability at most alpha.

        Raises: NotEnoughTrials as `shift`.
        """
        self._require_enough(alpha)
        false_alarm, missed = self._ends(alpha)
        kept = 1.0 - missed - delta
        return max(0.0, math.log(kept / false_alarm)) if kept > 0.0 else 0.0

    def _ends(self, alpha: float) -> tuple[float, float]:
        return self.false_positives.above(alpha / 2), self.false_negatives.above(alpha / 2)

    def _require_enough(self, alpha: float) -> None:
        fewest = min(self.false_positives.trials, self.false_negatives.trials)
        if Count(0, fewest).above(alpha / 2) >= 0.5:
            need = math.ceil(math.log(alpha / 2) / math.log(0.5)) + 1
            raise NotEnoughTrials(
                f"{fewest} trials of one kind prove nothing at confidence {1 - alpha:.6g} even without a mistake; "
                f"run at least {need} of each, or ask for less confidence"
            )


class Rule(Enum):
    """Which inequality turns mistakes into epsilon: what is claimed decides, and the caller says it.

    TWO_BINS is sound for every (epsilon, delta) claim. SHIFT is sound only for a claim that no pair of neighbours is
    farther apart than two Gaussians; of other noise that keeps its claim it makes false alarms.
    """

    SHIFT = "shift"
    TWO_BINS = "two bins"

    def bound(self, mistakes: Mistakes, delta: float, alpha: float) -> float:
        """The epsilon at delta that these mistakes prove; wrong with probability at most alpha.

        Raises: NotEnoughTrials as `Mistakes.shift`.
        """
        match self:
            case Rule.SHIFT:
                return epsilon_of_shift(mistakes.shift(alpha), delta)
            case Rule.TWO_BINS:
                return mistakes.loss(delta, alpha)


def alpha_of(confidence: float) -> float:
    """1 - confidence, in double precision.

    Raises: BadParameters for a confidence that is not within 0..1, or so near to an end that none is left.
    """
    if not (0.0 < confidence < 1.0 and 0.0 < 1.0 - confidence < 1.0):
        raise BadParameters(f"confidence must lie within 0..1, and be told from both in doubles, got {confidence!r}")
    return 1.0 - confidence


def epsilon_of_shift(mu: float, delta: float) -> float:
    """The epsilon at delta of two Gaussians mu apart, rounded down; 0 for no shift."""
    return gaussian_epsilon(delta, 1.0 / mu) * _ROUNDED_DOWN if mu > 0.0 else 0.0


def _require_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise BadParameters(f"alpha must lie within 0..1, got {alpha!r}")
