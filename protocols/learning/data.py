"""Real data without a download: scikit-learn's bundled copies, a fixed feature map, and how clients share it.

    digits 1797 x 8x8 pixels --orientation_features--> 90 numbers     breast_cancer 569 x 30 measurements
    holdout                       one part for training, one the server keeps for measuring
    split_iid, split_dirichlet, split_sizes    every training example to exactly one client
    deal_iid, deal_dirichlet      both at once, from a seed

Everything random comes from the seeded generator in the arguments: it shapes data, never secrets.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.errors import MissingExtra, Misused

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

ORIENTATIONS = 8
HARMONICS = 3
CELLS = 4
# With a constant input of 1 for the bias, features three times as long let the bias learn more slowly
# than they do: under a shared clip the class counts of a skewed client would otherwise crowd them out.
FEATURE_NORM = 3.0
TEST_FRACTION = 0.25


@dataclass(frozen=True, slots=True)
class Examples:
    """n feature rows in R^d with labels in 0..classes-1.

    Shapes: features float64 (n, d), labels int64 (n,).
    Raises: Misused when rows and labels disagree in number or a label is outside its range.
    """

    features: Floats
    labels: Labels
    classes: int

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.labels.shape != self.features.shape[:1]:
            raise Misused(f"features {self.features.shape} and labels {self.labels.shape} are not n rows and n labels")
        if len(self) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.classes:
            raise Misused(f"labels span {self.labels.min()}..{self.labels.max()}, expected 0..{self.classes - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Rows) -> Examples:
        """The examples of these rows, in this order."""
        return Examples(self.features[rows], self.labels[rows], self.classes)


@dataclass(frozen=True, slots=True)
class Holdout:
    """Examples to train on, and examples nobody trains on."""

    train: Examples
    test: Examples


@dataclass(frozen=True, slots=True)
class Dealt:
    """Each client's own examples by its number, and the examples the server measures with.

    Guarantee: none for `public`: accuracies and stopping depend on it and no epsilon covers it, so it must
        hold no client's data.
    Raises: Misused without clients, or when a client or the server has no examples.
    """

    clients: Mapping[int, Examples]
    public: Examples

    def __post_init__(self) -> None:
        empty = sorted(who for who, share in self.clients.items() if not len(share))
        if not self.clients or empty or not len(self.public):
            raise Misused(
                f"{len(self.clients)} clients, {len(self.public)} public examples, "
                f"clients without examples: {empty}; everybody needs at least one"
            )

    @property
    def weights(self) -> dict[int, int]:
        """How many examples each client has: with these weights a mean of updates is one over all examples."""
        return {who: len(share) for who, share in self.clients.items()}


def digits() -> Examples:
    """1797 handwritten digits as 64 grey values in [0, 1].

    Raises: MissingExtra when scikit-learn is not installed.
    """
    bundle = _bundled("load_digits")
    return Examples(np.asarray(bundle.data, np.float64) / 16.0, np.asarray(bundle.target, np.int64), 10)


def breast_cancer() -> Examples:
    """569 tumours as 30 measurements in their own units; 0 malignant, 1 benign.

    Raises: MissingExtra when scikit-learn is not installed.
    """
    bundle = _bundled("load_breast_cancer")
    return Examples(np.asarray(bundle.data, np.float64), np.asarray(bundle.target, np.int64), 2)


def _bundled(loader: str) -> Any:
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise MissingExtra("report") from error
    return getattr(datasets, loader)()


def holdout(examples: Examples, test_fraction: float, rng: np.random.Generator) -> Holdout:
    """A uniformly random part for testing, the rest for training.

    Raises: Misused when either part would be empty.
    """
    tests = round(test_fraction * len(examples)) if 0 < test_fraction < 1 else 0
    if not 0 < tests < len(examples):
        raise Misused(f"test_fraction {test_fraction} of {len(examples)} examples leaves a part empty: choose 0.1..0.5")
    order = rng.permutation(len(examples))
    return Holdout(examples.take(order[tests:]), examples.take(order[:tests]))


def standardised(parts: Holdout) -> Holdout:
    """(x - mean) / std per column, both taken from the training part alone.

    Guarantee: none. Mean and std are exact statistics of the clients' data and are not covered by any
        epsilon: for private training use a map that looks at one example at a time.
    """
    mean, std = parts.train.features.mean(axis=0), parts.train.features.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    train, test = (
        Examples((part.features - mean) / std, part.labels, part.classes) for part in (parts.train, parts.test)
    )
    return Holdout(train, test)


def deal_iid(examples: Examples, clients: int, seed: int, test_fraction: float = TEST_FRACTION) -> Dealt:
    """`holdout` and `split_iid` from one seed.

    Raises: Misused when a part or a share would be empty.
    """
    rng = np.random.default_rng(seed)
    parts = holdout(examples, test_fraction, rng)
    return Dealt(dict(enumerate(split_iid(parts.train, clients, rng))), parts.test)


def deal_dirichlet(
    examples: Examples, clients: int, seed: int, alpha: float = 1.0, test_fraction: float = TEST_FRACTION
) -> Dealt:
    """`holdout` and `split_dirichlet` from one seed.

    Raises: Misused when a part or a share would be empty, or alpha is no positive number.
    """
    rng = np.random.default_rng(seed)
    parts = holdout(examples, test_fraction, rng)
    return Dealt(dict(enumerate(split_dirichlet(parts.train, clients, alpha, rng))), parts.test)


def orientation_features(examples: Examples) -> Examples:
    """90 numbers per square image: which way its edges run, and where.

    Histograms of gradient direction (8 signed directions, 4 x 4 overlapping cells), square root; then
    harmonics 1..3 over direction, scaled by the root of their order, times the cosine basis over cells.
    The constants of both bases are dropped: they say how much ink there is, not which digit.

    Shapes: features (n, side^2) -> (n, 90), each row of norm 3 (a blank image gives zeros).
    Guarantee: each row depends on one image and on nothing learned, so clients apply it at no cost in
        privacy, and under noise a linear model on it keeps what it loses on pixels.
    Source: Dalal and Triggs, CVPR 2005 (histograms); Tramer and Boneh, ICLR 2021 (why under noise).
    """
    side = round(examples.features.shape[1] ** 0.5)
    if side * side != examples.features.shape[1]:
        raise Misused(f"{examples.features.shape[1]} columns are no square image")
    histograms = np.sqrt(_histograms(examples.features.reshape(-1, side, side)))
    features = np.einsum("ho,nok,ck->nhc", _direction_basis(), histograms, _cell_basis(), optimize=True)
    flat = features.reshape(len(examples), -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return Examples(FEATURE_NORM * flat / np.where(norms > 0, norms, 1.0), examples.labels, examples.classes)


def _histograms(images: Floats) -> Floats:
    """Edge strength per direction and cell: (n, side, side) -> (n, ORIENTATIONS, CELLS^2)."""
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    down, right = np.zeros_like(framed), np.zeros_like(framed)
    down[:, 1:-1] = (framed[:, 2:] - framed[:, :-2]) / 2
    right[:, :, 1:-1] = (framed[:, :, 2:] - framed[:, :, :-2]) / 2
    strength = np.hypot(down, right)
    place = np.arctan2(down, right) / (2 * np.pi) * ORIENTATIONS % ORIENTATIONS
    bins = np.arange(ORIENTATIONS).reshape(1, -1, 1, 1)
    # Circular distance to each bin's direction: an edge between two directions counts for both.
    distance = np.abs((place[:, None] - bins + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2)
    votes = strength[:, None] * np.maximum(0.0, 1.0 - distance)
    window = _windows(framed.shape[1])
    return np.asarray(np.einsum("ax,noxy,by->noab", window, votes, window, optimize=True)).reshape(
        len(images), ORIENTATIONS, CELLS * CELLS
    )


def _windows(pixels: int) -> Floats:
    """CELLS triangles, each two cells wide, over a line of pixels."""
    width = pixels / CELLS
    centres = (np.arange(CELLS) + 0.5) * width - 0.5
    return np.maximum(0.0, 1.0 - np.abs(np.arange(pixels) - centres[:, None]) / width)


def _direction_basis() -> Floats:
    angle = 2 * np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    waves = [
        np.sqrt(order * 2 / ORIENTATIONS) * wave(order * angle)
        for order in range(1, HARMONICS + 1)
        for wave in (np.cos, np.sin)
    ]
    return np.array(waves)


def _cell_basis() -> Floats:
    order, place = np.arange(CELLS)[:, None], np.arange(CELLS)[None, :]
    line = np.sqrt(2 / CELLS) * np.cos(np.pi * order * (place + 0.5) / CELLS)
    line[0] /= np.sqrt(2)
    return np.asarray(np.kron(line, line)[1:])


def split_iid(examples: Examples, clients: int, rng: np.random.Generator) -> tuple[Examples, ...]:
    """Shares of equal size (to within one) drawn uniformly: every client sees the same mix.

    Raises: Misused when there are fewer examples than clients.
    """
    _check_clients(examples, clients)
    return tuple(examples.take(rows) for rows in np.array_split(rng.permutation(len(examples)), clients))


def split_dirichlet(examples: Examples, clients: int, alpha: float, rng: np.random.Generator) -> tuple[Examples, ...]:
    """Per class, proportions over the clients ~ Dirichlet(alpha): small alpha, few classes per client.

    A client that would stay without example is given one by whoever has most.
    Raises: Misused when there are fewer examples than clients, or alpha is no positive number.
    Source: Yurochkin et al., ICML 2019, section 4 (the partition); alpha -> infinity is the equal mix.
    """
    _check_clients(examples, clients)
    if not 0 < alpha < np.inf:
        raise Misused(f"alpha is {alpha}, expected a positive number (0.1 is very skewed, 100 nearly equal)")
    shares: list[list[int]] = [[] for _ in range(clients)]
    for label in range(examples.classes):
        rows = rng.permutation(np.flatnonzero(examples.labels == label))
        borders = np.round(np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1] * len(rows)).astype(np.int64)
        for share, part in zip(shares, np.split(rows, borders), strict=True):
            share.extend(part.tolist())
    _feed_the_empty(shares)
    return tuple(examples.take(np.array(share, np.int64)) for share in shares)


def split_sizes(examples: Examples, sizes: Sequence[int], rng: np.random.Generator) -> tuple[Examples, ...]:
    """Shares of exactly these sizes, drawn uniformly: the same mix, and clients that weigh unequally.

    Raises: Misused for a size below 1, or sizes that do not add up to the examples.
    """
    if not sizes or min(sizes) < 1 or sum(sizes) != len(examples):
        raise Misused(f"sizes {list(sizes)[:8]} add up to {sum(sizes)}; they must be positive and give {len(examples)}")
    rows = np.split(rng.permutation(len(examples)), np.cumsum(sizes)[:-1])
    return tuple(examples.take(part) for part in rows)


def _feed_the_empty(shares: Sequence[list[int]]) -> None:
    for share in shares:
        if not share:
            share.append(max(shares, key=len).pop())


def _check_clients(examples: Examples, clients: int) -> None:
    if not 1 <= clients <= len(examples):
        raise Misused(f"{clients} clients cannot share {len(examples)} examples: each needs at least one")
