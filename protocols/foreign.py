"""A second opinion on epsilon by code that is not ours: dp-accounting's privacy loss distributions.

    event                                as dp-accounting is asked
    Gaussian, everyone                   one Gaussian of multiplier 1 / sqrt(sum of mu^2)
    Gaussian on a Poisson sample q       the same with sampling_prob = q, as often as it was released

    mu^2 = (factor C)^2 / (sigma2 - 4) on the integers, (factor C)^2 / sigma2 for the continuous law

Where it is known to be wrong it is not asked: its Renyi accountant counts replace-one as add-or-remove-one and
its series for fractional orders does not converge, so only its loss distributions are used; composing keeps
15 digits of the whole law, too few of the tail below delta 1e-8; a cohort of fixed size it does not know.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

from dp.accountant import Interval, Relation, Unit, View
from dp.errors import UnsupportedEvent
from dp.events import Event, GaussianEvent, Poisson, Sampled, leaves, without_sampling
from dp.shift import ROUNDING_VARIANCE, refuse_departing_noise
from protocols.errors import MissingExtra

# Steps of the loss: coarse to find the size of epsilon, then this share of it.
COARSE_STEP, FINE_SHARE, LEAST_STEP = 1e-3, 1e-3, 1e-7
LEAST_COMPOSED_DELTA = Fraction(1, 10**8)
# Below, the 4 that are given up for the lattice are more than a hundredth of epsilon.
LEAST_VARIANCE = 1000
# Beyond, its tables no longer fit: mu of all releases together, and of one sampled round.
LARGEST_SHIFT = 40.0
# Each kind of release costs it a table and a transform of a million cells.
MOST_GROUPS = 64

Group = tuple[Fraction, Fraction]
"""(sampling rate, mu^2): releases that look alike."""


def foreign_epsilon(counts: Counter[Event], unit: Unit, view: View, delta: Fraction) -> Interval:
    """An upper end of epsilon for all counted events, in dp-accounting's opinion; its lower end is not asked for.

    Raises: UnsupportedEvent, saying why, where it has no opinion or is known to be wrong; MissingExtra.
    """
    groups = _groups(counts, unit, view)
    if not groups:
        return Interval(0.0, 0.0, delta, "nothing released")
    if any(rate < 1 for rate, _ in groups) and delta < LEAST_COMPOSED_DELTA:
        raise UnsupportedEvent(f"composing, it loses the digits a delta of {float(delta):g} needs; ask at 1e-8 or more")
    if len(groups) > MOST_GROUPS:
        raise UnsupportedEvent(f"{len(groups)} kinds of release would keep it busy for minutes; it takes {MOST_GROUPS}")
    law = _losses()
    epsilon = _epsilon(law, groups, delta, COARSE_STEP)
    step = max(LEAST_STEP, FINE_SHARE * epsilon)
    if step < COARSE_STEP:
        epsilon = _epsilon(law, groups, delta, step)
    return Interval(None, epsilon, delta, f"dp-accounting {_version()}")


def _groups(counts: Counter[Event], unit: Unit, view: View) -> Counter[Group]:
    """All releases, those on everyone as one Gaussian: shifts of the same cohort add up exactly."""
    groups: Counter[Group] = Counter()
    everyone = Fraction(0)
    for event, times in counts.items():
        for leaf, count in leaves(event if view is View.RELEASED else without_sampling(event)):
            rate, shift = _sampled(leaf, unit.relation)
            if rate == 1:
                everyone += shift * count * times
            else:
                groups[rate, shift] += count * times
    if everyone:
        groups[Fraction(1), everyone] += 1
    return groups


def _sampled(leaf: Event, relation: Relation) -> Group:
    if not isinstance(leaf, Sampled):
        return Fraction(1), _shift(leaf, relation)
    if not isinstance(leaf.sampling, Poisson) or relation is Relation.REPLACE_ONE:
        raise UnsupportedEvent("it knows samples by Poisson rate only, and not under replace-one")
    inside = list(leaves(leaf.event))
    if any(getattr(part, "components", 0) > 1 and getattr(part, "total", "") != "exact" for part, _ in inside):
        raise UnsupportedEvent("the noise of a sampled cohort must not depend on who is in it")
    return Fraction(leaf.sampling.q), sum((_shift(part, relation) * times for part, times in inside), Fraction(0))


def _shift(leaf: Event, relation: Relation) -> Fraction:
    """mu^2 of one release on its cohort."""
    if not isinstance(leaf, GaussianEvent):
        raise UnsupportedEvent(f"it is asked about Gaussian noise only, not about a {leaf.tag} event")
    refuse_departing_noise(leaf, relation)
    variance = Fraction(leaf.sigma2) - (ROUNDING_VARIANCE if leaf.components else 0)
    if leaf.components and leaf.sigma2 < LEAST_VARIANCE:
        raise UnsupportedEvent(f"integer noise of variance {float(leaf.sigma2):g} is too coarse to be compared")
    return relation.factor**2 * Fraction(leaf.l2_squared) / variance


def _epsilon(law: Any, groups: Counter[Group], delta: Fraction, step: float) -> float:
    parts = _parts(law, groups, step)
    whole = next(parts)
    for part in parts:
        whole = whole.compose(part)
    return float(whole.get_epsilon_for_delta(float(delta)))


def _parts(law: Any, groups: Counter[Group], step: float) -> Iterator[Any]:
    for (rate, shift), times in sorted(groups.items()):
        mu = math.sqrt(shift)
        if mu > LARGEST_SHIFT:
            raise UnsupportedEvent(f"its tables do not reach a shift of {mu:.3g} standard deviations")
        one = law.from_gaussian_mechanism(1 / mu, sampling_prob=float(rate), value_discretization_interval=step)
        yield one if times == 1 else one.self_compose(times)


@cache
def _losses() -> Any:
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError as missing:
        raise MissingExtra("verify") from missing
    return privacy_loss_distribution


def _version() -> str:
    from importlib.metadata import version

    return version("dp-accounting")
