"""Who opens sums may be missing when a committee or a key is made: it is made without them, later with them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protocols.errors import TooFewMembers
from protocols.exchanges import ROUNDS_OF_A_KEY
from protocols.party import PartyId
from protocols.plan import RoundPlan
from tests.protocols.exchange_kit import Framework, update_of

STEP = 2.0 / (2**16 - 1)


def plan_of(protocol: str) -> RoundPlan:
    return RoundPlan.recommend(8, dropout=0.25, corrupt=0, clip=1.0, protocol=protocol, task="exchanged", min_cohort=3)


def openers(framework: Framework) -> list[PartyId]:
    return sorted(framework.exchanges.roster.openers)


@pytest.mark.parametrize("protocol", ["oneshot", "ckks"])
def test_whoever_is_silent_is_left_out_and_the_round_goes_on(protocol: str, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol), 8)
    framework.lost = {openers(framework)[0]: 0}
    finished = framework.round(update_of)
    assert finished.survivors == tuple(range(8))
    assert np.abs(finished.mean - np.mean([update_of(PartyId(who)) for who in range(8)], axis=0)).max() <= STEP
    # The next round has its committee already.
    assert framework.round(update_of).exchanges == 2


def test_a_key_is_made_with_whoever_is_back_once_the_last_one_is_used_up(tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of("ckks"), 8)
    framework.lost = {openers(framework)[0]: 0}
    for _ in range(ROUNDS_OF_A_KEY):
        framework.round(update_of)
    framework.lost = {}
    # One with all of them: five exchanges, where one that is made a second time takes more.
    assert framework.round(update_of).exchanges == 2 + 5


def test_where_nobody_is_left_the_round_is_lost_by_name(tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of("oneshot"), 8)
    framework.lost = dict.fromkeys(openers(framework), 0)
    with pytest.raises(TooFewMembers):
        framework.round(update_of)
