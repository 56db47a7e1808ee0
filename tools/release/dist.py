"""Build wheel and sdist of the last commit twice, under different circumstances, and keep them if they are equal.

`python -m tools.release.dist FOLDER`. The two builds differ in folder, modes and times of the files, umask, locale,
time zone and hash seed; and one makes its wheel from the sdist, the other from the tree. What stays equal is the
commit, whose time every file bears (SOURCE_DATE_EPOCH), and the builder that constraints.txt pins.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.release.contents import sdist_offences, wheel_offences
from tools.release.source import ROOT, differs_from_commit, export, last_change


@dataclass(frozen=True)
class Circumstances:
    """Where and how one build takes place; none of it may be seen in the result."""

    folder: str
    umask: int
    environment: Mapping[str, str]
    archives: tuple[str, ...]
    keeps_times: bool


CIRCUMSTANCES = (
    Circumstances(
        "one",
        0o022,
        {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "1"},
        archives=(),  # the wheel is made from the sdist
        keeps_times=True,
    ),
    Circumstances(
        "another/checkout of it",
        0o077,
        {"LC_ALL": "POSIX", "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "2"},
        archives=("--sdist", "--wheel"),
        keeps_times=False,
    ),
)


def build(circumstances: Circumstances, folder: Path) -> dict[str, bytes]:
    """Content by file name of what a clean copy of the commit is built into.  Raises: CalledProcessError."""
    source, built = folder / circumstances.folder, folder / f"{circumstances.folder}-built"
    export(source, circumstances.umask)
    if not circumstances.keeps_times:
        now = time.time()
        for path in source.rglob("*"):
            os.utime(path, (now, now))
    subprocess.run(
        [sys.executable, "-m", "build", "--quiet", *circumstances.archives, "--outdir", built, source],
        env={
            **os.environ,
            **circumstances.environment,
            "SOURCE_DATE_EPOCH": str(last_change()),
            "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        },
        umask=circumstances.umask,
        check=True,
        stdout=sys.stderr,
    )
    return {path.name: path.read_bytes() for path in built.iterdir()}


def differences(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> list[str]:
    """Names of the files that only one build has, or that are not the same bytes in both."""
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def lacking(built: Iterable[str]) -> list[str]:
    """The kinds of archive of which there is not exactly one: two builds of nothing are equal as well."""
    names = list(built)
    return [kind for kind in (".whl", ".tar.gz") if sum(name.endswith(kind) for name in names) != 1]


def main(destination: Path) -> int:
    """0 when both builds agree, and hold what they should, one of each; what was built is then in the destination."""
    if differs_from_commit():
        print("note: the last commit is built; what was changed here since is not in it", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (build(circumstances, Path(folder)) for circumstances in CIRCUMSTANCES)
    if unequal := differences(first, second):
        print(f"not reproducible: {unequal}")
        return 1
    if kinds := lacking(first):
        print(f"not one of each was built: {kinds}, {sorted(first)}")
        return 1
    destination.mkdir(parents=True, exist_ok=True)
    wrong = []
    for name, content in sorted(first.items()):
        path = destination / name
        path.write_bytes(content)
        wrong += wheel_offences(path) if name.endswith(".whl") else sdist_offences(path)
        print(f"{hashlib.sha256(content).hexdigest()}  {name}")
    for offence in wrong:
        print(offence)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
