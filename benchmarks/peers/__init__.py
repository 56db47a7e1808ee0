"""Peers, each installed in an environment of its own, so that none decides which versions we run on.

    $PEERS_HOME/<peer>, or .venv-<peer> in the checkout      made by `make peers`

A suite beside a peer runs as a whole inside that environment: both sides in one process, taking turns on
the same cores. An environment that is missing or cannot import its peer skips the suite by name; nothing is
installed on the way.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A suite that was not measured, and why."""

    suite: str
    peer: str
    why: str

    def __str__(self) -> str:
        return f"skipped {self.suite}, beside {self.peer}: {self.why}"


def interpreter_of(peer: str) -> Path:
    """The peer's own interpreter, whether or not it is there."""
    home = os.environ.get("PEERS_HOME")
    environment = Path(home) / peer if home else CHECKOUT / f".venv-{peer}"
    return environment / "bin" / "python"


def rows_beside(peer: str, suite: str, effort: str) -> list[Row] | Skipped:
    """The rows of a suite, measured by `python -m benchmarks.peers` inside the peer's environment.

    Raises: CalledProcessError when the suite itself fails; its traceback is on stderr.
    """
    python = interpreter_of(peer)
    if not python.exists():
        return Skipped(suite, peer, f"there is no {python}: `make peers` makes it")
    imported = subprocess.run(
        [python, "-c", f"import benchmarks.peers.{peer} as peer; peer.check()"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if imported.returncode:
        return Skipped(suite, peer, imported.stderr.strip().splitlines()[-1])
    measured = subprocess.run(
        [python, "-m", "benchmarks.peers", suite, effort],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    # Some peers print on stdout as well; ours is the last line.
    return [Row.from_dict(plain) for plain in json.loads(measured.stdout.splitlines()[-1])]
