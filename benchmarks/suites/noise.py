"""Integer noise beside float noise that is fast and proves its input, and beside exact noise that is slow.

    error     the largest gap between the distribution function of the draws and that of their law

For n draws of the law itself the gap is above 3 / sqrt(n) once in 3 * 10^7 runs (Massart 1990).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from benchmarks.peers import opacus, opendp
from benchmarks.rows import Effort, Row, alternate, faster, on_cores, timed
from dp import Entropy, discrete_gaussian

STDS = (1, 10, 100, 1000, 10_000)
LIMIT_NUMPY = 1.5
# One draw of float32 by vector instructions is faster than any table; the averaged ones are what it is compared with.
OPACUS = (("one draw", False, 3.0), ("four draws averaged", True, 1.0))
TIMES_OPENDP = 300.0
# OpenDP draws that many in a fifth of a second; ours draws a million beside them.
OPENDP_COUNT = 20_000
# A table reaches 14 standard deviations; nothing is drawn beyond.
REACH = 15

Draws = np.ndarray[Any, np.dtype[Any]]
# (mean, standard deviation, count) to that many draws.
Normal = Callable[[float, float, int], Draws]


def rows(effort: Effort) -> Iterator[Row]:
    entropy = Entropy.system(b"secagg/benchmarks/noise", b"")
    with on_cores(1):
        for std in STDS:
            yield compared(std, "numpy.random.normal", np.random.normal, LIMIT_NUMPY, effort, entropy)
        yield compared(10, "numpy's Generator.normal", np.random.default_rng().normal, LIMIT_NUMPY, effort, entropy)
        for mode, secure, limit in OPACUS:
            normal = partial(opacus.gaussian, secure)
            yield compared(10, f"{opacus.TITLE}, {mode}", normal, limit, effort, entropy)
        for std in STDS:
            yield beside_opendp(std, effort, entropy)


def compared(std: int, peer_name: str, normal: Normal, limit: float, effort: Effort, entropy: Entropy) -> Row:
    """A row against float noise of that standard deviation."""
    count = effort.dimension

    def ours() -> Draws:
        return discrete_gaussian(Fraction(std**2), count, entropy)

    def peer() -> Draws:
        return normal(0.0, std, count)

    taken, taken_peer = alternate(timed(ours), timed(peer), effort.repeats)
    return Row(
        suite="noise",
        case=f"discrete Gaussian, std {std:,}, {count:,} draws",
        unit="ns per draw",
        ours=taken.per(count * 1e-9),
        peer_name=peer_name,
        peer=taken_peer.per(count * 1e-9),
        limit=limit,
        judged="ratio",
        ours_error=gap(ours(), gaussian_law(std)),
        peer_error=gap(peer(), lambda values: ndtr(values / std)),
        error_limit=3 / count**0.5,
        note="CPU seconds; error: gap of the distribution function",
    )


def beside_opendp(std: int, effort: Effort, entropy: Entropy) -> Row:
    count, peer_count = effort.dimension, min(OPENDP_COUNT, effort.dimension)
    add, zeros = opendp.gaussian(std), [0] * peer_count
    overhead = min(timed(lambda: add([0]))() for _ in range(effort.repeats))

    def ours() -> Draws:
        return discrete_gaussian(Fraction(std**2), count, entropy)

    taken, taken_peer = alternate(timed(ours), timed(lambda: add(zeros)), effort.repeats)
    law = gaussian_law(std)
    return Row(
        suite="noise",
        case=f"discrete Gaussian, std {std:,}, {count:,} draws",
        unit="ns per draw",
        ours=taken.per(count * 1e-9),
        peer_name=f"{opendp.TITLE}, {peer_count:,} draws",
        peer=taken_peer.plus(-overhead).per(peer_count * 1e-9),
        limit=faster(TIMES_OPENDP),
        judged="ratio",
        ours_error=gap(ours(), law),
        peer_error=gap(np.array(add(zeros)), law),
        error_limit=3 / count**0.5,
        note=f"CPU seconds; the peer's less {overhead * 1e3:.2g} ms for the call; error: as above",
    )


def gap(draws: Draws, law: Callable[[Draws], Draws]) -> float:
    """The largest distance between the distribution function of the draws and `law`, at and just below each value.

    For a law of integers the limit from below is the law at the previous integer, which `law` knows by itself.
    """
    values, counts = np.unique(draws, return_counts=True)
    upto = np.cumsum(counts) / draws.size
    below = upto - counts / draws.size
    just_below = values - 1 if values.dtype.kind == "i" else values
    return float(max(np.abs(upto - law(values)).max(), np.abs(below - law(just_below)).max()))


def gaussian_law(std: int) -> Callable[[Draws], Draws]:
    """The distribution function of N_Z(0, std^2) at integers within REACH standard deviations."""
    reach = REACH * std
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2.0 * std**2))
    total = np.cumsum(weights)
    total /= total[-1]
    return lambda values: total[values + reach]
