"""Accounting and the one-run audit beside jax-privacy.

accounting    the upper end at its own default mesh: both count in the same cells
one bound     what so many right guesses refute: one formula on both sides, so that the answers must agree
one run       what is proved of scores whose true epsilon is known, half of the canaries choosing: higher is sharper,
              and nothing may lie above the truth
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.peers import jax_privacy
from benchmarks.rows import Effort, Row, Taken, alternate, faster, on_cores, timed
from benchmarks.runs import RUNS, Run, ask, together, told_of
from dp.audit import Canaries, ChosenOnHalf, one_run
from dp.audit.guessing import epsilon_bound
from dp.gaussian import gaussian_epsilon

MESH = 1e-4
MOST_RUNS, MOST_REPEATS = 8, 3
# Its composition rounds in doubles: asked for less than this, the last digits of its answer are noise.
LEAST_DELTA = 1e-7
TIMES_ACCOUNTING = 2.5
LIMIT_ABOVE, LIMIT_APART = 1e-5, 1e-6
LIMIT_AUDIT_SECONDS = 0.1
ALPHA, DELTA = 0.05, 1e-5
# Of the canaries as many are guessed, and of these so many rightly.
GUESSED, RIGHT = 10, 0.75
CANARIES, NOISE, SEED = 10_000, 0.8, 20261127
CANDIDATES = (50, 100, 200, 400, 800, 1600)


def rows(effort: Effort) -> Iterator[Row]:
    with on_cores(1):
        yield accounting(effort)
        yield bounds(effort)
        yield from audits(effort)


def accounting(effort: Effort) -> Row:
    runs = [run for run in RUNS if run.delta >= LEAST_DELTA][: min(effort.most_runs, MOST_RUNS)]
    asked = [
        ask(run, lambda run: told_of(run).upper_at(MESH, run.delta), theirs, min(effort.repeats, MOST_REPEATS))
        for run in runs
    ]
    return Row(
        suite="jax_privacy",
        case=f"epsilon at mesh {MESH:g}, {len(runs)} runs together",
        unit="s",
        ours=together([one.ours for one in asked]),
        peer_name=f"{jax_privacy.TITLE}, PLD",
        peer=together([one.peer for one in asked]),
        limit=faster(TIMES_ACCOUNTING),
        judged="ratio",
        ours_error=max(one.above for one in asked),
        error_limit=LIMIT_ABOVE,
        note="CPU seconds; error: epsilon above the peer's, relative, worst of all runs",
    )


def theirs(run: Run) -> float:
    _, noise, steps, delta = run.plain
    return jax_privacy.epsilon(run.rate, noise, steps, delta, MESH)


def bounds(effort: Effort) -> Row:
    """One bound of as many guesses as a large run makes."""
    canaries = effort.dimension
    guesses = canaries // GUESSED
    asked = canaries, guesses, int(RIGHT * guesses), DELTA, ALPHA
    taken, taken_peer = alternate(
        timed(lambda: epsilon_bound(*asked)),
        timed(lambda: jax_privacy.bound(*asked)),
        min(effort.repeats, MOST_REPEATS),
    )
    return Row(
        suite="jax_privacy",
        case=f"one bound: {int(RIGHT * guesses):,} of {guesses:,} guesses right, {canaries:,} canaries",
        unit="s",
        ours=taken,
        peer_name=jax_privacy.TITLE,
        peer=taken_peer,
        limit=1.0,
        judged="ratio",
        ours_error=abs(epsilon_bound(*asked) - jax_privacy.bound(*asked)),
        error_limit=LIMIT_APART,
        note="CPU seconds; error: distance between the two bounds",
    )


def audits(effort: Effort) -> Iterator[Row]:
    """Scores of one Gaussian release of each canary, so that the curve of that Gaussian is the truth."""
    generator = np.random.default_rng(SEED)
    included = generator.random(CANARIES) < 0.5
    scores = included + NOISE * generator.standard_normal(CANARIES)
    truth = gaussian_epsilon(DELTA, NOISE)
    canaries = Canaries(scores, included)

    def ours() -> float:
        hypothesis = ChosenOnHalf(CANDIDATES)
        proved = one_run(canaries, hypothesis, delta=DELTA, confidence=1 - ALPHA, seed=SEED).lower_bound
        assert proved is not None
        return proved

    def peer() -> float:
        return jax_privacy.one_run(scores, included, DELTA, ALPHA, SEED)

    taken, taken_peer = alternate(timed(ours), timed(peer), min(effort.repeats, MOST_REPEATS))
    case = f"one run, {CANARIES:,} canaries, half of them choose, truth {truth:.2f}"
    yield Row(
        suite="jax_privacy",
        case=f"{case}: seconds",
        unit="s",
        ours=taken,
        peer_name=jax_privacy.TITLE,
        peer=taken_peer,
        limit=LIMIT_AUDIT_SECONDS,
        judged="ours",
        note=f"CPU seconds; ours chooses among {len(CANDIDATES)} declared numbers of guesses, theirs any threshold",
    )
    yield Row(
        suite="jax_privacy",
        case=f"{case}: epsilon proved",
        unit="epsilon",
        ours=Taken.once(ours()),
        peer_name=jax_privacy.TITLE,
        peer=Taken.once(peer()),
        limit=truth,
        judged="ours",
        note=f"at confidence {1 - ALPHA:g}, delta {DELTA:g}; the higher the sharper, and none above the truth",
    )
