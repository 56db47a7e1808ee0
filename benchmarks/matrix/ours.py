"""This library under the checks: pairwise rounds, encrypted rounds, and `dp`."""

from __future__ import annotations

from importlib.metadata import version

from benchmarks.matrix import ours_ciphertexts, ours_privacy
from benchmarks.matrix.masks import probes_of
from benchmarks.matrix.target import Target
from protocols.adversary.ours import Ours

TARGET = Target(
    "secagg",
    lambda: version("secagg"),
    {**probes_of(Ours), **ours_ciphertexts.PROBES, **ours_privacy.PROBES},
    {},
    {},
)
