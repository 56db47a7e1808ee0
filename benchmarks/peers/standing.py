"""A peer in a process of its own, for peers that cannot share our interpreter: it stands, and is asked in turns.

    ours                                     python -m benchmarks.peers.standing MODULE, in the peer's environment
    {"act": "encrypt", "given": {...}}  ->   calls stand().encrypt(**given) of MODULE
                                        <-   {"seconds": CPU seconds of that call, "told": what it returned}

One line each way. What the peer makes stays with it: acts are methods of the one object that `stand()` of its module
returns, and tell what JSON can. Both processes wait for each other, so that only one of them works at a time.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from benchmarks.peers import CHECKOUT, interpreter_of


class PeerFailed(Exception):
    """The peer's process ended; its last words are on stderr."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one act took and came to."""

    seconds: float
    value: Any


class Standing:
    """The process of one peer, from entering to leaving; it inherits the cores that we are bound to.

    Raises: PeerFailed from every question once the process has ended.
    """

    def __init__(self, environment: str, module: str) -> None:
        self._command = [str(interpreter_of(environment)), "-m", "benchmarks.peers.standing", module]

    def __enter__(self) -> Standing:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, cwd=CHECKOUT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Its input ends here, and so does its loop.
        self._process.communicate()

    def ask(self, act: str, **given: Any) -> Told:
        """What it took, by its own CPU clock, and what it told."""
        sent, heard = self._process.stdin, self._process.stdout
        assert sent is not None
        assert heard is not None
        try:
            sent.write(json.dumps({"act": act, "given": given}) + "\n")
            sent.flush()
        except BrokenPipeError as broken:
            raise PeerFailed(f"{self._command[-1]} ended before it was asked to {act}") from broken
        line = heard.readline()
        if not line:
            raise PeerFailed(f"{self._command[-1]} ended while it was asked to {act}")
        answer = json.loads(line)
        return Told(answer["seconds"], answer["told"])

    def seconds(self, act: str, **given: Any) -> float:
        """What it took."""
        return self.ask(act, **given).seconds


def serve(module: str) -> None:
    """Answers line after line until there are no more; what the peer prints by itself goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    stands = importlib.import_module(module).stand()
    for line in sys.stdin:
        asked = json.loads(line)
        act = getattr(stands, asked["act"])
        started = time.process_time()
        told = act(**asked["given"])
        seconds = time.process_time() - started
        print(json.dumps({"seconds": seconds, "told": told}), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
