"""The server replays what was said in another round: an old roster, inbox or set of witnesses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols import codec
from protocols.errors import CohortTooSmall, KeyMismatch, OutOfTurn, ViewMismatch
from protocols.messages import Advertise, Inbox, Masked, Roster, Survivors, Witnesses
from protocols.pairwise import client as pairwise_client
from tests.attacks.villain import Stage, rows


def two_rounds(kind: type) -> tuple[Stage, dict, dict]:
    """A stage in its second round that has reached `kind`; the letters and frames of the first."""
    stage = Stage(4)
    letters = stage.until(kind)
    frames = dict(stage.pending)
    stage.until(None)
    stage.open(round=1, nonce=b"\1" * 16)
    stage.until(kind)
    return stage, letters, frames


@rows("M13")
@pytest.mark.parametrize("kind", [Roster, Inbox, Survivors, Witnesses], ids=lambda kind: kind.__name__)
def test_a_frame_of_an_old_round_is_out_of_turn_and_changes_nothing(row: str, kind: type) -> None:
    stage, _, frames = two_rounds(kind)
    for who in stage.ids:
        before = stage.clients[who].freeze()
        with pytest.raises(OutOfTurn, match="not open here"):
            stage.clients[who].receive(frames[who])
        assert stage.clients[who].freeze() == before
    stage.until(None)
    assert stage.server.aggregate is not None


@rows("M13")
@pytest.mark.parametrize(
    ("kind", "error"),
    [(Roster, ViewMismatch), (Inbox, CohortTooSmall), (Witnesses, ViewMismatch)],
    ids=lambda value: value.__name__,
)
def test_an_old_letter_in_a_new_frame_is_noticed(row: str, kind: type, error: type) -> None:
    stage, letters, _ = two_rounds(kind)
    for who in stage.ids:
        with stage.refuses(who, error):
            stage.say(who, letters[who])


@rows("M13")
def test_an_old_roster_under_the_new_context_is_noticed(row: str) -> None:
    stage, letters, _ = two_rounds(Roster)
    who = stage.ids[0]
    context = stage.clients[who]._party.state.context
    with stage.refuses(who, KeyMismatch):
        stage.say(who, replace(letters[who], context=context))


@rows("M13")
def test_keys_advertised_for_another_context_are_excluded(row: str) -> None:
    stage = Stage(4)
    stage.open()
    replies = stage.answers()
    who = stage.ids[0]
    [note] = stage.speak(who, replace(stage.heard[who, Advertise], context=bytes(32)))
    assert (note.peer, note.error) == (who, "ViewMismatch")
    assert stage.server._party.state.arrived == {}
    stage.hand({one: replies[one] for one in stage.ids[1:]})
    stage.until(Inbox, silent=[who])
    assert len(stage.pending) == 3


@rows("M13")
def test_keys_with_a_signature_of_an_old_round_are_excluded_before_others_see_them(row: str) -> None:
    stage = Stage(4)
    stage.until(None)
    old = stage.heard[stage.ids[0], Advertise]
    stage.open(round=1, nonce=b"\1" * 16)
    replies = stage.answers()
    who = stage.ids[0]
    fresh = stage.heard[who, Advertise]
    [note] = stage.speak(who, replace(fresh, signature=old.signature))
    assert (note.peer, note.error) == (who, "BadSignature")
    stage.hand({one: replies[one] for one in stage.ids[1:]})
    stage.until(None, silent=[who])
    assert stage.server.aggregate.survivors == stage.ids[1:]


@rows("M13")
def test_without_the_witness_check_old_witnesses_get_an_answer(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise_client, "check_witnesses", lambda state, message: None)
    stage, letters, _ = two_rounds(Witnesses)
    who = stage.ids[0]
    [answer] = stage.say(who, letters[who])
    assert any(answer.shares)


@rows("M13")
def test_a_vector_of_an_old_round_does_not_enter_the_sum_of_the_next(row: str) -> None:
    stage = Stage(4)
    stage.until(None)
    who = stage.ids[0]
    old = stage.frames[who, Masked]
    stage.open(round=1, nonce=b"\1" * 16)
    stage.until(Inbox)
    replies = stage.answers()
    state = stage.server._party.state
    before = state.total.tobytes()
    assert stage.server.receive(old, who) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "OutOfTurn")]
    assert state.total.tobytes() == before
    stage.hand(replies)
    stage.until(None)
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


@rows("M13")
def test_without_the_signature_an_old_rounds_words_are_taken_for_new_ones(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "verify", lambda public, text, signature: None)
    stage = Stage(4)
    stage.until(None)
    who = stage.ids[0]
    old = stage.frames[who, Masked]
    stage.open(round=1, nonce=b"\1" * 16)
    stage.until(Inbox)
    stage.answers()
    # The same bytes with another attempt and number in the header: only the signature binds them to their round.
    moved = old[:8] + stage.attempt + (1).to_bytes(8, "little") + old[32:]
    assert stage.server.receive(moved, who) == []
    assert stage.server.excluded == []
    assert who in stage.server._party.state.arrived
