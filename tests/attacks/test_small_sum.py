"""The server asks to open a sum over few clients, over strangers, or over a list that leaves the asked one out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from protocols.errors import CohortTooSmall, Malformed, ShapeMismatch, TooFewClients, UnsafeUnmask
from protocols.messages import Inbox, Masked, Roster, Survivors, Unmask, Witness, to_bitmap
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from protocols.pairwise.session import Session
from protocols.party import PartyId
from protocols.plan import Promise
from secagg.masks import Correction
from tests.attacks.villain import Stage, pair_correction, rows

BOTH = pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)


@rows("M4", "M17")
@BOTH
@pytest.mark.parametrize("left", [1, 2, 3, 4])
def test_survivors_below_quorum_threshold_or_cohort_are_refused(row: str, promise: Promise, left: int) -> None:
    stage = Stage(8, promise)
    stage.until(Survivors)
    who = stage.ids[0]
    need = stage.clients[who]._party.state.session.smallest_sum
    assert need == (5 if promise is Promise.ACTIVE else 3)
    bitmap = to_bitmap(frozenset(stage.ids[:left]), stage.ids)
    if left < need:
        with stage.refuses(who, CohortTooSmall):
            stage.say(who, Survivors(bitmap))
    else:
        stage.say(who, Survivors(bitmap))


@rows("M4", "M17")
def test_without_the_check_on_survivors_the_same_script_opens_one_client(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_survivors", lambda state, bitmap: None)
    stage = Stage(4, Promise.CURIOUS)
    roster = next(iter(stage.until(Roster).values()))
    stage.until(Survivors)
    victim = stage.ids[0]
    assert opened_by(stage, roster, stage.ids, listed=[victim], summed=[victim]) == stage.encoded([victim])
    assert (victim, Masked) in stage.heard


def opened_by(
    stage: Stage, roster: Roster, sharing: Iterable[PartyId], listed: Iterable[PartyId], summed: Iterable[PartyId]
) -> list[int]:
    """What a villain opens who tells everybody that shared, on the list or not, the same list of survivors."""
    session, told = stage.session(roster), Survivors(to_bitmap(frozenset(listed), stage.ids))
    answers = {who: stage.say(who, told)[0] for who in sharing}
    public = {entry.who: entry.mask_key for entry in roster.entries}
    corrections = []
    for dealer in sharing:
        secret = stage.rebuilt(session, dealer, {u: answers[u] for u in sharing if u != dealer}, sharing)
        if dealer in summed:
            corrections.append(Correction(-1, names.self_mask_seed(secret, session.sid, dealer)))
        else:
            corrections += [pair_correction(session, dealer, secret, v, public[v]) for v in summed]
    return stage.unmasked(session, summed, corrections)


@rows("M5")
def test_without_the_check_those_left_out_help_to_open_what_the_survivors_alone_could_not(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_survivors", lambda state, bitmap: None)
    stage = Stage(5, Promise.CURIOUS)
    roster = next(iter(stage.until(Roster).values()))
    stage.until(Survivors)
    three = stage.ids[:3]
    # Of each of the three only two others would answer.
    assert stage.session(roster).parameters.threshold == 3
    assert opened_by(stage, roster, stage.ids, listed=three, summed=three) == stage.encoded(three)


@rows("M5")
def test_without_the_check_a_list_padded_with_one_who_never_shared_opens_a_sum_of_two(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_survivors", lambda state, bitmap: None)
    stage = Stage(5, Promise.CURIOUS)
    roster = next(iter(stage.until(Roster).values()))
    stage.until(Survivors, silent=stage.ids[4:])
    two, absent = stage.ids[:2], stage.ids[4:]
    assert opened_by(stage, roster, stage.ids[:4], listed=two + absent, summed=two) == stage.encoded(two)


@rows("M5")
@BOTH
def test_a_client_that_never_shared_cannot_be_a_survivor(row: str, promise: Promise) -> None:
    stage = Stage(5, promise)
    stage.until(Roster)
    stage.until(Survivors, silent=stage.ids[4:])
    who = stage.ids[0]
    with stage.refuses(who, UnsafeUnmask):
        stage.say(who, Survivors(to_bitmap(frozenset(stage.ids), stage.ids)))


@rows("M5")
@BOTH
def test_a_list_without_the_client_that_is_asked_is_refused(row: str, promise: Promise) -> None:
    stage = Stage(5, promise)
    stage.until(Survivors)
    who = stage.ids[0]
    with stage.refuses(who, UnsafeUnmask):
        stage.say(who, Survivors(to_bitmap(frozenset(stage.ids[1:]), stage.ids)))


@rows("M5")
@BOTH
@pytest.mark.parametrize(
    ("bitmap", "error"),
    [(b"\xff", Malformed), (b"\x3f", Malformed), (b"\x1f\x00", ShapeMismatch), (b"", ShapeMismatch)],
    ids=["all bits", "one bit beyond", "one byte more", "empty"],
)
def test_bits_beyond_the_roster_are_refused(row: str, promise: Promise, bitmap: bytes, error: type) -> None:
    stage = Stage(5, promise)
    stage.until(Survivors)
    with stage.refuses(stage.ids[0], error):
        stage.say(stage.ids[0], Survivors(bitmap))


@rows("M17")
@pytest.mark.parametrize("promise", [Promise.ACTIVE])
def test_a_thinned_inbox_gets_no_masked_vector(row: str, promise: Promise) -> None:
    stage = Stage(5, promise)
    letters = stage.until(Inbox)
    who = stage.ids[0]
    few = frozenset(stage.ids[:2])
    with stage.refuses(who, CohortTooSmall):
        stage.say(who, Inbox(who, to_bitmap(few, stage.ids), letters[who].sealed[:1]))
    with stage.refuses(stage.ids[1], UnsafeUnmask):
        without_me = frozenset(stage.ids) - {stage.ids[1]}
        stage.say(stage.ids[1], Inbox(stage.ids[1], to_bitmap(without_me, stage.ids), letters[stage.ids[1]].sealed))
    with stage.refuses(stage.ids[2], ShapeMismatch):
        stage.say(stage.ids[2], Inbox(stage.ids[2], letters[who].members, letters[who].sealed[1:]))
    with stage.refuses(stage.ids[3], Malformed):
        stage.say(stage.ids[3], Inbox(stage.ids[3], b"\xff", letters[who].sealed))
    assert not any(kind is Masked for _, kind in stage.heard)


@rows("M17")
@BOTH
def test_survivors_that_leave_a_neighbourhood_empty_are_refused(
    row: str, promise: Promise, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(5, promise)
    letters = stage.until(Survivors)
    graph = stage.clients[stage.ids[0]]._party.state.session.graph
    monkeypatch.setattr(type(graph), "windows", lambda graph, survivors: 0)
    with stage.refuses(stage.ids[0], UnsafeUnmask, match="fall apart"):
        stage.say(stage.ids[0], letters[stage.ids[0]])


@rows("M17")
def test_an_inbox_below_the_agreed_cohort_is_refused_though_its_shares_would_suffice(row: str) -> None:
    stage = Stage(6)
    stage.company.plan = replace(stage.company.plan, min_cohort=5)
    stage.server = stage.company.server()
    letters = stage.until(Inbox)
    who = stage.ids[0]
    four = to_bitmap(frozenset(stage.ids[:4]), stage.ids)
    with stage.refuses(who, CohortTooSmall, match="4 clients shared; 5 are required"):
        stage.say(who, Inbox(who, four, letters[who].sealed[:3]))


@rows("M17")
def test_without_the_floor_a_sum_over_fewer_than_agreed_is_opened(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "smallest_sum", 0)
    stage = Stage(6, Promise.CURIOUS)
    stage.company.plan = replace(stage.company.plan, min_cohort=6)
    stage.server = stage.company.server()
    stage.until(Inbox)
    four = stage.ids[:4]
    stage.until(None, silent=stage.ids[4:])
    assert stage.server.aggregate.survivors == four
    assert stage.server.aggregate.total.tolist() == stage.encoded(four)


@rows("M17")
@BOTH
def test_an_honest_server_asks_no_survivors_that_fall_apart(
    row: str, promise: Promise, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(5, promise)
    stage.until(Inbox)
    replies = stage.answers()
    graph = stage.server._party.state.session.graph
    monkeypatch.setattr(type(graph), "windows", lambda graph, survivors: 0)
    with pytest.raises(TooFewClients) as caught:
        stage.hand(replies)
    assert (caught.value.have, caught.value.need, caught.value.room) == (0, 1, "Summing")
    assert stage.pending == []
    assert not any(kind in (Witness, Unmask) for _, kind in stage.heard)
