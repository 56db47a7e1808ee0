"""A client masks another weight than its vector has: the sum of weights stays within what so many clients can have."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.errors import ImplausibleSum
from protocols.pairwise import server as pairwise_server
from tests.attacks.villain import Stage, heavier
from tests.rows import rows

HONEST = 4 * 2  # four clients of weight 2; the fifth lies


def weighing(weight: int) -> Stage:
    """Five clients at the end of Summing; the first has masked this weight beside its vector of weight 2."""
    stage = Stage(5)
    stage.lies(lambda honest: heavier(honest, weight - 2))
    return stage


@rows("C6")
@pytest.mark.parametrize("weight", [-(2**63), -HONEST, -4, 5 * 8 - HONEST + 1, 2**32, 2**63 - 1])
def test_a_weight_that_takes_the_sum_out_of_its_bounds_spoils_the_round_not_the_model(row: str, weight: int) -> None:
    stage = weighing(weight)
    with pytest.raises(ImplausibleSum, match="weight sum"):
        stage.until(None)
    assert stage.server.aggregate is None
    assert stage.server.done


@rows("C6")
@pytest.mark.parametrize("weight", [-3, 0, 1, 5 * 8 - HONEST])
def test_within_the_bounds_a_false_weight_scales_the_mean_and_nobody_can_tell(row: str, weight: int) -> None:
    """The documented limit: the scale lies between 1 / max_weight and max_weight."""
    stage = weighing(weight)
    stage.until(None)
    true = HONEST + 2
    assert stage.server.aggregate.weight_sum == HONEST + weight
    assert 1 / 8 <= true / stage.server.aggregate.weight_sum <= 8
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


@rows("C6")
def test_without_the_bounds_one_client_makes_the_mean_ten_times_as_large(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_server, "checked_sums", lambda *sums: (int(sums[-1][0]), ()))
    stage, fair = weighing(1 - HONEST), weighing(2)
    stage.until(None)
    fair.until(None)
    assert np.array_equal(stage.server.mean(), 10 * fair.server.mean())
