"""The one-run audit: m canaries, each in with probability 1/2, and one guess about each after a single run.

    scores of the canaries, sorted:   lowest r/2 "out"  |  no guess  |  highest r/2 "in"        v of r guesses right

    (epsilon, delta)-DP, p = 1 / (1 + e^-epsilon), W ~ Binomial(r, p):
    Pr[v or more right] <= Pr[W >= v] + 2 m delta max_{1 <= i <= v} Pr[v - i <= W <= v - 1] / i

Equal scores are put in an order of the attack's own, drawn from its seed: the order they came in may be the coins.
An epsilon at which the right-hand side is at most alpha is refuted, and with it every smaller one. With r guesses the
bound cannot exceed about ln(q / (1 - q)), q = alpha^(1/r): 4.9 for 400 of them at 95 %.
r is part of the hypothesis: it is one number, or a declared list that shares alpha, or chosen on one half of the
canaries and tested on the other. The best of several without any of this is what `coverage` in the tests shows to fail.
Source: Steinke, Nasr and Jagielski, NeurIPS 2023 (arXiv 2305.08846), Theorem 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp.accountant import probability
from dp.audit.confidence import alpha_of
from dp.audit.finding import Correction, Finding, Reading
from dp.entropy import CHUNK_WORDS, Entropy, Words
from dp.errors import BadParameters, NonFinite, NotEnoughTrials, UndeclaredHypothesis
from dp.events import Exact

Floats = NDArray[np.float64]

LABEL_EQUAL_SCORES = b"secagg/v1/dp/audit/equal-scores"
LABEL_HALVES = b"secagg/v1/dp/audit/halves"

MOST_CANARIES = 1 << 20
MOST_HYPOTHESES = 64
LARGEST_EPSILON = 64.0
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Canaries:
    """What an attacker has after one run: a score for each canary, higher the more it looks included; and the truth.

    Shapes: float64 and bool, both of length m. The coins must be fair, independent, and unknown to the run.
    Raises: BadParameters; NonFinite.
    """

    scores: Floats
    included: NDArray[np.bool_]

    def __post_init__(self) -> None:
        scores, included = np.asarray(self.scores, dtype=np.float64), np.asarray(self.included)
        if scores.ndim != 1 or scores.shape != included.shape or included.dtype != np.bool_:
            raise BadParameters("scores are one vector of floats, included one vector of as many booleans")
        if not 1 <= scores.size <= MOST_CANARIES:
            raise BadParameters(f"{scores.size} canaries; give 1 to {MOST_CANARIES}")
        if not np.isfinite(scores).all():
            raise NonFinite("a score is not finite; what cannot be scored is no canary")
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "included", included)

    @property
    def count(self) -> int:
        """m."""
        return int(self.scores.size)

    def ranked(self, seed: int) -> Ranked:
        """The coins in rising order of their scores, equal scores in an order that the seed draws.

        Guarantee: whatever order the canaries came in, also one by their coins, equal scores say nothing about them.
        """
        order = np.lexsort((_words(seed, LABEL_EQUAL_SCORES, self.count), self.scores))
        return Ranked(self.included[order])

    def halves(self, seed: int) -> tuple[Canaries, Canaries]:
        """A half of the canaries that the seed draws, and the rest: it says nothing about the coins."""
        order = np.argsort(_words(seed, LABEL_HALVES, self.count))
        one, other = order[0::2], order[1::2]
        return Canaries(self.scores[one], self.included[one]), Canaries(self.scores[other], self.included[other])


@dataclass(frozen=True, slots=True)
class Ranked:
    """The coins of canaries, the one that looks least included first."""

    included: NDArray[np.bool_]

    def correct(self, guesses: int) -> int:
        """v: how many of r guesses are right, the r - r // 2 highest "in" and the r // 2 lowest "out".

        Raises: NotEnoughTrials for more guesses than canaries.
        """
        _require_guesses(guesses)
        count = self.included.size
        if guesses > count:
            raise NotEnoughTrials(f"{guesses} guesses about {count} canaries: guess less, or run more canaries")
        lowest, highest = self.included[: guesses // 2], self.included[count - (guesses - guesses // 2) :]
        return int(np.count_nonzero(highest) + np.count_nonzero(~lowest))


@dataclass(frozen=True, slots=True)
class Declared:
    """Numbers of guesses that were written down beforehand; each is tested at alpha / their number (Bonferroni).

    Raises: UndeclaredHypothesis without any; BadParameters for one that is no number of guesses, or twice the same.
    """

    guesses: tuple[int, ...]

    def __post_init__(self) -> None:
        _require_declared(self.guesses)


@dataclass(frozen=True, slots=True)
class ChosenOnHalf:
    """The number of guesses is chosen on half of the canaries, by the bound there, and tested on the other half.

    Raises: as `Declared`.
    """

    candidates: tuple[int, ...]

    def __post_init__(self) -> None:
        _require_declared(self.candidates)


def one_run(
    canaries: Canaries,
    hypothesis: int | Declared | ChosenOnHalf,
    *,
    delta: Exact,
    claim: float | None = None,
    confidence: float = 0.95,
    subject: str = "one run",
    seed: int = 0,
) -> Finding:
    """The epsilon at delta that one run's scores prove, against the claim.

    `seed` is the attack's: it orders equal scores and draws the half that chooses. It is chosen before the scores are
    seen; trying several is trying several hypotheses.
    delta is that of the claim: what m canaries cost of it is inside the bound.
    A declared number that could prove nothing, were all its guesses right, proves 0 and is paid for like the others.
    Raises: UndeclaredHypothesis for no number of guesses; NotEnoughTrials for more guesses than canaries, or when none
        of the numbers could prove anything; BadParameters.
    """
    at, alpha = probability("delta", delta), alpha_of(confidence)
    declared = Declared((hypothesis,)) if isinstance(hypothesis, int) else hypothesis
    match declared:
        case Declared(guesses):
            tested, trials, correction = canaries, guesses, Correction.BONFERRONI
            if len(guesses) == 1:
                correction = Correction.NONE
            hypotheses = len(guesses)
        case ChosenOnHalf(candidates):
            half, tested = canaries.halves(seed)
            best = _best(half, candidates, float(at), alpha, seed)
            trials, correction, hypotheses = (best,), Correction.SPLIT, max(2, len(candidates))
        case _:
            raise UndeclaredHypothesis("say how many guesses are made: one number, Declared(...) or ChosenOnHalf(...)")
    each = alpha / len(trials)
    found = _counted(tested, trials, seed)
    _require_provable(tested.count, trials, float(at), each)
    bounds = [epsilon_bound(tested.count, r, v, float(at), each) for r, v in found]
    return Finding(
        audit="one-run",
        subject=subject,
        claim=claim,
        delta=at,
        lower_bound=max(bounds),
        confidence=confidence,
        trials=tested.count,
        hypotheses=hypotheses,
        correction=correction,
        seed=seed,
        checks=(),
        readings=tuple(reading for (r, v) in found for reading in _told(r, v, each)),
    )


def _counted(canaries: Canaries, guesses: tuple[int, ...], seed: int) -> list[tuple[int, int]]:
    """(r, v) for each r."""
    ranked = canaries.ranked(seed)
    return [(r, ranked.correct(r)) for r in guesses]


def _best(half: Canaries, candidates: tuple[int, ...], delta: float, alpha: float, seed: int) -> int:
    """The candidate with the largest bound, the first of several."""
    bounds = {r: epsilon_bound(half.count, r, v, delta, alpha) for r, v in _counted(half, candidates, seed)}
    return max(bounds, key=lambda r: bounds[r])


def _require_provable(canaries: int, guesses: tuple[int, ...], delta: float, alpha: float) -> None:
    if all(p_value(canaries, r, r, 0.0, delta) > alpha for r in guesses):
        raise NotEnoughTrials(
            f"{max(guesses)} guesses about {canaries} canaries at delta {delta:.3g} refute nothing at confidence "
            f"{1 - alpha:.6g}, were they all right; make more, or ask for less confidence"
        )


def epsilon_bound(canaries: int, guesses: int, correct: int, delta: float, alpha: float) -> float:
    """The largest epsilon found at which `p_value` is at most alpha: it and all smaller ones are refuted. 0 if none is.

    Any epsilon with such a p-value is a valid bound, because a run that is (epsilon', delta)-DP for a smaller epsilon'
    is (epsilon, delta)-DP too. Bisection keeps one, so that no monotonicity is assumed.
    """
    if p_value(canaries, guesses, correct, 0.0, delta) > alpha:
        return 0.0
    low, high = 0.0, LARGEST_EPSILON
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        refuted = p_value(canaries, guesses, correct, middle, delta) <= alpha
        low, high = (middle, high) if refuted else (low, middle)
    return low


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Pr[W >= v] + 2 m delta max_i Pr[v - i <= W <= v - 1] / i, at most 1.

    Raises: BadParameters.
    """
    from scipy.special import bdtrc, expit

    _require_guesses(guesses)
    if not (0 <= correct <= guesses <= canaries and epsilon >= 0.0 and 0.0 <= delta < 1.0):
        raise BadParameters(
            f"{correct} right of {guesses} guesses about {canaries} canaries at epsilon {epsilon!r}, delta {delta!r}"
        )
    if correct == 0:
        return 1.0
    # bdtrc(k - 1, ...) is Pr[W > k - 1].
    tail = float(bdtrc(correct - 1, guesses, float(expit(epsilon))))
    if delta == 0.0:
        return min(1.0, tail)
    return min(1.0, tail + 2.0 * canaries * delta * _densest(guesses, correct, epsilon))


def _densest(guesses: int, correct: int, epsilon: float) -> float:
    """max_{1 <= i <= v} Pr[v - i <= W <= v - 1] / i: the largest mean of the binomial weights just below v.

    The weights rise to one peak and fall. So the mean grows with i as long as the next weight lies above it, and never
    again after the first that does not: the place is found by halving, and its neighbours are tried as well.
    """
    from scipy.special import bdtrc, expit, gammaln, log_expit

    p, logs = float(expit(epsilon)), (float(log_expit(epsilon)), float(log_expit(-epsilon)))
    tail = float(bdtrc(correct - 1, guesses, p))

    def mean(width: int) -> float:
        above = 1.0 if width == correct else float(bdtrc(correct - width - 1, guesses, p))
        return (above - tail) / width

    def weight(right: int) -> float:
        ways = gammaln(guesses + 1.0) - gammaln(right + 1.0) - gammaln(guesses - right + 1.0)
        return math.exp(float(ways) + right * logs[0] + (guesses - right) * logs[1])

    low, high = 1, correct
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if weight(correct - middle - 1) > mean(middle) else (low, middle)
    return max(mean(width) for width in range(max(1, low - 1), min(correct, low + 1) + 1))


def largest_bound(guesses: int, alpha: float) -> float:
    """ln(q / (1 - q)), q = alpha^(1/r): what r guesses could prove at most, delta aside."""
    q = alpha ** (1.0 / guesses)
    return math.log(q / (1.0 - q)) if q > 0.5 else 0.0


def _told(guesses: int, correct: int, alpha: float) -> tuple[Reading, Reading]:
    return (
        Reading(f"right of {guesses} guesses", float(correct)),
        Reading(f"largest bound of {guesses} guesses", largest_bound(guesses, alpha)),
    )


def _words(seed: int, label: bytes, count: int) -> Words:
    """Words of the attack, a function of its seed."""
    with Entropy.insecure(seed, label, b"") as entropy:
        chunks = [entropy.borrow(min(CHUNK_WORDS, count - at), label).copy() for at in range(0, count, CHUNK_WORDS)]
    return np.concatenate(chunks)


def _require_guesses(guesses: int) -> None:
    if isinstance(guesses, bool) or not isinstance(guesses, int) or guesses < 1:
        raise BadParameters(f"a number of guesses is an integer of at least 1, got {guesses!r}")


def _require_declared(guesses: Sequence[int]) -> None:
    if not isinstance(guesses, tuple) or not guesses:
        raise UndeclaredHypothesis("declare at least one number of guesses, as a tuple, before looking at any score")
    for each in guesses:
        _require_guesses(each)
    if len(set(guesses)) != len(guesses) or len(guesses) > MOST_HYPOTHESES:
        raise BadParameters(f"declare 1 to {MOST_HYPOTHESES} different numbers of guesses, got {len(guesses)}")
