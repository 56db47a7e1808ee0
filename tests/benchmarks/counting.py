"""A peer that only counts, for the process that stands: it prints between its answers, and fails when it is told to."""

from __future__ import annotations


class Counts:
    def __init__(self) -> None:
        self.total = 0

    def add(self, more: int) -> int:
        print("a warning that is no answer")
        self.total += more
        return self.total

    def fail(self) -> None:
        raise RuntimeError("told to")


def stand() -> Counts:
    return Counts()
