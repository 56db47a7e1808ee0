"""kill -9 of one endpoint of an encrypted round around every store, the making of the key included.

A holder draws other secrets in every life, so what it said without having stored it shows (`tests.faults.killed`).
"""

from __future__ import annotations

import functools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from protocols.ckks.messages import Ciphertext, EncryptedSum, Partial, Probe
from protocols.codec import Frame, kind_of
from protocols.endpoint import KeyMaker
from protocols.endpoint.certifier import Certifier
from protocols.party import SERVER
from protocols.plan import ENCRYPTED, RoundPlan
from tests.contracts.company import Encrypting
from tests.faults.killed import SERVER_POINTS, OpenedTable, killed_once, killed_twice, name_of, points
from tests.faults.mortal import CLIENTS, LENGTH, Answer, At, Forgets, Hears, body_of
from tests.rows import rows

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@functools.cache
def company() -> Encrypting:
    """Four clients and three holders, of whom two open; the same in every process."""
    plan = RoundPlan.recommend(
        CLIENTS, dropout=Fraction(1, 4), corrupt=Fraction(0), max_weight=8, min_cohort=3, bits=12, protocol=ENCRYPTED
    )
    return Encrypting(plan, CLIENTS, holders=3)


CLIENT, HOLDER = company().ids[1], company().holder_ids[1]


class EncryptedTable(OpenedTable):
    """A key and one round under it."""

    openings_of = (EncryptedSum, Partial, Probe)
    cast = staticmethod(company)

    def begun(self) -> tuple[Certifier[Any], list[Frame]]:
        maker = KeyMaker(company().publics, company().identity)
        return maker, maker.open(company().server().agree(company().task(LENGTH)), company().keys, 0)

    def another_question(self) -> Answer:
        """What a holder says to the sum of all but one client of the same round."""
        [data, *_] = [data for who, to, data in self.said if to == HOLDER and kind_of(data) is EncryptedSum]
        honest = body_of(data, SERVER)
        other = replace(honest, contributions=honest.contributions[1:], halves=honest.halves[1:])
        return self.say_again(HOLDER, other, data)


@pytest.mark.parametrize(
    "point", points("Invite", "Commits", "Deals", "Certificate", "Probe", "EncryptedSum"), ids=name_of
)
def test_a_holder_killed_here_goes_on_and_opens_once(point: At, tmp_path: Path) -> None:
    killed_once(EncryptedTable, point, HOLDER, tmp_path)


@pytest.mark.parametrize("point", points("OpenEncrypted", "Submit", "Result"), ids=name_of)
def test_a_client_killed_here_goes_on_and_is_counted_once(point: At, tmp_path: Path) -> None:
    killed_once(EncryptedTable, point, CLIENT, tmp_path)


@rows("S5", "S6", "S9", "S10")
@pytest.mark.parametrize(("point", "hears"), SERVER_POINTS, ids=name_of)
def test_a_server_killed_here_goes_on_and_nobody_is_lost_or_counted_twice(
    point: At, hears: Hears, row: str, tmp_path: Path
) -> None:
    assert killed_once(EncryptedTable, point, SERVER, tmp_path, hears).openings == 1


@pytest.mark.parametrize(("moment", "openings"), [("before", 2), ("after", 1)])
def test_a_server_killed_while_it_opens_opens_anew_or_says_the_same(moment: str, openings: int, tmp_path: Path) -> None:
    assert killed_once(EncryptedTable, At("open", moment), SERVER, tmp_path).openings == openings


@pytest.mark.parametrize("moment", ["after", "sent"])
def test_a_holder_killed_after_its_store_opens_no_second_sum(moment: str, tmp_path: Path) -> None:
    with EncryptedTable.set(tmp_path, {HOLDER: (At("EncryptedSum", moment),)}) as table:
        table.certify()
        table.play()
        holder = table.parties[HOLDER]
        holder.ask("resend")
        assert holder.deaths == 1
        answer = table.another_question()
        assert (answer.error, answer.frames) == ("AlreadyAnswered", ())
        table.judge()


def test_an_answer_that_leaves_before_it_is_stored_could_be_followed_by_another(tmp_path: Path) -> None:
    """The test of the test: store after sending, and a second sum of the round is opened."""
    with EncryptedTable.set(tmp_path, {HOLDER: (Forgets("EncryptedSum"),)}) as table:
        table.certify()
        table.play()
        holder = table.parties[HOLDER]
        holder.ask("resend")
        assert holder.deaths == 1
        [(_, data)] = table.another_question().frames
        [first] = [d for who, _, d in table.said if who == HOLDER and table.place_of(d) == table.place_of(data)]
        assert body_of(first, HOLDER).question != body_of(data, HOLDER).question


def test_an_upload_that_leaves_before_it_is_stored_would_be_sent_twice(tmp_path: Path) -> None:
    """The test of the test, for clients."""
    with EncryptedTable.set(tmp_path, {CLIENT: (Forgets("Submit"),)}) as table:
        table.certify()
        table.play()
        assert table.deaths == 1
        assert len({data for who, _, data in table.said if who == CLIENT and kind_of(data) is Ciphertext}) == 2
        with pytest.raises(AssertionError, match="two different frames"):
            table.judge()


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_two_kills_at_random_lose_nobody_and_repeat_nothing_differently(count: int, tmp_path: Path) -> None:
    assert killed_twice(EncryptedTable, count, tmp_path) > count
