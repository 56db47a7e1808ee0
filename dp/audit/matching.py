"""Membership inference with a known optimum: who knows the target's vector and sees the sum.

    statistic   t = <sum, v> / C, the matched filter       t ~ N(1, z^2) with the target, N(0, z^2) without
    optimum     TPR = Phi(PhiInv(FPR) + 1 / z): no attack on this noise is better at any FPR

The optimum is that of Gaussian noise: this is an attack on systems that say they add it. A measured point above the
curve by 6 standard errors refutes the noise. Thresholds are quantiles of one half of the
outputs without the target; both rates are counted on the others, so that no threshold is judged by its own data.
"At FPR 10^-3" is where the claim matters: an attack that is right on average may still be sure of nobody, and one that
is no better than chance on average may be sure of a few.
Source: Neyman and Pearson 1933; Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022
(rates at low FPR).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp.accountant import probability
from dp.audit.canaries import Observed, Release, Told, observe
from dp.audit.confidence import Count, Mistakes, Rule, alpha_of
from dp.audit.finding import Check, Correction, Finding, Reading
from dp.errors import BadParameters, NotEnoughTrials
from dp.events import Exact

Floats = NDArray[np.float64]

RATES = (1e-1, 1e-2, 1e-3)
SIX_SIGMAS = 6.0
# Counted without the target before a rate is believed to be measured.
FEWEST_ALARMS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """The attack at one threshold: both rates as counted, and `optimum`, the best TPR at the FPR that was counted."""

    threshold: float
    false_positives: Count
    true_positives: Count
    optimum: float

    @property
    def above(self) -> float:
        """How far the point lies above the optimum, in standard errors of PhiInv(TPR) - PhiInv(FPR)."""
        from scipy.special import ndtri

        got, best = self._shift(), float(ndtri(self.optimum) - ndtri(_inside(self.false_positives)))
        return (got - best) / math.hypot(_error(self.false_positives), _error(self.true_positives))

    def bars(self, alpha: float) -> tuple[float, float]:
        """The Clopper-Pearson ends of the TPR, each alpha / 2."""
        return self.true_positives.below(alpha / 2), self.true_positives.above(alpha / 2)

    def _shift(self) -> float:
        from scipy.special import ndtri

        return float(ndtri(_inside(self.true_positives)) - ndtri(_inside(self.false_positives)))


@dataclass(frozen=True, slots=True)
class Roc:
    """A measured attack: points at the declared rates, the area under the whole curve, and the best area there is."""

    points: tuple[Point, ...]
    area: float
    best_area: float


def optimum(false_positive_rate: Floats, noise_multiplier: float) -> Floats:
    """Phi(PhiInv(FPR) + 1 / z), the best TPR against a Gaussian of z standard deviations per clip."""
    from scipy.special import ndtr, ndtri

    if not noise_multiplier > 0.0:
        raise BadParameters(f"noise_multiplier must be above 0, got {noise_multiplier!r}")
    best: Floats = ndtr(ndtri(np.asarray(false_positive_rate, dtype=np.float64)) + 1.0 / noise_multiplier)
    return best


def roc(seen: Observed, noise_multiplier: float, rates: tuple[float, ...] = RATES) -> Roc:
    """The matched filter at the thresholds that half of the outputs without the target give for these rates.

    Raises: NotEnoughTrials when a rate would rest on fewer than 8 of them; BadParameters.
    """
    held, counted = seen.absent[0::2], seen.absent[1::2]
    if not rates or not all(0.0 < rate < 1.0 for rate in rates):
        raise BadParameters(f"rates must lie within 0..1, got {rates}")
    if held.size * min(rates) < FEWEST_ALARMS:
        need = rounds_needed(min(rates))
        raise NotEnoughTrials(f"a false positive rate of {min(rates):g} needs about {need} rounds, not {seen.rounds}")
    points = []
    for rate in rates:
        threshold = float(np.quantile(held, 1.0 - rate))
        false = Count(int(np.count_nonzero(counted > threshold)), counted.size)
        true = Count(int(np.count_nonzero(seen.present > threshold)), seen.present.size)
        best = float(optimum(np.array([_inside(false)]), noise_multiplier)[0])
        points.append(Point(threshold, false, true, best))
    return Roc(tuple(points), _area(seen), _best_area(noise_multiplier))


def membership(
    release: Release,
    direction: Floats,
    clip: Exact,
    *,
    noise_multiplier: float,
    claim: float | None,
    delta: Exact,
    rounds: int,
    seed: int,
    rule: Rule = Rule.TWO_BINS,
    rates: tuple[float, ...] = RATES,
    confidence: float = 0.95,
    subject: str = "sum of one round",
    told: Told = lambda done: None,
) -> Finding:
    """The matched filter on so many rounds, against the optimum and against the claim.

    Guarantee: sound Gaussian noise of z fails a check with probability below 1e-8. `lower_bound` is corrected for all
        thresholds, and above the claim as rarely as `rule` says of it (`Rule`).
    Raises: as `observe` and `roc`.
    """
    alpha_of(confidence)
    seen = observe(release, direction, clip, rounds=rounds, seed=seed, told=told)
    return judge(
        seen,
        noise_multiplier,
        claim=claim,
        delta=delta,
        rule=rule,
        rates=rates,
        confidence=confidence,
        seed=seed,
        subject=subject,
    )


def judge(
    seen: Observed,
    noise_multiplier: float,
    *,
    claim: float | None,
    delta: Exact,
    seed: int,
    rule: Rule = Rule.TWO_BINS,
    rates: tuple[float, ...] = RATES,
    confidence: float = 0.95,
    subject: str = "sum of one round",
) -> Finding:
    """The finding of `membership` from statistics that were seen before.  Raises: as `roc`."""
    at, measured = probability("delta", delta), roc(seen, noise_multiplier, rates)
    each = alpha_of(confidence) / len(measured.points)
    bounds = [rule.bound(_mistakes(point), float(at), each) for point in measured.points]
    return Finding(
        audit="membership",
        subject=subject,
        claim=claim,
        delta=at,
        lower_bound=max(bounds),
        confidence=confidence,
        trials=seen.rounds,
        hypotheses=len(bounds),
        correction=Correction.NONE if len(bounds) == 1 else Correction.BONFERRONI,
        seed=seed,
        checks=tuple(_judged(rate, point) for rate, point in zip(rates, measured.points, strict=True)),
        readings=(
            *(told for rate, point in zip(rates, measured.points, strict=True) for told in _told(rate, point, each)),
            Reading("area under the curve", measured.area),
            Reading("largest area under this noise", measured.best_area),
        ),
    )


def rates_for(rounds: int) -> tuple[float, ...]:
    """The declared rates that so many rounds can measure: a choice that looks at no output.

    Raises: NotEnoughTrials when there is none.
    """
    rates = tuple(rate for rate in RATES if rounds / 4 * rate >= 1.25 * FEWEST_ALARMS)
    if not rates:
        raise NotEnoughTrials(f"{rounds} rounds measure no false positive rate: run at least {rounds_needed(RATES[0])}")
    return rates


def rounds_needed(rate: float) -> int:
    """Of a fair coin's rounds a quarter sets the threshold; a quarter more of them than are needed for the coin."""
    return math.ceil(5 * FEWEST_ALARMS / rate)


def _judged(rate: float, point: Point) -> Check:
    return Check(f"above the optimum at FPR {rate:g}, in standard errors", point.above < SIX_SIGMAS, point.above)


def _told(rate: float, point: Point, alpha: float) -> tuple[Reading, ...]:
    low, high = point.bars(alpha)
    return (
        Reading(f"TPR at FPR {rate:g}", point.true_positives.rate),
        Reading(f"TPR at FPR {rate:g}, lower end", low),
        Reading(f"TPR at FPR {rate:g}, upper end", high),
        Reading(f"largest TPR at FPR {rate:g}", point.optimum),
    )


def _mistakes(point: Point) -> Mistakes:
    true = point.true_positives
    return Mistakes(point.false_positives, Count(true.trials - true.hits, true.trials))


def _area(seen: Observed) -> float:
    """Pr[t with > t without], ties half: the Mann-Whitney statistic, by ranks."""
    both = np.concatenate((seen.absent, seen.present))
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    n = seen.present.size
    return float((ranks[seen.absent.size :].sum() - n * (n + 1) / 2.0) / (n * seen.absent.size))


def _best_area(noise_multiplier: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(1.0 / (noise_multiplier * math.sqrt(2.0))))


def _inside(count: Count) -> float:
    """The rate, kept off 0 and 1 by half a hit."""
    return (count.hits + 0.5) / (count.trials + 1.0)


def _error(count: Count) -> float:
    """The standard error of PhiInv(rate): sqrt(p (1 - p) / n) / phi(PhiInv(p))."""
    from scipy.special import ndtri

    p = _inside(count)
    density = math.exp(-(float(ndtri(p)) ** 2) / 2.0) / math.sqrt(2.0 * math.pi)
    return math.sqrt(p * (1.0 - p) / count.trials) / density
