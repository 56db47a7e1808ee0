"""The server shows a member a share that was sealed for another member, by another client, or in another round."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from protocols.errors import BadSignature, OutOfTurn
from protocols.oneshot import epoch as names
from protocols.oneshot.messages import Contribution
from protocols.party import SERVER, PartyId
from secagg.keys import Context
from tests.attacks.assembly import Assembly
from tests.rows import rows


@pytest.fixture
def assembly() -> Assembly:
    made = Assembly()
    for who in made.ids:
        made.upload_of(who)
    return made


def asked_with(assembly: Assembly, member: PartyId, place: int, said: Contribution) -> tuple[int, ...] | None:
    """Whom a member names when this stands in the place of one contribution; None where it answers with a sum."""
    question = assembly.question(member, assembly.ids)
    contributions = list(question.contributions)
    contributions[place] = said
    letter = assembly.ask(member, replace(question, contributions=tuple(contributions)))
    return None if letter.shares is not None else letter.unreadable


@rows("M15")
def test_no_member_reads_a_share_that_was_sealed_for_another(row: str, assembly: Assembly) -> None:
    victim = assembly.ids[1]
    for member, other in itertools.permutations(assembly.members, 2):
        rerouted = assembly.contribution(victim, other)
        assert asked_with(assembly, member, 1, rerouted) == (victim,)
    for member in assembly.members:
        assert asked_with(assembly, member, 1, assembly.contribution(victim, member)) is None


@rows("M15", "M16")
def test_no_member_reads_one_client_s_share_as_another_s(row: str, assembly: Assembly) -> None:
    """With the other's word the box does not open; with its own word, under the other's number, nothing is signed."""
    one, other = assembly.ids[0], assembly.ids[1]
    for member in assembly.members:
        mine, its = assembly.contribution(one, member), assembly.contribution(other, member)
        assert asked_with(assembly, member, 1, replace(its, box=mine.box)) == (other,)
        with assembly.refuses(member, BadSignature):
            asked_with(assembly, member, 1, replace(mine, who=other))
        with assembly.refuses(member, BadSignature):
            asked_with(assembly, member, 1, replace(its, box=mine.box, box_key=mine.box_key))


@rows("M15", "M16")
def test_a_client_that_seals_another_s_share_as_its_own_cannot(row: str, assembly: Assembly) -> None:
    """It signs for the victim's key, so the box could be opened; but a box says whose it is."""
    victim, villain = assembly.ids[0], assembly.ids[1]
    for member in assembly.members:
        said = assembly.contribution(victim, member)
        text = names.upload_text(Context(assembly.context), assembly.certificate.epoch.context, villain, said.box_key)
        stolen = replace(said, who=villain, signature=assembly.speakers[villain].identity.sign(text))
        assert asked_with(assembly, member, 1, stolen) == (villain,)


@rows("M15")
def test_without_that_a_client_could_have_another_s_key_counted_twice(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test: boxes that do not say whose they are, or for which place."""
    assembly = unnamed(monkeypatch)
    victim, villain = assembly.ids[0], assembly.ids[1]
    for member in assembly.members:
        said = assembly.contribution(victim, member)
        text = names.upload_text(Context(assembly.context), assembly.certificate.epoch.context, villain, said.box_key)
        stolen = replace(said, who=villain, signature=assembly.speakers[villain].identity.sign(text))
        assert asked_with(assembly, member, 1, stolen) is None


def unnamed(monkeypatch: pytest.MonkeyPatch) -> Assembly:
    box_key, box_binding = names.box_key, names.box_binding
    monkeypatch.setattr(names, "box_key", lambda agreed, context, who, place: box_key(agreed, context, 0, 0))
    monkeypatch.setattr(names, "box_binding", lambda context, who, place: box_binding(context, 0, 0))
    made = Assembly()
    for who in made.ids:
        made.upload_of(who)
    return made


# --- another round


def next_round(assembly: Assembly) -> dict[PartyId, Contribution]:
    """What clients said for the first member in round 0; round 1 is open and they have spoken there as well."""
    member = next(iter(assembly.members))
    earlier = {who: assembly.contribution(who, member) for who in assembly.ids}
    assembly.task = replace(assembly.task, round=1)
    [assembly.invitation] = map(bytes, assembly.server.open(assembly.task))
    for who in assembly.ids:
        assembly.upload_of(who)
    return earlier


@rows("M13")
def test_what_was_said_in_another_round_is_nobody_s_word_in_this_one(row: str, assembly: Assembly) -> None:
    member = next(iter(assembly.members))
    earlier = next_round(assembly)
    with assembly.refuses(member, BadSignature):
        asked_with(assembly, member, 1, earlier[assembly.ids[1]])
    with assembly.refuses(member, BadSignature):
        question = assembly.question(member, assembly.ids)
        assembly.ask(member, replace(question, contributions=tuple(earlier.values())))


@rows("M13")
def test_a_share_of_another_round_opens_in_none_but_its_own(row: str, assembly: Assembly) -> None:
    member, victim = next(iter(assembly.members)), assembly.ids[1]
    earlier = next_round(assembly)
    now = assembly.contribution(victim, member)
    assert asked_with(assembly, member, 1, replace(now, box=earlier[victim].box)) == (victim,)


@rows("M13")
def test_keys_and_boxes_of_two_rounds_have_nothing_in_common(row: str, assembly: Assembly) -> None:
    first = dict(assembly.uploads)
    next_round(assembly)
    for who, upload in assembly.uploads.items():
        assert upload.box_key != first[who].box_key
        assert not {bytes(box) for box in upload.boxes} & {bytes(box) for box in first[who].boxes}


@rows("M13")
def test_an_upload_of_another_round_is_not_counted(row: str, assembly: Assembly) -> None:
    early, villain = dict(assembly.uploads), assembly.ids[0]
    frame = assembly.framed(early[villain], villain)
    next_round(assembly)
    noted = len(assembly.server.excluded)
    assert assembly.server.receive(frame, villain) == []
    assert [(note.peer, note.error) for note in assembly.server.excluded[noted:]] == [(villain, "OutOfTurn")]
    # The same words in a frame of this round.
    assert assembly.speak(villain, early[villain]) == [(villain, "BadSignature")]
    for who in assembly.ids:
        assert assembly.speak(who, assembly.uploads[who]) == []
    assembly.require_sum_of(*assembly.ids)


@rows("M13")
def test_another_committee_s_question_changes_nothing(row: str, assembly: Assembly) -> None:
    member = next(iter(assembly.members))
    question = replace(assembly.question(member, assembly.ids), committee=Context(bytes(32)))
    state = assembly.members[member]._party.state
    with pytest.raises(OutOfTurn, match="do not serve in now"):
        assembly.members[member].receive(assembly.framed(question, SERVER))
    assert assembly.members[member]._party.state is state
