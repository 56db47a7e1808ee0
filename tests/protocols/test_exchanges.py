"""Rounds over a framework that carries one answer to each question: exact means, and every way of not answering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.party import PartyId
from protocols.plan import RoundPlan
from tests.protocols.exchange_kit import Framework, update_of

PROTOCOLS = ("pairwise", "oneshot", "ckks")
# Half a step of 16 bits at clip 1, of which a sum has one for each client.
STEP = 2.0 / (2**16 - 1)


def plan_of(protocol: str, clients: int = 8, **changes: Any) -> RoundPlan:
    assert protocol in PROTOCOLS
    return RoundPlan.recommend(
        clients, dropout=0.25, corrupt=0, clip=1.0, protocol=protocol, task="exchanged", min_cohort=3, **changes
    )


def mean_of(clients: Any) -> Any:
    return np.mean([update_of(PartyId(who)) for who in clients], axis=0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rounds_give_the_mean_and_need_two_exchanges_once_they_are_under_way(protocol: str, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol), 8)
    first, second = framework.round(update_of), framework.round(update_of)
    for finished in (first, second):
        assert finished.survivors == tuple(range(8))
        assert (finished.dropped, finished.excluded, finished.epsilon) == ((), {}, None)
        assert np.abs(finished.mean - mean_of(range(8))).max() <= STEP
        assert finished.weight == 8
    ceremony = {"pairwise": 0, "oneshot": 1, "ckks": 5}[protocol]
    usual = {"pairwise": 5, "oneshot": 2, "ckks": 2}[protocol]
    assert second.exchanges == usual
    assert first.exchanges - second.exchanges == ceremony
    assert framework.refusals == {}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("gone", [1, 2])
def test_whoever_does_not_train_drops_out(protocol: str, gone: int, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol), 8)
    framework.round(update_of)
    framework.lost = {PartyId(who): (3 if protocol == "pairwise" else 1) for who in range(gone)}
    # Those who open sums live on, so that only the clients are lost.
    finished = framework.round(update_of)
    assert finished.survivors == tuple(range(gone, 8))
    assert finished.dropped == tuple(range(gone))
    assert np.abs(finished.mean - mean_of(range(gone, 8))).max() <= STEP


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_weights_count(protocol: str, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol, max_weight=100), 8)
    weights = {who: 10 * who + 1 for who in framework.clients}
    finished = framework.round(update_of, weights)
    expected = np.average([update_of(who) for who in framework.clients], axis=0, weights=list(weights.values()))
    assert finished.weight == sum(weights.values())
    assert np.abs(finished.mean - expected).max() <= STEP
