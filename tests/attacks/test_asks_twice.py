"""The server repeats a question with another list, or asks for both secrets of a victim."""

from __future__ import annotations

import dataclasses

import pytest

from protocols.codec import KINDS
from protocols.errors import Malformed, OutOfTurn, Replay
from protocols.messages import Advertise, Masked, Shares, Survivors, Unmask, Witness, Witnesses, to_bitmap
from protocols.party import SERVER
from protocols.plan import Promise
from tests.attacks.villain import Stage, rows


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
    assert [field.name for field in dataclasses.fields(Unmask)] == ["shares"]


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
@pytest.mark.parametrize("kind", [0, 12, 255])
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
    with pytest.raises(OutOfTurn):
        fresh.say(who, stage.heard[who, letter])
    assert fresh.clients[who].freeze() == before
