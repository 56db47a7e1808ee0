"""What the sites of `test_nvflare.py` train: known changes, and every way to fail. Travels with the job."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

SECRET = "patient 7 has 130 over 85"
SITES = [f"site-{number}" for number in range(5)]
SECONDS = 10.0
WEIGHTS = {site: 50 * number + 10 for number, site in enumerate(SITES)}


def start() -> dict[str, Any]:
    return {"weights": np.zeros((8, 3), np.float32), "bias": np.ones(3, np.float32)}


def change_of(site: str, model: dict[str, Any]) -> dict[str, Any]:
    """Depends on the site and on the model, so that no two rounds are alike."""
    aim = SITES.index(site) / 10
    return {name: ((aim - array) / 4).astype(np.float32) for name, array in model.items()}


def train(model: dict[str, Any], site: str) -> Any:
    from protocols.adapters.nvflare import Trained

    if site == "site-0":
        raise ValueError(SECRET)
    # The second round, whose model has moved once.
    if site == "site-1" and abs(float(model["weights"][0, 0])) > 0 and not _slept:
        _slept.append(site)
        time.sleep(2 * SECONDS)
    change = change_of(site, model)
    trained = {name: array + change[name] for name, array in model.items()}
    return Trained(trained, weight=WEIGHTS[site], metrics={"loss": SITES.index(site) / 8})


_slept: list[str] = []
