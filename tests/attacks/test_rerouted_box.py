"""The server hands a box to somebody it was not sealed for, or back to its sealer, or damages it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from protocols.errors import BadBox, CohortTooSmall
from protocols.messages import SHARE_BYTES, Inbox, Masked, SealedShares, Shares, Survivors, Unmask
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from protocols.pairwise.client import Held
from protocols.pairwise.session import Session
from protocols.party import PartyId
from protocols.plan import Promise
from secagg.keys import Secret, Seed, derive
from tests.attacks.villain import Stage, rows


def rerouted(stage: Stage, letters: dict, count: int, how: str) -> Inbox:
    """The inbox of client 0 with its first `count` boxes replaced."""
    zero, one = stage.ids[:2]
    sealed = list(letters[zero].sealed)
    for place in range(count):
        wrong = {
            "another's": letters[one].sealed[-1 - place],
            "reflected": stage.heard[zero, Shares].sealed[place],
            "next dealer's": letters[zero].sealed[(place + 1) % len(sealed)],
            "one bit": replace(sealed[place], box=bytes([sealed[place].box[0] ^ 1]) + sealed[place].box[1:]),
            "tags swapped": replace(sealed[place], mask_tag=sealed[place].self_tag, self_tag=sealed[place].mask_tag),
            "another tag": replace(sealed[place], mask_tag=bytes(32)),
        }[how]
        sealed[place] = wrong
    return replace(letters[zero], sealed=tuple(sealed))


HOW = pytest.mark.parametrize(
    "how", ["another's", "reflected", "next dealer's", "one bit", "tags swapped", "another tag"]
)


@rows("M15", "M16")
@HOW
def test_too_many_wrong_boxes_end_the_round(row: str, how: str) -> None:
    stage = Stage(5)
    letters = stage.until(Inbox)
    with stage.refuses(stage.ids[0], CohortTooSmall, match="1 of the dealt shares are good; 3 are required"):
        stage.say(stage.ids[0], rerouted(stage, letters, 3, how))


@rows("M15", "M16")
@HOW
def test_one_wrong_box_is_complained_about_and_nothing_is_held_for_its_dealer(row: str, how: str) -> None:
    stage = Stage(5)
    letters = stage.until(Inbox)
    zero, one = stage.ids[:2]
    replies = stage.answers(silent=[zero])
    [masked] = stage.say(zero, rerouted(stage, letters, 1, how))
    assert isinstance(masked, Masked)
    assert masked.complaints == (one,)
    assert one not in {holding.dealer for holding in stage.clients[zero]._party.state.held}
    stage.hand({zero: stage.frames[zero, Masked], **replies})
    stage.until(None)
    # The others hold enough: the sum is exact, and the server is told of the bad box.
    aggregate = stage.server.aggregate
    assert aggregate.total.tolist() == stage.encoded(stage.ids)
    assert aggregate.blamed == {one: "BadBox"}
    assert stage.heard[zero, Unmask].shares[0] is None
    assert all(stage.heard[zero, Unmask].shares[1:])


@rows("M15")
def test_exactly_the_threshold_of_good_boxes_is_enough(row: str) -> None:
    stage = Stage(6)
    letters = stage.until(Inbox)
    zero = stage.ids[0]
    assert stage.clients[zero]._party.state.session.parameters.threshold == 3
    [masked] = stage.say(zero, rerouted(stage, letters, 2, "another tag"))
    assert len(masked.complaints) == 2


@rows("M15")
def test_without_the_check_the_holder_of_a_wrong_box_is_blamed_for_it_in_the_end(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = pairwise_client.open_shares

    def trusting(session: Session, dealer: PartyId, me: PartyId, agreed: Seed, letter: SealedShares) -> Held:
        try:
            return honest(session, dealer, me, agreed, letter)
        except BadBox:
            return Held(dealer, Secret(bytes(SHARE_BYTES)), Secret(bytes(SHARE_BYTES)))

    monkeypatch.setattr(pairwise_client, "open_shares", trusting)
    stage = Stage(6)
    letters = stage.until(Inbox)
    zero = stage.ids[0]
    replies = stage.answers(silent=[zero])
    [masked] = stage.say(zero, rerouted(stage, letters, 1, "next dealer's"))
    assert masked.complaints == ()
    stage.hand({zero: stage.frames[zero, Masked], **replies})
    stage.until(None)
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(zero, "BadShare")]
    assert stage.server.aggregate.blamed == {}


@rows("M16")
def test_without_the_direction_a_client_tells_a_share_of_its_own_mask_key(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undirected(agreed: Seed, sid: bytes, *ends: PartyId) -> Seed:
        return derive(agreed, names.LABEL_BOX, sid, *map(names.word, sorted(ends)))

    monkeypatch.setattr(names, "box_key", undirected)
    monkeypatch.setattr(names, "box_binding", lambda *_: b"")
    monkeypatch.setattr(names, "tag_of", lambda sid, dealer, holder, which, share: sha256(which + share).digest())
    stage = Stage(5, Promise.CURIOUS)
    letters = stage.until(Inbox)
    zero, one = stage.ids[:2]
    replies = stage.answers(silent=[zero])
    [masked] = stage.say(zero, rerouted(stage, letters, 1, "reflected"))
    assert masked.complaints == ()
    own = next(held for held in stage.clients[one]._party.state.held if held.dealer == zero).mask_share.expose()
    replies.pop(one)
    stage.hand({zero: stage.frames[zero, Masked], **replies})
    stage.until(Survivors)
    stage.answers()
    # Its own mask is in the sum, so its self share is the one that may be told.
    assert stage.heard[zero, Unmask].shares[0] == own
