"""Ours in this process, each peer in an environment of its own or named with the reason why not."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.matrix import libraries
from benchmarks.matrix.checks import BY_ID
from benchmarks.matrix.finding import Finding, Outcome
from benchmarks.matrix.libraries import LIBRARIES, Library
from benchmarks.suites import attacks
from benchmarks.suites.attacks import VerdictRow

FLOWER = Library("flower", "flower_target")
SEEN = Finding("F12", "flower", "0", Outcome.FELL, "[15] never occur", ("flower#1",))
Make = Callable[[str], None]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a stand-in for Flower's environment, whose python does this."""
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))

    def make(script: str) -> None:
        python = tmp_path / "flower" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!{sys.executable}\n{script}\n", encoding="utf-8")
        python.chmod(python.stat().st_mode | stat.S_IXUSR)

    return make


def printed(rows: list[VerdictRow]) -> str:
    console = Console(width=170, file=io.StringIO())
    console.print(attacks.table_of(rows))
    return str(console.file.getvalue())


@pytest.mark.usefixtures("environment")
def test_a_missing_environment_is_named(tmp_path: Path) -> None:
    rows = list(attacks.rows(("F12", "T6"), [FLOWER]))
    assert [(row.ours.outcome, row.passed) for row in rows] == [(Outcome.WITHSTOOD, True)] * 2
    masks, notes = rows
    assert masks.peer == Finding("F12", "flower", "", Outcome.NOT_INSTALLED, f"no environment at {tmp_path / 'flower'}")
    assert masks.skipped == f"flower: no environment at {tmp_path / 'flower'}"
    # What it has no part in needs no environment.
    assert (notes.peer.outcome, notes.skipped) == (Outcome.NOT_APPLICABLE, "")
    assert json.loads(json.dumps(masks.to_dict()))["peer"]["outcome"] == "not installed"
    assert "?" in printed(rows)


def test_a_peer_that_cannot_be_asked_is_named_with_its_last_words(environment: Make) -> None:
    environment("import sys\nsys.exit('PeerChanged: flwr no longer has the module flwr.app')")
    [row] = attacks.rows(("F12",), [FLOWER])
    assert row.skipped == "flower: PeerChanged: flwr no longer has the module flwr.app"


def test_a_peer_that_says_nothing_is_named_as_such(environment: Make) -> None:
    environment("raise SystemExit(3)")
    [row] = attacks.rows(("F12",), [FLOWER])
    assert row.skipped == "flower: it ended without a word"


def test_a_peer_that_never_answers_is_named(environment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    environment("import time\ntime.sleep(60)")
    monkeypatch.setattr(libraries, "PATIENCE_SECONDS", 0.01)
    [row] = attacks.rows(("F12",), [FLOWER])
    assert row.skipped == "flower: no answer in 0.01 s"


def test_a_peers_finding_stands_beside_ours(environment: Make) -> None:
    answer = json.dumps({"library": "flower", "version": "0", "findings": [SEEN.to_dict()]})
    environment(
        "import json, os, sys\n"
        "assert sys.argv[1:3] == ['-m', 'benchmarks.peers.flower_target'], sys.argv\n"
        "assert json.loads(sys.argv[3]) == {'checks': ['F12']}\n"
        "assert os.path.isdir(os.path.join(os.environ['PYTHONPATH'], 'protocols'))\n"
        f"print('a line of the peer\\'s own')\nprint({answer!r})",
    )
    [row] = attacks.rows(("F12",), [FLOWER])
    assert (row.peer, row.skipped, row.passed) == (SEEN, "", True)
    plain = row.to_dict()
    assert (plain["suite"], plain["case"], plain["library"]) == ("attacks", str(BY_ID["F12"]), "flower")
    assert (plain["ours"], plain["peer"]) == (row.ours.to_dict(), SEEN.to_dict())
    assert "✗" in printed([row])


@pytest.mark.parametrize("outcome", set(Outcome) - {Outcome.WITHSTOOD}, ids=lambda outcome: outcome.name)
def test_only_what_was_withstood_passes(outcome: Outcome) -> None:
    ours = Finding("F12", "secagg", "0", outcome, "seen")
    assert not VerdictRow(ours, SEEN).passed


@pytest.mark.usefixtures("environment")
def test_the_command_prints_the_matrix_and_fails_where_we_fall(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["attacks", "F12"])
    assert attacks.main() == 0
    assert "F12 a mask never takes some residue" in capsys.readouterr().out
    fallen = Finding("F12", "secagg", "0", Outcome.FELL, "[15] never occur")
    monkeypatch.setattr(attacks, "rows", lambda checks: [VerdictRow(fallen, SEEN)])
    assert attacks.main() == 1
    assert "flower F12 a mask never takes some residue: [15] never occur" in capsys.readouterr().out


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.module)
def test_each_library_has_probes_or_reasons_and_imports_nothing_before_it_is_asked(library: Library) -> None:
    before = set(sys.modules)
    target = library.target
    assert not (set(sys.modules) - before) & {"flwr", "nvflare", "tenseal", "torch", "jax", "pfl", "opendp", "opacus"}
    assert set(target.probes) | set(target.without) == set(BY_ID)
    assert set(target.upstream) <= set(target.probes)
    assert all(target.without.values())
    assert library.environment == library.environment.strip().lower()


def test_no_two_libraries_share_a_name() -> None:
    assert len({library.target.library for library in LIBRARIES}) == len(LIBRARIES)
