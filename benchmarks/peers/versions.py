"""`python -m benchmarks.peers.versions NAME...`, inside an environment: distribution -> version, one line of JSON."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata


def found(names: list[str]) -> dict[str, str]:
    """Those of these distributions that are installed here, and the interpreter."""
    installed = {each.name.lower().replace("_", "-"): each.version for each in metadata.distributions()}
    there = {name: installed[name.lower()] for name in names if name.lower() in installed}
    return {"python": platform.python_version()} | dict(sorted(there.items()))


if __name__ == "__main__":
    print(json.dumps(found(sys.argv[1:])))
