"""The server leaves honest clients out of the roster so that its own are a larger part of it than assumed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from protocols.errors import BadPlan
from protocols.plan import NoisePlan, RoundPlan
from secagg.graph import Assumption
from tests.attacks.villain import rows

CLIENTS = 40
CORRUPT = 4  # a tenth of forty
PLAN = RoundPlan.recommend(CLIENTS, dropout=0.2, corrupt=0.1)


@rows("M2", "M17")
@pytest.mark.parametrize("listed", range(PLAN.min_cohort, CLIENTS + 1))
def test_no_roster_lets_the_corrupt_reach_both_secrets_or_two_quorums(row: str, listed: int) -> None:
    parameters = PLAN.parameters(listed)
    # Shown two lists, the honest holders split; the corrupt ones help both halves.
    assert 2 * parameters.threshold > (listed - 1) + CORRUPT
    assert 2 * parameters.quorum > listed + CORRUPT


@rows("M2", "M17")
def test_counted_over_the_roster_alone_they_would(row: str) -> None:
    listed = 25
    naive = Assumption(Fraction(1, 10), Fraction(1, 5)).corrupted(listed)
    assert naive == 2
    threshold, quorum = ((listed - 1) + naive) // 2 + 1, (listed + naive) // 2 + 1
    assert 2 * threshold <= (listed - 1) + CORRUPT
    assert 2 * quorum <= listed + CORRUPT
    parameters = PLAN.parameters(listed)
    assert (parameters.threshold, parameters.quorum) == (threshold + 1, quorum + 1)


@rows("M17")
def test_a_roster_of_no_more_than_the_corrupt_has_no_parameters(row: str) -> None:
    with pytest.raises(BadPlan, match="corrupt"):
        PLAN.parameters(CORRUPT)


@rows("M6")
def test_noise_that_forgets_the_corrupt_is_no_plan(row: str) -> None:
    from dataclasses import replace

    with pytest.raises(BadPlan, match="colluders"):
        replace(PLAN, noise=NoisePlan(Fraction(4), CORRUPT - 1, 24))
