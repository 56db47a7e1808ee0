"""What every server rule must do, whatever it remembers; a new one subclasses and gives `strategy`."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from protocols.errors import WrongUpdate
from protocols.learning.models import Parameters
from protocols.learning.strategies import Strategy

MODEL: Parameters = [np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([0.25, -0.125])]


def means(rounds: int) -> list[Parameters]:
    """The same made-up mean updates for every rule, with zeros and both signs among them."""
    rng = np.random.default_rng(3)
    return [[rng.normal(size=(2, 2)), np.array([0.0, rng.normal()])] for _ in range(rounds)]


def copies(arrays: Parameters) -> Parameters:
    """Arrays that nobody else can write to."""
    return [array.copy() for array in arrays]


def equal(one: Parameters, two: Parameters) -> bool:
    """Bit for bit."""
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, two, strict=True))


class StrategyContract:
    """Subclasses override `strategy` and `slow`, the rule's own definition on one Python number at a time."""

    def strategy(self) -> Strategy:
        """The rule under test."""
        raise NotImplementedError

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        """One coordinate after all changes, in numbers of fifty digits, from the paper."""
        raise NotImplementedError

    def run(self, model: Parameters, changes: list[Parameters]) -> Parameters:
        """The rule over several rounds."""
        rule = self.strategy()
        state = rule.start(model)
        for change in changes:
            model, state = rule.step(model, change, state)
        return model

    def test_twenty_rounds_equal_the_definition_coordinate_by_coordinate(self) -> None:
        changes = means(20)
        found = self.run(MODEL, changes)
        for place, array in enumerate(MODEL):
            for index in np.ndindex(array.shape):
                with localcontext(prec=50):
                    expected = self.slow(Decimal(array[index]), [Decimal(change[place][index]) for change in changes])
                # The rule's 1 - beta is a double already; twenty steps keep thirteen digits of it.
                assert float(found[place][index]) == pytest.approx(float(expected), rel=1e-13, abs=1e-13)

    def test_a_step_changes_none_of_its_arguments(self) -> None:
        rule = self.strategy()
        model, mean = copies(MODEL), copies(means(1)[0])
        state = rule.start(model)
        _, state = rule.step(model, mean, state)
        before = [copies(part) for part in state]
        rule.step(model, mean, state)
        assert equal(model, MODEL)
        assert equal(mean, means(1)[0])
        assert all(equal(*pair) for pair in zip(state, before, strict=True))

    def test_a_step_is_a_function_of_its_arguments(self) -> None:
        assert equal(self.run(MODEL, means(3)), self.run(copies(MODEL), means(3)))

    def test_no_change_moves_nothing(self) -> None:
        still = [[np.zeros((2, 2)), np.zeros(2)]] * 3
        assert equal(self.run(MODEL, still), MODEL)

    def test_the_model_moves_with_the_mean(self) -> None:
        mean = means(1)[0]
        moved = self.run(MODEL, [mean])
        for after, before, change in zip(moved, MODEL, mean, strict=True):
            assert np.array_equal(np.sign(after - before), np.sign(change))

    def test_the_dtype_of_the_model_is_kept(self) -> None:
        narrow: Any = [array.astype(np.float32) for array in MODEL]
        assert [array.dtype for array in self.run(narrow, means(2))] == [np.float32, np.float32]

    @pytest.mark.parametrize(
        "mean",
        [[], MODEL[:1], [MODEL[1], MODEL[0]], [np.zeros((2, 2)), np.zeros(1)], [np.zeros((1, 2)), np.zeros(2)]],
        ids=["empty", "short", "swapped", "broadcastable bias", "broadcastable weight"],
    )
    def test_a_mean_of_other_shapes_is_refused(self, mean: Parameters) -> None:
        rule = self.strategy()
        with pytest.raises(WrongUpdate, match="the mean has shapes"):
            rule.step(MODEL, mean, rule.start(MODEL))
