"""The server fills the cohort with clients of its own making; or one client plays two."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import BadPlan, BadSignature, KeyMismatch
from protocols.messages import Advertise, Open, Roster, RosterEntry, Shares
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from protocols.pairwise.session import RoundKeys
from protocols.party import PartyId
from protocols.plan import Policy
from secagg.box import open_box
from secagg.keys import AgreementKey, Identity, Seed
from secagg.shamir import Share, combine
from tests.attacks.villain import Stage, rows
from tests.contracts.company import seed_of


def sybil(who: int, context: bytes) -> RosterEntry:
    """A client with sound keys and a sound signature under an identity nobody pinned."""
    box, mask = (AgreementKey(seed_of("sybil", who, use)).public for use in ("box", "mask"))
    text = names.advertised_text(context, who, box, mask, bytes(32))
    return RosterEntry(PartyId(who), box, mask, bytes(32), Identity.from_seed(seed_of("sybil", who)).sign(text))


@rows("M11")
def test_a_roster_padded_with_strangers_is_refused(row: str) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    who = stage.ids[0]
    strangers = tuple(sybil(1000 + index, letters[who].context) for index in range(3))
    with stage.refuses(who, KeyMismatch, blamed=PartyId(1000)):
        stage.say(who, replace(letters[who], entries=(letters[who].entries[0], *strangers)))


@rows("M11")
def test_a_stranger_under_a_known_name_is_refused(row: str) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    who, victim = stage.ids[0], stage.ids[2]
    entries = list(letters[who].entries)
    entries[2] = sybil(victim, letters[who].context)
    with stage.refuses(who, BadSignature, blamed=victim):
        stage.say(who, replace(letters[who], entries=tuple(entries)))


@rows("C14")
def test_two_names_with_one_identity_are_no_policy_at_all(row: str) -> None:
    one = Identity.from_seed(Seed(bytes(32))).public
    with pytest.raises(BadPlan, match="share one identity"):
        Policy({PartyId(0): one, PartyId(1): one})


@rows("C14")
@pytest.mark.parametrize("copied", ["box_key", "mask_key"])
@pytest.mark.parametrize("into", ["box_key", "mask_key"])
def test_a_client_that_advertises_anothers_key_is_excluded(row: str, copied: str, into: str) -> None:
    stage = Stage(5)
    stage.open()
    first, second = stage.ids[:2]
    for who, frame in stage.pending[:2]:
        stage.deliver(who, frame)
    assert stage.speak(first, stage.heard[first, Advertise]) == []
    honest = stage.heard[first, Advertise]
    state = stage.clients[second]._party.state
    entry = stage.forged(second, replace(state.said, **{into: getattr(honest, copied)}), state.context)
    letter = Advertise(state.context, entry.box_key, entry.mask_key, entry.commitment, entry.signature)
    [note] = stage.speak(second, letter)
    assert (note.peer, note.error) == (second, "KeyMismatch")
    # Its true keys are still welcome: the refused letter has left no trace.
    assert stage.speak(second, stage.heard[second, Advertise]) == []


@rows("M11")
def test_an_open_of_strangers_only_gets_keys_but_no_shares(row: str) -> None:
    stage = Stage(5)
    stage.open()
    who = stage.ids[0]
    stage.say(who, Open(stage.server.agreement))
    state = stage.clients[who]._party.state
    crowd = tuple(sybil(2000 + index, state.context) for index in range(4))
    with stage.refuses(who, KeyMismatch, blamed=PartyId(2000)):
        stage.say(who, Roster(state.context, (state.said, *crowd)))


@rows("M11")
def test_without_the_check_strangers_rebuild_every_secret_of_the_victim(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)
    stage = Stage(5)
    letters = stage.until(Roster)
    victim = stage.ids[0]
    state = stage.clients[victim]._party.state
    keys = RoundKeys.of(state.root, state.context)
    strangers = tuple(sybil(1000 + index, state.context) for index in range(3))
    roster = replace(letters[victim], entries=(state.said, *strangers))
    [answer] = stage.say(victim, roster)
    session = stage.session(roster)
    mask_shares, self_shares = [], []
    for entry, letter in zip(strangers, answer.sealed, strict=True):
        agreed = AgreementKey(seed_of("sybil", entry.who, "box")).agree(state.said.box_key)
        binding = names.box_binding(session.sid, victim, entry.who, letter.mask_tag, letter.self_tag)
        told = open_box(names.box_key(agreed, session.sid, victim, entry.who), letter.box, binding)
        point = session.point(victim, entry.who)
        mask_shares.append(Share.from_bytes(point, told[:33]))
        self_shares.append(Share.from_bytes(point, told[33:]))
    threshold = session.parameters.threshold
    assert combine(mask_shares[:threshold], threshold) == keys.mask_seed
    assert combine(self_shares[:threshold], threshold) == keys.self_seed


class Forgetful(dict[bytes, PartyId]):
    """A book of keys in which nothing is ever found."""

    def __contains__(self, key: object) -> bool:
        return False


@rows("C14")
def test_without_the_book_of_keys_one_copied_key_costs_everybody_the_round(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(5)
    stage.open()
    stage.server._party.state = replace(stage.server._party.state, taken=Forgetful())
    replies = stage.answers()
    first, second, *others = stage.ids
    state = stage.clients[second]._party.state
    entry = stage.forged(second, replace(state.said, mask_key=stage.heard[first, Advertise].mask_key), state.context)
    letter = Advertise(state.context, entry.box_key, entry.mask_key, entry.commitment, entry.signature)
    stage.hand({first: replies[first]})
    assert stage.speak(second, letter) == []
    stage.hand({who: replies[who] for who in others})
    letters = stage.until(Roster)
    for who in (first, *others):
        with stage.refuses(who, KeyMismatch):
            stage.say(who, letters[who])
    assert not any(kind is Shares for _, kind in stage.heard)
