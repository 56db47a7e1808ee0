"""A member dies between its answer and its storage, or an older image of it is put back, and a second set is asked."""

from __future__ import annotations

import pytest

from protocols.endpoint import Member
from protocols.errors import AlreadyAnswered, Misused, OutOfTurn
from protocols.oneshot.messages import Included
from protocols.party import SERVER, PartyId
from secagg.keys import Context
from secagg.negacyclic import Integers
from secagg.rlwe import reveal
from tests.attacks.assembly import Assembly
from tests.attacks.hall import body_of
from tests.rows import rows


@pytest.fixture
def assembly() -> Assembly:
    made = Assembly()
    for who in made.ids:
        made.upload_of(who)
    return made


def restarted(assembly: Assembly, who: PartyId, image: bytes) -> Member:
    """A new process with what was stored."""
    member = assembly.company.holder(who)
    member.thaw(image)
    return member


def all_and_others(assembly: Assembly, who: PartyId) -> tuple[Included, Included]:
    return assembly.question(who, assembly.ids), assembly.question(who, assembly.ids[1:])


@rows("S16", "M3")
def test_a_member_that_stores_before_it_answers_answers_the_same_and_nothing_else(row: str, assembly: Assembly) -> None:
    for who in assembly.members:
        first, second = all_and_others(assembly, who)
        answer = assembly.ask(who, first)
        # Killed after it stored: whether its answer had left, nobody knows.
        assembly.members[who] = restarted(assembly, who, assembly.members[who].freeze())
        with assembly.refuses(who, AlreadyAnswered, "second set of one round"):
            assembly.ask(who, second)
        assert assembly.ask(who, first) == answer


@rows("S16")
def test_a_member_killed_before_it_stored_has_said_nothing_and_may_answer_either(row: str, assembly: Assembly) -> None:
    who = next(iter(assembly.members))
    first, second = all_and_others(assembly, who)
    image = assembly.members[who].freeze()
    [lost] = assembly.members[who].receive(assembly.framed(first, SERVER))
    assembly.members[who] = restarted(assembly, who, image)
    assert assembly.ask(who, second).shares is not None
    with assembly.refuses(who, AlreadyAnswered):
        assembly.ask(who, first)
    assert body_of(bytes(lost), who).shares is not None


@rows("S16", "S17")
def test_a_member_that_answers_before_it_stores_gives_a_client_away(row: str, assembly: Assembly) -> None:
    """Why the order is as it is: all members die between the two, and the server has both sums."""
    cohorts = (assembly.ids, assembly.ids[1:])
    images = {who: member.freeze() for who, member in assembly.members.items()}
    keys: list[Integers] = []
    for cohort in cohorts:
        answers = {}
        for who, place in assembly.places.items():
            assembly.members[who] = restarted(assembly, who, images[who])
            answers[place] = assembly.share_in(assembly.ask(who, assembly.question(who, cohort)))
        key = assembly.rebuilt(answers, len(cohort))
        assert key is not None
        keys.append(key)
    victim, shape = assembly.ids[0], assembly.shape
    values = reveal(shape.mask, assembly.summed(victim), keys[0] - keys[1], Context(assembly.context), 1)
    assert shape.sums(values)[0].tolist() == assembly.vector_of(victim)


@rows("S17")
@pytest.mark.parametrize("told", range(5))
def test_as_many_rolled_back_members_as_may_be_corrupt_give_nobody_away(
    row: str, told: int, assembly: Assembly
) -> None:
    """One of five is put back and answers about both sets; the others answer about the one they are told first."""
    rolled, *honest = assembly.members
    image = assembly.members[rolled].freeze()
    keys = []
    for cohort, asked in ((assembly.ids, honest[:told]), (assembly.ids[1:], honest[told:])):
        assembly.members[rolled] = restarted(assembly, rolled, image)
        said = {who: assembly.ask(who, assembly.question(who, cohort)) for who in (rolled, *asked)}
        shares = {assembly.places[who]: assembly.share_in(letter) for who, letter in said.items()}
        keys.append(assembly.rebuilt(shares, len(cohort)))
    assert [key is not None for key in keys] == [told >= 3, told <= 1]


@rows("S17", "M3")
def test_a_live_member_is_not_set_back_to_before_its_answer(row: str, assembly: Assembly) -> None:
    who = next(iter(assembly.members))
    first, second = all_and_others(assembly, who)
    member = assembly.members[who]
    before = member.freeze()
    assembly.ask(who, first)
    state = member._party.state
    with pytest.raises(Misused, match="older than the member"):
        member.thaw(before)
    assert member._party.state is state
    with assembly.refuses(who, AlreadyAnswered):
        assembly.ask(who, second)


@rows("S17")
def test_another_party_does_not_become_this_one(row: str, assembly: Assembly) -> None:
    who, other = list(assembly.members)[:2]
    image = assembly.members[who].freeze()
    for stranger in (assembly.company.holder(other), assembly.company.client(assembly.ids[0])):
        with pytest.raises(Misused):
            stranger.thaw(image)


@rows("S16", "K2")
def test_a_retired_member_answers_nothing_any_more(row: str, assembly: Assembly) -> None:
    who = next(iter(assembly.members))
    first, _ = all_and_others(assembly, who)
    assembly.ask(who, first)
    member = assembly.members[who]
    key = member._party.state.key.expose()
    member.retire()
    assert key not in member.freeze()
    assert not member.holding
    with pytest.raises(OutOfTurn, match="does not fit"):
        member.receive(assembly.framed(first, SERVER))
