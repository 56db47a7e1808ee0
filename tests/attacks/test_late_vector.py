"""The server declares a client dead whose vector it holds, and collects what would open it alone."""

from __future__ import annotations

import pytest

from protocols.messages import Inbox, Roster, Survivors, Unmask
from protocols.pairwise import session as names
from protocols.plan import Promise
from secagg.masks import Correction
from secagg.shamir import Share, combine
from tests.attacks.villain import Stage, pair_correction, rows

BOTH = pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)


def with_a_late_vector(promise: Promise) -> tuple[Stage, dict]:
    """Five clients; the vector of the last arrives after Summing has closed."""
    stage = Stage(5, promise)
    stage.until(Inbox)
    replies = stage.answers()
    late = {stage.ids[4]: replies.pop(stage.ids[4])}
    stage.hand(replies)
    stage.until(Survivors)
    return stage, late


def held_for(stage: Stage, dealer: int) -> dict:
    """What the other clients hold for a dealer before they answer."""
    holders = [who for who in stage.ids if who != dealer]
    return {who: next(one for one in stage.clients[who]._party.state.held if one.dealer == dealer) for who in holders}


@rows("M18")
@BOTH
def test_a_late_vector_is_dropped_unread_and_the_sum_is_that_of_the_others(row: str, promise: Promise) -> None:
    stage, late = with_a_late_vector(promise)
    victim = stage.ids[4]
    before = stage.server._party.state
    stage.hand(late)
    assert stage.server._party.state is before
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(victim, "OutOfTurn")]
    stage.until(None, silent=[victim])
    assert stage.server.aggregate.survivors == stage.ids[:4]
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids[:4])


@rows("M18")
@BOTH
def test_no_share_of_the_own_mask_of_a_client_declared_dead_leaves_anybody(row: str, promise: Promise) -> None:
    stage, _ = with_a_late_vector(promise)
    victim = stage.ids[4]
    held = held_for(stage, victim)
    self_shares = [one.self_share.expose() for one in held.values()]
    mask_shares = {who: one.mask_share.expose() for who, one in held.items()}
    stage.until(None, silent=[victim])
    everything = b"".join(stage.frames.values())
    for who, share in mask_shares.items():
        assert share in stage.heard[who, Unmask].shares
    assert not any(share in everything for share in self_shares)


@rows("M18")
def test_with_both_kinds_of_shares_the_late_vector_alone_would_be_opened(row: str) -> None:
    stage = Stage(5)
    roster = next(iter(stage.until(Roster).values()))
    stage.until(Survivors)
    victim, session = stage.ids[4], stage.session(roster)
    held, threshold = held_for(stage, victim), session.parameters.threshold

    def secret(which: str):
        shares = [
            Share.from_bytes(session.point(victim, who), getattr(one, which).expose()) for who, one in held.items()
        ]
        return combine(shares[:threshold], threshold)

    corrections = [Correction(-1, names.self_mask_seed(secret("self_share"), session.sid, victim))]
    key = secret("mask_share")
    for entry in roster.entries[:4]:
        undone = pair_correction(session, victim, key, entry.who, entry.mask_key)
        # What a survivor added for the victim, the victim took away for the survivor.
        corrections.append(Correction(-undone.sign, undone.seed))
    assert stage.unmasked(session, [victim], corrections) == stage.encoded([victim])
