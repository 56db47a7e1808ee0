"""What every accountant must do, whatever mathematics is inside; a new one subclasses and gives `make`."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dp.accountant import Accountant, Relation, Unit
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import Composed, Event, GaussianEvent, Repeated

multipliers = st.fractions(Fraction(1, 2), 40, max_denominator=64)
deltas = st.integers(2, 12).map(lambda power: Fraction(1, 10**power))
ZERO_OUT = Unit("zero-out")

# Hypothesis sees one function called on several classes; with derandomised examples that is harmless.
inherited = settings(suppress_health_check=[HealthCheck.differing_executors])


def lattice_gaussian(sigma2: int, l2_squared: int = 10**6, components: int = 1, draws: int = 0) -> GaussianEvent:
    """Integer noise as a round of real clients would make it."""
    return GaussianEvent(sigma2, l2_squared, d=1024, components=components, draws=draws)


class AccountantContract:
    """Subclasses set `refused`, an event this accountant has no proof for, and override `make`."""

    refused: Event

    def make(self, unit: Unit) -> Accountant:
        """A fresh accountant for the unit."""
        raise NotImplementedError

    def composed(self, *events: Event, unit: Unit = ZERO_OUT) -> Accountant:
        """A fresh accountant that has seen the events."""
        accountant = self.make(unit)
        for event in events:
            accountant.compose(event)
        return accountant

    def test_nothing_released_costs_nothing(self) -> None:
        accountant = self.composed(Composed(()))
        assert accountant.epsilon("1e-5") == 0.0
        assert accountant.epsilon(0) == 0.0
        assert accountant.delta(0) == 0.0
        assert accountant.interval("1e-5").upper == 0.0

    @pytest.mark.parametrize(("relation", "truth"), [("add-or-remove-one", 7.511275904), ("replace-one", 17.856586830)])
    def test_the_upper_end_is_above_the_truth_under_each_relation(self, relation: str, truth: float) -> None:
        event = Repeated(GaussianEvent.for_multiplier(2), 10)
        interval = self.composed(event, unit=Unit(relation)).interval("1e-5")
        assert interval.upper >= truth - 1e-8
        assert interval.upper <= 1.1 * truth
        assert interval.lower is None or interval.lower <= truth + 1e-8

    @inherited
    @given(multipliers, st.integers(1, 1000), deltas)
    def test_epsilon_falls_with_noise_and_delta_and_grows_with_rounds(
        self, z: Fraction, rounds: int, delta: Fraction
    ) -> None:
        event = GaussianEvent.for_multiplier(z)
        epsilon = self.composed(Repeated(event, rounds)).epsilon(delta)
        slightly = 1.0 + 1e-9
        assert self.composed(Repeated(event, rounds + 1)).epsilon(delta) * slightly >= epsilon
        assert self.composed(Repeated(event, rounds)).epsilon(2 * delta) <= epsilon * slightly
        assert self.composed(Repeated(GaussianEvent.for_multiplier(2 * z), rounds)).epsilon(delta) <= epsilon

    @inherited
    @given(multipliers, st.integers(1, 50), st.integers(1, 50), deltas)
    def test_splitting_and_reordering_rounds_changes_no_bit(
        self, z: Fraction, first: int, second: int, delta: Fraction
    ) -> None:
        one, other = GaussianEvent.for_multiplier(z), GaussianEvent.for_multiplier(z + 1)
        together = self.composed(Repeated(one, first + second), Repeated(other, 3))
        apart = self.composed(
            Repeated(one, second), Composed((other, Composed((Repeated(other, 2), Repeated(one, first)))))
        )
        assert together.epsilon(delta) == apart.epsilon(delta)
        assert together.delta(1) == apart.delta(1)
        assert together.state() == apart.state()

    @inherited
    @given(multipliers, deltas)
    def test_replacing_a_unit_is_removing_one_of_twice_the_size(self, z: Fraction, delta: Fraction) -> None:
        replaced = self.composed(GaussianEvent.for_multiplier(z), unit=Unit("replace-one"))
        removed = self.composed(GaussianEvent.for_multiplier(z / 2), unit=Unit("add-or-remove-one"))
        assert replaced.epsilon(delta) == removed.epsilon(delta)

    @inherited
    @given(multipliers, st.integers(1, 300), deltas)
    def test_delta_at_the_returned_epsilon_is_within_the_asked_delta(
        self, z: Fraction, rounds: int, delta: Fraction
    ) -> None:
        accountant = self.composed(Repeated(GaussianEvent.for_multiplier(z), rounds))
        assert accountant.delta(accountant.epsilon(delta)) <= float(delta) * (1 + 1e-6)

    def test_the_state_is_json_without_floats_and_rebuilds_the_accountant(self) -> None:
        accountant = self.composed(
            lattice_gaussian(10**6, components=100, draws=102400), Repeated(GaussianEvent.for_multiplier("1.1"), 7)
        )
        text = json.dumps(accountant.state())
        assert "." not in text
        again = type(accountant).from_state(json.loads(text))
        assert again.state() == accountant.state()
        assert again.unit == accountant.unit
        assert again.interval("1e-6") == accountant.interval("1e-6")

    def test_a_refused_event_leaves_no_trace(self) -> None:
        accountant = self.composed(GaussianEvent.for_multiplier(1))
        before, price = accountant.state(), accountant.epsilon("1e-5")
        with pytest.raises(UnsupportedEvent):
            accountant.compose(Composed((GaussianEvent.for_multiplier(2), self.refused)))
        assert accountant.state() == before
        assert accountant.epsilon("1e-5") == price

    def test_noise_that_leaves_with_its_client_is_refused_where_clients_are_removed(self) -> None:
        shares = lattice_gaussian(10**6, components=100)
        with pytest.raises(UnsupportedEvent, match="zero-out"):
            self.composed(shares, unit=Unit(Relation.ADD_REMOVE))
        kept, replaced = self.composed(shares), self.composed(shares, unit=Unit(Relation.REPLACE_ONE))
        assert kept.epsilon("1e-5") < replaced.epsilon("1e-5") < math.inf

    def test_imperfect_draws_are_paid_for_and_delta_can_run_out(self) -> None:
        ideal = self.composed(lattice_gaussian(10**6)).epsilon("1e-5")
        drawn = self.composed(lattice_gaussian(10**6, draws=2**40)).epsilon("1e-5")
        coarse = self.composed(lattice_gaussian(10**6, draws=2**100)).epsilon("1e-5")
        hopeless = self.composed(lattice_gaussian(10**6, draws=2**126)).epsilon("1e-5")
        assert ideal <= drawn < ideal + 1e-9
        assert ideal + 1e-6 < coarse < ideal + 1
        assert hopeless == math.inf
        assert self.composed(lattice_gaussian(10**6, draws=2**126)).delta(1) >= 0.5

    @pytest.mark.parametrize("delta", [-0.1, 1, 1.5, "nan", math.inf, None])
    def test_a_delta_outside_its_range_is_refused(self, delta: float) -> None:
        with pytest.raises(BadParameters, match="delta"):
            self.composed(GaussianEvent.for_multiplier(1)).epsilon(delta)
        with pytest.raises(BadParameters, match="delta"):
            self.composed(GaussianEvent.for_multiplier(1)).interval(delta)

    def test_a_negative_epsilon_is_refused(self) -> None:
        with pytest.raises(BadParameters, match="epsilon"):
            self.composed(GaussianEvent.for_multiplier(1)).delta(-1)

    def test_an_epsilon_beyond_all_doubles_costs_no_more_delta_than_a_large_one(self) -> None:
        composed = self.composed(GaussianEvent.for_multiplier(1))
        assert composed.delta(10**400) == composed.delta("1e400") == composed.delta(2**1000) <= composed.delta(10)

    def test_only_events_can_be_composed(self) -> None:
        with pytest.raises(BadParameters, match="events"):
            self.composed("gaussian")  # type: ignore[arg-type]

    def test_more_releases_than_anybody_makes_are_refused(self) -> None:
        with pytest.raises(BadParameters, match="releases"):
            self.composed(Repeated(Repeated(GaussianEvent.for_multiplier(1), 2**40), 2**40))

    @pytest.mark.parametrize(
        "state", [None, (), ("zero-out", "client"), ("zero-out", "client", ("pure", 1.5)), ("zero", "client", ())]
    )
    def test_a_foreign_state_is_refused(self, state: object) -> None:
        with pytest.raises(BadParameters):
            type(self.make(ZERO_OUT)).from_state(state)
