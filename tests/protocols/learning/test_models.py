"""Models: by hand, against finite differences, against torch."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MissingExtra, Misused, WrongUpdate
from protocols.learning.data import Examples
from protocols.learning.models import Dense, Parameters, TorchDense, mlp, softmax_regression

NETWORKS = [softmax_regression(5, 3), mlp(5, 7, 3), Dense((5, 6, 4, 3))]
IDS = ["softmax", "one hidden layer", "two hidden layers"]


def some_examples(count: int = 11) -> Examples:
    rng = np.random.default_rng(1)
    return Examples(rng.normal(size=(count, 5)), rng.integers(0, 3, count), 3)


def somewhere(network: Dense, seed: int = 2) -> Parameters:
    """Parameters that are not the start's zeros."""
    rng = np.random.default_rng(seed)
    return [array + rng.normal(size=array.shape) for array in network.start(rng)]


# Known answers


def test_softmax_regression_at_zero_knows_nothing() -> None:
    model = softmax_regression(5, 3)
    score = model.score(model.start(np.random.default_rng(0)), some_examples())
    assert score.loss == pytest.approx(np.log(3), rel=1e-15)


def test_the_gradient_of_softmax_regression_by_hand() -> None:
    # One example (2, -1) of class 1 of 2 at zero: probabilities 1/2, so dL/dlogits = (1/2, -1/2).
    model = softmax_regression(2, 2)
    one = Examples(np.array([[2.0, -1.0]]), np.array([1]), 2)
    weights, bias = model.gradient([np.zeros((2, 2)), np.zeros(2)], one)
    assert weights.tolist() == [[1.0, -1.0], [-0.5, 0.5]]
    assert bias.tolist() == [0.5, -0.5]


def test_a_relu_network_by_hand() -> None:
    # x = 1: hidden (2, relu(-3) = 0), logits (2, 4); the dead unit passes no gradient back.
    model = mlp(1, 2, 2)
    parameters = [
        np.array([[1.0, -4.0]]),
        np.array([1.0, 1.0]),
        np.array([[1.0, 2.0], [5.0, 7.0]]),
        np.array([0.0, 0.0]),
    ]
    one = Examples(np.array([[1.0]]), np.array([0]), 2)
    assert model.logits(parameters, one.features).tolist() == [[2.0, 4.0]]
    first, bias, second, _ = model.gradient(parameters, one)
    p = 1 / (1 + np.exp(-2.0))  # probability of class 1
    assert first[0].tolist() == pytest.approx([p, 0.0])
    assert bias.tolist() == pytest.approx([p, 0.0])
    assert second[0].tolist() == pytest.approx([-2 * p, 2 * p])
    assert second[1].tolist() == [0.0, 0.0]


def test_the_score_counts_right_answers_and_averages_their_surprise() -> None:
    model = softmax_regression(2, 2)
    identity = [np.eye(2), np.zeros(2)]
    seen = Examples(np.array([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), np.array([0, 1, 1]), 2)
    score = model.score(identity, seen)
    surprise = [np.log1p(np.exp(-3)), np.log1p(np.exp(-1)), np.log1p(np.exp(2))]
    assert score.accuracy == 2 / 3
    assert score.loss == pytest.approx(np.mean(surprise), rel=1e-14)


def test_huge_logits_do_not_overflow() -> None:
    model = softmax_regression(1, 2)
    score = model.score([np.array([[1e4, -1e4]]), np.zeros(2)], Examples(np.ones((1, 1)), np.array([1]), 2))
    assert score.loss == 2e4


def test_without_hidden_layer_the_start_is_zero_and_with_one_it_is_not() -> None:
    rng = np.random.default_rng(4)
    assert not any(array.any() for array in softmax_regression(5, 3).start(rng))
    first, bias, second, _ = mlp(400, 300, 3).start(rng)
    assert first.std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert second.any()
    assert not bias.any()


# Properties


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
def test_the_gradient_is_the_slope_of_the_loss(network: Dense) -> None:
    # Central differences of step 1e-6 err by about 1e-10 here; a relu kink within a step is excluded by the seed.
    examples, parameters, step = some_examples(), somewhere(network), 1e-6
    for place, slope in enumerate(network.gradient(parameters, examples)):
        for index in np.ndindex(slope.shape):
            ends = []
            for sign in (1, -1):
                moved = [array.copy() for array in parameters]
                moved[place][index] += sign * step
                ends.append(network.score(moved, examples).loss)
            assert slope[index] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 9))
def test_the_gradient_over_a_union_is_the_weighted_mean_of_the_parts(network: Dense, seed: int, count: int) -> None:
    examples, parameters = some_examples(10), somewhere(network, seed)
    rows = np.arange(10)
    parts = [network.gradient(parameters, examples.take(part)) for part in (rows[:count], rows[count:])]
    for whole, one, two in zip(network.gradient(parameters, examples), *parts, strict=True):
        assert np.allclose(whole, (count * one + (10 - count) * two) / 10, rtol=0, atol=1e-12 * (1 + abs(whole).max()))


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
def test_torch_gives_the_same_gradients_and_scores(network: Dense) -> None:
    pytest.importorskip("torch", reason="extra 'torch' is not installed")
    other = TorchDense(network)
    examples = some_examples()
    for seed in range(5):
        parameters = somewhere(network, seed)
        for mine, theirs in zip(
            network.gradient(parameters, examples), other.gradient(parameters, examples), strict=True
        ):
            assert mine.dtype == theirs.dtype == np.float64
            assert np.abs(mine - theirs).max() < 1e-14
        one, two = network.score(parameters, examples), other.score(parameters, examples)
        assert one.accuracy == two.accuracy
        assert one.loss == pytest.approx(two.loss, rel=1e-14)


def test_torch_starts_where_the_reference_does() -> None:
    network = mlp(5, 7, 3)
    starts = [model.start(np.random.default_rng(9)) for model in (network, TorchDense(network))]
    assert all(np.array_equal(*pair) for pair in zip(*starts, strict=True))


# Errors


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (-1, 2)])
def test_sizes_that_are_no_network_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(Misused, match="expected at least inputs and classes"):
        Dense(sizes)


@pytest.mark.parametrize("act", ["gradient", "score"])
@pytest.mark.parametrize("torch", ["numpy", "torch"])
def test_no_examples_are_refused(act: str, torch: str) -> None:
    network = softmax_regression(5, 3)
    model = network if torch == "numpy" else TorchDense(network)
    with pytest.raises(Misused, match="there are no examples"):
        getattr(model, act)(somewhere(network), some_examples().take(np.array([], np.int64)))


@pytest.mark.parametrize("torch", ["numpy", "torch"])
def test_parameters_of_another_network_are_refused(torch: str) -> None:
    if torch == "torch":
        pytest.importorskip("torch", reason="extra 'torch' is not installed")
    network = softmax_regression(5, 3)
    model = network if torch == "numpy" else TorchDense(network)
    with pytest.raises(WrongUpdate, match=r"parameters have shapes \[\(5, 2\), \(2,\)\]"):
        model.gradient([np.zeros((5, 2)), np.zeros(2)], some_examples())


def test_torch_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    network = softmax_regression(5, 3)
    with pytest.raises(MissingExtra, match=r"pip install .*\[torch\]'"):
        TorchDense(network).gradient(somewhere(network), some_examples())
