"""The packages of an environment: what their metadata says, and what they weigh."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from tools.release.declared import plain
from tools.release.environments import site_packages

OURS = "secagg"


@dataclass(frozen=True)
class Package:
    """One installed package, not ours; `needs` are packages it names, `may_need` those for extras of its own."""

    name: str
    version: str
    megabytes: float
    expression: str
    classifiers: tuple[str, ...]
    licence: str
    needs: frozenset[str]
    may_need: frozenset[str]


def packages(environment: Path) -> tuple[Package, ...]:
    """All of an environment but ours, by name.

    Raises: ValueError where ours is not: then nobody looked where packages are, and finds none.
    """
    place = site_packages(environment)
    found = [described(one) for one in distributions(path=[str(place)])]
    if OURS not in {package.name for package in found}:
        raise ValueError(f"{OURS} is not installed in {place}, so what it brings is not there either")
    return tuple(sorted((package for package in found if package.name != OURS), key=lambda package: package.name))


def described(one: Distribution) -> Package:
    """What is asked of a package; its size is that of the files in its RECORD, in 10^6 bytes, without bytecode."""
    said = one.metadata

    def only(field: str) -> str:
        return next(iter(said.get_all(field) or ()), "")

    return Package(
        name=plain(said["Name"]),
        version=one.version,
        megabytes=sum(file.size or 0 for file in one.files or ()) / 1e6,
        expression=only("License-Expression"),
        classifiers=tuple(line for line in said.get_all("Classifier") or () if line.startswith("License ::")),
        licence=only("License"),
        needs=named(line for line in one.requires or () if "extra ==" not in line),
        may_need=named(line for line in one.requires or () if "extra ==" in line),
    )


def named(lines: Iterable[str]) -> frozenset[str]:
    """The packages that requirements begin with."""
    return frozenset(plain(found[0]) for line in lines if (found := re.match(r"[\w.-]+", line)))


def needed_by(found: Iterable[Package]) -> Mapping[str, tuple[str, ...]]:
    """For each package the others of this environment that name it; those with an extra for it, where no other does."""
    always: defaultdict[str, list[str]] = defaultdict(list)
    perhaps: defaultdict[str, list[str]] = defaultdict(list)
    for package in found:
        for parents, names in ((always, package.needs), (perhaps, package.may_need - {package.name})):
            for name in names:
                parents[name].append(package.name)
    return {name: tuple(always.get(name) or perhaps[name]) for name in {*always, *perhaps}}
