"""A tag may be released when it is the version that pyproject.toml, CITATION.cff and the changelog name.

`python -m tools.release.tagged v1.2.3`; it needs nothing but Python.
"""

from __future__ import annotations

import re
import sys

from tools.release.declared import project
from tools.release.source import ROOT


def versions() -> dict[str, str]:
    """The version as each file names it."""
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), flags=re.MULTILINE)
    changed = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    return {
        "pyproject.toml": str(project()["version"]),
        "CITATION.cff": cited[1] if cited else "none",
        "CHANGELOG.md": changed[1] if changed else "none",
    }


def main(tag: str) -> int:
    """0 when all agree."""
    named = versions()
    print(f"{tag}: {named}")
    return 0 if set(named.values()) == {tag.removeprefix("v")} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
