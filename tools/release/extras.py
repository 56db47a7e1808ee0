"""Whether what the core and each extra bring agrees with itself: one environment for each, and `pip check` in it.

`python -m tools.release.extras WHEEL FOLDER [EXTRA ...]` makes FOLDER/EXTRA from the wheel (all extras unless some are
named), prints a table and ends with 1 when one could not be installed or its requirements contradict each other.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.release.declared import CORE, requirements
from tools.release.environments import contradictions, install
from tools.release.installed import packages


@dataclass(frozen=True)
class Checked:
    """What came of one extra; `trouble` is empty when all is well."""

    extra: str
    packages: int
    megabytes: float
    trouble: str

    def __str__(self) -> str:
        outcome = self.trouble or "no contradiction"
        return f"{self.extra:<10} {self.packages:>4} packages {self.megabytes:>8.1f} MB  {outcome}"


def check(extra: str, wheel: Path, folder: Path) -> Checked:
    """Makes the environment anew and asks pip."""
    environment = folder / extra
    shutil.rmtree(environment, ignore_errors=True)
    if refused := install(environment, wheel, None if extra == CORE else extra):
        return Checked(extra, 0, 0.0, f"not installed: {refused}")
    found = packages(environment)
    return Checked(extra, len(found), sum(package.megabytes for package in found), contradictions(environment))


def main(wheel: Path, folder: Path, extras: Iterable[str]) -> int:
    """0 when each environment agrees with itself."""
    broken = 0
    for extra in extras:
        checked = check(extra, wheel, folder)
        print(checked, flush=True)
        broken += bool(checked.trouble)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or requirements()))
