"""Where a ledger may lie, how it comes to be, and who may use it: modes, locks, forks, threads, full disks."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dp import place
from dp.errors import (
    BadParameters,
    BadReservation,
    Corrupt,
    DpError,
    EntropyUnavailable,
    Locked,
    RolledBack,
    StorageRefused,
    WrongVersion,
)
from dp.ledger import Ledger, Standing, genesis, session, store
from dp.ledger import connection as connections
from dp.ledger.charge import Randomness
from dp.ledger.genesis import Beginning, create
from dp.ledger.opening import only_budget, require_seconds
from dp.ledger.place import (
    Keys,
    beside,
    directory_lock,
    read_key,
    require_not_of_a_ledger,
    require_one_name,
    require_plain_tails,
    write_key,
)
from dp.ledger.session import Owner, Session
from dp.place import file_system_of, sync_directory
from tests.dp.ledger_kit import EVENT, WIDE, budget_for, charge, epsilon_of, finish, outcome, start, write_rounds
from tests.rows import rows

BEGINNING = Beginning(Randomness.SYSTEM, terms=only_budget(WIDE, Randomness.SYSTEM))
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory other users can reach, so that a test run by root can lose its rights."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        directory.chmod(0o755)


def as_nobody(work: Callable[[], object]) -> int:
    """The exit code of work in a child without root's rights."""

    def unprivileged() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        work()

    return finish(start(unprivileged))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- files and modes -----------------------------------------------------------------------------


@rows("K10")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_every_file_is_for_its_owner_alone_whatever_the_umask(row: str, tmp_path: Path, umask: int) -> None:
    path = tmp_path / "new" / "run.ledger"
    before = os.umask(umask)
    try:
        with Ledger.open(path, WIDE) as ledger:
            ledger.reserve(charge(0))
            modes = {file.name: mode_of(file) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("run.ledger", "run.ledger-wal", "run.ledger-shm", "run.ledger.key"), 0o600)
    assert mode_of(path.parent) == 0o700


def test_a_closed_ledger_is_two_files(path: Path) -> None:
    write_rounds(path, 2)
    assert sorted(file.name for file in path.parent.iterdir()) == ["run.ledger", "run.ledger.key"]


def test_every_commit_is_synced(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        connection = ledger._log.store._live()
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "trusted_schema", "cell_size_check", "foreign_keys")
        }
    # synchronous 2 is FULL; NORMAL (1) does not sync each commit under a write-ahead log.
    assert pragmas == {
        "journal_mode": b"wal",
        "synchronous": 2,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "foreign_keys": 1,
    }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET kind = 'NOTE'",
        "DELETE FROM entry WHERE seq = 3",
        "UPDATE witness SET signature = x''",
        "DELETE FROM witness",
    ],
)
def test_accidents_with_the_sqlite_tool_are_refused_by_the_file_itself(path: Path, statement: str) -> None:
    write_rounds(path, 1)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO witness VALUES (2, x'00', x'00')")
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        connection.execute(statement)
    connection.close()
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok


# --- places that are refused ---------------------------------------------------------------------


@rows("L10")
@pytest.mark.parametrize("kind", sorted(place.NETWORK_FILE_SYSTEMS))
def test_a_network_file_system_is_refused_by_name(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = tmp_path / "mountinfo"
    here = str(tmp_path / "far away").replace(" ", "\\040")
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        f"40 22 0:40 / {here} rw shared:9 master:2 - {kind} server:/export rw\n"
    )
    monkeypatch.setattr(place, "MOUNTS", mounts)
    assert file_system_of(tmp_path) == "ext4"
    assert file_system_of(tmp_path / "far away") == kind
    assert file_system_of(tmp_path / "far away too") == "ext4"
    with pytest.raises(StorageRefused, match=kind.replace(".", r"\.")):
        Ledger.open(tmp_path / "far away" / "run.ledger", WIDE)
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        assert ledger.head().seq == 1


@rows("L10")
def test_a_place_without_locks_is_refused(row: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SQLite's own lockless file layer stands for a file system without locks.
    real = connections.connect
    monkeypatch.setattr(connections, "connect", lambda p, mode, seconds: real(p, f"{mode}&vfs=unix-none", seconds))
    with pytest.raises(StorageRefused):
        Ledger.open(path, WIDE)
    assert not path.exists()


@rows("L10")
def test_where_the_kernel_is_silent_two_writers_must_exclude_each_other(
    row: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "MOUNTS", path.parent / "no such file")
    assert file_system_of(path.parent) == ""
    write_rounds(path, 1)
    other = path.with_name("other.ledger")
    write_rounds(other, 1)
    real, opened = connections.connect, []

    def second_lands_elsewhere(where: Path, mode: str, seconds: float) -> sqlite3.Connection:
        opened.append(where)
        return real(other if len(opened) == 2 else where, mode, seconds)

    monkeypatch.setattr(connections, "connect", second_lands_elsewhere)
    with pytest.raises(StorageRefused, match="two writers"):
        Ledger.open(path)
    assert opened == [path, path]


def test_a_directory_a_fifo_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, opening in (
        ("", Ledger.open),
        ("fifo", Ledger.open),
        ("", Ledger.read),
        ("fifo", Ledger.read),
        ("absent", Ledger.read),
        ("absent\0", Ledger.read),
    ):
        with pytest.raises(StorageRefused):
            opening(str(tmp_path / name))
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageRefused):
        Ledger.open(tmp_path / "file" / "run.ledger", WIDE)


# The longest name Linux takes has 255 bytes.
LONGEST = "x" * 255


def test_a_name_so_long_that_its_tail_has_none_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="File name too long"):
        require_plain_tails(tmp_path / LONGEST)
    with pytest.raises(StorageRefused, match="File name too long"):
        require_one_name(tmp_path / f"{LONGEST}x")
    with pytest.raises(StorageRefused, match=r"cannot see what .* File name too long"):
        require_not_of_a_ledger(tmp_path / f"{LONGEST}x")
    assert not list(tmp_path.iterdir())


def test_a_database_that_keeps_no_write_ahead_log_is_refused(path: Path) -> None:
    with (
        connections.connecting(Path(":memory:"), "memory", 1.0) as connection,
        pytest.raises(StorageRefused, match="cannot keep a write-ahead log"),
    ):
        connections.make_durable(path, connection)


def test_damaged_names_in_a_complaint_of_sqlite_are_damage_of_the_ledger(path: Path) -> None:
    with pytest.raises(Corrupt, match="its schema is no text"), connections.named_errors(path):
        b"\xff".decode("utf-8")


def test_where_the_kernel_is_silent_another_refusal_than_of_the_second_lock_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "MOUNTS", path.parent / "no such file")
    write_rounds(path, 1)
    real, opened = connections.connect, []

    def second_is_interrupted(where: Path, mode: str, seconds: float) -> sqlite3.Connection:
        opened.append(where)
        found = real(where, mode, seconds)
        if len(opened) == 2:
            found.set_progress_handler(lambda: 1, 1)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(connections, "connect", second_is_interrupted)
        with pytest.raises(StorageRefused, match="interrupted"):
            Ledger.open(path)
    with Ledger.open(path) as ledger:
        assert ledger.verify().ok


def test_a_read_only_directory_is_refused_for_writing_and_fine_for_reading(outside: Path) -> None:
    path = outside / "run.ledger"
    write_rounds(path, 2)
    for file in outside.iterdir():
        file.chmod(0o444)
    outside.chmod(0o555)

    def look() -> None:
        with pytest.raises(StorageRefused):
            Ledger.open(outside / "new.ledger", WIDE)
        with pytest.raises(StorageRefused):
            Ledger.open(path)
        with Ledger.read(path) as ledger:
            assert ledger.verify().ok
            assert ledger.head().seq == 5

    assert as_nobody(look) == 0
    assert sorted(file.name for file in outside.iterdir()) == ["run.ledger", "run.ledger.key"]


def refuses(*arguments: object) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("module", "name"),
    [(fcntl, "flock"), (os, "fsync"), (os, "fchmod"), (Path, "rename"), (Path, "mkdir"), (Path, "unlink")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_input_output_error_while_making_it_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    path = tmp_path / "new" / "run.ledger"
    with monkeypatch.context() as patch:
        patch.setattr(module, name, lambda *arguments, **named: refuses())
        with pytest.raises(StorageRefused, match="Input/output error"):
            Ledger.open(path, WIDE)
    with Ledger.open(path, WIDE) as ledger:
        assert ledger.verify().ok


def test_a_directory_of_a_missing_directory_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="cannot create the directory"):
        Ledger.open(tmp_path / "a" / "b" / "run.ledger", WIDE)
    for use in (
        sync_directory,
        lambda missing: write_key(missing / "key", Keys(bytes(32), bytes(32))),
        lambda missing: directory_lock(missing, 1.0).__enter__(),
    ):
        with pytest.raises(StorageRefused, match="No such file"):
            use(tmp_path / "a")


def test_an_sqlite_without_typed_tables_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StorageRefused, match=r"3\.37"):
        Ledger.open(path, WIDE)


def test_an_unreadable_file_is_refused_by_name(outside: Path) -> None:
    path = outside / "run.ledger"
    write_rounds(path, 1)
    path.chmod(0o000)

    def look() -> None:
        for opening in (Ledger.open, Ledger.read):
            with pytest.raises(StorageRefused, match="may not be read"):
                opening(path)

    assert as_nobody(look) == 0


@pytest.mark.parametrize("room", [0, 1, 3000])
def test_a_full_disk_blocks_the_release_and_loses_nothing(path: Path, room: int) -> None:
    write_rounds(path, 1)

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Ledger.open(path) as ledger:
            ledger.commit(ledger.reserve(charge(1)), outcome())
            log = beside(path, "-wal").stat().st_size
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (log + room, hard))
            with pytest.raises(StorageRefused, match="nothing was written"):
                ledger.reserve(charge(2))
            assert ledger.standing(charge(2)) is None
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            ledger.commit(ledger.reserve(charge(2)), outcome())

    assert finish(start(fill)) == 0
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        assert ledger.verify().entries == 8


def reserve_many(ledger: Ledger, rounds: int) -> None:
    for number in range(1, rounds):
        ledger.reserve(charge(number))


def test_a_file_that_may_not_grow_refuses_by_name(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        held = ledger.reserve(charge(0))
        connection = ledger._log.store._live()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageRefused):
            reserve_many(ledger, 100)
        connection.execute("PRAGMA max_page_count = 100000")
        assert ledger.commit(held, outcome()) == ledger.head()
        assert ledger.verify().ok


# --- locks ---------------------------------------------------------------------------------------


def test_a_writer_who_never_lets_go_means_locked_after_the_timeout(path: Path) -> None:
    with Ledger.open(path, WIDE, timeout_seconds=0.01) as ledger:
        held = ledger.reserve(charge(0))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for write in (
            lambda: ledger.reserve(charge(1)),
            lambda: ledger.commit(held, outcome()),
            lambda: ledger.note("x"),
        ):
            with pytest.raises(Locked):
                write()
        assert ledger.interval().upper > 0
        other.execute("ROLLBACK")
        other.close()
        assert ledger.commit(held, outcome()).seq == 3


def test_a_file_held_exclusively_cannot_be_opened(path: Path) -> None:
    write_rounds(path, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    for opening in (Ledger.open, Ledger.read):
        with pytest.raises(Locked):
            opening(path, timeout_seconds=0.01)
    other.close()
    with Ledger.open(path) as ledger:
        assert ledger.head().seq == 3


def test_only_one_process_makes_the_ledger_at_a_time(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(Locked, match="another process makes"):
        Ledger.open(path, WIDE, timeout_seconds=0.01)
    os.close(descriptor)
    with Ledger.open(path, WIDE) as ledger:
        assert ledger.head().seq == 1


def test_losing_every_race_is_locked_and_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path, WIDE) as ledger, Ledger.open(path) as rival:
        real, turns = ledger._admission.admit, []

        def overtaken(*arguments: object) -> object:
            turns.append(len(turns))
            rival.reserve(charge(1000 + len(turns)))
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(ledger._admission, "admit", overtaken)
        monkeypatch.setattr("dp.ledger.book._back_off", lambda attempt: None)
        with pytest.raises(Locked, match="16 attempts"):
            ledger.reserve(charge(0))
        assert len(turns) == 16
        assert rival.standing(charge(0)) is None
        assert rival.verify().ok


def test_an_admission_that_was_overtaken_is_repeated_after_a_pause(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    with Ledger.open(path, budget_for(5)) as ledger, Ledger.open(path) as rival:
        real, turns = ledger._admission.admit, []

        def overtaken(*arguments: object) -> object:
            turns.append(1)
            after = real(*arguments)  # type: ignore[arg-type]
            if len(turns) < 5:
                rival.reserve(charge(100 + len(turns)))
            return after

        monkeypatch.setattr(ledger._admission, "admit", overtaken)
        ledger.reserve(charge(0))
        assert ledger.remaining() == 0
        assert ledger.verify().ok
    assert len(turns) == 5
    assert [0 <= pause < 0.001 * 2**attempt for attempt, pause in enumerate(pauses)] == [True] * 4


def test_notes_and_commits_of_others_do_not_spoil_an_admission(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path, WIDE) as ledger, Ledger.open(path) as other:
        held = other.reserve(charge(1))
        real, turns = ledger._admission.admit, []

        def meanwhile(*arguments: object) -> object:
            turns.append(1)
            other.note("busy")
            if len(turns) == 1:
                other.commit(held, outcome())
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(ledger._admission, "admit", meanwhile)
        assert ledger.reserve(charge(0)).seq == 5
        assert len(turns) == 1


# --- fork and threads ----------------------------------------------------------------------------


def test_a_forked_child_may_neither_use_nor_reopen_the_ledger(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        held = ledger.reserve(charge(0))

        def child() -> None:
            for use in (
                ledger.interval,
                ledger.head,
                lambda: list(ledger.entries()),
                lambda: ledger.commit(held, outcome()),
                lambda: ledger.reserve(charge(1)),
                lambda: Ledger.open(path),
                lambda: Ledger.read(path),
            ):
                with pytest.raises(StorageRefused, match="fork"):
                    use()
            ledger.close()

        assert finish(start(child)) == 0
        assert ledger.commit(held, outcome()).seq == 3
        assert ledger.verify().ok
    with Ledger.read(path) as ledger:
        assert ledger.verify().entries == 4


def test_what_a_forked_child_does_first_gives_up_what_its_parent_holds(path: Path) -> None:
    """The same in one process: what runs in the child right after fork, and an id that is not the opener's."""
    ledger = Ledger.open(path, WIDE)
    try:
        store._leave_to_parent()
        session._leave_to_parent()
        with pytest.raises(StorageRefused, match="when this process was forked"):
            Ledger.read(path)
        assert not list(store._open_stores)
        assert not list(session._open_sessions)
    finally:
        connections.left_by_parent.clear()
        ledger.close()
    with Ledger.read(path) as again:
        assert again.verify().ok


def test_another_process_id_than_the_openers_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rounds(path, 1)
    held = store.Store.open(path, 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: held._process + 1)
        assert not held.is_usable
        with pytest.raises(StorageRefused, match="does not survive fork"):
            list(held.entries())
    assert held.is_usable
    held.close()


def test_a_child_of_a_process_that_closed_the_ledger_may_open_it(path: Path) -> None:
    write_rounds(path, 1)

    def child() -> None:
        with Ledger.open(path) as ledger:
            ledger.commit(ledger.reserve(charge(1)), outcome())

    assert finish(start(child)) == 0
    with Ledger.read(path) as ledger:
        assert ledger.verify().entries == 6


def test_another_thread_is_refused_by_name(path: Path) -> None:
    found: list[DpError] = []

    def elsewhere() -> None:
        for use in (ledger.interval, lambda: ledger.reserve(charge(0)), ledger.close):
            try:
                use()
            except DpError as wrong:
                found.append(wrong)

    with Ledger.open(path, WIDE) as ledger:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert ledger.head().seq == 1
    assert [type(wrong) for wrong in found] == [StorageRefused] * 3
    assert all("thread" in str(wrong) for wrong in found)


# --- coming to be --------------------------------------------------------------------------------


def die_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: int = 1) -> None:
    """Makes the call-th use of a function raise instead of acting, as a killed process would."""
    real, calls = getattr(module, name), []

    def dies(*arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, dies)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (genesis, "draw", 1),
        (store.Store, "append", 1),
        (store.Store, "append", 2),
        (store.Store, "close", 1),
        (genesis, "write_key", 1),
        (Path, "rename", 1),
        (genesis, "sync_directory", 1),
        (Path, "rename", 2),
        (genesis, "sync_directory", 2),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
def test_dying_anywhere_while_making_it_leaves_a_place_that_can_be_used(
    path: Path, module: object, name: str, call: int
) -> None:
    def child() -> None:
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, module, name, call)
            try:
                Ledger.open(path, WIDE)
            except KeyboardInterrupt:
                os._exit(3)

    assert finish(start(child)) == 3
    with Ledger.open(path, WIDE) as ledger:
        assert ledger.verify().ok
        ledger.commit(ledger.reserve(charge(0)), outcome())
    assert sorted(file.name for file in path.parent.iterdir()) == ["run.ledger", "run.ledger.key"]


def test_whoever_comes_second_finds_the_ledger_of_the_first(path: Path) -> None:
    write_rounds(path, 1)
    create(path, BEGINNING, 0.0)
    with Ledger.open(path) as ledger:
        assert ledger.head().seq == 3


def test_a_ledger_that_was_removed_is_not_started_afresh(path: Path) -> None:
    write_rounds(path, 1)
    path.unlink()
    for budget in (WIDE, None):
        with pytest.raises(RolledBack, match="what was spent"):
            Ledger.open(path, budget)
    beside(path, ".new").write_bytes(b"something else")
    with pytest.raises(RolledBack):
        Ledger.open(path, WIDE)


def test_another_ledger_cannot_take_the_place_of_a_removed_one(path: Path) -> None:
    write_rounds(path, 1)
    other = path.with_name("other.ledger")
    write_rounds(other, 0)
    path.unlink()
    other.rename(beside(path, ".new"))
    with pytest.raises(RolledBack):
        Ledger.open(path, WIDE)


@rows("K4")
def test_no_key_is_made_without_randomness(row: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(length: int) -> bytes:
        raise OSError("no entropy")

    for broken in (fails, lambda length: b"short"):
        monkeypatch.setattr(os, "urandom", broken)
        with pytest.raises(EntropyUnavailable):
            create(path, BEGINNING, 1.0)
    assert not path.exists()
    assert not beside(path, ".key").exists()


# --- the key -------------------------------------------------------------------------------------


def test_a_key_is_refused_when_missing_shared_damaged_or_not_this_ledgers(path: Path) -> None:
    write_rounds(path, 1)
    key = beside(path, ".key")
    good = key.read_bytes()
    keys = read_key(key)
    assert (len(keys.seed), len(keys.secret)) == (32, 32)
    key.chmod(0o640)
    with pytest.raises(StorageRefused, match="chmod 600"):
        Ledger.open(path)
    key.chmod(0o600)
    for bad in (b"", good[:-1], good + b"\n", good[:-2] + b"G\n", good.upper(), good.replace(b"v2", b"v1")):
        key.write_bytes(bad)
        with pytest.raises(Corrupt, match="not a signing key"):
            Ledger.open(path)
    for changed, why in ((Keys(bytes(32), keys.secret), "another key"), (Keys(keys.seed, bytes(32)), "secret")):
        write_key(key, changed)
        with pytest.raises(Corrupt, match=why):
            Ledger.open(path)
    key.unlink()
    with pytest.raises(StorageRefused, match="can only be read"):
        Ledger.open(path)
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok


# --- other versions, other owners ----------------------------------------------------------------


@pytest.mark.parametrize("pragma", ["application_id", "user_version"])
def test_a_file_of_another_kind_or_version_is_left_untouched(path: Path, pragma: str) -> None:
    write_rounds(path, 1)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {pragma} = 77")
    connection.close()
    raw = path.read_bytes()
    for opening in (Ledger.open, Ledger.read):
        with pytest.raises(WrongVersion, match=r"77|0x4d"):
            opening(path)
    assert path.read_bytes() == raw


def test_a_plain_database_is_no_ledger(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY)")
    connection.close()
    with pytest.raises(WrongVersion, match="no ledger"):
        Ledger.read(path)


def test_an_owner_is_dead_once_its_session_is_closed_forgotten_or_its_process_ended(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x")
    me, closed, forgotten, living = (Session(key) for _ in range(4))
    owners = [session.owner for session in (me, living, closed, forgotten)]
    assert [me.is_dead(owner) for owner in owners] == [False] * 4
    closed.close()
    closed.close()
    del forgotten
    assert [me.is_dead(owner) for owner in owners] == [False, False, True, True]
    # The key file itself may be read and closed at any time without giving up a lock.
    assert key.read_bytes() == b"x"
    assert living.is_dead(me.owner) is False
    assert me.is_dead(Owner("ab" * 16, os.getpid())) is True


def test_a_killed_process_nobody_waited_for_counts_as_dead(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x")
    answer, tell = os.pipe()

    def hold() -> None:
        session = Session(key)
        os.write(tell, session.owner.session.encode())
        signal.pause()

    child = start(hold)
    owner = Owner(os.read(answer, 32).decode(), 1)
    me = Session(key)
    assert not me.is_dead(owner)
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert me.is_dead(owner)
    finish(child)


def test_a_forked_child_does_not_keep_its_dead_parent_alive(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x")
    answer, tell = os.pipe()

    started, ready = os.pipe()

    def grandchild() -> None:
        os.write(ready, b".")
        os.read(answer, 1)

    def parent() -> None:
        held = Session(key)
        os.write(ready, held.owner.session.encode())
        start(grandchild)

    assert finish(start(parent)) == 0
    owner = Owner(os.read(started, 32).decode(), 1)
    assert os.read(started, 1) == b"."
    assert Session(key).is_dead(owner)
    os.write(tell, b"you may end")


@pytest.mark.parametrize("command", [None, 9999], ids=["unknown to Python", "unknown to the kernel"])
def test_without_such_locks_the_process_id_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: int | None
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x")
    monkeypatch.setattr(session, "_SET", command)
    me = Session(key)
    gone = start(lambda: None)
    finish(gone)
    assert me.is_dead(Owner("ab" * 16, gone))
    assert not me.is_dead(Owner("ab" * 16, os.getpid()))
    assert as_nobody(lambda: os._exit(session._exists(1) is False)) == 0


def test_a_process_that_may_not_be_asked_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbids(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "key").write_bytes(b"x")
    monkeypatch.setattr(session, "_SET", None)
    monkeypatch.setattr(os, "kill", forbids)
    assert not Session(tmp_path / "key").is_dead(Owner("ab" * 16, 1))


def test_an_owner_comes_back_from_its_body_and_is_checked() -> None:
    owner = Owner("0123456789abcdef" * 2, 7)
    assert Owner.from_body(owner.to_body()) == owner
    assert owner.offset == 0x0123456789ABCDEF >> 2
    for broken in ({"pid": 0}, {"pid": 2**31}, {"session": "AB" * 16}, {"session": "ab"}, {"extra": 1}):
        with pytest.raises(BadParameters):
            Owner.from_body({**owner.to_body(), **broken})
    with pytest.raises(StorageRefused):
        Session(Path("no such key"))


def test_the_next_opening_settles_the_dead_as_spent(path: Path) -> None:
    with Ledger.open(path, WIDE):
        pass

    def dies() -> None:
        ledger = Ledger.open(path)
        ledger.reserve(charge(0))
        os.kill(os.getpid(), signal.SIGKILL)

    assert finish(start(dies)) == -signal.SIGKILL
    with Ledger.read(path) as ledger:
        assert ledger.standing(charge(0)) is Standing.RESERVED
    with Ledger.open(path) as ledger:
        assert ledger.standing(charge(0)) is Standing.SETTLED
        assert ledger.interval().upper == float(epsilon_of(EVENT))
        assert ledger.settle() == 0
        with pytest.raises(BadReservation, match="settled"):
            ledger.reserve(charge(0))


def test_an_open_ledger_settles_others_when_asked(path: Path) -> None:
    def dies() -> None:
        ledger = Ledger.open(path, WIDE)
        for number in range(3):
            ledger.reserve(charge(number))
        os.kill(os.getpid(), signal.SIGKILL)

    children = [start(dies)]
    assert finish(children[0]) == -signal.SIGKILL
    with Ledger.open(path, WIDE) as ledger:
        assert [ledger.standing(charge(number)) for number in range(3)] == [Standing.SETTLED] * 3
        assert ledger.verify().ok


def test_one_row_may_hold_four_of_the_longest_bodies(path: Path) -> None:
    write_rounds(path, 1)
    connection = connections.connect(path, "ro", 0.0)
    assert connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == 4 * connections.MAX_BODY_BYTES
    connection.close()


def test_a_file_that_is_not_there_is_empty_and_an_error_without_a_number_is_none_of_sqlites(path: Path) -> None:
    assert connections.size_of(path) == 0
    assert connections._primary(sqlite3.OperationalError("of Python's own")) == 0


def test_a_wait_is_from_none_to_an_hour() -> None:
    for seconds in (0.0, 3600.0):
        require_seconds(seconds)
    for seconds in (-0.001, 3600.001, float("nan")):
        with pytest.raises(BadParameters, match="from 0 to 3600"):
            require_seconds(seconds)
