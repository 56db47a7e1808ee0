"""Whether the environment that a peer is measured in is there."""

from __future__ import annotations

from benchmarks.peers import Skipped, interpreter_of


def prepare(name: str) -> Skipped | None:
    """None where the environment is there, and else why not."""
    python = interpreter_of(name)
    return None if python.exists() else Skipped("all suites", name, f"there is no {python}: `make peers` makes it")
