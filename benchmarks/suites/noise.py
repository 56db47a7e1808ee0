"""Integer noise beside float noise that is fast and proves its input, and beside exact noise that is slow.

    error     the largest gap between the distribution function of the draws and that of their law

For n draws of the law itself the gap is above 3 / sqrt(n) once in 3 * 10^7 runs (Massart 1990).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ive, ndtr

from benchmarks.peers import opacus, opendp
from benchmarks.rows import Effort, Row, alternate, faster, on_cores, timed
from dp import Entropy, discrete_gaussian, discrete_laplace, skellam

STDS = (1, 10, 100, 1000, 10_000)
SCALES = (1, 30, 10_000)
VARIANCES = (100, 10**6)
LIMIT_NUMPY = 1.5
# One draw of float32 by vector instructions is faster than any table; the averaged ones are what it is compared with.
LIMIT_ONE_DRAW, LIMIT_FOUR_DRAWS = 3.0, 1.0
TIMES_OPENDP = 300.0
# OpenDP draws that many in a fifth of a second; ours draws a million beside them.
OPENDP_COUNT = 20_000

Draws = np.ndarray[Any, np.dtype[Any]]
Distribution = Callable[[Draws], Draws]


@dataclass(frozen=True, slots=True)
class Ours:
    """What draws that many samples of a law, and the law's distribution function."""

    title: str
    draw: Callable[[int], Draws]
    law: Distribution


@dataclass(frozen=True, slots=True)
class Peer:
    """The same of a peer, which may draw another number of them; `limit` bounds ours / peer."""

    title: str
    draw: Callable[[int], Any]
    law: Distribution
    count: int
    limit: float


def rows(effort: Effort) -> Iterator[Row]:
    entropy = Entropy.system(b"secagg/benchmarks/noise", b"")
    with on_cores(1):
        for std in STDS:
            yield beside(gaussian(std, entropy), numpy_normal(std, effort.dimension), effort)
        yield from (beside(gaussian(10, entropy), peer, effort) for peer in other_normals(10, effort.dimension))
        for scale in SCALES:
            yield beside(laplace(scale, entropy), numpy_laplace(scale, effort.dimension), effort)
        for variance in VARIANCES:
            yield beside(skellams(variance, entropy), numpy_skellam(variance, effort.dimension), effort)
        for ours, add in exact(entropy):
            yield beside(ours, opendp_peer(ours, add, effort), effort)


def beside(ours: Ours, peer: Peer, effort: Effort) -> Row:
    count = effort.dimension
    taken, taken_peer = alternate(timed(lambda: ours.draw(count)), timed(lambda: peer.draw(peer.count)), effort.repeats)
    return Row(
        suite="noise",
        case=f"{ours.title}, {count:,} draws",
        unit="ns per draw",
        ours=taken.per(count * 1e-9),
        peer_name=peer.title,
        peer=taken_peer.per(peer.count * 1e-9),
        limit=peer.limit,
        judged="ratio",
        ours_error=gap(ours.draw(count), ours.law),
        peer_error=gap(np.asarray(peer.draw(peer.count)), peer.law),
        error_limit=3 / count**0.5,
        note="CPU seconds; error: gap of the distribution function",
    )


def gap(draws: Draws, law: Distribution) -> float:
    """The largest distance between the distribution function of the draws and `law`, at and just below each value.

    Just below an integer a law of integers is the law at the integer before.
    """
    values, counts = np.unique(draws, return_counts=True)
    upto = np.cumsum(counts) / draws.size
    below = upto - counts / draws.size
    just_below = values - 1 if values.dtype.kind == "i" else values
    return float(max(np.abs(upto - law(values)).max(), np.abs(below - law(just_below)).max()))


def summed(weights: Draws) -> Distribution:
    """The distribution function on -r..r whose 2 r + 1 probabilities are in these proportions."""
    total, reach = np.cumsum(weights), len(weights) // 2
    total /= total[-1]
    return lambda values: total[values + reach]


# --- ours: every sampler ends well within these reaches -----------------------------------------------------


def gaussian(std: int, entropy: Entropy) -> Ours:
    places = np.arange(-15 * std, 15 * std + 1)
    return Ours(
        f"discrete Gaussian, std {std:,}",
        lambda count: discrete_gaussian(Fraction(std**2), count, entropy),
        summed(np.exp(-(places**2) / (2.0 * std**2))),
    )


def laplace(scale: int, entropy: Entropy) -> Ours:
    places = np.arange(-100 * scale, 100 * scale + 1)
    return Ours(
        f"discrete Laplace, scale {scale:,}",
        lambda count: discrete_laplace(Fraction(scale), count, entropy),
        summed(np.exp(-np.abs(places) / scale)),
    )


def skellams(variance: int, entropy: Entropy) -> Ours:
    return Ours(
        f"Skellam, variance {variance:,}",
        lambda count: skellam(Fraction(variance), count, entropy),
        skellam_law(variance),
    )


def skellam_law(variance: int) -> Distribution:
    reach = 15 * int(variance**0.5) + 50
    return summed(ive(np.abs(np.arange(-reach, reach + 1)), variance))


# --- peers --------------------------------------------------------------------------------------------------


def numpy_normal(std: int, count: int) -> Peer:
    return normal(std, count, "numpy.random.normal", lambda n: np.random.normal(0.0, std, n), LIMIT_NUMPY)


def other_normals(std: int, count: int) -> Iterator[Peer]:
    generator = np.random.default_rng()
    yield normal(std, count, "numpy's Generator.normal", lambda n: generator.normal(0.0, std, n), LIMIT_NUMPY)
    for title, secure, limit in (("one draw", False, LIMIT_ONE_DRAW), ("four draws averaged", True, LIMIT_FOUR_DRAWS)):
        yield normal(std, count, f"{opacus.TITLE}, {title}", partial(opacus.gaussian, std, secure=secure), limit)


def normal(std: int, count: int, title: str, draw: Callable[[int], Draws], limit: float) -> Peer:
    return Peer(title, draw, lambda values: ndtr(values / std), count, limit)


def numpy_laplace(scale: int, count: int) -> Peer:
    def law(values: Draws) -> Draws:
        tail: Draws = np.exp(-np.abs(values) / scale) / 2
        return np.where(values < 0, tail, 1 - tail)

    return Peer("numpy.random.laplace", lambda n: np.random.laplace(0.0, scale, n), law, count, LIMIT_NUMPY)


def numpy_skellam(variance: int, count: int) -> Peer:
    def draw(count: int) -> Draws:
        drawn: Draws = np.random.poisson(variance / 2, count) - np.random.poisson(variance / 2, count)
        return drawn

    return Peer("two of numpy.random.poisson", draw, skellam_law(variance), count, LIMIT_NUMPY)


def exact(entropy: Entropy) -> Iterator[tuple[Ours, opendp.Adds]]:
    """The laws that OpenDP draws as well, with what draws them there."""
    yield from ((gaussian(std, entropy), opendp.gaussian(std)) for std in STDS)
    yield from ((laplace(scale, entropy), opendp.laplace(scale)) for scale in SCALES)


def opendp_peer(ours: Ours, add: opendp.Adds, effort: Effort) -> Peer:
    count = min(OPENDP_COUNT, effort.dimension)
    return Peer(f"{opendp.TITLE}, {count:,} draws", lambda n: add([0] * n), ours.law, count, faster(TIMES_OPENDP))
