"""kill -9 of one endpoint of a one-shot round around every store, the convening of the committee included.

A member draws other secrets in every life, so what it said without having stored it shows (`tests.faults.killed`). A
client does not: of two vectors under one root each has a mask of its own.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.codec import Frame, kind_of
from protocols.endpoint import Convener
from protocols.endpoint.certifier import Certifier
from protocols.oneshot.messages import Concealed, Included, Summed
from protocols.oneshot.shape import Shape
from protocols.party import SERVER
from protocols.plan import ONE_SHOT, RoundPlan
from tests.contracts.company import Speaking
from tests.faults.killed import SERVER_POINTS, OpenedTable, killed_once, killed_twice, name_of, points
from tests.faults.mortal import CLIENTS, Answer, At, Forgets, Hears, body_of
from tests.rows import rows

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

# All of whom open: the answer of one that died is waited for, and is not to be spared.
MEMBERS = 3


@functools.cache
def company() -> Speaking:
    """Four clients and three members, all of whom open; the same in every process."""
    plan = RoundPlan.recommend(
        CLIENTS, dropout=Fraction(1, 4), corrupt=Fraction(0), max_weight=8, min_cohort=3, bits=12, protocol=ONE_SHOT
    )
    return Speaking(plan, CLIENTS, members=MEMBERS)


CLIENT, MEMBER = company().ids[1], company().holder_ids[1]


class OneShotTable(OpenedTable):
    """A committee and one round that it opens."""

    cast = staticmethod(company)

    def begun(self) -> tuple[Certifier[Any], list[Frame]]:
        convener = Convener(company().publics, company().identity)
        return convener, convener.open(company().plan, 0)

    def another_question(self) -> Answer:
        """What a member says to the set of all but one client of the same round."""
        [data, *_] = [data for who, to, data in self.said if to == MEMBER and kind_of(data) is Included]
        honest = body_of(data, SERVER)
        return self.say_again(MEMBER, replace(honest, contributions=honest.contributions[1:]), data)


def test_everybody_is_needed_to_open() -> None:
    assert company().quorum.needed == MEMBERS


@rows("S9", "S10")
@pytest.mark.parametrize("point", points("Convene", "Included"), ids=name_of)
def test_a_member_killed_here_goes_on_and_answers_once(point: At, row: str, tmp_path: Path) -> None:
    killed_once(OneShotTable, point, MEMBER, tmp_path)


@pytest.mark.parametrize("point", points("OpenOneShot", "Submit", "Result"), ids=name_of)
def test_a_client_killed_here_goes_on_and_is_counted_once(point: At, tmp_path: Path) -> None:
    killed_once(OneShotTable, point, CLIENT, tmp_path)


@rows("S5", "S6", "S9", "S10")
@pytest.mark.parametrize(("point", "hears"), SERVER_POINTS, ids=name_of)
def test_a_server_killed_here_goes_on_and_nobody_is_lost_or_counted_twice(
    point: At, hears: Hears, row: str, tmp_path: Path
) -> None:
    assert killed_once(OneShotTable, point, SERVER, tmp_path, hears).openings == 1


@pytest.mark.parametrize(("moment", "openings"), [("before", 2), ("after", 1)])
def test_a_server_killed_while_it_opens_opens_anew_or_says_the_same(moment: str, openings: int, tmp_path: Path) -> None:
    assert killed_once(OneShotTable, At("open", moment), SERVER, tmp_path).openings == openings


@pytest.mark.parametrize("moment", ["after", "sent"])
def test_a_member_killed_after_its_store_answers_about_no_second_set(moment: str, tmp_path: Path) -> None:
    with OneShotTable.set(tmp_path, {MEMBER: (At("Included", moment),)}) as table:
        table.certify()
        table.play()
        member = table.parties[MEMBER]
        member.ask("resend")
        assert member.deaths == 1
        answer = table.another_question()
        assert (answer.error, answer.frames) == ("AlreadyAnswered", ())
        table.judge()


def test_a_member_killed_between_its_store_and_its_answer_says_what_it_would_have_said(tmp_path: Path) -> None:
    """The answer follows from what is stored: the same bytes as in a round in which nobody dies."""

    def answer_in(base: Path, fates: dict[Any, Any]) -> set[bytes]:
        with OneShotTable.set(base, fates) as table:
            table.certify()
            table.play()
            return {data for who, _, data in table.said if who == MEMBER and kind_of(data) is Summed}

    undisturbed = answer_in(tmp_path / "lives", {})
    assert len(undisturbed) == 1
    assert answer_in(tmp_path / "dies", {MEMBER: (At("Included", "after"),)}) == undisturbed


def test_an_answer_that_leaves_before_it_is_stored_could_be_followed_by_another(tmp_path: Path) -> None:
    """The test of the test: store after sending, and a second set of the round is answered about."""
    with OneShotTable.set(tmp_path, {MEMBER: (Forgets("Included"),)}) as table:
        table.certify()
        table.play()
        member = table.parties[MEMBER]
        member.ask("resend")
        assert member.deaths == 1
        [(_, data)] = table.another_question().frames
        [first] = [d for who, _, d in table.said if who == MEMBER and table.place_of(d) == table.place_of(data)]
        assert body_of(first, MEMBER).question != body_of(data, MEMBER).question


def test_an_upload_that_leaves_before_it_is_stored_is_sent_twice_under_two_masks(tmp_path: Path) -> None:
    """The test of the test, for clients; and what is left to whoever put an old folder back: nothing to subtract."""
    with OneShotTable.set(tmp_path, {CLIENT: (Forgets("Submit"),)}) as table:
        table.certify()
        table.play()
        assert table.deaths == 1
        said = [data for who, _, data in table.said if who == CLIENT and kind_of(data) is Concealed]
        assert len(said) == 2
        with pytest.raises(AssertionError, match="two different frames"):
            table.judge()
    one, other = (body_of(data, CLIENT) for data in said)
    assert one.box_key != other.box_key
    mask = Shape.of(company().server().agree(company().task(4))).mask
    first, second = (mask.ring.unpack(bytes(each.vector), mask.coefficients) for each in (one, other))
    # The two vectors differ in a few coefficients, their masks in all.
    assert np.count_nonzero(first == second) < 4


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_two_kills_at_random_lose_nobody_and_repeat_nothing_differently(count: int, tmp_path: Path) -> None:
    assert killed_twice(OneShotTable, count, tmp_path) > count
