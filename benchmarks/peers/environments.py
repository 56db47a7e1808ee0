"""Where peers are installed: an environment for those whose versions do not quarrel, made by one command.

    python -m benchmarks.peers.environments [NAME...]      makes what is missing, or was made of other pins

    python<version> of the PATH -> venv -> one pip call after the other -> every peer imported -> .installed

What a machine cannot do is no failure of the project: a missing interpreter, an installation or an import that
fails is a `Skipped` with the last thing that was said. The stamp is written last: what was interrupted is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import (
    CHECKOUT,
    PEERS,
    Skipped,
    dp_accounting,
    fault_of,
    folder_of,
    interpreter_of,
    last_words,
    pinned,
)

CONSTRAINTS = CHECKOUT / "constraints.txt"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS))
EVERY_SUITE = "every suite"
# Asked for whatever was installed: figures depend on both.
ALWAYS_TOLD = ("numpy", "cryptography")

OURS, OURS_WITH_SEAL = ("-e", "."), ("-e", ".[seal-fast]")
TESTS = ("pytest", "hypothesis")


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter ("3.11"), what each call of `pip install` is given, in order, and the peers it is made for."""

    name: str
    python: str
    requirements: tuple[tuple[str, ...], ...]
    peers: tuple[str, ...] = ()

    @property
    def stamp(self) -> str:
        """A digest of all that decides what is installed."""
        decided = [self.python, self.requirements, CONSTRAINTS.read_text(encoding="utf-8"), self._our_own()]
        return hashlib.sha256(json.dumps(decided).encode()).hexdigest()

    @property
    def made(self) -> bool:
        """Whether it is there, of these pins."""
        stamp = stamp_of(self.name)
        return stamp.exists() and stamp.read_text(encoding="utf-8") == self.stamp

    def _our_own(self) -> list[str]:
        """What this project brings into it."""
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        given = {argument for call in self.requirements for argument in call}
        brought = list(project["dependencies"]) if given & {OURS[1], OURS_WITH_SEAL[1]} else []
        extras = project["optional-dependencies"].items()
        return brought + [each for extra, wanted in extras if f".[{extra}]" in given for each in wanted]


def for_peers(name: str, first: tuple[str, ...], python: str = "3.11") -> Environment:
    """What is installed first, torch from constraints.txt where a peer would bring another; then the peers' pins."""
    return Environment(name, python, (first, tuple(pinned(name))), PEERS[name])


def least_tenseal() -> str:
    """The oldest that this project takes."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [least] = [each for each in project["dependencies"] if each.startswith("tenseal>=")]
    return str(least).replace(">=", "==")


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        # Flower's accountant is dp-accounting, which it does not bring.
        for_peers("flower", (*OURS, *TESTS, "scikit-learn", *dp_accounting.PIP)),
        for_peers("dp", ("torch", *OURS)),
        for_peers("tenseal", OURS_WITH_SEAL),
        for_peers("nvflare", (*OURS, *TESTS, "scikit-learn")),
        for_peers("pfl", ("torch", *OURS, *TESTS, "scikit-learn")),
        for_peers("jax_privacy", OURS),
        for_peers("openfhe", ("numpy",), python="3.10"),
        Environment("least-tenseal", "3.11", ((*OURS_WITH_SEAL, least_tenseal(), *TESTS),)),
    )
}


def prepare(name: str) -> Skipped | None:
    """Makes the environment unless it is there; why it cannot be had, if it cannot."""
    return made_of(ENVIRONMENTS[name])


def made_of(environment: Environment) -> Skipped | None:
    """As `prepare`, of one that need not be in the list."""
    if environment.made:
        return None
    try:
        _make(environment)
    except Unavailable as reason:
        return Skipped(EVERY_SUITE, environment.name, str(reason))
    stamp_of(environment.name).write_text(environment.stamp, encoding="utf-8")
    return None


class Unavailable(Exception):
    """This machine cannot have the environment, and why."""


def _make(environment: Environment) -> None:
    """Raises: Unavailable."""
    found = interpreter(environment.python)
    if found is None:
        raise Unavailable(f"no python{environment.python} runs here")
    folder, python = folder_of(environment.name), interpreter_of(environment.name)
    _run([found, "-m", "venv", "--clear", folder])
    for call in environment.requirements:
        _run([python, *PIP, *call])
    fault = fault_of(environment.name) if environment.peers else None
    if fault is not None:
        raise Unavailable(fault)


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(last_words(done.stderr or done.stdout))


def interpreter(version: str) -> Path | None:
    """The first of this version that runs and can make environments: ours, or a `python<version>` of the PATH."""
    for candidate in _candidates(version):
        asked = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
        # A version manager leaves commands on the PATH that run for whoever names the version, and fail otherwise.
        told = subprocess.run(
            [candidate, "-c", asked],
            env=os.environ | {"PYENV_VERSION": version},
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode == 0 and told.stdout.splitlines()[0] == version:
            return Path(told.stdout.splitlines()[1])
    return None


def _candidates(version: str) -> Iterator[str]:
    yield sys.executable
    for folder in os.get_exec_path():
        found = shutil.which(f"python{version}", path=folder)
        if found:
            yield found


def stamp_of(name: str) -> Path:
    """Where an environment tells what it was made of."""
    return folder_of(name) / ".installed"


def versions(name: str) -> Mapping[str, str]:
    """Distribution -> version as found there, of what was asked for by name; the interpreter's under "python".

    Raises: CalledProcessError when there is no such environment.
    """
    asked_for = (name_of(each) for call in ENVIRONMENTS[name].requirements for each in call if each not in TESTS)
    wanted = [*ALWAYS_TOLD, *asked_for]
    told = subprocess.run(
        [interpreter_of(name), "-m", "benchmarks.peers.versions", *(each for each in wanted if each)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(told.stdout)
    return found


def name_of(requirement: str) -> str:
    """The distribution that an argument of pip asks for, none for an option or a folder."""
    return requirement.partition("[")[0].partition("==")[0] if requirement[0].isalnum() else ""


def main() -> int:
    skipped = [skip for name in sys.argv[1:] or ENVIRONMENTS for skip in [prepare(name)] if skip]
    for skip in skipped:
        print(skip, file=sys.stderr)
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
