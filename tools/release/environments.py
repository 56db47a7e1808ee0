"""Bare environments: what a wheel brings by itself, without pip or setuptools that happen to lie there already."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from tools.release.source import ROOT


def unknowing() -> dict[str, str]:
    """The environment variables of a process that is to see nothing of this checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def pip(environment: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """This interpreter's pip, at work on another environment, with the versions the project is tested with."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "--python", environment, "--disable-pip-version-check", *arguments],
        env=unknowing(),
        capture_output=True,
        text=True,
        check=False,
    )


def install(environment: Path, wheel: Path, extra: str | None) -> str | None:
    """Makes an environment of the wheel and an extra anew; None, or what pip said when it could not."""
    if not (environment / "bin").exists():
        venv.create(environment, with_pip=False, symlinks=True)
    wanted = str(wheel.resolve()) + (f"[{extra}]" if extra else "")
    done = pip(environment, "install", "--quiet", "-c", str(ROOT / "constraints.txt"), wanted)
    # Of an extra that the wheel has not, pip only warns.
    refused = done.returncode != 0 or "does not provide the extra" in done.stderr
    return done.stderr.strip() if refused else None


def contradictions(environment: Path) -> str:
    """What `pip check` finds wrong with the requirements of all that is installed; empty when they agree."""
    done = pip(environment, "check")
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()


def site_packages(environment: Path) -> Path:
    """Where an environment's packages are; this interpreter made it, so it names the folder as this one does."""
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
