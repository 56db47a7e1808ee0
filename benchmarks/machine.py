"""What figures were taken on and with: only ratios travel between machines."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.peers import CHECKOUT, interpreter_of
from benchmarks.peers.environments import versions as versions_in

LIBRARIES = ("numpy", "scipy", "cryptography", "tenseal")


def machine() -> dict[str, object]:
    """Processor, cores, memory, system, interpreter."""
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "system": system(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """The model as the system names it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def system() -> str:
    """The distribution where it says so, and the kernel."""
    kernel = f"{platform.system()} {platform.release()}"
    described = Path("/etc/os-release")
    return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}" if described.exists() else kernel


def versions(environments: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """Of our own libraries as `here`, and of what each environment was made for, as it was found installed there."""
    from cryptography.hazmat.backends.openssl import backend

    here = {name: importlib.metadata.version(name) for name in LIBRARIES}
    found: dict[str, Mapping[str, str]] = {"here": here | {"openssl": backend.openssl_version_text()}}
    return found | {name: versions_in(name) for name in environments if interpreter_of(name).exists()}


def commit() -> str | None:
    """The commit that was measured, with a + where files differ from it; None where git or a checkout is missing."""
    if shutil.which("git") is None:
        return None
    found = [
        subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "--show-toplevel", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    if any(one.returncode for one in found):
        return None
    top, head = found[0].stdout.splitlines()
    # Unpacked inside of somebody's repository, that one's commit is not ours.
    if Path(top).resolve() != CHECKOUT:
        return None
    return head + ("+" if found[1].stdout.strip() else "")


def say(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)
