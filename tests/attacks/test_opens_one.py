"""The server asks holders to open one upload, or so few that it knows one; by every list it can make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.ckks import epoch as names
from protocols.ckks import holder as roles
from protocols.ckks.messages import EncryptedSum
from protocols.errors import AlreadyAnswered, BadSignature, CohortTooSmall, KeyMismatch, OutOfTurn, ViewMismatch
from protocols.party import PartyId
from secagg.ckks.cipher import open_exact
from secagg.ckks.wire import unpack
from secagg.negacyclic import N
from tests.attacks.hall import Hall, encrypted_plan
from tests.rows import rows


@pytest.fixture
def hall() -> Hall:
    made = Hall()
    made.everybody()
    return made


def kept(question: EncryptedSum, *places: int) -> EncryptedSum:
    """The question about these uploads alone."""
    return replace(
        question,
        contributions=tuple(question.contributions[place] for place in places),
        halves=tuple(question.halves[place] for place in places),
    )


@rows("M23")
@pytest.mark.parametrize("places", [(), (0,), (2,), (1, 3)], ids=len)
def test_fewer_uploads_than_a_cohort_are_opened_by_no_holder(row: str, places: tuple[int, ...], hall: Hall) -> None:
    for who in hall.asked:
        with hall.refuses(who, CohortTooSmall, "3 are required"):
            hall.ask(who, kept(hall.question(), *places))


@rows("M23")
def test_without_the_least_cohort_one_upload_would_be_opened(
    row: str, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test: holders that do not count give the server one client's update."""
    monkeypatch.setattr(roles, "check_cohort", lambda *_: None)
    victim, one = hall.ids[2], kept(hall.question(), 2)
    answers = [answer for who in hall.asked for answer in hall.ask(who, one)]
    c0 = unpack(hall.uploads[victim].c0, hall.plan.blocks * N, hall.plan.width0)
    opened = open_exact(hall.plan, hall.plaintext(c0, answers)).values
    assert np.array_equal(hall.ring.reduce(opened[: hall.length]), hall.vector_of(victim))


@rows("M23")
def test_one_half_under_a_list_of_many_is_not_opened(row: str, hall: Hall) -> None:
    """The others' halves are zeros, with digests that nobody signed, or with those that were."""
    question, zeros = hall.question(), bytes(len(hall.question().halves[0]))
    halves = (question.halves[0], *(zeros for _ in question.halves[1:]))
    first, second = hall.asked
    with hall.refuses(first, ViewMismatch, "another half than client"):
        hall.ask(first, replace(question, halves=halves))
    said = tuple(
        replace(one, digest1=names.digest(half)) for one, half in zip(question.contributions, halves, strict=True)
    )
    with hall.refuses(second, BadSignature):
        hall.ask(second, replace(question, halves=halves, contributions=said))


@rows("M23")
def test_clients_that_the_server_made_up_do_not_count(row: str, hall: Hall) -> None:
    question, who = hall.question(), next(iter(hall.asked))
    strangers = (
        question.contributions[0],
        *(replace(one, who=PartyId(90 + n)) for n, one in enumerate(question.contributions[1:])),
    )
    with hall.refuses(who, KeyMismatch, "does not pin"):
        hall.ask(who, replace(question, contributions=strangers))


@rows("M23", "M21")
def test_a_cohort_and_then_the_same_without_one_client_is_not_opened(row: str, hall: Hall) -> None:
    question, asked = hall.question(), tuple(hall.asked)
    hall.open()
    for who in asked:
        with hall.refuses(who, AlreadyAnswered, "their difference"):
            hall.ask(who, kept(question, 1, 2, 3))


@rows("M23")
def test_an_upload_to_another_key_is_not_opened(row: str, hall: Hall) -> None:
    """Nor does asking cost anything: whoever holds another key says so and goes on."""
    other = Hall(encrypted_plan(bits=11))
    other.everybody()
    who = next(iter(hall.asked))
    state = hall.holders[who]._party.state
    with pytest.raises(OutOfTurn, match="another key"):
        hall.holders[who].receive(hall.framed(other.question(), PartyId(2**32 - 1)))
    assert hall.holders[who]._party.state is state
    hall.require_sum_of(*hall.ids)
