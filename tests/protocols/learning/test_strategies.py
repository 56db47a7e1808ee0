"""Server rules: by hand, against the papers one coordinate at a time, against flwr's values, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from protocols.errors import Misused
from protocols.learning.strategies import (
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedOpt,
    FedProx,
    FedSGD,
    FedYogi,
    FlowerAdam,
    Local,
    Strategy,
)
from tests.contracts.strategies import StrategyContract

LOCAL = Local(rate=0.1)


def added(value: Decimal, changes: list[Decimal], rate: str) -> Decimal:
    """x + eta sum D."""
    for change in changes:
        value = value + Decimal(rate) * change
    return value


class TestFedSGD(StrategyContract):
    def strategy(self) -> Strategy:
        return FedSGD(rate=0.3)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        return added(value, changes, "0.3")


class TestFedAvg(StrategyContract):
    def strategy(self) -> Strategy:
        return FedAvg(LOCAL)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        return added(value, changes, "1.0")


class TestFedAvgWithServerRate(StrategyContract):
    def strategy(self) -> Strategy:
        return FedAvg(LOCAL, rate=0.7)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        return added(value, changes, "0.7")


class TestFedProx(StrategyContract):
    def strategy(self) -> Strategy:
        return FedProx(LOCAL, mu=0.5)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        return added(value, changes, "1.0")


class TestFedAvgM(StrategyContract):
    def strategy(self) -> Strategy:
        return FedAvgM(LOCAL, rate=0.5, momentum=0.8)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        velocity = Decimal(0)
        for change in changes:
            velocity = Decimal("0.8") * velocity + change
            value += velocity / 2
        return value


SecondMoment = Callable[[Decimal, Decimal], Decimal]


def adaptive(
    value: Decimal,
    changes: list[Decimal],
    beta1: str,
    second_moment: SecondMoment,
    start: str = "1e-6",
    corrected: Callable[[int], Decimal] = lambda r: Decimal(1),
) -> Decimal:
    """Reddi et al., algorithm 2, with eta 0.1 and tau 1e-3; `corrected` multiplies eta in round r = 1, 2, ..."""
    first, second, beta = Decimal(0), Decimal(start), Decimal(beta1)
    for r, change in enumerate(changes, start=1):
        first = beta * first + (1 - beta) * change
        second = second_moment(second, change)
        value += corrected(r) * first / (second.sqrt() + Decimal("1e-3")) / 10
    return value


def adam(v: Decimal, d: Decimal) -> Decimal:
    return (99 * v + d * d) / 100


class TestFedAdam(StrategyContract):
    def strategy(self) -> Strategy:
        return FedAdam(LOCAL)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        return adaptive(value, changes, "0.9", adam)


class TestFlowerAdam(StrategyContract):
    def strategy(self) -> Strategy:
        return FlowerAdam(LOCAL)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        def corrected(r: int) -> Decimal:
            return (1 - Decimal("0.99") ** (r + 1)).sqrt() / (1 - Decimal("0.9") ** (r + 1))

        return adaptive(value, changes, "0.9", adam, "0", corrected)


class TestFedYogi(StrategyContract):
    def strategy(self) -> Strategy:
        return FedYogi(LOCAL)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        def second(v: Decimal, d: Decimal) -> Decimal:
            gap = v - d * d
            return v - d * d * ((gap > 0) - (gap < 0)) / 100

        return adaptive(value, changes, "0.9", second)


class TestFedAdagrad(StrategyContract):
    def strategy(self) -> Strategy:
        return FedAdagrad(LOCAL)

    def slow(self, value: Decimal, changes: list[Decimal]) -> Decimal:
        return adaptive(value, changes, "0", lambda v, d: v + d * d)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (FedAdagrad(LOCAL, rate=0.1, initial_second_moment=0.0), (0.0998004, 0.1621915)),
        (FlowerAdam(LOCAL, rate=0.1), (0.0727902, 0.1565833)),
        (FedYogi(LOCAL, rate=0.01, initial_second_moment=0.0), (0.0098039, 0.0230422)),
        (FedAvgM(LOCAL, momentum=0.9), (0.5, 0.95)),
    ],
    ids=["adagrad", "adam", "yogi", "momentum"],
)
def test_two_rounds_towards_one_half_equal_what_flwr_gives(strategy: Strategy, expected: tuple[float, ...]) -> None:
    # Every client answers 0.5, so the mean change is 0.5 - x. flwr 1.41 starts its second moment at 0 and
    # computes partly in float32: seven digits.
    model = [np.zeros(1)]
    state, found = strategy.start(model), []
    for _ in range(2):
        model, state = strategy.step(model, [0.5 - model[0]], state)
        found.append(float(model[0][0]))
    assert found == pytest.approx(expected, abs=6e-8, rel=1e-6)


def test_fedavg_with_rate_one_is_the_mean_of_the_models() -> None:
    server = [np.array([1.0, 2.0])]
    locals_ = [np.array([2.0, 2.0]), np.array([0.0, 5.0]), np.array([4.0, -1.0])]
    mean = [np.mean([local - server[0] for local in locals_], axis=0)]
    model, _ = FedAvg(LOCAL).step(server, mean, ())
    assert model[0].tolist() == [2.0, 2.0]


def test_the_local_work_of_each_rule_is_its_own() -> None:
    assert FedSGD(rate=0.3).local == Local(rate=1.0, epochs=1, batch_size=None)
    assert FedProx(Local(0.1, 5), mu=0.5).local == Local(0.1, 5, proximal=0.5)
    assert FedAvg(Local(0.1, 5, 16)).local == Local(0.1, 5, 16)


def test_the_float64_sum_is_rounded_once_to_a_narrow_model() -> None:
    # In float32, 1 + 2^-25 twice stays 1; added in float64 first it is the nearest float32 of 1 + 2^-24 * 1.5.
    model: Any = [np.ones(1, np.float32)]
    moved, _ = FedAvg(LOCAL).step(model, [np.full(1, 1.5 * 2.0**-24)], ())
    assert float(moved[0][0]) == 1 + 2.0**-23


BAD = [
    (lambda: Local(rate=0), "local rate is 0"),
    (lambda: Local(rate=math.nan), "local rate is nan"),
    (lambda: Local(rate=math.inf), "local rate is inf"),
    (lambda: Local(0.1, epochs=0), "epochs is 0"),
    (lambda: Local(0.1, batch_size=0), "batch_size is 0"),
    (lambda: Local(0.1, proximal=-1), "proximal is -1"),
    (lambda: FedSGD(rate=-1), "rate is -1"),
    (lambda: FedAvg(LOCAL, rate=0), "rate is 0"),
    (lambda: FedProx(LOCAL, mu=0), "mu is 0"),
    (lambda: FedProx(LOCAL, mu=1, rate=0), "rate is 0"),
    (lambda: FedAvgM(LOCAL, rate=0), "rate is 0"),
    (lambda: FedAvgM(LOCAL, momentum=1), "momentum is 1, expected 0 <= momentum < 1"),
    (lambda: FedAdam(LOCAL, rate=0), "rate is 0"),
    (lambda: FedAdam(LOCAL, tau=0), "tau is 0"),
    (lambda: FedYogi(LOCAL, beta1=1), "beta1 is 1"),
    (lambda: FedAdagrad(LOCAL, beta2=-0.1), r"beta2 is -0\.1"),
    (lambda: FedAdam(LOCAL, initial_second_moment=-1), "initial_second_moment is -1"),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=[words for _, words in BAD])
def test_a_number_outside_its_range_is_named(make: Callable[[], object], words: str) -> None:
    with pytest.raises(Misused, match=words):
        make()


def test_the_common_part_of_the_adaptive_rules_is_no_rule() -> None:
    with pytest.raises(TypeError, match="second_moment"):
        FedOpt(LOCAL)  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Local(0.1, epochs="3"), "epochs is '3', it must be an integer of at least 1"),  # type: ignore[arg-type]  # a slip of the pen
        (lambda: FedProx(Local(0.1), mu="0.1"), "mu is '0.1', expected a number"),  # type: ignore[arg-type]  # a slip of the pen
        (lambda: FedAvgM(Local(0.1), momentum="0.9"), "momentum is '0.9', expected a number"),  # type: ignore[arg-type]  # a slip of the pen
    ],
)
def test_text_is_no_number(make: Any, words: str) -> None:
    with pytest.raises(Misused, match=words):
        make()
