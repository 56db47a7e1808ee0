"""The server sends a model made to break the training, or to make one client's update tell on its data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import PolicyViolation, ViewMismatch, WrongUpdate
from protocols.messages import Inbox
from protocols.party import SERVER
from protocols.tensors import check_model, model_digest
from secagg.errors import NonFinite
from tests.attacks.villain import Stage, rows

GOOD = {"weight": np.full((2, 2), 0.5, np.float32), "bias": np.zeros(1)}


@rows("M20")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_model_that_is_not_finite_is_refused_before_training(row: str, name: str, value: float) -> None:
    stage = Stage()
    hostile = {key: array.copy() for key, array in GOOD.items()}
    hostile[name].flat[0] = value
    with pytest.raises(NonFinite, match="1 parameters that are not finite"):
        check_model(hostile, stage.company.policy)


@rows("M20")
def test_a_model_of_absurd_norm_is_refused_by_a_policy_that_bounds_it(row: str) -> None:
    policy = replace(Stage().company.policy, max_model_norm=10.0)
    assert check_model(GOOD, policy) == model_digest(GOOD)
    with pytest.raises(PolicyViolation, match="norm 1000") as refused:
        check_model(GOOD | {"bias": np.full(1, 1000.0)}, policy)
    assert refused.value.peer == SERVER
    unbounded = replace(policy, max_model_norm=float("inf"))
    assert check_model(GOOD | {"bias": np.full(1, 1e30)}, unbounded)


@rows("M20")
def test_an_update_trained_from_another_model_than_the_rounds_never_leaves(row: str) -> None:
    stage = Stage()
    stage.company.task = lambda length, round=0: replace(  # type: ignore[method-assign]
        type(stage.company).task(stage.company, length, round), model=model_digest(GOOD)
    )
    letters = stage.until(Inbox)
    assert letters
    for who, frame in stage.pending:
        client = stage.clients[who]
        client.receive(frame)
        update = stage.update(who)
        with pytest.raises(WrongUpdate, match="digest of the model"):
            client.submit(update)
        hostile = model_digest(GOOD | {"bias": np.ones(1)})
        with pytest.raises(ViewMismatch, match="another model"):
            client.submit(update, model=hostile)
        assert client.done
