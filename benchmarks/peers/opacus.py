"""Opacus: the noise it looks for, and the noise it draws.

Its noise is float noise; `secure_mode` averages four draws. What either is worth is measured in tests, its
speed here. Nothing of this project is imported here.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from benchmarks.peers.pins import names_of

NAME = "opacus"
VERSION = "1.6.0"
TITLE = f"Opacus {VERSION}"
PYTHON = "3.11"
PIP = ("opacus==1.6.0",)

SYMBOLS = {
    "opacus.accountants.utils": ("get_noise_multiplier",),
    "opacus.optimizers.optimizer": ("_generate_noise",),
    "torch": ("set_num_threads", "zeros"),
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    peer = names_of("opacus", VERSION, SYMBOLS)
    peer.set_num_threads(1)
    return peer


def noise_multiplier(rate: float, steps: int, epsilon: float, delta: float, accountant: str) -> float:
    """What it finds to be enough, by its accountant of that name ("rdp" or "prv"), at its default tolerance."""
    with warnings.catch_warnings():
        # About its largest order, and about logarithms of zero at rate 1.
        warnings.simplefilter("ignore")
        found: float = names().get_noise_multiplier(
            target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, accountant=accountant
        )
    return found


def gaussian(std: float, count: int, secure: bool) -> Any:
    """count float32 draws around 0, as its optimizer adds them to a gradient."""
    peer = names()
    return peer._generate_noise(std=std, reference=peer.zeros(count), secure_mode=secure).numpy()
