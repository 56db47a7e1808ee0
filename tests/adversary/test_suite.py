"""The side-by-side table: ours in this process, the peer in an environment of its own or skipped by name."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.suites import attacks
from protocols.adversary.verdict import Outcome, Verdict

NAMES = ("top_value", "zero_weight")


def environment(folder: Path, script: str) -> None:
    """A stand-in for a peer's environment whose python does this."""
    python = folder / "flower" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\n{script}\n", encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)


def printed(rows: list[attacks.VerdictRow]) -> str:
    console = Console(width=400, file=io.StringIO())
    console.print(attacks.table_of(rows))
    return str(console.file.getvalue())


def test_a_missing_environment_is_skipped_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))
    rows = list(attacks.rows(NAMES))
    assert [row.script for row in rows] == list(NAMES)
    for row in rows:
        assert row.passed
        assert row.peer is None
        assert row.skipped.startswith(f"flower: no environment at {tmp_path / 'flower'}")
        assert row.to_dict()["peer"] is None
        json.dumps(row.to_dict())
    assert "flower: no environment at" in printed(rows)


def test_a_peer_that_cannot_be_attacked_is_skipped_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, "import sys\nsys.exit('PeerChanged: flwr no longer has the module flwr.app')")
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))
    [row] = attacks.rows(("top_value",))
    assert row.skipped == "flower: PeerChanged: flwr no longer has the module flwr.app"


def test_a_peer_that_says_nothing_is_skipped_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(tmp_path, "raise SystemExit(3)")
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))
    [row] = attacks.rows(("top_value",))
    assert row.skipped == "flower: ended without a word"


def test_a_peer_that_never_answers_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(tmp_path, "import time\ntime.sleep(60)")
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))
    monkeypatch.setattr(attacks, "PATIENCE_SECONDS", 0.01)
    [row] = attacks.rows(("top_value",))
    assert row.skipped == "flower: no answer in 0.01 s"


def test_a_peers_verdicts_stand_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Verdict("top_value", "flower 0", Outcome.SUCCEEDED, "[15] never occur")
    answer = json.dumps({"verdicts": [verdict.to_dict()]})
    environment(
        tmp_path,
        "import json, os, sys\n"
        "assert sys.argv[1:3] == ['-m', 'benchmarks.peers.flower_target'], sys.argv\n"
        "assert json.loads(sys.argv[3]) == {'scripts': ['top_value']}\n"
        "assert os.path.isdir(os.path.join(os.environ['PYTHONPATH'], 'protocols'))\n"
        f"print('a line of the peer\\'s own')\nprint({answer!r})",
    )
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))
    [row] = attacks.rows(("top_value",))
    assert (row.peer, row.peer_name, row.skipped) == (verdict, "flower 0", "")
    assert row.passed
    text = printed([row])
    assert "SUCCEEDED: [15] never occur" in text
    assert "failed: modulo 16" in text


def test_a_script_that_succeeds_against_ours_fails_the_row() -> None:
    fallen = Verdict("top_value", "secagg", Outcome.SUCCEEDED, "")
    assert not attacks.VerdictRow("top_value", "", fallen, "flower", None, "flower: absent").passed
