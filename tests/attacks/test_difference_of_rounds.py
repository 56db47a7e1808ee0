"""The server sums a cohort, then the cohort without the victim: the difference of two honest sums is one update."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import PolicyViolation
from protocols.messages import Open
from protocols.party import SERVER, PartyId
from protocols.plan import RoundPlan
from protocols.round import secure_mean
from protocols.simulate import Cohort
from secagg.keys import Seed
from tests.attacks.villain import Stage, plan_of, rows

PLAN = RoundPlan.recommend(6, dropout=0, corrupt=0, min_cohort=4)
NOISY = RoundPlan.recommend(6, dropout=0, corrupt=0, min_cohort=4, noise_multiplier=4.0)
UPDATES = {who: [np.full(4, who / 8)] for who in range(6)}


def cohort_of(plan: RoundPlan) -> Cohort:
    return Cohort.from_root(plan, range(6), Seed(bytes(32)))


@rows("M21")
def test_a_client_takes_part_in_no_more_rounds_of_a_task_than_its_policy_allows(row: str) -> None:
    stage = Stage()
    policy = replace(stage.company.policy, max_rounds=1, tasks=frozenset({stage.company.plan.task}))
    stage.clients = {who: stage.company.client(who, policy) for who in stage.ids}
    stage.until(None)
    victim, signed = stage.clients[stage.ids[0]], stage.signers[stage.ids[0]].signed
    stage.round = 1
    agreement = replace(stage.server.agreement, round=1)
    with pytest.raises(PolicyViolation, match="more than the 1 rounds"):
        stage.say(stage.ids[0], Open(agreement))
    assert stage.signers[stage.ids[0]].signed == signed
    again = stage.company.client(stage.ids[0], policy)
    again.thaw(victim.freeze())
    with pytest.raises(PolicyViolation, match="more than the 1 rounds"):
        again.receive(stage.framed(SERVER, Open(agreement)))


@rows("M21")
def test_without_the_cap_the_difference_of_two_sums_is_one_update(row: str) -> None:
    cohort = cohort_of(PLAN)
    everybody = secure_mean(UPDATES, PLAN, round=0, cohort=cohort)
    without = {who: update for who, update in UPDATES.items() if who != 3}
    others = secure_mean(without, PLAN, round=1, cohort=cohort)
    victim = 6 * everybody.mean[0] - 5 * others.mean[0]
    assert np.allclose(victim, UPDATES[3][0], atol=20 * PLAN.encoding.step)


@rows("M21")
def test_the_report_warns_of_it_by_name_unless_there_is_noise(row: str) -> None:
    for plan, warned in ((PLAN, True), (NOISY, False)):
        cohort = cohort_of(plan)
        assert secure_mean(UPDATES, plan, round=0, cohort=cohort).warnings == ()
        assert secure_mean(UPDATES, plan, round=1, cohort=cohort).warnings == ()
        without = {who: update for who, update in UPDATES.items() if who != 3}
        warnings = secure_mean(without, plan, round=2, cohort=cohort).warnings
        assert bool(warnings) is warned
        assert all(text.startswith("DifferenceOfRounds: ") and "in 1 clients" in text for text in warnings)


@rows("M21")
def test_a_policy_names_the_tasks_it_takes_part_in(row: str) -> None:
    stage = Stage()
    stage.open()
    agreement = stage.server.agreement
    policy = replace(stage.company.policy, tasks=frozenset({agreement.plan.task}))
    policy.check(agreement)
    other = replace(agreement, plan=replace(agreement.plan, task="shadow"))
    with pytest.raises(PolicyViolation, match="task 'shadow' is not among mine"):
        policy.check(other)
    assert plan_of(5).task == agreement.plan.task
    assert PartyId(0) not in stage.ids
