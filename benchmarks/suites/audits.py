"""What audits cost: a server runs the self-test before its first round, and one-run bounds are asked for many guesses.

self-test       every route, its tables built before, beside building them (the first run of a process)
one-run         64 declared numbers of a million guesses, beside one of them
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.rows import Effort, Row, Taken, alternate, timed
from dp.audit import Canaries, Declared, one_run, selftest

LIMIT_SELFTEST, LIMIT_GUESSES = 1.0, 5.0
NUMBERS = 64


def rows(effort: Effort) -> Iterator[Row]:
    first = timed(selftest)()
    again = [timed(selftest)() for _ in range(effort.repeats)]
    yield row("the self-test, every route", Taken.of(again), first)
    yield guessing(effort)


def row(case: str, ours: Taken, first: float) -> Row:
    """The self-test as a running process pays for it."""
    return Row(
        suite="audits",
        case=case,
        unit="s",
        ours=ours,
        peer_name="the first run of the process",
        peer=Taken.once(first),
        limit=LIMIT_SELFTEST,
        judged="ours",
        note="CPU seconds",
    )


def guessing(effort: Effort) -> Row:
    """Bounds for many numbers of guesses over as many canaries as there are coordinates."""
    generator = np.random.default_rng(0)
    included = generator.random(effort.dimension) < 0.5
    canaries = Canaries(included + generator.standard_normal(effort.dimension), included)
    most = effort.dimension - NUMBERS
    many = Declared(tuple(range(most, most + NUMBERS)))
    ours, one = alternate(
        timed(lambda: one_run(canaries, many, delta=1e-5)), timed(lambda: one_run(canaries, most, delta=1e-5)), 2
    )
    return Row(
        suite="audits",
        case=f"{NUMBERS} bounds of {most:,} guesses",
        unit="s",
        ours=ours,
        peer_name="one of them",
        peer=one,
        limit=LIMIT_GUESSES,
        judged="ours",
        note="CPU seconds",
    )
