"""Mutated messages behind a good signature: every state of every role takes them, refuses by name, and stays whole."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import pytest

from protocols import errors
from protocols.codec import KINDS
from protocols.endpoint import PAIRWISE_CLIENT_STATES, PAIRWISE_SERVER_STATES
from protocols.messages import Inbox, Masked
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.party import SERVER, Role
from tests.attacks.villain import rows
from tests.fuzz import loops, targets
from tests.fuzz.corpus import recordings

HEARD = 100_000
RECEIVED = 10_000
RESTORED = 5_000
Tell = Callable[[str], None]

PAIRWISE_STATES = (*PAIRWISE_CLIENT_STATES, *PAIRWISE_SERVER_STATES)
STATES = {"pairwise client": PAIRWISE_CLIENT_STATES, "pairwise server": PAIRWISE_SERVER_STATES}
NAMED = {name for name, value in vars(errors).items() if isinstance(value, type)}
# A party that has answered, or signed once, refuses a second question whatever it says.
ALWAYS_REFUSED = {("Done", "Survivors"), ("Done", "Witnesses"), ("Witnessed", "Survivors")}


def arrows(role: Role) -> set[tuple[str, str]]:
    """The pairs of state and letter a role has an arrow for."""
    return {(state.__name__, letter.__name__) for state, letter in role.arrows if letter in KINDS.values()}


def test_every_state_of_both_endpoints_is_on_the_stage() -> None:
    for states, is_server in ((PAIRWISE_CLIENT_STATES, False), (PAIRWISE_SERVER_STATES, True)):
        posed = {
            pose.kind for recording in recordings() for pose in recording.poses if (pose.who == SERVER) == is_server
        }
        assert posed == set(states)


@rows("C2", "D17", "D18")
def test_mutated_messages_leave_every_state_of_every_role_by_its_rules(row: str, pool: Executor, tell: Tell) -> None:
    tally = loops.shoot(pool, loops.state_loop, HEARD)
    taken = {(state, letter) for _, state, letter, outcome in tally if outcome == targets.ACCEPTED}
    known = arrows(pairwise_client.client) | arrows(pairwise_server.server)
    entered = sum(count for (_, state, letter, _), count in tally.items() if (state, letter) in known)
    tell(f"{tally.total():,} mutated messages to {len(known)} arrows and all other pairs, {entered:,} into an arrow")
    assert tally.total() >= HEARD
    assert {outcome for *_, outcome in tally} <= NAMED | {targets.ACCEPTED}
    for role, states in STATES.items():
        said = {(state, letter) for name, state, letter, _ in tally if name == role}
        assert said == {(state.__name__, letter.__name__) for state in states for letter in KINDS.values()}
    # Mutants got to the end of every arrow that has one.
    assert taken == known - ALWAYS_REFUSED


@rows("C2", "D17", "M25")
def test_mutated_frames_leave_every_endpoint_by_the_word_of_receive(row: str, pool: Executor, tell: Tell) -> None:
    tally = loops.shoot(pool, loops.door_loop, RECEIVED)
    tell(f"{tally.total():,} mutated frames to receive: {len({state for state, _ in tally})} states")
    assert tally.total() > RECEIVED * 9 // 10
    assert {outcome for _, outcome in tally} <= NAMED | {targets.ACCEPTED}
    assert {state for state, _ in tally} == {
        state.__name__ for state in (*PAIRWISE_CLIENT_STATES, *PAIRWISE_SERVER_STATES)
    }


@rows("D15")
def test_a_mutated_image_is_misused_or_another_image(row: str, pool: Executor, tell: Tell) -> None:
    tally = loops.shoot(pool, loops.image_loop, RESTORED)
    tell(f"{tally.total():,} mutated images to thaw")
    assert {outcome for _, outcome in tally} <= {"Misused", "BadPlan", targets.ACCEPTED}
    assert {state for state, _ in tally} == {
        state.__name__ for state in (*PAIRWISE_CLIENT_STATES, *PAIRWISE_SERVER_STATES)
    }


# --- the rules that `Scene` asserts can be broken -----------------------------------------------------


def test_an_arrow_that_trips_over_a_message_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a client that does not count its inbox before it opens it."""

    def careless(state: Any, sender: Any, message: Inbox) -> Any:
        return state, [message.sealed[len(state.session.neighbours(state.own.me)) - 1]][:0]

    monkeypatch.setitem(pairwise_client.client.arrows, (pairwise_client.Shared, Inbox), careless)
    with pytest.raises(AssertionError, match="IndexError"):
        loops.state_loop(0, 20_000)


def test_a_refusal_that_changes_the_room_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a server that adds first and checks then."""
    arrow = pairwise_server.server.arrows[pairwise_server.Summing, Masked]

    def hasty(room: Any, who: Any, letter: Any) -> Any:
        room.total[:1] += 1
        return arrow(room, who, letter)

    monkeypatch.setitem(pairwise_server.server.arrows, (pairwise_server.Summing, Masked), hasty)
    with pytest.raises(AssertionError, match="an ignored message has changed the room"):
        loops.state_loop(0, 20_000)
