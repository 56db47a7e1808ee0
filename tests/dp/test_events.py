"""Events: exact, validated, and one canonical form each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Unit
from dp.errors import BadParameters, NoiseTooCoarse
from dp.events import (
    ApproxEvent,
    Composed,
    Event,
    FixedSize,
    GaussianEvent,
    LaplaceEvent,
    NonPrivate,
    Poisson,
    PureEvent,
    Repeated,
    Sampled,
    SkellamEvent,
    ZcdpEvent,
    exact,
    is_insecure,
    leaves,
    takes_everyone,
    without_sampling,
)
from dp.rdp import RdpAccountant

GAUSSIAN = GaussianEvent(Fraction(81, 2), 16, d=10, components=3, draws=30)

positive = st.fractions(Fraction(1, 1000), 1000, max_denominator=1000)
sizes = st.integers(1, 10**6)
leaf_events = st.one_of(
    st.builds(GaussianEvent, positive.map(lambda v: v + 900), positive, sizes, st.integers(1, 100), sizes),
    st.builds(GaussianEvent.for_multiplier, positive),
    st.builds(LaplaceEvent, positive, positive, sizes, sizes, st.just(1), st.sampled_from(["system", "insecure"])),
    st.builds(SkellamEvent, positive, positive, positive, sizes, sizes),
    st.builds(PureEvent, positive),
    st.builds(ApproxEvent, positive, st.fractions(0, Fraction(1, 2))),
    st.builds(ZcdpEvent, positive),
    st.just(NonPrivate()),
)
samplings = st.one_of(
    st.builds(Poisson, st.fractions(Fraction(1, 1000), 1)),
    st.integers(1, 50).flatmap(lambda m: st.builds(FixedSize, st.just(m), st.integers(m, 1000))),
)
events = st.recursive(
    st.one_of(leaf_events, st.builds(Sampled, leaf_events, samplings)),
    lambda inner: st.one_of(
        st.builds(Repeated, inner, sizes), st.builds(lambda parts: Composed(tuple(parts)), st.lists(inner, max_size=3))
    ),
    max_leaves=8,
)


def test_the_canonical_form_of_a_round_is_pinned() -> None:
    event = Repeated(Sampled(GAUSSIAN, Poisson(Fraction(2, 200))), 7)
    assert event.to_canonical() == (
        "repeated",
        ("sampled", ("gaussian", "81/2", "16/1", 10, 3, 30, "system", "survivors"), ("poisson", "1/100")),
        7,
    )


@given(events)
def test_canonical_forms_survive_json_and_hold_no_float(event: Event) -> None:
    text = json.dumps(event.to_canonical())
    assert "." not in text
    again = Event.from_canonical(json.loads(text))
    assert again == event
    assert hash(again) == hash(event)
    assert again.to_canonical() == event.to_canonical()


@given(events, events)
def test_equal_forms_mean_equal_events(one: Event, other: Event) -> None:
    assert (one.to_canonical() == other.to_canonical()) == (one == other)


@given(events)
def test_leaves_multiply_out_every_repetition(event: Event) -> None:
    doubled = [(leaf, 2 * count) for leaf, count in leaves(event)]
    assert list(leaves(Repeated(event, 2))) == doubled
    assert list(leaves(Composed((event, event)))) == list(leaves(event)) * 2
    assert not any(isinstance(leaf, Repeated | Composed) for leaf, _ in doubled)


@given(events)
def test_a_viewer_of_the_cohorts_sees_no_sampling(event: Event) -> None:
    seen = without_sampling(event)
    assert not any(isinstance(leaf, Sampled) for leaf, _ in leaves(seen))
    assert without_sampling(seen) == seen


def test_sampling_everyone_is_no_sampling() -> None:
    for sampling in (Poisson(1), FixedSize(5, 5)):
        assert takes_everyone(sampling)
        assert list(leaves(Repeated(Sampled(GAUSSIAN, sampling), 3))) == [(GAUSSIAN, 3)]
    for sampling in (Poisson(Fraction(999, 1000)), FixedSize(4, 5)):
        assert not takes_everyone(sampling)
        assert list(leaves(Sampled(GAUSSIAN, sampling))) == [(Sampled(GAUSSIAN, sampling), 1)]


def test_noise_from_a_known_seed_is_seen_through_every_wrapping() -> None:
    rehearsed = GaussianEvent(100, 1, 1, 1, 1, rng="insecure")
    hidden = Composed((GAUSSIAN, Repeated(Sampled(Composed((GAUSSIAN, rehearsed)), Poisson(Fraction(1, 2))), 2)))
    assert is_insecure(hidden)
    assert not is_insecure(without_sampling(Repeated(GAUSSIAN, 2)))


def test_multipliers_are_taken_as_the_decimal_that_was_typed() -> None:
    assert GaussianEvent.for_multiplier(1.1) == GaussianEvent.for_multiplier("1.1")
    assert GaussianEvent.for_multiplier(1.1).sigma2 == Fraction(121, 100)
    assert GaussianEvent.for_multiplier(2).components == 0
    assert LaplaceEvent.for_multiplier("0.5").scale == Fraction(1, 2)
    assert exact("delta", 1e-5) == exact("delta", np.float64(1e-5)) == Fraction(1, 100000)


@pytest.mark.parametrize(
    "value", ["nan", "inf", float("nan"), float("-inf"), "", "1/0", True, None, 1j, "one", "1e999999", "1E-999999"]
)
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(BadParameters, match="delta"):
        exact("delta", value)  # type: ignore[arg-type]


BAD: list[tuple[str, Callable[[], object]]] = [
    ("sigma2", lambda: GaussianEvent(0, 1, 1, 1, 1)),
    ("sigma2", lambda: GaussianEvent(Fraction(-1), 1, 1, 1, 1)),
    ("sigma2", lambda: GaussianEvent(1.5, 1, 1, 1, 1)),  # type: ignore[arg-type]
    ("sigma2", lambda: GaussianEvent(True, 1, 1, 1, 1)),
    ("l2_squared", lambda: GaussianEvent(10, 0, 1, 1, 1)),
    ("d", lambda: GaussianEvent(10, 1, 0, 1, 1)),
    ("components", lambda: GaussianEvent(10, 1, 1, -1, 1)),
    ("components", lambda: GaussianEvent(10, 1, 1, True, 1)),
    ("draws", lambda: GaussianEvent(10, 1, 1, 1, -1)),
    ("draws", lambda: GaussianEvent(10, 1, 1, 0, 1)),
    ("rng", lambda: GaussianEvent(10, 1, 1, 1, 1, rng="numpy")),
    ("total", lambda: GaussianEvent(10, 1, 1, 1, 1, total="approximate")),
    ("noise_multiplier", lambda: GaussianEvent.for_multiplier(0)),
    ("noise_multiplier", lambda: GaussianEvent.for_multiplier("nan")),
    ("scale", lambda: LaplaceEvent(0, 1, 1, 1)),
    ("l1", lambda: LaplaceEvent(1, -1, 1, 1)),
    ("components", lambda: LaplaceEvent(1, 1, 1, 1, components=2)),
    ("noise_multiplier", lambda: LaplaceEvent.for_multiplier(-1)),
    ("mu", lambda: SkellamEvent(0, 1, 1, 1, 1)),
    ("l1", lambda: SkellamEvent(1, 1, 0, 1, 1)),
    ("components", lambda: SkellamEvent(1, 1, 1, 1, 1, components=0)),
    ("epsilon", lambda: PureEvent(Fraction(-1, 2))),
    ("epsilon", lambda: PureEvent(0.5)),  # type: ignore[arg-type]
    ("epsilon", lambda: ApproxEvent(-1, 0)),
    ("delta", lambda: ApproxEvent(1, -1)),
    ("delta", lambda: ApproxEvent(1, 1)),
    ("rho", lambda: ZcdpEvent(-1)),
    ("q", lambda: Poisson(0)),
    ("q", lambda: Poisson(Fraction(3, 2))),
    ("q", lambda: Poisson(0.1)),  # type: ignore[arg-type]
    ("m", lambda: FixedSize(0, 5)),
    ("population", lambda: FixedSize(6, 5)),
    ("times", lambda: Repeated(GAUSSIAN, 0)),
    ("event", lambda: Repeated(Poisson(1), 2)),  # type: ignore[arg-type]
    ("event", lambda: Repeated(Event(), 2)),
    ("events", lambda: Composed((GAUSSIAN, 3))),  # type: ignore[arg-type]
    ("events", lambda: Composed(GAUSSIAN)),  # type: ignore[arg-type]
    ("event", lambda: Sampled("gaussian", Poisson(1))),  # type: ignore[arg-type]
    ("sampling", lambda: Sampled(GAUSSIAN, Fraction(1, 2))),  # type: ignore[arg-type]
    ("sampling", lambda: Sampled(Repeated(Sampled(GAUSSIAN, Poisson(1)), 2), FixedSize(1, 2))),
]


@pytest.mark.parametrize(("name", "build"), BAD)
def test_a_parameter_out_of_range_is_refused_by_name(name: str, build: Callable[[], object]) -> None:
    with pytest.raises(BadParameters, match=name):
        build()


def test_components_too_small_for_the_lattice_are_refused() -> None:
    assert GaussianEvent(90, 1, 1, components=10, draws=10).components == 10
    with pytest.raises(NoiseTooCoarse, match="10 components"):
        GaussianEvent(Fraction(899, 10), 1, 1, components=10, draws=10)


@pytest.mark.parametrize(
    ("reason", "canonical"),
    [
        ("canonical form", 1),
        ("canonical form", "gaussian"),
        ("canonical form", ["poisson", "1/2"]),
        ("canonical form", [["pure", "1/2"]]),
        ("unknown kind", ["cauchy", "1/2"]),
        ("lowest terms", ["pure", "2/4"]),
        ("lowest terms", ["zcdp", 3]),
        ("lowest terms", ["pure", "01/2"]),
        ("finite number", ["pure", "1/0"]),
        ("float", ["pure", 0.5]),
        ("bool", ["repeated", ["pure", "1/2"], True]),
        ("NoneType", ["pure", None]),
        ("1 fields", ["pure", "1/2", "1/3"]),
        ("1 fields", ["pure"]),
        ("Fraction", ["pure", "half"]),
        ("events", ["composed", ["pure", "1/2"]]),
        ("events", ["composed", [["poisson", "1/2"]]]),
        ("sigma2", ["gaussian", "-1/1", "16/1", 10, 3, 30, "system", "survivors"]),
    ],
)
def test_a_form_that_is_not_canonical_is_refused_with_the_reason(reason: str, canonical: object) -> None:
    with pytest.raises(BadParameters, match=reason):
        Event.from_canonical(canonical)


def test_a_form_nested_without_end_is_refused() -> None:
    canonical: object = ["pure", "1/2"]
    for _ in range(5000):
        canonical = ["repeated", canonical, 2]
    with pytest.raises(BadParameters, match="64 deep"):
        Event.from_canonical(canonical)


def test_an_event_that_holds_a_float_has_no_canonical_form() -> None:
    @dataclass(frozen=True, slots=True)
    class Loose(Event):
        tag: ClassVar[str] = "loose"
        sigma: float

    with pytest.raises(BadParameters, match="float"):
        Loose(0.5).to_canonical()


def test_events_without_end_are_refused_where_they_are_made() -> None:
    deep: Event = GaussianEvent.for_multiplier(1)
    for _ in range(46):
        deep = Repeated(deep, 1)
    with pytest.raises(BadParameters, match="nests at most 48 deep"):
        Repeated(deep, 1)
    accountant = RdpAccountant(Unit("zero-out"))
    accountant.compose(deep)
    assert Event.from_canonical(deep.to_canonical()) == deep
    assert RdpAccountant.from_state(accountant.state()).state() == accountant.state()
    wide: Event = GaussianEvent.for_multiplier(1)
    for _ in range(20):
        wide = Composed((wide, wide))
    with pytest.raises(BadParameters, match="at most 1048576 parts"):
        Composed((wide, wide))
