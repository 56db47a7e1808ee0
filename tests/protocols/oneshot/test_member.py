"""A member of a committee: whom it serves with, which one question of a round it answers, and whose share it names."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.errors import (
    AlreadyAnswered,
    BadPlan,
    BadSignature,
    CohortTooSmall,
    Duplicate,
    KeyMismatch,
    Misbehaved,
    OutOfTurn,
    PolicyViolation,
    Undecodable,
)
from protocols.oneshot import epoch as names
from protocols.oneshot import member as members
from protocols.oneshot.member import MemberPolicy, Serving
from protocols.oneshot.messages import Contribution, Convene, Included, Summed
from protocols.party import SERVER, Failed, Party, PartyId, secrets_in
from secagg.box import open_box, seal
from secagg.errors import BadParameters
from secagg.keys import AgreementKey, Context
from secagg.shamir import PACKED_PRIME
from tests.protocols.oneshot.kit import CLIENTS, Company, identity, seed
from tests.rows import rows

ME = 2
VICTIM = PartyId(1)


@pytest.fixture(scope="module")
def company() -> Company:
    """Whose members' states are put back by whoever moves them."""
    return Company()


@pytest.fixture(scope="module")
def question(company: Company) -> Included:
    """What an honest server asks member ME about everybody."""
    _, asked = company.opening()
    return asked[ME]


@pytest.fixture
def member(company: Company) -> Party:
    """Member ME, that has answered nothing yet."""
    party = company.member(ME)
    party.receive(SERVER, Convene(company.epoch))
    return party


def refused(party: Party, letter: object, error: type[Misbehaved], said: str) -> None:
    """Nothing is said, the server is blamed, and the key outlives the lie."""
    state = party.state
    with pytest.raises(error, match=said) as caught:
        party.receive(SERVER, letter)
    assert type(caught.value) is error
    assert caught.value.peer == SERVER
    assert party.state is state


def without(question: Included, *places: int) -> Included:
    kept = tuple(each for place, each in enumerate(question.contributions) if place not in places)
    return replace(question, contributions=kept)


def bent(question: Included, place: int, **changes: Any) -> Included:
    said = list(question.contributions)
    said[place] = replace(said[place], **changes)
    return replace(question, contributions=tuple(said))


# --- serving


def test_a_member_signs_for_its_key_and_its_place(company: Company) -> None:
    party = company.member(ME)
    [out] = party.receive(SERVER, Convene(company.epoch))
    assert out.to == (SERVER,)
    out.message.check(company.epoch.members[ME - 1], company.epoch.context, ME, company.own_of_member(ME).verify)
    assert out.message == company.certificate.members[ME - 1]
    assert out.message.box_key == AgreementKey(party.state.key).public
    assert party.state.asked == {}


def test_its_root_is_erased_and_its_key_hangs_on_root_and_epoch(company: Company) -> None:
    party = company.member(ME)
    root = party.state.root
    party.receive(SERVER, Convene(company.epoch))
    with pytest.raises(BadParameters, match="erased"):
        root.expose()
    later = company.member(ME)
    later.receive(SERVER, Convene(replace(company.epoch, number=1)))
    assert later.state.key != party.state.key


@rows("M6")
def test_a_committee_without_me_is_refused(row: str, company: Company) -> None:
    epoch = replace(company.epoch, members=(*company.publics[:1], *company.publics[2:], identity("member", 9).public))
    party = company.member(ME)
    with pytest.raises(PolicyViolation, match="not a member of"):
        party.receive(SERVER, Convene(epoch))
    assert isinstance(party.state, Failed)


@rows("M6")
@pytest.mark.parametrize(
    ("epoch", "policy", "said"),
    [
        ({}, {"members": "fewer"}, "a member whom this policy does not pin"),
        ({}, {"min_corrupted": 2}, "safe with 1 corrupt members, 2 are asked for"),
        ({}, {"members": "many"}, "safe with 1 corrupt members, 2 are asked for"),
        ({}, {"min_cohort": 4}, "opens sums over 3 clients, I open none over fewer than 4"),
        ({"rounds": 1001}, {}, "serves 1001 rounds, at most 1000 are allowed"),
        ({}, {"max_rounds": 2}, "serves 3 rounds, at most 2 are allowed"),
    ],
    ids=["stranger", "fewer corrupt", "fewer than a fifth", "smaller sums", "too many rounds", "more rounds than mine"],
)
def test_a_committee_outside_the_policy_is_refused(
    row: str, company: Company, epoch: dict[str, Any], policy: dict[str, Any], said: str
) -> None:
    pinned = {
        "fewer": frozenset(company.publics[:4]),
        "many": frozenset({*company.publics, *(identity("other", n).public for n in range(5))}),
    }
    terms = policy | ({"members": pinned[policy["members"]]} if "members" in policy else {})
    own = replace(company.own_of_member(ME), policy=replace(company.member_policy, **terms))
    party = Party(members.member, members.Uninvited(own, seed("member root", ME)))
    root = party.state.root
    with pytest.raises(PolicyViolation, match=said) as caught:
        party.receive(SERVER, Convene(replace(company.epoch, **epoch)))
    assert caught.value.peer == SERVER
    assert isinstance(party.state, Failed)
    with pytest.raises(BadParameters, match="erased"):
        root.expose()


@rows("M6")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"members": [bytes(32)]}, "members must be a frozenset"),
        ({"members": frozenset({bytes(31)})}, "each of members must be a public key"),
        ({"clients": [bytes(32)]}, "clients must map"),
        ({"clients": {PartyId(0): "key"}}, "the identity of client 0"),
        ({"min_cohort": 2}, "hides nobody"),
        ({"min_cohort": 3.0}, "hides nobody"),
        ({"min_corrupted": 0}, "min_corrupted is 0, it must be an integer of at least 1"),
        ({"min_corrupted": "2"}, "min_corrupted is '2'"),
        ({"max_rounds": None}, "max_rounds is None"),
        ({"max_rounds": 0}, "max_rounds is 0"),
    ],
)
def test_a_policy_that_means_nothing_is_none(row: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadPlan, match=said):
        MemberPolicy(**({"members": frozenset({bytes(32)}), "clients": {}} | changes))


# --- the answer


def test_the_answer_is_the_sum_of_what_was_dealt(company: Company, member: Party, question: Included) -> None:
    [out] = member.receive(SERVER, question)
    letter: Summed = out.message
    pair, total = AgreementKey(member.state.key), [0] * company.epoch.rows
    for said in question.contributions:
        key = names.box_key(pair.agree(said.box_key), company.context, said.who, ME)
        share = open_box(key, bytes(said.box), names.box_binding(company.context, said.who, ME))
        words = [int.from_bytes(share[at : at + 4], "little") for at in range(0, len(share), 4)]
        total = [(one + other) % PACKED_PRIME for one, other in zip(total, words, strict=True)]
    assert bytes(letter.shares or b"") == b"".join(word.to_bytes(4, "little") for word in total)
    assert (letter.context, letter.unreadable, out.to) == (company.context, (), (SERVER,))


def test_the_same_question_again_has_the_same_answer_and_costs_nothing(member: Party, question: Included) -> None:
    [first] = member.receive(SERVER, question)
    state = member.state
    [again] = member.receive(SERVER, question)
    assert again.message == first.message
    assert member.state == state
    assert member.state.answered == 1


@rows("S16")
def test_whoever_reads_its_bytes_gives_the_same_answer_and_refuses_the_same(
    row: str, member: Party, question: Included
) -> None:
    [first] = member.receive(SERVER, question)
    state = codec.thaw(Serving, codec.freeze(member.state), {members.Own: member.state.own})
    restarted = Party(members.member, state)
    assert codec.freeze(state) == codec.freeze(member.state)
    [again] = restarted.receive(SERVER, question)
    assert again.message == first.message
    refused(restarted, without(question, 0), AlreadyAnswered, "second set of one round")


@rows("M3")
def test_a_second_set_of_one_round_is_refused(row: str, member: Party, question: Included) -> None:
    member.receive(SERVER, question)
    for places in range(CLIENTS):
        refused(member, without(question, places), AlreadyAnswered, "the difference would tell")
    refused(member, without(question, 0, 1, 2), AlreadyAnswered, "second set of one round")
    assert member.receive(SERVER, question)


@rows("M3")
def test_a_larger_set_is_a_second_one_as_well(row: str, member: Party, question: Included) -> None:
    member.receive(SERVER, without(question, 3))
    refused(member, question, AlreadyAnswered, "second set of one round")


@rows("M4")
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_sum_over_too_few_is_refused(row: str, member: Party, question: Included, kept: int) -> None:
    asked = without(question, *range(kept, CLIENTS))
    refused(member, asked, CohortTooSmall, f"over {kept} clients; 3 are required")
    assert member.state.asked == {}


@pytest.mark.parametrize(("mine", "theirs"), [(5, 3), (3, 5)], ids=["policy", "epoch"])
def test_the_larger_of_my_floor_and_the_committee_s_counts(mine: int, theirs: int) -> None:
    company = Company(changes={"min_cohort": theirs})
    company.member_policy = replace(company.member_policy, min_cohort=mine)
    party = company.member(ME)
    if mine > theirs:
        with pytest.raises(PolicyViolation, match="opens sums over 3 clients, I open none over fewer than 5"):
            party.receive(SERVER, Convene(company.epoch))
        return
    party.receive(SERVER, Convene(company.epoch))
    asked = company.opening()[1][ME]
    refused(party, without(asked, 0, 1), CohortTooSmall, "over 4 clients; 5 are required")
    assert party.receive(SERVER, without(asked, 0))


@rows("M9")
def test_a_sum_over_more_than_the_committee_is_for_is_refused(row: str, question: Included) -> None:
    company = Company(changes={"clients": CLIENTS - 1})
    party = company.members[ME]
    asked = replace(question, committee=company.epoch.context)
    refused(party, asked, PolicyViolation, f"over {CLIENTS} clients; the committee is for fewer")
    refused(party, without(asked, 0), BadSignature, "signature")


@rows("M11")
def test_clients_that_nobody_pinned_are_refused(row: str, member: Party, question: Included) -> None:
    asked = bent(question, CLIENTS - 1, who=PartyId(77))
    refused(member, asked, KeyMismatch, "counts client 77, whom my policy does not pin")


@rows("M11")
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda q: bent(q, 2, signature=bytes(64)), "forged"),
        (lambda q: bent(q, 2, signature=q.contributions[3].signature), "another's"),
        (lambda q: bent(q, 2, box_key=q.contributions[3].box_key), "another's box key"),
        (lambda q: replace(q, context=Context(b"\1" * 32)), "another round"),
    ],
    ids=["forged", "another's", "another's box key", "another round"],
)
def test_what_no_client_signed_is_refused(
    row: str, member: Party, question: Included, change: Callable[[Included], Included], name: str
) -> None:
    refused(member, change(question), BadSignature, "signature")
    assert member.state.asked == {}


@rows("C14")
def test_one_client_under_two_numbers_is_refused(row: str, company: Company, question: Included) -> None:
    """A policy that pins one key twice does not make two clients of it."""
    own = company.own_of_member(ME)
    twice = {**company.known, PartyId(50): company.known[VICTIM]}
    party = Party(
        members.member,
        members.Uninvited(replace(own, policy=replace(own.policy, clients=twice)), seed("member root", ME)),
    )
    party.receive(SERVER, Convene(company.epoch))
    honest = question.contributions[VICTIM]
    text = names.upload_text(company.context, company.epoch.context, 50, honest.box_key)
    other = replace(honest, who=PartyId(50), signature=company.identities[VICTIM].sign(text))
    asked = replace(without(question, 5), contributions=(*question.contributions[:5], other))
    refused(party, asked, Duplicate, "one client under two numbers")


@rows("D18")
@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4, 5), (0, 0, 2, 3, 4, 5), (0, 1, 2, 3, 5, 4)], ids=str)
def test_contributors_that_do_not_ascend_are_no_question(row: str, question: Included, order: tuple[int, ...]) -> None:
    with pytest.raises(Undecodable, match="strictly ascend"):
        replace(question, contributions=tuple(question.contributions[place] for place in order))


@rows("M13")
def test_another_committee_s_question_is_out_of_turn(row: str, member: Party, question: Included) -> None:
    refused(member, replace(question, committee=Context(b"\2" * 32)), OutOfTurn, "do not serve in now")


@rows("M21")
def test_when_its_rounds_are_spent_it_answers_no_new_one_and_the_old_ones_still(
    row: str, company: Company, member: Party, question: Included
) -> None:
    assert company.epoch.rounds == 3
    asked = [question]
    for number in range(1, 4):
        later = Company()
        later.agreement = later.agreed(number)
        asked.append(later.opening()[1][ME])
    for each in asked[:3]:
        assert member.receive(SERVER, each)
    refused(member, asked[3], PolicyViolation, "more than the committee's 3 rounds")
    assert member.receive(SERVER, asked[1])


@rows("C15")
def test_a_question_before_the_committee_is_out_of_turn(row: str, company: Company, question: Included) -> None:
    party = company.member(ME)
    refused(party, question, OutOfTurn, "does not fit")


def test_a_second_invitation_is_out_of_turn(company: Company, member: Party) -> None:
    refused(member, Convene(company.epoch), OutOfTurn, "does not fit")


# --- shares that are none


def sealed(company: Company, plaintext: bytes, who: PartyId = VICTIM, to: int = ME, place: int = ME) -> bytes:
    """What this client seals for a member, whatever it likes, naming some place."""
    pair = AgreementKey(names_of(company, who))
    key = names.box_key(pair.agree(company.certificate.members[to - 1].box_key), company.context, who, place)
    return seal(key, plaintext, names.box_binding(company.context, who, place))


def names_of(company: Company, who: PartyId) -> Any:
    """A box key of a client that does not do as it should."""
    return seed("lying box key", who)


def lying(company: Company, question: Included, box: bytes) -> Included:
    """The question when the victim's place is taken by a client that signed its own key and sealed this."""
    box_key = AgreementKey(names_of(company, VICTIM)).public
    text = names.upload_text(company.context, company.epoch.context, VICTIM, box_key)
    signature = company.identities[VICTIM].sign(text)
    return bent(question, VICTIM, box_key=box_key, signature=signature, box=box)


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def test_a_readable_share_of_a_client_s_own_making_is_summed(
    company: Company, member: Party, question: Included
) -> None:
    """So that each of the following is refused for what it says."""
    rows = company.epoch.rows
    [out] = member.receive(SERVER, lying(company, question, sealed(company, words(*[PACKED_PRIME - 1] * rows))))
    assert out.message.unreadable == ()


@rows("C10")
@pytest.mark.parametrize(
    "case",
    ["empty", "short box", "tag", "other end", "other place", "short", "long", "no whole words", "p", "all ones"],
)
def test_an_unreadable_share_is_answered_with_the_client_s_name(
    row: str, company: Company, member: Party, question: Included, case: str
) -> None:
    rows = company.epoch.rows
    good = words(*[5] * rows)
    box = {
        "empty": b"",
        "short box": bytes(15),
        "tag": sealed(company, good)[:-1] + b"\0",
        "other end": sealed(company, good, to=3),
        "other place": sealed(company, good, place=3),
        "short": sealed(company, good[:-4]),
        "long": sealed(company, good + bytes(4)),
        "no whole words": sealed(company, good[:-1]),
        "p": sealed(company, words(*[5] * (rows - 1), PACKED_PRIME)),
        "all ones": sealed(company, b"\xff" * 4 * rows),
    }[case]
    [out] = member.receive(SERVER, lying(company, question, box))
    assert (out.message.shares, out.message.unreadable) == (None, (VICTIM,))
    assert member.state.answered == 1


@rows("M12")
@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["zero", "one", "not canonical"])
def test_a_point_of_low_order_or_of_a_second_spelling_is_answered_with_the_client_s_name(
    row: str, company: Company, member: Party, question: Included, point: bytes
) -> None:
    text = names.upload_text(company.context, company.epoch.context, VICTIM, point)
    asked = bent(question, VICTIM, box_key=point, signature=company.identities[VICTIM].sign(text))
    [out] = member.receive(SERVER, asked)
    assert (out.message.shares, out.message.unreadable) == (None, (VICTIM,))


def test_all_whose_shares_are_unreadable_are_named_in_order(member: Party, question: Included) -> None:
    asked = bent(bent(question, 4, box=b"rubbish"), 1, box=b"rubbish")
    [out] = member.receive(SERVER, asked)
    assert out.message.unreadable == (1, 4)


def test_boxes_that_the_server_bent_tell_it_nothing(company: Company, member: Party, question: Included) -> None:
    """The question is the same, the boxes are not: it has the sum, or names, and no other sum."""
    [first] = member.receive(SERVER, question)
    boxes = [each.box for each in question.contributions]
    for place, other in ((0, 1), (2, 5)):
        [out] = member.receive(SERVER, bent(question, place, box=boxes[other]))
        assert (out.message.shares, out.message.unreadable) == (None, (place,))
    [again] = member.receive(SERVER, question)
    assert again.message == first.message


@rows("D18")
@pytest.mark.parametrize(
    ("shares", "unreadable", "said"),
    [
        (None, (), "an answer is a sum, or names"),
        (b"1234", (PartyId(1),), "an answer is a sum, or names"),
        (None, (PartyId(2), PartyId(1)), "must strictly ascend"),
        (None, (PartyId(1), PartyId(1)), "must strictly ascend"),
    ],
)
def test_an_answer_is_a_sum_or_names(
    row: str, company: Company, shares: bytes | None, unreadable: tuple[PartyId, ...], said: str
) -> None:
    with pytest.raises(Undecodable, match=said):
        Summed(company.context, bytes(32), shares, unreadable)


# --- secrets


@rows("K1")
def test_no_state_prints_or_pickles_its_key(row: str, company: Company, member: Party, question: Included) -> None:
    member.receive(SERVER, question)
    for party in (company.member(ME), member):
        [secret] = secrets_in(party.state)
        text, raw = repr(party.state).encode(), secret.expose()  # type: ignore[attr-defined]
        for spelling in (raw, raw.hex().encode(), repr(raw)[2:-1].encode()):
            assert spelling not in text
        with pytest.raises(BadParameters, match="never pickled"):
            pickle.dumps(secret)


def test_an_answer_and_a_contribution_print_no_share(member: Party, question: Included) -> None:
    [out] = member.receive(SERVER, question)
    assert "shares" not in repr(out.message)
    assert "box=" not in repr(question.contributions[0])
    assert isinstance(question.contributions[0], Contribution)


@rows("K2")
def test_a_key_that_is_given_up_is_erased(row: str, member: Party) -> None:
    [key] = secrets_in(member.state)
    member.abandon("the committee is over")
    with pytest.raises(BadParameters, match="erased"):
        key.expose()  # type: ignore[attr-defined]


def test_a_share_survives_its_bytes() -> None:
    share = np.array([0, 1, PACKED_PRIME - 1], np.uint32)
    assert names.share_from_bytes(names.share_to_bytes(share)).tolist() == share.tolist()
    assert names.share_to_bytes(share) == words(0, 1, PACKED_PRIME - 1)
