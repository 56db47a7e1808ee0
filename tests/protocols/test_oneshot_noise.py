"""Noise of differential privacy passes a one-shot round unchanged: its variance, its law, and what the ledger says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dp.accountant import Budget, Relation
from dp.ledger import Ledger
from protocols.coding import Noisy, coding_of
from protocols.endpoint import Task
from protocols.plan import ONE_SHOT, PAIRWISE, RoundPlan
from protocols.round import RoundReport, secure_mean
from protocols.simulate import Cohort, Encrypted, Fate, FaultPlan, Lost
from tests.contracts.company import seed_of

CLIENTS, LENGTH, ROUNDS = 8, 4096, 3
# Of zeros nothing but the noise is left.
ZEROS = {who: [np.zeros(LENGTH)] for who in range(CLIENTS)}
NOBODY = FaultPlan()
SOME = FaultPlan({who: Fate(Encrypted.VECTOR, side) for who, side in zip((1, 4), Lost, strict=True)})


def plan_of(protocol: str) -> RoundPlan:
    return RoundPlan.recommend(
        CLIENTS, dropout=Fraction(1, 4), corrupt=Fraction(1, 8), noise_multiplier=1.0, protocol=protocol
    )


def played(faults: FaultPlan, ledger: Ledger | None = None) -> tuple[Cohort, list[RoundReport]]:
    plan = plan_of(ONE_SHOT)
    cohort = Cohort.from_root(plan, range(CLIENTS), seed_of("noise", len(faults.fates)))
    reports = [
        secure_mean(ZEROS, plan, round=number, faults=faults, cohort=cohort, ledger=ledger) for number in range(ROUNDS)
    ]
    assert all(report.exact for report in reports)
    return cohort, reports


@pytest.mark.parametrize("faults", [NOBODY, SOME], ids=["nobody lost", "some lost"])
def test_the_variance_of_the_opened_sum_is_that_of_the_survivors_noise(faults: FaultPlan) -> None:
    cohort, reports = played(faults)
    survivors = CLIENTS - len(faults.fates)
    assert {len(report.survivors) for report in reports} == {survivors}
    draws = np.concatenate([report.mean[0] for report in reports]) * survivors
    coding = coding_of(cohort.server.agree(Task(0, LENGTH)))
    assert isinstance(coding, Noisy)
    planned = float(coding.share.gamma) ** 2 * float(coding.noise_variance(survivors))
    assert abs(np.mean(draws**2) / planned - 1) < 5 * (2 / draws.size) ** 0.5
    # Rotated back, lattice noise is a sum of many: near enough a Gaussian of this width.
    assert stats.kstest(draws / planned**0.5, "norm").pvalue > 1e-4


def test_the_coding_and_with_it_the_noise_is_that_of_pairwise_rounds() -> None:
    codings = [
        coding_of(Cohort.from_root(plan_of(protocol), range(CLIENTS), seed_of(0)).server.agree(Task(0, LENGTH)))
        for protocol in (PAIRWISE, ONE_SHOT)
    ]
    assert codings[0] == codings[1]


def test_what_is_charged_is_what_a_pairwise_round_is_charged(tmp_path: Path) -> None:
    intervals = []
    for protocol in (PAIRWISE, ONE_SHOT):
        budget = Budget(epsilon=50.0, delta=1e-5, relation=Relation.ZERO_OUT)
        with Ledger.open(tmp_path / f"{protocol}.ledger", budget) as ledger:
            cohort = Cohort.fresh(plan_of(protocol), range(CLIENTS))
            secure_mean(ZEROS, plan_of(protocol), round=0, cohort=cohort, ledger=ledger)
            intervals.append(ledger.interval())
    assert intervals[0] == intervals[1]
    assert intervals[0].upper > 0
