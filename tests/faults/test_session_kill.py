"""kill -9 of a training, anywhere: it goes on with the model, the strategy's state and the number it had.

A charge stands from RESERVE on, so a death between that and the file that keeps the opened mean costs one round's
budget, and no more. Everywhere else nothing is lost and nothing is charged twice:

    every number is reserved once                 no release has two charges
    reserved = rounds that moved the model + wasted, and `wasted` is 1 for a death in that window and 0 for all others
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dp import Budget, Ledger
from protocols.learning import (
    Aggregated,
    BudgetSpent,
    FedAvgM,
    Federation,
    Local,
    Parameters,
    PoissonCohort,
    RunFolder,
    SecureRounds,
    Session,
    UniformCohort,
    plain_mean,
    softmax_regression,
)
from protocols.learning.folders import RunFolder as Folder
from protocols.learning.stopping import Rounds
from protocols.plan import RoundPlan
from protocols.simulate import Simulation
from tests.faults import points
from tests.faults.test_demo_kill import ended, forked
from tests.protocols.learning.test_loop import toy

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PLAN = RoundPlan.recommend(5, dropout=0.2, corrupt=0, noise_multiplier=4.0, min_cohort=4, clip=1.0, task="killed")
BUDGET = Budget(40, Fraction(1, 10**5), "zero-out")
RULE = FedAvgM(Local(1.0), rate=0.5, momentum=0.5)
ROUNDS = 3
CLIENTS = range(5)


def session(folder: Path) -> Session:
    return Session([np.zeros(4), np.ones(2)], PLAN, CLIENTS, folder, budget=BUDGET, strategy=RULE)


def updates() -> dict[int, list[np.ndarray]]:
    return {who: [np.full(4, 0.1 * who), np.full(2, -0.1)] for who in CLIENTS}


def play(folder: Path, beside: Path, rounds: int) -> None:
    """Rounds up to this many; the model after each lies beside, written once the round is over."""
    with session(folder) as here:
        while here.rounds < rounds:
            here.round(updates())
            np.save(beside / f"{here.rounds}.npy", np.concatenate(here.model))


# --- the oracle


def reserved(folder: Path) -> Counter[int]:
    """How often each number was charged."""
    path = folder / "run.ledger"
    if not path.exists():
        return Counter()
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        bodies = [json.loads(entry.body) for entry in ledger.entries() if entry.kind == "RESERVE"]
        assert not any(entry.kind == "ABORT" for entry in ledger.entries())
    return Counter(body["charge"]["round"] for body in bodies)


def state_of(here: Session) -> list[np.ndarray]:
    return [here._here.parameters[0], here._here.state[0][0]]


@dataclass(frozen=True)
class Left:
    """What the session found when it came back: rounds that moved the model, and charges that moved nothing."""

    rounds: int
    wasted: int


def resumed(folder: Path, beside: Path) -> Left:
    """Comes back, judges what is there, comes back again and plays to the end."""
    with session(folder) as here:
        left = Left(here.rounds, sum(reserved(folder).values()) - here.rounds)
        flat, velocity = state_of(here)
        seen = beside / f"{here.rounds}.npy"
        if seen.exists():
            assert np.array_equal(np.concatenate(here.model), np.load(seen))
        opened = here._folder.load("opened")
        if here.rounds:
            # The momentum is that of the mean on file: v = v / 2 + mean, x = x + v / 2.
            assert opened is not None
            before = np.load(beside / f"{here.rounds - 1}.npy") if here.rounds > 1 else np.r_[np.zeros(4), np.ones(2)]
            assert np.allclose(flat, before + velocity / 2, rtol=0, atol=1e-12)
            if here.rounds == 1:
                assert np.array_equal(velocity, opened[1]["mean"])
    with session(folder) as again:
        assert again.rounds == left.rounds
        assert all(np.array_equal(*pair) for pair in zip(state_of(again), [flat, velocity], strict=True))
        number = again._here.number
    play(folder, beside, ROUNDS)
    found = reserved(folder)
    assert max(found.values()) == 1
    assert len(found) == ROUNDS + left.wasted
    assert sorted(found) == list(range(ROUNDS + left.wasted))
    assert number == left.rounds + left.wasted
    return left


# --- chosen points


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


at = partial(points.at, die=die)


# Of each round the folder keeps the opened mean first, and then the checkpoint.
POINTS: dict[str, tuple[points.Plant, Left]] = {
    "before the first reserve": (at(Ledger, "reserve", 1, before=True), Left(0, 0)),
    "after reserve": (at(Ledger, "reserve", 1, before=False), Left(0, 1)),
    "after mark": (at(Ledger, "mark", 1, before=False), Left(0, 1)),
    "after the opening": (at(Simulation, "run", 1, before=False), Left(0, 1)),
    "before the mean is kept": (at(Folder, "save", 1, before=True), Left(0, 1)),
    "after the mean is kept": (at(Folder, "save", 1, before=False), Left(1, 0)),
    "before commit": (at(Ledger, "commit", 1, before=True), Left(1, 0)),
    "after commit": (at(Ledger, "commit", 1, before=False), Left(1, 0)),
    "before the checkpoint": (at(Folder, "save", 2, before=True), Left(1, 0)),
    "after the checkpoint": (at(Folder, "save", 2, before=False), Left(1, 0)),
    "after the second reserve": (at(Ledger, "reserve", 2, before=False), Left(1, 1)),
    "before the second mean is kept": (at(Folder, "save", 3, before=True), Left(1, 1)),
    "before the second commit": (at(Ledger, "commit", 2, before=True), Left(2, 0)),
    "after the second checkpoint": (at(Folder, "save", 4, before=False), Left(2, 0)),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_session_killed_here_goes_on_and_charges_no_number_twice(point: str, tmp_path: Path) -> None:
    plant, expected = POINTS[point]

    def child() -> None:
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            play(tmp_path / "run", tmp_path, ROUNDS)

    assert ended(forked(child)) == -signal.SIGKILL
    assert resumed(tmp_path / "run", tmp_path) == expected


def test_the_oracle_refuses_a_session_that_forgets_the_opened_mean(tmp_path: Path) -> None:
    """The test of the test: without the file, the round that was charged moves nothing."""

    def child() -> None:
        with pytest.MonkeyPatch.context() as patch:
            at(Ledger, "commit", 1, before=False)(patch)
            play(tmp_path / "run", tmp_path, ROUNDS)

    assert ended(forked(child)) == -signal.SIGKILL
    (tmp_path / "run" / "opened.npz").unlink()
    assert resumed(tmp_path / "run", tmp_path) == Left(0, 1)


# --- moments in between


@pytest.mark.parametrize("delay_ms", [30, 90, 150, 220, 310, 430])
def test_a_session_killed_at_any_moment_goes_on(delay_ms: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    child = forked(lambda: play(run, tmp_path, ROUNDS))
    while not run.exists():
        assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        time.sleep(0.001)
    time.sleep(delay_ms / 1000)
    os.kill(child, signal.SIGKILL)
    assert ended(child) in (-signal.SIGKILL, 0)
    left = resumed(run, tmp_path)
    assert left.wasted in (0, 1)


# --- a federation of its own


def federation() -> Federation:
    return Federation(
        softmax_regression(2, 3),
        FedAvgM(Local(0.3, 2, batch_size=3)),
        toy(),
        (Rounds(3),),
        seed=1,
        selection=UniformCohort(4),
    )


# Of each round the folder keeps the cohort, and then the model.
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", range(1, 7))
def test_a_federation_killed_at_any_write_ends_as_if_it_had_not_been(call: int, before: bool, tmp_path: Path) -> None:
    def child() -> None:
        with pytest.MonkeyPatch.context() as patch, RunFolder(tmp_path / "run") as folder:
            at(Folder, "save", call, before=before)(patch)
            list(federation().run(plain_mean, folder))

    assert ended(forked(child)) == -signal.SIGKILL
    undisturbed = federation().run(plain_mean)
    expected = list(undisturbed)
    with RunFolder(tmp_path / "run") as folder:
        run = federation().run(plain_mean, folder)
        assert run.progress.rounds == (call - before) // 2
        rest = list(run)
    assert [record.invited for record in rest] == [record.invited for record in expected[len(expected) - len(rest) :]]
    assert all(np.array_equal(*pair) for pair in zip(run.parameters, undisturbed.parameters, strict=True))
    assert run.progress == undisturbed.progress


def private() -> Federation:
    """Cohorts from the operating system: only what is on file can bring the same one back."""
    return Federation(
        softmax_regression(2, 3), FedAvgM(Local(0.3)), toy(8), (Rounds(2),), selection=PoissonCohort("0.9")
    )


@pytest.mark.parametrize(("name", "call"), [("commit", 1), ("commit", 2)])
def test_a_private_federation_takes_up_the_mean_of_the_very_cohort_it_had_asked(
    name: str, call: int, tmp_path: Path
) -> None:
    plan = RoundPlan.recommend(8, dropout=0.3, corrupt=0, noise_multiplier=4.0, min_cohort=4, clip=1.0, task="fed")
    asked = tmp_path / "asked.json"

    def play(end: Callable[[SecureRounds, RunFolder], object]) -> None:
        with RunFolder(tmp_path / "run") as folder, Ledger.open(tmp_path / "run.ledger", BUDGET) as ledger:
            end(SecureRounds(plan, range(8), ledger=ledger, folder=folder), folder)

    def write_down(secure: SecureRounds) -> Callable[[Mapping[int, Parameters], int], Aggregated]:
        def aggregate(updates: Mapping[int, Parameters], number: int) -> Aggregated:
            if number == call - 1:
                asked.write_text(json.dumps(sorted(updates)))
            return secure(updates, number)

        return aggregate

    def child() -> None:
        with pytest.MonkeyPatch.context() as patch:
            at(Ledger, name, call, before=True)(patch)
            play(lambda secure, folder: list(private().run(write_down(secure), folder)))

    assert ended(forked(child)) == -signal.SIGKILL

    def check(secure: SecureRounds, folder: RunFolder) -> None:
        first = next(private().run(secure, folder))
        assert first.round == call - 1
        assert list(first.invited) == json.loads(asked.read_text())
        assert first.failed is None
        # No round was run for it: the mean was there.
        assert secure.report is None

    play(check)


def test_a_federation_stops_by_name_when_the_next_round_cannot_be_paid_for(tmp_path: Path) -> None:
    plan = RoundPlan.recommend(6, dropout=0.2, corrupt=0, noise_multiplier=4.0, min_cohort=4, clip=1.0, task="spent")
    with Ledger.open(tmp_path / "run.ledger", Budget(4, Fraction(1, 10**5), "zero-out")) as ledger:
        secure = SecureRounds(plan, range(6), ledger=ledger)
        rule = BudgetSpent(ledger, secure.event(9))
        run = Federation(
            softmax_regression(2, 3), FedAvgM(Local(0.3)), toy(), (Rounds(50), rule), selection=PoissonCohort(1)
        ).run(secure)
        records = list(run)
        assert 0 < len(records) < 50
        assert all(record.failed is None for record in records)
        assert records[-1].stop is rule is run.stop
        assert str(run.stop) == "the privacy budget is spent"
        assert sum(entry.kind == "COMMIT" for entry in ledger.entries()) == len(records)
