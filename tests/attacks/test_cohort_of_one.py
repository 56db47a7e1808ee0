"""The server offers a roster of the victim alone, or of fewer than the agreed cohort."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import CohortTooSmall, KeyMismatch, PolicyViolation
from protocols.messages import Open, Roster
from protocols.pairwise import client as pairwise_client
from tests.attacks.villain import Stage, rows


@rows("M7", "M9")
@pytest.mark.parametrize("members", [1, 2, 3])
def test_a_roster_below_the_cohort_gets_no_shares(row: str, members: int) -> None:
    stage = Stage(5)
    stage.company.plan = replace(stage.company.plan, min_cohort=4)
    stage.server = stage.company.server()
    letters = stage.until(Roster)
    assert len(letters) == 5
    who = stage.ids[0]
    with stage.refuses(who, CohortTooSmall):
        stage.say(who, replace(letters[who], entries=letters[who].entries[:members]))


@rows("M7")
def test_a_roster_without_me_or_with_my_entry_altered_is_refused(row: str) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    entries = letters[stage.ids[0]].entries
    with stage.refuses(stage.ids[0], KeyMismatch):
        stage.say(stage.ids[0], replace(letters[stage.ids[0]], entries=entries[1:]))
    altered = replace(entries[1], commitment=bytes(32))
    with stage.refuses(stage.ids[1], KeyMismatch):
        stage.say(stage.ids[1], replace(letters[stage.ids[1]], entries=(entries[0], altered, *entries[2:])))


@rows("M9")
def test_a_roster_larger_than_the_plan_allows_is_refused(row: str) -> None:
    stage = Stage(5)
    stage.open()
    agreement = stage.server.agreement
    smaller = replace(agreement, plan=replace(agreement.plan, max_clients=4))
    entries = []
    for who in stage.ids:
        stage.say(who, Open(smaller))
        entries.append(stage.clients[who]._party.state.said)
    context = stage.clients[stage.ids[0]]._party.state.context
    with stage.refuses(stage.ids[0], PolicyViolation):
        stage.say(stage.ids[0], Roster(context, tuple(entries)))


@rows("M7")
def test_without_the_check_on_the_roster_a_cohort_of_two_gets_no_parameters(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)
    stage = Stage(5)
    letters = stage.until(Roster)
    who = stage.ids[0]
    with stage.refuses(who, PolicyViolation):
        stage.say(who, replace(letters[who], entries=letters[who].entries[:2]))


@rows("M7", "M9")
def test_without_the_check_on_the_roster_a_cohort_below_the_agreed_one_is_served(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)
    stage = Stage(5)
    stage.company.plan = replace(stage.company.plan, min_cohort=4)
    stage.server = stage.company.server()
    letters = stage.until(Roster)
    who = stage.ids[0]
    [answer] = stage.say(who, replace(letters[who], entries=letters[who].entries[:3]))
    assert len(answer.sealed) == 2
