"""The server replaces a client's keys by its own on the way to the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import BadSignature
from protocols.messages import Roster
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from secagg.box import open_box
from secagg.keys import AgreementKey, Seed
from tests.attacks.villain import Stage, rows

MINE = AgreementKey(Seed(b"\7" * 32))


def substituted(roster: Roster, place: int, field: str) -> Roster:
    other = replace(roster.entries[place], **{field: MINE.public})
    return replace(roster, entries=(*roster.entries[:place], other, *roster.entries[place + 1 :]))


@rows("M10")
@pytest.mark.parametrize("field", ["box_key", "mask_key", "commitment"])
@pytest.mark.parametrize("place", [1, 4])
def test_a_substituted_key_is_noticed_before_any_box_is_made(row: str, field: str, place: int) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    who = stage.ids[0]
    with stage.refuses(who, BadSignature, blamed=stage.ids[place]):
        stage.say(who, substituted(letters[who], place, field))


@rows("M10")
def test_two_swapped_entries_are_noticed(row: str) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    who = stage.ids[0]
    zero, one, two, *rest = letters[who].entries
    swapped = (zero, replace(two, who=one.who), replace(one, who=two.who), *rest)
    with stage.refuses(who, BadSignature, blamed=one.who):
        stage.say(who, replace(letters[who], entries=swapped))


@rows("M10")
def test_without_the_check_the_man_in_the_middle_opens_the_box(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)
    stage = Stage(5)
    letters = stage.until(Roster)
    who, peer = stage.ids[0], stage.ids[1]
    forged = substituted(letters[who], 1, "box_key")
    [answer] = stage.say(who, forged)
    session = stage.session(forged)
    sealed = answer.sealed[0]
    agreed = MINE.agree(forged.entries[0].box_key)
    binding = names.box_binding(session.sid, who, peer, sealed.mask_tag, sealed.self_tag)
    assert len(open_box(names.box_key(agreed, session.sid, who, peer), sealed.box, binding)) == 66
