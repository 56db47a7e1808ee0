"""A round with one decryptor: exact whoever vanishes, and a name for everybody who bends it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec, wire
from protocols.ckks import client as clients
from protocols.ckks import decryptor as decryptors
from protocols.ckks import epoch as names
from protocols.ckks import keys, single_server
from protocols.ckks import server as servers
from protocols.ckks import single_messages as letters
from protocols.ckks.decryptor import Holding
from protocols.ckks.messages import Certificate, Ciphertext, Invite, OpenEncrypted
from protocols.ckks.modes import weakness
from protocols.ckks.single_messages import Decrypted, WholeSum, sums_from_bytes, sums_to_bytes
from protocols.errors import (
    AlreadyAnswered,
    BadSignature,
    CohortTooSmall,
    ImplausibleSum,
    KeyMismatch,
    Misbehaved,
    Misused,
    OutOfTurn,
    PolicyViolation,
    ShapeMismatch,
    TooFewClients,
    TooFewMembers,
    Undecodable,
    ViewMismatch,
)
from protocols.messages import Aggregate
from protocols.party import APP, SERVER, Deadline, Failed, Party, PartyId, secrets_in
from protocols.plan import USUAL_MODES, NoisePlan, context_of
from secagg.ckks.cipher import Fft, PublicKey, encrypt, largest_opened, open_exact
from secagg.ckks.plan import Keys, Mode, plan
from secagg.ckks.seal import SealEngine
from secagg.ckks.share import common_polynomial
from secagg.ckks.whole import SecretKey, decrypt
from secagg.ckks.wire import largest, pack_into, unpack
from secagg.errors import BadCiphertext as Rubbish
from secagg.errors import BadParameters
from secagg.keys import Identity
from secagg.negacyclic import N
from tests.protocols.ckks.kit import LOST, PLAN, Company, as_it_is, seed
from tests.protocols.ckks.kit_modes import DECRYPTOR, SERVER_IDENTITY, SingleCompany

VICTIM = PartyId(1)


def same(one: Aggregate, other: Aggregate) -> bool:
    return (
        np.array_equal(one.total, other.total)
        and one.weight_sum == other.weight_sum
        and one.metrics == other.metrics
        and one.survivors == other.survivors
    )


@pytest.fixture
def company() -> SingleCompany:
    return SingleCompany()


@pytest.fixture
def certificate(company: SingleCompany) -> Certificate:
    return company.certificate()


def bending(kind: type[Any], who: int, change: Any) -> Any:
    """Changes every letter of this kind from this party."""
    return lambda sender, _to, m: change(m) if sender == who and isinstance(m, kind) else m


def losing(kind: type[Any], *parties: int) -> Any:
    return lambda sender, _to, m: LOST if sender in parties and isinstance(m, kind) else m


# --- exact --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [(), (2,), (0, 5)])
def test_the_sum_is_the_ideal_one_whoever_vanishes(
    company: SingleCompany, certificate: Certificate, lost: tuple[int, ...]
) -> None:
    company.bend = losing(Ciphertext, *lost)
    opened = company.round(certificate)
    survivors = [who for who in company.client_ids if who not in lost]
    assert list(opened.survivors) == survivors
    assert same(opened, company.ideal(survivors, certificate))
    assert not company.failures


def test_both_engines_meet_in_one_round() -> None:
    company = SingleCompany(engines=(Fft(), SealEngine()))
    certificate = company.certificate()
    assert same(company.round(certificate), company.ideal(company.client_ids, certificate))


def test_noise_passes_through_unchanged() -> None:
    noisy = replace(PLAN, noise=NoisePlan(Fraction(1), 0, 20), max_weight=1, metrics=(), clip=Fraction(1))
    company = SingleCompany(plan=noisy)
    certificate = company.certificate()
    assert same(company.round(certificate), company.ideal(company.client_ids, certificate))


def test_one_key_serves_as_many_rounds_as_it_was_made_for(company: SingleCompany, certificate: Certificate) -> None:
    for number in range(3):
        opened = company.round(certificate, number)
        assert same(opened, company.ideal(company.client_ids, certificate, number))
    with pytest.raises(TooFewMembers):
        company.round(certificate, 3)
    assert isinstance(company.failures[DECRYPTOR], PolicyViolation)


def test_fewer_uploads_than_a_cohort_are_never_decrypted(company: SingleCompany, certificate: Certificate) -> None:
    company.bend = losing(Ciphertext, 0, 1, 2, 3)
    with pytest.raises(TooFewClients):
        company.round(certificate)
    assert company.decryptor.state.answered == 0


@pytest.mark.parametrize(("bits", "word"), [(20, 4), (33, 8)])
def test_sums_are_written_in_as_few_bytes_as_a_word_has(bits: int, word: int) -> None:
    agreed = plan(3, bits, 5, Keys(Mode.SINGLE))
    most = largest_opened(agreed)
    sums = np.array([0, 1, -1, most, -most])
    data = sums_to_bytes(agreed, sums)
    assert data == b"".join(int(value).to_bytes(word, "little", signed=True) for value in sums)
    assert np.array_equal(sums_from_bytes(agreed, data), sums)
    for wrong in (data[:-1], sums_to_bytes(agreed, sums + 1), sums_to_bytes(agreed, sums - 1)):
        with pytest.raises(Rubbish):
            sums_from_bytes(agreed, wrong)


# --- the key --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identity": bytes(32)}, "the key is another's"),
        ({"policy": decryptors.DecryptorPolicy({}, max_openings=2)}, "3 openings are above 2"),
        ({"server": Identity.from_seed(seed("decryptor", 0)).public}, "who adds up must not be who decrypts"),
    ],
)
def test_a_decryptor_makes_only_the_key_its_policy_allows(
    company: SingleCompany, change: dict[str, Any], said: str
) -> None:
    party = company.decryptor
    party.state = replace(party.state, own=replace(company.own, **change))
    with pytest.raises(PolicyViolation, match=said):
        party.receive(SERVER, Invite(company.epoch))
    assert isinstance(party.state, Failed)


def test_roles_of_one_mode_refuse_keys_of_another(company: SingleCompany, certificate: Certificate) -> None:
    other = Company()
    with pytest.raises(PolicyViolation, match="mode threshold has no key that I make alone"):
        SingleCompany().decryptor.receive(SERVER, Invite(other.epoch))
    holder = other.holders[other.places[0]]
    own = holder.state.own
    lenient = replace(own.policy, holders=frozenset({own.identity}), min_threshold=1)
    holder.state = replace(holder.state, own=replace(own, policy=lenient))
    with pytest.raises(PolicyViolation, match="mode single has no holders who share a key"):
        holder.receive(SERVER, Invite(replace(company.epoch, holders=(own.identity,))))
    with pytest.raises(Misused, match="mode single has no holders"):
        other.maker.receive(APP, keys.Make(company.epoch, (DECRYPTOR,), 60))
    maker = SingleCompany().maker
    with pytest.raises(Misused, match="mode threshold has no decryptor"):
        maker.receive(APP, keys.Make(other.epoch, other.places, 60))
    with pytest.raises(Misused, match="2 parties for one decryptor"):
        maker.receive(APP, keys.Make(company.epoch, (DECRYPTOR, VICTIM), 60))
    begin = servers.Begin(company.agreement(certificate.digest), certificate, tuple(company.client_ids))
    threshold_server = other.server()
    with pytest.raises(Misused, match="a key of mode single is for the server of that mode"):
        threshold_server.receive(APP, begin)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda c: replace(c, epoch=replace(c.epoch, number=7)), "ViewMismatch"),
        (lambda c: replace(c, public=names.to_bytes(np.ones(N, np.uint64))), "BadSignature"),
        (lambda c: replace(c, public=b"\xff" * names.POLYNOMIAL_BYTES), "BadCiphertext"),
        (lambda c: replace(c, checks=c.checks * 2), "ShapeMismatch"),
        (lambda c: replace(c, checks=(replace(c.checks[0], value=1),)), "BadSignature"),
    ],
)
def test_a_bent_certificate_is_refused_and_the_decryptor_named(company: SingleCompany, change: Any, error: str) -> None:
    company.bend = bending(Certificate, DECRYPTOR, change)
    with pytest.raises(TooFewMembers) as caught:
        company.certificate()
    assert caught.value.missing == (DECRYPTOR,)
    assert [(note.peer, note.error) for note in company.excluded] == [(DECRYPTOR, error)]


def test_a_second_invitation_makes_no_second_key(company: SingleCompany, certificate: Certificate) -> None:
    state = company.decryptor.state
    with pytest.raises(OutOfTurn):
        company.decryptor.receive(SERVER, Invite(company.epoch))
    assert company.decryptor.state is state


# --- clients ----------------------------------------------------------------------------------------------


def opened_by_client(company: SingleCompany, certificate: Certificate, **change: Any) -> Party:
    party = company.client(VICTIM)
    party.state = replace(party.state, own=replace(party.state.own, **change))
    party.receive(SERVER, OpenEncrypted(company.agreement(certificate.digest), certificate))
    return party


def test_a_client_takes_part_with_one_decryptor_only_where_it_said_so(
    company: SingleCompany, certificate: Certificate
) -> None:
    assert isinstance(opened_by_client(company, certificate).state, clients.Ready)
    for change in ({"modes": USUAL_MODES}, {"modes": frozenset()}, {"modes": USUAL_MODES, "min_opening_threshold": 1}):
        with pytest.raises(PolicyViolation, match="mode single, which I have not agreed to: the decryptor alone can"):
            opened_by_client(company, certificate, policy=replace(company.policy(), **change))


def test_a_client_refuses_a_decryptor_that_is_the_server(company: SingleCompany, certificate: Certificate) -> None:
    with pytest.raises(PolicyViolation, match="with it adds up what it also opens"):
        opened_by_client(company, certificate, server=company.identity.public)


def test_a_client_refuses_a_decryptor_it_does_not_pin(company: SingleCompany, certificate: Certificate) -> None:
    stranger = replace(company.policy(), holders=frozenset({SERVER_IDENTITY.public}))
    with pytest.raises(KeyMismatch, match="whom my policy does not pin"):
        opened_by_client(company, certificate, policy=stranger)


def test_a_client_that_agreed_to_one_decryptor_agreed_to_no_holders() -> None:
    company = Company()
    certificate = company.certificate()
    party = company.client(VICTIM, replace(company.policy(), modes=frozenset({Mode.SINGLE})))
    with pytest.raises(PolicyViolation, match="mode threshold, which I have not agreed to"):
        party.receive(SERVER, OpenEncrypted(company.agreement(certificate.digest), certificate))


def test_a_forged_key_is_refused(company: SingleCompany, certificate: Certificate) -> None:
    with pytest.raises(BadSignature):
        opened_by_client(company, replace(certificate, public=names.to_bytes(np.ones(N, np.uint64))))


def test_every_mode_says_what_is_weak_about_it() -> None:
    said = [weakness(mode) for mode in Mode]
    assert len(set(said)) == 3
    assert all(said)


# --- a server that lies to the decryptor -------------------------------------------------------------------


@pytest.fixture
def question(company: SingleCompany, certificate: Certificate) -> WholeSum:
    """What a server asks after an honest round, before the decryptor has heard it."""
    asked: list[WholeSum] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, WholeSum):
            asked.append(message)
            return LOST
        return message

    company.bend = bend
    with pytest.raises(TooFewMembers) as caught:
        company.round(certificate)
    assert caught.value.missing == (DECRYPTOR,)
    company.bend = as_it_is
    return asked[0]


def drop(asked: WholeSum, *places: int) -> WholeSum:
    kept = [n for n in range(len(asked.firsts)) if n not in places]
    return replace(
        asked,
        contributions=tuple(asked.contributions[n] for n in kept),
        firsts=tuple(asked.firsts[n] for n in kept),
        seconds=tuple(asked.seconds[n] for n in kept),
    )


def changed(asked: WholeSum, **change: Any) -> WholeSum:
    """The same with the first contribution altered."""
    return replace(asked, contributions=(replace(asked.contributions[0], **change), *asked.contributions[1:]))


def moved_a_little(half: Any) -> bytes:
    return bytes([half[0] ^ 1]) + bytes(half[1:])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda q: drop(q, 1, 2, 3, 4, 5), CohortTooSmall, "over 1 clients; 4 are required"),
        (lambda q: drop(q, *range(6)), CohortTooSmall, "over 0 clients"),
        (lambda q: replace(q, firsts=q.firsts[:-1]), ShapeMismatch, "5 and 6 halves of 6 uploads"),
        (lambda q: replace(q, seconds=q.seconds[:-1]), ShapeMismatch, "6 and 5 halves of 6 uploads"),
        (lambda q: replace(q, firsts=(q.firsts[1], *q.firsts[1:])), ViewMismatch, "another half than client 0 signed"),
        (lambda q: replace(q, seconds=(q.seconds[1], *q.seconds[1:])), ViewMismatch, "another half than client 0"),
        (lambda q: replace(q, firsts=(moved_a_little(q.firsts[0]), *q.firsts[1:])), ViewMismatch, "another half"),
        (lambda q: replace(q, context=b"\1" * 32), BadSignature, "signature"),
        (lambda q: changed(q, digest0=bytes(32)), BadSignature, "signature"),
        (lambda q: changed(q, digest1=bytes(32)), BadSignature, "signature"),
        (
            lambda q: replace(q, contributions=(*q.contributions[:-1], replace(q.contributions[-1], who=PartyId(77)))),
            KeyMismatch,
            "client 77, whom my policy does not pin",
        ),
    ],
)
def test_a_decryptor_opens_only_what_clients_signed(
    company: SingleCompany, question: WholeSum, change: Any, error: type[Misbehaved], said: str
) -> None:
    before = company.decryptor.state
    with pytest.raises(error, match=said):
        company.decryptor.receive(SERVER, change(question))
    assert company.decryptor.state is before


def test_one_client_by_two_names_is_not_two(company: SingleCompany, question: WholeSum) -> None:
    party, identity = company.decryptor, company.client_ids[PartyId(0)]
    pinned = {who: identity.public if who < 2 else each.public for who, each in company.client_ids.items()}
    policy = replace(company.own.policy, clients=pinned)
    party.state = replace(party.state, own=replace(company.own, policy=policy))
    said, key = question.contributions[1], party.state.certificate.digest
    text = names.upload_text(question.context, key, said.who, said.digest0, said.digest1)
    twice = (question.contributions[0], replace(said, signature=identity.sign(text)), *question.contributions[2:])
    with pytest.raises(KeyMismatch, match="counts one client twice"):
        party.receive(SERVER, replace(question, contributions=twice))


def test_more_clients_than_the_key_is_for_are_refused(question: WholeSum) -> None:
    for_five = SingleCompany(plan=replace(PLAN, max_clients=5))
    key = for_five.certificate().digest
    with pytest.raises(PolicyViolation, match="over 6 clients; the key is for fewer"):
        for_five.decryptor.receive(SERVER, replace(question, key=key))


def test_a_question_about_another_key_changes_nothing(company: SingleCompany, question: WholeSum) -> None:
    before = company.decryptor.state
    with pytest.raises(OutOfTurn, match="another key than the one I hold"):
        company.decryptor.receive(SERVER, replace(question, key=bytes(32)))
    assert company.decryptor.state is before


def test_a_decryptor_says_nothing_that_gives_its_key_away(
    company: SingleCompany, question: WholeSum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decryptors, "exposed", lambda plan, c0, c1, released: True)
    [said] = company.decryptor.receive(SERVER, question)
    assert said.message.sums is None


def test_two_sums_of_one_round_are_never_opened(company: SingleCompany, question: WholeSum) -> None:
    """Their difference would be one client's update."""
    company.decryptor.receive(SERVER, question)
    with pytest.raises(AlreadyAnswered, match="their difference would tell"):
        company.decryptor.receive(SERVER, drop(question, 5))


def test_the_same_question_gets_the_same_answer_and_counts_once(company: SingleCompany, question: WholeSum) -> None:
    [first] = company.decryptor.receive(SERVER, question)
    [again] = company.decryptor.receive(SERVER, question)
    assert first.message == again.message
    assert company.decryptor.state.answered == 1


def test_a_restarted_decryptor_remembers_what_it_opened(company: SingleCompany, question: WholeSum) -> None:
    [first] = company.decryptor.receive(SERVER, question)
    stored(company.decryptor)
    [again] = company.decryptor.receive(SERVER, question)
    assert first.message == again.message
    with pytest.raises(AlreadyAnswered):
        company.decryptor.receive(SERVER, drop(question, 5))


def test_the_answer_is_sums_and_nothing_of_what_was_rounded_away(company: SingleCompany, question: WholeSum) -> None:
    [out] = company.decryptor.receive(SERVER, question)
    agreed = company.epoch.plan
    assert len(out.message.sums) == agreed.dimension * 4
    assert "sums" not in repr(out.message)


def test_lists_have_one_order(question: WholeSum) -> None:
    with pytest.raises(Undecodable, match="contributors must strictly ascend"):
        replace(question, contributions=question.contributions[::-1])


# --- rubbish ------------------------------------------------------------------------------------------------


def signed_anew(company: SingleCompany, certificate: Certificate, message: Ciphertext, **change: Any) -> Ciphertext:
    bent = replace(message, **change)
    context = context_of(company.agreement(certificate.digest))
    text = names.upload_text(context, certificate.digest, VICTIM, names.digest(bent.c0), names.digest(bent.c1))
    return replace(bent, signature=company.client_ids[VICTIM].sign(text))


def garbage(message: Ciphertext, width: int) -> bytes:
    rubbish = np.random.default_rng(0).integers(0, 1 << 50, len(message.c0) // width, dtype=np.uint64)
    half = bytearray(len(message.c0))
    pack_into(half, rubbish, width)
    return bytes(half)


def test_a_sum_of_rubbish_is_said_to_be_none_and_the_key_goes_on(
    company: SingleCompany, certificate: Certificate
) -> None:
    width = certificate.epoch.plan.width0
    answers: list[Decrypted] = []
    bent = bending(Ciphertext, VICTIM, lambda m: signed_anew(company, certificate, m, c0=garbage(m, width)))

    def bend(who: PartyId, to: PartyId, message: Any) -> Any:
        answers.extend([message] if isinstance(message, Decrypted) else [])
        return bent(who, to, message)

    company.bend = bend
    with pytest.raises(ImplausibleSum, match="the decryptor opened what is no sum"):
        company.round(certificate)
    assert [answer.sums for answer in answers] == [None]
    assert company.decryptor.state.answered == 1
    company.bend = as_it_is
    assert same(company.round(certificate, 1), company.ideal(company.client_ids, certificate, 1))


def test_after_rubbish_no_other_sum_of_that_round_is_opened(company: SingleCompany, question: WholeSum) -> None:
    """Else a server could try subsets, and learn one bit on the noise from each."""
    party = company.decryptor
    width = party.state.certificate.epoch.plan.width0
    said, key = question.contributions[0], party.state.certificate.digest
    rubbish = garbage(Ciphertext(question.firsts[0], b"", bytes(64)), width)
    text = names.upload_text(question.context, key, said.who, names.digest(rubbish), said.digest1)
    signature = company.client_ids[PartyId(0)].sign(text)
    bent = changed(question, digest0=names.digest(rubbish), signature=signature)
    [out] = party.receive(SERVER, replace(bent, firsts=(rubbish, *question.firsts[1:])))
    assert out.message.sums is None
    with pytest.raises(AlreadyAnswered):
        party.receive(SERVER, question)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: replace(m, c0=bytes(m.c0)[:-1]), "ShapeMismatch"),
        (lambda m: replace(m, c1=bytes(m.c1) + b"\0"), "ShapeMismatch"),
        (lambda m: replace(m, c0=bytes(len(m.c0))), "BadSignature"),
        (lambda m: replace(m, signature=bytes(64)), "BadSignature"),
    ],
)
def test_a_bent_upload_is_left_out_by_name_and_the_others_go_on(
    company: SingleCompany, certificate: Certificate, change: Any, error: str
) -> None:
    company.bend = bending(Ciphertext, VICTIM, change)
    opened = company.round(certificate)
    assert same(opened, company.ideal([who for who in company.client_ids if who != VICTIM], certificate))
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, error)]


def test_a_residue_that_is_none_never_reaches_the_decryptor() -> None:
    # Of wide sums a half takes seven bytes, which have room for numbers that are no residues.
    company = SingleCompany(plan=replace(PLAN, bits=24, max_weight=1 << 8))
    certificate = company.certificate()
    agreed = certificate.epoch.plan
    half = "c0" if largest(agreed.width0) < (1 << 8 * agreed.width0) - 1 else "c1"
    width = {"c0": agreed.width0, "c1": agreed.width1}[half]
    assert largest(width) < (1 << 8 * width) - 1

    def ones(message: Ciphertext) -> Ciphertext:
        return signed_anew(company, certificate, message, **{half: b"\xff" * len(getattr(message, half))})

    company.bend = bending(Ciphertext, VICTIM, ones)
    company.round(certificate)
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, "BadCiphertext")]
    assert not company.failures


def test_an_answer_that_is_none_is_refused_and_a_late_one_unread(
    company: SingleCompany, certificate: Certificate
) -> None:
    agreed = certificate.epoch.plan
    too_much = sums_to_bytes(agreed, np.full(agreed.dimension, largest_opened(agreed) + 1))
    for change, error in (
        ({"question": bytes(32)}, "ViewMismatch"),
        ({"context": bytes(32)}, "ViewMismatch"),
        ({"sums": b""}, "ShapeMismatch"),
        ({"sums": too_much}, "BadCiphertext"),
    ):
        company = SingleCompany()
        certificate = company.certificate()
        company.bend = bending(Decrypted, DECRYPTOR, lambda m, change=change: replace(m, **change))
        with pytest.raises(TooFewMembers):
            company.round(certificate)
        assert [(note.peer, note.error) for note in company.excluded] == [(DECRYPTOR, error)]
    closed = Party(single_server.single_server, single_server.Closed())
    assert closed.receive(DECRYPTOR, Decrypted(bytes(32), bytes(32), None)) == []


def test_sums_that_contradict_their_checksum_are_not_handed_out(
    company: SingleCompany, certificate: Certificate
) -> None:
    def shifted(message: Decrypted) -> Decrypted:
        sums = np.frombuffer(message.sums or b"", "<i4").copy()
        sums[0] += 1 if sums[0] < 0 else -1
        return replace(message, sums=sums.tobytes())

    company.bend = bending(Decrypted, DECRYPTOR, shifted)
    with pytest.raises(ImplausibleSum, match="contradicts its checksum"):
        company.round(certificate)


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
    company: SingleCompany, certificate: Certificate, change: dict[str, Any], said: str
) -> None:
    agreement = replace(company.agreement(certificate.digest), **change.get("agreement", {}))
    begin = servers.Begin(agreement, certificate, change.get("invited", tuple(company.client_ids)))
    with pytest.raises(Misused, match=said):
        company.server().receive(APP, begin)


def test_more_halves_than_a_decryptor_can_take_are_refused(
    company: SingleCompany, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_server, "MOST_HALVES_BYTES", 1000)
    begin = servers.Begin(company.agreement(certificate.digest), certificate, tuple(company.client_ids))
    with pytest.raises(Misused, match="invite fewer clients at a time"):
        company.server().receive(APP, begin)


# --- what this mode does not protect against -----------------------------------------------------------------


def test_the_decryptor_can_decrypt_any_upload_it_gets_hold_of(company: SingleCompany, certificate: Certificate) -> None:
    """The weakness by name: a server that hands over one upload outside of the protocol gives that client away."""
    agreed = certificate.epoch.plan
    key = PublicKey(common_polynomial(company.epoch.context), names.from_bytes(certificate.public))
    values = np.arange(agreed.dimension, dtype=np.int64) % 100
    sent = encrypt(agreed, key, values, seed("victim", 0), bytes(32), Fft())
    count = agreed.blocks * N
    c0, c1 = unpack(sent.c0, count, agreed.width0), unpack(sent.c1, count, agreed.width1)
    secret = SecretKey.of(company.decryptor.state.root, company.epoch.context)
    opened = open_exact(agreed, decrypt(secret, c0.reshape(-1, N), c1.reshape(-1, N)))
    assert np.array_equal(opened.values, values)


# --- stored states, spelled letters, secrets ---------------------------------------------------------------------


def stored(party: Party) -> None:
    """The party goes on as whoever reads its bytes."""
    state = party.state
    company = getattr(state, "company", None)
    own = getattr(state, "own", None) or getattr(state, "known", None) or getattr(company, "known", None)
    supplied = {} if own is None else {type(own): own}
    party.state = codec.thaw(type(state), codec.freeze(state), supplied)
    assert codec.freeze(party.state) == codec.freeze(state)


def test_every_state_survives_being_stored_and_every_letter_has_one_spelling(company: SingleCompany) -> None:
    heard: dict[type[Any], Any] = {}
    server = company.server()

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        heard.setdefault(type(message), message)
        for party in (company.maker, company.decryptor, server):
            stored(party)
        return message

    company.bend = bend
    certificate = company.certificate()
    opened = company.round(certificate, server=server)
    assert same(opened, company.ideal(company.client_ids, certificate))
    heard[Decrypted, None] = replace(heard[Decrypted], sums=None)  # type: ignore[index]
    for letter in heard.values():
        data = wire.encode(letter)
        assert wire.encode(wire.decode(type(letter), data)) == data
        for wrong in (data[:-1], data + b"\0"):
            with pytest.raises(Undecodable):
                wire.decode(type(letter), wrong)
    assert {letters.WholeSum, letters.Decrypted} <= set(heard)


def test_a_pair_outside_the_tables_is_refused(company: SingleCompany, question: WholeSum) -> None:
    answer = Decrypted(bytes(32), bytes(32), None)
    with pytest.raises(OutOfTurn):
        company.decryptor.receive(SERVER, answer)
    with pytest.raises(OutOfTurn):
        SingleCompany().decryptor.receive(SERVER, question)
    server = company.server()
    for sender, letter in ((DECRYPTOR, answer), (VICTIM, question)):
        [note] = server.receive(sender, letter)
        assert note.message.error == "OutOfTurn"
    assert server.receive(APP, Deadline("Gathering")) == []


def test_a_stranger_answers_nothing(company: SingleCompany, certificate: Certificate) -> None:
    server = company.server()
    company.bend = losing(Decrypted, DECRYPTOR)
    with pytest.raises(TooFewMembers):
        company.round(certificate, server=server)
    company = SingleCompany()
    server, seen = company.server(), []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, Decrypted):
            seen.extend(server.receive(VICTIM, message))
        return message

    company.bend = bend
    company.round(company.certificate(), server=server)
    assert [note.message.error for note in seen] == ["OutOfTurn"]


def test_secrets_are_erased_when_the_key_is_given_up(company: SingleCompany, certificate: Certificate) -> None:
    [root] = secrets_in(company.decryptor.state)
    assert isinstance(company.decryptor.state, Holding)
    assert "secret" in repr(company.decryptor.state)
    company.decryptor.abandon("the key is not needed any more")
    with pytest.raises(BadParameters, match="erased"):
        root.expose()  # type: ignore[attr-defined]
