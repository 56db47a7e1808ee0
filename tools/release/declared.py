"""What pyproject.toml asks for, by extra, and the reason for each, which reasons.toml holds.

`python -m tools.release.declared` prints core and `report` at their lowest versions; it needs nothing but Python.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

from tools.release.source import ROOT

CORE = "core"


def plain(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Requirement:
    """One line of pyproject.toml: a package, the extras taken of it, and the range of its versions."""

    name: str
    extras: tuple[str, ...]
    versions: str

    @classmethod
    def parse(cls, line: str) -> Requirement:
        """Raises: ValueError for a form that is not used here, such as one with a marker or an address."""
        found = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[([A-Za-z0-9,_-]+)\])?((?:[<>=!~]=?[0-9.]+,?)*)", line)
        if found is None:
            raise ValueError(f"{line!r} is no requirement of the form name[extra]>=1.2,<3")
        return cls(plain(found[1]), tuple((found[2] or "").split(",")) if found[2] else (), found[3])


def project() -> dict[str, object]:
    """The table [project]."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def requirements() -> dict[str, tuple[Requirement, ...]]:
    """Direct requirements of the core and of each extra; extras that an extra of ours names stand for themselves."""
    table = project()
    extras = table["optional-dependencies"]
    assert isinstance(extras, dict)
    lines = {CORE: table["dependencies"], **extras}
    return {extra: tuple(Requirement.parse(line) for line in asked) for extra, asked in lines.items()}


def reasons() -> dict[str, dict[str, str]]:
    """Why each is needed, by extra and package."""
    return {
        extra: {plain(name): reason for name, reason in packages.items()}
        for extra, packages in tomllib.loads(
            (ROOT / "tools" / "release" / "reasons.toml").read_text(encoding="utf-8")
        ).items()
    }


def lowest() -> tuple[str, ...]:
    """Core and `report` at the lowest versions of their ranges, as pip takes them.  Raises: ValueError without one."""
    pinned = []
    asked = requirements()
    for one in (*asked[CORE], *asked["report"]):
        if (found := re.match(r">=([0-9.]+)", one.versions)) is None:
            raise ValueError(f"{one.name}{one.versions} does not begin with its lowest version")
        pinned.append(f"{one.name}=={found[1]}")
    return tuple(pinned)


if __name__ == "__main__":
    print(*lowest())
