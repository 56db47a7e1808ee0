"""What figures were taken on and with: only ratios travel between machines."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peers import CHECKOUT, interpreter_of, pinned

LIBRARIES = ("numpy", "scipy", "cryptography", "tenseal")
# Runs in a peer's environment, where nothing of ours need be installed.
ASK = """
import importlib.metadata as metadata, json, sys
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


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


def versions(environments: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Of our own libraries as `here`, and of the peers in each environment, as they were found installed.

    None is a peer that is not installed there.
    """
    from cryptography.hazmat.backends.openssl import backend

    here: dict[str, str | None] = {name: importlib.metadata.version(name) for name in LIBRARIES}
    found = {"here": here | {"openssl": backend.openssl_version_text()}}
    return found | {name: versions_in(name) for name in environments if interpreter_of(name).exists()}


def versions_in(environment: str) -> dict[str, str | None]:
    """Of the peers that this environment is made for."""
    wanted = [pin.partition("==")[0].partition("[")[0] for pin in pinned(environment)]
    asked = subprocess.run(
        [interpreter_of(environment), "-c", ASK, *wanted], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    answer: dict[str, str | None] = json.loads(asked.stdout)
    return answer


def commit() -> str | None:
    """The commit that was measured, with a + where files differ from it; None outside of git."""
    found = [
        subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    if any(one.returncode for one in found):
        return None
    return found[0].stdout.strip() + ("+" if found[1].stdout.strip() else "")


def say(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)
