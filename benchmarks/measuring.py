"""The rows of every module, each module in a process of its own: in our interpreter or in its peer's environment.

So no module finds the memory or the caches of the one before, and one that fails costs its own rows and no others: it
is named in the result, which then is not fine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from benchmarks.machine import say
from benchmarks.peers import CHECKOUT, Skipped, rows_beside
from benchmarks.rows import Row
from benchmarks.suites import BESIDE, attacks


class Judged(Protocol):
    """What a suite yields: a row, or a verdict about an attack."""

    @property
    def passed(self) -> bool: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What one module gave, and the wall clock it took. `failed` says how it ended where it did not end well."""

    suite: str
    module: str
    seconds: float
    rows: tuple[Judged, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: str = ""

    @property
    def environment(self) -> str | None:
        return BESIDE.get(self.module)

    def to_dict(self) -> dict[str, object]:
        """Without the rows and reasons, which the result has of all."""
        plain = asdict(self) | {"environment": self.environment, "rows": len(self.rows)}
        return {key: value for key, value in plain.items() if key != "skipped"}


def measured(modules: list[tuple[str, str]], effort: str) -> Iterator[Measured]:
    """One after the other; what runs and for how long is said on stderr."""
    began = time.monotonic()
    for number, (suite, module) in enumerate(modules, start=1):
        say(f"[{number} of {len(modules)}, {time.monotonic() - began:.0f} s so far] {suite}: {module}")
        started = time.monotonic()
        rows, skipped, failed = found_by(module, effort)
        done = Measured(suite, module, round(time.monotonic() - started, 1), rows, skipped, failed)
        for why in (*skipped, *([f"FAILED {module}: {failed}"] if failed else [])):
            say(f"    {why}")
        yield done
    say(f"[done, {time.monotonic() - began:.0f} s]")


def found_by(module: str, effort: str) -> tuple[tuple[Judged, ...], tuple[str, ...], str]:
    """(rows, why some were skipped, how it failed) of one module."""
    try:
        if module == "attacks":
            verdicts = tuple(map(attacks.VerdictRow.from_dict, told_here(module, effort)))
            return verdicts, tuple(sorted({f"skipped attacks: {row.skipped}" for row in verdicts if row.skipped})), ""
        found = rows_beside(BESIDE[module], module, effort) if module in BESIDE else rows_here(module, effort)
    except subprocess.CalledProcessError as failure:
        return (), (), f"ended with code {failure.returncode}; what it said stands above"
    except (IndexError, KeyError, TypeError, ValueError) as garbled:
        return (), (), f"its last line is no list of rows: {garbled!r}"
    return ((), (str(found),), "") if isinstance(found, Skipped) else (tuple(found), (), "")


def rows_here(module: str, effort: str) -> list[Row]:
    """The rows of a module that needs no peer.  Raises: CalledProcessError; its traceback is on stderr."""
    return [Row.from_dict(plain) for plain in told_here(module, effort)]


def told_here(module: str, effort: str) -> list[dict[str, Any]]:
    """What a module tells as its last line, in a process of our interpreter.  Raises: CalledProcessError."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", module, effort],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    told: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return told
