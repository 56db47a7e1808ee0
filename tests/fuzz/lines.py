"""A small fuzzer that looks where it gets: mutants that reach a new line are damaged further.

The signal is the set of lines that ran in the watched files, by `sys.settrace`; slow, and nothing to install.
`guided.py` does the same on compiled-in counters for as long as one likes.
Source: M. Zalewski, American Fuzzy Lop, technical details, section 2 (the queue of inputs that found something new).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.mutate import Mutator, Seed

Line = tuple[CodeType, int]
Target = Callable[[bytes], object]


@dataclass
class Watch:
    """The lines that ran in these files, in how many runs."""

    files: frozenset[str]
    seen: set[Line] = field(default_factory=set)
    runs: int = 0

    def run(self, target: Target, data: bytes) -> set[Line]:
        """The lines that ran for the first time in this run."""
        new: set[Line] = set()
        self.runs += 1
        before = sys.gettrace()

        def enter(frame: FrameType, event: str, argument: Any) -> Any:
            return step if frame.f_code.co_filename in self.files else None

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            line = (frame.f_code, frame.f_lineno)
            if line not in self.seen:
                new.add(line)
                self.seen.add(line)
            return step

        sys.settrace(enter)
        try:
            target(data)
        finally:
            sys.settrace(before)
        return new


def unguided(target: Target, watch: Watch, seeds: Sequence[Seed], number: int, budget: int) -> None:
    """`budget` mutants of the seeds."""
    mutator = Mutator(number, seeds)
    for _ in range(budget):
        watch.run(target, mutator.mutant())


def guided(target: Target, watch: Watch, seeds: Iterable[Seed], number: int, budget: int) -> None:
    """`budget` mutants of the seeds and of whatever reached a line that no input before had reached."""
    queue = list(seeds)
    mutator = Mutator(number, queue)
    for turn in range(budget):
        # Every other mutant is of the latest find: what it got past, hardly anything else gets past.
        seed = queue[-1] if turn % 2 else mutator.any_seed()
        data = mutator.mutant(seed)
        if watch.run(target, data):
            queue.append(Seed(data, seed.counts))
