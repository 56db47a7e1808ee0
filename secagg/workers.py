"""Several workers on one vector: each gets a range of it, and the result does not depend on who did which.

    [0, length)  --shards-->  [0, a) [a, b) ... [z, length)      one job each, all on the same arrays

Threads serve: AES and numpy release the interpreter's lock while they work, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from secagg.errors import BadParameters

# Masks give each so many elements a key of their own; a range that begins on one reads its streams from the start.
SEGMENT = 1 << 19
# Ranges begin at multiples of it: whole AES blocks of the narrowest words.
_GRAIN = 16

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Workers:
    """`count` workers of an executor that share memory: a thread pool, or `ALONE`."""

    executor: Executor
    count: int

    def each(self, length: int, job: Callable[[int, int], Result]) -> list[Result]:
        """[job(lo, hi) for adjacent ranges of 0..length], at once.

        Raises: what a job or the executor raises, once no job is at work any more.
        """
        jobs: list[Future[Result]] = []
        try:
            for lo, hi in shards(length, self.count):
                jobs.append(self.executor.submit(job, lo, hi))
        finally:
            wait(jobs)
        return [job.result() for job in jobs]

    def each_of(self, pieces: int, job: Callable[[int, int], Result]) -> list[Result]:
        """`each` of so many pieces that are never cut: [job(first, end) for adjacent ranges of them]."""
        return self.each(pieces * _GRAIN, lambda lo, hi: job(lo // _GRAIN, hi // _GRAIN))


class Inline(Executor):
    """Runs each job at once in the calling thread, which also gets what it raises."""

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(job(*args, **kwargs))
        return done


ALONE = Workers(Inline(), 1)


def shards(length: int, count: int) -> list[tuple[int, int]]:
    """[0, length) as at most `count` adjacent ranges of nearly equal size.

    Ranges begin on segments where there are enough of them, so that every worker reads its streams from the
    start; a shorter vector is cut between segments all the same, on whole AES blocks.
    Raises: BadParameters for count < 1.
    """
    if count < 1:
        raise BadParameters(f"a vector cannot be cut into {count} ranges")
    grain = SEGMENT if length > SEGMENT * count else _GRAIN
    grains = -(-length // grain)
    cuts = sorted({min(length, grains * i // count * grain) for i in range(count + 1)})
    return list(pairwise(cuts))
