"""Peers, each installed in an environment of its own, so that none decides which versions we run on.

    $PEERS_HOME/<environment>, or .venv-<environment> in the checkout      made by `make peers`

A suite beside a peer runs as a whole inside that environment: both sides in one process, taking turns on
the same cores. An environment that is missing or cannot import its peer skips the suite by name; nothing is
installed on the way.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row

CHECKOUT = Path(__file__).resolve().parents[2]
# Which modules of this package each environment holds the peer of; one per environment where versions quarrel.
PEERS = {"flower": ("flower",), "dp": ("dp_accounting", "opacus", "opendp", "prv"), "tenseal": ("tenseal",)}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A suite that was not measured, and why."""

    suite: str
    environment: str
    why: str

    def __str__(self) -> str:
        return f"skipped {self.suite}, beside {', '.join(PEERS[self.environment])}: {self.why}"


def pinned(environment: str) -> list[str]:
    """What `pip install` is given to make it."""
    return [pin for peer in PEERS[environment] for pin in importlib.import_module(f"benchmarks.peers.{peer}").PIP]


def check(environment: str) -> None:
    """Whether every peer is there, in the version that is measured; called inside the environment.

    Raises: PeerChanged; ModuleNotFoundError.
    """
    for peer in PEERS[environment]:
        importlib.import_module(f"benchmarks.peers.{peer}").check()


def interpreter_of(environment: str) -> Path:
    """The environment's own interpreter, whether or not it is there."""
    home = os.environ.get("PEERS_HOME")
    folder = Path(home) / environment if home else CHECKOUT / f".venv-{environment}"
    return folder / "bin" / "python"


def rows_beside(environment: str, suite: str, effort: str) -> list[Row] | Skipped:
    """The rows of a suite, measured by `python -m benchmarks.peers` inside that environment.

    Raises: CalledProcessError when the suite itself fails; its traceback is on stderr.
    """
    python = interpreter_of(environment)
    if not python.exists():
        return Skipped(suite, environment, f"there is no {python}: `make peers` makes it")
    imported = subprocess.run(
        [python, "-c", f"from benchmarks.peers import check; check({environment!r})"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if imported.returncode:
        return Skipped(suite, environment, imported.stderr.strip().splitlines()[-1])
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
