"""The guided loop gets where chance does not: behind three conditions in a row, and into refusals nobody recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from protocols import codec, coding, messages, party, wire
from protocols.errors import Malformed
from protocols.messages import Witness
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import recovery, session
from protocols.pairwise import server as pairwise_server
from protocols.party import SERVER
from protocols.plan import agreement, policy, proposal
from tests.fuzz import loops, targets
from tests.fuzz.corpus import frame_seeds, recordings
from tests.fuzz.lines import Target, Watch, guided, unguided
from tests.fuzz.mutate import Seed

BUDGET = 20_000
RUNS = 1500
NUMBER = 5
PLANS = (agreement, policy, proposal)
WATCHED = (codec, coding, messages, party, *PLANS, wire, pairwise_client, recovery, session, pairwise_server)
Tell = Callable[[str], None]


class PlantedError(Exception):
    """The fault that is to be found."""


def decode_planted(body: bytes) -> None:
    """A decoder with a fault that shows when three bytes far apart have their lowest bits just so."""
    codec.decode_body(Witness, body, SERVER)
    if body[7] & 3 != 1:
        return
    if body[31] & 3 != 2:
        return
    if body[58] & 3 == 3:
        raise PlantedError


def tried(body: bytes) -> None:
    try:
        decode_planted(body)
    except Malformed:
        return


PLAIN = [Seed(bytes(64), ())]


def test_the_guided_loop_finds_a_planted_fault(tell: Tell) -> None:
    watch = Watch(frozenset({__file__}))
    with pytest.raises(PlantedError):
        guided(tried, watch, PLAIN, NUMBER, BUDGET)
    tell(f"found after {watch.runs:,} of {BUDGET:,} runs")


def test_the_same_number_of_unguided_mutants_does_not_find_it() -> None:
    """The twin: what was found is due to the looking."""
    watch = Watch(frozenset({__file__}))
    unguided(tried, watch, PLAIN, NUMBER, BUDGET)
    assert watch.runs == BUDGET


# --- the real decoders and arrows ---------------------------------------------------------------------


def said_to_all() -> Target:
    """A frame's message, said to every state of one round; of the clients, the last one speaks."""
    scenes = [targets.Scene(recordings()[0], pose) for pose in recordings()[0].poses]
    return partial(loops.say, scenes=scenes, draw=lambda many: many - 1)


def test_the_guided_loop_reaches_lines_that_no_recorded_frame_reaches(tell: Tell) -> None:
    seeds, target = frame_seeds(recordings()[0].frames), said_to_all()
    watch = Watch(frozenset(module.__file__ for module in WATCHED))
    with targets.trusting():
        for seed in seeds:
            watch.run(target, seed.data)
        recorded = len(watch.seen)
        guided(target, watch, seeds, NUMBER, RUNS)
    tell(f"{recorded} lines by the recorded frames, {len(watch.seen)} after {RUNS} guided runs")
    assert len(watch.seen) > recorded
