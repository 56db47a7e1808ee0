"""Which libraries are checked, where each of them lives, and the findings of one."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.matrix.checks import CHECKS
from benchmarks.matrix.finding import Finding, Outcome
from benchmarks.matrix.target import Target
from benchmarks.peers import CHECKOUT, interpreter_of

# A check that takes half a minute alone may take many on a machine with other work.
PATIENCE_SECONDS = 1200


@dataclass(frozen=True, slots=True)
class Library:
    """A peer: the environment that it is installed in, and its file of probes in `benchmarks.peers`."""

    environment: str
    module: str

    @property
    def target(self) -> Target:
        """Its probes, which import nothing of it before they are asked."""
        found: Target = importlib.import_module(f"benchmarks.peers.{self.module}").TARGET
        return found

    def findings(self, checks: Sequence[str] = ()) -> list[Finding]:
        """What came of these checks, or of all, in the library's own environment.

        Where it cannot be asked, what it has no part in is still not applicable, and the rest is not installed.
        """
        try:
            return self._asked(checks)
        except Absent as reason:
            return [self._absent(check, str(reason)) for check in checks or (check.id for check in CHECKS)]

    def _asked(self, checks: Sequence[str]) -> list[Finding]:
        python = interpreter_of(self.environment)
        if not python.exists():
            raise Absent(f"no environment at {python.parents[1]}")
        command = [str(python), "-m", f"benchmarks.peers.{self.module}", json.dumps({"checks": list(checks)})]
        try:
            done = subprocess.run(
                command,
                cwd=CHECKOUT,
                env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as patience:
            raise Absent(f"no answer in {PATIENCE_SECONDS} s") from patience
        if done.returncode != 0:
            raise Absent((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
        # Some peers print on stdout as well; ours is the last line.
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        return [Finding.from_dict(finding) for finding in answer["findings"]]

    def _absent(self, check: str, why: str) -> Finding:
        target = self.target
        if check in target.without:
            return Finding(check, target.library, "", Outcome.NOT_APPLICABLE, target.without[check])
        return Finding(check, target.library, "", Outcome.NOT_INSTALLED, why)


class Absent(Exception):
    """The library cannot be asked here, and why."""


LIBRARIES = (
    Library("flower", "flower_target"),
    Library("nvflare", "nvflare_target"),
    Library("tenseal", "tenseal_target"),
    Library("dp", "dp_accounting_target"),
    Library("dp", "opacus_target"),
    Library("dp", "opendp_target"),
    Library("dp", "prv_target"),
    Library("pfl", "pfl_target"),
    Library("jax_privacy", "jax_privacy_target"),
)
