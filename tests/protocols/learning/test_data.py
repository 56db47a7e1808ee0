"""Data: the bundled sets are the known ones, shares partition, skew is skew, features see one image at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from protocols.errors import MissingExtra, Misused
from protocols.learning.data import (
    Dealt,
    Examples,
    Holdout,
    breast_cancer,
    deal_dirichlet,
    deal_iid,
    digits,
    holdout,
    orientation_features,
    split_dirichlet,
    split_iid,
    split_sizes,
    standardised,
)


def numbered(count: int, classes: int = 4) -> Examples:
    """Examples that carry their own row number."""
    labels = np.random.default_rng(5).integers(0, classes, count)
    return Examples(np.arange(count, dtype=np.float64).reshape(-1, 1), labels, classes)


def rows_of(*shares: Examples) -> list[int]:
    return sorted(int(row) for share in shares for row in share.features[:, 0])


def need_sklearn() -> None:
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")


# Known answers


def test_digits_are_the_bundled_ones() -> None:
    need_sklearn()
    found = digits()
    # Counts per class as printed in the data set's own description (UCI optical recognition, test part).
    assert found.features.shape == (1797, 64)
    assert np.bincount(found.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (found.features.min(), found.features.max()) == (0.0, 1.0)


def test_breast_cancer_is_the_bundled_one() -> None:
    need_sklearn()
    found = breast_cancer()
    assert found.features.shape == (569, 30)
    assert np.bincount(found.labels).tolist() == [212, 357]


# Splits


@given(
    count=st.integers(2, 60), clients=st.integers(1, 12), seed=st.integers(0, 99), alpha=st.sampled_from([0.05, 1, 50])
)
def test_every_split_gives_each_example_to_exactly_one_client(
    count: int, clients: int, seed: int, alpha: float
) -> None:
    clients = min(clients, count)
    examples = numbered(count)
    for shares in (
        split_iid(examples, clients, np.random.default_rng(seed)),
        split_dirichlet(examples, clients, alpha, np.random.default_rng(seed)),
    ):
        assert len(shares) == clients
        assert all(len(share) for share in shares)
        assert rows_of(*shares) == list(range(count))
        assert all(share.labels[0] == examples.labels[int(share.features[0, 0])] for share in shares)


@given(count=st.integers(2, 60), fraction=st.floats(0.3, 0.7), seed=st.integers(0, 99))
def test_training_and_test_part_are_disjoint_and_complete(count: int, fraction: float, seed: int) -> None:
    parts = holdout(numbered(count), fraction, np.random.default_rng(seed))
    assert rows_of(parts.train, parts.test) == list(range(count))
    assert len(parts.test) == round(fraction * count)


def test_equal_shares_differ_by_at_most_one() -> None:
    sizes = {len(share) for share in split_iid(numbered(103), 10, np.random.default_rng(1))}
    assert sizes == {10, 11}


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 9))
def test_shares_of_given_sizes_have_them_and_divide_all(sizes: list[int], seed: int) -> None:
    examples = numbered(sum(sizes))
    shares = split_sizes(examples, sizes, np.random.default_rng(seed))
    assert [len(share) for share in shares] == sizes
    assert rows_of(*shares) == list(range(len(examples)))
    assert Dealt(dict(enumerate(shares)), examples).weights == dict(enumerate(sizes))


@pytest.mark.parametrize("sizes", [[], [10, 0], [11, -1], [3, 3], [5, 6]])
def test_sizes_that_do_not_divide_the_examples_are_refused(sizes: list[int]) -> None:
    with pytest.raises(Misused, match=f"add up to {sum(sizes)}; they must be positive and give 10"):
        split_sizes(numbered(10), sizes, np.random.default_rng(0))


def distance_from_the_mix(shares: tuple[Examples, ...], classes: int) -> float:
    """Mean total variation between a client's labels and everybody's, weighted by size."""
    counts = np.array([np.bincount(share.labels, minlength=classes) for share in shares])
    everybody = counts.sum(axis=0) / counts.sum()
    own = counts / counts.sum(axis=1, keepdims=True)
    distances = np.abs(own - everybody).sum(axis=1) / 2
    return float(np.average(distances, weights=counts.sum(axis=1)))


def test_small_alpha_gives_few_classes_and_large_alpha_the_common_mix() -> None:
    examples = numbered(20_000, classes=10)
    rng = np.random.default_rng(2)
    skews = [distance_from_the_mix(split_dirichlet(examples, 20, alpha, rng), 10) for alpha in (0.05, 0.5, 5, 500)]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.6
    assert skews[-1] < 0.05
    assert distance_from_the_mix(split_iid(examples, 20, rng), 10) < 0.06


def test_the_proportions_have_the_variance_of_a_dirichlet() -> None:
    # Var of one of K symmetric Dirichlet(alpha) parts is (K - 1) / (K^2 (K alpha + 1)): 0.0106 for K = 8, alpha = 1.
    # The sample variance of 8 x 150 parts lies within a tenth of it with a margin of four of its errors.
    examples = Examples(np.zeros((4000, 1)), np.zeros(4000, np.int64), 1)
    rng = np.random.default_rng(8)
    parts = [len(share) / 4000 for _ in range(400) for share in split_dirichlet(examples, 8, 1.0, rng)]
    expected = 7 / (64 * 9)
    assert np.mean((np.array(parts) - 1 / 8) ** 2) == pytest.approx(expected, rel=0.1)


def test_a_row_lands_in_the_test_part_uniformly() -> None:
    counts = np.zeros(12)
    for seed in range(600):
        parts = holdout(numbered(12), 0.25, np.random.default_rng(seed))
        counts[parts.test.features[:, 0].astype(int)] += 1
    # False alarm below 10^-6; drawing the first quarter instead of a random one gives p = 0.
    assert chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("deal", [deal_iid, deal_dirichlet])
def test_dealing_is_a_function_of_the_seed(deal: Callable[..., Dealt]) -> None:
    one, two, other = (deal(numbered(200), 9, seed) for seed in (3, 3, 4))
    assert sorted(one.clients) == list(range(9))
    assert rows_of(one.public, *one.clients.values()) == list(range(200))
    assert len(one.public) == 50
    assert all(np.array_equal(one.clients[who].features, two.clients[who].features) for who in range(9))
    assert rows_of(one.public) != rows_of(other.public)


# Features


def test_features_of_digits_have_ninety_columns_and_norm_three() -> None:
    need_sklearn()
    found = orientation_features(digits())
    assert found.features.shape == (1797, 90)
    assert np.allclose(np.linalg.norm(found.features, axis=1), 3.0, rtol=1e-12, atol=0)


def images(seed: int = 1, count: int = 6) -> Examples:
    return Examples(np.random.default_rng(seed).random((count, 64)), np.zeros(count, np.int64), 1)


def test_features_of_an_image_do_not_depend_on_the_others() -> None:
    examples = images()
    together = orientation_features(examples).features
    for row in range(len(examples)):
        alone = orientation_features(examples.take(np.array([row]))).features[0]
        assert np.allclose(alone, together[row], rtol=0, atol=1e-14)


@given(strength=st.floats(0.05, 20))
def test_features_do_not_depend_on_how_strong_the_ink_is(strength: float) -> None:
    examples = images()
    stronger = Examples(strength * examples.features, examples.labels, 1)
    assert np.allclose(
        orientation_features(stronger).features, orientation_features(examples).features, rtol=0, atol=1e-12
    )


def test_features_of_a_turned_image_are_another_point() -> None:
    examples = images()
    turned = Examples(examples.features.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64), examples.labels, 1)
    away = orientation_features(turned).features - orientation_features(examples).features
    assert np.linalg.norm(away, axis=1).min() > 0.5


def test_opposite_edges_differ_in_odd_harmonics_only() -> None:
    # Inverting an image (inside the frame of zeros) turns each inner gradient by half a turn: harmonic 2 is
    # unchanged, 1 and 3 change sign. A centred blob keeps the frame out of it.
    bump = np.zeros((8, 8))
    bump[2:6, 2:6] = 1.0
    both = Examples(np.array([bump.ravel(), -bump.ravel()]), np.zeros(2, np.int64), 1)
    one, two = orientation_features(both).features.reshape(2, 6, 15)
    assert np.allclose(one[2:4], two[2:4], rtol=0, atol=1e-12)
    assert np.allclose(one[[0, 1, 4, 5]], -two[[0, 1, 4, 5]], rtol=0, atol=1e-12)


def test_a_blank_image_has_no_features() -> None:
    blank = Examples(np.zeros((1, 64)), np.zeros(1, np.int64), 1)
    assert not orientation_features(blank).features.any()


def test_standardising_uses_the_training_part_alone() -> None:
    rng = np.random.default_rng(6)
    train = Examples(np.c_[rng.normal(5, 3, 50), np.full(50, 2.0)], np.zeros(50, np.int64), 1)
    test = Examples(np.array([[5.0, 2.0], [1e6, 3.0]]), np.zeros(2, np.int64), 1)
    done = standardised(Holdout(train, test))
    assert done.train.features[:, 0].mean() == pytest.approx(0, abs=1e-14)
    assert done.train.features[:, 0].std() == pytest.approx(1)
    mean, std = train.features[:, 0].mean(), train.features[:, 0].std()
    assert done.test.features[1].tolist() == pytest.approx([(1e6 - mean) / std, 1.0])


# Errors


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.zeros((2, 3)), np.zeros(3, np.int64)),
        (np.zeros(3), np.zeros(3, np.int64)),
        (np.zeros((2, 1)), np.zeros((2, 1), np.int64)),
    ],
)
def test_rows_and_labels_that_disagree_are_refused(features: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(Misused, match="are not n rows and n labels"):
        Examples(features, labels, 10)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_its_classes_is_refused(label: int) -> None:
    with pytest.raises(Misused, match=r"expected 0\.\.2"):
        Examples(np.zeros((2, 1)), np.array([0, label]), 3)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, 0.01, 0.99, float("nan")])
def test_a_holdout_with_an_empty_part_is_refused(fraction: float) -> None:
    with pytest.raises(Misused, match="leaves a part empty"):
        holdout(numbered(10), fraction, np.random.default_rng(0))


@pytest.mark.parametrize("clients", [0, -1, 11])
def test_more_clients_than_examples_are_refused(clients: int) -> None:
    for split in (
        lambda rng: split_iid(numbered(10), clients, rng),
        lambda rng: split_dirichlet(numbered(10), clients, 1, rng),
    ):
        with pytest.raises(Misused, match=f"{clients} clients cannot share 10 examples"):
            split(np.random.default_rng(0))


@pytest.mark.parametrize("alpha", [0, -1, float("inf"), float("nan")])
def test_an_alpha_that_is_no_positive_number_is_refused(alpha: float) -> None:
    with pytest.raises(Misused, match="alpha is"):
        split_dirichlet(numbered(10), 2, alpha, np.random.default_rng(0))


def test_dealt_data_with_somebody_empty_is_refused() -> None:
    some, none = numbered(3), numbered(3).take(np.array([], np.int64))
    with pytest.raises(Misused, match=r"clients without examples: \[1\]"):
        Dealt({0: some, 1: none}, some)
    with pytest.raises(Misused, match="0 public examples"):
        Dealt({0: some}, none)
    with pytest.raises(Misused, match="0 clients"):
        Dealt({}, some)


def test_columns_that_are_no_square_image_are_refused() -> None:
    with pytest.raises(Misused, match="65 columns are no square image"):
        orientation_features(Examples(np.zeros((1, 65)), np.zeros(1, np.int64), 1))


@pytest.mark.parametrize("load", [digits, breast_cancer])
def test_scikit_learn_that_is_not_installed_is_named(
    load: Callable[[], Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install .*\[report\]'"):
        load()
