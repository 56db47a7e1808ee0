"""Several processes on one ledger: the last of a budget is spent once, and readers never see a half state.

Workers are forked before anybody has the ledger open and wait at one gate, so that they really collide.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from dp.accountant import Unit, View
from dp.errors import BudgetExceeded
from dp.events import Repeated
from dp.ledger import Ledger, Standing
from dp.ledger.terms import Randomness, Scope, Terms
from tests.dp.ledger_kit import (
    EVENT,
    WIDE,
    budget_for,
    charge,
    epsilon_of,
    finish,
    outcome,
    start,
    write_rounds,
)
from tests.rows import rows

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PROCESSES = 8
REFUSED = 7


def race(path: Path, fitting: int, members: tuple[bytes, ...] = ()) -> list[int]:
    """The exit codes of 8 processes that reserve at once where `fitting` fit: 0 won, 7 refused."""
    gate, opener = os.pipe()

    def contend(number: int) -> None:
        os.close(opener)
        os.read(gate, 1)
        with Ledger.open(path, budget_for(fitting)) as ledger:
            try:
                reservation = ledger.reserve(charge(number, cohort=40, members=members))
            except BudgetExceeded:
                os._exit(REFUSED)
            ledger.commit(reservation, outcome())

    children = [start(lambda number=number: contend(number)) for number in range(PROCESSES)]  # type: ignore[misc]
    os.close(gate)
    os.close(opener)
    return sorted(finish(child) for child in children)


def check_race(path: Path, fitting: int) -> None:
    write_rounds(path, 0, budget_for(fitting))
    assert race(path, fitting) == [0] * fitting + [REFUSED] * (PROCESSES - fitting)
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        standings = [ledger.standing(charge(number)) for number in range(PROCESSES)]
        assert standings.count(Standing.COMMITTED) == fitting
        assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(EVENT, fitting))


@rows("L4")
@pytest.mark.parametrize("trial", range(6))
def test_of_eight_processes_exactly_one_gets_the_last_unit(row: str, tmp_path: Path, trial: int) -> None:
    check_race(tmp_path / "run.ledger", 1)


@rows("L4")
@pytest.mark.parametrize("fitting", [3, 8])
def test_of_eight_processes_exactly_as_many_as_fit_get_one(row: str, tmp_path: Path, fitting: int) -> None:
    check_race(tmp_path / "run.ledger", fitting)


def check_race_of_one_client(path: Path, fitting: int) -> None:
    """The same where the limit is each client's own, and all want the same forty."""
    limit = budget_for(fitting)
    with Ledger.create(path) as ledger:
        ledger.open_budget(
            Terms(limit, Unit(limit.relation), View.AGGREGATOR, Randomness.SYSTEM, purpose="race", scope=Scope.EACH)
        )
    members = tuple(bytes([number]) for number in range(40))
    assert race(path, fitting, members) == [0] * fitting + [REFUSED] * (PROCESSES - fitting)
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        assert {len(record.invited) for record in ledger.clients()} == {fitting}
        assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(EVENT, fitting))


@rows("L4")
@pytest.mark.parametrize("fitting", [1, 3])
def test_of_eight_processes_exactly_as_many_as_fit_invite_the_same_clients(
    row: str, tmp_path: Path, fitting: int
) -> None:
    check_race_of_one_client(tmp_path / "run.ledger", fitting)


@pytest.mark.slow
@rows("L4")
def test_of_eight_processes_exactly_one_invites_the_same_clients_a_hundred_times(row: str, tmp_path: Path) -> None:
    for trial in range(100):
        check_race_of_one_client(tmp_path / str(trial) / "run.ledger", 1)


@pytest.mark.slow
@rows("L4")
def test_of_eight_processes_exactly_one_gets_the_last_unit_a_hundred_times(row: str, tmp_path: Path) -> None:
    for trial in range(100):
        check_race(tmp_path / str(trial) / "run.ledger", 1)


def test_eight_processes_that_make_the_ledger_at_once_make_one(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    gate, opener = os.pipe()

    def make(number: int) -> None:
        os.close(opener)
        os.read(gate, 1)
        with Ledger.open(path, WIDE) as ledger:
            ledger.commit(ledger.reserve(charge(number)), outcome())

    children = [start(lambda number=number: make(number)) for number in range(PROCESSES)]  # type: ignore[misc]
    os.close(gate)
    os.close(opener)
    assert [finish(child) for child in children] == [0] * PROCESSES
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        assert ledger.verify().entries == 2 + 2 * PROCESSES
        assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(EVENT, PROCESSES))


def test_the_same_round_in_two_processes_is_granted_to_one(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 0)

    def contend() -> None:
        with Ledger.open(path) as ledger:
            ledger.commit(ledger.reserve(charge(0)), outcome())

    codes = [finish(child) for child in [start(contend), start(contend)]]
    assert sorted(codes) == [0, 1]
    with Ledger.read(path) as ledger:
        assert Fraction(ledger.interval().upper) == epsilon_of(EVENT)


@rows("L12")
def test_a_reader_during_writes_always_sees_a_verifying_prefix(row: str, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 0)
    rounds = 60
    looked, look = os.pipe()

    def write() -> None:
        with Ledger.open(path) as ledger:
            for number in range(rounds):
                if number % 12 == 0:
                    os.read(looked, 1)
                ledger.commit(ledger.reserve(charge(number)), outcome())

    writer = start(write)
    lengths = []
    seen: dict[int, bytes] = {}
    with Ledger.read(path) as follower:
        while not lengths or lengths[-1] < 2 + 2 * rounds:
            with Ledger.read(path) as ledger:
                verdict = ledger.verify()
                entries = list(ledger.entries())
            os.write(look, b".")
            assert verdict.ok
            lengths.append(verdict.entries)
            assert [entry.seq for entry in entries] == list(range(len(entries)))
            for entry in entries:
                assert seen.setdefault(entry.seq, entry.hash) == entry.hash
            assert follower.head().seq >= verdict.entries - 1
    assert finish(writer) == 0
    assert lengths == sorted(lengths)
    # The test of the test: the writer waited for a look every 12 rounds, so there were looks in between.
    assert len(set(lengths)) > 2
    os.close(looked)
    os.close(look)
