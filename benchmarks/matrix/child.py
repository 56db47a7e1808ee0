"""A deed that may kill its process, done in a process of its own, and how that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its exit status, what it printed last, and its last line of errors."""

    status: int
    stdout: str
    last_words: str

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, as no Python code of its own does."""
        return self.status < 0

    def __str__(self) -> str:
        if self.killed:
            return f"the process ends by {signal.Signals(-self.status).name}"
        return f"the process ends with status {self.status}" + (f": {self.last_words}" if self.last_words else "")


def ending_of(module: str, deed: str, *arguments: str) -> Ending:
    """`module.deed(*arguments)` in another process of this interpreter.

    Raises: subprocess.TimeoutExpired.
    """
    code = f"import sys, {module} as m; m.{deed}(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    words = done.stderr.strip().splitlines()
    return Ending(done.returncode, done.stdout, words[-1][:200] if words else "")
