"""The command from the wheel alone, in an environment of its own and outside any checkout.

`python -m tools.release.bare WHEEL ROUNDS PROTOCOL ...`: with core only, every command that needs no extra works and
the demo names the one it needs; with `report` the demo trains so many rounds by each protocol.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tools.release.environments import contradictions, install, unknowing

# What must work without any extra, and the keys of its result that say so.
CORE: dict[tuple[str, ...], str] = {
    ("simulate", "--clients", "8", "--dim", "1000", "--dropout", "0.2"): "exact",
    ("simulate", "--clients", "8", "--dim", "1000", "--protocol", "oneshot"): "exact",
    ("simulate", "--clients", "8", "--dim", "1000", "--protocol", "ckks"): "exact",
    ("plan", "--clients", "100", "--dropout", "0.1", "--corrupt", "0.1"): "recommended",
    (
        "epsilon",
        "--noise-multiplier",
        "1",
        "--sampling-rate",
        "0.01",
        "--steps",
        "100",
        "--delta",
        "1e-5",
    ): "accountant",
    ("calibrate", "--epsilon", "3", "--delta", "1e-5", "--sampling-rate", "0.01", "--steps", "100"): "noise_multiplier",
    ("audit", "selftest"): "ok",
    ("audit", "invert", "--source", "glyphs"): "ok",
}
# And of a ledger that a demo left.
LEDGER: tuple[tuple[str, ...], ...] = (("show",), ("verify",), ("replay",), ("report", "--out", "page.html"))


def secagg(environment: Path, folder: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    """Exit code and JSON of one command, which sees nothing of this checkout."""
    done = subprocess.run(
        [environment / "bin" / "secagg", *arguments, "--json"],
        cwd=folder,
        env=unknowing(),
        check=False,
        capture_output=True,
        text=True,
    )
    try:
        return done.returncode, json.loads(done.stdout)
    except json.JSONDecodeError as wrong:
        raise ValueError(f"secagg {' '.join(arguments)} printed no JSON: {done.stdout}{done.stderr}") from wrong


def core(environment: Path, folder: Path) -> Iterator[str]:
    """What is wrong in an environment without extras."""
    for arguments, key in CORE.items():
        code, result = secagg(environment, folder, *arguments)
        if code != 0 or not result.get(key):
            yield f"secagg {' '.join(arguments)}: exit {code}, {result}"
    code, result = secagg(environment, folder, "demo")
    if code != 2 or result.get("error") != "MissingExtra" or "secagg[report]" not in str(result.get("message")):
        yield f"secagg demo does not name the extra it needs: exit {code}, {result}"


def demo(environment: Path, folder: Path, protocol: str, rounds: int) -> Iterator[str]:
    """What is wrong with a demo where `report` is installed, and with the ledger it leaves."""
    code, result = secagg(environment, folder, "demo", "--protocol", protocol, "--rounds", str(rounds))
    if code != 0 or result.get("exact") is not True or result.get("ledger_verdict") != "verified":
        yield f"secagg demo --protocol {protocol}: exit {code}, {result}"
        return
    ledger = str(Path(str(result["folder"])) / "run.ledger")
    for command, *options in LEDGER:
        code, result = secagg(environment, folder, "ledger", command, ledger, *options)
        if code != 0:
            yield f"secagg ledger {command}: exit {code}, {result}"


def problems(wheel: Path, rounds: int, protocols: Iterable[str], folder: Path) -> Iterator[str]:
    """Everything that does not work from this wheel."""
    environment = folder / "environment"
    if refused := install(environment, wheel, None) or contradictions(environment):
        yield refused
        return
    yield from core(environment, folder)
    if refused := install(environment, wheel, "report") or contradictions(environment):
        yield refused
        return
    for protocol in protocols:
        yield from demo(environment, folder, protocol, rounds)


def main(wheel: Path, rounds: int, protocols: Sequence[str]) -> int:
    """0 when all works, 1 with what does not."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(problems(wheel, rounds, protocols, Path(folder)))
    for problem in found:
        print(problem)
    if not found:
        print(f"{wheel.name} alone: {len(CORE)} commands, then {rounds} rounds of {', '.join(protocols)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
