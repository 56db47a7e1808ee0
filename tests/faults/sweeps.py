"""Many schedules played and judged; importable by worker processes."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Protocol

from protocols.faults.drawing import drawn, scene_of
from protocols.faults.driver import Played
from protocols.faults.schedule import Fault, Letter, Schedule, Vanish
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode
from tests.faults.world import lively_world, stage, world

WORKERS = 2


@dataclass(frozen=True)
class Tally:
    """How many rounds ended in a sum, how many in a named loss, and which ended otherwise than they must."""

    sums: int = 0
    losses: int = 0
    wrong: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.sums + other.sums, self.losses + other.losses, self.wrong + other.wrong)

    def __str__(self) -> str:
        played = self.sums + self.losses
        return f"{played} schedules: {self.sums} sums, {self.losses} named losses, {len(self.wrong)} wrong"

    @property
    def played(self) -> int:
        return self.sums + self.losses


class Stage(Protocol):
    """Where schedules of one kind of round are played and judged."""

    def play(self, schedule: Schedule) -> Played: ...
    def judge(self, schedule: Schedule, played: Played) -> str | None: ...


def tally(schedules: Iterable[Schedule], world_of: Callable[[int, Promise, GraphMode], Stage] = world) -> Tally:
    """Play and judge them; wrong ones are named by their JSON and the complaint."""
    sums = losses = 0
    wrong = []
    with stage():
        for schedule in schedules:
            kind = world_of(schedule.clients, schedule.promise, schedule.graph)
            played = kind.play(schedule)
            complaint = kind.judge(schedule, played)
            sums += played.lost is None
            losses += played.lost is not None
            if complaint is not None:
                wrong.append(f"{complaint}\n{schedule.to_json()}")
    return Tally(sums, losses, tuple(wrong))


def report(record_property: object, result: Tally) -> None:
    """The counts belong to the claim: `pytest -rP` shows them."""
    assert callable(record_property)
    record_property("schedules", str(result))
    print(result)


# --- every vector of fates


def exchanges(promise: Promise) -> list[Exchange]:
    """Nobody witnesses for a server that is only curious."""
    return [exchange for exchange in Exchange if promise is Promise.ACTIVE or exchange is not Exchange.WITNESS]


def places(promise: Promise) -> list[tuple[Exchange, Lost] | None]:
    """Where a client may vanish, staying included: eleven fates, or nine."""
    return [None, *itertools.product(exchanges(promise), Lost)]


def schedule_of(
    fates: Iterable[tuple[Exchange, Lost] | None], promise: Promise = Promise.ACTIVE, *others: Fault
) -> Schedule:
    """Client i vanishes at the i-th place."""
    chosen = list(fates)
    lost = [Vanish(Letter(client, *fate)) for client, fate in enumerate(chosen) if fate is not None]
    return Schedule(0, len(chosen), promise, GraphMode.COMPLETE, (*lost, *others))


def vectors_of_fates(clients: int, promise: Promise, *others: Fault) -> Iterator[Schedule]:
    for fates in itertools.product(places(promise), repeat=clients):
        yield schedule_of(fates, promise, *others)


def multisets_of_fates(clients: int, promise: Promise, *others: Fault) -> Iterator[Schedule]:
    for fates in itertools.combinations_with_replacement(places(promise), clients):
        yield schedule_of(fates, promise, *others)


# --- schedules at random, in parallel


def drawn_tally(seeds: list[int]) -> Tally:
    """The job of one process: seeds of one kind of round, so that they share their steps."""
    gc.freeze()
    gc.disable()
    return tally(map(drawn, seeds), lively_world)


def random_tally(seeds: Iterable[int]) -> Tally:
    """All these seeds, the dearest kinds of round first, on two processes."""
    by_scene: dict[object, list[int]] = {}
    for seed in seeds:
        by_scene.setdefault(scene_of(seed), []).append(seed)
    jobs = sorted(by_scene.values(), key=lambda job: -len(job) * scene_of(job[0])[0])
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(drawn_tally, jobs), Tally())
