"""The server repeats a question with another list, or asks for both secrets of a victim."""

from __future__ import annotations

import dataclasses

import pytest

from protocols.codec import KINDS
from protocols.errors import Malformed, OutOfTurn, Replay
from protocols.messages import Advertise, Masked, Roster, Shares, Survivors, Unmask, Witness, Witnesses, to_bitmap
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from protocols.party import SERVER, Envelope, PartyId, Step
from protocols.plan import Promise
from secagg.masks import Correction
from tests.attacks.villain import Stage, pair_correction, rows


def others(stage: Stage) -> Survivors:
    return Survivors(to_bitmap(frozenset(stage.ids[:4]), stage.ids))


@rows("M3")
def test_a_second_list_is_not_signed(row: str) -> None:
    stage = Stage(5)
    stage.until(Witnesses)
    with stage.refuses(stage.ids[0], Replay):
        stage.say(stage.ids[0], others(stage))


@rows("M3")
@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
def test_a_second_list_is_not_answered(row: str, promise: Promise) -> None:
    stage = Stage(5, promise)
    stage.until(None)
    assert (stage.ids[0], Unmask) in stage.heard
    with stage.refuses(stage.ids[0], Replay):
        stage.say(stage.ids[0], others(stage))


@rows("M3")
def test_a_second_set_of_witnesses_is_not_answered(row: str) -> None:
    stage = Stage(5)
    letters = stage.until(Witnesses)
    who, *_ = stage.ids
    stage.say(who, letters[who])
    every = stage.ids.index(who)
    assert every == 0
    with stage.refuses(who, Replay):
        stage.say(who, Witnesses(letters[who].signed[1:]))


@rows("M3")
@pytest.mark.parametrize("kind", [Survivors, Witnesses], ids=lambda kind: kind.__name__)
def test_the_same_question_gets_the_same_bytes(row: str, kind: type) -> None:
    stage = Stage(5)
    stage.until(kind)
    who, frame = stage.pending[0]
    client, signer = stage.clients[who], stage.signers[who]
    first = [bytes(reply) for reply in client.receive(frame)]
    image, signed = client.freeze(), signer.signed
    assert [bytes(reply) for reply in client.receive(frame)] == first
    # The bytes were stored, not made again.
    assert (client.freeze(), signer.signed) == (image, signed)


@rows("M1")
def test_no_letter_names_shares_or_their_kind(row: str) -> None:
    asked_by_server = {Survivors: ["bitmap"], Witnesses: ["signed"]}
    for kind, fields in asked_by_server.items():
        assert [field.name for field in dataclasses.fields(kind)] == fields
    assert [field.name for field in dataclasses.fields(Unmask)] == ["shares", "links"]


@rows("M1")
def test_an_answer_holds_one_share_per_dealer_never_two(row: str) -> None:
    stage = Stage(5)
    stage.until(Survivors, silent=stage.ids[4:])
    held = {holding.dealer: holding for holding in stage.clients[stage.ids[0]]._party.state.held}
    known = {who: (one.mask_share.expose(), one.self_share.expose()) for who, one in held.items()}
    stage.until(None, silent=stage.ids[4:])
    told = stage.heard[stage.ids[0], Unmask].shares
    assert len(told) == len(known) == 3
    for (who, (mask_share, self_share)), share in zip(sorted(known.items()), told, strict=True):
        assert share == self_share, who
        assert mask_share not in b"".join(frame for frame in stage.frames.values())


@rows("M1")
@pytest.mark.parametrize("kind", [0, 100, 255])
def test_a_frame_of_a_kind_nobody_speaks_is_malformed(row: str, kind: int) -> None:
    stage = Stage(5)
    letters = stage.until(Witnesses)
    who = stage.ids[0]
    frame = bytearray(stage.framed(SERVER, letters[who]))
    assert kind not in KINDS
    frame[3] = kind
    before = stage.clients[who].freeze()
    with pytest.raises(Malformed, match=f"unknown kind {kind}"):
        stage.clients[who].receive(frame)
    assert stage.clients[who].freeze() == before


@rows("M1")
@pytest.mark.parametrize("letter", [Advertise, Shares, Masked, Witness, Unmask], ids=lambda letter: letter.__name__)
def test_a_letter_only_clients_write_is_out_of_turn_at_a_client(row: str, letter: type) -> None:
    stage, fresh = Stage(5), Stage(5)
    stage.until(None)
    fresh.until(Witnesses)
    who = fresh.ids[0]
    before = fresh.clients[who].freeze()
    # Refused by its kind, before anything in it is read.
    with pytest.raises(OutOfTurn, match="which only clients say"):
        fresh.say(who, stage.heard[who, letter])
    assert fresh.clients[who].freeze() == before


def forgetful(state: pairwise_client.Sent, sender: PartyId, message: Survivors) -> Step:
    """Answers every list of survivors and keeps its shares for the next one."""
    session, me = state.session, state.own.me
    letter = pairwise_client.answer(session, me, state.members, message.bitmap, state.held)
    return state, [Envelope((SERVER,), letter)]


@rows("M1", "M3")
def test_clients_that_answered_every_list_would_open_the_vector_of_one(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pairwise_client.client.arrows, (pairwise_client.Sent, Survivors), forgetful)
    stage = Stage(5, Promise.CURIOUS)
    roster = next(iter(stage.until(Roster).values()))
    stage.until(Survivors)
    session, (victim, *others) = stage.session(roster), stage.ids
    alive, dead = (Survivors(to_bitmap(frozenset(who), stage.ids)) for who in (stage.ids, others))
    self_seed, mask_key = (
        stage.rebuilt(session, victim, {who: stage.say(who, told)[0] for who in others}, stage.ids)
        for told in (alive, dead)
    )
    corrections = [Correction(-1, names.self_mask_seed(self_seed, session.sid, victim))]
    for entry in roster.entries[1:]:
        undone = pair_correction(session, victim, mask_key, entry.who, entry.mask_key)
        # What a survivor added for the victim, the victim took away for the survivor.
        corrections.append(Correction(-undone.sign, undone.seed))
    assert stage.unmasked(session, [victim], corrections) == stage.encoded([victim])
