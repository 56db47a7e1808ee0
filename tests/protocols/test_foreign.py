"""The second opinion: where it is given it meets ours, where it is known to be wrong it is not asked."""

from __future__ import annotations

import importlib.metadata
import sys
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from dp.accountant import Unit, View, account
from dp.errors import UnsupportedEvent
from dp.events import (
    Event,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    Poisson,
    Repeated,
    Sampled,
    SkellamEvent,
)
from protocols import foreign
from protocols.errors import MissingExtra
from protocols.foreign import foreign_epsilon

DELTA = Fraction(1, 10**5)
ZERO_OUT, ADD_REMOVE, REPLACE_ONE = Unit("zero-out"), Unit("add-or-remove-one"), Unit("replace-one")
COHORT = GaussianEvent(sigma2=40_000, l2_squared=100, d=10, components=20, draws=200)
CENTRAL = GaussianEvent(sigma2=9_000, l2_squared=1_000, d=4, components=1, draws=4)


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    pytest.importorskip("dp_accounting", reason="extra [verify] is not installed")


def both(counts: dict[Event, int], unit: Unit, view: View = View.AGGREGATOR) -> tuple[float, float, float]:
    """(our lower end, the foreign upper end, our upper end)."""
    ours = account([Repeated(event, times) for event, times in counts.items()], unit, view, DELTA)
    assert ours.lower is not None
    return ours.lower, foreign_epsilon(Counter(counts), unit, view, DELTA).upper, ours.upper


def test_a_gaussian_release_costs_what_the_closed_form_says() -> None:
    # Balle and Wang 2018: sensitivity 1, sigma 1, delta 1e-5; dp.gaussian's own reference value.
    found = foreign_epsilon(Counter([GaussianEvent.for_multiplier(1)]), ADD_REMOVE, View.AGGREGATOR, DELTA)
    assert found.upper == pytest.approx(4.37717, abs=1e-4)
    assert found.lower is None
    assert found.method == f"dp-accounting {importlib.metadata.version('dp-accounting')}"


@pytest.mark.parametrize("unit", [ZERO_OUT, REPLACE_ONE], ids=["zero-out", "replace-one"])
@pytest.mark.parametrize("counts", [{COHORT: 1}, {COHORT: 300}, {COHORT: 20, CENTRAL: 3}, {CENTRAL: 1}], ids=str)
def test_it_meets_our_interval_on_everyone(counts: dict[Event, int], unit: Unit) -> None:
    lower, theirs, upper = both(counts, unit)
    assert lower <= theirs <= 1.01 * upper


@pytest.mark.parametrize("seed", range(12))
def test_it_meets_our_interval_on_poisson_samples(seed: int) -> None:
    draw = np.random.default_rng(seed)
    rate, z = Fraction(1, int(draw.integers(2, 200))), Fraction(int(draw.integers(6, 60)), 10)
    event = Sampled(GaussianEvent.for_multiplier(z), Poisson(rate))
    lower, theirs, upper = both({event: int(draw.integers(1, 2000))}, ADD_REMOVE, View.RELEASED)
    assert lower <= theirs <= 1.01 * upper


def test_a_viewer_that_knows_the_cohort_gets_no_amplification() -> None:
    sampled = Sampled(CENTRAL, Poisson(Fraction(1, 100)))
    known = foreign_epsilon(Counter({sampled: 5}), ZERO_OUT, View.AGGREGATOR, DELTA)
    assert known == foreign_epsilon(Counter({CENTRAL: 5}), ZERO_OUT, View.AGGREGATOR, DELTA)
    assert foreign_epsilon(Counter({sampled: 5}), ZERO_OUT, View.RELEASED, DELTA).upper < known.upper / 2


def test_nothing_released_costs_nothing() -> None:
    assert foreign_epsilon(Counter(), ZERO_OUT, View.AGGREGATOR, DELTA).upper == 0


REFUSED: list[tuple[Event, Unit, str]] = [
    (LaplaceEvent.for_multiplier(1), ZERO_OUT, "Gaussian noise only"),
    (SkellamEvent(mu=100, l2_squared=1, l1=1, d=1, draws=1), ZERO_OUT, "Gaussian noise only"),
    (COHORT, ADD_REMOVE, "shrinks when one is removed"),
    (Sampled(CENTRAL, FixedSize(5, 10)), REPLACE_ONE, "by Poisson rate only"),
    (Sampled(CENTRAL, Poisson(Fraction(1, 9))), REPLACE_ONE, "not under replace-one"),
    (Sampled(COHORT, Poisson(Fraction(1, 9))), ZERO_OUT, "must not depend on who is in it"),
    (GaussianEvent(sigma2=999, l2_squared=1, d=1, components=1, draws=1), ZERO_OUT, "too coarse"),
    (GaussianEvent.for_multiplier("1/100"), ZERO_OUT, "do not reach"),
]


@pytest.mark.parametrize(("event", "unit", "why"), REFUSED, ids=[why for _, _, why in REFUSED])
def test_what_it_is_wrong_about_or_does_not_know_it_is_not_asked(event: Event, unit: Unit, why: str) -> None:
    with pytest.raises(UnsupportedEvent, match=why):
        foreign_epsilon(Counter([event]), unit, View.RELEASED, DELTA)


def test_a_composed_tail_that_needs_more_digits_than_it_has_is_refused_and_a_single_one_is_not() -> None:
    tiny = Fraction(1, 10**9)
    with pytest.raises(UnsupportedEvent, match="loses the digits"):
        foreign_epsilon(Counter({Sampled(CENTRAL, Poisson(Fraction(1, 9))): 9}), ZERO_OUT, View.RELEASED, tiny)
    ours = account([CENTRAL], ZERO_OUT, View.RELEASED, tiny)
    assert ours.lower is not None
    assert ours.lower <= foreign_epsilon(Counter([CENTRAL]), ZERO_OUT, View.RELEASED, tiny).upper <= 1.01 * ours.upper


def test_too_many_kinds_of_release_are_refused_at_once() -> None:
    kinds = Counter(Sampled(CENTRAL, Poisson(Fraction(1, number))) for number in range(2, 100))
    with pytest.raises(UnsupportedEvent, match="98 kinds"):
        foreign_epsilon(kinds, ZERO_OUT, View.RELEASED, DELTA)


def test_without_the_extra_it_says_which_one_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign._losses.cache_clear()
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    with pytest.raises(MissingExtra, match=r"\[verify\]'"):
        foreign_epsilon(Counter([CENTRAL]), ZERO_OUT, View.RELEASED, DELTA)
