"""kill -9 of one endpoint around every store, a new process in its place, and the round goes on to the exact sum.

The victim lives in a process of its own and is killed there with SIGKILL; the others live on and wait. Judged is
what left: never two different frames of one party at one place (two survivor lists, two vectors), and a sum in which
everybody is counted once.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import deque
from pathlib import Path

import pytest

from protocols.codec import kind_of
from protocols.messages import Advertise, Masked, Survivors
from protocols.party import SERVER, PartyId
from tests.attacks.villain import rows
from tests.faults import mortal
from tests.faults.mortal import AskedToGo, At, Fate, Forgets, Hears, Mortal, Nth, Table, company, opening

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

CLIENT = company().ids[1]
ROOMS = {
    "Gathering": "S1-S2",
    "Relaying": "S3-S4",
    "Summing": "S5-S6",
    "Witnessing": "S7-S8",
    "Unmasking": "S9-S10",
}
SERVER_POINTS = [
    pytest.param(At(f"{room} {what}", moment), id=f"{row}-{room}-{moment}-{what}")
    for room, row in ROOMS.items()
    for what in ("arrival", "close")
    for moment in ("before", "after")
]
ARROWS = ("Open", "Roster", "Inbox", "Submit", "Survivors", "Witnesses", "Result")
CLIENT_POINTS = [
    pytest.param(At(arrow, moment), id=f"S16-{arrow}-{moment}")
    for arrow in ARROWS
    for moment in ("before", "after", "sent")
]


def round_with(base: Path, fates: dict[PartyId, tuple[Fate, ...]], hears: Hears = Hears.AND_STORES) -> Table:
    """A whole round, judged."""
    with Table.set(base, fates, hears=hears) as table:
        table.play()
        table.judge()
    return table


def killed_once(point: At, base: Path, method: str, hears: Hears = Hears.AND_STORES) -> Table:
    """A whole round in which one endpoint is killed at this point, judged."""
    victim = SERVER if " " in point.arrow else CLIENT
    with Table.set(base, {victim: (point,)}, method, hears) as table:
        table.play()
        # Whoever has said its last word dies unnoticed: the death shows when it is spoken to again.
        (table.server if victim == SERVER else table.clients[CLIENT]).ask("resend")
        table.judge()
        assert sum(one.deaths for one in table.everybody()) == 1
    return table


@rows("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10")
@pytest.mark.parametrize("point", SERVER_POINTS)
def test_a_server_killed_here_goes_on_and_nobody_is_lost_or_counted_twice(point: At, row: str, tmp_path: Path) -> None:
    assert killed_once(point, tmp_path, "fork").openings == 1


@pytest.mark.parametrize("point", [point for point in SERVER_POINTS if "close" in str(point.id)])
def test_what_a_server_heard_but_did_not_store_is_said_to_its_successor_again(point: At, tmp_path: Path) -> None:
    assert killed_once(point, tmp_path, "fork", Hears.AND_WAITS).openings == 1


@rows("S5")
def test_a_vector_that_was_heard_but_not_stored_is_lost_with_a_client_that_does_not_come_back(
    row: str, tmp_path: Path
) -> None:
    with Table.set(tmp_path, {SERVER: (At("Summing close", "before"),)}, hears=Hears.AND_WAITS) as table:
        table.play(deaths=1)
        assert {who for who, _, data in table.said if kind_of(data) is Masked} == set(table.clients)
        assert {to for to, _ in table.queue} == set(table.clients), "everybody is asked again"
        table.queue = deque(frame for frame in table.queue if frame[0] != CLIENT)
        table.play()
        table.judge(gone=(CLIENT,))


@pytest.mark.parametrize("point", CLIENT_POINTS)
def test_a_client_killed_here_goes_on_and_is_counted_once(point: At, tmp_path: Path) -> None:
    killed_once(point, tmp_path, "fork")


@pytest.mark.parametrize(
    ("moment", "openings"),
    [pytest.param("before", 2, id="S1-before-the-opening"), pytest.param("after", 1, id="S2-after-the-opening")],
)
def test_a_server_killed_while_it_opens_opens_anew_or_says_the_same(moment: str, openings: int, tmp_path: Path) -> None:
    table = round_with(tmp_path, {SERVER: (At("open", moment),)})
    assert (table.server.deaths, table.openings) == (1, openings)


# --- the spent list and the one vector ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "refusal"),
    [pytest.param("before", "", id="M14-spent-before"), pytest.param("after", "Replay", id="M14-spent-after")],
)
def test_a_round_is_spent_from_the_store_of_its_vector_on(moment: str, refusal: str, tmp_path: Path) -> None:
    with Table.set(tmp_path, {CLIENT: (At("Submit", moment),)}) as table:
        table.play(deaths=1)
        said = {kind_of(data) for who, _, data in table.said if who == CLIENT}
        assert (Masked in said) == (moment == "after")
        answer = table.clients[CLIENT].ask("receive", opening(b"\7" * 16))
        assert answer.error == refusal
        assert [kind_of(data) for _, data in answer.frames] == ([] if refusal else [Advertise])


@rows("S16")
def test_a_client_killed_after_its_vector_left_repeats_it_and_sends_no_other(row: str, tmp_path: Path) -> None:
    with Table.set(tmp_path, {CLIENT: (At("Submit", "sent"),)}) as table:
        table.play(deaths=1)
        client = table.clients[CLIENT]
        [first] = [data for who, _, data in table.said if who == CLIENT and kind_of(data) is Masked]
        assert client.ask("submit").error == "Misused"
        assert [data for _, data in client.ask("resend").frames] == [first]


@rows("S16")
def test_a_vector_that_leaves_before_it_is_stored_would_be_sent_twice(row: str, tmp_path: Path) -> None:
    """The test of the test: store after sending, and the judge finds two vectors under one mask."""
    with Table.set(tmp_path, {CLIENT: (Forgets("Submit"),)}) as table:
        table.play(deaths=1)
        table.play()
        vectors = {data for who, _, data in table.said if who == CLIENT and kind_of(data) is Masked}
        assert len(vectors) == 2
        with pytest.raises(AssertionError, match="two different frames"):
            table.judge()


@rows("S8")
def test_a_list_of_survivors_that_leaves_before_it_is_stored_could_be_followed_by_another(
    row: str, tmp_path: Path
) -> None:
    """The test of the test: the successor still sums, and closes with one client less."""
    with Table.set(tmp_path, {SERVER: (Forgets("Summing close"),)}) as table:
        table.play(deaths=1)
        assert table.last.room == "Summing"
        table.hear(SERVER, table.server.ask("deadline", "Summing"))
        lists = {data for who, _, data in table.said if who == SERVER and kind_of(data) is Survivors}
        assert len(lists) == 2


# --- two kills in one round -----------------------------------------------------------------------------


def two_fates(seed: int) -> dict[PartyId, tuple[Fate, ...]]:
    """Twice somebody, killed before some system call or after some answer."""
    draw = random.Random(seed)
    fates: dict[PartyId, tuple[Fate, ...]] = {}
    for _ in range(2):
        who = draw.choice((SERVER, *company().ids))
        fates[who] = (*fates.get(who, ()), Nth(draw.randint(1, 90 if who == SERVER else 32)))
    return fates


@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 200), marks=pytest.mark.slow)], ids=["40", "160 others"]
)
def test_two_kills_at_random_lose_nobody_and_repeat_nothing_differently(seeds: range, tmp_path: Path) -> None:
    deaths = 0
    for seed in seeds:
        table = round_with(tmp_path / str(seed), two_fates(seed), list(Hears)[seed % 2])
        deaths += sum(one.deaths for one in table.everybody())
    # The test of the test: most of the kills, two a round, came before it was over.
    assert deaths > 1.2 * len(seeds)


# --- SIGTERM --------------------------------------------------------------------------------------------


@rows("S18")
def test_sigterm_in_an_arrow_ends_the_process_after_its_store(row: str, tmp_path: Path) -> None:
    with Table.set(tmp_path, {CLIENT: (AskedToGo("Submit"),)}) as table:
        client = table.clients[CLIENT]
        client.exit_code = 0
        table.play(deaths=1)
        assert client.deaths == 1
        assert client.ask("submit").error == "Misused"
        table.play()
        table.judge()


@rows("S18")
def test_sigterm_between_arrows_ends_the_process_at_once(row: str, tmp_path: Path) -> None:
    with Table.set(tmp_path, {SERVER: ()}) as table:
        server = table.server
        assert isinstance(server, Mortal)
        while table.last.room != "Summing":
            table.step()
        server.exit_code = 0
        os.kill(server.process.pid, signal.SIGTERM)
        table.play()
        assert server.deaths == 1
        table.judge()


@rows("S18")
def test_sigterm_would_cut_an_arrow_off_without_the_handler(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test."""
    monkeypatch.setattr(mortal, "exit_on_sigterm", contextlib.nullcontext)
    with Table.set(tmp_path, {CLIENT: (AskedToGo("Submit"),)}) as table:
        client = table.clients[CLIENT]
        client.exit_code = -signal.SIGTERM
        table.play(deaths=1)
        assert table.training == deque([CLIENT])


# --- processes that were not forked ---------------------------------------------------------------------


@pytest.mark.parametrize("point", [SERVER_POINTS[11], CLIENT_POINTS[10]])
def test_a_spawned_process_goes_on_as_a_forked_one_does(point: At, tmp_path: Path) -> None:
    killed_once(point, tmp_path, "spawn")


@pytest.mark.slow
@pytest.mark.parametrize("point", [*SERVER_POINTS, *CLIENT_POINTS])
def test_spawned_processes_go_on_from_every_point(point: At, tmp_path: Path) -> None:
    killed_once(point, tmp_path, "spawn")
