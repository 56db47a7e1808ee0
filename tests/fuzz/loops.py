"""The loops of the fuzzers: so many shots, dealt to two processes, and a tally of what became of them.

Every loop is a function of one integer. A foreign exception ends it, with the bytes that caused it in the message.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from protocols import codec
from protocols.committee import FIRST_HOLDER
from protocols.endpoint.images import (
    TO_CLIENTS,
    TO_CONVENERS,
    TO_HOLDERS,
    TO_KEY_MAKERS,
    TO_MEMBERS,
    TO_SERVERS,
)
from protocols.errors import Misbehaved
from protocols.party import MAX_CLIENT_ID, SERVER, PartyId
from tests.fuzz import targets
from tests.fuzz.corpus import MAKER, Pose, Recording, frame_seeds, frames, image_seeds, recordings
from tests.fuzz.encrypted import encrypted_frames, encrypted_recordings
from tests.fuzz.mutate import Focused, Mutator
from tests.fuzz.oneshot import oneshot_frames, oneshot_recordings
from tests.fuzz.opened import OpenedRecording

SHARDS = 20
Loop = Callable[[int, int], Counter[Any]]
Said = Callable[[], tuple[bytes, ...]]
Recorded = Callable[[], tuple[OpenedRecording, ...]]


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


def opened_frame_loop(number: int, count: int, said: Said) -> Counter[str]:
    """The same, from what is said in rounds that others than the clients open."""
    found = mutants(Focused(number, frame_seeds(evenly(said()))))
    with targets.trusting():
        return Counter(shot(targets.open_any, data) for data in itertools.islice(found, count))


encrypted_frame_loop = functools.partial(opened_frame_loop, said=encrypted_frames)
oneshot_frame_loop = functools.partial(opened_frame_loop, said=oneshot_frames)


def foreign(recording: Recording) -> list[bytes]:
    """The shortest frame of each kind that nobody says in this recording."""
    said = set(map(targets.kind_byte, recording.frames))
    others = sorted(
        (*frames(), *encrypted_frames(), *oneshot_frames()), key=lambda frame: (targets.kind_byte(frame), len(frame))
    )
    by_kind = itertools.groupby(others, key=targets.kind_byte)
    return [next(group) for kind, group in by_kind if kind not in said]


Heard = tuple[str, str, str, str]


def state_loop(number: int, count: int) -> Counter[Heard]:
    """Mutated messages, each said to every state of every role: (role, state, message, outcome)."""
    recording = recordings()[number % len(recordings())]
    seeds = frame_seeds([*evenly(recording.frames), *foreign(recording)])
    return heard(recording, Mutator(number, seeds), count)


def opened_state_loop(number: int, count: int, recorded: Recorded) -> Counter[Heard]:
    """The same where others than the clients open, after a ceremony."""
    recording = recorded()[number % len(recorded())]
    seeds = frame_seeds([*evenly(recording.frames), *4 * foreign(recording)])
    with recording.company.conditions(), targets.without_tenseal():
        return heard(recording, Focused(number, seeds), count)


encrypted_state_loop = functools.partial(opened_state_loop, recorded=encrypted_recordings)
oneshot_state_loop = functools.partial(opened_state_loop, recorded=oneshot_recordings)


def heard(recording: Recording, mutator: Mutator, count: int) -> Counter[Heard]:
    tally: Counter[Heard] = Counter()
    scenes = [targets.Scene(recording, pose) for pose in recording.poses]
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


def gate_loop(number: int, count: int, gate: Gate) -> Counter[tuple[str, str]]:
    """Mutated frames to the endpoints at one gate of a round that others open, at every stage: (state, outcome).

    Two in three are of kinds that are said there.
    """
    recording = gate.recorded()[number % gate.recordings]
    mutator = Focused(number, frame_seeds(weighed(recording, gate)))
    tally: Counter[tuple[str, str]] = Counter()
    with recording.company.conditions(), targets.trusting(), targets.without_tenseal():
        doors = [targets.Door(recording, pose) for pose in recording.poses if gate.leads_to(pose)]
        for data in itertools.islice(mutants(mutator), -(-count // len(doors))):
            for door in doors:
                tally[door.pose.kind.__name__, shot(door.receive, data)] += 1
    return tally


def weighed(recording: Recording, gate: Gate) -> list[bytes]:
    """Frames of every kind, and those that are said at this gate as often as makes two thirds of all."""
    every = [*evenly(recording.frames), *foreign(recording)]
    said = [frame for frame in every if codec.kind_of(frame) in gate.kinds]
    return [*every, *itertools.islice(itertools.cycle(said), 2 * len(every))]


@dataclass(frozen=True, slots=True)
class Gate:
    """Endpoints of one sort: what is said to them, and in how many of the recordings they have anything to do."""

    first: PartyId
    last: PartyId
    kinds: frozenset[type[Any]]
    recordings: int
    recorded: Recorded = encrypted_recordings

    def leads_to(self, pose: Pose) -> bool:
        return self.first <= pose.who <= self.last


LAST_OPENER, LAST_CLIENT = PartyId(MAX_CLIENT_ID), PartyId(FIRST_HOLDER - 1)
SERVERS = Gate(SERVER, SERVER, TO_SERVERS, 2)
MAKERS = Gate(MAKER, MAKER, TO_KEY_MAKERS, 3)
HOLDERS = Gate(FIRST_HOLDER, LAST_OPENER, TO_HOLDERS, 3)
CLIENTS = Gate(PartyId(0), LAST_CLIENT, TO_CLIENTS, 2)
ONESHOT_SERVERS = Gate(SERVER, SERVER, TO_SERVERS, 2, oneshot_recordings)
CONVENERS = Gate(MAKER, MAKER, TO_CONVENERS, 2, oneshot_recordings)
MEMBERS = Gate(FIRST_HOLDER, LAST_OPENER, TO_MEMBERS, 2, oneshot_recordings)
ONESHOT_CLIENTS = Gate(PartyId(0), LAST_CLIENT, TO_CLIENTS, 2, oneshot_recordings)
server_loop = functools.partial(gate_loop, gate=SERVERS)
maker_loop = functools.partial(gate_loop, gate=MAKERS)
holder_loop = functools.partial(gate_loop, gate=HOLDERS)
client_loop = functools.partial(gate_loop, gate=CLIENTS)
oneshot_server_loop = functools.partial(gate_loop, gate=ONESHOT_SERVERS)
convener_loop = functools.partial(gate_loop, gate=CONVENERS)
member_loop = functools.partial(gate_loop, gate=MEMBERS)
oneshot_client_loop = functools.partial(gate_loop, gate=ONESHOT_CLIENTS)


def image_loop(number: int, count: int) -> Counter[tuple[str, str]]:
    """Mutated images to the `thaw` of the endpoint they belong to: (state, outcome)."""
    recording = recordings()[number % len(recordings())]
    return restored(recording, Mutator(number, image_seeds(recording.poses)), count)


def opened_image_loop(number: int, count: int, recorded: Recorded) -> Counter[tuple[str, str]]:
    """The same where others than the clients open."""
    recording = recorded()[number % len(recorded())]
    with recording.company.conditions():
        return restored(recording, Focused(number, image_seeds(recording.poses)), count)


encrypted_image_loop = functools.partial(opened_image_loop, recorded=encrypted_recordings)
oneshot_image_loop = functools.partial(opened_image_loop, recorded=oneshot_recordings)


def restored(recording: Recording, mutator: Mutator, count: int) -> Counter[tuple[str, str]]:
    tally: Counter[tuple[str, str]] = Counter()
    doors = [targets.Door(recording, pose) for pose in recording.poses if pose.who != MAKER]
    for _ in range(count // len(doors)):
        for door, seed in zip(doors, mutator.seeds, strict=True):
            tally[door.pose.kind.__name__, shot(door.thaw, mutator.mutant(seed))] += 1
    return tally
