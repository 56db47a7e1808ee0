"""Unmasking shared by two: threads of one process beside two processes on shared memory, and beside one thread.

Measured (2 cores, 10^6 elements): threads win as long as the pool is not kept for the next round: a process
must be started, must import numpy and cryptography, and must be sent seeds, which otherwise never leave the
server's process. With pools that stand ready the two are alike, for AES and numpy release the interpreter's
lock. Hence `secagg.workers` takes threads, and no seed ever travels.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from benchmarks.rows import Effort, Row, alternate, on_cores, timed, wall_seconds
from secagg.keys import Seed
from secagg.masks import Correction, unmask_into
from secagg.ring import Ring
from secagg.workers import Workers, shards

RING = Ring(23)
CONTEXT = bytes(32)
CORRECTIONS = 50
# Neither may be so much worse that the choice of threads is wrong.
LIMIT_RATIO = 1.25


def rows(effort: Effort) -> Iterator[Row]:
    dimension = effort.dimension
    total = RING.zeros(dimension)
    memory = SharedMemory(create=True, size=total.nbytes)
    corrections = [Correction(1, Seed(number.to_bytes(32, "little"))) for number in range(CORRECTIONS)]
    try:
        with on_cores(2), ThreadPoolExecutor(2) as threads, processes() as pool:

            def by_threads() -> None:
                Workers(threads, 2).each(
                    dimension, lambda lo, hi: unmask_into(total, RING, corrections, CONTEXT, 0, dimension, lo, hi)
                )

            def by_one() -> None:
                unmask_into(total, RING, corrections, CONTEXT, 0, dimension)

            def by_processes() -> None:
                share(pool, memory.name, dimension)

            def by_new_processes() -> None:
                with processes() as fresh:
                    share(fresh, memory.name, dimension)

            for name, act, limit in (
                ("two processes that stand ready", by_processes, LIMIT_RATIO),
                ("two processes started for it", by_new_processes, LIMIT_RATIO),
                ("one thread", by_one, 1.0),
            ):
                ours, other = alternate(timed(by_threads, wall_seconds), timed(act, wall_seconds), effort.repeats)
                yield Row(
                    suite="unmasking",
                    case=f"{CORRECTIONS} masks, d = {dimension:,}, 2 threads",
                    unit="s",
                    ours=ours,
                    peer_name=name,
                    peer=other,
                    limit=limit,
                    judged="ratio",
                    note="wall clock",
                )
    finally:
        memory.close()
        memory.unlink()


def processes() -> ProcessPoolExecutor:
    """Two workers that inherit nothing: a fork of a process that has threads may hang."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def share(pool: Executor, name: str, dimension: int) -> None:
    """Each process a range of the vector in this shared memory."""
    seeds = [number.to_bytes(32, "little") for number in range(CORRECTIONS)]
    jobs = [pool.submit(unmask_range, name, seeds, dimension, lo, hi) for lo, hi in shards(dimension, 2)]
    for job in jobs:
        job.result()


def unmask_range(name: str, seeds: list[bytes], dimension: int, lo: int, hi: int) -> None:
    """What a process does."""
    memory = SharedMemory(name)
    try:
        total = np.ndarray(dimension, RING.dtype, buffer=memory.buf)
        corrections = [Correction(1, Seed(seed)) for seed in seeds]
        unmask_into(total, RING, corrections, CONTEXT, 0, dimension, lo, hi)
        # The memory cannot be closed while an array looks into it.
        del total
    finally:
        memory.close()
