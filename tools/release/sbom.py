"""Software bills of materials, in CycloneDX 1.6 as JSON, of what the core, `all` and each framework's extra install.

`python -m tools.release.sbom WHEEL FOLDER`. CycloneDX's own generator reads the environments, from one of its own, and
checks what it wrote against the schema.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tools.release.declared import CORE, plain
from tools.release.environments import install, pip, unknowing
from tools.release.installed import packages
from tools.release.source import ROOT

# `all` leaves out what cannot share an environment; tools of ours that nobody runs in production have no bill.
BILLS = (CORE, "all", "flower", "pfl", "nvflare")
GENERATOR = "cyclonedx-bom>=7,<8"
ASKED = (
    *("environment", "--output-reproducible", "--validate", "--spec-version", "1.6", "--output-format", "JSON"),
    *("--mc-type", "library", "--pyproject"),
)


def generator(folder: Path) -> Path:
    """The generator's command, freshly installed.  Raises: RuntimeError with what pip said."""
    venv.create(folder, with_pip=False, symlinks=True)
    done = pip(folder, "install", "--quiet", GENERATOR)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return folder / "bin" / "cyclonedx-py"


def write(command: Path, environment: Path, bill: Path) -> None:
    """The bill of one environment, validated.  Raises: CalledProcessError."""
    subprocess.run(
        [command, *ASKED, ROOT / "pyproject.toml", "--output-file", bill, environment / "bin" / "python"],
        env=unknowing(),
        check=True,
    )


def missing(bill: Path, environment: Path) -> set[str]:
    """Installed packages, in their versions, that a bill does not name."""
    components = json.loads(bill.read_bytes())["components"]
    named = {(plain(component["name"]), component.get("version")) for component in components}
    installed = {(package.name, package.version) for package in packages(environment)}
    return {f"{name} {version}" for name, version in installed - named}


def main(wheel: Path, folder: Path) -> int:
    """0 when each bill is written, valid and complete."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        command = generator(Path(place) / "generator")
        for extra in BILLS:
            environment, bill = Path(place) / extra, folder / f"sbom-{extra}.cdx.json"
            if refused := install(environment, wheel, None if extra == CORE else extra):
                print(refused)
                return 1
            write(command, environment, bill)
            if absent := missing(bill, environment):
                print(f"{bill.name} lacks {sorted(absent)}")
                return 1
            print(f"{bill}: {len(packages(environment))} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
