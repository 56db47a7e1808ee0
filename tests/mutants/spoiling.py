"""A copy of the sources in a folder of their own, one file of it spoilt, and what pytest then says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.checks import ROOT

TAKES_TOO_LONG = 300


def copy_sources(folder: Path) -> Path:
    """The sources and tests, to be spoilt there and never where they are kept."""
    for part in ("secagg", "dp", "protocols", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@contextmanager
def spoilt(file: Path, source: str) -> Iterator[None]:
    """The file holds this source as long as it lasts."""
    original = file.read_text(encoding="utf-8")
    try:
        _write(file, source)
        yield
    finally:
        _write(file, original)


def _write(file: Path, source: str) -> None:
    """Compiled files are told apart by whole seconds only, so they go."""
    file.write_text(source, encoding="utf-8")
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()


def pytest_in(folder: Path, nodes: Iterable[str], *options: str) -> subprocess.CompletedProcess[str]:
    """What pytest says about these tests in that folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *options, *nodes]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TAKES_TOO_LONG)
