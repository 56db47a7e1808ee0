"""An encrypted round: exact whoever vanishes, and a name for everybody who bends it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols.ckks import epoch as names
from protocols.ckks import server as servers
from protocols.ckks.client import Done, Idle
from protocols.ckks.client import Ready as Prepared
from protocols.ckks.holder import Holding
from protocols.ckks.keys import Openers
from protocols.ckks.messages import Certificate, Ciphertext, EncryptedSum, OpenEncrypted, Partial
from protocols.ckks.questions import MOST_RETRIES
from protocols.ckks.server import Tried
from protocols.errors import (
    AlreadyAnswered,
    BadPlan,
    BadSignature,
    CohortTooSmall,
    ImplausibleSum,
    KeyMismatch,
    Misbehaved,
    Misused,
    OutOfTurn,
    PolicyViolation,
    Replay,
    ShapeMismatch,
    TooFewClients,
    TooFewMembers,
    Undecodable,
    ViewMismatch,
    WrongUpdate,
)
from protocols.messages import Aggregate
from protocols.party import APP, SELF, SERVER, Deadline, Failed, Party, PartyId
from protocols.plan import NoisePlan, context_of
from secagg.ckks.cipher import add_into
from secagg.ckks.plan import Keys, Mode
from secagg.ckks.wire import largest, pack_into, unpack
from secagg.negacyclic import PRIME, N
from tests.protocols.ckks.kit import FIRST_HOLDER, LENGTH, LOST, PLAN, Company, as_it_is

VICTIM = PartyId(1)


def same(one: Aggregate, other: Aggregate) -> bool:
    return (
        np.array_equal(one.total, other.total)
        and one.weight_sum == other.weight_sum
        and one.metrics == other.metrics
        and one.survivors == other.survivors
    )


@pytest.fixture
def company() -> Company:
    return Company()


@pytest.fixture
def certificate(company: Company) -> Certificate:
    return company.certificate()


def losing(*pairs: tuple[type[Any], int]) -> Any:
    """Loses every letter of these kinds from these parties."""

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        return LOST if any(isinstance(message, kind) and who == lost for kind, lost in pairs) else message

    return bend


# --- exact --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost_clients", "lost_holders"),
    [((), ()), ((2,), ()), ((0, 5), ()), ((), (0,)), ((), (4,)), ((3, 4), (2,))],
)
def test_the_sum_is_the_ideal_one_whoever_vanishes(
    company: Company, certificate: Certificate, lost_clients: tuple[int, ...], lost_holders: tuple[int, ...]
) -> None:
    company.bend = losing(
        *((Ciphertext, who) for who in lost_clients), *((Partial, FIRST_HOLDER + n) for n in lost_holders)
    )
    opened = company.round(certificate)
    survivors = [who for who in company.client_ids if who not in lost_clients]
    assert list(opened.survivors) == survivors
    assert same(opened, company.ideal(survivors, certificate))
    assert not company.failures


def test_one_key_serves_many_rounds_until_its_openings_are_spent(company: Company, certificate: Certificate) -> None:
    for number in range(certificate.epoch.plan.keys.openings - 2):
        opened = company.round(certificate, number)
        assert same(opened, company.ideal(company.client_ids, certificate, number))
    with pytest.raises(TooFewMembers):
        company.round(certificate, 99)
    assert {type(error) for error in company.failures.values()} == {PolicyViolation}


def test_noise_passes_through_unchanged() -> None:
    noisy = replace(PLAN, noise=NoisePlan(Fraction(1), 0, 20), max_weight=1, metrics=(), clip=Fraction(1))
    company = Company(plan=noisy)
    certificate = company.certificate()
    opened = company.round(certificate)
    assert same(opened, company.ideal(company.client_ids, certificate))


def test_fewer_uploads_than_a_cohort_are_never_opened(company: Company, certificate: Certificate) -> None:
    company.bend = losing(*((Ciphertext, who) for who in range(company.plan.max_clients - company.plan.min_cohort + 1)))
    with pytest.raises(TooFewClients):
        company.round(certificate)


def test_fewer_holders_than_the_threshold_open_nothing(company: Company, certificate: Certificate) -> None:
    company.bend = losing((Partial, FIRST_HOLDER), (Partial, FIRST_HOLDER + 3))
    with pytest.raises(TooFewMembers) as caught:
        company.round(certificate)
    assert caught.value.missing == (FIRST_HOLDER, FIRST_HOLDER + 3)


def answering_rubbish(certificate: Certificate, *liars: int) -> Any:
    """These holders, by place, answer with well-formed numbers that mean nothing."""
    width = names.partial_width(certificate.epoch.plan)

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if who - FIRST_HOLDER + 1 not in liars or not isinstance(message, Partial):
            return message
        rubbish = np.random.default_rng(0).integers(0, 1 << 50, len(message.part) // width, dtype=np.uint64)
        part = bytearray(len(message.part))
        pack_into(part, rubbish, width)
        return replace(message, part=bytes(part))

    return bend


@pytest.mark.parametrize("liar", [1, 2])
def test_a_holder_that_answers_rubbish_is_left_out_of_the_next_set(
    company: Company, certificate: Certificate, liar: int
) -> None:
    company.bend = answering_rubbish(certificate, liar)
    opened = company.round(certificate)
    assert same(opened, company.ideal(company.client_ids, certificate))
    [note] = company.excluded
    assert (note.peer, note.error) == (FIRST_HOLDER + liar - 1, "BadShare")
    assert note.why == "every set of holders with it opened rubbish, and the first without did not"
    assert not company.failures


def adding_one(certificate: Certificate, coordinate: int) -> Any:
    """The first holder bends its answer so that this opened coordinate is one larger, and nothing else is seen."""
    plan = certificate.epoch.plan
    width, row = names.partial_width(plan), plan.digits * N
    digit, place = divmod(coordinate % row, N)

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if who != FIRST_HOLDER or not isinstance(message, Partial):
            return message
        part = unpack(message.part, plan.blocks * N, width)
        more = np.zeros_like(part)
        more[coordinate // row * N + place] = 1 << (plan.guard + digit * plan.bits)
        add_into(part, more)
        packed = bytearray(len(message.part))
        pack_into(packed, part, width)
        return replace(message, part=packed)

    return bend


@pytest.mark.parametrize(
    "coordinate",
    # Weight, checksum and one metric have a limb each in a row; the last row is the highest.
    [0, LENGTH, LENGTH + 1, LENGTH + 2, -1],
    ids=["vector", "weight", "checksum", "metric", "highest limb"],
)
def test_an_answer_that_makes_one_opened_number_larger_is_no_sum(
    company: Company, certificate: Certificate, coordinate: int
) -> None:
    """What was rounded away is as it should be; the checksum covers the other extras as it covers the vector."""
    company.bend = adding_one(certificate, coordinate % certificate.epoch.plan.dimension)
    opened = company.round(certificate)
    assert same(opened, company.ideal(company.client_ids, certificate))
    assert [(note.peer, note.error) for note in company.excluded] == [(FIRST_HOLDER, "BadShare")]


def test_an_answer_that_moves_from_one_coordinate_to_another_is_no_sum(
    company: Company, certificate: Certificate
) -> None:
    """A plain sum would stay the same; the fingerprint weighs each coordinate by what the liar does not know."""
    plan, width = certificate.epoch.plan, names.partial_width(certificate.epoch.plan)

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if who != FIRST_HOLDER or not isinstance(message, Partial):
            return message
        part = unpack(message.part, plan.blocks * N, width)
        more = np.zeros_like(part)
        more[0], more[1] = 20 << plan.guard, PRIME - (20 << plan.guard)
        add_into(part, more)
        packed = bytearray(len(message.part))
        pack_into(packed, part, width)
        return replace(message, part=packed)

    company.bend = bend
    opened = company.round(certificate)
    assert same(opened, company.ideal(company.client_ids, certificate))
    assert [(note.peer, note.error) for note in company.excluded] == [(FIRST_HOLDER, "BadShare")]


def test_the_key_of_few_holders_is_refused_by_whoever_pins_many(company: Company) -> None:
    """With the others it pins left out, one corrupt holder of three would be enough to open two sums."""
    few = Company(keys=Keys(Mode.THRESHOLD, 3, 2, 8))
    certificate = few.certificate()
    strangers = frozenset(each.public for each in company.holder_ids) | frozenset(certificate.epoch.holders)
    with pytest.raises(PolicyViolation, match="a third of the 5 whom my policy pins"):
        opened_by_client(few, certificate, replace(few.policy(), holders=strangers))
    holder = few.holders[few.places[0]]
    wide = replace(few.holder_policy, holders=strangers)
    with pytest.raises(PolicyViolation, match="a third of those pinned is corrupt"):
        wide.check(certificate.epoch)
    assert isinstance(holder.state, Holding)


def test_a_key_for_smaller_sums_than_the_round_s_is_refused(company: Company, certificate: Certificate) -> None:
    small = replace(certificate, epoch=replace(certificate.epoch, min_cohort=3))
    agreement = replace(company.agreement(small.digest), plan=replace(PLAN, min_cohort=5))
    party = company.client(VICTIM)
    with pytest.raises(PolicyViolation, match="this round is for at least 5"):
        party.receive(SERVER, OpenEncrypted(agreement, small))


def test_holders_open_no_fewer_than_the_key_was_made_for() -> None:
    """Their own policy would allow three; noise was sized for five."""
    company = Company(plan=replace(PLAN, min_cohort=5))
    company.holder_policy = replace(company.holder_policy, min_cohort=3)
    certificate = company.certificate()
    asked: list[EncryptedSum] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, EncryptedSum):
            asked.append(message)
        return message

    company.bend = bend
    company.round(certificate)
    holder = company.holders[company.places[0]]
    holder.state = replace(holder.state, own=replace(holder.state.own, policy=company.holder_policy))
    with pytest.raises(CohortTooSmall, match="over 4 clients; 5 are required"):
        holder.receive(SERVER, drop(asked[0], 0, 1))


def test_where_two_are_left_out_together_it_is_one_of_them() -> None:
    company = Company(keys=Keys.recommended(7, 8))
    certificate = company.certificate()
    company.bend = answering_rubbish(certificate, 3)
    opened = company.round(certificate)
    assert same(opened, company.ideal(company.client_ids, certificate))
    assert [(note.peer, note.error) for note in company.excluded] == [
        (FIRST_HOLDER + 2, "BadShare"),
        (FIRST_HOLDER + 3, "BadShare"),
    ]
    assert all(f"one of [{FIRST_HOLDER + 2}, {FIRST_HOLDER + 3}]" in note.why for note in company.excluded)


def test_no_holder_is_asked_so_often_that_it_refuses() -> None:
    """Ten holders, all of whom lie: there would be further sets, but too few are left who were asked at most twice."""
    company = Company(keys=Keys.recommended(10, 8))
    certificate = company.certificate()
    company.bend = answering_rubbish(certificate, *range(1, 11))
    with pytest.raises(ImplausibleSum, match="4 sets of holders"):
        company.round(certificate)
    assert not company.failures
    assert all(isinstance(party.state, Holding) for party in company.holders.values())
    assert not company.excluded


def test_the_sets_that_follow_have_as_few_suspects_as_can_be() -> None:
    keys = Keys(Mode.THRESHOLD, 7, 5, 8)
    first, second = Openers((1, 2, 3, 4, 5)), Openers((3, 4, 5, 6, 7))
    assert Tried((), (), frozenset()).following(keys) == first
    assert Tried((first,), (), frozenset({2})).following(keys) == Openers((1, 3, 4, 5, 6))
    assert Tried((first,), (first,), frozenset()).following(keys) == second
    assert Tried((first, second), (first, second), frozenset()).following(keys) == Openers((1, 2, 5, 6, 7))
    assert Tried((first,), (first,), frozenset({6, 7})).following(keys) is None
    assert Tried((first,), (), frozenset({1, 2, 3})).following(keys) is None


def test_an_answer_for_an_earlier_set_is_not_taken_for_a_later_one(company: Company, certificate: Certificate) -> None:
    """Holder 1 is silent; what holder 2 said in the first set, with its weight there, comes again in the second."""
    server = company.server()
    early: list[Partial] = []

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, Partial) and who == FIRST_HOLDER:
            return LOST
        if not isinstance(message, Partial) or who > FIRST_HOLDER + 1:
            return message
        if message.openers == (1, 2, 3, 4):
            early.append(message)
            return message
        [note] = server.receive(who, early[-1])
        assert note.message.error == "ViewMismatch"
        assert note.message.why == "answers for holders (1, 2, 3, 4), asked are (2, 3, 4, 5)"
        return message

    company.bend = bend
    opened = company.round(certificate, server=server)
    assert early
    assert same(opened, company.ideal(company.client_ids, certificate))
    assert not company.failures


def test_the_late_deadline_of_an_earlier_set_closes_no_later_one(company: Company, certificate: Certificate) -> None:
    """Holder 2 lies, so the first set ends before its time, which runs out while the next ones are asked."""
    server, rubbish = company.server(), answering_rubbish(certificate, 2)
    rung: list[tuple[str, str]] = []

    def bend(who: PartyId, to: PartyId, message: Any) -> Any:
        if isinstance(message, Partial):
            sets = len(server.state.tried.sets)
            for late in ["Summing", "Opening", "Opening 2", "Opening 3"][:sets]:
                state = server.state
                assert server.receive(SELF, Deadline(late)) == []
                assert server.state is state
                rung.append((state.name, late))
        return rubbish(who, to, message)

    company.bend = bend
    opened = company.round(certificate, server=server)
    assert set(rung) == {
        ("Opening", "Summing"),
        ("Opening 2", "Summing"),
        ("Opening 2", "Opening"),
        *(("Opening 3", late) for late in ("Summing", "Opening", "Opening 2")),
    }
    assert same(opened, company.ideal(company.client_ids, certificate))


def test_the_deadline_of_a_later_set_closes_it(company: Company, certificate: Certificate) -> None:
    company.bend = losing((Partial, FIRST_HOLDER), (Partial, FIRST_HOLDER + 4))
    server = company.server()
    with pytest.raises(TooFewMembers, match="Opening") as caught:
        company.round(certificate, server=server)
    assert caught.value.missing == (FIRST_HOLDER, FIRST_HOLDER + 4)


def test_a_sum_that_no_set_of_holders_opens_is_called_rubbish_and_nobody_silent(
    company: Company, certificate: Certificate
) -> None:
    """One client's well-formed garbage: the holders did their part, and must not be named for it."""
    context = context_of(company.agreement(certificate.digest))

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if who != VICTIM or not isinstance(message, Ciphertext):
            return message
        bent = replace(message, c0=bytes([1, 2, 3]) * (len(message.c0) // 3))
        text = names.upload_text(context, certificate.digest, VICTIM, names.digest(bent.c0), names.digest(bent.c1), b"")
        return replace(bent, signature=company.client_ids[VICTIM].sign(text))

    company.bend = bend
    with pytest.raises(ImplausibleSum, match="3 sets of holders opened what is no sum"):
        company.round(certificate)


# --- clients that bend their upload -------------------------------------------------------------------


def too_large(message: Ciphertext) -> Ciphertext:
    """One residue above every legal one, in six bytes."""
    half = bytearray(message.c1)
    half[:] = b"\xff" * len(half)
    return replace(message, c1=bytes(half))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: replace(m, c0=bytes(m.c0)[:-1]), "ShapeMismatch"),
        (lambda m: replace(m, c1=bytes(m.c1) + b"\0"), "ShapeMismatch"),
        (lambda m: replace(m, c0=b"", c1=b"\x08\x80\x20"), "ShapeMismatch"),
        (lambda m: replace(m, c0=bytes(len(m.c0))), "BadSignature"),
        (lambda m: replace(m, c0=m.c1, c1=m.c0), "ShapeMismatch"),
        (lambda m: replace(m, signature=bytes(64)), "BadSignature"),
    ],
)
def test_a_bent_upload_is_left_out_by_name_and_the_others_go_on(
    company: Company, certificate: Certificate, change: Any, error: str
) -> None:
    company.bend = lambda who, _to, m: change(m) if who == VICTIM and isinstance(m, Ciphertext) else m
    opened = company.round(certificate)
    survivors = [who for who in company.client_ids if who != VICTIM]
    assert same(opened, company.ideal(survivors, certificate))
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, error)]


def test_a_residue_that_is_none_is_refused_even_with_a_good_signature(
    company: Company, certificate: Certificate
) -> None:
    plan = certificate.epoch.plan
    width = plan.width1
    if largest(width) == (1 << 8 * width) - 1:
        pytest.fail("take a plan whose second half has a width with room for illegal numbers")
    context = context_of(company.agreement(certificate.digest))

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if who != VICTIM or not isinstance(message, Ciphertext):
            return message
        bent = too_large(message)
        text = names.upload_text(context, certificate.digest, VICTIM, names.digest(bent.c0), names.digest(bent.c1), b"")
        return replace(bent, signature=company.client_ids[VICTIM].sign(text))

    company.bend = bend
    company.round(certificate)
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, "BadCiphertext")]


def test_a_second_upload_counts_for_nothing(company: Company, certificate: Certificate) -> None:
    server = company.server()
    agreement = company.agreement(certificate.digest)
    server.receive(APP, servers.Begin(agreement, certificate, tuple(company.client_ids)))
    party = company.client(VICTIM)
    party.receive(SERVER, OpenEncrypted(agreement, certificate))
    [out] = party.receive(APP, company.update(VICTIM, agreement, party.state.update_seed))
    assert isinstance(party.state, Done)
    assert not server.receive(VICTIM, out.message)
    before = server.state.sum0.copy()
    [note] = server.receive(VICTIM, out.message)
    assert note.message.error == "Duplicate"
    assert np.array_equal(before, server.state.sum0)


# --- a server that lies to clients --------------------------------------------------------------------


def opened_by_client(company: Company, certificate: Certificate, policy: Any = None, **change: Any) -> Party:
    party = company.client(VICTIM, policy)
    agreement = replace(company.agreement(certificate.digest), **change)
    party.receive(SERVER, OpenEncrypted(agreement, certificate))
    return party


@pytest.mark.parametrize(
    ("policy", "change", "error", "said"),
    [
        ({}, {"key": bytes(32)}, ViewMismatch, "another key than the round names"),
        ({}, {"length": 2999}, ViewMismatch, "made for another plan"),
        ({}, {"plan": replace(PLAN, task="other")}, ViewMismatch, "a key made for task 't'"),
        ({}, {"plan": replace(PLAN, protocol="pairwise")}, PolicyViolation, "not allowed here"),
        ({"holders": frozenset()}, {}, KeyMismatch, "a holder whom my policy does not pin"),
        ({"min_opening_threshold": 5}, {}, PolicyViolation, "4 holders open; I ask for 5"),
    ],
)
def test_a_client_encrypts_only_under_a_key_it_can_account_for(
    company: Company, certificate: Certificate, policy: Any, change: Any, error: type[Misbehaved], said: str
) -> None:
    with pytest.raises(error, match=said):
        opened_by_client(company, certificate, replace(company.policy(), **policy), **change)


def test_a_server_that_holds_a_part_of_the_key_is_refused(company: Company, certificate: Certificate) -> None:
    party = company.client(VICTIM)
    party.state = replace(party.state, own=replace(party.state.own, server=certificate.epoch.holders[0]))
    with pytest.raises(PolicyViolation, match="holds a part of the key itself"):
        party.receive(SERVER, OpenEncrypted(company.agreement(certificate.digest), certificate))
    assert isinstance(party.state, Failed)


def test_a_client_refuses_a_key_that_corrupt_holders_can_use_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    company = Company(keys=Keys(Mode.THRESHOLD, 5, 3, 8))
    with monkeypatch.context() as careless:
        careless.setattr(Keys, "tolerates_a_third_of", lambda keys, pinned: True)
        certificate = company.certificate()
    with pytest.raises(PolicyViolation, match="3 of 5 holders may open two sums"):
        opened_by_client(company, certificate)


def test_a_forged_certificate_is_refused(company: Company, certificate: Certificate) -> None:
    forged = replace(certificate, public=names.to_bytes(np.ones(N, np.uint64)))
    with pytest.raises(BadSignature):
        opened_by_client(company, forged)


def test_a_round_is_entered_once(company: Company, certificate: Certificate) -> None:
    party = company.client(VICTIM)
    party.state = replace(party.state, last_round=0)
    assert isinstance(party.state, Idle)
    with pytest.raises(Replay):
        party.receive(SERVER, OpenEncrypted(company.agreement(certificate.digest), certificate))


def test_a_wrong_update_changes_nothing(company: Company, certificate: Certificate) -> None:
    party = opened_by_client(company, certificate)
    good = company.update(VICTIM, company.agreement(certificate.digest), party.state.update_seed)
    for wrong in (
        replace(good, vector=good.vector[:-1]),
        replace(good, weight=4),
        replace(good, metrics=()),
        replace(good, model=b"\1" * 32),
    ):
        with pytest.raises((WrongUpdate, ViewMismatch)):
            party.receive(APP, wrong)
        if isinstance(party.state, Failed):
            party = opened_by_client(company, certificate)
    assert isinstance(party.state, Prepared)
    assert party.receive(APP, good)


# --- a server that lies to holders --------------------------------------------------------------------


@pytest.fixture
def question(company: Company, certificate: Certificate) -> EncryptedSum:
    """What a server asks the holders after an honest round, before any of them has heard it."""
    asked: list[EncryptedSum] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, EncryptedSum):
            asked.append(message)
            return LOST
        return message

    company.bend = bend
    with pytest.raises(TooFewMembers):
        company.round(certificate)
    company.bend = as_it_is
    return asked[0]


def drop(asked: EncryptedSum, *places: int) -> EncryptedSum:
    kept = [n for n in range(len(asked.halves)) if n not in places]
    return replace(
        asked,
        contributions=tuple(asked.contributions[n] for n in kept),
        halves=tuple(asked.halves[n] for n in kept),
    )


def signed_by(company: Company, certificate: Certificate, asked: EncryptedSum, half: bytes, place: int) -> EncryptedSum:
    """The same question with one half replaced, and its digest with it."""
    said = replace(asked.contributions[place], digest1=names.digest(half))
    contributions, halves = list(asked.contributions), list(asked.halves)
    contributions[place], halves[place] = said, half
    return replace(asked, contributions=tuple(contributions), halves=tuple(halves))


def test_one_upload_is_never_opened_alone(company: Company, question: EncryptedSum) -> None:
    holder = company.holders[company.places[0]]
    state = holder.state
    for asked in (drop(question, 1, 2, 3, 4, 5), drop(question, 3, 4, 5, 2)):
        holder.state = state
        with pytest.raises(CohortTooSmall):
            holder.receive(SERVER, asked)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda q: replace(q, halves=q.halves[:-1]), ShapeMismatch, "5 halves of 6 uploads"),
        (lambda q: replace(q, halves=(q.halves[1], *q.halves[1:])), ViewMismatch, "another half than client 0 signed"),
        (lambda q: replace(q, context=b"\1" * 32), BadSignature, "signature"),
        (lambda q: replace(q, openers=q.openers[:-1]), PolicyViolation, "it takes 4 of 5"),
        (lambda q: replace(q, openers=(2, 3, 4, 5)), PolicyViolation, "me included"),
        (lambda q: replace(q, openers=(0, 1, 2, 3)), PolicyViolation, "it takes 4 of 5"),
        (lambda q: replace(q, openers=(1, 2, 3, 6)), PolicyViolation, "it takes 4 of 5"),
        (
            lambda q: replace(q, contributions=(replace(q.contributions[0], digest0=bytes(32)), *q.contributions[1:])),
            BadSignature,
            "signature",
        ),
        (
            lambda q: replace(q, contributions=(*q.contributions[:-1], replace(q.contributions[-1], who=PartyId(77)))),
            KeyMismatch,
            "client 77, whom my policy does not pin",
        ),
    ],
)
def test_a_holder_opens_only_what_clients_signed(
    company: Company, question: EncryptedSum, change: Any, error: type[Misbehaved], said: str
) -> None:
    holder = company.holders[company.places[0]]
    before = holder.state
    with pytest.raises(error, match=said):
        holder.receive(SERVER, change(question))
    assert holder.state is before


def test_a_sum_of_one_under_a_list_of_many_is_refused(
    company: Company, certificate: Certificate, question: EncryptedSum
) -> None:
    """The others' halves are swapped for zeros, with digests that fit: nobody signed those."""
    zeros = bytes(len(question.halves[0]))
    holder = company.holders[company.places[0]]
    with pytest.raises(BadSignature):
        holder.receive(SERVER, signed_by(company, certificate, question, zeros, 1))


def test_two_sums_of_one_round_are_never_opened(company: Company, question: EncryptedSum) -> None:
    """Their difference would be one client's update."""
    holder = company.holders[company.places[0]]
    holder.receive(SERVER, question)
    with pytest.raises(AlreadyAnswered, match="their difference would tell"):
        holder.receive(SERVER, drop(question, 5))


def test_the_same_question_gets_the_same_answer_and_another_set_another(
    company: Company, question: EncryptedSum
) -> None:
    holder = company.holders[company.places[0]]
    before = holder.state.answered
    [first] = holder.receive(SERVER, question)
    [again] = holder.receive(SERVER, question)
    assert first.message == again.message
    assert holder.state.answered == before + 1
    [other] = holder.receive(SERVER, replace(question, openers=(1, 2, 3, 5)))
    assert other.message.question == first.message.question
    assert other.message.part != first.message.part
    assert holder.state.answered == before + 2


def test_a_question_about_another_key_changes_nothing(company: Company, question: EncryptedSum) -> None:
    """Whoever replays a letter of an earlier key must not end this one."""
    holder = company.holders[company.places[0]]
    before = holder.state
    with pytest.raises(OutOfTurn, match="another key than the one I hold"):
        holder.receive(SERVER, replace(question, key=bytes(32)))
    assert holder.state is before


def test_nothing_is_published_that_gives_the_key_away(
    company: Company, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "exposed", lambda plan, c0, c1, released: True)
    with pytest.raises(ImplausibleSum, match="the key follows from what would be published"):
        company.round(certificate)


def test_the_guard_is_shown_what_the_server_has(
    company: Company, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first blocks of both sums, and the values that are about to be published."""
    seen: list[Any] = []
    monkeypatch.setattr(servers, "exposed", lambda *shown: bool(seen.extend(shown)))
    uploads: list[Ciphertext] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, Ciphertext):
            uploads.append(message)
        return message

    company.bend = bend
    company.round(certificate)
    plan, c0, c1, _released = seen
    for rows, halves, width in (
        (c0, [upload.c0 for upload in uploads], plan.width0),
        (c1, [upload.c1 for upload in uploads], plan.width1),
    ):
        total = np.zeros(plan.blocks * N, np.uint64)
        for half in halves:
            add_into(total, unpack(half, total.size, width))
        assert np.array_equal(rows.reshape(-1), total[: rows.size])
        assert rows.shape == (min(plan.blocks, 2), N)


def test_an_opening_is_retried_only_so_often(company: Company, question: EncryptedSum) -> None:
    holder = company.holders[company.places[0]]
    sets = [(1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 4, 5), (1, 3, 4, 5)]
    for openers in sets[: MOST_RETRIES + 1]:
        holder.receive(SERVER, replace(question, openers=openers))
    assert isinstance(holder.state, Holding)
    with pytest.raises(AlreadyAnswered, match="more than 2 retries"):
        holder.receive(SERVER, replace(question, openers=sets[MOST_RETRIES + 1]))


def test_lists_have_one_order(question: EncryptedSum) -> None:
    with pytest.raises(Undecodable, match="contributors must strictly ascend"):
        replace(question, contributions=question.contributions[::-1])
    with pytest.raises(Undecodable, match="openers must strictly ascend"):
        replace(question, openers=(2, 1, 3, 4))
    with pytest.raises(Undecodable, match="openers must strictly ascend"):
        Partial(bytes(32), bytes(32), (1, 1), b"")


@pytest.mark.parametrize("change", [{"question": bytes(32)}, {"openers": (1, 2, 3, 5)}, {"context": bytes(32)}])
def test_a_partial_for_another_question_is_refused(
    company: Company, certificate: Certificate, change: dict[str, Any]
) -> None:
    company.bend = lambda who, _to, m: replace(m, **change) if who == FIRST_HOLDER and isinstance(m, Partial) else m
    opened = company.round(certificate)
    assert same(opened, company.ideal(company.client_ids, certificate))
    assert (FIRST_HOLDER, "ViewMismatch") in [(note.peer, note.error) for note in company.excluded]


# --- a server that is used wrongly --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"invited": (PartyId(0), PartyId(1), PartyId(77))}, "clients \\[77\\] are invited"),
        ({"invited": (PartyId(0), PartyId(1))}, "2 clients are invited"),
        ({"agreement": {"key": bytes(32)}}, "another key than the certificate"),
        ({"agreement": {"length": 2999}}, "made for another plan"),
    ],
)
def test_a_round_that_cannot_be_is_refused_before_anybody_is_asked(
    company: Company, certificate: Certificate, change: dict[str, Any], said: str
) -> None:
    agreement = replace(company.agreement(certificate.digest), **change.get("agreement", {}))
    begin = servers.Begin(agreement, certificate, change.get("invited", tuple(company.client_ids)))
    with pytest.raises(Misused, match=said):
        company.server().receive(APP, begin)


def test_a_key_of_other_parties_is_refused(company: Company, certificate: Certificate) -> None:
    server = company.server()
    server.state = replace(server.state, known=replace(server.state.known, holders=company.places[:-1]))
    begin = servers.Begin(company.agreement(certificate.digest), certificate, tuple(company.client_ids))
    with pytest.raises(Misused, match="4 parties are known as holders of a key of 5"):
        server.receive(APP, begin)


def test_a_plan_beyond_every_ciphertext_is_named() -> None:
    """Sums of 57 bits, of which the planner says only that they are out of its range."""
    with pytest.raises(BadPlan, match="bits is 57"):
        Company(plan=replace(PLAN, bits=24, max_weight=1 << 30))


def test_a_plan_that_no_ciphertext_carries_is_named() -> None:
    with pytest.raises(BadPlan, match="would fit"):
        Company(plan=replace(PLAN, bits=24, max_weight=1 << 20), keys=Keys.recommended(5, 30))
