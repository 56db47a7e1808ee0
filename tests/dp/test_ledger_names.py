"""One ledger, one name: under two names SQLite keeps two tails, and each would grant the last of a budget."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dp import place
from dp.errors import BudgetExceeded, StorageRefused
from dp.ledger import Ledger, session
from dp.ledger.place import beside
from tests.dp.ledger_kit import budget_for, charge, finish, start, write_rounds

BOTH_NAMES = """
import sys
from dp.errors import StorageRefused
from dp.ledger import Ledger
with Ledger.open(sys.argv[1]):
    try:
        Ledger.open(sys.argv[2])
    except StorageRefused as refused:
        assert "mount the directory" in str(refused)
        print("refused")
"""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    folder.mkdir()
    write_rounds(folder / "run.ledger", 1, budget_for(2))
    return folder / "run.ledger"


def second_name(path: Path, give: Callable[[Path, Path], object] = os.link) -> Path:
    """The same file and key in another directory."""
    other = path.parents[1] / "second" / path.name
    other.parent.mkdir()
    give(path, other)
    os.link(beside(path, ".key"), beside(other, ".key"))
    return other


@pytest.mark.parametrize("in_use", [True, False])
def test_a_hard_link_cannot_spend_the_last_of_a_budget_again(path: Path, in_use: bool) -> None:
    with Ledger.open(path) as ledger:
        other = second_name(path)
        ledger.reserve(charge(1))
        if not in_use:
            ledger.close()
        with pytest.raises(StorageRefused, match="2 names"):
            Ledger.open(other)
    assert sorted(file.name for file in other.parent.iterdir()) == ["run.ledger", "run.ledger.key"]
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
    other.unlink()
    with Ledger.open(path) as ledger, pytest.raises(BudgetExceeded):
        ledger.reserve(charge(2))


def test_a_hard_link_is_refused_after_a_death_that_left_a_tail(path: Path) -> None:
    def dies() -> None:
        Ledger.open(path).reserve(charge(1))
        os.kill(os.getpid(), signal.SIGKILL)

    assert finish(start(dies)) == -signal.SIGKILL
    assert beside(path, "-wal").stat().st_size > 0
    with pytest.raises(StorageRefused, match="names"):
        Ledger.open(second_name(path))


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_single_mounted_file_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(place, "MOUNTS", mounts)
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/root rw\n40 22 8:1 /x {path}{suffix} rw - ext4 /dev/root rw\n")
    with pytest.raises(StorageRefused, match="mount the directory"):
        Ledger.open(path)
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/root rw\n40 22 8:1 /x {path.parent} rw - ext4 /dev/root rw\n")
    with Ledger.open(path) as ledger:
        assert ledger.verify().ok


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_a_file_mounted_for_real_cannot_spend_the_last_again(path: Path) -> None:
    other = path.parents[1] / "second" / path.name
    other.parent.mkdir()
    for suffix in ("", ".key"):
        beside(other, suffix).touch(0o600)
    mounting = 'mount --bind "$1" "$2" && mount --bind "$1.key" "$2.key" || exit 77; exec "$3" -c "$4" "$1" "$2"'
    # In mounts of its own, so that nothing stays behind whatever happens here.
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounting, "sh", path, other, sys.executable, BOTH_NAMES],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting is forbidden here")
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_where_the_kernel_names_no_mounts_the_key_says_that_a_second_name_is_in_use(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "MOUNTS", tmp_path / "no such file")
    other = second_name(path, shutil.copyfile)
    with Ledger.open(path), Ledger.open(path) as ledger:
        with pytest.raises(StorageRefused, match="another name"):
            Ledger.open(other)
        ledger.reserve(charge(1))
    with Ledger.open(other), pytest.raises(StorageRefused, match="another name"):
        Ledger.open(path)


def test_the_same_name_by_a_link_or_another_spelling_is_one_name(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path.parent)
    (tmp_path / "run").symlink_to(path)
    with Ledger.open(path), Ledger.open(tmp_path / "link" / path.name), Ledger.open(tmp_path / "run") as ledger:
        assert ledger.verify().ok


def test_a_name_that_cannot_be_locked_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = session._call
    monkeypatch.setattr(
        session,
        "_call",
        lambda command, descriptor, kind, at, *length: (
            None if at > session._NAMES else real(command, descriptor, kind, at, *length)
        ),
    )
    with pytest.raises(StorageRefused, match="another name"):
        Ledger.open(path)
