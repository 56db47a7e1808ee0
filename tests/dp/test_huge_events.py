"""Events with numbers beyond all doubles: an infinite epsilon, or a named refusal, and never a foreign exception."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path

import pytest

from dp.accountant import Relation, Unit, View, account
from dp.errors import BudgetExceeded, DpError, NoiseTooCoarse, UnsupportedEvent
from dp.events import (
    ApproxEvent,
    Event,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    Poisson,
    PureEvent,
    Repeated,
    Sampled,
    SkellamEvent,
    ZcdpEvent,
)
from dp.gaussian import GaussianAccountant
from dp.ledger import Ledger
from dp.pld import PldAccountant
from dp.rdp import RdpAccountant
from tests.dp.ledger_kit import DELTA, EVENT, RELATION, WIDE, charge

HUGE, TINY = 10**1000, Fraction(1, 10**1000)
NOISY = GaussianEvent(sigma2=100, l2_squared=1, d=1, components=1, draws=1)

# What nobody could call private, and what costs next to nothing, as far as anybody can prove.
DEAR: dict[str, Event] = {
    "pure": PureEvent(HUGE),
    "approximate": ApproxEvent(HUGE, TINY),
    "zcdp": ZcdpEvent(HUGE),
    "laplace": LaplaceEvent(scale=TINY, l1=HUGE, d=1, draws=1),
    "continuous laplace": LaplaceEvent(scale=TINY, l1=HUGE, d=1, draws=0, components=0),
    "laplace bound": LaplaceEvent(scale=1, l1=HUGE, d=3, draws=3),
    "skellam": SkellamEvent(mu=TINY, l2_squared=HUGE, l1=HUGE, d=1, draws=1),
    "gaussian bound": GaussianEvent(sigma2=100, l2_squared=HUGE, d=1, components=1, draws=1),
    "continuous gaussian": GaussianEvent(sigma2=TINY, l2_squared=HUGE, d=1, components=0, draws=0),
    "gaussian dimension": GaussianEvent(sigma2=100, l2_squared=1, d=2**4000, components=1, draws=2**4000),
    "gaussian sum": GaussianEvent(sigma2=10**6, l2_squared=1, d=2**4000, components=20, draws=1),
    "nearly": GaussianEvent(sigma2=100, l2_squared=2**1020, d=1, components=1, draws=1),
    "sampled": Sampled(PureEvent(HUGE), Poisson(TINY)),
    "sampled gaussian": Sampled(GaussianEvent(100, HUGE, 1, 1, 1, total="exact"), Poisson(Fraction(1, 2))),
}
CHEAP: dict[str, Event] = {
    "pure": PureEvent(TINY),
    "zcdp": ZcdpEvent(TINY),
    "laplace": LaplaceEvent(scale=HUGE, l1=1, d=1, draws=1),
    "continuous laplace": LaplaceEvent(scale=HUGE, l1=1, d=1, draws=0, components=0),
    "skellam": SkellamEvent(mu=HUGE, l2_squared=1, l1=1, d=1, draws=1),
    "gaussian": GaussianEvent(sigma2=HUGE, l2_squared=1, d=1, components=1, draws=1),
    "sampled": Sampled(PureEvent(1), Poisson(TINY)),
    "sampled gaussian": Sampled(NOISY, Poisson(TINY)),
    "fixed size": Sampled(NOISY, FixedSize(1, 2**4000)),
}
REFUSED = (UnsupportedEvent, NoiseTooCoarse)


@pytest.mark.parametrize("view", [View.RELEASED, View.AGGREGATOR], ids=str)
@pytest.mark.parametrize("event", DEAR.values(), ids=DEAR)
def test_what_is_dear_beyond_all_doubles_is_no_foreign_exception(event: Event, view: View) -> None:
    for relation, times in itertools.product(Relation, (1, 2**40)):
        try:
            found = account([Repeated(event, times)], Unit(relation), view, DELTA)
        except REFUSED:
            continue
        assert found.upper > 1e100, (relation, times)


@pytest.mark.parametrize("view", [View.RELEASED, View.AGGREGATOR], ids=str)
@pytest.mark.parametrize("event", CHEAP.values(), ids=CHEAP)
def test_what_is_cheap_beyond_all_doubles_is_no_foreign_exception(event: Event, view: View) -> None:
    for relation in Relation:
        try:
            found = account([event], Unit(relation), view, DELTA)
        except REFUSED:
            continue
        assert 0.0 <= found.upper < 10.0


@pytest.mark.parametrize("event", [*DEAR.values(), *CHEAP.values()], ids=[*DEAR, *(f"cheap {name}" for name in CHEAP)])
def test_every_accountant_by_itself_answers_or_refuses_by_name(event: Event) -> None:
    for kind in (GaussianAccountant, PldAccountant, RdpAccountant):
        accountant = kind(Unit(RELATION))
        try:
            accountant.compose(event)
        except REFUSED:
            continue
        for delta in (0, TINY, DELTA):
            assert accountant.interval(delta).upper >= 0.0
        for epsilon in (0, 1, HUGE):
            assert 0.0 <= accountant.delta(epsilon) <= 1.0


@pytest.mark.parametrize("event", DEAR.values(), ids=DEAR)
def test_a_ledger_refuses_it_by_name(tmp_path: Path, event: Event) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        with pytest.raises((BudgetExceeded, *REFUSED)):
            ledger.reserve(charge(0, event))
        assert ledger.reserve(charge(1, EVENT)).seq == 2


def test_components_that_share_too_little_are_refused_in_any_size() -> None:
    with pytest.raises(NoiseTooCoarse, match="components share variance"):
        GaussianEvent(sigma2=HUGE, l2_squared=1, d=1, components=HUGE, draws=1)


def test_the_sum_of_two_shifts_at_the_end_of_doubles_is_infinite() -> None:
    largest = GaussianEvent(sigma2=100, l2_squared=2**1029, d=1, components=1, draws=1)
    other = GaussianEvent(sigma2=100, l2_squared=2**1029 - 1, d=1, components=1, draws=1)
    assert account([largest, other], Unit(RELATION), View.AGGREGATOR, DELTA).upper == math.inf
    assert issubclass(UnsupportedEvent, DpError)
