"""Peers, each installed in an environment of its own, so that none decides which versions we run on.

    $PEERS_HOME/<environment>, or .venv-<environment> in the checkout      made by `benchmarks.peers.environments`

A suite beside a peer runs as a whole inside that environment: both sides in one process, taking turns on
the same cores. Where its interpreter is too old for us, the suite runs in ours and the peer answers from a process
of its own (`standing`). An environment that is missing or cannot import its peer skips the suite by name; nothing is
installed on the way.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row

CHECKOUT = Path(__file__).resolve().parents[2]
# Which modules of this package each environment holds the peer of; one per environment where versions quarrel.
PEERS = {
    "flower": ("flower",),
    "dp": ("dp_accounting", "opacus", "opendp", "prv", "autodp"),
    "tenseal": ("tenseal",),
    "nvflare": ("nvflare",),
    "pfl": ("pfl",),
    "jax_privacy": ("jax_privacy",),
    "openfhe": ("openfhe",),
}
# Whose interpreter cannot import this project.
APART = frozenset({"openfhe"})


@dataclass(frozen=True, slots=True)
class Skipped:
    """A suite that was not measured, and why."""

    suite: str
    environment: str
    why: str

    def __str__(self) -> str:
        return f"skipped {self.suite}, beside {', '.join(PEERS.get(self.environment, (self.environment,)))}: {self.why}"


def pinned(environment: str) -> list[str]:
    """What `pip install` is given to make it."""
    return [pin for peer in PEERS[environment] for pin in importlib.import_module(f"benchmarks.peers.{peer}").PIP]


def check(environment: str) -> None:
    """Whether every peer is there, in the version that is measured; called inside the environment.

    Raises: PeerChanged; ModuleNotFoundError.
    """
    for peer in PEERS[environment]:
        importlib.import_module(f"benchmarks.peers.{peer}").check()


def folder_of(environment: str) -> Path:
    """Where an environment is, whether or not it is there."""
    home = os.environ.get("PEERS_HOME")
    return Path(home) / environment if home else CHECKOUT / f".venv-{environment}"


def interpreter_of(environment: str) -> Path:
    """The environment's own interpreter, whether or not it is there."""
    return folder_of(environment) / "bin" / "python"


def fault_of(environment: str) -> str | None:
    """Why nothing can be measured in an environment, if nothing can."""
    python = interpreter_of(environment)
    if not python.exists():
        return f"there is no {python}: `make peers` makes it"
    imported = subprocess.run(
        [python, "-c", f"from benchmarks.peers import check; check({environment!r})"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    return last_words(imported.stderr) if imported.returncode else None


def last_words(said: str) -> str:
    """The last line that says why a command failed; pip may go on to speak of itself."""
    lines = [line.strip() for line in said.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("[notice]")), "it said nothing")


def rows_beside(environment: str, suite: str, effort: str) -> list[Row] | Skipped:
    """The rows of a suite, measured by `python -m benchmarks.peers` inside that environment.

    Raises: CalledProcessError when the suite itself fails; its traceback is on stderr.
    """
    fault = fault_of(environment)
    if fault is not None:
        return Skipped(suite, environment, fault)
    python = Path(sys.executable) if environment in APART else interpreter_of(environment)
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
