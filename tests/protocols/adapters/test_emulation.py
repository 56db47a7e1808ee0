"""Emulated rounds: equal to the trusted party and to a real pairwise round in every bit; nothing altered is opened."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.adaptive import AdaptiveClip
from protocols import Excess, Metric, RoundPlan, Task
from protocols.adapters.emulation import TAIL, Emulation, from_root
from protocols.coding import coding_of
from protocols.errors import BadPlan, PolicyConflict, TooFewClients, WrongUpdate
from protocols.ideal import aggregate
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, ONE_SHOT, PAIRWISE
from protocols.simulate import Cohort, Simulation
from protocols.tensors import Layout
from secagg.errors import NonFinite
from secagg.keys import Seed
from secagg.workers import ALONE

ROOT = Seed(bytes(range(32)))
LAYOUT = Layout.of([np.zeros((2, 3), np.float32), np.zeros(5, np.float32)])
PLANS: dict[str, dict[str, Any]] = {
    "exact": {},
    "weighted": {"max_weight": 1000},
    "noisy": {"noise_multiplier": 1.0},
    "adaptive": {
        "noise_multiplier": 1.0,
        "adaptive": AdaptiveClip(bit_noise=Fraction(5), min_clip=Fraction(1, 128), max_clip=Fraction(100)),
    },
}


def plan_of(**more: Any) -> RoundPlan:
    return RoundPlan.recommend(6, **({"dropout": 0.4, "corrupt": 0, "min_cohort": 4} | more))


def updates_of(clients: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 0.4, size=(clients, LAYOUT.length)).astype(np.float32)


def emulation(plan: RoundPlan | None = None) -> Emulation:
    return Emulation(plan or plan_of(), 0, LAYOUT, from_root(ROOT))


def weight_of(plan: RoundPlan, who: int) -> int:
    return 1 if plan.max_weight == 1 else 1 + 333 * (who % 3)


@pytest.mark.parametrize("name", PLANS)
def test_a_real_pairwise_round_of_the_same_clients_opens_the_same_bits(name: str) -> None:
    plan, updates = plan_of(**PLANS[name]), updates_of(6)
    emulated = emulation(plan)
    total = sum(emulated.words(update, weight_of(plan, who)) for who, update in enumerate(updates))
    opened = emulated.opened(total)

    def prepared(who: PartyId, client: Any) -> Submit:
        made: Submit = client.prepare(updates[who], weight=weight_of(plan, who))
        return made

    real = Simulation(Cohort.from_root(plan, range(6), ROOT), prepared)
    real.run(Task(0, LAYOUT.length, LAYOUT.digest(), nonce=bytes(16)))
    assert real.server.agreement == opened.agreement
    assert np.array_equal(real.opened.total, opened.aggregate.total)
    assert (real.opened.weight_sum, real.opened.survivors) == (opened.aggregate.weight_sum, opened.aggregate.survivors)
    mean = emulated.sum_of(opened) / opened.aggregate.weight_sum
    assert np.allclose(real.reader.mean(), mean, rtol=2**-50, atol=0)


@pytest.mark.parametrize("protocol", [PAIRWISE, ONE_SHOT, ENCRYPTED])
@pytest.mark.parametrize("name", PLANS)
def test_the_trusted_party_opens_the_same_bits_for_every_protocol(name: str, protocol: str) -> None:
    plan, updates = plan_of(**PLANS[name], protocol=protocol), updates_of(5)
    emulated = emulation(plan)
    opened = emulated.opened(sum(emulated.words(update, weight_of(plan, who)) for who, update in enumerate(updates)))
    coding, draw = coding_of(opened.agreement), from_root(ROOT)
    submitted = {}
    for who, update in enumerate(updates):
        randomness = draw(opened.agreement, PartyId(who))
        encoded = coding.encode(update, weight_of(plan, who), randomness, ALONE)
        submitted[PartyId(who)] = Submit(encoded.vector, weight_of(plan, who))
    ideal = aggregate(opened.agreement, submitted)
    assert np.array_equal(ideal.total, opened.aggregate.total)
    assert (ideal.weight_sum, ideal.survivors) == (opened.aggregate.weight_sum, opened.aggregate.survivors)


def test_the_sum_errs_by_rounding_alone() -> None:
    plan, updates = plan_of(clip=4.0), updates_of(6)
    emulated = emulation(plan)
    total = emulated.sum_of(emulated.opened(sum(emulated.words(update, 1) for update in updates)))
    assert np.abs(total - updates.sum(axis=0, dtype=np.float64)).max() <= 6 * plan.encoding.step


def test_each_client_draws_its_own_rounding_from_the_system_unless_told_otherwise() -> None:
    plan = plan_of(noise_multiplier=1.0)
    one, other = (Emulation(plan, 0, LAYOUT) for _ in range(2))
    update = updates_of(1)[0]
    seen = [tuple(made.words(update, 1)[:-TAIL].tolist()) for made in (one, one, other, other)]
    assert len(set(seen)) == 4


@given(place=st.integers(0, LAYOUT.length - 1), change=st.integers(1, 2**31))
def test_a_changed_word_is_never_opened(place: int, change: int) -> None:
    emulated = emulation()
    total = sum(emulated.words(update, 1) for update in updates_of(4))
    total[place] += change
    with pytest.raises(PolicyConflict, match="contradict their check"):
        emulated.opened(total)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda total: total.astype(np.float64),
        lambda total: total.astype(np.int32),
        lambda total: total[:-1],
        lambda total: total.reshape(1, -1),
    ],
    ids=["floats", "narrower", "shorter", "reshaped"],
)
def test_words_in_another_form_are_never_opened(spoil: Any) -> None:
    emulated = emulation()
    total = sum(emulated.words(update, 1) for update in updates_of(4))
    with pytest.raises(PolicyConflict, match="changed them after they were encoded"):
        emulated.opened(spoil(total))


@pytest.mark.parametrize("clients", [0, 5])
def test_a_sum_that_says_it_is_of_nobody_or_of_more_than_came_is_never_opened(clients: int) -> None:
    emulated = emulation()
    total = sum(emulated.words(update, 1) for update in updates_of(4))
    total[-2] = clients
    with pytest.raises(PolicyConflict):
        emulated.opened(total)


def test_too_few_clients_open_nothing() -> None:
    emulated = emulation()
    with pytest.raises(TooFewClients) as caught:
        emulated.opened(sum(emulated.words(update, 1) for update in updates_of(3)))
    assert (caught.value.have, caught.value.need) == (3, 4)


def test_a_larger_cohort_than_planned_is_refused() -> None:
    emulated = emulation()
    for update in updates_of(6):
        emulated.words(update, 1)
    with pytest.raises(BadPlan, match="max_clients"):
        emulated.words(update, 1)


@pytest.mark.parametrize("weight", [0, -1, 11, 0.5, 2.5, float("inf"), float("nan")])
def test_a_weight_that_the_plan_does_not_allow_is_refused_and_nobody_counted(weight: float) -> None:
    emulated = emulation(plan_of(max_weight=10))
    with pytest.raises(WrongUpdate, match="weight"):
        emulated.words(updates_of(1)[0], weight)
    assert emulated.words(updates_of(1)[0], 10.0)[-TAIL] == 10


def test_what_is_not_finite_is_refused() -> None:
    update = updates_of(1)[0]
    update[3] = np.nan
    with pytest.raises(NonFinite):
        emulation().words(update, 1)


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(metrics=(Metric("loss", Fraction(10)),)),
        plan_of(noise_multiplier=1.0, excess=Excess.REMOVED),
        replace(plan_of(bits=24), max_clients=2**20, max_weight=2**19, min_cohort=2**19 + 1),
    ],
    ids=["metrics", "removable noise", "wider than 63 bits"],
)
def test_a_plan_that_a_plain_sum_cannot_stand_in_for_is_refused(plan: RoundPlan) -> None:
    with pytest.raises(BadPlan):
        emulation(plan)
