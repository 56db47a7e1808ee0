"""Two different vectors under one mask give away their difference: by a crash, a rollback or a hostile caller."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import ImplausibleSum, Misused, Replay
from protocols.messages import Advertise, Inbox, Masked, Open, Submit, Survivors
from protocols.party import PartyId
from tests.attacks.villain import LENGTH, Stage, rows


def at_inbox(stage: Stage) -> tuple[int, bytes]:
    stage.until(Inbox)
    return stage.pending[0]


OTHER = np.full(LENGTH, 0.25)


@rows("S16", "C11")
def test_a_second_update_is_refused_and_the_state_untouched(row: str) -> None:
    stage = Stage(4)
    who, frame = at_inbox(stage)
    stage.deliver(who, frame)
    client, signer = stage.clients[who], stage.signers[who]
    image, signed = client.freeze(), signer.signed
    with pytest.raises(Misused, match="one update per round"):
        client.submit(OTHER)
    with pytest.raises(Misused, match="one vector per round"):
        client.send(Submit(stage.vectors[who] + 1, 1))
    assert (client.freeze(), signer.signed) == (image, signed)


@rows("S16")
def test_after_a_crash_the_stored_vector_is_sent_again_and_no_other(row: str) -> None:
    stage = Stage(4)
    who, frame = at_inbox(stage)
    [first] = stage.deliver(who, frame)
    restarted = stage.company.client(who)
    restarted.thaw(stage.clients[who].freeze())
    assert not restarted.needs_update
    with pytest.raises(Misused):
        restarted.submit(OTHER)
    assert [bytes(reply) for reply in restarted.receive(frame)] == [first]


@rows("S16")
def test_after_a_crash_the_round_is_still_spent(row: str) -> None:
    stage = Stage(4)
    who, frame = at_inbox(stage)
    stage.deliver(who, frame)
    restarted = stage.company.client(who)
    restarted.thaw(stage.clients[who].freeze())
    stage.clients[who] = restarted
    with stage.shrugs_off(who, Replay):
        stage.say(who, Open(replace(stage.server.agreement, nonce=b"\1" * 16)))


@rows("S17")
def test_a_snapshot_from_before_the_vector_makes_fresh_keys_under_a_new_nonce(row: str) -> None:
    stage = Stage(4)
    who, frame = at_inbox(stage)
    snapshot = stage.clients[who].freeze()
    stage.deliver(who, frame)
    restored = stage.company.client(who)
    restored.thaw(snapshot)
    stage.clients[who] = restored
    first = stage.heard[who, Advertise]
    stage.open(round=0, nonce=b"\1" * 16)
    stage.deliver(*stage.pending[0])
    second = stage.heard[who, Advertise]
    assert not {first.box_key, first.mask_key, first.commitment} & {
        second.box_key,
        second.mask_key,
        second.commitment,
    }


@rows("S17", "C11")
def test_a_rolled_back_client_that_sends_twice_is_noticed_by_the_server(row: str) -> None:
    """The documented limit: storage that rolls back can make two vectors; the server takes the first only."""
    stage = Stage(4)
    who, frame = at_inbox(stage)
    snapshot = stage.clients[who].freeze()
    replies = stage.answers()
    restored = stage.company.client(who)
    restored.thaw(snapshot)
    restored.receive(frame)
    [second] = restored.submit(OTHER)
    stage.hand({who: replies.pop(who)})
    state = stage.server._party.state
    before = state.total.tobytes()
    assert stage.server.receive(bytes(second), who) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "Duplicate")]
    assert state.total.tobytes() == before
    stage.hand(replies)
    stage.until(None)
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


@rows("S16")
def test_two_vectors_under_one_mask_would_give_away_their_difference(row: str) -> None:
    stage = Stage(4)
    who, frame = at_inbox(stage)
    snapshot = stage.clients[who].freeze()
    stage.deliver(who, frame)
    restored = stage.company.client(who)
    restored.thaw(snapshot)
    restored.receive(frame)
    submission = restored.prepare(OTHER)
    [second] = restored.send(submission)
    ring = stage.server.agreement.plan.encoding.ring
    one = ring.unpack(stage.heard[who, Masked].vector, LENGTH)
    two = ring.unpack(stage.decoded(bytes(second)).vector, LENGTH)
    difference = ring.reduce((one - two).astype(np.int64))
    assert difference.tolist() == ring.reduce((stage.vectors[who] - submission.vector).astype(np.int64)).tolist()


@rows("S16")
def test_nothing_but_shares_held_for_others_is_left_once_the_vector_has_left(row: str) -> None:
    stage = Stage(4)
    stage.until(Survivors)
    state = stage.clients[stage.ids[0]]._party.state
    assert list(type(state).__slots__) == ["own", "session", "members", "held"]


@rows("S17")
def test_a_live_client_is_not_set_back_to_before_its_vector(row: str) -> None:
    stage = Stage(4)
    who, frame = at_inbox(stage)
    before = stage.clients[who].freeze()
    stage.deliver(who, frame)
    state = stage.clients[who]._party.state
    with pytest.raises(Misused, match="older"):
        stage.clients[who].thaw(before)
    assert stage.clients[who]._party.state is state


class Forgetful(dict[PartyId, object]):
    """A room in which nobody ever was."""

    def __contains__(self, who: object) -> bool:
        return False


@rows("C11")
def test_without_the_first_come_rule_a_second_vector_spoils_the_sum(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    replies = stage.answers()
    stage.server._party.state = replace(stage.server._party.state, arrived=Forgetful())
    who = stage.ids[0]
    stage.hand({who: replies[who]})
    honest = stage.heard[who, Masked]
    assert stage.speak(who, replace(honest, vector=bytes(len(honest.vector)))) == []
    stage.hand({other: replies[other] for other in stage.ids[1:]})
    with pytest.raises(ImplausibleSum):
        stage.until(None)
