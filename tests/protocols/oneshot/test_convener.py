"""Convening a committee: everybody signs for a key of its own, or somebody is named and there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocols import codec
from protocols.endpoint import Convener
from protocols.errors import Misused, PolicyConflict, TooFewMembers
from protocols.oneshot import convener as conveners
from protocols.oneshot import epoch as names
from protocols.oneshot.convener import Certified, Convened, Convoke, Idle, Known
from protocols.oneshot.messages import Certificate, Convene, Enlisted
from protocols.party import APP, SELF, SERVER, Deadline, Failed, Party, PartyId, Wait
from secagg.errors import NoParameters
from secagg.keys import AgreementKey, verify
from secagg.quorum import Quorum
from tests.protocols.oneshot.kit import FIRST_MEMBER, Company, identity, noted, plan_of, seed
from tests.rows import rows

LIAR = 2


@pytest.fixture(scope="module")
def company() -> Company:
    return Company()


def letters_of(company: Company) -> dict[PartyId, Enlisted]:
    return dict(zip(company.parties, company.certificate.members, strict=True))


def test_all_are_invited_alike_and_have_their_time(company: Company) -> None:
    party = Party(conveners.convener, Idle(Known(verify)))
    letter, wait = party.receive(APP, Convoke(company.epoch, company.parties, 17))
    assert (letter.to, letter.message) == (company.parties, Convene(company.epoch))
    assert (wait.to, wait.message) == ((APP,), Wait("Convening", 17))


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)], ids=str)
def test_the_certificate_is_what_everybody_signed_in_whatever_order(company: Company, order: tuple[int, ...]) -> None:
    party, letters = company.convener(), letters_of(company)
    for index in order[:-1]:
        assert party.receive(company.parties[index], letters[company.parties[index]]) == []
        kept = codec.freeze(party.state)
        party.state = codec.thaw(type(party.state), kept, {Known: party.state.known})
    last = company.parties[order[-1]]
    [note] = party.receive(last, letters[last])
    assert (note.to, note.message) == ((APP,), Convened(company.certificate))
    assert party.state == Certified(company.certificate)


def forged(company: Company, box_key: bytes, place: int = LIAR, signer: int = LIAR) -> Enlisted:
    text = names.enlisted_text(company.epoch.context, place, box_key)
    return Enlisted(box_key, company.member_identities[signer - 1].sign(text))


@rows("M12")
@pytest.mark.parametrize(
    ("bend", "error"),
    [
        (lambda c, m: replace(m, signature=bytes(64)), "BadSignature"),
        (lambda c, m: c.certificate.members[0], "BadSignature"),
        (lambda c, m: forged(c, m.box_key, place=3), "BadSignature"),
        (lambda c, m: forged(c, m.box_key, signer=3), "BadSignature"),
        (lambda c, m: c.forged(replace(c.epoch, number=9)).members[LIAR - 1], "BadSignature"),
        (lambda c, m: forged(c, bytes(32)), "KeyMismatch"),
        (lambda c, m: forged(c, b"\1" + bytes(31)), "KeyMismatch"),
        (lambda c, m: forged(c, b"\xff" * 32), "KeyMismatch"),
        (lambda c, m: forged(c, c.certificate.members[0].box_key), "KeyMismatch"),
    ],
    ids=["forged", "another's", "other place", "other's", "other epoch", "zero", "one", "not canonical", "duplicate"],
)
def test_a_word_that_is_none_is_ignored_by_name_and_a_good_one_still_counts(
    row: str, company: Company, bend: Callable[[Company, Enlisted], Enlisted], error: str
) -> None:
    party, letters = company.convener(), letters_of(company)
    liar = company.parties[LIAR - 1]
    for who in company.parties:
        if who != liar:
            party.receive(who, letters[who])
    state = party.state
    assert noted(party.receive(liar, bend(company, letters[liar]))) == [(liar, error)]
    assert party.state is state
    assert liar not in state.arrived
    [note] = party.receive(liar, letters[liar])
    assert note.message == Convened(company.certificate)


@rows("C14")
def test_the_second_of_two_under_one_key_is_named(row: str, company: Company) -> None:
    party, shared = company.convener(), AgreementKey(seed("shared", 0)).public
    assert party.receive(company.parties[0], forged(company, shared, 1, 1)) == []
    [note] = party.receive(company.parties[1], forged(company, shared, 2, 2))
    assert note.message.why == "serves under the key of another member"


@rows("C11")
def test_a_member_speaks_once(row: str, company: Company) -> None:
    party, letters = company.convener(), letters_of(company)
    first = company.parties[0]
    party.receive(first, letters[first])
    assert noted(party.receive(first, letters[first])) == [(first, "Duplicate")]


@pytest.mark.parametrize("who", [PartyId(0), PartyId(FIRST_MEMBER + 5)])
def test_who_is_no_member_is_out_of_turn(company: Company, who: PartyId) -> None:
    party = company.convener()
    assert noted(party.receive(who, company.certificate.members[0])) == [(who, "OutOfTurn")]
    assert party.state.arrived == {}


@rows("D10")
@pytest.mark.parametrize("silent", [(1,), (0, 4), (0, 1, 2, 3, 4)], ids=str)
def test_without_everybody_there_is_no_committee_and_who_is_silent_is_named(
    row: str, company: Company, silent: tuple[int, ...]
) -> None:
    party, letters = company.convener(), letters_of(company)
    for index, who in enumerate(company.parties):
        if index not in silent:
            party.receive(who, letters[who])
    assert party.receive(SELF, Deadline("Opening")) == []
    with pytest.raises(TooFewMembers) as caught:
        party.receive(SELF, Deadline("Convening"))
    lost = caught.value
    assert (lost.have, lost.need, lost.room) == (5 - len(silent), 5, "Convening")
    assert lost.missing == tuple(company.parties[index] for index in silent)
    assert isinstance(party.state, Failed)


@rows("D24")
@pytest.mark.parametrize("change", [-1, 1, "twice"])
def test_another_number_of_parties_than_members_is_not_convened(row: str, company: Company, change: int | str) -> None:
    parties = {
        -1: company.parties[:-1],
        1: (*company.parties, PartyId(50)),
        "twice": (*company.parties[:-1], company.parties[0]),
    }[change]
    party = Party(conveners.convener, Idle(Known(verify)))
    with pytest.raises(Misused, match="parties for a committee of 5"):
        party.receive(APP, Convoke(company.epoch, parties, 60))


# --- behind the codec


def test_a_server_that_would_be_a_member_is_refused(company: Company) -> None:
    server = identity("server", 0)
    with pytest.raises(PolicyConflict, match="take the server out"):
        Convener({PartyId(1): server.public}, server)


def test_there_is_no_certificate_before_everybody_has_signed(company: Company) -> None:
    convener = Convener(dict(zip(company.parties, company.publics, strict=True)), identity("server", 0))
    convener.open(plan_of(), 0)
    assert not convener.done
    with pytest.raises(Misused, match="no key has been made"):
        _ = convener.certificate


def test_the_epoch_is_the_plan_s_and_the_quorum_the_usual_one_unless_it_is_said(company: Company) -> None:
    convener = Convener(dict(zip(company.parties, company.publics, strict=True)), identity("server", 0))
    plan = plan_of(min_cohort=4)
    for quorum in (None, Quorum(5, 2, 0)):
        [frame] = convener.open(plan, 3, quorum, rounds=8)
        epoch = codec.open_frame(bytes(frame), codec.read_header(bytes(frame), SERVER, 1 << 20), convener.public).epoch
        assert epoch.quorum == (quorum or Quorum.usual(5))
        assert (epoch.task, epoch.number, epoch.rounds) == ("t", 3, 8)
        assert (epoch.min_cohort, epoch.clients, epoch.members) == (4, 6, company.publics)


def test_one_member_alone_is_no_committee(company: Company) -> None:
    convener = Convener({company.parties[0]: company.publics[0]}, identity("server", 0))
    with pytest.raises(NoParameters, match="at least 2 members"):
        convener.open(plan_of(), 0)


# --- over a restart


@rows("S11")
def test_a_certificate_survives_its_bytes_and_others_are_none(row: str) -> None:
    certificate = Company().certificate
    assert Certificate.from_bytes(certificate.to_bytes()) == certificate
    for data in (b"", certificate.to_bytes()[:-1], certificate.to_bytes() + b"\x00", bytes(100)):
        with pytest.raises(Misused, match="no certificate of a committee"):
            Certificate.from_bytes(data)
