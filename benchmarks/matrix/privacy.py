"""Checks D1 to D10: one judgement for each, of figures and draws that any library gives. Needs numpy alone.

Epsilons are compared with closed forms, or with what is known to be lost at least; a library that refuses is not
taken to have answered wrongly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.matrix.finding import Answer

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """T releases of a Gaussian of noise multiplier z, each on a Poisson sample of rate q; epsilon at delta."""

    rate: float
    noise: float
    steps: int
    delta: float

    def __str__(self) -> str:
        return f"q={self.rate:g}, z={self.noise:g}, T={self.steps:,}, delta={self.delta:g}"


Epsilon = Callable[[Run], float]

# D1: the Gaussian mechanism composed with itself is one Gaussian mechanism, whose epsilon has a closed form.
REPEATED = Run(1.0, 2.0, 10, 1e-5)
# D2: many tiny losses, where the error of a grid adds up.
FINE = Run(1e-4, 1.0, 100_000, 1e-5)
GRID_SHARE = 0.01
# D3: what is lost at least, under add-or-remove-one: lower ends of privacy loss distributions on a grid of 1e-4,
# rounded down (dp-accounting 0.6.0, pessimistic_estimate=False, without connecting the dots). Ours are not below.
KNOWN = (
    (Run(0.01, 1.0, 1_000, 1e-5), 1.778),
    (Run(0.01, 0.7, 1_000, 1e-6), 5.397),
    (Run(0.1, 2.0, 100, 1e-5), 2.332),
)
# D4: too little noise for privacy, and a delta below what doubles resolve beside 1.
EXTREME = (Run(0.5, 0.4, 500, 1e-5), Run(0.01, 1.0, 1_000, 1.1e-18))
# D5: epsilon of one release is at most 1 / scale.
SCALES = (20.0, 2.0)
DELTA = 1e-5
# D6 and D8.
DRAWS = 50_000
DEVIATION = 1.0
WORKERS = 3


def gaussian_epsilon(mu: float, delta: float) -> float:
    """epsilon of the Gaussian mechanism of shift mu, where delta = Phi(mu/2 - e/mu) - exp(e) Phi(-mu/2 - e/mu).

    Source: Balle, Wang, ICML 2018, theorem 8.
    """

    def above(epsilon: float) -> bool:
        normal = [0.5 * math.erfc((epsilon / mu + side * mu / 2) / math.sqrt(2)) for side in (-1, 1)]
        return normal[0] - math.exp(epsilon) * normal[1] > delta

    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return low


def replace_one(claims: Mapping[str, float | str]) -> Answer:
    """D1. What each accountant says of `REPEATED` where one unit is replaced, or the words in which it refuses."""
    exact = gaussian_epsilon(2 * math.sqrt(REPEATED.steps) / REPEATED.noise, REPEATED.delta)
    low = [name for name, claim in claims.items() if isinstance(claim, float) and claim < exact * (1 - 1e-6)]
    said = ", ".join(
        f"{name} {f'{claim:.4g}' if isinstance(claim, float) else claim}" for name, claim in claims.items()
    )
    return Answer(bool(low), f"{REPEATED}, replace-one: {said}; exact is {exact:.4g}")


def grid(default: float, fine: float, told: float | None = None) -> Answer:
    """D2. Its epsilon of `FINE` as it comes, and on the finest grid tried; the error that the first one states."""
    off = default / fine - 1
    within = off <= GRID_SHARE if told is None else default - fine <= told
    stated = "no error is stated" if told is None else f"it states an error of {told:.2g}"
    return Answer(not within, f"{FINE}: {default:.4f} as it comes, {fine:.4f} on a finer grid ({off:+.1%}); {stated}")


def never_below(accountants: Mapping[str, Epsilon]) -> Answer:
    """D3. No accountant says less than what is known to be lost."""
    below = [
        f"{name} says {found:.4g} of {run}, at least {least:.4g} is lost"
        for name, epsilon in accountants.items()
        for run, least in KNOWN
        if not (found := epsilon(run)) >= least
    ]
    return Answer(bool(below), "; ".join(below) or f"{', '.join(accountants)}: none of {len(KNOWN)} runs is below")


def finite(accountants: Mapping[str, Epsilon], refusals: tuple[type[Exception], ...] = (ValueError,)) -> Answer:
    """D4. A finite epsilon, or a refusal in words."""
    said, fell = [], False
    for name, epsilon in accountants.items():
        for run in EXTREME:
            try:
                found = epsilon(run)
            except refusals as refusal:
                said.append(f"{name}, {run}: refuses, {type(refusal).__name__}: {' '.join(str(refusal).split())[:80]}")
                continue
            fell |= not math.isfinite(found)
            said.append(f"{name}, {run}: {found:.5g}")
    return Answer(fell, "; ".join(said))


def laplace_scale(accountants: Mapping[str, Callable[[float], float]]) -> Answer:
    """D5. epsilon(scale) of one release of sensitivity 1 is 1 / scale, and not far above it."""
    found = {(name, scale): float(epsilon(scale)) for name, epsilon in accountants.items() for scale in SCALES}
    # At this delta the exact epsilon is 1/scale + 2 log(1 - delta); a loose accountant may say up to twice as much.
    wrong = any(not 1 / scale - 3 * DELTA <= value <= 2 / scale for (_, scale), value in found.items())
    return Answer(wrong, "; ".join(f"{name}, scale {scale:g}: {value:.4g}" for (name, scale), value in found.items()))


def noise_as_asked(draws: Floats, deviation: float, centre: float = 0.0) -> Answer:
    """D6. Mean and deviation of many noisy copies of one number, to six deviations of either estimate."""
    mean, spread, count = float(np.mean(draws)), float(np.std(draws)), draws.size
    wrong = abs(mean - centre) > 6 * deviation / count**0.5 or abs(spread / deviation - 1) > 6 / (2 * count) ** 0.5
    return Answer(
        wrong, f"{count:,} draws about {centre:g}: mean {mean:.4f}, deviation {spread:.4f} of {deviation:.4f}"
    )


def granularity(noisy: Callable[[float, int], Floats]) -> Answer:
    """D8. `noisy(x, n)` are n noisy copies of x: those of 0 that no noisy copy of 1 can be.

    A float that is 1 plus noise is a multiple of half the distance of floats below 1; noise by itself often is finer.
    Source: Mironov, CCS 2012.
    """
    zeros, ones = noisy(0.0, DRAWS), noisy(1.0, DRAWS)
    bits = np.finfo(zeros.dtype).nmant + 1
    hits, alarms = (int((np.ldexp(outputs, bits) % 1.0 != 0.0).sum()) for outputs in (zeros, ones))
    finer = (
        f"{hits / DRAWS:.1%} of noisy copies of 0 and {alarms / DRAWS:.1%} of those of 1 are finer than floats near 1"
    )
    proof = hits > 0 and alarms == 0
    return Answer(proof, f"{zeros.dtype}, {DRAWS:,} draws: {finer}" + (": each of them proves the 0" if proof else ""))


def forked(draw: Callable[[], bytes]) -> Answer:
    """D9. Whether processes forked here draw the same; each tells its draw through a pipe and ends at once."""
    drawn = [_in_a_fork(draw) for _ in range(WORKERS)]
    different = len(set(drawn))
    return Answer(different < WORKERS, f"{WORKERS} forked processes: {different} different draws")


def _in_a_fork(draw: Callable[[], bytes]) -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            os.write(writing, draw()[:64])
        finally:
            # Nothing of the parent's, such as its open files or its report, is for the child to end.
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise RuntimeError("a forked process drew nothing")
    return said


def edited_record(before: float, after: float | None, words: str) -> Answer:
    """D10. Epsilon of a record of what was spent, and of the same record with most of it taken out; None: refused."""
    if after is None:
        return Answer(False, f"epsilon {before:.4g}; the edited record is refused: {words}")
    return Answer(after < before, f"epsilon {before:.4g}; after the record was edited, {after:.4g}: {words}")


def refused_in(act: Callable[[], float], errors: Sequence[type[Exception]] = (ValueError,)) -> float | str:
    """What it says, or the words in which it refuses."""
    try:
        return act()
    except tuple(errors) as refusal:
        return f"refuses ({' '.join(str(refusal).split())[:90]})"
