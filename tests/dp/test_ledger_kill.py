"""kill -9 anywhere between reserve and commit: charged if and only if it may have been released.

The child releases by appending a line to a file and syncing it, after the charge and before the commit; the
oracle compares that file with the ledger and knows nothing else.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dp.events import Repeated
from dp.ledger import Ledger, Standing
from dp.ledger.store import Store
from tests.dp.ledger_kit import EVENT, charge, epsilon_of, finish, outcome, start, write_rounds
from tests.faults import points
from tests.rows import rows

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


# Openings are written with their entry: a kill leaves both or neither, which `verify` would notice.
MEMBERS = tuple(bytes([number]) for number in range(40))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def publish(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def published(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def spend_rounds(directory: Path, first: int, rounds: int) -> None:
    """reserve -> note that it was granted -> mark -> release -> commit, for so many rounds."""
    with Ledger.open(directory / "run.ledger") as ledger:
        for number in range(first, first + rounds):
            reservation = ledger.reserve(charge(number, members=MEMBERS))
            publish(directory / "granted", str(number))
            ledger.mark(reservation)
            publish(directory / "released", str(number))
            ledger.commit(reservation, replace(outcome(), named=MEMBERS[:38]))
            publish(directory / "handed out", str(number))


def check(directory: Path, attempted: int, kills: int = 1) -> list[Standing | None]:
    """Opens the ledger as the next server would, and judges it by what left the house."""
    granted, released, handed = (published(directory / name) for name in ("granted", "released", "handed out"))
    with Ledger.open(directory / "run.ledger") as ledger:
        assert ledger.verify().ok
        assert all(len(each.invited) == len(ledger.charges()) for each in ledger.clients())
        standings = [ledger.standing(charge(number)) for number in range(attempted)]
        charged = [number for number, standing in enumerate(standings) if standing is not None]
        assert set(released) <= set(granted) <= set(charged)
        assert len(charged) - len(granted) <= kills, "only one in flight per kill is charged without a grant"
        for number in handed:
            assert standings[number] is Standing.COMMITTED
        assert Standing.RESERVED not in standings
        assert Standing.ABORTED not in standings
        expected = epsilon_of(Repeated(EVENT, len(charged))) if charged else Fraction(0)
        assert Fraction(ledger.interval().upper) == expected
    return standings


# --- chosen points -------------------------------------------------------------------------------


def at(name: str, call: int, *, before: bool) -> points.Plant:
    """Kills the process at the call-th use of a ledger or store method, before or after it acted."""

    return points.at(Store if name in ("append", "writing") else Ledger, name, call, before=before, die=die)


POINTS = {
    "before reserve": (at("reserve", 1, before=True), [None]),
    "before the RESERVE is inserted": (at("append", 1, before=True), [None]),
    "RESERVE inserted, not committed": (at("append", 1, before=False), [None]),
    "after reserve, before release": (at("reserve", 1, before=False), [Standing.SETTLED]),
    "after mark": (at("mark", 1, before=False), [Standing.SETTLED]),
    "released, before commit": (at("commit", 1, before=True), [Standing.SETTLED]),
    "before the COMMIT is inserted": (at("append", 2, before=True), [Standing.SETTLED]),
    "COMMIT inserted, not committed": (at("append", 2, before=False), [Standing.SETTLED]),
    "after commit": (at("commit", 1, before=False), [Standing.COMMITTED]),
    "before the second reserve": (at("reserve", 2, before=True), [Standing.COMMITTED, None]),
    "after the second reserve": (at("reserve", 2, before=False), [Standing.COMMITTED, Standing.SETTLED]),
}


@rows("L5")
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_this_point_charges_exactly_what_may_be_out(row: str, tmp_path: Path, point: str) -> None:
    plant, expected = POINTS[point]
    write_rounds(tmp_path / "run.ledger", 0)

    def child() -> None:
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            spend_rounds(tmp_path, 0, 2)

    assert finish(start(child)) == -signal.SIGKILL
    assert check(tmp_path, len(expected)) == expected


@rows("L5")
def test_a_kill_while_the_dead_are_settled_settles_them_next_time(row: str, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 0)

    def first() -> None:
        ledger = Ledger.open(path)
        for number in range(3):
            ledger.reserve(charge(number))
        die()

    def second() -> None:
        with pytest.MonkeyPatch.context() as patch:
            at("append", 2, before=False)(patch)
            Ledger.open(path)

    assert [finish(start(work)) for work in (first, second)] == [-signal.SIGKILL] * 2
    with Ledger.read(path) as ledger:
        assert [ledger.standing(charge(number)) for number in range(3)] == [Standing.RESERVED] * 3
    assert check(tmp_path, 3, kills=3) == [Standing.SETTLED] * 3


# --- random moments ------------------------------------------------------------------------------


def kill_at_random(directory: Path, kills: int, seed: int) -> list[Standing | None]:
    """Starts servers one after another, each killed at a random moment, all on one ledger."""
    delays = random.Random(seed)
    write_rounds(directory / "run.ledger", 0)
    first, standings = 0, []
    for kill in range(1, kills + 1):
        child = start(lambda begin=first: spend_rounds(directory, begin, 1000))  # type: ignore[misc]
        before = len(published(directory / "granted"))
        # Every other kill comes early, perhaps before anything; the rest once a round was granted.
        while kill % 2 and len(published(directory / "granted")) == before:
            time.sleep(0.001)
        time.sleep(delays.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert finish(child) == -signal.SIGKILL
        first = max([first - 1, *published(directory / "granted")]) + 2
        standings = check(directory, first, kill)
    return standings


@rows("L5")
def test_forty_random_kills_never_release_uncharged(row: str, tmp_path: Path) -> None:
    standings = kill_at_random(tmp_path, 40, seed=5)
    # The test of the test: kills hit before, between and after, not always the same place.
    assert {Standing.SETTLED, Standing.COMMITTED, None} <= set(standings)


@pytest.mark.slow
@rows("L5")
@pytest.mark.parametrize("seed", range(25))
def test_a_thousand_random_kills_never_release_uncharged(row: str, tmp_path: Path, seed: int) -> None:
    kill_at_random(tmp_path, 40, seed)
