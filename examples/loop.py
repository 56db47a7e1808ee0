"""Secure means in a training loop you already have: `python examples/loop.py`.

The updates are differences (trained parameters minus the received ones), as arrays or torch state_dicts.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from dp import Budget, Ledger
from protocols import RoundPlan, secure_mean

CLIENTS = 12
ROUNDS = 3


def main(folder: Path) -> list[np.ndarray]:
    data = np.random.default_rng(0).normal(1.0, 0.2, size=(CLIENTS, 5))
    model = [np.zeros(5)]
    # One task name per training run: a ledger refuses to charge the same round of the same task twice.
    plan = RoundPlan.recommend(CLIENTS, dropout=0.2, corrupt=0.1, clip=2.0, noise_multiplier=4.0, task="run-1")
    with Ledger.open(folder / "run.ledger", Budget(epsilon=8, delta=1e-5, relation="zero-out")) as ledger:
        for number in range(ROUNDS):
            updates = {who: [0.5 * (data[who] - model[0])] for who in range(CLIENTS)}
            report = secure_mean(updates, plan, round=number, ledger=ledger)
            model = [array + step for array, step in zip(model, report.mean, strict=True)]
            print(f"round {number}: {len(report.survivors)} survivors, epsilon {report.epsilon.upper:.3f}")
    return model


if __name__ == "__main__":
    print(main(Path(tempfile.mkdtemp())))
