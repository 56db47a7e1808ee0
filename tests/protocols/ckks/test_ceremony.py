"""The key ceremony: a key that opens, and a name for everybody who bends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols import wire
from protocols.ckks import epoch as names
from protocols.ckks.epoch import POLYNOMIAL_BYTES, Dealing, Epoch
from protocols.ckks.holder import Checking, Holding
from protocols.ckks.messages import (
    Certificate,
    Checked,
    Commit,
    Commits,
    Deals,
    Dispute,
    Invite,
    Partial,
    Probe,
    Reveal,
)
from protocols.errors import (
    BadBox,
    BadDealing,
    BadPlan,
    BadShare,
    BadSignature,
    KeyMismatch,
    OutOfTurn,
    PolicyViolation,
    ShapeMismatch,
    TooFewMembers,
    ViewMismatch,
)
from protocols.party import SELF, SERVER, Deadline, Failed, PartyId
from secagg.ckks.cipher import add_into
from secagg.ckks.plan import Keys, Mode, plan
from secagg.ckks.share import Dealt, SecretResidues, deal, lagrange, scaled
from secagg.keys import verify
from secagg.negacyclic import PRIME, N
from secagg.prg import Stream
from tests.protocols.ckks.kit import FIRST_HOLDER, LOST, Bend, Company, seed

LIAR = PartyId(FIRST_HOLDER + 2)


def bending(kind: type[Any], sender: PartyId, change: Any) -> Company:
    """A company in which one party's letters of one kind are changed on their way."""

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        return change(message) if who == sender and isinstance(message, kind) else message

    return Company(bend=bend)


@pytest.fixture(scope="module")
def made() -> tuple[Company, Certificate]:
    company = Company()
    return company, company.certificate()


def test_everybody_ends_with_a_share_of_one_key(made: tuple[Company, Certificate]) -> None:
    company, _ = made
    states = [party.state for party in company.holders.values()]
    assert all(isinstance(state, Holding) for state in states)
    # sum of lambda_i sigma_i is the secret whose public key the certificate holds, up to its small error.
    for places in ((1, 2, 3, 4), (2, 3, 4, 5), (1, 3, 4, 5)):
        secret, weights = np.zeros(N, np.uint64), lagrange(places)
        for place in places:
            add_into(secret, scaled(names.from_bytes(states[place - 1].share.expose()), weights[place]))
        centred = secret.astype(np.int64)
        centred[centred > PRIME // 2] -= PRIME
        assert np.abs(centred).max() < 5 * 65
        assert np.std(centred) == pytest.approx(np.sqrt(5) * 4.6, rel=0.1)


def test_a_certificate_is_checked_by_whoever_reads_it_and_comes_back_from_bytes(
    made: tuple[Company, Certificate],
) -> None:
    _, certificate = made
    certificate.check(verify, SERVER)
    assert wire.decode(Certificate, wire.encode(certificate)) == certificate
    assert len(wire.encode(certificate)) < 16_000
    first, *rest = certificate.checks
    with pytest.raises(BadSignature):
        replace(certificate, checks=(replace(first, value=first.value ^ 1), *rest)).check(verify, SERVER)
    with pytest.raises(ShapeMismatch):
        replace(certificate, checks=tuple(rest)).check(verify, SERVER)
    with pytest.raises(BadSignature):
        replace(certificate, public=names.to_bytes(np.ones(N, np.uint64))).check(verify, SERVER)


def test_the_same_roots_make_the_same_key(made: tuple[Company, Certificate]) -> None:
    assert Company().certificate() == made[1]


def test_nothing_of_a_share_is_printed(made: tuple[Company, Certificate]) -> None:
    state = next(iter(made[0].holders.values())).state
    assert "share=<Secret: secret>" in repr(state)
    assert "secret" in repr(Dealt.of(np.full(N + 1, 77, np.uint64)))
    assert "77" not in repr(Dealt.of(np.full(N + 1, 77, np.uint64)))


# --- who bends it is named ----------------------------------------------------------------------------


def test_a_holder_that_says_nothing_is_named() -> None:
    company = bending(Commit, LIAR, lambda _: LOST)
    with pytest.raises(TooFewMembers, match=f"4 of 5 have spoken: parties {LIAR} are silent") as caught:
        company.certificate()
    assert caught.value.missing == (LIAR,)


@pytest.mark.parametrize(
    ("kind", "change", "error"),
    [
        (Commit, lambda m: replace(m, commitment=bytes(32)), "BadSignature"),
        (Commit, lambda m: replace(m, box_key=bytes(32)), "BadSignature"),
        (Reveal, lambda m: replace(m, public=names.to_bytes(np.ones(N, np.uint64))), "BadShare"),
        (Reveal, lambda m: replace(m, nonce=bytes(32)), "BadShare"),
        (Reveal, lambda m: replace(m, boxes=m.boxes[:-1]), "ShapeMismatch"),
        (Reveal, lambda m: replace(m, hashes=(*m.hashes, bytes(32))), "ShapeMismatch"),
        (Checked, lambda m: replace(m, value=m.value ^ 1), "BadSignature"),
    ],
)
def test_a_holder_that_bends_its_word_is_excluded_by_name(kind: type[Any], change: Any, error: str) -> None:
    company = bending(kind, LIAR, change)
    with pytest.raises(TooFewMembers):
        company.certificate()
    assert [(note.peer, note.error) for note in company.excluded] == [(LIAR, error)]


def test_the_last_to_speak_cannot_choose_its_part_of_the_key() -> None:
    """It would take what the others revealed, and answer so that the sum is a key it knows."""
    seen: list[np.ndarray[Any, Any]] = []

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if not isinstance(message, Reveal):
            return message
        if who != PartyId(FIRST_HOLDER + 4):
            seen.append(names.from_bytes(message.public))
            return message
        wanted = names.collective(seen)
        return replace(message, public=names.to_bytes((np.uint64(PRIME) - wanted) % np.uint64(PRIME)))

    company = Company(bend=bend)
    with pytest.raises(TooFewMembers):
        company.certificate()
    assert [(note.peer, note.error) for note in company.excluded] == [(FIRST_HOLDER + 4, "BadShare")]


def test_a_dealer_of_too_high_a_degree_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sets of holders would open its part differently."""
    honest = Dealing.of

    def of(root: Any, epoch: Epoch, context: Any) -> Dealing:
        dealing = honest(root, epoch, context)
        if root != seed("root", 2):
            return dealing
        rows = deal(np.full(N, 7, np.uint64), epoch.plan.keys.threshold + 1, epoch.plan.keys.holders, Stream(root))
        pieces = tuple(Dealt(SecretResidues(row), piece.mask) for row, piece in zip(rows, dealing.pieces, strict=True))
        return replace(dealing, pieces=pieces)

    monkeypatch.setattr(Dealing, "of", of)
    company = Company()
    with pytest.raises(BadDealing, match=f"without parties {LIAR}") as caught:
        company.certificate()
    assert caught.value.culprits == (LIAR,)
    assert all(isinstance(party.state, Failed) for party in company.holders.values())


def test_a_holder_that_lies_about_what_it_was_dealt_is_named() -> None:
    """Its value breaks the degree, its numbers do not add up to it: nobody else is suspected."""

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if who != LIAR or not isinstance(message, Checked):
            return message
        place, value = LIAR - FIRST_HOLDER + 1, (message.value + 1) % PRIME
        state = company.holders[LIAR].state
        assert isinstance(state, Checking)
        said = Checked(value, state.own.sign(names.checked_text(state.context, place, state.public, value)))
        company.holders[LIAR].state = replace(state, said=said)
        return said

    company = Company(bend=bend)
    with pytest.raises(BadDealing, match=f"without parties {LIAR}"):
        company.certificate()
    assert [(note.peer, note.error) for note in company.excluded] == [(LIAR, "BadShare")]


@pytest.mark.parametrize(
    ("kind", "change", "error"),
    [
        (Commits, lambda m: Commits(m.commits[:-1]), ShapeMismatch),
        (Commits, lambda m: Commits(m.commits[::-1]), KeyMismatch),
        (Commits, lambda m: Commits((*m.commits[:4], replace(m.commits[4], commitment=bytes(32)))), BadSignature),
        (Deals, lambda m: replace(m, reveals=m.reveals[:-1]), ShapeMismatch),
        (Deals, lambda m: replace(m, reveals=m.reveals[::-1]), BadShare),
        (
            Deals,
            lambda m: replace(m, reveals=(replace(m.reveals[0], box=bytes(len(m.reveals[0].box))), *m.reveals[1:])),
            BadBox,
        ),
        (Certificate, lambda m: replace(m, public=names.to_bytes(np.ones(N, np.uint64))), ViewMismatch),
        (Certificate, lambda m: replace(m, checks=m.checks[::-1]), ViewMismatch),
    ],
)
def test_a_server_that_bends_what_it_relays_is_caught_by_the_holder(
    kind: type[Any], change: Any, error: type[Exception]
) -> None:
    victim = PartyId(FIRST_HOLDER)

    def bend(_who: PartyId, to: PartyId, message: Any) -> Any:
        return change(message) if to == victim and isinstance(message, kind) else message

    company = Company(bend=bend)
    with pytest.raises(TooFewMembers):
        company.certificate()
    assert type(company.failures[victim]) is error
    assert isinstance(company.holders[victim].state, Failed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: replace(p, holders=frozenset()), "whom this policy does not pin"),
        (lambda p: replace(p, min_threshold=5), "threshold 4 is below 5"),
        (lambda p: replace(p, max_openings=5), "8 openings are above 5"),
    ],
)
def test_a_holder_refuses_keys_below_its_policy(change: Any, said: str) -> None:
    company = Company()
    victim = company.holders[company.places[0]]
    victim.state = replace(victim.state, own=replace(victim.state.own, policy=change(company.holder_policy)))
    with pytest.raises(PolicyViolation, match=said):
        victim.receive(SERVER, Invite(company.epoch))


def test_a_threshold_that_corrupt_holders_can_meet_twice_is_refused() -> None:
    """3 of 5 and one corrupt: it helps both halves of the others to open different sums of one round."""
    company = Company(keys=Keys(Mode.THRESHOLD, 5, 3, 8))
    with pytest.raises(PolicyViolation, match="3 of 5 holders may open two sums"):
        company.holders[company.places[0]].receive(SERVER, Invite(company.epoch))


def test_a_stranger_is_not_made_a_holder() -> None:
    company = Company()
    victim = company.holders[company.places[0]]
    victim.state = replace(victim.state, own=replace(victim.state.own, identity=bytes(32)))
    with pytest.raises(PolicyViolation, match="not shared with me"):
        victim.receive(SERVER, Invite(company.epoch))


def test_a_valid_key_is_not_given_up_because_the_server_disputes_it() -> None:
    seen: list[Certificate] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, Certificate):
            seen.append(message)
            return LOST
        return message

    company = Company(bend=bend)
    with pytest.raises(TooFewMembers):
        company.certificate()
    victim = company.holders[company.places[0]]
    state = victim.state
    with pytest.raises(PolicyViolation, match="disputes a key whose pieces belong together"):
        victim.receive(SERVER, Dispute(seen[0].checks))
    victim.state = state
    with pytest.raises(ViewMismatch, match="my own word is missing"):
        victim.receive(SERVER, Dispute(seen[0].checks[1:]))


# --- the probe ----------------------------------------------------------------------------------------


def test_shares_of_another_secret_than_the_key_are_found_before_any_client_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No check of degrees sees it: the pieces lie on one polynomial, of another secret."""
    honest = Dealing.of

    def of(root: Any, epoch: Epoch, context: Any) -> Dealing:
        dealing = honest(root, epoch, context)
        if root != seed("root", 2):
            return dealing
        rows = deal(np.full(N, 7, np.uint64), epoch.plan.keys.threshold, epoch.plan.keys.holders, Stream(root))
        pieces = tuple(Dealt(SecretResidues(row), piece.mask) for row, piece in zip(rows, dealing.pieces, strict=True))
        return replace(dealing, pieces=pieces)

    monkeypatch.setattr(Dealing, "of", of)
    company = Company()
    with pytest.raises(BadDealing):
        company.certificate()


def test_a_holder_that_answers_the_probe_with_rubbish_voids_the_key() -> None:
    rubbish = bytes([1]) * POLYNOMIAL_BYTES

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if who != LIAR or not isinstance(message, Partial):
            return message
        return replace(message, part=rubbish[: len(message.part)])

    with pytest.raises(BadDealing) as caught:
        Company(bend=bend).certificate()
    assert LIAR in caught.value.culprits


def test_the_late_deadline_of_a_set_that_was_tried_closes_no_later_one() -> None:
    company = Company()
    rung: list[tuple[str, str]] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        state = company.maker.state
        if isinstance(message, Partial):
            late = "Certifying" if state.name == "Probing" else "Probing"
            assert company.maker.receive(SELF, Deadline(late)) == []
            assert company.maker.state is state
            rung.append((state.name, late))
        return message

    company.bend = bend
    company.certificate()
    assert set(rung) == {("Probing", "Certifying"), ("Probing 2", "Probing")}


def test_the_deadline_of_a_later_set_names_who_is_silent_in_it() -> None:
    """The last holder is in the second set only."""
    company = Company(bend=lambda who, _, message: LOST if is_last_answer(who, message) else message)
    with pytest.raises(TooFewMembers) as caught:
        company.certificate()
    assert caught.value.missing == (FIRST_HOLDER + 4,)


def is_last_answer(who: PartyId, message: Any) -> bool:
    return isinstance(message, Partial) and who == FIRST_HOLDER + 4


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: replace(m, context=bytes(32)), "ViewMismatch"),
        (lambda m: replace(m, question=bytes(32)), "ViewMismatch"),
        (lambda m: replace(m, openers=(1, 2, 3)), "ViewMismatch"),
        (lambda m: replace(m, part=m.part[:-1]), "BadCiphertext"),
    ],
)
def test_an_answer_to_another_probe_is_excluded_by_name(change: Any, error: str) -> None:
    company = bending(Partial, LIAR, change)
    with pytest.raises(TooFewMembers):
        company.certificate()
    assert [(note.peer, note.error) for note in company.excluded] == [(LIAR, error)]


@pytest.mark.parametrize("openers", [(1, 2, 3), (2, 3, 4, 5), (1, 3, 2, 4), (1, 2, 3, 9), (1, 1, 2, 3)])
def test_a_probe_is_opened_by_t_holders_in_order(openers: tuple[int, ...], made: tuple[Company, Certificate]) -> None:
    company = Company()
    company.certificate()
    with pytest.raises(PolicyViolation):
        company.holders[company.places[0]].receive(SERVER, Probe(openers))


def test_an_epoch_needs_holders_that_share_a_key() -> None:
    company = Company()
    with pytest.raises(BadPlan, match="each with its own identity"):
        replace(company.epoch, holders=company.epoch.holders[:1] * 5)
    with pytest.raises(BadPlan, match="5 holders for a plan of 1"):
        replace(company.epoch, plan=plan(3, 17, 100, Keys(Mode.SINGLE)))
    with pytest.raises(BadPlan, match="in mode seeded the clients have the key"):
        replace(company.epoch, plan=plan(3, 17, 100, Keys(Mode.SEEDED)))
    other = replace(company.epoch, number=1)
    assert other.context != company.epoch.context


def showing_the_box_key(company: Company, choose: Callable[[list[Commit]], bytes]) -> Bend:
    """The last holder signs for a box key that is not its own."""
    seen: list[Commit] = []

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if not isinstance(message, Commit):
            return message
        seen.append(message)
        if who != company.places[-1]:
            return message
        key = choose(seen)
        text = names.committed_text(company.epoch.context, len(company.places), message.commitment, key)
        return replace(message, box_key=key, signature=company.holder_ids[-1].sign(text))

    return bend


@pytest.mark.parametrize("choose", [lambda seen: bytes(32), lambda seen: seen[0].box_key], ids=["useless", "borrowed"])
def test_a_box_key_that_cannot_be_the_holder_s_names_it(choose: Any) -> None:
    """Without this the holders would find it out, and blame the server."""
    company = Company()
    company.bend = showing_the_box_key(company, choose)
    with pytest.raises(TooFewMembers):
        company.certificate()
    assert [(note.peer, note.error) for note in company.excluded] == [(company.places[-1], "KeyMismatch")]


def test_what_is_for_another_holder_changes_nothing() -> None:
    company = Company()

    def bend(_who: PartyId, to: PartyId, message: Any) -> Any:
        if isinstance(message, Deals) and to == company.places[0]:
            state = company.holders[to].state
            with pytest.raises(OutOfTurn, match="for holder 2"):
                company.holders[to].receive(SERVER, replace(message, to=2))
            assert company.holders[to].state is state
        return message

    company.bend = bend
    company.certificate()
