"""Endpoints in folders: they come back as they were, are stored before they speak, and leave politely."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.codec import kind_of
from protocols.durable import DurableClient, DurableServer, exit_on_sigterm
from protocols.errors import Misused, TooFewClients
from protocols.messages import Inbox, Masked, Result, Roster, Unmask
from secagg.errors import NonFinite
from tests.contracts.folders import UPDATE, Scene, System, under
from tests.protocols.test_pairwise_beacon import LENGTH, RING


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


# --- what comes back ------------------------------------------------------------------------------------


def test_an_endpoint_comes_back_as_it_was_stored(scene: Scene) -> None:
    scene.asked()
    image = scene.plain.freeze()
    again = scene.reborn()
    assert again._client.freeze() == image
    assert again.needs_update
    assert again.offer == scene.server.agreement
    image = scene.stage.server._server.freeze()  # type: ignore[attr-defined]
    assert scene.reborn_server()._server.freeze() == image


def test_a_whole_round_between_endpoints_in_folders_is_exact(scene: Scene) -> None:
    scene.stage.until(None)
    assert scene.server.aggregate is not None
    assert scene.server.aggregate.total.tolist() == scene.stage.encoded(scene.stage.ids)
    again = scene.reborn_server()
    assert (again.done, again.opening, again.metrics()) == (True, True, {})
    assert np.array_equal(again.mean(), scene.server.mean())


def test_an_unchanged_endpoint_is_not_written_again(scene: Scene) -> None:
    frame = scene.asked()
    frames = scene.client.submit(UPDATE)
    with under(System()) as system:
        for repeated in (scene.client.receive(frame), scene.client.resend()):
            assert [bytes(one) for one in repeated] == [bytes(one) for one in frames]
    assert system.calls == []


def test_the_file_is_synced_before_it_counts_and_the_folder_after(scene: Scene) -> None:
    scene.asked()
    with under(System()) as system:
        scene.client.submit(UPDATE)
    assert system.calls == ["open", "write", "write", "write", "fsync", "rename", "fsync"]


def test_a_server_stores_what_it_heard_when_it_speaks_or_is_told_to(scene: Scene) -> None:
    scene.stage.until(Roster)
    replies = list(scene.stage.answers().items())
    with under(System()) as system:
        for who, reply in replies[:-1]:
            assert scene.server.receive(reply, who) == []
        assert system.calls == []
        scene.server.store()
        assert system.calls.count("rename") == 1
        who, reply = replies[-1]
        assert scene.server.receive(reply, who)
        assert system.calls.count("rename") == 2


def test_a_round_costs_a_server_six_stores_and_a_client_seven(scene: Scene) -> None:
    with under(System()) as system:
        scene.stage.until(None)
        assert (scene.who, Unmask) in scene.stage.heard
        scene.client.receive(scene.stage.pending[0][1])
    assert system.calls.count("rename") == 6 + 7


def test_a_lost_round_stays_lost(scene: Scene) -> None:
    scene.stage.until(Roster)
    with pytest.raises(TooFewClients):
        scene.server.deadline("Relaying")
    again = scene.reborn_server()
    assert again.done
    assert again.aggregate is None
    assert again.resend() == []


def test_when_the_round_is_over_only_its_result_is_said_again_and_only_to_those_in_the_sum(scene: Scene) -> None:
    scene.stage.until(Inbox)
    scene.stage.until(None, silent=scene.stage.ids[3:])
    said = scene.reborn_server().resend()
    assert {frame.to for frame in said} == {(who,) for who in scene.stage.ids[:3]}
    assert {kind_of(frame) for frame in said} == {Result}
    assert scene.client.receive(bytes(said[0])) == []
    assert scene.client.result == bytes(said[0])
    scene.client.compare(bytes(said[1]))


def test_what_follows_from_a_beacon_is_stored_before_it_is_said(tmp_path: Path) -> None:
    who, *others = RING.ids
    with (
        DurableServer(RING.server(), tmp_path / "server") as server,
        DurableClient(RING.client(who), tmp_path / "client") as client,
    ):
        [invitation] = server.open(RING.task(LENGTH))
        heard = server.receive(bytes(client.receive(bytes(invitation))[0]))
        for other in others:
            [letter] = RING.client(other).receive(bytes(invitation))
            heard += server.receive(bytes(letter))
        [roster] = heard
        assert client.receive(bytes(roster)) == []
        assert client.needs_beacon == server.needs_beacon is not None
        [shares] = client.beacon(bytes([1] * 32))
        server.beacon(bytes([1] * 32))
    with (
        DurableServer(RING.server(), tmp_path / "server") as server,
        DurableClient(RING.client(who), tmp_path / "client") as client,
    ):
        assert client.needs_beacon is server.needs_beacon is None
        assert [bytes(frame) for frame in client.resend()] == [bytes(shares)]
        assert server.wait is not None
        assert server.wait.room == "Relaying"


def test_an_update_that_does_not_fit_changes_nothing_and_another_may_follow(scene: Scene) -> None:
    scene.asked()
    image = scene.file.read_bytes()
    with pytest.raises(NonFinite):
        scene.client.submit(UPDATE * np.nan)
    assert scene.file.read_bytes() == image
    assert scene.client.clipped == 0
    assert [kind_of(frame) for frame in scene.client.submit(UPDATE)] == [Masked]


def test_a_folder_is_given_up_at_the_end_of_its_block(scene: Scene) -> None:
    scene.asked()
    scene.client.close()
    with scene.reborn() as again:
        assert again.needs_update
    with pytest.raises(Misused, match="not open here"):
        again.submit(UPDATE)
    assert scene.reborn().needs_update


# --- one at a time --------------------------------------------------------------------------------------


def test_of_two_threads_with_two_updates_one_sends_and_the_other_is_refused(scene: Scene) -> None:
    scene.asked()
    both, ended = threading.Barrier(2), []

    def submit(update: np.ndarray[Any, Any]) -> None:
        both.wait()
        try:
            ended.append(kind_of(scene.client.submit(update)[0]).__name__)
        except Misused:
            ended.append("refused")

    threads = [threading.Thread(target=submit, args=(UPDATE * sign,)) for sign in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["Masked", "refused"]
    assert scene.reborn()._client.freeze() == scene.plain.freeze()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_an_endpoint_that_was_cut_off_inside_an_arrow_speaks_no_more_and_its_folder_holds_the_state_before(
    error: type[BaseException], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.asked()
    image = scene.plain.freeze()

    def cut(_: object) -> None:
        scene.plain._spent[bytes(16)] = 7
        raise error

    monkeypatch.setattr(scene.plain, "_send", cut)
    with pytest.raises(error):
        scene.client.submit(UPDATE)
    monkeypatch.undo()
    for deed in (scene.client.resend, scene.client.store):
        with pytest.raises(Misused, match="not open here"):
            deed()
    assert scene.reborn()._client.freeze() == image


# --- SIGTERM --------------------------------------------------------------------------------------------


class Terminated(System):
    """SIGTERM comes while a file is being written."""

    def __getattr__(self, name: str) -> Any:
        if name == "write" and not self.calls.count("write"):
            signal.raise_signal(signal.SIGTERM)
        return super().__getattr__(name)


def test_sigterm_between_arrows_is_an_exit_with_code_0() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with exit_on_sigterm():
        with pytest.raises(SystemExit) as left:
            signal.raise_signal(signal.SIGTERM)
        assert left.value.code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_inside_an_arrow_waits_for_its_store(scene: Scene) -> None:
    scene.asked()
    with exit_on_sigterm(), under(Terminated()) as system, pytest.raises(SystemExit) as left:
        scene.client.submit(UPDATE)
    assert left.value.code == 0
    assert system.calls[-2:] == ["rename", "fsync"]
    assert [kind_of(frame) for frame in scene.reborn().resend()] == [Masked]


def test_an_arrow_in_another_thread_goes_on_while_the_main_thread_leaves(scene: Scene) -> None:
    scene.asked()
    inside, go_on = threading.Event(), threading.Event()

    class Slow(System):
        def __getattr__(self, name: str) -> Any:
            if name == "fsync":
                inside.set()
                go_on.wait()
            return super().__getattr__(name)

    with under(Slow()):
        worker = threading.Thread(target=scene.client.submit, args=(UPDATE,))
        worker.start()
        inside.wait()
        with exit_on_sigterm(), pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        go_on.set()
        worker.join()
    assert [kind_of(frame) for frame in scene.reborn().resend()] == [Masked]
