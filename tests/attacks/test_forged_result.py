"""The server publishes two sums, or another than it opened: clients that compare what it signed notice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.codec import fingerprint
from protocols.errors import BadSignature, Malformed, Misused, ViewMismatch
from protocols.messages import Result, Survivors, digest_of
from protocols.party import SERVER
from protocols.plan import context_of
from tests.attacks.villain import Stage, rows


def opened(stage: Stage) -> Result:
    """Play to the end, all but the delivery of the result; what the server wants to say."""
    stage.until(None)
    results = {who: stage.decoded(frame) for who, frame in stage.pending}
    assert set(results) == set(stage.ids)
    [honest] = set(results.values())
    assert isinstance(honest, Result)
    return honest


@rows("M22")
def test_clients_that_compare_two_published_results_notice_the_second(row: str) -> None:
    stage = Stage()
    honest = opened(stage)
    first, second, third = stage.ids[:3]
    for who, letter in ((first, honest), (second, replace(honest, digest=bytes(32))), (third, honest)):
        assert stage.say(who, letter) == []
    clients = stage.clients
    clients[first].compare(clients[third].result)
    for one, other in ((first, second), (second, third)):
        with pytest.raises(ViewMismatch, match="two different results of round 0"):
            clients[one].compare(clients[other].result)


@rows("M22")
def test_a_withheld_result_leaves_nothing_to_compare(row: str) -> None:
    stage = Stage()
    honest = opened(stage)
    stage.say(stage.ids[0], honest)
    with pytest.raises(Misused, match="has received no result"):
        stage.clients[stage.ids[1]].compare(stage.clients[stage.ids[0]].result)


@rows("M22")
def test_the_digest_covers_survivors_weights_metrics_and_every_coordinate(row: str) -> None:
    stage = Stage()
    honest = opened(stage)
    aggregate, context = stage.server.aggregate, context_of(stage.server.agreement)
    assert honest == Result(context, digest_of(context, aggregate))
    bent = aggregate.total.copy()
    bent[-1] ^= 1
    for other in (
        replace(aggregate, survivors=aggregate.survivors[1:]),
        replace(aggregate, weight_sum=aggregate.weight_sum + 1),
        replace(aggregate, metrics=(0,)),
        replace(aggregate, total=bent),
    ):
        assert digest_of(context, other) != honest.digest


@rows("M22")
def test_a_result_of_another_context_is_refused(row: str) -> None:
    stage = Stage()
    honest = opened(stage)
    with pytest.raises(ViewMismatch, match="another context"):
        stage.say(stage.ids[0], replace(honest, context=bytes(32)))
    assert stage.clients[stage.ids[0]].result is None


@rows("M22")
def test_evidence_is_a_frame_the_server_signed_for_this_round(row: str) -> None:
    stage = Stage()
    honest = opened(stage)
    who = stage.ids[0]
    stage.say(who, honest)
    client = stage.clients[who]
    bent = bytearray(client.result)
    bent[60] ^= 1
    with pytest.raises(BadSignature):
        client.compare(bytes(bent))
    with pytest.raises(Malformed, match="no published result"):
        client.compare(stage.framed(SERVER, Survivors(b"\x1f")))
    with pytest.raises(Misused, match="different rounds"):
        client.compare(stage.framed(SERVER, honest, round=1))


def test_a_frame_is_known_by_its_header_and_signature() -> None:
    stage = Stage()
    stage.open()
    frame = stage.framed(SERVER, Survivors(b"\x1f"))
    assert fingerprint(frame) == fingerprint(bytearray(frame))
    for place in (0, 39, len(frame) - 1):
        bent = bytearray(frame)
        bent[place] ^= 1
        assert fingerprint(bytes(bent)) != fingerprint(frame)
