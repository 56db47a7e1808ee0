"""The server opens a round again, with another model or nonce, to get two vectors under related masks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import OutOfTurn, Replay
from protocols.messages import Advertise, Masked, Open, Roster, Witnesses
from protocols.pairwise import client as pairwise_client
from protocols.party import SERVER, Failed, Party
from tests.attacks.villain import Stage, rows
from tests.contracts.company import seed_of


def again(stage: Stage, **changes) -> Open:
    return Open(replace(stage.server.agreement, **changes))


CHANGES = pytest.mark.parametrize(
    "changes",
    [{"nonce": b"\2" * 16}, {"model": b"\3" * 32}, {"round": 0, "length": 6}],
    ids=["nonce", "model", "length"],
)


@rows("M14")
@CHANGES
def test_a_spent_round_is_not_opened_again(row: str, changes: dict) -> None:
    stage = Stage(4)
    stage.until(None)
    for who in stage.ids:
        with stage.shrugs_off(who, Replay):
            stage.say(who, again(stage, **changes))


@rows("M14")
@CHANGES
def test_nor_after_a_restart(row: str, changes: dict) -> None:
    stage = Stage(4)
    stage.until(Witnesses)
    for who in stage.ids:
        restarted = stage.company.client(who)
        restarted.thaw(stage.clients[who].freeze())
        stage.clients[who] = restarted
        with stage.shrugs_off(who, Replay):
            stage.say(who, again(stage, **changes))


@rows("M14")
def test_an_earlier_round_is_not_opened_either(row: str) -> None:
    stage = Stage(4)
    stage.open(round=7)
    stage.until(None)
    stage.round = 3
    with stage.shrugs_off(stage.ids[0], Replay):
        stage.say(stage.ids[0], again(stage, round=3, nonce=b"\4" * 16))


@rows("M14")
def test_the_round_of_one_task_says_nothing_about_another(row: str) -> None:
    stage = Stage(4)
    stage.until(None)
    other = replace(stage.server.agreement, plan=replace(stage.company.plan, task="another"))
    stage.company.plan = other.plan
    [answer] = stage.say(stage.ids[0], Open(other))
    assert isinstance(answer, Advertise)


@rows("M14")
def test_a_late_copy_of_the_open_does_not_throw_away_the_round(row: str) -> None:
    stage = Stage(4)
    stage.open()
    opens = dict(stage.pending)
    stage.until(Roster)
    stage.hand(stage.answers())
    for who in stage.ids:
        before = stage.clients[who].freeze()
        with pytest.raises(OutOfTurn, match="answered before"):
            stage.clients[who].receive(opens[who])
        assert stage.clients[who].freeze() == before
        # Nor when the same words come under another signature, which is another frame.
        stage.clients[who]._heard.clear()
        with pytest.raises(OutOfTurn, match="a second time"):
            stage.clients[who].receive(opens[who])
    stage.until(None)
    assert stage.server.aggregate is not None
    assert stage.server.aggregate.survivors == stage.ids


@rows("M14")
def test_an_attempt_given_up_before_the_vector_left_may_be_repeated_with_fresh_keys(row: str) -> None:
    stage = Stage(4)
    stage.until(Roster)
    first = {who: stage.heard[who, Advertise] for who in stage.ids}
    stage.open(nonce=b"\5" * 16)
    stage.until(None)
    assert stage.server.aggregate is not None
    for who in stage.ids:
        second = stage.heard[who, Advertise]
        assert not {first[who].box_key, first[who].mask_key} & {second.box_key, second.mask_key}
        assert first[who].commitment != second.commitment
    assert sum(kind is Masked for _, kind in stage.heard) == 4


@rows("M14")
def test_a_refused_open_leaves_the_round_that_is_open_alone(row: str) -> None:
    stage = Stage(4)
    stage.until(Witnesses)
    who = stage.ids[0]
    with stage.shrugs_off(who, Replay):
        stage.say(who, again(stage, nonce=b"\6" * 16))
    stage.until(None)
    assert stage.server.aggregate is not None
    assert who in stage.server.aggregate.survivors


@rows("M14")
def test_without_the_list_of_spent_rounds_a_second_opening_gives_one_vector_away(row: str) -> None:
    """The second sum leaves one client out; the difference is its vector up to the rounding of the others."""
    stage = Stage(4)
    victim, ring = stage.ids[3], stage.company.plan.encoding.ring
    totals = []
    for silent in ([], [victim]):
        for who in stage.ids:
            stage.clients[who]._spent.clear()
        stage.open(nonce=bytes([len(silent)]) * 16)
        stage.until(None, silent=silent)
        totals.append(ring.centre(stage.server.aggregate.total))
        if not silent:
            secret = ring.centre(stage.vectors[victim])
    assert stage.server.aggregate.survivors == stage.ids[:3]
    # Three clients of weight 2 round anew, each by less than one step.
    assert abs(totals[0] - totals[1] - secret).max() <= 3 * 2
    assert abs(secret).min() > 100


@rows("M14")
@pytest.mark.parametrize("round", [0, 5])
def test_the_party_refuses_a_spent_round_even_if_its_endpoint_did_not(row: str, round: int) -> None:
    stage = Stage(4)
    agreement = replace(stage.company.server().agree(stage.company.task(5)), round=round)
    own = stage.clients[stage.ids[0]]._own
    party = Party(pairwise_client.client, pairwise_client.Idle(own, seed_of("root"), 5))
    with pytest.raises(Replay):
        party.receive(SERVER, Open(agreement))
    assert isinstance(party.state, Failed)
    fresh = Party(pairwise_client.client, pairwise_client.Idle(own, seed_of("root"), 5))
    [letter] = fresh.receive(SERVER, Open(replace(agreement, round=6)))
    assert isinstance(letter.message, Advertise)
