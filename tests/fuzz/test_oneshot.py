"""Mutants at every end of a one-shot round: refused by name, and no wrong sum.

The quick run is a share of the long one (`make test-slow`): a million frames at the server, 100,000 at members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from protocols import codec, errors
from protocols.codec import HEADER, KINDS, kind_of
from protocols.endpoint import MEMBER_STATES, ONESHOT_CLIENT_STATES, ONESHOT_SERVER_STATES
from protocols.oneshot import client as oneshot_client
from protocols.oneshot import convener as oneshot_convener
from protocols.oneshot import member as oneshot_member
from protocols.oneshot import server as oneshot_server
from protocols.oneshot.messages import Concealed, OpenOneShot, Summed
from protocols.party import SERVER, Failed, Role
from protocols.plan import MAX_LENGTH
from secagg import rlwe
from tests.fuzz import loops, sums, targets
from tests.fuzz.bombs import MIB, peak_of
from tests.fuzz.oneshot import oneshot_recordings
from tests.rows import rows

Tell = Callable[[str], None]
Counts = Counter[tuple[str, str]]

CONVENER_STATES = (oneshot_convener.Idle, oneshot_convener.Convening, oneshot_convener.Certified, Failed)
STATES: dict[str, tuple[type[Any], ...]] = {
    oneshot_client.client.name: ONESHOT_CLIENT_STATES,
    oneshot_server.server.name: ONESHOT_SERVER_STATES,
    oneshot_member.member.name: MEMBER_STATES,
    oneshot_convener.convener.name: CONVENER_STATES,
}
ROLES = (oneshot_client.client, oneshot_server.server, oneshot_member.member, oneshot_convener.convener)
NAMED = {name for name, value in vars(errors).items() if isinstance(value, type)} | {targets.ACCEPTED}
FRAMES, HEARD, RESTORED = 20_000, 30_000, 1_500


def counts(quick: int, full: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [quick, pytest.param(full, marks=pytest.mark.slow)])


def arrows(role: Role) -> set[tuple[str, str, str]]:
    """The triples of role, state and letter that a role has an arrow for."""
    return {(role.name, state.__name__, letter.__name__) for state, letter in role.arrows if letter in KINDS.values()}


# --- the seeds ----------------------------------------------------------------------------------------


def test_every_state_of_every_end_is_on_the_stage() -> None:
    for recording in oneshot_recordings():
        for gate, states in (
            (loops.ONESHOT_SERVERS, (*ONESHOT_SERVER_STATES, Failed)),
            (loops.ONESHOT_CLIENTS, (*ONESHOT_CLIENT_STATES, Failed)),
            (loops.MEMBERS, MEMBER_STATES),
            (loops.CONVENERS, CONVENER_STATES),
        ):
            assert {pose.kind for pose in recording.poses if gate.leads_to(pose)} == set(states)


def test_recordings_are_the_same_bytes_each_time() -> None:
    again = oneshot_recordings.__wrapped__()
    assert [recording.frames for recording in again] == [recording.frames for recording in oneshot_recordings()]
    assert [recording.poses for recording in again] == [recording.poses for recording in oneshot_recordings()]


def test_the_seeds_hold_a_complaint_of_a_member_and_its_sum() -> None:
    silent, unreadable = oneshot_recordings()
    assert len(silent.aggregate.survivors) == len(silent.company.ids) - 1  # type: ignore[union-attr]
    for recording, complaints in ((silent, 0), (unreadable, 1)):
        answers = [codec.decode_body(kind, body, SERVER) for kind, body in recording.bodies if kind is Summed]
        assert [answer.shares is None for answer in answers].count(True) == complaints


# --- frames and states --------------------------------------------------------------------------------


@rows("C3", "D17", "D18")
def test_mutated_frames_of_one_shot_rounds_are_refused_by_name_or_have_one_spelling(
    row: str, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.oneshot_frame_loop, FRAMES)
    tell(f"{tally.total():,} mutated frames of one-shot rounds: {dict(tally.most_common())}")
    assert set(tally) == {targets.ACCEPTED, "Malformed", "TooLarge"}
    assert min(tally.values()) > FRAMES // 200


@rows("C2", "D17", "D18")
def test_mutated_messages_leave_every_state_of_a_one_shot_round_by_its_rules(
    row: str, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.oneshot_state_loop, HEARD)
    taken = {tuple(said) for *said, outcome in tally if outcome == targets.ACCEPTED}
    known = set().union(*map(arrows, ROLES))
    entered = sum(count for (*said, _), count in tally.items() if tuple(said) in known)
    tell(f"{tally.total():,} mutated messages to {len(known)} arrows and all other pairs, {entered:,} into an arrow")
    assert {outcome for *_, outcome in tally} <= NAMED
    for role, states in STATES.items():
        said = {(state, letter) for name, state, letter, _ in tally if name == role}
        assert said >= {(state.__name__, letter.__name__) for state in states for letter in KINDS.values()}
    assert taken == known


@rows("D15")
def test_a_mutated_image_of_a_one_shot_round_is_misused_or_another_image(row: str, pool: Executor, tell: Tell) -> None:
    tally = loops.shoot(pool, loops.oneshot_image_loop, RESTORED)
    tell(f"{tally.total():,} mutated images to thaw")
    assert {outcome for _, outcome in tally} <= {"Misused", "BadPlan", targets.ACCEPTED}
    stored = {*ONESHOT_CLIENT_STATES, *ONESHOT_SERVER_STATES, *MEMBER_STATES}
    assert {state for state, _ in tally} == {state.__name__ for state in stored}


# --- endpoints ----------------------------------------------------------------------------------------


def told(tally: Counts, where: str, tell: Tell) -> None:
    outcomes: Counter[str] = Counter()
    for (_, outcome), count in tally.items():
        outcomes[outcome] += count
    tell(f"{tally.total():,} mutated frames at {where}, 0 foreign exceptions: {dict(outcomes.most_common())}")
    assert set(outcomes) <= NAMED


def accepted(tally: Counts) -> int:
    return sum(count for (_, outcome), count in tally.items() if outcome == targets.ACCEPTED)


@rows("C2", "D17", "M25")
@counts(10_000, 1_000_000)
def test_mutated_frames_at_the_server_end_no_call_and_open_no_wrong_sum(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    """`Door` holds each sum that a bent answer opens against the one recorded."""
    tally = loops.shoot(pool, loops.oneshot_server_loop, count)
    told(tally, "the server of a one-shot round", tell)
    assert tally.total() >= count
    assert {state for state, _ in tally} == {state.__name__ for state in (*ONESHOT_SERVER_STATES, Failed)}
    assert min(tally["Summing", targets.ACCEPTED], tally["Opening", targets.ACCEPTED]) > count // 1000


@rows("C2", "D17", "M25")
@counts(5_000, 100_000)
def test_mutated_frames_at_a_member_change_nothing_but_by_an_answer(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.member_loop, count)
    told(tally, "a member", tell)
    assert {state for state, _ in tally} == {state.__name__ for state in MEMBER_STATES}
    assert tally["Serving", targets.ACCEPTED] > count // 200
    assert {outcome for _, outcome in tally} >= {"AlreadyAnswered", "PolicyViolation", "Replay"}


@rows("C2", "D17", "M25")
@counts(2_000, 100_000)
def test_mutated_frames_at_who_convenes_end_no_call(row: str, count: int, pool: Executor, tell: Tell) -> None:
    tally = loops.shoot(pool, loops.convener_loop, count)
    told(tally, "who convenes a committee", tell)
    assert {state for state, _ in tally} == {state.__name__ for state in CONVENER_STATES}
    assert accepted(tally) > count // 200


@rows("C2", "D17", "M25")
@counts(2_000, 100_000)
def test_mutated_frames_at_a_client_change_nothing_or_end_its_round_by_name(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.oneshot_client_loop, count)
    told(tally, "a client of a one-shot round", tell)
    assert {state for state, _ in tally} == {state.__name__ for state in (*ONESHOT_CLIENT_STATES, Failed)}
    assert accepted(tally) > count // 200


@rows("D16")
@pytest.mark.parametrize("length", [2**27, 2**27 + 1, MAX_LENGTH])
def test_a_one_shot_round_over_a_huge_dimension_allocates_no_vector_before_the_application_has_one(
    row: str, length: int
) -> None:
    """Up to the policy's own bound a client takes part."""
    for recording in oneshot_recordings():
        [scene] = [targets.Scene(recording, pose) for pose in recording.poses if pose.kind is oneshot_client.Idle]
        [honest] = {body for kind, body in recording.bodies if kind is OpenOneShot}
        letter: Any = codec.decode_body(OpenOneShot, honest, SERVER)
        bomb = OpenOneShot(replace(letter.agreement, length=length), letter.certificate)
        assert peak_of(partial(scene.hear, SERVER, bomb)) < MIB
        fine = length <= recording.company.policy.max_length
        assert scene.hear(SERVER, bomb) == (targets.ACCEPTED if fine else "PolicyViolation")


# --- whole rounds -------------------------------------------------------------------------------------


@rows("C2", "C3")
@counts(400, 10_000)
def test_rounds_with_bent_letters_end_in_the_sum_of_what_was_accepted_or_by_name(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, sums.oneshot_sum_loop, count)
    frames = tally.pop("frames")
    tell(f"{tally.total():,} rounds of {frames:,} frames, some of them bent: {dict(tally.most_common())}")
    assert tally.total() == count
    assert set(tally) == {sums.EXACT, sums.DESPITE, "ImplausibleSum", "BadMaskKey", "TooFewMembers"}
    assert min(tally.values()) > count // 100


# --- the rules can be broken --------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted is found in this process, whatever it has loaded."""
    monkeypatch.setattr(targets, "without_tenseal", nullcontext)


def test_a_server_that_believes_any_key_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: what is opened is published, whatever its error and its extras say."""

    def bend(bout: sums.Bout, frame: bytes) -> bytes:
        """One word of an answer."""
        data = bytearray(frame)
        if kind_of(frame) is Summed:
            data[HEADER.size + 100] ^= 1
        return bytes(data)

    monkeypatch.setattr(rlwe, "_check_gaussian", lambda *measured: None)
    monkeypatch.setattr(oneshot_server, "checked_sums", lambda *sums: (12, ()))
    monkeypatch.setattr(sums.Bout, "bend", bend)
    with targets.trusting():
        bout = sums.OneShotBout(oneshot_recordings()[0], 0)
        with pytest.raises(AssertionError, match="a wrong sum was accepted"):
            [bout.play() for _ in range(20)]  # type: ignore[func-returns-value]


@pytest.mark.usefixtures("here")
def test_a_member_that_trips_over_a_share_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a member that reads a share before it has looked at what is in the box."""
    monkeypatch.setattr(oneshot_member, "WrongShare", ZeroDivisionError)
    monkeypatch.setattr(oneshot_member, "BadBox", ZeroDivisionError)
    with pytest.raises(AssertionError, match=r"BadBox|BadShare"):
        loops.member_loop(0, 5_000)


@pytest.mark.usefixtures("here")
def test_a_server_that_adds_what_it_refuses_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: it adds first and checks then."""
    arrow = oneshot_server.server.arrows[oneshot_server.Summing, Concealed]

    def hasty(room: Any, who: Any, letter: Any) -> Any:
        room.total[:1] += 1
        return arrow(room, who, letter)

    arrows: Any = oneshot_server.server.arrows
    monkeypatch.setitem(arrows, (oneshot_server.Summing, Concealed), hasty)
    with pytest.raises(AssertionError, match="an ignored message has changed the room"):
        loops.oneshot_state_loop(0, 20_000)
