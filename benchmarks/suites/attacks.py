"""The scripts of `protocols.adversary` against this library and, in its own environment, against Flower's SecAgg+.

    python -m benchmarks.suites.attacks [SCRIPT ...]

A peer is skipped by name, with the reason, where its environment `$PEERS_HOME/<peer>` (or `.venv-<peer>` in
the checkout) is missing or holds another version. What a peer's row says was seen in this very run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.peers import CHECKOUT, interpreter_of
from protocols.adversary.ours import Ours
from protocols.adversary.scripts import SCRIPTS
from protocols.adversary.verdict import Verdict

PEER = "flower"
PATIENCE_SECONDS = 900


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One script against both. `peer` is None where it was `skipped`, which says why."""

    script: str
    idea: str
    ours: Verdict
    peer_name: str
    peer: Verdict | None
    skipped: str

    @property
    def passed(self) -> bool:
        """Whether this library withstood; what the peer does is reported, not judged."""
        return not self.ours.succeeded

    def to_dict(self) -> dict[str, object]:
        return {
            "suite": "attacks",
            "case": self.script,
            "idea": self.idea,
            "ours": self.ours.to_dict(),
            "peer_name": self.peer_name,
            "peer": None if self.peer is None else self.peer.to_dict(),
            "skipped": self.skipped,
            "passed": self.passed,
        }


class PeerSkipped(Exception):
    """The peer cannot be attacked here, and why."""


def rows(names: tuple[str, ...] = ()) -> Iterator[VerdictRow]:
    """Every script, or those named, one row each."""
    chosen = names or tuple(SCRIPTS)
    found: dict[str, Verdict] = {}
    skipped, peer_name = "", PEER
    try:
        found = {verdict.script: verdict for verdict in attacked(chosen)}
        peer_name = next(iter(found.values())).target
    except PeerSkipped as reason:
        skipped = str(reason)
    ours = Ours()
    for name in chosen:
        script = SCRIPTS[name]
        yield VerdictRow(name, script.idea, script.against(ours), peer_name, found.get(name), skipped)


def attacked(names: tuple[str, ...]) -> list[Verdict]:
    """The peer's verdicts, from a process of its own environment.

    Raises: PeerSkipped.
    """
    interpreter = interpreter_of(PEER)
    if not interpreter.exists():
        environment = interpreter.parents[1]
        raise PeerSkipped(f"{PEER}: no environment at {environment}; set PEERS_HOME to the folder that has {PEER}/")
    command = [str(interpreter), "-m", "benchmarks.peers.flower_target", json.dumps({"scripts": names})]
    surroundings = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    try:
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as patience:
        raise PeerSkipped(f"{PEER}: no answer in {PATIENCE_SECONDS} s") from patience
    if done.returncode != 0:
        raise PeerSkipped(f"{PEER}: {(done.stderr.strip().splitlines() or ['ended without a word'])[-1]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return [Verdict.from_dict(verdict) for verdict in answer["verdicts"]]


def table_of(found: list[VerdictRow]) -> Table:
    table = Table(title="attacks", show_lines=True)
    for column in ("script", found[0].peer_name, "secagg", "passed"):
        table.add_column(column, overflow="fold")
    for row in found:
        peer = row.skipped if row.peer is None else told(row.peer)
        table.add_row(f"{row.script}\n{row.idea}", peer, told(row.ours), "yes" if row.passed else "NO")
    return table


def told(verdict: Verdict) -> str:
    return f"{verdict.outcome.value.upper() if verdict.succeeded else verdict.outcome.value}: {verdict.evidence}"


def main() -> int:
    found = list(rows(tuple(sys.argv[1:])))
    Console(width=160).print(table_of(found))
    return 0 if all(row.passed for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
