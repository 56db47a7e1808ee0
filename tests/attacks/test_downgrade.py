"""The server, or somebody on the wire, offers an older protocol, format or image."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols import codec
from protocols.errors import BadSignature, Malformed, PolicyViolation
from protocols.messages import Advertise, Open, Roster
from protocols.party import SERVER
from protocols.plan import Policy
from tests.attacks.villain import Stage
from tests.rows import rows

VERSIONS = pytest.mark.parametrize("version", [0, 2, 255])


def of_version(frame: bytes, version: int) -> bytes:
    return frame[:2] + bytes([version]) + frame[3:]


@rows("M25")
@VERSIONS
def test_a_frame_of_another_version_is_malformed_and_changes_nothing_at_a_client(row: str, version: int) -> None:
    stage = Stage(4)
    stage.until(Roster)
    for who, frame in stage.pending:
        client, signer = stage.clients[who], stage.signers[who]
        image, signed = client.freeze(), signer.signed
        with pytest.raises(Malformed, match="another protocol or version") as caught:
            client.receive(of_version(frame, version))
        assert caught.value.peer == SERVER
        assert (client.freeze(), signer.signed) == (image, signed)
    stage.until(None)
    assert stage.server.aggregate.survivors == stage.ids


@rows("M25")
@VERSIONS
def test_a_client_of_another_version_is_excluded_and_the_others_finish(row: str, version: int) -> None:
    stage = Stage(5)
    stage.open()
    replies = stage.answers()
    old = stage.ids[0]
    image = stage.server.freeze()
    assert stage.server.receive(of_version(replies.pop(old), version), old) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(old, "Malformed")]
    assert stage.server.freeze() == image
    stage.hand(replies)
    stage.until(None, silent=[old])
    assert stage.server.aggregate.survivors == stage.ids[1:]


@rows("M25")
def test_a_frame_signed_under_another_label_is_no_frame(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older version signed does not verify here, whatever its header says."""
    stage = Stage(4)
    stage.open()
    with monkeypatch.context() as older:
        older.setattr(codec, "LABEL_FRAME", b"secagg/v0/frame")
        frame = stage.framed(SERVER, Open(stage.server.agreement))
    client = stage.clients[stage.ids[0]]
    image = client.freeze()
    with pytest.raises(BadSignature):
        client.receive(frame)
    assert client.freeze() == image


@rows("M25")
@pytest.mark.parametrize("protocol", ["plain", "pairwise-v0", "PAIRWISE", "", "oneshot-v0"])
def test_a_protocol_the_policy_does_not_name_is_refused_before_any_key_is_made(row: str, protocol: str) -> None:
    stage = Stage(4)
    stage.open()
    agreement = stage.server.agreement
    older = replace(agreement, plan=replace(agreement.plan, protocol=protocol))
    for who in stage.ids:
        with stage.refuses(who, PolicyViolation, match="is not allowed here"):
            stage.say(who, Open(older))
    assert not stage.heard


@rows("M25")
def test_without_the_policy_the_older_protocol_gets_keys(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "check", lambda policy, agreement: None)
    stage = Stage(4)
    stage.open()
    agreement = stage.server.agreement
    older = replace(agreement, plan=replace(agreement.plan, protocol="plain"))
    [answer] = stage.say(stage.ids[0], Open(older))
    assert isinstance(answer, Advertise)


@rows("M25")
def test_an_encrypted_plan_in_a_letter_of_masks_is_refused_by_a_client_that_allows_both(row: str) -> None:
    """What an encrypted round is safe under says nothing of masks: it has no threshold, for one."""
    stage = Stage(4)
    stage.open()
    agreement = stage.server.agreement
    encrypted = replace(agreement, plan=replace(agreement.plan, protocol="ckks"))
    for who in stage.ids:
        policy = stage.clients[who].policy
        object.__setattr__(policy, "protocols", frozenset({"pairwise", "ckks"}))
        image = stage.clients[who].freeze()
        with pytest.raises(Malformed, match="by the letter of another protocol"):
            stage.clients[who].receive(stage.framed(SERVER, Open(encrypted)))
        assert stage.clients[who].freeze() == image


@rows("M25")
def test_without_the_version_byte_an_older_frame_is_read_as_a_new_one(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(4)
    stage.open()
    with monkeypatch.context() as older:
        older.setattr(codec, "VERSION", 0)
        frame = stage.framed(SERVER, Open(stage.server.agreement))
        assert frame[2] == 0
        [answer] = stage.deliver(stage.ids[0], frame)
    assert isinstance(stage.decoded(answer), Advertise)
