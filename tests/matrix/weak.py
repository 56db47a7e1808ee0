"""A library that falls to every check of the matrix, and one that withstands each: the judgements can tell them apart.

What its own deeds do to a process is done in another one, by their names here.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.matrix import ciphertexts, privacy
from benchmarks.matrix.child import ending_of
from benchmarks.matrix.ciphertexts import HOLLOW, LENET
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.masks import probes_of
from benchmarks.matrix.privacy import DRAWS, KNOWN, Floats, Run
from benchmarks.matrix.target import Target
from protocols.adversary.ours import Ours
from tests.adversary.toy import Toy

TRUTH = np.linspace(-1, 1, 16)
EXACT = np.arange(16, dtype=np.float64)
PARAMETERS = sum(math.prod(shape) for shape in LENET)


def dies(message: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def refuses(message: str) -> None:
    sys.exit(f"Malformed: {message}")


def kit(mode: int, opened: Floats | None) -> Answer:
    """A client's file of this mode, and what it opens."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "key"
        file.write_bytes(b"")
        file.chmod(mode)
        return ciphertexts.opens_anothers(opened, TRUTH, [file], "a kit")


def epsilon(run: Run) -> float:
    """What is known to be lost, or plenty."""
    return dict(KNOWN).get(run, 1e3)


def float_noise(value: float, count: int) -> Floats:
    return value + np.random.default_rng(5).normal(size=count)


def whole_noise(value: float, count: int) -> Floats:
    """On a grid of eighths."""
    return np.rint(8 * float_noise(value, count)) / 8


FROZEN = np.random.default_rng(6)

FALLS = Target(
    "weak",
    lambda: "1",
    {
        **probes_of(Toy),
        "N1": lambda: kit(0o644, TRUTH + 1e-9),
        "N2": lambda: ciphertexts.survives([("three bytes", ending_of(__name__, "dies", HOLLOW.hex()))]),
        "N3": lambda: ciphertexts.layered(100_000, 1_000_000, PARAMETERS),
        "N4": lambda: ciphertexts.poisoned(np.array([np.nan, 2e299]), "one of five"),
        "N5": lambda: ciphertexts.told_in_logs("from -1.0 to 0.71234567", np.array([-0.5, 0.71234567])),
        "T1": lambda: ciphertexts.survives(
            [("nothing", ending_of(__name__, "refuses", "")), ("text", ending_of(__name__, "dies", ""))]
        ),
        "T2": lambda: ciphertexts.believed(100, 10, 100, ""),
        "T3": lambda: ciphertexts.flipped(lambda upload: np.frombuffer(upload, "<f8"), TRUTH.tobytes(), TRUTH),
        "T4": lambda: ciphertexts.carries_noise(EXACT + 1e-9, EXACT),
        "T5": lambda: ciphertexts.wraps(-1396.0, 2700.0, "three times 900"),
        "T6": lambda: ciphertexts.talks("WARNING\n", "a long vector"),
        "D1": lambda: privacy.replace_one({"right": 17.9, "careless": 8.08}),
        "D2": lambda: privacy.grid(0.139, 0.132),
        "D3": lambda: privacy.never_below({"right": epsilon, "central limit": lambda run: 0.9 * epsilon(run)}),
        "D4": lambda: privacy.finite({"infinite": lambda run: math.inf}),
        "D5": lambda: privacy.laplace_scale({"inverted": lambda scale: scale}),
        "D6": lambda: privacy.noise_as_asked(1.05 * float_noise(0, DRAWS), 1.0),
        "D8": lambda: privacy.granularity(float_noise),
        "D9": lambda: privacy.forked(lambda: FROZEN.bytes(16)),
        "D10": lambda: privacy.edited_record(8.0, 2.0, "a list"),
    },
    {},
    {"D1": ("weak#1",), "D6": ("weak#2",)},
)


def nobody(run: Run) -> float:
    raise ValueError("delta is too small for a float")


WITHSTANDS = Target(
    "strong",
    lambda: "2",
    {
        **probes_of(Ours),
        "N1": lambda: kit(0o600, TRUTH[::-1]),
        "N2": lambda: ciphertexts.survives([("three bytes", "Malformed")]),
        "N3": lambda: ciphertexts.layered(400_000, 410_000, PARAMETERS),
        "N4": lambda: ciphertexts.poisoned(np.array([0.5, 0.5]), "one of five is refused"),
        "N5": lambda: ciphertexts.told_in_logs("one round of 5 clients", np.array([-0.5, 0.71234567])),
        "T1": lambda: ciphertexts.survives([("nothing", ending_of(__name__, "refuses", ""))]),
        "T2": lambda: ciphertexts.believed(100, 10, None, "Malformed"),
        "T3": lambda: ciphertexts.flipped(lambda upload: None, TRUTH.tobytes(), TRUTH),
        "T4": lambda: ciphertexts.carries_noise(EXACT, EXACT),
        "T5": lambda: ciphertexts.wraps(None, 2700.0, "refused when it was planned"),
        "T6": lambda: ciphertexts.talks("", "a long vector"),
        "D1": lambda: privacy.replace_one({"right": 17.9, "shy": "refuses (no such relation)"}),
        "D2": lambda: privacy.grid(0.139, 0.132, told=0.01),
        "D3": lambda: privacy.never_below({"right": epsilon}),
        "D4": lambda: privacy.finite({"finite": lambda run: 5e2, "shy": nobody}),
        "D5": lambda: privacy.laplace_scale({"right": lambda scale: 1 / scale}),
        "D6": lambda: privacy.noise_as_asked(float_noise(0, DRAWS), 1.0),
        "D8": lambda: privacy.granularity(whole_noise),
        "D9": lambda: privacy.forked(lambda: os.urandom(16)),
        "D10": lambda: privacy.edited_record(8.0, None, "Corrupt"),
    },
    {},
    {},
)
