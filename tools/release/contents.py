"""Which files a wheel and an sdist hold: those of the source tree that belong there, each once, and nothing else."""

from __future__ import annotations

import tarfile
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from tools.release.source import tracked

PACKAGES = ("secagg", "dp", "protocols")
# What every wheel says of itself (PEP 427, PEP 639).
DIST_INFO = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
TYPED = frozenset(f"{package}/py.typed" for package in PACKAGES)


def expected_in_wheel(source: Collection[str], release: str) -> frozenset[str]:
    """The packages' files, typing markers and licence among them; `release` is name and version, such as secagg-1.0."""
    packages = {name for name in source if PurePosixPath(name).parts[0] in PACKAGES}
    return frozenset(packages | TYPED | {f"{release}.dist-info/{name}" for name in DIST_INFO})


def expected_in_sdist(source: Collection[str], release: str) -> frozenset[str]:
    """The whole source tree, so that what was unpacked can be tested, documented and measured, and its metadata."""
    return frozenset(f"{release}/{name}" for name in {*source, "PKG-INFO"})


def offences(held: Iterable[str], expected: Collection[str]) -> list[str]:
    """What is missing, does not belong, or is there twice; names of archives, so that nothing is overlooked."""
    counted = Counter(held)
    return [
        *(f"missing: {name}" for name in sorted(set(expected) - set(counted))),
        *(f"does not belong: {name}" for name in sorted(set(counted) - set(expected))),
        *(f"{times} times: {name}" for name, times in sorted(counted.items()) if times > 1),
    ]


def wheel_offences(wheel: Path) -> list[str]:
    """What is wrong with the files of a wheel, against the last commit."""
    with zipfile.ZipFile(wheel) as archive:
        return offences(archive.namelist(), expected_in_wheel(tracked(), "-".join(wheel.name.split("-")[:2])))


def sdist_offences(sdist: Path) -> list[str]:
    """What is wrong with the files of an sdist, against the last commit; only plain files may be in it."""
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    special = [f"not a plain file: {member.name}" for member in members if not member.isfile()]
    names = (member.name for member in members)
    return special + offences(names, expected_in_sdist(tracked(), sdist.name.removesuffix(".tar.gz")))
