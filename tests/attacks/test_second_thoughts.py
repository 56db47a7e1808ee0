"""Clients that go back in time, letters of another attempt, and what one client must not be able to do to a round."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.certificates import Credential
from protocols.codec import kind_of
from protocols.endpoint import Server
from protocols.errors import BadPlan, Misused, OutOfTurn, TooFewClients, ViewMismatch
from protocols.messages import (
    Advertise,
    Inbox,
    Masked,
    Result,
    Roster,
    Shares,
    Survivors,
    Unmask,
    Witness,
    Witnesses,
)
from protocols.pairwise import server as pairwise_server
from protocols.party import SERVER, PartyId
from protocols.plan import Policy, RoundPlan
from secagg.keys import Identity
from secagg.workers import Workers
from tests.attacks.villain import Stage, rows
from tests.contracts.company import seed_of

AUTHORITY = Identity.from_seed(seed_of("an authority"))

# --- going back


@rows("S17")
@pytest.mark.parametrize("kind", [Roster, Inbox, Survivors, Witnesses], ids=lambda kind: kind.__name__)
def test_a_client_does_not_go_back_within_a_round(row: str, kind: type) -> None:
    stage = Stage(5)
    stage.until(kind)
    who = stage.ids[0]
    client = stage.clients[who]
    image, before = client.freeze(), type(client._party.state)
    stage.hand(stage.answers())
    assert type(client._party.state) is not before
    later = client.freeze()
    with pytest.raises(Misused, match="older than the client"):
        client.thaw(image)
    assert client.freeze() == later
    client.thaw(later)
    assert client.freeze() == later


@rows("S17")
def test_nor_to_an_earlier_round_it_has_spent(row: str) -> None:
    stage = Stage(5)
    stage.until(Survivors)
    who = stage.ids[0]
    fresh = Stage(5)
    fresh.until(Inbox)
    [frame] = [data for to, data in fresh.pending if to == who]
    fresh.clients[who].receive(frame)
    before_the_vector = fresh.clients[who].freeze()
    stage.until(None)
    stage.open(1, nonce=b"\1" * 16)
    stage.until(Roster)
    with pytest.raises(Misused, match="a round it knows nothing of is spent"):
        stage.clients[who].thaw(before_the_vector)


@rows("S17")
def test_without_that_check_a_client_deals_its_secrets_twice(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    who = stage.ids[0]
    client = stage.clients[who]
    image = client.freeze()
    [dealt] = stage.say(who, letters[who])
    fewer = replace(letters[who], entries=letters[who].entries[:4])
    monkeypatch.setattr(client, "_agreement", None)
    client.thaw(image)
    [again] = stage.say(who, fewer)
    assert isinstance(dealt, Shares)
    assert isinstance(again, Shares)
    assert len(dealt.sealed) != len(again.sealed)


@rows("S16")
def test_a_signer_that_fails_has_cost_the_round_not_opened_it_again(row: str) -> None:
    stage = Stage(5)
    stage.until(Inbox)
    who = stage.ids[0]
    client = stage.clients[who]
    [frame] = [data for to, data in stage.pending if to == who]
    client.receive(frame)
    image, submission = client.freeze(), client.prepare(stage.update(who))

    def broken(text: bytes) -> bytes:
        raise OSError("the token was pulled out")

    client._own = replace(client._own, sign=broken)
    with pytest.raises(OSError, match="token"):
        client.send(submission)
    with pytest.raises(Misused):
        client.send(submission)
    with pytest.raises(Misused, match="older"):
        client.thaw(image)


# --- another attempt


@rows("M13", "D13")
def test_letters_of_an_earlier_attempt_at_the_same_round_are_not_open(row: str) -> None:
    stage = Stage(5)
    stage.until(Inbox)
    old_shares, old_inboxes = stage.frames[stage.ids[1], Shares], list(stage.pending)
    # The server gives this attempt up before anybody has masked, and opens the same round anew.
    stage.open(0, nonce=b"\7" * 16)
    stage.until(Roster)
    stage.server.receive(old_shares, stage.ids[1])
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(stage.ids[1], "OutOfTurn")]
    for who, frame in old_inboxes:
        with stage.shrugs_off(who, OutOfTurn, match="not open here"):
            stage.clients[who].receive(frame)
    stage.until(None)
    assert stage.server.aggregate.survivors == stage.ids
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


# --- one client against the round


def credentials(stage: Stage) -> dict[str, tuple[bytes | None, Credential]]:
    who = stage.ids[0]
    mine, other = stage.company.known[who], stage.company.known[stage.ids[1]]
    return {
        "no authority here": (None, Credential.issue(AUTHORITY, who, mine)),
        "another identity": (AUTHORITY.public, Credential.issue(AUTHORITY, who, other)),
        "another authority": (AUTHORITY.public, Credential.issue(stage.company.identities[who].identity, who, mine)),
        "another number": (AUTHORITY.public, Credential.issue(AUTHORITY, stage.ids[1], mine)),
    }


@rows("C14", "M11")
@pytest.mark.parametrize("case", ["no authority here", "another identity", "another authority", "another number"])
def test_a_bad_credential_costs_its_owner_alone(row: str, case: str) -> None:
    stage = Stage(5)
    authority, shown = credentials(stage)[case]
    stage.server = Server(stage.company.plan, stage.company.known, stage.company.identity, authority=authority)
    who = stage.ids[0]
    stage.clients[who]._own = replace(stage.clients[who]._own, credential=shown)
    stage.open()
    stage.until(None)
    assert [note.peer for note in stage.server.excluded][:1] == [who]
    assert {note.error for note in stage.server.excluded} <= {"KeyMismatch", "BadSignature", "OutOfTurn"}
    assert stage.server.aggregate.survivors == stage.ids[1:]
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids[1:])


@rows("C14")
def test_without_that_check_one_bad_credential_ends_the_round_of_all(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise_server, "check_credential", lambda known, who, credential: None)
    stage = Stage(5)
    _, shown = credentials(stage)["another identity"]
    who = stage.ids[0]
    stage.clients[who]._own = replace(stage.clients[who]._own, credential=shown)
    letters = stage.until(Roster)
    for other in stage.ids[1:]:
        with pytest.raises(Exception, match="another identity"):
            stage.say(other, letters[other])


@rows("C10")
def test_as_many_accusers_as_may_be_corrupt_frame_nobody(row: str) -> None:
    """Two of ten may be corrupt, and two say that they hold no share of an honest client."""
    plan = RoundPlan.recommend(10, dropout=Fraction(1, 10), corrupt=Fraction(1, 5), max_weight=8, min_cohort=6)
    stage = Stage(10)
    stage.company.plan = plan
    stage.company.policy = replace(stage.company.policy, assumption=plan.assumption, min_cohort=6)
    stage.server = stage.company.server()
    stage.clients = {who: stage.company.client(who) for who in stage.ids}
    stage.until(Inbox)
    replies = stage.answers()
    liars, framed = stage.ids[:2], stage.ids[5]
    for liar in liars:
        stage.speak(liar, replace(stage.heard[liar, Masked], complaints=(framed,)))
    stage.hand({who: replies[who] for who in stage.ids[2:]})
    stage.until(None)
    assert stage.server.aggregate.blamed == {}
    assert stage.server.aggregate.survivors == stage.ids


# --- witnesses around the ring


@rows("M17", "M8")
def test_witnesses_that_leave_a_stretch_of_the_ring_empty_convince_nobody(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(5)
    letters = stage.until(Witnesses)
    graph = stage.clients[stage.ids[0]]._party.state.session.graph
    monkeypatch.setattr(type(graph), "windows", lambda graph, survivors: 0)
    for who in stage.ids:
        with stage.refuses(who, ViewMismatch, match="stretch of the ring"):
            stage.say(who, letters[who])
    assert not any(kind is Unmask for _, kind in stage.heard)


@rows("M17", "D10")
def test_a_server_with_too_few_witnesses_somewhere_on_the_ring_ends_the_round(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(5)
    stage.until(Survivors)
    replies = stage.answers()
    graph = stage.server._party.state.summed.session.graph
    monkeypatch.setattr(type(graph), "windows", lambda graph, survivors: 0)
    stage.hand(replies)
    assert not stage.pending
    with pytest.raises(TooFewClients, match="Witnessing"):
        stage.server.deadline("Witnessing")


# --- the rest


@rows("M22")
def test_a_second_result_is_refused_and_the_first_one_stays(row: str) -> None:
    stage = Stage(5)
    stage.until(None)
    who = stage.ids[0]
    [(_, frame)] = [(to, data) for to, data in stage.pending if to == who]
    stage.clients[who].receive(frame)
    first = stage.clients[who].result
    letter = stage.decoded(frame)
    assert isinstance(letter, Result)
    with pytest.raises(ViewMismatch, match="two different results of this round"):
        stage.say(who, replace(letter, digest=bytes(32)))
    assert stage.clients[who].result == first == frame


@rows("M21")
def test_a_cap_by_task_wants_the_tasks_named(row: str) -> None:
    with pytest.raises(BadPlan, match="rename its task"):
        Policy({}, max_rounds=3)


@rows("M6")
def test_a_cohort_with_fewer_than_two_honest_clients_is_no_plan(row: str) -> None:
    plan = RoundPlan.recommend(9, dropout=0, corrupt=Fraction(1, 3))
    assert plan.corrupted == 3
    assert replace(plan, min_cohort=5).min_cohort == 5
    with pytest.raises(BadPlan, match="fewer than 2 honest"):
        replace(plan, min_cohort=4)


@rows("S9")
def test_a_worker_that_fails_while_unmasking_spoils_nothing(row: str) -> None:
    class Flaky(Executor):
        """Refuses one job, as an executor does that has no thread left."""

        def __init__(self) -> None:
            self.calls = 0

        def submit(self, job: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("can't start new thread")
            done: Future[Any] = Future()
            done.set_result(job(*arguments, **named))
            return done

    stage = Stage(5)
    stage.server = Server(stage.company.plan, stage.company.known, stage.company.identity, Workers(Flaky(), 2))
    stage.vectors = {}
    lengthen(stage, 64)
    stage.until(Witnesses)
    replies = stage.answers()
    opened = 0
    for who, reply in replies.items():
        try:
            stage.hand({who: reply})
        except RuntimeError:
            opened += 1
            stage.hand({who: reply})
    assert opened == 1
    if not stage.server.done:
        stage.server.deadline("Unmasking")
    assert stage.server.aggregate.survivors == stage.ids
    total = sum(vector.astype(np.int64) for vector in stage.vectors.values())
    ring = stage.server.agreement.plan.encoding.ring
    assert (stage.server.aggregate.total == ring.reduce(total)).all()


def lengthen(stage: Stage, length: int) -> None:
    """Vectors long enough for two workers."""
    stage.length = length
    task = stage.company.task
    stage.company.task = lambda _, round=0: task(length, round)  # type: ignore[method-assign]
    stage.update = lambda who: np.linspace(-1, 1, length) * (who + 1) / 20  # type: ignore[method-assign]


def test_every_letter_but_the_invitation_names_the_attempt() -> None:
    stage = Stage(4)
    stage.until(None)
    for frame in stage.frames.values():
        assert codec.read_header(frame, SERVER, 1 << 20).task == stage.attempt
    assert stage.attempt != codec.attempt_id(stage.company.plan.task, b"\1" * 16) != stage.task
    assert {kind for _, kind in stage.frames} == {Advertise, Shares, Masked, Witness, Unmask}


@rows("D16")
def test_only_a_vector_may_be_as_long_as_one(row: str) -> None:
    stage = Stage(5)
    lengthen(stage, 100_000)
    stage.until(Roster)
    stage.answers()
    who = stage.ids[0]
    header = codec.Header(4, who, stage.attempt, 0, 50_000).to_bytes()
    stage.server.receive(header + bytes(50_000 + codec.SIGNATURE_BYTES), who)
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "TooLarge")]
    assert "of Shares" in stage.server.excluded[0].why


@rows("D17")
@pytest.mark.parametrize("kind", [1, 3, 5, 7, 9, 11])
def test_what_only_servers_say_is_not_even_parsed_from_a_client(row: str, kind: int) -> None:
    stage = Stage(5)
    stage.until(Roster)
    who = stage.ids[0]
    header = codec.Header(kind, who, stage.attempt, 0, 8).to_bytes()
    stage.server.receive(header + b"\xff" * 8 + bytes(codec.SIGNATURE_BYTES), who)
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "OutOfTurn")]


@rows("D12", "D13")
def test_a_late_copy_of_any_letter_changes_nothing_and_the_result_is_still_heard(row: str) -> None:
    stage = Stage(5)
    said: list[tuple[PartyId, bytes]] = []
    for kind in (Roster, Inbox, Survivors, Witnesses):
        stage.until(kind)
        said += stage.pending
    stage.until(None)
    results = list(stage.pending)
    for who, frame in said:
        client = stage.clients[who]
        state = client._party.state
        if frame is not said[-1][1] and kind_of(frame) is not Witnesses:
            with stage.shrugs_off(who, OutOfTurn, match="answered before"):
                client.receive(frame)
        else:
            client.receive(frame)
        assert client._party.state is state
    for who, frame in results:
        stage.clients[who].receive(frame)
        assert stage.clients[who].result == frame
