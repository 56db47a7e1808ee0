"""Mutants at every end of an encrypted round: refused by name, no wrong sum, and tenseal is never asked.

The quick run is a share of the long one (`make test-slow`): a million frames at the server, 20,000 at holders.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from protocols import errors
from protocols.ckks import client as ckks_client
from protocols.ckks import holder as ckks_holder
from protocols.ckks import keys as ckks_keys
from protocols.ckks import server as ckks_server
from protocols.ckks import vector
from protocols.ckks.messages import Partial
from protocols.codec import KINDS, SIGNATURE_BYTES, kind_of
from protocols.endpoint import CKKS_CLIENT_STATES, CKKS_SERVER_STATES, HOLDER_STATES
from protocols.messages import Aggregate
from protocols.party import Failed, Role
from secagg.ckks.cipher import Part, PublicKey
from secagg.ckks.seal import SealEngine
from secagg.keys import Seed
from secagg.negacyclic import N
from tests.fuzz import loops, sums, targets
from tests.fuzz.corpus import frame_seeds
from tests.fuzz.encrypted import encrypted_frames, encrypted_recordings
from tests.fuzz.mutate import Focused
from tests.rows import rows

Tell = Callable[[str], None]
Counts = Counter[tuple[str, str]]

MAKER_STATES = (
    ckks_keys.Idle,
    ckks_keys.Committing,
    ckks_keys.Revealing,
    ckks_keys.Certifying,
    ckks_keys.Probing,
    ckks_keys.Disputing,
    ckks_keys.Certified,
    Failed,
)
STATES: dict[str, tuple[type[Any], ...]] = {
    ckks_client.client.name: CKKS_CLIENT_STATES,
    ckks_server.server.name: CKKS_SERVER_STATES,
    ckks_holder.holder.name: HOLDER_STATES,
    ckks_keys.keymaker.name: MAKER_STATES,
}
ROLES = (ckks_client.client, ckks_server.server, ckks_holder.holder, ckks_keys.keymaker)
NAMED = {name for name, value in vars(errors).items() if isinstance(value, type)} | {targets.ACCEPTED}
FRAMES, HEARD, RESTORED = 20_000, 30_000, 1_500
# A holder is told nothing of others' reveals that commitments, hashes and sealed boxes do not bind.
BOUND = {("ckks holder", "Dealt", "Deals"), ("ckks key maker", "Disputing", "Summands")}


def counts(quick: int, full: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [quick, pytest.param(full, marks=pytest.mark.slow)])


def arrows(role: Role) -> set[tuple[str, str, str]]:
    """The triples of role, state and letter that a role has an arrow for."""
    return {(role.name, state.__name__, letter.__name__) for state, letter in role.arrows if letter in KINDS.values()}


# --- the seeds ----------------------------------------------------------------------------------------


def test_every_state_of_every_end_is_on_the_stage() -> None:
    poses = [pose for recording in encrypted_recordings() for pose in recording.poses]
    for gate, states in (
        (loops.SERVERS, (*CKKS_SERVER_STATES, Failed)),
        (loops.CLIENTS, (*CKKS_CLIENT_STATES, Failed)),
        (loops.HOLDERS, HOLDER_STATES),
        (loops.MAKERS, MAKER_STATES),
    ):
        assert {pose.kind for pose in poses if gate.leads_to(pose)} == set(states)


def test_recordings_are_the_same_bytes_each_time() -> None:
    again = encrypted_recordings.__wrapped__()
    assert [recording.frames for recording in again] == [recording.frames for recording in encrypted_recordings()]
    assert [recording.poses for recording in again] == [recording.poses for recording in encrypted_recordings()]


def test_long_bytes_are_damaged_near_their_counts_too() -> None:
    [seed] = frame_seeds(frame for frame in encrypted_frames()[:1])
    mutator = Focused(3, [seed])
    near = sum(mutator.mutant(seed)[:1024] != seed.data[:1024] for _ in range(400))
    assert near > 100


# --- frames and states --------------------------------------------------------------------------------


@rows("C3", "D17", "D18")
def test_mutated_frames_about_keys_are_refused_by_name_or_have_one_spelling(
    row: str, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.encrypted_frame_loop, FRAMES)
    tell(f"{tally.total():,} mutated frames about keys and encrypted sums: {dict(tally.most_common())}")
    assert set(tally) == {targets.ACCEPTED, "Malformed", "TooLarge"}
    assert min(tally.values()) > FRAMES // 200


@rows("C2", "D17", "D18")
def test_mutated_messages_leave_every_state_by_its_rules_where_sums_are_encrypted(
    row: str, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.encrypted_state_loop, HEARD)
    taken = {tuple(said) for *said, outcome in tally if outcome == targets.ACCEPTED}
    known = set().union(*map(arrows, ROLES))
    entered = sum(count for (*said, _), count in tally.items() if tuple(said) in known)
    tell(f"{tally.total():,} mutated messages to {len(known)} arrows and all other pairs, {entered:,} into an arrow")
    assert {outcome for *_, outcome in tally} <= NAMED
    for role, states in STATES.items():
        said = {(state, letter) for name, state, letter, _ in tally if name == role}
        assert said >= {(state.__name__, letter.__name__) for state in states for letter in KINDS.values()}
    assert taken <= known
    assert known - taken <= BOUND


@rows("D15")
def test_a_mutated_image_of_an_encrypted_round_is_misused_or_another_image(
    row: str, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.encrypted_image_loop, RESTORED)
    tell(f"{tally.total():,} mutated images to thaw")
    assert {outcome for _, outcome in tally} <= {"Misused", "BadPlan", targets.ACCEPTED}
    stored = {*CKKS_CLIENT_STATES, *CKKS_SERVER_STATES, *HOLDER_STATES}
    assert {state for state, _ in tally} == {state.__name__ for state in stored}


# --- endpoints ----------------------------------------------------------------------------------------


def told(tally: Counts, where: str, tell: Tell) -> None:
    outcomes: Counter[str] = Counter()
    for (_, outcome), count in tally.items():
        outcomes[outcome] += count
    tell(f"{tally.total():,} mutated frames at {where}, 0 foreign exceptions: {dict(outcomes.most_common())}")
    assert set(outcomes) <= NAMED


@rows("C2", "D17", "M25")
@counts(10_000, 1_000_000)
def test_mutated_frames_at_the_server_end_no_call_and_open_no_wrong_sum(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    """`Door` holds each sum that a bent answer opens against the one recorded."""
    tally = loops.shoot(pool, loops.server_loop, count)
    told(tally, "the server of an encrypted round", tell)
    assert tally.total() >= count
    assert {state for state, _ in tally} == {state.__name__ for state in (*CKKS_SERVER_STATES, Failed)}
    assert min(tally["Summing", targets.ACCEPTED], tally["Opening", targets.ACCEPTED]) > count // 1000


@rows("C2", "D17", "M25")
@counts(2_000, 20_000)
def test_mutated_frames_at_a_holder_change_nothing_or_end_the_key_by_name(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.holder_loop, count)
    told(tally, "a holder", tell)
    assert tally.total() >= count
    assert {state for state, _ in tally} == {state.__name__ for state in HOLDER_STATES}


@rows("C2", "D17", "M25")
@counts(2_000, 20_000)
def test_mutated_frames_at_the_maker_of_a_key_end_no_call(row: str, count: int, pool: Executor, tell: Tell) -> None:
    tally = loops.shoot(pool, loops.maker_loop, count)
    told(tally, "the maker of a key", tell)
    # A maker that is about another key would hear nothing at all.
    assert sum(many for (_, outcome), many in tally.items() if outcome == targets.ACCEPTED) > count // 200
    assert {state for state, _ in tally} == {state.__name__ for state in MAKER_STATES}


@rows("C2", "D17", "M25")
@counts(1_000, 20_000)
def test_mutated_frames_at_a_client_change_nothing_or_end_its_round_by_name(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.client_loop, count)
    told(tally, "a client of an encrypted round", tell)
    assert {state for state, _ in tally} == {state.__name__ for state in (*CKKS_CLIENT_STATES, Failed)}


# --- whole rounds -------------------------------------------------------------------------------------


@rows("C2", "C3")
@counts(100, 5_000)
def test_rounds_with_bent_letters_end_in_the_sum_of_what_was_accepted_or_by_name(
    row: str, count: int, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, sums.encrypted_sum_loop, count)
    frames = tally.pop("frames")
    tell(f"{tally.total():,} rounds of {frames:,} frames, some of them bent: {dict(tally.most_common())}")
    assert tally.total() == count
    assert set(tally) == {sums.EXACT, sums.DESPITE, "ImplausibleSum"}
    assert min(tally.values()) > count // 20


# --- the rules can be broken --------------------------------------------------------------------------


def test_a_server_that_checks_no_sum_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: what is opened is published, whatever its residual, its padding and its checksum say."""
    honest = vector.aggregate_of

    def unchecked(*arguments: Any) -> Aggregate:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vector, "checked_sums", lambda *sums: (12, ()))
            return honest(*arguments)

    def bend(bout: sums.Bout, frame: bytes) -> bytes:
        """The highest byte of the first coordinate of an answer."""
        data = bytearray(frame)
        if kind_of(frame) is Partial:
            data[-SIGNATURE_BYTES - N] ^= 1
        return bytes(data)

    monkeypatch.setattr(ckks_server, "check_opened", lambda plan, opened: None)
    monkeypatch.setattr(ckks_server, "aggregate_of", unchecked)
    monkeypatch.setattr(sums.Bout, "bend", bend)
    recording = encrypted_recordings()[0]
    with recording.company.conditions(), targets.trusting():
        bout = sums.EncryptedBout(recording, 0)
        with pytest.raises(AssertionError, match="a wrong sum was accepted"):
            [bout.play() for _ in range(20)]


def recorded_without_tenseal() -> list[str]:
    """Ceremonies and rounds, clients and all, played where tenseal cannot be called."""
    with targets.without_tenseal():
        return [recording.name for recording in encrypted_recordings.__wrapped__()]


def test_a_round_whose_clients_draw_for_themselves_needs_no_tenseal_at_any_end() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        assert process.submit(recorded_without_tenseal).result() == ["shown", "hashed", "disputed"]


def asks_tenseal() -> None:
    """What `without_tenseal` is there to notice, in a process that has not loaded it."""
    key = PublicKey(np.ones(N, np.uint64), np.ones(N, np.uint64))
    with targets.without_tenseal():
        SealEngine().zeros(key, Part(0, 1), Seed(bytes(32)), bytes(32))


def test_a_call_into_tenseal_would_be_found() -> None:
    """The twin: the engine by SEAL, where it may not be asked."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        call = process.submit(asks_tenseal)
        with pytest.raises(AssertionError, match="a call into tenseal"):
            call.result()
