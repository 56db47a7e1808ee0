"""Freshness beyond one process: two new processes, and a forked child of each, draw nothing that another one drew.

Each new process opens a stream, draws from it, and forks. Then both halves draw from the stream they had, if it still
answers, and from one of their own for the same purpose. It is apart from the self-test because it takes a second,
and because a server with threads must not be forked: only the new processes are.
Source: Everspaugh et al., "Not-so-random numbers in virtualized Linux", IEEE S&P 2014 (state that is drawn from twice).
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import numpy as np

from dp.audit.finding import Finding
from dp.audit.self_testing import TESTED_WORDS, fresh, unclaimed
from dp.entropy import Entropy, Words
from dp.errors import EntropyUnavailable

LABEL_PROCESS = b"secagg/v1/dp/audit/process"

PROCESSES = 2
PATIENCE_SECONDS = 60.0
_BYTES = 8 * TESTED_WORDS
_PROGRAM = "from dp.audit.processes import speak; speak()"


def across_processes() -> Finding:
    """Whether no twelve words in a row occur twice among two new processes and a forked child of each.

    Raises: EntropyUnavailable when a process cannot be started, or does not say what it drew.
    """
    drawn = [stream for _ in range(PROCESSES) for stream in _drawn_by_a_new_process()]
    return unclaimed("entropy of two processes and their children", len(drawn), (fresh(drawn),))


def speak() -> None:
    """What a new process does: writes what it and its forked child drew to stdout, and nothing else."""
    with Entropy.system(LABEL_PROCESS, b"") as inherited:
        _write(inherited)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _write_both(inherited)
                status = 0
            finally:
                # Whatever the parent registered to run at its end is not the child's to run.
                os._exit(status)
        _, status = os.waitpid(child, 0)
        _write_both(inherited)
    sys.exit(os.waitstatus_to_exitcode(status))


def _write_both(inherited: Entropy) -> None:
    # What a forked child has to find: that the stream belongs to its parent.
    with suppress(EntropyUnavailable):
        _write(inherited)
    with Entropy.system(LABEL_PROCESS, b"") as own:
        _write(own)


def _write(entropy: Entropy) -> None:
    words = memoryview(entropy.borrow(TESTED_WORDS, LABEL_PROCESS).tobytes())
    while words:
        words = words[os.write(sys.stdout.fileno(), words) :]


def _drawn_by_a_new_process() -> list[Words]:
    # Where this process finds the package, the new one must too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-c", _PROGRAM]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as late:
        raise EntropyUnavailable(f"a process drew nothing within {PATIENCE_SECONDS:g} s") from late
    except OSError as refused:
        raise EntropyUnavailable(f"no process of its own could be started to draw in: {refused}") from refused
    # The parent's first draw, what it and its child drew anew, and the parent's second from the stream it opened.
    if done.returncode != 0 or len(done.stdout) not in (4 * _BYTES, 5 * _BYTES):
        raise EntropyUnavailable(f"a process ended with {done.returncode} and did not say what it drew")
    drawn = range(0, len(done.stdout), _BYTES)
    return [np.frombuffer(done.stdout, dtype="<u8", count=TESTED_WORDS, offset=at) for at in drawn]
