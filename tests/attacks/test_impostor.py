"""Somebody speaks under another name, on the wire or through the transport."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols import codec
from protocols.endpoint import NOBODY
from protocols.errors import BadSignature, ImplausibleSum, Malformed
from protocols.messages import Inbox, Masked, Roster, Survivors, Witness
from protocols.party import SERVER, PartyId
from tests.attacks.villain import Stage, rows


def signed_by(stage: Stage, signer: int, sender: int, message: object) -> bytes:
    sign = stage.signers[signer].identity.sign
    return b"".join(codec.encode(message, PartyId(sender), stage.attempt, stage.round, sign))


def at_witnessing() -> tuple[Stage, dict]:
    stage = Stage(5)
    stage.until(Survivors)
    return stage, stage.answers()


@rows("C13")
@pytest.mark.parametrize("transport", ["names the sender", "names nobody", "names the impostor"])
def test_a_frame_signed_by_another_is_excluded(row: str, transport: str) -> None:
    stage, replies = at_witnessing()
    impostor, victim = stage.ids[:2]
    frame = signed_by(stage, impostor, victim, stage.heard[victim, Witness])
    speaker = {"names the sender": victim, "names nobody": NOBODY, "names the impostor": impostor}[transport]
    before = stage.server.freeze()
    assert stage.server.receive(frame, speaker) == []
    [note] = stage.server.excluded
    assert note.error == "BadSignature"
    assert note.peer == speaker
    assert stage.server.freeze() == before
    # The victim is still heard.
    stage.hand(replies)
    stage.until(None)
    assert stage.server.aggregate.survivors == stage.ids


@rows("C13")
def test_a_true_frame_carried_by_another_is_refused_in_the_carriers_name(row: str) -> None:
    stage, replies = at_witnessing()
    carrier, author = stage.ids[:2]
    before = stage.server.freeze()
    assert stage.server.receive(replies[author], carrier) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(carrier, "BadSignature")]
    assert stage.server.freeze() == before


@rows("C13")
@pytest.mark.parametrize("name", [SERVER, 0, 77, 2**32 - 5])
def test_a_name_nobody_registered_is_refused(row: str, name: int) -> None:
    stage, _ = at_witnessing()
    before = stage.server.freeze()
    frame = signed_by(stage, stage.ids[0], name, stage.heard[stage.ids[0], Witness])
    assert stage.server.receive(frame) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(NOBODY, "BadSignature")]
    assert stage.server.freeze() == before


@rows("C13")
def test_a_client_hears_nobody_but_the_server(row: str) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    who, other = stage.ids[:2]
    before = stage.clients[who].freeze()
    with pytest.raises(Malformed, match=f"names party {other} as its sender"):
        stage.clients[who].receive(signed_by(stage, other, other, letters[who]))
    with pytest.raises(BadSignature):
        stage.clients[who].receive(signed_by(stage, other, SERVER, letters[who]))
    assert stage.clients[who].freeze() == before


@rows("C15")
def test_a_letter_before_its_time_is_out_of_turn_and_nothing_moves(row: str) -> None:
    stage = Stage(5)
    stage.until(None)
    early = Stage(5)
    early.open()
    who = early.ids[0]
    state = early.server._party.state
    for kind in (Masked, Witness):
        [note] = early.speak(who, stage.heard[who, kind])
        assert (note.peer, note.error) == (who, "OutOfTurn")
    assert early.server._party.state is state
    assert not state.arrived


@rows("C13")
def test_without_the_signature_an_impostor_uses_up_its_victims_turn(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "verify", lambda public, text, signature: None)
    stage = Stage(5)
    stage.until(Inbox)
    replies = stage.answers()
    impostor, victim = stage.ids[:2]
    lie = replace(stage.heard[victim, Masked], vector=bytes(len(stage.heard[victim, Masked].vector)))
    stage.server.receive(signed_by(stage, impostor, victim, lie))
    assert victim in stage.server._party.state.arrived
    stage.server.receive(replies[victim], victim)
    # The victim's own vector is the one that is thrown away, and the round is spoilt.
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(victim, "Duplicate")]
    stage.hand({who: reply for who, reply in replies.items() if who != victim})
    with pytest.raises(ImplausibleSum):
        stage.until(None)
