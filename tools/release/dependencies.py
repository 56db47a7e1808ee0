"""The page that lists what is installed with the core and with each extra: version, licence, size and reason.

`python -m tools.release.dependencies ENVIRONMENTS PAGE` reads the environments that `tools.release.extras` made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.release.declared import CORE, reasons, requirements
from tools.release.installed import Package, needed_by, packages
from tools.release.licences import is_compatible, spdx

HEAD = """# Dependencies

What `pip install secagg` brings, and what each extra adds to it: version, licence, installed size in megabytes without
compiled bytecode, and the reason. Made by `make dependencies` from the metadata of environments on Linux x86-64 with
Python {python}; other platforms may take other versions. Licences are as the packages declare them, in SPDX's terms; of
those that declare none it is the one that lies in the package or its repository, and BSD is that of two or of three
clauses. All of them let a program under Apache-2.0 import the package. MPL-2.0 asks besides that changes to the
package's own files stay under it; we change none.

`build` makes wheels and sdists in an environment of its own, with `hatchling` (MIT).
"""
COLUMNS = ("| package | version | licence | MB | why |", "|---|---|---|---:|---|")


class Unclear(Exception):
    """A package's licence is not known, or not known to go with ours: somebody must read it."""


def licence(package: Package) -> str:
    """What the page says.  Raises: Unclear."""
    declared = spdx(package)
    if declared is None or not is_compatible(declared):
        spoken = declared or package.classifiers or package.licence[:60]
        raise Unclear(f"{package.name} {package.version}: {spoken!r}")
    return declared


Known = frozenset[tuple[str, str]]


def versions(found: Iterable[Package]) -> Known:
    """Which package in which version: beside an extra the core may have to take another."""
    return frozenset((package.name, package.version) for package in found)


def rows(extra: str, found: Iterable[Package], known: Known) -> Iterator[str]:
    """One line for each package that the core has not in this version; those we ask for first."""
    direct = {one.name: reasons()[extra].get(one.name, "") for one in requirements()[extra]}
    parents = needed_by(found)
    for package in sorted(found, key=lambda package: (package.name not in direct, package.name)):
        if (package.name, package.version) in known and package.name not in direct:
            continue
        why = direct.get(package.name) or "for " + ", ".join(parents.get(package.name, ())[:4])
        size = f"{package.megabytes:.1f}"
        yield f"| {package.name} | {package.version} | {licence(package)} | {size} | {why} |"


def section(extra: str, environment: Path, core: Path) -> Iterator[str]:
    """Heading, table and sum of one environment.  Raises: Unclear."""
    found = packages(environment)
    known: Known = frozenset() if extra == CORE else versions(packages(core))
    added = [package for package in found if (package.name, package.version) not in known]
    total = sum(package.megabytes for package in added)
    yield f"\n## {extra.capitalize() if extra == CORE else f'Extra `{extra}`'}\n"
    what = "packages" if extra == CORE else "more"
    yield f"{len(added)} {what}, {total:.0f} MB.\n"
    yield from COLUMNS
    yield from rows(extra, found, known)


def page(environments: Path) -> str:
    """The whole page.  Raises: Unclear."""
    made = [extra for extra in requirements() if extra != "all"]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [HEAD.format(python=python).rstrip()]
    for extra in made:
        lines += section(extra, environments / extra, environments / CORE)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(page(Path(sys.argv[1])), encoding="utf-8")
