"""Under which licence a package is used, as SPDX writes it, and whether that goes with Apache-2.0.

Nothing of these packages is copied into ours: they are installed beside it. What their licences must allow is that a
program under Apache-2.0 imports them unchanged.
"""

from __future__ import annotations

import re

from tools.release.installed import Package

# Licences that ask for a notice at most, and MPL-2.0, which also asks for the source of its own files when changed.
COMPATIBLE = frozenset(
    (
        "0BSD",
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "HPND",
        "ISC",
        "LLVM-exception",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    )
)
# What older metadata says instead of SPDX, which knows no BSD without the number of its clauses: two or three.
SPOKEN = {
    "MIT License": "MIT",
    "MIT": "MIT",
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD": "BSD",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "Unlicense",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Packages whose metadata says nothing: read off the licence that lies in the package or its repository.
READ = {
    "atheris": "Apache-2.0",
    "pfl": "Apache-2.0",
    "prv-accountant": "MIT",
}


def spdx(package: Package) -> str | None:
    """The licence as the package declares it; as it was read where it declares none; None for words not known here.

    What was read once gives way to what a later version declares: licences change.
    """
    if package.expression:
        return package.expression
    declared = [line.rpartition(" :: ")[2] for line in package.classifiers] or [package.licence.strip()]
    if declared == [""]:
        return READ.get(package.name)
    known = [SPOKEN.get(words, words) for words in declared]
    return ", ".join(known) if all(map(is_compatible, known)) else None


def is_compatible(expression: str) -> bool:
    """Whether each licence of an SPDX expression, alternatives included, is one of the known compatible ones."""
    names = re.findall(r"[A-Za-z0-9.+-]+", expression)
    return bool(names) and set(names) - {"AND", "OR", "WITH"} <= COMPATIBLE
