"""Rounds whose halves are too many to be shown: digit sums and linear hashes instead, and nothing else is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.ckks import binding
from protocols.ckks import epoch as names
from protocols.ckks import server as servers
from protocols.ckks.binding import Binding, binding_of, hash_of, knapsack_of
from protocols.ckks.epoch import Epoch
from protocols.ckks.holder import Holding
from protocols.ckks.messages import Certificate, Ciphertext, EncryptedSum, OpenEncrypted, Partial
from protocols.errors import (
    AlreadyAnswered,
    BadCiphertext,
    BadPlan,
    BadSignature,
    CohortTooSmall,
    Misbehaved,
    ShapeMismatch,
    TooFewMembers,
    ViewMismatch,
)
from protocols.party import APP, SERVER, PartyId
from protocols.plan import context_of
from secagg.ckks import binding as mathematics
from secagg.ckks.binding import HASH_BYTES, MOST_DIGIT, hash_from_bytes, hash_to_bytes
from secagg.ckks.plan import Keys, plan
from secagg.ckks.wire import packed_bytes, unpack
from secagg.negacyclic import N
from tests.protocols.ckks.kit import LOST, Company, as_it_is

VICTIM = PartyId(1)


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any halves may be shown."""
    monkeypatch.setattr(binding, "MOST_HALVES_BYTES", 1000)


@pytest.fixture
def company() -> Company:
    return Company()


@pytest.fixture
def certificate(company: Company) -> Certificate:
    return company.certificate()


@pytest.fixture
def uploads() -> dict[PartyId, Ciphertext]:
    """What honest clients sent in the round that is asked about."""
    return {}


@pytest.fixture
def question(company: Company, certificate: Certificate, uploads: dict[PartyId, Ciphertext]) -> EncryptedSum:
    asked: list[EncryptedSum] = []

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, EncryptedSum):
            asked.append(message)
            return LOST
        if isinstance(message, Ciphertext):
            uploads[who] = message
        return message

    company.bend = bend
    with pytest.raises(TooFewMembers):
        company.round(certificate)
    company.bend = as_it_is
    return asked[0]


# --- who decides --------------------------------------------------------------------------------------


def test_the_plan_alone_says_what_holders_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    keys = Keys.recommended(5, 1)
    for clients, dimension, expected in ((10, 1_000_000, Binding.FULL), (100, 1_000_000, Binding.HASHED)):
        shape = plan(clients, 20, dimension, keys)
        assert binding_of(shape) is expected
        halves = clients * packed_bytes(shape.blocks * N, shape.width1)
        assert (halves <= 256 << 20) is (expected is Binding.FULL)
        assert len(hash_of(shape, bytes(32), bytes(packed_bytes(shape.blocks * N, shape.width1)))) == (
            HASH_BYTES if expected is Binding.HASHED else 0
        )


def test_a_key_for_sums_that_no_hash_binds_is_never_made(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "MOST_CLIENTS", 5)
    with pytest.raises(BadPlan, match="invite at most 5"):
        Epoch("t", 0, company.shape.plan, company.epoch.holders, 3)


# --- exact --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [(), (2,), (0, 5)])
def test_the_sum_is_the_ideal_one(company: Company, certificate: Certificate, lost: tuple[int, ...]) -> None:
    company.bend = lambda who, _to, m: LOST if isinstance(m, Ciphertext) and who in lost else m
    opened = company.round(certificate)
    survivors = [who for who in company.client_ids if who not in lost]
    expected = company.ideal(survivors, certificate)
    assert np.array_equal(opened.total, expected.total)
    assert (opened.weight_sum, opened.metrics, opened.survivors) == (
        expected.weight_sum,
        expected.metrics,
        expected.survivors,
    )
    assert not company.failures
    assert not company.excluded


def test_both_bindings_open_the_same_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = []
    for most in (1000, 1 << 30):
        monkeypatch.setattr(binding, "MOST_HALVES_BYTES", most)
        company = Company()
        totals.append(company.round(company.certificate()).total)
    assert np.array_equal(*totals)


def test_the_server_keeps_and_sends_no_halves(company: Company, certificate: Certificate) -> None:
    """Its memory is that of the vector, however many clients there are, but for their hashes."""
    server, shape = company.server(), company.shape.plan
    sizes, letters = [], []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, Ciphertext):
            sizes.append(len(codec.freeze(server.state)))
        letters.extend([message] if isinstance(message, EncryptedSum) else [])
        return message

    company.bend = bend
    company.round(certificate, server=server)
    growth = np.diff(sizes)
    assert HASH_BYTES < growth.max() < HASH_BYTES + 300
    assert {len(letter.halves) for letter in letters} == {0}
    assert {len(letter.digits) for letter in letters} == {4 * shape.blocks * N * -(-shape.width1 // 2)}


def test_a_server_that_was_stored_goes_on(company: Company, certificate: Certificate) -> None:
    server = company.server()
    known = server.state.known

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        state = server.state
        server.state = codec.thaw(type(state), codec.freeze(state), {servers.Known: known})
        return message

    company.bend = bend
    opened = company.round(certificate, server=server)
    assert np.array_equal(opened.total, company.ideal(company.client_ids, certificate).total)


# --- clients that bend their hash ---------------------------------------------------------------------


def signed(company: Company, certificate: Certificate, message: Ciphertext, linear: bytes) -> Ciphertext:
    """The same upload with another hash, well signed."""
    context = context_of(company.agreement(certificate.digest))
    digests = names.digest(message.c0), names.digest(message.c1)
    text = names.upload_text(context, certificate.digest, VICTIM, *digests, linear)
    return replace(message, hash=linear, signature=company.client_ids[VICTIM].sign(text))


@pytest.mark.parametrize(
    ("linear", "error"),
    [
        (lambda m: bytes([m.hash[0] ^ 1]) + m.hash[1:], "BadCiphertext"),
        (lambda m: bytes(HASH_BYTES), "BadCiphertext"),
        (lambda m: b"\xff" * HASH_BYTES, "BadCiphertext"),
        (lambda m: b"", "ShapeMismatch"),
        (lambda m: m.hash[:-6], "ShapeMismatch"),
    ],
)
def test_a_wrong_hash_is_refused_by_name_and_the_others_go_on(
    company: Company, certificate: Certificate, linear: Callable[[Ciphertext], bytes], error: str
) -> None:
    company.bend = lambda who, _to, m: (
        signed(company, certificate, m, linear(m)) if who == VICTIM and isinstance(m, Ciphertext) else m
    )
    opened = company.round(certificate)
    survivors = [who for who in company.client_ids if who != VICTIM]
    assert np.array_equal(opened.total, company.ideal(survivors, certificate).total)
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, error)]


def test_a_hash_that_was_not_signed_is_refused(company: Company, certificate: Certificate) -> None:
    company.bend = lambda who, _to, m: (
        replace(m, hash=bytes(HASH_BYTES)) if who == VICTIM and isinstance(m, Ciphertext) else m
    )
    company.round(certificate)
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, "BadSignature")]


def test_a_hash_where_halves_are_shown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    company = Company()
    certificate = company.certificate()
    company.bend = lambda who, _to, m: (
        signed(company, certificate, m, bytes(HASH_BYTES)) if who == VICTIM and isinstance(m, Ciphertext) else m
    )
    company.round(certificate)
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, "ShapeMismatch")]


def test_a_refused_upload_leaves_the_sums_alone(company: Company, certificate: Certificate) -> None:
    server, agreement = company.server(), company.agreement(certificate.digest)
    server.receive(APP, servers.Begin(agreement, certificate, tuple(company.client_ids)))
    party = company.client(VICTIM)
    party.receive(SERVER, OpenEncrypted(agreement, certificate))
    [out] = party.receive(APP, company.update(VICTIM, agreement, party.state.update_seed))
    [note] = server.receive(VICTIM, signed(company, certificate, out.message, bytes(HASH_BYTES)))
    assert note.message.error == "BadCiphertext"
    assert not server.state.sum0.any()
    assert not server.state.digits.any()
    assert not server.receive(VICTIM, out.message)
    assert server.state.digits.any()


# --- a server that lies to holders --------------------------------------------------------------------


def sums_of(company: Company, halves: list[Any]) -> bytes:
    knapsack = knapsack_of(company.shape.plan, bytes(32))
    sums = knapsack.zeros()
    for half in halves:
        knapsack.add_digits(sums, half)
    return knapsack.to_bytes(sums)


def moved(question: EncryptedSum, place: int, by: int) -> EncryptedSum:
    digits = np.frombuffer(question.digits, "<u4").copy()
    digits[place] = int(digits[place]) + by
    return replace(question, digits=digits.tobytes())


def contribution(question: EncryptedSum, place: int, **change: Any) -> EncryptedSum:
    said = list(question.contributions)
    said[place] = replace(said[place], **change)
    return replace(question, contributions=tuple(said))


def refused(company: Company, asked: EncryptedSum, error: type[Misbehaved], said: str) -> None:
    """No partial leaves, and the key outlives the lie."""
    holder = company.holders[company.places[0]]
    before = holder.state
    with pytest.raises(error, match=said):
        holder.receive(SERVER, asked)
    assert holder.state is before


def test_the_honest_question_is_answered(
    company: Company, question: EncryptedSum, uploads: dict[PartyId, Ciphertext]
) -> None:
    """And its digit sums are those of the uploads: what holders open is the sum of what each would have added."""
    assert question.digits == sums_of(company, [upload.c1 for upload in uploads.values()])
    [out] = company.holders[company.places[0]].receive(SERVER, question)
    assert isinstance(out.message, Partial)
    assert out.message.openers == question.openers
    shape = company.shape.plan
    knapsack = knapsack_of(shape, question.context)
    total = sum(unpack(upload.c1, shape.blocks * N, shape.width1).astype(object) for upload in uploads.values())
    found = knapsack.residues(knapsack.from_bytes(question.digits))
    assert found.ravel().tolist() == [int(value) % names.PRIME for value in total]


def test_one_victims_half_under_a_list_of_many_is_refused(
    company: Company, question: EncryptedSum, uploads: dict[PartyId, Ciphertext]
) -> None:
    alone = replace(question, digits=sums_of(company, [uploads[VICTIM].c1]))
    refused(company, alone, ViewMismatch, "digit sums of other halves")


def test_a_list_of_which_one_is_left_out_is_refused(
    company: Company, question: EncryptedSum, uploads: dict[PartyId, Ciphertext]
) -> None:
    fewer = replace(question, digits=sums_of(company, [up.c1 for who, up in uploads.items() if who != VICTIM]))
    refused(company, fewer, ViewMismatch, "digit sums of other halves")


def test_a_sum_of_more_than_the_list_is_refused(company: Company, question: EncryptedSum) -> None:
    fewer = replace(question, contributions=question.contributions[:-1])
    refused(company, fewer, BadCiphertext, "larger than 5 uploads can make it")


def test_two_sums_of_one_round_are_never_opened(
    company: Company, question: EncryptedSum, uploads: dict[PartyId, Ciphertext]
) -> None:
    """U, and then U without one, each with digit sums of its own that its hashes bind."""
    holder = company.holders[company.places[0]]
    holder.receive(SERVER, question)
    without = [uploads[who].c1 for who in sorted(uploads)[:-1]]
    other = replace(question, contributions=question.contributions[:-1], digits=sums_of(company, without))
    with pytest.raises(AlreadyAnswered, match="their difference would tell"):
        holder.receive(SERVER, other)


def test_hashes_that_the_server_makes_fit_are_signed_by_nobody(
    company: Company, question: EncryptedSum, uploads: dict[PartyId, Ciphertext]
) -> None:
    """One client's hash is replaced by what makes the total that of the victim alone."""
    alone = sums_of(company, [uploads[VICTIM].c1])
    hashes = [hash_from_bytes(said.hash) for said in question.contributions]
    rest = sum(hashed.astype(object) for hashed in hashes[1:]) - hashes[1].astype(object)
    fitting = np.array([int(-value) % mathematics.MODULUS for value in rest], np.uint64)
    knapsack = knapsack_of(company.shape.plan, question.context)
    assert knapsack.binds(knapsack.from_bytes(alone), [fitting, *hashes[1:]])
    asked = contribution(replace(question, digits=alone), 0, hash=hash_to_bytes(fitting))
    refused(company, asked, BadSignature, "signature")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda q: moved(q, 0, 1), ViewMismatch, "digit sums of other halves"),
        (lambda q: moved(q, -1, -1), ViewMismatch, "digit sums of other halves"),
        (lambda q: moved(moved(q, 7, 1), 8, -1), ViewMismatch, "digit sums of other halves"),
        (lambda q: moved(q, 3, 1 << 31), BadCiphertext, "larger than 6 uploads can make it"),
        (lambda q: replace(q, digits=q.digits[:-4]), BadCiphertext, "bytes of digit sums"),
        (lambda q: replace(q, digits=b""), BadCiphertext, "0 bytes of digit sums"),
        (lambda q: replace(q, halves=(b"half",)), ShapeMismatch, "1 halves where digit sums are shown"),
        (lambda q: contribution(q, 2, hash=b""), BadSignature, "signature"),
        (lambda q: contribution(q, 2, hash=q.contributions[1].hash), BadSignature, "signature"),
        (lambda q: replace(q, contributions=q.contributions[:1]), CohortTooSmall, "over 1 clients"),
        (lambda q: replace(q, context=b"\1" * 32), BadSignature, "signature"),
    ],
)
def test_a_holder_opens_only_what_was_hashed(
    company: Company, question: EncryptedSum, change: Any, error: type[Misbehaved], said: str
) -> None:
    refused(company, change(question), error, said)


def test_hashes_and_digit_sums_have_no_place_where_halves_are_shown(
    company: Company, question: EncryptedSum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    holder = company.holders[company.places[0]]
    state = holder.state
    assert isinstance(state, Holding)
    refused(company, question, ShapeMismatch, f"{HASH_BYTES} bytes of client 0's hash, 0 are legal")


def test_digit_sums_beside_halves_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    company = Company()
    certificate = company.certificate()
    company.bend = lambda _who, _to, m: replace(m, digits=b"digits") if isinstance(m, EncryptedSum) else m
    with pytest.raises(TooFewMembers):
        company.round(certificate)
    assert {(type(error), error.why) for error in company.failures.values()} == {  # type: ignore[attr-defined]
        (ShapeMismatch, "sends 6 bytes of digit sums beside halves")
    }


def test_so_many_uploads_cannot_have_larger_digits(company: Company, question: EncryptedSum) -> None:
    top = np.frombuffer(question.digits, "<u4").copy()
    top[0] = len(question.contributions) * MOST_DIGIT
    refused(company, replace(question, digits=top.tobytes()), ViewMismatch, "digit sums of other halves")
