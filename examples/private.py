"""Epsilon 4 over 8 rounds, please: `python examples/private.py [FOLDER]`.

Logistic regression on scikit-learn's bundled tumour measurements, dealt to 30 clients. One call chooses the noise, the
ring and the ledger; the loop is an ordinary one. Stopped and started again with the same folder, it goes on.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from dp import BudgetExceeded
from protocols import make_private
from protocols.learning.data import breast_cancer, deal_iid

CLIENTS = 30
ROUNDS = 8


def gradient(weights: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of the mean log loss."""
    return features.T @ (1 / (1 + np.exp(-features @ weights)) - labels) / len(labels)


def main(folder: Path) -> float:
    dealt = deal_iid(breast_cancer(), CLIENTS, seed=0)
    # Scales come from the server's public examples: the clients' own would have to be paid for.
    centre, scale = dealt.public.features.mean(axis=0), dealt.public.features.std(axis=0)

    def prepared(features: np.ndarray) -> np.ndarray:
        return np.hstack([np.clip((features - centre) / scale, -3, 3), np.ones((len(features), 1))])

    private = {who: (prepared(mine.features), mine.labels) for who, mine in dealt.clients.items()}
    kept = folder / "weights.npy"
    weights = np.load(kept) if kept.exists() else np.zeros(31)
    with make_private(
        clients=CLIENTS,
        epsilon=4,
        delta=1e-5,
        rounds=ROUNDS,
        clip=1.0,
        dimension=weights.size,
        ledger=folder / "run.ledger",
    ) as training:
        print(training.describe())
        while True:
            updates = {who: [-gradient(weights, *mine)] for who, mine in private.items()}
            try:
                report = training.round(updates)
            except BudgetExceeded as spent:
                print(spent)
                break
            weights = weights + 0.5 * report.mean[0]
            np.save(kept, weights)
            print(f"{len(report.survivors)} survivors, epsilon {report.epsilon.upper:.3f}, {training.rounds_left} left")
    right = (prepared(dealt.public.features) @ weights > 0) == dealt.public.labels
    print(f"accuracy {right.mean():.3f}")
    return float(right.mean())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
