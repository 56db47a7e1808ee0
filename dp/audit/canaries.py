"""A canary among the clients, seen by a server that sees sums only.

    each round   a coin of the attack: the canary sends C v, |v| = 1, or nothing     release(presence) -> sum
    statistic    t = <sum, v> / C: about 1 with it, about 0 without
    rule         t > 1/2 counts as "in", fixed before the first round

What the claim is decides how the mistakes are read (`Rule`): two bins for any (epsilon, delta), which is loose where
the noise is Gaussian, and the curve of Gaussian noise where the caller says that this is what is claimed.

`release` is the system under test: a simulated sum for thousands of rounds, the real protocol for tens. What the other
clients send is the attacker's to know, and has to be taken off by `release`; a direction they are known in is the
worst case, so that the bound is tight where the noise is Gaussian.
Source: Maddock, Sablayrolles and Stock, "CANIFE", ICLR 2023, for canaries crafted from gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp.accountant import probability
from dp.audit.confidence import Count, Mistakes, Rule, alpha_of
from dp.audit.finding import Correction, Finding, Reading
from dp.clip import require_bound
from dp.entropy import CHUNK_WORDS, Entropy
from dp.errors import BadParameters, NonFinite, NotEnoughTrials
from dp.events import Exact

LABEL_COINS = b"secagg/v1/dp/audit/coins"

Floats = NDArray[np.float64]
THRESHOLD = 0.5
MOST_ROUNDS = 1 << 24


class Presence(Enum):
    """Whether the canary contributes to a round."""

    IN = "in"
    OUT = "out"


Release = Callable[[Presence], NDArray[Any]]
Told = Callable[[int], None]


def coins(seed: int, count: int) -> NDArray[np.bool_]:
    """Fair coins of the attack, a function of its seed: they hide nothing and need no secret."""
    with Entropy.insecure(seed, LABEL_COINS, b"") as entropy:
        parts = [
            entropy.borrow(min(CHUNK_WORDS, count - start), LABEL_COINS) >> np.uint64(63)
            for start in range(0, count, CHUNK_WORDS)
        ]
    return np.concatenate(parts).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class Observed:
    """The statistics of all rounds, those with the canary apart from those without.

    Raises: NotEnoughTrials when one kind never came up; NonFinite.
    """

    present: Floats
    absent: Floats

    def __post_init__(self) -> None:
        if not self.present.size or not self.absent.size:
            raise NotEnoughTrials("the coin never showed one of its sides: run more rounds")
        if not (np.isfinite(self.present).all() and np.isfinite(self.absent).all()):
            raise NonFinite("a release holds a number that is not finite")

    @property
    def rounds(self) -> int:
        """How many rounds were seen."""
        return int(self.present.size + self.absent.size)

    def mistakes(self, threshold: float) -> Mistakes:
        """What the rule "above the threshold" gets wrong."""
        return Mistakes(
            Count(int(np.count_nonzero(self.absent > threshold)), self.absent.size),
            Count(int(np.count_nonzero(self.present <= threshold)), self.present.size),
        )


def observe(
    release: Release, direction: Floats, clip: Exact, *, rounds: int, seed: int, told: Told = lambda done: None
) -> Observed:
    """t = <sum, v> / C over so many rounds; `told` hears how many are done.

    Shapes: `direction` is v, float64 of length d and length 1; each release d numbers in the units of the clip.
    Raises: BadParameters; NotEnoughTrials, NonFinite as `Observed`.
    """
    bound = float(_positive(clip))
    _require_direction(direction)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 2 <= rounds <= MOST_ROUNDS:
        raise BadParameters(f"rounds must be an integer of 2 to {MOST_ROUNDS}, got {rounds!r}")
    heads = coins(seed, rounds)
    statistics = np.empty(rounds)
    for place, head in enumerate(heads.tolist()):
        total = np.asarray(release(Presence.IN if head else Presence.OUT))
        if total.shape != direction.shape:
            raise BadParameters(f"a release has shape {total.shape}, the canary {direction.shape}")
        if not np.isfinite(total).all():
            raise NonFinite(f"the release of round {place + 1} holds a number that is not finite")
        statistics[place] = float(np.dot(total.astype(np.float64), direction)) / bound
        told(place + 1)
    return Observed(statistics[heads], statistics[~heads])


def canary(
    release: Release,
    direction: Floats,
    clip: Exact,
    *,
    claim: float | None,
    delta: Exact,
    rounds: int,
    seed: int,
    rule: Rule = Rule.TWO_BINS,
    confidence: float = 0.95,
    subject: str = "sum of one round",
    told: Told = lambda done: None,
) -> Finding:
    """The epsilon at delta that these rounds prove one of them to leak.

    Guarantee: above the claim with probability at most 1 - confidence where the claim holds of every round by itself;
        with `Rule.SHIFT` only where the claim is one of Gaussian noise, of which it proves far more.
    Raises: as `observe`; NotEnoughTrials when so few rounds prove nothing even without a mistake.
    """
    at, alpha = probability("delta", delta), alpha_of(confidence)
    seen = observe(release, direction, clip, rounds=rounds, seed=seed, told=told)
    mistakes = seen.mistakes(THRESHOLD)
    return Finding(
        audit="canary",
        subject=subject,
        claim=claim,
        delta=at,
        lower_bound=rule.bound(mistakes, float(at), alpha),
        confidence=confidence,
        trials=seen.rounds,
        hypotheses=1,
        correction=Correction.NONE,
        seed=seed,
        checks=(),
        readings=(
            Reading("threshold", THRESHOLD),
            Reading("false positive rate", mistakes.false_positives.rate),
            Reading("false negative rate", mistakes.false_negatives.rate),
        ),
    )


def _positive(clip: Exact) -> Fraction:
    bound = Fraction(clip)
    require_bound("clip", bound)
    return bound


def _require_direction(direction: Floats) -> None:
    if not isinstance(direction, np.ndarray) or direction.dtype != np.float64 or direction.ndim != 1:
        raise BadParameters("direction must be one float64 vector")
    if not abs(float(np.dot(direction, direction)) - 1.0) < 1e-9:
        raise BadParameters("direction must have length 1: divide it by its norm")
