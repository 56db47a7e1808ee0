"""The data, the model, and where keys lie: the same for the server's side and the nodes'."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np

from protocols.learning.data import Dealt, Examples, deal_iid, digits
from protocols.learning.models import softmax_regression

CLIENTS = 10
STEPS = 10
# A folder per site, made by `make_homes`. Deployed, each node names its own: --node-config "secagg-home='/path'".
HOMES = Path(os.environ.get("SECAGG_HOMES", Path.home() / ".secagg-flower-app"))

PIXELS, DIGITS = 64, 10
MODEL = softmax_regression(PIXELS, DIGITS)


@functools.cache
def dealt() -> Dealt:
    """Every node reads its own part alone; here all parts are made from one seed."""
    return deal_iid(digits(), CLIENTS, seed=0)


def trained(parameters: list[np.ndarray], examples: Examples, learning_rate: float) -> list[np.ndarray]:
    """The parameters after a few steps of gradient descent on these examples."""
    for _ in range(STEPS):
        gradient = MODEL.gradient(parameters, examples)
        parameters = [each - learning_rate * slope for each, slope in zip(parameters, gradient, strict=True)]
    return parameters
