"""A client of one-shot rounds: what it refuses to mask for, in whose name, and what is left of it afterwards."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import codec
from protocols.errors import (
    BadCommittee,
    Misbehaved,
    Misused,
    OutOfTurn,
    PolicyViolation,
    Replay,
    ViewMismatch,
    WrongUpdate,
)
from protocols.messages import NeedUpdate, Result
from protocols.oneshot import client as clients
from protocols.oneshot import epoch as names
from protocols.oneshot.messages import Concealed, Included, OpenOneShot
from protocols.party import APP, SERVER, Failed, PartyId, secrets_in
from protocols.plan import Policy, RoundPlan, context_of
from protocols.submission import words_of
from secagg.box import open_box
from secagg.errors import BadParameters
from secagg.keys import AgreementKey, Seed, derive
from secagg.quorum import Quorum
from secagg.rlwe import draw_secret, reveal
from secagg.shamir import combine_packed
from tests.protocols.oneshot.kit import Company, identity, plan_of, seed
from tests.rows import rows

VICTIM = PartyId(1)


@pytest.fixture(scope="module")
def company() -> Company:
    return Company()


def refused(company: Company, letter: OpenOneShot, error: type[Misbehaved], said: str, **policy: Any) -> None:
    """The client says nothing to anybody, blames the server, and its root is gone."""
    party = company.client(VICTIM, **policy)
    root = party.state.root
    with pytest.raises(error, match=said) as caught:
        party.receive(SERVER, letter)
    assert type(caught.value) is error
    assert caught.value.peer == SERVER
    assert party.state == Failed(error.__name__, str(caught.value))
    with pytest.raises(BadParameters, match="erased"):
        root.expose()


# --- the invitation


def test_an_honest_invitation_is_answered_to_the_application_alone(company: Company) -> None:
    party = company.client(VICTIM)
    [out] = party.receive(SERVER, OpenOneShot(company.agreement, company.certificate))
    assert (out.to, out.message) == ((APP,), NeedUpdate(company.agreement))
    assert isinstance(party.state, clients.Ready)


@rows("M14")
@pytest.mark.parametrize("last", [0, 1, 2**62])
def test_a_round_is_entered_once(row: str, company: Company, last: int) -> None:
    party = company.client(VICTIM, last_round=last)
    with pytest.raises(Replay, match="round 0 of this task is spent") as caught:
        party.receive(SERVER, OpenOneShot(company.agreement, company.certificate))
    assert caught.value.peer == SERVER
    company.client(VICTIM, last_round=last).receive(SERVER, OpenOneShot(company.agreed(last + 1), company.certificate))


@rows("M6")
@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"protocols": frozenset({"pairwise", "ckks"})}, "protocol 'oneshot' is not allowed"),
        ({"min_cohort": 4}, "min_cohort 3 is below 4"),
        ({"tasks": frozenset({"other"})}, "is not among mine"),
        ({"max_weight": 2}, "max_weight 3 is above 2"),
        ({"max_length": 299}, "300 coordinates, at most 299"),
        ({"max_clip": Fraction(1, 1000)}, "is above 1/1000"),
        ({"min_noise_multiplier": Fraction(1)}, "noise 0 is below 1"),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_terms_below_the_policy_are_refused(row: str, company: Company, policy: dict[str, Any], said: str) -> None:
    refused(company, OpenOneShot(company.agreement, company.certificate), PolicyViolation, said, **policy)


@rows("M6")
def test_a_round_that_nobody_can_mask_for_is_the_server_s_fault(row: str, company: Company) -> None:
    wide = RoundPlan.recommend(
        6, corrupt=Fraction(0), bits=24, max_weight=2**22, min_cohort=3, task="t", protocol="oneshot"
    )
    agreement = company.agreed(plan=wide)
    refused(
        company, OpenOneShot(agreement, company.certificate), PolicyViolation, "nobody can mask for", max_weight=2**40
    )


# --- the committee


def shown(company: Company, **changes: Any) -> OpenOneShot:
    """An invitation under a committee of another epoch that all its members signed."""
    certificate = company.forged(replace(company.epoch, **changes))
    return OpenOneShot(company.agreed(key=certificate.digest), certificate)


def test_a_forged_certificate_with_every_signature_is_taken(company: Company) -> None:
    """So that each of the following is refused for what it is refused for."""
    assert company.client(VICTIM).receive(SERVER, shown(company, number=7))


@rows("M19")
def test_another_committee_than_the_round_names_is_refused(row: str, company: Company) -> None:
    letter = replace(shown(company, number=7), agreement=company.agreement)
    refused(company, letter, ViewMismatch, "another committee than the round names")


@rows("M6")
@pytest.mark.parametrize(
    ("changes", "policy", "said"),
    [
        ({"task": "other"}, {}, "serves task 'other'"),
        ({}, {"holders": frozenset()}, "a member whom my policy does not pin"),
        ({}, {"min_opening_threshold": 3}, "may be opened by 2 corrupt members; I ask for 3"),
        ({"min_cohort": 3}, {}, "opens sums over 3 clients, this round is for 4 and more"),
    ],
    ids=["task", "stranger", "threshold", "cohort"],
)
def test_a_committee_that_may_open_what_it_should_not_is_refused(
    row: str, company: Company, changes: dict[str, Any], policy: dict[str, Any], said: str
) -> None:
    letter = shown(company, **changes)
    if "min_cohort" in changes:
        letter = replace(letter, agreement=replace(letter.agreement, plan=plan_of(min_cohort=4)))
    refused(company, letter, BadCommittee, said, **policy)


@rows("M6")
def test_a_server_that_is_a_member_itself_is_refused(row: str, company: Company) -> None:
    server = identity("server", 0)
    members = (*company.publics[:-1], server.public)
    certificate = company.forged(replace(company.epoch, members=members), {99: server})
    letter = OpenOneShot(company.agreed(key=certificate.digest), certificate)
    pinned = frozenset({*company.publics, server.public})
    refused(company, letter, BadCommittee, "has the server itself as a member", holders=pinned)


@rows("M6")
def test_a_committee_of_few_of_many_pinned_members_is_refused(row: str, company: Company) -> None:
    """A fifth of those pinned may be corrupt; picked by the server they would be all of a small committee."""
    others = [identity("other member", n).public for n in range(5)]
    letter = OpenOneShot(company.agreement, company.certificate)
    refused(
        company,
        letter,
        BadCommittee,
        "safe with 1 corrupt members, fewer than a fifth of the 10",
        holders=frozenset({*company.publics, *others}),
    )
    fewer = frozenset({*company.publics, *others[:4]})
    assert company.client(VICTIM, holders=fewer).receive(SERVER, letter)


@rows("M6")
def test_who_assumes_more_than_a_fifth_corrupt_has_to_say_so(row: str) -> None:
    """Planned for six corrupt of twenty; the five that are corrupt are convened alone, and could open any upload."""
    company = Company(Quorum(5, 4, 0))
    pinned = frozenset({*company.publics, *(identity("other member", n).public for n in range(15))})
    letter = OpenOneShot(company.agreement, company.certificate)
    assert company.client(VICTIM, holders=pinned).receive(SERVER, letter)
    said = "may be opened by 5 corrupt members; I ask for 7"
    refused(company, letter, BadCommittee, said, holders=pinned, min_opening_threshold=7)


@rows("M10")
@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (lambda m: m[:-1], "4 signatures of 5 members"),
        (lambda m: (*m, m[0]), "6 signatures of 5 members"),
        (lambda m: (), "0 signatures of 5 members"),
        (lambda m: (m[0], m[0], *m[2:]), "two members with one key"),
        (lambda m: (m[1], m[0], *m[2:]), "member 1 of its committee: the signature"),
        (lambda m: (*m[:4], replace(m[4], signature=bytes(64))), "member 5 of its committee: the signature"),
        (lambda m: (*m[:4], replace(m[4], box_key=bytes([9] * 32))), "member 5 of its committee: the signature"),
        (lambda m: (*m[:4], replace(m[4], box_key=bytes(32))), "member 5 of its committee: .*low order"),
        (lambda m: (*m[:4], replace(m[4], box_key=b"\xff" * 32)), "member 5 of its committee: .*not canonical"),
    ],
    ids=["fewer", "more", "none", "one key twice", "order", "signature", "other key", "low order", "not canonical"],
)
def test_a_certificate_that_is_not_everybody_s_word_is_refused(
    row: str, company: Company, bend: Any, said: str
) -> None:
    certificate = replace(company.certificate, members=bend(company.certificate.members))
    letter = OpenOneShot(company.agreed(key=certificate.digest), certificate)
    refused(company, letter, BadCommittee, said)


@rows("M10")
def test_a_signature_for_another_epoch_or_place_is_none(row: str, company: Company) -> None:
    later = company.forged(replace(company.epoch, number=1))
    mixed = replace(company.certificate, members=(later.members[0], *company.certificate.members[1:]))
    refused(
        company,
        OpenOneShot(company.agreed(key=mixed.digest), mixed),
        BadCommittee,
        "member 1 of its committee: the sig",
    )


# --- the update


def test_an_update_that_does_not_fit_changes_nothing(company: Company) -> None:
    party = company.invited(VICTIM)
    good = company.update(VICTIM, company.agreement, party.state.update_seed)
    state = party.state
    for wrong, said in (
        (replace(good, vector=good.vector[:-1]), "this round sums"),
        (replace(good, vector=good.vector.astype(np.uint64)), "this round sums"),
        (replace(good, weight=0), "weight is 0"),
        (replace(good, weight=4), "weight is 4"),
        (replace(good, metrics=()), "metrics within their clips"),
    ):
        with pytest.raises(WrongUpdate, match=said):
            party.receive(APP, wrong)
        assert party.state is state
    assert party.receive(APP, good)


@rows("M19")
def test_an_update_trained_from_another_model_ends_the_round(row: str, company: Company) -> None:
    party = company.client(VICTIM)
    agreement = company.agreed(model=b"\1" * 32)
    party.receive(SERVER, OpenOneShot(agreement, company.certificate))
    good = company.update(VICTIM, agreement, party.state.update_seed)
    root = party.state.root
    with pytest.raises(WrongUpdate, match="submit the digest of the model"):
        party.receive(APP, replace(good, model=bytes(32)))
    with pytest.raises(ViewMismatch, match="another model"):
        party.receive(APP, replace(good, model=b"\2" * 32))
    assert isinstance(party.state, Failed)
    with pytest.raises(BadParameters, match="erased"):
        root.expose()


@rows("C11")
def test_one_update_is_submitted_and_no_second(row: str, company: Company) -> None:
    company.upload(VICTIM)
    party = company.invited(VICTIM)
    update = company.update(VICTIM, company.agreement, party.state.update_seed)
    party.receive(APP, update)
    with pytest.raises(Misused, match="Submit does not fit"):
        party.receive(APP, update)
    assert party.state == clients.Done(company.context)


@rows("C15")
def test_what_is_said_out_of_turn_leaves_the_state_alone(row: str, company: Company) -> None:
    waiting, ready = company.client(VICTIM), company.invited(VICTIM)
    for party in (waiting, ready):
        state = party.state
        for letter in (Result(company.context, bytes(32)), Included(company.context, company.context, ())):
            with pytest.raises(OutOfTurn):
                party.receive(SERVER, letter)
            assert party.state is state
    with pytest.raises(Misused):
        waiting.receive(APP, company.update(VICTIM, company.agreement, seed("any", 0)))
    with pytest.raises(OutOfTurn):
        ready.receive(SERVER, OpenOneShot(company.agreement, company.certificate))


# --- the result


def done(company: Company) -> Any:
    party = company.invited(VICTIM)
    party.receive(APP, company.update(VICTIM, company.agreement, party.state.update_seed))
    return party


def test_the_published_result_is_handed_on(company: Company) -> None:
    party, letter = done(company), Result(company.context, b"\7" * 32)
    [out] = party.receive(SERVER, letter)
    assert (out.to, out.message) == ((APP,), letter)


@rows("M22")
def test_a_result_of_another_context_is_refused(row: str, company: Company) -> None:
    with pytest.raises(ViewMismatch, match="another context"):
        done(company).receive(SERVER, Result(context_of(company.agreed(1)), b"\7" * 32))


# --- the one message


def secret_of(company: Company, who: PartyId) -> np.ndarray[Any, Any]:
    """The mask key, derived again from the client's root and its update."""
    company.upload(who)
    shape, submitted = company.shape, company.submitted[who]
    words = words_of(company.agreement, shape.coding, shape.extras, submitted)
    root = clients.bound_to(seed("root", who), company.context, shape.elements(submitted.vector, words))
    return draw_secret(derive(root, names.LABEL_SECRET, company.context))


def test_the_message_opens_under_the_key_that_its_shares_rebuild() -> None:
    """By hand: what each member finds in its box, what they rebuild, and what that opens."""
    company = Company(Quorum(5, 1, 1))
    letter, shares = company.upload(VICTIM), {}
    for place in company.places:
        pair = AgreementKey(names.member_key(seed("member root", place), company.epoch.context))
        key = names.box_key(pair.agree(letter.box_key), company.context, VICTIM, place)
        share = open_box(key, bytes(letter.boxes[place - 1]), names.box_binding(company.context, VICTIM, place))
        shares[place] = names.share_from_bytes(share)
    secret = combine_packed({place: shares[place] for place in (1, 3, 4, 5)}, company.quorum, 2048)
    assert np.array_equal(secret, secret_of(company, VICTIM))
    shape, mask = company.shape, company.shape.mask
    opened = reveal(mask, mask.ring.unpack(letter.vector, mask.coefficients), secret, company.context, 1)
    total, words = shape.sums(opened)
    assert np.array_equal(total, shape.coding.ring.reduce(company.submitted[VICTIM].vector))
    assert words[0] == company.submitted[VICTIM].weight


@rows("S16")
def test_the_same_update_is_said_in_the_same_bytes(row: str, company: Company) -> None:
    """After a crash before the message was stored, a client says it again: nothing new may come of it."""
    letter = company.upload(VICTIM)
    party = company.invited(VICTIM)
    party.state = codec.thaw(clients.Ready, codec.freeze(party.state), {clients.Own: party.state.own})
    [out] = party.receive(APP, company.submitted[VICTIM])
    assert out.message == letter


@given(place=st.integers(0, 299), bit=st.integers(0, 11))
@settings(max_examples=20, deadline=None)
def test_another_update_under_the_same_root_has_another_box_key_and_mask(place: int, bit: int) -> None:
    company = COMPANY
    letter = company.upload(VICTIM)
    vector = company.submitted[VICTIM].vector.copy()
    vector[place] ^= vector.dtype.type(1 << bit)
    [out] = company.invited(VICTIM).receive(APP, replace(company.submitted[VICTIM], vector=vector))
    other: Concealed = out.message
    assert other.box_key != letter.box_key
    assert not set(map(bytes, other.boxes)) & set(map(bytes, letter.boxes))
    ring, count = company.shape.mask.ring, company.shape.mask.coefficients
    difference = ring.reduce((ring.unpack(other.vector, count) - ring.unpack(letter.vector, count)).view(np.int64))
    # With one mask the difference would be small errors and the one changed element.
    assert np.count_nonzero(np.abs(ring.centre(difference)) < 1 << 12) < count // 20


COMPANY = Company()


def test_the_weight_alone_makes_another_message(company: Company) -> None:
    letter = company.upload(VICTIM)
    heavier = replace(company.submitted[VICTIM], weight=3)
    [out] = company.invited(VICTIM).receive(APP, heavier)
    assert company.submitted[VICTIM].weight == 2
    assert out.message.box_key != letter.box_key


def test_seeds_of_another_round_or_vector_are_others() -> None:
    company = COMPANY
    root, elements = Seed(bytes(32)), np.arange(100, dtype=np.uint32)
    one = clients.bound_to(root, company.context, elements)
    again = clients.bound_to(root, company.context, elements.copy())
    assert one == again
    other = elements.copy()
    other[99] ^= 1 << 31
    for different in (
        clients.bound_to(root, company.context, other),
        clients.bound_to(root, context_of(company.agreed(1)), elements),
        clients.bound_to(Seed(b"\1" * 32), company.context, elements),
    ):
        assert different != one


# --- secrets


@rows("K1")
def test_no_state_prints_or_pickles_its_root(row: str, company: Company) -> None:
    for party in (company.client(VICTIM), company.invited(VICTIM)):
        text = repr(party.state).encode()
        for secret in secrets_in(party.state):
            assert isinstance(secret, Seed)
            for spelling in (secret.expose(), secret.expose().hex().encode(), repr(secret.expose())[2:-1].encode()):
                assert spelling not in text
            with pytest.raises(BadParameters, match="never pickled"):
                pickle.dumps(secret)
        assert len(secrets_in(party.state)) == (1 if isinstance(party.state, clients.Idle) else 2)


def test_a_message_prints_neither_vector_nor_shares(company: Company) -> None:
    letter = company.upload(VICTIM)
    assert "vector" not in repr(letter)
    assert "boxes" not in repr(letter)
    assert len(repr(letter)) < 500


@rows("K2")
def test_after_the_message_root_seed_and_key_are_erased_and_nothing_is_kept(
    row: str, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray[Any, Any]] = []
    roots: list[Seed] = []

    def remembered(each: Seed) -> np.ndarray[Any, Any]:
        drawn.append(draw_secret(each))
        return drawn[-1]

    def bound(*arguments: Any) -> Seed:
        roots.append(original(*arguments))
        return roots[-1]

    original = clients.bound_to
    monkeypatch.setattr(clients, "draw_secret", remembered)
    monkeypatch.setattr(clients, "bound_to", bound)
    party = company.invited(VICTIM)
    secrets = secrets_in(party.state)
    party.receive(APP, company.update(VICTIM, company.agreement, party.state.update_seed))
    assert len(secrets) == 2
    for secret in (*secrets, *roots):
        with pytest.raises(BadParameters, match="erased"):
            secret.expose()  # type: ignore[attr-defined]
    [key] = drawn
    assert not key.any()
    assert len(roots) == 1
    assert party.state.__slots__ == ("context",)
    assert codec.freeze(party.state) == company.context


def test_a_policy_that_pins_nobody_takes_no_committee(company: Company) -> None:
    assert Policy(company.known).holders == frozenset()
    refused(
        company,
        OpenOneShot(company.agreement, company.certificate),
        BadCommittee,
        "does not pin",
        holders=Policy(company.known).holders,
    )
