"""Environments of peers: each described and pinned, made once of its pins, and skipped with the reason where it cannot.

A script stands in for an interpreter: it makes a folder for an environment, and installs whatever is not called
"unobtainable". Nothing is downloaded.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import APART, PEERS, Skipped, last_words, rows_beside
from benchmarks.peers.environments import (
    ENVIRONMENTS,
    Environment,
    interpreter,
    made_of,
    main,
    name_of,
    stamp_of,
    versions,
)
from benchmarks.peers.standing import PeerFailed, Standing
from benchmarks.peers.versions import found

FAKE = f"""#!{sys.executable}
import pathlib, shutil, sys
said = sys.argv[1:]
with open("{{log}}", "a") as log:
    print(*said[:2], file=log)
if "sys.version_info" in said[1]:
    print("9.9")
    print(sys.argv[0])
elif said[1] == "venv":
    home = pathlib.Path(said[-1], "bin")
    shutil.rmtree(home.parent, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copy(sys.argv[0], home / "python")
elif "unobtainable" in said:
    sys.exit("ERROR: No version\\nERROR: No matching distribution found for unobtainable\\n\\n[notice] A new pip")
elif "check('unimportable')" in said[1]:
    sys.exit("Traceback (most recent call last):\\nImportError: a library is missing")
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `python9.9` of this PATH was asked, one line for each time."""
    commands, log = tmp_path / "commands", tmp_path / "log"
    commands.mkdir()
    fake = commands / "python9.9"
    fake.write_text(FAKE.format(log=log), encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(commands))
    monkeypatch.setenv("PEERS_HOME", str(tmp_path / "home"))
    return log


def environment(name: str = "fake", *packages: str) -> Environment:
    return Environment(name, "9.9", (("first==1",), packages or ("second==2",)), (name,))


def test_every_environment_is_described_and_its_peers_say_the_same_of_it() -> None:
    assert set(ENVIRONMENTS) == {*PEERS, "least-tenseal"}
    assert set(PEERS) >= APART
    for name, described in ENVIRONMENTS.items():
        assert described.name == name
        assert described.peers == PEERS.get(name, ())
        for peer in described.peers:
            module = importlib.import_module(f"benchmarks.peers.{peer}")
            assert described.python == module.PYTHON
            assert set(module.PIP) <= set(described.requirements[-1])
            assert any(pin.endswith(f"=={module.VERSION}") for pin in module.PIP)


def test_an_interpreter_that_is_too_old_for_us_is_asked_from_ours() -> None:
    too_old = {name for name, each in ENVIRONMENTS.items() if tuple(map(int, each.python.split("."))) < (3, 11)}
    assert too_old == APART


def test_one_that_is_made_is_not_made_again_until_a_pin_changes(log: Path) -> None:
    made = environment()
    assert made_of(made) is None
    first = log.read_text(encoding="utf-8")
    assert first.count("-m venv") == 1
    assert first.count("-m pip") == len(made.requirements)
    assert made.made
    assert made_of(made) is None
    assert log.read_text(encoding="utf-8") == first
    changed = replace(made, requirements=(("first==1",), ("second==3",)))
    assert not changed.made
    assert made_of(changed) is None
    assert log.read_text(encoding="utf-8").count("-m venv") == 2


def test_what_our_own_dependencies_are_is_in_the_stamp() -> None:
    bare, ours = environment(), replace(environment(), requirements=(("-e", "."), ("second==2",)))
    fast = replace(environment(), requirements=(("-e", ".[seal-fast]"), ("second==2",)))
    assert bare._our_own() == []
    assert any(each.startswith("numpy") for each in ours._our_own())
    assert set(fast._our_own()) - set(ours._our_own()) == {"zstandard>=0.22"}
    assert len({bare.stamp, ours.stamp, fast.stamp, replace(bare, python="3.12").stamp}) == 4


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (replace(environment(), python="9.8"), "no python9.8 runs here"),
        (environment("fake", "unobtainable"), "ERROR: No matching distribution found for unobtainable"),
        (environment("unimportable"), "ImportError: a library is missing"),
    ],
    ids=["interpreter", "installation", "import"],
)
@pytest.mark.usefixtures("log")
def test_one_that_cannot_be_made_is_skipped_with_the_reason_and_tried_again(described: Environment, why: str) -> None:
    skipped = made_of(described)
    assert isinstance(skipped, Skipped)
    assert str(skipped) == f"skipped every suite, beside {described.name}: {why}"
    assert not stamp_of(described.name).exists()
    assert made_of(described) == skipped


def test_an_interpreter_is_one_that_runs_and_is_of_that_version(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version manager leaves commands that fail on the PATH; another version may go by the name."""
    broken, other, right = tmp_path / "broken", tmp_path / "other", tmp_path / "commands"
    for folder, text in ((broken, "#!/bin/sh\nexit 127\n"), (other, f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        folder.mkdir()
        (folder / "python9.9").write_text(text, encoding="utf-8")
        (folder / "python9.9").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, (broken, other, right))))
    assert interpreter("9.9") == right / "python9.9"
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, (broken, other))))
    assert interpreter("9.9") is None
    assert interpreter("{}.{}".format(*sys.version_info[:2])) == Path(sys.executable)


def test_the_command_makes_what_is_named_and_fails_with_the_reasons(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "fake", environment())
    monkeypatch.setitem(ENVIRONMENTS, "broken", environment("broken", "unobtainable"))
    monkeypatch.setattr(sys, "argv", ["environments", "fake"])
    assert main() == 0
    monkeypatch.setattr(sys, "argv", ["environments", "fake", "broken"])
    assert main() == 1
    assert "beside broken: ERROR: No matching distribution" in capsys.readouterr().err


def test_a_suite_beside_a_peer_that_cannot_be_imported_is_skipped_with_the_reason(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made_of(replace(environment("unimportable"), peers=())) is None
    assert rows_beside("unimportable", "noise", "smoke") == Skipped(
        "noise", "unimportable", "ImportError: a library is missing"
    )


def test_the_last_words_are_of_the_failure() -> None:
    assert last_words("a\nb\n\n[notice] c\n  \n") == "b"
    assert last_words("\n") == "it said nothing"


def test_versions_are_those_that_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(["numpy", "no-such-peer"]) == {
        "python": platform.python_version(),
        "numpy": importlib.import_module("numpy").__version__,
    }
    assert [name_of(each) for each in ("flwr[simulation]==1.41.0", "torch", "-e", ".", ".[seal-fast]")] == [
        "flwr",
        "torch",
        "",
        "",
        "",
    ]
    ours_as("flower", tmp_path, monkeypatch)
    assert versions("flower")["python"] == platform.python_version()


def ours_as(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our interpreter in the place of an environment's; none of its packages are needed."""
    (home / name / "bin").mkdir(parents=True)
    (home / name / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PEERS_HOME", str(home))


def test_a_peer_that_stands_keeps_what_it_has_and_answers_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours_as("apart", tmp_path, monkeypatch)
    with Standing("apart", "tests.benchmarks.counting") as peer:
        assert [peer.ask("add", more=more).value for more in (1, 2, 3)] == [1, 3, 6]
        assert peer.seconds("add", more=1) >= 0


def test_a_peer_that_fell_is_said_to_have_fallen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ours_as("apart", tmp_path, monkeypatch)
    with Standing("apart", "tests.benchmarks.counting") as peer:
        with pytest.raises(PeerFailed, match=r"tests.benchmarks.counting ended while it was asked to fail"):
            peer.ask("fail")
        assert "RuntimeError: told to" in capfd.readouterr().err
        peer._process.wait()
        with pytest.raises(PeerFailed, match=r"ended (before|while) it was asked to add"):
            peer.ask("add", more=1)
