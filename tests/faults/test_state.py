"""The file an endpoint comes back from: torn, damaged, somebody else's, unwritable, taken, or open to others.

Whatever happens to it, the endpoint starts from the state it stored last or not at all, and nothing is said that was
not stored before.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp import place as places
from dp.errors import Corrupt, Locked, StorageRefused, WrongVersion
from protocols import storage
from protocols.codec import kind_of
from protocols.durable import DurableClient, DurableServer
from protocols.errors import Misused, OutOfTurn, Replay, ViewMismatch
from protocols.messages import Inbox, Masked, Open, Roster, Survivors, Witnesses
from protocols.party import SERVER, secrets_in
from protocols.storage import IMAGE, NEW, Folder, Kind
from tests.attacks.villain import rows
from tests.contracts.folders import UPDATE, Scene, System, under
from tests.dp.ledger_kit import finish, start
from tests.protocols.test_secrets import found_in, known_secrets

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


# --- torn and damaged -----------------------------------------------------------------------------------


@rows("S11")
@pytest.mark.parametrize("left", [b"", b"secagg", b"\0" * 5000])
def test_what_an_interrupted_store_left_is_removed_and_the_state_before_comes_back(
    row: str, left: bytes, scene: Scene
) -> None:
    scene.asked()
    image = scene.plain.freeze()
    (scene.home / NEW).write_bytes(left)
    assert scene.reborn()._client.freeze() == image
    assert os.listdir(scene.home) == [IMAGE]


@contextmanager
def stored(scene: Scene, role: str) -> Iterator[tuple[Path, Folder]]:
    """An image from the middle of a round, and the folder as the next process opens it."""
    scene.asked()
    scene.server.store()
    scene.client.close()
    scene.server.close()
    if role == "client":
        folder = Folder(scene.home, Kind.CLIENT, scene.plain.policy.identities[scene.who])
    else:
        folder = Folder(scene.server_home, Kind.SERVER, scene.stage.company.identity.public)
    assert folder.load()
    yield folder.path / IMAGE, folder
    folder.close()


ROLES = pytest.mark.parametrize("role", ["client", "server"])


@rows("S11")
@ROLES
def test_a_file_cut_at_any_byte_is_corrupt(row: str, role: str, scene: Scene) -> None:
    with stored(scene, role) as (path, folder):
        whole = path.read_bytes()
        for length in reversed(range(len(whole))):
            os.truncate(path, length)
            with pytest.raises(Corrupt, match="damaged"):
                folder.load()
        path.write_bytes(whole + b"\0")
        with pytest.raises(Corrupt):
            folder.load()


@rows("S11")
@ROLES
def test_a_file_with_one_bit_flipped_anywhere_is_corrupt(row: str, role: str, scene: Scene) -> None:
    with stored(scene, role) as (path, folder), path.open("r+b", buffering=0) as file:
        whole = path.read_bytes()
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << place % 8]), place)
            with pytest.raises(Corrupt, match="damaged"):
                folder.load()
            os.pwrite(file.fileno(), bytes([byte]), place)
        assert folder.load()


@rows("S11")
def test_a_damaged_file_is_left_as_it_is_and_its_folder_can_be_opened_again(row: str, scene: Scene) -> None:
    scene.asked()
    damaged = scene.file.read_bytes()[:-1]
    scene.file.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(Corrupt, match="no older copy"):
            scene.reborn()
        assert scene.file.read_bytes() == damaged
    scene.file.unlink()
    assert not scene.reborn().needs_update


# --- somebody else's ------------------------------------------------------------------------------------


@rows("S14")
@pytest.mark.parametrize("whose", ["version", "role", "identity"])
def test_a_file_of_another_version_role_or_identity_is_refused_and_untouched(
    row: str, whose: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.asked()
    scene.client.close()
    company, before = scene.stage.company, (scene.file.read_bytes(), scene.file.stat().st_mtime_ns)
    openings: dict[str, Callable[[], object]] = {
        "version": lambda: DurableClient(company.client(scene.who), scene.home),
        "role": lambda: DurableServer(company.server(), scene.home),
        "identity": lambda: DurableClient(company.client(scene.stage.ids[1]), scene.home),
    }
    if whose == "version":
        monkeypatch.setattr(storage, "IMAGE_VERSION", storage.IMAGE_VERSION + 1)
    with pytest.raises(WrongVersion, match="another version, role or identity"):
        openings[whose]()
    assert (scene.file.read_bytes(), scene.file.stat().st_mtime_ns) == before


# --- a place that refuses -------------------------------------------------------------------------------

FAILURES = [("open", 1), ("write", 1), ("write", 3), ("fsync", 1), ("rename", 1), ("fsync", 2)]


@rows("S12")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize(("call", "number"), FAILURES, ids=[f"{call}-{number}" for call, number in FAILURES])
def test_a_vector_that_cannot_be_stored_is_not_sent(row: str, call: str, number: int, error: int, scene: Scene) -> None:
    scene.asked()
    with under(System(call, number, error)), pytest.raises(StorageRefused, match=r"nothing was sent"):
        scene.client.submit(UPDATE)
    # The same process may store it later, and sends it only then.
    with under(System(call, number, error)), pytest.raises(StorageRefused):
        scene.client.resend()
    with pytest.raises(Misused, match="one update per round"):
        scene.client.submit(UPDATE)
    [frame] = scene.client.resend()
    assert kind_of(frame) is Masked
    assert [bytes(one) for one in scene.reborn().resend()] == [bytes(frame)]


@rows("S12")
@pytest.mark.parametrize(("call", "number"), FAILURES, ids=[f"{call}-{number}" for call, number in FAILURES])
def test_after_a_refused_store_the_next_process_has_the_state_before_or_the_one_not_yet_said(
    row: str, call: str, number: int, scene: Scene
) -> None:
    scene.asked()
    before = scene.plain.freeze()
    with under(System(call, number)), pytest.raises(StorageRefused):
        scene.client.submit(UPDATE)
    after = scene.plain.freeze()
    found = scene.reborn()._client.freeze()
    assert found == (after if (call, number) == ("fsync", 2) else before)
    assert os.listdir(scene.home) == [IMAGE]


@rows("S12")
def test_a_server_that_cannot_store_says_nothing(row: str, scene: Scene) -> None:
    scene.stage.until(Inbox)
    replies = scene.stage.answers()
    *others, last = replies
    scene.stage.hand({who: replies[who] for who in others})
    with under(System("fsync", 1, errno.ENOSPC)), pytest.raises(StorageRefused):
        scene.server.receive(replies[last], last)
    [*told] = scene.server.resend()
    assert [kind_of(frame) for frame in told] == [Survivors] * 4
    assert [bytes(frame) for frame in scene.reborn_server().resend()] == [bytes(frame) for frame in told]


@rows("S12")
def test_a_short_write_is_continued(row: str, scene: Scene) -> None:
    class Short(System):
        def __getattr__(self, name: str) -> Any:
            real = super().__getattr__(name)
            return (lambda descriptor, data: real(descriptor, data[:7])) if name == "write" else real

    scene.asked()
    with under(Short()) as system:
        scene.client.submit(UPDATE)
    assert system.calls.count("write") > 100
    assert scene.reborn()._client.freeze() == scene.plain.freeze()


@rows("S13")
@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_a_read_only_place_is_refused_at_the_start(row: str, existing: bool, scene: Scene) -> None:
    if existing:
        scene.asked()
    scene.client.close()
    home = scene.home if existing else scene.home.with_name("fresh")
    home.mkdir(0o700, exist_ok=True)
    before = sorted(os.listdir(home))
    # The file's; `dp.place` opened the folder.
    with under(System("open", 1, errno.EROFS)), pytest.raises(StorageRefused, match="written"):
        DurableClient(scene.stage.company.client(scene.who), home)
    assert sorted(os.listdir(home)) == before


@rows("S13")
def test_a_place_that_cannot_be_made_or_is_no_folder_is_refused_at_the_start(row: str, scene: Scene) -> None:
    scene.asked()
    for place in (scene.home / "missing" / "state", scene.file, Path("/proc/secagg-state")):
        with pytest.raises(StorageRefused):
            DurableClient(scene.stage.company.client(scene.stage.ids[1]), place)


@rows("S13", "S15")
def test_a_place_without_locks_is_refused_at_the_start(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(places.fcntl, "flock", refuse)
    with pytest.raises(StorageRefused, match="cannot be locked"):
        Folder(tmp_path / "state", Kind.CLIENT, bytes(32))
    monkeypatch.undo()
    monkeypatch.setattr(places, "file_system_of", lambda path: "nfs4")
    with pytest.raises(StorageRefused, match="nfs4"):
        Folder(tmp_path / "state", Kind.CLIENT, bytes(32))


# --- one at a time --------------------------------------------------------------------------------------


@rows("S15")
def test_a_second_process_finds_the_folder_locked(row: str, scene: Scene) -> None:
    scene.asked()
    image = scene.file.read_bytes()

    def second() -> None:
        with pytest.raises(Locked, match="another endpoint"):
            DurableClient(scene.stage.company.client(scene.who), scene.home)

    assert finish(start(second)) == 0
    second()
    assert scene.file.read_bytes() == image
    scene.client.close()
    assert finish(start(lambda: DurableClient(scene.stage.company.client(scene.who), scene.home))) == 0


@rows("S15")
def test_a_forked_child_neither_stores_nor_keeps_the_folder(row: str, scene: Scene) -> None:
    scene.asked()
    image = scene.file.read_bytes()
    (here, child_says), (child_hears, there) = os.pipe(), os.pipe()

    def child() -> None:
        for deed in (scene.client.resend, lambda: scene.client.submit(UPDATE), scene.server.store):
            with pytest.raises(Misused, match="not open here"):
                deed()
        os.write(child_says, b"!")
        os.read(child_hears, 1)

    living = start(child)
    os.close(child_says)
    assert os.read(here, 1) == b"!"
    scene.client.close()
    assert scene.reborn().needs_update
    assert scene.file.read_bytes() == image
    os.write(there, b"!")
    assert finish(living) == 0
    for descriptor in (here, child_hears, there):
        os.close(descriptor)


# --- secrets --------------------------------------------------------------------------------------------


@rows("K10")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_folder_and_file_belong_to_their_owner_alone_whatever_the_umask(row: str, umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        scene = Scene(tmp_path)
        scene.asked()
    finally:
        os.umask(before)
    for home in (scene.home, scene.server_home):
        assert home.stat().st_mode & 0o7777 == 0o700
        assert (home / IMAGE).stat().st_mode & 0o7777 == 0o600
    scene.close()


@rows("K10")
@pytest.mark.parametrize("mode", [0o701, 0o710, 0o770, 0o755])
def test_a_folder_that_others_may_enter_is_refused(row: str, mode: int, scene: Scene) -> None:
    scene.home.chmod(mode)
    with pytest.raises(StorageRefused, match="chmod 700"):
        scene.reborn()
    scene.home.chmod(0o700)
    assert scene.reborn().done


@rows("K10")
def test_a_file_that_others_may_read_is_refused(row: str, scene: Scene) -> None:
    scene.asked()
    scene.file.chmod(0o640)
    with pytest.raises(StorageRefused, match="chmod 600"):
        scene.reborn()
    scene.file.chmod(0o600)
    assert scene.reborn().needs_update


@rows("K10")
def test_a_symbolic_link_is_followed_neither_to_read_nor_to_write(row: str, scene: Scene, tmp_path: Path) -> None:
    scene.asked()
    scene.file.rename(tmp_path / "elsewhere")
    scene.file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageRefused, match="cannot be read"):
        scene.reborn()
    scene.file.unlink()
    target = tmp_path / "target"
    target.write_bytes(b"somebody's")
    (scene.home / NEW).symlink_to(target)
    with pytest.raises(StorageRefused, match="cannot be written"):
        scene.reborn()
    assert target.read_bytes() == b"somebody's"


def on_disk(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(home.iterdir()))


@rows("K1")
def test_after_the_round_the_folder_holds_no_secret(row: str, tmp_path: Path) -> None:
    scene = Scene(tmp_path, clients=5)
    stage = scene.stage
    scene.stage.until(Roster)
    stage.clients[scene.who] = scene.plain
    secrets = known_secrets(stage, scene.who)
    # The test of the test: while the round is open its root is there.
    assert found_in(on_disk(scene.home), secrets[:1])
    stage.clients[scene.who] = scene.client  # type: ignore[assignment]
    stage.until(Inbox)
    secrets += [secret.expose() for secret in secrets_in(scene.plain._party.state)]
    stage.until(Survivors, silent=stage.ids[4:])
    held = scene.plain._party.state.held
    # What it told: the mask share of the one that dropped out, the self shares of the others.
    secrets += [one.self_share.expose() if one.dealer == stage.ids[4] else one.mask_share.expose() for one in held]
    stage.until(None, silent=stage.ids[4:])
    assert scene.client.done
    assert len(secrets) >= 3 + 4 + 4
    assert os.listdir(scene.home) == [IMAGE]
    assert found_in(on_disk(scene.home) + on_disk(scene.server_home), secrets) == []
    scene.client.close()
    scene.server.close()


@rows("K1")
def test_a_round_that_is_refused_leaves_no_secret_in_the_folder(row: str, scene: Scene) -> None:
    letters = scene.stage.until(Witnesses)
    secrets = [secret.expose() for secret in secrets_in(scene.plain._party.state)]
    assert found_in(on_disk(scene.home), secrets)
    with pytest.raises(ViewMismatch):
        scene.stage.say(scene.who, replace(letters[scene.who], signed=letters[scene.who].signed[:1]))
    assert found_in(on_disk(scene.home), secrets) == []
    again = scene.reborn()
    assert again.done
    with pytest.raises(OutOfTurn):
        again.receive(scene.stage.framed(SERVER, letters[scene.who]))


# --- going back -----------------------------------------------------------------------------------------


@rows("S17")
def test_a_folder_put_back_from_a_copy_sends_a_second_vector_which_the_server_names(row: str, scene: Scene) -> None:
    """The documented limit: what the disk forgets the client cannot know. See SECURITY.md."""
    frame = scene.asked()
    shutil.copytree(scene.home, scene.home.with_name("copy"))
    [first] = scene.client.submit(UPDATE)
    assert scene.server.receive(bytes(first), scene.who) == []
    scene.client.close()
    shutil.rmtree(scene.home)
    shutil.move(scene.home.with_name("copy"), scene.home)
    again = scene.reborn()
    assert again.receive(frame) == []
    [second] = again.submit(-UPDATE)
    assert bytes(second) != bytes(first)
    total = scene.server._server._party.state.total.copy()
    assert scene.server.receive(bytes(second), scene.who) == []
    assert [(note.peer, note.error) for note in scene.server.excluded] == [(scene.who, "Duplicate")]
    assert np.array_equal(scene.server._server._party.state.total, total)


@rows("S17", "M14")
def test_a_spent_round_stays_spent_after_a_restart(row: str, scene: Scene) -> None:
    scene.asked()
    scene.client.submit(UPDATE)
    other = Open(replace(scene.server.agreement, nonce=b"\1" * 16))
    with pytest.raises(Replay, match="spent"):
        scene.reborn().receive(scene.stage.framed(SERVER, other))
