"""The memory of this process as the operating system sees it, sampled while something runs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

SAMPLE_SECONDS = 0.002


def sampled_peak(act: Callable[[], object]) -> int:
    """Peak of the resident set while it runs, over what was held before, in bytes."""
    with sampled() as highest:
        before = resident_bytes()
        act()
        highest.append(resident_bytes())
    return max(highest) - before


@contextlib.contextmanager
def sampled() -> Iterator[list[int]]:
    """The resident set every two milliseconds, from a state in which free memory was given back."""
    gc.collect()
    if sys.platform == "linux":
        # Otherwise the peak would hide in what earlier rows left to the allocator.
        ctypes.CDLL(None).malloc_trim(0)
    samples: list[int] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            samples.append(resident_bytes())

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield samples
    finally:
        stop.set()
        sampler.join()


def resident_bytes() -> int:
    """The resident set now. Linux only: elsewhere there is no cheap way to ask."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
