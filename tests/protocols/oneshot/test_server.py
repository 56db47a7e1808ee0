"""The server of a one-shot round: exact whoever vanishes, and a name for every client or member that bends it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.errors import BadMaskKey, BadPlan, ImplausibleSum, Misused, TooFewClients, TooFewMembers
from protocols.messages import Aggregate, Result, digest_of
from protocols.oneshot import client as clients
from protocols.oneshot import epoch as names
from protocols.oneshot import server as servers
from protocols.oneshot.messages import Concealed, Included, OpenOneShot, Summed
from protocols.party import APP, SELF, Deadline, Failed, Party, PartyId, Wait
from protocols.plan import Agreement, RoundPlan, context_of
from protocols.submission import words_of
from secagg.keys import AgreementKey, Context
from secagg.prg import Stream
from secagg.quorum import Quorum
from secagg.rlwe import conceal, draw_secret
from secagg.shamir import PACKED_PRIME, combine_packed, deal_packed
from tests.protocols.oneshot.kit import (
    FIRST_MEMBER,
    PATIENT,
    WIDE,
    Company,
    change_for,
    noted,
    off_by,
    opened,
    plan_of,
    same,
    seed,
)
from tests.rows import rows

VICTIM = PartyId(1)


@pytest.fixture
def company() -> Company:
    return Company()


def member(place: int) -> PartyId:
    return PartyId(FIRST_MEMBER + place - 1)


# --- exact


@pytest.mark.parametrize("quorum", [Quorum(2, 1, 0), Quorum(5, 1, 1), WIDE, PATIENT, Quorum.usual(20)], ids=str)
@pytest.mark.parametrize("lost", [(), (2,), (0, 5), (1, 3, 4)], ids=str)
def test_the_sum_is_the_ideal_one_whoever_vanishes(quorum: Quorum, lost: tuple[int, ...]) -> None:
    company = Company(quorum)
    silent = tuple(map(PartyId, lost))
    survivors = [who for who in company.ids if who not in silent]
    for away in itertools.islice(itertools.combinations(company.places, quorum.offline), 8):
        company.members = {place: company.member(place) for place in company.places}
        company.convened()
        server, asked = company.opening(*silent)
        out = company.play(server, asked, silent=away)
        assert same(opened(out), company.ideal(survivors))
        assert noted(out) == []


def test_the_first_answers_that_suffice_end_the_round_and_later_ones_are_not_read(company: Company) -> None:
    server, asked = company.opening()
    for place in company.places[:3]:
        assert server.receive(member(place), company.answer(place, asked[place])) == []
    out = server.receive(member(4), company.answer(4, asked[4]))
    assert same(opened(out), company.ideal(company.ids))
    assert isinstance(server.state, servers.Closed)
    late = replace(company.answer(5, asked[5]), question=bytes(32))
    assert server.receive(member(5), late) == []


def test_the_result_is_published_to_who_is_in_it(company: Company) -> None:
    server, asked = company.opening(VICTIM)
    out = company.play(server, asked)
    [published] = [each for each in out if isinstance(each.message, Result)]
    assert published.to == tuple(who for who in company.ids if who != VICTIM)
    assert published.message == Result(company.context, digest_of(company.context, opened(out)))


def test_everybody_is_asked_about_the_same_clients_and_shown_its_own_shares(company: Company) -> None:
    server, asked = company.opening(VICTIM)
    assert list(asked) == list(company.places)
    for place, question in asked.items():
        said = question.contributions
        assert [each.who for each in said] == [who for who in company.ids if who != VICTIM]
        assert [each.box for each in said] == [company.upload(each.who).boxes[place - 1] for each in said]
    assert server.state.survivors == tuple(each.who for each in asked[1].contributions)


@pytest.mark.parametrize("order", [(5, 4, 3, 2, 1), (3, 1, 5, 2, 4)], ids=str)
def test_answers_come_in_any_order(company: Company, order: tuple[int, ...]) -> None:
    server, asked = company.opening()
    assert same(opened(company.play(server, asked, order=order)), company.ideal(company.ids))


def test_a_server_that_was_stored_at_every_step_opens_the_same(company: Company) -> None:
    server = company.summing()
    own = server.state.known

    def stored() -> None:
        kept = codec.freeze(server.state)
        server.state = codec.thaw(type(server.state), kept, {servers.Known: own})
        assert codec.freeze(server.state) == kept

    for who in company.ids:
        stored()
        out = server.receive(who, company.upload(who))
    asked = company.questions(out)
    for place in company.places[:4]:
        stored()
        out = server.receive(member(place), company.answer(place, asked[place]))
    assert same(opened(out), company.ideal(company.ids))


# --- what cannot begin


@rows("D24")
@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (lambda c: {"invited": (*c.ids[1:], PartyId(77))}, "clients \\[77\\] are invited but"),
        (lambda c: {"invited": c.ids[:2]}, "2 clients are invited; the plan allows 3..6"),
        (lambda c: {"agreement": c.agreed(key=bytes(32))}, "names another committee"),
        (lambda c: {"certificate": c.forged(replace(c.epoch, task="other"))}, "names another committee"),
    ],
    ids=["strangers", "too few", "another committee", "another certificate"],
)
def test_a_round_that_cannot_be_is_not_begun(
    row: str, company: Company, bend: Callable[[Company], dict[str, Any]], said: str
) -> None:
    server = company.server()
    with pytest.raises(Misused, match=said):
        server.receive(APP, company.begin(**bend(company)))
    assert isinstance(server.state, servers.Unopened)


@rows("D24")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "other"}, "this committee serves task 'other'"),
        ({"min_cohort": 3}, "opens sums over 3..6 clients, the round is for others"),
        ({"clients": 5}, "opens sums over 3..5 clients, the round is for others"),
    ],
    ids=["task", "cohort", "clients"],
)
def test_a_committee_for_other_rounds_is_not_asked(
    row: str, company: Company, changes: dict[str, Any], said: str
) -> None:
    certificate = company.forged(replace(company.epoch, **changes))
    plan = plan_of(min_cohort=4) if "min_cohort" in changes else company.plan
    agreement = company.agreed(key=certificate.digest, plan=plan)
    with pytest.raises(Misused, match=said):
        company.server().receive(APP, servers.Begin(agreement, certificate, company.ids))


@rows("D24")
def test_members_that_are_not_all_known_are_not_asked(row: str, company: Company) -> None:
    known = servers.Known(company.known, company.parties[:-1], company.own_of_member(1).verify)
    server = Party(servers.server, servers.Unopened(known))
    with pytest.raises(Misused, match="4 parties are known as members of a committee of 5"):
        server.receive(APP, company.begin())


def test_a_plan_that_no_mask_carries_is_not_begun(company: Company) -> None:
    wide = RoundPlan.recommend(
        6, corrupt=Fraction(0), bits=24, max_weight=2**22, min_cohort=3, task="t", protocol="oneshot"
    )
    with pytest.raises(BadPlan, match="lower the bits or the clients"):
        company.server().receive(APP, company.begin(agreement=company.agreed(plan=wide)))


def test_the_invitation_goes_to_the_invited_and_the_room_has_its_time(company: Company) -> None:
    letter, wait = company.server().receive(APP, company.begin(invited=company.ids[:4]))
    assert (letter.to, letter.message) == (company.ids[:4], OpenOneShot(company.agreement, company.certificate))
    assert (wait.to, wait.message) == ((APP,), Wait("Summing", company.plan.patience_seconds))


# --- uploads


def left_out(company: Company, letter: Concealed) -> tuple[str, str]:
    """What is said of the victim for this letter; nothing of it is in the sum, and the others' sum is exact."""
    server = company.summing()
    before = server.state.total.tobytes()
    [note] = server.receive(VICTIM, letter)
    assert (note.to, note.message.peer) == ((APP,), VICTIM)
    assert server.state.total.tobytes() == before
    assert VICTIM not in server.state.arrived
    others = [who for who in company.ids if who != VICTIM]
    for who in others:
        assert server.receive(who, company.upload(who)) == []
    asked = company.questions(server.receive(SELF, Deadline("Summing")))
    assert same(opened(company.play(server, asked)), company.ideal(others))
    return note.message.error, note.message.why


@rows("C2")
@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (lambda m: {"vector": bytes(m.vector)[:-1]}, "bytes where"),
        (lambda m: {"vector": bytes(m.vector) + b"\0"}, "bytes where"),
        (lambda m: {"vector": b""}, "sent 0 bytes"),
        (lambda m: {"boxes": m.boxes[:-1]}, "4 shares for 5 members"),
        (lambda m: {"boxes": (*m.boxes, m.boxes[0])}, "6 shares for 5 members"),
        (lambda m: {"boxes": ()}, "0 shares for 5 members"),
        (lambda m: {"boxes": (bytes(m.boxes[0])[:-1], *m.boxes[1:])}, "a sealed share that is not"),
        (lambda m: {"boxes": (*m.boxes[:-1], b"")}, "a sealed share that is not"),
    ],
    ids=["short", "long", "empty", "a box less", "a box more", "no box", "short box", "empty box"],
)
def test_an_upload_of_another_shape_is_left_out(
    row: str, company: Company, bend: Callable[[Concealed], dict[str, Any]], said: str
) -> None:
    honest = company.upload(VICTIM)
    error, why = left_out(company, company.signed(VICTIM, honest, **bend(honest)))
    assert error == "ShapeMismatch"
    assert said in why


@rows("M13")
@pytest.mark.parametrize("case", ["forged", "another's", "another round", "another key", "another committee"])
def test_an_upload_that_its_client_did_not_sign_is_left_out(row: str, company: Company, case: str) -> None:
    honest, sign = company.upload(VICTIM), company.identities[VICTIM].sign
    other = company.upload(PartyId(2))
    letter = {
        "forged": replace(honest, signature=bytes(64)),
        "another's": other,
        "another round": replace(
            honest,
            signature=sign(names.upload_text(Context(bytes(32)), company.epoch.context, VICTIM, honest.box_key)),
        ),
        "another key": replace(honest, box_key=other.box_key),
        "another committee": replace(
            honest, signature=sign(names.upload_text(company.context, bytes(32), VICTIM, honest.box_key))
        ),
    }[case]
    assert left_out(company, letter)[0] == "BadSignature"


@rows("M12")
@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["zero", "one", "not canonical"])
def test_an_upload_under_a_key_that_agrees_on_nothing_is_left_out(row: str, company: Company, point: bytes) -> None:
    """No member could read its shares, and the others' round would be lost with it."""
    assert left_out(company, company.signed(VICTIM, company.upload(VICTIM), box_key=point))[0] == "KeyMismatch"


@rows("C11")
def test_the_first_upload_counts_and_the_second_is_a_duplicate(row: str, company: Company) -> None:
    server = company.summing()
    assert server.receive(VICTIM, company.upload(VICTIM)) == []
    before = server.state.total.tobytes()
    assert noted(server.receive(VICTIM, company.upload(VICTIM))) == [(VICTIM, "Duplicate")]
    assert server.state.total.tobytes() == before


@rows("D11")
def test_an_upload_of_who_is_not_invited_is_out_of_turn(row: str, company: Company) -> None:
    server = company.server()
    server.receive(APP, company.begin(invited=company.ids[:4]))
    outsider = company.ids[5]
    assert noted(server.receive(outsider, company.upload(outsider))) == [(outsider, "OutOfTurn")]
    assert server.state.arrived == {}


@rows("C15")
def test_what_is_said_in_another_room_is_out_of_turn(row: str, company: Company) -> None:
    server = company.summing()
    letter = Summed(company.context, bytes(32), b"")
    assert noted(server.receive(member(1), letter)) == [(member(1), "OutOfTurn")]
    unopened = company.server()
    assert noted(unopened.receive(VICTIM, company.upload(VICTIM))) == [(VICTIM, "OutOfTurn")]
    opening, asked = company.opening(VICTIM)
    assert noted(opening.receive(VICTIM, company.upload(VICTIM))) == [(VICTIM, "OutOfTurn")]
    assert noted(opening.receive(VICTIM, company.answer(1, asked[1]))) == [(VICTIM, "OutOfTurn")]
    assert opening.state.arrived == {}
    assert same(opened(company.play(opening, asked)), company.ideal(asked_about(asked)))


def asked_about(asked: dict[int, Included]) -> list[PartyId]:
    return [each.who for each in asked[1].contributions]


@rows("D14")
def test_the_deadline_of_another_room_closes_nothing(row: str, company: Company) -> None:
    server = company.summing()
    state = server.state
    assert server.receive(SELF, Deadline("Opening")) == []
    assert server.state is state
    opening, _ = company.opening()
    room = opening.state
    assert opening.receive(SELF, Deadline("Summing")) == []
    assert opening.state is room


@rows("D10")
@pytest.mark.parametrize("have", [0, 1, 2])
def test_fewer_uploads_than_a_cohort_are_never_opened(row: str, company: Company, have: int) -> None:
    server = company.summing()
    for who in company.ids[:have]:
        server.receive(who, company.upload(who))
    with pytest.raises(TooFewClients) as caught:
        server.receive(SELF, Deadline("Summing"))
    assert (caught.value.have, caught.value.need, caught.value.room) == (have, 3, "Summing")
    assert isinstance(server.state, Failed)


# --- answers


@rows("C8")
@pytest.mark.parametrize(
    ("bend", "error"),
    [
        (lambda m: replace(m, question=bytes(32)), "ViewMismatch"),
        (lambda m: replace(m, context=bytes(32)), "ViewMismatch"),
        (lambda m: replace(m, shares=None, unreadable=(PartyId(77),)), "ViewMismatch"),
        (lambda m: replace(m, shares=bytes(m.shares)[:-4]), "ShapeMismatch"),
        (lambda m: replace(m, shares=bytes(m.shares)[:-1]), "ShapeMismatch"),
        (lambda m: replace(m, shares=bytes(m.shares) + bytes(4)), "ShapeMismatch"),
        (lambda m: replace(m, shares=b""), "ShapeMismatch"),
        (lambda m: replace(m, shares=bytes(m.shares)[:-4] + PACKED_PRIME.to_bytes(4, "little")), "BadShare"),
        (lambda m: replace(m, shares=b"\xff" * len(m.shares)), "BadShare"),
    ],
    ids=["question", "context", "stranger", "word less", "byte less", "longer", "empty", "p", "all ones"],
)
def test_an_answer_that_is_none_is_ignored_by_name(
    row: str, company: Company, bend: Callable[[Summed], Summed], error: str
) -> None:
    server, asked = company.opening()
    out = company.play(server, asked, bend={2: bend})
    assert noted(out) == [(member(2), error)]
    assert same(opened(out), company.ideal(company.ids))


def test_an_honest_answer_after_one_that_was_none_still_counts(company: Company) -> None:
    server, asked = company.opening()
    honest = company.answer(2, asked[2])
    assert noted(server.receive(member(2), replace(honest, question=bytes(32)))) == [(member(2), "ViewMismatch")]
    assert server.receive(member(2), honest) == []
    assert noted(server.receive(member(2), honest)) == [(member(2), "Duplicate")]


@rows("D10")
def test_fewer_answers_than_it_takes_open_nothing_and_who_is_silent_is_named(row: str, company: Company) -> None:
    server, asked = company.opening()
    with pytest.raises(TooFewMembers) as caught:
        company.play(server, asked, silent=(1, 4))
    lost = caught.value
    assert (lost.have, lost.need, lost.room, lost.missing) == (3, 4, "Opening", (member(1), member(4)))
    assert lost.culprits == ()
    assert isinstance(server.state, Failed)


def complaining(*clients: int) -> Callable[[Summed], Summed]:
    return lambda letter: replace(letter, shares=None, unreadable=tuple(map(PartyId, clients)))


@rows("C10")
def test_clients_whose_shares_nobody_reads_are_named_when_the_round_is_lost(row: str, company: Company) -> None:
    server, asked = company.opening()
    with pytest.raises(TooFewMembers) as caught:
        company.play(server, asked, bend={1: complaining(3, 4), 2: complaining(1)}, silent=(5,))
    assert (caught.value.have, caught.value.missing, caught.value.culprits) == (2, (member(5),), (1, 3, 4))


def test_a_client_that_deals_garbage_costs_its_round_and_is_named(company: Company) -> None:
    honest = company.upload(VICTIM)
    company.uploads[VICTIM] = replace(honest, boxes=tuple(bytes(len(box)) for box in honest.boxes))
    server, asked = company.opening()
    with pytest.raises(TooFewMembers) as caught:
        company.play(server, asked)
    assert (caught.value.have, caught.value.missing, caught.value.culprits) == (0, (), (VICTIM,))


def test_who_deals_garbage_to_one_member_is_noted_and_the_round_goes_on(company: Company) -> None:
    honest = company.upload(VICTIM)
    company.uploads[VICTIM] = replace(honest, boxes=(bytes(len(honest.boxes[0])), *honest.boxes[1:]))
    server, asked = company.opening()
    out = company.play(server, asked)
    assert noted(out) == [(VICTIM, "BadShare")]
    assert same(opened(out), company.ideal(company.ids))
    [note] = [each.message for each in out if each.to == (APP,) and not isinstance(each.message, Aggregate)]
    assert note.why == f"dealt what is no share, say members [{member(1)}]"


# --- members that lie


@pytest.mark.parametrize("liar", [1, 2, 3, 4])
@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_member_that_lies_in_one_word_is_left_out_by_name(company: Company, liar: int, place: int) -> None:
    server, asked = company.opening()
    out = company.play(server, asked, bend={liar: off_by((place, 123_456_789))})
    assert noted(out) == [(member(liar), "BadShare")]
    assert same(opened(out), company.ideal(company.ids))


def test_a_lie_that_comes_last_is_left_out_unread_and_unnamed(company: Company) -> None:
    server, asked = company.opening()
    out = company.play(server, asked, bend={5: off_by((0, 1))})
    assert noted(out) == []
    assert same(opened(out), company.ideal(company.ids))


@pytest.mark.parametrize("shift", ["1", "-3", "half of 2^g", "2^g"])
@pytest.mark.parametrize("liar", [1, 4])
def test_a_member_that_shifts_the_sum_of_keys_by_what_it_likes_is_left_out_by_name(
    company: Company, liar: int, shift: str
) -> None:
    """With one secret in a polynomial it knows what its lie comes to; off by little, keys still look like keys."""
    half = 1 << (company.shape.mask.guard_bits - 1)
    by = {"1": 1, "-3": -3, "half of 2^g": half, "2^g": 2 * half}[shift]
    change = change_for(company.quorum, (1, 2, 3, 4), liar, by)
    server, asked = company.opening()
    out = company.play(server, asked, bend={liar: off_by((17, change))})
    assert noted(out) == [(member(liar), "BadShare")]
    assert same(opened(out), company.ideal(company.ids))


@rows("C8")
@pytest.mark.parametrize(("quorum", "shifts"), [(WIDE, (1, 3)), (Quorum.usual(10), (3, 11))], ids=str)
def test_so_it_is_where_a_small_lie_is_small_in_every_secret(row: str, quorum: Quorum, shifts: tuple[int, int]) -> None:
    company = Company(quorum)
    base = tuple(range(1, quorum.needed + 1))
    change = change_for(quorum, base, 1, shifts[0])
    server, asked = company.opening()
    room = server.state
    for place in base:
        letter = company.answer(place, asked[place])
        assert server.receive(member(place), off_by((17, change))(letter) if place == 1 else letter) == []
    secret = combine_packed(room.shares(), quorum, 2048)
    last = company.places[-1]
    out = server.receive(member(last), company.answer(last, asked[last]))
    assert noted(out) == [(member(1), "BadShare")]
    assert same(opened(out), company.ideal(company.ids))
    truth = combine_packed({place: room.shares()[place] for place in range(2, last + 1)}, quorum, 2048)
    assert tuple((secret - truth)[[17, 17 + company.epoch.rows]]) == shifts


def test_without_a_look_at_the_mask_that_lie_would_cost_the_round(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test: what the lie rebuilds does look like a sum of keys."""
    monkeypatch.setattr(servers, "fits", lambda room, secret: np.abs(secret).max() < 200)
    change = change_for(company.quorum, (1, 2, 3, 4), 1, 1)
    server, asked = company.opening()
    with pytest.raises(BadMaskKey, match="an upload is not masked"):
        company.play(server, asked, bend={1: off_by((17, change))})


@rows("C8")
@pytest.mark.parametrize(
    ("liars", "heard"), [((1, 2), (1, 2)), ((3, 6), (3, 6)), ((1, 7), (1, 7)), ((5, 8), (5,)), ((7, 8), ())], ids=str
)
def test_as_many_liars_as_may_be_away_are_left_out_by_name(
    row: str, liars: tuple[int, ...], heard: tuple[int, ...]
) -> None:
    """Whoever would have spoken after the round was over is not even read."""
    company = Company(PATIENT)
    server, asked = company.opening()
    out = company.play(server, asked, bend={liar: off_by((3, 7 + liar)) for liar in liars})
    assert noted(out) == [(member(liar), "BadShare") for liar in heard]
    assert same(opened(out), company.ideal(company.ids))


@rows("C9")
def test_more_liars_than_can_be_left_out_cost_the_round_and_give_no_wrong_sum(row: str, company: Company) -> None:
    server, asked = company.opening()
    with pytest.raises(BadMaskKey, match="no 4 of 5 answers take the mask off"):
        company.play(server, asked, bend={1: off_by((3, 7)), 2: off_by((4, 9))})
    assert isinstance(server.state, Failed)


def test_a_liar_and_a_silent_member_are_one_too_many(company: Company) -> None:
    server, asked = company.opening()
    with pytest.raises(BadMaskKey, match="no 4 of 4 answers"):
        company.play(server, asked, bend={1: off_by((3, 7))}, silent=(5,))


def test_no_more_choices_are_tried_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    company = Company(PATIENT)
    server, asked = company.opening()
    tried: list[tuple[int, ...]] = []

    def counted(shares: Any, *rest: Any) -> Any:
        tried.append(tuple(shares))
        return combine_packed(shares, *rest)

    monkeypatch.setattr(servers, "combine_packed", counted)
    monkeypatch.setattr(servers, "MOST_TRIED", 5)
    with pytest.raises(BadMaskKey):
        company.play(server, asked, bend={1: off_by((3, 7)), 2: off_by((4, 9))})
    # After six answers all agree; of seven and eight there are more choices than may be tried one by one.
    assert len(tried) == 1


@rows("C9")
def test_of_many_members_those_that_are_off_are_found_at_once(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 4,060 choices of 27 among 30; the two that lie stand where the last of them would leave them out."""
    company = Company(Quorum(30, 6, 3))
    server, asked = company.opening()
    monkeypatch.setattr(servers, "MOST_TRIED", 0)
    out = company.play(server, asked, bend={1: off_by((3, 7), (9, 2)), 2: off_by((4, 9), (8, 8))})
    assert noted(out) == [(member(1), "BadShare"), (member(2), "BadShare")]
    assert same(opened(out), company.ideal(company.ids))


# --- uploads that are not masked as agreed


def concealed_by(
    company: Company, who: PartyId, bend: Callable[[np.ndarray[Any, Any]], None], words: bool = False
) -> Concealed:
    """What a client says whose elements, or extras in 64-bit words, are bent before it masks and deals honestly."""
    company.upload(who)
    shape, submitted, context = company.shape, company.submitted[who], company.context
    extras = words_of(company.agreement, shape.coding, shape.extras, submitted)
    if words:
        bend(extras)
    elements = shape.elements(submitted.vector, extras)
    if not words:
        bend(elements)
    root = seed("lying root", who)
    secret, pair = draw_secret(seed("lying secret", who)), AgreementKey(seed("lying pair", who))
    vector = conceal(shape.mask, elements, secret, seed("lying errors", who), context)
    boxes = clients.sealed_shares(who, company.certificate, secret, root, context, pair)
    letter = Concealed(shape.mask.ring.pack(vector), pair.public, bytes(64), boxes)
    return company.signed(who, letter)


def test_a_client_that_masks_another_vector_honestly_is_in_the_sum(company: Company) -> None:
    """So that each of the following is refused for what it is refused for."""
    company.uploads[VICTIM] = concealed_by(company, VICTIM, lambda elements: None)
    server, asked = company.opening()
    assert same(opened(company.play(server, asked)), company.ideal(company.ids))


@rows("C1")
@pytest.mark.parametrize("place", [0, 150, 299])
def test_a_vector_that_contradicts_its_checksum_is_no_sum(row: str, company: Company, place: int) -> None:
    def bend(elements: np.ndarray[Any, Any]) -> None:
        elements[place] += 1

    company.uploads[VICTIM] = concealed_by(company, VICTIM, bend)
    server, asked = company.opening()
    with pytest.raises(ImplausibleSum, match="contradicts its checksum") as caught:
        company.play(server, asked)
    assert type(caught.value) is ImplausibleSum
    assert isinstance(server.state, Failed)


@rows("C6")
@pytest.mark.parametrize(
    ("word", "value", "said"),
    [(0, 1000, "cannot have a weight sum"), (0, 2**64 - 100, "cannot have a weight sum"), (2, 2**50, "metric sums")],
    ids=["heavy", "negative", "metric"],
)
def test_weights_and_metrics_that_cannot_be_are_no_sum(
    row: str, company: Company, word: int, value: int, said: str
) -> None:
    def bend(words: np.ndarray[Any, Any]) -> None:
        words[word] = value

    company.uploads[VICTIM] = concealed_by(company, VICTIM, bend, words=True)
    server, asked = company.opening()
    with pytest.raises(ImplausibleSum, match=said):
        company.play(server, asked)


def garbage(letter: Concealed, start: int = 0) -> bytes:
    """The vector's bytes from here on are noise."""
    size = len(letter.vector)
    return bytes(letter.vector)[:start] + Stream(seed("noise", 0)).bytes(0, size - start)


def test_a_vector_of_noise_costs_the_round_and_gives_no_wrong_sum(company: Company) -> None:
    honest = company.upload(VICTIM)
    company.uploads[VICTIM] = replace(honest, vector=garbage(honest))
    server, asked = company.opening()
    with pytest.raises(BadMaskKey, match="did not mask as agreed"):
        company.play(server, asked)


def test_where_all_answers_agree_and_open_nothing_no_other_choice_of_them_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against: a client whose garbage has the server rebuild the same key hundreds of times."""
    company = Company(PATIENT)
    honest, tried = company.upload(VICTIM), []
    company.uploads[VICTIM] = replace(honest, vector=garbage(honest))
    server, asked = company.opening()

    def counted(shares: Any, *rest: Any) -> Any:
        tried.append(tuple(shares))
        return combine_packed(shares, *rest)

    monkeypatch.setattr(servers, "combine_packed", counted)
    with pytest.raises(BadMaskKey):
        company.play(server, asked)
    # After six answers, after seven, and when all eight close the room.
    assert tried == [(1, 2, 3, 4, 5, 6)] * 3


@rows("C1")
def test_noise_behind_the_first_polynomial_costs_the_round_when_it_is_opened(row: str) -> None:
    company = Company(length=8000)
    mask, honest = company.shape.mask, company.upload(VICTIM)
    assert mask.blocks == 2
    words = mask.ring.unpack(honest.vector, mask.coefficients)
    words[-1] += np.uint64(1 << (mask.guard_bits - 1))
    company.uploads[VICTIM] = replace(honest, vector=mask.ring.pack(words))
    server, asked = company.opening()
    with pytest.raises(BadMaskKey, match="an upload is not masked as the others are"):
        company.play(server, asked)
    assert isinstance(server.state, Failed)


def test_a_client_that_deals_one_key_and_masks_with_another_costs_the_round(company: Company) -> None:
    """Its shares are shares, of a key that does not open its vector."""
    honest, other = company.upload(VICTIM), concealed_by(company, VICTIM, lambda elements: None)
    company.uploads[VICTIM] = company.signed(VICTIM, other, vector=honest.vector)
    server, asked = company.opening()
    with pytest.raises(BadMaskKey, match="did not mask as agreed"):
        company.play(server, asked)


def uneven(company: Company, who: PartyId, places: tuple[int, ...], change: int) -> Concealed:
    """What a client says that deals these members one word that is off."""

    def dealt(*arguments: Any) -> Any:
        shares = deal_packed(*arguments)
        for place in places:
            shares[place - 1, 9] = (int(shares[place - 1, 9]) + change) % PACKED_PRIME
        return shares

    with pytest.MonkeyPatch.context() as bent:
        bent.setattr(clients, "deal_packed", dealt)
        return concealed_by(company, who, lambda elements: None)


@pytest.mark.parametrize("place", [1, 3])
def test_uneven_dealing_to_one_member_is_survived_and_noted_of_the_member(company: Company, place: int) -> None:
    """Whether it lies or was dealt what is off, its answer cannot be used."""
    company.uploads[VICTIM] = uneven(company, VICTIM, (place,), 5)
    server, asked = company.opening()
    out = company.play(server, asked)
    assert noted(out) == [(member(place), "BadShare")]
    assert same(opened(out), company.ideal(company.ids))


def test_uneven_dealing_to_many_costs_the_round_and_gives_no_wrong_sum(company: Company) -> None:
    company.uploads[VICTIM] = uneven(company, VICTIM, (1, 2), 5)
    server, asked = company.opening()
    with pytest.raises(BadMaskKey, match="dealt unevenly"):
        company.play(server, asked)


def test_two_that_deal_unevenly_so_that_it_cancels_are_in_an_exact_sum(company: Company) -> None:
    """They might as well have dealt evenly: what counts is the sum of keys."""
    one, other = company.ids[:2]
    company.uploads[one] = uneven(company, one, (1, 2), 5)
    company.uploads[other] = uneven(company, other, (1, 2), -5)
    server, asked = company.opening()
    out = company.play(server, asked)
    assert noted(out) == []
    assert same(opened(out), company.ideal(company.ids))


def test_the_question_names_context_committee_and_texts() -> None:
    company = Company()
    context, committee = company.context, company.epoch.context
    texts = [names.upload_text(context, committee, who, bytes(32)) for who in company.ids]
    asked = names.question_of(context, committee, texts)
    others = [
        names.question_of(committee, committee, texts),
        names.question_of(context, context, texts),
        names.question_of(context, committee, texts[:-1]),
        names.question_of(context, committee, texts[::-1]),
    ]
    assert len({asked, *others}) == 5


def test_an_agreement_of_another_committee_is_another_context(company: Company) -> None:
    other: Agreement = company.agreed(key=bytes(32))
    assert Context(company.context) != context_of(other)
