"""Keys that make the agreed secret predictable, or the masks cancel: duplicates, reflections, low order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import KeyMismatch
from protocols.messages import Advertise, Roster, Shares
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.pairwise import session as names
from protocols.pairwise.session import RoundKeys
from protocols.party import SERVER
from secagg.box import open_box
from secagg.keys import FIELD_25519, LOW_ORDER
from tests.attacks.villain import Stage, rows

POINTS = {f"low-order-{index}": point for index, point in enumerate(sorted(LOW_ORDER))} | {
    "p": FIELD_25519,
    "p+1": FIELD_25519 + 1,
    "bit255": 9 + 2**255,
    "all-ones": 2**256 - 1,
}
SPELLED = pytest.mark.parametrize("point", [v.to_bytes(32, "little") for v in POINTS.values()], ids=list(POINTS))
FIELD = pytest.mark.parametrize("field", ["box_key", "mask_key"])


@rows("M12")
@SPELLED
@FIELD
def test_a_client_refuses_a_signed_key_of_low_order_or_another_spelling(row: str, field: str, point: bytes) -> None:
    stage = Stage(4)
    letters = stage.until(Roster)
    who, peer = stage.ids[0], stage.ids[2]
    entries = list(letters[who].entries)
    entries[2] = stage.forged(peer, replace(entries[2], **{field: point}), letters[who].context)
    with stage.refuses(who, KeyMismatch, blamed=peer):
        stage.say(who, replace(letters[who], entries=tuple(entries)))


@rows("M12")
@SPELLED
@FIELD
def test_the_server_excludes_whoever_advertises_it(row: str, field: str, point: bytes) -> None:
    stage = Stage(4)
    stage.open()
    peer = stage.ids[2]
    stage.deliver(peer, dict(stage.pending)[peer])
    state = stage.clients[peer]._party.state
    entry = stage.forged(peer, replace(state.said, **{field: point}), state.context)
    letter = Advertise(state.context, entry.box_key, entry.mask_key, entry.commitment, entry.signature)
    [note] = stage.speak(peer, letter)
    assert (note.peer, note.error) == (peer, "KeyMismatch")
    # Only the digest of the frame is new: an exact repetition is not answered twice.
    assert stage.speak(peer, letter) == []
    assert stage.server._party.state.arrived == stage.server._party.state.taken == {}


@rows("M12")
@pytest.mark.parametrize("source", ["another's", "the victim's own", "its other"])
@FIELD
def test_equal_keys_anywhere_in_the_roster_are_refused(row: str, field: str, source: str) -> None:
    stage = Stage(4)
    letters = stage.until(Roster)
    who, peer = stage.ids[0], stage.ids[2]
    entries = list(letters[who].entries)
    other = "mask_key" if field == "box_key" else "box_key"
    copied = {
        "another's": getattr(entries[1], other),
        "the victim's own": getattr(entries[0], field),
        "its other": getattr(entries[2], other),
    }[source]
    entries[2] = stage.forged(peer, replace(entries[2], **{field: copied}), letters[who].context)
    with stage.refuses(who, KeyMismatch, blamed=SERVER):
        stage.say(who, replace(letters[who], entries=tuple(entries)))


@rows("M12")
def test_without_the_check_the_owner_of_a_doubled_key_opens_the_box_of_another_holder(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)
    stage = Stage(4)
    letters = stage.until(Roster)
    who, owner, copier = stage.ids[:3]
    state = stage.clients[owner]._party.state
    key = RoundKeys.of(state.root, state.context).box
    entries = list(letters[who].entries)
    entries[2] = stage.forged(copier, replace(entries[2], box_key=key.public), state.context)
    roster = replace(letters[who], entries=tuple(entries))
    [answer] = stage.say(who, roster)
    session, letter = stage.session(roster), answer.sealed[1]
    binding = names.box_binding(session.sid, who, copier, letter.mask_tag, letter.self_tag)
    secret = names.box_key(key.agree(entries[0].box_key), session.sid, who, copier)
    assert len(open_box(secret, letter.box, binding)) == 66


@rows("M12")
@FIELD
def test_without_the_servers_check_one_bad_key_costs_everybody_the_round(
    row: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_server, "check_point", lambda point: None)
    stage = Stage(4)
    stage.open()
    replies = stage.answers()
    peer = stage.ids[2]
    state = stage.clients[peer]._party.state
    entry = stage.forged(peer, replace(state.said, **{field: bytes(32)}), state.context)
    letter = Advertise(state.context, entry.box_key, entry.mask_key, entry.commitment, entry.signature)
    assert stage.speak(peer, letter) == []
    others = [who for who in stage.ids if who != peer]
    stage.hand({who: replies[who] for who in others})
    letters = stage.until(Roster)
    for who in others:
        with stage.refuses(who, KeyMismatch, blamed=peer):
            stage.say(who, letters[who])
    assert not any(kind is Shares for _, kind in stage.heard)
