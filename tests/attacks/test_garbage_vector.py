"""A client sends garbage of the right length: the round is spoilt, the model is not; within the clip it is a vote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import ImplausibleSum, Misused
from protocols.messages import Inbox, Masked, Submit
from protocols.pairwise import server as pairwise_server
from tests.attacks.villain import LENGTH, Stage
from tests.rows import rows


def garbage(stage: Stage, honest: Masked, seed: int) -> Masked:
    ring = stage.server.agreement.plan.encoding.ring
    noise = np.random.default_rng(seed).integers(0, ring.modulus, LENGTH, dtype=np.uint64).astype(ring.dtype)
    return replace(honest, vector=ring.pack(noise))


@rows("C1")
@pytest.mark.parametrize("seed", range(8))
def test_uniform_residues_contradict_the_checksum_and_no_model_comes_out(row: str, seed: int) -> None:
    stage = Stage(5)
    stage.lies(lambda honest: garbage(stage, honest, seed))
    with pytest.raises(ImplausibleSum, match="checksum"):
        stage.until(None)
    assert stage.server.done
    assert stage.server.aggregate is None
    with pytest.raises(Misused, match="not ended in a sum"):
        stage.server.mean()


@rows("C1")
def test_garbage_in_the_extras_contradicts_the_checksum_too(row: str) -> None:
    stage = Stage(5)
    stage.lies(lambda honest: replace(honest, extras=np.random.default_rng(1).bytes(16)))
    with pytest.raises(ImplausibleSum):
        stage.until(None)


@rows("C1")
def test_without_the_checksum_the_garbage_becomes_the_model(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise_server, "checked_sums", lambda *sums: (int(sums[-1][0]), ()))
    stage = Stage(5)
    stage.lies(lambda honest: garbage(stage, honest, 0))
    stage.until(None)
    assert stage.server.aggregate.survivors == stage.ids
    assert stage.server.aggregate.total.tolist() != stage.encoded(stage.ids)


def with_its_own_checksum(value: int) -> Stage:
    """Client 0 claims weight 1 and submits this integer in every coordinate, checksum and masks as they should be."""
    stage = Stage(5)
    stage.until(Inbox)
    villain, frame = stage.pending[0]
    client, ring = stage.clients[villain], stage.server.agreement.plan.encoding.ring
    client.receive(frame)
    [hostile] = client.send(Submit(ring.reduce(np.full(LENGTH, value)), 1))
    stage.hand(stage.answers(silent=[villain]) | {villain: bytes(hostile)})
    stage.until(None)
    return stage


@rows("C1")
@pytest.mark.parametrize("sign", [1, -1])
def test_a_hostile_vector_with_its_true_checksum_is_a_vote_of_the_largest_weight_and_no_more(
    row: str, sign: int
) -> None:
    """The documented limit: nobody can tell it from an honest client's, and it moves the mean by so much at most."""
    encoding, most = Stage(5).company.plan.encoding, Stage(5).company.plan.max_weight
    stage = with_its_own_checksum(sign * most * encoding.levels)
    assert stage.server.aggregate.weight_sum == 4 * 2 + 1
    # Without the liar the mean lies within the clip; it added max_weight times the clip and one to the divisor.
    limit = (4 * 2 + most) * encoding.levels * encoding.step / (4 * 2 + 1)
    assert np.abs(stage.server.mean()).max() <= limit
    assert np.all(np.sign(stage.server.mean()) == sign)


@rows("C1")
def test_a_vector_that_makes_the_sum_wrap_is_noticed_in_spite_of_its_true_checksum(row: str) -> None:
    modulus = Stage(5).company.plan.encoding.ring.modulus
    with pytest.raises(ImplausibleSum, match="checksum"):
        with_its_own_checksum(modulus // 2 - 1)
