"""The packages of an environment: what their metadata says, and what they weigh."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from release.declared import plain
from release.environments import site_packages

OURS = "secagg"


@dataclass(frozen=True)
class Package:
    """One installed package other than ours; `needs` are names in its metadata, whether or not they apply here."""

    name: str
    version: str
    megabytes: float
    expression: str
    classifiers: tuple[str, ...]
    licence: str
    needs: frozenset[str]


def packages(environment: Path) -> tuple[Package, ...]:
    """All of an environment but ours, by name."""
    found = (described(one) for one in distributions(path=[str(site_packages(environment))]))
    return tuple(sorted((package for package in found if package.name != OURS), key=lambda package: package.name))


def described(one: Distribution) -> Package:
    """What is asked of a package; its size is that of the files in its RECORD, in 10^6 bytes, without bytecode."""
    said = one.metadata
    return Package(
        name=plain(said["Name"]),
        version=one.version,
        megabytes=sum(file.size or 0 for file in one.files or ()) / 1e6,
        expression=said.get("License-Expression", ""),
        classifiers=tuple(line for line in said.get_all("Classifier", ()) if line.startswith("License ::")),
        licence=said.get("License", ""),
        needs=frozenset(plain(found[0]) for line in one.requires or () if (found := re.match(r"[\w.-]+", line))),
    )


def needed_by(found: Iterable[Package], direct: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """For each package the others of this environment that name it, or ours first where we ask for it ourselves."""
    parents: defaultdict[str, list[str]] = defaultdict(list)
    for name in direct:
        parents[name].append(OURS)
    for package in found:
        for name in package.needs:
            parents[name].append(package.name)
    return {name: tuple(askers) for name, askers in parents.items()}
