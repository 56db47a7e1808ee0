"""The server asks members to open one client's vector: alone, by many names, or among strangers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from protocols.errors import BadSignature, CohortTooSmall, Duplicate, KeyMismatch, Malformed, Undecodable
from protocols.oneshot import epoch as names
from protocols.oneshot import member as roles
from protocols.oneshot.messages import Included
from protocols.party import PartyId
from secagg.keys import Context, Identity
from secagg.rlwe import reveal
from tests.attacks.assembly import Assembly
from tests.contracts.company import seed_of
from tests.rows import rows


@pytest.fixture
def assembly() -> Assembly:
    made = Assembly()
    for who in made.ids:
        made.upload_of(who)
    return made


@rows("M23", "M4")
@pytest.mark.parametrize("size", [0, 1, 2])
def test_fewer_clients_than_a_cohort_are_opened_by_no_member(row: str, size: int, assembly: Assembly) -> None:
    for who in assembly.members:
        with assembly.refuses(who, CohortTooSmall, f"over {size} clients; 3 are required"):
            assembly.ask(who, assembly.question(who, assembly.ids[:size]))
    assembly.everybody()
    assembly.require_sum_of(*assembly.ids)


def opened(assembly: Assembly, whose: Iterable[PartyId]) -> list[int]:
    """What a villain has after asking everybody about these."""
    cohort = tuple(whose)
    answers = {
        place: assembly.share_in(assembly.ask(who, assembly.question(who, cohort)))
        for who, place in assembly.places.items()
    }
    secret = assembly.rebuilt(answers, len(cohort))
    assert secret is not None
    shape = assembly.shape
    values = reveal(shape.mask, assembly.summed(*cohort), secret, Context(assembly.context), len(cohort))
    return [int(value) for value in shape.sums(values)[0]]


@rows("M23", "M4")
def test_without_the_least_cohort_one_vector_would_be_opened(
    row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test."""
    monkeypatch.setattr(roles, "check_cohort", lambda state, cohort: None)
    victim = assembly.ids[2]
    assert opened(assembly, [victim]) == assembly.vector_of(victim)


@rows("M23", "M11")
def test_clients_that_the_server_made_up_do_not_count(row: str, assembly: Assembly) -> None:
    """They sign as they should, and nobody pinned them."""
    who, victim = next(iter(assembly.members)), assembly.ids[0]
    question = assembly.question(who, assembly.ids[:3])
    committee, context = assembly.certificate.epoch.context, Context(assembly.context)
    sybils = []
    for number, said in enumerate(question.contributions[1:], start=90):
        identity = Identity.from_seed(seed_of("sybil", number))
        text = names.upload_text(context, committee, number, said.box_key)
        sybils.append(replace(said, who=PartyId(number), signature=identity.sign(text)))
    with assembly.refuses(who, KeyMismatch, "counts client 90, whom my policy does not pin"):
        assembly.ask(who, replace(question, contributions=(question.contributions[0], *sybils)))
    assert question.contributions[0].who == victim


@rows("M23", "M11")
def test_clients_whose_signature_the_server_made_up_do_not_count(row: str, assembly: Assembly) -> None:
    who = next(iter(assembly.members))
    question = assembly.question(who, assembly.ids[:3])
    liar = Identity.from_seed(seed_of("sybil", 1))
    said = question.contributions[1]
    text = names.upload_text(Context(assembly.context), assembly.certificate.epoch.context, said.who, said.box_key)
    forged = replace(said, signature=liar.sign(text))
    with assembly.refuses(who, BadSignature):
        assembly.ask(
            who, replace(question, contributions=(question.contributions[0], forged, *question.contributions[2:]))
        )


# --- one client by many names


@rows("M23", "C14")
def test_one_client_twice_is_no_question(row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can it be said to a member: what does not ascend does not parse."""
    who, victim = next(iter(assembly.members)), assembly.ids[0]
    said = assembly.contribution(victim, who)
    question = assembly.question(who, [victim])
    with pytest.raises(Undecodable, match="strictly ascend"):
        replace(question, contributions=(said, said, said))
    with monkeypatch.context() as careless:
        careless.setattr(Included, "__post_init__", lambda self: None)
        frame = assembly.framed(replace(question, contributions=(said, said, said)), PartyId(2**32 - 1))
    state = assembly.members[who]._party.state
    with pytest.raises(Malformed, match="strictly ascend"):
        assembly.members[who].receive(frame)
    assert assembly.members[who]._party.state is state


@rows("M23", "C14")
def test_one_client_s_word_under_another_s_number_is_refused(row: str, assembly: Assembly) -> None:
    who, victim = next(iter(assembly.members)), assembly.ids[0]
    question = assembly.question(who, assembly.ids[:3])
    copies = tuple(replace(question.contributions[0], who=said.who) for said in question.contributions)
    with assembly.refuses(who, BadSignature):
        assembly.ask(who, replace(question, contributions=copies))
    assert question.contributions[0].who == victim


@rows("M23", "C14")
def test_one_identity_that_signed_under_three_numbers_counts_once(row: str, assembly: Assembly) -> None:
    """A client helps the server, and members pin its key under every number that it asked for."""
    who, helper = next(iter(assembly.members)), assembly.ids[1]
    member, numbers = assembly.members[who], (PartyId(50), PartyId(51))
    pinned = {**assembly.company.known, **dict.fromkeys(numbers, assembly.company.known[helper])}
    state = member._party.state
    member._party.state = replace(state, own=replace(state.own, policy=replace(state.own.policy, clients=pinned)))
    question = assembly.question(who, [assembly.ids[0], helper])
    committee, own = assembly.certificate.epoch.context, question.contributions[1]
    copies = []
    for number in numbers:
        text = names.upload_text(Context(assembly.context), committee, number, own.box_key)
        copies.append(replace(own, who=number, signature=assembly.speakers[helper].identity.sign(text)))
    with assembly.refuses(who, Duplicate, "one client under two numbers"):
        assembly.ask(who, replace(question, contributions=(*question.contributions, *copies)))


@rows("C11")
def test_a_client_that_uploads_twice_is_in_the_sum_once(row: str, assembly: Assembly) -> None:
    villain = assembly.ids[0]
    letter = assembly.uploads[villain]
    assert assembly.speak(villain, letter) == []
    total = assembly.server._party.state.total.tobytes()
    assert assembly.speak(villain, replace(letter, vector=bytes(len(letter.vector)))) == [(villain, "Duplicate")]
    assert assembly.server._party.state.total.tobytes() == total
    for who in assembly.ids[1:]:
        assembly.speak(who, assembly.uploads[who])
    assembly.require_sum_of(*assembly.ids)
