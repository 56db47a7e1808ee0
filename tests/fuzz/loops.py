"""The loops of the fuzzers: so many shots, dealt to two processes, and a tally of what became of them.

Every loop is a function of one integer. A foreign exception ends it, with the bytes that caused it in the message.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

from protocols import codec
from protocols.errors import Misbehaved
from protocols.party import SERVER
from tests.fuzz import targets
from tests.fuzz.corpus import frame_seeds, frames, image_seeds, recordings
from tests.fuzz.mutate import Mutator

SHARDS = 20
Loop = Callable[[int, int], Counter[Any]]


def shoot(pool: Executor, loop: Loop, count: int) -> Counter[Any]:
    """`count` shots of this loop by the processes of the pool."""
    tallies = pool.map(loop, range(SHARDS), itertools.repeat(count // SHARDS))
    return sum(tallies, Counter())


def shot(target: Callable[[bytes], Any], data: bytes) -> Any:
    """One shot; whoever repairs what it hits needs these very bytes, in any process."""
    try:
        return target(data)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}, on {data.hex()}") from error


def mutants(mutator: Mutator) -> Iterator[bytes]:
    """Mutated frames; of four, three get a header that leads to the decoder of their body."""
    for number in itertools.count():
        yield targets.repaired(mutator.mutant()) if number % 4 else mutator.mutant()


def evenly(found: Sequence[bytes]) -> list[bytes]:
    """Ten frames of every kind: a server says many things once that its clients answer many times."""
    by_kind = itertools.groupby(sorted(found, key=targets.kind_byte), key=targets.kind_byte)
    return [frame for _, group in by_kind for frame in itertools.islice(itertools.cycle(list(group)), 10)]


def frame_loop(number: int, count: int) -> Counter[str]:
    """Bytes -> frame -> message."""
    found = mutants(Mutator(number, frame_seeds(frames())))
    with targets.trusting():
        return Counter(shot(targets.open_any, data) for data in itertools.islice(found, count))


def state_loop(number: int, count: int) -> Counter[tuple[str, str, str, str]]:
    """Mutated messages, each said to every state of every role: (role, state, message, outcome)."""
    tally: Counter[tuple[str, str, str, str]] = Counter()
    recording = recordings()[number % len(recordings())]
    scenes = [targets.Scene(recording, pose) for pose in recording.poses]
    mutator = Mutator(number, frame_seeds(evenly(recording.frames)))
    with targets.trusting():
        for data in mutants(mutator):
            tally.update(shot(functools.partial(say, scenes=scenes, draw=mutator.below), data))
            if tally.total() >= count:
                return tally
    raise AssertionError("mutants never end")


def say(data: bytes, scenes: Sequence[targets.Scene], draw: Callable[[int], int]) -> list[tuple[str, str, str, str]]:
    """What the states make of the message in this frame, from a sender that is drawn; nothing, when there is none.

    All that have an arrow for it hear it, the others one time in two.
    """
    try:
        header = codec.read_header(data, SERVER, targets.LIMIT)
        message = codec.open_frame(data, header, b"")
    except Misbehaved:
        return []
    said = []
    for scene in scenes:
        if not scene.knows(message) and draw(2):
            continue
        sender = scene.senders[draw(len(scene.senders))]
        outcome = scene.hear(sender, message)
        said.append((scene.role.name, scene.pose.kind.__name__, type(message).__name__, outcome))
    return said


def door_loop(number: int, count: int) -> Counter[tuple[str, str]]:
    """Mutated frames to the `receive` of every endpoint at every stage: (state, outcome)."""
    recording = recordings()[number % len(recordings())]
    doors = [targets.Door(recording, pose) for pose in recording.poses]
    tally: Counter[tuple[str, str]] = Counter()
    found = mutants(Mutator(number, frame_seeds(evenly(recording.frames))))
    with targets.trusting():
        for data in itertools.islice(found, count // len(doors)):
            tally.update((door.pose.kind.__name__, shot(door.receive, data)) for door in doors)
    return tally


def image_loop(number: int, count: int) -> Counter[tuple[str, str]]:
    """Mutated images to the `thaw` of the endpoint they belong to: (state, outcome)."""
    recording = recordings()[number % len(recordings())]
    doors = [targets.Door(recording, pose) for pose in recording.poses]
    mutator = Mutator(number, image_seeds(recording.poses))
    tally: Counter[tuple[str, str]] = Counter()
    for _ in range(count // len(doors)):
        for door, seed in zip(doors, mutator.seeds, strict=True):
            tally[door.pose.kind.__name__, shot(door.thaw, mutator.mutant(seed))] += 1
    return tally
